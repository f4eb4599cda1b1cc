"""Surfaces of labelled objects in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from precast import kernels
from precast.errors import UsageError
from precast.geometry import ResolutionLike, parse_resolution

__all__ = ["Mesh", "SurfaceMap", "extract_surface"]


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """Triangles over shared vertices.

    Attributes
    ----------
    vertices
        float64, shape (n, 3): x, y, z in nanometres.
    faces
        uint32, shape (m, 3): rows of ``vertices``, counter-clockwise as seen from outside.
    """

    vertices: npt.NDArray[np.float64]
    faces: npt.NDArray[np.uint32]


class SurfaceMap(Mapping[int, Mesh]):
    """The meshes of labels by id, ascending; a mesh is made when it is asked for, and anew each time."""

    def __init__(self, surfaces: kernels.Surfaces, half_voxel_nm: Sequence[float]) -> None:
        self._surfaces = surfaces
        self._step = np.asarray(half_voxel_nm, np.float64)

    def __getitem__(self, label: int) -> Mesh:
        ids = self._surfaces.ids
        at = int(np.searchsorted(ids, np.uint64(label))) if 0 <= label < 2**64 else len(ids)
        if at == len(ids) or int(ids[at]) != label:
            raise KeyError(label)
        positions, faces = self._surfaces.get(at)
        return Mesh(vertices=positions * self._step, faces=faces)

    def __iter__(self) -> Iterator[int]:
        return iter(self._surfaces.ids.tolist())

    def __len__(self) -> int:
        return len(self._surfaces)

    def __repr__(self) -> str:
        return f"<SurfaceMap of {len(self)} labels, {len(self._surfaces.faces)} faces>"


def extract_surface(
    array: npt.NDArray[Any],
    *,
    resolution: ResolutionLike = (1, 1, 1),
    voxel_offset: Sequence[int] = (0, 0, 0),
    ids: Iterable[int] | None = None,
    open_border: bool = False,
) -> SurfaceMap:
    """Return the surface of every label of an array, at full resolution.

    Marching cubes on the mask of each label: surfaces look outward and are manifolds. Where two labels touch, each has
    a surface of its own. Voxels of one label that touch in an edge or a corner only are not connected.

    Parameters
    ----------
    array
        Labels, shape (z, y, x) or (1, z, y, x): bool or integers, none negative; 0 is background.
    resolution
        Edges of a voxel in nanometres, x, y, z, or as :func:`precast.geometry.parse_resolution` reads them.
    voxel_offset
        Absolute coordinates of the first voxel, x, y, z.
    ids
        Labels of interest; all if absent. One that is not in the array is not in the result.
    open_border
        Let surfaces end at the centres of the outermost voxels where an object touches the border of the array; by
        default they close half a voxel outside those centres, at the border.

    Returns
    -------
    SurfaceMap
        A read-only mapping from label to :class:`Mesh`. Voxel i spans ``i * resolution`` to ``(i + 1) * resolution``.

    Raises
    ------
    UsageError
        If the dtype or shape does not fit, a value or id is negative, or a voxel lies at -2**30 or 2**30 - 1 or beyond.

    Examples
    --------
    >>> import numpy, precast
    >>> labels = numpy.zeros((4, 4, 4), numpy.uint16)
    >>> labels[1:3, 1:3, 1:3] = 5
    >>> surfaces = precast.extract_surface(labels, resolution=(8, 8, 40))
    >>> list(surfaces), len(surfaces[5].faces)
    ([5], 44)
    >>> surfaces[5].vertices.min(axis=0).tolist(), surfaces[5].vertices.max(axis=0).tolist()
    ([8.0, 8.0, 40.0], [24.0, 24.0, 120.0])
    """
    edges = parse_resolution(resolution)
    surfaces = kernels.extract_surface(
        _labels(array),
        start=voxel_offset,
        closed=[(not open_border, not open_border)] * 3,
        only=None if ids is None else _ids(ids),
    )
    return SurfaceMap(surfaces, [float(edge) / 2 for edge in edges])


def _labels(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the array as uint32 or uint64 in C order, without a copy where it is that already."""
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        raise UsageError(f"surfaces are extracted from a plain numpy array, got {type(array).__name__}")
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[0] != 1):
        raise UsageError(f"labels must have the shape (z, y, x) or (1, z, y, x), got {array.shape}")
    if array.dtype.kind not in "bui":
        raise UsageError(
            f"labels must be integers or bool, got dtype {array.dtype}",
            hint="for an image, compare with a threshold first: extract_surface(image > 100)",
        )
    if array.dtype.kind == "i" and array.size and array.min() < 0:
        raise UsageError(
            f"labels must not be negative, got {array.min()}",
            hint="if -1 or the like means background, set it to 0 first",
        )
    return np.ascontiguousarray(array, np.uint64 if array.dtype.itemsize == 8 else np.uint32)


def _ids(ids: Iterable[int]) -> npt.NDArray[np.uint64]:
    values = list(ids)
    if not all(isinstance(value, (int, np.integer)) and 0 <= value < 2**64 for value in values):
        raise UsageError("ids must be whole numbers from 0 to 2**64 - 1")
    return np.array(values, np.uint64)
