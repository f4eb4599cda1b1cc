"""Reductions, labels and digests of voxels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from precast import _native
from precast.errors import UsageError
from precast.geometry import Box, Vec3, ceil_div
from precast.kernels.common import kernel_errors

__all__ = [
    "LABEL_DTYPE",
    "DownsampleMethod",
    "LabelTable",
    "downsample",
    "downsample_domain",
    "format_digest",
    "voxel_digest",
]

DownsampleMethod = Literal["mean", "min", "max", "stride", "majority", "majority_sparse"]


LABEL_DTYPE: np.dtype[np.void] = np.dtype(
    [("id", "<u8"), ("voxels", "<u8"), ("min", "<u4", 3), ("max", "<u4", 3), ("sum", "<u8", 3)]
)
"""One record of a label table; vectors are x, y, z; ``max`` is one above the highest coordinate."""


_DATA_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32")


def _checked(data: npt.NDArray[Any], threads: int, what: str) -> npt.NDArray[Any]:
    if data.ndim != 4:
        raise UsageError(
            f"{what}: an array (c, z, y, x) is needed, got {data.ndim} axes of shape {data.shape}",
            hint="add the channel axis with data[numpy.newaxis]",
        )
    if data.dtype.name not in _DATA_TYPES or not data.dtype.isnative:
        raise UsageError(f"{what}: dtype {data.dtype} is not one of {', '.join(_DATA_TYPES)} in native byte order")
    if threads < 1:
        raise UsageError(f"{what}: at least one thread is needed, got {threads}")
    return data


def downsample_domain(start: Sequence[int], size: Sequence[int], factors: Sequence[int]) -> Box:
    """Return the cells that a block is reduced to.

    Parameters
    ----------
    start, size
        The block in voxels of the finer scale, x, y, z; ``start`` may be negative.
    factors
        Whole numbers from 1 on, x, y, z.

    Returns
    -------
    Box
        From ``floor(start / factor)`` to ``ceil((start + size) / factor)`` per axis, in voxels of the coarser
        scale: TensorStore's domain of a downsampled mean. An axis without voxels has no cells.

    Raises
    ------
    UsageError
        If a factor is below 1 or a size negative.

    Examples
    --------
    >>> str(downsample_domain((-3, 0, 5), (7, 4, 1), (2, 2, 1)))
    '[-2,0,5 .. 2,2,6)'
    """
    begin, extent, step = Vec3.of(start), Vec3.of(size), Vec3.of(factors)
    if min(step) < 1:
        raise UsageError(f"factors must be whole numbers from 1 on, got {step}")
    if min(extent) < 0:
        raise UsageError(f"a size must not be negative, got {extent}")
    first = begin.floordiv(step)
    stop = begin.plus(extent).map(ceil_div, step)
    return Box(first, Vec3(*(b if n else a for a, b, n in zip(first, stop, extent, strict=True))))


def downsample(
    data: npt.NDArray[Any],
    factors: Sequence[int],
    method: DownsampleMethod,
    *,
    start: Sequence[int] = (0, 0, 0),
    out: npt.NDArray[Any] | None = None,
    threads: int = 1,
) -> npt.NDArray[Any]:
    """Reduce a block by whole factors.

    Cells are aligned to global multiples of the factors; a cell that sticks out of the block is computed from
    its voxels inside alone. The values are those of TensorStore's ``downsample``, with two differences: the
    mean of float32 is accumulated in double precision, and ``"stride"`` takes the first voxel in bounds on
    the same domain as the other methods.

    Parameters
    ----------
    data
        Shape (c, z, y, x); 8 to 64 bit integers or float32.
    factors
        Whole numbers from 1 on, x, y, z. Factors of 1 and 2 are fast.
    method
        ``"mean"``: integers exact and rounded half to even, float32 rounded once, NaN propagates.
        ``"min"``, ``"max"``: NaN is ignored; only NaN gives ``inf`` and ``-inf``.
        ``"stride"``: the first voxel.
        ``"majority"``: the most frequent value, of several the lowest; NaN is one value, above all numbers.
        ``"majority_sparse"``: the same without counting 0; 0 if there is nothing else.
    start
        Absolute coordinate of the first voxel, x, y, z; it may be negative.
    out
        Array for the result with the dtype of ``data`` and x contiguous, not overlapping ``data`` in memory;
        a new one if absent.
    threads
        Most threads to use.

    Returns
    -------
    numpy.ndarray
        ``out``, shape (c, z', y', x') with the extent of :func:`downsample_domain`.

    Raises
    ------
    UsageError
        If a dtype, shape, factor or method does not fit.

    Examples
    --------
    >>> labels = np.array([[[[7, 7, 2], [3, 7, 2]]]], dtype=np.uint32)
    >>> downsample(labels, (2, 2, 1), "majority").tolist()
    [[[[7, 2]]]]
    """
    what = "downsample"
    _checked(data, threads, what)
    if method not in get_args(DownsampleMethod):
        raise UsageError(f"{what}: unknown method {method!r}; allowed: {', '.join(get_args(DownsampleMethod))}")
    domain = downsample_domain(start, Vec3(data.shape[3], data.shape[2], data.shape[1]), factors)
    shape = (data.shape[0], *domain.size.zyx)
    if out is None:
        out = np.empty(shape, data.dtype)
    elif out.shape != shape or out.dtype != data.dtype:
        raise UsageError(f"{what}: out must be {data.dtype} of shape {shape}, got {out.dtype} of shape {out.shape}")
    elif np.may_share_memory(out, data):
        raise UsageError(f"{what}: out must not overlap the data in memory")
    with kernel_errors(what):
        _native.downsample(data, out, Vec3.of(start), Vec3.of(factors), method, threads)
    return out


class LabelTable:
    """Voxel count, bounding box and coordinate sums of every label but 0, exact whatever the order of blocks.

    Coordinates count from the volume's first voxel. Calls from several threads take turns. The sums have 64
    bits: enough for every label of up to 2^32 voxels, and for larger ones as long as voxels times coordinate
    stay below 2^64; beyond that there is an error, never a wrong number.

    Examples
    --------
    >>> table = LabelTable()
    >>> table.update(np.array([[[[5, 5, 0, 9]]]], dtype=np.uint64), (10, 0, 0))
    >>> [(int(r["id"]), int(r["voxels"]), r["max"].tolist()) for r in table.take()]
    [(5, 2, [12, 1, 1]), (9, 1, [14, 1, 1])]
    """

    def __init__(self) -> None:
        self._table = _native.LabelTable()

    def __len__(self) -> int:
        return len(self._table)

    def update(self, data: npt.NDArray[Any], start: Sequence[int], threads: int = 1) -> None:
        """Add the voxels of a block; no voxel may be added twice.

        Parameters
        ----------
        data
            Shape (1, z, y, x), uint32 or uint64.
        start
            First voxel of the block from the volume's first voxel, x, y, z; the block must end below 2^32.
        threads
            Most threads to use.

        Raises
        ------
        UsageError
            If the dtype, shape or position does not fit, or a sum exceeds 64 bits; then the table is of no use.
        """
        what = "label table"
        _checked(data, threads, what)
        with kernel_errors(what):
            self._table.update(data, Vec3.of(start), threads)

    def merge(self, records: npt.NDArray[np.void]) -> None:
        """Add the records of another table, as :meth:`take` returned them.

        Raises
        ------
        UsageError
            If the dtype is not :data:`LABEL_DTYPE`, a record is impossible or a sum exceeds 64 bits.
        """
        if records.dtype != LABEL_DTYPE or records.ndim != 1:
            raise UsageError(
                f"label table: records must be one-dimensional of kernels.LABEL_DTYPE, "
                f"got {records.ndim} axes of {records.dtype}"
            )
        words = np.frombuffer(np.ascontiguousarray(records).tobytes(), np.uint64).reshape(-1, 8)
        with kernel_errors("label table"):
            self._table.merge(words)

    def take(self) -> npt.NDArray[np.void]:
        """Return the records by ascending id, and empty the table.

        Returns
        -------
        numpy.ndarray
            One-dimensional, :data:`LABEL_DTYPE`: ``id``, ``voxels``, ``min`` (inclusive) and ``max`` (exclusive)
            coordinates x, y, z, and ``sum`` of the coordinates x, y, z. The centroid, in voxels from the corner
            of the first voxel, is ``sum / voxels + 0.5``.
        """
        records: npt.NDArray[np.void] = self._table.take().reshape(-1).view(LABEL_DTYPE)
        return records


def voxel_digest(
    data: npt.NDArray[Any], start: Sequence[int], size: Sequence[int], threads: int = 1
) -> tuple[int, int]:
    """Return the share of a block in the voxel digest of its volume.

    The shares of disjoint blocks, added modulo 2^64, are the digest's two lanes; blocks of zeros have the
    share (0, 0). The definition is in ``docs/voxel-digest.md``.

    Parameters
    ----------
    data
        Shape (c, z, y, x) with all channels of the volume; 8 to 64 bit integers or float32, taken by their bits.
    start
        First voxel of the block from the volume's first voxel, x, y, z.
    size
        Extent of the volume, x, y, z.
    threads
        Most threads to use.

    Raises
    ------
    UsageError
        If the dtype or shape does not fit, or the block does not lie inside the volume.

    Examples
    --------
    >>> block = np.ones((1, 1, 2, 2), np.uint8)
    >>> low, high = (voxel_digest(block, (x, 0, 0), (4, 2, 1)) for x in (0, 2))
    >>> whole = voxel_digest(np.ones((1, 1, 2, 4), np.uint8), (0, 0, 0), (4, 2, 1))
    >>> whole == tuple((a + b) % 2**64 for a, b in zip(low, high, strict=True))
    True
    """
    what = "voxel digest"
    _checked(data, threads, what)
    bits = data.view(f"u{data.dtype.itemsize}")
    with kernel_errors(what):
        return _native.voxel_digest(bits, Vec3.of(start), Vec3.of(size), threads)


def format_digest(lanes: tuple[int, int], size: Sequence[int], channels: int, dtype: str) -> str:
    """Return the printed digest of a volume, which covers its shape and data type too.

    Parameters
    ----------
    lanes
        The sum of the shares of all blocks modulo 2^64, from :func:`voxel_digest`.
    size
        Extent of the volume, x, y, z.
    channels
        Number of channels.
    dtype
        Name of the data type as in ``info``, for example ``"uint8"``.

    Returns
    -------
    str
        ``voxels1:`` and 32 hexadecimal digits.

    Raises
    ------
    UsageError
        If the data type is unknown or a number does not fit 64 bits.

    Examples
    --------
    >>> format_digest((0, 0), (1, 1, 1), 1, "uint8")
    'voxels1:4c3c9d39d303faf2bd4dbe3eb109c9d0'
    """
    if dtype not in _DATA_TYPES:
        raise UsageError(f"voxel digest: unknown data type {dtype!r}; allowed: {', '.join(_DATA_TYPES)}")
    with kernel_errors("voxel digest"):
        return _native.format_digest(lanes, Vec3.of(size), channels, dtype)
