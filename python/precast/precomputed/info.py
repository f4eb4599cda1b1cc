"""The volume ``info``: its model, its JSON, and the geometry that follows from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np

from precast.errors import FormatError, UsageError
from precast.geometry import Box, Vec3, VoxelSize
from precast.precomputed.chunk_names import parse_chunk_name
from precast.precomputed.sharding import ShardingSpec, morton_bits
from precast.precomputed.strict_json import json_file, parse_object

__all__ = ["DATA_TYPES", "ENCODINGS", "ScaleInfo", "VolumeInfo"]

TYPE = "neuroglancer_multiscale_volume"
KINDS = ("image", "segmentation")
DATA_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float32")
ENCODINGS = ("raw", "jpeg", "png", "compressed_segmentation")
"""Encodings that precast reads and writes; others are legal and reported as not supported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleInfo:
    """One entry of ``scales``. Vectors are x, y, z; ``size`` and ``voxel_offset`` are in voxels of this scale."""

    key: str
    size: Vec3
    voxel_offset: Vec3
    chunk_size: Vec3
    resolution: VoxelSize
    encoding: str
    compressed_segmentation_block_size: Vec3 | None = None
    jpeg_quality: int | None = None
    png_level: int | None = None
    sharding: ShardingSpec | None = None
    hidden: bool = False
    other_chunk_sizes: tuple[Vec3, ...] = ()

    @property
    def box(self) -> Box:
        """All voxels, offset included."""
        return Box.of_size(self.voxel_offset, self.size)

    @property
    def grid(self) -> Vec3:
        """Number of chunks per axis."""
        return self.size.ceildiv(self.chunk_size)

    def chunk_box(self, cell: Sequence[int]) -> Box:
        """Return the voxels of the chunk at a grid cell, cut off at the upper bound."""
        start = self.voxel_offset.plus(Vec3.of(cell).times(self.chunk_size))
        return Box(start, start.plus(self.chunk_size).map(min, self.box.stop))

    def chunk_name(self, cell: Sequence[int]) -> str:
        """Return the file name of an unsharded chunk: ``xb-xe_yb-ye_zb-ze``, absolute voxels."""
        box = self.chunk_box(cell)
        return "_".join(f"{a}-{b}" for a, b in zip(box.start, box.stop, strict=True))

    def cell_of(self, name: str) -> Vec3 | None:
        """Return the grid cell of the chunk with a file name, or None if no chunk of this scale has it."""
        ends = parse_chunk_name(name)
        if ends is None:
            return None
        cell = ends[0].minus(self.voxel_offset).floordiv(self.chunk_size)
        if not all(0 <= n < count for n, count in zip(cell, self.grid, strict=True)):
            return None
        box = self.chunk_box(cell)
        return cell if (box.start, box.stop) == ends else None

    def cells(self, box: Box) -> Box:
        """Return the grid cells whose chunks overlap ``box``."""
        relative = box.shift(Vec3(0, 0, 0).minus(self.voxel_offset))
        return Box(relative.start.floordiv(self.chunk_size), relative.stop.ceildiv(self.chunk_size))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object; keys that do not belong to the encoding are left out."""
        value: dict[str, Any] = {
            "key": self.key,
            "size": list(self.size),
            "voxel_offset": list(self.voxel_offset),
            "chunk_sizes": [list(size) for size in (self.chunk_size, *self.other_chunk_sizes)],
            "resolution": [_number(edge) for edge in self.resolution],
            "encoding": self.encoding,
        }
        if self.compressed_segmentation_block_size is not None:
            value["compressed_segmentation_block_size"] = list(self.compressed_segmentation_block_size)
        if self.jpeg_quality is not None:
            value["jpeg_quality"] = self.jpeg_quality
        if self.png_level is not None:
            value["png_level"] = self.png_level
        if self.sharding is not None:
            value["sharding"] = self.sharding.to_json()
        if self.hidden:
            value["hidden"] = True
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeInfo:
    """The ``info`` of a volume."""

    kind: str
    data_type: str
    num_channels: int
    scales: tuple[ScaleInfo, ...]
    mesh: str | None = None
    skeletons: str | None = None
    segment_properties: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype, little-endian."""
        return np.dtype(self.data_type).newbyteorder("<")

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        value: dict[str, Any] = {
            "@type": TYPE,
            "type": self.kind,
            "data_type": self.data_type,
            "num_channels": self.num_channels,
            "scales": [scale.to_json() for scale in self.scales],
        }
        for key in ("mesh", "skeletons", "segment_properties"):
            if getattr(self, key) is not None:
                value[key] = getattr(self, key)
        return value | dict(self.extra)

    def to_bytes(self) -> bytes:
        """Return the file: UTF-8 JSON, strict, the same bytes for the same value."""
        return json_file(self.to_json())

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str = "info", any_encoding: bool = False) -> VolumeInfo:
        """Parse the file.

        Parameters
        ----------
        data, where
            The file, and its name for errors.
        any_encoding
            Take encodings that precast cannot decode too; for those who only want the geometry.

        Raises
        ------
        FormatError
            If it is not JSON or not a volume that precast can read; the message lists *every* problem found.
        """
        return cls.from_json(parse_object(data, where, parse_float=Decimal), where=where, any_encoding=any_encoding)

    @classmethod
    def from_json(cls, value: dict[str, Any], *, where: str = "info", any_encoding: bool = False) -> VolumeInfo:
        """Read the parsed file, as :meth:`from_bytes` does; numbers with a point are decimals.

        Raises
        ------
        FormatError
            If it is not a volume that precast can read; the message lists *every* problem found.
        """
        reader = _Reader(where, any_encoding=any_encoding)
        info = reader.volume(value)
        if reader.problems or info is None:
            listing = "\n".join(f"  {problem}" for problem in reader.problems)
            raise FormatError(f"{where} does not describe a volume that precast can read:\n{listing}", where=where)
        return info


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


class _Reader:
    """Reads JSON into the model and collects every problem with its place."""

    KNOWN = frozenset(
        {"@type", "type", "data_type", "num_channels", "scales", "mesh", "skeletons", "segment_properties"}
    )

    def __init__(self, where: str, *, any_encoding: bool = False) -> None:
        self.where = where
        self.any_encoding = any_encoding
        self.problems: list[str] = []

    def problem(self, place: str, text: str) -> None:
        self.problems.append(f"{place}: {text}")

    def volume(self, value: dict[str, Any]) -> VolumeInfo | None:
        kind_of = value.get("@type", TYPE)
        if kind_of != TYPE:
            self.problem("@type", f"{kind_of!r} is not a volume ({TYPE!r})")
            return None
        kind = str(value.get("type", "")).lower()
        if kind not in (*KINDS, "unknown"):
            self.problem("type", f"must be image or segmentation, got {value.get('type')!r}")
        data_type = str(value.get("data_type", "")).lower()
        if data_type not in DATA_TYPES:
            self.problem("data_type", f"must be one of {', '.join(DATA_TYPES)}, got {value.get('data_type')!r}")
        channels = self.integer(value, "num_channels", "num_channels", low=1)
        raw = value.get("scales")
        scales: list[ScaleInfo | None] = []
        if not isinstance(raw, list) or not raw:
            self.problem("scales", f"must be a list of at least one scale, got {raw!r:.60}")
        else:
            scales = [self.scale(entry, f"scales[{i}]") for i, entry in enumerate(raw)]
        links = {key: self.link(value, key) for key in ("mesh", "skeletons", "segment_properties")}
        if self.problems:
            return None
        return VolumeInfo(
            kind=kind,
            data_type=data_type,
            num_channels=channels,
            scales=tuple(scale for scale in scales if scale is not None),
            extra={key: _plain(item) for key, item in value.items() if key not in self.KNOWN and item is not None},
            **links,
        )

    def scale(self, value: Any, place: str) -> ScaleInfo | None:
        if not isinstance(value, dict):
            self.problem(place, f"must be an object, got {value!r:.60}")
            return None
        before = len(self.problems)
        key = value.get("key")
        if not isinstance(key, str) or not key:
            self.problem(f"{place}.key", f"must be a non-empty string, got {key!r}")
        size = self.vector(value.get("size"), f"{place}.size", low=1)
        offset = self.vector(value.get("voxel_offset", [0, 0, 0]), f"{place}.voxel_offset")
        raw_chunks = value.get("chunk_sizes")
        if not isinstance(raw_chunks, list) or not raw_chunks:
            self.problem(f"{place}.chunk_sizes", f"must be a list of at least one x,y,z, got {raw_chunks!r:.60}")
            raw_chunks = [[1, 1, 1]]
        chunks = [self.vector(entry, f"{place}.chunk_sizes[{i}]", low=1) for i, entry in enumerate(raw_chunks)]
        resolution = self.resolution(value.get("resolution"), f"{place}.resolution")
        encoding = value.get("encoding")
        if encoding not in ENCODINGS and not (self.any_encoding and isinstance(encoding, str)):
            self.problem(f"{place}.encoding", f"precast reads {', '.join(ENCODINGS)}; got {encoding!r}")
        block = None
        if encoding == "compressed_segmentation":
            name = "compressed_segmentation_block_size"
            block = self.vector(value.get(name), f"{place}.{name}", low=1)
        sharding = self.sharding(value.get("sharding"), place, size, chunks)
        if len(self.problems) > before:
            return None
        return ScaleInfo(
            key=str(key),
            size=size,
            voxel_offset=offset,
            chunk_size=chunks[0],
            other_chunk_sizes=tuple(chunks[1:]),
            resolution=resolution,
            encoding=str(encoding),
            compressed_segmentation_block_size=block,
            jpeg_quality=self.optional_int(value, "jpeg_quality"),
            png_level=self.optional_int(value, "png_level"),
            sharding=sharding,
            hidden=value.get("hidden") is True,
        )

    def sharding(self, value: Any, place: str, size: Vec3, chunks: list[Vec3]) -> ShardingSpec | None:
        if value is None:
            return None
        if not isinstance(value, dict):
            self.problem(f"{place}.sharding", f"must be an object, got {value!r:.60}")
            return None
        if len(chunks) != 1:
            self.problem(f"{place}.chunk_sizes", f"a sharded scale has exactly one chunk size, got {len(chunks)}")
        try:
            spec = ShardingSpec.from_json(value)
        except FormatError as error:
            self.problem(place, error.message)
            return None
        if morton_bits(size.ceildiv(chunks[0])) > 64:
            self.problem(f"{place}.sharding", "the chunk grid needs more than 64 bits")
        return spec

    def integer(self, value: dict[str, Any], key: str, place: str, *, low: int) -> int:
        number = value.get(key)
        if isinstance(number, Decimal) and number == number.to_integral_value():
            number = int(number)
        if not isinstance(number, int) or isinstance(number, bool) or number < low:
            self.problem(place, f"must be an integer of at least {low}, got {number!r}")
            return low
        return number

    def optional_int(self, value: dict[str, Any], key: str) -> int | None:
        number = value.get(key)
        return number if isinstance(number, int) and not isinstance(number, bool) else None

    def vector(self, value: Any, place: str, *, low: int | None = None) -> Vec3:
        if isinstance(value, list) and len(value) == 3:
            numbers = [int(n) if isinstance(n, Decimal) and n == n.to_integral_value() else n for n in value]
            if all(isinstance(n, int) and not isinstance(n, bool) and (low is None or n >= low) for n in numbers):
                return Vec3.of(numbers)
        bound = "" if low is None else f" of at least {low}"
        self.problem(place, f"must be three integers{bound}, got {value!r:.60}")
        return Vec3(1, 1, 1)

    def resolution(self, value: Any, place: str) -> VoxelSize:
        if isinstance(value, list) and len(value) == 3 and all(isinstance(n, int | Decimal) for n in value):
            try:
                return VoxelSize(*(Decimal(n) for n in value))
            except UsageError:
                pass
        self.problem(place, f"must be three positive numbers of nanometres, got {value!r:.60}")
        return VoxelSize(Decimal(1), Decimal(1), Decimal(1))

    def link(self, value: dict[str, Any], key: str) -> str | None:
        path = value.get(key)
        if path is None:
            return None
        if not isinstance(path, str):
            self.problem(key, f"must be a relative directory, got {path!r:.60}")
            return None
        return path


def _plain(value: Any) -> Any:
    """Turn parsed decimals back into JSON numbers."""
    if isinstance(value, Decimal):
        return _number(value) if math.isfinite(value) else None
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
