"""Whole processes: a stack of label slices to all scales, beside igneous and neuroglancer-scripts.

Every program is started as a user starts it, from the command line, and timed from start to exit. igneous
reads the volume from a ``.npy`` file in its favourite memory order, which spares it the TIFFs, and may use
two processes. neuroglancer-scripts gets a smaller cut, its start-up time is taken off before its time is
scaled to the full number of voxels, and added again.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
import tifffile
from cloudvolume import CloudVolume

from bench import data as datasets
from bench.data import Voxels
from bench.harness import ChildRun, DifferenceError, dataset_size, run_child, run_children

__all__ = ["PROGRAMS", "Say", "convert_command", "read_scales", "run", "shown", "summary", "write_stack"]

Say = Callable[[str], None]

_EDGE = 512
_CUT = 256
_SCALES = 4
_RESOLUTION = "32,32,40"
PROGRAMS = Path(sys.executable).parent
_IGNEOUS_FLOOR, _SCRIPTS_FLOOR = 10.0, 300.0


def write_stack(folder: Path, slices: Iterable[Voxels]) -> None:
    """Write slices (y, x) as deflate-compressed TIFFs, as they come from a segmentation program."""
    folder.mkdir()
    for z, image in enumerate(slices):
        tifffile.imwrite(folder / f"z{z:04d}.tif", image, compression="zlib", photometric="minisblack", metadata=None)


def convert_command(source: Path, dest: Path, *extra: str) -> list[str | Path]:
    """Return the command line of one conversion by precast."""
    return [PROGRAMS / "precast", "convert", source, dest, "--resolution", _RESOLUTION, "--quiet", *extra]


def read_scales(folder: Path, *, count: int | None = None) -> list[Voxels]:
    """Read a dataset with a third party's reader, (z, y, x): TensorStore if it is sharded, else cloud-volume."""
    info = json.loads((folder / "info").read_text(encoding="utf-8"))
    levels = []
    for k, scale in enumerate(info["scales"][:count]):
        if "sharding" in scale:
            store = ts.open(
                {
                    "driver": "neuroglancer_precomputed",
                    "kvstore": {"driver": "file", "path": f"{folder}/"},
                    "scale_index": k,
                }
            ).result()
            levels.append(np.asarray(store.read().result())[..., 0].T)
        else:
            volume = CloudVolume(f"file://{folder}", mip=k, fill_missing=True, progress=False)
            levels.append(np.asarray(volume[:])[..., 0].T)
    return levels


def run(scratch: Path, *, repeats: int, with_precast: bool, say: Say) -> list[dict[str, Any]]:
    """Measure all programs; return one JSON object for each piece of work.

    Raises
    ------
    DifferenceError
        If a dataset does not hold the voxels that it was made from.
    """
    crop = datasets.labels("uint32")
    volume = np.tile(crop, [_EDGE // extent for extent in crop.shape])
    stack, array = scratch / "stack", scratch / "labels.npy"
    write_stack(stack, volume)
    # igneous takes the axes of a .npy file for x, y, z: in this order its chunks are contiguous along x.
    np.save(array, np.asfortranarray(volume.T))
    dest = scratch / "out"

    sides: dict[str, list[list[str | Path]]] = {}
    if with_precast:
        sides["precast"] = [convert_command(stack, dest)]
        sides["precast, unsharded"] = [convert_command(stack, dest, "--unsharded")]
    sides["igneous"] = _igneous(array, dest)
    checked, sizes = _check_all(sides, dest, scratch, volume, say)
    runs: dict[str, list[ChildRun]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, commands in sides.items():
            shutil.rmtree(dest, ignore_errors=True)
            runs[name].append(run_children(commands, scratch))
    shutil.rmtree(dest)
    array.unlink()
    results = {name: {**summary(runs[name]), **sizes[name]} for name in sides}
    for name, result in results.items():
        say(f"{name}: {_text(result)}")

    scripts = _scripts(scratch, crop[:_CUT, :_CUT, :_CUT], volume.size, say)
    case = {
        "suite": "whole",
        "work": f"stack of {_EDGE}³ uint32 labels to {_SCALES} scales, 2×2×2 majority, gzip",
        "data": "shared crop, tiled",
        "voxels": volume.size,
        "bytes": volume.nbytes,
        "not_peers": [name for name in sides if name.startswith("precast")],
        "floors": {"igneous": _IGNEOUS_FLOOR, "neuroglancer-scripts": _SCRIPTS_FLOOR},
        "checked": checked,
        "commands": {name: [shown(argv, scratch) for argv in commands] for name, commands in sides.items()},
        "sides": {**results, "neuroglancer-scripts": scripts},
    }
    return [case]


def _igneous(array: Path, dest: Path) -> list[list[str | Path]]:
    program: list[str | Path] = [PROGRAMS / "igneous", "-p", "2", "image"]
    create = ["--seg", "--resolution", _RESOLUTION, "--encoding", "compressed_segmentation"]
    create += ["--compress", "gzip", "--chunk-size", "64,64,64"]
    reduce = ["--num-mips", str(_SCALES - 1), "--volumetric", "--method", "mode", "--compress", "gzip"]
    return [
        [*program, "create", array, f"file://{dest}", *create],
        [*program, "downsample", f"file://{dest}", *reduce],
    ]


def _check_all(
    sides: dict[str, list[list[str | Path]]], dest: Path, scratch: Path, volume: Voxels, say: Say
) -> tuple[str, dict[str, dict[str, int]]]:
    """Run every side once, compare what it wrote, and return what was compared and the sizes of the outputs."""
    sizes, apart = {}, {}
    for name, commands in sides.items():
        shutil.rmtree(dest, ignore_errors=True)
        run_children(commands, scratch)
        sizes[name] = dataset_size(dest)
        levels = read_scales(dest)
        if len(levels) != _SCALES:
            raise DifferenceError(f"{name}: {len(levels)} scales instead of {_SCALES}")
        if not np.array_equal(levels[0], volume):
            raise DifferenceError(f"{name}: scale 0 is not the input")
        if name.startswith("precast"):
            for k in range(1, _SCALES):
                expected = np.asarray(ts.downsample(ts.array(levels[k - 1]), [2, 2, 2], "mode").read().result())
                if not np.array_equal(levels[k], expected):
                    raise DifferenceError(f"{name}: scale {k} is not TensorStore's downsample of scale {k - 1}")
        else:
            expected = np.asarray(ts.downsample(ts.array(levels[0]), [2, 2, 2], "mode").read().result())
            apart[name] = 100 * float((levels[1] != expected).mean())
        say(f"{name}: checked")
    text = "; ".join(
        f"{name} differs from it in {share:.2f} % of scale 1, where it breaks ties otherwise"
        for name, share in apart.items()
    )
    return (
        "scale 0 of every dataset equal to the input; every coarser scale of precast equal to TensorStore's downsample "
        f"of the scale before; {text}",
        sizes,
    )


def _scripts(scratch: Path, cut: Voxels, voxels: int, say: Say) -> dict[str, Any]:
    """Measure neuroglancer-scripts once on a cut; return its figures there and scaled to ``voxels``."""
    stack, dest, info = scratch / "cut", scratch / "scripts", scratch / "full.json"
    write_stack(stack, cut)
    scale = {"key": "full", "resolution": [32, 32, 40], "size": list(cut.shape[::-1]), "voxel_offset": [0, 0, 0]}
    scale |= {"encoding": "compressed_segmentation", "chunk_sizes": [], "compressed_segmentation_block_size": [8] * 3}
    info.write_text(
        json.dumps({"type": "segmentation", "data_type": str(cut.dtype), "num_channels": 1, "scales": [scale]})
    )
    programs = ("slices-to-precomputed", "compute-scales")
    idle = run_children([[PROGRAMS / name, "--help"] for name in programs], scratch)
    # Untimed: it writes the list of scales.
    run_child([PROGRAMS / "generate-scales-info", info, dest], scratch)
    commands: list[list[str | Path]] = [
        [PROGRAMS / programs[0], "--flat", stack, dest],
        [PROGRAMS / programs[1], "--flat", "--downscaling-method", "majority", dest],
    ]
    done = run_children(commands, scratch)
    if not np.array_equal(read_scales(dest, count=1)[0], cut):
        raise DifferenceError("neuroglancer-scripts: scale 0 is not the input")
    factor = voxels / cut.size
    seconds = (done.seconds - idle.seconds) * factor + idle.seconds
    cpu_seconds = (done.cpu_seconds - idle.cpu_seconds) * factor + idle.cpu_seconds
    scaled = ChildRun(seconds, cpu_seconds, done.peak_rss_bytes)
    text = "×".join(map(str, cut.shape[::-1]))
    result = {
        **summary([scaled]),
        "measured_on": text,
        "measured_seconds": round(done.seconds, 4),
        "start_up_seconds": round(idle.seconds, 4),
        "scaled_by": factor,
        **{name: round(value * factor) for name, value in dataset_size(dest).items()},
    }
    say(f"neuroglancer-scripts: {done.seconds:.1f} s on {text}; scaled {_text(result)}")
    return result


def summary(runs: Sequence[ChildRun]) -> dict[str, Any]:
    """Return the figures of all repeats as a JSON object."""
    rows = [run.to_json() for run in runs]
    return {
        "seconds": [row["seconds"] for row in rows],
        "cpu_seconds": [row["cpu_seconds"] for row in rows],
        "peak_rss_bytes": [row["peak_rss_bytes"] for row in rows],
        "steps": [row["steps"] for row in rows],
    }


def shown(argv: Sequence[str | Path], scratch: Path) -> str:
    """Return a command line without the paths of this machine."""
    text = " ".join([Path(argv[0]).name, *map(str, argv[1:])])
    return text.replace(f"{scratch}/", "")


def _text(result: dict[str, Any]) -> str:
    return (
        f"{min(result['seconds']):.2f} s, {min(result['cpu_seconds']):.2f} s CPU, "
        f"{max(result['peak_rss_bytes']) / 2**20:,.0f} MiB, {result['objects']:,} objects, {result['bytes']:,} bytes"
    )
