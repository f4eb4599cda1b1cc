"""HTTP by hand: bytes go into a socket, what comes back is read after RFC 9112; no library mends anything."""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

TIMEOUT_S = 60


@dataclass(frozen=True)
class Answer:
    """What came back; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def origins(self) -> str | None:
        """Whose pages may read it."""
        return self.headers.get("access-control-allow-origin")


class Connection:
    """One connection, on which requests follow each other.

    No header may be there twice, but for those that others than us repeat; of them the first counts.
    """

    def __init__(self, port: int, host: str = "127.0.0.1", repeated: Collection[str] = ()) -> None:
        self.port = port
        self.repeated = repeated
        self.socket = socket.create_connection((host, port), TIMEOUT_S)
        self._rest = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: Any) -> None:
        self.socket.close()

    def send(self, method: str, path: str | bytes, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        """Send a request; the path goes out as it is, and ``Host`` unless it is given, empty for none."""
        named = {"Host": f"127.0.0.1:{self.port}", **(headers or {})}
        if body:
            named["Content-Length"] = str(len(body))
        target = path.encode() if isinstance(path, str) else path
        lines = [method.encode() + b" " + target + b" HTTP/1.1"]
        lines += [f"{name}: {value}".encode("latin-1") for name, value in named.items() if value or name != "Host"]
        self.socket.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)

    def receive(self, *, head_only: bool = False) -> Answer:
        """Read one answer to its end."""
        while b"\r\n\r\n" not in self._rest:
            self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1"
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            assert name.lower() not in headers or name.lower() in self.repeated, f"{name} twice"
            headers.setdefault(name.lower(), value.strip())
        code = int(status)
        if head_only or code in (204, 304):
            return Answer(code, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(code, headers, self._chunks())
        return Answer(code, headers, self._take(int(headers["content-length"])))

    def ask(
        self, method: str, path: str | bytes, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Send a request and read its answer."""
        self.send(method, path, headers, body)
        return self.receive(head_only=method == "HEAD")

    def closed(self) -> bool:
        """Wait until the other side closes; return whether it sent nothing more."""
        return self._rest == b"" and self.socket.recv(1) == b""

    def _more(self) -> None:
        piece = self.socket.recv(1 << 16)
        if not piece:
            raise EOFError("the connection was closed in the middle of an answer")
        self._rest += piece

    def _take(self, count: int) -> bytes:
        pieces = [self._rest[:count]]
        self._rest = self._rest[count:]
        missing = count - len(pieces[0])
        while missing:
            piece = self.socket.recv(min(missing, 1 << 20))
            if not piece:
                raise EOFError(f"the connection was closed {missing} bytes before the end")
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def _line(self) -> bytes:
        while b"\r\n" not in self._rest:
            self._more()
        line, _, self._rest = self._rest.partition(b"\r\n")
        return line

    def _chunks(self) -> bytes:
        pieces = []
        while size := int(self._line().partition(b";")[0], 16):
            pieces.append(self._take(size))
            assert self._take(2) == b"\r\n"
        while self._line():
            pass
        return b"".join(pieces)


def ask(
    port: int, method: str, path: str | bytes, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Answer:
    """Send one request on a connection of its own."""
    with Connection(port) as connection:
        return connection.ask(method, path, headers, body)
