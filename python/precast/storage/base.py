"""The protocol of a store, and what it promises."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from precast.errors import AccessDeniedError, ObjectNotFoundError, PrecastError, StorageError

__all__ = [
    "Attributes",
    "ObjectStat",
    "SendsLater",
    "Store",
    "StoredBytes",
    "TellsAttributes",
    "check_key",
    "flush",
    "translate_os_error",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStat:
    """One stored object.

    Attributes
    ----------
    key
        Its key.
    size
        Bytes as stored, encoded if it is.
    encoding
        Content encoding, empty if it is stored as it is; None in the listings of object stores, which do not tell:
        ``stat`` does.
    etag
        What changes whenever the object is written; empty if the store has no such thing.
    """

    key: str
    size: int
    encoding: str | None = ""
    etag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """How an object is to be kept and sent.

    Attributes
    ----------
    content_type
        Value of ``Content-Type``.
    encoding
        Content encoding of the bytes, ``gzip`` or what others have used; empty if they are as they are read. Readers
        receive them unpacked.
    cache_control
        Value of ``Cache-Control``; none is sent if it is empty.
    """

    content_type: str = "application/octet-stream"
    encoding: str = ""
    cache_control: str = ""


@dataclass(frozen=True, slots=True)
class StoredBytes:
    """Bytes of an object as they are stored.

    Attributes
    ----------
    data
        All of them, or a range.
    encoding
        Their content encoding; empty if they are as they are read.
    etag
        As in :class:`ObjectStat`.
    size
        Bytes of the whole object as it is stored; None where they are not told along with the bytes: ``stat`` tells.
    """

    data: bytes
    encoding: str
    etag: str = ""
    size: int | None = None


class Store(Protocol):
    """Objects under ``/``-separated keys.

    Writing is atomic: an object is absent or complete, and what was there under its key in another form is gone.
    Data with an ``encoding`` are what readers of the key receive unpacked; how that is marked (a suffix, a header) is
    the store's affair. Errors are
    ``ObjectNotFoundError``, ``AccessDeniedError`` or ``StorageError``; an error is never empty data.
    Stores pickle and hold no open handles.
    """

    url: str

    def read(self, key: str, start: int | None = None, stop: int | None = None) -> bytes:
        """Return an object, or the bytes ``[start, stop)`` of one that is stored as it is."""

    def read_stored(self, key: str, start: int | None = None, stop: int | None = None) -> StoredBytes:
        """Return an object, or the bytes ``[start, stop)`` of it, as it is stored: packed if it is."""

    def write(self, key: str, data: bytes, attributes: Attributes) -> None:
        """Write an object at once."""

    def write_file(self, key: str, path: Path, attributes: Attributes) -> None:
        """Write an object from a local file, which is used up."""

    def stat(self, key: str) -> ObjectStat:
        """Describe one object."""

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Yield all objects whose key starts with ``prefix``, sorted by key."""

    def delete(self, key: str) -> None:
        """Remove an object; absent is fine."""


@runtime_checkable
class TellsAttributes(Protocol):
    """A store that also tells how an object is kept and sent."""

    def attributes(self, key: str) -> Attributes:
        """Return what an object was written with, as far as the store keeps it."""


@runtime_checkable
class SendsLater(Protocol):
    """A store that sends in the background what is written to it."""

    def flush(self) -> None:
        """Wait until everything that was written is kept where an end of the process does no harm to it.

        Raises
        ------
        AccessDeniedError, StorageError
            If something could not be sent.
        """


def flush(store: Store) -> None:
    """Wait until everything that was written to a store is safe."""
    if isinstance(store, SendsLater):
        store.flush()


def check_key(key: str) -> str:
    """Return ``key`` if it is a plain relative path.

    Raises
    ------
    StorageError
        If it is empty, absolute or has ``..`` in it.
    """
    parts = key.split("/")
    if not key or any(part in ("", ".", "..") for part in parts):
        raise StorageError(f"not a key of a store: {key!r}", where=key)
    return key


def translate_os_error(error: OSError, what: str, where: str | os.PathLike[str]) -> PrecastError:
    """Turn an operating system error into one of ours that says what to do."""
    place = os.fspath(where)
    text = f"{what} {place} failed: {error.strerror or error}"
    if isinstance(error, FileNotFoundError):
        return ObjectNotFoundError(f"{place} does not exist", hint="check the path", where=place)
    if isinstance(error, PermissionError):
        return AccessDeniedError(text, hint="check the permissions of the file and its folder", where=place)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "free some space and run the same command again: finished parts are kept and it goes on from there"
        return StorageError(text, hint=hint, where=place)
    if error.errno == errno.EFBIG:
        hint = (
            "the file system, or a limit of this account (ulimit -f), takes no files as large as this; choose another"
        )
        return StorageError(text, hint=hint, where=place)
    if error.errno == errno.EROFS:
        return AccessDeniedError(text, hint="the file system is read-only; choose another destination", where=place)
    return StorageError(text, where=place)
