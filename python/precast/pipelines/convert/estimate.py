"""What a conversion will write, for the dry run: objects exactly, bytes from a small encoded sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from precast.geometry import Box
from precast.pipelines.convert.plan import ConvertPlan
from precast.pipelines.convert.values import ValueReader

__all__ = ["Estimate", "estimate"]

SAMPLE_EDGE = 512
SAMPLE_SLICES = 16


@dataclass(frozen=True, slots=True)
class Estimate:
    """Per scale: objects, raw bytes, expected stored bytes; and scratch space in all."""

    objects: tuple[int, ...]
    raw_bytes: tuple[int, ...]
    stored_bytes: tuple[int, ...]
    scratch_bytes: int


def _ratio(plan: ConvertPlan) -> float:
    """Return stored over raw bytes of a few slices in the middle of the source."""
    whole = plan.source.info.bounds
    size = whole.size.map(min, (SAMPLE_EDGE, SAMPLE_EDGE, SAMPLE_SLICES))
    start = whole.size.minus(size).floordiv((2, 2, 2))
    box = Box.of_size(start, size)
    data = np.empty((plan.channels, *size.zyx), plan.dtype)
    ValueReader(plan.source, plan.source.info.dtype, plan.dtype).read(box, data)
    payloads = plan.codecs[0].encode_slab(data, gzip_level=plan.gzip_level, skip_zero=False, threads=plan.threads)
    return sum(len(payload or b"") for payload in payloads) / data.nbytes


def estimate(plan: ConvertPlan) -> Estimate:
    """Estimate what ``plan`` will write; decodes a few slices of the source."""
    ratio = _ratio(plan)
    voxel = plan.channels * plan.dtype.itemsize
    raw = tuple(scale.box.size.volume * voxel for scale in plan.scales)
    stored = tuple(int(count * ratio) for count in raw)
    objects = tuple(
        len(plan.shards(k)) if scale.sharding is not None else scale.grid.volume
        for k, scale in enumerate(plan.info.scales)
    )
    scratch = 0 if plan.options.unsharded else sum(stored)
    scratch += sum(int(raw[stage.first] * min(1.0, ratio * 2)) for stage in plan.stages[1:])
    if plan.spooled:
        scratch += int(raw[0] * min(1.0, ratio * 2))
    return Estimate(objects, raw, stored, scratch)
