"""What is true of meshes, computed without precast: distances, volumes, Euler numbers, open edges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import precast
from precast.dataset.volume import Volume

__all__ = [
    "area_and_volume",
    "distance",
    "euler_number",
    "open_edges",
    "point_distances",
    "sphere",
    "tree",
    "write_labels",
]

Array = npt.NDArray[Any]


def write_labels(path: Path, labels: Array, **options: Any) -> Volume:
    """Convert labels to a segmentation in chunks of 32, 8 nm wide, unless options say otherwise."""
    wanted = {"resolution": 8, "chunk_size": 32, "kind": "segmentation", **options}
    precast.convert(labels, path, precast.ConvertOptions(**wanted))
    return precast.open(path)


def tree(path: Path) -> dict[str, bytes]:
    """Return every file below a directory."""
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def sphere(shape: tuple[int, int, int], centre: tuple[float, ...], radius: float) -> Array:
    """Return a mask (z, y, x) of the voxels whose centre lies inside."""
    grid = np.indices(shape) + 0.5 - np.array(centre).reshape(3, 1, 1, 1)
    return np.asarray((grid**2).sum(axis=0) < radius**2)


def area_and_volume(vertices: Array, faces: Array) -> tuple[float, float]:
    """Return the area and, by the divergence theorem, the enclosed volume."""
    a, b, c = (vertices[faces[:, k]] - vertices.mean(axis=0) for k in range(3))
    normals = np.cross(b - a, c - a)
    return float(np.linalg.norm(normals, axis=1).sum() / 2), float((a * normals).sum() / 6)


def _directed(faces: Array) -> Array:
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    return np.asarray(edges[edges[:, 0] != edges[:, 1]])


def open_edges(faces: Array) -> Array:
    """Return the edges, (n, 2), that have not as many faces on one side as on the other."""
    edges = _directed(faces)
    low, high = edges.min(axis=1), edges.max(axis=1)
    undirected, which = np.unique(np.stack([low, high], axis=1), axis=0, return_inverse=True)
    balance = np.zeros(len(undirected), np.int64)
    np.add.at(balance, which.reshape(-1), np.where(edges[:, 0] == low, 1, -1))
    return np.asarray(undirected[balance != 0])


def euler_number(faces: Array) -> int:
    """Return vertices - edges + faces, without faces that have lost their area to rounding."""
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    edges = np.sort(_directed(faces), axis=1)
    return len(np.unique(faces)) - len(np.unique(edges, axis=0)) + len(faces)


def _in_segment(points: Array, a: Array, b: Array) -> Array:
    along = b - a
    length = np.maximum((along * along).sum(axis=-1), 1e-300)
    t = np.clip(((points - a) * along).sum(axis=-1) / length, 0, 1)
    return np.asarray(np.linalg.norm(points - a - t[..., None] * along, axis=-1))


def _to_triangles(points: Array, a: Array, b: Array, c: Array) -> Array:
    """Return the distances of points to triangles, pair by pair."""
    normal = np.cross(b - a, c - a)
    size = np.linalg.norm(normal, axis=-1)
    unit = normal / np.maximum(size, 1e-300)[..., None]
    height = ((points - a) * unit).sum(axis=-1)
    foot = points - height[..., None] * unit
    inside = size > 0
    for p, q in ((a, b), (b, c), (c, a)):
        inside = inside & ((np.cross(q - p, foot - p) * unit).sum(axis=-1) >= 0)
    border = np.minimum(np.minimum(_in_segment(points, a, b), _in_segment(points, b, c)), _in_segment(points, c, a))
    return np.where(inside, np.abs(height), border)


def point_distances(points: Array, vertices: Array, faces: Array) -> Array:
    """Return the distance of each point to the nearest triangle; of all triangles, none is left out by mistake."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    middle = (a + b + c) / 3
    radius = np.sqrt(np.max([((p - middle) ** 2).sum(axis=1) for p in (a, b, c)], axis=0))
    found = np.empty(len(points))
    for start in range(0, len(points), 64):
        some = points[start : start + 64]
        away = np.sqrt(((some[:, None] - middle[None]) ** 2).sum(axis=-1))
        # the nearest middle is a bound from above; whatever cannot be nearer is not looked at
        which, face = np.nonzero(away - radius <= away.min(axis=1, keepdims=True) * (1 + 1e-12))
        best = np.full(len(some), np.inf)
        np.minimum.at(best, which, _to_triangles(some[which], a[face], b[face], c[face]))
        found[start : start + 64] = best
    return found


def _samples(vertices: Array, faces: Array, count: int) -> Array:
    rng = np.random.default_rng(len(faces))
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = rng.choice(len(faces), count, p=area / area.sum())
    u, v = rng.random((2, count, 1))
    flip = u + v > 1
    u, v = np.where(flip, 1 - u, u), np.where(flip, 1 - v, v)
    inside = a[chosen] + u * (b - a)[chosen] + v * (c - a)[chosen]
    corners = vertices[rng.choice(len(vertices), min(count, len(vertices)), replace=False)]
    return np.concatenate([inside, corners])


def distance(one: Any, other: Any, count: int = 150) -> float:
    """Return the largest distance found between two surfaces, both ways: random points on them and vertices."""
    return max(
        float(point_distances(_samples(p.vertices, p.faces, count), q.vertices, q.faces).max())
        for p, q in ((one, other), (other, one))
    )
