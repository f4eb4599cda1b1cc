"""Each rule about annotations: one fault is planted, and exactly that rule finds it."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import neuroglancer
import numpy as np
import pytest
from neuroglancer.write_annotations import AnnotationWriter

from precast.checks import CheckOptions, catalogue, check
from precast.checks.annotations import check_annotations
from precast.checks.context import Context
from precast.execution.progress import NoProgress
from precast.precomputed.annotations import AnnotationInfo
from precast.storage import LocalStore
from volume_files import morton, shard, write_volume

Change = Callable[[dict[str, Any]], Any]
Record = tuple[bytes, tuple[int, ...]]
"""A record, and the ids of related objects."""


def points_info() -> dict[str, Any]:
    return {
        "@type": "neuroglancer_annotations_v1",
        "dimensions": {"x": [8e-9, "m"], "y": [8e-9, "m"], "z": [4e-8, "m"]},
        "lower_bound": [0, 0, 0],
        "upper_bound": [64, 64, 64],
        "annotation_type": "point",
        "properties": [
            {"id": "score", "type": "float32"},
            {"id": "kind", "type": "uint16", "enum_values": [1, 2], "enum_labels": ["one", "two"]},
            {"id": "flag", "type": "uint8"},
            {"id": "colour", "type": "rgb"},
        ],
        "relationships": [{"id": "cell", "key": "rel_cell"}],
        "by_id": {"key": "by_id"},
        "spatial": [
            {"key": "spatial0", "grid_shape": [1, 1, 1], "chunk_size": [64, 64, 64], "limit": 10},
            {"key": "spatial1", "grid_shape": [2, 2, 2], "chunk_size": [32, 32, 32], "limit": 10},
        ],
    }


def point(x: float, y: float, z: float, *, score: float = 0.5, kind: int = 2, pad: bytes = b"\0\0") -> bytes:
    return struct.pack("<3f f H B 3B", x, y, z, score, kind, 7, 1, 2, 3) + pad


def records() -> dict[int, Record]:
    """Ids, records and cells: 1 to 3 are on level 0, the others on level 1."""
    return {
        1: (point(10, 50, 20), (5, 6)),
        2: (point(60, 12, 63), ()),
        3: (point(0, 64, 64), (5,)),
        10: (point(3, 4, 5), (5,)),
        11: (point(40, 4, 5), (6,)),
        2**64 - 1: (point(40, 40, 40), ()),
    }


def single(record: Record) -> bytes:
    data, related = record
    return data + struct.pack("<I", len(related)) + struct.pack(f"<{len(related)}Q", *related)


def multiple(ids: Any, found: dict[int, Record]) -> bytes:
    return struct.pack("<Q", len(ids)) + b"".join(found[i][0] for i in ids) + struct.pack(f"<{len(ids)}Q", *ids)


def files(found: dict[int, Record]) -> dict[str, bytes]:
    """Return every value of every index, by its name."""
    values = {f"by_id/{number}": single(record) for number, record in found.items()}
    for other in {other for _, related in found.values() for other in related}:
        ids = [number for number, (_, related) in found.items() if other in related]
        values[f"rel_cell/{other}"] = multiple(ids, found)
    values["spatial0/0_0_0"] = multiple([number for number in found if number in (1, 2, 3)], found)
    for name, number in (("0_0_0", 10), ("1_0_0", 11), ("1_1_1", 2**64 - 1)):
        if number in found:
            values[f"spatial1/{name}"] = multiple([number], found)
    return values


def write(path: Path, values: dict[str, bytes], info: Any = None) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    info = points_info() if info is None else info
    (path / "info").write_text(info if isinstance(info, str) else json.dumps(info))
    for name, data in values.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(data)
    return path


def codes(path: Path, **options: Any) -> list[str]:
    return sorted({finding.code for finding in check(path, CheckOptions(**options)).findings})


# ---- clean ones


def test_the_examples_of_the_format() -> None:
    info = points_info()
    info["relationships"] = [{"id": "r", "key": "r"}]
    info["spatial"] = []
    model = AnnotationInfo.from_json(info)
    found = model.parse_single(
        bytes.fromhex(
            "0000803f 00000040 00004040 0000003f 0200 07 010203 0000 02000000 0500000000000000 0600000000000000"
        )
    )
    assert found.related[0].tolist() == [5, 6]
    assert found.lower.tolist() == found.upper.tolist() == [[1, 2, 3]]
    many = model.parse_multiple(
        bytes.fromhex("0100000000000000 0000803f 00000040 00004040 0000003f 0200 07 010203 0000 0a00000000000000")
    )
    assert many.ids.tolist() == [10]
    assert many.raw == found.raw
    assert [model.property_values(many, item).tolist() for item in model.properties[:3]] == [[0.5], [2], [7]]


def test_properties_are_packed_in_groups() -> None:
    """A group of properties that would pass 252 bytes begins a new one."""
    info = points_info()
    info["properties"] = [{"id": f"f{i}", "type": "float32"} for i in range(59)]
    info["properties"] += [{"id": "a", "type": "uint8"}, {"id": "b", "type": "uint8"}, {"id": "c", "type": "rgb"}]
    model = AnnotationInfo.from_json(info)
    assert [item.offset + 12 for item in model.properties[-3:]] == [248, 249, 252]
    assert model.properties_bytes + 12 == 256
    info["properties"] = [{"id": "a", "type": "uint8"}, {"id": "b", "type": "float32"}, {"id": "c", "type": "int16"}]
    model = AnnotationInfo.from_json(info)
    assert [item.offset for item in model.properties] == [6, 0, 4]
    assert model.properties_bytes == 8
    assert not model.stored_as_listed


def test_clean_points(tmp_path: Path) -> None:
    path = write(tmp_path / "a", files(records()))
    report = check(path)
    assert report.findings == ()
    assert report.datasets[0].kind == "annotations"
    assert [(part.objects, part.checked) for part in report.datasets[0].parts] == [(6, 6)]
    assert codes(path, sample=0.3) == []
    # inside the directory of a volume they are found without a link
    volume = write_volume(tmp_path / "v")
    write(volume / "points", files(records()))
    report = check(volume)
    assert report.findings == ()
    assert [part.path for part in report.datasets[0].parts] == ["points"]


def test_clean_sharded_points(tmp_path: Path) -> None:
    sharding = {
        "@type": "neuroglancer_uint64_sharded_v1",
        "preshift_bits": 0,
        "hash": "identity",
        "minishard_bits": 1,
        "shard_bits": 0,
        "minishard_index_encoding": "raw",
        "data_encoding": "raw",
    }
    info = points_info()
    values = files(records())
    for index in (info["by_id"], *info["relationships"], *info["spatial"]):
        index["sharding"] = sharding
    packed = {}
    for index in (info["by_id"], *info["relationships"], *info["spatial"]):
        minishards: list[list[tuple[int, bytes]]] = [[], []]
        for name, data in values.items():
            folder, _, key = name.partition("/")
            if folder != index["key"]:
                continue
            cell = [int(part) for part in key.split("_")]
            number = morton(cell, index["grid_shape"]) if "grid_shape" in index else cell[0]
            minishards[number & 1].append((number, data))
        packed[f"{index['key']}/0.shard"] = shard([sorted(entries) for entries in minishards])
    path = write(tmp_path / "a", packed, info)
    report = check(path)
    assert report.findings == ()
    assert report.datasets[0].parts[0].checked == 6
    (path / "by_id" / "0.shard").write_bytes(packed["by_id/0.shard"][:7])
    assert codes(path) == ["PC221"]


@pytest.mark.parametrize("kind", ["point", "line", "axis_aligned_bounding_box", "ellipsoid", "polyline"])
def test_what_neuroglancer_writes(tmp_path: Path, kind: Any) -> None:
    space = neuroglancer.CoordinateSpace(names=["x", "y", "z"], units=["nm", "nm", "nm"], scales=[8, 8, 40])
    properties = [
        neuroglancer.AnnotationPropertySpec(id="size", type="float32"),
        neuroglancer.AnnotationPropertySpec(id="colour", type="rgb"),
    ]
    writer = AnnotationWriter(space, annotation_type=kind, relationships=["cell"], properties=properties)
    rng = np.random.default_rng(4)
    for number in range(40):
        a, b = rng.random((2, 3)) * 100
        more = {"id": number, "size": 3.5, "colour": (1, 2, 3), "cell": [7, 7 + number % 3]}
        if kind == "point":
            writer.add_point(a, **more)
        elif kind == "polyline":
            writer.add_polyline(rng.random((5, 3)) * 100, **more)
        elif kind == "line":
            writer.add_line(a, b, **more)
        elif kind == "ellipsoid":
            writer.add_ellipsoid(a + 50, b / 10, **more)
        else:
            writer.add_axis_aligned_bounding_box(a, b, **more)
    writer.write(tmp_path / "a")
    report = check(tmp_path / "a")
    if kind == "ellipsoid":  # its bounds are those of centres and radii as if both were points
        assert [finding.code for finding in report.findings] == ["PC602"]
        return
    assert report.findings == ()
    assert report.datasets[0].parts[0].checked == 40


# ---- the info


def put(**values: Any) -> Change:
    return lambda info: info.update(values)


def prop(number: int, **values: Any) -> Change:
    return lambda info: info["properties"][number].update(values)


def level(number: int, **values: Any) -> Change:
    return lambda info: info["spatial"][number].update(values)


INFOS: list[tuple[str, Change]] = [
    ("PC601", put(annotation_type="sphere")),
    ("PC601", put(annotation_type=None)),
    ("PC602", put(dimensions={})),
    ("PC602", put(dimensions={"x": [8e-9, "m"], "y": [8e-9, "m"], "z": [0, "m"]})),
    ("PC602", put(dimensions={"x": [8e-9, "m"], "y": [8e-9, "m"], "z": [1, "inch"]})),
    ("PC602", put(dimensions={"x": [8e-9, "m"], "y": [8e-9, "m"], "1": [1, "m"]})),
    ("PC602", put(lower_bound=[0, 0])),
    ("PC602", put(lower_bound=[0, 0, 65])),
    ("PC603", put(properties={})),
    ("PC603", prop(0, id="Score")),
    ("PC603", prop(0, id="kind")),
    ("PC603", prop(0, type="float64")),
    ("PC603", prop(0, type=[])),
    ("PC603", prop(1, enum_labels=["one"])),
    ("PC603", prop(3, enum_values=[1], enum_labels=["one"])),
    ("PC604", lambda info: info.pop("by_id")),
    ("PC604", lambda info: info.pop("spatial")),
    ("PC604", put(by_id={"key": ""})),
    ("PC604", put(by_id={"key": "by_id", "sharding": None})),
    ("PC604", put(by_id={"key": "by_id", "sharding": {"@type": "x"}})),
    ("PC604", put(relationships=[{"key": "rel_cell"}])),
    ("PC604", level(0, limit=0)),
    ("PC604", level(0, grid_shape=[1, 1])),
    ("PC604", level(0, chunk_size=[64, 64, 0])),
]


@pytest.mark.parametrize(("code", "plant"), INFOS, ids=[f"{code}-{i}" for i, (code, _) in enumerate(INFOS)])
def test_faults_of_the_info(tmp_path: Path, code: str, plant: Change) -> None:
    info = copy.deepcopy(points_info())
    plant(info)
    assert codes(write(tmp_path / "a", files(records()), info)) == [code]


@pytest.mark.parametrize("text", ["{", "[]", '{"@type": "neuroglancer_annotations_v1", "lower_bound": [NaN]}'])
def test_info_that_is_no_json(tmp_path: Path, text: str) -> None:
    """Alone, nothing says that these are annotations."""
    volume = write_volume(tmp_path / "v")
    write(volume / "points", {}, text)
    context = Context(LocalStore(volume), CheckOptions(), NoProgress())
    assert [finding.code for finding in check_annotations(context, "points").findings] == ["PC600"]


def test_levels_that_do_not_cover_the_bounds(tmp_path: Path) -> None:
    info = points_info()
    info["spatial"][1]["grid_shape"] = [2, 2, 1]
    values = files(records())
    values["spatial1/1_1_0"] = values.pop("spatial1/1_1_1")
    assert codes(write(tmp_path / "a", values, info)) == ["PC605"]


def test_levels_that_do_not_nest(tmp_path: Path) -> None:
    info = points_info()
    info["spatial"][1].update(grid_shape=[2, 2, 2], chunk_size=[36, 36, 36])
    assert codes(write(tmp_path / "a", files(records()), info)) == ["PC606"]


def test_properties_in_another_order(tmp_path: Path) -> None:
    info = points_info()
    info["properties"].reverse()
    values = {name: data.replace(b"\x07\1\2\3", b"\1\2\3\x07") for name, data in files(records()).items()}
    assert codes(write(tmp_path / "a", values, info)) == ["PC607"]


# ---- values


def changed(number: int, record: bytes, related: tuple[int, ...] | None = None) -> dict[str, bytes]:
    found = records()
    found[number] = (record, found[number][1] if related is None else related)
    return files(found)


def replaced(name: str, change: Callable[[bytes], bytes]) -> dict[str, bytes]:
    values = files(records())
    values[name] = change(values[name])
    return values


def added(**values: bytes) -> dict[str, bytes]:
    return files(records()) | {name.replace("__", "/"): data for name, data in values.items()}


def without(name: str) -> dict[str, bytes]:
    values = files(records())
    del values[name]
    return values


VALUES: list[tuple[str, dict[str, bytes]]] = [
    ("PC610", replaced("by_id/10", lambda data: data[:-1])),
    ("PC610", replaced("by_id/10", lambda data: data + b"\0")),
    ("PC610", replaced("rel_cell/5", lambda data: data[:-1])),
    ("PC610", replaced("spatial0/0_0_0", lambda data: data + b"\0")),
    ("PC610", replaced("spatial0/0_0_0", lambda data: b"\xff" * 8 + data[8:])),
    ("PC610", replaced("spatial0/0_0_0", lambda _: b"")),
    ("PC611", changed(10, point(3, 4, 5, score=np.nan))),
    ("PC611", changed(10, point(3, np.inf, 5))),
    ("PC613", changed(10, point(3, 4, 5, pad=b"\0\1"))),
    ("PC614", changed(10, point(3, 4, 5, kind=3))),
    ("PC615", added(by_id__007=single(records()[1]))),
    ("PC615", added(spatial1__2_0_0=multiple([10], records()))),
    ("PC616", changed(10, point(3, 4, 50))),
    ("PC620", without("by_id/10")),
    ("PC621", without("spatial1/1_0_0")),
    ("PC622", replaced("spatial1/0_0_0", lambda data: data[:8] + point(3, 4, 6) + data[32:])),
    ("PC622", replaced("rel_cell/6", lambda data: data[:8] + point(9, 9, 9) + data[32:])),
    ("PC623", without("rel_cell/6")),
    ("PC623", added(rel_cell__9=multiple([2], records()))),
    ("PC624", replaced("spatial0/0_0_0", lambda _: multiple([1, 2, 3, 11], records()))),
]


@pytest.mark.parametrize(("code", "values"), VALUES, ids=[f"{code}-{i}" for i, (code, _) in enumerate(VALUES)])
def test_faults_of_values(tmp_path: Path, code: str, values: dict[str, bytes]) -> None:
    assert codes(write(tmp_path / "a", values)) == [code]


def shapes_info(kind: str, limit: int = 10) -> dict[str, Any]:
    return points_info() | {
        "annotation_type": kind,
        "properties": [],
        "relationships": [],
        "spatial": [{"key": "spatial0", "grid_shape": [2, 1, 1], "chunk_size": [32, 64, 64], "limit": limit}],
    }


def shapes(*found: tuple[bytes, tuple[str, ...]]) -> dict[str, bytes]:
    """Return the files of annotations without properties, each with the cells that list it."""
    values = {f"by_id/{number}": record for number, (record, _) in enumerate(found)}
    for cell in {cell for _, cells in found for cell in cells}:
        ids = [number for number, (_, cells) in enumerate(found) if cell in cells]
        data = struct.pack("<Q", len(ids)) + b"".join(found[number][0] for number in ids)
        values[f"spatial0/{cell}"] = data + struct.pack(f"<{len(ids)}Q", *ids)
    return values


def floats(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


LEFT, RIGHT = "0_0_0", "1_0_0"


def test_boxes_are_in_all_their_cells(tmp_path: Path) -> None:
    info = shapes_info("axis_aligned_bounding_box")
    wide, narrow = floats(50, 20, 20, 10, 10, 10), floats(10, 10, 10, 32, 20, 20)
    assert codes(write(tmp_path / "a", shapes((wide, (LEFT, RIGHT)), (narrow, (LEFT,))), info)) == []
    assert codes(write(tmp_path / "b", shapes((wide, (RIGHT,)), (narrow, (LEFT,))), info)) == ["PC625"]


def test_shapes_that_cannot_be_drawn(tmp_path: Path) -> None:
    good = struct.pack("<I", 2) + floats(1, 2, 3, 4, 5, 6)
    lonely = struct.pack("<I", 1) + floats(1, 2, 3)
    assert codes(write(tmp_path / "a", shapes((good, (LEFT,))), shapes_info("polyline"))) == []
    assert codes(write(tmp_path / "b", shapes((good, (LEFT,)), (lonely, (LEFT,))), shapes_info("polyline"))) == [
        "PC612"
    ]
    inside_out = floats(10, 10, 10, 3, -1, 3)
    assert codes(write(tmp_path / "c", shapes((inside_out, (LEFT,))), shapes_info("ellipsoid"))) == ["PC612"]


def test_cells_with_far_too_many(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    many = [(floats(*(rng.random(3) * (32, 64, 64))), (LEFT,)) for _ in range(25)]
    assert codes(write(tmp_path / "a", shapes(*many), shapes_info("point", 13))) == []
    assert codes(write(tmp_path / "b", shapes(*many), shapes_info("point", 12))) == ["PC617"]


def test_lists_that_are_sorted(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    points = rng.random((40, 3)) * (32, 64, 64)
    info = shapes_info("point", 100)
    assert codes(write(tmp_path / "a", shapes(*[(floats(*p), (LEFT,)) for p in points]), info)) == []
    points = points[np.argsort(points[:, 1])]
    assert codes(write(tmp_path / "b", shapes(*[(floats(*p), (LEFT,)) for p in points]), info)) == ["PC618"]


def test_every_rule_about_annotations_is_tested_here() -> None:
    text = Path(__file__).read_text()
    rules = [rule for rule in catalogue() if rule.code.startswith("PC6")]
    assert len(rules) > 20
    assert [rule.code for rule in rules if f'"{rule.code}"' not in text] == []
