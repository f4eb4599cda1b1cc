"""Everything that is decided before meshing begins: scale, error bound, objects, blocks. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from precast.dataset import Volume, open_volume
from precast.errors import DestinationExistsError, MemoryBudgetError, SourceError, UsageError
from precast.execution.memory import default_budget_bytes
from precast.execution.progress import Progress
from precast.execution.sending import SENDING_BYTES
from precast.findings import Finding, notice
from precast.geometry import Box, Vec3
from precast.kernels import Simplification
from precast.pipelines.label_statistics import label_rows
from precast.pipelines.mesh.frame import UNITS, Frame
from precast.pipelines.mesh.levels import GROUP_FACES, LevelRules
from precast.pipelines.mesh.octree import morton
from precast.pipelines.mesh.options import MAX_ID, MeshOptions
from precast.storage import LocalStore, Store

__all__ = ["MESH_DIRECTORY", "Block", "MeshPlan", "make_plan"]

Array = npt.NDArray[Any]

MESH_DIRECTORY = "mesh"
BLOCK_VOXELS = 128
"""About the edge of a block; whole chunks."""
BLOCK_SHARE = 0.86
"""Share of the error bound that simplification within blocks may use; the rest is for whole objects."""
BLOCK_RMS_SHARE = 0.5
"""Share of the error bound that the mean distance of a vertex's surroundings may reach within blocks."""
PATCH_VOXELS = 2
"""Edge of the patches that are merged first within blocks, where their planes meet well; 0 would be slower by half."""
SMALL_VOXELS = 4_000
"""Objects of at most so many voxels are simplified as a whole only: within a block, half of one could become flat."""
FEW = 10_000
"""Blocks without any of so few selected objects are not read."""
MOST_VOXELS = 2**31 // UNITS - 2**16
"""Coordinates beyond do not fit 32 bits in lattice units."""
FULL_FACE_BYTES = 120
"""Memory of the meshing of a block per face of its largest surface: mesh, quadrics, adjacency, search grid."""
GROUP_FACE_BYTES = 250


@dataclass(frozen=True, slots=True)
class Block:
    """A box of voxels of one scale whose surfaces are extracted together."""

    scale: int
    box: Box
    code: int


@dataclass(frozen=True)
class MeshPlan:
    """A decided meshing.

    Attributes
    ----------
    store
        The dataset.
    options
        As given.
    scale
        The scale that is meshed.
    max_error_nm
        Bound of the distance between the finest level and the surface of the voxels.
    rows
        Label table of the objects to mesh, by ascending id.
    labels
        Number of labels of the volume.
    findings
        What was noticed.
    """

    store: Store
    options: MeshOptions
    scale: int
    max_error_nm: float
    rows: Array
    labels: int
    findings: tuple[Finding, ...]
    budget_bytes: int
    threads: int

    @cached_property
    def volume(self) -> Volume:
        """The open volume."""
        return open_volume(self.store)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "volume"}

    @property
    def everything(self) -> bool:
        """Whether all labels of the volume are meshed."""
        return len(self.rows) == self.labels

    @property
    def only(self) -> npt.NDArray[np.uint64] | None:
        """Ids that get a surface, ascending; None for all."""
        return None if self.everything else self.rows["id"].astype(np.uint64)

    def small(self, scale: int) -> npt.NDArray[np.uint64]:
        """Return the ids of objects that are simplified as a whole only, ascending."""
        return np.asarray(self.rows["id"][self._small(self.rows, scale)], np.uint64)

    def is_small(self, segment: int, scale: int) -> bool:
        """Return whether an object is simplified as a whole only."""
        row = np.searchsorted(self.rows["id"], np.uint64(segment))
        return bool(self._small(self.rows[row : row + 1], scale).all())

    def _small(self, rows: Array, scale: int) -> npt.NDArray[np.bool_]:
        factor = float(np.prod(self.frame(scale).stored_per_voxel))
        return np.asarray(rows["voxels"] <= SMALL_VOXELS * factor)

    def frame(self, scale: int) -> Frame:
        """Return the coordinates of a scale."""
        scales = self.volume.info.scales
        return Frame.of(scale, scales[scale].resolution, scales[0].resolution)

    def simplification(self, scale: int) -> Simplification:
        """Return how surfaces of blocks are simplified."""
        frame = self.frame(scale)
        # no more than cutting leaves over, which comes last and cannot do with less
        bound = min(
            BLOCK_SHARE * self.max_error_nm, max(0.0, self.max_error_nm - frame.cutting(self.max_error_nm).error_nm)
        )
        if self.options.faces is not None:
            # a block does not know how many faces its objects may keep: it takes away what nobody sees
            bound = min(bound, min(frame.voxel_nm) / 2)
        return Simplification(
            unit_nm=frame.unit_nm,
            max_error_nm=bound,
            max_rms_nm=BLOCK_RMS_SHARE * self.max_error_nm,
            patch=PATCH_VOXELS * UNITS,
            # half as coarse as the finest level's lattice: positions near seams are moved once more
            snap=Vec3.of([max(1, n // 2) for n in frame.snap(self.max_error_nm, 0)]),
        )

    @property
    def rules(self) -> LevelRules:
        """What decides about levels."""
        legacy = self.options.format == "legacy"
        return LevelRules(
            max_error_nm=self.max_error_nm,
            faces=self.options.faces,
            most_levels=1 if legacy else self.options.levels or 16,
            fill_cavities=self.options.fill_holes,
        )

    def block_size(self, scale: int) -> Vec3:
        """Return the size of the blocks of a scale: about :data:`BLOCK_VOXELS`, in whole chunks."""
        chunk = self.volume.info.scales[scale].chunk_size
        return chunk.map(lambda c, _: c * max(1, round(BLOCK_VOXELS / c)), chunk)

    def blocks(self, scale: int, box: Box | None = None) -> list[Block]:
        """Return the blocks of a scale, or those that meet ``box``, in Z-curve order."""
        whole = self.volume.info.scales[scale].box
        size = self.block_size(scale)
        found = []
        for tile in whole.tiles(size):
            if box is None or not tile.intersect(box).empty:
                cell = tile.start.minus(whole.start).floordiv(size)
                found.append(Block(scale, tile, morton(cell)))
        return sorted(found, key=lambda block: block.code)

    def scale_box(self, rows: Array, scale: int) -> Array:
        """Return the boxes of label rows in voxels of a scale, grown by a voxel: shape (n, 2, 3), x, y, z."""
        factor = np.array(self.frame(scale).stored_per_voxel)
        low = np.floor(rows["start"] / factor) - 1
        high = np.ceil(rows["stop"] / factor) + 1
        return np.stack([low, high], axis=1).astype(np.int64)

    def main_blocks(self) -> list[Block]:
        """Return the blocks of the meshed scale that can hold a selected object."""
        blocks = self.blocks(self.scale)
        if self.everything or len(self.rows) > FEW:
            return blocks
        boxes = self.scale_box(self.rows, self.scale)
        kept = []
        for block in blocks:
            meets = (boxes[:, 0] < block.box.stop).all(axis=1) & (boxes[:, 1] > block.box.start).all(axis=1)
            if meets.any():
                kept.append(block)
        return kept

    def closed(self, block: Block) -> tuple[tuple[bool, bool], ...]:
        """Return for x, y, z whether surfaces close at the low and the high side of a block."""
        whole = self.volume.info.scales[block.scale].box
        close = not self.options.open_border
        return tuple(
            (close and a == low, close and b == high)
            for a, b, low, high in zip(block.box.start, block.box.stop, whole.start, whole.stop, strict=True)
        )

    @property
    def workers(self) -> int:
        """Threads that fit the memory budget."""
        return max(1, min(self.threads, self.budget_bytes // self.worker_bytes))

    @property
    def worker_bytes(self) -> int:
        """Memory that one thread may need: a block with its surfaces, or a group of an object's faces."""
        size = self.block_size(self.scale)
        voxels = size.plus((1, 1, 1)).volume * self.volume.dtype.itemsize
        dense = size.volume // 2  # faces of one block, all labels: densely packed neurites stay below
        return max(2 * voxels + dense * 30 + dense // 8 * FULL_FACE_BYTES, GROUP_FACES * GROUP_FACE_BYTES)


def make_plan(store: Store, options: MeshOptions, progress: Progress) -> MeshPlan:
    """Decide everything about a meshing; reads the label table, or counts the labels where there is none."""
    volume = open_volume(store)
    _check_volume(volume, options)
    findings: list[Finding] = []
    finest = volume.info.scales[0].resolution
    max_error = float(options.max_error if options.max_error is not None else max(finest))
    scale = _choose_scale(volume, options, max_error)
    box = volume.info.scales[scale].box
    if max(map(abs, (*box.start, *box.stop))) > MOST_VOXELS:
        raise UsageError(
            f"scale {scale} has voxels at {box}, meshes reach to {MOST_VOXELS}", hint="mesh a coarser --scale"
        )
    rows = label_rows(volume, progress, threads=options.thread_count)
    chosen = _select(rows, options, findings)
    if not len(chosen):
        raise SourceError(
            f"{volume.store.url} has no object to mesh: {len(rows)} labels, none of them selected",
            hint="see --min-voxels, --include and --exclude",
            where=volume.store.url,
        )
    budget = options.memory or default_budget_bytes()
    if not isinstance(store, LocalStore):
        budget -= min(SENDING_BYTES, budget // 4)
    plan = MeshPlan(
        store=store,
        options=options,
        scale=scale,
        max_error_nm=max_error,
        rows=chosen,
        labels=len(rows),
        findings=tuple(findings),
        budget_bytes=budget,
        threads=options.thread_count,
    )
    if plan.worker_bytes > plan.budget_bytes:
        need = -(-plan.worker_bytes // 2**20)
        raise MemoryBudgetError(
            f"meshing takes {need} MiB of buffers, the memory budget is {plan.budget_bytes / 2**20:.0f} MiB",
            hint=f"give --memory {need}MiB or more",
        )
    return plan


def _check_volume(volume: Volume, options: MeshOptions) -> None:
    url = volume.store.url
    if volume.kind != "segmentation":
        raise UsageError(f"{url} is an image: only a segmentation has objects to mesh", where=url)
    if volume.dtype not in (np.dtype(np.uint32), np.dtype(np.uint64), np.dtype(np.uint8), np.dtype(np.uint16)):
        raise UsageError(f"{url} holds {volume.dtype}; labels to mesh are unsigned integers", where=url)
    if volume.info.mesh is not None and not options.overwrite:
        raise DestinationExistsError(
            f"{url} has meshes already, in {volume.info.mesh}",
            hint="give --overwrite to replace them: they stay whole until the new ones are complete",
            where=url,
        )


def _choose_scale(volume: Volume, options: MeshOptions, max_error: float) -> int:
    scales = volume.info.scales
    if isinstance(options.scale, int):
        if options.scale >= len(scales):
            raise UsageError(
                f"{volume.store.url} has the scales 0 to {len(scales) - 1}, not --scale {options.scale}",
                where=volume.store.url,
            )
        return options.scale
    fitting = [k for k, scale in enumerate(scales) if max(scale.resolution) <= max_error and not scale.hidden]
    return max(fitting, default=0)


def _select(rows: Array, options: MeshOptions, findings: list[Finding]) -> Array:
    keep = rows["voxels"] >= np.uint64(options.min_voxels)
    ids = rows["id"]
    for given, path, wanted in (
        (options.include, options.include_file, True),
        (options.exclude, options.exclude_file, False),
    ):
        named = [*(given or ()), *(read_ids(path) if path is not None else ())]
        if given is None and path is None:
            continue
        listed = np.unique(np.array(named, np.uint64))
        keep &= np.isin(ids, listed) == wanted
        missing = np.setdiff1d(listed, ids)
        if len(missing) and wanted:
            some = ", ".join(str(i) for i in missing[:5].tolist()) + (" ..." if len(missing) > 5 else "")
            findings.append(
                notice(
                    "PM101",
                    path or "--include",
                    f"{len(missing)} of {len(listed)} included ids are not in the volume: {some}",
                )
            )
    return rows[keep]


def read_ids(path: str) -> list[int]:
    """Read ids from a text file: whole numbers, separated by spaces, commas or lines; ``#`` begins a comment.

    Raises
    ------
    SourceError
        If something else stands there; names the line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot read the ids in {path}: {error}", where=path) from None
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for word in line.partition("#")[0].replace(",", " ").split():
            if not word.isascii() or not word.isdigit() or not 1 <= int(word) <= MAX_ID:
                raise SourceError(
                    f"{path}, line {number}: {word!r} is not the id of an object",
                    hint="ids are whole numbers from 1 to 2^64 - 1, separated by spaces, commas or lines",
                    where=path,
                )
            found.append(int(word))
    return found


def files_digest(paths: Sequence[str | None]) -> dict[str, str]:
    """Return the SHA-256 of each file that was given, so that a changed one is other work.

    Raises
    ------
    SourceError
        If one cannot be read.
    """
    found = {}
    for path in paths:
        if path is not None:
            try:
                found[path] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            except OSError as error:
                raise SourceError(f"cannot read {path}: {error.strerror}", where=path) from None
    return found
