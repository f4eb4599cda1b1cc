"""The label table: count, box and centroid of every label of a segmentation, beside its voxels.

Stored as ``label_table.npy``, a one-dimensional NumPy array sorted by ``id``:

===========  ========  ======================================================================
field        type      meaning
===========  ========  ======================================================================
``id``       uint64    the label; 0, the background, has no row
``voxels``   uint64    number of scale-0 voxels
``start``    3 int64   lowest voxel, x, y, z, absolute (voxel offset included)
``stop``     3 int64   one past the highest voxel
``centroid`` 3 float64 mean position, x, y, z, in voxels; the middle of voxel i is i + 0.5
===========  ========  ======================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LABEL_ROW", "finish_rows", "merge_partial"]

LABEL_ROW = np.dtype(
    [("id", "<u8"), ("voxels", "<u8"), ("start", "<i8", 3), ("stop", "<i8", 3), ("centroid", "<f8", 3)]
)

Array = npt.NDArray[Any]
MERGE_ROWS = 1 << 18
"""Rows that are merged at once; about 80 bytes each, several times over."""


def merge_partial(parts: Sequence[Array], offset: Sequence[int], rows: int = MERGE_ROWS) -> Iterator[Array]:
    """Merge the tables of blocks into rows of the label table, in ascending order, a bounded number at a time.

    Parameters
    ----------
    parts
        Tables as :class:`precast.kernels.LabelTable` gives them, each sorted by id, with coordinates relative to the
        first voxel of the volume. Memory maps are read piece by piece.
    offset
        ``voxel_offset`` of scale 0, x, y, z.
    rows
        About how many partial rows are held at a time.

    Yields
    ------
    ndarray
        Rows of dtype ``LABEL_ROW``; every label once over all of them.
    """
    at = [0] * len(parts)
    step = max(1, rows // max(1, len(parts)))
    while True:
        open_parts = [i for i, part in enumerate(parts) if at[i] < len(part)]
        if not open_parts:
            return
        # every id up to the smallest "last id of the next piece" is complete in these pieces
        heads = {i: np.asarray(parts[i][at[i] : at[i] + step]) for i in open_parts}
        limit = min(int(head["id"][-1]) for i, head in heads.items())
        taken = []
        for i, head in heads.items():
            count = int(np.searchsorted(head["id"], np.uint64(limit), side="right"))
            at[i] += count
            taken.append(head[:count])
        yield finish_rows(np.concatenate(taken), offset)


def finish_rows(partial: Array, offset: Sequence[int]) -> Array:
    """Combine partial rows, in any order, into rows of the label table, sorted by id."""
    partial = partial[np.argsort(partial["id"], kind="stable")]
    ids, first = np.unique(partial["id"], return_index=True)
    table = np.zeros(len(ids), LABEL_ROW)
    table["id"] = ids
    table["voxels"] = np.add.reduceat(partial["voxels"], first)
    table["start"] = np.minimum.reduceat(partial["min"].astype(np.int64), first, axis=0) + np.array(offset, np.int64)
    table["stop"] = np.maximum.reduceat(partial["max"].astype(np.int64), first, axis=0) + np.array(offset, np.int64)
    # sums may exceed 64 bits: add halves, then carry, so that the result is exact whatever the blocks were
    low = np.add.reduceat(partial["sum"] & np.uint64(0xFFFFFFFF), first, axis=0)
    high = np.add.reduceat(partial["sum"] >> np.uint64(32), first, axis=0) + (low >> np.uint64(32))
    low &= np.uint64(0xFFFFFFFF)
    voxels = table["voxels"].astype(np.float64)[:, None]
    mean = (high.astype(np.float64) * 2.0**32 + low.astype(np.float64)) / voxels
    table["centroid"] = mean + np.array(offset, np.float64) + 0.5
    return table
