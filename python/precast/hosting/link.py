"""``link``: the address of a viewer that shows any mix of datasets."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from precast.dataset import LayerSet, open_layers
from precast.errors import UsageError
from precast.findings import Finding, notice
from precast.hosting.addresses import PUBLIC_VIEWER, address_of, blocked_as_insecure, join_url, viewer_url
from precast.hosting.state import PlacedLayer, ViewerState, ViewOptions, build_state
from precast.precomputed.objects import JSON
from precast.precomputed.strict_json import json_file
from precast.storage import Attributes, LocalStore, Store, StoreOptions
from precast.storage.opening import open_places

__all__ = ["LinkOptions", "LinkSummary", "LinkedLayer", "link", "place_layers"]

Place = str | os.PathLike[str] | Store

LONG_ADDRESS = 8000
"""Characters from which on mail programs, chats and some servers cut addresses."""


@dataclass(frozen=True, kw_only=True)
class LinkOptions(ViewOptions):
    """Which viewer, and how the datasets are shown in it.

    Raises
    ------
    UsageError
        If a value is not allowed; the text says what is.
    """

    viewer: str = field(default=PUBLIC_VIEWER, metadata={"help": "Address of a viewer.", "metavar": "URL"})
    base_url: str | None = field(
        default=None,
        metadata={"help": "Address at which local paths are served, each as URL/NAME.", "metavar": "URL"},
    )
    state_file: str | os.PathLike[str] | None = field(
        default=None,
        metadata={"help": "Write the state to a file, which the link names; for long states.", "metavar": "FILE"},
    )
    state_url: str | None = field(
        default=None,
        metadata={"help": "Address of --state-file, unless it lies among what --base-url serves.", "metavar": "URL"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        viewer_url(self.viewer, "")
        for name in ("base_url", "state_url"):
            value = getattr(self, name)
            parts = urllib.parse.urlsplit(value or "http://host")
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment or "|" in (value or ""):
                flag = f"--{name.replace('_', '-')}"
                raise UsageError(f"{flag} must be an http or https address, got {value!r}")
        if self.state_url is not None and self.state_file is None:
            raise UsageError("--state-url is the address of --state-file", hint="give --state-file FILE too")


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedLayer:
    """One layer of the link: its name, its kind and its source as the viewer is told."""

    name: str
    kind: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSummary:
    """The link.

    Attributes
    ----------
    url
        The address to open.
    viewer
        The viewer alone.
    layers
        The lowest first.
    state
        The state as JSON.
    state_file
        The file that it was written to, or None if it stands in the address.
    findings
        What was noticed.
    """

    url: str
    viewer: str
    layers: tuple[LinkedLayer, ...]
    state: dict[str, Any]
    state_file: str | None
    findings: tuple[Finding, ...]

    def __str__(self) -> str:
        return self.url


def link(*places: Place, options: LinkOptions | None = None, store: StoreOptions | None = None) -> LinkSummary:
    """Make the address of a viewer that shows datasets.

    Parameters
    ----------
    places
        Datasets, collections, directories of datasets, their addresses, or stores. Local ones need ``base_url``.
    options
        See :class:`LinkOptions`.
    store
        How buckets are reached, beyond what the environment says; there has to be one.

    Raises
    ------
    UsageError
        If there is nothing to show, or the address of something is not known.
    ObjectNotFoundError, FormatError, AccessDeniedError, StorageError
        If a dataset is not there or cannot be read.

    Examples
    --------
    >>> import numpy, precast, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> image = numpy.full((8, 8, 8), 5, numpy.uint8)
    >>> summary = precast.convert(image, folder + "/em", precast.ConvertOptions(resolution=8))
    >>> made = precast.link(folder + "/em", options=precast.LinkOptions(base_url="https://data.example.org"))
    >>> made.layers[0].source
    'https://data.example.org/em/|neuroglancer-precomputed:'
    """
    options = options or LinkOptions()
    if not places:
        raise UsageError("there is nothing to show", hint="give datasets, as paths or as addresses")
    sets = [open_layers(one) for one in open_places(places, store)]
    placed = place_layers(places, sets, options.base_url)
    built = build_state(placed, options)
    findings = list(built.findings)
    if options.state_file is None:
        url, state_address = viewer_url(options.viewer, built.fragment()), None
        if len(url) > LONG_ADDRESS:
            findings.append(_long(len(url)))
    else:
        state_address = options.state_url or _served_at(Path(options.state_file), sets, options.base_url)
        _write(Path(options.state_file), built)
        url = viewer_url(options.viewer, state_address)
    targets = [one.url for one in placed] + ([state_address] if state_address else [])
    findings += _insecure(options.viewer, targets)
    return LinkSummary(
        url=url,
        viewer=options.viewer,
        layers=tuple(_described(layer) for layer in built.state["layers"]),
        state=built.state,
        state_file=None if options.state_file is None else os.fspath(options.state_file),
        findings=tuple(findings),
    )


def _described(layer: dict[str, Any]) -> LinkedLayer:
    return LinkedLayer(name=layer["name"], kind=layer["type"], source=layer["source"])


def place_layers(places: Sequence[Place], sets: Sequence[LayerSet], base_url: str | None) -> list[PlacedLayer]:
    """Give every layer its address.

    What has an address keeps it. A local directory is at ``base_url/NAME``, NAME being its own, and what it holds is
    below that, as ``precast serve`` has it.

    Raises
    ------
    UsageError
        If there is something local and no ``base_url``.
    """
    placed = []
    names = _names(sets)
    for place, found, name in zip(places, sets, names, strict=True):
        told = os.fspath(place) if isinstance(place, str | os.PathLike) else place.url
        if name is None:
            root = address_of(told, found.store)
        elif base_url is None:
            raise UsageError(
                f"{told} is a local path, and a viewer needs an address",
                hint="precast serve serves it; --base-url names the address at which it is served",
                where=told,
            )
        else:
            root = join_url(base_url, name)
        placed += [PlacedLayer(layer, join_url(root, layer.path)) for layer in found.layers]
    return placed


def _names(sets: Sequence[LayerSet]) -> list[str | None]:
    """Return the name under which each local directory is served, None for what has an address of its own."""
    taken: dict[Path, str] = {}
    names: list[str | None] = []
    for found in sets:
        if not isinstance(found.store, LocalStore):
            names.append(None)
            continue
        folder = _directory(found)
        if folder not in taken:
            name = folder.name.lstrip(".") or "data"
            number, free = 1, name
            while free in taken.values():
                number += 1
                free = f"{name}-{number}"
            taken[folder] = free
        names.append(taken[folder])
    return names


def _directory(found: LayerSet) -> Path:
    assert isinstance(found.store, LocalStore)
    return found.store.root.resolve()


def _served_at(file: Path, sets: Sequence[LayerSet], base_url: str | None) -> str:
    """Return the address of a file that lies in local directories that are served."""
    resolved = file.resolve()
    for found, name in zip(sets, _names(sets), strict=True):
        if base_url is not None and name is not None and resolved.is_relative_to(_directory(found)):
            return join_url(base_url, name, resolved.relative_to(_directory(found)).as_posix())
    raise UsageError(
        f"the address of {file} is not known: it lies in none of the local datasets that --base-url serves",
        hint="put it there, or give its address with --state-url",
        where=str(file),
    )


def _write(file: Path, built: ViewerState) -> None:
    store = LocalStore(file.resolve().parent)
    store.write(file.name, json_file(built.state), Attributes(content_type=JSON))


def _long(length: int) -> Finding:
    return notice(
        "PV110",
        "",
        f"the address has {length} characters; some programs cut so long ones",
        "--state-file puts the state into a file, or choose fewer objects with --segments",
    )


def _insecure(viewer: str, targets: Sequence[str]) -> list[Finding]:
    blocked = [target for target in targets if blocked_as_insecure(viewer, target)]
    if not blocked:
        return []
    return [
        notice(
            "PV111",
            blocked[0],
            f"{viewer} is on https, and browsers keep it from reading data by plain http",
            "serve the data by https, or use a viewer on http, such as that of precast view",
        )
    ]
