"""``kernels.LabelTable`` against plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from precast.errors import UsageError
from precast.kernels import LABEL_DTYPE, LabelTable


def expected(data: NDArray[Any], start: tuple[int, int, int]) -> list[tuple[Any, ...]]:
    """Records by the definition, with Python's integers."""
    rows = []
    for label in np.unique(data[data != 0]):
        _, z, y, x = (axis.astype(object) for axis in np.nonzero(data == label))
        places = [axis + first for axis, first in zip((x, y, z), start, strict=True)]
        rows.append(
            (int(label), len(x), [min(p) for p in places], [max(p) + 1 for p in places], [sum(p) for p in places])
        )
    return rows


def plain(records: NDArray[np.void]) -> list[tuple[Any, ...]]:
    return [(int(r["id"]), int(r["voxels"]), *(r[name].tolist() for name in ("min", "max", "sum"))) for r in records]


@st.composite
def volumes(draw: st.DrawFn) -> NDArray[Any]:
    bits = draw(st.sampled_from([32, 64]))
    shape = (1, *(draw(st.integers(1, 8)) for _ in range(2)), draw(st.integers(1, 60)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    palette = np.array([0, *draw(st.lists(st.integers(1, 2**bits - 1), min_size=1, max_size=6))], f"uint{bits}")
    # Runs of mixed length.
    picks = rng.integers(0, len(palette), int(np.prod(shape)) + 1)
    keep = rng.random(len(picks)) < draw(st.sampled_from([0.0, 0.7, 0.95]))
    at = np.where(keep, 0, np.arange(len(picks)))
    return palette[picks[np.maximum.accumulate(at)][1:]].reshape(shape)


@settings(max_examples=150, deadline=None)
@given(volumes(), st.tuples(*[st.integers(0, 2**32 - 1000)] * 3))
def test_equals_numpy(data: NDArray[Any], start: tuple[int, int, int]) -> None:
    table = LabelTable()
    table.update(data, start)
    wanted = expected(data, start)
    assert len(table) == len(wanted)
    records = table.take()
    assert records.dtype == LABEL_DTYPE
    assert plain(records) == wanted
    assert len(table) == 0


@settings(max_examples=60, deadline=None)
@given(volumes(), st.integers(0, 60), st.integers(0, 2**32))
def test_blocks_in_any_order_and_merged_tables_give_the_same(data: NDArray[Any], cut: int, seed: int) -> None:
    whole = LabelTable()
    whole.update(data, (0, 0, 0))
    parts = [((0, 0, 0), data[..., :cut]), ((min(cut, data.shape[3]), 0, 0), data[..., cut:])]
    tables = [LabelTable(), LabelTable()]
    for i in np.random.default_rng(seed).permutation(2):
        start, part = parts[i]
        tables[i % 2].update(part, start)
    merged = LabelTable()
    for table in tables:
        merged.merge(table.take())
    np.testing.assert_array_equal(merged.take(), whole.take())


def test_threads_do_not_matter() -> None:
    rng = np.random.default_rng(3)
    data = rng.integers(0, 500, (1, 100, 100, 40)).astype(np.uint64).repeat(4, axis=3) << np.uint64(40)
    tables = [LabelTable() for _ in range(3)]
    for threads, table in enumerate(tables, 1):
        table.update(data, (1, 2, 3), threads)
    first, *others = (table.take() for table in tables)
    counts = np.unique(data, return_counts=True)
    assert first["id"].tolist() == counts[0][1:].tolist()
    assert first["voxels"].tolist() == counts[1][1:].tolist()
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_a_million_labels_in_one_block() -> None:
    ids = np.arange(128**3, dtype=np.uint64) // np.uint64(2) * np.uint64(0x9E3779B97F4A7C15)
    table = LabelTable()
    table.update(ids.reshape(1, 128, 128, 128), (0, 0, 0), threads=2)
    records = table.take()
    assert len(records) == 128**3 // 2 - 1
    assert (np.diff(records["id"]) > 0).all()
    assert (records["voxels"] == 2).all()
    assert (records["max"] - records["min"] == (2, 1, 1)).all()
    assert records["sum"][:, 2].sum() == sum(range(128)) * 128**2


def test_large_coordinates_and_overflow() -> None:
    table = LabelTable()
    block = np.ones((1, 1, 1, 4), np.uint32)
    far = 2**32 - 5
    table.update(block, (far, far, far))
    assert plain(table.take()) == [(1, 4, [far] * 3, [far + 4, far + 1, far + 1], [4 * far + 6, 4 * far, 4 * far])]
    with pytest.raises(UsageError, match="coordinates must stay below"):
        table.update(block, (far + 1, 0, 0))
    record = np.zeros(1, LABEL_DTYPE)
    record["id"], record["voxels"], record["max"], record["sum"] = 1, 1, 1, 2**63
    table.merge(record)
    with pytest.raises(UsageError, match="exceed 64 bits"):
        table.merge(record)


@pytest.mark.parametrize(
    ("data", "start", "text"),
    [
        (np.zeros((2, 2, 2), np.uint32), (0, 0, 0), "got 3 axes"),
        (np.zeros((2, 2, 2, 2), np.uint32), (0, 0, 0), "labels have one channel, got 2"),
        (np.zeros((1, 2, 2, 2), np.int32), (0, 0, 0), "dtype int32 is not supported here; allowed: uint32, uint64"),
        (np.zeros((1, 2, 2, 2), np.uint32), (-1, 0, 0), "label table:"),
        (np.zeros((1, 2, 2, 2), np.uint32), (0, 0), "three values x,y,z"),
    ],
)
def test_bad_arguments_are_named(data: NDArray[Any], start: tuple[int, ...], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        LabelTable().update(data, start)


def test_impossible_records_are_refused() -> None:
    with pytest.raises(UsageError, match="LABEL_DTYPE"):
        LabelTable().merge(np.zeros(3, [("id", "<u8")]))
    with pytest.raises(UsageError, match="not a record of a label: id 0"):
        LabelTable().merge(np.zeros(1, LABEL_DTYPE))
