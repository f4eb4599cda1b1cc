"""Compare scale 0 of a volume, voxel for voxel, with what it was made from."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt

from precast.checks.blocks import BYTES_BESIDE, SHOWN, BlockMatch, comparison_boxes, match_blocks
from precast.checks.compare_rules import SOURCE, SourceMatch
from precast.checks.context import Context
from precast.checks.work import in_threads
from precast.dataset.volume import Volume
from precast.errors import AccessDeniedError, FormatError, StorageError, UsageError
from precast.findings import Finding
from precast.geometry import Box, Vec3
from precast.precomputed.codecs import codec_of_scale
from precast.sources import Source, SourceOptions, open_source
from precast.storage import CloudStore
from precast.storage.opening import is_bucket

__all__ = ["check_against"]

Array = npt.NDArray[Any]


def check_against(volume: Volume, source: str, context: Context) -> tuple[list[Finding], dict[str, Any]]:
    """Compare a volume with its source.

    Parameters
    ----------
    volume
        Whose scale 0 is compared.
    source
        What ``precast convert`` takes. How missing slices were filled and how axes were named is taken from provenance.
    context
        The dataset, and how to check it.

    Returns
    -------
    tuple
        Findings, and counts: ``compared``, ``differ``; for lossy scales ``mean_difference`` and ``largest_difference``.

    Raises
    ------
    SourceError, ObjectNotFoundError, AccessDeniedError, StorageError
        If the source cannot be read.
    """
    opened = _open(source, context)
    scale = volume.scales[0]
    match = SourceMatch(scale.info.key, opened.info.name)
    match.lossy = codec_of_scale(scale.info, scale.dtype.name, scale.channels, reading=True).lossy
    shape = (scale.channels, *scale.box.size.zyx)
    if opened.info.shape != shape:
        match.shape_problem = (
            f"the volume has {_shape(shape)} voxels, {opened.info.name} has {_shape(opened.info.shape)}"
        )
        return SOURCE.run(match), {}
    voxel_bytes = scale.channels * (scale.dtype.itemsize + opened.info.dtype.itemsize + BYTES_BESIDE)
    boxes = comparison_boxes(scale.box, scale.info.chunk_size, voxel_bytes, context.memory_bytes // context.threads)
    origin = Vec3(0, 0, 0).minus(scale.box.start)

    def one(box: Box) -> BlockMatch:
        wanted = np.empty((scale.channels, *box.size.zyx), opened.info.dtype)
        opened.read(box.shift(origin), wanted)
        try:
            stored = scale.read(box, threads=1)
        except (FormatError, AccessDeniedError, StorageError) as error:
            return BlockMatch(unreadable=(error.where or str(box), error.message))
        if wanted.dtype == np.bool_:
            wanted = wanted.view(np.uint8)
        elif wanted.dtype.kind == "f":
            with np.errstate(over="ignore"):
                wanted = wanted.astype(np.float32, copy=False)
        return match_blocks(stored, wanted, box, ("stored", "source"), distance=match.lossy)

    context.progress.phase(
        f"comparing with {opened.info.name}", scale.box.size.volume * scale.channels * scale.dtype.itemsize
    )
    for found in in_threads(one, boxes, context.threads):
        context.progress.advance(found.bytes)
        match.compared += found.compared
        match.differ += found.differ
        match.total_difference += found.total
        match.largest_difference = max(match.largest_difference, found.largest)
        match.first += found.first[: SHOWN - len(match.first)]
        if found.unreadable is not None:
            match.unreadable.add(*found.unreadable)
    counts: dict[str, Any] = {"source": opened.info.name, "compared": match.compared, "differ": match.differ}
    if match.lossy:
        counts |= {"mean_difference": match.mean_difference, "largest_difference": match.largest_difference}
    return SOURCE.run(match), counts


def _open(source: str, context: Context) -> Source:
    options = context.provenance.options
    gaps, axes = options.get("fill_gaps"), options.get("axes")
    gaps = gaps if gaps in ("zero", "previous") else None
    reached = context.store.options if isinstance(context.store, CloudStore) and is_bucket(source) else None
    if isinstance(axes, str):
        try:
            return open_source(source, SourceOptions(fill_gaps=cast("Any", gaps), axes=axes), reached)
        except UsageError:
            pass  # another form of the same data, in which the axes are as they should be
    return open_source(source, SourceOptions(fill_gaps=cast("Any", gaps)), reached)


def _shape(shape: tuple[int, ...]) -> str:
    c, z, y, x = shape
    return f"{x} x {y} x {z}" + (f" x {c} channels" if c > 1 else "")
