"""Meshes as they are stored: manifests, quantised positions, names, and how many shards there are.

A manifest of the multi-resolution format, little-endian, ``L`` levels of detail::

    chunk_shape      3 float32      size of a cell of level 0, in the stored model
    grid_origin      3 float32      origin of the grid of cells
    L                uint32
    lod_scales       L float32      resolution of a level, times the info's lod_scale_multiplier
    vertex_offsets   L x 3 float32  added to the positions of a level
    counts           L uint32       n_l, cells of a level
    per level        n_l uint32 x, n_l uint32 y, n_l uint32 z, n_l uint32 sizes of the fragments in bytes

Cells of a level stand in ascending order of their Morton codes (x in bit 0, y in bit 1, z in bit 2). A cell of level
``l`` is ``chunk_shape * 2**l`` large. The fragments, one Draco stream per cell that is not empty, lie one after the
other in the order of the manifest. Their positions are integers ``q`` from 0 to ``2**bits - 1``, and mean::

    lattice = cell * (2**bits - 1) + q
    stored  = grid_origin + vertex_offsets[l] + chunk_shape * 2**l * lattice / (2**bits - 1)

The *lattice* is common to all fragments of a level, so that their positions can be compared exactly. The older
single-resolution format is in :mod:`precast.precomputed.legacy_meshes`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from precast import kernels
from precast.errors import FormatError, UsageError
from precast.geometry import ceil_div
from precast.precomputed.mesh_info import F64, MeshInfo, Problem, refuse_problems
from precast.precomputed.sharding import MAX_MINISHARD_BITS, MAX_SHARD_RAW_BYTES, ShardingSpec

__all__ = [
    "MeshInfo",
    "MultiresManifest",
    "choose_mesh_sharding",
    "fragment_lattice",
    "fragment_vertices",
    "fragments_name",
    "lattice_to_stored",
    "manifest_name",
    "morton_codes",
    "octants",
    "segment_of_manifest",
]

Array = npt.NDArray[Any]
I64 = npt.NDArray[np.int64]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]

CELL_BITS = 21
MANIFESTS_PER_MINISHARD_BITS = 9
HEADER = struct.Struct("<6fI")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class MultiresManifest:
    """The manifest of one object. Arrays are copied, checked for their shape and made read-only.

    Attributes
    ----------
    chunk_shape, grid_origin
        float32, shape (3,), x, y, z, in the stored model.
    lod_scales
        float32, shape (L,), before the info's ``lod_scale_multiplier``.
    vertex_offsets
        float32, shape (L, 3).
    cells
        Per level uint32, shape (n, 3), x, y, z, in Morton order.
    sizes
        Per level uint32, shape (n,): bytes of the fragment of each cell; 0 for an empty cell.
    """

    chunk_shape: Array
    grid_origin: Array
    lod_scales: Array
    vertex_offsets: Array
    cells: tuple[U32, ...]
    sizes: tuple[U32, ...]

    if TYPE_CHECKING:  # what may be given is wider than what is kept

        def __init__(
            self,
            *,
            chunk_shape: npt.ArrayLike,
            grid_origin: npt.ArrayLike,
            lod_scales: npt.ArrayLike,
            vertex_offsets: npt.ArrayLike,
            cells: Sequence[npt.ArrayLike],
            sizes: Sequence[npt.ArrayLike],
        ) -> None: ...

    def __post_init__(self) -> None:
        levels = len(self.cells)
        if levels < 1:
            raise UsageError("a manifest has at least one level of detail")
        if len(self.sizes) != levels:
            raise UsageError(f"cells are given for {levels} levels, but sizes for {len(self.sizes)}")
        for name, shape in (
            ("chunk_shape", (3,)),
            ("grid_origin", (3,)),
            ("lod_scales", (levels,)),
            ("vertex_offsets", (levels, 3)),
        ):
            object.__setattr__(self, name, _frozen(getattr(self, name), np.dtype(np.float32), shape, name))
        cells = tuple(_unsigned(cells, (-1, 3), f"cells[{i}]") for i, cells in enumerate(self.cells))
        sizes = tuple(_unsigned(sizes, (len(cells[i]),), f"sizes[{i}]") for i, sizes in enumerate(self.sizes))
        object.__setattr__(self, "cells", cells)
        object.__setattr__(self, "sizes", sizes)

    @property
    def lods(self) -> int:
        """Number of levels of detail, the finest is 0."""
        return len(self.cells)

    @property
    def total_bytes(self) -> int:
        """Bytes of all fragments together."""
        return sum(int(sizes.sum(dtype=np.uint64)) for sizes in self.sizes)

    def ranges(self, lod: int) -> U64:
        """Return ``(start, stop)`` of every fragment of a level, shape (n, 2), from the first byte of all fragments."""
        before = sum(int(sizes.sum(dtype=np.uint64)) for sizes in self.sizes[:lod])
        stops = np.cumsum(self.sizes[lod], dtype=np.uint64) + np.uint64(before)
        return np.stack([stops - self.sizes[lod], stops], axis=1)

    def problems(self) -> list[Problem]:
        """Return every rule that the values break: ``chunk_shape``, ``grid``, ``lod_scales``, ``order``."""
        found = []
        if not (np.isfinite(self.chunk_shape).all() and (self.chunk_shape > 0).all()):
            found.append(Problem("chunk_shape", f"chunk_shape must be above 0, got {self.chunk_shape.tolist()}"))
        if not (np.isfinite(self.grid_origin).all() and np.isfinite(self.vertex_offsets).all()):
            found.append(Problem("grid", "grid_origin and vertex_offsets must be finite numbers"))
        scales = self.lod_scales
        if not (np.isfinite(scales).all() and (scales > 0).all() and (np.diff(scales) >= 0).all()):
            text = f"lod_scales must be above 0 and must not decrease, got {scales.tolist()!r:.120}"
            found.append(Problem("lod_scales", text))
        for lod, cells in enumerate(self.cells):
            try:
                codes = morton_codes(cells)
            except FormatError as error:
                found.append(Problem("order", f"level {lod}: {error.message}"))
                continue
            wrong = np.flatnonzero(codes[1:] <= codes[:-1])
            if len(wrong):
                a, b = cells[wrong[0]].tolist(), cells[wrong[0] + 1].tolist()
                what = "stands twice" if a == b else f"stands after {a}, against the Z-curve"
                found.append(Problem("order", f"level {lod}: the cell {b} {what} ({len(wrong)} such places)"))
        return found

    def to_bytes(self) -> bytes:
        """Return the stored bytes.

        Raises
        ------
        FormatError
            If the values break a rule.
        """
        refuse_problems(self.problems(), "a manifest breaks the rules of the format")
        parts = [HEADER.pack(*self.chunk_shape.tolist(), *self.grid_origin.tolist(), self.lods)]
        parts += [self.lod_scales.astype("<f4").tobytes(), self.vertex_offsets.astype("<f4").tobytes()]
        parts.append(np.array([len(cells) for cells in self.cells], "<u4").tobytes())
        for cells, sizes in zip(self.cells, self.sizes, strict=True):
            parts += [cells.T.astype("<u4").tobytes(), sizes.astype("<u4").tobytes()]
        return b"".join(parts)

    @classmethod
    def parse(cls, data: bytes, where: str = "manifest") -> MultiresManifest:
        """Read the stored bytes and check them.

        Raises
        ------
        FormatError
            If the length is not that of a manifest, or the values break a rule; lists every problem.
        """
        manifest = cls.decode(data, where)
        refuse_problems(manifest.problems(), f"{where} breaks the rules of the format", where)
        return manifest

    @classmethod
    def decode(cls, data: bytes, where: str = "manifest") -> MultiresManifest:
        """Read the stored bytes without a look at the values: :meth:`problems` tells what is wrong with them.

        Raises
        ------
        FormatError
            If the length is not that of a manifest.
        """

        def refuse(text: str) -> FormatError:
            return FormatError(f"{where}: {text}", where=where)

        if len(data) < HEADER.size:
            raise refuse(f"a manifest has at least {HEADER.size} bytes, got {len(data)}")
        *numbers, lods = HEADER.unpack_from(data)
        if lods < 1:
            raise refuse("a manifest has at least one level of detail, got 0")
        if len(data) < HEADER.size + 20 * lods:
            raise refuse(f"a manifest of {lods} levels has at least {HEADER.size + 20 * lods} bytes, got {len(data)}")
        floats = np.frombuffer(data, "<f4", 4 * lods, HEADER.size)
        counts = np.frombuffer(data, "<u4", lods, HEADER.size + 16 * lods).tolist()
        expected = HEADER.size + 20 * lods + 16 * sum(counts)
        if len(data) != expected:
            raise refuse(f"a manifest of {lods} levels and {sum(counts)} cells has {expected} bytes, got {len(data)}")
        words = np.frombuffer(data, "<u4", 4 * sum(counts), HEADER.size + 20 * lods)
        cells, sizes = [], []
        for count in counts:
            block, words = words[: 4 * count].reshape(4, count), words[4 * count :]
            cells.append(block[:3].T)
            sizes.append(block[3])
        return cls(
            chunk_shape=np.array(numbers[:3]),
            grid_origin=np.array(numbers[3:]),
            lod_scales=floats[:lods],
            vertex_offsets=floats[lods:].reshape(lods, 3),
            cells=tuple(cells),
            sizes=tuple(sizes),
        )


def _frozen(values: npt.ArrayLike, dtype: np.dtype[Any], shape: tuple[int, ...], name: str) -> Array:
    array = np.array(values, dtype)  # a copy
    if not (array.shape == shape or (shape[0] == -1 and array.ndim == len(shape) and array.shape[1:] == shape[1:])):
        raise UsageError(f"{name} of a manifest must have the shape {shape}, got {array.shape}")
    array.setflags(write=False)
    return array


def _unsigned(values: npt.ArrayLike, shape: tuple[int, ...], name: str) -> U32:
    array = np.asarray(values)
    if array.size == 0:
        array = array.reshape(-1, *shape[1:]).astype(np.uint32)
    if array.dtype.kind not in "ui" or (array.size and (int(array.min()) < 0 or int(array.max()) >= 2**32)):
        raise UsageError(f"{name} of a manifest must be integers from 0 to 2**32 - 1")
    return _frozen(array, np.dtype(np.uint32), shape, name)


def morton_codes(cells: npt.ArrayLike) -> U64:
    """Return the Morton codes of cells, shape (n, 3): bit i of x, y, z is bit 3i, 3i + 1, 3i + 2 of the code.

    This is the compressed code of a grid whose axes are all as long as 63 bits allow.

    Raises
    ------
    FormatError
        If an index needs more than 21 bits.

    Examples
    --------
    >>> morton_codes([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [3, 0, 0]]).tolist()
    [0, 1, 2, 4, 9]
    """
    array = np.asarray(cells)
    if array.size == 0:
        return np.zeros(0, np.uint64)
    if int(array.max()) >> CELL_BITS:
        raise FormatError(f"cells have indices below 2**{CELL_BITS}, got {int(array.max())}")
    return kernels.morton_codes(array, (1 << CELL_BITS,) * 3)


# ---- positions


def fragment_lattice(q: npt.ArrayLike, cell: npt.ArrayLike, bits: int) -> I64:
    """Return the positions of a fragment on the lattice of its level.

    Parameters
    ----------
    q
        Integers, shape (n, 3): positions as the Draco stream holds them.
    cell
        The cell, x, y, z.
    bits
        ``vertex_quantization_bits``.
    """
    return np.asarray(q, np.int64) + np.asarray(cell, np.int64) * ((1 << bits) - 1)


def lattice_to_stored(lattice: npt.ArrayLike, manifest: MultiresManifest, lod: int, bits: int) -> F64:
    """Return positions in the stored model, float64, of positions on the lattice of a level."""
    step = manifest.chunk_shape.astype(np.float64) * 2.0**lod / ((1 << bits) - 1)
    origin = manifest.grid_origin.astype(np.float64) + manifest.vertex_offsets[lod].astype(np.float64)
    return np.asarray(origin + step * np.asarray(lattice, np.float64), np.float64)


def fragment_vertices(
    q: npt.ArrayLike, cell: npt.ArrayLike, manifest: MultiresManifest, lod: int, info: MeshInfo
) -> F64:
    """Return the positions of a fragment in nanometres, float64, shape (n, 3)."""
    bits = info.vertex_quantization_bits
    return info.to_nm(lattice_to_stored(fragment_lattice(q, cell, bits), manifest, lod, bits))


def octants(q: npt.ArrayLike, faces: npt.ArrayLike, bits: int) -> I64:
    """Return the octant of its cell that each triangle lies in, as the viewer's partition takes it.

    Parameters
    ----------
    q
        Integers, shape (n, 3), positions of a fragment.
    faces
        Integers, shape (m, 3).
    bits
        ``vertex_quantization_bits``. The planes between octants are at exactly ``2**(bits - 1)``.

    Returns
    -------
    ndarray of int64, shape (m,)
        Bit 0, 1, 2 is set if the triangle lies on the high side along x, y, z; the lowest octant that fits, for
        triangles in a plane. -1 if the triangle crosses a plane.
    """
    middle = 1 << (bits - 1)
    corners: Array = np.asarray(q, np.int64)[np.asarray(faces, np.int64)]
    low = (corners <= middle).all(axis=1)
    high = (corners >= middle).all(axis=1)
    side = (~low).astype(np.int64) @ np.array([1, 2, 4], np.int64)
    fits = np.logical_and.reduce(low | high, axis=1)
    return np.where(fits, side, -1)


# ---- names and places


def manifest_name(segment: int) -> str:
    """Return the file name of an unsharded manifest."""
    return f"{segment}.index"


def fragments_name(segment: int) -> str:
    """Return the file name of the fragments of an unsharded object."""
    return f"{segment}"


def segment_of_manifest(name: str) -> int | None:
    """Return the object whose manifest has this file name, or None if it is another file."""
    match = re.fullmatch(r"(0|[1-9][0-9]*)\.index", name)
    return int(match.group(1)) if match and int(match.group(1)) < 2**64 else None


def choose_mesh_sharding(count: int, total_bytes: int) -> ShardingSpec:
    """Choose how many shards hold the meshes: a pure function of the number of objects and their bytes.

    At most 2 GiB in a shard: one shard if everything fits in it, else 1 GiB on average, because a hash deals unevenly.
    About 512 objects in a minishard, at most 4096 minishards. Data are raw, because fragments are read by ranges and
    stand in front of what the index describes: tools that undo an encoding of the data take both for one value.

    Parameters
    ----------
    count
        Number of objects.
    total_bytes
        Bytes of all manifests and fragments.
    """
    shard = 0 if total_bytes <= MAX_SHARD_RAW_BYTES else ((2 * total_bytes - 1) // MAX_SHARD_RAW_BYTES).bit_length()
    per_shard = ceil_div(max(1, count), 1 << shard)
    minishard = ((per_shard - 1) >> MANIFESTS_PER_MINISHARD_BITS).bit_length()
    if minishard > MAX_MINISHARD_BITS:  # more shards, not longer lists
        shard, minishard = shard + minishard - MAX_MINISHARD_BITS, MAX_MINISHARD_BITS
    return ShardingSpec(
        preshift_bits=0,
        minishard_bits=minishard,
        shard_bits=shard,
        hash="murmurhash3_x86_128",
        data_encoding="raw",
    )
