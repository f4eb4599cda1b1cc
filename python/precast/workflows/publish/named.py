"""What of a place belongs to a dataset there, by what its info names; of datasets by any program, damaged ones too.

Unlike the source of a publication, which must be whole (``whole.py``), a dataset that is removed or repaired may be in
any state: what cannot be understood names nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from precast.checks.files import TEMPORARY, Belongs, in_annotations, in_meshes, in_properties, in_scale, in_skeletons
from precast.errors import FormatError, ObjectNotFoundError, StorageError
from precast.precomputed.objects import INFO_KEY, ObjectKind, kind_of
from precast.precomputed.parts import ANNOTATIONS, MULTIRES, walk
from precast.precomputed.strict_json import parse_object
from precast.storage import Store
from precast.storage.below import Below
from precast.storage.encodings import SUFFIXES, unpack
from precast.workflows.publish.contents import TOP

__all__ = ["GZIP_MAGIC", "Named", "forgiving", "read_named"]

INFO_KINDS = {"mesh": ObjectKind.MESH_INFO, "segment_properties": ObjectKind.SEGMENT_PROPERTIES}
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

    def directory(self, key: str) -> str | None:
        """Return the innermost of the directories that an object is in; None if it is in none."""
        inside = (path for path in self.kinds if not path or key.startswith(f"{path}/"))
        return max(inside, key=len, default=None)

    def kind(self, key: str) -> ObjectKind | None:
        """Return what an object is, by its key without the suffix of an encoding; None if it belongs to nothing."""
        if key in TOP:
            return kind_of(key)
        path = self.directory(key)
        if path is None:
            return None
        part, name = self.kinds[path], key.removeprefix(f"{path}/")
        if TEMPORARY.search(name) or (part == "scale" and not in_scale(name)):
            return None
        kind = kind_of(key)
        if kind is ObjectKind.INFO:
            kind = INFO_KINDS.get(part, kind)
        elif kind is ObjectKind.OTHER and part == "scale":
            kind = ObjectKind.CHUNK
        elif kind is ObjectKind.OTHER and path in self.multires and name.isdecimal():  # not an index beside them
            kind = ObjectKind.MESH_FRAGMENTS
        return kind

    def sure_kind(self, key: str) -> ObjectKind | None:
        """Return what an object is; None too if it is beside a part that is a dataset of its own, and has another name.

        Beside such a part may be anything, which is not to be changed or removed.
        """
        alone = key not in TOP and self.directory(key) == ""
        return None if alone and not ALONE.get(self.kinds[""], _nothing)(key) else self.kind(key)


def _nothing(_: str) -> bool:
    return False


def read_named(read: Read) -> Named:
    """Read the info at the top, and those of the parts that it names."""
    found = walk(_value(read, INFO_KEY) or {}, lambda key: _value(read, key))
    return Named(found.kinds, found.multires)


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


def _value(read: Read, key: str) -> Mapping[str, Any] | None:
    data = read(key)
    if data is None:
        return None
    try:
        return parse_object(data, key)
    except FormatError:
        return None
