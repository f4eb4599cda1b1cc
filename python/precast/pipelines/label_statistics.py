"""Voxel count, bounding box and centroid of every label: from the table that is stored, or counted anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from precast import kernels
from precast.dataset import Scale, Volume
from precast.dataset.label_table import read_label_table
from precast.errors import SourceError, UsageError
from precast.execution.progress import NoProgress, Progress
from precast.geometry import Box, Vec3
from precast.precomputed.label_table import finish_rows

__all__ = ["count_labels", "label_rows"]

Array = npt.NDArray[Any]

BLOCK_BYTES = 64 << 20
"""Voxels that are held at once."""


def label_rows(volume: Volume, progress: Progress | None = None, *, threads: int = 1) -> Array:
    """Return the label table of a segmentation: the stored one, else counted in one pass over scale 0.

    Parameters
    ----------
    volume
        A segmentation with one channel.
    progress
        Told about the pass, if there is one, in bytes of voxels.
    threads
        Threads for the pass.

    Returns
    -------
    ndarray
        Records of dtype :data:`~precast.precomputed.label_table.LABEL_ROW`, by ascending id.

    Raises
    ------
    UsageError
        If the volume is no segmentation.
    FormatError
        If the stored table or a chunk is damaged.
    SourceError
        If a label is negative.
    """
    if volume.kind != "segmentation":
        raise UsageError(
            f"{volume.store.url} is an image: its voxels are no segments",
            hint="give the directory of a segmentation",
            where=volume.store.url,
        )
    stored = read_label_table(volume.store)
    return count_labels(volume.scales[0], progress, threads=threads) if stored is None else stored


def count_labels(scale: Scale, progress: Progress | None = None, *, threads: int = 1) -> Array:
    """Count the labels of a scale block by block; memory is that of one block and of the table.

    Parameters and errors are those of :func:`label_rows`.
    """
    progress = progress or NoProgress()
    if scale.channels != 1:
        raise UsageError(f"a segmentation has one channel, this one has {scale.channels}")
    box = scale.box
    progress.phase("counting labels", box.size.volume * scale.dtype.itemsize)
    table = kernels.LabelTable()
    for block in box.tiles(_block_size(scale)):
        data = scale.read(block, threads=max(threads, 4))
        table.update(_unsigned(data, scale, block), block.start.minus(box.start), threads=threads)
        progress.advance(data.nbytes)
    return finish_rows(table.take(), box.start)


def _block_size(scale: Scale) -> Vec3:
    """Return whole chunks that fit :data:`BLOCK_BYTES`: a row along x first, then y, then z."""
    chunk, size = scale.info.chunk_size, scale.info.size
    room = max(1, BLOCK_BYTES // (chunk.volume * scale.dtype.itemsize))
    counts = []
    for cells in size.ceildiv(chunk):
        counts.append(min(cells, room))
        room = max(1, room // cells)
    return chunk.times(counts)


def _unsigned(data: Array, scale: Scale, block: Box) -> Array:
    """Return labels as the kernel takes them."""
    if data.dtype.kind == "f":
        raise UsageError(f"labels are whole numbers, this volume holds {data.dtype}")
    if data.dtype.kind == "i":
        if int(data.min()) < 0:
            text = f"scale {scale.info.key} holds the negative label {data.min()} in the voxels {block}"
            raise SourceError(text, hint="convert the labels to unsigned numbers", where=scale.info.key)
        return data.astype(np.uint32)
    return data if data.dtype.itemsize >= 4 else data.astype(np.uint32)
