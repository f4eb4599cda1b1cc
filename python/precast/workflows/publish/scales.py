"""The objects that a scale should have: their names, and whether all of them are there."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from precast import kernels
from precast.checks.shard_rules import read_shard
from precast.errors import FormatError, UsageError
from precast.geometry import Box, Vec3
from precast.precomputed.info import ScaleInfo
from precast.precomputed.provenance import ScaleRecord
from precast.precomputed.sharding import ShardingSpec, code_box, morton_bits, shard_numbers
from precast.storage import ObjectStat, Store

__all__ = ["MOST_NAMES", "chunk_names", "refuse_holes", "shard_names"]

MOST_NAMES = 1 << 24
"""Of the objects of one part that are asked for one by one."""


def chunk_names(info: ScaleInfo) -> Iterator[str]:
    """Yield the names of all chunks of an unsharded scale."""
    if info.grid.volume > MOST_NAMES:
        raise too_many(info.key, info.grid.volume)
    for cell in Box(Vec3(0, 0, 0), info.grid).tiles((1, 1, 1)):
        yield info.chunk_name(cell.start)


def shard_names(info: ScaleInfo) -> list[str]:
    """Return the names of all shards that a scale may have."""
    spec = info.sharding
    assert spec is not None  # the caller looked
    grid = info.grid
    within = spec.preshift_bits + spec.minishard_bits
    if spec.hash == "identity" and within + spec.shard_bits >= morton_bits(grid):
        count = grid.ceildiv(code_box(grid, within)).volume
        if count > MOST_NAMES:
            raise too_many(info.key, count)
        return [spec.shard_name(number) for number in shard_numbers(spec, grid)]
    return [spec.shard_name(number) for number in _hashed(spec, info)]


def _hashed(spec: ShardingSpec, info: ScaleInfo) -> list[int]:
    """Return the shards that the keys of a grid fall into, by looking at each key."""
    grid = info.grid
    if grid.volume > MOST_NAMES:
        raise too_many(info.key, grid.volume)
    found: set[int] = set()
    for z in range(grid.z):
        y, x = np.meshgrid(np.arange(grid.y), np.arange(grid.x), indexing="ij")
        cells = np.stack([x.ravel(), y.ravel(), np.full(x.size, z)], axis=1).astype(np.int64)
        found.update(np.unique(spec.place(kernels.morton_codes(cells, grid))[0]).tolist())
    return sorted(found)


def too_many(part: str, count: int) -> UsageError:
    """Return the error about a part whose objects cannot be asked for one by one."""
    return UsageError(
        f"{part} may have {count} objects, each of which a web server has to be asked for; "
        f"precast asks for {MOST_NAMES} at most",
        hint="give the address of the bucket that the server sends, which can be listed, or a local copy",
        where=part,
    )


def refuse_holes(store: Store, info: ScaleInfo, record: ScaleRecord | None, there: Collection[ObjectStat]) -> None:
    """See that a scale has all that its conversion wrote down; without a record, what is absent is background.

    Parameters
    ----------
    store, info
        Where the dataset is, and the scale.
    record
        What the provenance says of it.
    there
        Its objects, under the names that readers ask for first.

    Raises
    ------
    FormatError
        If something is missing.
    """
    if record is None or record.stored_chunks is None:
        return
    wanted = record.stored_chunks
    names = {stat.key.rpartition("/")[2]: stat for stat in there}
    if info.sharding is None:
        found = sum(info.cell_of(name) is not None for name in names)
    elif info.grid.volume > MOST_NAMES and wanted < info.grid.volume:
        return  # nobody could tell which are missing without reading everything
    else:
        missing = [name for name in shard_names(info) if name not in names]
        if not missing:
            return
        if wanted == info.grid.volume:
            raise _hole(
                store, info, f"the shards {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''} are missing"
            )
        shards = [stat for name, stat in names.items() if name.endswith(".shard")]
        found = sum(len(read_shard(store, stat, info.sharding).keys) for stat in shards)
    if found < wanted:
        raise _hole(store, info, f"{found} of the {wanted} chunks that were stored are there")


def _hole(store: Store, info: ScaleInfo, what: str) -> FormatError:
    where = f"{store.url}/{info.key}"
    return FormatError(
        f"{where} is not whole: {what}",
        hint="copy or make the dataset again; precast check says which chunks are missing",
        where=where,
    )
