"""The one table of stored objects: what each kind is called and how it must be served.

Writer, server, publisher and checker all read it, so they cannot disagree about a header.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["EXPOSED_HEADERS", "ObjectKind", "ObjectRule"]

EXPOSED_HEADERS = ("Content-Range", "Content-Length", "Content-Encoding", "Accept-Ranges", "ETag")
"""Response headers that a viewer on another origin must be able to read."""

ALLOWED_METHODS = ("GET", "HEAD", "OPTIONS")
ALLOWED_HEADERS = ("Range",)
"""Methods and request headers that a viewer on another origin may use."""

CACHE_REWRITTEN = "no-cache"
CACHE_DATA = "public, max-age=3600"
"""Values of ``Cache-Control``: of what is rewritten in place, and of what is replaced only with its whole dataset."""


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
    names
        Regular expression of the last part of its key, where that part alone tells the kind; else empty.
    """

    what: str
    content_type: str
    whole: bool
    immutable: bool
    names: str = ""

    @property
    def cache_control(self) -> str:
        """Value of ``Cache-Control`` at an address under which a dataset may be replaced by another."""
        return CACHE_DATA if self.immutable else CACHE_REWRITTEN


JSON = "application/json"
BINARY = "application/octet-stream"


class ObjectKind(Enum):
    """Kinds of objects in a dataset."""

    INFO = ObjectRule(what="volume info", content_type=JSON, whole=True, immutable=False, names="info")
    PROVENANCE = ObjectRule(what="provenance", content_type=JSON, whole=True, immutable=False, names="provenance")
    CHUNK = ObjectRule(
        what="chunk",
        content_type=BINARY,
        whole=True,
        immutable=True,
        names=r"-?[0-9]+--?[0-9]+_-?[0-9]+--?[0-9]+_-?[0-9]+--?[0-9]+",
    )
    SHARD = ObjectRule(what="shard", content_type=BINARY, whole=False, immutable=True, names=r"[0-9a-f]+\.shard")
    LABEL_TABLE = ObjectRule(
        what="label table", content_type=BINARY, whole=False, immutable=True, names=r"label_table\.npy"
    )
    MESH_INFO = ObjectRule(what="mesh info", content_type=JSON, whole=True, immutable=False, names="info")
    MESH_MANIFEST = ObjectRule(
        what="manifest of a multi-resolution mesh",
        content_type=BINARY,
        whole=True,
        immutable=True,
        names=r"[0-9]+\.index",
    )
    MESH_FRAGMENTS = ObjectRule(
        what="fragments of a multi-resolution mesh", content_type=BINARY, whole=False, immutable=True
    )
    LEGACY_MANIFEST = ObjectRule(
        what="manifest of a single-resolution mesh",
        content_type=JSON,
        whole=True,
        immutable=True,
        names=r"[0-9]+:[0-9]+",
    )
    LEGACY_FRAGMENT = ObjectRule(
        what="fragment of a single-resolution mesh", content_type=BINARY, whole=True, immutable=True
    )
    COLLECTION = ObjectRule(
        what="list of the datasets of a collection",
        content_type=JSON,
        whole=True,
        immutable=False,
        names=r"precast\.json",
    )
    SEGMENT_PROPERTIES = ObjectRule(
        what="segment properties", content_type=JSON, whole=True, immutable=False, names="info"
    )

    @property
    def rule(self) -> ObjectRule:
        """The rule of this kind."""
        return self.value


INFO_KEY = "info"
PROVENANCE_KEY = "provenance"
LABEL_TABLE_KEY = "label_table.npy"
SEGMENT_PROPERTIES_DIRECTORY = "segment_properties"
