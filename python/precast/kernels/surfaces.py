"""Surfaces of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from precast import _native
from precast.geometry import Vec3
from precast.kernels.common import U64, Array, kernel_errors, unsigned

__all__ = ["Surfaces", "extract_surface"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surfaces:
    """The surfaces of n labels, one behind the other.

    Attributes
    ----------
    ids
        uint64, shape (n,): the labels that have triangles, ascending.
    vertex_offsets, face_offsets
        uint64, shape (n + 1,): object ``i`` has the rows from ``offsets[i]`` to ``offsets[i + 1]``.
    positions
        int32, shape (v, 3): x, y, z in half voxels.
    faces
        uint32, shape (f, 3): rows of the object's own positions, counter-clockwise as seen from outside.
    """

    ids: U64
    vertex_offsets: U64
    face_offsets: U64
    positions: npt.NDArray[np.int32]
    faces: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.ids)

    def get(self, index: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint32]]:
        """Return views of the positions and faces of the object ``ids[index]``."""
        (v0, v1), (f0, f1) = (o[index : index + 2].tolist() for o in (self.vertex_offsets, self.face_offsets))
        return self.positions[v0:v1], self.faces[f0:f1]


def extract_surface(
    labels: Array,
    *,
    start: Sequence[int] = (0, 0, 0),
    closed: Sequence[tuple[bool, bool]] = ((True, True),) * 3,
    only: npt.ArrayLike | None = None,
    excluded: npt.ArrayLike | None = None,
) -> Surfaces:
    """Extract the surfaces of all labels of a block, each by marching cubes on its own mask.

    Every surface looks outward, is a manifold and, but for open sides, closed. Voxels of one label that touch in an
    edge or a corner only are not connected. The order of vertices and faces depends on the arguments alone.

    Parameters
    ----------
    labels
        Shape (1, z, y, x) or (z, y, x), uint32 or uint64; 0 is background.
    start
        Absolute coordinates of the first voxel, x, y, z; voxels must lie from -2**30 to below 2**30 - 1.
    closed
        For x, y, z: whether background lies beyond the low and beyond the high side. There, surfaces close half a
        voxel outside the last voxel centre. At other sides they end in the plane through the outermost voxel centres:
        blocks that share one layer of voxels fit together, and each triangle belongs to one of them.
    only, excluded
        Labels that alone get a surface, or that get none; not both.

    Returns
    -------
    Surfaces
        Positions are absolute, in half voxels: voxel i spans 2 i to 2 i + 2, and a vertex between it and the next lies
        at 2 i + 2. The work needs about half a byte per voxel and a quarter of the result; a thread keeps up to 64 MB
        for its next call.

    Raises
    ------
    UsageError
        If a dtype, shape or position does not fit, or both ``only`` and ``excluded`` are given.

    Examples
    --------
    >>> surfaces = extract_surface(np.full((1, 1, 1), 7, np.uint32))
    >>> surfaces.ids.tolist(), surfaces.positions.max(axis=0).tolist(), len(surfaces.faces)
    ([7], [2, 2, 2], 8)
    """
    what = "extracting surfaces"
    sides = [(bool(low), bool(high)) for low, high in closed]
    chosen = [None if ids is None else np.unique(unsigned(ids, "ids").reshape(-1)) for ids in (only, excluded)]
    with kernel_errors(what):
        ids, vertex_offsets, face_offsets, positions, faces = _native.extract_surface(
            labels, Vec3.of(start), sides, *chosen
        )
    return Surfaces(ids=ids, vertex_offsets=vertex_offsets, face_offsets=face_offsets, positions=positions, faces=faces)
