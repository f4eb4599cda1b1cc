"""Mesh datasets written by hand: nothing here uses precast, so that what it reads and checks has a truth of its own.

A solid is a set of boxes on a lattice of integers. Its surface is cut along every plane where the format wants a cut,
so each triangle lies in one cell, and above level 0 in one octant. The lattice of level 0 has steps of
``1 / STEPS`` voxel; that of level l has steps twice as long each time.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import DracoPy
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Solid = Sequence[tuple[Sequence[int], Sequence[int]]]
"""Boxes, each (lowest, highest corner), in voxels."""

BITS = 10
SPAN = (1 << BITS) - 1
STEPS = 64
RESOLUTION = (4, 4, 40)
SIZE = (64, 60, 50)
OFFSET = (10, 20, 5)
SHARDING = {
    "@type": "neuroglancer_uint64_sharded_v1",
    "preshift_bits": 0,
    "hash": "identity",
    "minishard_bits": 1,
    "shard_bits": 1,
    "minishard_index_encoding": "raw",
    "data_encoding": "raw",
}
BOX: Solid = [((14, 26, 7), (50, 40, 30))]
ELL: Solid = [((20, 30, 10), (60, 50, 20)), ((20, 30, 10), (30, 50, 45))]


@dataclass
class Cell:
    """One cell of a level; without faces it is empty."""

    index: tuple[int, int, int]
    q: Array
    faces: Array
    stream: bytes = b""

    def encode(self) -> None:
        """Make the stream: integers, lossless."""
        self.stream = (
            bytes(DracoPy.encode(self.q.astype(np.uint32), self.faces.astype(np.uint32))) if len(self.faces) else b""
        )


@dataclass
class Object:
    """One object of the multi-resolution format."""

    levels: list[list[Cell]]
    grid_origin: tuple[float, float, float] = (float(OFFSET[0]), float(OFFSET[1]), float(OFFSET[2]))
    chunk_shape: tuple[float, float, float] = (SPAN / STEPS,) * 3
    lod_scales: list[float] = field(default_factory=lambda: [1.0, 2.0])

    def manifest(self) -> bytes:
        """Return the bytes as the format's description has them."""
        count = len(self.levels)
        data = struct.pack("<6fI", *self.chunk_shape, *self.grid_origin, count)
        data += struct.pack(f"<{count}f", *self.lod_scales) + bytes(12 * count)
        data += struct.pack(f"<{count}I", *(len(level) for level in self.levels))
        for level in self.levels:
            for axis in range(3):
                data += struct.pack(f"<{len(level)}I", *(cell.index[axis] for cell in level))
            data += struct.pack(f"<{len(level)}I", *(len(cell.stream) for cell in level))
        return data

    def fragments(self) -> bytes:
        """Return all streams, one after the other."""
        return b"".join(cell.stream for level in self.levels for cell in level)

    def cell(self, lod: int, *, empty: bool = False) -> Cell:
        """Return the first cell of a level that is not empty, or is."""
        return next(cell for cell in self.levels[lod] if empty != bool(len(cell.faces)))


def morton(index: Sequence[int]) -> int:
    """Interleave the bits of x, y, z, from the lowest."""
    return sum((index[axis] >> bit & 1) << (3 * bit + axis) for bit in range(21) for axis in range(3))


def surface(solid: Solid, lod: int) -> tuple[Array, Array]:
    """Return the quads of a solid's surface on the lattice of a level, shape (m, 4, 3), outward.

    They are cut at the planes between cells and, above level 0, between octants.
    """
    unit = STEPS >> lod
    ends = [(np.array(low) - OFFSET, np.array(high) - OFFSET) for low, high in solid]
    ticks = []
    for axis in range(3):
        values = {int(end[axis]) * unit for pair in ends for end in pair}
        top = max(values)
        planes = {k * SPAN for k in range(top // SPAN + 1)}
        if lod:
            planes |= {plane + (1 << (BITS - 1)) for plane in planes}
        ticks.append(np.array(sorted(values | {p for p in planes if min(values) < p < top})))
    middle = np.stack(np.meshgrid(*[(t[1:] + t[:-1]) / 2 for t in ticks], indexing="ij"), -1)
    inside = np.zeros(middle.shape[:3], bool)
    for low, high in ends:
        inside |= ((middle > low * unit) & (middle < high * unit)).all(-1)
    padded = np.pad(inside, 1)
    quads, sides = [], []
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        for sign in (-1, 1):
            outside = ~np.roll(padded, -sign, axis)[1:-1, 1:-1, 1:-1]
            for place in np.argwhere(inside & outside):
                corner = np.zeros((4, 3), int)
                corner[:, axis] = ticks[axis][place[axis] + (sign > 0)]
                corner[:, u] = ticks[u][place[u] + np.array([0, 1, 1, 0])]
                corner[:, v] = ticks[v][place[v] + np.array([0, 0, 1, 1])]
                quads.append(corner if sign > 0 else corner[::-1])
                sides.append([t[p] for t, p in zip(ticks, place, strict=True)])
    return np.array(quads), np.array(sides)


def mesh_of(quads: Array) -> tuple[Array, Array]:
    """Return positions and triangles of quads, equal corners joined."""
    points, inverse = np.unique(quads.reshape(-1, 3), axis=0, return_inverse=True)
    corners = inverse.reshape(-1, 4)
    return points, np.concatenate([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]])


def make_object(solid: Solid, lods: int = 2) -> Object:
    """Cut a solid into cells and close the lists of cells in both directions."""
    found: list[dict[tuple[int, int, int], Cell]] = []
    for lod in range(lods):
        quads, sides = surface(solid, lod)
        cells = {}
        homes = sides // SPAN  # the cell of the solid's matter behind the quad
        for home in np.unique(homes, axis=0):
            points, faces = mesh_of(quads[(homes == home).all(1)] - home * SPAN)
            index = (int(home[0]), int(home[1]), int(home[2]))
            cells[index] = Cell(index, points, faces)
            cells[index].encode()
        found.append(cells)
    none = np.zeros((0, 3), int)
    for lod in range(lods - 1, 0, -1):  # octants with triangles need their child
        for index, cell in found[lod].items():
            for face in cell.faces:
                low = (cell.q[face] <= 1 << (BITS - 1)).all(0)
                child = (2 * index[0] + (not low[0]), 2 * index[1] + (not low[1]), 2 * index[2] + (not low[2]))
                found[lod - 1].setdefault(child, Cell(child, none, none))
    for lod in range(1, lods):  # cells need their parent
        for x, y, z in list(found[lod - 1]):
            found[lod].setdefault((x >> 1, y >> 1, z >> 1), Cell((x >> 1, y >> 1, z >> 1), none, none))
    levels = [sorted(cells.values(), key=lambda cell: morton(cell.index)) for cells in found]
    return Object(levels, lod_scales=[float(1 << lod) for lod in range(lods)])


def mesh_info(*, sharded: bool) -> dict[str, Any]:
    """Return the mesh ``info``."""
    x, y, z = RESOLUTION
    info: dict[str, Any] = {
        "@type": "neuroglancer_multilod_draco",
        "vertex_quantization_bits": BITS,
        "transform": [x, 0, 0, 0, 0, y, 0, 0, 0, 0, z, 0],
        "lod_scale_multiplier": 1,
    }
    return info | ({"sharding": SHARDING} if sharded else {})


def volume_info() -> dict[str, Any]:
    """Return the volume ``info``."""
    scale = {
        "key": "4_4_40",
        "size": SIZE,
        "voxel_offset": OFFSET,
        "chunk_sizes": [[64, 64, 64]],
        "resolution": RESOLUTION,
        "encoding": "raw",
    }
    return {
        "@type": "neuroglancer_multiscale_volume",
        "type": "segmentation",
        "data_type": "uint32",
        "num_channels": 1,
        "scales": [scale],
        "mesh": "mesh",
    }


def shard_files(values: dict[int, tuple[bytes, bytes]]) -> dict[str, bytes]:
    """Lay out (fragments, manifest) of each key for ``SHARDING``: all values of a shard, then its two indices."""
    files = {}
    for shard in (0, 1):
        keys = [[key for key in sorted(values) if key & 1 == mini and key >> 1 & 1 == shard] for mini in (0, 1)]
        if not any(keys):
            continue
        body, indices, entries = b"", [], b""
        for mini in (0, 1):
            end, last, rows = 0, 0, ([], [], [])  # type: ignore[var-annotated]
            for key in keys[mini]:
                fragments, manifest = values[key]
                start = len(body) + len(fragments)
                body += fragments + manifest
                for row, number in zip(rows, (key - last, start - end, len(manifest)), strict=True):
                    row.append(number)
                end, last = len(body), key
            indices.append(b"".join(struct.pack(f"<{len(row)}Q", *row) for row in rows))
        for index in indices:
            entries += struct.pack("<2Q", len(body), len(body) + len(index))
            body += index
        files[f"{shard:x}.shard"] = entries + body
    return files


def write_dataset(
    path: Path, objects: dict[int, Object], *, sharded: bool = True, info: dict[str, Any] | None = None
) -> Path:
    """Write a volume (its info alone) with meshes."""
    (path / "mesh").mkdir(parents=True)
    (path / "info").write_text(json.dumps(volume_info()))
    (path / "mesh" / "info").write_text(json.dumps(mesh_info(sharded=sharded) if info is None else info))
    stored = {key: (item.fragments(), item.manifest()) for key, item in objects.items()}
    if sharded:
        for name, data in shard_files(stored).items():
            (path / "mesh" / name).write_bytes(data)
    else:
        for key, (fragments, manifest) in stored.items():
            (path / "mesh" / f"{key}").write_bytes(fragments)
            (path / "mesh" / f"{key}.index").write_bytes(manifest)
    return path


def write_legacy(path: Path, solids: dict[int, Solid]) -> Path:
    """Write the same volume with meshes of the single-resolution format, two fragments an object."""
    (path / "mesh").mkdir(parents=True)
    (path / "info").write_text(json.dumps(volume_info()))
    (path / "mesh" / "info").write_text(json.dumps({"@type": "neuroglancer_legacy_mesh"}))
    for key, solid in solids.items():
        quads, _ = surface(solid, 0)
        names = []
        for part in (0, 1):
            points, faces = mesh_of(quads[part::2])
            nm = (points / STEPS + OFFSET) * RESOLUTION
            names.append(f"{key}_{part}")
            data = struct.pack("<I", len(nm)) + nm.astype("<f4").tobytes() + faces.astype("<u4").tobytes()
            (path / "mesh" / names[-1]).write_bytes(data)
        (path / "mesh" / f"{key}:0").write_text(json.dumps({"fragments": names}))
    return path


def volume6(vertices: Array, faces: Array) -> float:
    """Six times the enclosed volume."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)))


def open_edges(faces: Array) -> int:
    """Count directed edges that do not have as many opposites."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    balance: dict[tuple[int, int], int] = {}
    for a, b in edges.tolist():
        balance[min(a, b), max(a, b)] = balance.get((min(a, b), max(a, b)), 0) + (1 if a < b else -1)
    return sum(abs(count) for count in balance.values())
