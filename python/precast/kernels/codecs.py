"""Chunks and gzip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from precast import _native
from precast.errors import UsageError
from precast.geometry import Vec3
from precast.kernels.common import Array, Bytes, kernel_errors

__all__ = [
    "ChunkCodec",
    "compressed_segmentation_worst_case_words",
    "decode_compressed_segmentation",
    "encode_chunks",
    "gzip_compress",
    "gzip_decompress",
]


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
    with kernel_errors("encoding chunks"):
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
    with kernel_errors("decoding compressed_segmentation"):
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
    with kernel_errors("sizing compressed_segmentation"):
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
    with kernel_errors("compressing with gzip"):
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
    with kernel_errors("reading gzip data"):
        return _native.gzip_decompress(data, max_size)
