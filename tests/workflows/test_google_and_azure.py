"""Every verb on Google's and Azure's stores, by the command line: the same objects as on a disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

import precast
from azurite import ACCOUNT, KEY, azurite, new_container
from buckets import forget_credentials
from command_line import Done, Run
from google_server import BUCKET, google_server
from precast.precomputed.objects import kind_of
from precast.storage import CloudStore, LocalStore
from volume_files import labels

RESOLUTION = ("--resolution", "10,10,20", "--chunk-size", "16")


@pytest.fixture
def run(run: Run) -> Run:
    """No secret in what is printed."""

    def one(*arguments: object) -> Done:
        done = run(*arguments)
        assert KEY not in done.out + done.err
        return done

    return one


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with azurite(tmp_path_factory.mktemp("azurite")) as address:
        yield address


@pytest.fixture(params=["gs", "az"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """Return the address of a bucket that may be written to."""
    forget_credentials(monkeypatch, tmp_path)
    monkeypatch.setenv("PRECAST_CACHE", str(tmp_path / "cache"))
    if request.param == "gs":
        with google_server() as google:
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", google.url)
            yield f"gs://{BUCKET}"
        return
    endpoint = request.getfixturevalue("emulator")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", endpoint)
    yield f"az://{new_container(endpoint)}"


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    folder = tmp_path / "slices"
    folder.mkdir()
    for number, plane in enumerate(labels(1).transpose(2, 1, 0)):
        tifffile.imwrite(folder / f"{number:03}.tif", np.ascontiguousarray(plane))
    return folder


def objects(url: str | Path) -> dict[str, bytes]:
    """Return what is there but for what publications write about themselves."""
    store = CloudStore(str(url)) if "://" in str(url) else LocalStore(Path(url))
    return {stat.key: store.read(stat.key) for stat in store.list() if not stat.key.startswith(".")}


@pytest.mark.parametrize("form", [(), ("--unsharded",)])
def test_every_verb(place: str, form: tuple[str, ...], slices: Path, tmp_path: Path, run: Run) -> None:
    there, here = f"{place}/p/labels", tmp_path / "labels"
    table = tmp_path / "names.csv"
    table.write_text("id,name\n1,one\n2,two\n")
    # slices in a bucket too
    source = CloudStore(f"{place}/slices")
    for path in slices.iterdir():
        source.write(path.name, path.read_bytes(), precast.storage.Attributes())
    for origin, target in ((slices, here), (f"{place}/slices", there)):
        for command in (
            ("convert", origin, target, *RESOLUTION, "--kind", "segmentation", *form),
            ("mesh", target, "--max-error", "5nm", "--csv", table, *form),
        ):
            done = run(*command)
            assert done.code == 0, (command, done.err)
    wanted, found = objects(here), objects(there)
    named = [key for key in wanted if key.endswith("provenance")]  # it says where the slices were
    assert {key: data for key, data in found.items() if key not in named} == {
        key: data for key, data in wanted.items() if key not in named
    }
    store, local = CloudStore(there), LocalStore(here)
    for key in wanted:
        rule, how = kind_of(key).rule, store.attributes(key)
        assert (how.content_type, how.cache_control) == (rule.content_type, rule.cache_control())
        assert how.encoding == local.stat(key).encoding
    assert np.array_equal(precast.open(there).scales[0][:, :, :], precast.open(here).scales[0][:, :, :])
    assert run("diff", there, here).code == 0
    assert run("check", there).code == 0
    assert json.loads(run("inspect", there, "--json").out)["result"]["kind"] == "segmentation"
    assert "/p/labels" in run("link", there).out
    segment = min(precast.open(there).meshes)
    assert run("export", there, "--segment", segment, "-o", tmp_path / "object.ply").code == 0
    assert (tmp_path / "object.ply").read_bytes().startswith(b"ply")

    # a copy, what is there already, a change, back, and away
    copy = f"{place}/copy"
    assert run("publish", there, copy).code == 0
    assert objects(copy) == found
    again = run("publish", there, copy, "--json")
    assert json.loads(again.out)["result"]["datasets"][0]["sent_objects"] == 0
    for command in (("mesh", copy, "--max-error", "40nm", *form), ("properties", copy, "--csv", table)):
        table.write_text("id,name\n1,uno\n")
        done = run(*command, "--overwrite")
        assert done.code == 0, done.err
        assert run("check", copy).code == 0
    info = json.loads(CloudStore(copy).read("info"))
    assert info["mesh"].startswith("gen-")
    assert info["segment_properties"].startswith("gen-")
    assert run("publish", there, copy, "--overwrite").code == 0
    assert run("diff", copy, here).code == 0
    assert run("rm", copy, "--yes").code == 0
    assert objects(copy) == {}
    assert objects(there) == found
