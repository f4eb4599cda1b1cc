"""From what a user types to a store: a directory, or the address of one."""

from __future__ import annotations

import os
import re
import urllib.parse
from pathlib import Path

from precast.errors import UsageError
from precast.storage.base import Store
from precast.storage.http import HttpStore
from precast.storage.local import LocalStore

__all__ = ["child_store", "is_url", "open_store", "plain_url"]

FORMAT_PREFIX = "precomputed://"
FORMAT_SUFFIX = "neuroglancer-precomputed:"


def is_url(place: object) -> bool:
    """Whether a place is an address rather than a path."""
    return isinstance(place, str) and re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", place) is not None


def plain_url(url: str) -> str:
    """Return the address of a dataset without the parts by which viewers tell its format.

    Raises
    ------
    UsageError
        If it names another format, or data inside an archive.

    Examples
    --------
    >>> plain_url("https://host/em/|neuroglancer-precomputed:")
    'https://host/em/'
    >>> plain_url("precomputed://gs://bucket/em")
    'gs://bucket/em'
    """
    plain = url.removeprefix(FORMAT_PREFIX).rstrip("|")
    base, _, rest = plain.partition("|")
    if rest not in ("", FORMAT_SUFFIX):
        raise UsageError(f"{url!r} is not a precomputed dataset in a directory of its own", where=url)
    return base


def _readable(url: str) -> str:
    """Return the http address of an object store's public data."""
    parts = urllib.parse.urlsplit(url)
    bucket, path = parts.netloc, parts.path
    if parts.scheme in ("http", "https"):
        return url
    if not bucket or parts.query or parts.fragment:
        raise UsageError(f"not the address of a dataset: {url!r}", where=url)
    if parts.scheme == "gs":
        return f"https://storage.googleapis.com/{bucket}{path}"
    if parts.scheme == "s3":
        # a dot in the name does not fit the certificate of the other form
        host = f"s3.amazonaws.com/{bucket}" if "." in bucket else f"{bucket}.s3.amazonaws.com"
        return f"https://{host}{path}"
    raise UsageError(f"precast reads http, https, gs and s3 addresses, not {url!r}", where=url)


def open_store(place: str | os.PathLike[str] | Store) -> Store:
    """Return the store at a place.

    Parameters
    ----------
    place
        A directory; an address (``http``, ``https``; ``gs`` and ``s3`` of public buckets), also in the forms in which
        viewers write it; or a store, which is returned.

    Raises
    ------
    UsageError
        If it is an address that precast cannot read.
    """
    if isinstance(place, str) and is_url(place):
        return HttpStore(_readable(plain_url(place)))
    return LocalStore(place) if isinstance(place, str | os.PathLike) else place


def child_store(store: Store, name: str) -> Store:
    """Return a directory below a store, of the same sort, as a store of its own.

    Raises
    ------
    UsageError
        If stores of this sort have no directories.
    """
    if isinstance(store, HttpStore):
        return store.child(name)
    if isinstance(store, LocalStore):
        return LocalStore(Path(store.root) / name)
    raise UsageError(f"{store.url} has no directories", where=store.url)
