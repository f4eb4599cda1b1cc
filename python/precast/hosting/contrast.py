"""Which values of an image are black and which are white, from a look at its coarsest scale."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from precast.dataset import Scale, Volume
from precast.geometry import Vec3

__all__ = ["Contrast", "measure_contrast"]

Array = npt.NDArray[Any]

SAMPLE_BYTES = 32 << 20
"""Voxels that are looked at; of larger scales, chunks spread over the whole."""

LOW_SHARE, HIGH_SHARE = 0.005, 0.999
"""Shares of the voxels that may be darker than black, and that are at most white: often only few are very bright."""


GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True)
class Contrast:
    """Values that are shown black and white, and the span of the control that changes them."""

    low: float
    high: float
    least: float
    most: float

    @classmethod
    def given(cls, low: float, high: float) -> Contrast:
        """Return the contrast that somebody chose."""
        return cls(low, high, min(low, high), max(low, high))


def measure_contrast(volume: Volume) -> list[Contrast]:
    """Return a contrast for every channel.

    Values that are not finite do not count; 0 counts only if there is nothing else, because it fills what is not
    there. An image of one value goes from 0 to it.

    Raises
    ------
    FormatError, StorageError
        If the coarsest scale cannot be read.
    """
    scale = min(volume.scales, key=lambda one: one.info.size.volume)
    parts = list(_sample(scale))
    return [_of_values(np.concatenate([part[channel].ravel() for part in parts])) for channel in range(scale.channels)]


def _sample(scale: Scale) -> Iterator[Array]:
    """Yield voxels ``(c, z, y, x)``: all of a small scale, evenly spread chunks of a large one."""
    voxel_bytes = scale.channels * scale.dtype.itemsize
    if scale.info.size.volume * voxel_bytes <= SAMPLE_BYTES:
        yield scale.read(scale.box)
        return
    grid = scale.info.grid
    wanted = min(grid.volume, max(1, SAMPLE_BYTES // (scale.info.chunk_size.volume * voxel_bytes)))
    # steps of the golden section spread over the volume without following any of its axes
    places = {int(turn * GOLDEN % 1 * grid.volume) for turn in range(1, wanted + 1)}
    for at in sorted(places):
        cell = Vec3(at % grid.x, at // grid.x % grid.y, at // (grid.x * grid.y))
        chunk = scale.read_chunk(cell)
        yield np.zeros((scale.channels, 1, 1, 1), scale.dtype) if chunk is None else chunk


def _of_values(values: Array) -> Contrast:
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if not len(values):
        return Contrast(0, 1, 0, 1)
    least, most = values.min().item(), values.max().item()
    if least == most:
        return _constant(least)
    some = values[values != 0]
    low, high = (_share(some, share) for share in (LOW_SHARE, HIGH_SHARE))
    if low == high:
        low, high = least, most
    if values.dtype.kind == "f":
        low, high, least, most = (float(f"{number:.6g}") for number in (low, high, least, most))
    return Contrast(low, high, min(least, low), max(most, high)) if low != high else _constant(low)


def _share(values: Array, share: float) -> float:
    at = math.floor(share * (len(values) - 1) + 0.5)
    number: float = np.partition(values, at)[at].item()
    return number


def _constant(value: float) -> Contrast:
    low, high = (0, value) if value > 0 else (value, 0) if value < 0 else (0, 1)
    return Contrast(low, high, low, high)
