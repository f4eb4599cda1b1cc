"""The rules about the ``info`` of a volume, ``PC1xx``: every field on its own, then the scales against each other.

The rules read the file as it is, not through the model that writes it, and tell every problem with its place in the
JSON. What is wrong for a viewer is an error; what is legal but unusual is a warning or worth knowing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any

from precast.checks.rules import Fault, RuleTable
from precast.findings import Severity
from precast.geometry import Vec3
from precast.precomputed.info import DATA_TYPES
from precast.precomputed.objects import LINKS
from precast.precomputed.paths import normal_path

__all__ = [
    "BLOCK_SIZE",
    "LINKS",
    "MOST_CHUNKS",
    "UNREADABLE_INFO",
    "VOLUME",
    "VOLUME_TYPE",
    "Unparsed",
    "VolumeFile",
    "edges",
    "is_int",
    "triple",
    "whole",
]

VOLUME_TYPE = "neuroglancer_multiscale_volume"
BLOCK_SIZE = "compressed_segmentation_block_size"
OPTIONAL_SCALE_KEYS = ("voxel_offset", "sharding", "hidden", "jpeg_quality", "png_level", BLOCK_SIZE)
MOST_CHUNKS = 2**28
"""Chunks of a scale that are kept track of, one byte each."""


# ---- the file


@dataclass(frozen=True, slots=True)
class Unparsed:
    """A file that ends the look at what it describes: its place, and why."""

    where: str
    message: str


UNREADABLE_INFO: RuleTable[Unparsed] = RuleTable()


@UNREADABLE_INFO.add("PC100", "the info is a strict JSON object", hint="viewers refuse the whole dataset")
def info_readable(file: Unparsed) -> Iterator[Fault]:
    yield file.where, file.message


@dataclass(frozen=True, slots=True)
class VolumeFile:
    """The parsed ``info`` of a volume; numbers with a point are decimals."""

    where: str
    value: Mapping[str, Any]

    def at(self, path: str) -> str:
        """Return the place of a value in the file."""
        return f"{self.where}: {path}"

    @property
    def scales(self) -> list[tuple[str, dict[str, Any]]]:
        """The scales that are objects, each with its path."""
        found = self.value.get("scales")
        entries = found if isinstance(found, list) else []
        return [(f"scales[{i}]", entry) for i, entry in enumerate(entries) if isinstance(entry, dict)]

    @property
    def data_type(self) -> str:
        """``data_type`` in lower case; empty if it is no string."""
        return _text(self.value.get("data_type"))

    @property
    def kind(self) -> str:
        """``type`` in lower case; empty if it is no string."""
        return _text(self.value.get("type"))

    @property
    def channels(self) -> int:
        """``num_channels``; 1 if it cannot be used."""
        number = self.value.get("num_channels")
        return whole(number, 1) or 1


def _text(value: Any) -> str:
    return value.lower() if isinstance(value, str) else ""


def is_int(value: Any, low: int | None = None) -> bool:
    """Tell whether a value is an integer of at most 63 bits, and at least ``low``."""
    return isinstance(value, int) and not isinstance(value, bool) and (low is None or value >= low) and value < 2**63


def whole(value: Any, low: int | None = None) -> int | None:
    """Return a value as an integer if it is one, also one that is written with a point, such as 70.0."""
    if isinstance(value, Decimal) and value == value.to_integral_value():
        value = int(value)
    return int(value) if is_int(value, low) else None


def triple(value: Any, low: int | None = None) -> Vec3 | None:
    """Return three integers, or None if it is something else."""
    if not isinstance(value, list) or len(value) != 3:
        return None
    x, y, z = (whole(item, low) for item in value)
    return None if x is None or y is None or z is None else Vec3(x, y, z)


def edges(value: Any) -> tuple[float, float, float] | None:
    """Return a resolution, or None if it is not three finite numbers above 0."""
    if not isinstance(value, list) or len(value) != 3:
        return None
    try:
        numbers = [float(item) for item in value if isinstance(item, int | Decimal) and not isinstance(item, bool)]
    except OverflowError:
        return None
    if len(numbers) != 3 or not all(math.isfinite(number) and number > 0 for number in numbers):
        return None
    return numbers[0], numbers[1], numbers[2]


VOLUME: RuleTable[VolumeFile] = RuleTable()


@VOLUME.add("PC101", "@type is that of a volume, or absent")
def volume_type(file: VolumeFile) -> Iterator[Fault]:
    if file.value.get("@type", VOLUME_TYPE) != VOLUME_TYPE:
        yield file.at("@type"), f"must be {VOLUME_TYPE!r}, got {file.value['@type']!r:.60}"


@VOLUME.add(
    "PC102", "the type says image or segmentation", hint="viewers choose by it how to draw, and refuse other values"
)
def volume_kind(file: VolumeFile) -> Iterator[Fault]:
    if file.kind not in ("image", "segmentation", "unknown"):
        yield file.at("type"), f"must be image or segmentation, got {file.value.get('type')!r:.60}"


@VOLUME.add("PC103", "data_type is one of the format")
def volume_data_type(file: VolumeFile) -> Iterator[Fault]:
    if file.data_type not in DATA_TYPES:
        yield file.at("data_type"), f"must be one of {', '.join(DATA_TYPES)}; got {file.value.get('data_type')!r:.60}"


@VOLUME.add(
    "PC104",
    "type and data_type are written in lower case, and type is not unknown",
    severity=Severity.WARNING,
    hint="Neuroglancer takes it, other readers do not",
)
def volume_case(file: VolumeFile) -> Iterator[Fault]:
    for key, text in (("type", file.kind), ("data_type", file.data_type)):
        value = file.value.get(key)
        if isinstance(value, str) and text in ("image", "segmentation", *DATA_TYPES) and value != text:
            yield file.at(key), f"is written {value!r}"
    if file.kind == "unknown":
        yield file.at("type"), "is 'unknown': viewers guess how to draw it"


@VOLUME.add("PC105", "num_channels is a whole number of at least 1")
def volume_channels(file: VolumeFile) -> Iterator[Fault]:
    if whole(file.value.get("num_channels"), 1) is None:
        yield file.at("num_channels"), f"must be an integer of at least 1, got {file.value.get('num_channels')!r:.60}"


@VOLUME.add("PC106", "scales is a list of at least one object")
def volume_scales(file: VolumeFile) -> Iterator[Fault]:
    scales = file.value.get("scales")
    if not isinstance(scales, list) or not scales:
        yield file.at("scales"), f"must be a list of at least one scale, got {scales!r:.60}"
        return
    for i, entry in enumerate(scales):
        if not isinstance(entry, dict):
            yield file.at(f"scales[{i}]"), f"must be an object, got {entry!r:.60}"


@VOLUME.add("PC107", "links to other parts are relative directories inside the dataset's tree")
def volume_links(file: VolumeFile) -> Iterator[Fault]:
    for key in LINKS:
        path = file.value.get(key)
        if path is None:
            continue
        if not isinstance(path, str):
            yield file.at(key), f"must be a relative directory, got {path!r:.60}"
        elif "://" in path or not normal_path(path):
            yield file.at(key), f"must name a directory below or beside the dataset, got {path!r:.80}"


@VOLUME.add("PC108", "keys are not null", hint="leave the key out: viewers refuse null")
def volume_nulls(file: VolumeFile) -> Iterator[Fault]:
    for key in (*LINKS, "@type", "redirect"):
        if key in file.value and file.value[key] is None:
            yield file.at(key), "is null"
    for path, scale in file.scales:
        for key in OPTIONAL_SCALE_KEYS:
            if key in scale and scale[key] is None:
                yield file.at(f"{path}.{key}"), "is null"


@VOLUME.add(
    "PC109",
    "an info describes its volume itself",
    severity=Severity.WARNING,
    hint="check the dataset that it points to; not all readers follow",
)
def volume_redirect(file: VolumeFile) -> Iterator[Fault]:
    if file.value.get("redirect") is not None:
        yield file.at("redirect"), f"sends viewers to another dataset: {file.value['redirect']!r:.120}"


@VOLUME.add("PC132", "meshes, skeletons and properties belong to segmentations", severity=Severity.INFO)
def image_links(file: VolumeFile) -> Iterator[Fault]:
    if file.kind == "image":
        for key in LINKS:
            if isinstance(file.value.get(key), str):
                yield file.at(key), "an image has this key; viewers take it, the format gives it to segmentations alone"


# ---- the scales against each other


@VOLUME.add("PC140", "no two scales have the same directory")
def scales_distinct(file: VolumeFile) -> Iterator[Fault]:
    seen: dict[str, str] = {}
    for path, scale in file.scales:
        key = normal_path(scale["key"]) if isinstance(scale.get("key"), str) else ""
        if key and key in seen:
            yield file.at(f"{path}.key"), f"{scale['key']!r:.60} is the directory of {seen[key]} too"
        elif key:
            seen[key] = path


@VOLUME.add(
    "PC141",
    "scales stand from fine to coarse, each strictly coarser than the one before",
    hint="viewers stop at the first scale that is no improvement, so that data stay hidden",
)
def scales_ordered(file: VolumeFile) -> Iterator[Fault]:
    for (_, finer), (path, coarser) in _pairs(file):
        a, b = edges(finer.get("resolution")), edges(coarser.get("resolution"))
        if a is None or b is None:
            continue
        if a == b or any(y < x for x, y in zip(a, b, strict=True)):
            text = f"voxels of {_vector(b)} nm are not coarser than those of the scale before, {_vector(a)} nm"
            yield file.at(f"{path}.resolution"), text


@VOLUME.add(
    "PC142",
    "all scales begin at the same place, to one coarse voxel",
    hint="voxel_offset counts voxels of its own scale: floor(finer offset / factor)",
)
def scales_begin(file: VolumeFile) -> Iterator[Fault]:
    yield from _ends(file, "voxel_offset", "begins", lambda offset, _: offset)


@VOLUME.add("PC143", "all scales end at the same place, to one coarse voxel", hint="ceil((offset + size) / factor)")
def scales_end(file: VolumeFile) -> Iterator[Fault]:
    begun_apart = {where for where, _ in scales_begin(file)}
    for where, message in _ends(file, "size", "ends", lambda offset, size: offset.plus(size)):
        if where.removesuffix("size") + "voxel_offset" not in begun_apart:
            yield where, message


def _pairs(file: VolumeFile) -> Iterator[tuple[tuple[str, dict[str, Any]], tuple[str, dict[str, Any]]]]:
    yield from pairwise(file.scales)


def _ends(file: VolumeFile, key: str, verb: str, corner: Any) -> Iterator[Fault]:
    for (_, finer), (path, coarser) in _pairs(file):
        corners = []
        for scale in (finer, coarser):
            size, resolution = triple(scale.get("size"), 1), edges(scale.get("resolution"))
            offset = triple(scale.get("voxel_offset") or [0, 0, 0])
            if size is None or resolution is None or offset is None:
                break
            place = corner(offset, size)
            corners.append(([n * edge for n, edge in zip(place, resolution, strict=True)], resolution))
        if len(corners) < 2:
            continue
        (a, _), (b, voxel) = corners
        if any(abs(x - y) > edge * (1 + 1e-9) for x, y, edge in zip(a, b, voxel, strict=True)):
            yield file.at(f"{path}.{key}"), f"{verb} at {_vector(b)} nm, the scale before at {_vector(a)} nm"


def _vector(values: Any) -> str:
    return ",".join(f"{value:g}" for value in values)
