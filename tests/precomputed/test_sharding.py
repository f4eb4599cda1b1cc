"""Shards: the table of choices, the layout to the byte, and TensorStore as reader and writer."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts

from precast.dataset import open_volume
from precast.errors import FormatError, UsageError
from precast.geometry import Box, Vec3
from precast.precomputed.sharding import (
    MinishardIndex,
    ShardingSpec,
    choose_volume_sharding,
    code_box,
    layout_shard,
    shard_cells,
    shard_numbers,
)

SIZES = [
    # size (x, y, z), bytes a voxel, chunk -> preshift, minishard, shard
    ((100, 100, 100), 1, 64, (3, 0, 0)),  # 1 MB
    ((512, 512, 512), 4, 64, (9, 0, 0)),
    ((512, 512, 512), 8, 64, (9, 0, 0)),
    ((1024, 1024, 1024), 1, 64, (9, 3, 0)),  # 1 GB
    ((1024, 1024, 1024), 8, 64, (9, 1, 2)),
    ((10_000, 10_000, 10_000), 1, 64, (9, 4, 11)),  # 1 TB
    ((20_000, 20_000, 5_000), 8, 128, (7, 0, 15)),
    ((100_000, 100_000, 10_000), 1, 64, (9, 4, 17)),  # 100 TB
    ((100_000, 100_000, 100_000), 1, 64, (9, 4, 20)),  # 1 PB
    ((4096, 4096, 4096), 1, 8, (10, 12, 5)),  # tiny chunks: the shard index stays at 64 kB
    ((64, 64, 64), 1, 64, (0, 0, 0)),  # one chunk is sharded too
]


@pytest.mark.parametrize(("size", "itemsize", "chunk", "bits"), SIZES)
def test_table_of_shard_bits(size, itemsize, chunk, bits) -> None:
    grid = Vec3(*size).ceildiv((chunk,) * 3)
    spec = choose_volume_sharding(grid, chunk**3 * itemsize, "gzip")
    assert (spec.preshift_bits, spec.minishard_bits, spec.shard_bits) == bits
    assert spec.hash == "identity"
    box = code_box(grid, spec.preshift_bits + spec.minishard_bits)
    assert box.volume * chunk**3 * itemsize <= 2**31
    assert 24 << spec.preshift_bits <= 32 * 1024
    assert spec.index_bytes <= 64 * 1024


def test_more_than_64_bits_is_refused_with_advice() -> None:
    with pytest.raises(UsageError, match="64") as caught:
        choose_volume_sharding(Vec3(2**22, 2**22, 2**22), 1, "gzip")
    assert "--chunk-size" in caught.value.hint


@pytest.mark.parametrize(
    ("bits", "shard", "name"), [(0, 0, "0"), (6, 9, "09"), (3, 5, "5"), (12, 0xABC, "abc"), (13, 1, "0001")]
)
def test_names(bits, shard, name) -> None:
    spec = ShardingSpec(preshift_bits=0, minishard_bits=0, shard_bits=bits)
    assert spec.shard_name(shard) == f"{name}.shard"


def test_hashed_places() -> None:
    spec = ShardingSpec(preshift_bits=0, minishard_bits=2, shard_bits=6, hash="murmurhash3_x86_128")
    shard, minishard = spec.place(np.array([0, 42, 123456789], np.uint64))
    assert [spec.shard_name(int(s)) for s in shard] == ["10.shard", "1e.shard", "09.shard"]
    assert minishard.tolist() == [1, 2, 3]


@pytest.mark.parametrize("grid", [(7, 4, 2), (1, 1, 1), (5, 1, 9), (16, 16, 16), (3, 100, 1)])
@pytest.mark.parametrize("within", [0, 1, 3, 5])
def test_cells_of_shards_tile_the_grid(grid, within) -> None:
    grid = Vec3(*grid)
    total = sum((n - 1).bit_length() for n in grid)
    within = min(within, total)
    spec = ShardingSpec(preshift_bits=within, minishard_bits=0, shard_bits=total - within)
    seen = np.zeros(grid, int)
    for number in shard_numbers(spec, grid):
        box = shard_cells(spec, grid, number)
        seen[tuple(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))] += 1
        from precast import kernels

        cells = np.array([cell.start for cell in box.tiles((1, 1, 1))])
        shard, _ = spec.place(kernels.morton_codes(cells, grid))
        assert set(shard.tolist()) == {number}
    assert (seen == 1).all()


def test_layout_to_the_byte() -> None:
    """Two minishards, raw index: written out by hand from the format's description."""
    spec = ShardingSpec(
        preshift_bits=1, minishard_bits=1, shard_bits=0, minishard_index_encoding="raw", data_encoding="raw"
    )
    # keys 4, 5 -> minishard 0; keys 2, 3 -> minishard 1; 0 -> minishard 0
    keys = np.array([5, 2, 0, 3, 4], np.uint64)
    sizes = np.array([10, 20, 30, 40, 50], np.uint64)
    layout = layout_shard(spec, keys, sizes)
    # body: values of 0, 4, 5 (30 + 50 + 10), index (72), values of 2, 3 (20 + 40), index (48)
    assert layout.index == struct.pack("<4Q", 90, 162, 222, 270)
    (first, index0), (second, index1) = layout.groups
    assert first.tolist() == [2, 4, 0]
    assert second.tolist() == [1, 3]
    assert index0 == struct.pack("<9Q", 0, 4, 1, 0, 0, 0, 30, 50, 10)
    assert index1 == struct.pack("<6Q", 2, 1, 162, 0, 20, 40)
    assert layout.size == 32 + 270
    parsed = MinishardIndex.parse(index1, spec, file_size=302)
    assert parsed.find(3) == (32 + 162 + 20, 32 + 162 + 60)
    assert parsed.find(4) is None


def test_bytes_before_a_value_are_not_in_the_index() -> None:
    """Fragments of 201 bytes in front of manifests of 116: the index describes the manifests."""
    spec = ShardingSpec(
        preshift_bits=0, minishard_bits=1, shard_bits=0, minishard_index_encoding="raw", data_encoding="raw"
    )
    keys = np.array([4, 2, 3], np.uint64)
    sizes = np.full(3, 116, np.uint64)
    layout = layout_shard(spec, keys, sizes, before=np.array([201, 50, 201], np.uint64))
    # body: 50 + 116 (key 2), 201 + 116 (key 4), index (48), 201 + 116 (key 3), index (24)
    assert layout.index == struct.pack("<4Q", 483, 531, 848, 872)
    (first, index0), (second, index1) = layout.groups
    assert (first.tolist(), second.tolist()) == ([1, 0], [2])
    assert index0 == struct.pack("<6Q", 2, 2, 50, 201, 116, 116)
    assert index1 == struct.pack("<3Q", 3, 531 + 201, 116)
    assert layout.size == 32 + 872
    assert MinishardIndex.parse(index0, spec).find(4) == (32 + 166 + 201, 32 + 483)
    assert MinishardIndex.parse(index1, spec, file_size=904).find(3) == (32 + 732, 32 + 848)


def test_another_order_of_values_and_indices_is_read() -> None:
    """All values first, as cloud-volume writes: the second minishard's value begins after 201 + 116 + 201 bytes."""
    spec = ShardingSpec(preshift_bits=0, minishard_bits=1, shard_bits=0, minishard_index_encoding="raw")
    assert MinishardIndex.parse(struct.pack("<3Q", 2, 201, 116), spec).find(2) == (32 + 201, 32 + 317)
    assert MinishardIndex.parse(struct.pack("<3Q", 3, 518, 116), spec).find(3) == (32 + 518, 32 + 634)


def test_duplicate_keys_are_refused() -> None:
    spec = ShardingSpec(preshift_bits=0, minishard_bits=0, shard_bits=0)
    with pytest.raises(UsageError, match="twice"):
        layout_shard(spec, np.array([1, 1], np.uint64), np.array([1, 1], np.uint64))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"12345", "multiple of 24"),
        (struct.pack("<6Q", 5, 0, 0, 0, 1, 1), "twice"),
        (struct.pack("<3Q", 5, 1000, 1000), "outside"),
        (struct.pack("<3Q", 5, 0, 2**64 - 1), "outside"),
    ],
)
def test_broken_minishard_indices_are_errors(data, message) -> None:
    spec = ShardingSpec(preshift_bits=0, minishard_bits=0, shard_bits=0, minishard_index_encoding="raw")
    with pytest.raises(FormatError, match=message):
        MinishardIndex.parse(data, spec, file_size=100)


def test_gzipped_index_with_trailing_bytes_is_an_error() -> None:
    spec = ShardingSpec(preshift_bits=0, minishard_bits=0, shard_bits=0)
    with pytest.raises(FormatError):
        MinishardIndex.parse(gzip.compress(bytes(24)) + b"x", spec)


def test_bad_sharding_objects() -> None:
    with pytest.raises(FormatError, match="hash"):
        ShardingSpec(preshift_bits=0, minishard_bits=0, shard_bits=0, hash="md5")
    with pytest.raises(FormatError, match="64"):
        ShardingSpec(preshift_bits=0, minishard_bits=32, shard_bits=33)
    with pytest.raises(FormatError, match="minishard_bits"):
        ShardingSpec.from_json({"@type": "neuroglancer_uint64_sharded_v1", "preshift_bits": 1, "hash": "identity"})
    with pytest.raises(FormatError, match="@type"):
        ShardingSpec.from_json({"@type": "other"})


def test_reads_shards_that_tensorstore_wrote(tmp_path: Path) -> None:
    """TensorStore's own order of values and indices, with three shards bits and an odd grid."""
    data = np.random.default_rng(1).integers(0, 2**16, (100, 60, 30), np.uint16)
    store = ts.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": str(tmp_path) + "/"},
            "multiscale_metadata": {"type": "image", "data_type": "uint16", "num_channels": 1},
            "scale_metadata": {
                "key": "s0",
                "size": [100, 60, 30],
                "voxel_offset": [5, -7, 3],
                "resolution": [8, 8, 8],
                "chunk_size": [16, 16, 16],
                "encoding": "raw",
                "sharding": ShardingSpec(preshift_bits=1, minishard_bits=2, shard_bits=3).to_json(),
            },
        },
        create=True,
    ).result()
    store[...] = data[..., None]
    scale = open_volume(tmp_path).scales[0]
    np.testing.assert_array_equal(scale[:], data.transpose(2, 1, 0))
    np.testing.assert_array_equal(scale[10:20, -3:40, 6:99], data.transpose(2, 1, 0)[7:17, 4:47, 1:94])
    assert scale.stored_chunks() == 7 * 4 * 2
    assert scale.info.chunk_name((0, 0, 0)) == "5-21_-7-9_3-19"
    assert scale.info.cells(Box(Vec3(5, -7, 3), Vec3(22, 53, 4))) == Box(Vec3(0, 0, 0), Vec3(2, 4, 1))
