"""Many clients, slow clients, clients that go away."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

import precast
from raw_http import Answer, Connection, ask

DATA = np.random.default_rng(4).integers(0, 256, 8 << 20, np.uint8).tobytes()
RANGE = 64 << 10


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    root = tmp_path_factory.mktemp("load") / "d"
    root.mkdir()
    (root / "info").write_bytes(b"{}")
    (root / "0.shard").write_bytes(DATA)
    with precast.serve(root, precast.ServeOptions(port=0)) as server:
        yield server.port


def ranged(start: int, count: int = RANGE) -> dict[str, str]:
    return {"Range": f"bytes={start}-{start + count - 1}"}


def test_ten_thousand_requests_on_two_hundred_connections_without_an_error(port: int) -> None:
    connections = [Connection(port) for _ in range(200)]
    offsets = np.random.default_rng(5).integers(0, len(DATA) - RANGE, (50, len(connections)))
    wrong: list[Answer] = []

    def work(mine: range) -> None:
        for row in offsets:
            for k in mine:  # all of them are under way at the same time
                connections[k].send("GET", "/d/0.shard", ranged(int(row[k])))
            for k in mine:
                answer = connections[k].receive()
                if (answer.status, answer.body) != (206, DATA[row[k] : row[k] + RANGE]):
                    wrong.append(answer)

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(work, range(k, len(connections), 4)) for k in range(4)]:
            done.result()
    for connection in connections:
        connection.socket.close()
    assert wrong == []


def test_clients_that_read_nothing_hold_nobody_up(port: int) -> None:
    stalled = []
    for _ in range(150):
        connection = Connection(port)
        connection.send("GET", "/d/0.shard")  # and never reads its 8 MiB
        stalled.append(connection)
    slow_heads = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
    for one in slow_heads:
        one.sendall(b"GET /d/info HTT")  # and never finishes
    with Connection(port) as quick:
        for at in range(100):
            assert quick.ask("GET", "/d/0.shard", ranged(at * RANGE)).body == DATA[at * RANGE : (at + 1) * RANGE]
    # one that was slow gets all of it in the end
    assert stalled[0].receive().body == DATA
    for connection in stalled:
        connection.socket.close()
    for one in slow_heads:
        one.close()
    assert ask(port, "GET", "/d/info").status == 200


def test_a_client_that_trickles_gets_everything(port: int) -> None:
    with Connection(port) as connection:
        connection.send("GET", "/d/0.shard")
        received = b""
        for _ in range(20):
            time.sleep(0.01)
            received += connection.socket.recv(1000)
        head, _, body = received.partition(b"\r\n\r\n")
        assert b"content-length: 8388608" in head
        while len(body) < len(DATA):
            body += connection.socket.recv(1 << 20)
        assert body == DATA


def test_clients_that_go_away_leave_nothing_behind(port: int) -> None:
    before = threading.active_count()
    for _ in range(300):
        connection = Connection(port)
        connection.send("GET", "/d/0.shard")
        connection.socket.close()
    assert ask(port, "GET", "/d/0.shard", ranged(0)).body == DATA[:RANGE]
    assert threading.active_count() == before


def test_a_file_that_becomes_shorter_ends_the_answer_early_and_not_with_wrong_bytes(tmp_path_factory) -> None:
    root = tmp_path_factory.mktemp("shrinking") / "d"
    root.mkdir()
    (root / "info").write_bytes(b"{}")
    with (root / "0.shard").open("wb") as file:
        file.write(DATA)
        file.truncate(100 << 20)  # more than the system keeps on its way
    with precast.serve(root, precast.ServeOptions(port=0)) as server, Connection(server.port) as connection:
        connection.send("GET", "/d/0.shard")
        assert connection.socket.recv(10)
        with (root / "0.shard").open("r+b") as file:
            file.truncate(100)
        received = 10
        with suppress(ConnectionResetError):
            while piece := connection.socket.recv(1 << 20):
                received += len(piece)
        assert received < 100 << 20
        assert ask(server.port, "GET", "/d/0.shard").body == DATA[:100]


def test_closing_ends_all_connections(tmp_path_factory) -> None:
    root = tmp_path_factory.mktemp("closing") / "d"
    root.mkdir()
    (root / "info").write_bytes(b"{}")
    (root / "0.shard").write_bytes(DATA)
    server = precast.serve(root, precast.ServeOptions(port=0))
    idle, busy = Connection(server.port), Connection(server.port)
    assert idle.ask("GET", "/d/info").status == 200
    busy.send("GET", "/d/0.shard")
    server.close()
    server.close()
    with selectors.DefaultSelector() as selector:
        selector.register(idle.socket, selectors.EVENT_READ)
        assert selector.select(30)
    assert idle.closed()
    idle.socket.close()
    busy.socket.close()
    with pytest.raises(ConnectionRefusedError):
        Connection(server.port)
