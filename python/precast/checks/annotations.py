"""Check annotations: every value of every index, and the indices against each other."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from precast import kernels
from precast.checks.annotation_rules import FILE, INDICES, VALUES, AnnotationsFile, Indices, Values
from precast.checks.context import Context
from precast.checks.key_value import Stored, find_values
from precast.checks.part_rules import STOPPED, Stopped
from precast.errors import FormatError
from precast.findings import Finding
from precast.precomputed.annotations import AnnotationIndex, AnnotationInfo, Records, SpatialLevel
from precast.precomputed.objects import INFO_KEY
from precast.precomputed.paths import normal_path
from precast.precomputed.strict_json import parse_object

__all__ = ["AnnotationsCheck", "check_annotations"]

Array = npt.NDArray[Any]
U64 = npt.NDArray[np.uint64]

ENOUGH_FOR_ORDER = 30
SORTED = 0.9
"""Rank correlation of the place in a list with a coordinate, from which the list is not in random order."""
CROWDED = 2
CELL_NAME = re.compile(r"\d+(_\d+)*")


@dataclass(slots=True)
class AnnotationsCheck:
    """Findings, the ids of all annotations, and how many were looked at."""

    findings: list[Finding]
    ids: U64 = field(default_factory=lambda: np.zeros(0, np.uint64))
    checked: int = 0


@dataclass(slots=True)
class _Seen:
    """What the indices say about each annotation: a hash of its record, and where it is listed."""

    by_id: dict[int, bytes] = field(default_factory=dict)
    related: list[set[tuple[int, int]]] = field(default_factory=list)
    listed_related: list[set[tuple[int, int]]] = field(default_factory=list)
    spatial: dict[int, tuple[int, set[int]]] = field(default_factory=dict)
    boxes: dict[int, tuple[Array, Array]] = field(default_factory=dict)
    complete: bool = True


def check_annotations(context: Context, path: str) -> AnnotationsCheck:
    """Check the annotations in a directory.

    Raises
    ------
    ObjectNotFoundError
        If there is no ``info``.
    AccessDeniedError, StorageError
        If storage fails.
    """
    key = f"{path}/{INFO_KEY}"
    try:
        value = parse_object(context.store.read(key), key)
    except FormatError as error:
        return AnnotationsCheck(FILE.run(AnnotationsFile(key, {}, error.message)))
    file = AnnotationsFile(key, value)
    result = AnnotationsCheck(FILE.run(file))
    if file.info is not None:
        _Collection(context, path, file.info, result).run()
    return result


class _Collection:
    """The annotations of one directory, index after index."""

    def __init__(self, context: Context, path: str, info: AnnotationInfo, result: AnnotationsCheck) -> None:
        self.context = context
        self.path = path
        self.info = info
        self.result = result
        self.seen = _Seen(
            complete=context.options.sample >= 1,
            related=[set() for _ in info.relationships],
            listed_related=[set() for _ in info.relationships],
        )
        self.indices = Indices(path)

    def run(self) -> None:
        """Look at every index, then at all of them together."""
        info = self.info
        self._by_id(self._find(info.by_id))
        for number, item in enumerate(info.relationships):
            self._relationship(number, self._find(item))
        for number in range(len(info.spatial)):
            self._level(number)
        if self.seen.complete:
            _compare(info, self.seen, self.indices)
            self.result.findings += INDICES.run(self.indices)

    def _find(self, index: AnnotationIndex) -> Stored:
        path = f"{self.path}/{normal_path(index.key)}"
        stored = find_values(self.context, path, index.sharding, _id_of, str)
        self._enter(stored)
        if index.sharding is None:
            values = Values(path)
            for stat in self.context.store.list(f"{path}/"):
                if _id_of(stat.key.removeprefix(f"{path}/")) is None:
                    values.misnamed.add(stat.key, "is not the decimal id of an annotation or object")
            self.result.findings += VALUES.run(values)
        return stored

    def _enter(self, stored: Stored) -> None:
        self.result.findings += stored.findings
        for where, message in stored.unreadable:
            self.result.findings += STOPPED.run(Stopped(where, message))
        self.seen.complete = self.seen.complete and stored.complete

    def _by_id(self, stored: Stored) -> None:
        values = Values(stored.path)
        self.result.ids = stored.keys
        for key, records in self._read(stored, self.info.parse_single, values):
            self.seen.by_id[key] = _hash(records.raw[0])
            for pairs, related in zip(self.seen.related, records.related, strict=True):
                pairs.update((key, other) for other in related.tolist())
            _look_at_records(self.info, records, stored.where(key), values)
        self.result.checked = len(self.context.sample(stored.keys.tolist()))
        self.result.findings += VALUES.run(values)

    def _read(self, stored: Stored, parse: Callable[[bytes], Records], values: Values) -> Iterator[tuple[int, Records]]:
        """Yield those values of an index that can be read."""
        for key, data in stored.values(self.context.sample(stored.keys.tolist()), self.context.threads):
            try:
                if isinstance(data, FormatError):
                    raise data
                records = parse(data)
            except FormatError as error:
                values.broken.add(stored.where(key), error.message)
                self.seen.complete = False
                continue
            yield key, records

    def _same_bytes(self, records: Records, where: str) -> None:
        """Compare listed annotations with the index by id."""
        if not self.seen.complete:
            return
        for number, raw in zip(records.ids.tolist(), records.raw, strict=True):
            known = self.seen.by_id.get(number)
            if known is None:
                text = f"lists the annotation {number}, which the index by id does not have"
                self.indices.not_by_id.add(where, text)
            elif known != _hash(raw):
                self.indices.different.add(where, f"the annotation {number} is not the same as in the index by id")

    def _relationship(self, number: int, stored: Stored) -> None:
        values = Values(stored.path)
        for key, records in self._read(stored, self.info.parse_multiple, values):
            self.seen.listed_related[number].update((other, key) for other in records.ids.tolist())
            _look_at_records(self.info, records, stored.where(key), values)
            self._same_bytes(records, stored.where(key))
        self.result.findings += VALUES.run(values)

    def _level(self, number: int) -> None:
        level = self.info.spatial[number]
        path = f"{self.path}/{normal_path(level.key)}"
        values = Values(path)

        def key_of(name: str) -> int | None:
            cell = [int(part) for part in name.split("_")] if CELL_NAME.fullmatch(name) else []
            if len(cell) != self.info.rank or any(c >= n for c, n in zip(cell, level.grid_shape, strict=True)):
                values.misnamed.add(f"{path}/{name}", f"is no cell of the grid {list(level.grid_shape)}")
                return None
            return _linear(cell, level)

        def name_of(key: int) -> str:
            return "_".join(str(c) for c in _cell(key, level))

        stored = find_values(self.context, path, level.sharding, key_of, name_of)
        self._enter(stored)
        for key, records in self._read(stored, self.info.parse_multiple, values):
            try:
                cell = _cell(key, level) if level.sharding is None else _morton_cell(key, level)
            except FormatError as error:
                values.misnamed.add(stored.where(key), error.message)
                continue
            where = f"{path}/{'_'.join(str(c) for c in cell)}"
            _look_at_records(self.info, records, where, values)
            self._same_bytes(records, where)
            _look_at_cell((self.info, level), cell, records, where, values)
            self._place(number, cell, records, where)
        self.result.findings += VALUES.run(values)

    def _place(self, number: int, cell: list[int], records: Records, where: str) -> None:
        """Remember which cells of which level list each annotation."""
        level = self.info.spatial[number]
        for other in records.ids.tolist():
            home = self.seen.spatial.setdefault(other, (number, set()))
            if home[0] != number:
                self.indices.repeated.add(where, f"the annotation {other} is on levels {home[0]} and {number}")
            else:
                home[1].add(_linear(cell, level))
        if self.info.kind == "axis_aligned_bounding_box":
            for other, low, high in zip(records.ids.tolist(), records.lower, records.upper, strict=True):
                self.seen.boxes[other] = (low, high)


def _id_of(name: str) -> int | None:
    if not (name.isascii() and name.isdigit()) or (name != "0" and name[0] == "0") or int(name) >= 2**64:
        return None
    return int(name)


def _hash(raw: bytes) -> bytes:
    return hashlib.blake2b(raw, digest_size=8).digest()


# ---- cells


def _linear(cell: list[int], level: SpatialLevel) -> int:
    number = 0
    for c, n in zip(cell, level.grid_shape, strict=True):
        number = number * n + c
    return number


def _cell(key: int, level: SpatialLevel) -> list[int]:
    cell = []
    for n in reversed(level.grid_shape):
        cell.append(key % n)
        key //= n
    return cell[::-1]


def _morton_cell(key: int, level: SpatialLevel) -> list[int]:
    found: list[int] = kernels.morton_cells(np.array([key], np.uint64), level.grid_shape)[0].tolist()
    return found


# ---- records


def _look_at_records(info: AnnotationInfo, records: Records, where: str, values: Values) -> None:
    """Look at the numbers of some annotations."""
    gaps = info.padding()
    for i, raw in enumerate(records.raw):
        floats = info.floats(raw)
        if not np.isfinite(floats).all():
            values.not_finite.add(where, f"annotation {i} has the coordinates {floats.tolist()!r:.80}")
        elif info.kind == "ellipsoid" and (floats[info.rank :] < 0).any():
            values.degenerate.add(where, f"annotation {i} has the radii {floats[info.rank :].tolist()}")
        elif info.kind == "polyline" and len(floats) < 2 * info.rank:
            values.degenerate.add(where, f"annotation {i} is a polyline of {len(floats) // info.rank} points")
        rest = raw[len(raw) - info.properties_bytes :]
        if any(any(rest[a:b]) for a, b in gaps):
            values.padding.add(where, f"annotation {i} has unused bytes that are not 0")
    for item in info.properties:
        if item.data_type in ("rgb", "rgba") or not records.raw:
            continue
        numbers = info.property_values(records, item)
        if item.data_type == "float32" and not np.isfinite(numbers).all():
            values.not_finite.add(where, f"the property {item.id!r:.40} has values that are not finite")
        if item.enum_values is not None:
            unnamed = ~np.isin(numbers.astype(np.float64), np.array(item.enum_values, np.float64))
            if unnamed.any():
                text = f"the property {item.id!r:.40} has the value {numbers[unnamed][0]}, which has no name"
                values.not_named.add(where, text, int(unnamed.sum()))


def _look_at_cell(
    place: tuple[AnnotationInfo, SpatialLevel], cell: list[int], records: Records, where: str, values: Values
) -> None:
    """Look at the list of one cell as a whole."""
    info, level = place
    size = np.array(level.chunk_size)
    low = np.array(info.lower) + np.array(cell) * size
    slack = 1e-3 * size
    # what lies at or beyond the bounds is listed in the outermost cells
    first, last = np.array(cell) == 0, np.array(cell) == np.array(level.grid_shape) - 1
    outside = ((records.upper < low - slack) & ~first).any(axis=1)
    outside |= ((records.lower > low + size + slack) & ~last).any(axis=1)
    outside &= np.isfinite(records.lower).all(axis=1)
    if outside.any():
        text = (
            f"lists {int(outside.sum())} annotations that do not touch the cell, for example {records.ids[outside][0]}"
        )
        values.outside_cell.add(where, text)
    if len(records.raw) > CROWDED * level.limit:
        values.crowded.add(where, f"lists {len(records.raw)} annotations, the limit is {level.limit}")
    if len(records.raw) >= ENOUGH_FOR_ORDER:
        ranks = np.argsort(np.argsort(records.lower, axis=0, kind="stable"), axis=0, kind="stable")
        varied = records.lower.std(axis=0) > 0
        order = np.arange(len(ranks), dtype=np.float64)
        if any(abs(np.corrcoef(order, ranks[:, d].astype(np.float64))[0, 1]) > SORTED for d in np.flatnonzero(varied)):
            values.sorted_lists.add(where, f"lists {len(ranks)} annotations sorted by position")


# ---- the indices against each other


def _compare(info: AnnotationInfo, seen: _Seen, indices: Indices) -> None:
    if info.spatial:
        for number in sorted(seen.by_id.keys() - seen.spatial.keys()):
            indices.not_spatial.add(indices.where, f"the annotation {number} is in no cell of the spatial index")
    for item, pairs, listed in zip(info.relationships, seen.related, seen.listed_related, strict=True):
        for number, other in sorted(pairs - listed):
            text = f"the annotation {number} has {item.id!r:.40} {other}, whose list does not have it"
            indices.relations.add(f"{indices.where}/{item.key}/{other}", text)
        for number, other in sorted(listed - pairs):
            if number in seen.by_id:
                text = f"lists the annotation {number}, whose {item.id!r:.40} does not name {other}"
                indices.relations.add(f"{indices.where}/{item.key}/{other}", text)
    for number, (low, high) in sorted(seen.boxes.items()):
        at, cells = seen.spatial[number]
        level = info.spatial[at]
        size = np.array(level.chunk_size)
        top = np.array(level.grid_shape) - 1
        # a box that ends at the border of a cell need not be listed behind it
        first = np.clip(np.floor((low - info.lower) / size + 1e-6), 0, top).astype(int)
        last = np.clip(np.ceil((high - info.lower) / size - 1e-6) - 1, first, top).astype(int)
        for cell in product(*(range(a, b + 1) for a, b in zip(first.tolist(), last.tolist(), strict=True))):
            if _linear(list(cell), level) not in cells:
                text = f"the annotation {number} touches the cell {list(cell)} of level {at}, which does not list it"
                indices.not_in_cell.add(indices.where, text)
                break
