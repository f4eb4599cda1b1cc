"""The proxy that does harm: nothing unless planned, all of it seen by the client, and all of it written down."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import urllib3
from urllib3.exceptions import ProtocolError, ReadTimeoutError

import fault_proxy
from fault_proxy import Plan
from raw_http import Connection

BODY = bytes(range(256)) * 1000
SINGLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
PLAIN = SINGLE.replace(b"\r\n", b"\r\nX-Odd:  two  spaces \r\nx-again: 1\r\nx-again: 2\r\n", 1)
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n"


@dataclass
class Upstream:
    """Sends the same bytes to everybody, and keeps those that it got, one entry a connection."""

    answer: bytes
    port: int = 0
    got: list[bytes] = field(default_factory=list)
    broken: list[bytes] = field(default_factory=list)
    """What came of requests that did not come to their end."""
    ended: threading.Event = field(default_factory=threading.Event)
    """Set when such a request ended."""
    hasty: bool = False
    """Answers a request's head, and does not read its body."""


def whole(data: bytes) -> bool:
    """Return whether it is a request to its end, by RFC 9112."""
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return False
    lines = dict(line.lower().split(b": ") for line in head.split(b"\r\n")[1:])
    if b"transfer-encoding" in lines:
        return body.endswith(b"\r\n\r\n") and (body.startswith(b"0\r\n") or b"\r\n0\r\n" in body)
    return len(body) == int(lines.get(b"content-length", b"0"))


@contextmanager
def upstream(answer: bytes) -> Iterator[Upstream]:
    stand = Upstream(answer)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data, told = b"", False
            try:
                while not (whole(data) or (stand.hasty and b"\r\n\r\n" in data)):
                    piece = self.request.recv(1 << 16)
                    data += piece
                    if not piece:
                        raise ConnectionError
                    if b"100-continue" in data and not told and not stand.hasty:
                        told = True
                        self.request.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            except ConnectionError:
                if data:
                    stand.broken.append(data)
                    stand.ended.set()
                return
            stand.got.append(data)
            self.request.sendall(stand.answer)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a proxy that had enough

    with Server(("127.0.0.1", 0), Handler) as server:
        stand.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield stand
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def stand() -> Iterator[Upstream]:
    with upstream(PLAIN) as running:
        yield running


def client(read_s: float = 30) -> urllib3.PoolManager:
    return urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=30, read=read_s))


def eventually(holds: Callable[[], bool]) -> None:
    for _ in range(3000):
        if holds():
            return
        time.sleep(0.01)
    pytest.fail("it does not come to hold")


def told(port: int, request: bytes) -> bytes:
    """Send bytes and return those that come until the end of the connection."""
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        pieces = []
        while piece := connection.recv(1 << 16):
            pieces.append(piece)
    return b"".join(pieces)


REQUESTS = {
    "get": b"GET /b/k%20ey?x=1&X-Amz-Date=ab HTTP/1.1\r\nhOst: b.example:1\r\nX:  two  spaces \r\nX: again\r\n\r\n",
    "put": b"PUT /b/key HTTP/1.1\r\nHost: b.example\r\nContent-Length: 256000\r\n\r\n" + BODY,
    "chunked": b"PUT /b/key HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 2\r\n\r\n",
}
ANSWERS = {
    "length": PLAIN,
    "empty": EMPTY,
    "chunked": CHUNKED,
    "until the end": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nas long as it is",
    "nothing": b"HTTP/1.1 204 No Content\r\nETag: x\r\n\r\n",
    "unchanged": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\n\r\n",
    "denied": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_without_a_plan_every_byte_is_the_same(request_: bytes, answer: bytes) -> None:
    with upstream(answer) as stand, fault_proxy.running(stand.port) as proxy:
        assert told(proxy.port, request_) == answer
    assert stand.got == [request_]
    assert [seen.target for seen in proxy.requests] == [request_.split(b" ")[1].decode()]
    assert not proxy.injected


def test_requests_follow_each_other_on_one_connection(stand: Upstream) -> None:
    stand.answer = SINGLE
    with fault_proxy.running(stand.port) as proxy, Connection(proxy.port) as connection:
        for _ in range(3):
            assert connection.ask("PUT", "/b/key", body=BODY).body == BODY
        stand.answer = SINGLE[: -len(BODY)]  # of a HEAD
        assert connection.ask("HEAD", "/b/key").headers["content-length"] == str(len(BODY))
        stand.answer = CHUNKED
        assert connection.ask("GET", "/b/key").body == b"hello world"


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(stand: Upstream) -> None:
    stand.answer = SINGLE
    with fault_proxy.running(stand.port) as proxy, Connection(proxy.port) as connection:
        connection.send("PUT", "/b/key", {"Content-Length": "3", "Expect": "100-continue"})
        assert connection.receive(head_only=True).status == 100
        connection.socket.sendall(b"abc")
        assert connection.receive().body == BODY
    assert stand.got[0].endswith(b"\r\n\r\nabc")


def test_a_client_that_asks_before_it_sends_is_told_of_the_error(stand: Upstream) -> None:
    with fault_proxy.running(stand.port, Plan(slow_down=1)) as proxy, Connection(proxy.port) as connection:
        connection.send("PUT", "/b/key", {"Content-Length": "3", "Expect": "100-continue"})
        assert connection.receive().status == 503
        assert connection.closed()
    assert not stand.got


@pytest.mark.parametrize("asks", [True, False])
def test_a_server_that_does_not_want_the_body(stand: Upstream, asks: bool) -> None:
    stand.hasty, stand.answer = True, ANSWERS["denied"]
    with fault_proxy.running(stand.port) as proxy, Connection(proxy.port) as connection:
        expect = {"Expect": "100-continue"} if asks else {}
        connection.send("PUT", "/b/key", {"Content-Length": str(len(BODY)), **expect})
        assert connection.receive().status == 403
        if asks:
            assert connection.closed()  # it does not come, and nothing else can
        else:
            connection.socket.sendall(BODY)
            assert connection.ask("GET", "/b/key").status == 403
    assert not proxy.injected


def test_a_client_that_goes_in_the_middle_is_nobody_s_fault(stand: Upstream) -> None:
    with fault_proxy.running(stand.port) as proxy:
        with Connection(proxy.port) as connection:
            connection.send("PUT", "/b/key", {"Content-Length": "100"})
            connection.socket.sendall(b"abc")
        assert stand.ended.wait(30)  # and the server learns of it
    assert not stand.got


# ---- each kind, as a client sees it


@pytest.mark.parametrize(
    ("kind", "status", "code"), [("error_500", 500, "InternalError"), ("slow_down", 503, "SlowDown")]
)
def test_errors(stand: Upstream, kind: fault_proxy.Kind, status: int, code: str) -> None:
    with fault_proxy.running(stand.port, Plan(**{kind: 1.0})) as proxy:  # type: ignore[arg-type]
        pool = client()
        for method in ("GET", "PUT", "HEAD"):
            answer = pool.request(method, f"{proxy.url}/b/key", body=BODY if method == "PUT" else None)
            assert answer.status == status
            assert (f"<Code>{code}</Code>".encode() in answer.data) == (method != "HEAD")
    assert not stand.got
    assert proxy.counts == {kind: 3}
    assert [done.request.method for done in proxy.injected] == ["GET", "PUT", "HEAD"]


def test_error_in_an_answer_of_success(stand: Upstream) -> None:
    with fault_proxy.running(stand.port, Plan(error_in_200=1)) as proxy:
        answer = client().request("POST", f"{proxy.url}/b/key?uploadId=1", body=b"<parts/>")
        assert answer.status == 200
        assert b"<Code>InternalError</Code>" in answer.data
        assert client().request("POST", f"{proxy.url}/b/key?uploads", body=b"").data == BODY
        assert client().request("PUT", f"{proxy.url}/b/key?uploadId=1&partNumber=1", body=b"part").data == BODY
    assert len(stand.got) == 2
    assert proxy.counts == {"error_in_200": 1}


def test_denied_from_a_request_on(stand: Upstream) -> None:
    plan = Plan(deny_from=2, only=lambda request: request.method == "PUT")
    with fault_proxy.running(stand.port, plan) as proxy:
        pool = client()

        def statuses() -> list[int]:
            methods = ["PUT", "GET", "PUT", "PUT", "GET", "PUT"]
            return [pool.request(method, f"{proxy.url}/b/key").status for method in methods]

        assert statuses() == [200, 200, 200, 403, 200, 403]
        assert b"<Code>AccessDenied</Code>" in pool.request("PUT", f"{proxy.url}/b/key").data
        proxy.use(plan)
        assert statuses() == [200, 200, 200, 403, 200, 403]
    assert proxy.counts == {"denied": 5}
    assert len(stand.got) == 8


@pytest.mark.parametrize(
    ("answer", "got"),
    [(PLAIN, PLAIN[: -len(BODY) // 2]), (CHUNKED, CHUNKED.removesuffix(b"0\r\nX-Sum: 1\r\n\r\n"))],
    ids=["length", "chunked"],
)
def test_an_answer_cut_in_the_middle(answer: bytes, got: bytes) -> None:
    with upstream(answer) as stand, fault_proxy.running(stand.port, Plan(cut_answer=1)) as proxy:
        assert told(proxy.port, REQUESTS["get"]) == got
        with pytest.raises(ProtocolError):
            client().request("GET", f"{proxy.url}/b/key")
    assert proxy.counts == {"cut_answer": 2}


def test_no_body_cannot_be_cut() -> None:
    with upstream(EMPTY) as stand, fault_proxy.running(stand.port, Plan(cut_answer=0.5, cut_upload=0.5)) as proxy:
        assert [client().request("GET", f"{proxy.url}/b/key").status for _ in range(10)] == [200] * 10
    assert not proxy.injected


def test_an_upload_cut_in_the_middle(stand: Upstream) -> None:
    with fault_proxy.running(stand.port, Plan(cut_upload=1)) as proxy:
        with pytest.raises(ProtocolError):
            client().request("PUT", f"{proxy.url}/b/key", body=BODY)
        assert stand.ended.wait(30)
        with pytest.raises(ProtocolError):
            client().request("PUT", f"{proxy.url}/b/key", body=iter([BODY, b"the rest"]))
    assert not stand.got
    sent = stand.broken[0].partition(b"\r\n\r\n")[2]
    assert len(sent) <= len(BODY) // 2
    assert BODY.startswith(sent)
    assert proxy.counts == {"cut_upload": 2}


def test_done_but_the_answer_is_lost(stand: Upstream) -> None:
    with fault_proxy.running(stand.port, Plan(lost_answer=1)) as proxy, pytest.raises(ProtocolError):
        client().request("PUT", f"{proxy.url}/b/key", body=BODY)
    assert stand.got[0].endswith(BODY)
    assert proxy.counts == {"lost_answer": 1}


def test_a_slow_answer_is_the_same_for_who_waits(stand: Upstream) -> None:
    with fault_proxy.running(stand.port, Plan(slow=1, pause_s=0)) as proxy:
        assert client().request("GET", f"{proxy.url}/b/key").data == BODY
        proxy.use(Plan(slow=1, pause_s=0.5))
        with pytest.raises(ReadTimeoutError):
            client(0.1).request("GET", f"{proxy.url}/b/key")
    assert proxy.counts == {"slow": 2}


def test_an_answer_that_stalls(stand: Upstream) -> None:
    with fault_proxy.running(stand.port, Plan(stall=1)) as proxy:
        impatient = client(0.5)
        reply = impatient.request("GET", f"{proxy.url}/b/key", preload_content=False)
        assert reply.read(len(BODY) // 2) == BODY[: len(BODY) // 2]
        with pytest.raises(ReadTimeoutError):
            reply.read(1)
        stand.answer = EMPTY
        with pytest.raises(ReadTimeoutError):
            impatient.request("PUT", f"{proxy.url}/b/key", body=BODY)
        # while one waits others are served, and the end of the proxy does not wait for it
        with Connection(proxy.port) as waiting:
            waiting.send("GET", "/b/key")
            eventually(lambda: proxy.counts["stall"] == 3)
            proxy.use(Plan(only=lambda request: "other" in request.path))
            assert client().request("GET", f"{proxy.url}/b/other").status == 200
    assert proxy.counts == {"stall": 3}


# ---- shares


def outcomes(proxy: fault_proxy.FaultProxy, count: int) -> list[object]:
    pool, seen = client(), list[object]()
    for _ in range(count):
        try:
            seen.append(pool.request("PUT", f"{proxy.url}/b/key", body=b"abc").status)
        except ProtocolError:
            seen.append("cut")
    return seen


def test_shares_are_kept_and_come_again_with_the_seed() -> None:
    plan = Plan(error_500=0.1, slow_down=0.1, cut_upload=0.1)
    runs = []
    for seed in (1, 1, 2):
        with upstream(EMPTY) as stand, fault_proxy.running(stand.port, plan, seed) as proxy:
            seen = outcomes(proxy, 200)
        counts = proxy.counts
        assert (counts["error_500"], counts["slow_down"], counts["cut_upload"]) == (
            seen.count(500),
            seen.count(503),
            seen.count("cut"),
        )
        # three standard deviations of 200 throws at 10 %
        assert all(7 < counts[kind] < 33 for kind in ("error_500", "slow_down", "cut_upload"))
        assert seen.count(200) == len(stand.got)
        runs.append(seen)
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.mark.parametrize("shares", [{"slow": 1.1}, {"slow": 0.6, "stall": 0.6}, {"stall": -0.1}])
def test_shares_of_no_whole_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="not shares"):
        Plan(**shares)  # type: ignore[arg-type]


# ---- nothing goes wrong in silence


def no_answer(stand: Upstream) -> None:
    stand.answer = b""


def half_an_answer(stand: Upstream) -> None:
    stand.answer = PLAIN[:-1]


@pytest.mark.parametrize("spoil", [no_answer, half_an_answer])
def test_a_server_that_fails_unplanned_fails_the_test(stand: Upstream, spoil: Callable[[Upstream], None]) -> None:
    spoil(stand)
    unplanned = pytest.raises(AssertionError, match="/b/key")
    with unplanned, fault_proxy.running(stand.port) as proxy, pytest.raises(ProtocolError):
        client().request("GET", f"{proxy.url}/b/key")
    assert not proxy.injected


def test_a_server_that_is_not_there_fails_the_test() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and does not listen
        unplanned = pytest.raises(AssertionError, match="no connection")
        with unplanned, fault_proxy.running(held.getsockname()[1]) as proxy, pytest.raises(ProtocolError):
            client().request("GET", f"{proxy.url}/b/key")
