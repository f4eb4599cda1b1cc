"""Annotations: the ``info`` of their directory, and the records in its indices.

A *record* is the geometry, the properties in storage order, and zeros up to a multiple of 4 bytes; all little-endian::

    point                       R float32
    line, axis_aligned_bounding_box, ellipsoid    2 R float32 (two ends, or centre and radii)
    polyline                    uint32 P, then P x R float32

A value of the index by id is one record, then per relationship a uint32 count and that many uint64 ids. A value of
any other index is a uint64 count n, n records, n uint64 ids.

Properties are stored by descending alignment (4, 2, 1 bytes), otherwise in the order of ``info``. They are packed into
groups of at most 252 bytes, the first of which begins with the geometry; each group ends at a multiple of 4.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from precast.errors import FormatError
from precast.precomputed.mesh_info import Problem, is_number
from precast.precomputed.sharding import ShardingSpec

__all__ = ["AnnotationIndex", "AnnotationInfo", "AnnotationProperty", "Records", "SpatialLevel"]

TYPE = "neuroglancer_annotations_v1"
KINDS = ("point", "line", "axis_aligned_bounding_box", "ellipsoid", "polyline")
PROPERTY_BYTES = {
    "float32": (4, 4), "uint32": (4, 4), "int32": (4, 4), "uint16": (2, 2), "int16": (2, 2),
    "uint8": (1, 1), "int8": (1, 1), "rgb": (3, 1), "rgba": (4, 1),
}  # fmt: skip
"""Bytes and alignment of a property."""
DIMENSION = re.compile(r"[a-zA-Z][a-zA-Z_0-9]*['^]?")
PROPERTY = re.compile(r"[a-z][a-zA-Z0-9_]*")
UNIT = re.compile(r"|([yzafpnuµμmcdhkMGTPEZY]|da)?(m|s|Hz|rad/s)")
GROUP_BYTES = 252

Array = npt.NDArray[Any]
U64 = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class AnnotationProperty:
    """One property of every annotation.

    Attributes
    ----------
    id, data_type
        As in ``info``.
    offset
        From the end of the geometry.
    enum_values
        The values that have names; None for no enumeration.
    """

    id: str
    data_type: str
    offset: int
    enum_values: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class AnnotationIndex:
    """The index by id or one relationship: its directory, and how it is packed."""

    id: str
    key: str
    sharding: ShardingSpec | None


@dataclass(frozen=True, slots=True)
class SpatialLevel:
    """One level of the spatial index."""

    key: str
    grid_shape: tuple[int, ...]
    chunk_size: tuple[float, ...]
    limit: int
    sharding: ShardingSpec | None


@dataclass(frozen=True, slots=True)
class Records:
    """Annotations of one value.

    Attributes
    ----------
    ids
        uint64, shape (n,); empty for a value of the index by id, whose id is its key.
    lower, upper
        float64, shape (n, R): the box around each.
    raw
        The bytes of each.
    related
        Ids per relationship; only in the index by id.
    """

    ids: U64
    lower: Array
    upper: Array
    raw: list[bytes]
    related: tuple[U64, ...] = ()


@dataclass(frozen=True, slots=True)
class AnnotationInfo:
    """The ``info`` of annotations, without problems.

    Attributes
    ----------
    rank
        Number of dimensions.
    lower, upper
        The bounds.
    kind
        The type of all annotations.
    properties
        In the order of ``info``.
    properties_bytes
        Bytes of a record behind its geometry.
    by_id, relationships, spatial
        The indices.
    """

    rank: int
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    kind: str
    properties: tuple[AnnotationProperty, ...]
    properties_bytes: int
    by_id: AnnotationIndex
    relationships: tuple[AnnotationIndex, ...]
    spatial: tuple[SpatialLevel, ...]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> AnnotationInfo:
        """Read the parsed file, which must have no problems."""
        rank = len(value["dimensions"])
        kind = value["annotation_type"].lower()
        properties, size = _layout(value.get("properties", []), kind, rank)
        return cls(
            rank=rank,
            lower=tuple(float(n) for n in value["lower_bound"]),
            upper=tuple(float(n) for n in value["upper_bound"]),
            kind=kind,
            properties=properties,
            properties_bytes=size,
            by_id=_index(value["by_id"]),
            relationships=tuple(_index(item) for item in value["relationships"]),
            spatial=tuple(
                SpatialLevel(
                    item["key"],
                    tuple(item["grid_shape"]),
                    tuple(float(n) for n in item["chunk_size"]),
                    item["limit"],
                    _sharding(item),
                )
                for item in value["spatial"]
            ),
        )

    @staticmethod
    def problems(value: Mapping[str, Any]) -> list[Problem]:
        """Return everything that is wrong: rules ``type``, ``space``, ``properties``, ``indices``."""
        if value.get("@type") != TYPE:
            return [Problem("type", f"@type: must be {TYPE!r}, got {value.get('@type')!r:.60}")]
        rank = len(value["dimensions"]) if isinstance(value.get("dimensions"), dict) else 0
        found = [*_space_problems(value, rank)]
        kind = value.get("annotation_type")
        if not isinstance(kind, str) or kind.lower() not in KINDS:
            found.append(Problem("type", f"annotation_type: must be one of {', '.join(KINDS)}; got {kind!r:.60}"))
        found += _property_problems(value.get("properties", []))
        found += _index_problems(value.get("by_id"), "by_id")
        for key in ("relationships", "spatial"):
            items = value.get(key)
            if not isinstance(items, list):
                found.append(Problem("indices", f"{key}: must be a list, got {items!r:.60}"))
                continue
            for i, item in enumerate(items):
                found += _index_problems(item, f"{key}[{i}]")
                if isinstance(item, dict):
                    found += _level_problems(item, rank, i) if key == "spatial" else _relation_problems(item, i)
        return found

    # ---- records

    @property
    def stored_as_listed(self) -> bool:
        """Whether ``info`` lists the properties in the order in which they are stored."""
        offsets = [item.offset for item in self.properties]
        return offsets == sorted(offsets)

    def parse_multiple(self, data: bytes) -> Records:
        """Read a value of a relationship or of a spatial level.

        Raises
        ------
        FormatError
            If its length does not fit its count.
        """
        if len(data) < 8:
            raise FormatError(f"a list of annotations has at least 8 bytes, got {len(data)}")
        count = int.from_bytes(data[:8], "little")
        if count >= 2**32 or count > len(data):
            raise FormatError(f"a list of {count} annotations in {len(data)} bytes")
        raw, at = self._take(data, 8, count)
        if len(data) != at + 8 * count:
            raise FormatError(f"a list of {count} annotations takes {at + 8 * count} bytes, got {len(data)}")
        lower, upper = self._boxes(raw)
        return Records(np.frombuffer(data, "<u8", count, at), lower, upper, raw)

    def parse_single(self, data: bytes) -> Records:
        """Read a value of the index by id.

        Raises
        ------
        FormatError
            If its length does not fit its counts.
        """
        raw, at = self._take(data, 0, 1)
        related = []
        for item in self.relationships:
            count = int.from_bytes(data[at : at + 4], "little")
            if len(data) < at + 4 + 8 * count:
                raise FormatError(f"{count} ids of {item.id!r:.40} do not fit into {len(data)} bytes")
            related.append(np.frombuffer(data, "<u8", count, at + 4))
            at += 4 + 8 * count
        if len(data) != at:
            raise FormatError(f"the annotation takes {at} bytes, got {len(data)}")
        lower, upper = self._boxes(raw)
        return Records(np.zeros(0, np.uint64), lower, upper, raw, tuple(related))

    def property_values(self, records: Records, item: AnnotationProperty) -> Array:
        """Return the values of a property that is a number, one per record."""
        kind = np.dtype(item.data_type).newbyteorder("<")
        starts = [len(raw) - self.properties_bytes + item.offset for raw in records.raw]
        return np.array([np.frombuffer(r, kind, 1, at)[0] for r, at in zip(records.raw, starts, strict=True)], kind)

    def floats(self, raw: bytes) -> Array:
        """Return the coordinates of a record: float32."""
        begin = 4 if self.kind == "polyline" else 0
        return np.frombuffer(raw, "<f4", (len(raw) - self.properties_bytes - begin) // 4, begin)

    def padding(self) -> list[tuple[int, int]]:
        """Return the bytes behind the geometry that belong to no property, as ranges."""
        used = sorted((item.offset, item.offset + PROPERTY_BYTES[item.data_type][0]) for item in self.properties)
        gaps, at = [], 0
        for start, stop in [*used, (self.properties_bytes, self.properties_bytes)]:
            if start > at:
                gaps.append((at, start))
            at = stop
        return gaps

    def _take(self, data: bytes, at: int, count: int) -> tuple[list[bytes], int]:
        """Cut records out of a value; returns them and where they end."""
        raw: list[bytes] = []
        for _ in range(count):
            size = self._geometry_bytes(data, at) + self.properties_bytes
            if at + size > len(data):
                raise FormatError(f"annotation {len(raw)} of {count} does not fit into {len(data)} bytes")
            raw.append(data[at : at + size])
            at += size
        return raw, at

    def _geometry_bytes(self, data: bytes, at: int) -> int:
        if self.kind == "polyline":
            return 4 + 4 * self.rank * int.from_bytes(data[at : at + 4], "little")
        return 4 * self.rank * (1 if self.kind == "point" else 2)

    def _boxes(self, raw: Sequence[bytes]) -> tuple[Array, Array]:
        lower, upper = np.zeros((2, len(raw), self.rank))
        for i, record in enumerate(raw):
            with np.errstate(invalid="ignore"):  # NaN of any kind
                points = self.floats(record).astype(np.float64).reshape(-1, self.rank)
            if not len(points):
                lower[i], upper[i] = np.inf, -np.inf
            elif self.kind == "ellipsoid":
                lower[i], upper[i] = points[0] - points[1], points[0] + points[1]
            else:
                lower[i], upper[i] = points.min(axis=0), points.max(axis=0)
        return lower, upper


def _layout(items: Sequence[Mapping[str, Any]], kind: str, rank: int) -> tuple[tuple[AnnotationProperty, ...], int]:
    """Return where properties lie behind the geometry, and how many bytes they take with their padding."""
    geometry = 4 + 8 * rank if kind == "polyline" else 4 * rank * (1 if kind == "point" else 2)
    order = sorted(range(len(items)), key=lambda i: -PROPERTY_BYTES[items[i]["type"]][1])  # stable
    offsets = [0] * len(items)
    group, at = 0, geometry  # where the group begins, and the next byte
    for i in order:
        size = PROPERTY_BYTES[items[i]["type"]][0]
        if at + size - group > GROUP_BYTES:
            at += -at % 4
            group = at
        offsets[i] = at - geometry
        at += size
    at += -at % 4
    made = [
        AnnotationProperty(
            item["id"],
            item["type"],
            offset,
            tuple(item["enum_values"]) if item.get("enum_values") is not None else None,
        )
        for item, offset in zip(items, offsets, strict=True)
    ]
    return tuple(made), at - geometry


def _sharding(item: Mapping[str, Any]) -> ShardingSpec | None:
    return None if item.get("sharding") is None else ShardingSpec.from_json(item["sharding"])


def _index(item: Mapping[str, Any]) -> AnnotationIndex:
    return AnnotationIndex(str(item.get("id", "")), item["key"], _sharding(item))


# ---- problems


def _numbers(value: Any, count: int, good: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and len(value) == count and all(map(good, value))


def _space_problems(value: Mapping[str, Any], rank: int) -> Iterator[Problem]:
    if not rank:
        yield Problem("space", f"dimensions: must be an object with names, got {value.get('dimensions')!r:.60}")
        return
    for name, entry in value["dimensions"].items():
        if not DIMENSION.fullmatch(name):
            yield Problem("space", f"dimensions: {name!r:.40} is no name of a dimension")
        good = isinstance(entry, list) and len(entry) == 2 and is_number(entry[0]) and entry[0] > 0
        if not good or not isinstance(entry[1], str) or not UNIT.fullmatch(entry[1]):
            yield Problem("space", f"dimensions.{name:.40}: must be a scale above 0 and a unit, got {entry!r:.60}")
    for key in ("lower_bound", "upper_bound"):
        if not _numbers(value.get(key), rank, is_number):
            yield Problem("space", f"{key}: must be {rank} finite numbers, got {value.get(key)!r:.80}")
            return
    if any(b < a for a, b in zip(value["lower_bound"], value["upper_bound"], strict=True)):
        yield Problem("space", f"upper_bound: {value['upper_bound']} is below lower_bound, {value['lower_bound']}")


def _property_problems(items: Any) -> Iterator[Problem]:
    if not isinstance(items, list):
        yield Problem("properties", f"properties: must be a list, got {items!r:.60}")
        return
    seen: set[str] = set()
    for i, item in enumerate(items):
        place = f"properties[{i}]"
        if not isinstance(item, dict):
            yield Problem("properties", f"{place}: must be an object, got {item!r:.60}")
            continue
        name, kind = item.get("id"), item.get("type")
        if not isinstance(name, str) or not PROPERTY.fullmatch(name):
            text = f"must be letters, digits and _ with a small letter in front, got {name!r:.60}"
            yield Problem("properties", f"{place}.id: {text}")
        elif name in seen:
            yield Problem("properties", f"{place}.id: {name!r:.60} stands twice")
        else:
            seen.add(name)
        if not isinstance(kind, str) or kind not in PROPERTY_BYTES:
            yield Problem("properties", f"{place}.type: must be one of {', '.join(PROPERTY_BYTES)}; got {kind!r:.60}")
        yield from _enum_problems(item, place)


def _enum_problems(item: Mapping[str, Any], place: str) -> Iterator[Problem]:
    values, labels = item.get("enum_values"), item.get("enum_labels")
    if values is None and labels is None:
        return
    lists = isinstance(values, list) and isinstance(labels, list)
    if not lists or len(values or []) != len(labels or []) or not all(map(is_number, values or [])):
        yield Problem("properties", f"{place}: enum_values and enum_labels must be lists of the same length")
    elif item.get("type") in ("rgb", "rgba"):
        yield Problem("properties", f"{place}: a colour has no enum_values")


def _index_problems(item: Any, place: str) -> Iterator[Problem]:
    if not isinstance(item, dict):
        yield Problem("indices", f"{place}: must be an object, got {item!r:.60}")
        return
    if not isinstance(item.get("key"), str) or not item["key"].strip("/."):
        yield Problem("indices", f"{place}.key: must be a relative directory, got {item.get('key')!r:.60}")
    if "sharding" in item:
        if not isinstance(item["sharding"], dict):
            yield Problem("indices", f"{place}.sharding: must be an object, got {item['sharding']!r:.60}")
            return
        try:
            ShardingSpec.from_json(item["sharding"])
        except FormatError as error:
            yield Problem("indices", f"{place}.{error.message}")


def _relation_problems(item: Mapping[str, Any], i: int) -> Iterator[Problem]:
    if not isinstance(item.get("id"), str) or not item["id"]:
        yield Problem("indices", f"relationships[{i}].id: must be a non-empty string, got {item.get('id')!r:.60}")


def _level_problems(item: Mapping[str, Any], rank: int, i: int) -> Iterator[Problem]:
    def natural(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**32

    if rank and not _numbers(item.get("grid_shape"), rank, natural):
        text = f"must be {rank} integers of at least 1, got {item.get('grid_shape')!r:.60}"
        yield Problem("indices", f"spatial[{i}].grid_shape: {text}")
    if rank and not _numbers(item.get("chunk_size"), rank, lambda n: is_number(n) and n > 0):
        text = f"must be {rank} numbers above 0, got {item.get('chunk_size')!r:.60}"
        yield Problem("indices", f"spatial[{i}].chunk_size: {text}")
    if not natural(item.get("limit")):
        yield Problem("indices", f"spatial[{i}].limit: must be an integer of at least 1, got {item.get('limit')!r:.60}")
