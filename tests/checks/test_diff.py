"""Two datasets: equal whatever their chunks and encodings, or every difference told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import precast
from precast.checks import DiffOptions, catalogue, diff
from precast.errors import FormatError, ObjectNotFoundError, UsageError
from precast.findings import Severity
from volume_files import labels, pyramid, volume_info, write_volume


def codes(a: Path, b: Path, **options: Any) -> list[str]:
    return [finding.code for finding in diff(a, b, DiffOptions(**options)).findings]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, make_blobs: Any) -> Path:
    folder = tmp_path_factory.mktemp("diff")
    data = make_blobs((40, 50, 60), dtype=np.uint64)
    for name, options in (
        ("a", {}),
        ("b", {"unsharded": True, "chunk_size": "17,24,9", "encoding": "raw"}),
    ):
        more: dict[str, Any] = {"resolution": "8,8,8", "scales": 3, "offset": "3,4,5"} | options
        precast.convert(data, folder / name, precast.ConvertOptions(**more))
    precast.mesh(folder / "a")
    return folder


@pytest.fixture
def pair(made: Path, tmp_path: Path) -> tuple[Path, Path]:
    return Path(shutil.copytree(made / "a", tmp_path / "a")), Path(shutil.copytree(made / "a", tmp_path / "b"))


def edit(path: Path, **values: Any) -> None:
    info = json.loads((path / "info").read_text())
    info.update(values)
    (path / "info").write_text(json.dumps({key: value for key, value in info.items() if value != "gone"}))


def test_the_same_voxels_in_another_form(made: Path, pair: tuple[Path, Path]) -> None:
    edit(pair[0], mesh="gone", segment_properties="gone")
    for memory in (None, 10_000):
        report = diff(pair[0], made / "b", DiffOptions(memory=memory))
        assert report.equal
        sizes = [scale.info.size.volume for scale in precast.open(made / "b").scales]
        assert [(scale.compared, scale.differ) for scale in report.scales] == [(size, 0) for size in sizes]
    assert diff(made / "a", made / "a").equal


def test_by_digest(made: Path, pair: tuple[Path, Path]) -> None:
    edit(pair[0], mesh="gone", segment_properties="gone")
    report = diff(pair[0], made / "b", DiffOptions(trust_digests=True))
    assert report.equal
    assert [(scale.compared, scale.by_digest) for scale in report.scales] == [(0, True)] * 3
    text = (pair[1] / "provenance").read_text()
    digest = json.loads(text)["processing"][0]["scales"][1]["voxel_digest"]
    (pair[1] / "provenance").write_text(text.replace(digest, "voxels1:0"))
    assert codes(made / "a", pair[1], trust_digests=True) == ["PC813"]
    assert codes(made / "a", pair[1]) == []
    (pair[1] / "provenance").unlink()
    report = diff(made / "a", pair[1], DiffOptions(trust_digests=True))
    assert report.equal
    assert [scale.by_digest for scale in report.scales] == [False] * 3


def test_voxels(tmp_path: Path) -> None:
    data = labels()
    other = data.copy()
    other[4, 6, 6] += 1
    other[15, 23, 39] += 1
    a = write_volume(tmp_path / "a", data=pyramid(data))
    b = write_volume(tmp_path / "b", data=pyramid(other))
    report = diff(a, b)
    assert [finding.code for finding in report.findings] == ["PC813", "PC813"]
    first, second = (finding.message for finding in report.findings)
    assert first.startswith("2 of 15360 voxels differ, the first at 14,6,8: a ")
    assert f"14,6,8: a {data[4, 6, 6]}, b {other[4, 6, 6]}" in first
    assert "47,23,19: a" in first
    assert "1 of 1920" in second
    assert [(scale.key, scale.differ, scale.equal) for scale in report.scales] == [
        ("10_10_20", 2, False),
        ("20_20_40", 1, False),
    ]
    assert diff(a, b, DiffOptions(threads=1, memory=5000)).findings == report.findings


def test_chunks_that_cannot_be_read(tmp_path: Path) -> None:
    a, b = write_volume(tmp_path / "a"), write_volume(tmp_path / "b")
    next((b / "10_10_20").iterdir()).write_bytes(b"damaged")
    assert codes(a, b) == ["PC814"]


def test_info(tmp_path: Path) -> None:
    a = write_volume(tmp_path / "a")
    assert codes(a, write_volume(tmp_path / "b", volume_info() | {"type": "image"})) == ["PC810"]
    assert codes(a, write_volume(tmp_path / "c", volume_info() | {"data_type": "int32"})) == ["PC810"]
    info = volume_info()
    del info["scales"][1]
    assert codes(a, write_volume(tmp_path / "d", info, pyramid(labels())[:1])) == ["PC811"]
    for number, change in enumerate(({"voxel_offset": [9, 0, 4]}, {"resolution": [10, 10, 30]})):
        info = volume_info()
        info["scales"][0].update(change)
        assert codes(a, write_volume(tmp_path / f"e{number}", info)) == ["PC812"]
    info = volume_info()
    info["scales"][0]["size"] = [40, 24, 12]
    report = diff(a, write_volume(tmp_path / "f", info, [labels()[:12], labels()[::2, ::2, ::2]]))
    assert [finding.code for finding in report.findings] == ["PC812"]
    assert [scale.key for scale in report.scales] == ["20_20_40"]


def test_parts(pair: tuple[Path, Path]) -> None:
    a, b = pair
    edit(b, mesh="gone")
    assert codes(a, b) == ["PC820"]
    edit(b, mesh="mesh", segment_properties="gone")
    assert codes(a, b) == ["PC822"]
    properties = b / "segment_properties" / "info"
    value = json.loads(properties.read_text())
    value["inline"]["properties"][0]["values"][0] += 1
    properties.write_text(json.dumps(value, indent=7))
    edit(b, segment_properties="segment_properties")
    assert codes(a, b) == ["PC822"]
    assert codes(b, b) == []


def test_skeletons(tmp_path: Path) -> None:
    a = write_volume(tmp_path / "a", volume_info() | {"skeletons": "s"})
    b = write_volume(tmp_path / "b", volume_info() | {"skeletons": "s"})
    for path in (a, b):
        (path / "s").mkdir()
        (path / "s" / "info").write_text('{"@type": "neuroglancer_skeletons"}')
        (path / "s" / "5").write_bytes(bytes(8))
    assert codes(a, b) == []
    (b / "s" / "6").write_bytes(bytes(8))
    report = diff(a, b)
    assert [finding.code for finding in report.findings] == ["PC821"]
    assert "1 objects are missing in a, for example 6" in report.findings[0].message
    edit(b, skeletons="gone")
    assert codes(a, b) == ["PC821"]


def test_a_dataset_on_a_web_server(pair: tuple[Path, Path], serve: str) -> None:
    """Its voxels are compared; web servers do not list objects."""
    a, b = pair
    report = diff(a, f"{serve}/b")
    assert report.equal
    assert [(finding.code, finding.severity) for finding in report.findings] == [("PC823", Severity.INFO)]
    assert all(scale.differ == 0 and scale.compared for scale in report.scales)
    edit(b, mesh="gone")
    assert [finding.code for finding in diff(a, f"{serve}/b").findings] == ["PC820"]


def test_what_is_not_there(tmp_path: Path, made: Path) -> None:
    gone, empty = tmp_path / "gone", tmp_path / "empty"
    empty.mkdir()
    for a, b in ((made / "a", empty), (empty, made / "a")):
        with pytest.raises(ObjectNotFoundError, match=f"no dataset at {empty}: no info") as caught:
            diff(a, b)
        assert str(made) not in caught.value.message
    with pytest.raises(ObjectNotFoundError, match=f"{gone}.*; .*{empty}"):
        diff(gone, empty)
    edit(Path(shutil.copytree(made / "a", tmp_path / "v")), scales=5)
    with pytest.raises(FormatError, match=f"(?s){tmp_path}/v/info.*; .*{gone}"):
        diff(tmp_path / "v", gone)


# ---- collections


def build(out: Path, **layers: Any) -> Path:
    for name, data in layers.items():
        np.save(out.parent / f"{name}.npy", data)
    options = precast.BuildOptions(resolution="8", sample="1%")
    precast.build(*(out.parent / f"{name}.npy" for name in layers), destination=out, options=options)
    return out


def test_two_builds(tmp_path: Path, make_blobs: Any, serve: str) -> None:
    cells: Any = make_blobs((20, 20, 20), dtype=np.uint32)
    em = np.random.default_rng(1).integers(0, 255, cells.shape, np.uint8)
    a, b = build(tmp_path / "a", cells=cells, em=em), build(tmp_path / "b", em=em, cells=cells)
    report = diff(a, b)
    assert (report.equal, report.findings, report.scales) == (True, (), ())
    assert sorted(report.layers) == ["cells", "em"]
    assert [scale.compared for scale in report.layers["em"].scales] == [20**3]
    assert report.to_json()["layers"]["em"]["equal"]
    assert diff(a, f"{serve}/b").equal

    # what differs is told with the layer
    em[3, 4, 5] += 1
    np.save(tmp_path / "em.npy", em)
    other = build(tmp_path / "c", em=em, more=em)
    found = {(finding.code, finding.where): finding.message for finding in diff(a, other).findings}
    assert found == {
        ("PC830", "cells"): "is a layer of a only",
        ("PC830", "more"): "is a layer of b only",
        ("PC813", "em/8_8_8"): f"1 of {20**3} voxels differ, the first at 5,4,3: a {em[3, 4, 5] - 1}, b {em[3, 4, 5]}",
    }
    assert not diff(a, other).equal
    # a list is not needed
    (a / "precast.json").unlink()
    assert diff(a, b).equal


def test_layers_that_are_no_volumes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_volume(tmp_path / name / "em")
        for part in ("bodies", "other"):
            (tmp_path / name / part).mkdir()
            kind = "skeletons" if (name, part) == ("b", "other") else "legacy_mesh"
            (tmp_path / name / part / "info").write_text(json.dumps({"@type": f"neuroglancer_{kind}"}))
    found = [
        (finding.code, finding.severity, finding.where) for finding in diff(tmp_path / "a", tmp_path / "b").findings
    ]
    assert found == [("PC830", Severity.ERROR, "other"), ("PC831", Severity.INFO, "bodies")]


def test_a_dataset_beside_a_collection(made: Path) -> None:
    for a, b in ((made / "b", made), (made, made / "b")):
        with pytest.raises(UsageError, match=f"{made}/b is one dataset, and {made} is a directory") as caught:
            diff(a, b)
        assert caught.value.hint.endswith(f"{made}/b")


def test_every_rule_about_pairs_is_tested_here() -> None:
    text = Path(__file__).read_text()
    rules = [rule for rule in catalogue() if "PC810" <= rule.code < "PC900"]
    assert len(rules) == 11
    assert [rule.code for rule in rules if f'"{rule.code}"' not in text] == []
