"""What is served where: from the paths and buckets that a user names to datasets and the paths of their addresses."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from precast.dataset.members import Member, read_list, read_members
from precast.errors import AccessDeniedError, UsageError
from precast.execution.published.place import exists
from precast.findings import Finding, notice
from precast.precomputed.objects import INFO_KEY
from precast.storage import CloudStore, LocalStore, Store, StoreOptions
from precast.storage.base import translate_os_error
from precast.storage.cloud_clients import missing_extra
from precast.storage.encodings import forms
from precast.storage.opening import PublicBucket, child_store, open_places

__all__ = ["Place", "find_places", "is_complete"]

WORK_DIRECTORY = ".precast"
DATASET_TYPES = (None, "neuroglancer_multiscale_volume", "neuroglancer_annotations_v1")
"""``@type``s of what is a dataset of its own; old volumes have none."""
RESERVED = ("v", "events", "state", "favicon.ico")
"""First segments that the viewer's client and browsers need for themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One path, or place in a bucket, that is served.

    Attributes
    ----------
    name
        First segment of its address.
    store
        What is there; of a directory an absolute one without symbolic links.
    layers
        Directories below it that are datasets, in the order in which they are listed; none if it is a dataset itself.
    listed
        Whether there is a ``precast.json``, which is served too.
    """

    name: str
    store: LocalStore | CloudStore
    layers: tuple[str, ...] = ()
    listed: bool = False

    @property
    def collection(self) -> bool:
        """Whether it is a directory of datasets."""
        return self.listed or bool(self.layers)

    @property
    def datasets(self) -> tuple[tuple[str, LocalStore | CloudStore], ...]:
        """The datasets, with the paths of their addresses."""
        if not self.collection:
            return ((self.name, self.store),)
        return tuple((f"{self.name}/{layer}", _child(self.store, layer)) for layer in self.layers)


def find_places(
    paths: Sequence[str | os.PathLike[str] | Store], options: StoreOptions | None = None
) -> tuple[tuple[Place, ...], tuple[Finding, ...]]:
    """Look at paths and addresses of buckets, and give each a name of its own.

    Parameters
    ----------
    paths
        Datasets, collections (directories with ``precast.json``), and directories of datasets, on this machine or in
        buckets. One that is given twice is served once.
    options
        How buckets are reached, beyond what the environment says; there has to be one then.

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
    AccessDeniedError, StorageError, MissingExtraError
        If a bucket cannot be read.
    """
    places: list[Place] = []
    findings: list[Finding] = []
    taken = set(RESERVED)
    for opened in open_places(paths, options):
        store = _servable(opened)
        if any(place.store.url == store.url for place in places):
            continue
        own = store.root.name if isinstance(store, LocalStore) else store.url.rpartition("/")[2]
        name = _free(own.lstrip(".") or "data", taken)
        taken.add(name)
        places.append(_look(store, name, findings))
        if isinstance(store, CloudStore):
            findings.append(_passed_on(store))
    return tuple(places), tuple(findings)


def _servable(store: Store) -> LocalStore | CloudStore:
    if isinstance(store, CloudStore):
        return store
    if isinstance(store, LocalStore):
        return LocalStore(_directory(store.root))
    if isinstance(store, PublicBucket):
        raise missing_extra(f"serving {store.url}")
    raise UsageError(
        f"{store.url} is an address, and only directories and buckets can be served",
        hint="viewers read web servers themselves: precast view shows what is there, precast check whether it can be",
    )


def _passed_on(store: CloudStore) -> Finding:
    how = "with your credentials through this machine" if store.connected().signed else "through this machine"
    return notice("PH103", store.url, f"read {how}")


def _child(store: LocalStore | CloudStore, name: str) -> LocalStore | CloudStore:
    child = child_store(store, name)
    assert isinstance(child, LocalStore | CloudStore)
    return child


def _directory(path: Path) -> Path:
    text = os.fspath(path)
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


def _look(store: LocalStore | CloudStore, name: str, findings: list[Finding]) -> Place:
    refused: AccessDeniedError | None = None
    try:
        if is_complete(store):
            return Place(name=name, store=store)
    except AccessDeniedError as error:  # what object stores may say of objects that do not exist
        refused = error
    try:
        listed = read_list(store)
    except AccessDeniedError as error:
        raise refused or error from None
    if listed is not None:
        candidates = [layer.name for layer in listed.valid().layers]
    elif refused is not None:
        raise refused
    else:
        candidates = [member.name for member in read_members(store) if _is_dataset(member)]
    layers = tuple(layer for layer in candidates if _is_within(store, layer, findings))
    place = Place(name=name, store=store, layers=layers, listed=listed is not None)
    if not place.collection:
        findings.append(
            notice(
                "PH101",
                store.url,
                "there is no info file, so nothing of it is served until there is one",
                "wait for its writer to finish, or name a dataset or a directory of datasets",
            )
        )
    return place


def is_complete(store: LocalStore | CloudStore) -> bool:
    """Return whether a dataset has an ``info``, which writers put there last.

    Raises
    ------
    AccessDeniedError, StorageError
        If a bucket does not tell.
    """
    if isinstance(store, LocalStore):
        return any((store.root / name).is_file() for name in forms(INFO_KEY))
    return exists(store, INFO_KEY)


def _is_dataset(member: Member) -> bool:
    """Return whether a directory holds a dataset, not a part of one: meshes of a volume that is not complete."""
    return member.error is None and member.type in DATASET_TYPES


def _is_within(store: LocalStore | CloudStore, layer: str, findings: list[Finding]) -> bool:
    """Return whether a layer lies below its collection, and not behind a link that leads elsewhere."""
    if not isinstance(store, LocalStore):
        return True  # keys lead nowhere else
    root = store.root
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
