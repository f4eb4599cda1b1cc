"""Datasets on web servers: what a good server gives, and every way in which a bad one fails."""

from __future__ import annotations

import gzip
import pickle
import shutil
import socket
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest

import precast
import precast.dataset
from faulty_site import make_certificate, running
from precast.errors import AccessDeniedError, CertificateError, ObjectNotFoundError, StorageError, UsageError
from precast.precomputed.collection import Collection, CollectionLayer
from precast.storage import Attributes, HttpStore, open_store
from precast.storage.http import HttpClient
from precast.storage.opening import is_url, plain_url
from scripted_server import Script, scripted

DATA = bytes(range(100))


@pytest.fixture
def server() -> Iterator[Script]:
    with scripted() as script:
        yield script


def ranged(handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
    """Answer as a server that knows ranges does."""
    wanted = handler.headers.get("Range")
    if not wanted:
        return 200, {}, DATA
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    start, stop = int(first), min(int(last) + 1 if last else len(DATA), len(DATA))
    if start >= len(DATA):
        return 416, {"Content-Range": f"bytes */{len(DATA)}"}, b""
    return 206, {"Content-Range": f"bytes {start}-{stop - 1}/{len(DATA)}"}, DATA[start:stop]


@pytest.fixture
def store(server: Script) -> HttpStore:
    return HttpStore(f"{server.url}/data", HttpClient(retries=1, timeout_s=1))


def test_whole_objects_and_ranges(server: Script, store: HttpStore) -> None:
    server.answers["/data/a.shard"] = ranged
    assert store.read("a.shard") == DATA
    assert store.read("a.shard", 10, 20) == DATA[10:20]
    assert server.seen[-1][2]["Range"] == "bytes=10-19"
    assert server.seen[-1][2]["Accept-Encoding"] == "identity"
    assert store.read("a.shard", 90) == DATA[90:]
    assert store.read("a.shard", 95, 2**50) == DATA[95:]
    assert store.read("a.shard", 200, 2**50) == b""
    assert store.read("a.shard", 5, 5) == b""
    assert store.stat("a.shard").size == 100
    assert pickle.loads(pickle.dumps(store)).read("a.shard", 1, 3) == DATA[1:3]


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("br", imagecodecs.brotli_encode),
        ("zstd", imagecodecs.zstd_encode),
        ("deflate", zlib.compress),
    ],
)
def test_encodings_are_undone(server: Script, store: HttpStore, encoding: str, pack: Any) -> None:
    packed = bytes(pack(DATA * 50))
    server.answers["/data/chunk"] = (200, {"Content-Encoding": encoding}, packed)
    assert store.read("chunk") == DATA * 50
    assert store.stat("chunk").size == len(packed)
    assert store.stat("chunk").encoding == encoding
    server.answers["/data/chunk"] = (200, {"Content-Encoding": encoding}, b"\x1f" + packed[5:])
    with pytest.raises(StorageError, match=encoding):
        store.read("chunk")
    server.answers["/data/chunk"] = (200, {"Content-Encoding": "lzw"}, packed)
    with pytest.raises(StorageError, match="lzw"):
        store.read("chunk")


def test_ranges_that_are_not_what_was_asked_for(server: Script, store: HttpStore) -> None:
    def answer(status: int, headers: dict[str, str], body: bytes) -> None:
        server.answers["/data/x"] = (status, headers, body)

    answer(200, {}, DATA)
    with pytest.raises(StorageError, match="ignores Range") as caught:
        store.read("x", 10, 20)
    assert "hosting" in caught.value.hint
    answer(206, {"Content-Range": "bytes 10-19/100", "Content-Encoding": "gzip"}, DATA[10:20])
    with pytest.raises(StorageError, match="gzip and cannot be read by ranges"):
        store.read("x", 10, 20)
    for told, body in (
        ("bytes 0-9/100", DATA[:10]),
        ("bytes 10-18/100", DATA[10:19]),
        ("bytes 10-19/100", DATA[10:18]),
        ("10-19", DATA[10:20]),
    ):
        answer(206, {"Content-Range": told}, body)
        with pytest.raises(StorageError, match=r"range|asked for"):
            store.read("x", 10, 20)
    answer(206, {"Content-Range": "bytes 10-14/15"}, DATA[10:15])
    assert store.read("x", 10, 20) == DATA[10:15]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, ObjectNotFoundError),
        (410, ObjectNotFoundError),
        (401, AccessDeniedError),
        (403, AccessDeniedError),
        (500, StorageError),
        (418, StorageError),
    ],
)
def test_refusals_are_errors_not_data(
    server: Script, store: HttpStore, status: int, error: type[precast.errors.PrecastError]
) -> None:
    server.answers["/data/x"] = (status, {}, b"<html>sorry</html>")
    for read in (lambda: store.read("x"), lambda: store.read("x", 0, 10), lambda: store.stat("x")):
        with pytest.raises(error, match=r"127\.0\.0\.1") as caught:
            read()
        assert type(caught.value) is error
        assert str(status) in caught.value.message


def test_a_server_that_is_busy_is_asked_again(server: Script) -> None:
    answers = [(503, {"Retry-After": "100000"}, b""), (429, {}, b""), (200, {}, DATA)]
    server.answers["/x"] = lambda _: answers.pop(0)
    assert HttpStore(server.url).read("x") == DATA
    assert len(server.seen) == 3


def test_answers_that_are_cut_short_or_do_not_come(server: Script, store: HttpStore) -> None:
    def cut(handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        handler.close_connection = True
        return 200, {"Content-Length": "1000"}, DATA

    server.answers["/data/x"] = cut
    with pytest.raises(StorageError, match="could not be read"):
        store.read("x")
    assert len(server.seen) == 2
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        slow = HttpStore(f"http://127.0.0.1:{port}", HttpClient(retries=0, timeout_s=0.2))
        with pytest.raises(StorageError, match=r"nothing came for 0\.2 s"):
            slow.read("info")
    with pytest.raises(StorageError, match=f"nothing answers at 127.0.0.1:{port}"):
        HttpStore(f"http://127.0.0.1:{port}", HttpClient(retries=0)).read("info")
    server.answers["/data/y"] = (200, {}, DATA)
    with pytest.raises(StorageError, match="more than 50 bytes"):
        HttpClient().request("GET", f"{server.url}/data/y", limit=50)


def test_servers_without_head(server: Script, store: HttpStore) -> None:
    def no_head(handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        return (405, {}, b"") if handler.command == "HEAD" else ranged(handler)

    server.answers["/data/x"] = no_head
    assert store.stat("x").size == 100
    server.answers["/data/x"] = lambda handler: (405, {}, b"") if handler.command == "HEAD" else (200, {}, DATA)
    assert store.stat("x").size == 100
    server.answers["/data/x"] = lambda handler: (405, {}, b"") if handler.command == "HEAD" else (416, {}, b"")
    assert store.stat("x").size == 0


def test_names_in_addresses(server: Script) -> None:
    store = HttpStore(f"{server.url}/my%20data/?token=a%2Fb")
    assert store.address("mesh/5:0") == f"{server.url}/my%20data/mesh/5:0?token=a%2Fb"
    assert store.child("a b").address("x#?@|%") == f"{server.url}/my%20data/a%20b/x%23%3F%40%7C%25?token=a%2Fb"
    server.answers["/my%20data/info"] = (200, {}, b"{}")
    assert store.read("info") == b"{}"
    assert server.seen[-1][1] == "/my%20data/info?token=a%2Fb"
    for wrong in ("ftp://host/x", "https://", "https://me:secret@host/x", "https://host/#x"):
        with pytest.raises(UsageError):
            HttpStore(wrong)
    for key in ("", "../x", "/x", "a//b"):
        with pytest.raises(StorageError):
            store.read(key)


def test_redirections_are_followed(server: Script, store: HttpStore) -> None:
    server.answers["/data/x"] = (302, {"Location": "/other/x"}, b"")
    server.answers["/other/x"] = (200, {}, DATA)
    assert store.read("x") == DATA
    server.answers["/other/x"] = (302, {"Location": "/other/x"}, b"")
    with pytest.raises(StorageError):
        store.read("x")


def test_nothing_can_be_written_or_listed(store: HttpStore, tmp_path: Any) -> None:
    with pytest.raises(AccessDeniedError, match="read only"):
        store.write("x", b"", Attributes())
    with pytest.raises(AccessDeniedError, match="read only"):
        store.write_file("x", tmp_path / "x", Attributes())
    with pytest.raises(AccessDeniedError, match="read only"):
        store.delete("x")
    with pytest.raises(StorageError, match="cannot be listed"):
        store.list("mesh/")


def test_addresses_of_datasets() -> None:
    assert is_url("https://host")
    assert is_url("precomputed://gs://bucket/x")
    assert not is_url("data/labels")
    assert not is_url(r"C:\data")
    assert plain_url("https://host/em/|neuroglancer-precomputed:") == "https://host/em/"
    assert plain_url("precomputed://https://host/em") == "https://host/em"
    for wrong in ("https://host/a.zip|zip:x/|neuroglancer-precomputed:", "https://host/em|zarr:"):
        with pytest.raises(UsageError):
            plain_url(wrong)
    assert open_store("https://host/em|").url == "https://host/em"
    with pytest.raises(UsageError, match="http, https, s3, gs and az"):
        open_store("dvid://host/x")


@pytest.mark.parametrize("sharded", [True, False])
def test_volumes_with_meshes_read_over_http(serve: str, tmp_path: Any, sharded: bool) -> None:
    labels = np.zeros((40, 40, 40), np.uint32)
    labels[5:30, 5:30, 5:35] = 7
    local = precast.convert(
        labels, tmp_path / "labels", precast.ConvertOptions(resolution=8, kind="segmentation", unsharded=not sharded)
    )
    assert local is not None
    precast.mesh(tmp_path / "labels", precast.MeshOptions(unsharded=not sharded))
    volume = precast.open(f"{serve}/labels")
    assert (volume.scales[0][...] == labels).all()
    near, far = (one.meshes[7].read(0) for one in (precast.open(tmp_path / "labels"), volume))
    assert (near.vertices == far.vertices).all()
    with pytest.raises(ObjectNotFoundError, match="not a precomputed volume"):
        precast.open(f"{serve}/nothing")


def test_collections_over_http(serve: str, tmp_path: Any) -> None:
    for name in ("b", "a"):
        precast.convert(np.zeros((8, 8, 8), np.uint8), tmp_path / "c" / name, precast.ConvertOptions(resolution=8))
    with pytest.raises(ObjectNotFoundError, match="no dataset at"):
        precast.dataset.open_layers(f"{serve}/c")
    layers = tuple(CollectionLayer(name=name, kind="image") for name in ("b", "a"))
    (tmp_path / "c" / "precast.json").write_bytes(Collection(layers=layers).to_bytes())
    found = precast.dataset.open_layers(f"{serve}/c")
    assert [(one.name, one.path, one.store.url) for one in found.layers] == [
        ("b", "b", f"{serve}/c/b"),
        ("a", "a", f"{serve}/c/a"),
    ]


def test_stores_that_refuse_what_does_not_exist(server: Script) -> None:
    """S3 says 403 instead of 404 to those who may not list the bucket."""
    server.answers["/c/info"] = server.answers["/d/info"] = (403, {}, b"")
    server.answers["/c/precast.json"] = (
        200,
        {},
        Collection(layers=(CollectionLayer(name="bodies", kind="segmentation"),)).to_bytes(),
    )
    server.answers["/c/bodies/info"] = (200, {}, b'{"@type": "neuroglancer_legacy_mesh"}')
    assert [layer.name for layer in precast.dataset.open_layers(f"{server.url}/c").layers] == ["bodies"]
    with pytest.raises(AccessDeniedError, match="/d/info"):
        precast.dataset.open_layers(f"{server.url}/d")
    server.answers["/d/precast.json"] = (403, {}, b"")
    with pytest.raises(AccessDeniedError, match="/d/info"):
        precast.dataset.open_layers(f"{server.url}/d")


def test_a_client_that_does_not_follow_and_reads_only_the_beginning(server: Script) -> None:
    server.answers["/a"] = (301, {"Location": "/a/"}, b"")
    server.answers["/long"] = (200, {}, bytes(5 << 20))
    client = HttpClient(retries=0, follow=False)
    answer = client.request("GET", f"{server.url}/a")
    assert (answer.status, answer.headers["location"]) == (301, "/a/")
    cut = client.request("GET", f"{server.url}/long", limit=1000, cut=True)
    assert (cut.status, len(cut.body), cut.whole) == (200, 1000, False)
    with pytest.raises(StorageError, match="more than 1000 bytes"):
        client.request("GET", f"{server.url}/long", limit=1000)
    assert client.request("GET", f"{server.url}/long", limit=5 << 20, cut=True).whole
    assert pickle.loads(pickle.dumps(client)).follow is False


def test_headers_that_are_there_twice_are_joined(server: Script) -> None:
    def twice(handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        handler.send_response(200)
        for name, value in (("X-A", "1"), ("X-A", "2"), ("Content-Length", "0")):
            handler.send_header(name, value)
        handler.end_headers()
        handler.send_response = lambda *_: None  # type: ignore[method-assign]
        handler.send_header = lambda *_: None  # type: ignore[method-assign]
        handler.end_headers = lambda: None  # type: ignore[method-assign]
        return 200, {}, b""

    server.answers["/twice"] = twice
    assert HttpClient(retries=0).request("GET", f"{server.url}/twice").headers["x-a"] == "1, 2"


def test_certificates_that_are_not_valid(server: Script, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    text = "the certificate is not valid: self-signed certificate"
    with running(tmp_path, make_certificate(tmp_path)) as site, pytest.raises(CertificateError, match=text):
        HttpClient(retries=0).request("GET", site.url)
    with pytest.raises(StorageError) as caught:
        HttpClient(retries=0).request("GET", server.url.replace("http:", "https:"))
    assert caught.value.hint == "check that the server speaks https at this port"
    assert not isinstance(caught.value, CertificateError)
