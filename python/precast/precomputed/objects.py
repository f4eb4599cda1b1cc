"""The one table of stored objects: what each kind is called and how it must be served.

Writer, server, publisher and checker all read it, so they cannot disagree about a header.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["EXPOSED_HEADERS", "ObjectKind", "ObjectRule"]

EXPOSED_HEADERS = ("Content-Range", "Content-Length", "Content-Encoding", "Accept-Ranges", "ETag")
"""Response headers that a viewer on another origin must be able to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRule:
    """How one kind of object is stored and served.

    Attributes
    ----------
    content_type
        Value of ``Content-Type``.
    whole
        Always read as a whole, so that ``Content-Encoding: gzip`` is allowed. Everything else is read
        by byte ranges and must be stored and sent as it is.
    immutable
        Never rewritten in place once its dataset is complete.
    """

    content_type: str
    whole: bool
    immutable: bool


class ObjectKind(Enum):
    """Kinds of objects in a dataset."""

    INFO = ObjectRule(content_type="application/json", whole=True, immutable=False)
    PROVENANCE = ObjectRule(content_type="application/json", whole=True, immutable=False)
    CHUNK = ObjectRule(content_type="application/octet-stream", whole=True, immutable=True)
    SHARD = ObjectRule(content_type="application/octet-stream", whole=False, immutable=True)
    LABEL_TABLE = ObjectRule(content_type="application/octet-stream", whole=False, immutable=True)
    SEGMENT_PROPERTIES = ObjectRule(content_type="application/json", whole=True, immutable=False)

    @property
    def rule(self) -> ObjectRule:
        """The rule of this kind."""
        return self.value


INFO_KEY = "info"
PROVENANCE_KEY = "provenance"
LABEL_TABLE_KEY = "label_table.npy"
SEGMENT_PROPERTIES_DIRECTORY = "segment_properties"
