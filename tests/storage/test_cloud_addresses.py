"""Buckets: from what a user types to a store, with the client and without."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloud_calls import PLAIN
from precast.errors import MissingExtraError, StorageError, UsageError
from precast.storage import CloudStore, HttpStore, LocalStore, StoreOptions, open_store, opening

pytestmark = pytest.mark.usefixtures("no_credentials")


def test_addresses_of_buckets() -> None:
    for given, url in {
        "s3://bucket/a/b/": "s3://bucket/a/b",
        "S3://bucket": "s3://bucket",
        "precomputed://gs://bucket/em": "gs://bucket/em",
        "az://container/em/|neuroglancer-precomputed:": "az://container/em",
    }.items():
        store = open_store(given)
        assert isinstance(store, CloudStore)
        assert store.url == url
    for wrong in ("s3:///em", "s3://bucket/em?versionId=1", "gs://bucket/em#x"):
        with pytest.raises(UsageError, match="not the address of a dataset"):
            open_store(wrong)
    with pytest.raises(StorageError, match="not a key"):
        open_store("s3://bucket/a//b")


def test_options_are_for_buckets(tmp_path: Path) -> None:
    options = StoreOptions(endpoint="http://127.0.0.1:9000/")
    assert options.endpoint == "http://127.0.0.1:9000"
    store = open_store("s3://bucket/em", options)
    assert isinstance(store, CloudStore)
    assert store.options == options == pickle.loads(pickle.dumps(store)).options
    for place in (tmp_path, str(tmp_path), "https://host/em", LocalStore(tmp_path)):
        with pytest.raises(UsageError, match="is in no bucket"):
            open_store(place, options)
    for wrong in ("127.0.0.1:9000", "ftp://host", "http://", "http://host:port"):
        with pytest.raises(UsageError, match="http or https"):
            StoreOptions(endpoint=wrong)
    with pytest.raises(UsageError, match="--anonymous"):
        StoreOptions(anonymous=True, profile="lab")
    with pytest.raises(UsageError, match="--region"):
        StoreOptions(region="eu west")
    with pytest.raises(UsageError, match="of Amazon's store"):
        CloudStore("gs://bucket/em", StoreOptions(profile="lab")).read("info")


class TestWithoutTheExtra:
    @pytest.fixture(autouse=True)
    def no_client(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "obstore", None)
        monkeypatch.setattr(opening, "has_cloud_client", lambda: False)

    def test_public_buckets_are_read_by_their_web_addresses(self) -> None:
        for given, url in {
            "gs://bucket/a/b": "https://storage.googleapis.com/bucket/a/b",
            "s3://bucket/a/b": "https://bucket.s3.amazonaws.com/a/b",
            "s3://my.bucket/a": "https://s3.amazonaws.com/my.bucket/a",
        }.items():
            store = open_store(given)
            assert isinstance(store, HttpStore)
            assert store.url == url
            assert isinstance(open_store(given, StoreOptions(anonymous=True)), HttpStore)

    def test_all_else_names_the_extra(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        store = open_store("s3://bucket/em")
        calls: list[Callable[[], Any]] = [
            lambda: open_store("az://container/em"),
            lambda: open_store("s3://bucket/em", StoreOptions(endpoint="http://127.0.0.1:9000")),
            lambda: open_store("s3://bucket/em", StoreOptions(profile="lab")),
            lambda: store.write("x", b"", PLAIN),
            lambda: store.write_file("x", tmp_path / "x", PLAIN),
            lambda: store.delete("x"),
            store.list,
            lambda: CloudStore("s3://bucket/em").read("info"),
        ]
        for call in calls:
            with pytest.raises(MissingExtraError) as caught:
                call()
            assert caught.value.hint == "pip install 'precast[cloud]'"
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")  # another store than Amazon's
        with pytest.raises(MissingExtraError):
            open_store("s3://bucket/em")
