"""From the kind of an object to how it is stored: the one place where the table meets a store."""

from __future__ import annotations

from precast import kernels
from precast.errors import ObjectNotFoundError, UsageError
from precast.precomputed.objects import ObjectKind
from precast.storage import Attributes, Store

__all__ = ["attributes", "rewrite"]

GZIP_LEVEL = 6


def attributes(kind: ObjectKind, *, encoding: str = "", generation: bool = False) -> Attributes:
    """Return how an object of ``kind`` is stored.

    Parameters
    ----------
    kind
        What it is.
    encoding
        Content encoding of its bytes.
    generation
        Whether it lies under a path that another generation of the dataset will not have.

    Raises
    ------
    UsageError
        If it would be encoded although it is read by ranges.
    """
    if encoding and not kind.rule.whole:
        raise UsageError(f"objects of the kind {kind.rule.what!r} are read by ranges and must not be stored {encoding}")
    return Attributes(
        content_type=kind.rule.content_type,
        encoding=encoding,
        cache_control=kind.rule.cache_control(generation=generation),
    )


def rewrite(store: Store, key: str, data: bytes, kind: ObjectKind) -> None:
    """Write an object gzipped if it is there so already, else as it is."""
    try:
        encoding = store.stat(key).encoding
    except ObjectNotFoundError:
        encoding = ""
    if encoding == "gzip":
        data = kernels.gzip_compress(data, GZIP_LEVEL)
    store.write(key, data, attributes(kind, encoding="gzip" if encoding == "gzip" else ""))
