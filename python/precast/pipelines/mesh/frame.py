"""Coordinates: from the voxels that are meshed to the stored model, and the grid of an object's fragments.

==============  ======================================================================================
unit            what
==============  ======================================================================================
lattice unit    1/16 voxel of the scale that is meshed, absolute: voxel i spans 16 i to 16 i + 16
step            2^-k voxel; a cell of level l is ``2^16 - 1`` steps of ``2^(l - k)`` voxel wide
stored model    voxels of scale 0; the mesh info's ``transform`` makes them nanometres
==============  ======================================================================================

Steps are powers of two of a voxel and divide the half voxel, on which the corners of every surface lie, on each
level: positions are exact, and cost few bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2

import numpy as np
import numpy.typing as npt

from precast.geometry import Vec3, VoxelSize
from precast.kernels import Cells

__all__ = ["BITS", "UNITS", "Cutting", "Frame", "Grid"]

UNITS = 16
"""Lattice units per voxel."""
UNIT_BITS = 4
BITS = 16
"""``vertex_quantization_bits``. With 10 bits a step would not divide the half voxel beyond the third level."""
WIDTH = (1 << BITS) - 1
MIDDLE = 1 << (BITS - 1)
COARSEST_STEP_BITS = 8
"""Cells are 256 voxels wide (to 1 in 65536) unless that makes too large fragments."""
FINEST_STEP_BITS = 12


@dataclass(frozen=True, slots=True)
class Cutting:
    """How a mesh is cut.

    Attributes
    ----------
    tidy
        Whether vertices near a plane are moved onto it and new ones lie on lattice units: no slivers, fewer bytes.
    error_nm
        How far a point of the finest level can be moved; doubles per level.
    """

    tidy: bool
    error_nm: float


@dataclass(frozen=True, slots=True)
class Frame:
    """The scale that is meshed.

    Attributes
    ----------
    scale
        Its number.
    voxel_nm
        Edges of its voxels.
    stored_per_voxel
        Voxels of scale 0 along one of its voxels.
    """

    scale: int
    voxel_nm: tuple[float, float, float]
    stored_per_voxel: tuple[float, float, float]

    @classmethod
    def of(cls, scale: int, voxel_size: VoxelSize, finest: VoxelSize) -> Frame:
        """Build from exact voxel sizes."""
        x, y, z = (float(edge) for edge in voxel_size)
        fx, fy, fz = (float(edge / unit) for edge, unit in zip(voxel_size, finest, strict=True))
        return cls(scale, (x, y, z), (fx, fy, fz))

    @property
    def unit_nm(self) -> tuple[float, float, float]:
        """Length of a lattice unit."""
        x, y, z = self.voxel_nm
        return (x / UNITS, y / UNITS, z / UNITS)

    @property
    def stored_nm(self) -> tuple[float, float, float]:
        """Length of a unit of the stored model."""
        x, y, z = (edge / factor for edge, factor in zip(self.voxel_nm, self.stored_per_voxel, strict=True))
        return (x, y, z)

    def cutting(self, max_error_nm: float) -> Cutting:
        """Return how levels are cut: onto a lattice if the error bound has room for that, else as exactly as can be."""
        diagonal = float(np.linalg.norm(self.voxel_nm))
        tidy = diagonal * (1 / UNITS + 0.5 / UNITS)
        if tidy <= max_error_nm / 4:
            return Cutting(True, tidy)
        return Cutting(False, diagonal * 0.5 * 2.0**-COARSEST_STEP_BITS)

    def snap(self, max_error_nm: float, level: int) -> Vec3:
        """Return the lattice of a level in lattice units: a quarter of the error, 1/16 to 1/2 voxel."""

        def along(edge_nm: float) -> int:
            quarter = max_error_nm * 2.0**level / 4 / edge_nm * UNITS
            return int(min(UNITS // 2, max(1, 2 ** int(np.floor(log2(max(quarter, 1)))))))

        return Vec3.of([along(edge) for edge in self.voxel_nm])


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the cells of an object lie.

    Attributes
    ----------
    origin
        In lattice units, a whole voxel.
    count
        Cells of the finest level along x, y, z.
    step_bits
        A step of the finest level is ``2**-step_bits`` voxel.
    cutting
        How levels are cut.
    """

    origin: Vec3
    count: Vec3
    step_bits: int
    cutting: Cutting

    @classmethod
    def around(cls, low: Sequence[int], high: Sequence[int], step_bits: int, cutting: Cutting) -> Grid:
        """Return the fewest cells around a box of lattice units, the box in their middle."""
        shift = step_bits - UNIT_BITS
        origin, count = [], []
        for a, b in zip(low, high, strict=True):
            # a voxel of room on either side
            n = -(-((b - a + 2 * UNITS) << shift) // WIDTH)
            room = ((n * WIDTH) >> shift) - (b - a)
            origin.append((a - room // 2) // UNITS * UNITS)
            count.append(n)
        return cls(Vec3.of(origin), Vec3.of(count), step_bits, cutting)

    def steps(self, positions: npt.NDArray[np.int32], level: int) -> npt.NDArray[np.int32]:
        """Return positions in steps of a level; what lies outside comes to lie on the border."""
        shift = self.step_bits - UNIT_BITS - level
        moved = positions.astype(np.int64) - np.array(self.origin, np.int64)
        if shift >= 0:
            moved <<= shift
        else:
            moved = (moved + (1 << (-shift - 1))) >> -shift
        top = np.array(self.cells(level).count, np.int64) * WIDTH
        return np.clip(moved, 0, top).astype(np.int32)

    def cells(self, level: int) -> Cells:
        """Return the cells of a level."""
        # in lattice units at the finest level, and as much coarser on the others: constant in steps
        tolerance = 1 << (self.step_bits - UNIT_BITS)
        return Cells(
            width=WIDTH,
            middle=MIDDLE if level else None,
            count=self.count.ceildiv(Vec3.of(1 << level)),
            snap=tolerance if self.cutting.tidy else 0,
            round=tolerance if self.cutting.tidy else 1,
        )

    def stored_origin(self, frame: Frame) -> tuple[float, ...]:
        """Return ``grid_origin`` of the manifest."""
        return tuple(o / UNITS * f for o, f in zip(self.origin, frame.stored_per_voxel, strict=True))

    def stored_cell(self, frame: Frame) -> tuple[float, ...]:
        """Return ``chunk_shape`` of the manifest."""
        return tuple(WIDTH * 2.0**-self.step_bits * f for f in frame.stored_per_voxel)
