"""Addresses: of data as viewers name them, and of viewers with a state in them."""

from __future__ import annotations

import json
import urllib.parse
from typing import Any

from precast.errors import UsageError
from precast.storage import CloudStore, Store
from precast.storage.opening import plain_url

__all__ = ["PUBLIC_VIEWER", "address_of", "blocked_as_insecure", "encode_state", "join_url", "source_url", "viewer_url"]

PUBLIC_VIEWER = "https://neuroglancer-demo.appspot.com/"
"""The deployment that Neuroglancer's own documentation points to."""

KEPT = "/?:@&=+$-_.~#"
"""Characters that Neuroglancer leaves as they are in a fragment, besides letters and digits."""

SECURE_ANYWAY = ("127.0.0.1", "localhost", "::1")
"""Hosts that a page on https may read by plain http."""


def source_url(url: str) -> str:
    """Return the address of a dataset in the form that viewers take as a source.

    Examples
    --------
    >>> source_url("https://host/em")
    'https://host/em/|neuroglancer-precomputed:'
    >>> source_url("https://host/em/?token=1")
    'https://host/em/?token=1|neuroglancer-precomputed:'
    """
    base, mark, query = url.partition("?")
    if "|" in url or "#" in url:
        raise UsageError(f"not the address of a directory: {url!r}", where=url)
    return f"{base.rstrip('/')}/{mark}{query}|neuroglancer-precomputed:"


def address_of(place: str, store: Store) -> str:
    """Return the address by which a viewer reads what is at an address and was opened as a store."""
    return store.viewer_url() if isinstance(store, CloudStore) else plain_url(place)


def join_url(url: str, *names: str) -> str:
    """Return the address of a directory below another; names may hold any character.

    Examples
    --------
    >>> join_url("https://host/data?token=1", "my cells")
    'https://host/data/my%20cells?token=1'
    """
    base, mark, query = url.partition("?")
    parts = [urllib.parse.quote(name, safe="/:!$&'()*+,;=-._~") for name in names if name]
    return "/".join([base.rstrip("/"), *parts]) + mark + query


def encode_state(state: dict[str, Any]) -> str:
    """Return a state as it stands behind ``#!`` in the address of a viewer: exactly as the viewer itself writes it.

    Examples
    --------
    >>> encode_state({"a": "x|y:#'(é)", "b": [1, 2]})
    '%7B%22a%22:%22x%7Cy:#%27%28%C3%A9%29%22%2C%22b%22:%5B1%2C2%5D%7D'
    """
    text = json.dumps(state, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return urllib.parse.quote(text, safe=KEPT)


def viewer_url(viewer: str, fragment: str) -> str:
    """Return the address of a viewer that shows a state: an encoded one, or the address of a file with one.

    Raises
    ------
    UsageError
        If ``viewer`` is not an http or https address.
    """
    parts = urllib.parse.urlsplit(viewer)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"--viewer must be the address of a viewer, got {viewer!r}", hint=f"such as {PUBLIC_VIEWER}")
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc, parts.path or "/", parts.query, "")) + f"#!{fragment}"


def blocked_as_insecure(viewer: str, data: str) -> bool:
    """Whether browsers keep a viewer from reading data because it is on https and they are not."""
    page, target = urllib.parse.urlsplit(viewer), urllib.parse.urlsplit(data)
    return page.scheme == "https" and target.scheme == "http" and target.hostname not in SECURE_ANYWAY
