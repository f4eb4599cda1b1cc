"""Pages and handlers beside the data, as a viewer needs them."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import precast
from precast.errors import ObjectNotFoundError, UsageError
from precast.hosting.pages import Request, Response
from raw_http import Connection, ask


@pytest.fixture
def server(tmp_path: Path) -> Iterator[precast.DataServer]:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/info").write_bytes(b"{}")
    with precast.serve(tmp_path / "d", precast.ServeOptions(port=0)) as server:
        yield server


def test_a_handler_is_given_the_request_and_its_answer_is_sent(server: precast.DataServer) -> None:
    seen: list[Request] = []

    def handler(request: Request) -> Response:
        seen.append(request)
        return Response(body=b"\0answer", status=201, content_type="x/y", headers={"X-Mine": "1"})

    server.mount("state/token", handler)
    path = "/state/token/a%2Db/c?x=%20&y"
    answer = ask(server.port, "POST", path, {"X-Asked": "yes"}, body=b"\0" * 100_000)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (201, b"\0answer", "x/y")
    assert (answer.headers["x-mine"], answer.origins) == ("1", "*")
    (request,) = seen
    assert (request.method, request.path, request.query) == ("POST", "a-b/c", "x=%20&y")
    assert (request.body, request.headers["x-asked"]) == (b"\0" * 100_000, "yes")
    assert ask(server.port, "GET", "/state/token").status == 201
    assert seen[-1].path == ""
    assert ask(server.port, "OPTIONS", "/state/token").status == 204
    for other in ("/state", "/state/", "/state/token2", "/state/toke"):
        assert ask(server.port, "GET", other).status == 404
    assert ask(server.port, "GET", path, {"Host": "evil.example"}).status == 421
    assert ask(server.port, "GET", "/d/info").body == b"{}"


def test_bodies_are_limited(server: precast.DataServer) -> None:
    server.mount("x", lambda request: Response(body=str(len(request.body)).encode()))
    with Connection(server.port) as connection:
        connection.socket.sendall(b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16777217\r\n\r\n")
        answer = connection.receive()
    assert (answer.status, answer.origins) == (413, "*")
    chunked = b"4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n"
    with Connection(server.port) as connection:
        connection.socket.sendall(
            b"POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked
        )
        assert connection.receive().body == b"6"


def test_streams_are_sent_as_they_come(server: precast.DataServer) -> None:
    go = threading.Event()
    ended = threading.Event()

    def events() -> Iterator[bytes]:
        try:
            yield b"first\n"
            assert go.wait(30)
            yield b""
            yield b"second\n"
        finally:
            ended.set()

    server.mount("events", lambda _: Response(body=events(), content_type="text/event-stream"))
    with Connection(server.port) as connection:
        connection.send("GET", "/events")
        received = b""
        while b"first\n" not in received:
            received += connection.socket.recv(1 << 16)
        assert not ended.is_set()
        go.set()
        while not received.endswith(b"0\r\n\r\n"):
            received += connection.socket.recv(1 << 16)
    assert b"text/event-stream" in received
    assert received.endswith(b"second\n\r\n0\r\n\r\n")
    assert ended.wait(30)


def test_a_stream_ends_when_nobody_listens_or_the_server_closes(server: precast.DataServer) -> None:
    endings = [threading.Event(), threading.Event()]
    streams = iter(endings)

    def forever() -> Iterator[bytes]:
        mine = next(streams)
        tick = threading.Event()
        try:
            yield b"begun"
            while True:
                tick.wait(0.01)
                yield b""
        finally:
            mine.set()

    server.mount("events", lambda _: Response(body=forever()))
    connections = [Connection(server.port), Connection(server.port)]
    for connection in connections:
        connection.send("GET", "/events")
        while b"begun" not in connection.socket.recv(1 << 16):
            pass
    connections[0].socket.close()
    assert endings[0].wait(30)
    assert not endings[1].is_set()
    server.close()
    assert endings[1].wait(30)
    connections[1].socket.close()


def test_a_handler_that_fails_is_told_and_does_no_harm(
    server: precast.DataServer, capfd: pytest.CaptureFixture[str]
) -> None:
    def fails(request: Request) -> Response:
        if request.path == "header":
            return Response(headers={"X": "a\nb"})
        if request.path == "body":
            return Response(body=5)  # type: ignore[arg-type]
        raise RuntimeError("a fault of the handler")

    server.mount("x", fails)
    for path in ("raise", "header", "body"):
        answer = ask(server.port, "GET", f"/x/{path}")
        assert (answer.status, answer.origins) == (500, "*")
        assert b"a fault" not in answer.body
    assert "RuntimeError: a fault of the handler" in capfd.readouterr().err
    assert ask(server.port, "GET", "/d/info").status == 200


ENDING = """
import http.client, sys, threading, time, urllib.request
import precast
from precast.hosting.pages import Response

def busy():
    while True:
        yield b"x"

def waiting():
    yield b"begun"
    threading.Event().wait()
    yield b""

def silent(_):
    threading.Event().wait()

server = precast.serve(sys.argv[1], precast.ServeOptions(port=0))
server.mount("busy", lambda _: Response(body=busy()))
server.mount("waiting", lambda _: Response(body=waiting()))
server.mount("silent", silent)
begun = threading.Semaphore(0)

def client(path):
    begun.release()
    try:
        with urllib.request.urlopen(server.url + path) as answer:
            while answer.read(5):
                begun.release()
                if path == "busy":
                    time.sleep(0.001)
    except (OSError, http.client.HTTPException):
        pass

for path in ("busy", "busy", "waiting", "silent"):
    threading.Thread(target=client, args=(path,), daemon=True).start()
for _ in range(8):
    assert begun.acquire(timeout=60)
print("over", flush=True)
raise SystemExit(7)
"""


def test_a_program_can_end_without_closing_whatever_its_handlers_do(tmp_path: Path) -> None:
    (tmp_path / "info").write_bytes(b"{}")
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", ENDING, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (7, "over\n", "")


def test_a_stream_that_fails_is_cut_off(server: precast.DataServer, capfd: pytest.CaptureFixture[str]) -> None:
    def broken() -> Iterator[bytes]:
        yield b"some"
        raise RuntimeError("no more")

    server.mount("x", lambda _: Response(body=broken()))
    with pytest.raises((EOFError, ConnectionResetError)):
        ask(server.port, "GET", "/x")
    assert "no more" in capfd.readouterr().err


def test_files_of_a_page_are_served(server: precast.DataServer, tmp_path: Path) -> None:
    page = tmp_path / "page"
    (page / "chunks").mkdir(parents=True)
    for name, text in (
        ("index.html", b"<p>"),
        ("main.js", b"1;"),
        ("chunks/a.wasm", b"\0asm"),
        (".map", b"no"),
        ("x", b""),
    ):
        (page / name).write_bytes(text)
    (tmp_path / "secret").write_bytes(b"secret")
    server.mount_files("v/token", page)
    for path, kind, text in (
        ("", "text/html; charset=utf-8", b"<p>"),
        ("index.html", "text/html; charset=utf-8", b"<p>"),
        ("main.js", "text/javascript; charset=utf-8", b"1;"),
        ("chunks/a.wasm", "application/wasm", b"\0asm"),
        ("x", "application/octet-stream", b""),
    ):
        answer = ask(server.port, "GET", f"/v/token/{path}")
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, text, kind)
        assert answer.headers["cache-control"] == "no-cache"
        assert ask(server.port, "GET", f"/v/token/{path}", {"If-None-Match": answer.headers["etag"]}).status == 304
    for path in (".map", "chunks/", "chunks", "../secret", "%2e%2e/secret", "absent"):
        assert ask(server.port, "GET", f"/v/token/{path}").status == 404, path
    assert ask(server.port, "GET", "/v/token").status == 404
    assert ask(server.port, "POST", "/v/token/").status == 405
    with pytest.raises(ObjectNotFoundError):
        server.mount_files("v/other", tmp_path / "absent")


def test_mounts_are_private_too_and_can_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "info").write_bytes(b"{}")
    with precast.serve(tmp_path, precast.ServeOptions(port=0, private=True)) as server:
        path = server.url.removeprefix(f"http://127.0.0.1:{server.port}")
        server.mount("a", lambda _: Response(body=b"first"))
        server.mount("a/b", lambda _: Response(body=b"longer"))
        server.mount("a", lambda _: Response(body=b"second"))
        assert ask(server.port, "GET", "/a").status == 404
        assert ask(server.port, "GET", f"{path}a").body == b"second"
        assert ask(server.port, "GET", f"{path}a/x").body == b"second"
        assert ask(server.port, "GET", f"{path}a/b/c").body == b"longer"
        with pytest.raises(UsageError):
            server.mount_files("/", tmp_path)
    with pytest.raises(UsageError, match="closed"):
        server.mount("a", lambda _: Response())
