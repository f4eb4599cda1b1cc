"""What must never be served, and to whom nothing is."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import precast
from precast.errors import StorageError
from raw_http import Connection, ask

SECRET = b"outside: nobody may read this"
HIDDEN = b"hidden: nobody may read this either"
INSIDE = b"inside"

ports: list[int] = []


@pytest.fixture(scope="module", autouse=True)
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    top = tmp_path_factory.mktemp("safety")
    root = top / "labels"
    (root / "s" / ".precast").mkdir(parents=True)
    (top / "labels-private").mkdir()
    for outside in (top / "secret", top / "labels-private" / "secret", top / "secret.gz"):
        outside.write_bytes(SECRET)
    for hidden in (root / ".hidden", root / "s/.precast/x", root / "s/.hidden.gz"):
        hidden.write_bytes(HIDDEN)
    (root / "info").write_bytes(b"{}")
    (root / "s/a").write_bytes(INSIDE)
    (root / "s/plain").symlink_to("a")
    (root / "s/absolute").symlink_to(root / "s/a")
    (root / "up").symlink_to("..")
    (root / "s/out").symlink_to(top / "secret")
    (root / "s/away.gz").symlink_to("../../secret.gz")
    (root / "s/beside").symlink_to("../../labels-private")
    (root / "s/to-hidden").symlink_to("../.hidden")
    (root / "s/dangling").symlink_to("nowhere")
    (root / "s/loop").symlink_to("loop")
    os.mkfifo(root / "s/pipe")
    with precast.serve(root, precast.ServeOptions(port=0)) as server:
        ports.append(server.port)
        yield
    ports.pop()


def get(path: str | bytes, **headers: str) -> tuple[int, bytes]:
    answer = ask(ports[0], "GET", path, headers)
    assert answer.origins == "*"
    return answer.status, answer.body


@pytest.mark.parametrize(
    "path",
    [
        "/labels/../secret",
        "/labels/s/../../secret",
        "/labels/%2e%2e/secret",
        "/labels/%2E%2E/secret",
        "/labels/.%2e/secret",
        "/labels/%252e%252e/secret",
        "/labels/..%2fsecret",
        "/labels/..%252fsecret",
        "/labels/s%2f..%2f..%2fsecret",
        "/labels/..\\secret",
        "/labels/..%5csecret",
        "/labels/..%255csecret",
        "/labels/%c0%ae%c0%ae/secret",
        "/labels/%c0%2e/secret",
        "/labels/..;/secret",
        "/labels/../labels-private/secret",
        "/labels-private/secret",
        "/secret",
        "/../secret",
        "//secret",
        "/labels//../secret",
        "/labels/s/a%00",
        "/labels/s/a%00.gz",
        "/labels/up/secret",
        "/labels/s/out",
        "/labels/s/away",
        "/labels/s/beside/secret",
        "/labels/s/dangling",
        "/labels/s/pipe",
        "/labels/s/to-hidden",
        "/labels/.hidden",
        "/labels/%2ehidden",
        "/labels/s/.precast/x",
        "/labels/s/%2eprecast/x",
        "/labels/s/.hidden",
        "/labels/./s/a",
        "/labels/s/a/",
        "/labels/s/a/.",
        "/labels/s/a/..",
        "/labels/s/a%20",
        "/labels/s/a%0d%0aX:%20y",
        "/labels/s/plain.gz",
        "/.",
        "/..",
        "/etc/passwd",
        "/labels//etc/passwd",
        "/labels/%2fetc%2fpasswd",
    ],
)
def test_what_is_not_below_the_dataset_is_not_there(path: str) -> None:
    status, body = get(path)
    assert status == 404
    assert SECRET not in body
    assert HIDDEN not in body


def test_a_link_in_a_circle_is_an_error_of_its_own() -> None:
    assert get("/labels/s/loop")[0] in (404, 500)


@pytest.mark.parametrize(
    "path",
    ["/labels/s/a", "/labels/s/plain", "/labels/s/absolute", "/labels/%73/%61", "/labels/up/labels/s/a"],
)
def test_what_is_below_it_is(path: str) -> None:
    """Links are followed; what counts is where they end."""
    assert get(path) == (200, INSIDE)


@pytest.mark.parametrize("target", ["http://127.0.0.1/labels/s/a", "http://localhost:1/labels/s/a"])
def test_targets_with_an_authority(target: str) -> None:
    assert get(target) == (200, INSIDE)
    assert get(target.replace("127.0.0.1", "evil.example").replace("localhost", "evil.example"))[0] == 421


PIECES = st.sampled_from(
    [
        "..",
        ".",
        "%2e",
        "%2E",
        "%252e",
        "/",
        "//",
        "%2f",
        "%5c",
        "\\",
        "s",
        "a",
        "up",
        "out",
        "secret",
        "labels",
        "%00",
        ";",
        "labels-private",
        ".hidden",
        ".precast",
        "beside",
        "away",
        "%c0%ae",
        "?",
        "%",
        ":",
        "~",
        "gz",
        ".gz",
    ]
)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_no_spelling_leads_outside(spelling: str) -> None:
    status, body = get("/labels/" + spelling)
    assert status in (200, 404)
    assert SECRET not in body
    assert HIDDEN not in body
    assert status == 404 or body in (INSIDE, b"{}")


@given(st.binary(max_size=40))
def test_no_bytes_in_a_path_break_the_server(path: bytes) -> None:
    with Connection(ports[0]) as connection:
        connection.socket.sendall(b"GET /labels/" + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := connection.socket.recv(1 << 16):
            answer += piece
    assert SECRET not in answer
    assert HIDDEN not in answer
    assert get("/labels/s/a") == (200, INSIDE)


@given(st.binary(max_size=200))
def test_no_bytes_at_all_break_the_server(text: bytes) -> None:
    with Connection(ports[0]) as connection:
        connection.socket.sendall(text + b"\r\n\r\n")
        connection.socket.shutdown(socket.SHUT_WR)
        while connection.socket.recv(1 << 16):
            pass
    assert get("/labels/s/a") == (200, INSIDE)


# ---- whom a request is for


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LocalHost:1234", 200),
        ("localhost.", 200),
        ("127.0.0.1", 200),
        ("127.0.0.1:80", 200),
        ("[::1]:9000", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example:80", 421),
        ("evil.example:127.0.0.1", 400),
        ("127.0.0.2", 421),
        ("0.0.0.0", 421),
        ("192.168.0.1", 421),
        ("localhost@evil.example", 400),
        ("evil.example, localhost", 400),
        ("localhost:x", 400),
        ("[::1", 400),
        ("", 400),
        (" ", 400),
    ],
)
def test_only_requests_for_this_machine_are_answered(host: str, status: int) -> None:
    found, body = get("/labels/s/a", Host=host)
    assert found == status
    assert (body == INSIDE) is (status == 200)


def test_two_hosts_are_none() -> None:
    with Connection(ports[0]) as connection:
        connection.socket.sendall(b"GET /labels/s/a HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert connection.receive().status == 400


def test_preflights_of_other_hosts_are_refused() -> None:
    assert ask(ports[0], "OPTIONS", "/labels/s/a", {"Host": "evil.example"}).status == 421


def test_further_hosts_can_be_allowed(tmp_path: Path) -> None:
    (tmp_path / "info").write_bytes(INSIDE)
    options = precast.ServeOptions(port=0, allow_host="lab.Example.org,[fe80::1],proxy:8000")
    with precast.serve(tmp_path, options) as server:
        path = f"/{server.datasets[0].name}/info"
        for host, status in [
            ("lab.example.org:443", 200),
            ("LAB.example.org", 200),
            ("[fe80::1]", 200),
            ("proxy", 200),
            ("other.example.org", 421),
        ]:
            assert ask(server.port, "GET", path, {"Host": host}).status == status


def test_open_to_all_machines_by_number_but_not_by_foreign_names(tmp_path: Path) -> None:
    (tmp_path / "info").write_bytes(INSIDE)
    with precast.serve(tmp_path, precast.ServeOptions(port=0, host="0.0.0.0")) as server:
        assert server.open_to_others
        assert server.url.startswith("http://127.0.0.1:")
        path = f"/{server.datasets[0].name}/info"
        for host, status in [
            ("10.1.2.3", 200),
            (socket.gethostname(), 200),
            ("evil.example", 421),
            ("10.1.2.3.4", 421),
        ]:
            assert ask(server.port, "GET", path, {"Host": host}).status == status


def test_the_newer_kind_of_address(tmp_path: Path) -> None:
    (tmp_path / "info").write_bytes(INSIDE)
    try:
        server = precast.serve(tmp_path, precast.ServeOptions(port=0, host="::1"))
    except StorageError:
        pytest.skip("this machine has no IPv6")
    with server, Connection(server.port, "::1") as connection:
        assert server.url == f"http://[::1]:{server.port}/"
        path = f"/{server.datasets[0].name}/info"
        for host in ("[::1]", f"[::1]:{server.port}", "localhost"):
            assert connection.ask("GET", path, {"Host": host}).body == INSIDE
        assert connection.ask("GET", path, {"Host": "[::2]"}).status == 421


def test_bound_to_this_machine_alone_unless_told_otherwise(tmp_path: Path) -> None:
    (tmp_path / "info").write_bytes(INSIDE)
    with precast.serve(tmp_path, precast.ServeOptions(port=0)) as server:
        assert not server.open_to_others
        with pytest.raises(ConnectionRefusedError):
            Connection(server.port, "127.0.0.2")


def test_private_data_are_behind_a_path_that_nobody_can_guess(tmp_path: Path) -> None:
    (tmp_path / "info").write_bytes(INSIDE)
    options = precast.ServeOptions(port=0, private=True)
    with precast.serve(tmp_path, options) as server, precast.serve(tmp_path, options) as other:
        secrets = [one.url.split("/")[3] for one in (server, other)]
        assert secrets[0] != secrets[1]
        assert all(len(secret) >= 22 for secret in secrets)
        name = server.datasets[0].name
        assert ask(server.port, "GET", f"/{secrets[0]}/{name}/info").body == INSIDE
        assert ask(server.port, "GET", f"/{secrets[0]}/").status == 200
        assert ask(server.port, "GET", "/favicon.ico").status == 204
        for path in (
            "/",
            f"/{name}/info",
            f"/{secrets[1]}/{name}/info",
            f"/{secrets[0]}",
            f"/{secrets[0][:-1]}/{name}/info",
        ):
            answer = ask(server.port, "GET", path)
            assert answer.status == 404, path
            assert secrets[0].encode() not in answer.body


def test_a_layer_that_is_a_link_to_elsewhere_is_not_served(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/info").write_bytes(b"{}")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/em").symlink_to(tmp_path / "elsewhere")
    layer = b'{"name": "em", "kind": "image"}'
    listed = b'{"@type": "precast_collection", "schema": 1, "layers": [' + layer + b"]}"
    (tmp_path / "out/precast.json").write_bytes(listed)
    with precast.serve(tmp_path / "out", precast.ServeOptions(port=0)) as server:
        assert [finding.code for finding in server.findings] == ["PH102"]
        assert ask(server.port, "GET", "/out/em/info").status == 404
    # but what the user names may be a link
    with precast.serve(tmp_path / "out/em", precast.ServeOptions(port=0)) as server:
        assert ask(server.port, "GET", f"/{server.datasets[0].name}/info").status == 200
