"""The compiled kernels with precast's errors: the only module that imports ``precast._native``.

Arrays are ``(c, z, y, x)`` with contiguous rows of x, or ``(z, y, x)`` for one channel; other axes may be strided. Vectors
are x, y, z. All of them release the interpreter lock while they work.
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

version: str = _native.__version__


@contextmanager
def _arguments() -> Iterator[None]:
    """Turn what the native side says about arguments into our error."""
    try:
        yield
    except (ValueError, TypeError, OverflowError) as error:
        raise UsageError(str(error)) from None


@contextmanager
def _bytes_read() -> Iterator[None]:
    """Turn what the native side says about bytes into our error."""
    try:
        yield
    except (ValueError, OverflowError) as error:
        raise FormatError(str(error)) from None


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
    block_size: Vec3 | None
    gzip_level: int | None
    skip_zero: bool

    def __post_init__(self) -> None:
        if self.encoding not in ("raw", "compressed_segmentation"):
            raise UsageError(f"encoding must be raw or compressed_segmentation, got {self.encoding!r}")
        if (self.encoding == "raw") != (self.block_size is None):
            raise UsageError(f"encoding {self.encoding} does not go with block_size {self.block_size}")


def encode_chunks(
    data: Array, *, chunk_size: Sequence[int], codec: ChunkCodec, threads: int
) -> list[bytes | None]:
    """Cut an array into chunks and encode each, several at a time.

    Parameters
    ----------
    data
        uint8, int8, uint16, int16, uint32, int32, uint64 or float32; its first voxel is the first of a chunk.
    chunk_size
        x, y, z; the last chunks of an axis are cut off.
    codec
        What to do with each.
    threads
        Threads to use; the result does not depend on it.

    Returns
    -------
    list of bytes or None
        x fastest.

    Raises
    ------
    UsageError
        If dtype, sizes or level cannot be used, or a chunk exceeds the 24-bit offsets of compressed_segmentation.
    """
    with _arguments():
        return _native.encode_chunks(
            data, tuple(chunk_size), codec.block_size, codec.gzip_level, codec.skip_zero, threads
        )


def decode_compressed_segmentation(data: bytes, block_size: Sequence[int], out: Array) -> None:
    """Decode one chunk into ``out``, uint32 or uint64, whose shape is the chunk's.

    Raises
    ------
    FormatError
        If the bytes are not a chunk of that shape; ``out`` may be partly written then.
    """
    with _bytes_read():
        _native.decode_compressed_segmentation(data, tuple(block_size), out)


def compressed_segmentation_worst_case_words(
    chunk_size: Sequence[int], data_type: str, block_size: Sequence[int]
) -> int:
    """Return how many 32-bit words one channel of a chunk can need at most; offsets end at 2**24.

    Raises
    ------
    UsageError
        If the block has more than 65536 voxels, or a size is 0.
    """
    with _arguments():
        return _native.compressed_segmentation_worst_case_words(
            tuple(chunk_size), tuple(block_size), np.dtype(data_type).itemsize
        )


def gzip_compress(data: bytes, level: int) -> bytes:
    """Return one gzip member (RFC 1952, no time, no name), the same bytes on every platform; level 1 to 12."""
    with _arguments():
        return _native.gzip_compress(data, level)


def gzip_decompress(data: bytes, max_size: int) -> bytes:
    """Inflate exactly one gzip member.

    Raises
    ------
    FormatError
        If it is damaged, followed by other bytes, or larger than ``max_size``.
    """
    with _bytes_read():
        return _native.gzip_decompress(data, max_size)


def morton_codes(cells: Array, grid: Sequence[int]) -> U64:
    """Return the compressed Morton codes of grid cells, shape (n, rank), in a grid of that rank.

    Raises
    ------
    UsageError
        If a cell is outside the grid, or the grid needs more than 64 bits.
    """
    with _arguments():
        return _native.morton_codes(np.ascontiguousarray(cells, np.uint64), list(grid))


def morton_cells(codes: U64, grid: Sequence[int]) -> U64:
    """Return the cells, shape (n, rank), of compressed Morton codes; the inverse of :func:`morton_codes`."""
    with _arguments():
        return _native.morton_cells(np.ascontiguousarray(codes, np.uint64), list(grid))


def murmurhash3_x86_128(keys: U64) -> U64:
    """Return the low 64 bits of murmurhash3_x86_128 (seed 0) of each key's 8 little-endian bytes."""
    with _arguments():
        return _native.murmurhash3_x86_128(np.ascontiguousarray(keys, np.uint64))
