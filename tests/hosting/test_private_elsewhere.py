"""Private data on Google's store and on Azure, through this machine; S3 has tests of its own."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import precast
from azurite import ACCOUNT, KEY, azurite, new_container
from buckets import forget_credentials, upload
from google_server import BUCKET, google_server
from precast.hosting.server import ServeOptions
from precast.storage import CloudStore, LocalStore
from raw_http import ask


@pytest.fixture(scope="module")
def em(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("datasets") / "em"
    image = np.random.default_rng(0).integers(1, 255, (20, 40, 40)).astype(np.uint8)
    options = precast.ConvertOptions(resolution=8, kind="image", unsharded=True, chunk_size="32", scales=1)
    precast.convert(image, folder, options)
    (folder / "8_8_8" / "0.shard").write_bytes(image.tobytes())
    return folder


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_credentials(monkeypatch, tmp_path)


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with google_server() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        yield f"gs://{BUCKET}/p"


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    with azurite(tmp_path) as endpoint:
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", ACCOUNT)
        monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", endpoint)
        yield f"az://{new_container(endpoint)}/p"


@pytest.mark.parametrize("store", ["google", "azure"])
def test_every_object_is_as_on_the_disk(store: str, em: Path, request: pytest.FixtureRequest) -> None:
    place = f"{request.getfixturevalue(store)}/em"
    upload(em, CloudStore(place))
    keys = ["info", "8_8_8/0.shard", "8_8_8/0-32_32-40_0-20", "8_8_8/absent"]
    assert {stat.key for stat in LocalStore(em).list()} > set(keys[:3])
    with precast.view(place) as shown, precast.serve(em, ServeOptions(port=0)) as local:
        assert shown.state["layers"][0]["source"] == f"{shown.server.url}em/|neuroglancer-precomputed:"
        root = urllib.parse.urlsplit(shown.server.url).path  # secret, where there are credentials
        for key in keys:
            for accepted in ("", "gzip"):
                for wanted in ({}, {"Range": "bytes=2-9"}, {"Range": "bytes=-5"}, {"Range": "bytes=1000000-"}):
                    for method in ("GET", "HEAD"):
                        headers = {"Accept-Encoding": accepted, **wanted}
                        here = ask(local.port, method, f"/em/{key}", headers)
                        there = ask(shown.server.port, method, f"{root}em/{key}", headers)
                        assert (there.status, there.body) == (here.status, here.body), (method, key, headers)
                        for name in ("content-encoding", "content-length", "content-range", "content-type"):
                            assert there.headers.get(name) == here.headers.get(name)
