"""Peak memory of ``precast convert`` against its default budget, at growing sizes.

The peers are not in it: none of them has a budget. Sources are stacks of deflate-compressed TIFF slices;
the sparse one shares most of its files through hard links, so that it fits any disk.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
import tifffile

from bench import data as datasets
from bench.data import Voxels
from bench.harness import DifferenceError, dataset_size, run_child
from bench.whole import Say, convert_command

__all__ = ["run"]

_ALLOWANCE_BYTES = 150_000_000
"""What the interpreter and its libraries may take on top of the budget."""

_SPARSE_STEP = 512
"""In the sparse stack one crop lies on the diagonal every so many voxels; all else is 0."""


def run(scratch: Path, *, repeats: int, with_precast: bool, say: Say) -> list[dict[str, Any]]:
    """Convert a stack of each size once; return one JSON object for each.

    Raises
    ------
    DifferenceError
        If scale 0 of a dataset differs from its source in a box that was compared.
    """
    del repeats  # A peak does not get better by repetition.
    if not with_precast:
        return []
    results = []
    for edge, sparse in ((512, False), (1024, False), (2048, True)):
        folder = scratch / f"stack{edge}"
        _write(folder, edge, sparse)
        dest = scratch / "out"
        done = run_child(convert_command(folder, dest), scratch)
        _check(dest, edge, sparse)
        budget = _budget_bytes()
        name = f"{edge}³{', sparse' if sparse else ''}"
        results.append(
            {
                "suite": "memory",
                "work": "peak memory of convert, default budget",
                "data": f"{name} uint32 labels",
                "voxels": edge**3,
                "bytes": edge**3 * 4,
                "budget_bytes": budget,
                "allowed_bytes": budget + _ALLOWANCE_BYTES,
                "checked": "scale 0 compared with the source in boxes spread over the volume",
                "sides": {"precast": {**done.to_json(), **dataset_size(dest)}},
            }
        )
        say(
            f"{name}: {done.seconds:.1f} s, peak {done.peak_rss_bytes / 2**20:,.0f} MiB "
            f"of {(budget + _ALLOWANCE_BYTES) / 2**20:,.0f} MiB allowed"
        )
        shutil.rmtree(dest)
        shutil.rmtree(folder)
    return results


def _budget_bytes() -> int:
    """Return the documented default: the smaller of 1 GiB and a quarter of the memory that a process may use."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        if path.exists() and (text := path.read_text().strip()).isdigit():
            limits.append(int(text))
    return min(1 << 30, min(limits) // 4)


def _section(edge: int, z: int, *, sparse: bool) -> Voxels:
    crop = datasets.labels("uint32")
    if not sparse:
        return np.tile(crop[z % len(crop)], (edge // crop.shape[1], edge // crop.shape[2]))
    section = np.zeros((edge, edge), np.uint32)
    if z % _SPARSE_STEP < len(crop):
        at = z - z % _SPARSE_STEP
        section[at : at + crop.shape[1], at : at + crop.shape[2]] = crop[z % _SPARSE_STEP]
    return section


def _write(folder: Path, edge: int, sparse: bool) -> None:
    folder.mkdir()
    first: dict[object, Path] = {}
    crop = len(datasets.labels("uint32"))
    for z in range(edge):
        # What a section looks like depends on this alone; equal ones are links to one file.
        same: object = z % crop if not sparse else (z if z % _SPARSE_STEP < crop else "empty")
        path = folder / f"z{z:04d}.tif"
        if same in first:
            path.hardlink_to(first[same])
            continue
        first[same] = path
        tifffile.imwrite(
            path,
            _section(edge, z, sparse=sparse),
            compression="zlib",
            compressionargs={"level": 1},
            rowsperstrip=64,
            photometric="minisblack",
            metadata=None,
        )


def _boxes(edge: int) -> Iterator[tuple[slice, slice, slice]]:
    """Yield boxes z, y, x on and beside the diagonal, some across borders of chunks and shards."""
    width = 96
    for start in range(0, edge - width + 1, (edge - width) // 7):
        for shift in (0, 160):
            other = min(start + shift, edge - width)
            yield slice(start, start + width), slice(other, other + width), slice(start, start + width)


def _check(dest: Path, edge: int, sparse: bool) -> None:
    store = ts.open(
        {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": f"{dest}/"}, "scale_index": 0}
    ).result()
    if store.shape[:3] != (edge,) * 3:
        raise DifferenceError(f"scale 0 has the shape {store.shape} instead of {(edge,) * 3}")
    for z, y, x in _boxes(edge):
        got = np.asarray(store[x, y, z, 0].read().result()).T
        expected = np.stack([_section(edge, k, sparse=sparse)[y, x] for k in range(z.start, z.stop)])
        if not np.array_equal(got, expected):
            raise DifferenceError(f"{edge}³: the voxels z, y, x = {z}, {y}, {x} are not those of the source")
