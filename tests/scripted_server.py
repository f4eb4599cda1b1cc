"""A web server that answers as it is told, and keeps what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Script:
    """Answers by path: a status, headers and a body, or a function of the request that gives them.

    The answer to ``None`` is that to all other paths.
    """

    def __init__(self) -> None:
        self.answers: dict[str | None, Any] = {None: (404, {}, b"no")}
        self.seen: list[tuple[str, str, Message]] = []
        self.bodies: list[bytes] = []
        self.url = ""


@contextmanager
def scripted() -> Iterator[Script]:
    """Run a server until the block ends."""
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else bodies wait 40 ms for the client to confirm the headers

        def do_GET(self) -> None:
            script.seen.append((self.command, self.path, self.headers))
            self.body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            script.bodies.append(self.body)
            answer = script.answers.get(self.path.partition("?")[0], script.answers[None])
            status, headers, body = answer(self) if callable(answer) else answer
            self.send_response(status)
            headers = {"Content-Length": str(len(body)), **headers}
            for name, value in headers.items():
                if value is not None:
                    self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    script.url = f"http://127.0.0.1:{httpd.server_address[1]}"
    try:
        yield script
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
