"""An HTTP proxy that does harm by plan, and keeps a list of what it did.

It stands between a client and one server, both on this machine. Bytes and headers pass as they are, ``Host`` among
them: a client signs for the host that it talks to, which is the proxy, and the server checks the signature against
the header that it gets. Every request goes upstream on a connection of its own, so that the end of an idle
connection is never taken for harm that was not planned.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
import urllib.parse
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, get_args

from raw_http import TIMEOUT_S

PIECE = 1 << 16
HEAD_LIMIT = 1 << 20

Kind = Literal[
    "error_500",
    "slow_down",
    "error_in_200",
    "denied",
    "cut_answer",
    "cut_upload",
    "lost_answer",
    "slow",
    "stall",
]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Request:
    """A request that came, by its number from 0."""

    number: int
    method: str
    target: str
    headers: dict[str, str]
    """Names in lower case."""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, list[str]]:
        return urllib.parse.parse_qs(self.target.partition("?")[2], keep_blank_values=True)

    @property
    def has_body(self) -> bool:
        return self.headers.get("content-length", "0") != "0" or "transfer-encoding" in self.headers

    @property
    def completes_upload(self) -> bool:
        """Whether it is S3's request to put the parts of an upload together."""
        return self.method == "POST" and "uploadId" in self.query


@dataclass(frozen=True)
class Injected:
    """Harm that was done to a request."""

    kind: Kind
    request: Request


def everything(_: Request) -> bool:
    return True


@dataclass(frozen=True)
class Plan:
    """What happens to which share of the requests; the shares of all kinds together are at most 1.

    A request that a kind cannot befall (no body to cut) passes unharmed when that kind is drawn for it.
    """

    error_500: float = 0
    """Answered ``500 InternalError``; the server does not see it."""
    slow_down: float = 0
    """Answered ``503 SlowDown``; the server does not see it."""
    error_in_200: float = 0
    """An upload's completion is answered 200 with an error inside, as S3 does; the server does not see it."""
    cut_answer: float = 0
    """The connection ends in the middle of the answer's body."""
    cut_upload: float = 0
    """Both connections end in the middle of the request's body."""
    lost_answer: float = 0
    """The server does it all, but the connection ends before the answer."""
    slow: float = 0
    """The answer comes in eight pieces, ``pause_s`` before each."""
    stall: float = 0
    """Nothing comes any more after half of the body, or instead of an answer without one; the connection stays."""
    deny_from: int | None = None
    """All requests from this number of them on are answered ``403 AccessDenied``."""
    pause_s: float = 0.02
    only: Callable[[Request], bool] = everything
    """Which requests any of it, and the counting for ``deny_from``, is for."""

    def __post_init__(self) -> None:
        shares = self.shares()
        if min(shares.values()) < 0 or sum(shares.values()) > 1:
            raise ValueError(f"not shares of one whole: {shares}")

    def shares(self) -> dict[Kind, float]:
        return {kind: getattr(self, kind) for kind in KINDS if kind != "denied"}


ERRORS: dict[Kind, tuple[int, str, str, str]] = {
    "error_500": (500, "Internal Server Error", "InternalError", "We encountered an internal error. Please try again."),
    "slow_down": (503, "Slow Down", "SlowDown", "Please reduce your request rate."),
    "error_in_200": (200, "OK", "InternalError", "We encountered an internal error. Please try again."),
    "denied": (403, "Forbidden", "AccessDenied", "Access Denied"),
}


class _UpstreamError(Exception):
    """The server did not do its part."""


@dataclass(frozen=True)
class _Head:
    raw: bytes
    first: list[str]
    headers: dict[str, str]

    @classmethod
    async def read(cls, reader: asyncio.StreamReader) -> _Head | None:
        """Read up to the empty line; nothing at the end of the connection."""
        try:
            raw = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return None
        first, *lines = raw[:-4].decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return cls(raw, first.split(" ", 2), headers)

    @property
    def closes(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"

    def body(self, *, none: bool = False, open_end: bool = False) -> _Body:
        if none:
            return _Body(0)
        if "chunked" in self.headers.get("transfer-encoding", ""):
            return _Body(None, chunked=True)
        length = self.headers.get("content-length")
        return _Body(int(length)) if length is not None else _Body(None if open_end else 0)


@dataclass(frozen=True)
class _Body:
    """How a body is delimited: by its length, in chunks, or (neither) by the end of the connection."""

    length: int | None
    chunked: bool = False

    @property
    def can_break(self) -> bool:
        """Whether who reads it can tell that its end is missing."""
        return self.chunked or bool(self.length)

    async def pieces(self, reader: asyncio.StreamReader, *, half: bool = False) -> AsyncIterator[bytes]:
        """Yield it as it is sent; or without its second half, which of chunks is the one that says that it was all."""
        if self.length is not None:
            left = self.length // 2 if half else self.length
            while left:
                piece = await reader.read(min(left, PIECE))
                if not piece:
                    raise asyncio.IncompleteReadError(b"", left)
                left -= len(piece)
                yield piece
        elif self.chunked:
            while True:
                line = await reader.readuntil(b"\r\n")
                size = int(line.partition(b";")[0], 16)
                if size == 0:
                    break
                yield line + await reader.readexactly(size + 2)
            if not half:
                trailer = line
                while line != b"\r\n":
                    line = await reader.readuntil(b"\r\n")
                    trailer += line
                yield trailer
        else:
            while piece := await reader.read(PIECE):
                yield piece


@dataclass
class FaultProxy:
    """Use it by :func:`running`; the plan can be replaced at any time."""

    port: int
    upstream: int
    plan: Plan
    seed: int
    requests: list[Request] = field(default_factory=list)
    injected: list[Injected] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    """What went wrong by itself."""

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._struck = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def counts(self) -> Counter[Kind]:
        return Counter(done.kind for done in self.injected)

    def use(self, plan: Plan) -> None:
        """Go on by another plan, counting for ``deny_from`` anew."""
        self._struck = 0
        self.plan = plan

    # ---- in the thread of the loop

    def _draw(self, request: Request) -> Kind | None:
        if not self.plan.only(request):
            return None
        self._struck += 1
        if self.plan.deny_from is not None and self._struck > self.plan.deny_from:
            return "denied"
        drawn = self._random.random()
        for kind, share in self.plan.shares().items():
            drawn -= share
            if drawn < 0:
                fits = {"cut_upload": request.has_body, "error_in_200": request.completes_upload}
                return kind if fits.get(kind, True) else None
        return None

    def _note(self, kind: Kind, request: Request) -> None:
        self.injected.append(Injected(kind, request))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of a client."""
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        except _UpstreamError as error:
            self.troubles.append(f"{error} ({error.__cause__!r})")
        except Exception as error:
            self.troubles.append(repr(error))
            raise
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Pass one request on, and its answer; return whether the connection stays."""
        head = await _Head.read(reader)
        if head is None:
            return False
        request = Request(len(self.requests), head.first[0], head.first[1], head.headers)
        self.requests.append(request)
        kind = self._draw(request)
        if kind in ERRORS:
            return await self._refuse(kind, request, head, (reader, writer))
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self.upstream, limit=HEAD_LIMIT)
        except OSError as error:
            raise _UpstreamError(f"no connection for {request.method} {request.path}") from error
        # ended at once and without traces: thousands of connections that linger would use up the ports
        upstream[1].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            return await self._forward(kind, request, head, (reader, writer), upstream)
        finally:
            upstream[1].transport.abort()

    async def _refuse(
        self,
        kind: Kind,
        request: Request,
        head: _Head,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> bool:
        status, reason, code, message = ERRORS[kind]
        waits = "expect" in head.headers  # and will not send its body
        if not waits:
            async for _ in head.body().pieces(client[0]):
                pass
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
        lines = [f"HTTP/1.1 {status} {reason}", "Content-Type: application/xml", f"Content-Length: {len(text)}"]
        if waits:
            lines.append("Connection: close")
        self._note(kind, request)
        client[1].write("\r\n".join([*lines, "", "" if request.method == "HEAD" else text]).encode())
        await client[1].drain()
        return not waits and not head.closes

    async def _forward(
        self,
        kind: Kind | None,
        request: Request,
        head: _Head,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> bool:
        cut = kind == "cut_upload"
        upstream[1].write(head.raw)
        sending = asyncio.create_task(self._send(head.body(), client[0], upstream[1], half=cut))
        answering = asyncio.create_task(self._answer_head(request, client[1], upstream[0]))
        try:
            await asyncio.wait({sending, answering}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and sending.exception() is not None:
                await sending  # the client has gone in the middle of its body, and the server is told by the end
            if cut and sending.done():
                self._note("cut_upload", request)
                return False
            answer, continued = await answering
            stays = await self._answer(kind, request, answer, client[1], upstream[0])
            if kind == "stall":
                await asyncio.wait({sending})
                await client[0].read(1)  # until the client has had enough
            if not stays:
                return False
            if "expect" in head.headers and not continued:
                return False  # the body was not wanted and does not come
            await sending
            return not head.closes
        finally:
            for task in (sending, answering):
                task.cancel()
            await asyncio.gather(sending, answering, return_exceptions=True)

    @staticmethod
    async def _send(body: _Body, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, half: bool) -> None:
        """Send a request's body, and go on reading it when the server no longer does."""
        listens = True
        async for piece in body.pieces(reader, half=half):
            if listens:
                try:
                    writer.write(piece)
                    await writer.drain()
                except ConnectionError:
                    listens = False

    @staticmethod
    async def _answer_head(
        request: Request, writer: asyncio.StreamWriter, upstream: asyncio.StreamReader
    ) -> tuple[_Head, bool]:
        """Read the answer's head, passing on those that come before; tell whether the client was told to go on."""
        continued = False
        while True:
            try:
                answer = await _Head.read(upstream)
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                raise _UpstreamError(f"no answer to {request.method} {request.path}") from error
            if answer is None:
                raise _UpstreamError(f"no answer to {request.method} {request.path}")
            if not answer.first[1].startswith("1"):
                return answer, continued
            continued = True
            writer.write(answer.raw)
            await writer.drain()

    async def _answer(
        self,
        kind: Kind | None,
        request: Request,
        answer: _Head,
        writer: asyncio.StreamWriter,
        upstream: asyncio.StreamReader,
    ) -> bool:
        """Pass an answer on, or the part of it that is planned; return whether the connection stays."""
        bare = request.method == "HEAD" or answer.first[1] in ("204", "304")
        body = answer.body(none=bare, open_end=True)
        breaks = body.can_break and kind in ("cut_answer", "stall")
        if kind == "lost_answer":
            self._note(kind, request)
            return False
        if kind is not None and (breaks or kind in ("slow", "stall")):
            self._note(kind, request)
        if kind != "stall" or breaks:
            pieces = self._from_server(body, request, upstream, half=breaks)
            if kind == "slow":
                whole = answer.raw + b"".join([piece async for piece in pieces])
                step = -(-len(whole) // 8)
                for at in range(0, len(whole), step):
                    await asyncio.sleep(self.plan.pause_s)
                    writer.write(whole[at : at + step])
                    await writer.drain()
            else:
                writer.write(answer.raw)
                async for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                await writer.drain()
        return not breaks and kind != "stall" and not answer.closes and (body.chunked or body.length is not None)

    @staticmethod
    async def _from_server(
        body: _Body, request: Request, upstream: asyncio.StreamReader, *, half: bool
    ) -> AsyncIterator[bytes]:
        pieces = body.pieces(upstream, half=half)
        while True:
            try:
                piece = await anext(pieces, b"")
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                raise _UpstreamError(f"the answer to {request.method} {request.path} broke off") from error
            if not piece:
                return
            yield piece


@contextmanager
def running(upstream: int, plan: Plan | None = None, seed: int = 0) -> Iterator[FaultProxy]:
    """Stand in front of the server on a port of this machine; at the end fail over what went wrong unplanned."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    proxy = FaultProxy(listener.getsockname()[1], upstream, plan or Plan(), seed)
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    ready = threading.Event()

    async def main() -> None:
        connections: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            try:
                await proxy.serve(reader, writer)
            except asyncio.CancelledError:
                pass  # the end, below
            finally:
                connections.discard(task)

        server = await asyncio.start_server(serve, sock=listener, limit=HEAD_LIMIT)
        ready.set()
        await stop.wait()
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    assert ready.wait(TIMEOUT_S)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()
        loop.close()
    assert not proxy.troubles, proxy.troubles
