"""``publish`` into a server that enforces signatures, policies and CORS, over real HTTP; others read it back."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
from cloudfiles import paths as cloudfiles_paths
from cloudvolume import CloudVolume

import precast
from buckets import Place, place_on, sign_in
from precast.errors import DestinationExistsError
from precast.storage import StoreOptions, open_store
from precast.workflows.publish import publish, remove_former_generations, roll_back
from s3_server import S3Server
from viewer_truth import grid, some_labels, write

IDS = (7, 2**63 + 5, 99)
MINUTES = "public, max-age=3600"
FOREVER = "public, max-age=31536000, immutable"


def image() -> Any:
    x, y, z = grid()
    return (40 + 5 * (x // 8) + 7 * (y // 8) + 9 * (z // 8)).astype(np.uint8)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a collection: an image in single chunks, labels in shards, and labels in single files."""
    out = tmp_path_factory.mktemp("made") / "out"
    write(out / "em", image(), "image", unsharded=True, chunk_size="16")
    for name, unsharded in (("cells", False), ("files", True)):
        write(out / name, some_labels(), "segmentation", unsharded=unsharded)
        precast.mesh(out / name, precast.MeshOptions(unsharded=unsharded))
        assert (out / name / "segment_properties" / "info").is_file()
    assert list((out / "cells").rglob("*.shard"))
    assert list((out / "cells" / "mesh").rglob("*.shard"))
    assert list((out / "files" / "mesh").glob("*.index*"))
    assert list((out / "em").rglob("*.gz"))
    return out


@pytest.fixture(autouse=True)
def signed(s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sign_in(monkeypatch, tmp_path, s3)


@pytest.fixture
def place(s3: S3Server) -> Place:
    return place_on(s3)


@pytest.fixture(scope="module")
def published(s3: S3Server, out: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Return a bucket with the collection under ``p``; it is read, and not changed."""
    with pytest.MonkeyPatch.context() as patch:
        sign_in(patch, tmp_path_factory.mktemp("home"), s3)
        place = place_on(s3)
        publish(out, place.store("p"))
        place.open_to_browsers("p")
        yield place


# ---- what is there


def test_every_object_is_there_with_its_bytes_and_headers(published: Place, out: Path) -> None:
    files = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    files = {name: data for name, data in files.items() if not any(part.startswith(".") for part in name.split("/"))}
    found = [key.removeprefix("p/") for key in published.tags()]
    objects = [key for key in found if ".published" not in key.split("/")]
    assert sorted(objects) == sorted(name.removesuffix(".gz") for name in files)
    assert not any(".precast" in key or key.endswith(".gz") for key in found)
    packed = 0
    for key in objects:
        answer = published.client.get_object(Bucket=published.bucket, Key=f"p/{key}")
        name = f"{key}.gz" if f"{key}.gz" in files else key
        assert answer["Body"].read() == files[name], key
        last = key.rpartition("/")[2]
        text = last in ("info", "provenance")
        assert answer["ContentType"] == ("application/json" if text else "application/octet-stream"), key
        assert answer["CacheControl"] == ("no-cache" if text else MINUTES), key
        assert answer.get("ContentEncoding") == ("gzip" if name != key else None), key
        if name != key:
            packed += 1
            assert not last.endswith(".shard")
            assert gzip.decompress(files[name])
    assert packed > 10


def test_a_second_time_nothing_is_sent(published: Place, out: Path) -> None:
    before = published.tags()
    done = publish(out, published.store("p"))
    assert [(one.state, one.sent_objects) for one in done.datasets] == [("unchanged", 0)] * 3
    assert published.tags() == before


def test_a_change_is_seen_whole_and_can_be_taken_back(place: Place, out: Path, tmp_path: Path, s3: S3Server) -> None:
    old, new = some_labels(), some_labels()
    new[20:24, 30:34, 40:44] = 99
    changed = tmp_path / "changed"
    write(changed, new, "segmentation")
    precast.mesh(changed)
    store = place.store("p")
    publish(out / "cells", store)
    before = place.tags()
    place.open_to_browsers("p")
    at = f"{s3.endpoint}/{place.bucket}/p"
    done = publish(changed, store).datasets[0]
    assert done.state == "changed"
    assert place.tags().items() >= {key: tag for key, tag in before.items() if key.endswith(".shard")}.items()
    assert (read_http(at) == new).all()
    under = [key for key in place.tags() if key.startswith(f"p/gen-{done.generation}/")]
    assert {place.head(key)["CacheControl"] for key in under if not key.endswith("/info")} == {FOREVER}
    roll_back(store)
    assert (read_http(at) == old).all()
    roll_back(store)
    assert (read_http(at) == new).all()
    remove_former_generations(store)
    assert (read_http(at) == new).all()
    left = {key for key in place.tags() if "/.published/" not in key}
    assert left == {*under, "p/info", "p/provenance", "p/label_table.npy"}


def test_what_somebody_else_put_there_stays(place: Place, out: Path) -> None:
    place.client.put_object(Bucket=place.bucket, Key="p/info", Body=b"{}")
    with pytest.raises(DestinationExistsError, match="an info that precast did not publish"):
        publish(out / "cells", place.store("p"))
    assert list(place.tags()) == ["p/info"]


# ---- who reads it


def read_http(url: str) -> Any:
    spec = {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "http", "base_url": url}}
    cache = {"recheck_cached_data": True, "recheck_cached_metadata": True}
    return ts.open(spec | cache, read=True).result()[..., 0].read().result().T


def read_s3(place: Place, key: str) -> Any:
    kvstore = {
        "driver": "s3",
        "bucket": place.bucket,
        "path": f"{key}/",
        "endpoint": place.endpoint,
        "aws_region": "eu-central-1",
        "aws_credentials": {"type": "environment"},
    }
    spec = {"driver": "neuroglancer_precomputed", "kvstore": kvstore}
    return ts.open(spec, read=True).result()[..., 0].read().result().T


TRUTHS = {"em": image, "cells": some_labels, "files": some_labels}


@pytest.mark.parametrize("name", TRUTHS)
def test_tensorstore_reads_it(published: Place, name: str) -> None:
    assert (read_http(f"{published.endpoint}/{published.bucket}/p/{name}") == TRUTHS[name]()).all()
    assert (read_s3(published, f"p/{name}") == TRUTHS[name]()).all()


@pytest.mark.parametrize("name", TRUTHS)
@pytest.mark.parametrize("way", ["http", "s3"])
def test_cloud_volume_reads_it(
    published: Place, out: Path, name: str, way: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{published.endpoint}/{published.bucket}/p/{name}"
    if way == "s3":  # its own client of it, which signs; servers are known to it by names
        monkeypatch.setitem(cloudfiles_paths.ALIASES, "matrix", f"s3://{published.endpoint}/")
        address = f"matrix://{published.bucket}/p/{name}"
        monkeypatch.setenv("AWS_SESSION_TOKEN", "")
        monkeypatch.setenv("AWS_DEFAULT_REGION", s3.region)
    volume = CloudVolume(f"precomputed://{address}", progress=False, use_https=False)
    assert (TRUTHS[name]() == volume[:][..., 0].T).all()
    if name == "em":
        return
    here = precast.open(out / name)
    meshes = volume.mesh.get(list(IDS))
    for one in IDS:
        mesh = here.meshes[one].read(0)
        found = meshes[one] if isinstance(meshes, dict) else next(m for m in meshes if m.segid == one)
        assert len(found.faces) == len(mesh.faces)
        assert np.allclose(np.sort(found.vertices, 0), np.sort(mesh.vertices, 0), atol=0.01)


def test_check_finds_nothing(published: Place) -> None:
    report = precast.check(open_store(published.url("p"), StoreOptions(endpoint=published.endpoint)))
    assert [str(one) for one in report.findings] == []
    assert len(report.datasets) == 3


def test_check_of_the_public_address(published: Place) -> None:
    report = precast.check(f"{published.endpoint}/{published.bucket}/p/cells")
    assert [str(one) for one in report.findings] == []
