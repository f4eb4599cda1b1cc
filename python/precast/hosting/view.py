"""``view``: datasets in Neuroglancer itself, from this machine, without internet."""

from __future__ import annotations

import atexit
import html
import os
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

from precast.dataset import LayerSet, open_layers
from precast.errors import PrecastError, UsageError
from precast.findings import Finding, notice
from precast.hosting.addresses import address_of, join_url, viewer_url
from precast.hosting.client import CLIENT_PATH, Client, find_client
from precast.hosting.server import LOOPBACK, DataServer, ServeOptions
from precast.hosting.state import PlacedLayer, ViewOptions, build_state
from precast.precomputed.objects import INFO_KEY
from precast.storage import CloudStore, LocalStore, Store, StoreOptions
from precast.storage.http import HttpClient
from precast.storage.opening import open_places

__all__ = ["ServedLayers", "View", "view", "viewer_at"]

CELL_HEIGHT = 600
"""Pixels of a cell of a notebook."""


OK = 200
PATIENCE_S = 10.0
"""How long a bucket may be silent that is asked whether everybody may read it."""


class ServedLayers:
    """The layers at some places, a server for those that browsers cannot read themselves, and a viewer for all of them.

    These are the ones on this machine, and the ones in buckets that everybody may not read, or not from pages of other
    origins; with ``anonymous`` the browser is left to read buckets as well as it can.

    Attributes
    ----------
    server
        The server.
    client
        The viewer.
    layers
        All layers, with their addresses.
    findings
        What was noticed.

    Raises
    ------
    MissingExtraError
        If there is no viewer.
    UsageError
        If there is no place.
    """

    server: DataServer
    client: Client
    layers: tuple[PlacedLayer, ...]
    findings: tuple[Finding, ...]

    def __init__(
        self,
        places: Sequence[str | os.PathLike[str]],
        serving: ServeOptions,
        store: StoreOptions | None = None,
        *,
        tell: Callable[[PrecastError], None] | None = None,
    ) -> None:
        if not places:
            raise UsageError("there is nothing to show", hint="give datasets, as paths or as addresses")
        find_client()
        sets = [(place, open_layers(one)) for place, one in zip(places, open_places(places, store), strict=True)]
        through = [found.store for _, found in sets if _is_passed_on(found, serving)]
        if any(isinstance(one, CloudStore) and one.connected().signed for one in through):
            # what is behind credentials is not for every page that is open in the browser
            serving = replace(serving, private=True)
        self.server = DataServer(through, serving, tell=tell)
        served = {one.store.url: one.url for one in self.server.datasets}
        findings = list(self.server.findings)
        layers: dict[str, PlacedLayer] = {}  # one that is named twice is shown once
        for place, found in sets:
            for layer in found.layers:
                if found.store not in through:
                    url = join_url(address_of(str(place), found.store), layer.path)
                elif (where := _where(layer.store)) in served:
                    url = served[where]
                else:
                    if not any(finding.where == layer.store.url for finding in findings):
                        findings.append(_left_out(layer.store.url))
                    continue
                layers.setdefault(url, PlacedLayer(layer, url))
        self.layers, self.findings = tuple(layers.values()), tuple(findings)
        self.client = Client(self.server)
        atexit.register(self.close)

    def close(self) -> None:
        """Stop; again is fine."""
        atexit.unregister(self.close)
        self.client.close()
        self.server.close()

    def __enter__(self) -> ServedLayers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def at(self, base: str) -> tuple[PlacedLayer, ...]:
        """Return the layers as they are to be found where the server has another address."""
        known = self.server.url
        return tuple(
            replace(one, url=base + one.url.removeprefix(known)) if one.url.startswith(known) else one
            for one in self.layers
        )


def _where(store: Store) -> str:
    return str(store.root.resolve()) if isinstance(store, LocalStore) else store.url


def _is_passed_on(found: LayerSet, serving: ServeOptions) -> bool:
    """Return whether browsers cannot read a place themselves, so that this machine has to."""
    store = found.store
    if isinstance(store, LocalStore):
        return True
    if not isinstance(store, CloudStore) or store.options.anonymous:
        return False
    return not all(_is_public(store, layer.path, serving.port) for layer in found.layers)


def _is_public(store: CloudStore, path: str, port: int) -> bool:
    """Return whether a page of ours at a port may read a dataset: without credentials, although of another origin."""
    page = f"http://{LOOPBACK}:{port}"
    try:
        answer = HttpClient(retries=1, timeout_s=PATIENCE_S).request(
            "GET", join_url(store.public_url(), path, INFO_KEY), {"Origin": page}
        )
    except PrecastError:
        return False
    # Google's own interface, by which viewers ask for gs:// addresses, is open to all pages
    open_to_pages = answer.headers.get("access-control-allow-origin") in ("*", page)
    return answer.status == OK and (open_to_pages or store.viewer_url().startswith("gs:"))


def _left_out(where: str) -> Finding:
    return notice(
        "PV120",
        where,
        "this layer is not served with the directory that it is in, and is left out",
        "name it as a path of its own",
    )


class View:
    """A viewer that shows datasets, and the server behind both; from when it is made until it is closed.

    In a notebook it shows itself.

    Attributes
    ----------
    url
        The address to open.
    state
        What the viewer is told to show, as JSON.
    findings
        What was noticed.
    server
        The server.
    """

    url: str
    state: dict[str, Any]
    findings: tuple[Finding, ...]
    server: DataServer

    def __init__(
        self,
        places: Sequence[str | os.PathLike[str]],
        options: ViewOptions | None = None,
        serving: ServeOptions | None = None,
        store: StoreOptions | None = None,
    ) -> None:
        served = ServedLayers(places, serving or ServeOptions(), store)
        self._served, self._options, self.server = served, options, served.server
        try:
            built = build_state(served.layers, options)
            self.url = viewer_url(served.client.url, built.fragment())
        except BaseException:
            self.close()
            raise
        self.state = built.state
        self.findings = (*served.findings, *built.findings)

    def url_from(self, host: str) -> str:
        """Return the address to open where this machine has another name or number."""
        parts = urllib.parse.urlsplit(self.server.url)
        shown = f"[{host}]" if ":" in host else host
        base = parts._replace(netloc=f"{shown}:{self.server.port}").geturl()
        built = build_state(self._served.at(base), self._options)
        return viewer_url(base + CLIENT_PATH, built.fragment())

    def __repr__(self) -> str:
        return f"<View {self.server.url}{CLIENT_PATH}>"

    def _repr_html_(self) -> str:
        return (
            f'<iframe src="{html.escape(self.url)}" width="100%" height="{CELL_HEIGHT}" style="border: 0" '
            'allow="fullscreen; clipboard-write"></iframe>'
        )

    def close(self) -> None:
        """Stop; again is fine."""
        self._served.close()

    def __enter__(self) -> View:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def viewer_at(port: int) -> tuple[str, str]:
    """Return the addresses of the data and of the viewer while something is viewed at a port of this machine."""
    base = f"http://{LOOPBACK}:{port}"
    return base, f"{base}/{CLIENT_PATH}"


def view(
    *places: str | os.PathLike[str],
    options: ViewOptions | None = None,
    serving: ServeOptions | None = None,
    store: StoreOptions | None = None,
) -> View:
    """Show datasets in Neuroglancer, which comes from this machine too, until what is returned is closed.

    As the last value of a notebook's cell the viewer appears in it; elsewhere open its ``url``.

    Parameters
    ----------
    places
        Datasets, collections, directories of datasets, or their addresses.
    options
        See :class:`ViewOptions`.
    serving
        How they are served; by default at any free port of this machine, for this machine alone.
    store
        How buckets are reached, beyond what the environment says; there has to be one. The browser reads those that are
        public itself; the others are read with the credentials found there, and passed on to the browser by the server,
        which is ``private`` then.

    Raises
    ------
    MissingExtraError
        If the package neuroglancer, from which the viewer comes, is not installed.
    UsageError
        If there is nothing to show.
    ObjectNotFoundError, FormatError, AccessDeniedError, StorageError
        If a dataset is not there or cannot be read, or the port cannot be had.
    """
    return View(places, options, serving or ServeOptions(port=0), store)
