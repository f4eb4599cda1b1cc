"""Morton codes and hashes against documented vectors, a plain reading of the rule, and cloud-volume."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cloudvolume.datasource.precomputed.common import compressed_morton_code
from cloudvolume.datasource.precomputed.sharding import ShardingSpecification
from cloudvolume.lib import Vec
from hypothesis import given
from hypothesis import strategies as st

from precast.errors import FormatError, UsageError
from precast.kernels import morton_cells, morton_codes, murmurhash3_x86_128

VECTORS = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "addressing.json").read_text())


def plain_code(cell: list[int], grid: list[int]) -> int:
    code = out = 0
    for bit in range(64):
        for index, cells in zip(cell, grid, strict=True):
            if 1 << bit < cells:
                code |= (index >> bit & 1) << out
                out += 1
    return code


@pytest.mark.parametrize("case", VECTORS["morton"], ids=lambda case: f"{case['cell']} of {case['grid']}")
def test_documented_codes(case: dict[str, list[int]]) -> None:
    assert morton_codes(np.array([case["cell"]]), case["grid"]).tolist() == [case["code"]]
    assert morton_cells(np.array([case["code"]]), case["grid"]).tolist() == [case["cell"]]


@given(st.data())
def test_codes_follow_the_rule_and_come_back(data: st.DataObject) -> None:
    grid = data.draw(st.lists(st.integers(1, 2**12), min_size=1, max_size=5))
    cells = data.draw(st.lists(st.tuples(*(st.integers(0, n - 1) for n in grid)), min_size=1, max_size=20))
    codes = morton_codes(np.array(cells), grid)
    assert codes.dtype == np.uint64
    assert codes.tolist() == [plain_code(list(cell), grid) for cell in cells]
    assert morton_cells(codes, grid).tolist() == [list(cell) for cell in cells]


def test_codes_of_64_bits() -> None:
    grid = [2**22, 2**21, 2**21]
    last = np.array(grid) - 1
    assert morton_codes(last[None], grid).tolist() == [2**64 - 1]
    assert morton_cells(np.array([2**64 - 1], np.uint64), grid).tolist() == [last.tolist()]
    assert morton_codes(np.zeros((0, 3), np.int64), grid).shape == (0,)
    assert morton_cells(np.zeros(0, np.uint64), grid).shape == (0, 3)


def test_cells_and_codes_that_do_not_exist() -> None:
    with pytest.raises(UsageError, match="64"):
        morton_codes(np.zeros((1, 2), np.int64), [2**32, 2**32 + 1])
    with pytest.raises(UsageError, match="grid"):
        morton_codes(np.array([[0, 5]]), [4, 5])
    with pytest.raises(UsageError, match="-1"):
        morton_codes(np.array([[0, -1]]), [4, 5])
    with pytest.raises(UsageError, match="float64"):
        morton_codes(np.array([[0.5, 1]]), [4, 5])
    with pytest.raises(UsageError, match="dimensions"):
        morton_codes(np.array([[0, 1, 2]]), [4, 5])
    with pytest.raises(UsageError):
        morton_codes(np.array([0, 1]), [4, 5])
    with pytest.raises(UsageError):
        morton_codes(np.array([[0, 0]]), [4, 0])
    for code in (2**5, 2**63, 18):  # beyond the bits, and y = 5 of 5
        with pytest.raises(FormatError, match=str(code)):
            morton_cells(np.array([code], np.uint64), [4, 5])


def test_documented_hashes() -> None:
    keys = np.array([int(key) for key, _ in VECTORS["murmurhash3_x86_128"]], np.uint64)
    hashes = [int(value, 16) for _, value in VECTORS["murmurhash3_x86_128"]]
    assert murmurhash3_x86_128(keys).tolist() == hashes
    assert murmurhash3_x86_128(keys[::2]).tolist() == hashes[::2]
    with pytest.raises(UsageError, match="-3"):
        murmurhash3_x86_128([-3])
    with pytest.raises(UsageError):
        murmurhash3_x86_128(np.zeros((2, 2), np.uint64))


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=50))
def test_hashes_place_keys_where_cloud_volume_does(keys: list[int]) -> None:
    spec = ShardingSpecification("neuroglancer_uint64_sharded_v1", 0, "murmurhash3_x86_128", 20, 40, "raw", "raw")
    for key, hashed in zip(keys, murmurhash3_x86_128(np.array(keys, np.uint64)).tolist(), strict=True):
        place = spec.compute_shard_location(np.uint64(key))
        assert int(place.minishard_number) == hashed & (2**20 - 1)
        assert int(place.shard_number, 16) == hashed >> 20 & (2**40 - 1)


def test_codes_equal_cloud_volumes() -> None:
    rng = np.random.default_rng(0)
    for grid in ([129, 64, 512], [1, 1, 7], [33, 1, 65]):
        cells = np.stack([rng.integers(0, n, 100) for n in grid], 1)
        theirs = [int(compressed_morton_code(Vec(*cell), Vec(*grid))) for cell in cells]
        assert morton_codes(cells, grid).tolist() == theirs
