"""The directories of a dataset: which of them an info names, where in it, and what is in each.

One walk for everybody who has to know. What is wrong is for the caller to judge: what is published must be whole, what
is repaired or removed may be in any state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from precast.precomputed.objects import INFO_KEY, LINKS
from precast.precomputed.paths import normal_path

__all__ = [
    "ANNOTATIONS",
    "MULTIRES",
    "PART_TYPES",
    "Place",
    "Reference",
    "Walk",
    "annotation_indexes",
    "info_key",
    "properties_link",
    "references",
    "walk",
]

MULTIRES = "neuroglancer_multilod_draco"
ANNOTATIONS = "neuroglancer_annotations_v1"
PROPERTIES = "segment_properties"

PART_TYPES = {
    MULTIRES: "mesh",
    "neuroglancer_legacy_mesh": "mesh",
    "neuroglancer_skeletons": "skeletons",
    "neuroglancer_segment_properties": "segment_properties",
    ANNOTATIONS: "annotations",
}
"""What the ``@type`` of an info says that its directory is."""

Place = tuple[str | int, ...]
"""The way to a value in a JSON file."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A directory that an info names.

    Attributes
    ----------
    part
        The directory of that info; empty for the one at the top.
    place
        Where in it.
    path
        What stands there, which may be anything.
    kind
        What should be in the directory: ``scale``, ``mesh``, ``skeletons``, ``segment_properties``, ``annotations``.
    """

    part: str
    place: Place
    path: Any
    kind: str

    @property
    def target(self) -> str:
        """The directory in the dataset in its plain form; empty if it is none inside it."""
        if not isinstance(self.path, str) or "://" in self.path:
            return ""
        path = normal_path(f"{self.part}/{self.path}")
        return "" if path.startswith(".") else path


@dataclass(frozen=True, slots=True)
class Walk:
    """What a dataset consists of.

    Attributes
    ----------
    kinds
        The directories, and what is in each; the dataset itself, as an empty path, with its ``@type`` if its info names
        none.
    references
        Those of the info at the top.
    links
        Those of the infos of parts.
    infos
        The infos of parts, by their directories.
    """

    kinds: Mapping[str, str]
    references: tuple[Reference, ...]
    links: tuple[Reference, ...]
    infos: Mapping[str, Mapping[str, Any]]

    @property
    def multires(self) -> frozenset[str]:
        """The directories with multi-resolution meshes."""
        return frozenset(path for path, value in self.infos.items() if value.get("@type") == MULTIRES)


def info_key(path: str) -> str:
    """Return the key of the info of a directory."""
    return f"{path}/{INFO_KEY}" if path else INFO_KEY


def annotation_indexes(value: Mapping[str, Any]) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    """Yield the indexes of annotations by their places in the info; what is no index is not looked at."""
    if isinstance(value.get("by_id"), dict):
        yield ("by_id",), value["by_id"]
    for key in ("relationships", "spatial"):
        for number, entry in enumerate(_list(value, key)):
            if isinstance(entry, dict):
                yield (key, number), entry


def references(value: Mapping[str, Any]) -> Iterator[Reference]:
    """Yield the directories that the info of a volume or of annotations names."""
    if value.get("@type") == ANNOTATIONS:
        for place, entry in annotation_indexes(value):
            yield Reference("", (*place, "key"), entry.get("key"), "annotations")
    elif "scales" in value:
        for number, entry in enumerate(_list(value, "scales")):
            path = entry.get("key") if isinstance(entry, dict) else None
            yield Reference("", ("scales", number, "key"), path, "scale")
        for key in LINKS:
            if value.get(key) is not None:
                yield Reference("", (key,), value[key], key)


def properties_link(part: str, value: Mapping[str, Any]) -> Iterator[Reference]:
    """Yield the segment properties that the info of a part names, if it does."""
    if isinstance(value.get(PROPERTIES), str):
        yield Reference(part, (PROPERTIES,), value[PROPERTIES], PROPERTIES)


def walk(
    value: Mapping[str, Any],
    read: Callable[[str], Mapping[str, Any] | None],
    refuse: Callable[[Reference], None] | None = None,
) -> Walk:
    """Find the directories of a dataset, those too that only the infos of its parts name.

    Parameters
    ----------
    value
        The info at the top.
    read
        Gives the info with a key; None if there is none.
    refuse
        Called with what names no directory inside the dataset, to raise an error; without it that is passed over.
    """
    kinds: dict[str, str] = {}
    found = tuple(_accepted(references(value), refuse))
    for reference in found:
        kinds.setdefault(reference.target, reference.kind)
    infos: dict[str, Mapping[str, Any]] = {}
    if not found and value:
        kinds[""] = str(value.get("@type"))
        infos[""] = value
    links: list[Reference] = []
    queue = [path for path, kind in kinds.items() if path and kind not in ("scale", "annotations")]
    while queue:
        path = queue.pop()
        part = read(info_key(path))
        if part is None:
            continue
        infos[path] = part
        if kinds[path] == PROPERTIES:  # which have none themselves
            continue
        for link in _accepted(properties_link(path, part), refuse):
            links.append(link)
            if link.target not in kinds:
                kinds[link.target] = link.kind
                queue.append(link.target)
    return Walk(kinds, found, tuple(links), infos)


def _accepted(found: Iterator[Reference], refuse: Callable[[Reference], None] | None) -> Iterator[Reference]:
    for reference in found:
        if reference.target:
            yield reference
        elif refuse is not None:
            refuse(reference)


def _list(value: Mapping[str, Any], key: str) -> list[Any]:
    entries = value.get(key)
    return entries if isinstance(entries, list) else []
