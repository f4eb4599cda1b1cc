"""``mesh``: blocks, then objects, then shards; properties; then all of it into place, and linked."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from precast import __version__
from precast.errors import FormatError, SourceError
from precast.execution.memory import peak_rss_bytes
from precast.execution.progress import NoProgress, Progress
from precast.execution.work import open_destination, open_work
from precast.execution.workdir import PartsOfDataset
from precast.findings import Finding, notice
from precast.pipelines.mesh.finish import link, write_mesh_info, write_properties
from precast.pipelines.mesh.options import MeshOptions
from precast.pipelines.mesh.plan import MESH_DIRECTORY, MeshPlan, files_digest, make_plan
from precast.pipelines.mesh.spool import is_done, load_arrays
from precast.pipelines.mesh.tasks import (
    OBJECT_RECORD,
    PIECE_RECORD,
    BlockTask,
    ObjectTask,
    Places,
    ShardTask,
    forget_pieces,
)
from precast.precomputed.meshes import choose_mesh_sharding
from precast.precomputed.objects import SEGMENT_PROPERTIES_DIRECTORY
from precast.storage import Store

__all__ = ["Failure", "MeshSummary", "mesh", "plan_meshing"]

Array = npt.NDArray[Any]
T = TypeVar("T")

BATCH_OBJECTS = 128
BATCH_FACES = 100_000
FACE_BYTES = 18
"""Bytes of a face and its share of a vertex in memory: what progress counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An object that has no mesh because something went wrong, or a block that could not be read."""

    segment: int | None
    where: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshSummary:
    """What a meshing has done.

    Attributes
    ----------
    objects
        Meshes that were written.
    faces, all_faces
        Faces of the finest levels, and of all levels together.
    fragments, levels
        Number of fragments, and of levels of the object that has most.
    largest_error_nm
        Of all finest levels: checked bound of the distance to the surface of the voxels.
    """

    dataset: str
    format: str
    scale: int
    max_error_nm: float
    objects: int
    faces: int
    all_faces: int
    fragments: int
    levels: int
    largest_error_nm: float
    holes_filled: int
    files: int
    stored_bytes: int
    properties: int
    seconds: float
    peak_memory_bytes: int
    resumed_tasks: int
    failures: tuple[Failure, ...]
    findings: tuple[Finding, ...]


def plan_meshing(
    dataset: str | os.PathLike[str] | Store, options: MeshOptions | None = None, *, progress: Progress | None = None
) -> MeshPlan:
    """Decide everything about a meshing without writing anything.

    Parameters and errors are those of :func:`mesh`.
    """
    return make_plan(open_destination(dataset), options or MeshOptions(), progress or NoProgress())


def mesh(
    dataset: str | os.PathLike[str] | Store, options: MeshOptions | None = None, *, progress: Progress | None = None
) -> MeshSummary:
    """Mesh every object of a precomputed segmentation, and link meshes and segment properties in its ``info``.

    Blocks of the volume are meshed with all labels in one pass; each object is then put together, simplified within
    the error bound, given coarser levels of detail, cut into fragments and encoded. Memory is bounded whatever the
    size of the volume or of an object. The result depends on the dataset and the options alone.

    Parameters
    ----------
    dataset
        Directory of a precomputed segmentation, the address of one in a bucket (``s3://…``, ``gs://…``, ``az://…``),
        which is read there and gets its meshes there, or a store.
    options
        See :class:`MeshOptions`.
    progress
        Told what happens; by default nobody is.

    Returns
    -------
    MeshSummary
        Objects, faces, bytes; ``failures`` names the objects that could not be meshed: all others are finished.

    Raises
    ------
    UsageError
        If the options do not fit the dataset.
    ObjectNotFoundError, FormatError, AccessDeniedError
        If the dataset cannot be read.
    SourceError
        If there is no object to mesh, or a file of ids or columns is damaged.
    DestinationExistsError
        If there are meshes already and ``overwrite`` is not set, or other unfinished work is there.
    MemoryBudgetError
        If the memory budget is too small.
    StorageError
        If writing fails. What was finished is kept, and the same call goes on from there.

    Examples
    --------
    >>> import numpy, precast, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> labels = numpy.zeros((20, 20, 20), numpy.uint32)
    >>> labels[4:16, 4:16, 4:16] = 5
    >>> done = precast.convert(labels, folder + "/labels", precast.ConvertOptions(resolution=8, kind="segmentation"))
    >>> precast.mesh(folder + "/labels").objects
    1
    """
    begun = time.perf_counter()
    options = options or MeshOptions()
    progress = progress or NoProgress()
    digests = files_digest([options.include_file, options.exclude_file, options.csv])
    store = open_destination(dataset)
    plan = make_plan(store, options, progress)
    for finding in plan.findings:
        progress.note(f"{finding.severity}: {finding.message}")
    parts = PartsOfDataset(
        work="mesh",
        names=(MESH_DIRECTORY, SEGMENT_PROPERTIES_DIRECTORY),
        merged=(SEGMENT_PROPERTIES_DIRECTORY,),
        last=lambda store: link(plan, store),
    )
    with open_work(store, options.scratch, parts=parts, progress=progress) as work:
        identity = {
            "precast": __version__,
            "volume": plan.volume.info.to_json() | {"mesh": None, "segment_properties": None},
            "labels": [len(plan.rows), int(plan.rows["voxels"].sum())],
            "files": digests,
            "options": options.result_options(),
        }
        ledger = {"identity": identity, "directories": list(parts.names)}
        resumed = work.begin(ledger, overwrite=options.overwrite) is not None
        run = _Run(plan, Places(work.spool, work.parts, work.store), progress, resumed=resumed)
        try:
            summary = run.all(begun)
        finally:
            forget_pieces()
        if summary.objects:
            work.commit()
        else:  # every object failed: what was there stays
            work.remove()
    return summary


class _Task(Protocol):
    @property
    def name(self) -> str: ...

    def run(self, places: Places) -> int: ...


class _Run:
    """One meshing."""

    def __init__(self, plan: MeshPlan, places: Places, progress: Progress, *, resumed: bool) -> None:
        self.plan = plan
        self.places = places
        self.progress = progress
        self.resumed = resumed
        self.resumed_tasks = 0
        self.failures: list[Failure] = []
        self.findings: list[Finding] = list(plan.findings)

    def all(self, begun: float) -> MeshSummary:
        """Do everything but the swap."""
        plan, progress = self.plan, self.progress
        files = self._blocks()
        pieces = self._pieces(files)
        files, pieces = self._rescue(files, pieces)
        objects, names = self._objects(files, pieces)
        sharding = None
        if plan.options.format == "multires" and not plan.options.unsharded:
            size = int(objects["fragment_bytes"].sum() + objects["manifest_bytes"].sum())
            progress.phase("writing", size)
            sharding = choose_mesh_sharding(len(objects), size)
            self._shards(sharding, objects, names)
        written = 0
        if not plan.options.no_properties:
            written, found = write_properties(plan, self.places.store, objects)
            self.findings += found
            for finding in found:
                progress.note(f"{finding.severity}: {finding.message}")
        write_mesh_info(plan, self.places.store, sharding)
        stats = list(self.places.store.list(f"{MESH_DIRECTORY}/"))
        return MeshSummary(
            dataset=plan.store.url,
            format=plan.options.format,
            scale=plan.scale,
            max_error_nm=plan.max_error_nm,
            objects=len(objects),
            faces=int(objects["faces"].sum()),
            all_faces=int(objects["all_faces"].sum()),
            fragments=int(objects["fragments"].sum()),
            levels=int(objects["levels"].max(initial=0)),
            largest_error_nm=float(objects["error_nm"].max(initial=0.0)),
            holes_filled=int(objects["filled"].sum()),
            files=len(stats),
            stored_bytes=sum(stat.size for stat in stats),
            properties=written,
            seconds=time.perf_counter() - begun,
            peak_memory_bytes=peak_rss_bytes(),
            resumed_tasks=self.resumed_tasks,
            failures=tuple(self.failures),
            findings=tuple(self.findings),
        )

    # ---- running tasks

    def _each(self, tasks: Iterable[_Task], weigh: Callable[[int], int]) -> Iterator[tuple[_Task, Exception | None]]:
        """Run tasks on a few threads, never many ahead; yield each with what went wrong with its data, if anything.

        Faults of the storage end the work: they concern everything.
        """
        waiting: dict[Future[int], _Task] = {}
        source = iter(tasks)
        pool = ThreadPoolExecutor(self.plan.workers, thread_name_prefix="precast-mesh")
        try:
            while True:
                while len(waiting) < 2 * self.plan.workers:
                    task = next(source, None)
                    if task is None:
                        break
                    waiting[pool.submit(task.run, self.places)] = task
                if not waiting:
                    return
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    task = waiting.pop(future)
                    try:
                        self.progress.advance(weigh(future.result()))
                        yield task, None
                    except (FormatError, SourceError) as error:
                        yield task, error
        finally:
            for future in waiting:
                future.cancel()
            pool.shutdown(wait=True)

    def _left(self, tasks: Sequence[T], name: Callable[[T], str]) -> list[T]:
        left = [task for task in tasks if not (self.resumed and is_done(self.places.spool, name(task)))]
        self.resumed_tasks += len(tasks) - len(left)
        return left

    # ---- blocks

    def _blocks(self) -> list[str]:
        """Mesh all blocks and return the names of those that are done."""
        plan = self.plan
        tasks = [BlockTask(plan, block) for block in plan.main_blocks()]
        left = self._left(tasks, lambda task: task.name)
        if self.resumed:
            self.progress.note(f"going on with unfinished work: {len(tasks) - len(left)} of {len(tasks)} blocks done")
        self.progress.phase(
            "extracting surfaces", sum(t.block.box.size.volume for t in left) * plan.volume.dtype.itemsize
        )
        return self._run_blocks(tasks, left)

    def _run_blocks(self, tasks: Sequence[BlockTask], left: Sequence[BlockTask]) -> list[str]:
        item = self.plan.volume.dtype.itemsize
        broken = set()
        for task, error in self._each(left, lambda voxels: voxels * item):
            if error is not None:
                broken.add(task.name)
                self._fail_block(task, error)
        return [task.name for task in tasks if task.name not in broken]

    def _fail_block(self, task: Any, error: Exception) -> None:
        """Count every object that may lie in a block that cannot be read as failed."""
        plan, block = self.plan, task.block
        boxes = plan.scale_box(plan.rows, block.scale)
        meets = (boxes[:, 0] < block.box.stop).all(axis=1) & (boxes[:, 1] > block.box.start).all(axis=1)
        where = f"scale {block.scale}, voxels {block.box}"
        ids = plan.rows["id"][meets].tolist() if task.only is None else task.only.tolist()
        self.failures.append(Failure(segment=None, where=where, message=str(error)))
        text = f"a part of it cannot be read: {error}"
        self.failures += [Failure(segment=i, where=where, message=text) for i in ids]

    def _pieces(self, names: Sequence[str]) -> Array:
        """Return the records of all pieces of objects that have not failed, sorted by id."""
        found = [np.zeros(0, PIECE_RECORD)]
        for number, name in enumerate(names):
            arrays, more = load_arrays(self.places.spool, name)
            records = np.zeros(len(arrays["ids"]), PIECE_RECORD)
            records["id"] = arrays["ids"]
            records["file"] = number
            records["piece"] = np.arange(len(records))
            records["faces"] = np.diff(arrays["face_offsets"])
            found.append(records)
            self.failures += [
                Failure(segment=int(i), where=name, message=f"a piece of it cannot be meshed: {text}")
                for i, text in more["failures"]
            ]
        pieces = np.concatenate(found)
        pieces = pieces[~np.isin(pieces["id"], self._failed())]
        return pieces[np.lexsort((pieces["file"], pieces["id"]))]

    def _failed(self) -> Array:
        return np.unique(np.array([f.segment for f in self.failures if f.segment is not None], np.uint64))

    def _rescue(self, files: list[str], pieces: Array) -> tuple[list[str], Array]:
        """Mesh from scale 0 what is too small to be seen at a coarser scale."""
        plan = self.plan
        missing = np.setdiff1d(plan.rows["id"], np.concatenate([pieces["id"], self._failed()]))
        if not len(missing):
            return files, pieces
        if plan.scale > 0:
            rows = plan.rows[np.isin(plan.rows["id"], missing)]
            size, whole = plan.block_size(0), plan.volume.info.scales[0].box
            wanted: dict[tuple[int, int, int], list[int]] = {}
            for segment, (low, high) in zip(rows["id"].tolist(), plan.scale_box(rows, 0).tolist(), strict=True):
                first = [max(0, a - o) // n for a, o, n in zip(low, whole.start, size, strict=True)]
                last = [min(b - o, m) for b, o, m in zip(high, whole.start, whole.size, strict=True)]
                for z in range(first[2] * size.z, last[2], size.z):
                    for y in range(first[1] * size.y, last[1], size.y):
                        for x in range(first[0] * size.x, last[0], size.x):
                            wanted.setdefault((x, y, z), []).append(segment)
            blocks = {tuple(b.box.start.minus(whole.start)): b for b in plan.blocks(0)}
            tasks = [
                BlockTask(plan, blocks[corner], np.array(ids, np.uint64))
                for corner, ids in sorted(wanted.items(), key=lambda item: blocks[item[0]].code)
            ]
            left = self._left(tasks, lambda task: task.name)
            item = plan.volume.dtype.itemsize
            self.progress.phase("small objects", sum(task.block.box.size.volume for task in left) * item)
            files = files + self._run_blocks(tasks, left)
            self.failures = [f for f in self.failures if "a piece of it cannot be meshed" not in f.message]
            pieces = self._pieces(files)
            missing = np.setdiff1d(plan.rows["id"], np.concatenate([pieces["id"], self._failed()]))
        text = "the label table lists it, but no voxel has it: the table does not belong to this volume"
        self.failures += [Failure(segment=i, where="", message=text) for i in missing.tolist()]
        return files, pieces

    # ---- objects

    def _objects(self, files: list[str], pieces: Array) -> tuple[Array, list[str]]:
        """Make all objects; return their records, sorted by id, and for each the name of its task."""
        tasks = list(self._batches(files, pieces))
        left = self._left(tasks, lambda task: task.name)
        self.progress.phase("simplifying", int(sum(int(t.pieces["faces"].sum()) for t in left)) * FACE_BYTES)
        broken: dict[str, Exception] = {}
        for task, error in self._each(left, lambda faces: faces * FACE_BYTES):
            if error is not None:
                broken[task.name] = error
        records, names = [np.zeros(0, OBJECT_RECORD)], []
        for task in tasks:
            if task.name in broken:
                ids = np.unique(task.pieces["id"]).tolist()
                text = str(broken[task.name])
                self.failures += [Failure(segment=i, where=task.name, message=text) for i in ids]
                continue
            arrays, more = load_arrays(self.places.spool, task.name)
            records.append(np.array(arrays["objects"]))
            names += [task.name] * len(records[-1])
            self.failures += [Failure(segment=int(i), where="", message=text) for i, text in more["failures"]]
        objects = np.concatenate(records)
        order = np.argsort(objects["id"], kind="stable")
        objects = objects[order]
        self._check_closed(objects)
        return objects, [names[i] for i in order.tolist()]

    def _batches(self, files: list[str], pieces: Array) -> Iterator[ObjectTask]:
        """Cut the objects into tasks, the largest objects first, so that no thread is left with one at the end."""
        if not len(pieces):
            return
        starts = np.flatnonzero(np.diff(pieces["id"], prepend=0))
        stops = np.append(starts[1:], len(pieces))
        faces = np.add.reduceat(pieces["faces"].astype(np.int64), starts)
        order = np.argsort(-faces, kind="stable").tolist()
        batch: list[int] = []
        size = number = 0
        for at, i in enumerate(order):
            batch.append(i)
            size += int(faces[i])
            if size >= BATCH_FACES or len(batch) >= BATCH_OBJECTS or at + 1 == len(order):
                some = np.concatenate([pieces[starts[k] : stops[k]] for k in sorted(batch)])
                yield ObjectTask(self.plan, number, tuple(files), some)
                batch, size, number = [], 0, number + 1

    def _check_closed(self, objects: Array) -> None:
        """Report surfaces that are not closed although nothing lets them be open: a fault of ours, if it occurs."""
        if self.plan.options.open_border:
            return
        bad = objects["id"][objects["open_vertices"] > 0].tolist()
        if bad:
            self.findings.append(
                notice(
                    "PM102",
                    ", ".join(map(str, bad[:5])),
                    f"{len(bad)} meshes are not closed",
                    "this is a fault in precast; please report it",
                )
            )

    # ---- shards

    def _shards(self, spec: Any, objects: Array, names: list[str]) -> None:
        shard, _ = spec.place(objects["id"].astype(np.uint64))
        files = list(dict.fromkeys(names))
        number = {name: i for i, name in enumerate(files)}
        file_of = np.array([number[name] for name in names], np.int64)
        for which in np.unique(shard).tolist():
            mine = shard == np.uint64(which)
            part = objects[mine]
            ShardTask(spec, which, tuple(files), part, file_of[mine]).run(self.places)
            self.progress.advance(int(part["fragment_bytes"].sum() + part["manifest_bytes"].sum()))
