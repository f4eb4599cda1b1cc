"""Bytes from files to stores, and what they are: checksums, sending, copying within a store, many at once."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import google_crc32c

from precast.errors import ObjectNotFoundError, PrecastError, SourceError, StorageError
from precast.execution.progress import Progress
from precast.precomputed.publication import PUBLISHED_DIRECTORY
from precast.storage import Attributes, HttpStore, LocalStore, ObjectStat, Store
from precast.storage.base import StoredBytes, translate_os_error
from precast.storage.below import Below

__all__ = ["File", "Held", "Made", "Sendable", "Sender", "checksum", "each", "inflated_checksum", "stored_checksum"]

T = TypeVar("T")
R = TypeVar("R")

PIECE_BYTES = 8 << 20
"""Larger objects are sent from files, not from memory."""

LARGE_AT_ONCE = 3
"""Of larger objects, each of which goes in several parts at once: with more, they only wait for each other."""


@dataclass(frozen=True, slots=True)
class File:
    """An object of the source as it was when it was listed.

    Attributes
    ----------
    store, key
        Where it is.
    size
        Bytes as they are stored.
    encoding
        Their content encoding; None where the listing did not tell.
    etag
        What changes whenever it is written; empty if the store has no such thing.
    known
        The CRC-32C of the bytes, if it is known without reading them.
    """

    store: Store | Below
    key: str
    size: int
    encoding: str | None
    etag: str
    known: int | None = None

    @classmethod
    def of(cls, store: Store | Below, stat: ObjectStat) -> File:
        """Describe an object by what a store says of it."""
        return cls(store, stat.key, stat.size, stat.encoding, stat.etag)

    @property
    def where(self) -> str:
        """Its place, for people."""
        return f"{self.store.url.rstrip('/')}/{self.key}"

    @property
    def path(self) -> Path | None:
        """The file that it is, if it is one."""
        return self.store.file_of(self.key) if isinstance(self.store, LocalStore) else None

    def check_unchanged(self) -> None:
        """See that it is the object that was listed.

        Raises
        ------
        SourceError
            If it was written since.
        """
        try:
            stat = self.store.stat(self.key)
        except ObjectNotFoundError:
            raise changed(self) from None
        same_form = stat.encoding == self.encoding or None in (stat.encoding, self.encoding)
        if stat.size != self.size or not same_form or self._written_since(stat.etag):
            raise changed(self)

    def _written_since(self, etag: str) -> bool:
        return bool(self.etag and etag) and etag != self.etag

    def whole(self) -> StoredBytes:
        """Return all bytes as they are stored; only of what is small, or not read by ranges.

        Raises
        ------
        SourceError
            If it was written since it was listed.
        """
        try:
            stored = self.store.read_stored(self.key)
        except ObjectNotFoundError:
            raise changed(self) from None
        # web servers pack as they like, and tell another size than they then send
        wrong_size = len(stored.data) != self.size and not isinstance(self.store, HttpStore)
        if wrong_size or self._written_since(stored.etag):
            raise changed(self)
        return stored

    def pieces(self) -> Iterator[StoredBytes]:
        """Yield the bytes as they are stored, a few at a time; they may come from different states of the object.

        Raises
        ------
        SourceError
            If there are fewer of them than were listed, or it is no longer stored as it was.
        """
        for start in range(0, self.size, PIECE_BYTES):
            stop = min(self.size, start + PIECE_BYTES)
            try:
                if isinstance(self.store, HttpStore) and not self.encoding:  # else it may be packed on the way
                    piece = StoredBytes(self.store.read(self.key, start, stop), "")
                else:
                    piece = self.store.read_stored(self.key, start, stop)
            except ObjectNotFoundError:
                raise changed(self) from None
            if len(piece.data) != stop - start or self._written_since(piece.etag):
                raise changed(self)
            yield piece

    def read(self) -> tuple[File, int]:
        """Return it with what only reading it tells, and the CRC-32C of its bytes as they are stored.

        Raises
        ------
        SourceError
            If it was written since it was listed.
        """
        if self.known is not None and self.encoding is not None:
            return self, self.known
        if self.size <= PIECE_BYTES:
            stored = self.whole()
            crc = checksum(stored.data)
            return replace(self, size=len(stored.data), encoding=stored.encoding, known=crc), crc
        crc, encodings = 0, set()
        for piece in self.pieces():
            crc = checksum(piece.data, crc)
            encodings.add(piece.encoding)
        if len(encodings) != 1 or (self.encoding is not None and self.encoding not in encodings):
            raise changed(self)
        self.check_unchanged()
        return replace(self, encoding=encodings.pop(), known=crc), crc


def changed(file: Sendable) -> SourceError:
    """Return the error about a source that is being written."""
    return SourceError(
        f"{file.where} was changed while it was being published",
        hint="wait until nothing writes the dataset, then run the same command again",
        where=file.where,
    )


def checksum(data: bytes, before: int = 0) -> int:
    """Return the CRC-32C of bytes, or of what came before and these."""
    return int(google_crc32c.extend(before, data))


@dataclass(frozen=True, slots=True)
class Held:
    """An object that is made of the source, and in memory."""

    where: str
    data: bytes
    encoding: str = ""

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.data)

    def read(self) -> tuple[Held, int]:
        """Return it, and the CRC-32C of its bytes."""
        return self, checksum(self.data)


@dataclass(frozen=True, slots=True)
class Made:
    """A large object that is made of the source, the same bytes every time, whenever it is needed.

    Attributes
    ----------
    where
        Its place, for people.
    size
        Bytes; about as many, until it was made once.
    make
        Writes it into a file.
    known
        The CRC-32C of the bytes, if it was made once.
    remember
        Told the size and the CRC-32C when it was made for the first time.
    """

    where: str
    size: int
    make: Callable[[Path], None]
    known: int | None = None
    remember: Callable[[int, int], None] | None = None
    encoding: str = ""

    def read(self) -> tuple[Made, int]:
        """Return it with its size, and the CRC-32C of its bytes."""
        if self.known is not None:
            return self, self.known
        with tempfile.TemporaryDirectory(prefix="precast-") as folder:
            path = Path(folder) / "object"
            size, crc = self.write(path)
        if self.remember is not None:
            self.remember(size, crc)
        return replace(self, size=size, known=crc), crc

    def write(self, path: Path) -> tuple[int, int]:
        """Write it into a file, and return its size and the CRC-32C of its bytes."""
        self.make(path)
        crc, size = 0, 0
        try:
            with path.open("rb") as file:
                while piece := file.read(PIECE_BYTES):
                    crc = checksum(piece, crc)
                    size += len(piece)
        except OSError as error:
            raise translate_os_error(error, "reading", path) from None
        return size, crc


Sendable = File | Held | Made
"""What can be sent."""


def inflated_checksum(file: Sendable) -> int:
    """Return the CRC-32C of what readers of an object get."""
    return checksum(file.store.read(file.key)) if isinstance(file, File) else file.read()[1]


def stored_checksum(store: Store | Below, key: str, size: int, *, whole: bool) -> int:
    """Return the CRC-32C of an object, as its readers get it: in one piece or in ranges."""
    if whole:
        return checksum(store.read(key))
    crc = 0
    for start in range(0, size, PIECE_BYTES):
        piece = store.read(key, start, min(size, start + PIECE_BYTES))
        if len(piece) != min(size, start + PIECE_BYTES) - start:
            raise StorageError(f"{store.url}/{key} ended early while it was read", where=key)
        crc = checksum(piece, crc)
    return crc


def each(work: Callable[[T], R], items: Iterable[T], threads: int, done: Callable[[T, R], None]) -> None:
    """Do the work for every item in threads, few ahead of time; ``done`` is called here as they are done.

    The first error ends it: what is running comes to its end, and nothing more is begun.
    """
    with ThreadPoolExecutor(threads) as pool:
        running: dict[Future[R], T] = {}

        def collect(finished: Iterable[Future[R]]) -> None:
            for future in finished:
                done(running.pop(future), future.result())

        try:
            for item in items:
                running[pool.submit(work, item)] = item
                if len(running) >= 2 * threads:
                    collect(wait(running, return_when=FIRST_COMPLETED).done)
            while running:
                collect(wait(running, return_when=FIRST_COMPLETED).done)
        except BaseException:
            for future in running:
                future.cancel()
            raise


class Sender:
    """Writes objects into a store; use as a context manager, which removes its scratch files.

    Parameters
    ----------
    store
        The destination as a whole.
    threads
        Objects at once.
    progress
        Told of every object.
    """

    def __init__(self, store: Store, threads: int, progress: Progress) -> None:
        self.store = store
        self.threads = threads
        self.progress = progress
        self._scratch: Path | None = None
        self._numbers = itertools.count()
        self._large = threading.Semaphore(LARGE_AT_ONCE)
        self._making = threading.Lock()

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            if isinstance(self.store, LocalStore):
                with suppress(OSError):
                    self._scratch.parent.rmdir()

    def _part(self) -> Path:
        """Return the name of a new scratch file: where the destination is a directory, on its file system."""
        with self._making:
            if self._scratch is None:
                self._scratch = self._make_scratch()
            return self._scratch / f"{next(self._numbers):x}"

    def _make_scratch(self) -> Path:
        parent: str | Path = tempfile.gettempdir()
        try:
            if not isinstance(self.store, LocalStore):
                return Path(tempfile.mkdtemp(prefix="precast-"))
            parent = self.store.root / PUBLISHED_DIRECTORY
            parent.mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix=".parts-", dir=parent))
        except OSError as error:
            raise translate_os_error(error, "making a scratch directory in", parent) from None

    def prepare(self) -> None:
        """Remove the scratch directories of processes that were killed."""
        if isinstance(self.store, LocalStore):
            for old in (self.store.root / PUBLISHED_DIRECTORY).glob(".parts-*"):
                shutil.rmtree(old, ignore_errors=True)

    def send(self, place: Store | Below, key: str, file: Sendable, crc32c: int, attributes: Attributes) -> None:
        """Write an object of the source, which stays as it is.

        Raises
        ------
        SourceError
            If it is no longer what it was when its checksum was made; nothing wrong was written then, or it is removed.
        """
        if isinstance(file, Held) or (isinstance(file, File) and file.size <= PIECE_BYTES):
            data = file.data if isinstance(file, Held) else file.whole().data
            if checksum(data) != crc32c:
                raise changed(file)
            place.write(key, data, attributes)
            return
        part = self._part()
        linked = isinstance(file, File) and not isinstance(self.store, LocalStore) and self._link(file, part)
        with self._large:
            try:
                if not linked:
                    self._copy(file, part, crc32c)
                place.write_file(key, part, attributes)
            finally:
                part.unlink(missing_ok=True)
        if linked and isinstance(file, File):
            try:
                file.check_unchanged()
            except SourceError:
                place.delete(key)
                raise

    @staticmethod
    def _copy(file: File | Made, part: Path, crc32c: int) -> None:
        if isinstance(file, Made):
            if file.write(part) != (file.size, crc32c):
                raise changed(file)
            return
        crc = 0
        try:
            with part.open("wb") as target:
                for piece in file.pieces():
                    crc = checksum(piece.data, crc)
                    target.write(piece.data)
        except PrecastError:
            raise
        except OSError as error:
            raise translate_os_error(error, "writing", part) from None
        if crc != crc32c:
            raise changed(file)

    @staticmethod
    def _link(file: File, part: Path) -> bool:
        """Give a file a second name, which the store may use up; tell whether that is possible."""
        path = file.path
        if path is None:
            return False
        try:
            part.symlink_to(path.absolute())
        except OSError:  # Windows, without the right to
            return False
        return True

    def copy(self, place: Below, source: str, target: str, size: int, attributes: Attributes) -> None:
        """Write an object with the bytes of another one of the same store."""
        if size <= PIECE_BYTES:
            place.write(target, place.read(source), attributes)
            return
        part = self._part()
        try:
            with part.open("wb") as file:
                for start in range(0, size, PIECE_BYTES):
                    file.write(place.read(source, start, min(size, start + PIECE_BYTES)))
            place.write_file(target, part, attributes)
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise translate_os_error(error, "copying", os.fspath(part)) from None
        finally:
            part.unlink(missing_ok=True)
