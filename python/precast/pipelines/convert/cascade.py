"""One pass over a block: slices in, finished slabs of every scale out.

Each scale has one buffer as deep as a chunk. When a buffer is full, the slab goes to the sink (which
encodes it) and its reduction is written into the buffer of the next scale, which may fill that one, and
so on. So a block of any depth is processed in memory of about 4/3 of one slab, and every scale is made
from the finer one as it stands in memory.

Slab borders follow each scale's own chunk grid. Where these grids do not nest (an offset that is not a
multiple of the factor, an odd chunk size), a cell may straddle two slabs: its first slices are carried over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from precast import kernels
from precast.geometry import Box, Vec3

__all__ = ["Cascade", "Level", "SlabSink", "slab_cuts"]

Array = npt.NDArray[Any]


class SlabSink(Protocol):
    """Receives finished slabs."""

    def slab(self, scale: int, box: Box, data: Array) -> None:
        """Take the owned voxels ``box`` (absolute, of that scale) of one slab; ``data`` is reused afterwards."""

    def residual(self, box: Box, data: Array) -> None:
        """Take voxels of the first scale that belongs to the next stage."""


@dataclass(frozen=True, slots=True)
class Level:
    """What the cascade knows of a scale within one block.

    Attributes
    ----------
    scale
        Index of the scale.
    view
        Voxels that pass through the buffer.
    owned
        Voxels that go to the sink.
    factor
        From the next finer level.
    residual
        Handed to the next stage instead of being encoded.
    """

    scale: int
    view: Box
    owned: Box
    factor: Vec3
    residual: bool = False


def slab_cuts(level: Level, depth: int) -> list[int]:
    """Return the z at which slabs of a level begin, and the end of the last: halo first, then chunk by chunk."""
    first = level.owned.start.z
    cuts = [level.view.start.z] if level.view.start.z < first else []
    cuts.extend(range(first, level.view.stop.z, depth))
    cuts.append(level.view.stop.z)
    return cuts if len(cuts) > 1 else [level.view.start.z, level.view.stop.z]


class _Buffer:
    """The slab of one level that is being filled, and slices that wait for the rest of their cell."""

    def __init__(self, level: Level, channels: int, dtype: np.dtype[Any], depth: int) -> None:
        self.level = level
        self.cuts = slab_cuts(level, depth)
        size = level.view.size
        deepest = max(b - a for a, b in pairwise(self.cuts))
        self.array: Array = np.empty((channels, deepest, size.y, size.x), dtype)
        self.slab = 0
        self.filled = 0

    @property
    def start(self) -> int:
        return self.cuts[self.slab]

    @property
    def depth(self) -> int:
        return self.cuts[self.slab + 1] - self.start


class Cascade:
    """The buffers of all levels of a block.

    Parameters
    ----------
    levels
        From the finest on; the last may be the residual. All views are non-empty.
    channels, dtype
        Of the voxels.
    method
        Name of the reduction, as :func:`precast.kernels.downsample` takes it.
    chunk_depth
        Depth of a chunk in z.
    sink, threads
        Where slabs go, and how many threads reduce.
    """

    def __init__(  # noqa: PLR0913
        self,
        levels: Sequence[Level],
        *,
        channels: int,
        dtype: np.dtype[Any],
        method: kernels.DownsampleMethod,
        chunk_depth: int,
        sink: SlabSink,
        threads: int,
    ) -> None:
        self.method = method
        self.sink = sink
        self.threads = threads
        self.levels = list(levels)
        self.buffers = [_Buffer(level, channels, dtype, chunk_depth) for level in levels[1:]]
        self.carry: list[Array | None] = [None] * len(levels)

    def feed(self, z: int, data: Array) -> None:
        """Process one full slab ``(c, z, y, x)`` of the first level that begins at absolute ``z``.

        Slabs must come in order, cut as :func:`slab_cuts` says. The array can be reused afterwards.
        """
        self._finish(0, z, data)

    def _finish(self, i: int, z: int, data: Array) -> None:
        """Send a full slab of level ``i`` to the sink and reduce it into the next level."""
        level = self.levels[i]
        slab = Box(
            Vec3(level.view.start.x, level.view.start.y, z),
            Vec3(level.view.stop.x, level.view.stop.y, z + data.shape[1]),
        )
        owned = slab.intersect(level.owned)
        if not owned.empty:
            part = data[owned.slices(slab.start)]
            if level.residual:
                self.sink.residual(owned, part)
            else:
                self.sink.slab(level.scale, owned, part)
        if i + 1 < len(self.levels):
            self._reduce(i, z, data)

    def _reduce(self, i: int, z: int, data: Array) -> None:
        level, coarse = self.levels[i], self.levels[i + 1]
        factor = coarse.factor
        stop = z + data.shape[1]
        # the fine columns that the wanted cells consist of
        wanted = Box(coarse.view.start.times(factor), coarse.view.stop.times(factor)).intersect(level.view)
        x0, y0 = wanted.start.x, wanted.start.y
        ox, oy = x0 - level.view.start.x, y0 - level.view.start.y
        data = data[:, :, oy : oy + wanted.size.y, ox : ox + wanted.size.x]
        position = z
        if position < wanted.start.z:  # owned fine slices before the first wanted cell
            skip = min(stop, wanted.start.z) - position
            data, position = data[:, skip:], position + skip
        if stop > wanted.stop.z:
            data = data[:, : max(0, wanted.stop.z - position)]
            stop = wanted.stop.z
        if position >= stop:
            return
        carry = self.carry[i]
        if carry is not None:
            begin = position - carry.shape[1]
            end = min((begin // factor.z + 1) * factor.z, wanted.stop.z)
            joined = np.concatenate([carry, data[:, : max(0, end - position)]], axis=1)
            if begin + joined.shape[1] < end:
                self.carry[i] = joined
                return
            self.carry[i] = None
            self._emit(i, Vec3(x0, y0, begin), joined)
            data, position = data[:, end - position :], end
        if position >= stop:
            return
        complete = stop if stop == wanted.stop.z else stop - stop % factor.z
        if complete > position:
            self._emit(i, Vec3(x0, y0, position), data[:, : complete - position])
        else:
            complete = position
        if complete < stop:
            self.carry[i] = data[:, complete - position :].copy()

    def _emit(self, i: int, start: Vec3, data: Array) -> None:
        """Reduce whole cells of level ``i``, beginning at ``start``, into the buffer of the next level."""
        buffer = self.buffers[i]
        coarse = self.levels[i + 1]
        fz = coarse.factor.z
        z, stop = start.z, start.z + data.shape[1]
        while z < stop:
            cell = z // fz
            room = buffer.depth - buffer.filled
            end = min(stop, (cell + room) * fz)
            count = -(-end // fz) - cell
            kernels.downsample(
                data[:, z - start.z : end - start.z],
                coarse.factor,
                self.method,
                start=Vec3(start.x, start.y, z),
                out=buffer.array[:, buffer.filled : buffer.filled + count],
                threads=self.threads,
            )
            buffer.filled += count
            z = end
            if buffer.filled == buffer.depth:
                full, at = buffer.array[:, : buffer.depth], buffer.start
                buffer.slab += 1
                buffer.filled = 0
                self._finish(i + 1, at, full)
