"""The voxel digest against a second implementation, written from ``docs/voxel-digest.md`` in plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from precast.errors import UsageError
from precast.kernels import format_digest, voxel_digest

MASK = 2**64 - 1
DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32"]
Lanes = tuple[int, int]


def mix(n: int) -> int:
    z = n * 0x9E3779B97F4A7C15 & MASK
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


def reference(data: NDArray[Any]) -> Lanes:
    _, depth, height, _ = data.shape
    lanes = [0, 0]
    for (c, z, y, x), value in np.ndenumerate(data.view(f"u{data.dtype.itemsize}")):
        r = (c * depth + z) * height + y
        v = int(value)
        h = v ^ (((v >> 32) * 0xFF51AFD7ED558CCD & MASK) >> 32)
        for lane in range(2):
            lanes[lane] += (mix(4 * (r + 1) + 2 + lane) | 1) * (mix(4 * (x + 1) + lane) | 1) * h
    return lanes[0] & MASK, lanes[1] & MASK


def printed(lanes: Lanes, size: tuple[int, int, int], channels: int, dtype: str) -> str:
    text = "voxels1:"
    for lane in range(2):
        s = lane + 1
        for word in (*size, channels, int.from_bytes(dtype.encode(), "little")):
            s = mix(s ^ word)
        text += f"{mix(lanes[lane] ^ s):016x}"
    return text


def add(*lanes: Lanes) -> Lanes:
    return sum(a for a, _ in lanes) & MASK, sum(b for _, b in lanes) & MASK


def whole(data: NDArray[Any], threads: int = 1) -> Lanes:
    return voxel_digest(data, (0, 0, 0), data.shape[:0:-1], threads)


@st.composite
def volumes(draw: st.DrawFn, least: int = 1) -> NDArray[Any]:
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = (draw(st.integers(1, 3)), *(draw(st.integers(least, 5)) for _ in range(2)), draw(st.integers(least, 40)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    noise = np.frombuffer(rng.bytes(dtype.itemsize * int(np.prod(shape))), dtype).reshape(shape).copy()
    noise[rng.random(shape) < draw(st.sampled_from([0.0, 0.5, 1.0]))] = 0
    return noise


@settings(max_examples=100, deadline=None)
@given(volumes(), st.integers(1, 3))
def test_follows_the_definition(data: NDArray[Any], threads: int) -> None:
    lanes = whole(data, threads)
    assert lanes == reference(data)
    size = (data.shape[3], data.shape[2], data.shape[1])
    assert format_digest(lanes, size, data.shape[0], data.dtype.name) == printed(
        lanes, size, data.shape[0], data.dtype.name
    )


def test_the_values_in_the_documentation() -> None:
    assert mix(1) == 0xE220A8397B1DCDAF
    data = np.arange(24, dtype=np.uint16).reshape(2, 1, 3, 4)
    assert whole(data) == reference(data) == (0x9DBF6FBF708C8CB0, 0x23626285C41487C8)
    assert format_digest(whole(data), (4, 3, 1), 2, "uint16") == "voxels1:17b14743c52dd0312b422fbfc022f271"


@settings(max_examples=100, deadline=None)
@given(volumes(), st.integers(1, 3), st.integers(1, 3), st.integers(1, 17))
def test_blocks_add_up(data: NDArray[Any], dz: int, dy: int, dx: int) -> None:
    _, depth, height, width = data.shape
    parts = [
        voxel_digest(data[:, z : z + dz, y : y + dy, x : x + dx], (x, y, z), (width, height, depth))
        for z in range(0, depth, dz)
        for y in range(0, height, dy)
        for x in range(0, width, dx)
    ]
    assert add(*parts) == whole(data)


@settings(max_examples=150, deadline=None)
@given(volumes(), st.data())
def test_any_changed_bit_changes_both_lanes(data: NDArray[Any], picks: st.DataObject) -> None:
    before = whole(data)
    bits = data.view(f"u{data.dtype.itemsize}").reshape(-1)
    at = picks.draw(st.integers(0, bits.size - 1))
    bits[at] ^= bits.dtype.type(1 << picks.draw(st.integers(0, 8 * bits.itemsize - 1)))
    after = whole(data)
    assert before[0] != after[0]
    assert before[1] != after[1]


@settings(max_examples=150, deadline=None)
@given(volumes(2), st.sampled_from(["x", "y", "z"]), st.data())
def test_swapped_voxels_rows_and_slices_show(data: NDArray[Any], what: str, picks: st.DataObject) -> None:
    axis = {"z": 1, "y": 2, "x": 3}[what]
    i, j = (picks.draw(st.integers(0, data.shape[axis] - 1)) for _ in range(2))
    order = np.arange(data.shape[axis])
    order[[i, j]] = j, i
    other = np.ascontiguousarray(np.take(data, order, axis))
    assume(other.tobytes() != data.tobytes())
    assert whole(other)[0] != whole(data)[0]
    assert whole(other)[1] != whole(data)[1]


@settings(max_examples=100, deadline=None)
@given(volumes(2), st.integers(1, 3))
def test_a_shift_shows(data: NDArray[Any], axis: int) -> None:
    other = np.roll(data, 1, axis)
    assume(other.tobytes() != data.tobytes())
    assert whole(other) != whole(data)


def test_labels_that_differ_in_their_highest_bits_cannot_trade_places() -> None:
    """Without mixing the high bits down, weights times 2^63 are all the same."""
    for bits in (1 << 63, 1 << 62, 3 << 62, (1 << 63) | (1 << 31), 1 << 40):
        one, two = 0x0123456789ABCDEF, 0x0123456789ABCDEF ^ bits
        data = np.array([one, two, one, two], np.uint64).reshape(1, 1, 2, 2)
        assert whole(data) != whole(np.ascontiguousarray(data[..., ::-1]))
        assert whole(data) != whole(np.full_like(data, one))


def test_labels_have_the_same_lanes_in_both_widths_but_another_digest() -> None:
    data = np.random.default_rng(5).integers(0, 2**32, (1, 4, 5, 600), np.uint32)
    assert whole(data) == whole(data.astype(np.uint64))
    texts = {format_digest(whole(data), (600, 5, 4), 1, name) for name in ("uint32", "uint64")}
    assert len(texts) == 2


def test_shape_and_channels_are_part_of_the_printed_digest() -> None:
    shapes = [((2, 3, 4), 1), ((3, 2, 4), 1), ((4, 3, 2), 1), ((2, 3, 2), 2), ((2, 3, 5), 1)]
    assert len({format_digest((0, 0), size, channels, "uint8") for size, channels in shapes}) == len(shapes)


def test_wide_rows_of_the_largest_values_do_not_overflow() -> None:
    for dtype in ("uint8", "uint16", "uint32", "uint64"):
        data = np.full((1, 1, 1, 3001), np.iinfo(dtype).max, dtype)
        assert whole(data) == reference(data)


def test_threads_do_not_matter() -> None:
    data = np.random.default_rng(6).integers(0, 256, (2, 30, 20, 300), np.uint8)
    assert whole(data, 1) == whole(data, 2) == whole(data, 7)


@pytest.mark.parametrize(
    ("data", "start", "text"),
    [
        (np.zeros((2, 2, 2), np.uint8), (0, 0, 0), "got 3 axes"),
        (np.zeros((1, 2, 2, 2), np.complex64), (0, 0, 0), "dtype complex64 is not one of"),
        (np.zeros((1, 2, 2, 2), np.uint8), (3, 0, 0), "does not lie inside a volume"),
        (np.zeros((1, 2, 2, 2), np.uint8), (-1, 0, 0), "voxel digest:"),
        (np.zeros((1, 2, 2, 2), np.uint8), (0, 0), "three values x,y,z"),
    ],
)
def test_bad_arguments_are_named(data: NDArray[Any], start: tuple[int, ...], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        voxel_digest(data, start, (4, 4, 4))


def test_an_unknown_type_cannot_be_printed() -> None:
    with pytest.raises(UsageError, match="unknown data type 'float16'"):
        format_digest((0, 0), (1, 1, 1), 1, "float16")
