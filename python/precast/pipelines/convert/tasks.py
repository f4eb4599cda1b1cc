"""The units of work of a conversion. Each pickles, opens what it needs when it runs, and can be run again.

=================  =============================================================================
task               reads, writes
=================  =============================================================================
``SpoolTask``      a few slices of the source -> voxel pieces in scratch (only where slices are too wide)
``BlockTask``      a block of the source or of the stage before -> chunks, digests, labels
``ShardTask``      the encoded chunks of one shard -> the shard
=================  =============================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from precast.dataset.objects import attributes
from precast.errors import StorageError
from precast.geometry import Box, Vec3
from precast.pipelines.convert.cascade import Cascade, Level, slab_cuts
from precast.pipelines.convert.plan import ConvertPlan
from precast.pipelines.convert.sink import BlockSink
from precast.pipelines.convert.spool import (
    PieceReader,
    SpoolWriter,
    data_path,
    encode_pieces,
    load_result,
)
from precast.pipelines.convert.values import ValueReader
from precast.precomputed.objects import ObjectKind
from precast.precomputed.sharding import layout_shard, shard_cells
from precast.storage import Store
from precast.storage.base import flush, translate_os_error

__all__ = ["BlockTask", "Places", "ShardTask", "SpoolTask", "Task", "block_name"]

Array = npt.NDArray[Any]
SPOOL_DEPTH = 32
"""Slices of one spool task."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where a conversion works: encoded data in ``spool``, half-written shards in ``parts``, objects in ``store``."""

    spool: Path
    parts: Path
    store: Store


class Task(Protocol):
    """A unit of work."""

    def run(self, places: Places, advance: Callable[[int], None]) -> None:
        """Do it; ``advance`` is told the bytes of source voxels (or of shards) that were finished."""


def block_name(stage: int, index: int) -> str:
    """Return the name of a block's files."""
    return f"block-{stage}-{index:06d}"


@dataclass(frozen=True, slots=True)
class _Shifted:
    """A reader in absolute voxels on top of a source that counts from 0."""

    reader: ValueReader
    origin: Vec3

    def read(self, box: Box, out: Array) -> None:
        """Fill ``out`` with the voxels of ``box``."""
        self.reader.read(box.shift(Vec3(0, 0, 0).minus(self.origin)), out)


def _source_reader(plan: ConvertPlan) -> _Shifted:
    values = ValueReader(plan.source, plan.source.info.dtype, plan.dtype)
    return _Shifted(values, plan.scales[0].box.start)


def spool_names(plan: ConvertPlan) -> list[str]:
    """Return the names of the spooled pieces of the source; empty if it is not spooled."""
    count = -(-plan.scales[0].box.size.z // SPOOL_DEPTH) if plan.spooled else 0
    return [f"source-{i:06d}" for i in range(count)]


@dataclass(frozen=True)
class SpoolTask:
    """Decode a few whole slices once and keep them, cut into the columns of the blocks."""

    plan: ConvertPlan
    index: int

    @property
    def name(self) -> str:
        """Name of its files."""
        return spool_names(self.plan)[self.index]

    def run(self, places: Places, advance: Callable[[int], None]) -> None:
        """Spool the slices."""
        plan = self.plan
        whole = plan.scales[0].box
        reader = _source_reader(plan)
        first = whole.start.z + self.index * SPOOL_DEPTH
        last = min(first + SPOOL_DEPTH, whole.stop.z)
        edge = plan.stages[0].edge
        rows = min(plan.source.info.block.y, whole.size.y)
        boxes = [
            Box(Vec3(whole.start.x, y, z), Vec3(whole.stop.x, min(y + rows, whole.stop.y), z + 1))
            for z in range(first, last)
            for y in range(whole.start.y, whole.stop.y, rows)
        ]
        piece = Vec3(edge.x, edge.y, 1)

        def decode(box: Box) -> list[bytes | None]:
            data = np.empty((plan.channels, *box.size.zyx), plan.dtype)
            reader.read(box, data)
            return encode_pieces(data, piece, threads=1)

        with SpoolWriter(places.spool, self.name) as spool, ThreadPoolExecutor(plan.spool_readers) as pool:
            for group in range(0, len(boxes), plan.spool_readers):
                some = boxes[group : group + plan.spool_readers]
                for box, payloads in zip(some, pool.map(decode, some), strict=True):
                    spool.add_pieces(box, piece, payloads)
                    advance(box.size.volume * plan.channels * plan.dtype.itemsize)
            spool.finish(None, {})


def _children(plan: ConvertPlan, stage: int, index: int) -> list[str]:
    """Return the names of the blocks of the stage before whose voxels a block needs."""
    if stage == 0:
        return []
    view = plan.stages[stage].views(plan.scales, index)[0]
    before = plan.stages[stage - 1]
    # the stage before hands over its scale last + 1, which is this stage's first
    cells = before.blocks_of(plan.scales, plan.stages[stage].first, view)
    return [block_name(stage - 1, before.index(cell.start)) for cell in cells.tiles((1, 1, 1))]


@dataclass(frozen=True)
class BlockTask:
    """All scales of one stage in one block."""

    plan: ConvertPlan
    stage: int
    index: int

    @property
    def name(self) -> str:
        """Name of its files."""
        return block_name(self.stage, self.index)

    @property
    def children(self) -> list[str]:
        """Names of the blocks whose voxels it reads."""
        return _children(self.plan, self.stage, self.index)

    def levels(self) -> list[Level]:
        """Return the scales of this block, the one for the next stage last."""
        plan, stage = self.plan, self.plan.stages[self.stage]
        return [
            Level(
                scale=k,
                view=view,
                owned=stage.owned(plan.scales, self.index, k),
                factor=plan.scales[k].factor,
                residual=k > stage.last,
            )
            for k, view in enumerate(stage.views(plan.scales, self.index), stage.first)
        ]

    def _reader(self, places: Places) -> Any:
        plan = self.plan
        if self.stage > 0:
            return PieceReader(places.spool, self.children, plan.channels, plan.dtype)
        if plan.spooled:
            return PieceReader(places.spool, spool_names(plan), plan.channels, plan.dtype)
        return _source_reader(plan)

    def run(self, places: Places, advance: Callable[[int], None]) -> None:
        """Read, reduce, encode and keep the block."""
        plan = self.plan
        levels = self.levels()
        with SpoolWriter(places.spool, self.name) as spool:
            sink = BlockSink(plan, spool, places.store, plan.threads)
            cascade = Cascade(
                levels,
                channels=plan.channels,
                dtype=plan.dtype,
                method=plan.method,
                chunk_depth=plan.options.chunk_size.z,
                sink=sink,
                threads=plan.threads,
            )
            reader = self._reader(places)
            for z, data in self._slabs(reader, levels[0]):
                cascade.feed(z, data)
                advance(data.nbytes if self.stage == 0 else 0)
            labels = sink.labels.take() if sink.labels is not None and self.stage == 0 else None
            flush(places.store)  # chunks of a block that is done are not made again
            spool.finish(labels, sink.extra())

    def _slabs(self, reader: Any, level: Level) -> Iterator[tuple[int, Array]]:
        """Yield the slabs of the first level; with prefetch, the next is read while one is processed."""
        plan = self.plan
        view = level.view
        cuts = slab_cuts(level, plan.options.chunk_size.z)
        slabs = list(pairwise(cuts))
        deepest = max(b - a for a, b in slabs)
        ahead = plan.stage_plans[self.stage].prefetch and len(slabs) > 1
        shape = (plan.channels, deepest, view.size.y, view.size.x)
        buffers = [np.empty(shape, plan.dtype) for _ in range(2 if ahead else 1)]
        block = min(plan.source.info.block.z, deepest) if self.stage == 0 and not plan.spooled else 1

        with ThreadPoolExecutor(plan.threads, thread_name_prefix="precast-read") as pool:

            def start(i: int) -> list[Future[None]]:
                a, b = slabs[i]
                buffer = buffers[i % len(buffers)]
                step = max(block, -(-(b - a) // (4 * plan.threads)) // block * block)
                return [
                    pool.submit(
                        reader.read,
                        Box(Vec3(view.start.x, view.start.y, z), Vec3(view.stop.x, view.stop.y, min(z + step, b))),
                        buffer[:, z - a : min(z + step, b) - a],
                    )
                    for z in range(a, b, step)
                ]

            waiting = start(0)
            try:
                for i, (a, b) in enumerate(slabs):
                    for future in waiting:
                        future.result()
                    waiting = start(i + 1) if ahead and i + 1 < len(slabs) else []
                    yield a, buffers[i % len(buffers)][:, : b - a]
                    if not ahead and i + 1 < len(slabs):
                        waiting = start(i + 1)
            finally:
                for future in waiting:
                    future.cancel()


@dataclass(frozen=True)
class ShardTask:
    """Assemble one shard, in canonical order, from the chunks that its blocks have encoded."""

    plan: ConvertPlan
    scale: int
    shard: int
    blocks: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, plan: ConvertPlan, scale: int, shard: int) -> ShardTask:
        """Build with the names of the blocks that own chunks of the shard."""
        info = plan.info.scales[scale]
        assert info.sharding is not None  # only sharded scales have shards
        number, stage = next((i, s) for i, s in enumerate(plan.stages) if s.first <= scale <= s.last)
        cells = shard_cells(info.sharding, info.grid, shard)
        last = info.chunk_box(cells.stop.minus(Vec3(1, 1, 1)))
        box = Box(info.chunk_box(cells.start).start, last.stop)
        blocks = stage.blocks_of(plan.scales, scale, box).tiles((1, 1, 1))
        return cls(plan, scale, shard, tuple(block_name(number, stage.index(cell.start)) for cell in blocks))

    @property
    def key(self) -> str:
        """Key of the shard in the dataset."""
        info = self.plan.info.scales[self.scale]
        assert info.sharding is not None  # see `of`
        return f"{info.key}/{info.sharding.shard_name(self.shard)}"

    def run(self, places: Places, advance: Callable[[int], None]) -> None:
        """Write the shard, unless none of its chunks was kept."""
        spec = self.plan.info.scales[self.scale].sharding
        assert spec is not None  # see `of`
        records, files = self._collect(places, spec)
        if not len(records):
            return
        layout = layout_shard(spec, records["key"], records["size"])
        part = places.parts / f"{self.scale}-{self.shard:x}.part"
        opened: dict[int, BinaryIO] = {}
        try:
            with part.open("wb", buffering=1 << 20) as out:
                out.write(layout.index)
                for members, index in layout.groups:
                    for at in members:
                        which = int(files[at])
                        if which not in opened:
                            opened[which] = data_path(places.spool, self.blocks[which]).open("rb")
                        out.write(_exactly(opened[which], int(records["offset"][at]), int(records["size"][at])))
                    out.write(index)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise translate_os_error(error, "writing", part) from None
        finally:
            for file in opened.values():
                file.close()
        places.store.write_file(self.key, part, attributes(ObjectKind.SHARD))
        advance(layout.size)

    def _collect(self, places: Places, spec: Any) -> tuple[Array, Array]:
        records, files = [], []
        for i, name in enumerate(self.blocks):
            chunks = load_result(places.spool, name).chunks
            chunks = chunks[chunks["scale"] == self.scale]
            shard, _ = spec.place(chunks["key"])
            mine = chunks[shard == np.uint64(self.shard)]
            records.append(mine)
            files.append(np.full(len(mine), i))
        return np.concatenate(records), np.concatenate(files)


def _exactly(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise StorageError(
            f"the scratch file {file.name} ends too early",
            hint="it was changed from outside; remove the work directory and run again",
            where=str(file.name),
        )
    return data
