"""How a volume is cut into stages and blocks so that the buffers fit the memory budget.

What counts: the slab buffers of the scales of a stage (a chunk deep, each scale a quarter or so of the
finer one), a second slab of the first scale where the next slab is read while this one is encoded, decoded
native blocks of the source (one per thread), and the chunks that are being encoded. The interpreter
and its libraries come on top; they do not depend on the volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from precast.errors import MemoryBudgetError
from precast.geometry import Vec3, ceil_div
from precast.pipelines.convert.blocks import Stage, block_unit, cumulative
from precast.precomputed.scales import ScaleGeometry

__all__ = ["BATCH_BYTES", "Budget", "StagePlan", "decodes_per_block", "plan_stages"]

BATCH_BYTES = 16 << 20
"""Raw bytes of the chunks that are encoded in one go, where the budget is not small."""

TASK_BYTES = 4 << 30
"""A block is not made larger than this just to cover more scales: it is what a kill can cost."""

MAX_DECODES = 3
"""If a native block of the source would be decoded more often, it is decoded once and spooled to scratch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What the buffers of one conversion are made of; bytes, except for ``threads`` and voxels."""

    limit_bytes: int
    threads: int
    channels: int
    native_itemsize: int
    stored_itemsize: int
    native_block: Vec3
    chunk: Vec3
    largest_chunk: Vec3
    converts: bool
    encoded_share: float
    task_bytes: int

    @property
    def voxel_bytes(self) -> int:
        """Stored bytes of one voxel, all channels."""
        return self.channels * self.stored_itemsize

    def readers(self, size: Vec3) -> int:
        """Return how many native blocks may be decoded at once when the source is spooled.

        Raises
        ------
        MemoryBudgetError
            If not even one fits.
        """
        one = self.decode_bytes(size) // self.threads * 2  # decoded, and packed for scratch
        if one > self.limit_bytes:
            raise MemoryBudgetError(
                f"decoding one slice takes {one / 2**20:.0f} MiB, "
                f"the memory budget is {self.limit_bytes / 2**20:.0f} MiB",
                hint=f"give --memory {ceil_div(one, 2**20)}MiB or more, or store the slices in tiles or strips",
            )
        return min(self.threads, self.limit_bytes // one)

    @property
    def batch_raw_bytes(self) -> int:
        """Raw voxels of the chunks that are encoded in one go: at least one chunk."""
        return max(self.largest_chunk.volume * self.voxel_bytes, min(BATCH_BYTES, self.limit_bytes // 16))

    @property
    def batch_bytes(self) -> int:
        """Chunks being encoded: their raw copies per thread and their results."""
        chunk = self.largest_chunk.volume * self.voxel_bytes
        return self.threads * chunk + int(self.encoded_share * self.batch_raw_bytes)

    def decode_bytes(self, size: Vec3) -> int:
        """Native blocks being decoded, and their voxels before conversion if the dtype changes."""
        block = self.native_block.map(min, size)
        decoded = block.volume * self.channels * self.native_itemsize
        return self.threads * (2 * decoded if self.converts else decoded)

    def slab_bytes(self, scales: Sequence[ScaleGeometry], stage: Stage, *, prefetch: bool) -> int:
        """All slab buffers of a stage."""
        total = 0
        top = min(stage.last + 1, len(scales) - 1)
        for k in range(stage.first, top + 1):
            factor = cumulative(scales, stage.first, k)
            whole = scales[k].box.size
            halo = scales[k].box.start.map(lambda a, f: 1 if a % f else 0, cumulative(scales, k, top))
            edge = stage.edge.floordiv(factor).plus(Vec3(1, 1, 0).times(halo)).map(min, whole)
            slab = edge.x * edge.y * min(self.chunk.z, edge.z) * self.voxel_bytes
            total += slab * (2 if prefetch and k == stage.first and edge.z > self.chunk.z else 1)
        return total

    def stage_bytes(self, scales: Sequence[ScaleGeometry], stage: Stage, *, prefetch: bool) -> int:
        """Everything that a stage needs at once."""
        decode = self.decode_bytes(scales[0].box.size) if stage.first == 0 else 0
        return self.slab_bytes(scales, stage, prefetch=prefetch) + decode + self.batch_bytes


@dataclass(frozen=True, slots=True)
class StagePlan:
    """A stage, whether it reads ahead, and what its buffers take."""

    stage: Stage
    prefetch: bool
    buffer_bytes: int


def _edges(scales: Sequence[ScaleGeometry], unit: Vec3, first: int) -> list[Vec3]:
    """Return block edges from the whole plane down to one unit: y is cut first, then x."""
    size = scales[first].box.size
    units = size.ceildiv(unit)
    edges = [Vec3(units.x * unit.x, ceil_div(units.y, n) * unit.y, unit.z) for n in range(1, units.y + 1)]
    edges += [Vec3(ceil_div(units.x, n) * unit.x, unit.y, unit.z) for n in range(2, units.x + 1)]
    return list(dict.fromkeys(edges))


def _fit(budget: Budget, scales: Sequence[ScaleGeometry], first: int, last: int) -> StagePlan | None:
    """Return the stage ``first .. last`` with the fewest columns that fit, or None."""
    unit = block_unit(scales, budget.chunk, first, last)
    size = scales[first].box.size
    for edge in _edges(scales, unit, first):
        plane = edge.map(min, size)
        unit_bytes = plane.x * plane.y * unit.z * budget.voxel_bytes
        layers = max(1, min(ceil_div(size.z, unit.z), budget.task_bytes // unit_bytes))
        for depth in dict.fromkeys((layers, 1)):
            stage = Stage.of(scales, first, last, Vec3(edge.x, edge.y, depth * unit.z))
            for prefetch in (True, False):
                need = budget.stage_bytes(scales, stage, prefetch=prefetch)
                if need <= budget.limit_bytes:
                    return StagePlan(stage, prefetch, need)
    return None


def _choose(budget: Budget, scales: Sequence[ScaleGeometry], first: int) -> StagePlan:
    fitting: list[tuple[tuple[int, int], StagePlan]] = []
    for last in range(first, len(scales)):
        plan = _fit(budget, scales, first, last)
        if plan is None:
            break
        stage = plan.stage
        block = stage.edge.map(min, scales[first].box.size).volume * budget.voxel_bytes
        if last > first and block > budget.task_bytes:
            break
        columns = stage.grid.x * stage.grid.y
        fitting.append(((columns, -last), plan))
    if not fitting:
        unit = block_unit(scales, budget.chunk, first, first)
        need = budget.stage_bytes(scales, Stage.of(scales, first, first, unit), prefetch=False)
        raise MemoryBudgetError(
            f"the smallest block of this volume needs {need / 2**20:.0f} MiB of buffers, "
            f"the memory budget is {budget.limit_bytes / 2**20:.0f} MiB",
            hint=f"give --memory {ceil_div(need, 2**20)}MiB or more, fewer --threads, or a smaller --chunk-size",
        )
    return min(fitting, key=lambda item: item[0])[1]


def plan_stages(budget: Budget, scales: Sequence[ScaleGeometry]) -> tuple[StagePlan, ...]:
    """Cut all scales into stages.

    Raises
    ------
    MemoryBudgetError
        If even the smallest block does not fit.
    """
    stages = [_choose(budget, scales, 0)]
    while stages[-1].stage.last + 1 < len(scales):
        stages.append(_choose(budget, scales, stages[-1].stage.last + 1))
    return tuple(stages)


def decodes_per_block(stage: Stage, native: Vec3, size: Vec3) -> int:
    """Return how many blocks of a stage touch one native block of the source in x and y, at most.

    Halos come on top: with an offset that is not a multiple of the factors a few native blocks at the
    borders of blocks are decoded once more.
    """
    most = 1
    for n, edge, extent in zip(native[:2], stage.edge[:2], size[:2], strict=True):
        n = min(n, extent)  # noqa: PLW2901
        starts = range(0, extent, n)
        touched = (((min(a + n, extent) - 1) // edge) - a // edge + 1 for a in starts)
        most *= max(touched)
    return most
