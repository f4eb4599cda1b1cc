"""The one table of stored objects: what each kind is called and how it must be served.

Writer, server, publisher and checker all read it, so they cannot disagree about a header.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["EXPOSED_HEADERS", "KINDS_BY_NAME", "KINDS_BY_SUFFIX", "LINKS", "ObjectKind", "ObjectRule", "kind_of"]

EXPOSED_HEADERS = ("Content-Range", "Content-Length", "Content-Encoding", "Accept-Ranges", "ETag")
"""Response headers that a viewer on another origin must be able to read."""

ALLOWED_METHODS = ("GET", "HEAD", "OPTIONS")
ALLOWED_HEADERS = ("Range",)
"""Methods and request headers that a viewer on another origin may use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRule:
    """How one kind of object is stored and served.

    Attributes
    ----------
    what
        What it is, in words. Also keeps kinds with the same rule apart: members of an ``Enum`` with equal values would
        be one.
    content_type
        Value of ``Content-Type``.
    whole
        Always read as a whole, so that ``Content-Encoding: gzip`` is allowed. Everything else is read
        by byte ranges and must be stored and sent as it is.
    immutable
        Never rewritten in place once its dataset is complete.
    """

    what: str
    content_type: str
    whole: bool
    immutable: bool

    def cache_control(self, *, generation: bool = False) -> str:
        """Return the value of ``Cache-Control``.

        Parameters
        ----------
        generation
            Whether the object lies under a path that another generation of the dataset will not have.
        """
        if not self.immutable:
            return "no-cache"
        return "public, max-age=31536000, immutable" if generation else "public, max-age=3600"


JSON = "application/json"
BINARY = "application/octet-stream"


class ObjectKind(Enum):
    """Kinds of objects in a dataset."""

    INFO = ObjectRule(what="volume info", content_type=JSON, whole=True, immutable=False)
    PROVENANCE = ObjectRule(what="provenance", content_type=JSON, whole=True, immutable=False)
    CHUNK = ObjectRule(what="chunk", content_type=BINARY, whole=True, immutable=True)
    SHARD = ObjectRule(what="shard", content_type=BINARY, whole=False, immutable=True)
    LABEL_TABLE = ObjectRule(what="label table", content_type=BINARY, whole=False, immutable=True)
    MESH_INFO = ObjectRule(what="mesh info", content_type=JSON, whole=True, immutable=False)
    MESH_MANIFEST = ObjectRule(
        what="manifest of a multi-resolution mesh", content_type=BINARY, whole=True, immutable=True
    )
    MESH_FRAGMENTS = ObjectRule(
        what="fragments of a multi-resolution mesh", content_type=BINARY, whole=False, immutable=True
    )
    LEGACY_MANIFEST = ObjectRule(
        what="manifest of a single-resolution mesh", content_type=JSON, whole=True, immutable=True
    )
    LEGACY_FRAGMENT = ObjectRule(
        what="fragment of a single-resolution mesh", content_type=BINARY, whole=True, immutable=True
    )
    SEGMENT_PROPERTIES = ObjectRule(what="segment properties", content_type=JSON, whole=True, immutable=False)
    COLLECTION = ObjectRule(what="list of datasets", content_type=JSON, whole=True, immutable=False)
    OTHER = ObjectRule(what="chunk, fragment, skeleton or annotations", content_type=BINARY, whole=True, immutable=True)

    @property
    def rule(self) -> ObjectRule:
        """The rule of this kind."""
        return self.value


INFO_KEY = "info"
PROVENANCE_KEY = "provenance"
LABEL_TABLE_KEY = "label_table.npy"
SEGMENT_PROPERTIES_DIRECTORY = "segment_properties"
COLLECTION_KEY = "precast.json"

LINKS = ("mesh", "skeletons", "segment_properties")
"""Keys of the info of a volume that name its parts."""

KINDS_BY_NAME = {
    INFO_KEY: ObjectKind.INFO,
    PROVENANCE_KEY: ObjectKind.PROVENANCE,
    LABEL_TABLE_KEY: ObjectKind.LABEL_TABLE,
    COLLECTION_KEY: ObjectKind.COLLECTION,
}
"""Kinds that a name tells, whatever directory it is in."""

KINDS_BY_SUFFIX = {
    ".shard": ObjectKind.SHARD,
    ".index": ObjectKind.MESH_MANIFEST,
    ":0": ObjectKind.LEGACY_MANIFEST,
}
"""Kinds that the end of a name tells."""


def kind_of(key: str) -> ObjectKind:
    """Return the kind of a stored object as far as its name tells it.

    What is called by numbers alone, or as its writer liked, may be one of several kinds; they are served alike, but for
    the fragments of multi-resolution meshes, which the ``info`` beside them tells.
    """
    name = key.rpartition("/")[2]
    if name in KINDS_BY_NAME:
        return KINDS_BY_NAME[name]
    return next((kind for suffix, kind in KINDS_BY_SUFFIX.items() if name.endswith(suffix)), ObjectKind.OTHER)
