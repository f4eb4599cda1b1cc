"""Bytes at keys. Nothing above this layer opens a file of a dataset."""

from __future__ import annotations

from precast.storage.base import Attributes, ObjectStat, Store
from precast.storage.cloud import CloudStore
from precast.storage.http import HttpStore
from precast.storage.local import LocalStore
from precast.storage.memory import MemoryStore
from precast.storage.opening import open_store
from precast.storage.options import StoreOptions

__all__ = [
    "Attributes",
    "CloudStore",
    "HttpStore",
    "LocalStore",
    "MemoryStore",
    "ObjectStat",
    "Store",
    "StoreOptions",
    "open_store",
]
