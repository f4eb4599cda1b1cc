"""Each rule about the info of a volume: one fault is planted, and exactly that rule finds it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from precast.checks import catalogue, check
from precast.findings import Severity
from volume_files import SHARDING, volume_info, write_volume

Change = Callable[[dict[str, Any]], Any]


def codes(path: Path, value: Any) -> list[str]:
    """Return the codes about the info; what follows for chunks is another matter."""
    (path / "info").write_text(value if isinstance(value, str) else json.dumps(value))
    return sorted({finding.code for finding in check(path).findings if finding.code < "PC200"})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_volume(tmp_path_factory.mktemp("info") / "v")


def top(**values: Any) -> Change:
    return lambda info: info.update(values)


def scale(number: int = 0, **values: Any) -> Change:
    return lambda info: info["scales"][number].update(values)


def drop(key: str, number: int | None = None) -> Change:
    return lambda info: (info if number is None else info["scales"][number]).pop(key)


def both(**values: Any) -> Change:
    return lambda info: [entry.update(values) for entry in info["scales"]]


def all_of(*changes: Change) -> Change:
    return lambda info: [change(info) for change in changes]


def exactly_one(info: dict[str, Any]) -> None:
    info["scales"][0].update(sharding=SHARDING, chunk_sizes=[[16, 16, 8], [8, 8, 8]])
    info["scales"][1].update(sharding=SHARDING, chunk_sizes=[[16, 16, 8], [8, 8, 8]])


FAULTS: list[tuple[str, Change]] = [
    ("PC101", top(**{"@type": "neuroglancer_multiscale"})),
    ("PC102", top(type="labels")),
    ("PC102", drop("type")),
    ("PC102", top(type=5)),
    ("PC103", top(data_type="int64")),
    ("PC103", top(data_type="float64")),
    ("PC103", drop("data_type")),
    ("PC104", top(type="Segmentation")),
    ("PC104", top(data_type="UINT32")),
    ("PC104", top(type="unknown")),
    ("PC105", top(num_channels=0)),
    ("PC105", top(num_channels="1")),
    ("PC105", top(num_channels=True)),
    ("PC105", drop("num_channels")),
    ("PC106", top(scales=[])),
    ("PC106", top(scales={})),
    ("PC106", lambda info: info["scales"].append("20_20_40")),
    ("PC107", top(mesh=5)),
    ("PC107", top(mesh="gs://bucket/mesh")),
    ("PC107", top(skeletons="./")),
    ("PC108", top(mesh=None)),
    ("PC108", scale(sharding=None)),
    ("PC108", all_of(both(voxel_offset=[0, 0, 0]), scale(voxel_offset=None))),
    ("PC109", top(redirect="https://example.org/v")),
    ("PC110", scale(key="")),
    ("PC110", scale(key=7)),
    ("PC111", scale(size=[40, 24])),
    ("PC111", scale(size=[40, 24, 0])),
    ("PC111", scale(size=[40, 24, 16.5])),
    ("PC111", scale(size=["40", 24, 16])),
    ("PC112", scale(voxel_offset=[8, 0, 4.5])),
    ("PC112", scale(voxel_offset="8,0,4")),
    ("PC113", scale(chunk_sizes=[])),
    ("PC113", scale(chunk_sizes=[16, 16, 8])),
    ("PC113", scale(chunk_sizes=[[16, 16, 0]])),
    ("PC114", scale(resolution=[10, 10, 0])),
    ("PC114", scale(resolution=[10, 10])),
    ("PC114", scale(resolution=["10", 10, 20])),
    ("PC114", scale(resolution=[10, 10, 10**400])),
    ("PC115", scale(encoding="zip")),
    ("PC115", drop("encoding", 0)),
    ("PC116", both(encoding="fpzip")),
    ("PC117", both(encoding="compresso")),
    ("PC118", scale(encoding="compressed_segmentation")),
    ("PC118", scale(encoding="compressed_segmentation", compressed_segmentation_block_size=[8, 8])),
    ("PC119", scale(compressed_segmentation_block_size=[8, 8, 8])),
    ("PC119", scale(jpeg_quality=80)),
    ("PC119", all_of(top(data_type="uint8"), both(encoding="png", png_level=12))),
    ("PC120", both(encoding="png")),
    ("PC120", all_of(top(type="image"), both(encoding="jpeg"))),
    ("PC120", all_of(top(type="image", data_type="uint8", num_channels=2), both(encoding="jpeg"))),
    ("PC120", all_of(top(data_type="uint8"), both(encoding="compressed_segmentation",
                                                 compressed_segmentation_block_size=[8, 8, 8]))),
    ("PC121", all_of(top(type="image", data_type="uint16", num_channels=3), both(encoding="png"))),
    ("PC122", top(num_channels=2)),
    ("PC122", top(data_type="float32")),
    ("PC122", all_of(top(data_type="uint8"), both(encoding="jpeg"))),
    ("PC123", scale(sharding="raw")),
    ("PC123", scale(sharding=SHARDING | {"hash": "md5"})),
    ("PC123", scale(sharding=SHARDING | {"minishard_bits": 60, "shard_bits": 10})),
    ("PC123", scale(sharding={key: value for key, value in SHARDING.items() if key != "preshift_bits"})),
    ("PC124", exactly_one),
    ("PC125", all_of(lambda info: info["scales"].pop(), scale(sharding=SHARDING, size=[2**40] * 3,
                                                              chunk_sizes=[[64, 64, 64]]))),
    ("PC126", both(sharding=SHARDING | {"comment": "x"})),
    ("PC126", both(sharding={key: value for key, value in SHARDING.items() if key != "data_encoding"})),
    ("PC127", lambda info: [entry.update(voxel_offset=[k, 0, 0]) for entry, k in
                            zip(info["scales"], (2**25 + 6, 2**24 + 3), strict=True)]),
    ("PC128", scale(size=[40.0, 24, 16])),
    ("PC128", top(num_channels=1.0)),
    ("PC129", all_of(both(voxel_offset=[0, 0, 0]), drop("voxel_offset", 1))),
    ("PC130", scale(hidden="yes")),
    ("PC131", both(chunk_sizes=[[16, 16, 8], [8, 8, 8]])),
    ("PC132", top(type="image", mesh="mesh")),
    ("PC133", all_of(scale(size=[2**20, 2**20, 2**20], voxel_offset=[0, 0, 0], chunk_sizes=[[64, 64, 64]]),
                     scale(1, size=[2**19, 2**19, 2**19], voxel_offset=[0, 0, 0]))),
    ("PC134", scale(1, key="../elsewhere/20_20_40")),
    ("PC135", all_of(scale(chunk_sizes=[[2**12, 2**12, 2**6]], size=[2**12, 2**12, 2**6], voxel_offset=[0, 0, 0]),
                     scale(1, chunk_sizes=[[2**12, 2**12, 2**5]], size=[2**11, 2**11, 2**5], voxel_offset=[0, 0, 0]))),
    ("PC140", all_of(scale(1, key="./10_10_20/"))),
    ("PC141", lambda info: info["scales"].reverse()),
    ("PC141", scale(1, resolution=[20, 20, 10], size=[20, 12, 32], voxel_offset=[4, 0, 8])),
    ("PC141", scale(1, resolution=[10, 10, 20], size=[40, 24, 16], voxel_offset=[8, 0, 4])),
    ("PC142", scale(1, voxel_offset=[8, 0, 2])),
    ("PC143", scale(1, size=[17, 12, 8])),
]  # fmt: skip


@pytest.mark.parametrize(("code", "plant"), FAULTS, ids=[f"{code}-{i}" for i, (code, _) in enumerate(FAULTS)])
def test_faults(dataset: Path, code: str, plant: Change) -> None:
    info = copy.deepcopy(volume_info())
    plant(info)
    assert codes(dataset, info) == [code]


@pytest.mark.parametrize(
    "text",
    ["{", "[]", json.dumps(volume_info()).replace("[10, 10, 20]", "[10, NaN, 20]", 1), b"\xff\xfe{}".decode("latin-1")],
)
def test_info_that_is_no_json(dataset: Path, text: str) -> None:
    assert codes(dataset, text) == ["PC100"]


def test_every_problem_is_told_with_its_place(dataset: Path) -> None:
    info = volume_info()
    info["num_channels"] = 0
    info["scales"][1]["resolution"] = [0, 0, 0]
    info["scales"][0]["chunk_sizes"] = [[16, 16, 8], [1, 0, 1]]
    (dataset / "info").write_text(json.dumps(info))
    places = {finding.code: finding.where for finding in check(dataset).findings}
    assert places["PC105"] == "info: num_channels"
    assert places["PC114"] == "info: scales[1].resolution"
    assert places["PC113"] == "info: scales[0].chunk_sizes[1]"


def test_a_clean_info(dataset: Path) -> None:
    assert codes(dataset, volume_info()) == []
    legal = volume_info()
    del legal["@type"]
    legal["comment"] = {"anything": None}
    legal["scales"][1]["hidden"] = True
    assert codes(dataset, legal) == []


def test_what_is_legal_is_no_error() -> None:
    """Things that viewers take are at most warnings."""
    legal = {"PC104", "PC109", "PC116", "PC117", "PC119", "PC121", "PC122", "PC126", "PC127", "PC128", "PC129", "PC131",
             "PC132", "PC133", "PC134", "PC135"}  # fmt: skip
    found = {rule.code for rule in catalogue() if rule.code < "PC200" and rule.severity != Severity.ERROR}
    assert found == legal


def test_every_rule_about_the_info_is_tested_here() -> None:
    tested = {code for code, _ in FAULTS} | {"PC100"}
    assert {rule.code for rule in catalogue() if rule.code < "PC200"} == tested
