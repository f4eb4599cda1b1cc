"""Datasets in buckets, read with the user's credentials and passed on: what the native server is for files.

Every answer is what the native server would give for the same dataset on a disk: statuses, headers from the one table,
ranges, conditions, encodings. What the store says no to, or cannot say, is an error with a reason, and never
"not there", which viewers draw as empty space.

The native server stands before all of this: who may ask (``Host``, the secret path), ``OPTIONS``, and the headers for
pages of other origins are the same as for files.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from typing import Self

from precast.errors import ObjectNotFoundError, PrecastError, StorageError
from precast.hosting.pages import CutError, Request, Response, method_not_allowed, words
from precast.hosting.request_headers import (
    CONDITIONS,
    Outcome,
    evaluate,
    first_wanted,
    parse_ranges,
    range_allowed,
    takes,
)
from precast.precomputed.mesh_info import TYPES as MESH_TYPES
from precast.precomputed.objects import COLLECTION_KEY, INFO_KEY, ObjectRule, kind_of
from precast.storage import Store
from precast.storage.cloud_errors import NotNowError
from precast.storage.encodings import bare_name, decode

__all__ = ["Room", "StoredDatasets"]

PIECE_BYTES = 4 << 20
"""Read at once: nearly every chunk and every range of one; more is read and sent a piece at a time."""

WHOLE_BYTES = 1 << 20
"""Answers of no more are handed to the connection as a whole, and make room for others, however slow the client is."""

SLICE_BYTES = 256 << 10
"""What the connection is handed of larger ones at once; it keeps a few of them."""

MOST_ANSWERS = 32
"""Being read and sent at a time; with one or two of :data:`PIECE_BYTES` for each, the memory that they take."""

MOST_UNPACKED_BYTES = 256 << 20
UNPACKING = 2
"""Objects at a time that are unpacked, for clients that do not take them packed or want a range."""

COMPLETE_S = 10.0
"""How long it is remembered that a dataset has its ``info``, and of which type the meshes beside an object are."""

TRIES = 3
"""For an object that is replaced while it is read."""

END_S = 2.0
"""How long answers are waited for at the end; one may be held up by a store that says nothing."""

NO_INFO = "this dataset has no info (it is not complete yet, or none at all)"
NO_OBJECT = "there is no such object here"
ENTITY_TAG = frozenset(map(chr, range(0x21, 0x7F))) - {'"'}


class _ClosingError(Exception):
    """The server ends."""


class _ChangedError(StorageError):
    """An object is another one than before."""


class Room:
    """How many answers there may be at a time, so that they fit into the memory; and the end of all of them."""

    def __init__(self, most: int = MOST_ANSWERS) -> None:
        self.unpacking = threading.Semaphore(UNPACKING)
        self._most = most
        self._inside = 0
        self._closing = False
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._inside < self._most)
            if self._closing:
                raise _ClosingError
            self._inside += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in any more, and wait a while for those inside: Python must not end while they are in it."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._inside, END_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Object:
    """What is known of an object, and what of its bytes was read along with that."""

    path: str
    etag: str
    encoding: str
    size: int
    start: int = 0
    data: bytes = b""


class StoredDatasets:
    """The handler of a place in a bucket: a dataset, or a directory of some.

    Parameters
    ----------
    store
        The place.
    layers
        Directories below it that are datasets; none if it is one itself, unless it is listed.
    listed
        Whether there is a list of datasets, which is served too.
    cache
        Whether browsers may keep data for a while.
    room
        Shared by all places of a server.
    tell
        Told of errors of the store.
    """

    def __init__(
        self,
        store: Store,
        layers: Sequence[str],
        *,
        listed: bool,
        cache: bool,
        room: Room,
        tell: Callable[[PrecastError], None],
    ) -> None:
        self._store = store
        self._layers = tuple(layers) if layers or listed else ("",)
        self._listed = listed
        self._cache = cache
        self._room = room
        self._tell = tell
        self._known: dict[str, float] = {}
        self._ranged: dict[str, tuple[bool, float]] = {}
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        if request.method not in ("GET", "HEAD"):
            return method_not_allowed()
        with ExitStack() as held:
            try:
                held.enter_context(self._room)
                response = self._answer(request, held)
            except _ClosingError:
                return words(503, "the server is being closed")
            except PrecastError as error:
                return self._failed(error)
            if isinstance(response.body, bytes):
                return response
            body = self._sent(response.body, held.pop_all())
            next(body)  # from here on what is held is let go at its end, whenever that is
            return replace(response, body=body)

    def _failed(self, error: PrecastError) -> Response:
        self._tell(error)
        hint = f"\n{error.hint}" if error.hint else ""
        # viewers ask again for what is not to be had now
        return words(503 if isinstance(error, NotNowError | _ChangedError) else 502, f"{error.message}{hint}")

    def _sent(self, pieces: Iterator[bytes], held: ExitStack) -> Iterator[bytes]:
        with held:
            yield b""
            try:
                for piece in pieces:
                    for at in range(0, len(piece), SLICE_BYTES):
                        yield piece[at : at + SLICE_BYTES]
            except PrecastError as error:
                self._tell(error)
                raise CutError from None

    # ---- which object

    def _answer(self, request: Request, held: ExitStack) -> Response:
        if not _is_key(request.path):
            return words(404, NO_OBJECT)
        if self._listed and request.path == COLLECTION_KEY:
            return self._object(request, COLLECTION_KEY, NO_OBJECT, held)
        for layer in self._layers:
            if not layer or request.path.startswith(f"{layer}/"):
                break
        else:
            return words(404, NO_OBJECT)
        is_info = request.path == _below(layer, INFO_KEY)
        if not is_info and not self.is_complete(layer):
            return words(404, NO_INFO)
        # objects are not known by the names of their packed forms
        if bare_name(request.path)[1]:
            return words(404, NO_OBJECT)
        return self._object(request, request.path, NO_INFO if is_info else NO_OBJECT, held)

    def is_complete(self, layer: str) -> bool:
        """Return whether a dataset has an ``info``, which writers put there last; remembered for a while if so.

        Raises
        ------
        AccessDeniedError, StorageError
            If the store does not tell.
        """
        with self._lock:  # one asks, the others wait for the answer
            if time.monotonic() < self._known.get(layer, 0):
                return True
            try:
                self._store.stat(_below(layer, INFO_KEY))
            except ObjectNotFoundError:
                return False
            self._known[layer] = time.monotonic() + COMPLETE_S
            return True

    def _is_ranged(self, path: str) -> bool:
        """Return whether an object holds fragments of a mesh, read by ranges; the ``info`` beside it tells."""
        folder, _, name = path.rpartition("/")
        if not (name.isascii() and name.isdigit()):
            return False
        with self._lock:
            ranged, until = self._ranged.get(folder, (False, 0.0))
            if time.monotonic() >= until:
                try:
                    info = self._store.read(_below(folder, INFO_KEY))
                except ObjectNotFoundError:
                    info = b""
                ranged = f'"{MESH_TYPES["multilod_draco"]}"'.encode() in info
                self._ranged[folder] = ranged, time.monotonic() + COMPLETE_S
            return ranged

    # ---- what is sent of it

    def _object(self, request: Request, path: str, missing: str, held: ExitStack) -> Response:
        rule = kind_of(path).rule
        for left in range(TRIES - 1, -1, -1):
            try:
                return self._sent_of(self._look(request, path), rule, request, held)
            except ObjectNotFoundError:
                return words(404, missing)
            except _ChangedError:
                if not left:
                    raise
        raise AssertionError("the last try returns or raises")

    def _look(self, request: Request, path: str) -> _Object:
        """Find out about an object; where that is what most requests want, by reading the beginning of it."""
        headers = request.headers
        first: tuple[int, int] | None = (0, PIECE_BYTES)
        if "range" in headers and request.method == "GET":
            first = first_wanted(headers["range"])
        if request.method == "GET" and first is not None and not any(name in headers for name in CONDITIONS):
            start, stop = first
            stored = self._store.read_stored(path, start, min(stop, start + PIECE_BYTES))
            if stored.size is not None:
                return _Object(
                    path=path,
                    etag=stored.etag,
                    encoding=stored.encoding,
                    size=stored.size,
                    start=start,
                    data=stored.data,
                )
        stat = self._store.stat(path)
        return _Object(path=path, etag=stat.etag, encoding=stat.encoding or "", size=stat.size)

    def _sent_of(self, one: _Object, rule: ObjectRule, request: Request, held: ExitStack) -> Response:
        headers = request.headers
        # a range is one of the bytes as they are: of an encoding it would be of no use to anybody
        wanted = headers.get("range") if request.method == "GET" else None
        as_stored = one.encoding != "" and wanted is None and rule.whole and takes(headers, one.encoding)
        encoding = one.encoding if as_stored and not self._is_ranged(one.path) else ""
        etag = _entity_tag(one.etag, encoding)
        out = {"Cache-Control": rule.cache_control() if self._cache else "no-cache"}
        if one.encoding:
            out["Vary"] = "Accept-Encoding"
        out["Accept-Ranges"] = "bytes"
        if etag:
            out["ETag"] = etag
        match evaluate(headers, etag):
            case Outcome.NOT_MODIFIED:
                return Response(status=304, content_type="", headers=out)
            case Outcome.FAILED:
                return words(412, "the object is another one by now")
        if encoding:
            out["Content-Encoding"] = encoding
        if one.encoding and not encoding:
            one = self._unpacked(one, held)
        ranges = None if wanted is None or not range_allowed(headers, etag) else parse_ranges(wanted, one.size)
        if ranges is None:
            return self._whole(one, rule, out, request.method)
        if not ranges:
            return words(416, "there are no such bytes", Content_Range=f"bytes */{one.size}")
        return self._parts(one, rule, out, ranges)

    def _whole(self, one: _Object, rule: ObjectRule, out: dict[str, str], method: str) -> Response:
        out["Content-Length"] = str(one.size)
        body = self._body(self._pieces(one, 0, one.size), one.size) if method == "GET" else b""
        return Response(body=body, content_type=rule.content_type, headers=out)

    def _parts(
        self, one: _Object, rule: ObjectRule, out: dict[str, str], ranges: Sequence[tuple[int, int]]
    ) -> Response:
        if len(ranges) == 1:
            ((start, stop),) = ranges
            out |= {"Content-Range": f"bytes {start}-{stop - 1}/{one.size}", "Content-Length": str(stop - start)}
            body = self._body(self._pieces(one, start, stop), stop - start)
            return Response(body=body, status=206, content_type=rule.content_type, headers=out)
        mark = f"precast-{secrets.token_hex(16)}"
        heads = [
            f"\r\n--{mark}\r\nContent-Type: {rule.content_type}\r\n"
            f"Content-Range: bytes {start}-{stop - 1}/{one.size}\r\n\r\n".encode()
            for start, stop in ranges
        ]
        end = f"\r\n--{mark}--\r\n".encode()

        def pieces() -> Iterator[bytes]:
            for head, (start, stop) in zip(heads, ranges, strict=True):
                yield head
                yield from self._pieces(one, start, stop)
            yield end

        length = sum(map(len, heads)) + sum(stop - start for start, stop in ranges) + len(end)
        out["Content-Length"] = str(length)
        kind = f"multipart/byteranges; boundary={mark}"
        return Response(body=self._body(pieces(), length), status=206, content_type=kind, headers=out)

    @staticmethod
    def _body(pieces: Iterator[bytes], length: int) -> bytes | Iterator[bytes]:
        """Return a short body as it is; of a longer one, read the beginning, so that what goes wrong is answered."""
        if length <= WHOLE_BYTES:
            return b"".join(pieces)
        return chain([next(pieces)], pieces)

    def _pieces(self, one: _Object, start: int, stop: int) -> Iterator[bytes]:
        """Yield bytes of an object, and see to it that all are of the same one."""
        at = start
        if one.start <= at < one.start + len(one.data):
            have = one.data[at - one.start : stop - one.start]
            at += len(have)
            one = replace(one, data=b"")  # let go of it with the piece
            yield have
            del have
        while at < stop:
            stored = self._store.read_stored(one.path, at, min(stop, at + PIECE_BYTES))
            if stored.etag != one.etag or len(stored.data) != min(stop - at, PIECE_BYTES):
                raise _ChangedError(
                    f"{self._store.url}/{one.path} was replaced while it was read", hint="ask again", where=one.path
                )
            yield stored.data
            at += len(stored.data)

    def _unpacked(self, one: _Object, held: ExitStack) -> _Object:
        """Return an object as readers want it."""
        where = f"{self._store.url}/{one.path}"
        with ExitStack() as slot:
            self._room.unpacking.acquire()
            slot.callback(self._room.unpacking.release)
            if one.size > MOST_UNPACKED_BYTES:
                raise StorageError(
                    f"{where} is stored as {one.encoding} and too large to be unpacked on the way",
                    hint="ask for it with Accept-Encoding, or publish it anew: precast publish --fix-headers",
                    where=one.path,
                )
            packed = b"".join(self._pieces(one, 0, one.size))
            data = decode(packed, one.encoding, where, one.path, MOST_UNPACKED_BYTES)
            if len(data) > PIECE_BYTES:
                held.push(slot.pop_all())
        return replace(one, size=len(data), start=0, data=data)


def _is_key(path: str) -> bool:
    """Return whether a path can name an object: none of its parts is empty or starts with a dot."""
    return all(part and not part.startswith(".") for part in path.split("/"))


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _entity_tag(etag: str, encoding: str) -> str:
    """Return a strong entity tag, another one for each encoding; empty if the store tells none that can be sent."""
    if not etag or not ENTITY_TAG.issuperset(etag):
        return ""
    return f'"{etag}-{encoding}"' if encoding else f'"{etag}"'
