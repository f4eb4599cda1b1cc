"""Which voxels of which scale a task owns, and which it needs.

The scales of a volume are cut by one grid of blocks per stage. A stage covers scales
``first .. last``; its block edge, in voxels of ``first``, is a multiple of every covered scale's
chunk (in those voxels) and of the factor to the scale after ``last``. Block j of a stage owns, at
scale k, the voxels ``o_k + j * edge / F_k .. o_k + (j + 1) * edge / F_k`` with ``o_k`` the voxel offset
of scale k and ``F_k`` the factor from ``first`` to k: whole chunks, each of which has one owner. The last
block of an axis owns everything up to the end.

Where the offset is not a multiple of the factors, the cells that a block owns at a coarse scale begin up to
``F - 1`` fine voxels before the fine voxels that it owns. Those are its low-side halo: read, reduced,
but encoded by its neighbour. With an offset of 0 there is no halo.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm

from precast.geometry import Box, Vec3
from precast.precomputed.scales import ScaleGeometry

__all__ = ["Stage", "block_unit", "cumulative"]


def cumulative(scales: Sequence[ScaleGeometry], first: int, k: int) -> Vec3:
    """Return the factor from scale ``first`` to scale ``k``."""
    factor = Vec3(1, 1, 1)
    for scale in scales[first + 1 : k + 1]:
        factor = factor.times(scale.factor)
    return factor


def block_unit(scales: Sequence[ScaleGeometry], chunk: Vec3, first: int, last: int) -> Vec3:
    """Return the smallest block edge, in voxels of scale ``first``, for a stage that covers ``first .. last``."""
    unit = Vec3(1, 1, 1)
    for k in range(first, last + 1):
        unit = unit.map(lcm, chunk.times(cumulative(scales, first, k)))
    if last + 1 < len(scales):
        unit = unit.map(lcm, cumulative(scales, first, last + 1))
    return unit


@dataclass(frozen=True, slots=True)
class Stage:
    """One level of the reduction: scales ``first .. last`` in blocks of ``edge`` voxels of scale ``first``."""

    first: int
    last: int
    edge: Vec3
    grid: Vec3

    @classmethod
    def of(cls, scales: Sequence[ScaleGeometry], first: int, last: int, edge: Vec3) -> Stage:
        """Build with the grid that covers scale ``first``."""
        return cls(first, last, edge, scales[first].box.size.ceildiv(edge))

    @property
    def count(self) -> int:
        """Number of blocks."""
        return self.grid.volume

    def cell(self, index: int) -> Vec3:
        """Return the grid cell of the block with a running index: x fastest, z slowest."""
        x, rest = index % self.grid.x, index // self.grid.x
        return Vec3(x, rest % self.grid.y, rest // self.grid.y)

    def owned(self, scales: Sequence[ScaleGeometry], index: int, k: int) -> Box:
        """Return the voxels of scale ``k`` that a block owns, in absolute coordinates of that scale."""
        cell = self.cell(index)
        whole = scales[k].box
        step = self.edge.floordiv(cumulative(scales, self.first, k))
        start = whole.start.plus(cell.times(step))
        stop = start.plus(step)
        ends = Vec3.of(
            tuple(
                end if c + 1 == n else min(b, end)
                for b, end, c, n in zip(stop, whole.stop, cell, self.grid, strict=True)
            )
        )
        return Box(start, ends)

    def views(self, scales: Sequence[ScaleGeometry], index: int) -> list[Box]:
        """Return, for scales ``first .. last + 1``, the voxels that a block must have: owned ones and halo.

        The entry for ``last + 1`` is what it hands to the next stage; it is missing after the last scale.
        """
        top = min(self.last + 1, len(scales) - 1)
        boxes = [self.owned(scales, index, k) for k in range(self.first, top + 1)]
        for i in range(len(boxes) - 2, -1, -1):
            factor, coarse, own = scales[self.first + i + 1].factor, boxes[i + 1], boxes[i]
            needed = Box(coarse.start.times(factor), coarse.stop.times(factor)).intersect(scales[self.first + i].box)
            boxes[i] = Box(own.start.map(min, needed.start), own.stop.map(max, needed.stop))
        return boxes

    def blocks_of(self, scales: Sequence[ScaleGeometry], k: int, box: Box) -> Box:
        """Return the grid cells of the blocks that own voxels of ``box``, which lies in scale ``k``."""
        step = self.edge.floordiv(cumulative(scales, self.first, k))
        relative = box.shift(Vec3(0, 0, 0).minus(scales[k].box.start))
        top = self.grid.minus(Vec3(1, 1, 1))
        start = relative.start.floordiv(step).map(min, top)
        stop = relative.stop.ceildiv(step).map(min, self.grid)
        return Box(start, stop.map(max, start.plus(Vec3(1, 1, 1))))

    def index(self, cell: Sequence[int]) -> int:
        """Return the running index of a grid cell."""
        return cell[0] + self.grid.x * (cell[1] + self.grid.y * cell[2])
