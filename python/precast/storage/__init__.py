"""Bytes at keys. Nothing above this layer opens a file of a dataset."""

from __future__ import annotations

from precast.storage.base import Attributes, ObjectStat, Store
from precast.storage.http import HttpStore
from precast.storage.local import LocalStore
from precast.storage.memory import MemoryStore
from precast.storage.opening import open_store

__all__ = ["Attributes", "HttpStore", "LocalStore", "MemoryStore", "ObjectStat", "Store", "open_store"]
