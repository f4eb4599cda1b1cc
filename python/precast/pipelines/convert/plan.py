"""From a source and options to everything that will happen; nothing is written here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from precast.errors import UsageError
from precast.execution.memory import current_rss_bytes, default_budget_bytes
from precast.findings import Finding, notice
from precast.geometry import Box, Vec3, VoxelSize
from precast.kernels import DownsampleMethod
from precast.pipelines.convert import budget as budget_rules
from precast.pipelines.convert.blocks import Stage
from precast.pipelines.convert.budget import (
    MAX_DECODES,
    Budget,
    StagePlan,
    decodes_per_block,
    plan_stages,
)
from precast.pipelines.convert.options import ConvertOptions
from precast.pipelines.convert.values import stored_dtype
from precast.precomputed.codecs import Codec, codec_of_scale
from precast.precomputed.info import ScaleInfo, VolumeInfo
from precast.precomputed.scales import ScaleGeometry, pyramid
from precast.precomputed.sharding import choose_volume_sharding, shard_numbers
from precast.sources.base import Source
from precast.sources.guess import guess_kind

__all__ = ["ConvertPlan", "MemoryPlan", "make_plan"]

LIBRARIES_BYTES = 24 << 20
"""What decoders, encoders and thread stacks add to the interpreter once work has begun."""

LABEL_GZIP_LEVEL = 4
IMAGE_GZIP_LEVEL = 1
"""Level 5 costs 7 % of the time of a whole conversion of labels for 4 % fewer bytes; level 6 more for nothing. On raw
electron micrographs every level saves 4 to 5 %, and level 1 is the fastest."""

ENCODED_SHARE = {"raw": 1.0, "png": 0.8, "jpeg": 0.3, "compressed_segmentation": 0.1}
"""Typical size of encoded chunks relative to raw ones, for the memory that they take while they wait to be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Memory, in bytes: the budget for buffers, what they will take, and the peak of the process."""

    budget_bytes: int
    buffer_bytes: int
    process_bytes: int

    @property
    def peak_bytes(self) -> int:
        """Predicted peak of resident memory."""
        return self.process_bytes + self.buffer_bytes


@dataclass(frozen=True, kw_only=True)
class ConvertPlan:
    """A conversion, decided in every point. Pickles; holds no open handles."""

    source: Source
    options: ConvertOptions
    kind_reason: str
    resolution_origin: str
    info: VolumeInfo
    scales: tuple[ScaleGeometry, ...]
    stage_plans: tuple[StagePlan, ...]
    spooled: bool
    spool_readers: int
    decodes: int
    memory: MemoryPlan
    batch_bytes: int
    threads: int
    findings: tuple[Finding, ...]

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Geometry of the stages."""
        return tuple(plan.stage for plan in self.stage_plans)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Stored dtype, native byte order."""
        return np.dtype(self.info.data_type)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.info.num_channels

    @property
    def method(self) -> DownsampleMethod:
        """Name of the reduction as the kernel takes it."""
        return method_for(self.options, self.info.kind)

    @property
    def skip_zero(self) -> bool:
        """Whether chunks of only zeros are left out."""
        return self.options.unsharded or self.options.skip_background

    @cached_property
    def codecs(self) -> tuple[Codec, ...]:
        """The codec of every scale."""
        return tuple(codec_of_scale(scale, self.info.data_type, self.channels) for scale in self.info.scales)

    @property
    def gzip_level(self) -> int | None:
        """Level of gzip around each chunk, None where there is none."""
        if self.codecs[0].compressed or (self.options.unsharded and self.options.compress == "none"):
            return None
        if self.options.gzip_level is not None:
            return self.options.gzip_level
        return LABEL_GZIP_LEVEL if self.info.kind == "segmentation" else IMAGE_GZIP_LEVEL

    @property
    def raw_bytes(self) -> int:
        """Voxels of all scales, as bytes of the stored dtype."""
        return sum(scale.box.size.volume for scale in self.scales) * self.channels * self.dtype.itemsize

    def shards(self, k: int) -> list[int]:
        """Return the numbers of all shards of a scale; empty if it is unsharded."""
        scale = self.info.scales[k]
        return shard_numbers(scale.sharding, scale.grid) if scale.sharding is not None else []

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "codecs"}


def method_for(options: ConvertOptions, kind: str) -> DownsampleMethod:
    """Return the kernel's name of the reduction.

    Raises
    ------
    UsageError
        If the method makes no sense for the kind: labels are never averaged.
    """
    labels: tuple[DownsampleMethod, ...] = ("majority", "stride")
    images: tuple[DownsampleMethod, ...] = ("mean", "min", "max", "stride")
    allowed = labels if kind == "segmentation" else images
    method = next((name for name in allowed if options.method in (name, "auto")), None)
    if method is None:
        what = "labels" if kind == "segmentation" else "images"
        raise UsageError(f"--method {options.method} is not for {what}; allowed: {', '.join(allowed)}")
    if options.sparse:
        if kind != "segmentation":
            raise UsageError("--sparse is for labels: it does not count 0 in the majority")
        return "majority_sparse"
    return method


def _resolution(source: Source, options: ConvertOptions) -> tuple[VoxelSize, str]:
    if options.resolution is not None:
        return options.resolution, "given by --resolution"
    if source.info.voxel_size is None:
        raise UsageError(
            f"the voxel size of {source.info.name} is not known: the files do not say it",
            hint="give --resolution x,y,z in nm, for example --resolution 32,32,40",
        )
    return source.info.voxel_size, f"read from the source ({source.info.voxel_size_origin})"


def _encoding(options: ConvertOptions, kind: str) -> str:
    labels = kind == "segmentation"
    encoding = options.encoding
    if encoding == "auto":
        return "compressed_segmentation" if labels else "raw"
    if labels and encoding in ("jpeg", "png"):
        raise UsageError(
            f"--encoding {encoding} is not for labels" + (": it would change ids" if encoding == "jpeg" else ""),
            hint="use compressed_segmentation or raw; or --kind image if these are grey values",
        )
    return encoding


def _scale_infos(
    scales: Sequence[ScaleGeometry], options: ConvertOptions, encoding: str, voxel_bytes: int
) -> tuple[ScaleInfo, ...]:
    infos = []
    for scale in scales:
        sharding = None
        if not options.unsharded:
            sharding = choose_volume_sharding(
                scale.box.size.ceildiv(options.chunk_size),
                options.chunk_size.volume * voxel_bytes,
                "raw" if encoding in ("jpeg", "png") else "gzip",
            )
        labels = encoding == "compressed_segmentation"
        infos.append(
            ScaleInfo(
                key=scale.voxel_size.key,
                size=scale.box.size,
                voxel_offset=scale.box.start,
                chunk_size=options.chunk_size,
                resolution=scale.voxel_size,
                encoding=encoding,
                compressed_segmentation_block_size=options.block_size if labels else None,
                jpeg_quality=options.jpeg_quality if encoding == "jpeg" else None,
                png_level=options.png_level if encoding == "png" else None,
                sharding=sharding,
            )
        )
    return tuple(infos)


def _portable(info: VolumeInfo) -> tuple[Finding, ...]:
    """Warn about numbers that the viewer keeps in float32 and would round."""
    found = []
    for i, scale in enumerate(info.scales):
        for name, vector in (("size", scale.size), ("voxel_offset", scale.voxel_offset)):
            if any(int(np.float32(value)) != value for value in vector):
                found.append(
                    notice(
                        "PI102",
                        f"scales[{i}].{name}",
                        f"{name} {vector} is beyond what Neuroglancer keeps exactly (float32)",
                        "choose an --offset and crop whose values above 16777216 are even multiples",
                    )
                )
    return tuple(found)


def make_plan(
    source: Source,
    options: ConvertOptions,
    *,
    budget_bytes: int | None = None,
    threads: int | None = None,
    task_bytes: int | None = None,
) -> ConvertPlan:
    """Decide everything about a conversion.

    Parameters
    ----------
    source, options
        What to convert and how.
    budget_bytes, threads
        Override those of the options; a resumed conversion passes what it was planned with.
    task_bytes
        Size above which a block is not made larger for the sake of more scales.

    Raises
    ------
    UsageError
        If the options do not fit the source.
    MemoryBudgetError
        If no arrangement fits the budget.
    """
    shape, native = source.info.shape, source.info.dtype
    guess = guess_kind(source) if options.kind == "auto" else None
    kind = options.kind if guess is None else guess.kind
    reason = "given by --kind" if guess is None else guess.reason
    stored, findings = stored_dtype(kind, native, options.dtype, shape[0])
    method_for(options, kind)
    resolution, origin = _resolution(source, options)
    box = Box.of_size(options.offset, (shape[3], shape[2], shape[1]))
    scales = pyramid(box, resolution, options.chunk_size, scales=options.scales, factors=options.factors)
    encoding = _encoding(options, kind)
    info = VolumeInfo(
        kind=kind,
        data_type=stored.name,
        num_channels=shape[0],
        scales=_scale_infos(scales, options, encoding, stored.itemsize * shape[0]),
    )
    for scale in info.scales:
        codec_of_scale(scale, stored.name, shape[0])
    count = threads if threads is not None else options.thread_count
    limit = budget_bytes if budget_bytes is not None else options.memory or default_budget_bytes()
    budget = Budget(
        limit_bytes=limit,
        threads=count,
        channels=shape[0],
        native_itemsize=native.itemsize,
        stored_itemsize=stored.itemsize,
        native_block=source.info.block,
        chunk=options.chunk_size,
        largest_chunk=options.chunk_size.map(min, box.size),
        converts=native.itemsize != stored.itemsize,
        encoded_share=ENCODED_SHARE[encoding],
        task_bytes=task_bytes if task_bytes is not None else budget_rules.TASK_BYTES,
    )
    stage_plans = plan_stages(budget, scales)
    decodes = decodes_per_block(stage_plans[0].stage, source.info.block, box.size)
    spooled = decodes > MAX_DECODES
    if spooled:
        spool = replace(budget, native_block=Vec3(1, 1, 1), converts=False)
        stage_plans = plan_stages(spool, scales)
        decodes = 1
    buffers = max(plan.buffer_bytes for plan in stage_plans)
    readers = count
    if spooled:
        readers = budget.readers(box.size)
        buffers = max(buffers, budget.decode_bytes(box.size) // count * 2 * readers)
    return ConvertPlan(
        source=source,
        options=options,
        kind_reason=reason,
        resolution_origin=origin,
        info=info,
        scales=scales,
        stage_plans=stage_plans,
        spooled=spooled,
        spool_readers=readers,
        decodes=decodes,
        memory=MemoryPlan(
            budget_bytes=limit, buffer_bytes=buffers, process_bytes=current_rss_bytes() + LIBRARIES_BYTES
        ),
        batch_bytes=budget.batch_raw_bytes,
        threads=count,
        findings=(*source.info.findings, *findings, *_portable(info)),
    )
