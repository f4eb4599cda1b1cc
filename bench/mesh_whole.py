"""Whole processes: multi-resolution meshes of every object of a segmentation, beside igneous.

Both programs are started from the command line on a copy of one precomputed volume and timed from start to
exit: igneous with its two commands and two processes, precast with its one. igneous takes minutes and runs
once. What they wrote is read by cloud-volume and DracoPy and compared with surfaces that zmesh extracts
from the voxels.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import data as datasets
from bench import surfaces
from bench.data import Voxels
from bench.harness import ChildRun, DifferenceError, dataset_size, run_child, run_children
from bench.meshing import RESOLUTION_NM, extract
from bench.multires import Meshes
from bench.surfaces import Deviation, Surface
from bench.whole import PROGRAMS, Say, shown, summary

__all__ = ["choose", "judge", "labels", "original", "quality", "run"]

_EDGE = 512
_LEVELS = 3
_CHOSEN = 100
_SAMPLES = 10_000
_FLOOR = 35.0


def labels(edge: int = _EDGE) -> Voxels:
    """Return the crop repeated along each axis, (z, y, x), with ids of their own in each copy."""
    crop = datasets.labels("uint32").astype(np.uint64)
    step = int(crop.max()) + 1
    volume = np.empty((edge,) * 3, np.uint64)
    counts = [edge // extent for extent in crop.shape]
    for copy, (z, y, x) in enumerate(np.ndindex(*counts)):
        corner = [slice(k * extent, (k + 1) * extent) for k, extent in zip((z, y, x), crop.shape, strict=True)]
        volume[tuple(corner)] = np.where(crop > 0, crop + np.uint64(copy * step), 0)
    return volume


def run(scratch: Path, *, repeats: int, with_precast: bool, say: Say) -> list[dict[str, Any]]:
    """Measure both programs; return one JSON object.

    Raises
    ------
    DifferenceError
        If precast left an object out or wrote a surface that is not closed.
    """
    volume = labels()
    source, dest = scratch / "volume", scratch / "out"
    _write_volume(volume, source, scratch, with_precast)
    ids, counts = np.unique(volume[volume > 0], return_counts=True)
    chosen = choose(ids, counts)
    originals = {one: original(volume, one) for one in chosen}
    voxels = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    results: dict[str, Any] = {}
    judged: dict[str, dict[int, _Judged]] = {}
    sides: dict[str, tuple[list[list[str | Path]], int]] = {"igneous": (_igneous(dest), 1)}
    if with_precast:
        sides = {"precast": ([[PROGRAMS / "precast", "mesh", dest, "--quiet"]], repeats), **sides}
    for name, (commands, times) in sides.items():
        runs: list[ChildRun] = []
        for _ in range(times):
            shutil.rmtree(dest, ignore_errors=True)
            shutil.copytree(source, dest)
            runs.append(run_children(commands, scratch))
        folder = dest / str(json.loads((dest / "info").read_text(encoding="utf-8"))["mesh"])
        shards = [path.stat().st_size for path in folder.glob("*.shard")]
        results[name] = {
            **summary(runs),
            "objects": len(shards),
            "bytes": sum(shards),
            "left_behind_bytes": _left_behind(folder),
            "meshes": _survey(dest, ids),
        }
        say(f"{name}: {min(results[name]['seconds']):.2f} s; {results[name]['meshes']}")
        if name == "precast":
            _must_be_whole(results[name]["meshes"], len(ids))
        judged[name] = judge(dest, originals, voxels)
    # Objects that a program left out would be missing from its means alone.
    common = [one for one in chosen if all(one in found for found in judged.values())]
    for name, found in judged.items():
        results[name]["quality"] = quality([found[one] for one in common])
        say(f"{name}, {len(common)} objects: {results[name]['quality']}")
    return [
        {
            "suite": "mesh-whole",
            "work": f"multi-resolution meshes of every object of {_EDGE}³ labels, sharded",
            "data": "shared crop, repeated with ids of its own each time",
            "voxels": volume.size,
            "bytes": volume.nbytes,
            "not_peers": ["precast"],
            "floors": {"igneous": _FLOOR},
            "checked": _checked(results, len(ids)),
            "commands": {name: [shown(argv, scratch) for argv in commands] for name, (commands, _) in sides.items()},
            "sides": results,
        }
    ]


def _write_volume(volume: Voxels, source: Path, scratch: Path, with_precast: bool) -> None:
    array = scratch / "labels.npy"
    resolution = ",".join(map(str, RESOLUTION_NM))
    if with_precast:
        np.save(array, volume)
        options = ["--axes", "zyx", "--kind", "segmentation", "--scales", "1", "--quiet"]
        run_child([PROGRAMS / "precast", "convert", array, source, "--resolution", resolution, *options], scratch)
    else:
        np.save(array, np.asfortranarray(volume.T))
        options = ["--seg", "--resolution", resolution, "--encoding", "compressed_segmentation"]
        run_child([PROGRAMS / "igneous", "image", "create", array, f"file://{source}", *options], scratch)
    array.unlink()


def _igneous(dest: Path) -> list[list[str | Path]]:
    program: list[str | Path] = [PROGRAMS / "igneous", "-p", "2", "mesh"]
    path = f"file://{dest}"
    return [
        [*program, "forge", path, "--mip", "0", "--sharded", "--dir", "mesh"],
        [*program, "merge-sharded", path, "--nlod", str(_LEVELS), "--dir", "mesh"],
    ]


def _left_behind(folder: Path) -> int:
    """Return the bytes of what no viewer reads."""
    kept = sum(path.stat().st_size for path in [*folder.glob("*.shard"), folder / "info"])
    return dataset_size(folder)["bytes"] - kept


def _survey(dest: Path, ids: NDArray[Any]) -> dict[str, Any]:
    """Return what is there of all objects, at level 0."""
    meshes = Meshes(dest)
    found: dict[str, Any] = {"objects": 0, "closed": 0, "faces": 0, "bytes": 0, "fragments": 0, "levels": {}}
    for one in ids.tolist():
        level = meshes.read(one, 0)
        if level is None:
            continue
        found["objects"] += 1
        found["closed"] += surfaces.is_closed(level.surface[1])
        found["faces"] += len(level.surface[1])
        found["bytes"] += level.bytes
        found["fragments"] += level.fragments
        levels = str(meshes.levels(one))
        found["levels"][levels] = found["levels"].get(levels, 0) + 1
    return found


def _must_be_whole(found: dict[str, Any], objects: int) -> None:
    if found["objects"] != objects:
        raise DifferenceError(f"precast: {objects - found['objects']} objects have no mesh")
    if found["closed"] != objects:
        raise DifferenceError(f"precast: {objects - found['closed']} surfaces are open")


def _checked(results: dict[str, Any], objects: int) -> str:
    texts = []
    for name, result in results.items():
        found = result["meshes"]
        texts.append(f"{name} meshed {found['objects']:,} of {objects:,} objects, {found['closed']:,} of them closed")
    if "precast" in results:
        share = results["precast"]["meshes"]["faces"] / results["igneous"]["meshes"]["faces"]
        texts.append(f"precast has {100 * share:.1f} % of igneous's faces at level 0")
    return "every object read by cloud-volume and DracoPy: " + "; ".join(texts)


def choose(ids: NDArray[Any], counts: NDArray[Any]) -> list[int]:
    """Return ids at even steps from the largest object to the smallest."""
    order = ids[np.lexsort((ids, -counts))]
    count = min(_CHOSEN, len(order))
    return [int(order[k * len(order) // count]) for k in range(count)]


def original(volume: Voxels, one: int) -> Surface:
    """Return the unsimplified closed surface of an object in nm, from the voxels."""
    mask = volume == one
    box = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    cut = np.ascontiguousarray(mask[tuple(box)]).view(np.uint8)
    positions, faces = extract(cut)[1]
    corner = np.array([box[2].start, box[1].start, box[0].start])
    return (positions / 2 + corner) * np.array(RESOLUTION_NM), faces


@dataclass(frozen=True, slots=True)
class _Judged:
    """Level 0 of one object beside its voxels and its unsimplified surface."""

    closed: bool
    faces: int
    bytes: int
    volume_nm3: float
    voxels_nm3: float
    to_original: tuple[float, Deviation]
    from_original: tuple[float, Deviation]
    """Each with the area that it counts for."""


def judge(dest: Path, originals: Mapping[int, Surface], voxels: Mapping[int, int]) -> dict[int, _Judged]:
    """Measure level 0 of some objects; those without a mesh are left out."""
    meshes = Meshes(dest)
    found = {}
    for one, surface in originals.items():
        level = meshes.read(one, 0)
        if level is None:
            continue
        simple = level.surface
        found[one] = _Judged(
            surfaces.is_closed(simple[1]),
            len(simple[1]),
            level.bytes,
            surfaces.signed_volume(simple),
            voxels[one] * float(np.prod(RESOLUTION_NM)),
            (surfaces.area(simple), surfaces.deviation(simple, surface, _SAMPLES)),
            (surfaces.area(surface), surfaces.deviation(surface, simple, _SAMPLES)),
        )
    return found


def quality(judged: Sequence[_Judged]) -> dict[str, Any]:
    """Return what level 0 of some objects is worth together."""
    ratios = np.array([one.volume_nm3 / one.voxels_nm3 for one in judged])
    to_original = surfaces.pooled([one.to_original for one in judged])
    from_original = surfaces.pooled([one.from_original for one in judged])
    return {
        "objects": len(judged),
        "closed": sum(one.closed for one in judged),
        "volume_ratio": sum(one.volume_nm3 for one in judged) / sum(one.voxels_nm3 for one in judged),
        "mean_volume_error": float(np.abs(ratios - 1).mean()),
        "least_volume_ratio": float(ratios.min()),
        "mean_to_original_nm": to_original.mean,
        "max_to_original_nm": to_original.max,
        "mean_from_original_nm": from_original.mean,
        "max_from_original_nm": from_original.max,
        "faces": sum(one.faces for one in judged),
        "bytes": sum(one.bytes for one in judged),
    }
