"""Files that are not on a disk: in buckets and on web servers, read by ranges behind the face of a path."""

from __future__ import annotations

import urllib.parse
from collections import OrderedDict
from io import RawIOBase
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from precast.errors import ObjectNotFoundError, SourceError, UsageError
from precast.storage import CloudStore, HttpStore, ObjectStat, StoreOptions, open_store

__all__ = ["SourcePath", "StoredFile", "StoredPath", "stored_path"]

WHOLE_BYTES = 8 << 20
"""Files up to this size are read at once."""

BLOCK_BYTES = 1 << 20
BLOCKS = 16
"""Of larger files these many blocks are kept."""


class StoredPath:
    """A file or folder in a store, with what the sources need of ``pathlib.Path``. Pickles.

    Parameters
    ----------
    store
        The folder that it is in; its own store if it is a folder.
    name
        Its name.
    stat
        What is known of a file; None for a folder.
    """

    def __init__(self, store: CloudStore | HttpStore, name: str, stat: ObjectStat | None) -> None:
        self.store = store
        self.name = name
        self._stat = stat
        self._entries: tuple[dict[str, ObjectStat], tuple[str, ...]] | None = None

    def __str__(self) -> str:
        return self.store.url if self._stat is None else f"{self.store.url}/{self._stat.key}"

    __repr__ = __str__

    def __fspath__(self) -> str:
        return str(self)

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return self._stat is None

    @property
    def parent(self) -> StoredPath:
        """The folder that a file is in."""
        return StoredPath(self.store, self.store.url.rpartition("/")[2], None)

    def __truediv__(self, name: str) -> StoredPath:
        """Return a file of a folder."""
        stat = self.entries()[0].get(name) if isinstance(self.store, CloudStore) else None
        return StoredPath(self.store, name, stat or self.store.stat(name))

    def entries(self) -> tuple[dict[str, ObjectStat], tuple[str, ...]]:
        """Return the files of a folder by name, and the names of its folders; asked for once.

        Raises
        ------
        SourceError
            If it is on a web server, which does not tell.
        """
        if not isinstance(self.store, CloudStore):
            raise SourceError(
                f"{self.store.url} is no file, and a web server does not tell what is in a folder",
                hint="give the address of one TIFF or .npy file, or the bucket behind it (s3://, gs://, az://)",
                where=self.store.url,
            )
        if self._entries is None:
            files, folders = self.store.entries()
            self._entries = {stat.key: stat for stat in files}, folders
        return self._entries

    @property
    def size(self) -> int:
        """Bytes of a file."""
        return 0 if self._stat is None else self._stat.size

    def stat(self) -> Any:
        """Return size and what changes with the content, in the names of ``os.stat_result``."""
        mark = "" if self._stat is None else self._stat.etag
        return SimpleNamespace(st_size=self.size, st_mtime_ns=mark)

    def open(self) -> StoredFile:
        """Return the file, to be read."""
        assert self._stat is not None  # folders are not opened
        return StoredFile(self.store, self._stat)


SourcePath = Path | StoredPath


class StoredFile(RawIOBase):
    """A file of a store, read in blocks of which a few are kept; not to be shared between threads.

    Raises
    ------
    SourceError
        If it ends before the size that was listed.
    """

    def __init__(self, store: CloudStore | HttpStore, stat: ObjectStat) -> None:
        super().__init__()
        self.name = f"{store.url}/{stat.key}"
        self.size = stat.size
        self._store = store
        self._key = stat.key
        self._at = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._step = WHOLE_BYTES if stat.size <= WHOLE_BYTES else BLOCK_BYTES

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def seekable(self) -> bool:
        """Whether it can be read anywhere: yes."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go somewhere."""
        self._at = max(0, offset + (0, self._at, self.size)[whence])
        return self._at

    def tell(self) -> int:
        """Return where it stands."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as there are bytes."""
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and self._at < self.size:
            if len(view) - done >= 2 * self._step and self._at % self._step == 0:
                # what is read in large pieces is not worth keeping
                data = self._range(self._at, min(self.size, self._at + len(view) - done))
            else:
                number, start = divmod(self._at, self._step)
                data = self._block(number)[start : start + len(view) - done]
            view[done : done + len(data)] = data
            done += len(data)
            self._at += len(data)
        return done

    def _block(self, number: int) -> bytes:
        data = self._blocks.get(number)
        if data is None:
            start = number * self._step
            data = self._range(start, min(self.size, start + self._step))
            self._blocks[number] = data
            if len(self._blocks) > BLOCKS:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(number)
        return data

    def _range(self, start: int, stop: int) -> bytes:
        data = self._store.read(self._key, start, stop)
        if len(data) != stop - start:
            raise SourceError(
                f"{self.name} has fewer than the {self.size} bytes that were listed",
                hint="it was changed while it was read: run the same command again",
                where=self.name,
            )
        return data


def stored_path(url: str, options: StoreOptions | None = None) -> StoredPath:
    """Return what is at an address: a file if there is one, else a folder.

    Raises
    ------
    UsageError
        If it is no address that precast can read.
    ObjectNotFoundError
        If nothing is there.
    AccessDeniedError, StorageError
        If the store refuses, or does not answer.
    """
    parts = urllib.parse.urlsplit(url)
    parent, _, name = parts.path.rstrip("/").rpartition("/")
    folder = open_store(url, options)
    if not isinstance(folder, CloudStore | HttpStore):
        raise UsageError(f"not an address that precast reads: {url!r}", where=url)
    if name and not url.endswith("/"):
        query = f"?{parts.query}" if parts.query else ""
        inside = open_store(f"{parts.scheme}://{parts.netloc}{parent}{query}", options)
        assert isinstance(inside, CloudStore | HttpStore)
        try:
            name = urllib.parse.unquote(name) if isinstance(inside, HttpStore) else name
            return StoredPath(inside, name, inside.stat(name))
        except ObjectNotFoundError:
            if isinstance(inside, HttpStore):
                raise
    found = StoredPath(folder, name or parts.netloc, None)
    if not any(found.entries()):
        raise ObjectNotFoundError(f"there is nothing at {url}", hint="check the address", where=url)
    return found
