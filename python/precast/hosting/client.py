"""Neuroglancer's own client, from its Python package, on the port of the data.

The client that comes with the package is built for Python programs: its address must hold ``v/TOKEN/``, it listens to a
stream of events at ``events/TOKEN``, and where it has no state in its address it tells its state at ``state/TOKEN``.
What it shows comes from the address, as in any other Neuroglancer.
"""

from __future__ import annotations

import importlib.util
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

from precast.errors import MissingExtraError, StorageError
from precast.hosting.pages import CONTENT_TYPES, Request, Response
from precast.hosting.server import DataServer
from precast.storage.base import translate_os_error

__all__ = ["CLIENT_PATH", "Client", "find_client"]

TOKEN = "view"
"""The client needs one; there is one client at each server, so it says nothing."""

CLIENT_PATH = f"v/{TOKEN}/"
FILES = "files"
INDEX = "index.html"
TICK_S = 1.0
"""How often a stream is looked after: whether its reader is still there."""

END_S = 5.0

STILL = """<link rel="icon" href="data:,"><script>
// The viewer reads its state from the address, and writes it there as it changes: a fifth of a second later by its
// clock, at once if that much has gone by meanwhile. On a slow start that is in the middle of reading, and fails, and
// ends the reading. So the clock stands still until all of the state has been read.
{
    const now = Date.now, start = now();
    Date.now = () => start;
    addEventListener("DOMContentLoaded", () => { Date.now = now; });
}
</script>"""


def find_client() -> Path:
    """Return the directory of the client's files.

    Raises
    ------
    MissingExtraError
        If the package is not installed, or without them.
    """
    # found, not imported: that would take longer than all of this
    spec = importlib.util.find_spec("neuroglancer")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        client = Path(folder) / "static" / "client"
        if (client / INDEX).is_file():
            return client
    raise MissingExtraError(
        "the viewer's pages are in the package neuroglancer, which is not installed",
        hint="pip install 'precast[view]'",
    )


class Client:
    """The client beside the data of a server.

    Parameters
    ----------
    server
        The data server.

    Attributes
    ----------
    url
        Its address.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    StorageError
        If it is one that is not known.
    """

    url: str

    def __init__(self, server: DataServer) -> None:
        files = find_client()
        self._page = _page(files)
        self._open = 0
        self._closing = False
        self._changed = threading.Condition()
        server.mount(CLIENT_PATH, self._index)
        server.mount_files(CLIENT_PATH + FILES, files)
        server.mount(f"events/{TOKEN}", self._events)
        server.mount(f"state/{TOKEN}", self._state)
        self.url = server.url + CLIENT_PATH

    def close(self) -> None:
        """End all streams, and wait for that: Python must not end while other threads are in it."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._open, END_S)

    def _index(self, request: Request) -> Response:
        if request.path:
            return Response(body=b"not here\n", status=404)
        if request.method not in ("GET", "HEAD"):
            return _only("GET, HEAD")
        return Response(body=self._page, content_type=CONTENT_TYPES[".html"], headers={"Cache-Control": "no-cache"})

    def _events(self, request: Request) -> Response:
        if request.method != "GET":
            return _only("GET")
        return Response(body=self._stream(), content_type="text/event-stream", headers={"Cache-Control": "no-cache"})

    def _stream(self) -> Iterator[bytes]:
        """Nothing ever happens on this side, but the client wants the stream to stay open."""
        with self._changed:
            self._open += 1
        try:
            yield b":\n\n"  # a comment: without a first byte it would not count as open
            while not self._closing:
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, TICK_S)
                yield b""
        finally:
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

    def _state(self, request: Request) -> Response:
        if request.method != "POST":
            return _only("POST")
        try:
            told = json.loads(request.body)
            generation = f"{told['c']}/{told['g']}"
        except (ValueError, KeyError, TypeError):
            return Response(body=b"not a state\n", status=400)
        # taken note of; each client keeps its own
        return Response(body=json.dumps({"g": generation}).encode(), content_type=CONTENT_TYPES[".json"])


def _page(files: Path) -> bytes:
    """Return the client's page, with what it needs in front of its scripts."""
    try:
        text = (files / INDEX).read_text("utf-8")
    except OSError as error:
        raise translate_os_error(error, "reading", files / INDEX) from None
    text, scripts = re.subn(r'(<script defer src=|<link href=)"', rf'\1"{FILES}/', text)
    text, heads = re.subn("<head>", lambda _: f"<head>{STILL}", text)
    if not scripts or heads != 1:
        raise StorageError(
            f"{files / INDEX} is not a page that precast knows",
            hint="pip install --force-reinstall 'precast[view]'",
            where=str(files),
        )
    return text.encode()


def _only(methods: str) -> Response:
    return Response(body=f"{methods} only\n".encode(), status=405, headers={"Allow": f"{methods}, OPTIONS"})
