"""Check segment properties against every rule of the format, ``PC4xx``, and against the meshes.

The rules read the file as it is, not through the model that writes it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from precast.checks.rules import Fault, RuleTable
from precast.dataset.volume import Volume
from precast.errors import FormatError, ObjectNotFoundError
from precast.findings import Finding, Severity
from precast.precomputed.objects import INFO_KEY
from precast.precomputed.strict_json import parse_object
from precast.storage import Store

__all__ = ["check_properties", "check_properties_file"]

TYPE = "neuroglancer_segment_properties"
STRINGS = ("label", "description", "string")
NUMBERS = {
    "uint8": (0, 2**8 - 1),
    "int8": (-(2**7), 2**7 - 1),
    "uint16": (0, 2**16 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "uint32": (0, 2**32 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "float32": (-float(np.finfo(np.float32).max), float(np.finfo(np.float32).max)),
}
QUERY_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")
CANONICAL = re.compile(r"0|[1-9][0-9]{0,19}")


@dataclass(frozen=True, slots=True)
class PropertiesFile:
    """The ``info`` of segment properties, taken apart.

    Attributes
    ----------
    where
        Its key.
    problem
        Why it cannot be taken apart, if so; the rest is then empty.
    ids
        ``inline.ids``.
    properties
        ``inline.properties``, those that are objects.
    """

    where: str
    problem: str
    ids: list[Any]
    properties: list[dict[str, Any]]

    @classmethod
    def parse(cls, data: bytes, where: str) -> PropertiesFile:
        """Take a file apart, as far as it goes."""
        try:
            value = parse_object(data, where)
        except FormatError as error:
            return cls(where, error.message, [], [])
        inline = value.get("inline")
        if value.get("@type") != TYPE:
            return cls(where, f"@type must be {TYPE!r}, got {value.get('@type')!r:.60}", [], [])
        if not isinstance(inline, dict):
            return cls(where, f"inline must be an object, got {inline!r:.60}", [], [])
        ids, properties = inline.get("ids"), inline.get("properties")
        if not isinstance(ids, list):
            return cls(where, f"inline.ids must be a list, got {ids!r:.60}", [], [])
        if not isinstance(properties, list) or not all(isinstance(item, dict) for item in properties):
            return cls(where, f"inline.properties must be a list of objects, got {properties!r:.60}", [], [])
        return cls(where, "", ids, properties)

    @property
    def numbers(self) -> list[int]:
        """The ids that are canonical, as numbers, in their order."""
        return [int(item) for item in self.ids if _canonical(item)]

    def of_type(self, *types: str) -> Iterator[dict[str, Any]]:
        """Yield the properties of some types."""
        yield from (item for item in self.properties if item.get("type") in types)


def _canonical(value: Any) -> bool:
    return isinstance(value, str) and CANONICAL.fullmatch(value) is not None and int(value) < 2**64


def _values(item: dict[str, Any]) -> list[Any]:
    values = item.get("values")
    return values if isinstance(values, list) else []


def _name(item: dict[str, Any]) -> str:
    return f"the property {item.get('id')!r:.60}"


FILE: RuleTable[PropertiesFile] = RuleTable()


@FILE.add("PC400", "segment properties are strict JSON with inline ids and properties")
def file_readable(file: PropertiesFile) -> Iterator[Fault]:
    if file.problem:
        yield file.where, file.problem


@FILE.add("PC401", "ids are strings, decimal uint64 without sign or leading zeros")
def ids_canonical(file: PropertiesFile) -> Iterator[Fault]:
    wrong = [item for item in file.ids if not _canonical(item)]
    if wrong:
        yield file.where, f"{len(wrong)} ids are not canonical, for example {wrong[0]!r:.60}"


@FILE.add("PC402", "every id stands once")
def ids_unique(file: PropertiesFile) -> Iterator[Fault]:
    twice = [number for number, count in Counter(file.numbers).items() if count > 1]
    if twice:
        yield file.where, f"{len(twice)} ids stand more than once, for example {twice[0]}"


@FILE.add("PC403", "ids ascend by number")
def ids_ascending(file: PropertiesFile) -> Iterator[Fault]:
    numbers = file.numbers
    for before, after in pairwise(numbers):
        if after < before:
            yield file.where, f"the id {after} stands after {before}"
            return


@FILE.add("PC404", "every property has one value per id")
def values_length(file: PropertiesFile) -> Iterator[Fault]:
    for item in file.properties:
        values = item.get("values")
        if not isinstance(values, list):
            yield file.where, f"{_name(item)} has no list of values"
        elif len(values) != len(file.ids):
            yield file.where, f"{_name(item)} has {len(values)} values for {len(file.ids)} ids"


@FILE.add("PC405", "there is at most one label, one description and one property of tags")
def types_once(file: PropertiesFile) -> Iterator[Fault]:
    for kind in ("label", "description", "tags"):
        count = sum(1 for _ in file.of_type(kind))
        if count > 1:
            yield file.where, f"{count} properties have the type {kind}"


@FILE.add("PC406", "types of properties are those of the format, ids of properties are distinct strings")
def property_ids(file: PropertiesFile) -> Iterator[Fault]:
    allowed = (*STRINGS, "tags", "number")
    for item in file.properties:
        if item.get("type") not in allowed:
            yield file.where, f"{_name(item)} has the type {item.get('type')!r:.60}, not one of {', '.join(allowed)}"
        if not isinstance(item.get("id"), str):
            yield file.where, f"the id of a property must be a string, got {item.get('id')!r:.60}"
    names = Counter(item["id"] for item in file.properties if isinstance(item.get("id"), str))
    for name, count in names.items():
        if count > 1:
            yield file.where, f"{count} properties have the id {name!r:.60}"


@FILE.add("PC407", "the values of label, description and string properties are strings")
def string_values(file: PropertiesFile) -> Iterator[Fault]:
    for item in file.of_type(*STRINGS):
        wrong = [value for value in _values(item) if not isinstance(value, str)]
        if wrong:
            yield (
                file.where,
                f"{_name(item)} has {len(wrong)} values that are not strings, for example {wrong[0]!r:.60}",
            )


@FILE.add("PC408", "numbers are finite and fit their data_type", hint="viewers wrap numbers that do not fit")
def number_values(file: PropertiesFile) -> Iterator[Fault]:
    for item in file.of_type("number"):
        kind = item.get("data_type")
        if not isinstance(kind, str) or kind not in NUMBERS:
            yield file.where, f"{_name(item)} has the data_type {kind!r:.60}, not one of {', '.join(NUMBERS)}"
            continue
        low, high = NUMBERS[kind]
        whole = kind != "float32"
        wrong = [value for value in _values(item) if not _fits(value, low, high, whole=whole)]
        if wrong:
            yield file.where, f"{_name(item)} has {len(wrong)} values that are no {kind}, for example {wrong[0]!r:.60}"


def _fits(value: Any, low: float, high: float, *, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return low <= value <= high and (not whole or value == math.floor(value))


@FILE.add("PC409", "ids of number properties can be queried", severity=Severity.WARNING)
def number_names(file: PropertiesFile) -> Iterator[Fault]:
    for item in file.of_type("number"):
        if isinstance(item.get("id"), str) and not QUERY_NAME.fullmatch(item["id"]):
            yield file.where, f"{_name(item)} cannot be queried: letters, digits and _ can, with a letter in front"


@FILE.add("PC410", "tags are distinct whatever their case, without blanks or #; described all or none")
def tag_names(file: PropertiesFile) -> Iterator[Fault]:
    for item in file.of_type("tags"):
        tags = item.get("tags")
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            yield file.where, f"{_name(item)} has no list of tags"
            continue
        wrong = [tag for tag in tags if tag.split() != [tag] or tag.startswith("#")]
        if wrong:
            yield file.where, f"{_name(item)} has {len(wrong)} tags with blanks or #, for example {wrong[0]!r:.60}"
        twice = [tag for tag, count in Counter(tag.lower() for tag in tags).items() if count > 1]
        if twice:
            yield file.where, f"{_name(item)} has the tag {twice[0]!r:.60} more than once"
        if len(tags) > 65535:
            yield file.where, f"{_name(item)} has {len(tags)} tags; at most 65535 work"
        described = item.get("tag_descriptions")
        if described is not None and (not isinstance(described, list) or len(described) != len(tags)):
            yield file.where, f"{_name(item)} must have as many tag_descriptions as tags"


@FILE.add("PC411", "the tags of an id are ascending positions in the list of tags")
def tag_values(file: PropertiesFile) -> Iterator[Fault]:
    for item in file.of_type("tags"):
        tags = item.get("tags")
        count = len(tags) if isinstance(tags, list) else 0
        wrong = [value for value in _values(item) if not _tag_list(value, count)]
        if wrong:
            yield file.where, f"{_name(item)} has {len(wrong)} wrong lists of tags, for example {wrong[0]!r:.60}"


def _tag_list(value: Any, count: int) -> bool:
    if not isinstance(value, list) or not all(isinstance(n, int) and not isinstance(n, bool) for n in value):
        return False
    return all(0 <= n < count for n in value) and all(a < b for a, b in pairwise(value))


# ---- properties and meshes


@dataclass(frozen=True, slots=True)
class Lists:
    """Which objects have properties, and which have meshes; ascending."""

    where: str
    properties: npt.NDArray[np.uint64]
    meshes: npt.NDArray[np.uint64]


LISTS: RuleTable[Lists] = RuleTable()


@LISTS.add("PC420", "every object with properties has a mesh", hint="an object without one cannot be centred or shown")
def properties_have_meshes(lists: Lists) -> Iterator[Fault]:
    missing = np.setdiff1d(lists.properties, lists.meshes)
    if len(missing):
        yield lists.where, f"{len(missing)} objects have properties but no mesh, for example {missing[0]}"


@LISTS.add(
    "PC421",
    "every object with a mesh has properties",
    severity=Severity.WARNING,
    hint="viewers list the objects that have properties",
)
def meshes_have_properties(lists: Lists) -> Iterator[Fault]:
    missing = np.setdiff1d(lists.meshes, lists.properties)
    if len(missing):
        yield lists.where, f"{len(missing)} objects have a mesh but no properties, for example {missing[0]}"


def check_properties(volume: Volume) -> list[Finding]:
    """Return what is wrong with the segment properties of a volume, and where they and the meshes disagree.

    Raises
    ------
    ObjectNotFoundError
        If the volume's ``info`` names no segment properties.
    FormatError
        If the volume has meshes whose list of objects cannot be read: :func:`precast.checks.meshes.check_meshes`
        says why.
    """
    link = volume.info.segment_properties
    if link is None:
        raise ObjectNotFoundError(
            f"{volume.store.url} has no segment properties: its info has no key segment_properties",
            hint=f"precast properties {volume.store.url} makes them",
            where=volume.store.url,
        )
    file = _read(volume.store, link.strip("/"))
    findings = FILE.run(file)
    if volume.info.mesh is not None and not file.problem:
        ids = np.unique(np.array(file.numbers, np.uint64))
        findings += LISTS.run(Lists(file.where, ids, volume.meshes.ids()))
    return findings


def check_properties_file(store: Store, path: str) -> list[Finding]:
    """Return what is wrong with the segment properties in a directory of a store, taken on their own."""
    return FILE.run(_read(store, path))


def _read(store: Store, path: str) -> PropertiesFile:
    key = f"{path}/{INFO_KEY}"
    try:
        return PropertiesFile.parse(store.read(key), key)
    except ObjectNotFoundError:
        return PropertiesFile(key, f"the volume's info names {path!r}, but there is no {key}", [], [])
