"""precast's kernels as the benchmarks call them: one thread, the public Python interface.

The only module of the benchmarks that imports precast, so that the peers can be measured without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from bench.data import Voxels
from precast import draco as codec
from precast import kernels
from precast.geometry import Vec3

__all__ = ["decode", "digest", "downsample", "draco", "encode", "extract", "label_table", "simplify"]


def encode(pieces: Sequence[Voxels], block: int) -> list[bytes]:
    """Return ready-cut chunks (z, y, x), each encoded by itself: compressed_segmentation without gzip."""
    codec = kernels.ChunkCodec(encoding="compressed_segmentation", block_size=Vec3.of(block))
    out: list[bytes] = []
    for piece in pieces:
        chunks = kernels.encode_chunks(piece[None], chunk_size=piece.shape[::-1], codec=codec, threads=1)
        out.extend(chunk for chunk in chunks if chunk is not None)
    return out


def decode(encoded: bytes, block: int, out: Voxels) -> Voxels:
    """Decode one chunk into ``out``, (z, y, x), and return it: the interface that precast's own reader uses."""
    kernels.decode_compressed_segmentation(encoded, Vec3.of(block), out)
    return out


def downsample(data: Voxels, factors: Sequence[int], method: kernels.DownsampleMethod, scales: int) -> list[Voxels]:
    """Return ``scales`` successive reductions of ``data`` (z, y, x)."""
    reduced, level = [], data[None]
    for _ in range(scales):
        level = kernels.downsample(level, Vec3.of(factors), method, threads=1)
        reduced.append(level[0])
    return reduced


def draco(meshes: Sequence[tuple[Voxels, Voxels]]) -> list[bytes]:
    """Return each mesh of positions (int32) and faces (uint32) as a Draco stream."""
    return [codec.encode(positions, faces) for positions, faces in meshes]


def extract(data: Voxels) -> dict[int, tuple[Voxels, Voxels]]:
    """Return positions, in half voxels, and faces of the closed surface of every label of ``data`` (z, y, x)."""
    found = kernels.extract_surface(data)
    return {one: found.get(at) for at, one in enumerate(found.ids.tolist())}


def label_table(data: Voxels) -> Any:
    """Return the label table of ``data`` (z, y, x)."""
    table = kernels.LabelTable()
    table.update(data[None], (0, 0, 0), threads=1)
    return table.take()


def digest(data: Voxels, z: int, shape: Sequence[int]) -> tuple[int, int]:
    """Return the share of ``data`` (z, y, x), which begins at slice ``z``, in the digest of a volume of ``shape``."""
    return kernels.voxel_digest(data[None], (0, 0, z), (shape[2], shape[1], shape[0]), threads=1)


def simplify(
    meshes: Sequence[tuple[Voxels, Voxels]], targets: Sequence[int], unit_nm: tuple[float, float, float], voxel: int
) -> list[tuple[Voxels, Voxels]]:
    """Return each mesh of positions (int32) with about its target of faces, whatever distance that takes.

    A voxel is as many lattice units long; vertices come to lie on quarters of it, as `precast mesh` has them.
    """
    snap = (voxel // 4,) * 3
    found = (
        kernels.simplify_mesh(
            positions, faces, unit_nm=unit_nm, max_error_nm=inf, target_faces=target, patch=2 * voxel, snap=snap
        )
        for (positions, faces), target in zip(meshes, targets, strict=True)
    )
    return [(positions, faces) for positions, faces, _ in found]
