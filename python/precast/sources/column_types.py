"""Which property a column of a user's table becomes: by the type in its header, its name, or its cells."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from precast.errors import SourceError, UsageError
from precast.precomputed.segment_columns import Column
from precast.precomputed.segment_properties import NUMBER_TYPES

__all__ = ["Header", "make_columns", "read_header"]

TEXT_TYPES = ("label", "description", "string", "tags")
TYPES = (*TEXT_TYPES, "number", *NUMBER_TYPES)
LABEL_NAMES = ("label", "name")
TAG_NAMES = ("tags", "tag", "class", "classes")
NO_NUMBER = ("", "nan", "na", "n/a", "null", "none")
"""What programs write for "no number"; as text such a cell is kept as it is."""

_WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]*)(\.0*)?")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_COMMA = re.compile(r"[+-]?([0-9]*,[0-9]+|[0-9]+)([eE][+-]?[0-9]+)?")
_CODE = re.compile(r"[+-]?0[0-9]+")
_TAG_SEPARATORS = re.compile("[;|,]")

MOST_LETTERS = 300
"""Longer ones are no numbers of anything, and float64 ends there."""


@dataclass(frozen=True, slots=True)
class Header:
    """A header cell: its name, and the type behind its last colon if it is one of :data:`TYPES`."""

    name: str
    type: str | None

    @property
    def text(self) -> str:
        """The cell as it stands in the file."""
        return self.name if self.type is None else f"{self.name}:{self.type}"


def read_header(cell: str) -> Header:
    """Split a header cell.

    Examples
    --------
    >>> read_header("layer:tags")
    Header(name='layer', type='tags')
    >>> read_header("time 12:30")
    Header(name='time 12:30', type=None)
    """
    name, colon, kind = cell.rpartition(":")
    if colon and name.strip() and kind.strip().lower() in TYPES:
        return Header(name.strip(), kind.strip().lower())
    return Header(cell, None)


def make_columns(
    cells: Sequence[tuple[Header, list[str]]], *, decimal_comma: bool, where: str
) -> tuple[tuple[Column, ...], list[str]]:
    """Decide what every column becomes.

    Parameters
    ----------
    cells
        Header and stripped cells of each column but the one with the ids.
    decimal_comma
        Whether ``3,5`` is a number.
    where
        The file, for errors.

    Returns
    -------
    tuple of Column
        Label, description and tags first, the others in the order of the file.
    list of str
        Columns of numbers that had to become text, and why.

    Raises
    ------
    UsageError
        If two columns want to be the label or the description, or have the same name for the viewer.
    SourceError
        If a cell does not fit the type in the header.
    """
    single, rest = _kinds([header for header, _ in cells], where)
    columns: list[Column] = []
    notes: list[str] = []
    for kind in ("label", "description"):
        if kind in single:
            header, values = cells[single[kind][0]]
            columns.append(Column(id=property_id(header.name), type=kind, values=tuple(values)))
    if "tags" in single:
        columns.append(_tags([cells[at] for at in single["tags"]], where))
    for at in rest:
        header, values = cells[at]
        column, note = _typed(header, values, decimal_comma=decimal_comma, where=where)
        columns.append(column)
        if note:
            notes.append(note)
    _check_ids(columns, where)
    return tuple(columns), notes


def _kinds(headers: Sequence[Header], where: str) -> tuple[dict[str, list[int]], list[int]]:
    """Return the columns of the kinds that a file can hold once, and all others."""
    single: dict[str, list[int]] = {}
    for kind in ("label", "description", "tags"):
        asked = [at for at, header in enumerate(headers) if header.type == kind]
        if len(asked) > 1 and kind != "tags":
            a, b = (headers[at].text for at in asked[:2])
            raise UsageError(
                f"the columns {a!r} and {b!r} both want to be the {kind}, and there is only one",
                hint=f"name one of them {headers[asked[1]].name}:string",
                where=where,
            )
        if asked:
            single[kind] = asked
    names = {header.name.lower(): at for at, header in reversed(list(enumerate(headers))) if header.type is None}
    for kind, known in (("label", LABEL_NAMES), ("description", ("description",))):
        found = next((names[name] for name in known if name in names), None)
        if found is not None and kind not in single:
            single[kind] = [found]
    tags = [names[name] for name in TAG_NAMES if name in names]
    if tags:
        single["tags"] = sorted({*single.get("tags", []), *tags})
    taken = {at for places in single.values() for at in places}
    return single, [at for at in range(len(headers)) if at not in taken]


def property_id(name: str) -> str:
    """Return a name that the viewer's query box understands: letters, digits and ``_``, a letter in front.

    Examples
    --------
    >>> property_id("Größe (µm³)"), property_id("2nd pass")
    ('Grosse_um3', 'p_2nd_pass')
    """
    plain = name.replace("ß", "ss").replace("µ", "u").replace("μ", "u")
    plain = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
    word = re.sub(r"[^a-zA-Z0-9_]+", "_", plain).strip("_")
    return word if word[:1].isalpha() else f"p_{word}".rstrip("_")


def _description(header: Header, name: str) -> str | None:
    return header.name if header.name != name else None


def _check_ids(columns: Sequence[Column], where: str) -> None:
    seen: dict[str, Column] = {}
    for column in columns:
        other = seen.setdefault(column.id.lower(), column)
        if other is not column:
            names = " and ".join(repr(item.description or item.id) for item in (other, column))
            raise UsageError(
                f"the columns {names} have the same name for the viewer: {column.id}",
                hint="rename one of them; only letters, digits and _ count, whatever their case",
                where=where,
            )


# ---- tags


def _tags(cells: Sequence[tuple[Header, list[str]]], where: str) -> Column:
    """Return one property with the tags of all columns, each in the spelling that comes first."""
    spelling: dict[str, str] = {}
    known: dict[tuple[str, ...], tuple[str, ...]] = {}

    def split(texts: tuple[str, ...]) -> tuple[str, ...]:
        if texts not in known:
            parts = [part.strip() for text in texts for part in _TAG_SEPARATORS.split(text)]
            names = ["_".join(part.lstrip("#").split()) for part in parts]
            known[texts] = tuple({spelling.setdefault(name.lower(), name): None for name in names if name})
        return known[texts]

    name = property_id(cells[0][0].name) if len(cells) == 1 else "tags"
    values = tuple(split(texts) for texts in zip(*(column for _, column in cells), strict=True))
    return Column(id=name, type="tags", values=values)


# ---- numbers and text


def _typed(header: Header, cells: list[str], *, decimal_comma: bool, where: str) -> tuple[Column, str]:
    name = property_id(header.name)
    text = Column(id=name, type="string", values=tuple(cells), description=_description(header, name))
    if header.type in ("string", "label", "description"):
        return text, ""
    known = np.array([cell.lower() not in NO_NUMBER for cell in cells], bool)
    given = [cell for cell, there in zip(cells, known.tolist(), strict=True) if there]
    if not given and header.type is None:
        return text, ""
    numbers = _parse(given, decimal_comma=decimal_comma)
    if numbers is None:
        if header.type is None:
            return text, ""
        bad = next(cell for cell in given if _parse([cell], decimal_comma=decimal_comma) is None)
        raise SourceError(
            f"the column {header.text!r} holds {bad[:60]!r}, which is no number",
            hint="correct the cell, or make the column text with the type string",
            where=where,
        )
    if header.type in NUMBER_TYPES:
        return _fixed(header, numbers, known, where), ""
    data_type = _smallest(numbers)
    if data_type is None:
        reason = (
            f"the column {header.name!r} became text: {_out_of_range(numbers)} does not fit any type of number that "
            "the viewer has (int32, uint32, float32)"
        )
        if header.type == "number":
            raise SourceError(reason.replace("became text", "cannot be numbers"), hint="make it string", where=where)
        return text, reason
    return _column(header, numbers, known, data_type), ""


def _column(header: Header, numbers: npt.NDArray[Any], known: npt.NDArray[np.bool_], data_type: str) -> Column:
    values = np.zeros(len(known), numbers.dtype)
    values[known] = numbers
    name = property_id(header.name)
    return Column(
        id=name,
        type="number",
        values=values,
        known=known,
        data_type=data_type,
        fixed=header.type in NUMBER_TYPES,
        description=_description(header, name),
    )


def _parse(cells: Sequence[str], *, decimal_comma: bool) -> npt.NDArray[Any] | None:
    """Return int64, float64, or objects if whole numbers need more bits; None if a cell is none, or a code (007)."""
    if max(map(len, cells), default=0) > MOST_LETTERS or any(map(_CODE.fullmatch, cells)):
        return None
    if all(map(_WHOLE.fullmatch, cells)):
        whole = [int(cell.partition(".")[0]) for cell in cells]
        fits = min(whole, default=0) >= -(2**63) and max(whole, default=0) < 2**63
        return np.array(whole, np.int64 if fits else object)
    if all(map(_DECIMAL.fullmatch, cells)):
        return np.array([float(cell) for cell in cells], np.float64)
    if decimal_comma and all(map(_COMMA.fullmatch, cells)):
        return np.array([float(cell.replace(",", ".")) for cell in cells], np.float64)
    return None


def _smallest(numbers: npt.NDArray[Any]) -> str | None:
    """Return the type for numbers: whole ones must stay exact, others are rounded to float32."""
    if not len(numbers):
        return "float32"
    if numbers.dtype.kind == "O":
        return None
    if numbers.dtype.kind == "i":
        low, high = int(numbers.min()), int(numbers.max())
        if low >= -(2**31) and high < 2**31:
            return "int32"
        if low >= 0 and high < 2**32:
            return "uint32"
        exact = (numbers.astype(np.float32).astype(np.float64) == numbers) & (np.abs(numbers) < 2**53)
        return "float32" if exact.all() else None
    return "float32" if _fits_float32(numbers).all() else None


def _fits_float32(numbers: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    with np.errstate(over="ignore"):
        return np.isfinite(numbers.astype(np.float32))


def _out_of_range(numbers: npt.NDArray[Any]) -> str:
    if numbers.dtype.kind == "O":
        return str(max(numbers.tolist(), key=abs))
    if numbers.dtype.kind == "i":
        wrong = numbers.astype(np.float32).astype(np.float64) != numbers
        wrong |= np.abs(numbers) >= 2**53
        return str(numbers[int(np.argmax(wrong))])
    return str(numbers[int(np.argmin(_fits_float32(numbers)))])


def _fixed(header: Header, numbers: npt.NDArray[Any], known: npt.NDArray[np.bool_], where: str) -> Column:
    """Return a column of the type that its header asks for."""
    assert header.type is not None
    dtype = np.dtype(header.type)
    numbers = numbers.astype(np.float64)  # exact wherever a type of at most 32 bits could hold the number
    if dtype.kind == "f":
        fits = _fits_float32(numbers)
    else:
        limits = np.iinfo(dtype)
        fits = (numbers >= limits.min) & (numbers <= limits.max) & (numbers == np.rint(numbers))
    if not fits.all():
        bad = numbers[int(np.argmin(fits))]
        raise SourceError(
            f"the column {header.text!r} holds {bad}, which is no {dtype}",
            hint=f"name it {header.name}:number, and the type is chosen by its cells",
            where=where,
        )
    return _column(header, numbers, known, header.type)
