"""The rules about shard files, ``PC22x``, whatever they hold; those of meshes have rules of their own.

Values, indices and unused bytes may stand in any order: only what a reader cannot follow is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from precast.checks.places import Tally
from precast.checks.rules import Fault, RuleTable
from precast.checks.work import in_threads
from precast.dataset.shards import read_range
from precast.errors import FormatError
from precast.findings import Severity
from precast.precomputed.sharding import ShardingSpec, minishard_rows
from precast.storage import ObjectStat, Store

__all__ = ["SHARD_FILE", "SHARD_FOLDER", "ShardFile", "ShardFolder", "read_shard", "shard_number", "with_encodings"]

U64 = npt.NDArray[np.uint64]
SUFFIX = ".shard"


@dataclass(slots=True)
class ShardFile:
    """One shard, its indices read.

    Attributes
    ----------
    where
        Its key in the store.
    number
        Its number.
    keys
        All keys that can be found, ascending.
    spoiled
        Keys that stand in an index but that no reader gets.
    unknown
        Minishards whose keys cannot be read; None if that is all of them.
    stored_bytes
        Size of the file.
    damage
        Indices that cannot be read.
    outside
        Values that lie outside the file or in its index.
    misplaced
        Keys that a reader would look for elsewhere.
    twice
        Keys that stand more than once.
    overlaps
        Bytes that belong to two things.
    unordered
        Minishards whose keys do not ascend.
    """

    where: str
    number: int
    keys: U64 = field(default_factory=lambda: np.zeros(0, np.uint64))
    spoiled: list[int] = field(default_factory=list)
    unknown: list[int] | None = field(default_factory=list)
    stored_bytes: int = 0
    damage: Tally = field(default_factory=Tally)
    outside: Tally = field(default_factory=Tally)
    misplaced: list[int] = field(default_factory=list)
    twice: list[int] = field(default_factory=list)
    overlaps: Tally = field(default_factory=Tally)
    unordered: int = 0


SHARD_FILE: RuleTable[ShardFile] = RuleTable()


@SHARD_FILE.add("PC221", "the index of a shard and of its minishards can be read")
def shard_indices(shard: ShardFile) -> Iterator[Fault]:
    yield from shard.damage.faults(shard.where)


@SHARD_FILE.add("PC222", "every value lies inside its shard file, behind the index")
def shard_bounds(shard: ShardFile) -> Iterator[Fault]:
    yield from shard.outside.faults(shard.where)


@SHARD_FILE.add("PC223", "every key stands in the shard and minishard that its hash says")
def shard_places(shard: ShardFile) -> Iterator[Fault]:
    if shard.misplaced:
        first = shard.misplaced[0]
        yield shard.where, f"{len(shard.misplaced)} keys are not where a reader looks for them, for example {first}"


@SHARD_FILE.add("PC224", "every key stands once in its minishard")
def shard_twice(shard: ShardFile) -> Iterator[Fault]:
    if shard.twice:
        yield shard.where, f"{len(shard.twice)} keys stand more than once, for example {shard.twice[0]}"


@SHARD_FILE.add("PC225", "no two values or indices of a shard share bytes")
def shard_overlaps(shard: ShardFile) -> Iterator[Fault]:
    yield from shard.overlaps.faults(shard.where)


@SHARD_FILE.add(
    "PC226", "the keys of a minishard ascend", severity=Severity.INFO, hint="readers take any order, sorted is usual"
)
def shard_order(shard: ShardFile) -> Iterator[Fault]:
    if shard.unordered:
        yield shard.where, f"{shard.unordered} minishards have keys that do not ascend"


@dataclass(frozen=True, slots=True)
class ShardFolder:
    """The names in a directory of shards.

    Attributes
    ----------
    where
        The directory.
    misnamed
        Files that end in ``.shard`` but that no reader asks for.
    packed
        Shards that are stored in an encoding.
    obsolete
        Files of the former variant, ``.index`` and ``.data``.
    """

    where: str
    misnamed: Sequence[str] = ()
    packed: Sequence[str] = ()
    obsolete: Sequence[str] = ()

    @classmethod
    def of(cls, where: str, objects: Sequence[ObjectStat], spec: ShardingSpec) -> ShardFolder:
        """Look at the objects of a directory."""
        shards = [stat for stat in objects if stat.key.endswith(SUFFIX)]
        return cls(
            where,
            [stat.key for stat in shards if shard_number(stat.key, spec) is None],
            [stat.key for stat in shards if stat.encoding],
            [stat.key for stat in objects if is_obsolete(stat.key)],
        )


def with_encodings(store: Store, objects: Sequence[ObjectStat], threads: int) -> list[ObjectStat]:
    """Ask of the shards whether they are stored gzipped, where the listing does not tell."""

    def one(stat: ObjectStat) -> ObjectStat:
        return store.stat(stat.key) if stat.encoding is None and stat.key.endswith(SUFFIX) else stat

    return list(in_threads(one, objects, threads))


def is_obsolete(key: str) -> bool:
    """Whether a name is one of the former variant of shards."""
    stem, _, suffix = key.rpartition("/")[2].rpartition(".")
    return suffix in ("index", "data") and bool(stem) and all(c in "0123456789abcdef" for c in stem)


SHARD_FOLDER: RuleTable[ShardFolder] = RuleTable()


@SHARD_FOLDER.add("PC220", "names of shards are those that readers ask for")
def shard_names(folder: ShardFolder) -> Iterator[Fault]:
    for key in folder.misnamed:
        yield key, "lower-case hexadecimal, padded to shard_bits / 4 digits, below 2**shard_bits is expected"


@SHARD_FOLDER.add("PC227", "shards are stored as they are", hint="unpack them: shards are read by byte ranges")
def shard_packed(folder: ShardFolder) -> Iterator[Fault]:
    for key in folder.packed:
        yield key, "is stored packed, so that no reader finds its ranges"


@SHARD_FOLDER.add(
    "PC228",
    "shards are not in the former variant of two files",
    severity=Severity.WARNING,
    hint="join each pair: cat X.index X.data > X.shard",
)
def shard_obsolete(folder: ShardFolder) -> Iterator[Fault]:
    if folder.obsolete:
        yield (
            folder.obsolete[0],
            f"{len(folder.obsolete)} files .index and .data, which current readers do not look for",
        )


def shard_number(key: str, spec: ShardingSpec) -> int | None:
    """Return the number of a shard from its key, or None if the name is none that a reader asks for."""
    name = key.rpartition("/")[2]
    try:
        number = int(name.removesuffix(SUFFIX), 16)
    except ValueError:
        return None
    return number if number >> spec.shard_bits == 0 and spec.shard_name(number) == name else None


def read_shard(store: Store, stat: ObjectStat, spec: ShardingSpec) -> ShardFile:
    """Read all indices of one shard.

    Raises
    ------
    AccessDeniedError, StorageError
        If the file cannot be read.
    """
    key = stat.key
    number = shard_number(key, spec)
    assert number is not None  # misnamed shards are told apart before
    shard = ShardFile(key, number, stored_bytes=stat.size)
    unknown: list[int] = []
    if stat.size < spec.index_bytes:
        shard.damage.add(key, f"has {stat.size} bytes, less than its index, {spec.index_bytes}")
        shard.unknown = None
        return shard
    entries = np.frombuffer(read_range(store, key, 0, spec.index_bytes), "<u8").reshape(-1, 2)
    ranges: list[tuple[U64, U64, U64]] = []  # keys, starts, stops
    indices: list[tuple[int, int]] = []
    for minishard in np.flatnonzero(entries[:, 0] != entries[:, 1]).tolist():
        start, stop = (spec.index_bytes + int(value) for value in entries[minishard])
        try:
            if not start < stop <= stat.size:
                raise FormatError(f"has the bytes {start}..{stop} of {stat.size}")
            keys, starts, sizes = minishard_rows(read_range(store, key, start, stop), spec)
        except FormatError as error:
            shard.damage.add(key, f"the index of minishard {minishard}: {error.message}")
            unknown.append(minishard)
            continue
        indices.append((start, stop))
        _look(shard, spec, minishard, keys, (starts, sizes))
        ranges.append((keys, starts, starts + sizes))
    if not shard.outside:
        _overlaps(shard, spec, ranges, indices)
    shard.unknown = unknown
    found = np.unique(np.concatenate([keys for keys, _, _ in ranges])) if ranges else shard.keys
    shard.keys = np.setdiff1d(found, np.array(shard.spoiled, np.uint64))
    return shard


def _look(shard: ShardFile, spec: ShardingSpec, minishard: int, keys: U64, rows: tuple[U64, U64]) -> None:
    """Compare the rows of one minishard with what must hold."""
    starts, sizes = rows
    ends = starts + sizes
    outside = (ends < starts) | (ends > np.uint64(shard.stored_bytes)) | (starts < np.uint64(spec.index_bytes))
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        text = f"the value of key {keys[first]} has the bytes {starts[first]}..{ends[first]} of {shard.stored_bytes}"
        shard.outside.add(shard.where, text, int(outside.sum()))
    numbers, minishards = spec.place(keys)
    wrong = (numbers != np.uint64(shard.number)) | (minishards != np.uint64(minishard))
    shard.misplaced += keys[wrong].tolist()
    shard.spoiled += keys[outside | wrong].tolist()
    distinct, counts = np.unique(keys, return_counts=True)
    if (counts > 1).any():
        shard.twice += distinct[counts > 1].tolist()
        shard.spoiled += distinct.tolist()  # readers differ in which of them they take, or refuse all
    shard.unordered += int((keys[1:] < keys[:-1]).any())


def _overlaps(
    shard: ShardFile, spec: ShardingSpec, ranges: list[tuple[U64, U64, U64]], indices: list[tuple[int, int]]
) -> None:
    """Find bytes that belong to two things."""
    whole = np.array([(0, spec.index_bytes), *indices], np.uint64)
    begin = np.concatenate([whole[:, 0], *[starts for _, starts, _ in ranges]])
    end = np.concatenate([whole[:, 1], *[stops for _, _, stops in ranges]])
    used = end > begin
    begin, end = begin[used], end[used]
    order = np.argsort(begin, kind="stable")
    begin, end = begin[order], end[order]
    highest = np.maximum.accumulate(end)
    clash = np.flatnonzero(begin[1:] < highest[:-1])
    if len(clash):
        at = int(clash[0])
        text = f"bytes {begin[at + 1]}..{end[at + 1]} belong to something that stands at {begin[at]}..{end[at]} too"
        shard.overlaps.add(shard.where, text, len(clash))
