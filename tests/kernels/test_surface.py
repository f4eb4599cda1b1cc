"""``kernels.extract_surface`` and ``precast.extract_surface`` against what is known of surfaces."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import precast
from precast.errors import UsageError
from precast.kernels import Surfaces, extract_surface


def volume6(positions: NDArray[Any], faces: NDArray[Any]) -> int:
    """Six times the signed volume, in cubic half voxels."""
    a, b, c = (positions.astype(np.int64)[faces[:, i]] for i in range(3))
    return int(np.einsum("ij,ij->", a, np.cross(b, c)))


def check_closed(surfaces: Surfaces, index: int) -> int:
    """Check one surface on its own and return its Euler number."""
    positions, faces = surfaces.get(index)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    codes = edges[:, 0] * len(positions) + edges[:, 1]
    opposite = edges[:, 1] * len(positions) + edges[:, 0]
    assert len(np.unique(codes)) == len(codes), "a directed edge is there twice"
    np.testing.assert_array_equal(np.sort(codes), np.sort(opposite), "an open edge")
    a, b, c = (positions.astype(np.int64)[faces[:, i]] for i in range(3))
    assert np.cross(b - a, c - a).any(axis=1).all(), "a degenerate face"
    assert len(np.unique(positions, axis=0)) == len(positions), "two vertices in one place"
    assert np.array_equal(np.unique(faces), np.arange(len(positions))), "an unused vertex"
    return len(positions) - len(edges) // 2 + len(faces)


def triangles(*parts: Surfaces) -> Counter[tuple[Any, ...]]:
    """Return the triangles by label and place, each beginning with its lowest corner."""
    found: Counter[tuple[Any, ...]] = Counter()
    for part in parts:
        for i, label in enumerate(part.ids.tolist()):
            positions, faces = part.get(i)
            for corners in positions[faces].tolist():
                first = corners.index(min(corners))
                turned = corners[first:] + corners[:first]
                found[(label, *map(tuple, turned))] += 1
    return found


def mask_euler(mask: NDArray[np.bool_]) -> int:
    """Return the Euler number of the surface: twice that of the open solid of voxels that are joined by faces.

    In the dual, voxels are points, and faces, edges and corners between voxels of the mask are lines, squares, cubes.
    A cell that lacks two opposite corners is filled too: its six voxels are a ring without a square, but the surface
    cuts off the two corners alone.
    """
    total = 0.0
    for step in product((0, 1), repeat=3):
        whole = np.ones([n - s for n, s in zip(mask.shape, step, strict=True)], bool)
        for corner in product(*(range(s + 1) for s in step)):
            whole &= mask[tuple(slice(c, c + n) for c, n in zip(corner, whole.shape, strict=True))]
        total += (-1) ** sum(step) * int(whole.sum())
    cells = np.lib.stride_tricks.sliding_window_view(np.pad(mask, 1), (2, 2, 2))
    lacking = ~cells
    for corner in product((0, 1), repeat=3):
        opposite = tuple(1 - c for c in corner)
        # each such cell is met from both of its corners
        here, there = lacking[..., corner[0], corner[1], corner[2]], lacking[..., opposite[0], opposite[1], opposite[2]]
        total += int((here & there & (lacking.sum((-3, -2, -1)) == 2)).sum()) / 2
    return int(2 * total)


@st.composite
def blocks(draw: st.DrawFn) -> NDArray[Any]:
    shape = tuple(draw(st.integers(1, 12)) for _ in range(3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    bits = draw(st.sampled_from([32, 64]))
    count = draw(st.sampled_from([1, 1, 2, 3, 6, 500]))
    palette = np.concatenate([[0], rng.integers(1, 2**bits, count, np.uint64)]).astype(f"uint{bits}")
    return palette[rng.integers(0, count + 1, shape)]


@settings(max_examples=150, deadline=None)
@given(blocks(), st.tuples(*[st.integers(-(2**30), 2**30 - 20)] * 3))
def test_every_surface_is_closed_and_has_the_topology_and_volume_of_its_voxels(
    labels: NDArray[Any], start: tuple[int, int, int]
) -> None:
    surfaces = extract_surface(labels, start=start)
    assert surfaces.ids.tolist() == np.unique(labels[labels != 0]).tolist()
    for i, label in enumerate(surfaces.ids):
        mask = labels == label
        positions, faces = surfaces.get(i)
        positions = positions.astype(np.int64) - 2 * np.array(start)
        assert check_closed(surfaces, i) == mask_euler(mask)
        # The surface passes between the centres of the voxels and of their neighbours: a voxel keeps at least its
        # octahedron of 8/48, and at most the cells around it are full.
        voxels = int(mask.sum())
        assert 8 * voxels <= volume6(positions, faces) <= 48 * voxels
        where = np.argwhere(mask)[:, ::-1]
        assert (positions.min(axis=0) == 2 * where.min(axis=0)).all()
        assert (positions.max(axis=0) == 2 * where.max(axis=0) + 2).all()


@settings(max_examples=60, deadline=None)
@given(blocks(), st.tuples(*[st.integers(0, 12)] * 3))
def test_eight_blocks_are_one(labels: NDArray[Any], cut: tuple[int, int, int]) -> None:
    whole = extract_surface(labels, start=(7, -8, 9))
    parts = []
    for high in product((False, True), repeat=3):
        spans, closed = [], []
        for n, place, second in zip(labels.shape, cut, high, strict=True):
            at = place % n
            spans.append(slice(at, n) if second else slice(0, min(at + 1, n)))
            closed.append((not second, second) if at else (second, second))
        if any(at % n == 0 and not second for n, at, second in zip(labels.shape, cut, high, strict=True)):
            continue
        start = np.array([7, -8, 9]) + [span.start for span in spans[::-1]]
        parts.append(extract_surface(labels[tuple(spans)], start=start.tolist(), closed=closed[::-1]))
    assert triangles(*parts) == triangles(whole)


def test_a_voxel_is_an_octahedron() -> None:
    surfaces = extract_surface(np.array([[[9]]], np.uint64))
    positions, faces = surfaces.get(0)
    assert sorted(positions.tolist()) == [[0, 1, 1], [1, 0, 1], [1, 1, 0], [1, 1, 2], [1, 2, 1], [2, 1, 1]]
    assert len(faces) == 8
    assert volume6(positions, faces) == 8


def test_nested_and_touching_objects_each_have_their_surface() -> None:
    labels = np.full((9, 9, 9), 1, np.uint32)
    labels[2:7, 2:7, 2:7] = 2
    labels[4, 4, 4] = 3
    surfaces = extract_surface(labels)
    assert [check_closed(surfaces, i) for i in range(3)] == [4, 4, 2]

    def box(n: int) -> int:
        """A box in half voxels without its chamfer: prisms along the edges, and 5/6 of a cube at each corner."""
        return 48 * n**3 - 72 * (n - 1) - 40

    assert [volume6(*surfaces.get(i)) for i in range(3)] == [box(9) - box(5), box(5) - box(1), box(1)]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int64, ">u4", np.uint64])
def test_arrays_in_memory_of_every_kind(dtype: Any) -> None:
    labels = np.zeros((5, 6, 7), dtype)
    labels[1:3, 2:4, 3:6] = 1
    for array in (labels, labels[np.newaxis], np.asfortranarray(labels), labels[::-1][::-1]):
        surfaces = precast.extract_surface(array, resolution="4,4,40", voxel_offset=(10, -20, 30))
        mesh = surfaces[1]
        assert list(surfaces) == [1]
        assert mesh.vertices.min(axis=0).tolist() == [52, -72, 1240]
        assert mesh.vertices.max(axis=0).tolist() == [64, -64, 1320]
        assert (mesh.vertices.dtype.name, mesh.faces.dtype.name) == ("float64", "uint32")


def test_ids_and_the_open_border() -> None:
    labels = np.full((3, 3, 3), 5, np.uint16)
    labels[1, 1, 1] = 8
    surfaces = precast.extract_surface(labels, ids=[8, 99], open_border=True)
    assert list(surfaces) == [8]
    assert 5 not in surfaces
    assert -1 not in surfaces
    assert len(precast.extract_surface(labels, open_border=True)[5].faces) == 8
    assert len(precast.extract_surface(labels, ids=[])) == 0
    except_five = extract_surface(labels.astype(np.uint32), excluded=[5])
    assert except_five.ids.tolist() == [8]


@pytest.mark.parametrize(
    ("array", "options", "text"),
    [
        (np.zeros((2, 2, 2), np.float32), {}, "must be integers or bool, got dtype float32"),
        (np.full((2, 2, 2), -1), {}, "must not be negative, got -1"),
        (np.zeros((2, 2), np.uint8), {}, r"got \(2, 2\)"),
        (np.zeros((2, 2, 2, 2), np.uint8), {}, r"got \(2, 2, 2, 2\)"),
        ([[[1]]], {}, "got list"),
        (np.zeros((2, 2, 2), np.uint8), {"ids": [-1]}, "ids must be whole numbers"),
        (np.zeros((2, 2, 2), np.uint8), {"voxel_offset": (2**30, 0, 0)}, "voxels must lie from"),
        (np.zeros((2, 2, 2), np.uint8), {"voxel_offset": (2**40, 0, 0)}, "extracting surfaces"),
        (np.zeros((2, 2, 2), np.uint8), {"resolution": (0, 1, 1)}, "positive"),
    ],
)
def test_what_cannot_be_used_is_named(array: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        precast.extract_surface(array, **options)


def test_only_and_excluded_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="not both"):
        extract_surface(np.ones((1, 1, 1), np.uint32), only=[1], excluded=[2])


def test_real_labels(connectomics: Path) -> None:
    files = sorted(connectomics.glob("*.tif"))[:40]
    labels = np.stack([tifffile.imread(file)[:100, :120] for file in files])
    surfaces = extract_surface(labels)
    counts = dict(zip(*(a.tolist() for a in np.unique(labels[labels > 0], return_counts=True)), strict=True))
    assert surfaces.ids.tolist() == list(counts)
    total = 0
    for i in range(len(surfaces)):
        check_closed(surfaces, i)
        total += volume6(*surfaces.get(i))
    assert 0.98 < total / 48 / sum(counts.values()) < 1
