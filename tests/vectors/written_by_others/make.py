"""Write the datasets of this folder anew, with igneous and neuroglancer-scripts.

Run from the repository, in the environment of the peers (``bench/peers.txt`` has the versions)::

    make .venv-peers/.installed
    .venv-peers/bin/python tests/vectors/written_by_others/make.py

Everything is written by the programs that users of the two call, from arrays that formulas give; tests have formulas
of their own. Times lie in ``provenance`` and in the headers of gzip; otherwise every run gives the same files.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import tifffile

HERE = Path(__file__).resolve().parent
THERE = Path("/tmp/written_by_others")
"""Where the programs write: igneous keeps the path in what it writes."""
PROGRAMS = Path(sys.executable).parent
SIZE = (64, 48, 40)
OFFSET = (10, 20, 30)
VOXEL_NM = (16, 16, 20)
RESOLUTION = ",".join(map(str, VOXEL_NM))
CHUNK = "32,24,20"
IDS = (7, 2**53 + 7, 99)

Array = npt.NDArray[Any]


def labels() -> Array:
    """Return three objects of no symmetry (z, y, x), one with an id that JavaScript's numbers do not hold.

    igneous cannot merge sharded meshes of ids from 2^63 on.
    """
    made = np.zeros(SIZE[::-1], np.uint64)
    made[4:22, 4:30, 6:30] = 7
    made[10:36, 20:44, 36:60] = 2**53 + 7
    made[22:38, 4:16, 4:33] = 99
    return made


def steps() -> Array:
    """Return grey levels (z, y, x) that tell every block of 8 x 8 x 8 voxels from its neighbours."""
    z, y, x = np.mgrid[0 : SIZE[2], 0 : SIZE[1], 0 : SIZE[0]]
    return np.asarray(20 + 8 * (x // 8) + 14 * (y // 8) + 25 * (z // 8))


def colours() -> Array:
    """Return red, green and blue, each the place along an axis (z, y, x, c)."""
    z, y, x = np.mgrid[0 : SIZE[2], 0 : SIZE[1], 0 : SIZE[0]]
    return np.stack([x * 4, y * 5, z * 6], axis=-1).astype(np.uint8)


def run(*command: Any) -> None:
    program, *arguments = map(str, command)
    # a folder with nothing in it for what it looks up in the home of the user
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HOME": home}
        subprocess.run([PROGRAMS / program, *arguments], check=True, env=environment, stdout=subprocess.DEVNULL)


# ---- igneous


def create(array: Array, dest: Path, scratch: Path, *options: str) -> str:
    """Write scale 0; return the address of the dataset."""
    source = scratch / "volume.npy"
    np.save(source, np.asfortranarray(array.T))
    address = f"file://{dest}"
    offset = ",".join(map(str, OFFSET))
    where = ("--resolution", RESOLUTION, "--offset", offset, "--chunk-size", CHUNK)
    run("igneous", "image", "create", source, address, *where, *options)
    return address


def igneous(dest: Path, scratch: Path) -> None:
    segmentation = ("--seg", "--encoding", "compressed_segmentation", "--compress", "gzip")

    # chunks of a file each, gzipped; meshes of one resolution, merged by manifests
    cells = create(labels(), dest / "cells", scratch, *segmentation)
    run("igneous", "image", "downsample", cells, "--num-mips", 1, "--compress", "gzip", "--volumetric")
    run("igneous", "mesh", "forge", cells, "--mip", 0, "--shape", "40,40,40")
    run("igneous", "mesh", "merge", cells, "--magnitude", 1)

    # the same in shards, with a sharded scale below; meshes of several resolutions, in shards
    sharded = f"file://{dest / 'cells_sharded'}"
    run("igneous", "image", "xfer", cells, sharded, "--sharded", "--chunk-size", CHUNK)
    run("igneous", "image", "downsample", sharded, "--num-mips", 1, "--sharded", "--volumetric")
    run("igneous", "mesh", "forge", sharded, "--mip", 0, "--shape", "40,40,40", "--sharded")
    run("igneous", "mesh", "merge-sharded", sharded, "--nlod", 2, "--min-chunk-size", "8,8,8")

    # images, as they come without options but the place: raw, in brotli
    create(steps().astype(np.uint8), dest / "grey_brotli", scratch)
    grey = create(steps().astype(np.uint8), dest / "grey_jpeg", scratch, "--encoding", "jpeg", "--compress", "none")
    run("igneous", "image", "downsample", grey, "--num-mips", 1)


# ---- neuroglancer-scripts


def sharding(encoding: str) -> dict[str, Any]:
    bits = {"preshift_bits": 0, "minishard_bits": 1, "shard_bits": 1}
    encodings = {"minishard_index_encoding": encoding, "data_encoding": encoding}
    return {"@type": "neuroglancer_uint64_sharded_v1", "hash": "identity", **bits, **encodings}


def stack(folder: Path, slices: Array) -> Path:
    folder.mkdir()
    for number, one in enumerate(slices):
        tifffile.imwrite(folder / f"{number:03}.tif", one)
    return folder


def scripts(dest: Path, scratch: Path) -> None:
    def begin(name: str, kind: str, dtype: str, encoding: str, chunk: int = 32) -> Path:
        scale: dict[str, Any] = {"size": SIZE, "resolution": VOXEL_NM, "voxel_offset": [0, 0, 0], "encoding": encoding}
        if "sharded" in name:
            scale["sharding"] = sharding("gzip" if "zlib" in name else "raw")
        channels = 3 if name == "photo" else 1
        info = scratch / f"{name}.json"
        info.write_text(json.dumps({"type": kind, "data_type": dtype, "num_channels": channels, "scales": [scale]}))
        run("generate-scales-info", "--target-chunk-size", chunk, info, dest / name)
        return dest / name

    # grey levels of 16 bits in files X.gz side by side
    grey = begin("grey", "image", "uint16", "raw", 16)
    run("slices-to-precomputed", "--flat", stack(scratch / "grey", (steps() * 100).astype(np.uint16)), grey)
    run("compute-scales", "--flat", grey)
    photo = begin("photo", "image", "uint8", "raw")
    run("slices-to-precomputed", "--flat", stack(scratch / "photo", colours()), photo)

    # labels in bare files, with meshes of one resolution that another program made
    cells = begin("cells", "segmentation", "uint64", "compressed_segmentation", 16)
    volume = scratch / "cells.nii"
    affine = np.diag([*(nm * 1e-6 for nm in VOXEL_NM), 1])
    nibabel.Nifti2Image(np.asfortranarray(labels().T), affine, dtype=np.uint64).to_filename(volume)
    run("volume-to-precomputed", "--flat", "--no-gzip", "--ignore-scaling", volume, cells)
    run("compute-scales", "--flat", "--no-gzip", "--downscaling-method", "majority", cells)
    links = []
    for one in IDS:
        surface = scratch / f"object_{one}.gii"
        box_surface(one, surface)
        run("mesh-to-precomputed", "--mesh-dir", "mesh", surface, cells)
        links.append(f"{one},object_{one}")
    table = scratch / "links.csv"
    table.write_text("\n".join(links) + "\n")
    run("link-mesh-fragments", table, cells)

    # without --flat: a folder per axis; and in shards, which have zlib's header where gzip's is promised
    for name in ("cells_in_folders", "cells_sharded", "cells_sharded_zlib"):
        encoding = "raw" if name == "cells_in_folders" else "compressed_segmentation"
        run("volume-to-precomputed", "--ignore-scaling", volume, begin(name, "segmentation", "uint64", encoding))


def box_surface(one: int, path: Path) -> None:
    """Write the surface of an object, which is a box, as GIfTI: in millimetres."""
    z, y, x = (axis for axis in np.nonzero(labels() == one))
    low, high = (np.array([step(x), step(y), step(z)]) for step in (np.min, np.max))
    corners = np.array([[k >> axis & 1 for axis in range(3)] for k in range(8)])
    points = np.where(corners == 1, high + 1, low) * np.array(VOXEL_NM) * 1e-6
    quads = [[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]]
    triangles = [[quad[0], *pair] for quad in quads for pair in (quad[1:3], quad[2:4])]
    arrays = [
        nibabel.gifti.GiftiDataArray(points.astype(np.float32), intent="NIFTI_INTENT_POINTSET"),
        nibabel.gifti.GiftiDataArray(np.array(triangles, np.int32), intent="NIFTI_INTENT_TRIANGLE"),
    ]
    nibabel.gifti.GiftiImage(darrays=arrays).to_filename(path)


def main() -> None:
    shutil.rmtree(THERE, ignore_errors=True)
    for name, write in (("igneous", igneous), ("neuroglancer_scripts", scripts)):
        with tempfile.TemporaryDirectory() as scratch:
            write(THERE / name, Path(scratch))
        shutil.rmtree(HERE / name, ignore_errors=True)
        shutil.copytree(THERE / name, HERE / name)
    shutil.rmtree(THERE)
    versions = {name: importlib.metadata.version(name) for name in ("igneous-pipeline", "neuroglancer-scripts")}
    (HERE / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")


if __name__ == "__main__":
    main()
