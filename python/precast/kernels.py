"""The compiled kernels with precast's errors: the only module that imports ``precast._native``.

Arrays are ``(c, z, y, x)`` with contiguous rows of x, or ``(z, y, x)`` for one channel; other axes may be
strided. Vectors are x, y, z. All of them release the interpreter lock while they work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from precast import _native
from precast.errors import FormatError, UsageError
from precast.geometry import Box, Vec3, ceil_div

__all__ = [
    "LABEL_DTYPE",
    "Cells",
    "ChunkCodec",
    "DownsampleMethod",
    "Fragments",
    "HttpReply",
    "HttpServer",
    "LabelTable",
    "Mesh",
    "Pieces",
    "Simplification",
    "Surfaces",
    "Welded",
    "compressed_segmentation_worst_case_words",
    "cut_mesh",
    "decode_compressed_segmentation",
    "downsample",
    "downsample_domain",
    "draco_decode",
    "draco_encode",
    "encode_chunks",
    "extract_surface",
    "format_digest",
    "gzip_compress",
    "gzip_decompress",
    "measure_mesh",
    "mesh_block",
    "morton_cells",
    "morton_codes",
    "murmurhash3_x86_128",
    "simplify_mesh",
    "version",
    "voxel_digest",
    "weld_meshes",
]

Array = npt.NDArray[Any]
U64 = npt.NDArray[np.uint64]
Bytes = bytes | bytearray | memoryview

version: str = _native.__version__

HttpReply = _native.Reply
"""Where the answer to one request goes."""

HttpServer = _native.DataServer
"""The running HTTP server of :mod:`precast.hosting.server`, which sets it up and maps its errors."""


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
    with _errors(what):
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
        with _errors(what):
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
        with _errors("label table"):
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


def _triples(values: npt.ArrayLike, dtype: type[np.integer[Any]], what: str) -> npt.NDArray[Any]:
    """Return integers as a C-contiguous array of shape (n, 3), none of them changed."""
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] != 3:
        raise UsageError(f"{what} must have the shape (n, 3), got {array.shape}")
    if array.dtype.kind not in "iu":
        raise UsageError(f"{what} must be integers, got dtype {array.dtype}")
    limits = np.iinfo(dtype)
    if array.size and not np.can_cast(array.dtype, dtype) and (array.min() < limits.min or array.max() > limits.max):
        raise UsageError(f"{what} must be from {limits.min} to {limits.max}, got {array.min()} to {array.max()}")
    return np.ascontiguousarray(array, dtype)


def draco_encode(positions: npt.ArrayLike, faces: npt.ArrayLike) -> bytes:
    """Encode a triangle mesh with integer positions; described in :func:`precast.draco.encode`."""
    what = "encoding a Draco mesh"
    vertices = _triples(positions, np.int32, f"{what}: positions")
    triangles = _triples(faces, np.uint32, f"{what}: faces")
    with _errors(what):
        return _native.draco_encode(vertices, triangles)


def draco_decode(
    data: Bytes, max_faces: int, max_vertices: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint32]]:
    """Decode a Draco mesh to positions and faces; described in :func:`precast.draco.decode`."""
    with _errors("decoding a Draco mesh"):
        return _native.draco_decode(data, max_faces, max_vertices)


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
    with _errors(what):
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
    with _errors("voxel digest"):
        return _native.format_digest(lanes, Vec3.of(size), channels, dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surfaces:
    """The surfaces of n labels, one behind the other.

    Attributes
    ----------
    ids
        uint64, shape (n,): the labels that have triangles, ascending.
    vertex_offsets, face_offsets
        uint64, shape (n + 1,): object ``i`` has the rows from ``offsets[i]`` to ``offsets[i + 1]``.
    positions
        int32, shape (v, 3): x, y, z in half voxels.
    faces
        uint32, shape (f, 3): rows of the object's own positions, counter-clockwise as seen from outside.
    """

    ids: U64
    vertex_offsets: U64
    face_offsets: U64
    positions: npt.NDArray[np.int32]
    faces: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.ids)

    def get(self, index: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint32]]:
        """Return views of the positions and faces of the object ``ids[index]``."""
        (v0, v1), (f0, f1) = (o[index : index + 2].tolist() for o in (self.vertex_offsets, self.face_offsets))
        return self.positions[v0:v1], self.faces[f0:f1]


def extract_surface(
    labels: Array,
    *,
    start: Sequence[int] = (0, 0, 0),
    closed: Sequence[tuple[bool, bool]] = ((True, True),) * 3,
    only: npt.ArrayLike | None = None,
    excluded: npt.ArrayLike | None = None,
) -> Surfaces:
    """Extract the surfaces of all labels of a block, each by marching cubes on its own mask.

    Every surface looks outward, is a manifold and, but for open sides, closed. Voxels of one label that touch in an
    edge or a corner only are not connected. The order of vertices and faces depends on the arguments alone.

    Parameters
    ----------
    labels
        Shape (1, z, y, x) or (z, y, x), uint32 or uint64; 0 is background.
    start
        Absolute coordinates of the first voxel, x, y, z; voxels must lie from -2**30 to below 2**30 - 1.
    closed
        For x, y, z: whether background lies beyond the low and beyond the high side. There, surfaces close half a
        voxel outside the last voxel centre. At other sides they end in the plane through the outermost voxel centres:
        blocks that share one layer of voxels fit together, and each triangle belongs to one of them.
    only, excluded
        Labels that alone get a surface, or that get none; not both.

    Returns
    -------
    Surfaces
        Positions are absolute, in half voxels: voxel i spans 2 i to 2 i + 2, and a vertex between it and the next lies
        at 2 i + 2. The work needs about half a byte per voxel and a quarter of the result; a thread keeps up to 64 MB
        for its next call.

    Raises
    ------
    UsageError
        If a dtype, shape or position does not fit, or both ``only`` and ``excluded`` are given.

    Examples
    --------
    >>> surfaces = extract_surface(np.full((1, 1, 1), 7, np.uint32))
    >>> surfaces.ids.tolist(), surfaces.positions.max(axis=0).tolist(), len(surfaces.faces)
    ([7], [2, 2, 2], 8)
    """
    what = "extracting surfaces"
    sides = [(bool(low), bool(high)) for low, high in closed]
    chosen = [None if ids is None else np.unique(_unsigned(ids, "ids").reshape(-1)) for ids in (only, excluded)]
    with _errors(what):
        ids, vertex_offsets, face_offsets, positions, faces = _native.extract_surface(
            labels, Vec3.of(start), sides, *chosen
        )
    return Surfaces(ids=ids, vertex_offsets=vertex_offsets, face_offsets=face_offsets, positions=positions, faces=faces)


Mesh = tuple[npt.NDArray[np.int32], npt.NDArray[np.uint32]]
"""Positions, int32, (n, 3), on an integer lattice; faces, uint32, (m, 3), counter-clockwise as seen from outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simplification:
    """How the surfaces of a block are simplified.

    Attributes
    ----------
    unit_nm
        Length of a lattice unit along x, y, z.
    max_error_nm
        Hard bound of the distance between the simplified and the full surface.
    max_rms_nm
        Where to stop: root mean square distance of what a vertex stands for to the planes of its faces.
    patch
        Edge, in lattice units, of the patches that are merged first; 0 for none.
    snap
        Vertices that are moved come to lie on multiples of this many units, x, y, z.
    """

    unit_nm: tuple[float, float, float]
    max_error_nm: float
    max_rms_nm: float
    patch: int
    snap: Vec3


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """The simplified surfaces of the labels of a block, one behind the other.

    Attributes
    ----------
    ids
        uint64, shape (n,): ascending.
    vertex_offsets, face_offsets
        uint64, shape (n + 1,): piece ``i`` has the rows from ``offsets[i]`` to ``offsets[i + 1]``.
    positions
        int32, shape (v, 3): x, y, z in lattice units.
    faces
        uint32, shape (f, 3): rows of the piece's own positions.
    errors_nm
        float64, shape (n,): distance to the full surface.
    full_faces
        uint64, shape (n,): faces of the full surface.
    failures
        Labels that have no piece because something went wrong, and what.
    """

    ids: U64
    vertex_offsets: U64
    face_offsets: U64
    positions: npt.NDArray[np.int32]
    faces: npt.NDArray[np.uint32]
    errors_nm: npt.NDArray[np.float64]
    full_faces: U64
    failures: tuple[tuple[int, str], ...]


def mesh_block(  # noqa: PLR0913  # all by name
    labels: Array,
    *,
    start: Sequence[int],
    closed: Sequence[tuple[bool, bool]],
    units_per_voxel: int,
    simplification: Simplification,
    only: U64 | None = None,
    keep: U64 | None = None,
) -> Pieces:
    """Extract and simplify the surfaces of all labels of a block.

    Vertices on the open borders of the block stay where they are, so that blocks keep fitting together.

    Parameters
    ----------
    labels, start, closed
        As for :func:`extract_surface`.
    units_per_voxel
        Lattice units along a voxel, even.
    simplification
        Bound, patches and lattice.
    only
        Labels that alone get a surface, ascending; None for all.
    keep
        Labels, ascending, whose pieces are not simplified if they are open: small objects, of whose shape a piece says
        nothing.

    Raises
    ------
    UsageError
        If the block cannot be meshed at all; what fails for one label is in ``failures``.
    """
    if units_per_voxel < 2 or units_per_voxel % 2:
        raise UsageError(f"units_per_voxel must be even and at least 2, got {units_per_voxel}")
    sides = [(bool(low), bool(high)) for low, high in closed]
    with _errors("meshing a block"):
        ids, vertex_offsets, face_offsets, positions, faces, errors, full, failures = _native.mesh_block(
            labels,
            Vec3.of(start),
            (sides[0], sides[1], sides[2]),
            only,
            np.zeros(0, np.uint64) if keep is None else keep,
            units_per_voxel // 2,
            simplification.unit_nm,
            simplification.max_error_nm,
            simplification.max_rms_nm,
            simplification.patch,
            simplification.snap,
        )
    return Pieces(
        ids=ids,
        vertex_offsets=vertex_offsets,
        face_offsets=face_offsets,
        positions=positions,
        faces=faces,
        errors_nm=errors,
        full_faces=full,
        failures=tuple(failures),
    )


@dataclass(frozen=True, slots=True)
class Welded:
    """Pieces of an object put together.

    Attributes
    ----------
    positions, faces
        The mesh.
    filled
        Number of cavities that were filled.
    seams
        Vertices that several pieces share, ascending.
    """

    positions: npt.NDArray[np.int32]
    faces: npt.NDArray[np.uint32]
    filled: int
    seams: npt.NDArray[np.uint32]


def weld_meshes(pieces: Sequence[Mesh], *, fill_cavities: bool = False) -> Welded:
    """Join pieces of one object at the vertices on their open edges that have equal positions.

    Parameters
    ----------
    pieces
        On one lattice.
    fill_cavities
        Remove closed components with a negative volume: the walls of cavities.

    Raises
    ------
    UsageError
        If arrays have wrong shapes or a face points outside its positions.
    """
    with _errors("joining pieces of a mesh"):
        return Welded(*_native.weld_meshes(list(pieces), fill_cavities))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """The cells that a level is cut into.

    Attributes
    ----------
    width
        Steps along a cell: ``2**bits - 1``.
    middle
        Where octants of a cell meet, in steps: ``2**(bits - 1)``; None on the finest level, which has none.
    count
        Cells along x, y, z.
    snap
        Vertices nearer to a plane than this many steps are moved onto it before it is cut.
    round
        New vertices lie on multiples of this many steps.
    """

    width: int
    middle: int | None
    count: Vec3
    snap: int
    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragments:
    """The fragments of a level, in Morton order of their cells; offsets as in :class:`Pieces`.

    ``octants`` has bit ``x + 2 y + 4 z`` set where a cell has faces in that octant; 0 on the finest level.
    """

    cells: npt.NDArray[np.uint32]
    octants: npt.NDArray[np.uint8]
    vertex_offsets: U64
    face_offsets: U64
    positions: npt.NDArray[np.int32]
    faces: npt.NDArray[np.uint32]


def cut_mesh(mesh: Mesh, cells: Cells) -> Fragments:
    """Cut a mesh at the planes between cells, and between their octants.

    Parts meet exactly: a closed mesh stays closed when equal positions of its fragments are joined.

    Parameters
    ----------
    mesh
        Positions in steps from the origin of the grid.
    cells
        See :class:`Cells`.

    Raises
    ------
    UsageError
        If a vertex lies outside the cells.
    """
    with _errors("cutting a mesh"):
        cut, octants, vertex_offsets, face_offsets, positions, faces = _native.cut_mesh(
            *mesh, cells.width, cells.middle, cells.count, cells.snap, cells.round
        )
    return Fragments(
        cells=cut,
        octants=octants,
        vertex_offsets=vertex_offsets,
        face_offsets=face_offsets,
        positions=positions,
        faces=faces,
    )


def measure_mesh(mesh: Mesh, unit: tuple[float, float, float]) -> tuple[float, float, int]:
    """Return the area, the enclosed volume in cubic lattice units, and the number of vertices on open edges.

    ``unit`` is the length of a lattice unit along x, y, z; the area is in its square.
    """
    with _errors("measuring a mesh"):
        return _native.measure_mesh(*mesh, unit)


def simplify_mesh(  # noqa: PLR0913  # all by name
    positions: npt.NDArray[np.int32],
    faces: npt.NDArray[np.uint32],
    *,
    unit_nm: Sequence[float],
    max_error_nm: float,
    max_rms_nm: float = float("inf"),
    target_faces: int = 0,
    patch: int = 0,
    snap: Sequence[int] = (1, 1, 1),
    near: npt.NDArray[np.uint32] | None = None,
    edges: int = 4,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint32], float]:
    """Describe a surface by fewer triangles, within a checked distance.

    Components, handles and orientation stay as they are, and so do open edges with their vertices. Where the input is
    not a surface, as at an edge with three faces, nothing changes.

    Parameters
    ----------
    positions
        Vertices on an integer lattice, x, y, z, shape (n, 3).
    faces
        Three vertices each, counter-clockwise seen from outside, shape (m, 3).
    unit_nm
        Length of a unit of the lattice along x, y, z.
    max_error_nm
        Greatest distance between the surfaces, both ways; ``inf`` for none.
    max_rms_nm
        Where to stop, within that bound: root mean square distance of the part of the input that a vertex stands for to
        the planes of its faces.
    target_faces
        Stop at so many faces even if the distance allows fewer; 0: as far as it allows.
    patch
        Edge, in units, of blocks within which vertices are merged first: faster, with a little less accuracy. 0: none.
        Two or three voxels are good.
    snap
        Vertices that move come to lie on multiples of this many units; powers of two.
    near, edges
        Only these vertices, and those at most so many edges from them, change, and no patches are merged; None: all.

    Returns
    -------
    positions, faces
        The reduced surface, without vertices that no face uses.
    error_nm
        At most ``max_error_nm``. Every vertex of the input, and every vertex, edge midpoint and centre of a face of the
        output, is at most this far from the other surface.

    Raises
    ------
    UsageError
        If a face names a vertex that is not there, or an argument cannot be used.

    Examples
    --------
    >>> ring = [(8, 0, 0), (8, 8, 0), (0, 8, 0), (-8, 8, 0), (-8, 0, 0), (-8, -8, 0), (0, -8, 0), (8, -8, 0)]
    >>> positions = np.array([*ring, (0, 0, 8), (0, 0, -8)], np.int32)
    >>> sides = [((k, (k + 1) % 8, 8), ((k + 1) % 8, k, 9)) for k in range(8)]
    >>> faces = np.array(sides, np.uint32).reshape(-1, 3)
    >>> _, reduced, error_nm = simplify_mesh(positions, faces, unit_nm=(1, 1, 1), max_error_nm=0.5)
    >>> len(reduced), error_nm < 0.01
    (8, True)
    """
    what = "mesh simplification"
    if min(target_faces, patch, edges) < 0 or min(snap) < 1:
        raise UsageError(f"{what}: target_faces, patch and edges must not be negative, snap at least 1")
    with _errors(what):
        return _native.simplify_mesh(
            positions,
            faces,
            tuple(unit_nm),
            max_error_nm,
            max_rms_nm,
            target_faces,
            patch,
            tuple(snap),
            near,
            edges,
        )
