"""What of a place belongs to a dataset there, by what its info names; of datasets by any program, damaged ones too.

Unlike the source of a publication, which must be whole, a dataset that is removed or repaired may be in any state:
what cannot be understood names nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from precast.checks.files import TEMPORARY, Belongs, in_annotations, in_meshes, in_properties, in_scale, in_skeletons
from precast.errors import FormatError, ObjectNotFoundError, StorageError
from precast.precomputed.objects import INFO_KEY, LINKS, ObjectKind, kind_of
from precast.precomputed.paths import normal_path
from precast.precomputed.strict_json import parse_object
from precast.storage import Store
from precast.storage.below import Below
from precast.storage.encodings import SUFFIXES, unpack
from precast.workflows.publish.source import ANNOTATIONS, INFO_KINDS, MULTIRES, TOP

__all__ = ["GZIP_MAGIC", "Named", "forgiving", "read_named"]

GZIP_MAGIC = b"\x1f\x8b\x08"

Read = Callable[[str], bytes | None]
"""Gives an object as readers are meant to get it; None if it is not there."""

ALONE: dict[str, Belongs] = {
    MULTIRES: in_meshes,
    "neuroglancer_legacy_mesh": in_meshes,
    "neuroglancer_skeletons": in_skeletons,
    "neuroglancer_segment_properties": in_properties,
    ANNOTATIONS: in_annotations,
}
"""What belongs to a part that is a dataset of its own, with its info at the top, by its ``@type``."""


@dataclass(frozen=True, slots=True)
class Named:
    """The directories that an info names.

    Attributes
    ----------
    kinds
        What is in each: ``scale``, ``mesh``, ``annotations``, …; of what lies at the top itself its ``@type``.
    multires
        Those with multi-resolution meshes.
    """

    kinds: Mapping[str, str] = field(default_factory=dict)
    multires: frozenset[str] = frozenset()

    def kind(self, key: str) -> ObjectKind | None:
        """Return what an object is, by its key without the suffix of an encoding; None if it belongs to nothing."""
        if key in TOP:
            return kind_of(key)
        inside = [path for path in self.kinds if not path or key.startswith(f"{path}/")]
        if not inside:
            return None
        path = max(inside, key=len)
        part, name = self.kinds[path], key.removeprefix(f"{path}/")
        alone = not path and not ALONE.get(part, _nothing)(name)
        if alone or TEMPORARY.search(name) or (part == "scale" and not in_scale(name)):
            return None
        kind = kind_of(key)
        if kind is ObjectKind.OTHER and part == "scale":
            kind = ObjectKind.CHUNK
        elif kind is ObjectKind.OTHER and path in self.multires:
            kind = ObjectKind.MESH_FRAGMENTS
        return INFO_KINDS.get(part, kind) if kind is ObjectKind.INFO else kind


def _nothing(_: str) -> bool:
    return False


def read_named(read: Read) -> Named:
    """Read the info at the top, and those of the parts that it names."""
    value = _value(read, INFO_KEY)
    kinds = _references(value)
    if not kinds and value:
        kinds = {"": str(value.get("@type"))}
    multires = {""} if kinds.get("") == MULTIRES else set()
    queue = [path for path, kind in kinds.items() if path and kind != "scale"]
    while queue:
        path = queue.pop()
        part = _value(read, f"{path}/{INFO_KEY}")
        if part.get("@type") == MULTIRES:
            multires.add(path)
        target = _inside(f"{path}/{part['segment_properties']}") if _is_text(part, "segment_properties") else ""
        if target and target not in kinds:
            kinds[target] = "segment_properties"
            queue.append(target)
    return Named(kinds, frozenset(multires))


def forgiving(store: Store | Below) -> Read:
    """Return a reader that finds objects under names such as ``X.gz`` too, and unpacks what is not labelled."""

    def read(key: str) -> bytes | None:
        for encoding, suffix in {"": "", **SUFFIXES}.items():
            data = _stored(store, f"{key}{suffix}")
            if data is None:
                continue
            if encoding == "br":
                return unpack(data, encoding)
            return unpack(data, "gzip") if data.startswith(GZIP_MAGIC) else data
        return None

    return read


def _stored(store: Store | Below, key: str) -> bytes | None:
    try:
        return store.read(key)
    except ObjectNotFoundError:
        return None
    except StorageError:
        # a header that is wrong; what is stored is looked at as it is
        return store.read_stored(key).data


def _value(read: Read, key: str) -> Mapping[str, Any]:
    data = read(key)
    if data is None:
        return {}
    try:
        return parse_object(data, key)
    except FormatError:
        return {}


def _is_text(value: Mapping[str, Any], key: str) -> bool:
    return isinstance(value.get(key), str)


def _inside(path: str) -> str:
    """Return a path in its plain form; nothing if it leads elsewhere than below the dataset."""
    normal = "" if "://" in path else normal_path(path)
    return "" if normal.startswith((".", "/")) else normal


def _references(value: Mapping[str, Any]) -> dict[str, str]:
    found: list[tuple[Any, str]] = []
    if value.get("@type") == ANNOTATIONS:
        entries = [value.get("by_id"), *_list(value, "relationships"), *_list(value, "spatial")]
        found += [(entry.get("key"), "annotations") for entry in entries if isinstance(entry, dict)]
    elif "scales" in value:
        found += [(entry.get("key"), "scale") for entry in _list(value, "scales") if isinstance(entry, dict)]
        found += [(value.get(name), name) for name in LINKS]
    kinds: dict[str, str] = {}
    for path, kind in found:
        inside = _inside(path) if isinstance(path, str) else ""
        if inside:
            kinds.setdefault(inside, kind)
    return kinds


def _list(value: Mapping[str, Any], key: str) -> list[Any]:
    entries = value.get(key)
    return entries if isinstance(entries, list) else []
