"""``kernels.simplify_mesh``: the topology counted anew, and distances by brute force."""

from __future__ import annotations

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
from precast import kernels
from precast.errors import UsageError

Array = NDArray[Any]
Mesh = tuple[Array, Array]
UNIT = np.array([2.0, 2.0, 2.5])


def cubes(mask: Array) -> Mesh:
    """The surface of the union of cubes with an edge of 16; where two meet at an edge or corner only, one is removed.

    What is removed, is removed from the result: the surface always has two faces on every edge and one fan on every
    vertex.
    """
    solid = np.pad(mask.astype(bool), 2)
    changed = True
    while changed:
        changed = False
        for corner in product(*(range(n - 1) for n in solid.shape)):
            block = solid[tuple(slice(c, c + 2) for c in corner)]
            if not (connected(block) and connected(~block)):
                block[:] = True
                changed = True
        if solid[0].any() or solid[-1].any() or solid[:, 0].any() or solid[:, -1].any():
            return np.zeros((0, 3), np.int32), np.zeros((0, 3), np.uint32)
    numbers: dict[tuple[int, ...], int] = {}
    faces = []
    for axis, sign in product(range(3), (-1, 1)):
        outside = np.roll(solid, -sign, axis)
        for voxel in np.argwhere(solid & ~outside):
            base = voxel.copy()
            base[axis] += sign > 0
            u, v = np.eye(3, dtype=int)[[(axis + 1) % 3, (axis + 2) % 3]]
            ring = [base, base + u, base + u + v, base + v][::sign]
            a, b, c, d = (numbers.setdefault(tuple(p.tolist()), len(numbers)) for p in ring)
            faces += [(a, b, c), (a, c, d)]
    # a rotation of the axes keeps the orientation: (z, y, x) is read as (x, y, z)
    return np.array(list(numbers), np.int32).reshape(-1, 3) * 16, np.array(faces, np.uint32).reshape(-1, 3)


def connected(block: Array) -> bool:
    """Whether the true voxels of a 2 x 2 x 2 block hang together through faces."""
    rest = {tuple(p) for p in np.argwhere(block).tolist()}
    front = [rest.pop()] if rest else []
    while front:
        p = front.pop()
        for axis in range(3):
            q = tuple(c ^ (k == axis) for k, c in enumerate(p))
            if q in rest:
                rest.remove(q)
                front.append(q)
    return not rest


def torus(n: int = 96, m: int = 48, big: float = 400, small: float = 150) -> Mesh:
    i, j = np.meshgrid(np.arange(n), np.arange(m), indexing="ij")
    u, v = 2 * np.pi * i / n, 2 * np.pi * j / m
    ring = big + small * np.cos(v)
    positions = np.stack([ring * np.cos(u), ring * np.sin(u), small * np.sin(v)], -1).reshape(-1, 3)
    a, b, c, d = (((i + p) % n * m + (j + q) % m).ravel() for p, q in ((0, 0), (1, 0), (1, 1), (0, 1)))
    faces = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)])
    return np.rint(positions).astype(np.int32), faces.astype(np.uint32)


def sphere(radius: float, steps: int = 4) -> Mesh:
    points = [np.array(p, float) for p in [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]]
    faces = [(0, 2, 4), (2, 1, 4), (1, 3, 4), (3, 0, 4), (2, 0, 5), (1, 2, 5), (3, 1, 5), (0, 3, 5)]
    for _ in range(steps):
        halves: dict[tuple[int, int], int] = {}
        finer = []
        for face in faces:
            mids = []
            for a, b in ((0, 1), (1, 2), (2, 0)):
                key = (min(face[a], face[b]), max(face[a], face[b]))
                if key not in halves:
                    halves[key] = len(points)
                    points.append(points[key[0]] + points[key[1]])
                mids.append(halves[key])
            x, y, z = mids
            finer += [(face[0], x, z), (face[1], y, x), (face[2], z, y), (x, y, z)]
        faces = finer
        points = [p / np.linalg.norm(p) for p in points]
    return np.rint(np.array(points) * radius).astype(np.int32), np.array(faces, np.uint32)


def join(*meshes: Mesh) -> Mesh:
    starts = np.cumsum([0, *(len(p) for p, _ in meshes[:-1])])
    faces = [f + np.uint32(start) for (_, f), start in zip(meshes, starts, strict=True)]
    return np.concatenate([p for p, _ in meshes]), np.concatenate(faces)


def topology(faces: Array) -> list[tuple[int, int]]:
    """Euler number and open edges of every component, sorted; every edge has one face a side at most."""
    directed = {(int(f[k]), int(f[(k + 1) % 3])) for f in faces for k in range(3)}
    assert len(directed) == 3 * len(faces), "an edge with two faces on one side"
    parent = {int(v): int(v) for v in np.unique(faces)}

    def find(v: int) -> int:
        while parent[v] != v:
            parent[v] = v = parent[parent[v]]
        return v

    for a, b in directed:
        parent[find(a)] = find(b)
    euler = dict.fromkeys({find(v) for v in parent}, 0)
    opened = dict.fromkeys(euler, 0)
    for v in parent:
        euler[find(v)] += 1
    for a, b in directed:
        opened[find(a)] += (b, a) not in directed
        euler[find(a)] -= a < b or (b, a) not in directed
    for a, _, _ in faces.tolist():
        euler[find(a)] += 1
    return sorted((euler[v], opened[v]) for v in euler)


def distances(points: Array, positions: Array, faces: Array) -> Array:
    """Distance from points, 150 of them if there are more, to the nearest triangle, over all triangles."""
    if len(points) > 150:
        points = points[np.random.default_rng(len(points)).choice(len(points), 150, replace=False)]
    corners = positions[faces]
    result = np.full(len(points), np.inf)
    for k, p in enumerate(points):
        a, b, c = corners[:, 0] - p, corners[:, 1] - p, corners[:, 2] - p
        nearest = np.full(len(corners), np.inf)
        for s, t in ((a, b), (b, c), (c, a)):
            d = t - s
            at = np.clip(-(s * d).sum(1) / np.maximum((d * d).sum(1), 1e-30), 0, 1)[:, None]
            nearest = np.minimum(nearest, np.linalg.norm(s + at * d, axis=1))
        normal = np.cross(b - a, c - a)
        sides = [(np.cross(s, t) * normal).sum(1) >= 0 for s, t in ((a, b), (b, c), (c, a))]
        length = np.linalg.norm(normal, axis=1)
        inside = np.logical_and.reduce(sides) & (length > 0)
        plane = np.abs((a * normal).sum(1)) / np.maximum(length, 1e-30)
        result[k] = np.where(inside, np.minimum(plane, nearest), nearest).min()
    return result


def volume(mesh: Mesh) -> float:
    a, b, c = np.moveaxis(mesh[0][mesh[1]].astype(float), 1, 0)
    return float((a * np.cross(b, c)).sum() / 6)


def check(before: Mesh, after: Mesh, error_nm: float) -> None:
    """All that the reduction promises but for the number of faces."""
    assert topology(after[1]) == topology(before[1])
    assert len(np.unique(np.sort(after[1], axis=1), axis=0)) == len(after[1])
    assert np.array_equal(np.unique(after[1]), np.arange(len(after[0])))
    (p, f), (q, g) = ((positions * UNIT, faces) for positions, faces in (before, after))
    areas = np.linalg.norm(np.cross(q[g[:, 1]] - q[g[:, 0]], q[g[:, 2]] - q[g[:, 0]]), axis=1)
    assert (areas > 0).all()
    corners = q[g]
    samples = np.concatenate([q, corners.mean(1), (corners + np.roll(corners, 1, 1)).reshape(-1, 3) / 2])
    assert distances(p, q, g).max(initial=0) <= error_nm + 1e-6
    assert distances(samples, p, f).max(initial=0) <= error_nm + 1e-6


def reduce(mesh: Mesh, max_error_nm: float, target_faces: int = 0, patch: int = 0, snap: int = 4) -> tuple[Mesh, float]:
    positions, faces, error = kernels.simplify_mesh(
        *mesh,
        unit_nm=UNIT.tolist(),
        max_error_nm=max_error_nm,
        target_faces=target_faces,
        patch=patch,
        snap=(snap,) * 3,
    )
    assert error <= max_error_nm
    return (positions, faces), error


@pytest.mark.parametrize("patch", [0, 40])
@pytest.mark.parametrize("bound", [5.0, 40.0])
@pytest.mark.parametrize("shape", ["sphere", "torus", "shells", "two"])
def test_smooth_shapes_within_the_bound(shape: str, bound: float, patch: int) -> None:
    inner = sphere(200, 3)
    mesh = {
        "sphere": lambda: sphere(300, 4),
        "torus": lambda: torus(48, 24, 200, 80),
        "shells": lambda: join(sphere(300, 4), (inner[0], inner[1][:, ::-1].copy())),
        "two": lambda: join(sphere(150, 4), (sphere(120, 4)[0] + np.int32(400), sphere(120, 4)[1])),
    }[shape]()
    after, error = reduce(mesh, bound, patch=patch)
    check(mesh, after, error)
    assert len(after[1]) < len(mesh[1])
    assert volume(after) == pytest.approx(volume(mesh), rel=0.15)


@given(
    mask=st.integers(1, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).random((4, 5, 6)) < 0.4),
    bound=st.sampled_from([0.0, 8.0, 20.0, 40.0, np.inf]),
    target=st.sampled_from([0, 20, 100]),
    patch=st.sampled_from([0, 16, 32, 48]),
    snap=st.sampled_from([1, 8, 16]),
)
@settings(max_examples=40)
def test_random_voxels(mask: Array, bound: float, target: int, patch: int, snap: int) -> None:
    mesh = cubes(mask)
    if not len(mesh[1]) or (bound == np.inf and not target):
        return
    after, error = reduce(mesh, bound, target, patch, snap)
    check(mesh, after, error)
    assert volume(after) * volume(mesh) > 0
    if len(mesh[1]) <= 100 and len(topology(mesh[1])) == 1:
        assert volume(after) == pytest.approx(volume(mesh), rel=0.31)


@pytest.mark.parametrize("patch", [0, 32])
def test_thin_sheets_keep_both_sides(patch: int) -> None:
    mesh = cubes(np.ones((20, 18, 1), bool))
    after, error = reduce(mesh, 10.0, patch=patch)
    check(mesh, after, error)
    assert volume(after) == pytest.approx(volume(mesh), rel=0.05)
    assert len(after[1]) < len(mesh[1]) / 4


@pytest.mark.parametrize("patch", [0, 32, 48])
def test_open_edges_stay(patch: int) -> None:
    positions, faces = torus(96, 48)
    kept = faces[(positions[faces][:, :, 0] > -100).all(1) & (positions[faces][:, :, 2] < 90).all(1)]
    used, faces = np.unique(kept, return_inverse=True)
    mesh = (positions[used], faces.reshape(-1, 3).astype(np.uint32))

    def border(mesh: Mesh) -> set[tuple[Any, ...]]:
        edges = {(int(f[k]), int(f[(k + 1) % 3])) for f in mesh[1] for k in range(3)}
        return {(*mesh[0][a].tolist(), *mesh[0][b].tolist()) for a, b in edges if (b, a) not in edges}

    after, error = reduce(mesh, 20.0, patch=patch)
    check(mesh, after, error)
    assert border(after) == border(mesh)
    assert len(after[1]) < len(mesh[1]) / 2


@pytest.mark.parametrize("patch", [0, 32, 48])
def test_targets_are_met(patch: int) -> None:
    mesh = torus()
    for target in (5000, 1500, 460):
        after, _ = reduce(mesh, np.inf, target, patch)
        assert 0.95 * target <= len(after[1]) <= target
        assert topology(after[1]) == [(0, 0)]


def test_single_voxels_stay_solid() -> None:
    octahedron = sphere(8, 0)
    after, error = reduce(octahedron, np.inf, 1)
    check(octahedron, after, error)
    assert volume(after) == pytest.approx(volume(octahedron), rel=0.3)


def test_the_bound_costs_few_faces(connectomics: Path) -> None:
    """Where the distance is too large the surface is mended there alone: thin sheets of glia, of the largest object."""
    labels = np.stack([tifffile.imread(path)[:128] for path in sorted(connectomics.glob("*.tif"))[:128]])
    full, free, bounded = 0, 0, 0
    for block in (labels[:, :, :128], labels[:, :, 128:]):
        surface = precast.extract_surface((block == 25024949).astype(np.uint32))[1]
        positions = np.rint(surface.vertices * 16).astype(np.int32)
        given: dict[str, Any] = {"unit_nm": (2.0, 2.0, 2.5), "max_rms_nm": 20.0, "patch": 32, "snap": (2, 2, 2)}
        faces = surface.faces.astype(np.uint32)
        full += len(faces)
        free += len(kernels.simplify_mesh(positions, faces, max_error_nm=np.inf, **given)[1])
        kept, error = kernels.simplify_mesh(positions, faces, max_error_nm=34.0, **given)[1:]
        assert error <= 34
        bounded += len(kept)
    assert full > 250_000
    assert free < bounded < 1.12 * free


def test_vertices_come_to_lie_on_the_lattice() -> None:
    mesh = torus()
    known = {tuple(p) for p in mesh[0].tolist()}
    after, _ = reduce(mesh, 30.0, patch=32, snap=8)
    moved = [p for p in after[0].tolist() if tuple(p) not in known]
    assert len(moved) > len(after[0]) / 2
    assert not (np.array(moved) % 8).any()


def test_nothing_is_done_without_room() -> None:
    mesh = torus(24, 12)
    for bound, target in ((0.0, 0), (1e-9, 0), (50.0, 10_000)):
        after, error = reduce(mesh, bound, target)
        assert error == 0
        assert np.array_equal(after[0], mesh[0])
        assert np.array_equal(after[1], mesh[1])


def test_unusable_arguments_are_refused() -> None:
    positions, faces = sphere(100, 1)
    good: dict[str, Any] = {"unit_nm": (1, 1, 1), "max_error_nm": 1.0}
    with pytest.raises(UsageError, match="names a vertex"):
        kernels.simplify_mesh(positions, faces + np.uint32(1), **good)
    with pytest.raises(UsageError, match="shape"):
        kernels.simplify_mesh(positions[:, :2].copy(), faces, **good)
    for bad in (
        {"unit_nm": (1, 0, 1)},
        {"max_error_nm": -1.0},
        {"max_error_nm": np.nan},
        {"snap": (3, 1, 1)},
        {"snap": (0, 1, 1)},
        {"target_faces": -1},
        {"patch": -1},
    ):
        with pytest.raises(UsageError):
            kernels.simplify_mesh(positions, faces, **(good | bad))
