"""Mesh files to the byte: examples worked out by hand, rules that are told one by one, and the choice of shards."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_files import BOX, SPAN, STEPS, make_object, morton
from precast.errors import FormatError, UsageError
from precast.precomputed import legacy_meshes
from precast.precomputed.meshes import (
    MeshInfo,
    MultiresManifest,
    choose_mesh_sharding,
    fragment_vertices,
    morton_codes,
    octants,
    segment_of_manifest,
)
from precast.precomputed.sharding import ShardingSpec

EXAMPLE = bytes.fromhex(
    "00002041 00002041 00002041 0000c842 00004843 00009643 02000000 0000803f 00000040"
    + "00000000" * 6
    + "02000000 01000000"
    + "00000000 01000000 00000000 00000000 00000000 00000000 43000000 43000000"
    + "00000000 00000000 00000000 43000000"
)
INFO = {
    "@type": "neuroglancer_multilod_draco",
    "vertex_quantization_bits": 10,
    "transform": [4, 0, 0, 0, 0, 4, 0, 0, 0, 0, 40.5, 0],
    "lod_scale_multiplier": 1,
}


def test_the_example_of_the_format() -> None:
    manifest = MultiresManifest.parse(EXAMPLE)
    assert len(EXAMPLE) == 116
    assert manifest.lods == 2
    assert manifest.chunk_shape.tolist() == [10, 10, 10]
    assert manifest.grid_origin.tolist() == [100, 200, 300]
    assert manifest.lod_scales.tolist() == [1, 2]
    assert [cells.tolist() for cells in manifest.cells] == [[[0, 0, 0], [1, 0, 0]], [[0, 0, 0]]]
    assert [sizes.tolist() for sizes in manifest.sizes] == [[67, 67], [67]]
    assert manifest.total_bytes == 201
    assert manifest.ranges(0).tolist() == [[0, 67], [67, 134]]
    assert manifest.ranges(1).tolist() == [[134, 201]]
    assert manifest.to_bytes() == EXAMPLE
    with pytest.raises(ValueError, match="read-only"):
        manifest.cells[0][0, 0] = 5


def test_a_manifest_written_by_hand_comes_back() -> None:
    data = make_object(BOX).manifest()
    assert MultiresManifest.parse(data).to_bytes() == data


def test_sizes_add_up_beyond_32_bits() -> None:
    manifest = MultiresManifest(
        chunk_shape=[1, 1, 1],
        grid_origin=[0, 0, 0],
        lod_scales=[1],
        vertex_offsets=[[0, 0, 0]],
        cells=([[0, 0, 0], [1, 0, 0]],),
        sizes=([2**32 - 1, 2**32 - 1],),
    )
    assert manifest.total_bytes == 2**33 - 2
    assert manifest.ranges(0).tolist() == [[0, 2**32 - 1], [2**32 - 1, 2**33 - 2]]


def floats(at: int, *values: float) -> bytes:
    return EXAMPLE[:at] + struct.pack(f"<{len(values)}f", *values) + EXAMPLE[at + 4 * len(values) :]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (EXAMPLE[:27], "at least 28 bytes, got 27"),
        (EXAMPLE[:24] + bytes(4), "at least one level"),
        (EXAMPLE[:60], "2 levels has at least 68 bytes, got 60"),
        (EXAMPLE[:24] + b"\xff" * 4, "4294967295 levels"),
        (EXAMPLE[:-1], "2 levels and 3 cells has 116 bytes, got 115"),
        (EXAMPLE + b"x", "116 bytes, got 117"),
        (floats(0, 0), "chunk_shape must be above 0"),
        (floats(4, float("nan")), "chunk_shape must be above 0"),
        (floats(12, float("inf")), "grid_origin and vertex_offsets must be finite"),
        (floats(28, 0), "lod_scales must be above 0"),
        (floats(28, 3), "lod_scales must be above 0 and must not decrease"),
        (EXAMPLE[:68] + struct.pack("<2I", 1, 0) + EXAMPLE[76:], r"level 0: the cell \[0, 0, 0\] stands after \[1, 0"),
        (EXAMPLE[:68] + struct.pack("<2I", 1, 1) + EXAMPLE[76:], r"level 0: the cell \[1, 0, 0\] stands twice"),
        (EXAMPLE[:68] + struct.pack("<2I", 0, 2**21) + EXAMPLE[76:], r"below 2\*\*21, got 2097152"),
    ],
)
def test_broken_manifests_are_errors(data, message) -> None:
    with pytest.raises(FormatError, match=message):
        MultiresManifest.parse(data)


@given(
    st.binary(max_size=150)
    | st.tuples(st.integers(0, 115), st.integers(0, 255)).map(
        lambda change: EXAMPLE[: change[0]] + bytes([change[1]]) + EXAMPLE[change[0] + 1 :]
    )
)
def test_any_bytes_are_a_manifest_or_an_error_of_the_format(data) -> None:
    try:
        manifest = MultiresManifest.parse(data)
    except FormatError:
        return
    assert manifest.to_bytes() == data


def test_every_problem_is_listed_and_nothing_broken_is_written() -> None:
    broken = MultiresManifest.decode(floats(0, -1)[:28] + struct.pack("<f", 0) + EXAMPLE[32:])
    assert [problem.rule for problem in broken.problems()] == ["chunk_shape", "lod_scales"]
    with pytest.raises(FormatError, match=r"(?s)chunk_shape.*lod_scales"):
        broken.to_bytes()


@pytest.mark.parametrize(
    "change", [{"cells": ([[0, 0]],)}, {"cells": ([[-1, 0, 0]],)}, {"sizes": ([1, 2],)}, {"cells": (), "sizes": ()}]
)
def test_arrays_that_do_not_fit_are_refused(change) -> None:
    values: dict[str, Any] = {
        "chunk_shape": [1, 1, 1],
        "grid_origin": [0, 0, 0],
        "lod_scales": [1],
        "vertex_offsets": [[0, 0, 0]],
        "cells": ([[0, 0, 0]],),
        "sizes": ([5],),
    }
    assert MultiresManifest(**values).total_bytes == 5
    with pytest.raises(UsageError):
        MultiresManifest(**values | change)


@given(st.lists(st.tuples(*[st.integers(0, 2**21 - 1)] * 3), min_size=1, max_size=20))
def test_morton_codes_interleave_bits(cells) -> None:
    assert morton_codes(cells).tolist() == [morton(cell) for cell in cells]


def test_positions() -> None:
    info = MeshInfo.from_bytes(json.dumps(INFO).encode())
    manifest = MultiresManifest.parse(EXAMPLE)
    found = fragment_vertices(np.array([[0, 0, 0], [1023, 1023, 1023]]), (1, 0, 0), manifest, 0, info)
    assert found.tolist() == [[110 * 4, 200 * 4, 300 * 40.5], [120 * 4, 210 * 4, 310 * 40.5]]
    found = fragment_vertices(np.array([[1023, 0, 0]]), (0, 0, 0), manifest, 1, info)
    assert found.tolist() == [[120 * 4, 200 * 4, 300 * 40.5]]


def test_neighbours_agree_on_the_plane_between_them() -> None:
    info = MeshInfo.from_bytes(json.dumps(INFO).encode())
    manifest = MultiresManifest(
        chunk_shape=[SPAN / STEPS] * 3,
        grid_origin=[0.3, -7, 1e5],
        lod_scales=[1],
        vertex_offsets=[[0.1, 0, 0]],
        cells=([[5, 6, 7], [6, 7, 8]],),
        sizes=([1, 1],),
    )
    low = fragment_vertices(np.full((1, 3), SPAN), (5, 6, 7), manifest, 0, info)
    high = fragment_vertices(np.zeros((1, 3), int), (6, 7, 8), manifest, 0, info)
    assert low.tolist() == high.tolist()


def test_vertex_offsets_and_a_general_transform() -> None:
    info = MeshInfo(vertex_quantization_bits=10, transform=(0, 2, 0, 5, 1, 0, 0, 6, 0, 0, 3, 7))
    manifest = MultiresManifest(
        chunk_shape=[1023] * 3,
        grid_origin=[10, 20, 30],
        lod_scales=[1],
        vertex_offsets=[[1, 2, 3]],
        cells=([[0, 0, 0]],),
        sizes=([1],),
    )
    assert fragment_vertices(np.array([[1, 1, 1]]), (0, 0, 0), manifest, 0, info).tolist() == [[51, 18, 109]]
    np.testing.assert_allclose(info.unit_nm, [1, 2, 3])


def test_octants() -> None:
    q = np.array([[0, 0, 0], [512, 0, 0], [513, 0, 0], [512, 512, 512], [1023, 1023, 1023], [511, 0, 0]])
    faces = [[0, 1, 1], [1, 2, 2], [0, 2, 2], [3, 3, 3], [3, 4, 4], [1, 1, 1], [5, 2, 1]]
    assert octants(q, faces, 10).tolist() == [0, 1, -1, 0, 7, 0, -1]


# ---- info


def test_info_round_trip() -> None:
    sharding = choose_mesh_sharding(10, 1000)
    info = MeshInfo(
        vertex_quantization_bits=10,
        transform=(4, 0, 0, 0, 0, 4, 0, 0, 0, 0, 40.5, 0),
        sharding=sharding,
        segment_properties="../p",
        extra={"mip": 0},
    )
    data = info.to_bytes()
    assert json.loads(data) == INFO | {"sharding": sharding.to_json(), "segment_properties": "../p", "mip": 0}
    assert MeshInfo.from_bytes(data) == info
    assert "sharding" not in json.loads(MeshInfo().to_bytes())
    legacy = MeshInfo(kind="legacy")
    assert json.loads(legacy.to_bytes()) == {"@type": "neuroglancer_legacy_mesh"}
    assert MeshInfo.from_bytes(legacy.to_bytes()) == legacy


def test_absent_transform_is_the_identity() -> None:
    value = {key: item for key, item in INFO.items() if key != "transform"} | {"sharding": None}
    info = MeshInfo.from_bytes(json.dumps(value).encode())
    assert info.to_nm([[1, 2, 3]]).tolist() == [[1, 2, 3]]
    assert info.sharding is None


def test_every_problem_of_an_info_is_told() -> None:
    value = {
        "@type": "neuroglancer_multilod_draco",
        "vertex_quantization_bits": 12,
        "transform": [1, 2],
        "lod_scale_multiplier": 0,
        "sharding": {"@type": "x"},
        "segment_properties": 5,
    }
    with pytest.raises(FormatError) as caught:
        MeshInfo.from_bytes(json.dumps(value).encode())
    for part in (
        "bits: must be 10 or 16, got 12",
        "12 finite",
        "multiplier: must be a number above 0, got 0",
        "sharding: @type",
        "got 5",
    ):
        assert part in str(caught.value)
    with pytest.raises(FormatError, match="vertex_quantization_bits"):
        MeshInfo(vertex_quantization_bits=11).to_bytes()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "strict JSON"),
        (b"[]", "JSON object, not list"),
        (b'{"@type": "neuroglancer_multiscale_volume"}', "@type: must be"),
        (json.dumps(INFO | {"transform": [1] * 12}).encode(), "invertible"),
        (json.dumps(INFO | {"transform": [0] * 12}).encode(), "invertible"),
        (json.dumps(INFO | {"transform": [float("nan")] * 12}).encode(), "NaN is not JSON"),
        (json.dumps(INFO | {"vertex_quantization_bits": True}).encode(), "10 or 16"),
    ],
)
def test_infos_that_are_refused(data, message) -> None:
    with pytest.raises(FormatError, match=message):
        MeshInfo.from_bytes(data)


# ---- the single-resolution format


def test_the_legacy_example_of_the_format() -> None:
    data = bytes.fromhex(
        "03000000 00000000 00000000 00000000 00000041 00000000 00000000 00000000 00000041 00000000"
        "00000000 01000000 02000000"
    )
    vertices, faces = legacy_meshes.parse_fragment(data)
    assert vertices.tolist() == [[0, 0, 0], [8, 0, 0], [0, 8, 0]]
    assert faces.tolist() == [[0, 1, 2]]
    assert legacy_meshes.fragment_to_bytes(vertices, faces) == data
    assert legacy_meshes.parse_fragment(bytes(4))[0].shape == (0, 3)
    assert legacy_meshes.fragment_to_bytes(np.zeros((0, 3)), np.zeros((0, 3), int)) == bytes(4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"abc", "at least 4 bytes"),
        (struct.pack("<I3f", 2, 0, 0, 0), "do not fill"),
        (struct.pack("<I3fI", 1, 0, 0, 0, 0), "do not fill"),
        (struct.pack("<I3f3I", 1, 0, 0, 0, 0, 0, 1), "points to position 1, but there are 1"),
        (struct.pack("<I3f", 1, 0, float("nan"), 0), "not a finite"),
    ],
)
def test_broken_legacy_fragments(data, message) -> None:
    with pytest.raises(FormatError, match=message):
        legacy_meshes.parse_fragment(data)


@pytest.mark.parametrize(
    ("vertices", "faces"),
    [([[0, 0]], [[0, 0, 0]]), ([[0, 0, 0]], [[0, 0, 1]]), ([[0, 0, 1e39]], [[0, 0, 0]]), ([[0, 0, 0]], [[-1, 0, 0]])],
)
def test_legacy_fragments_that_are_not_written(vertices, faces) -> None:
    with pytest.raises(UsageError):
        legacy_meshes.fragment_to_bytes(vertices, faces)


def test_legacy_manifests() -> None:
    data = legacy_meshes.manifest_to_bytes(["5.part0", "x"])
    assert json.loads(data) == {"fragments": ["5.part0", "x"]}
    assert legacy_meshes.parse_manifest(data) == ["5.part0", "x"]
    for bad in (b"{}", b'{"fragments": "x"}', b'{"fragments": [1]}', b"[]", b""):
        with pytest.raises(FormatError):
            legacy_meshes.parse_manifest(bad)


def test_names() -> None:
    assert legacy_meshes.manifest_name(2**64 - 1) == "18446744073709551615:0"
    assert legacy_meshes.segment_of_manifest("18446744073709551615:0") == 2**64 - 1
    for name in ("18446744073709551616:0", "05:0", "5:1", "x:0", "5", "5.index", "-5:0"):
        assert legacy_meshes.segment_of_manifest(name) is None
    assert segment_of_manifest("0.index") == 0
    for name in ("18446744073709551616.index", "00.index", "5:0", "x.index", "5"):
        assert segment_of_manifest(name) is None
    assert legacy_meshes.segment_of_manifest(legacy_meshes.fragment_name(5)) is None


# ---- shards

GB = 10**9
CHOICES = [
    # objects, bytes of all -> minishard bits, shard bits
    (1, 10_000, (0, 0)),
    (10, 10**6, (0, 0)),
    (512, 10**7, (0, 0)),
    (513, 10**7, (1, 0)),
    (10**4, 2 * 10**8, (5, 0)),
    (10**5, 2**31, (8, 0)),
    (10**5, 2**31 + 1, (6, 2)),
    (10**6, 20 * GB, (6, 5)),
    (10**7, 200 * GB, (7, 8)),
    (10**8, 1000 * GB, (8, 10)),
    (10**9, 10_000 * GB, (7, 14)),
    (10**9, 10 * GB, (12, 9)),  # tiny objects: more shards, not longer lists
    (5, 100 * GB, (0, 7)),  # few huge ones
    (0, 0, (0, 0)),
]


@pytest.mark.parametrize(("count", "total", "bits"), CHOICES)
def test_table_of_shards(count, total, bits) -> None:
    spec = choose_mesh_sharding(count, total)
    assert (spec.minishard_bits, spec.shard_bits) == bits
    assert (spec.hash, spec.preshift_bits) == ("murmurhash3_x86_128", 0)
    assert (spec.data_encoding, spec.minishard_index_encoding) == ("raw", "gzip")
    assert total / (1 << spec.shard_bits) <= (2**31 if spec.shard_bits == 0 else 2**30)
    assert count / (1 << (spec.shard_bits + spec.minishard_bits)) <= 512
    assert spec == ShardingSpec.from_json(spec.to_json())


def test_hashed_shards_stay_below_the_limit() -> None:
    """A million objects of uneven sizes, dealt by the hash."""
    rng = np.random.default_rng(0)
    sizes = (rng.pareto(1.5, 10**6) * 5000 + 500).astype(np.uint64)
    spec = choose_mesh_sharding(len(sizes), int(sizes.sum()))
    shard, minishard = spec.place(np.arange(1, len(sizes) + 1, dtype=np.uint64))
    assert np.bincount(shard.astype(int), sizes.astype(float)).max() <= 2**31
    assert np.bincount((shard << np.uint64(spec.minishard_bits) | minishard).astype(int)).max() <= 700
