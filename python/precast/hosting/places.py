"""What is served where: from the paths that a user names to datasets and the paths of their addresses."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from precast.dataset.members import Member, read_list, read_members
from precast.errors import UsageError
from precast.findings import Finding, notice
from precast.precomputed.objects import INFO_KEY
from precast.storage import LocalStore
from precast.storage.base import translate_os_error
from precast.storage.encodings import forms

__all__ = ["Place", "find_places"]

WORK_DIRECTORY = ".precast"
DATASET_TYPES = (None, "neuroglancer_multiscale_volume", "neuroglancer_annotations_v1")
"""``@type``s of what is a dataset of its own; old volumes have none."""
RESERVED = ("v", "events", "state", "favicon.ico")
"""First segments that the viewer's client and browsers need for themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One path that is served.

    Attributes
    ----------
    name
        First segment of its address.
    root
        The directory, absolute and without symbolic links.
    layers
        Directories below it that are datasets, in the order in which they are listed; none if it is a dataset itself.
    listed
        Whether there is a ``precast.json``, which is served too.
    """

    name: str
    root: Path
    layers: tuple[str, ...] = ()
    listed: bool = False

    @property
    def collection(self) -> bool:
        """Whether it is a directory of datasets."""
        return self.listed or bool(self.layers)


def find_places(paths: Sequence[str | os.PathLike[str]]) -> tuple[tuple[Place, ...], tuple[Finding, ...]]:
    """Look at paths and give each a name of its own.

    Parameters
    ----------
    paths
        Datasets, collections (directories with ``precast.json``), and directories of datasets. One that is given twice
        is served once.

    Returns
    -------
    tuple
        The places in the order of the paths, and what should be said about them.

    Raises
    ------
    UsageError
        If a path cannot be served.
    ObjectNotFoundError
        If a path does not exist.
    FormatError
        If a ``precast.json`` cannot be read.
    """
    places: list[Place] = []
    findings: list[Finding] = []
    taken = set(RESERVED)
    for path in paths:
        root = _directory(path)
        if any(place.root == root for place in places):
            continue
        name = _free(root.name.lstrip(".") or "data", taken)
        taken.add(name)
        places.append(_look(root, name, findings))
    return tuple(places), tuple(findings)


def _directory(path: str | os.PathLike[str]) -> Path:
    text = os.fspath(path)
    if urllib.parse.urlsplit(text).scheme in ("http", "https", "gs", "s3", "file", "precomputed"):
        raise UsageError(f"{text} is an address, and only directories can be served", hint="name a directory")
    try:
        root = Path(text).resolve(strict=True)
    except OSError as error:
        raise translate_os_error(error, "reading", text) from None
    if not root.is_dir():
        raise UsageError(f"{text} is a file", hint="name the directory of a dataset")
    if WORK_DIRECTORY in root.parts:
        raise UsageError(f"{text} is unfinished work of precast, which is never served", hint="name the dataset")
    return root


def _free(name: str, taken: Iterable[str]) -> str:
    """Return the name, with a number behind it if it is taken."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def _look(root: Path, name: str, findings: list[Finding]) -> Place:
    if is_complete(root):
        return Place(name=name, root=root)
    store = LocalStore(root)
    listed = read_list(store)
    if listed is not None:
        candidates = [layer.name for layer in listed.valid().layers]
    else:
        candidates = [member.name for member in read_members(store) if _is_dataset(member)]
    layers = tuple(layer for layer in candidates if _is_within(root, layer, findings))
    place = Place(name=name, root=root, layers=layers, listed=listed is not None)
    if not place.collection:
        findings.append(
            notice(
                "PH101",
                str(root),
                "there is no info file, so nothing of it is served until there is one",
                "wait for its writer to finish, or name a dataset or a directory of datasets",
            )
        )
    return place


def is_complete(root: Path) -> bool:
    """Return whether a directory has an ``info``, which writers put there last."""
    return any((root / name).is_file() for name in forms(INFO_KEY))


def _is_dataset(member: Member) -> bool:
    """Return whether a directory holds a dataset, not a part of one: meshes of a volume that is not complete."""
    return member.error is None and member.type in DATASET_TYPES


def _is_within(root: Path, layer: str, findings: list[Finding]) -> bool:
    """Return whether a layer lies below its collection, and not behind a link that leads elsewhere."""
    if (root / layer).resolve() == root / layer:
        return True
    findings.append(
        notice(
            "PH102",
            str(root / layer),
            "this layer is a symbolic link, and is not served with its collection",
            "name the dataset that it leads to as a path of its own",
        )
    )
    return False
