"""Which chunks of a scale are there: from the names of files, or from the indices of shards."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from precast import kernels
from precast.checks.chunk_rules import ABSENT, BROKEN, PACKED, STORED, UNREADABLE, ScaleSurvey
from precast.checks.shard_rules import (
    SHARD_FILE,
    SHARD_FOLDER,
    ShardFile,
    ShardFolder,
    read_shard,
    shard_number,
    with_encodings,
)
from precast.checks.work import in_threads
from precast.dataset.volume import Scale
from precast.errors import AccessDeniedError, FormatError, StorageError
from precast.findings import Finding
from precast.geometry import Vec3
from precast.precomputed.chunk_names import from_folders, parse_chunk_name
from precast.storage import ObjectStat

__all__ = ["find_chunks"]

PACKED_SUFFIXES = (".zstd", ".xz", ".bz2", ".lzma")
"""Forms that others write and that precast does not read."""


def find_chunks(scale: Scale, survey: ScaleSurvey, threads: int) -> list[Finding]:
    """Enter into a survey which chunks are stored, and return what is wrong with the shards that hold them."""
    try:
        objects = list(scale.objects())
    except (AccessDeniedError, StorageError) as error:
        survey.unreadable.add(survey.where, error.message)
        survey.states[:] = UNREADABLE
        return []
    survey.objects = len(objects)
    survey.stored_bytes = sum(stat.size for stat in objects)
    if scale.info.sharding is not None:
        return _from_shards(scale, survey, objects, threads)
    _from_names(scale, survey, objects)
    return []


# ---- one file per chunk


def _from_names(scale: Scale, survey: ScaleSurvey, objects: Sequence[ObjectStat]) -> None:
    odd: list[tuple[str, Vec3]] = []
    other_sizes = scale.info.other_chunk_sizes
    for stat in objects:
        name, nested = from_folders(stat.key.removeprefix(f"{scale.info.key}/"))
        suffix = next((suffix for suffix in PACKED_SUFFIXES if name.endswith(suffix)), "")
        name = name.removesuffix(suffix)
        ends = parse_chunk_name(name)
        if ends is None:
            continue  # what else lies there is told by a rule about files
        begin, end = ends
        cell = scale.info.cell_of(name)
        if cell is None:
            if not any(_fits(scale, size, begin, end) for size in other_sizes):
                odd.append((stat.key, begin))
            continue
        at = (cell.z, cell.y, cell.x)
        if survey.states[at] != ABSENT:
            survey.twice.add(stat.key, "is stored in several forms")
            continue
        survey.states[at] = STORED
        if nested:
            survey.nested.add(stat.key, f"is the chunk {name}, in a folder of its own")
        if suffix or (nested and not scale.in_folders()):
            survey.states[at] = PACKED
        elif stat.size == 0:
            survey.zero_length.add(stat.key, "has no bytes")
            survey.states[at] = BROKEN
        if text := _packing(suffix, stat):
            survey.packed.add(stat.key, text)
    for key, begin in odd:
        relative = begin.minus(scale.info.voxel_offset)
        cell = relative.floordiv(scale.info.chunk_size)
        inside = all(0 <= n < count for n, count in zip(cell, scale.info.grid, strict=True))
        if inside and survey.states[cell.z, cell.y, cell.x] == ABSENT:
            survey.misnamed.add(
                key, f"is no name of a chunk; {scale.info.chunk_name(cell)}, which it covers, is absent"
            )
        else:
            survey.leftover.add(key, "is not the name of a chunk of this scale")


def _packing(suffix: str, stat: ObjectStat) -> str:
    """Return what is unusual about how a chunk is packed; empty if nothing is."""
    if suffix:
        return f"is packed as {suffix}, which precast does not read"
    return "is packed with brotli, which few web servers send" if stat.encoding == "br" else ""


def _fits(scale: Scale, size: Vec3, begin: Vec3, end: Vec3) -> bool:
    box = scale.info.box
    relative = begin.minus(box.start)
    whole = all(n >= 0 and n % c == 0 for n, c in zip(relative, size, strict=True))
    return whole and end == begin.plus(size).map(min, box.stop)


# ---- shards


def _from_shards(scale: Scale, survey: ScaleSurvey, objects: Sequence[ObjectStat], threads: int) -> list[Finding]:
    spec = scale.info.sharding
    assert spec is not None  # the caller looked
    objects = with_encodings(scale.store, objects, threads)
    folder = ShardFolder.of(scale.info.key, objects, spec)
    findings = SHARD_FOLDER.run(folder)
    good = [stat for stat in objects if not stat.encoding and shard_number(stat.key, spec) is not None]

    def one(stat: ObjectStat) -> ShardFile | str:
        try:
            return read_shard(scale.store, stat, spec)
        except (AccessDeniedError, StorageError, FormatError) as error:
            return error.message

    # of these shards the keys are unknown: what they hold is neither there nor absent
    unknown: dict[int, list[int] | None] = {}
    for key in (*folder.misnamed, *folder.packed):
        with suppress(ValueError):
            unknown[int(key.rpartition("/")[2].removesuffix(".shard"), 16)] = None
    for stat, shard in zip(good, in_threads(one, good, threads), strict=True):
        if isinstance(shard, str):
            survey.unreadable.add(stat.key, shard)
            unknown[shard_number(stat.key, spec) or 0] = None
            continue
        findings += SHARD_FILE.run(shard)
        _enter(scale, survey, shard)
        if shard.unknown != []:
            unknown[shard.number] = shard.unknown
    if unknown:
        _mark_unknown(scale, survey, unknown)
    return findings


def _enter(scale: Scale, survey: ScaleSurvey, shard: ShardFile) -> None:
    """Enter the chunks of one shard."""
    grid = scale.info.grid
    for keys, state in ((np.array(shard.spoiled, np.uint64), BROKEN), (shard.keys, STORED)):
        try:
            cells = kernels.morton_cells(keys, grid)
        except FormatError:
            good = np.array([_is_cell(int(key), grid) for key in keys], bool)
            wrong = keys[~good]
            if state == STORED:
                text = f"the key {wrong[0]} is that of no chunk of the grid {grid}"
                survey.no_cell.add(shard.where, text, len(wrong))
            cells = kernels.morton_cells(keys[good], grid)
        x, y, z = cells.astype(np.intp).reshape(-1, 3).T
        survey.states[z, y, x] = state


def _is_cell(key: int, grid: Vec3) -> bool:
    try:
        kernels.morton_cells(np.array([key], np.uint64), grid)
    except FormatError:
        return False
    return True


def _mark_unknown(scale: Scale, survey: ScaleSurvey, unknown: dict[int, list[int] | None]) -> None:
    """Mark the chunks that would stand in indices that cannot be read."""
    assert scale.info.sharding is not None  # there are shards
    for z, plane in enumerate(survey.states):  # a view
        y, x = np.nonzero(plane == ABSENT)
        cells = np.stack([x, y, np.full(len(x), z)], axis=1)
        shards, minishards = scale.info.sharding.place(kernels.morton_codes(cells, scale.info.grid))
        for shard, which in unknown.items():
            lost = shards == np.uint64(shard)
            if which is not None:
                lost &= np.isin(minishards, np.array(which, np.uint64))
            plane[y[lost], x[lost]] = UNREADABLE
