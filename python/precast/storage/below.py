"""A directory of any store as a store of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from precast.storage.base import Attributes, ObjectStat, Store, StoredBytes, TellsAttributes

__all__ = ["Below"]


class Below:
    """The objects of a store whose keys begin with a directory, under keys without it.

    Parameters
    ----------
    store
        The store.
    directory
        The directory; the store itself if it is empty.
    """

    def __init__(self, store: Store, directory: str) -> None:
        self.store = store
        self.directory = directory
        self._prefix = f"{directory}/" if directory else ""
        self.url = f"{store.url.rstrip('/')}/{directory}" if directory else store.url

    def read(self, key: str, start: int | None = None, stop: int | None = None) -> bytes:
        """Return an object or a range of it."""
        return self.store.read(self._prefix + key, start, stop)

    def read_stored(self, key: str, start: int | None = None, stop: int | None = None) -> StoredBytes:
        """Return an object as it is stored, or a range of it."""
        return self.store.read_stored(self._prefix + key, start, stop)

    def write(self, key: str, data: bytes, attributes: Attributes) -> None:
        """Write an object at once."""
        self.store.write(self._prefix + key, data, attributes)

    def write_file(self, key: str, path: Path, attributes: Attributes) -> None:
        """Write an object from a local file, which is used up."""
        self.store.write_file(self._prefix + key, path, attributes)

    def stat(self, key: str) -> ObjectStat:
        """Describe one object."""
        return replace(self.store.stat(self._prefix + key), key=key)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Yield all objects whose key starts with ``prefix``, sorted by key."""
        for stat in self.store.list(self._prefix + prefix):
            yield replace(stat, key=stat.key.removeprefix(self._prefix))

    def delete(self, key: str) -> None:
        """Remove an object; absent is fine."""
        self.store.delete(self._prefix + key)

    def told(self, key: str) -> Attributes | None:
        """Return what an object was written with; None if the store does not tell."""
        return self.store.attributes(self._prefix + key) if isinstance(self.store, TellsAttributes) else None
