"""What a meshing will make, measured on a few blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from precast import kernels
from precast.geometry import Box
from precast.pipelines.mesh.frame import UNITS
from precast.pipelines.mesh.plan import MeshPlan

__all__ = ["Estimate", "estimate"]

SAMPLES = 4
SEAM_SHARE = 0.98
"""Faces of the finest level for each of the simplified pieces: what the work on whole objects takes away."""
LEVEL_SHARE = 1.23
FACE_BYTES = 1.7
OBJECT_BYTES = 250
PIECE_FACE_BYTES = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What is to be expected; numbers of faces, bytes and memory are estimates."""

    dataset: str
    format: str
    objects: int
    labels: int
    scale: int
    resolution: str
    reason: str
    max_error_nm: float
    blocks: int
    sampled_blocks: int
    full_faces: int
    faces: int
    all_faces: int
    stored_bytes: int
    memory_bytes: int
    budget_bytes: int
    scratch_bytes: int
    threads: int


def estimate(plan: MeshPlan) -> Estimate:
    """Mesh a few blocks, evenly chosen, and scale up; reads, and writes nothing."""
    blocks = plan.main_blocks()
    chosen = blocks[:: -(-len(blocks) // SAMPLES)] if blocks else []
    full = pieces = voxels = 0
    scale = plan.volume.scales[plan.scale]
    for block in chosen:
        box = Box(block.box.start, block.box.stop.map(lambda b, end: min(b + 1, end), scale.box.stop))
        labels = scale.read(box)
        found = kernels.mesh_block(
            labels if labels.dtype.itemsize >= 4 else labels.astype(np.uint32),
            start=box.start,
            closed=plan.closed(block),
            units_per_voxel=UNITS,
            simplification=plan.simplification(plan.scale),
            only=plan.only,
            keep=plan.small(plan.scale),
        )
        full += int(found.full_faces.sum())
        pieces += len(found.faces)
        voxels += block.box.size.volume
    more = sum(block.box.size.volume for block in blocks) / max(1, voxels)
    faces = round(pieces * more * SEAM_SHARE)
    legacy = plan.options.format == "legacy"
    every = faces if legacy else round(faces * LEVEL_SHARE)
    edges = plan.volume.info.scales[plan.scale].resolution
    given = plan.options.scale != "auto"
    return Estimate(
        dataset=plan.store.url,
        format="legacy, single files"
        if legacy
        else f"multi-resolution, {'single files' if plan.options.unsharded else 'sharded'}",
        objects=len(plan.rows),
        labels=plan.labels,
        scale=plan.scale,
        resolution=str(edges),
        reason="as given" if given else "the coarsest with no edge above the error",
        max_error_nm=plan.max_error_nm,
        blocks=len(blocks),
        sampled_blocks=len(chosen),
        full_faces=round(full * more),
        faces=faces,
        all_faces=every,
        stored_bytes=round(every * (PIECE_FACE_BYTES if legacy else FACE_BYTES) + OBJECT_BYTES * len(plan.rows)),
        memory_bytes=plan.workers * plan.worker_bytes,
        budget_bytes=plan.budget_bytes,
        scratch_bytes=round(pieces * more * PIECE_FACE_BYTES + every * FACE_BYTES),
        threads=plan.workers,
    )
