"""Pieces of objects: simplified, joined, cut, measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from precast import _native
from precast.errors import UsageError
from precast.geometry import Vec3
from precast.kernels.common import U64, Array, kernel_errors

__all__ = [
    "Cells",
    "Fragments",
    "Mesh",
    "Pieces",
    "Simplification",
    "Welded",
    "cut_mesh",
    "measure_mesh",
    "mesh_block",
    "simplify_mesh",
    "weld_meshes",
]

Mesh = tuple[npt.NDArray[np.int32], npt.NDArray[np.uint32]]
"""Positions, int32, (n, 3), on an integer lattice; faces, uint32, (m, 3), counter-clockwise as seen from outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simplification:
    """How the surfaces of a block are simplified.

    Attributes
    ----------
    unit_nm
        Length of a lattice unit along x, y, z.
    max_error_nm
        Hard bound of the distance between the simplified and the full surface.
    max_rms_nm
        Where to stop: root mean square distance of what a vertex stands for to the planes of its faces.
    patch
        Edge, in lattice units, of the patches that are merged first; 0 for none.
    snap
        Vertices that are moved come to lie on multiples of this many units, x, y, z.
    """

    unit_nm: tuple[float, float, float]
    max_error_nm: float
    max_rms_nm: float
    patch: int
    snap: Vec3


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """The simplified surfaces of the labels of a block, one behind the other.

    Attributes
    ----------
    ids
        uint64, shape (n,): ascending.
    vertex_offsets, face_offsets
        uint64, shape (n + 1,): piece ``i`` has the rows from ``offsets[i]`` to ``offsets[i + 1]``.
    positions
        int32, shape (v, 3): x, y, z in lattice units.
    faces
        uint32, shape (f, 3): rows of the piece's own positions.
    errors_nm
        float64, shape (n,): distance to the full surface.
    full_faces
        uint64, shape (n,): faces of the full surface.
    failures
        Labels that have no piece because something went wrong, and what.
    """

    ids: U64
    vertex_offsets: U64
    face_offsets: U64
    positions: npt.NDArray[np.int32]
    faces: npt.NDArray[np.uint32]
    errors_nm: npt.NDArray[np.float64]
    full_faces: U64
    failures: tuple[tuple[int, str], ...]


def mesh_block(  # noqa: PLR0913  # all by name
    labels: Array,
    *,
    start: Sequence[int],
    closed: Sequence[tuple[bool, bool]],
    units_per_voxel: int,
    simplification: Simplification,
    only: U64 | None = None,
    keep: U64 | None = None,
) -> Pieces:
    """Extract and simplify the surfaces of all labels of a block.

    Vertices on the open borders of the block stay where they are, so that blocks keep fitting together.

    Parameters
    ----------
    labels, start, closed
        As for :func:`extract_surface`.
    units_per_voxel
        Lattice units along a voxel, even.
    simplification
        Bound, patches and lattice.
    only
        Labels that alone get a surface, ascending; None for all.
    keep
        Labels, ascending, whose pieces are not simplified if they are open: small objects, of whose shape a piece says
        nothing.

    Raises
    ------
    UsageError
        If the block cannot be meshed at all; what fails for one label is in ``failures``.
    """
    if units_per_voxel < 2 or units_per_voxel % 2:
        raise UsageError(f"units_per_voxel must be even and at least 2, got {units_per_voxel}")
    sides = [(bool(low), bool(high)) for low, high in closed]
    with kernel_errors("meshing a block"):
        ids, vertex_offsets, face_offsets, positions, faces, errors, full, failures = _native.mesh_block(
            labels,
            Vec3.of(start),
            (sides[0], sides[1], sides[2]),
            only,
            np.zeros(0, np.uint64) if keep is None else keep,
            units_per_voxel // 2,
            simplification.unit_nm,
            simplification.max_error_nm,
            simplification.max_rms_nm,
            simplification.patch,
            simplification.snap,
        )
    return Pieces(
        ids=ids,
        vertex_offsets=vertex_offsets,
        face_offsets=face_offsets,
        positions=positions,
        faces=faces,
        errors_nm=errors,
        full_faces=full,
        failures=tuple(failures),
    )


@dataclass(frozen=True, slots=True)
class Welded:
    """Pieces of an object put together.

    Attributes
    ----------
    positions, faces
        The mesh.
    filled
        Number of cavities that were filled.
    seams
        Vertices that several pieces share, ascending.
    """

    positions: npt.NDArray[np.int32]
    faces: npt.NDArray[np.uint32]
    filled: int
    seams: npt.NDArray[np.uint32]


def weld_meshes(pieces: Sequence[Mesh], *, fill_cavities: bool = False) -> Welded:
    """Join pieces of one object at the vertices on their open edges that have equal positions.

    Parameters
    ----------
    pieces
        On one lattice.
    fill_cavities
        Remove closed components with a negative volume: the walls of cavities.

    Raises
    ------
    UsageError
        If arrays have wrong shapes or a face points outside its positions.
    """
    with kernel_errors("joining pieces of a mesh"):
        return Welded(*_native.weld_meshes(list(pieces), fill_cavities))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """The cells that a level is cut into.

    Attributes
    ----------
    width
        Steps along a cell: ``2**bits - 1``.
    middle
        Where octants of a cell meet, in steps: ``2**(bits - 1)``; None on the finest level, which has none.
    count
        Cells along x, y, z.
    snap
        Vertices nearer to a plane than this many steps are moved onto it before it is cut.
    round
        New vertices lie on multiples of this many steps.
    """

    width: int
    middle: int | None
    count: Vec3
    snap: int
    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragments:
    """The fragments of a level, in Morton order of their cells; offsets as in :class:`Pieces`.

    ``octants`` has bit ``x + 2 y + 4 z`` set where a cell has faces in that octant; 0 on the finest level.
    """

    cells: npt.NDArray[np.uint32]
    octants: npt.NDArray[np.uint8]
    vertex_offsets: U64
    face_offsets: U64
    positions: npt.NDArray[np.int32]
    faces: npt.NDArray[np.uint32]


def cut_mesh(mesh: Mesh, cells: Cells) -> Fragments:
    """Cut a mesh at the planes between cells, and between their octants.

    Parts meet exactly: a closed mesh stays closed when equal positions of its fragments are joined.

    Parameters
    ----------
    mesh
        Positions in steps from the origin of the grid.
    cells
        See :class:`Cells`.

    Raises
    ------
    UsageError
        If a vertex lies outside the cells.
    """
    with kernel_errors("cutting a mesh"):
        cut, octants, vertex_offsets, face_offsets, positions, faces = _native.cut_mesh(
            *mesh, cells.width, cells.middle, cells.count, cells.snap, cells.round
        )
    return Fragments(
        cells=cut,
        octants=octants,
        vertex_offsets=vertex_offsets,
        face_offsets=face_offsets,
        positions=positions,
        faces=faces,
    )


def measure_mesh(mesh: Mesh, unit: tuple[float, float, float]) -> tuple[float, float, int]:
    """Return the area, the enclosed volume in cubic lattice units, and the number of vertices on open edges.

    ``unit`` is the length of a lattice unit along x, y, z; the area is in its square.
    """
    with kernel_errors("measuring a mesh"):
        return _native.measure_mesh(*mesh, unit)


def simplify_mesh(  # noqa: PLR0913  # all by name
    positions: npt.NDArray[np.int32],
    faces: npt.NDArray[np.uint32],
    *,
    unit_nm: Sequence[float],
    max_error_nm: float,
    max_rms_nm: float = float("inf"),
    target_faces: int = 0,
    patch: int = 0,
    snap: Sequence[int] = (1, 1, 1),
    near: npt.NDArray[np.uint32] | None = None,
    edges: int = 4,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint32], float]:
    """Describe a surface by fewer triangles, within a checked distance.

    Components, handles and orientation stay as they are, and so do open edges with their vertices. Where the input is
    not a surface, as at an edge with three faces, nothing changes.

    Parameters
    ----------
    positions
        Vertices on an integer lattice, x, y, z, shape (n, 3).
    faces
        Three vertices each, counter-clockwise seen from outside, shape (m, 3).
    unit_nm
        Length of a unit of the lattice along x, y, z.
    max_error_nm
        Greatest distance between the surfaces, both ways; ``inf`` for none.
    max_rms_nm
        Where to stop, within that bound: root mean square distance of the part of the input that a vertex stands for to
        the planes of its faces.
    target_faces
        Stop at so many faces even if the distance allows fewer; 0: as far as it allows.
    patch
        Edge, in units, of blocks within which vertices are merged first: faster, with a little less accuracy. 0: none.
        Two or three voxels are good.
    snap
        Vertices that move come to lie on multiples of this many units; powers of two.
    near, edges
        Only these vertices, and those at most so many edges from them, change, and no patches are merged; None: all.

    Returns
    -------
    positions, faces
        The reduced surface, without vertices that no face uses.
    error_nm
        At most ``max_error_nm``. Every vertex of the input, and every vertex, edge midpoint and centre of a face of the
        output, is at most this far from the other surface.

    Raises
    ------
    UsageError
        If a face names a vertex that is not there, or an argument cannot be used.

    Examples
    --------
    >>> ring = [(8, 0, 0), (8, 8, 0), (0, 8, 0), (-8, 8, 0), (-8, 0, 0), (-8, -8, 0), (0, -8, 0), (8, -8, 0)]
    >>> positions = np.array([*ring, (0, 0, 8), (0, 0, -8)], np.int32)
    >>> sides = [((k, (k + 1) % 8, 8), ((k + 1) % 8, k, 9)) for k in range(8)]
    >>> faces = np.array(sides, np.uint32).reshape(-1, 3)
    >>> _, reduced, error_nm = simplify_mesh(positions, faces, unit_nm=(1, 1, 1), max_error_nm=0.5)
    >>> len(reduced), error_nm < 0.01
    (8, True)
    """
    what = "mesh simplification"
    if min(target_faces, patch, edges) < 0 or min(snap) < 1:
        raise UsageError(f"{what}: target_faces, patch and edges must not be negative, snap at least 1")
    with kernel_errors(what):
        return _native.simplify_mesh(
            positions,
            faces,
            tuple(unit_nm),
            max_error_nm,
            max_rms_nm,
            target_faces,
            patch,
            tuple(snap),
            near,
            edges,
        )
