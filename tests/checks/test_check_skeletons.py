"""Each rule about skeletons: one fault is planted, and exactly that rule finds it."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from precast.checks import catalogue, check
from precast.errors import FormatError
from precast.precomputed.skeletons import SkeletonAttribute, parse_skeleton
from volume_files import SHARDING, shard, volume_info, write_volume

INFO: dict[str, Any] = {
    "@type": "neuroglancer_skeletons",
    "transform": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0],
    "vertex_attributes": [
        {"id": "radius", "data_type": "float32", "num_components": 1},
        {"id": "colour", "data_type": "float32", "num_components": 3},
    ],
}
POINTS = [(100, 50, 120), (200, 60, 130), (300, 70, 140)]
Change = Callable[[dict[str, Any]], Any]


def skeleton(points: Any = POINTS, edges: Any = ((0, 1), (1, 2)), *, attributes: int = 4) -> bytes:
    """Encode a skeleton by the format's description."""
    data = struct.pack("<2I", len(points), len(edges))
    data += np.array(points, "<f4").tobytes() + np.array(edges, "<u4").tobytes()
    return data + np.arange(len(points) * attributes, dtype="<f4").tobytes()


def write(path: Path, values: dict[int, bytes], info: Any = None, *, linked: bool = True) -> Path:
    value = volume_info() | ({"skeletons": "skeletons"} if linked else {})
    write_volume(path, value)
    (path / "skeletons").mkdir()
    info = INFO if info is None else info
    (path / "skeletons" / "info").write_text(info if isinstance(info, str) else json.dumps(info))
    for key, data in values.items():
        (path / "skeletons" / str(key)).write_bytes(data)
    return path


def codes(path: Path) -> list[str]:
    return sorted({finding.code for finding in check(path).findings})


def test_the_example_of_the_format() -> None:
    data = bytes.fromhex(
        "02000000 01000000 00000000 00000000 00000000 0000c842 00000000 00000000 00000000 01000000 0000a040 00002040"
    )
    found = parse_skeleton(data, (SkeletonAttribute("radius", "float32", 1),))
    assert found.positions.tolist() == [[0, 0, 0], [100, 0, 0]]
    assert found.edges.tolist() == [[0, 1]]
    assert found.attributes["radius"].tolist() == [[5], [2.5]]
    for wrong in (data[:-1], data + b"\0", data[:7]):
        with pytest.raises(FormatError):
            parse_skeleton(wrong, (SkeletonAttribute("radius", "float32", 1),))


def test_clean_skeletons(tmp_path: Path) -> None:
    path = write(tmp_path / "v", {5: skeleton(), 2**64 - 1: skeleton()})
    report = check(path)
    assert report.findings == ()
    assert [(part.objects, part.checked) for part in report.datasets[0].parts] == [(2, 2)]
    alone = check(path / "skeletons")
    assert (alone.findings, alone.datasets[0].kind) == ((), "skeletons")
    assert alone.datasets[0].parts[0].checked == 2


def test_clean_sharded_skeletons(tmp_path: Path) -> None:
    path = write(tmp_path / "v", {}, INFO | {"sharding": SHARDING})
    # keys 4 and 5 stand in minishard 0 of shard 1, keys 6 and 7 in minishard 1
    data = shard([[(4, skeleton()), (5, skeleton())], [(6, skeleton())]])
    (path / "skeletons" / "1.shard").write_bytes(data)
    report = check(path)
    assert report.findings == ()
    assert report.datasets[0].parts[0].objects == 3
    (path / "skeletons" / "2.shard").write_bytes(data)
    assert codes(path) == ["PC223"]
    (path / "skeletons" / "2.shard").write_bytes(data[:9])
    assert codes(path) == ["PC221"]


def put(**values: Any) -> Change:
    return lambda info: info.update(values)


INFOS: list[tuple[str, Change]] = [
    ("PC501", put(transform=[1, 0, 0])),
    ("PC501", put(vertex_attributes={})),
    ("PC501", put(vertex_attributes=[{"id": "", "data_type": "float32", "num_components": 1}])),
    ("PC501", put(vertex_attributes=[{"id": "r", "data_type": "float64", "num_components": 1}])),
    ("PC501", put(vertex_attributes=[{"id": "r", "data_type": "float32", "num_components": 0}])),
    ("PC501", put(vertex_attributes=[INFO["vertex_attributes"][0]] * 2)),
    ("PC501", put(sharding="raw")),
    ("PC501", put(sharding=SHARDING | {"hash": "md5"})),
    ("PC501", put(segment_properties=5)),
    ("PC502", put(sharding=None)),
    ("PC503", lambda info: info.pop("transform")),
    ("PC504", put(vertex_attributes=[{"id": "kind", "data_type": "uint32", "num_components": 4}])),
    ("PC504", put(vertex_attributes=[{"id": "a b", "data_type": "float32", "num_components": 4}])),
    (
        "PC504",
        put(vertex_attributes=[{"id": "a", "data_type": "uint16", "num_components": 5},
                               {"id": "b", "data_type": "uint16", "num_components": 3}]),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("code", "plant"), INFOS, ids=[f"{code}-{i}" for i, (code, _) in enumerate(INFOS)])
def test_faults_of_the_info(tmp_path: Path, code: str, plant: Change) -> None:
    info = json.loads(json.dumps(INFO))
    plant(info)
    assert codes(write(tmp_path / "v", {5: skeleton()}, info)) == [code]


@pytest.mark.parametrize("text", ["{", "[]", '{"transform": NaN}'])
def test_info_that_is_no_json(tmp_path: Path, text: str) -> None:
    assert codes(write(tmp_path / "v", {}, text)) == ["PC500"]


FILES: list[tuple[str, bytes]] = [
    ("PC510", skeleton()[:-1]),
    ("PC510", skeleton() + b"\0"),
    ("PC510", skeleton(attributes=0)),
    ("PC510", b"\0\0\0"),
    ("PC511", skeleton([(100, 50, 120), (np.nan, 60, 130), (300, 70, 140)])),
    ("PC511", skeleton([(100, 50, 120), (np.inf, 60, 130), (300, 70, 140)])),
    ("PC512", skeleton(edges=[(0, 1), (1, 3)])),
    ("PC513", skeleton(edges=[(0, 1), (1, 1)])),
    ("PC513", skeleton(edges=[(0, 1), (1, 0)])),
    ("PC514", skeleton([(100, 50, 120), (200, 60, 130), (600, 70, 140)])),
    ("PC514", skeleton([(100, 50, 120), (200, 60, 130), (300, -30, 140)])),
    ("PC515", skeleton([], [])),
]


@pytest.mark.parametrize(("code", "data"), FILES, ids=[f"{code}-{i}" for i, (code, _) in enumerate(FILES)])
def test_faults_of_a_skeleton(tmp_path: Path, code: str, data: bytes) -> None:
    path = write(tmp_path / "v", {5: skeleton(), 6: data})
    report = check(path)
    assert [finding.code for finding in report.findings] == [code]
    assert report.findings[0].where == "skeletons/6"


def test_positions_are_in_the_frame_of_the_transform(tmp_path: Path) -> None:
    """Voxels of 10 x 10 x 20 nm, from 8,0,4 to 48,24,20."""
    info = INFO | {"transform": [10, 0, 0, 0, 0, 10, 0, 0, 0, 0, 20, 0]}
    assert codes(write(tmp_path / "v", {5: skeleton([(8, 0, 4), (48, 24, 20), (9, 9, 9)])}, info)) == []
    assert codes(write(tmp_path / "w", {5: skeleton()}, info)) == ["PC514"]


def test_every_rule_about_skeletons_is_tested_here() -> None:
    tested = {code for code, _ in (*INFOS, *FILES)} | {"PC500"}
    assert {rule.code for rule in catalogue() if rule.code.startswith("PC5")} == tested
