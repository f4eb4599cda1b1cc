"""Compare two volumes block by block, in threads and bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from precast.geometry import Box, Vec3

__all__ = ["BlockMatch", "comparison_boxes", "match_blocks"]

Array = npt.NDArray[Any]

SHOWN = 5
BYTES_BESIDE = 8
"""Bytes that a comparison takes for each voxel beside the two blocks."""


@dataclass(slots=True)
class BlockMatch:
    """What the comparison of two blocks found.

    Attributes
    ----------
    bytes
        Decoded size of the first block, for progress.
    compared, differ
        Voxels, all channels.
    first
        The first that differ.
    total, largest
        Sum and maximum of the absolute differences, where they were asked for.
    unreadable
        Why a block could not be read, if so: place and reason.
    """

    bytes: int = 0
    compared: int = 0
    differ: int = 0
    first: list[str] = field(default_factory=list)
    total: float = 0.0
    largest: float = 0.0
    unreadable: tuple[str, str] | None = None


def comparison_boxes(box: Box, chunk: Vec3, voxel_bytes: int, room_bytes: int) -> Iterator[Box]:
    """Yield boxes that cover ``box``, made of whole chunks, layer after layer, that fit a thread's share of memory.

    Layers are as wide as possible, because sources are read slice by slice.
    """
    size = box.size
    room = max(1, room_bytes // max(1, voxel_bytes))
    step = [size.x, size.y, min(size.z, chunk.z)]
    for axis in (1, 0):
        others = step[0] * step[1] * step[2] // step[axis]
        fitting = room // max(1, others)
        if fitting < step[axis]:
            step[axis] = min(step[axis], max(1, fitting // chunk[axis]) * chunk[axis])
    yield from box.tiles(step)


def match_blocks(a: Array, b: Array, box: Box, names: tuple[str, str], *, distance: bool) -> BlockMatch:
    """Compare two blocks ``(c, z, y, x)`` of the voxels ``box``.

    Parameters
    ----------
    a, b
        Blocks of any number types; NaN equals NaN.
    box
        Where they lie, for the places of differences.
    names
        What to call the two.
    distance
        Measure how far the values are apart, too.
    """
    different = a != b
    if a.dtype.kind == "f" and b.dtype.kind == "f":
        different &= ~(np.isnan(a) & np.isnan(b))
    found = BlockMatch(bytes=a.nbytes, compared=a.size, differ=int(different.sum()))
    if found.differ:
        for c, z, y, x in np.argwhere(different)[:SHOWN].tolist():
            place = box.start.plus((x, y, z))
            channel = f", channel {c}" if len(a) > 1 else ""
            text = f"{place}{channel}: {names[0]} {a[c, z, y, x]}, {names[1]} {b[c, z, y, x]}"
            found.first.append(text)
        if distance:
            apart = np.abs(a.astype(np.float64) - b.astype(np.float64))
            found.total, found.largest = float(apart.sum()), float(apart.max())
    return found
