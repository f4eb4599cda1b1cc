from __future__ import annotations

import itertools
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from precast.errors import UsageError
from precast.geometry import Box, Vec3, VoxelSize
from precast.precomputed.scales import choose_factors, coarser, pyramid

CHUNK = Vec3(64, 64, 64)


def voxel(x: str, y: str, z: str) -> VoxelSize:
    return VoxelSize(Decimal(x), Decimal(y), Decimal(z))


@pytest.mark.parametrize(
    ("size", "voxels", "factor"),
    [
        ((512, 512, 512), ("32", "32", "40"), (2, 2, 2)),
        ((512, 512, 512), ("4.6", "4.6", "45"), (2, 2, 1)),
        ((512, 512, 512), ("10", "10", "14.142"), (2, 2, 2)),  # just below the square root of 2
        ((512, 512, 512), ("10", "10", "14.143"), (2, 2, 1)),  # just above
        ((512, 512, 1), ("10", "10", "1"), (2, 2, 1)),  # one slice: its tiny z does not count
        ((1, 1, 512), ("4", "4", "40"), (1, 1, 2)),
        ((1, 1, 1), ("4", "4", "40"), (1, 1, 1)),
        ((512, 512, 512), ("40", "4", "4"), (1, 2, 2)),
    ],
)
def test_factors_follow_the_voxel_size(size, voxels, factor) -> None:
    assert choose_factors(Vec3(*size), voxel(*voxels)) == factor


def test_anisotropic_volume_becomes_near_isotropic_and_then_halves_everything() -> None:
    levels = pyramid(Box(Vec3(0, 0, 0), Vec3(4096, 4096, 300)), voxel("4.6", "4.6", "45"), CHUNK)
    assert [level.factor for level in levels] == [
        (1, 1, 1),
        (2, 2, 1),
        (2, 2, 1),
        (2, 2, 1),
        (2, 2, 2),
        (2, 2, 2),
        (2, 2, 2),
    ]
    assert [level.voxel_size.key for level in levels][:4] == [
        "4.6_4.6_45",
        "9.2_9.2_45",
        "18.4_18.4_45",
        "36.8_36.8_45",
    ]
    assert levels[-1].box.size == (64, 64, 38)


def test_offset_is_floored_and_the_end_is_ceiled() -> None:
    # offset 3, size 100, factor 2: cells 1 .. 52 (not 50 of them, as ceil(size / f) would say)
    assert coarser(Box.of_size(Vec3(3, -3, 0), Vec3(100, 100, 101)), (2, 2, 2)) == Box(Vec3(1, -2, 0), Vec3(52, 49, 51))


boxes = st.builds(
    Box.of_size,
    st.tuples(*[st.integers(-1000, 1000)] * 3),
    st.tuples(*[st.integers(1, 5000)] * 3),
)


@given(boxes, st.tuples(*[st.integers(1, 100)] * 3))
def test_every_voxel_lies_in_a_cell_and_every_cell_has_a_voxel(box: Box, edges: tuple[int, int, int]) -> None:
    levels = pyramid(box, voxel(*map(str, edges)), CHUNK)
    for fine, coarse in itertools.pairwise(levels):
        for a, b, f, lo, hi in zip(
            fine.box.start, fine.box.stop, coarse.factor, coarse.box.start, coarse.box.stop, strict=True
        ):
            assert lo == a // f
            assert hi - 1 == (b - 1) // f
        keys = [level.voxel_size.key for level in levels]
        assert len(set(keys)) == len(keys)
    assert all(n <= 64 for n in levels[-1].box.size) or levels[-1].box.size.volume > 0
    assert all(n <= 64 for n in levels[-1].box.size)


def test_given_factors_and_numbers_of_scales() -> None:
    box = Box(Vec3(0, 0, 0), Vec3(100, 100, 100))
    nm = voxel("8", "8", "8")
    assert [level.factor for level in pyramid(box, nm, CHUNK, factors=[Vec3(3, 3, 1), Vec3(1, 1, 5)])][1:] == [
        (3, 3, 1),
        (1, 1, 5),
    ]
    assert len(pyramid(box, nm, CHUNK, scales=1)) == 1
    assert len(pyramid(box, nm, CHUNK, scales=4)) == 4
    # more scales than halvings: it stops at one voxel instead of repeating it
    assert pyramid(box, nm, CHUNK, scales=30)[-1].box.size == (1, 1, 1)
    with pytest.raises(UsageError, match="1,1,1"):
        pyramid(box, nm, CHUNK, factors=[Vec3(1, 1, 1)])
    with pytest.raises(UsageError, match="0,2,2"):
        pyramid(box, nm, CHUNK, factors=[Vec3(0, 2, 2)])
