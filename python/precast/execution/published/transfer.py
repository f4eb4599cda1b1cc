"""Bytes from files to stores, and what they are: checksums, sending, copying within a store, many at once."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import google_crc32c

from precast.errors import SourceError, StorageError
from precast.execution.progress import Progress
from precast.precomputed.publication import PUBLISHED_DIRECTORY
from precast.storage import Attributes, LocalStore, Store
from precast.storage.base import translate_os_error
from precast.storage.below import Below
from precast.storage.encodings import unpack

__all__ = ["File", "Sender", "checksum", "each", "file_checksum", "stored_checksum"]

T = TypeVar("T")
R = TypeVar("R")

PIECE_BYTES = 8 << 20
"""Larger objects are sent from files, not from memory."""

LARGE_AT_ONCE = 3
"""Of larger objects, each of which goes in several parts at once: with more, they only wait for each other."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of the source as it was when it was listed."""

    path: Path
    size: int
    mtime_ns: int
    encoding: str

    @classmethod
    def of(cls, path: Path, *, encoding: str) -> File:
        """Describe a file."""
        try:
            status = path.stat()
        except OSError as error:
            raise translate_os_error(error, "reading", path) from None
        return cls(path, status.st_size, status.st_mtime_ns, encoding)

    def check_unchanged(self) -> None:
        """See that it is the file that was listed.

        Raises
        ------
        SourceError
            If it was written since.
        """
        if File.of(self.path, encoding=self.encoding) != self:
            raise changed(self.path)


def changed(path: Path) -> SourceError:
    """Return the error about a source that is being written."""
    return SourceError(
        f"{path} was changed while it was being published",
        hint="wait until nothing writes the dataset, then run the same command again",
        where=str(path),
    )


def checksum(data: bytes, before: int = 0) -> int:
    """Return the CRC-32C of bytes, or of what came before and these."""
    return int(google_crc32c.extend(before, data))


def file_checksum(file: File) -> int:
    """Return the CRC-32C of a file as it is stored."""
    crc = 0
    try:
        with file.path.open("rb") as handle:
            while piece := handle.read(PIECE_BYTES):
                crc = checksum(piece, crc)
    except OSError as error:
        raise translate_os_error(error, "reading", file.path) from None
    file.check_unchanged()
    return crc


def inflated_checksum(file: File) -> int:
    """Return the CRC-32C of what readers of a packed file get."""
    try:
        return checksum(unpack(file.path.read_bytes(), file.encoding))
    except OSError as error:
        raise translate_os_error(error, "reading", file.path) from None


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

    def send(self, place: Store | Below, key: str, file: File, crc32c: int, attributes: Attributes) -> None:
        """Write an object from a file, which stays as it is.

        Raises
        ------
        SourceError
            If it is no longer what it was when its checksum was made; nothing wrong was written then, or it is removed.
        """
        if file.size <= PIECE_BYTES:
            try:
                data = file.path.read_bytes()
            except OSError as error:
                raise translate_os_error(error, "reading", file.path) from None
            if checksum(data) != crc32c:
                raise changed(file.path)
            place.write(key, data, attributes)
            return
        part = self._part()
        with self._large:
            try:
                if isinstance(self.store, LocalStore):
                    self._copy(file, part, crc32c)
                else:
                    self._link(file, part)
                place.write_file(key, part, attributes)
            finally:
                part.unlink(missing_ok=True)
        if not isinstance(self.store, LocalStore):
            try:
                file.check_unchanged()
            except SourceError:
                place.delete(key)
                raise

    @staticmethod
    def _copy(file: File, part: Path, crc32c: int) -> None:
        crc = 0
        try:
            with file.path.open("rb") as source, part.open("wb") as target:
                while piece := source.read(PIECE_BYTES):
                    crc = checksum(piece, crc)
                    target.write(piece)
        except OSError as error:
            raise translate_os_error(error, "copying", file.path) from None
        if crc != crc32c:
            raise changed(file.path)

    @staticmethod
    def _link(file: File, part: Path) -> None:
        """Give the file a second name, which the store may use up."""
        try:
            part.symlink_to(file.path.absolute())
        except OSError:  # Windows, without the right to
            try:
                shutil.copyfile(file.path, part)
            except OSError as error:
                raise translate_os_error(error, "copying", file.path) from None

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
