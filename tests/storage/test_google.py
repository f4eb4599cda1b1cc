"""Google Cloud Storage, as its reference describes it: the contract of stores, headers, parts, refusals."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_stores import StoreContract

from cloud_calls import DATA, PLAIN, calls_of, refusal
from google_server import BUCKET, Google, google_server
from precast.dataset.objects import attributes
from precast.errors import AccessDeniedError, ObjectNotFoundError, StorageError
from precast.precomputed.objects import ObjectKind
from precast.storage import CloudStore, StoreOptions, cloud
from precast.storage.cloud_clients import Connection
from scripted_server import Script


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch, no_credentials: None) -> Iterator[Google]:
    with google_server() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        yield server


class TestOnGoogle(StoreContract):
    """On a server of the tests' own that keeps objects as Google's reference of its XML API says."""

    @pytest.fixture
    def store(self, google: Google) -> CloudStore:
        return CloudStore(f"gs://{BUCKET}/em", connection=Connection(retries=1))

    def test_headers_and_parts(self, store: CloudStore, google: Google, tmp_path: Path) -> None:
        store.write("info", gzip.compress(b"{}"), attributes(ObjectKind.INFO, encoding="gzip"))
        data = np.random.default_rng(0).bytes(2 * cloud.PART_BYTES + 5)
        (tmp_path / "part").write_bytes(data)
        store.write_file("0.shard", tmp_path / "part", attributes(ObjectKind.SHARD))
        assert not google.uploads
        stored, headers = google.objects["em/info"]
        assert gzip.decompress(stored) == b"{}"
        assert headers == {"Content-Type": "application/json", "Content-Encoding": "gzip", "Cache-Control": "no-cache"}
        stored, headers = google.objects["em/0.shard"]
        assert stored == data
        assert headers == {"Content-Type": "application/octet-stream", "Cache-Control": "public, max-age=3600"}
        at = cloud.PART_BYTES - 5
        assert store.read("0.shard", at, at + 10) == data[at : at + 10]
        assert store.attributes("0.shard") == attributes(ObjectKind.SHARD)

    def test_names_and_folders(self, store: CloudStore, google: Google) -> None:
        names = ["a b", "a+b", "a%3Ab", "5:0", "ü", "x#?&=@|'"]
        for name in names:
            store.child("sub").write(name, name.encode(), PLAIN)
            assert google.objects[f"em/sub/{name}"][0] == name.encode()
            assert store.read(f"sub/{name}") == name.encode()
        assert [stat.key for stat in store.child("sub").list()] == sorted(names)
        assert store.folders() == ("sub",)

    def test_long_lists_come_in_pages(self, store: CloudStore, google: Google) -> None:
        google.page = 3
        keys = sorted([*(f"s/{number}" for number in range(8)), "info", *(f"f{number}/x" for number in range(5))])
        for key in keys:
            store.write(key, b"x", PLAIN)
        assert [stat.key for stat in store.list()] == keys
        assert [stat.key for stat in store.list("s/")] == keys[-8:]
        assert store.folders() == ("f0", "f1", "f2", "f3", "f4", "s")

    def test_there_is_no_such_bucket(self, store: CloudStore) -> None:
        gone = CloudStore("gs://there-is-none/em", connection=Connection(retries=0))
        for call in calls_of(gone).values():
            with pytest.raises(StorageError, match="there is no bucket gs://there-is-none"):
                call()

    def test_refusals(self, store: CloudStore) -> None:
        store.write("x", b"1", PLAIN)
        with pytest.raises((ObjectNotFoundError, AccessDeniedError)):
            CloudStore(store.url, StoreOptions(anonymous=True)).read("x")
        with pytest.raises(ObjectNotFoundError):
            store.read("y")


def test_requests(server: Script, no_credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(DATA)
    meta = {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT", "x-goog-generation": "1"}
    server.answers[None] = (200, {**meta, "Content-Encoding": "gzip"}, packed)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url.removeprefix("http://"))
    store = CloudStore("gs://bucket/em", connection=Connection(retries=0))
    assert store.read("a chunk") == DATA
    method, path, headers = server.seen[-1]
    assert (method, path) == ("GET", "/bucket/em%2Fa%20chunk")
    # else Google inflates it on the way, without a length, and ignores ranges
    assert headers["Accept-Encoding"] == "gzip"
    assert store.stat("x").encoding == "gzip"
    with pytest.raises(StorageError, match="ignores Range"):
        store.read("x", 0, 4)
    server.answers[None] = (200, meta, b"")
    store.write("x", packed, attributes(ObjectKind.INFO, encoding="gzip"))
    method, path, headers = server.seen[-1]
    assert (method, path) == ("PUT", "/bucket/em%2Fx")
    assert (headers["Content-Encoding"], headers["Cache-Control"]) == ("gzip", "no-cache")
    assert headers["Content-Type"] == "application/json"
    server.answers[None] = refusal(403, "AccessDenied")
    with pytest.raises(AccessDeniedError, match="no credentials") as caught:
        store.read("x")
    assert "GOOGLE_APPLICATION_CREDENTIALS" in caught.value.hint
