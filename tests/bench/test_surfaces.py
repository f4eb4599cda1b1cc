"""The measures that meshes are judged by, against bodies whose figures are known."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the benchmarks measure distances with SciPy")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.surfaces import Surface

from bench import surfaces


def box(low: Any, high: Any) -> Surface:
    """Return the twelve triangles of a box, outward."""
    corners = np.array([[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)])
    quads = [[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]]
    faces = [[q[0], q[i], q[i + 1]] for q in quads for i in (1, 2)]
    return np.where(corners == 0, low, high), np.array(faces)


def both(a: Surface, b: Surface) -> Surface:
    return np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1] + len(a[0])])


BOX = box([1, 2, 3], [5, 8, 4])


def test_volume_area_and_topology_of_boxes() -> None:
    assert surfaces.signed_volume(BOX) == pytest.approx(4 * 6 * 1)
    assert surfaces.signed_volume((BOX[0], BOX[1][:, ::-1])) == pytest.approx(-24)
    assert surfaces.area(BOX) == pytest.approx(2 * (24 + 4 + 6))
    assert surfaces.topology(BOX[1]) == surfaces.Topology(1, 2, 0, 0)
    two = both(BOX, box([50, 50, 50], [51, 52, 53]))
    assert surfaces.topology(two[1]) == surfaces.Topology(2, 4, 0, 0)
    assert surfaces.signed_volume(two) == pytest.approx(24 + 6)


def test_open_crowded_and_wrongly_turned_edges_are_seen() -> None:
    assert surfaces.is_closed(BOX[1])
    assert not surfaces.is_closed(BOX[1][1:])
    assert surfaces.topology(BOX[1][1:]) == surfaces.Topology(1, 1, 3, 0)
    turned = BOX[1].copy()
    turned[0] = turned[0, ::-1]
    assert not surfaces.is_closed(turned)
    assert not surfaces.is_closed(BOX[1][:0])
    # Two boxes that share an edge once their corners are joined: closed, and that edge has four faces.
    joined = surfaces.weld(*both(box([0, 0, 0], [1, 1, 1]), box([1, 1, 0], [2, 2, 1])))
    assert len(joined[0]) == 14
    assert surfaces.is_closed(joined[1])
    assert surfaces.topology(joined[1]).crowded_edges == 1


def test_same_triangles_in_any_order_are_equal_and_mirrored_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    order = rng.permutation(8)
    faces = np.argsort(order)[BOX[1]][rng.permutation(12)]
    turned = np.stack([np.roll(face, k % 3) for k, face in enumerate(faces)])
    expected = surfaces.triangle_set(BOX)
    assert np.array_equal(surfaces.triangle_set((BOX[0][order], turned)), expected)
    mirrored = turned.copy()
    mirrored[3] = mirrored[3, ::-1]
    assert not np.array_equal(surfaces.triangle_set((BOX[0][order], mirrored)), expected)
    twice = np.concatenate([turned, turned[:1]])
    assert len(surfaces.triangle_set((BOX[0][order], twice))) == 13
    flat = np.array([[0, 0, 0], [0, 0, 0], [1, 0, 0]])
    assert all(
        np.array_equal(surfaces.triangle_set((flat, np.roll([[0, 1, 2]], k))), [[0, 0, 0, 0, 0, 0, 1, 0, 0]])
        for k in range(3)
    )
    moved = BOX[0].copy()
    moved[5] += [0, 0, 1]
    assert not np.array_equal(surfaces.triangle_set((moved, BOX[1])), expected)


def test_degenerate_faces_and_unused_vertices_are_dropped() -> None:
    positions = np.concatenate([BOX[0], [[9, 9, 9]]])
    faces = np.concatenate([BOX[1], [[1, 1, 2]]])
    kept = surfaces.drop_degenerate((positions, faces))
    assert np.array_equal(kept[0], BOX[0])
    assert np.array_equal(kept[1], BOX[1])


def test_distances_to_a_box_are_exact() -> None:
    rng = np.random.default_rng(1)
    low, high = BOX[0].min(axis=0), BOX[0].max(axis=0)
    points = rng.uniform(low - 4, high + 4, (3000, 3))
    outside = np.sqrt((np.maximum(np.maximum(low - points, points - high), 0) ** 2).sum(axis=1))
    within = np.minimum(points - low, high - points).min(axis=1)
    expected = np.where(within > 0, within, outside)
    assert surfaces.distances(points, BOX) == pytest.approx(expected, abs=1e-9)
    assert surfaces.distances(points[:0], BOX).shape == (0,)


def test_distances_among_triangles_of_all_sizes_agree_with_trying_each() -> None:
    rng = np.random.default_rng(2)
    corners = rng.normal(size=(60, 1, 3)) * 5 + rng.normal(size=(60, 3, 3)) * 10 ** rng.uniform(-3, 1, (60, 1, 1))
    corners[7] = corners[7, 0]  # a point
    corners[8, 2] = (corners[8, 0] + corners[8, 1]) / 2  # a line
    points = rng.normal(size=(100, 3)) * 6
    grid = np.linspace(0, 1, 61)
    u, v = (w.ravel() for w in np.meshgrid(grid, grid))
    u, v = u[u + v <= 1], v[u + v <= 1]
    found = surfaces.distances(points, (corners.reshape(-1, 3), np.arange(180).reshape(-1, 3)))
    nearest, spacing = np.full(100, np.inf), 0.0
    for a, b, c in corners:
        on = a + u[:, None] * (b - a) + v[:, None] * (c - a)
        spacing = max(spacing, float(np.linalg.norm([b - a, c - a], axis=1).max()) / 60)
        away = np.sqrt(((points[:, None] - on) ** 2).sum(axis=2).min(axis=1))
        nearest = np.minimum(nearest, away)
    # A grid on each triangle can only be further away, and not by more than its spacing.
    assert np.all(found <= nearest + 1e-9)
    assert np.all(found >= nearest - spacing)


def test_samples_lie_on_the_surface_in_proportion_to_area() -> None:
    points = surfaces.sample(BOX, 20_000)
    assert surfaces.distances(points, BOX).max() < 1e-9
    top = (points[:, 2] == 4).mean()
    assert top == pytest.approx(24 / 68, abs=0.01)


def test_deviation_of_nested_boxes() -> None:
    inner, outer = box([0, 0, 0], [10, 10, 10]), box([-1, -1, -1], [11, 11, 11])
    inward = surfaces.deviation(inner, outer, 2000)
    assert inward.mean == pytest.approx(1)
    assert inward.max == pytest.approx(1)
    outward = surfaces.deviation(outer, inner, 2000)
    assert outward.max == pytest.approx(3**0.5)
    assert 1 < outward.mean < 1.1
    pooled = surfaces.pooled([(1.0, inward), (3.0, surfaces.Deviation(2.0, 5.0))])
    assert pooled.mean == pytest.approx(0.25 * inward.mean + 0.75 * 2)
    assert pooled.max == 5
