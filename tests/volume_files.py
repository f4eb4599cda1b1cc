"""Volumes and shards written by hand: nothing here uses precast, so that what it checks has a truth of its own."""

from __future__ import annotations

import copy
import gzip
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

OFFSET = (8, 0, 4)
SIZE = (40, 24, 16)
CHUNK = (16, 16, 8)
RESOLUTION = (10, 10, 20)

SHARDING: dict[str, Any] = {
    "@type": "neuroglancer_uint64_sharded_v1",
    "preshift_bits": 1,
    "hash": "identity",
    "minishard_bits": 1,
    "shard_bits": 3,
    "minishard_index_encoding": "raw",
    "data_encoding": "raw",
}


def labels(seed: int = 3) -> Array:
    """Return labels (z, y, x): blocks of 8 x 8 x 4 voxels, none 0, in 40 x 24 x 16 voxels."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(1, 2**31, (4, 3, 5))
    return np.asarray(coarse.repeat(4, 0).repeat(8, 1).repeat(8, 2).astype("<u4"))


def volume_info() -> dict[str, Any]:
    """Return the ``info`` of two scales, in the manner of the format's description."""
    scale = {
        "key": "10_10_20",
        "size": list(SIZE),
        "voxel_offset": list(OFFSET),
        "chunk_sizes": [list(CHUNK)],
        "resolution": list(RESOLUTION),
        "encoding": "raw",
    }
    coarse = copy.deepcopy(scale) | {
        "key": "20_20_40",
        "size": [n // 2 for n in SIZE],
        "voxel_offset": [n // 2 for n in OFFSET],
        "resolution": [2 * n for n in RESOLUTION],
    }
    return {
        "@type": "neuroglancer_multiscale_volume",
        "type": "segmentation",
        "data_type": "uint32",
        "num_channels": 1,
        "scales": [scale, coarse],
    }


def chunks(scale: Mapping[str, Any], data: Array) -> dict[tuple[int, int, int], Array]:
    """Cut voxels (z, y, x) into chunks by their grid cell, x, y, z."""
    found = {}
    (cx, cy, cz), (nx, ny, nz) = scale["chunk_sizes"][0], scale["size"]
    for z in range(0, nz, cz):
        for y in range(0, ny, cy):
            for x in range(0, nx, cx):
                found[x // cx, y // cy, z // cz] = data[z : z + cz, y : y + cy, x : x + cx]
    return found


def chunk_name(scale: Mapping[str, Any], cell: Sequence[int]) -> str:
    """Return the name of a chunk."""
    parts = []
    for g, c, n, o in zip(
        cell, scale["chunk_sizes"][0], scale["size"], scale.get("voxel_offset", (0, 0, 0)), strict=True
    ):
        parts.append(f"{o + g * c}-{o + min((g + 1) * c, n)}")
    return "_".join(parts)


def morton(cell: Sequence[int], grid: Sequence[int]) -> int:
    """Return the compressed Morton code of a cell."""
    code, at = 0, 0
    for bit in range(32):
        for g, n in zip(cell, grid, strict=True):
            if 1 << bit < n:
                code |= (g >> bit & 1) << at
                at += 1
    return code


def shard(minishards: Sequence[Sequence[tuple[int, bytes]]], *, order: bool = True) -> bytes:
    """Return a shard: all values in the order given, then the indices; empty minishards have none."""
    body, entries, indices = b"", b"", []
    for values in minishards:
        rows: tuple[list[int], list[int], list[int]] = ([], [], [])
        end, last = 0, 0
        for key, value in values if order else reversed(values):
            start = len(body)
            body += value
            for row, number in zip(rows, ((key - last) % 2**64, start - end, len(value)), strict=True):
                row.append(number)
            end, last = len(body), key
        indices.append(b"".join(struct.pack(f"<{len(row)}Q", *row) for row in rows))
    for index in indices:
        entries += struct.pack("<2Q", len(body), len(body) + len(index))
        body += index
    return entries + body


def shards(scale: Mapping[str, Any], data: Array) -> dict[str, list[list[tuple[int, bytes]]]]:
    """Return the values of every shard of a scale with ``SHARDING``, by minishard."""
    grid = [-(-n // c) for n, c in zip(scale["size"], scale["chunk_sizes"][0], strict=True)]
    found: dict[str, list[list[tuple[int, bytes]]]] = {}
    for cell, part in chunks(scale, data).items():
        key = morton(cell, grid)
        hashed = key >> 1
        minishards = found.setdefault(f"{hashed >> 1 & 7:x}.shard", [[], []])
        minishards[hashed & 1].append((key, part.tobytes()))
    for minishards in found.values():
        for values in minishards:
            values.sort()
    return found


def write_volume(
    path: Path, info: dict[str, Any] | None = None, data: Sequence[Array] | None = None, *, packed: bool = True
) -> Path:
    """Write a raw volume, as the older workflow did: one file per chunk, gzipped as ``X.gz`` or bare, or in shards."""
    info = info or volume_info()
    data = data or pyramid(labels())
    path.mkdir(parents=True)
    for scale, voxels in zip(info["scales"], data, strict=True):
        folder = path / scale["key"]
        folder.mkdir()
        if "sharding" in scale:
            for name, minishards in shards(scale, voxels).items():
                (folder / name).write_bytes(shard(minishards))
            continue
        for cell, part in chunks(scale, voxels).items():
            name = chunk_name(scale, cell)
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(part.tobytes(), 1))
            else:
                (folder / name).write_bytes(part.tobytes())
    (path / "info").write_text(json.dumps(info))
    return path


def pyramid(data: Array) -> list[Array]:
    """Return voxels and every second of them."""
    return [data, data[::2, ::2, ::2]]


def sharded_info() -> dict[str, Any]:
    """Return the same ``info`` with both scales sharded."""
    info = volume_info()
    for scale in info["scales"]:
        scale["sharding"] = dict(SHARDING)
    return info
