"""Order and place of chunks in shards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy.typing as npt

from precast import _native
from precast.kernels.common import U64, Array, kernel_errors, unsigned

__all__ = ["morton_cells", "morton_codes", "murmurhash3_x86_128"]


def morton_codes(cells: Array, grid: Sequence[int]) -> U64:
    """Return the compressed Morton codes of grid cells: the keys of chunks in the sharded format.

    Parameters
    ----------
    cells
        Integers, shape (n, rank); the axes in the order of ``grid``: x, y, z for chunks.
    grid
        Number of cells along each axis.

    Returns
    -------
    ndarray of uint64, shape (n,)
        For bit 0, 1, ... and for each axis in turn, the bit of the cell's index if 2**bit < cells along the axis.

    Raises
    ------
    UsageError
        If a cell is outside the grid, or the grid needs more than 64 bits.

    Examples
    --------
    >>> morton_codes(np.array([[4, 0, 1]]), (5, 1, 2)).tolist()
    [10]
    """
    with kernel_errors("computing chunk keys"):
        return _native.morton_codes(unsigned(cells, "cells"), list(grid))


def morton_cells(codes: npt.ArrayLike, grid: Sequence[int]) -> U64:
    """Return the cells, shape (n, rank), of compressed Morton codes; the inverse of :func:`morton_codes`.

    Raises
    ------
    FormatError
        If no cell of the grid has one of the codes: codes are read from shards.
    UsageError
        If the codes are not n integers, or the grid needs more than 64 bits.
    """
    with kernel_errors("reading chunk keys"):
        return _native.morton_cells(unsigned(codes, "codes"), list(grid))


def murmurhash3_x86_128(keys: npt.ArrayLike) -> U64:
    """Return the first 8 bytes, as little-endian integers, of murmurhash3_x86_128 of each key.

    The hash (Austin Appleby's, seed 0) is taken over the key's 8 little-endian bytes. ``keys`` are n integers.

    Raises
    ------
    UsageError
        If the keys are not n integers from 0 on.

    Examples
    --------
    >>> f"{murmurhash3_x86_128([42])[0]:016x}"
    'c20b94f95119f47a'
    """
    with kernel_errors("hashing keys"):
        return _native.murmurhash3_x86_128(unsigned(keys, "keys"))
