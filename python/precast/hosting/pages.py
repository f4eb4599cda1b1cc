"""Pages beside the data: what handlers are given and return, and the list of datasets at the root."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from precast import __version__

__all__ = [
    "CONTENT_TYPES",
    "CutError",
    "Handler",
    "Listed",
    "Request",
    "Response",
    "listing",
    "method_not_allowed",
    "words",
]

PHRASES = {
    404: "Not Found",
    405: "Method Not Allowed",
    412: "Precondition Failed",
    416: "Range Not Satisfiable",
    502: "Bad Gateway",
    503: "Service Unavailable",
}

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}
"""Content types of the files of a page, by the end of their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a handler is asked.

    Attributes
    ----------
    method
        ``GET``, ``HEAD``, ``POST`` …; ``OPTIONS`` is answered before.
    path
        Decoded, relative to where the handler is mounted: for ``v/abc`` a request for ``/v/abc/x/y`` has ``x/y``.
    query
        As it was sent, without ``?``.
    headers
        Names in lower case; the values of several of one name are joined by commas.
    body
        At most 16 MiB.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What a handler answers.

    Attributes
    ----------
    body
        Bytes, or an iterator of pieces that are sent as they come (a stream of events). An iterator should yield, if
        only an empty piece, every few seconds: that is when it is noticed that the client went away.
    status
        HTTP status.
    content_type
        Value of ``Content-Type``; none is sent if it is empty.
    headers
        Others. Those about access from pages of other origins are added to all answers.
    """

    body: bytes | Iterator[bytes] = b""
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Response]
"""Answers requests, several at a time, each on a thread of its own."""


class CutError(Exception):
    """Raised by the body of a response that cannot go on and has told why: the client is cut off, to see it."""


def words(status: int, text: str, **headers: str) -> Response:
    """Return an answer that says in words what is wrong, as the native server does; no cache keeps it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = f"{PHRASES[status]}: {text}\n".encode()
    return Response(body=body, status=status, headers={"Cache-Control": "no-store", **named})


def method_not_allowed() -> Response:
    """Return the answer to whoever wants to do something else than to read an object."""
    return words(405, "objects can only be read", Allow="GET, HEAD, OPTIONS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A dataset as it is listed.

    Attributes
    ----------
    name, url
        Its name and address here.
    ready
        Whether its ``info`` is there.
    source
        The address of the bucket that it is read from; empty if it is on this machine.
    """

    name: str
    url: str
    ready: bool
    source: str = ""


def listing(datasets: Sequence[Listed], *, as_html: bool) -> Response:
    """Return the list of datasets, for people or for programs."""
    headers = {"Cache-Control": "no-cache", "Vary": "Accept"}
    if not as_html:
        value = {
            "precast": __version__,
            "datasets": [
                {"name": one.name, "url": one.url, "ready": one.ready} | ({"source": one.source} if one.source else {})
                for one in datasets
            ],
        }
        text = json.dumps(value, indent=1, ensure_ascii=False)
        return Response(body=text.encode(), content_type="application/json", headers=headers)
    rows = "".join(
        f"<tr><td>{html.escape(one.name)}</td><td><code>{html.escape(one.url)}</code></td>"
        f"<td>{html.escape(one.source)}</td><td>{'' if one.ready else 'not complete yet'}</td></tr>\n"
        for one in datasets
    )
    text = (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>precast</title>\n'
        "<style>body{font:16px/1.5 system-ui,sans-serif;margin:3em}td{padding:.2em 1.5em .2em 0}</style>\n"
        "<h1>Datasets</h1>\n<p>Addresses of precomputed datasets, to be pasted into Neuroglancer as sources.</p>\n"
        f"<table>\n{rows}</table>\n<p>precast {html.escape(__version__)}</p></html>\n"
    )
    return Response(body=text.encode(), content_type="text/html; charset=utf-8", headers=headers)
