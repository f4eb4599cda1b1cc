"""``kernels.downsample`` against TensorStore, and against sums in wider types where the two differ on purpose."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any, Literal

import numpy as np
import pytest
import tensorstore as ts
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from precast import kernels
from precast.errors import UsageError
from precast.geometry import Vec3

DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32"]
METHODS: list[kernels.DownsampleMethod] = ["mean", "min", "max", "stride", "majority", "majority_sparse"]
Oracle = Literal["mean", "min", "max", "mode", "stride"]
ORACLE: dict[kernels.DownsampleMethod, Oracle] = {"mean": "mean", "min": "min", "max": "max", "majority": "mode"}


def oracle(data: NDArray[Any], start: Vec3, factors: Vec3, method: Oracle) -> tuple[NDArray[Any], tuple[int, ...]]:
    """TensorStore's result and the origin of its domain, c, z, y, x."""
    placed = ts.array(data)[ts.d[:].translate_to[0, start.z, start.y, start.x]]
    reduced = ts.downsample(placed, [1, *factors.zyx], method)
    return np.asarray(reduced.read().result()), tuple(reduced.domain.inclusive_min)


def cells(data: NDArray[Any], start: Vec3, factors: Vec3) -> list[list[NDArray[Any]]]:
    """Every cell's voxels, channel by channel, by the definition: the multiple of the factor that a voxel is in."""
    _, depth, height, width = data.shape
    members: dict[tuple[int, int, int], list[tuple[int, int, int]]] = {}
    for z, y, x in product(range(depth), range(height), range(width)):
        key = ((z + start.z) // factors.z, (y + start.y) // factors.y, (x + start.x) // factors.x)
        members.setdefault(key, []).append((z, y, x))
    return [[channel[tuple(np.transpose(members[key]))] for key in sorted(members)] for channel in data]


def inside_one_cell(data: NDArray[Any], start: Vec3, factors: Vec3) -> bool:
    """Whether an axis lies within one cell without touching either of its ends.

    TensorStore 0.1.86 reads past the array then: two ones at 1 and 2 have the mean 104 with a factor of 4.
    """
    sizes = data.shape[:0:-1]
    return any(a % f and a // f == (a + n) // f for a, n, f in zip(start, sizes, factors, strict=True))


@st.composite
def blocks(draw: st.DrawFn, dtypes: list[str] = DTYPES) -> tuple[NDArray[Any], Vec3, Vec3]:
    """A block, its start and factors; values with many ties or of the whole range of the type."""
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    shape = (draw(st.integers(1, 2)), *(draw(st.integers(1, 9)) for _ in range(2)), draw(st.integers(1, 70)))
    small = st.sampled_from([1, 2])
    factors = Vec3(*(draw(st.one_of(small, small, st.integers(1, 7))) for _ in range(3)))
    start = Vec3(*(draw(st.one_of(st.just(0), st.integers(-20, 20))) for _ in range(3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = draw(st.sampled_from([2, 4, 100, 0]))
    data: NDArray[Any]
    if dtype.kind == "f":
        # Multiples of a quarter: sums are exact in single precision too, as TensorStore needs.
        data = (rng.integers(-(spread or 1000), (spread or 1000) + 1, shape) / 4).astype(dtype)
    elif spread:
        low = -spread if dtype.kind == "i" else 0
        data = rng.integers(low, spread, shape).astype(dtype)
    else:
        data = np.frombuffer(rng.bytes(dtype.itemsize * int(np.prod(shape))), dtype).reshape(shape)
    return data, start, factors


@settings(max_examples=400, deadline=None)
@given(blocks(), st.sampled_from(sorted(ORACLE)), st.integers(1, 3))
def test_equals_tensorstore(
    block: tuple[NDArray[Any], Vec3, Vec3], method: kernels.DownsampleMethod, threads: int
) -> None:
    data, start, factors = block
    assume(not inside_one_cell(data, start, factors))
    expected, origin = oracle(data, start, factors, ORACLE[method])
    result = kernels.downsample(data, factors, method, start=start, threads=threads)
    assert result.dtype == data.dtype
    np.testing.assert_array_equal(result, expected)
    domain = kernels.downsample_domain(start, data.shape[:0:-1], factors)
    assert domain.start.zyx == origin[1:]


@settings(max_examples=150, deadline=None)
@given(blocks(), st.sampled_from(["min", "max", "majority"]))
def test_equals_the_definition(block: tuple[NDArray[Any], Vec3, Vec3], method: kernels.DownsampleMethod) -> None:
    data, start, factors = block

    def mode(cell: NDArray[Any]) -> Any:
        values, counts = np.unique(cell, return_counts=True)
        return values[np.argmax(counts)]

    of_cell: dict[str, Callable[[NDArray[Any]], Any]] = {"min": np.min, "max": np.max, "majority": mode}
    expected = [of_cell[method](cell) for channel in cells(data, start, factors) for cell in channel]
    np.testing.assert_array_equal(kernels.downsample(data, factors, method, start=start).ravel(), expected)


@settings(max_examples=100, deadline=None)
@given(blocks())
def test_stride_takes_the_first_voxel_in_bounds(block: tuple[NDArray[Any], Vec3, Vec3]) -> None:
    data, start, factors = block
    result = kernels.downsample(data, factors, "stride", start=start)
    np.testing.assert_array_equal(
        result.ravel(), [cell[0] for channel in cells(data, start, factors) for cell in channel]
    )
    if all(a % f == 0 for a, f in zip(start, factors, strict=True)):
        np.testing.assert_array_equal(result, oracle(data, start, factors, "stride")[0])


@settings(max_examples=100, deadline=None)
@given(blocks())
def test_sparse_majority_does_not_count_zero(block: tuple[NDArray[Any], Vec3, Vec3]) -> None:
    data, start, factors = block

    def winner(cell: NDArray[Any]) -> Any:
        values, counts = np.unique(cell[cell != 0], return_counts=True)
        return values[np.argmax(counts)] if len(values) else 0

    result = kernels.downsample(data, factors, "majority_sparse", start=start)
    np.testing.assert_array_equal(
        result.ravel(), [winner(c) for channel in cells(data, start, factors) for c in channel]
    )


@settings(max_examples=150, deadline=None)
@given(blocks([dtype for dtype in DTYPES if dtype != "float32"]))
def test_integer_mean_is_the_fraction_rounded_half_to_even(block: tuple[NDArray[Any], Vec3, Vec3]) -> None:
    data, start, factors = block
    result = kernels.downsample(data, factors, "mean", start=start)
    expected = [round(Fraction(sum(map(int, c)), len(c))) for channel in cells(data, start, factors) for c in channel]
    assert result.ravel().tolist() == expected


@settings(max_examples=150, deadline=None)
@given(blocks(["float32"]), st.integers(0, 2**32))
def test_float_mean_is_accumulated_in_double(block: tuple[NDArray[Any], Vec3, Vec3], seed: int) -> None:
    data, start, factors = block
    rng = np.random.default_rng(seed)
    data = (data * np.exp(rng.normal(0, 8, data.shape))).astype(np.float32)
    data[rng.random(data.shape) < 0.02] = rng.choice([np.nan, np.inf, -np.inf])
    with np.errstate(invalid="ignore"):
        expected = [
            np.float32(sum(np.float64(v) for v in cell) / len(cell))
            for channel in cells(data, start, factors)
            for cell in channel
        ]
    result = kernels.downsample(data, factors, "mean", start=start).ravel()
    np.testing.assert_array_equal(result, np.array(expected, np.float32))
    quiet = result[np.isnan(result)].view(np.uint32)
    assert set(quiet.tolist()) <= {0x7FC00000}


@settings(max_examples=150, deadline=None)
@given(blocks(["float32"]), st.sampled_from(["min", "max"]), st.integers(0, 2**32))
def test_nan_as_in_tensorstore(
    block: tuple[NDArray[Any], Vec3, Vec3], method: kernels.DownsampleMethod, seed: int
) -> None:
    data, start, factors = block
    assume(not inside_one_cell(data, start, factors))
    data = data.copy()
    data[np.random.default_rng(seed).random(data.shape) < 0.4] = np.nan
    expected, _ = oracle(data, start, factors, ORACLE[method])
    np.testing.assert_array_equal(kernels.downsample(data, factors, method, start=start), expected)


@settings(max_examples=150, deadline=None)
@given(blocks(["float32"]), st.integers(0, 2**32))
def test_nan_is_one_value_above_all_numbers_for_majority(block: tuple[NDArray[Any], Vec3, Vec3], seed: int) -> None:
    data, start, factors = block
    data = data.copy()
    data[np.random.default_rng(seed).random(data.shape) < 0.4] = np.nan
    above = np.float32(1e9)
    stand_in = kernels.downsample(np.where(np.isnan(data), above, data), factors, "majority", start=start)
    result = kernels.downsample(data, factors, "majority", start=start)
    np.testing.assert_array_equal(result, np.where(stand_in == above, np.float32(np.nan), stand_in))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("factors", [(2, 2, 1), (2, 2, 2), (1, 2, 2), (3, 2, 1), (4, 4, 4)])
def test_a_larger_volume_in_blocks(method: kernels.DownsampleMethod, dtype: str, factors: tuple[int, ...]) -> None:
    """Blocks that begin at multiples of the factors give the parts of the whole, whatever their strides."""
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 5, (1, 12, 24, 36)).repeat(3, axis=3).repeat(2, axis=2).astype(dtype)[:, :, :-1, :-1]
    start = Vec3(-12, 24, 12)
    whole = kernels.downsample(labels, factors, method, start=start, threads=2)
    if method in ORACLE:
        np.testing.assert_array_equal(whole, oracle(labels, start, Vec3.of(factors), ORACLE[method])[0])
    parts = np.zeros_like(whole)
    for y, x in product(range(0, 47, 12), range(0, 107, 36)):
        part = labels[:, :, y : y + 12, x : x + 36]
        box = kernels.downsample_domain(start.plus((x, y, 0)), part.shape[:0:-1], factors)
        target = parts[box.slices(kernels.downsample_domain(start, labels.shape[:0:-1], factors).start)]
        result = kernels.downsample(part, factors, method, start=start.plus((x, y, 0)), out=target)
        assert result is target
    np.testing.assert_array_equal(parts, whole)


def test_empty_blocks_have_no_cells() -> None:
    for shape in [(0, 3, 3, 3), (1, 0, 3, 3), (1, 3, 0, 3), (1, 3, 3, 0)]:
        result = kernels.downsample(np.zeros(shape, np.uint8), (2, 2, 2), "mean", start=(1, 1, 1))
        assert result.size == 0
        assert [a == 0 for a in result.shape] == [a == 0 for a in shape]


def test_a_broadcast_source_is_read_as_it_is() -> None:
    data = np.broadcast_to(np.arange(6, dtype=np.uint16), (1, 4, 4, 6))
    np.testing.assert_array_equal(kernels.downsample(data, (2, 2, 2), "max"), np.broadcast_to([1, 3, 5], (1, 2, 2, 3)))


@pytest.mark.parametrize(
    ("data", "options", "text"),
    [
        (np.zeros((2, 2, 2), np.uint8), {}, "got 3 axes"),
        (np.zeros((1, 2, 2, 2), np.float64), {}, "dtype float64 is not one of"),
        (np.zeros((1, 2, 2, 2), ">u2"), {}, "native byte order"),
        (np.zeros((1, 2, 2, 2), np.uint8), {"factors": (2, 0, 1)}, "from 1 on, got 2,0,1"),
        (np.zeros((1, 2, 2, 2), np.uint8), {"factors": (2, 1)}, "three values x,y,z are needed, got 2"),
        (np.zeros((1, 2, 2, 2), np.uint8), {"factors": (2**31, 1, 1)}, "a factor must be from 1 to 2147483647"),
        (np.zeros((1, 2, 2, 2), np.uint8), {"start": (2**70, 0, 0)}, "downsample:"),
        (np.zeros((1, 2, 2, 2), np.uint8), {"method": "median"}, "unknown method 'median'; allowed: mean, min"),
        (np.zeros((1, 2, 2, 2), np.uint8), {"threads": 0}, "at least one thread"),
        (np.zeros((1, 2, 2, 4), np.uint8)[..., ::2], {}, "last axis .x. must be contiguous"),
        (np.zeros((1, 2, 2, 2), np.uint8)[:, ::-1], {}, "non-negative"),
        (
            np.zeros((1, 2, 2, 2), np.uint8),
            {"out": np.zeros((1, 2, 2, 2), np.uint8)},
            r"out must be uint8 of shape \(1, 2, 1, 1\)",
        ),
        (np.zeros((1, 2, 2, 2), np.uint8), {"out": np.zeros((1, 2, 1, 1), np.int8)}, "got int8"),
        (
            np.zeros((1, 2, 4, 4), np.uint8),
            {"out": np.broadcast_to(np.zeros((1, 1, 1, 2), np.uint8), (1, 2, 2, 2))},
            "read-only",
        ),
    ],
)
def test_bad_arguments_are_named(data: NDArray[Any], options: dict[str, Any], text: str) -> None:
    arguments: dict[str, Any] = {"factors": (2, 2, 1), "method": "mean"} | options
    with pytest.raises(UsageError, match=text):
        kernels.downsample(data, **arguments)


def test_an_output_inside_the_source_is_refused() -> None:
    data = np.zeros((1, 2, 4, 4), np.uint8)
    with pytest.raises(UsageError, match="must not overlap"):
        kernels.downsample(data, (2, 2, 1), "mean", out=data[:, :, :2, :2])
