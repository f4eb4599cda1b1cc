"""``convert``: plan, run what is not done yet, assemble shards as they become complete, finish, commit."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from precast import __version__
from precast.errors import ObjectNotFoundError
from precast.execution.bucketwork import BucketWork
from precast.execution.memory import default_budget_bytes, peak_rss_bytes
from precast.execution.progress import NoProgress, Progress
from precast.execution.sending import SENDING_BYTES
from precast.execution.work import open_destination, open_work
from precast.execution.workdir import WorkDirectory
from precast.findings import Finding
from precast.geometry import Vec3
from precast.pipelines.convert.finish import ScaleTotals, write_info, write_label_table, write_provenance
from precast.pipelines.convert.options import ConvertOptions
from precast.pipelines.convert.plan import ConvertPlan, make_plan
from precast.pipelines.convert.spool import block_is_done, data_path
from precast.pipelines.convert.tasks import BlockTask, Places, ShardTask, SpoolTask, spool_names
from precast.sources import open_source
from precast.sources.base import Source, SourceOptions
from precast.storage import Store, StoreOptions

__all__ = ["ConvertSummary", "ScaleSummary", "convert", "plan_conversion", "run_conversion"]

AnySource = str | os.PathLike[str] | npt.NDArray[Any] | Source


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleSummary:
    """What was written for one scale; vectors are x, y, z."""

    key: str
    size: Vec3
    chunks: int
    stored_chunks: int
    objects: int
    raw_bytes: int
    stored_bytes: int
    voxel_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertSummary:
    """What a conversion has done."""

    destination: str
    kind: str
    data_type: str
    encoding: str
    labels: int | None
    scales: tuple[ScaleSummary, ...]
    objects: int
    stored_bytes: int
    raw_bytes: int
    seconds: float
    peak_memory_bytes: int
    resumed_blocks: int
    findings: tuple[Finding, ...]


def open_any(source: AnySource, options: ConvertOptions, store_options: StoreOptions | None = None) -> Source:
    """Open whatever ``convert`` takes; a source object is used as it is."""
    if isinstance(source, str | os.PathLike | np.ndarray):
        return open_source(source, SourceOptions(fill_gaps=options.fill_gaps, axes=options.axes), store_options)
    return source


def plan_conversion(source: AnySource, options: ConvertOptions | None = None) -> ConvertPlan:
    """Decide everything about a conversion without writing anything.

    Parameters and errors are those of :func:`convert`.
    """
    options = options or ConvertOptions()
    return make_plan(open_any(source, options), options)


def convert(
    source: AnySource,
    destination: str | os.PathLike[str] | Store,
    options: ConvertOptions | None = None,
    *,
    progress: Progress | None = None,
) -> ConvertSummary:
    """Convert a stack of slices or an array into a complete precomputed volume, in one pass.

    Parameters
    ----------
    source
        A folder of slices, a TIFF or ``.npy`` file, the address of one in a bucket or of a file on a web server, an
        array ``(z, y, x)`` or ``(c, z, y, x)``, or an opened source.
    destination
        Directory to make, the address of a bucket (``s3://…``, ``gs://…``, ``az://…``), or a store. It appears when it
        is complete; until then everything lies in ``.precast`` beside it. Into buckets shards are sent as they are
        made, and the scratch files lie in the user's cache directory, or in ``scratch``.
    options
        See :class:`ConvertOptions`; ``resolution`` is needed unless the files say it.
    progress
        Told what happens; by default nobody is.

    Returns
    -------
    ConvertSummary
        Objects, bytes, digests, seconds, peak memory.

    Raises
    ------
    UsageError
        If the options do not fit the source.
    SourceError, ObjectNotFoundError, AccessDeniedError
        If the source cannot be read.
    DestinationExistsError
        If the destination exists and ``overwrite`` is not set, or other unfinished work is there.
    MemoryBudgetError
        If no arrangement fits the memory budget.
    StorageError
        If writing fails, for example because the disk is full. What was finished is kept, and the
        same call goes on from there.
    MissingExtraError
        If the destination is in a bucket, and the extra ``cloud`` is not installed.
    """
    return run_conversion(source, open_destination(destination), options or ConvertOptions(), progress or NoProgress())


def run_conversion(
    source: AnySource,
    store: Store,
    options: ConvertOptions,
    progress: Progress,
    *,
    complete: Callable[[Store], None] | None = None,
) -> ConvertSummary:
    """Convert as :func:`convert` does.

    Parameters
    ----------
    source, store, options, progress
        As there.
    complete
        Told the store of the dataset when everything is in it, before readers see it.
    """
    begun = time.perf_counter()
    opened = open_any(source, options)
    with open_work(store, options.scratch, progress=progress) as work:
        plan, resumed = _begin(work, opened, options)
        for finding in plan.findings:
            progress.note(f"{finding.severity}: {finding.message}")
        places = Places(work.spool, work.parts, work.store)
        done = _run(plan, places, progress, resumed=resumed)
        progress.phase("finishing", 0)
        sums = ScaleTotals(plan, places)
        labels = write_label_table(plan, places)
        write_provenance(plan, places, sums)
        write_info(plan, places)
        scales = _scale_summaries(plan, places, sums)
        if complete is not None:
            complete(places.store)
        work.commit()
    return ConvertSummary(
        destination=store.url,
        kind=plan.info.kind,
        data_type=plan.info.data_type,
        encoding=plan.info.scales[0].encoding,
        labels=labels,
        scales=scales,
        objects=sum(scale.objects for scale in scales),
        stored_bytes=sum(scale.stored_bytes for scale in scales),
        raw_bytes=plan.raw_bytes,
        seconds=time.perf_counter() - begun,
        peak_memory_bytes=peak_rss_bytes(),
        resumed_blocks=done,
        findings=plan.findings,
    )


def _begin(work: WorkDirectory | BucketWork, source: Source, options: ConvertOptions) -> tuple[ConvertPlan, bool]:
    """Plan, and enter the plan into the ledger; or take up the plan of unfinished work."""
    budget = options.memory or default_budget_bytes()
    if isinstance(work, BucketWork):
        budget -= min(SENDING_BYTES, budget // 4)
    plan = make_plan(source, options, budget_bytes=budget)
    ledger = {
        "identity": {
            "precast": __version__,
            "source": source.fingerprint().stamp,
            "options": options.result_options(),
        },
        "plan": {"budget_bytes": plan.memory.budget_bytes, "threads": plan.threads},
        "directories": [scale.key for scale in plan.info.scales],
    }
    found = work.begin(ledger, overwrite=options.overwrite)
    if found is None:
        return plan, False
    before = found["plan"]
    return make_plan(source, options, budget_bytes=before["budget_bytes"], threads=before["threads"]), True


class _Shards:
    """Which shards wait for which blocks, and when a block's encoded data can go."""

    def __init__(self, plan: ConvertPlan, places: Places) -> None:
        self.plan = plan
        self.places = places
        self.waiting: dict[tuple[int, int], int] = {}
        self.by_block: dict[str, list[ShardTask]] = defaultdict(list)
        self.readers: dict[str, int] = defaultdict(int)
        for k in range(len(plan.scales)):
            for shard in plan.shards(k):
                task = ShardTask.of(plan, k, shard)
                if _exists(places, task.key):
                    continue
                self.waiting[k, shard] = len(task.blocks)
                for name in task.blocks:
                    self.by_block[name].append(task)
                    self.readers[name] += 1

    def finished(self, name: str) -> list[ShardTask]:
        """Note that a block is done and return the shards that are now complete."""
        ready = []
        for task in self.by_block[name]:
            self.waiting[task.scale, task.shard] -= 1
            if self.waiting[task.scale, task.shard] == 0:
                ready.append(task)
        return ready

    def read(self, name: str) -> None:
        """Note that one reader of a block's data is through; the data go with the last."""
        self.readers[name] -= 1
        self.drop(name)

    def drop(self, name: str) -> None:
        """Remove a block's data if nobody needs them any more."""
        if self.readers[name] <= 0:
            data_path(self.places.spool, name).unlink(missing_ok=True)


def _exists(places: Places, key: str) -> bool:
    try:
        places.store.stat(key)
    except ObjectNotFoundError:
        return False
    return True


def _run(plan: ConvertPlan, places: Places, progress: Progress, *, resumed: bool) -> int:
    """Run every task that is not done; return how many blocks were done already."""
    shards = _Shards(plan, places)
    blocks = [BlockTask(plan, s, i) for s, stage in enumerate(plan.stages) for i in range(stage.count)]
    for block in blocks:
        for child in block.children:
            shards.readers[child] += not block_is_done(places.spool, block.name)
    done = [block for block in blocks if resumed and block_is_done(places.spool, block.name)]
    if resumed:
        progress.note(f"going on with unfinished work: {len(done)} of {len(blocks)} blocks are done")
    if plan.spooled and not all(block_is_done(places.spool, b.name) for b in blocks if b.stage == 0):
        _spool(plan, places, progress)
    finished = {block.name for block in done}
    total = sum(_source_bytes(block) for block in blocks if block.name not in finished)
    progress.phase("converting", total)
    for block in blocks:
        if block.name not in finished:
            block.run(places, progress.advance)
            for child in block.children:
                shards.read(child)
        for task in shards.finished(block.name):
            task.run(places, _ignore)
            for name in task.blocks:
                shards.read(name)
        shards.drop(block.name)
        if plan.spooled and block.stage == 0 and block.index + 1 == plan.stages[0].count:
            for name in spool_names(plan):
                data_path(places.spool, name).unlink(missing_ok=True)
    return len(done)


def _source_bytes(block: BlockTask) -> int:
    if block.stage > 0:
        return 0
    return block.levels()[0].view.size.volume * block.plan.channels * block.plan.dtype.itemsize


def _spool(plan: ConvertPlan, places: Places, progress: Progress) -> None:
    tasks = [SpoolTask(plan, i) for i in range(len(spool_names(plan)))]
    progress.phase("decoding to scratch", plan.scales[0].box.size.volume * plan.channels * plan.dtype.itemsize)
    for task in tasks:
        if not block_is_done(places.spool, task.name):
            task.run(places, progress.advance)


def _ignore(_: int) -> None:
    """Shards are written while blocks are converted; only blocks count as progress."""


def _scale_summaries(plan: ConvertPlan, places: Places, sums: ScaleTotals) -> tuple[ScaleSummary, ...]:
    out = []
    for k, scale in enumerate(plan.info.scales):
        objects = list(places.store.list(f"{scale.key}/"))
        out.append(
            ScaleSummary(
                key=scale.key,
                size=scale.size,
                chunks=scale.grid.volume,
                stored_chunks=sums.stored[k],
                objects=len(objects),
                raw_bytes=scale.size.volume * plan.channels * plan.dtype.itemsize,
                stored_bytes=sum(stat.size for stat in objects),
                voxel_digest=sums.digests[k],
            )
        )
    return tuple(out)
