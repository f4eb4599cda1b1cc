"""The data that all benchmarks run on, and exact references in plain numpy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from bench.harness import REPOSITORY

__all__ = ["Voxels", "electron_microscopy", "labels", "majority", "mean", "require_data", "truncated_mean"]

Voxels = NDArray[Any]

_DATA = REPOSITORY.parent / "shared" / "data"


def require_data() -> Path:
    """Return the folder of test data.

    Raises
    ------
    FileNotFoundError
        If it is absent; the benchmarks measure nothing on made-up data.
    """
    if not (_DATA / "connectomics-256").is_dir():
        raise FileNotFoundError(f"the benchmarks need {_DATA}/connectomics-256 and drosophila-em; see bench/README.md")
    return _DATA


def _stack(name: str) -> Voxels:
    return np.stack([tifffile.imread(path) for path in sorted((require_data() / name).glob("*.tif"))])


@cache
def labels(dtype: str) -> Voxels:
    """Return the label crop, ``uint32`` or ``uint64``, (256, 256, 256), z, y, x."""
    return _stack("connectomics-256").astype(dtype)


@cache
def electron_microscopy(dtype: str) -> Voxels:
    """Return the image, (64, 1024, 1024), z, y, x: 20 sections, there and back again.

    ``uint16`` is derived from ``uint8`` such that all 16 bits are in use.
    """
    image = _stack("drosophila-em")
    image = np.concatenate([image, image[::-1], image, image[::-1]])[:64]
    if dtype == "uint16":
        low = np.random.default_rng(0).integers(0, 256, image.shape, np.uint16)
        return np.asarray(image.astype(np.uint16) * np.uint16(256) + low)
    return np.ascontiguousarray(image)


def _cells(data: Voxels, factors: Sequence[int]) -> Voxels:
    """Return the voxels of each cell along the first axis; extents must be multiples of the factors x, y, z."""
    fx, fy, fz = factors
    z, y, x = data.shape
    split = data.reshape(z // fz, fz, y // fy, fy, x // fx, fx)
    return split.transpose(1, 3, 5, 0, 2, 4).reshape(fx * fy * fz, z // fz, y // fy, x // fx)


def majority(data: Voxels, factors: Sequence[int]) -> tuple[Voxels, NDArray[np.bool_]]:
    """Return the most frequent value of each cell, the lowest of several, and whether it was the only one."""
    cells = np.sort(_cells(data, factors), axis=0)
    counts = np.stack([(cells == value).sum(axis=0, dtype=np.uint8) for value in cells])
    most = counts.max(axis=0)
    # Cells are sorted: the first row that reaches the maximum is the lowest such value.
    first = counts.argmax(axis=0)
    values = np.take_along_axis(cells, first[None], axis=0)[0]
    alone = ((counts == most) & (cells != values)).sum(axis=0) == 0
    return values, alone


def mean(data: Voxels, factors: Sequence[int]) -> Voxels:
    """Return the mean of each cell, rounded half to even, exactly."""
    cells = _cells(data, factors)
    total, count = cells.sum(axis=0, dtype=np.int64), len(cells)
    down, rest = np.divmod(total, count)
    up = (2 * rest > count) | ((2 * rest == count) & (down % 2 == 1))
    return np.asarray((down + up).astype(data.dtype))


def truncated_mean(data: Voxels, factors: Sequence[int]) -> Voxels:
    """Return the mean of each cell, rounded down."""
    cells = _cells(data, factors)
    return np.asarray((cells.sum(axis=0, dtype=np.int64) // len(cells)).astype(data.dtype))
