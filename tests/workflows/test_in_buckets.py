"""Every verb that reads, on datasets in a bucket: the same as on the disk that they come from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import precast
from buckets import Place, forget_credentials, moto_server, new_place, upload
from command_line import Run
from precast.checks import check
from precast.dataset import open_layers
from precast.errors import ObjectNotFoundError
from precast.precomputed.collection import Collection, CollectionLayer
from precast.storage import Attributes, LocalStore

KEY, SECRET = "AKIAEXAMPLE", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two datasets: labels in shards, with meshes and properties, and an image in single chunks."""
    root = tmp_path_factory.mktemp("datasets")
    labels = np.zeros((40, 60, 70), np.uint32)
    labels[5:30, 5:40, 5:35] = 7
    labels[10:25, 45:55, 40:60] = 9
    precast.convert(labels, root / "labels", precast.ConvertOptions(resolution=8, kind="segmentation"))
    precast.mesh(root / "labels")
    image = np.random.default_rng(0).integers(1, 255, (40, 60, 70)).astype(np.uint8)
    options = precast.ConvertOptions(resolution=8, kind="image", unsharded=True, chunk_size="32")
    precast.convert(image, root / "em", options)
    return root


@pytest.fixture(scope="module")
def uploaded(folder: Path) -> Iterator[Place]:
    with moto_server() as endpoint:
        place = new_place(endpoint, KEY, SECRET)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ACCESS_KEY_ID", KEY)
            patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
            upload(folder, place.store("p"))
        yield place


@pytest.fixture
def place(uploaded: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    forget_credentials(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    return uploaded


@pytest.fixture
def copy(folder: Path, place: Place) -> Place:
    """A bucket of its own with the same datasets, to be damaged."""
    own = new_place(place.endpoint, KEY, SECRET)
    upload(folder, own.store("p"))
    return own


@pytest.mark.parametrize("name", ["labels", "em"])
def test_open(folder: Path, place: Place, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here = precast.open(folder / name)
    there = precast.open(place.url(f"p/{name}"), precast.StoreOptions(endpoint=place.endpoint))
    for near, far in zip(here.scales, there.scales, strict=True):
        assert (near[...] == far[...]).all()
    if name == "labels":
        assert list(there.meshes) == [7, 9]
        assert (there.meshes[9].read(0).vertices == here.meshes[9].read(0).vertices).all()
    monkeypatch.setenv("AWS_ENDPOINT_URL", place.endpoint)
    assert precast.open(f"precomputed://{place.url(f'p/{name}')}").info == here.info
    with pytest.raises(ObjectNotFoundError, match="not a precomputed volume"):
        precast.open(place.url("p"))


@pytest.mark.parametrize("name", ["labels", "em"])
def test_inspect(folder: Path, place: Place, name: str, run: Run) -> None:
    here = run("inspect", folder / name, "--json").result
    there = run("inspect", place.url(f"p/{name}"), "--endpoint", place.endpoint, "--json").result
    assert here.pop("path") == str(folder / name)
    assert there.pop("path") == place.url(f"p/{name}")
    assert there == here


def test_check_of_all_there_is(folder: Path, place: Place, run: Run) -> None:
    """A directory of datasets that nothing lists."""
    here = run("check", folder, "--json").result
    there = run("check", place.url("p"), "--endpoint", place.endpoint, "--json").result
    for report, root in ((here, str(folder)), (there, place.url("p"))):
        assert report.pop("path") == root
        for one in report["datasets"]:
            assert one.pop("path") == f"{root}/{one['name']}"
    assert there == here
    assert [one["name"] for one in there["datasets"]] == ["em", "labels"]


def codes(report: precast.Report) -> set[str]:
    return {finding.code for finding in report.findings}


def test_check_finds_what_is_wrong(folder: Path, copy: Place) -> None:
    options = precast.StoreOptions(endpoint=copy.endpoint)

    def found(name: str) -> precast.Report:
        return check(precast.open_store(copy.url(f"p/{name}"), options))

    labels, em = copy.store("p/labels"), copy.store("p/em")
    assert found("labels").ok
    assert found("em").ok
    key = sorted(stat.key for stat in em.list("8_8_8/"))[1]
    em.delete(key)
    lost = found("em")
    assert lost.datasets[0].scales[0].lost == 1
    em.write(key, b"no gzip", Attributes(encoding="gzip"))
    assert found("em").datasets[0].scales[0].unreadable == 1
    labels.write("notes.txt", b"mine", Attributes())
    labels.write("8_8_8/old.tmp", b"x", Attributes())
    (folder / "labels" / "notes.txt").write_bytes(b"mine")
    try:
        local = check(folder / "labels")
    finally:
        (folder / "labels" / "notes.txt").unlink()
    assert codes(local) <= codes(found("labels"))
    assert any(finding.where == "notes.txt" for finding in found("labels").findings)
    shard = next(stat.key for stat in labels.list("8_8_8/") if stat.key.endswith(".shard"))
    copy.client.copy_object(
        Bucket=copy.bucket,
        Key=f"p/labels/{shard}",
        CopySource={"Bucket": copy.bucket, "Key": f"p/labels/{shard}"},
        ContentEncoding="gzip",
        MetadataDirective="REPLACE",
    )
    assert "PC227" in codes(found("labels"))


def test_diff(folder: Path, place: Place, copy: Place, run: Run) -> None:
    same = run("diff", folder / "labels", place.url("p/labels"), "--endpoint", place.endpoint)
    assert (same.code, same.err) == (0, "")
    assert "0 of 168000 voxels differ" in same.out
    key = next(iter(precast.open(folder / "em").scales[0].objects())).key
    voxels = bytearray(LocalStore(folder / "em").read(key))
    voxels[5] ^= 1
    copy.store("p/em").write(key, bytes(voxels), Attributes())
    changed = run("diff", folder, copy.url("p"), "--endpoint", copy.endpoint)
    assert changed.code == 1
    assert "1 of 168000 voxels differ" in changed.out
    refused = run("diff", folder, folder, "--endpoint", copy.endpoint)
    assert refused.code == 2
    assert "is in no bucket" in refused.err


def test_export(folder: Path, place: Place, tmp_path: Path, run: Run) -> None:
    here, there = tmp_path / "here.ply", tmp_path / "there.ply"
    assert run("export", folder / "labels", "--segment", 7, "-o", here).code == 0
    bucket = (place.url("p/labels"), "--endpoint", place.endpoint)
    assert run("export", *bucket, "--segment", 7, "-o", there).code == 0
    assert there.read_bytes() == here.read_bytes()


def test_link(folder: Path, place: Place, run: Run) -> None:
    mixed = (place.url("p"), folder / "em", "--base-url", "http://h", "--endpoint", place.endpoint)
    made = run("link", *mixed, "--json").result
    base = f"{place.endpoint}/{place.bucket}/p"
    assert {layer["source"] for layer in made["layers"]} == {
        f"{url}/|neuroglancer-precomputed:" for url in (f"{base}/em", f"{base}/labels", "http://h/em")
    }
    alone = run("link", place.url("p/em"), "--endpoint", place.endpoint, "--json").result
    local = precast.link(folder / "em", options=precast.LinkOptions(base_url=base))
    assert (alone["url"], alone["state"]) == (local.url, local.state)


def test_directories_and_lists_of_datasets(copy: Place) -> None:
    options = precast.StoreOptions(endpoint=copy.endpoint)
    assert [layer.path for layer in open_layers(copy.url("p"), options).layers] == ["em", "labels"]
    listed = Collection(layers=(CollectionLayer(name="labels", kind="segmentation"),))
    copy.store("p").write("precast.json", listed.to_bytes(), Attributes())
    assert [layer.path for layer in open_layers(copy.url("p"), options).layers] == ["labels"]


def test_errors_on_the_command_line(place: Place, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for verb in ("inspect", "check", "link"):
        gone = run(verb, "s3://there-is-none/p", "--endpoint", place.endpoint)
        assert gone.code == 3
        assert "error: there is no bucket s3://there-is-none" in gone.err
        assert "hint: check its name" in gone.err
    profile = run("inspect", place.url("p/em"), "--profile", "lab")
    assert profile.code == 2
    assert "lab" in profile.err
    local = run("inspect", "p/em", "--region", "eu-west-1")
    assert local.code == 2
    assert "--region" in local.err
