"""Segment properties: what a viewer lists, labels, searches and sorts the segments of a layer by.

The file ``<directory>/info`` is one JSON object; ids are strings, ascending; every property has one value per id::

    {"@type": "neuroglancer_segment_properties",
     "inline": {"ids": ["5", "7"],
                "properties": [{"id": "volume", "type": "number", "data_type": "float32", "values": [12.5, 3]}]}}
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from precast.errors import FormatError, UsageError

__all__ = ["NUMBER_TYPES", "PROPERTY_TYPES", "Property", "SegmentProperties"]

TYPE = "neuroglancer_segment_properties"
PROPERTY_TYPES = ("label", "description", "string", "tags", "number")
NUMBER_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32")
"""64-bit integers are not among them: the viewer refuses the file."""

QUERY_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")
"""Names that the viewer's query box understands in ``name<=3``."""

MOST_TAGS = 65535
MOST_PROBLEMS = 20
LARGEST_ID = 2**64 - 1

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Property:
    """One property of all segments.

    Attributes
    ----------
    id
        Its name; unique. That of a number is a word of letters, digits and ``_``.
    type
        One of :data:`PROPERTY_TYPES`.
    values
        One per segment. ``number``: an array of a dtype in :data:`NUMBER_TYPES`, finite. ``tags``: for each segment
        the ascending positions of its tags in ``tags``. Otherwise strings, ``""`` for none.
    description
        Shown beside the name; not for ``tags``.
    tags
        Names of the tags: without ``#`` in front, without blanks, distinct whatever their case.
    tag_descriptions
        One per tag, or none at all.
    """

    id: str
    type: str
    values: Any
    description: str | None = None
    tags: tuple[str, ...] = ()
    tag_descriptions: tuple[str, ...] | None = None

    __hash__ = None  # type: ignore[assignment]  # it holds arrays

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Property):
            return NotImplemented
        mine, theirs = self.values, other.values
        if isinstance(mine, np.ndarray) and isinstance(theirs, np.ndarray):
            same = mine.dtype == theirs.dtype and np.array_equal(mine, theirs)
        else:
            same = type(mine) is type(theirs) and mine == theirs
        names = ("id", "type", "description", "tags", "tag_descriptions")
        return same and all(getattr(self, name) == getattr(other, name) for name in names)

    def problems(self, count: int) -> list[str]:
        """Return what is wrong with it among ``count`` segments; each begins with the member that it concerns."""
        found: list[str] = []
        if not isinstance(self.id, str) or not self.id or not _is_text(self.id):
            found.append(f"id: must be a non-empty string, got {self.id!r:.60}")
        if self.type not in PROPERTY_TYPES:
            return [*found, f"type: must be one of {', '.join(PROPERTY_TYPES)}, got {self.type!r:.60}"]
        if self.description is not None and self.type == "tags":
            found.append("description: tags have none; describe each tag")
        elif self.description is not None and not _is_text(self.description):
            found.append(f"description: must be a string, got {self.description!r:.60}")
        if len(self.values) != count:
            found.append(f"values: {len(self.values)} for {count} ids")
        if self.type == "number":
            return found + self._number_problems()
        if self.type == "tags":
            return found + self._tag_problems()
        if not _are_texts(self.values):
            at = next(i for i, value in enumerate(self.values) if not _is_text(value))
            found.append(f"values[{at}]: must be a string, got {self.values[at]!r:.60}")
        return found

    def _number_problems(self) -> list[str]:
        found = []
        if isinstance(self.id, str) and not QUERY_NAME.fullmatch(self.id):
            found.append(f"id: {self.id!r} cannot be queried; letters, digits and _ can, with a letter in front")
        values = self.values
        if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.name not in NUMBER_TYPES:
            kind = f"{values.ndim} axes of {values.dtype}" if isinstance(values, np.ndarray) else type(values).__name__
            return [*found, f"values: must be one axis of {', '.join(NUMBER_TYPES)}; got {kind}"]
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            at = int(np.argmin(np.isfinite(values)))
            found.append(f"values[{at}]: must be finite, got {values[at]}; JSON has no such number")
        return found

    def _tag_problems(self) -> list[str]:
        found = []
        if len(self.tags) > MOST_TAGS:
            found.append(f"tags: at most {MOST_TAGS}, got {len(self.tags)}")
        before: dict[str, int] = {}
        for at, tag in enumerate(self.tags):
            if not _is_text(tag) or tag.split() != [tag] or tag.startswith("#"):
                found.append(f"tags[{at}]: must be a string without blanks and without # in front, got {tag!r:.60}")
            elif before.setdefault(tag.lower(), at) != at:
                found.append(f"tags[{at}]: {tag!r} is there already, as {self.tags[before[tag.lower()]]!r}")
        if self.tag_descriptions is not None:
            if len(self.tag_descriptions) != len(self.tags):
                found.append(f"tag_descriptions: {len(self.tag_descriptions)} for {len(self.tags)} tags")
            if not _are_texts(self.tag_descriptions):
                found.append("tag_descriptions: must be strings")
        good = {item for item in set(self.values) if _is_tag_list(item, len(self.tags))}
        bad = next((at for at, item in enumerate(self.values) if item not in good), None)
        if bad is not None:
            item = list(self.values[bad])
            found.append(f"values[{bad}]: must be ascending positions below {len(self.tags)}, got {item!r:.60}")
        return found

    def to_json(self) -> str:
        """Return the property as JSON text, compact."""
        head: dict[str, Any] = {"id": self.id, "type": self.type}
        if self.type == "number":
            head["data_type"] = self.values.dtype.name
        if self.type == "tags":
            head["tags"] = self.tags
            if self.tag_descriptions is not None:
                head["tag_descriptions"] = self.tag_descriptions
        elif self.description is not None:
            head["description"] = self.description
        values = _numbers(self.values) if self.type == "number" else _dump(self.values)
        return f'{_dump(head)[:-1]},"values":{values}}}'


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SegmentProperties:
    """Properties of segments; checks itself.

    Attributes
    ----------
    ids
        uint64, ascending, each once.
    properties
        At most one label, one description and one of tags.

    Raises
    ------
    UsageError
        If the parts break a rule of the format; lists every problem.

    Examples
    --------
    >>> name = Property(id="label", type="label", values=("soma", ""))
    >>> SegmentProperties(ids=np.array([5, 7], np.uint64), properties=(name,)).to_bytes()[43:-1]
    b'"inline":{"ids":["5","7"],"properties":[{"id":"label","type":"label","values":["soma",""]}]}}'
    """

    ids: npt.NDArray[np.uint64]
    properties: tuple[Property, ...] = ()

    def __post_init__(self) -> None:
        problems = _problems(self.ids, self.properties)
        if problems:
            raise UsageError("these are no segment properties:\n" + _listing(problems))

    __hash__ = None  # type: ignore[assignment]  # it holds arrays

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SegmentProperties):
            return NotImplemented
        return np.array_equal(self.ids, other.ids) and self.properties == other.properties

    def find(self, name: str) -> Property | None:
        """Return the property of that id, or None."""
        return next((item for item in self.properties if item.id == name), None)

    def to_bytes(self) -> bytes:
        """Return the file: UTF-8 JSON, compact, strict; the same bytes for the same value.

        A float32 is written with the fewest digits that give the same float32 again.
        """
        ids = '["' + '","'.join(map(str, self.ids.tolist())) + '"]' if len(self.ids) else "[]"
        properties = ",".join(item.to_json() for item in self.properties)
        return f'{{"@type":"{TYPE}","inline":{{"ids":{ids},"properties":[{properties}]}}}}\n'.encode()

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str = "info") -> SegmentProperties:
        """Parse the file.

        Raises
        ------
        FormatError
            If it is not strict JSON or breaks a rule of the format; lists every problem with its place.
        """
        try:
            value = json.loads(data, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{where} is not strict JSON: {error}", where=where) from None
        if not isinstance(value, dict):
            raise FormatError(f"{where} must hold a JSON object, not {type(value).__name__}", where=where)
        reader = _Reader()
        ids, properties = reader.file(value)
        if reader.problems:
            text = f"{where} does not hold segment properties as the format has them:\n{_listing(reader.problems)}"
            raise FormatError(text, where=where)
        return cls(ids=ids, properties=properties)


# ---- rules


def _problems(ids: Any, properties: Sequence[Property]) -> list[str]:
    if not isinstance(ids, np.ndarray) or ids.dtype != np.uint64 or ids.ndim != 1:
        return ["ids: must be one axis of uint64"]
    return _order_problems(ids) + _set_problems(properties, len(ids))


def _order_problems(ids: Array) -> list[str]:
    wrong = np.flatnonzero(ids[1:] <= ids[:-1])
    if not len(wrong):
        return []
    at = int(wrong[0]) + 1
    relation = "is there twice" if ids[at] == ids[at - 1] else f"comes after {ids[at - 1]}"
    return [f"ids[{at}]: {ids[at]} {relation}; ids ascend, each once"]


def _set_problems(properties: Sequence[Property], count: int) -> list[str]:
    found = []
    names: dict[str, int] = {}
    for at, item in enumerate(properties):
        found += [f"properties[{at}].{problem}" for problem in item.problems(count)]
        if names.setdefault(item.id, at) != at:
            found.append(f"properties[{at}].id: {item.id!r} is the id of properties[{names[item.id]}] too")
    for kind in ("label", "description", "tags"):
        places = [at for at, item in enumerate(properties) if item.type == kind]
        if len(places) > 1:
            found.append(f"properties[{places[1]}].type: only one may be {kind!r}, properties[{places[0]}] is")
    return found


def _listing(problems: list[str]) -> str:
    more = len(problems) - MOST_PROBLEMS
    return "\n".join(f"  {problem}" for problem in problems[:MOST_PROBLEMS]) + (
        f"\n  and {more} more" if more > 0 else ""
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and _encodes(value)


def _are_texts(values: Any) -> bool:
    return set(map(type, values)) <= {str} and _encodes("".join(values))


def _encodes(text: str) -> bool:
    """Whether it is Unicode: JSON can spell half a surrogate pair, which no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_tag_list(item: Any, count: int) -> bool:
    return (
        isinstance(item, tuple)
        and all(type(n) is int and 0 <= n < count for n in item)
        and all(a < b for a, b in pairwise(item))
    )


# ---- writing


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _numbers(values: Array) -> str:
    if values.dtype.kind != "f":
        return _dump(values.tolist())
    return _dump(_shortest(values).tolist()).replace(".0,", ",").replace(".0]", "]")


_LOWEST, _HIGHEST = -13, 14
_DECADES = np.array([float(f"1e{n}") for n in range(_LOWEST, _HIGHEST + 1)])
_POWERS = np.array([10.0**n for n in range(23)])
"""Up to 10^22 a power of ten is a float64 without rounding."""


def _shortest(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the float64 nearest to the shortest decimal that rounds to each float32: their text is that decimal."""
    exact = values.astype(np.float64) + 0.0  # no negative zero
    result = exact.copy()
    size = np.abs(exact)
    ordinary = (size >= _DECADES[0]) & (size < _DECADES[-1])
    left = np.flatnonzero(ordinary)
    for digits in range(6, 10):  # six digits survive a float32, nine tell any two apart
        exponent = digits - 1 - (_LOWEST + np.searchsorted(_DECADES, size[left], side="right") - 1)
        up, down = _POWERS[np.maximum(exponent, 0)], _POWERS[np.maximum(-exponent, 0)]
        rounded = np.rint(exact[left] * up / down) / up * down
        same = rounded.astype(np.float32) == values[left]
        result[left[same]] = rounded[same]
        left = left[~same]
    for at in np.flatnonzero(~ordinary & (size > 0)).tolist():
        result[at] = float(str(values[at]))
    return result


# ---- reading


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


class _Reader:
    """Turns JSON into the parts of the model and collects every problem with its place."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def problem(self, place: str, text: str) -> None:
        self.problems.append(f"{place}: {text}")

    def file(self, value: dict[str, Any]) -> tuple[npt.NDArray[np.uint64], tuple[Property, ...]]:
        nothing = np.zeros(0, np.uint64)
        if value.get("@type") != TYPE:
            self.problem("@type", f"must be {TYPE!r}, got {value.get('@type')!r:.60}")
        inline = value.get("inline", {"ids": [], "properties": []})
        if not isinstance(inline, dict):
            self.problem("inline", f"must be an object, got {inline!r:.60}")
            return nothing, ()
        ids = self.ids(inline.get("ids"))
        raw = inline.get("properties")
        if not isinstance(raw, list):
            self.problem("inline.properties", f"must be a list, got {raw!r:.60}")
            return nothing, ()
        read = [self.property(item, f"inline.properties[{at}]") for at, item in enumerate(raw)]
        properties = tuple(item for item in read if item is not None)
        if len(properties) == len(raw):
            count = len(inline["ids"]) if isinstance(inline.get("ids"), list) else 0
            self.problems += [f"inline.{text}" for text in _order_problems(ids) + _set_problems(properties, count)]
        return ids, properties

    def ids(self, value: Any) -> npt.NDArray[np.uint64]:
        if not isinstance(value, list):
            self.problem("inline.ids", f"must be a list, got {value!r:.60}")
            return np.zeros(0, np.uint64)
        try:
            numbers = list(map(int, value))
            if list(map(str, numbers)) == value:
                return np.array(numbers, np.uint64)
        except (ValueError, TypeError, OverflowError):
            pass
        for at, item in enumerate(value):
            if not isinstance(item, str) or not re.fullmatch("0|[1-9][0-9]{0,19}", item) or int(item) > LARGEST_ID:
                text = f"must be a string of a whole number up to 2^64 - 1, without leading zeros; got {item!r:.60}"
                self.problem(f"inline.ids[{at}]", text)
        return np.zeros(0, np.uint64)

    def property(self, value: Any, place: str) -> Property | None:
        if not isinstance(value, dict):
            self.problem(place, f"must be an object, got {value!r:.60}")
            return None
        before = len(self.problems)
        values = value.get("values")
        if not isinstance(values, list):
            self.problem(f"{place}.values", f"must be a list, got {values!r:.60}")
            return None
        kind = value.get("type")
        tags: tuple[str, ...] = ()
        if kind == "number":
            values = self.numbers(values, value.get("data_type"), place)
        elif kind == "tags":
            tags = self.strings(value.get("tags"), f"{place}.tags")
            values = self.tag_lists(values, place)
        else:
            values = tuple(values)
        descriptions = value.get("tag_descriptions") if kind == "tags" else None
        if descriptions is not None:
            descriptions = self.strings(descriptions, f"{place}.tag_descriptions")
        if len(self.problems) > before:
            return None
        return Property(
            id=value.get("id", ""),
            type=kind if isinstance(kind, str) else "",
            values=values,
            description=value.get("description") if kind != "tags" else None,
            tags=tags,
            tag_descriptions=descriptions,
        )

    def strings(self, value: Any, place: str) -> tuple[str, ...]:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        self.problem(place, f"must be a list of strings, got {value!r:.60}")
        return ()

    def tag_lists(self, values: list[Any], place: str) -> tuple[tuple[int, ...], ...]:
        for at, item in enumerate(values):
            if not isinstance(item, list) or not all(type(n) is int for n in item):
                self.problem(f"{place}.values[{at}]", f"must be a list of positions, got {item!r:.60}")
                return ()
        return tuple(map(tuple, values))

    def numbers(self, values: list[Any], data_type: Any, place: str) -> Array:
        nothing = np.zeros(0, np.float32)
        if data_type not in NUMBER_TYPES:
            self.problem(f"{place}.data_type", f"must be one of {', '.join(NUMBER_TYPES)}, got {data_type!r:.60}")
            return nothing
        if not set(map(type, values)) <= {int, float}:
            at = next(i for i, item in enumerate(values) if type(item) not in (int, float))
            self.problem(f"{place}.values[{at}]", f"must be a number, got {values[at]!r:.60}")
            return nothing
        dtype = np.dtype(data_type)
        try:
            wide = np.array(values, np.float64)
        except OverflowError:
            wide = np.array([float(item) if abs(item) < 2**1000 else np.inf for item in values], np.float64)
        if dtype.kind == "f":
            with np.errstate(over="ignore"):
                fits = np.isfinite(wide.astype(dtype))
        else:
            limits = np.iinfo(dtype)
            fits = (wide >= limits.min) & (wide <= limits.max) & (wide == np.rint(wide))
        if not fits.all():
            at = int(np.argmin(fits))
            self.problem(f"{place}.values[{at}]", f"{values[at]!r:.60} is no {data_type}")
            return nothing
        return wide.astype(dtype)
