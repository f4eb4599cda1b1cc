"""Bytes at keys. Nothing above this layer opens a file of a dataset."""

from __future__ import annotations

from precast.storage.base import Attributes, ObjectStat, Store
from precast.storage.local import LocalStore
from precast.storage.memory import MemoryStore

__all__ = ["Attributes", "LocalStore", "MemoryStore", "ObjectStat", "Store"]
