"""From numbers per segment and a user's columns to segment properties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from precast.errors import UsageError
from precast.findings import Finding, notice
from precast.geometry import VoxelSize
from precast.precomputed.label_table import LABEL_ROW
from precast.precomputed.segment_properties import MOST_TAGS, Property, SegmentProperties

__all__ = ["MOST_SEGMENTS", "OWN_IDS", "Column", "ColumnTable", "SegmentStatistics", "build_properties", "columns_of"]

Array = npt.NDArray[Any]

MOST_SEGMENTS = 1_000_000
"""A viewer loads the whole file, and a million segments with all numbers make 150 MB of it."""

OWN_IDS = (
    "voxels",
    "volume_um3",
    "area_um2",
    "faces",
    *(f"bbox_{axis}{end}" for end in (0, 1) for axis in "xyz"),
    *(f"centroid_{axis}" for axis in "xyz"),
)
"""Ids of the numbers that are written without being asked for; no column may have one of them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SegmentStatistics:
    """Numbers per segment.

    Attributes
    ----------
    rows
        Records of dtype :data:`~precast.precomputed.label_table.LABEL_ROW`, by ascending id.
    voxel_size
        Of scale 0.
    area_um2, faces
        One number per row, for segments with meshes; 0 for a segment that has none. None without any mesh.
    """

    rows: Array
    voxel_size: VoxelSize
    area_um2: Array | None = None
    faces: Array | None = None

    def __post_init__(self) -> None:
        if self.rows.dtype != LABEL_ROW or self.rows.ndim != 1:
            raise UsageError(f"segment statistics: rows must be records of a label table, got {self.rows.dtype}")
        if (self.rows["id"][1:] <= self.rows["id"][:-1]).any():
            raise UsageError("segment statistics: rows must be sorted by id, each id once")
        for name in ("area_um2", "faces"):
            values = getattr(self, name)
            if values is not None and np.shape(values) != self.rows.shape:
                raise UsageError(f"segment statistics: {name} has {len(values)} values for {len(self.rows)} rows")

    def take(self, kept: Array) -> SegmentStatistics:
        """Return the rows at ascending positions, or under a mask."""
        return SegmentStatistics(
            rows=self.rows[kept],
            voxel_size=self.voxel_size,
            area_um2=None if self.area_um2 is None else np.asarray(self.area_um2)[kept],
            faces=None if self.faces is None else np.asarray(self.faces)[kept],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Column:
    """One column of a user's table.

    Attributes
    ----------
    id
        Id of the property that it becomes.
    type
        Type of the property.
    values
        One per row of the table: strings; for ``tags`` tuples of names; for ``number`` an array of int64 or float64.
    known
        For ``number``: whether the row has a value.
    data_type
        For ``number``: the stored type, one that holds the values without loss (float32: rounded).
    fixed
        Whether ``data_type`` was asked for, so that it must not be widened to make room for "no value".
    description
        Shown beside the name.
    """

    id: str
    type: str
    values: Any
    known: npt.NDArray[np.bool_] | None = None
    data_type: str = ""
    fixed: bool = False
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ColumnTable:
    """A user's columns; ``ids`` ascend, each once, and every column has one value for each."""

    ids: npt.NDArray[np.uint64]
    columns: tuple[Column, ...]
    name: str = "columns"


def build_properties(
    statistics: SegmentStatistics,
    columns: ColumnTable | None = None,
    *,
    limit: int = MOST_SEGMENTS,
    min_voxels: int = 1,
) -> tuple[SegmentProperties, tuple[Finding, ...]]:
    """Build the properties of segments: a user's columns first, then the numbers of :data:`OWN_IDS`.

    Parameters
    ----------
    statistics
        The segments; ``area_um2`` and ``faces`` are left out where they are None.
    columns
        Merged by id. A segment without a row gets ``""``, no tags, or a number that stands for "no value" and is
        named in the property's description.
    limit
        Most segments; of more the largest by voxels are kept, of equal ones those with the lower ids.
    min_voxels
        Smaller segments are left out.

    Returns
    -------
    SegmentProperties
        By ascending id.
    tuple of Finding
        What was left out.

    Raises
    ------
    UsageError
        If a column cannot be stored beside the others.
    """
    findings: list[Finding] = []
    kept = statistics
    if columns is not None:
        _check_names(columns)
        findings += _unknown_ids(columns, statistics.rows["id"])
    if min_voxels > 1:
        kept = kept.take(kept.rows["voxels"] >= np.uint64(min_voxels))
    if len(kept.rows) > limit:
        findings.append(_too_many(len(kept.rows), limit))
        # by voxels, the largest first; a stable order leaves equal ones by ascending id
        largest = np.argsort(~kept.rows["voxels"], kind="stable")[:limit]
        kept = kept.take(np.sort(largest))
    merged = [] if columns is None else _merge(columns, kept.rows["id"])
    ids = kept.rows["id"].astype(np.uint64)
    return SegmentProperties(ids=ids, properties=(*merged, *_own(kept))), tuple(findings)


def columns_of(former: SegmentProperties) -> ColumnTable:
    """Return the columns of existing properties that are not of :data:`OWN_IDS`, as if from a user's table."""
    columns = []
    for item in former.properties:
        if item.id in OWN_IDS:
            continue
        if item.type == "number":
            values: Any = item.values.astype(np.float64 if item.values.dtype.kind == "f" else np.int64)
            known = np.ones(len(former.ids), np.bool_)
            columns.append(
                Column(
                    id=item.id,
                    type=item.type,
                    values=values,
                    known=known,
                    data_type=item.values.dtype.name,
                    description=item.description,
                )
            )
            continue
        values = [tuple(item.tags[i] for i in tags) for tags in item.values] if item.type == "tags" else item.values
        columns.append(Column(id=item.id, type=item.type, values=values, description=item.description))
    return ColumnTable(ids=former.ids, columns=tuple(columns), name="the former segment properties")


# ---- our own numbers


def _own(statistics: SegmentStatistics) -> list[Property]:
    rows, (x, y, z) = statistics.rows, statistics.voxel_size
    voxel_um3 = float(x * y * z) * 1e-9
    found = [
        _number("voxels", _counts(rows["voxels"]), "number of voxels at the finest scale"),
        _number("volume_um3", (rows["voxels"] * voxel_um3).astype(np.float32), "volume in µm³"),
    ]
    if statistics.area_um2 is not None:
        area = np.asarray(statistics.area_um2).astype(np.float32)
        found.append(_number("area_um2", area, "surface area of the mesh in µm²; 0 without a mesh"))
    if statistics.faces is not None:
        faces = _counts(np.asarray(statistics.faces))
        found.append(_number("faces", faces, "triangles of the mesh at its finest level; 0 without a mesh"))
    for end, field, text in ((0, "start", "lowest voxel"), (1, "stop", "one past the highest voxel")):
        for axis, letter in enumerate("xyz"):
            description = f"bounding box: {text} along {letter}, in voxels of the finest scale"
            found.append(_number(f"bbox_{letter}{end}", _coordinates(rows[field][:, axis]), description))
    for axis, letter in enumerate("xyz"):
        values = rows["centroid"][:, axis].astype(np.float32)
        found.append(_number(f"centroid_{letter}", values, f"centroid {letter}, in voxels of the finest scale"))
    return found


def _number(name: str, values: Array, description: str) -> Property:
    return Property(id=name, type="number", values=values, description=description)


def _counts(values: Array) -> Array:
    return values.astype(np.uint32 if not len(values) or int(values.max()) < 2**32 else np.float32)


def _coordinates(values: Array) -> Array:
    fits = not len(values) or (int(values.min()) >= -(2**31) and int(values.max()) < 2**31)
    return values.astype(np.int32 if fits else np.float32)


# ---- a user's columns


def _check_names(table: ColumnTable) -> None:
    for column in table.columns:
        if column.id.lower() in OWN_IDS:
            raise UsageError(
                f"{table.name}: the column {column.id!r} has the name of a number that is computed from the voxels",
                hint=f"rename or remove it; these names are taken: {', '.join(OWN_IDS)}",
                where=table.name,
            )


def _unknown_ids(table: ColumnTable, ids: Array) -> list[Finding]:
    unknown = table.ids[~np.isin(table.ids, ids, assume_unique=True)]
    if not len(unknown):
        return []
    first = ", ".join(map(str, unknown[:5].tolist())) + (", ..." if len(unknown) > 5 else "")
    hint = "check that the table belongs to this segmentation"
    # only 15 digits survive a spreadsheet, which then shows zeros in place of the others
    large = table.ids[table.ids >= np.uint64(10**15)]
    digits = np.array([len(str(value)) - 15 for value in large.tolist()], np.uint64)
    if len(large) > 2 and not (large % np.power(np.uint64(10), digits)).any():
        hint = (
            "every long id ends in zeros after 15 digits: a spreadsheet has rounded them; "
            "export the table anew from where it was made, or import its id column as text"
        )
    return [
        notice(
            "PP102",
            table.name,
            f"{len(unknown)} of {len(table.ids)} ids are not in the dataset and are left out: {first}",
            hint,
        )
    ]


def _too_many(count: int, limit: int) -> Finding:
    return notice(
        "PP101",
        "",
        f"only the {limit} largest of {count} segments get properties",
        "a viewer loads all properties at once; raise --limit, or leave out small segments with --min-voxels",
    )


def _merge(table: ColumnTable, ids: Array) -> list[Property]:
    """Return the columns for these ids, which ascend."""
    at = np.searchsorted(table.ids, ids)
    found = np.zeros(len(ids), bool)
    inside = at < len(table.ids)
    found[inside] = table.ids[at[inside]] == ids[inside]
    places = np.where(found, at, len(table.ids))  # one past the end: "no row"
    result = []
    for column in table.columns:
        if column.type == "number":
            result.append(_merge_number(table, column, places))
        elif column.type == "tags":
            result.append(_merge_tags(table, column, places))
        else:
            padded = (*column.values, "")
            values = tuple(padded[n] for n in places.tolist())
            result.append(Property(id=column.id, type=column.type, values=values, description=column.description))
    return result


def _merge_tags(table: ColumnTable, column: Column, places: Array) -> Property:
    padded: tuple[Sequence[str], ...] = (*column.values, ())
    lists = [padded[n] for n in places.tolist()]
    names = sorted({name for item in set(lists) for name in item}, key=lambda name: (name.lower(), name))
    if len(names) > MOST_TAGS:
        raise UsageError(
            f"{table.name}: {len(names)} different tags in {column.id!r}; at most {MOST_TAGS} are possible",
            hint="make it a text column by renaming it in the header, for example kind:string",
            where=table.name,
        )
    number = {name: n for n, name in enumerate(names)}
    known = {item: tuple(sorted(number[name] for name in item)) for item in set(lists)}
    values = tuple(known[item] for item in lists)
    return Property(id=column.id, type="tags", values=values, tags=tuple(names))


def _merge_number(table: ColumnTable, column: Column, places: Array) -> Property:
    assert column.known is not None  # every number column has it
    known = np.append(column.known, False)[places]
    values = np.append(column.values, column.values.dtype.type(0))[places]
    description, dtype = column.description, np.dtype(column.data_type)
    if not known.all():
        missing, dtype = _no_value(values[known], dtype, table, column)
        values = np.where(known, values, values.dtype.type(missing))
        text = f"{missing} means no value"
        description = f"{description}; {text}" if description else text
    return Property(id=column.id, type="number", values=values.astype(dtype), description=description)


def _no_value(values: Array, dtype: np.dtype[Any], table: ColumnTable, column: Column) -> tuple[int, np.dtype[Any]]:
    """Return a number that is no value of a column and easily told apart, and a type that holds it.

    It is -1 if no value is negative, else the next -10, -100, ... below all of them; for types that cannot hold
    that, the largest number of the type.
    """
    if not column.fixed and dtype == np.uint32 and (not len(values) or int(values.max()) < 2**31):
        dtype = np.dtype(np.int32)
    lowest = values.min() if len(values) else 0
    below = -1
    while lowest <= below:
        below *= 10
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    if below >= limits.min:
        return below, dtype
    largest = int(limits.max)
    if dtype.kind != "f" and not (values == largest).any():
        return largest, dtype
    raise UsageError(
        f"{table.name}: some segments have no value for {column.id!r}, and its values leave {dtype} no number for that",
        hint=f"give every segment a value, or make it text by renaming the column to {column.id}:string",
        where=table.name,
    )
