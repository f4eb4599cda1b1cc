"""Objects on their way into a store that is far away: kept on this machine until they are there.

What is written goes out in the background, many objects at once. A file (a shard) is moved into ``outbox/`` and counts
as written from then on: whatever happens to the process, the next one sends it. Small objects are in memory until they
are sent, and :meth:`SendingStore.flush` waits for them. ``sent.jsonl`` is the list of what was written, a line each, so
that the next process knows; a last line that was cut is of an object that is written again.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import google_crc32c

from precast.errors import ObjectNotFoundError, StorageError
from precast.precomputed.objects import ObjectKind
from precast.storage import Attributes, ObjectStat, Store
from precast.storage.base import StoredBytes, translate_os_error

__all__ = ["SENDING_BYTES", "Placed", "SendingStore", "sum_of"]

THREADS = 16
FILES_AT_ONCE = 2
WAITING_BYTES = 32 << 20
"""Small objects that wait in memory."""

WAITING_OBJECTS = 512
SENDING_BYTES = WAITING_BYTES + FILES_AT_ONCE * (40 << 20)
"""Memory that sending takes: clients of object stores keep some parts of 8 MiB of a file."""

OUTBOX_BYTES = 2 << 30
"""Disk space of files that wait; who writes more waits too, once there is another one."""

PIECE_BYTES = 8 << 20
DATA = ObjectKind.CHUNK.rule


@dataclass(frozen=True, slots=True)
class Placed:
    """One object that was written: where it is, and what it is there."""

    key: str
    size: int
    crc32c: int
    attributes: Attributes


class SendingStore:
    """A dataset that grows in a store; safe to write from several threads.

    Keys without a directory (``info`` and what goes with it) stay on this machine, in ``tops``, until somebody
    switches to them; reading them gives what was written, else what is there.

    Parameters
    ----------
    target
        The store.
    folder
        Where files wait and the list is kept; the same one after an interruption.
    place
        From the key of an object to where it goes.
    """

    def __init__(self, target: Store, folder: Path, place: Callable[[str], str]) -> None:
        self.target = target
        self.url = target.url
        self.tops = folder / "tops"
        self._outbox = folder / "outbox"
        self._place = place
        self._lock = threading.Condition()
        self._small = 0
        self._small_bytes = 0
        self._file_bytes = 0
        self._error: BaseException | None = None
        self._number = 0
        self.written: dict[str, Placed] = {}
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="precast-send")
        self._files = ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="precast-send-file")
        try:
            for path in (self.tops, self._outbox):
                path.mkdir(parents=True, exist_ok=True)
            waiting = self._read(folder / "sent.jsonl")
            self._list = (folder / "sent.jsonl").open("ab")
        except OSError as error:
            raise translate_os_error(error, "making", folder) from None
        for placed, path in waiting:
            self._send_file(placed, path)

    def close(self) -> None:
        """Give up what waits; what is being sent comes to its end."""
        for pool in (self._pool, self._files):
            pool.shutdown(wait=True, cancel_futures=True)
        self._list.close()

    # ---- the list

    def _read(self, path: Path) -> list[tuple[Placed, Path]]:
        """Take up what a former process wrote; return the files that it has not sent."""
        waiting: dict[str, tuple[Placed, Path]] = {}
        with suppress(FileNotFoundError):
            data = path.read_bytes()
            if not data.endswith(b"\n"):  # cut by a kill
                data = data[: data.rfind(b"\n") + 1]
                path.write_bytes(data)
            for line in data.splitlines():
                logical, key, size, crc, how, file = json.loads(line)
                placed = Placed(key, size, crc, Attributes(**how))
                self.written[logical] = placed
                waiting.pop(logical, None)
                if file:
                    waiting[logical] = (placed, self._outbox / file)
        known = {path.name for _, path in waiting.values()}
        for left in self._outbox.iterdir():
            self._number = max(self._number, int(left.name, 16) + 1)
            if left.name not in known:  # moved here, and not in the list yet
                left.unlink()
        # of those whose file has gone the last line was cut: they are there
        return [(placed, path) for placed, path in waiting.values() if path.exists()]

    def _note(self, logical: str, placed: Placed, file: str = "") -> None:
        row = [logical, placed.key, placed.size, placed.crc32c, _plain(placed.attributes), file]
        try:
            self._list.write(json.dumps(row).encode() + b"\n")
            self._list.flush()
        except (OSError, ValueError) as error:
            if isinstance(error, ValueError):
                raise StorageError(f"{self.url}: nothing can be written any more") from None
            raise translate_os_error(error, "writing", self._list.name) from None

    # ---- writing

    def write(self, key: str, data: bytes, attributes: Attributes) -> None:
        """Begin to send an object."""
        if "/" not in key:
            self._put_top(key, data)
            return
        data = bytes(data)
        placed = self._placed(key, len(data), int(google_crc32c.value(data)), attributes)
        with self._lock:
            self._wait(lambda: self._small < WAITING_OBJECTS and self._small_bytes <= WAITING_BYTES)
            self._small += 1
            self._small_bytes += len(data)
        self._submit(self._pool, lambda: self._send(key, placed, data), lambda: self._sent(len(data)))

    def _send(self, logical: str, placed: Placed, data: bytes) -> None:
        self.target.write(placed.key, data, placed.attributes)
        with self._lock:
            self.written[logical] = placed
            self._note(logical, placed)

    def _sent(self, size: int) -> None:
        self._small -= 1
        self._small_bytes -= size

    def write_file(self, key: str, path: Path, attributes: Attributes) -> None:
        """Take over a file, to be sent."""
        if "/" not in key:
            try:
                path.replace(self.tops / key)
            except OSError as error:
                raise translate_os_error(error, "writing", self.tops / key) from None
            return
        size, crc = sum_of(path)
        placed = self._placed(key, size, crc, attributes)
        with self._lock:
            self._wait(lambda: self._file_bytes == 0 or self._file_bytes + size <= OUTBOX_BYTES)
            waiting = self._outbox / f"{self._number:x}"
            self._number += 1
            try:
                path.replace(waiting)
            except OSError as error:
                raise translate_os_error(error, "writing", waiting) from None
            self._note(key, placed, waiting.name)
            self.written[key] = placed
        self._send_file(placed, waiting, key)

    def _send_file(self, placed: Placed, path: Path, logical: str = "") -> None:
        logical = logical or next(key for key, one in self.written.items() if one is placed)
        with self._lock:
            self._file_bytes += placed.size

        def send() -> None:
            self.target.write_file(placed.key, path, placed.attributes)
            with self._lock:
                self._note(logical, placed)

        def done() -> None:
            self._file_bytes -= placed.size

        self._submit(self._files, send, done)

    def _submit(self, pool: ThreadPoolExecutor, work: Callable[[], None], done: Callable[[], None]) -> None:
        def finish(future: Future[None]) -> None:
            with self._lock:
                done()
                if not future.cancelled() and self._error is None:
                    self._error = future.exception()
                self._lock.notify_all()

        pool.submit(work).add_done_callback(finish)

    def _wait(self, ready: Callable[[], bool]) -> None:
        """Wait, with the lock, until there is room; or for the first error."""
        self._lock.wait_for(lambda: self._error is not None or ready())
        if self._error is not None:
            raise self._error

    def _placed(self, key: str, size: int, crc: int, attributes: Attributes) -> Placed:
        where = self._place(key)
        if where != key and attributes.cache_control == DATA.cache_control():
            attributes = replace(attributes, cache_control=DATA.cache_control(generation=True))
        return Placed(where, size, crc, attributes)

    def _put_top(self, key: str, data: bytes) -> None:
        part = self.tops / f".{key}.part"
        try:
            part.write_bytes(data)
            part.replace(self.tops / key)
        except OSError as error:
            raise translate_os_error(error, "writing", self.tops / key) from None

    def flush(self) -> None:
        """Wait until no object is in memory alone."""
        with self._lock:
            self._wait(lambda: self._small == 0)

    def drain(self, advance: Callable[[int], None]) -> None:
        """Wait until everything is in the store; ``advance`` is told the bytes of files that were sent meanwhile."""
        self.flush()
        with self._lock:
            while self._file_bytes and self._error is None:
                before = self._file_bytes
                self._lock.wait_for(lambda b=before: self._error is not None or self._file_bytes != b)  # type: ignore[misc]
                advance(max(0, before - self._file_bytes))
            self._wait(lambda: True)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of files that are not sent yet."""
        return self._file_bytes

    # ---- what was written

    def read(self, key: str, start: int | None = None, stop: int | None = None) -> bytes:
        """Return a file at the top: what was written, else what is there."""
        if "/" in key:
            raise StorageError(f"{self.url}/{key} is not read while it is being written", where=key)
        try:
            data = (self.tops / key).read_bytes()
        except FileNotFoundError:
            return self.target.read(key, start, stop)
        except OSError as error:
            raise translate_os_error(error, "reading", self.tops / key) from None
        return data[start:stop]

    def read_stored(self, key: str, start: int | None = None, stop: int | None = None) -> StoredBytes:
        """Return a file at the top, which is never packed here."""
        return StoredBytes(self.read(key, start, stop), "")

    def stat(self, key: str) -> ObjectStat:
        """Describe an object that was written; of those at the top also one that is there."""
        if "/" not in key:
            if (self.tops / key).exists():
                return ObjectStat(key=key, size=(self.tops / key).stat().st_size)
            return replace(self.target.stat(key), encoding="")  # it is written anew as it is
        placed = self.written.get(key)
        if placed is None:
            raise ObjectNotFoundError(f"{self.url}/{key} was not written", where=key)
        return _stat(key, placed)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Yield what was written, sorted by key."""
        self.flush()
        for key in sorted(self.written):
            if key.startswith(prefix):
                yield _stat(key, self.written[key])

    def delete(self, key: str) -> None:
        """Refuse: what was written by mistake is not switched to."""
        raise StorageError(f"{self.url}/{key} is not removed while it is being written", where=key)


def sum_of(path: Path) -> tuple[int, int]:
    """Return the bytes of a file of this machine, and their CRC-32C."""
    crc = size = 0
    try:
        with path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                crc = int(google_crc32c.extend(crc, piece))
                size += len(piece)
    except OSError as error:
        raise translate_os_error(error, "reading", path) from None
    return size, crc


def _stat(key: str, placed: Placed) -> ObjectStat:
    return ObjectStat(key=key, size=placed.size, encoding=placed.attributes.encoding)


def _plain(attributes: Attributes) -> dict[str, Any]:
    return {name: getattr(attributes, name) for name in ("content_type", "encoding", "cache_control")}
