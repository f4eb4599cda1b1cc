"""Read multi-resolution meshes without precast: shards and manifests by cloud-volume, fragments by DracoPy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import DracoPy
import numpy as np
from cloudvolume import CloudVolume
from numpy.typing import NDArray

from bench.surfaces import Surface, weld

__all__ = ["LevelOfDetail", "Meshes"]


@dataclass(frozen=True, slots=True)
class LevelOfDetail:
    """One level of one object."""

    surface: Surface
    """In nm, one vertex for each position on the format's lattice, whatever fragments it is in."""
    fragments: int
    bytes: int
    """Of the fragments."""


class Meshes:
    """The meshes of a dataset on a local disk, sharded."""

    def __init__(self, dataset: Path) -> None:
        self._dataset = dataset
        # The cache of shard indices is cloud-volume's own.
        self._source: Any = CloudVolume(f"file://{dataset}", progress=False).mesh
        self._steps = 2 ** int(self._source.vertex_quantization_bits) - 1
        self._transform: NDArray[Any] = self._source.transform

    def levels(self, one: int) -> int:
        """Return the number of levels of an object, 0 if it has no mesh."""
        manifest = self._source.get_manifest(one)
        return 0 if manifest is None else int(manifest.num_lods)

    def read(self, one: int, lod: int) -> LevelOfDetail | None:
        """Return a level of an object, or nothing if it has no mesh."""
        manifest = self._source.get_manifest(one)
        if manifest is None:
            return None
        sizes = [int(level.sum()) for level in manifest.fragment_offsets]
        # Fragments lie directly before the manifest.
        start = int(manifest.shard_offset) - sum(sizes) + sum(sizes[:lod])
        with (self._dataset / manifest.path).open("rb") as shard:
            shard.seek(start)
            data = shard.read(sizes[lod])
        positions, faces, count, at = [np.empty((0, 3), np.int64)], [np.empty((0, 3), np.int64)], 0, 0
        lengths = manifest.fragment_offsets[lod]
        for cell, length in zip(manifest.fragment_positions[lod].astype(np.int64), lengths, strict=True):
            if length:
                decoded = DracoPy.decode(data[at : at + int(length)])
                faces.append(decoded.faces.astype(np.int64) + count)
                positions.append(np.rint(decoded.points).astype(np.int64) + cell * self._steps)
                count += len(positions[-1])
                at += int(length)
        lattice, welded = weld(np.concatenate(positions), np.concatenate(faces))
        step = np.asarray(manifest.chunk_shape, np.float64) * 2**lod / self._steps
        stored = (
            np.asarray(manifest.grid_origin, np.float64) + np.asarray(manifest.vertex_offsets[lod]) + lattice * step
        )
        model = stored @ self._transform[:3, :3].T + self._transform[:3, 3]
        return LevelOfDetail((model, welded), int((lengths > 0).sum()), sizes[lod])
