"""Neuroglancer's own client, from its Python package, on the port of the data.

The client that comes with the package is built for Python programs: it wants its files under ``v/TOKEN/``, listens to a
stream of events at ``events/TOKEN``, and tells what it is asked for at ``action/TOKEN``. What it shows comes from the
address, as in any other Neuroglancer, or from the events.
"""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from precast.errors import MissingExtraError
from precast.hosting.pages import Request, Response
from precast.hosting.server import DataServer

__all__ = ["CLIENT_PATH", "EventStream", "find_client", "mount_client"]

TOKEN = "view"
"""The client needs one; there is one client at each server, so it says nothing."""

CLIENT_PATH = f"v/{TOKEN}/"
TICK_S = 1.0
"""How often a stream is looked after: whether its reader is still there, and whether the server is."""


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
        if (client / "index.html").is_file():
            return client
    raise MissingExtraError(
        "the viewer's pages are in the package neuroglancer, which is not installed",
        hint="pip install 'precast[view]'",
    )


class EventStream:
    """What a client is told: one state after another, by key.

    Parameters
    ----------
    states
        What is told at first, by key: ``c`` is what the client is to do, ``s`` what it shows.
    """

    def __init__(self, states: Mapping[str, Any] | None = None) -> None:
        self._states = dict(states or {})
        self._number = 0
        self._changed = threading.Condition()

    def tell(self, key: str, state: Any) -> None:
        """Tell all clients."""
        with self._changed:
            self._states[key] = state
            self._number += 1
            self._changed.notify_all()

    def answer(self, request: Request) -> Response:
        """Answer at ``events/TOKEN``."""
        if request.method != "GET":
            return _only("GET")
        return Response(
            body=self._events(), content_type="text/event-stream", headers={"Cache-Control": "no-cache"}
        )

    def _events(self) -> Iterator[bytes]:
        yield b":\n\n"  # a comment: a stream is open from its first byte on
        told: dict[str, Any] = {}
        seen = -1
        while True:
            with self._changed:
                if seen == self._number:
                    self._changed.wait(TICK_S)
                number, states = self._number, dict(self._states)
            lines = b""
            for key, state in states.items():
                if key not in told or told[key] != state:
                    text = json.dumps({"k": key, "s": state, "g": str(number)}, separators=(",", ":"))
                    lines += f"data: {text}\n\n".encode()
            told, seen = states, number
            yield lines


def mount_client(
    server: DataServer,
    *,
    events: EventStream | None = None,
    on_action: Callable[[str, Any], None] | None = None,
) -> str:
    """Put the client beside the data and return its address.

    Parameters
    ----------
    server
        The data server.
    events
        What clients are told; nothing by default.
    on_action
        Is given what clients tell: a name, and what they say about it.

    Raises
    ------
    MissingExtraError
        If the client is not installed.
    """
    client = find_client()
    stream = events or EventStream()

    def act(request: Request) -> Response:
        if request.method != "POST":
            return _only("POST")
        try:
            told = json.loads(request.body)
            name, state = told["action"], told["state"]
        except (ValueError, KeyError, TypeError):
            return Response(body=b"not an action\n", status=400)
        if on_action is not None:
            on_action(name, state)
        return Response()

    def keep(request: Request) -> Response:
        if request.method != "POST":
            return _only("POST")
        try:
            told = json.loads(request.body)
            generation = f"{told['c']}/{told['g']}"
        except (ValueError, KeyError, TypeError):
            return Response(body=b"not a state\n", status=400)
        # the client keeps its state itself
        return Response(body=json.dumps({"g": generation}).encode(), content_type="application/json")

    server.mount_files(CLIENT_PATH, client)
    server.mount(f"events/{TOKEN}", stream.answer)
    server.mount(f"action/{TOKEN}", act)
    server.mount(f"state/{TOKEN}", keep)
    return server.url + CLIENT_PATH


def _only(method: str) -> Response:
    return Response(body=f"{method} only\n".encode(), status=405, headers={"Allow": f"{method}, OPTIONS"})
