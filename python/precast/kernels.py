"""The compiled kernels with precast's errors: the only module that imports ``precast._native``.

Arrays are ``(c, z, y, x)`` with contiguous rows of x, or ``(z, y, x)`` for one channel; other axes may be
strided. Vectors are x, y, z. All of them release the interpreter lock while they work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from precast import _native
from precast.errors import FormatError, UsageError
from precast.geometry import Vec3

__all__ = [
    "ChunkCodec",
    "compressed_segmentation_worst_case_words",
    "decode_compressed_segmentation",
    "encode_chunks",
    "gzip_compress",
    "gzip_decompress",
    "morton_cells",
    "morton_codes",
    "murmurhash3_x86_128",
    "version",
]

Array = npt.NDArray[Any]
U64 = npt.NDArray[np.uint64]
Bytes = bytes | bytearray | memoryview

version: str = _native.__version__


@contextmanager
def _errors(what: str) -> Iterator[None]:
    """Turn what the native module raises into precast's errors; ``what`` was done says where."""
    try:
        yield
    except _native.FormatError as error:
        raise FormatError(f"{what}: {error}") from None
    except (ValueError, TypeError, OverflowError) as error:
        raise UsageError(f"{what}: {error}") from None


def _unsigned(values: npt.ArrayLike, what: str) -> U64:
    """Return integers as a C-contiguous uint64 array, none of them changed."""
    array = np.asarray(values)
    if array.size == 0:
        return np.zeros(array.shape, np.uint64)
    if array.dtype.kind not in "iu":
        raise UsageError(f"{what} must be integers, got dtype {array.dtype}")
    if array.dtype.kind == "i" and array.min() < 0:
        raise UsageError(f"{what} must not be negative, got {array.min()}")
    return np.ascontiguousarray(array, np.uint64)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkCodec:
    """How chunks become bytes.

    Attributes
    ----------
    encoding
        ``"raw"`` (any dtype) or ``"compressed_segmentation"`` (uint32, uint64).
    block_size
        Block of compressed_segmentation, x, y, z; None for raw.
    gzip_level
        1 (fast) to 12 (small) wraps each chunk in one gzip member; None leaves it bare.
    skip_zero
        Give None for chunks of only zeros.
    """

    encoding: str
    block_size: Vec3 | None = None
    gzip_level: int | None = None
    skip_zero: bool = False

    def __post_init__(self) -> None:
        if self.encoding not in ("raw", "compressed_segmentation"):
            raise UsageError(f"encoding must be raw or compressed_segmentation, got {self.encoding!r}")
        if (self.encoding == "raw") != (self.block_size is None):
            raise UsageError(
                f"encoding {self.encoding} does not go with block_size {self.block_size}",
                hint="compressed_segmentation needs a block size, such as 8,8,8; raw has none",
            )
        if self.gzip_level is not None and not 0 <= self.gzip_level <= 12:
            raise UsageError(f"gzip_level must be 0 to 12 or None, got {self.gzip_level}")


def encode_chunks(data: Array, *, chunk_size: Sequence[int], codec: ChunkCodec, threads: int) -> list[bytes | None]:
    """Cut an array into chunks and encode each, several at a time.

    Parameters
    ----------
    data
        Voxels (c, z, y, x) or (z, y, x) of dtype uint8, int8, uint16, int16, uint32, int32, uint64 or float32 in native
        byte order. Its first voxel is the first of a chunk. Rows of x must be contiguous; other axes may be strided.
    chunk_size
        In voxels, x, y, z; the last chunks of an axis are cut off where the data end.
    codec
        What to do with each. Raw chunks are little-endian with x fastest and the channel slowest.
    threads
        Threads to use, at least 1; the result does not depend on it.

    Returns
    -------
    list of bytes or None
        All chunks, x fastest, then y, then z. None stands for a chunk that ``codec.skip_zero`` leaves out; a float
        chunk with a negative zero is not one.

    Raises
    ------
    UsageError
        If dtype, layout, sizes or level cannot be used, or the labels of a chunk are so many that the 24-bit offsets of
        compressed_segmentation do not suffice.

    Examples
    --------
    >>> raw = ChunkCodec(encoding="raw")
    >>> encode_chunks(np.array([[[65, 66, 67]]], np.uint8), chunk_size=(2, 1, 1), codec=raw, threads=1)
    [b'AB', b'C']
    """
    if threads < 1:
        raise UsageError(f"threads must be at least 1, got {threads}")
    with _errors("encoding chunks"):
        return _native.encode_chunks(
            data, tuple(chunk_size), codec.block_size, codec.gzip_level, codec.skip_zero, threads
        )


def decode_compressed_segmentation(data: Bytes, block_size: Sequence[int], out: Array) -> None:
    """Decode one chunk.

    Everything that the format allows is read: shared tables, gaps, tables and indices in any order, 32-bit indices.

    Parameters
    ----------
    data
        The encoded chunk, not compressed with gzip.
    block_size
        Voxels, x, y, z.
    out
        Filled with the labels: uint32 or uint64, shape (c, z, y, x) or (z, y, x) of the chunk. Rows of x must be
        contiguous; the other axes may be strided, so it can be a part of a larger array.

    Raises
    ------
    FormatError
        If the bytes are not a chunk of that shape; ``out`` may be partly written then.
    UsageError
        If ``out`` or ``block_size`` cannot be used.
    """
    with _errors("decoding compressed_segmentation"):
        _native.decode_compressed_segmentation(data, tuple(block_size), out)


def compressed_segmentation_worst_case_words(
    chunk_size: Sequence[int], data_type: str, block_size: Sequence[int]
) -> int:
    """Return how many 32-bit words one channel of a chunk can need at most.

    Parameters
    ----------
    chunk_size, block_size
        Voxels, x, y, z.
    data_type
        ``"uint32"`` or ``"uint64"``.

    Returns
    -------
    int
        Block headers, indices and tables if all labels differ. Below 2**24 every chunk can be encoded.

    Raises
    ------
    UsageError
        If the block has more than 65536 voxels, a size is 0, or the type is none of the two.

    Examples
    --------
    >>> compressed_segmentation_worst_case_words((192, 192, 192), "uint64", (8, 8, 8)) < 2**24
    False
    """
    if data_type not in ("uint32", "uint64"):
        raise UsageError(f"compressed_segmentation holds uint32 or uint64, not {data_type}")
    with _errors("sizing compressed_segmentation"):
        return _native.compressed_segmentation_worst_case_words(
            tuple(chunk_size), tuple(block_size), np.dtype(data_type).itemsize
        )


def gzip_compress(data: Bytes, level: int) -> bytes:
    """Return one gzip member (RFC 1952).

    Parameters
    ----------
    data
        Contiguous unsigned bytes.
    level
        libdeflate's: 0 stores, 1 is fast, 12 is small.

    Returns
    -------
    bytes
        Without name, with modification time 0 and operating system 255, so the same on every platform.

    Raises
    ------
    UsageError
        If the level does not exist or ``data`` are not bytes.
    """
    with _errors("compressing with gzip"):
        return _native.gzip_compress(data, level)


def gzip_decompress(data: Bytes, max_size: int) -> bytes:
    """Inflate exactly one gzip member.

    Parameters
    ----------
    data
        Contiguous unsigned bytes.
    max_size
        Most bytes that the result may have. Memory is taken as the data need it, not as their trailer claims.

    Raises
    ------
    FormatError
        If it is damaged, followed by other bytes, or larger than ``max_size``.
    UsageError
        If ``max_size`` is negative or ``data`` are not bytes.
    """
    with _errors("reading gzip data"):
        return _native.gzip_decompress(data, max_size)


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
    with _errors("computing chunk keys"):
        return _native.morton_codes(_unsigned(cells, "cells"), list(grid))


def morton_cells(codes: npt.ArrayLike, grid: Sequence[int]) -> U64:
    """Return the cells, shape (n, rank), of compressed Morton codes; the inverse of :func:`morton_codes`.

    Raises
    ------
    FormatError
        If no cell of the grid has one of the codes: codes are read from shards.
    UsageError
        If the codes are not n integers, or the grid needs more than 64 bits.
    """
    with _errors("reading chunk keys"):
        return _native.morton_cells(_unsigned(codes, "codes"), list(grid))


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
    with _errors("hashing keys"):
        return _native.murmurhash3_x86_128(_unsigned(keys, "keys"))
