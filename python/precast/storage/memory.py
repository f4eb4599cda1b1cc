"""A dictionary as a store: for tests, and for volumes that never touch a disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from precast.errors import ObjectNotFoundError, StorageError
from precast.storage.base import Attributes, ObjectStat, StoredBytes, check_key
from precast.storage.encodings import unpack

__all__ = ["MemoryStore"]


class MemoryStore:
    """Objects in this process."""

    def __init__(self) -> None:
        self.url = "memory://"
        self._objects: dict[str, tuple[bytes, Attributes]] = {}

    def _get(self, key: str) -> tuple[bytes, Attributes]:
        try:
            return self._objects[check_key(key)]
        except KeyError:
            raise ObjectNotFoundError(f"{key} does not exist", where=key) from None

    def read(self, key: str, start: int | None = None, stop: int | None = None) -> bytes:
        """Return an object or a range of it."""
        data, attributes = self._get(key)
        if attributes.encoding:
            if start is not None or stop is not None:
                raise StorageError(f"{key} is stored as {attributes.encoding}, not to be read by range", where=key)
            return unpack(data, attributes.encoding)
        return data[start:stop]

    def read_stored(self, key: str, start: int | None = None, stop: int | None = None) -> StoredBytes:
        """Return an object as it is stored, or a range of it."""
        data, attributes = self._get(key)
        return StoredBytes(data[start:stop], attributes.encoding, size=len(data))

    def write(self, key: str, data: bytes, attributes: Attributes) -> None:
        """Keep the bytes."""
        self._objects[check_key(key)] = (bytes(data), attributes)

    def write_file(self, key: str, path: Path, attributes: Attributes) -> None:
        """Read the file and remove it."""
        self.write(key, path.read_bytes(), attributes)
        path.unlink()

    def stat(self, key: str) -> ObjectStat:
        """Describe one object."""
        data, attributes = self._get(key)
        return ObjectStat(key=key, size=len(data), encoding=attributes.encoding)

    def attributes(self, key: str) -> Attributes:
        """Return what an object was written with."""
        return self._get(key)[1]

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Yield all objects, sorted."""
        for key in sorted(self._objects):
            if key.startswith(prefix):
                yield self.stat(key)

    def delete(self, key: str) -> None:
        """Forget an object."""
        self._objects.pop(check_key(key), None)
