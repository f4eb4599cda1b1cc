"""``neuroglancer_uint64_sharded_v1``: where a key lives, how a shard is laid out, which bits to choose.

Layout of a shard file, all numbers little-endian uint64::

    shard index      2**minishard_bits x (start, end)   relative to its own end, E
    per minishard m, in order:
        values       by ascending key, each encoded per data_encoding; bytes that belong to a value but
                     are not part of it (the fragments of a mesh) stand directly before it
        index        3 x n: key deltas | gaps since the end of the previous value | sizes
                     (encoded per minishard_index_encoding)

That order is *canonical*: every byte follows from keys and values. Readers accept any order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from precast import kernels
from precast.errors import FormatError, UsageError
from precast.geometry import Box, Vec3

__all__ = [
    "MinishardIndex",
    "ShardLayout",
    "ShardingSpec",
    "choose_volume_sharding",
    "code_box",
    "layout_shard",
    "minishard_rows",
    "morton_bits",
    "shard_cells",
    "shard_numbers",
]

TYPE = "neuroglancer_uint64_sharded_v1"
HASHES = ("identity", "murmurhash3_x86_128")
ENCODINGS = ("raw", "gzip")
MAX_SHARD_RAW_BYTES = 2**31
CHUNKS_PER_MINISHARD_BITS = 9
MAX_MINISHARD_BITS = 12
INDEX_GZIP_LEVEL = 9

U64 = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardingSpec:
    """The ``sharding`` object of a scale, mesh or skeleton ``info``.

    Raises
    ------
    FormatError
        If a value is outside what all readers accept.
    """

    preshift_bits: int
    minishard_bits: int
    shard_bits: int
    hash: str = "identity"
    minishard_index_encoding: str = "gzip"
    data_encoding: str = "gzip"

    def __post_init__(self) -> None:
        for name, bound in (("preshift_bits", 63), ("minishard_bits", 32), ("shard_bits", 64)):
            value = getattr(self, name)
            if not isinstance(value, int) or not 0 <= value <= bound:
                raise FormatError(f"sharding: {name} must be an integer from 0 to {bound}, got {value!r}")
        if self.minishard_bits + self.shard_bits > 64:
            raise FormatError(
                "sharding: minishard_bits + shard_bits must be at most 64, "
                f"got {self.minishard_bits} + {self.shard_bits}"
            )
        if self.hash not in HASHES:
            raise FormatError(f"sharding: hash must be one of {', '.join(HASHES)}, got {self.hash!r}")
        for name in ("minishard_index_encoding", "data_encoding"):
            if getattr(self, name) not in ENCODINGS:
                raise FormatError(f"sharding: {name} must be raw or gzip, got {getattr(self, name)!r}")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ShardingSpec:
        """Read the JSON object; absent encodings are ``raw``, as every reader takes them.

        Raises
        ------
        FormatError
            If it is not a valid ``sharding`` object.
        """
        if value.get("@type") != TYPE:
            raise FormatError(f"sharding: @type must be {TYPE!r}, got {value.get('@type')!r}")
        try:
            return cls(
                preshift_bits=value["preshift_bits"],
                minishard_bits=value["minishard_bits"],
                shard_bits=value["shard_bits"],
                hash=value["hash"],
                minishard_index_encoding=value.get("minishard_index_encoding", "raw"),
                data_encoding=value.get("data_encoding", "raw"),
            )
        except KeyError as missing:
            raise FormatError(f"sharding: the key {missing.args[0]!r} is missing") from None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object with every key written out."""
        return {
            "@type": TYPE,
            "preshift_bits": self.preshift_bits,
            "hash": self.hash,
            "minishard_bits": self.minishard_bits,
            "shard_bits": self.shard_bits,
            "minishard_index_encoding": self.minishard_index_encoding,
            "data_encoding": self.data_encoding,
        }

    @property
    def index_bytes(self) -> int:
        """Length of the shard index, which is where the body of a shard starts."""
        return 16 << self.minishard_bits

    def place(self, keys: U64) -> tuple[U64, U64]:
        """Return ``(shard, minishard)`` of every key.

        Parameters
        ----------
        keys
            uint64, shape (n,).
        """
        hashed = np.asarray(keys, np.uint64) >> np.uint64(self.preshift_bits)
        if self.hash == "murmurhash3_x86_128":
            hashed = kernels.murmurhash3_x86_128(hashed)
        minishard = hashed & np.uint64((1 << self.minishard_bits) - 1)
        shard = (hashed >> np.uint64(self.minishard_bits)) & np.uint64((1 << self.shard_bits) - 1)
        return shard, minishard

    def shard_name(self, shard: int) -> str:
        """Return the file name of a shard: lower-case hexadecimal, padded to ``ceil(shard_bits / 4)`` digits."""
        digits = max(1, -(-self.shard_bits // 4))
        return f"{shard:0{digits}x}.shard"

    def decode_value(self, data: bytes, max_size: int) -> bytes:
        """Undo ``data_encoding``.

        Raises
        ------
        FormatError
            If the bytes are not one gzip member of at most ``max_size`` bytes.
        """
        return kernels.gzip_decompress(data, max_size) if self.data_encoding == "gzip" else data


def minishard_rows(data: bytes, spec: ShardingSpec, *, where: str = "") -> tuple[U64, U64, U64]:
    """Decode the stored bytes of a minishard index as they stand: keys, first bytes in the shard file, sizes.

    Nothing is checked but the length: keys may stand in any order, ranges may lie anywhere.

    Raises
    ------
    FormatError
        If the bytes cannot be decompressed, or are not a multiple of 24.
    """
    if spec.minishard_index_encoding == "gzip":
        data = kernels.gzip_decompress(data, max(1 << 20, 2000 * len(data)))
    if len(data) % 24:
        raise FormatError(f"a minishard index must be a multiple of 24 bytes, got {len(data)}", where=where)
    rows = np.frombuffer(data, "<u8").reshape(3, -1)
    keys = np.cumsum(rows[0], dtype=np.uint64)
    sizes = rows[2].astype(np.uint64)
    before = np.concatenate([np.zeros(1, np.uint64), np.cumsum(sizes, dtype=np.uint64)[:-1]])[: len(sizes)]
    starts = np.uint64(spec.index_bytes) + np.cumsum(rows[1], dtype=np.uint64) + before
    return keys, starts, sizes


@dataclass(frozen=True, slots=True)
class MinishardIndex:
    """The decoded index of one minishard, sorted by key: byte ranges in the shard file."""

    keys: U64
    starts: U64
    sizes: U64

    @classmethod
    def parse(cls, data: bytes, spec: ShardingSpec, *, file_size: int | None = None, where: str = "") -> MinishardIndex:
        """Decode the stored bytes of a minishard index.

        Raises
        ------
        FormatError
            If the length is not a multiple of 24, a key stands twice, or a range lies outside the file.
        """
        keys, starts, sizes = minishard_rows(data, spec, where=where)
        order = np.argsort(keys, kind="stable")
        keys, starts, sizes = keys[order], starts[order], sizes[order]
        if len(keys) > 1 and (keys[1:] == keys[:-1]).any():
            twice = int(keys[1:][keys[1:] == keys[:-1]][0])
            raise FormatError(f"the key {twice} stands twice in a minishard index", where=where)
        ends = starts + sizes
        if (ends < starts).any() or (file_size is not None and len(ends) and int(ends.max()) > file_size):
            raise FormatError("a minishard index points outside its shard file", where=where)
        return cls(keys, starts, sizes)

    def find(self, key: int) -> tuple[int, int] | None:
        """Return ``(start, stop)`` of the value in the shard file, or None if the key is absent."""
        at = int(np.searchsorted(self.keys, np.uint64(key)))
        if at == len(self.keys) or int(self.keys[at]) != key:
            return None
        start = int(self.starts[at])
        return start, start + int(self.sizes[at])


@dataclass(frozen=True, slots=True)
class ShardLayout:
    """Everything but the values of a shard.

    Attributes
    ----------
    index
        The shard index, the first bytes of the file.
    groups
        Per non-empty minishard, in file order: positions of its values in the arrays given to
        :func:`layout_shard`, ascending by key, and the bytes of the minishard index that follow them. Each value
        comes after the bytes that belong before it.
    size
        Length of the whole file.
    """

    index: bytes
    groups: tuple[tuple[npt.NDArray[np.intp], bytes], ...]
    size: int


def layout_shard(spec: ShardingSpec, keys: U64, sizes: U64, before: U64 | None = None) -> ShardLayout:
    """Lay out one shard in canonical order.

    Parameters
    ----------
    spec
        The sharding of the volume.
    keys
        uint64, shape (n,): all keys of this shard, in any order, each once.
    sizes
        uint64, shape (n,): length of each stored (encoded) value in bytes.
    before
        uint64, shape (n,): bytes that stand directly before each value and that the index does not describe, such as
        the fragments before the manifest of a mesh; none by default.

    Raises
    ------
    UsageError
        If a key stands twice.
    """
    keys = np.asarray(keys, np.uint64)
    sizes = np.asarray(sizes, np.uint64)
    before = np.zeros(len(keys), np.uint64) if before is None else np.asarray(before, np.uint64)
    _, minishard = spec.place(keys)
    order = np.lexsort((keys, minishard))
    ordered = keys[order]
    if len(ordered) > 1 and (ordered[1:] == ordered[:-1]).any():
        raise UsageError("a shard holds every key once, but a key was given twice")
    ends = np.searchsorted(minishard[order], np.arange(1 << spec.minishard_bits, dtype=np.uint64), side="right")
    index = np.zeros((1 << spec.minishard_bits, 2), "<u8")
    groups = []
    position = 0  # relative to the end of the shard index
    first = 0
    for m, last in enumerate(ends.tolist()):
        if last > first:
            members = order[first:last]
            rows = np.zeros((3, last - first), "<u8")
            rows[0, 0] = keys[members[0]]
            rows[0, 1:] = np.diff(keys[members])
            rows[1] = before[members]
            rows[1, 0] += np.uint64(position)
            rows[2] = sizes[members]
            encoded = rows.tobytes()
            if spec.minishard_index_encoding == "gzip":
                encoded = kernels.gzip_compress(encoded, INDEX_GZIP_LEVEL)
            position += int(sizes[members].sum() + before[members].sum())
            index[m] = position, position + len(encoded)
            position += len(encoded)
            groups.append((members, encoded))
        else:
            index[m] = position, position
        first = last
    return ShardLayout(index.tobytes(), tuple(groups), spec.index_bytes + position)


def morton_bits(grid: Vec3) -> int:
    """Return how many bits the compressed Morton code of a chunk grid has."""
    return sum((n - 1).bit_length() for n in grid)


def choose_volume_sharding(grid: Vec3, chunk_bytes: int, data_encoding: str) -> ShardingSpec:
    """Choose the bits for a scale: a pure function of its chunk grid and the raw size of a chunk.

    At most 2 GiB of raw voxels in a shard, about 512 chunks in a minishard (its index is then about
    12 kB), at most 4096 minishards (a shard index of 64 kB).

    Parameters
    ----------
    grid
        Chunks per axis, x, y, z.
    chunk_bytes
        Raw bytes of one full chunk, all channels.
    data_encoding
        ``gzip``, or ``raw`` for chunks that are compressed already (jpeg, png, jxl).

    Raises
    ------
    UsageError
        If the grid needs more than 64 bits.
    """
    total = morton_bits(grid)
    if total > 64:
        raise UsageError(
            f"a grid of {grid} chunks needs {total} bits for its keys; the sharded format has 64",
            hint="use a larger --chunk-size",
        )
    within = min(total, max(0, (MAX_SHARD_RAW_BYTES // chunk_bytes).bit_length() - 1))
    minishard = min(max(0, within - CHUNKS_PER_MINISHARD_BITS), MAX_MINISHARD_BITS)
    return ShardingSpec(
        preshift_bits=within - minishard,
        minishard_bits=minishard,
        shard_bits=total - within,
        data_encoding=data_encoding,
    )


def code_box(grid: Vec3, bits: int) -> Vec3:
    """Return the box of chunks that the lowest ``bits`` bits of the compressed Morton code span."""
    need = [(n - 1).bit_length() for n in grid]
    have = [0, 0, 0]
    left = bits
    while left > 0 and have != need:
        for axis in range(3):
            if left > 0 and have[axis] < need[axis]:
                have[axis] += 1
                left -= 1
    return Vec3(1 << have[0], 1 << have[1], 1 << have[2])


def shard_cells(spec: ShardingSpec, grid: Vec3, shard: int) -> Box:
    """Return the chunks of one shard of a volume with the identity hash, cut off at the grid.

    Only for specs whose bits cover the grid exactly, as :func:`choose_volume_sharding` makes them.
    """
    within = spec.preshift_bits + spec.minishard_bits
    first = kernels.morton_cells(np.array([shard << within], np.uint64), grid)[0]
    start = Vec3.of(first.tolist())
    return Box(start, start.plus(code_box(grid, within)).map(min, grid))


def shard_numbers(spec: ShardingSpec, grid: Vec3) -> list[int]:
    """Return the numbers of all shards of a volume (identity hash, bits that cover the grid exactly), ascending."""
    within = spec.preshift_bits + spec.minishard_bits
    step = code_box(grid, within)
    starts = [box.start for box in Box(Vec3(0, 0, 0), grid).tiles(step)]
    codes = kernels.morton_codes(np.array(starts, np.int64).reshape(-1, 3), grid)
    return sorted((codes >> np.uint64(within)).tolist())
