"""``precast.view``: the viewer's client beside the data, without a browser."""

from __future__ import annotations

import html.parser
import importlib.util
import json
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import precast
from precast.errors import MissingExtraError, ObjectNotFoundError, StorageError, UsageError
from precast.hosting import client
from precast.hosting.server import ServeOptions
from raw_http import Connection, ask

EVENTS = "/events/view?c=1&gc="


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    labels = np.full((8, 8, 8), 5, np.uint32)
    precast.convert(labels, tmp_path / "out/labels", precast.ConvertOptions(resolution=8, kind="segmentation"))
    precast.convert(labels.astype("u1"), tmp_path / "out/em", precast.ConvertOptions(resolution=8, kind="image"))
    return tmp_path / "out"


@pytest.fixture
def shown(folder: Path) -> Iterator[precast.View]:
    with precast.view(folder) as view:
        yield view


def state_of(url: str) -> Any:
    """Return the state in an address, as a viewer takes it."""
    page, _, fragment = url.partition("#!")
    assert page.endswith("/v/view/")
    return json.loads(urllib.parse.unquote(fragment))


def sources(view: precast.View) -> list[str]:
    return [layer["source"].removesuffix("/|neuroglancer-precomputed:") for layer in view.state["layers"]]


class Tags(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_address_holds_the_state_and_the_state_what_is_served(shown: precast.View) -> None:
    base = f"http://127.0.0.1:{shown.server.port}"
    assert shown.url.startswith(f"{base}/v/view/#!")
    assert state_of(shown.url) == shown.state
    assert sources(shown) == [f"{base}/out/em", f"{base}/out/labels"]
    for source in sources(shown):
        assert ask(shown.server.port, "GET", source.removeprefix(base) + "/info").status == 200
    assert shown.findings == ()


def test_the_page_and_all_that_it_names_is_served(shown: precast.View) -> None:
    port = shown.server.port
    answer = ask(port, "GET", "/v/view/")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    tags = Tags(answer.body.decode()).found
    names = [value for _, attributes in tags for key in ("src", "href") if (value := attributes.get(key))]
    names = [name for name in names if not name.startswith("data:")]
    assert any(name.endswith(".css") for name in names)
    assert any("main." in name for name in names)
    for name in names:
        assert "//" not in name
        got = ask(port, "GET", f"/v/view/{name}")
        kind = "text/css" if name.endswith(".css") else "text/javascript"
        assert (got.status, got.headers["content-type"]) == (200, f"{kind}; charset=utf-8")
        assert got.body == (client.find_client() / Path(name).name).read_bytes()
    # the clock stands still before any of its scripts runs
    assert next(attributes for tag, attributes in tags if tag == "script") == {}
    assert ask(port, "HEAD", "/v/view/").status == 200
    assert ask(port, "POST", "/v/view/").status == 405
    for path in ("/v/view/other", "/v/view/files/other", "/v/view/files/../../info", "/v/other/"):
        assert ask(port, "GET", path).status == 404, path


def test_a_client_of_another_form_is_refused(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "index.html").write_text("<html><body></body></html>")
    monkeypatch.setattr(client, "find_client", lambda: tmp_path)
    with pytest.raises(StorageError, match="not a page that precast knows"):
        precast.view(folder)


def test_states_are_acknowledged(shown: precast.View) -> None:
    port, told = shown.server.port, {"s": {}, "g": 7, "pg": "", "c": "me"}
    answer = ask(port, "POST", "/state/view", body=json.dumps(told).encode())
    assert (answer.status, json.loads(answer.body)) == (200, {"g": "me/7"})
    for body in (b"", b"[]", b"{}", b"\xff"):
        assert ask(port, "POST", "/state/view", body=body).status == 400
    assert ask(port, "GET", "/state/view").status == 405
    assert ask(port, "POST", "/events/view").status == 405


def test_streams_of_events_are_open_until_the_end_and_do_not_delay_it(shown: precast.View) -> None:
    connections = [Connection(shown.server.port) for _ in range(3)]
    for connection in connections:
        connection.send("GET", EVENTS)
        received = b""
        while b":\n\n" not in received:
            received += connection.socket.recv(1 << 16)
        assert b"text/event-stream" in received
    begun = time.monotonic()
    shown.close()
    for connection in connections:
        rest = b""
        while piece := connection.socket.recv(1 << 16):
            rest += piece
        assert rest.endswith(b"0\r\n\r\n")  # complete, not cut off
        connection.socket.close()
    assert time.monotonic() - begun < client.END_S
    shown.close()
    with pytest.raises(OSError, match="refused"):
        Connection(shown.server.port)


def test_python_ends_well_while_a_page_listens(folder: Path) -> None:
    """A thread that is in Python at its end would take the process down."""
    script = (
        "import sys, urllib.request, precast\n"
        "view = precast.view(sys.argv[1])\n"
        f"stream = urllib.request.urlopen(view.server.url + {EVENTS[1:]!r})\n"
        "assert stream.read(1) == b':'\n"
        "print('listening')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "listening\n", "")


def test_several_at_once_and_in_cells_of_a_notebook(folder: Path) -> None:
    with precast.view(folder / "em") as one, precast.view(folder / "em", folder / "labels") as other:
        assert one.server.port != other.server.port
        assert [layer["name"] for layer in other.state["layers"]] == ["em", "labels"]
        ((tag, attributes),) = Tags(one._repr_html_()).found
        assert (tag, attributes["src"]) == ("iframe", one.url)
        assert f"127.0.0.1:{one.server.port}" in repr(one)


def test_options_reach_the_state(folder: Path) -> None:
    options = precast.ViewOptions(segments=[7], layout="xy", position=(1, 2, 3), zoom=2, blend="additive")
    with precast.view(folder, options=options) as view:
        state = view.state
    assert (state["layout"], state["position"]) == ("xy", [1.5, 2.5, 3.5])
    assert state["layers"][0]["blend"] == "additive"
    assert state["layers"][1]["segments"] == ["7"]
    with pytest.raises(UsageError, match="--layout"):
        precast.ViewOptions(layout="round")


def test_local_and_remote_data_in_one_picture(folder: Path) -> None:
    with precast.serve(folder, ServeOptions(port=0)) as other:
        remote = other.datasets[1].url
        with precast.view(folder / "em", f"precomputed://{remote}") as view:
            assert sources(view) == [f"{view.server.url}em", remote]
            assert [one.name for one in view.server.datasets] == ["em"]
        with precast.view(remote) as view:
            assert sources(view) == [remote]
            assert view.server.datasets == ()
            assert ask(view.server.port, "GET", "/v/view/").status == 200


def test_directories_of_one_name_and_links_to_directories(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder / "em")
    other = tmp_path / "more" / "em"
    precast.convert(np.ones((8, 8, 8), np.uint8), other, precast.ConvertOptions(resolution=8, kind="image"))
    with precast.view(tmp_path / "link", other, folder / "em") as view:
        for source in sources(view):
            assert ask(view.server.port, "GET", urllib.parse.urlsplit(source).path + "/info").status == 200
        assert sources(view) == [view.server.url + name for name in ("em", "em-2")]


def test_layers_that_are_not_served_are_left_out_and_told(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    precast.convert(np.ones((8, 8, 8), np.uint8), elsewhere, precast.ConvertOptions(resolution=8, kind="image"))
    (folder / "photo").symlink_to(elsewhere)
    (folder / "bones").mkdir()
    (folder / "bones" / "info").write_text(
        '{"@type": "neuroglancer_skeletons", "transform": [1,0,0,0,0,1,0,0,0,0,1,0]}'
    )
    with precast.view(folder) as view:
        assert [layer["name"] for layer in view.state["layers"]] == ["em", "labels"]
        told = {(finding.code, Path(finding.where).name) for finding in view.findings}
    assert told == {("PH102", "photo"), ("PV120", "bones")}
    with precast.view(folder, folder / "bones", elsewhere) as view:
        names = [layer["name"] for layer in view.state["layers"]]
    assert sorted(names) == ["bones", "em", "labels", "photo"]


def test_private_ones_have_all_behind_the_secret(folder: Path) -> None:
    with precast.view(folder, serving=ServeOptions(port=0, private=True)) as view:
        path = urllib.parse.urlsplit(view.url).path
        assert len(path) > 20
        assert ask(view.server.port, "GET", path).status == 200
        secret = path.removesuffix("v/view/")
        assert all(urllib.parse.urlsplit(source).path.startswith(secret) for source in sources(view))
        for path in ("/v/view/", "/events/view", "/state/view", "/out/em/info"):
            assert ask(view.server.port, "GET", path).status == 404


def test_the_address_from_elsewhere(folder: Path) -> None:
    with precast.view(folder) as view:
        other = view.url_from("lab.example.org")
        assert other == view.url.replace("127.0.0.1", "lab.example.org")
        assert "http://[::2]:" in view.url_from("::2")


def test_nothing_is_left_when_it_cannot_be_shown(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="nothing to show"):
        precast.view()
    with pytest.raises(ObjectNotFoundError):
        precast.view(tmp_path / "absent")
    with precast.serve(folder, ServeOptions(port=0)) as other, pytest.raises(StorageError, match="in use"):
        precast.view(folder, serving=ServeOptions(port=other.port))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "neuroglancer" else find(name))
    with pytest.raises(MissingExtraError, match="neuroglancer") as caught:
        precast.view(folder)
    assert caught.value.hint == "pip install 'precast[view]'"
