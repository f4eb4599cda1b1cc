"""Each rule about meshes: one fault is planted in a good dataset, and exactly that rule finds it."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import DracoPy
import numpy as np
import pytest

import precast
from mesh_files import (
    BOX,
    ELL,
    OFFSET,
    SIZE,
    STEPS,
    Cell,
    Object,
    Solid,
    make_object,
    mesh_info,
    morton,
    write_dataset,
    write_legacy,
)
from precast.checks import catalogue, check_meshes
from precast.errors import ObjectNotFoundError
from precast.findings import Severity


def codes(path: Path, **options: Any) -> list[str]:
    return sorted({finding.code for finding in check_meshes(precast.open(path), **options)})


def good() -> dict[int, Object]:
    return {4: make_object(BOX), 8: make_object(ELL), 6: make_object(BOX), 5: make_object(ELL)}


@pytest.mark.parametrize("sharded", [True, False])
def test_a_good_dataset_has_no_findings(tmp_path, sharded) -> None:
    path = write_dataset(tmp_path / "v", good(), sharded=sharded)
    assert check_meshes(precast.open(path)) == []
    assert check_meshes(precast.open(path), ids=[5]) == []


def test_three_levels_and_a_good_legacy_dataset(tmp_path) -> None:
    assert codes(write_dataset(tmp_path / "v", {4: make_object(ELL, 3)})) == []
    assert codes(write_legacy(tmp_path / "w", {4: BOX, 5: ELL})) == []
    (tmp_path / "w" / "mesh" / "info").unlink()
    assert codes(tmp_path / "w") == []


def test_a_volume_without_meshes(tmp_path) -> None:
    path = write_dataset(tmp_path / "v", {})
    value = json.loads((path / "info").read_text())
    del value["mesh"]
    (path / "info").write_text(json.dumps(value))
    with pytest.raises(ObjectNotFoundError):
        check_meshes(precast.open(path))


# ---- info

INFOS: list[tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = [
    ("PC301", lambda info: info | {"@type": "neuroglancer_mesh"}),
    ("PC301", lambda info: info | {"vertex_quantization_bits": 11}),
    ("PC301", lambda info: info | {"lod_scale_multiplier": 0}),
    ("PC301", lambda info: info | {"sharding": {"@type": "neuroglancer_uint64_sharded_v1"}}),
    ("PC302", lambda info: info | {"transform": [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0]}),
    ("PC302", lambda info: info | {"transform": [1, 0, 0]}),
    ("PC303", lambda info: info | {"data_type": "uint32", "scales": []}),
]


@pytest.mark.parametrize(("code", "change"), INFOS)
def test_faults_of_the_info(tmp_path, code, change) -> None:
    path = write_dataset(tmp_path / "v", good(), info=change(mesh_info(sharded=True)))
    assert codes(path) == [code]


def test_absent_transform(tmp_path) -> None:
    value = mesh_info(sharded=True)
    del value["transform"]
    assert codes(write_dataset(tmp_path / "v", good(), info=value), ids=[]) == ["PC302"]


def test_null_sharding(tmp_path) -> None:
    value = mesh_info(sharded=False) | {"sharding": None}
    assert codes(write_dataset(tmp_path / "v", good(), sharded=False, info=value)) == ["PC304"]


@pytest.mark.parametrize("text", ["{", "[]", '{"transform": NaN}'])
def test_info_that_is_no_json(tmp_path, text) -> None:
    path = write_dataset(tmp_path / "v", good())
    (path / "mesh" / "info").write_text(text)
    assert codes(path) == ["PC300"]


# ---- shards


@pytest.mark.parametrize("stop", [2**40, 2**63 + 7, 0])
def test_a_shard_whose_indices_are_damaged(tmp_path, stop) -> None:
    path = write_dataset(tmp_path / "v", good())
    shard = path / "mesh" / "0.shard"
    data = bytearray(shard.read_bytes())
    data[8:16] = struct.pack("<Q", stop)
    shard.write_bytes(data)
    assert codes(path) == ["PC305"]


def test_a_key_in_the_wrong_shard(tmp_path) -> None:
    """A renamed shard: its keys are listed, but nobody finds them."""
    path = write_dataset(tmp_path / "v", {4: make_object(BOX), 6: make_object(BOX)})
    (path / "mesh" / "0.shard").rename(path / "mesh" / "1.shard")
    findings = check_meshes(precast.open(path), ids=[])
    assert [finding.code for finding in findings] == ["PC306"]
    assert "example 4" in findings[0].message


def test_two_keys_that_share_their_bytes(tmp_path) -> None:
    """Two objects of one minishard with one manifest: each decodes, but nothing may overlap."""
    item = make_object(BOX)
    path = write_dataset(tmp_path / "v", {})
    fragments, manifest = item.fragments(), item.manifest()
    start, size = len(fragments), len(manifest)
    index = struct.pack("<6Q", 4, 4, start, 2**64 - size, size, size)
    body = fragments + manifest
    entries = struct.pack("<4Q", len(body), len(body) + len(index), 0, 0)
    (path / "mesh" / "0.shard").write_bytes(entries + body + index)
    assert list(precast.open(path).meshes) == [4, 8]
    findings = check_meshes(precast.open(path))
    assert {finding.code for finding in findings} == {"PC307"}
    assert any("object 8" in finding.message for finding in findings)


def test_an_object_that_is_asked_for(tmp_path) -> None:
    path = write_dataset(tmp_path / "v", good())
    assert codes(path, ids=[4, 12]) == ["PC308"]
    assert codes(write_legacy(tmp_path / "w", {4: BOX}), ids=[5]) == ["PC308"]


# ---- manifests


def reorder(item: Object) -> None:
    level = item.levels[0]
    level[0], level[1] = level[1], level[0]


def without_level_0(item: Object) -> None:
    item.levels[0].clear()
    none = np.zeros((0, 3), int)
    item.levels[1] = [Cell((0, 0, 0), none, none)]


def orphan(item: Object) -> None:
    none = np.zeros((0, 3), int)
    item.levels[0].append(Cell((15, 15, 15), none, none))


def set_scales(*scales: float) -> Callable[[Object], None]:
    return lambda item: setattr(item, "lod_scales", list(scales))


def set_shape(*shape: float) -> Callable[[Object], None]:
    return lambda item: setattr(item, "chunk_shape", shape)


def set_origin(*origin: float) -> Callable[[Object], None]:
    return lambda item: setattr(item, "grid_origin", origin)


def bad_stream(item: Object) -> None:
    item.cell(1).stream = b"DRACO" + bytes(30)


def point_cloud(item: Object) -> None:
    cell = item.cell(0)
    cell.stream = bytes(DracoPy.encode(cell.q.astype(np.uint32)))


def cut_off(item: Object) -> None:
    cell = item.cell(0)
    cell.stream = cell.stream[:-8]


def move(level: list[Cell], value: int, to: int) -> None:
    """Move a vertex with this coordinate whose faces are all in one fragment: it has as many faces as neighbours."""
    for cell in level:
        for vertex in range(len(cell.q)):
            touching = cell.faces[(cell.faces == vertex).any(1)]
            around = len(set(touching.ravel().tolist())) - 1
            if value in cell.q[vertex] and len(touching) == around > 0:
                cell.q[vertex, cell.q[vertex].tolist().index(value)] = to
                cell.encode()
                return
    raise AssertionError("no such vertex")


def out_of_range(item: Object) -> None:
    corner = (50 - OFFSET[0]) * STEPS % 1023  # of the box
    move(item.levels[0], corner, 1024)


def crossing(item: Object) -> None:
    move(item.levels[1], 512, 511)


def hole(item: Object) -> None:
    cell = item.cell(1)
    cell.faces = cell.faces[1:]
    cell.encode()


def inside_out(item: Object) -> None:
    for level in item.levels:
        for cell in level:
            cell.faces = cell.faces[:, ::-1]
            cell.encode()


OBJECTS = [
    ("PC311", reorder),
    ("PC312", set_scales(0, 1)),
    ("PC312", set_scales(2, 1)),
    ("PC312", set_scales(1, float("inf"))),
    ("PC313", set_shape(0, 1, 1)),
    ("PC313", set_origin(float("inf"), 0, 0)),
    ("PC314", without_level_0),
    ("PC315", orphan),
    ("PC321", bad_stream),
    ("PC321", point_cloud),
    ("PC321", cut_off),
    ("PC322", out_of_range),
    ("PC323", crossing),
    ("PC330", set_origin(OFFSET[0] + 40, OFFSET[1], OFFSET[2])),
    ("PC331", hole),
    ("PC333", inside_out),
]


@pytest.mark.parametrize("sharded", [True, False])
@pytest.mark.parametrize(("code", "plant"), OBJECTS, ids=[f"{code}-{i}" for i, (code, _) in enumerate(OBJECTS)])
def test_faults_of_an_object(tmp_path, code, plant, sharded) -> None:
    objects = good()
    plant(objects[6])
    findings = check_meshes(precast.open(write_dataset(tmp_path / "v", objects, sharded=sharded)))
    assert {finding.code for finding in findings} == {code}
    assert all("object 6" in finding.where or "6.index" in finding.where for finding in findings)


def test_positions_that_draco_quantised_to_the_cell_are_integers_too(tmp_path) -> None:
    """As other tools write them: viewers take the steps of the encoder's lattice for positions."""
    objects = good()
    for cell in objects[6].levels[0]:
        if len(cell.faces):
            q, faces = cell.q.astype(np.float32), cell.faces.astype(np.uint32)
            options = {"quantization_bits": 10, "quantization_range": 1023, "quantization_origin": [0, 0, 0]}
            cell.stream = bytes(DracoPy.encode(q, faces, **options))
    path = write_dataset(tmp_path / "v", objects)
    assert codes(path) == []
    found, exact = (precast.open(path).meshes[segment].read().vertices for segment in (6, 4))
    assert sorted(found.tolist()) == sorted(exact.tolist())


def test_a_manifest_of_the_wrong_length(tmp_path) -> None:
    path = write_dataset(tmp_path / "v", good(), sharded=False)
    file = path / "mesh" / "6.index"
    file.write_bytes(file.read_bytes()[:-1])
    assert codes(path) == ["PC310"]


def with_more_in_level_1(solid: Solid, more: Solid) -> tuple[Object, list[Cell]]:
    """Return an object whose level 1 has more than level 0, and the cells that are empty for that."""
    item, fine = make_object([*solid, *more]), make_object(solid, 1)
    none = np.zeros((0, 3), int)
    listed = {cell.index for cell in fine.levels[0]}
    empty = [Cell(cell.index, none, none) for cell in item.levels[0] if cell.index not in listed]
    item.levels[0] = sorted([*fine.levels[0], *empty], key=lambda cell: morton(cell.index))
    return item, empty


def test_an_octant_whose_cell_is_not_listed(tmp_path) -> None:
    corners: Solid = [((14, 26, 7), (20, 30, 12)), ((60, 60, 40), (70, 70, 50))]
    item, empty = with_more_in_level_1(corners, [((30, 40, 20), (40, 50, 30))])
    assert codes(write_dataset(tmp_path / "good", {4: item})) == []
    item.levels[0].remove(empty[-1])
    assert codes(write_dataset(tmp_path / "bad", {4: item})) == ["PC316"]


def test_a_level_that_spans_something_else(tmp_path) -> None:
    near, _ = with_more_in_level_1(BOX, [((50, 26, 7), (53, 40, 30))])
    far, _ = with_more_in_level_1([((14, 26, 7), (30, 40, 30))], [((60, 26, 7), (64, 40, 30))])
    assert codes(write_dataset(tmp_path / "near", {4: near})) == []
    assert codes(write_dataset(tmp_path / "far", {4: far})) == ["PC334"]


# ---- fragments as stored


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x", None])
def test_fragments_that_are_not_as_long_as_the_sizes_say(tmp_path, change) -> None:
    path = write_dataset(tmp_path / "v", good(), sharded=False)
    file = path / "mesh" / "6"
    if change is None:
        file.unlink()
    else:
        file.write_bytes(change(file.read_bytes()))
    assert codes(path) == ["PC320"]


def test_fragments_that_are_gzipped(tmp_path) -> None:
    import gzip

    path = write_dataset(tmp_path / "v", good(), sharded=False)
    file = path / "mesh" / "6"
    file.with_name("6.gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
    assert codes(path) == ["PC320"]


def test_fragments_that_do_not_fit_before_the_manifest(tmp_path) -> None:
    objects = {4: make_object(BOX)}
    first = objects[4].cell(0)
    path = write_dataset(tmp_path / "v", objects)
    shard = path / "mesh" / "0.shard"
    manifest = objects[4].manifest()
    sizes = struct.pack("<I", len(first.stream))
    at = manifest.index(sizes, 28 + 40 + 12 * len(objects[4].levels[0]))
    data = bytearray(shard.read_bytes())
    place = data.index(manifest)
    data[place + at : place + at + 4] = struct.pack("<I", len(first.stream) + 10)
    shard.write_bytes(data)
    assert codes(path) == ["PC320"]


def test_open_borders_are_a_warning(tmp_path) -> None:
    """A solid that reaches the upper border of the volume, without its cap there."""
    high = [o + n for o, n in zip(OFFSET, SIZE, strict=True)]
    item = make_object([((60, 30, 10), (high[0], 50, 20))])
    for lod, level in enumerate(item.levels):
        border = SIZE[0] * (STEPS >> lod)
        for cell in level:
            at_border = (cell.q[cell.faces][:, :, 0] + cell.index[0] * 1023 == border).all(1)
            cell.faces = cell.faces[~at_border]
            cell.encode()
    path = write_dataset(tmp_path / "v", {4: item})
    findings = check_meshes(precast.open(path))
    assert {(finding.code, finding.severity) for finding in findings} == {("PC332", Severity.WARNING)}
    assert len(findings) == 2


# ---- the single-resolution format


def test_legacy_manifest(tmp_path) -> None:
    path = write_legacy(tmp_path / "v", {4: BOX, 5: ELL})
    (path / "mesh" / "4:0").write_text('{"fragments": 1}')
    assert codes(path) == ["PC350"]


@pytest.mark.parametrize("change", [lambda data: data[:-4], lambda data: data + bytes(4), None])
def test_legacy_fragments(tmp_path, change) -> None:
    path = write_legacy(tmp_path / "v", {4: BOX, 5: ELL})
    file = path / "mesh" / "4_1"
    if change is None:
        file.unlink()
    else:
        file.write_bytes(change(file.read_bytes()))
    assert codes(path) == ["PC351"]


def test_objects_that_cannot_be_read(tmp_path) -> None:
    """The others are looked at all the same."""
    path = write_legacy(tmp_path / "v", {4: BOX, 5: ELL})
    (path / "mesh" / "4:0").unlink()
    (path / "mesh" / "4:0").symlink_to("4:0")
    (path / "mesh" / "5_1").unlink()
    assert codes(path, threads=2) == ["PC309", "PC351"]


def test_legacy_surfaces_are_looked_at_too(tmp_path) -> None:
    path = write_legacy(tmp_path / "v", {4: BOX, 5: ELL})
    file = path / "mesh" / "4_1"
    file.write_bytes(file.read_bytes()[:-12])
    assert codes(path) == ["PC331"]


def test_every_rule_about_meshes_is_tested_here() -> None:
    text = Path(__file__).read_text()
    rules = [rule for rule in catalogue() if rule.code.startswith("PC3")]
    assert len(rules) > 20
    assert [rule.code for rule in rules if f'"{rule.code}"' not in text] == []
    assert all(rule.title for rule in rules)
