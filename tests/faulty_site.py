"""A web server in this process that does everything right, but for the one thing that a test spoils."""

from __future__ import annotations

import gzip
import ssl
import subprocess
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

OPEN = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Content-Range, Content-Encoding",
}
REWRITTEN = ("info", "provenance", "precast.json")


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]

    @property
    def ranged(self) -> bool:
        return "range" in self.headers

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass
class Reply:
    """What is sent; a status of 0 closes the connection without a word."""

    status: int
    headers: dict[str, str]
    body: bytes
    again: list[tuple[str, str]] = field(default_factory=list)
    """Headers that are there a second time."""


Fault = Callable[[Request, Reply], Any]


@dataclass
class Site:
    root: Path
    url: str = ""
    fault: Fault | None = None
    seen: list[Request] = field(default_factory=list)
    sent_bytes: int = 0

    def reply(self, request: Request) -> Reply:
        """Answer as a server should."""
        if request.method == "OPTIONS":
            allowed = {"Access-Control-Allow-Headers": "Range", "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS"}
            return Reply(204, {**OPEN, **allowed}, b"")
        path = self.root / urllib.parse.unquote(request.path).lstrip("/")
        packed = path.with_name(f"{path.name}.gz")
        source = packed if packed.is_file() else path
        if not source.is_file() or any(part.startswith(".") for part in path.relative_to(self.root).parts):
            return Reply(404, {**OPEN, "Content-Type": "text/plain"}, b"there is no such object\n")
        body = source.read_bytes()
        rewritten = path.name in REWRITTEN
        headers = {**OPEN, "Cache-Control": "no-cache" if rewritten else "public, max-age=3600"}
        if source == packed:
            headers["Content-Encoding"] = "gzip"
        elif request.ranged:
            first, _, last = request.headers["range"].removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last) + 1 if last else len(body), len(body))
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(body)}"
            return Reply(206, headers, body[start:stop])
        return Reply(200, headers, body)


@contextmanager
def running(root: Path, certificate: Path | None = None) -> Iterator[Site]:
    """Serve a folder; with a certificate over https."""
    site = Site(root)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = 1 << 16  # head and body in one packet, or each answer waits for the system's timers
        disable_nagle_algorithm = True

        def answer(self) -> None:
            lower = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path.partition("?")[0], lower)
            site.seen.append(request)
            reply = site.reply(request)
            if site.fault is not None:
                site.fault(request, reply)
            if not reply.status:
                self.close_connection = True
                return
            self.send_response_only(reply.status)
            if reply.status != 204:
                reply.headers.setdefault("Content-Length", str(len(reply.body)))
            for name, value in [*reply.headers.items(), *reply.again]:
                if value:
                    self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                try:
                    self.wfile.write(reply.body)
                    self.wfile.flush()
                    site.sent_bytes += len(reply.body)
                except OSError:
                    pass  # who asked has seen enough

        do_GET = do_HEAD = do_OPTIONS = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that does not like the certificate hangs up

    httpd = Server(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    site.url = f"{'http' if certificate is None else 'https'}://127.0.0.1:{httpd.server_address[1]}"
    try:
        yield site
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def make_certificate(folder: Path, host: str = "127.0.0.1") -> Path:
    """Make a certificate that nobody has signed but itself."""
    file = folder / "site.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-subj", f"/CN={host}", "-addext", f"subjectAltName=IP:{host}"]
    subprocess.run([*command, "-keyout", str(file), "-out", f"{file}.crt"], check=True, capture_output=True)
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


# ---- faults


def on(what: str, change: Callable[[Reply], Any]) -> Fault:
    """Return a fault of some answers: those to requests whose path has ``what`` in it, and that are no ``OPTIONS``."""

    def fault(request: Request, reply: Reply) -> None:
        if what in request.path and request.method != "OPTIONS":
            change(reply)

    return fault


def with_status(status: int, change: Callable[[Reply], Any]) -> Fault:
    """Return a fault of all answers with a status, but those to ``OPTIONS``."""

    def fault(request: Request, reply: Reply) -> None:
        if reply.status == status and request.method != "OPTIONS":
            change(reply)

    return fault


def header(name: str, value: str | None) -> Callable[[Reply], None]:
    """Return a change that sets a header, or leaves it out."""

    def change(reply: Reply) -> None:
        reply.headers.pop(name, None)
        if value is not None:
            reply.headers[name] = value

    return change


def replaced(status: int, body: bytes = b"", **headers: str) -> Callable[[Reply], None]:
    """Return a change to another answer, open to all origins."""

    def change(reply: Reply) -> None:
        reply.status, reply.body = status, body
        reply.headers = {**OPEN, **{name.replace("_", "-"): value for name, value in headers.items()}}

    return change


def gzipped(reply: Reply) -> None:
    """Pack the body once more, whatever the headers say."""
    if reply.status == 200:
        reply.body = gzip.compress(reply.body)
