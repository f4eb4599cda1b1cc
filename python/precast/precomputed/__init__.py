"""The precomputed format without input and output: values to bytes and back, and every rule of it."""

from __future__ import annotations

from precast.precomputed.info import ScaleInfo, VolumeInfo
from precast.precomputed.objects import ObjectKind
from precast.precomputed.segment_properties import Property, SegmentProperties
from precast.precomputed.sharding import ShardingSpec

__all__ = ["ObjectKind", "Property", "ScaleInfo", "SegmentProperties", "ShardingSpec", "VolumeInfo"]
