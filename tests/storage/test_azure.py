"""The contract of stores on Azurite, Microsoft's own server for tests; skipped without it (npm install -g azurite)."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_stores import StoreContract

from azurite import ACCOUNT, KEY, ask, azurite, new_container
from buckets import forget_credentials
from cloud_calls import DATA, PLAIN, calls_of
from precast.dataset.objects import attributes
from precast.errors import AccessDeniedError, ObjectNotFoundError, StorageError, UsageError
from precast.precomputed.objects import ObjectKind
from precast.storage import CloudStore, StoreOptions, cloud
from precast.storage.cloud_clients import Connection
from scripted_server import Script


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with azurite(tmp_path_factory.mktemp("azurite")) as address:
        yield address


class TestOnAzurite(StoreContract):
    @pytest.fixture
    def store(self, endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CloudStore:
        forget_credentials(monkeypatch, tmp_path)
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", ACCOUNT)
        monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", endpoint)
        return CloudStore(f"az://{new_container(endpoint)}/em", connection=Connection(retries=1))

    def test_headers_and_parts(self, store: CloudStore, endpoint: str, tmp_path: Path) -> None:
        store.write("info", gzip.compress(b"{}"), attributes(ObjectKind.INFO, encoding="gzip"))
        data = np.random.default_rng(0).bytes(2 * cloud.PART_BYTES + 5)
        (tmp_path / "part").write_bytes(data)
        store.write_file("0.shard", tmp_path / "part", attributes(ObjectKind.SHARD))
        container = store.url.split("/")[2]
        info, shard = (ask(endpoint, "GET", f"/{container}/em/{key}") for key in ("info", "0.shard"))
        assert (info.headers["Content-Encoding"], shard.headers["Content-Encoding"]) == ("gzip", None)
        assert info.headers["Content-Type"] == "application/json"
        assert info.headers["Cache-Control"] == "no-cache"
        assert shard.headers["Cache-Control"] == "public, max-age=3600"
        assert gzip.decompress(info.read()) == b"{}"
        assert shard.read() == data

    def test_names_and_folders(self, store: CloudStore) -> None:
        names = ["a b", "a+b", "a%3Ab", "5:0", "ü", "x#?&=@|'"]
        for name in names:
            store.child("sub").write(name, name.encode(), PLAIN)
            assert store.read(f"sub/{name}") == name.encode()
        assert [stat.key for stat in store.child("sub").list()] == sorted(names)
        assert store.folders() == ("sub",)

    def test_there_is_no_such_container(self, store: CloudStore) -> None:
        gone = CloudStore("az://there-is-none/em", connection=Connection(retries=0))
        for call in calls_of(gone).values():
            with pytest.raises(StorageError, match="there is no bucket az://there-is-none"):
                call()

    def test_refusals(self, store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
        store.write("x", b"1", PLAIN)
        # Azure does not tell from what is not there what is not public
        with pytest.raises((ObjectNotFoundError, AccessDeniedError)):
            CloudStore(store.url, StoreOptions(anonymous=True)).read("x")
        monkeypatch.setenv("AZURE_STORAGE_KEY", base64.b64encode(b"wrong" * 12).decode())
        with pytest.raises(AccessDeniedError, match="refused") as caught:
            CloudStore(store.url).read("x")
        assert "Storage Blob Data Reader" in caught.value.hint


def test_requests(server: Script, no_credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="not the storage account"):
        CloudStore("az://container/em").read("x")
    meta = {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"}
    server.answers[None] = (200, meta, DATA)
    options = StoreOptions(endpoint=f"{server.url}/devstoreaccount1")
    assert CloudStore("az://container/em", options, Connection(retries=0)).read("x") == DATA
    assert server.seen[-1][1] == "/devstoreaccount1/container/em/x"
    assert "Authorization" not in server.seen[-1][2]
    key = "c2VjcmV0" * 8
    monkeypatch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING",
        f"DefaultEndpointsProtocol=http;AccountName=lab;AccountKey={key};BlobEndpoint={server.url}/lab/;",
    )
    store = CloudStore("az://container/em", connection=Connection(retries=0))
    assert store.read("x") == DATA
    assert server.seen[-1][1] == "/lab/container/em/x"
    assert server.seen[-1][2]["Authorization"].startswith("SharedKey lab:")
    server.answers[None] = (201, meta, b"")
    store.write("info", gzip.compress(b"{}"), attributes(ObjectKind.INFO, encoding="gzip"))
    headers = server.seen[-1][2]
    assert headers["x-ms-blob-content-encoding"] == "gzip"
    assert headers["x-ms-blob-cache-control"] == "no-cache"
    assert headers["x-ms-blob-content-type"] == "application/json"
    assert store.viewer_url() == f"{server.url}/lab/container/em"
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "lab")
    assert CloudStore("az://container/em").viewer_url() == "https://lab.blob.core.windows.net/container/em"
