"""Guess whether a volume is an image or a segmentation, and say why in a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from precast.geometry import Box, Vec3
from precast.sources.base import Array, Source

__all__ = ["KindGuess", "guess_kind"]

# Side of the window that is looked at in each sampled slice; more would change no guess, only its cost.
WINDOW = 1024
# Share of equal neighbours above which an area counts as made of flat pieces.
FLAT = 0.75
# Steps of 1 between neighbours, with at least so many values, are a gradient; borders of labels jump.
GRADIENT_SHARE = 0.75
GRADIENT_VALUES = 8


@dataclass(frozen=True, slots=True)
class KindGuess:
    """A guess, and the reason for a person to judge it by."""

    kind: Literal["image", "segmentation"]
    reason: str


@dataclass(frozen=True, slots=True)
class _Structure:
    """Counts over pairs of neighbours in the sampled windows.

    ``equal`` and ``unequal`` leave out the pairs of two background or saturated voxels; ``flat`` counts those.
    """

    equal: int
    unequal: int
    flat: int
    steps_of_one: int
    values: int


def guess_kind(source: Source) -> KindGuess:
    """Guess from dtype and channels; for 8- and 16-bit integers from the first, the middle and the last slice.

    Labels are flat pieces with jumps between them; micrographs are noisy, or change in small steps.

    Parameters
    ----------
    source
        Any source; at most three windows of 1024 x 1024 voxels are read.

    Returns
    -------
    KindGuess
        The kind and a one-sentence reason.

    Examples
    --------
    >>> import numpy as np
    >>> from precast.sources import open_source
    >>> guess_kind(open_source(np.zeros((2, 4, 4), np.uint64))).kind
    'segmentation'
    """
    info = source.info
    if info.shape[0] > 1:
        return KindGuess("image", f"it has {info.shape[0]} channels, and a segmentation has one")
    if info.dtype.kind == "f":
        return KindGuess("image", f"its samples are {info.dtype}, and labels are integers")
    if info.lossy:
        return KindGuess("image", "its slices are JPEG, which does not keep labels")
    if info.dtype.kind == "b":
        return KindGuess("segmentation", "its samples are bool: a mask")
    if info.dtype.itemsize >= 4:
        return KindGuess("segmentation", f"its samples are {info.dtype}, which is usual for labels and rare for images")
    return _judge(_structure(_windows(source)), str(info.dtype))


def _windows(source: Source) -> list[Array]:
    """Read the middle of the first, the middle and the last slice, each ``(y, x)``."""
    _, depth, height, width = source.info.shape
    size = Vec3(min(width, WINDOW), min(height, WINDOW), 1)
    corner = Vec3((width - size.x) // 2, (height - size.y) // 2, 0)
    windows = []
    for z in sorted({0, depth // 2, depth - 1}):
        out = np.empty((1, *size.zyx), source.info.dtype)
        source.read(Box.of_size(corner._replace(z=z), size), out)
        windows.append(out[0, 0])
    return windows


def _structure(windows: list[Array]) -> _Structure:
    limits = np.iinfo(windows[0].dtype)
    values = np.unique(np.concatenate([np.unique(window) for window in windows]))
    # 0 is background in labels and in images; the largest value is saturation (also at 10, 12 or 14 bits).
    plain = {0, int(limits.max), int(values[-1])}
    equal = unequal = flat = ones = 0
    for window in windows:
        wide = window.astype(np.int32)
        background = np.isin(window, np.array(sorted(plain), np.int64))
        for axis in (0, 1):
            step = np.abs(np.diff(wide, axis=axis))
            low = background[:-1] if axis == 0 else background[:, :-1]
            same = step == 0
            flat_here = int(np.count_nonzero(same & low))
            flat += flat_here
            equal += int(np.count_nonzero(same)) - flat_here
            unequal += int(np.count_nonzero(~same))
            ones += int(np.count_nonzero(step == 1))
    return _Structure(equal, unequal, flat, ones, len(values))


def _judge(found: _Structure, dtype: str) -> KindGuess:
    pairs = found.equal + found.unequal
    if found.unequal == 0:
        return KindGuess("image", f"every sampled slice is constant, and {dtype} is more often an image")
    if found.values <= 2:
        everything = found.flat + pairs
        share = (found.flat + found.equal) / everything
        if share >= FLAT:
            return KindGuess("segmentation", "the sampled slices hold only two values in large flat areas: a mask")
        return KindGuess("image", "the sampled slices hold only two values, scattered like noise")
    share = found.equal / pairs
    percent = f"{100 * share:.0f} %"
    if share < FLAT:
        return KindGuess(
            "image",
            f"only {percent} of neighbouring voxels are equal (background and saturation aside), labels are flat",
        )
    if found.steps_of_one >= GRADIENT_SHARE * found.unequal and found.values >= GRADIENT_VALUES:
        return KindGuess("image", f"its {found.values} values change in steps of one, like a smooth gradient")
    return KindGuess(
        "segmentation", f"{percent} of neighbouring voxels are equal and the others jump: flat areas with sharp borders"
    )
