"""Reading meshes that were written by hand, by us and by cloud-volume: the same solids, whatever the packing."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cloudvolume import CloudVolume
from hypothesis import given
from hypothesis import strategies as st

import precast
from mesh_files import (
    BOX,
    ELL,
    RESOLUTION,
    Object,
    make_object,
    mesh_info,
    open_edges,
    volume6,
    write_dataset,
    write_legacy,
)
from precast.dataset.meshes import weld
from precast.errors import FormatError, ObjectNotFoundError
from precast.precomputed.meshes import choose_mesh_sharding
from precast.precomputed.sharding import layout_shard

SOLIDS = {5: BOX, 6: ELL, 7: BOX, 2**63 + 9: ELL}
VOLUMES = {"BOX": 36 * 14 * 23, "ELL": 40 * 20 * 10 + 10 * 20 * 25}


@pytest.fixture(scope="module")
def objects() -> dict[int, Object]:
    return {segment: make_object(solid, 3) for segment, solid in SOLIDS.items()}


@pytest.fixture(scope="module", params=["sharded", "files", "legacy"])
def stored(request, objects, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("meshes") / "v"
    if request.param == "legacy":
        return write_legacy(path, SOLIDS)
    return write_dataset(path, objects, sharded=request.param == "sharded")


def check_solid(vertices: Any, faces: Any, segment: int) -> None:
    """Closed, outward, in the right place, of the right volume."""
    low, high = np.min([a for a, _ in SOLIDS[segment]], axis=0), np.max([b for _, b in SOLIDS[segment]], axis=0)
    assert (vertices.min(0) == low * RESOLUTION).all()
    assert (vertices.max(0) == high * RESOLUTION).all()
    assert open_edges(faces) == 0
    expected = VOLUMES["BOX" if SOLIDS[segment] is BOX else "ELL"] * np.prod(RESOLUTION)
    assert volume6(vertices - vertices.mean(0), faces) / 6 == pytest.approx(expected, rel=1e-12)


def test_every_level_of_every_object(stored) -> None:
    meshes = precast.open(stored).meshes
    assert list(meshes) == sorted(SOLIDS)
    assert len(meshes) == 4
    for segment in meshes:
        mesh = meshes[segment]
        for lod in range(mesh.lods):
            found = mesh.read(lod)
            assert found.vertices.dtype == np.float64
            assert found.faces.dtype == np.uint32
            check_solid(found.vertices, found.faces, segment)
            assert len(np.unique(found.vertices, axis=0)) == len(found.vertices)
        low, high = mesh.bounds_nm
        assert (high - low > 0).all()
        assert low.tolist() == (np.min([a for a, _ in SOLIDS[segment]], axis=0) * RESOLUTION).tolist()


def test_absent_objects_and_levels(stored) -> None:
    meshes = precast.open(stored).meshes
    assert 5 in meshes
    assert np.uint64(2**63 + 9) in meshes
    absent: Any
    for absent in (4, 8, 2**64 - 1, 2**64, -1, "5", True):
        assert absent not in meshes
        with pytest.raises(ObjectNotFoundError, match="has no mesh"):
            meshes[absent]
    mesh = meshes[6]
    for lod in (-1, mesh.lods):
        with pytest.raises(IndexError, match=f"0 to {mesh.lods - 1}"):
            mesh.read(lod)


def test_it_pickles_and_describes_itself(stored) -> None:
    volume = precast.open(stored)
    meshes = pickle.loads(pickle.dumps(volume)).meshes
    assert repr(meshes[5]).startswith("<precast.SegmentMesh 5")
    assert "mesh" in repr(meshes)
    again = pickle.loads(pickle.dumps(meshes[5]))
    np.testing.assert_array_equal(again.read().vertices, volume.meshes[5].read().vertices)


def test_manifests(objects, tmp_path) -> None:
    mesh = precast.open(write_dataset(tmp_path / "v", objects)).meshes[6]
    assert mesh.lods == 3
    assert mesh.manifest is not None
    assert [len(cells) for cells in mesh.manifest.cells] == [len(level) for level in objects[6].levels]
    assert precast.open(write_legacy(tmp_path / "w", SOLIDS)).meshes[6].manifest is None


def test_a_volume_without_meshes(tmp_path) -> None:
    path = write_dataset(tmp_path / "v", {})
    assert list(precast.open(path).meshes) == []
    info = json.loads((path / "info").read_text())
    del info["mesh"]
    (path / "info").write_text(json.dumps(info))
    with pytest.raises(ObjectNotFoundError, match="no key mesh") as caught:
        _ = precast.open(path).meshes
    assert "precast mesh" in caught.value.hint


def test_meshes_without_an_info_are_single_resolution(tmp_path) -> None:
    path = write_legacy(tmp_path / "v", SOLIDS)
    (path / "mesh" / "info").unlink()
    assert sorted(precast.open(path).meshes) == sorted(SOLIDS)


@pytest.mark.parametrize("sharded", [True, False])
def test_cloud_volume_reads_the_hand_made_files(objects, tmp_path, sharded) -> None:
    path = write_dataset(tmp_path / "v", objects, sharded=sharded)
    reader = CloudVolume(f"file://{path}", progress=False).mesh
    for segment in SOLIDS:
        for lod in range(3):
            mesh = reader.get(segment, lod=lod)[segment]
            mesh = mesh.consolidate()
            ours = precast.open(path).meshes[segment].read(lod)
            np.testing.assert_allclose(sorted(mesh.vertices.tolist()), sorted(ours.vertices.tolist()), rtol=1e-6)
            assert len(mesh.faces) == len(ours.faces)


def test_cloud_volume_reads_our_layout(objects, tmp_path) -> None:
    """Murmur hash, gzipped indices, fragments before manifests: laid out by us, read by cloud-volume and by us."""
    spec = choose_mesh_sharding(5000, 3 * 2**30)
    keys = np.array(list(objects), np.uint64)
    path = write_dataset(tmp_path / "v", {}, info=mesh_info(sharded=False) | {"sharding": spec.to_json()})
    shards, _ = spec.place(keys)
    for shard in np.unique(shards).tolist():
        mine = [objects[int(key)] for key in keys[shards == shard]]
        sizes = np.array([len(item.manifest()) for item in mine])
        before = np.array([len(item.fragments()) for item in mine])
        layout = layout_shard(spec, keys[shards == shard], sizes, before)
        data = layout.index
        for members, index in layout.groups:
            data += b"".join(mine[i].fragments() + mine[i].manifest() for i in members) + index
        assert len(data) == layout.size
        (path / "mesh" / spec.shard_name(shard)).write_bytes(data)
    reader = CloudVolume(f"file://{path}", progress=False).mesh
    meshes = precast.open(path).meshes
    assert list(meshes) == sorted(SOLIDS)
    for segment in SOLIDS:
        found = meshes[segment].read(1)
        check_solid(found.vertices, found.faces, segment)
        theirs = reader.get(segment, lod=1)[segment].consolidate()
        np.testing.assert_allclose(sorted(theirs.vertices.tolist()), sorted(found.vertices.tolist()), rtol=1e-6)


def test_gzipped_legacy_files_are_read(tmp_path) -> None:
    import gzip

    path = write_legacy(tmp_path / "v", SOLIDS)
    for file in list((path / "mesh").iterdir()):
        if file.name != "info":
            file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes()))
            file.unlink()
    meshes = precast.open(path).meshes
    assert list(meshes) == sorted(SOLIDS)
    check_solid(meshes[6].read().vertices, meshes[6].read().faces, 6)


@pytest.mark.parametrize("sharded", [True, False])
def test_damage_is_an_error_that_names_the_place(objects, tmp_path, sharded) -> None:
    broken = make_object(BOX)
    broken.cell(1).stream = b"DRACO" + bytes(40)
    path = write_dataset(tmp_path / "v", {5: broken}, sharded=sharded)
    mesh = precast.open(path).meshes[5]
    check_solid(mesh.read(0).vertices, mesh.read(0).faces, 5)
    x, y, z = broken.cell(1).index
    with pytest.raises(FormatError, match=f"object 5, level 1, cell {x},{y},{z}"):
        mesh.read(1)


def test_fragments_that_are_not_there(objects, tmp_path) -> None:
    path = write_dataset(tmp_path / "v", objects, sharded=False)
    file = path / "mesh" / "5"
    file.write_bytes(file.read_bytes()[:-10])
    mesh = precast.open(path).meshes[5]
    assert len(mesh.read(0).faces)
    with pytest.raises(FormatError, match="mesh/5 ends before"):
        mesh.read(2)
    file.unlink()
    with pytest.raises(FormatError, match="fragments of object 5 are missing"):
        mesh.read(0)


def test_fragments_that_do_not_fit_before_their_manifest(objects, tmp_path) -> None:
    path = write_dataset(tmp_path / "v", {4: objects[5]})
    shard = path / "mesh" / "0.shard"
    data = bytearray(shard.read_bytes())
    place = data.index(objects[5].manifest())
    first_size = 28 + 20 * 3 + 12 * len(objects[5].levels[0])
    data[place + first_size : place + first_size + 4] = (2**31).to_bytes(4, "little")
    shard.write_bytes(data)
    with pytest.raises(FormatError, match="do not fit before the manifest"):
        precast.open(path).meshes[4]


@given(
    st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=30),
    st.sampled_from([np.int64, np.float32]),
)
def test_welding_joins_equal_points_and_nothing_else(points, dtype) -> None:
    array = np.array(points, dtype)
    faces = np.arange(len(points) // 3 * 3).reshape(-1, 3)
    welded, joined = weld(array, faces)
    assert [tuple(p) for p in welded.tolist()] == list(dict.fromkeys(points))
    np.testing.assert_array_equal(welded[joined], array[faces])
    assert joined.dtype == np.uint32
