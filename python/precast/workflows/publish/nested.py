"""Whether a source and a destination are one place, or one inside the other, as far as addresses tell."""

from __future__ import annotations

import re
import urllib.parse

from precast.errors import UsageError
from precast.storage import CloudStore, HttpStore, LocalStore, Store
from precast.storage.below import Below

__all__ = ["refuse_nested"]

WEB_BUCKETS = (
    (r"s3[.-](?:[a-z0-9-]+\.)?amazonaws\.com/([^/]+)(.*)", "s3"),
    (r"([^/]+)\.s3[.-](?:[a-z0-9-]+\.)?amazonaws\.com()(.*)", "s3"),
    (r"storage\.googleapis\.com/([^/]+)(.*)", "gs"),
    (r"([^/]+)\.storage\.googleapis\.com()(.*)", "gs"),
)
"""Web addresses of buckets: the bucket, and the path in it."""


def refuse_nested(source: Store, destination: Store) -> None:
    """See that no object can be read and written at once.

    Raises
    ------
    UsageError
        If one place is the other, or inside it.
    """
    one, other = _parts(source), _parts(destination)
    short = min(len(one), len(other))
    if one[:short] == other[:short]:
        raise UsageError(f"{destination.url} and {source.url} are in one another", hint="publish to a place beside it")


def _parts(store: Store) -> tuple[str, ...]:
    """Return where a store is: what it is on, then its path step by step."""
    if isinstance(store, Below):
        return (*_parts(store.store), *_steps(store.directory))
    if isinstance(store, LocalStore):
        return ("file", *store.root.resolve().parts)
    if isinstance(store, CloudStore):
        scheme, _, rest = store.url.partition("://")
        return ("bucket", store.endpoint or scheme, *_steps(rest))
    if isinstance(store, HttpStore):
        return _web(store.url)
    return ("memory", str(id(store)))


def _web(url: str) -> tuple[str, ...]:
    parts = urllib.parse.urlsplit(url)
    path = urllib.parse.unquote(parts.path)
    for pattern, scheme in WEB_BUCKETS:
        match = re.fullmatch(pattern, f"{parts.netloc.lower()}{path}")
        if match:
            return ("bucket", scheme, match[1], *_steps(match[match.lastindex or 1]))
    return ("bucket", f"{parts.scheme}://{parts.netloc}", *_steps(path))


def _steps(path: str) -> tuple[str, ...]:
    return tuple(step for step in path.split("/") if step)
