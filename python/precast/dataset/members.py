"""What a directory of datasets says that it holds, and what it does hold, whether that is as it should be or not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from precast.errors import AccessDeniedError, FormatError, ObjectNotFoundError, StorageError
from precast.precomputed.collection import Collection
from precast.precomputed.objects import COLLECTION_KEY, INFO_KEY
from precast.precomputed.strict_json import parse_object
from precast.storage import CloudStore, LocalStore, Store
from precast.storage.base import translate_os_error
from precast.storage.opening import child_store

__all__ = ["CollectionList", "Member", "read_list", "read_members"]


@dataclass(frozen=True, slots=True)
class CollectionList:
    """A ``precast.json``.

    Attributes
    ----------
    collection
        What it says; None if it cannot be understood.
    error
        Why it cannot.
    names
        The layers that it names, in its order; of a file that cannot be understood those that can be made out, which
        may be the names of anything.
    """

    collection: Collection | None
    error: FormatError | None
    names: tuple[str, ...]

    def valid(self) -> Collection:
        """Return what the file says.

        Raises
        ------
        FormatError
            If it cannot be understood.
        """
        if self.collection is None:
            assert self.error is not None
            raise self.error
        return self.collection


@dataclass(frozen=True, slots=True)
class Member:
    """One directory with an ``info``, directly below another.

    Attributes
    ----------
    name
        Its name.
    type
        The ``@type`` of its info; None if there is none.
    error
        Why the info cannot be read or is no JSON object.
    """

    name: str
    type: str | None = None
    error: FormatError | AccessDeniedError | StorageError | None = None


def read_list(store: Store, where: str = "") -> CollectionList | None:
    """Read the ``precast.json`` at a place; None if there is none. ``where`` is what errors call it.

    Raises
    ------
    AccessDeniedError, StorageError
        If it cannot be read.
    """
    try:
        data = store.read(COLLECTION_KEY)
    except ObjectNotFoundError:
        return None
    try:
        collection = Collection.from_bytes(data, where=where or f"{store.url}/{COLLECTION_KEY}")
    except FormatError as error:
        return CollectionList(None, error, _names(data))
    return CollectionList(collection, None, tuple(layer.name for layer in collection.layers))


def _names(data: bytes) -> tuple[str, ...]:
    try:
        layers = parse_object(data, COLLECTION_KEY).get("layers")
    except FormatError:
        return ()
    entries = [entry for entry in layers if isinstance(entry, dict)] if isinstance(layers, list) else []
    return tuple(dict.fromkeys(entry["name"] for entry in entries if isinstance(entry.get("name"), str)))


def read_members(store: Store) -> tuple[Member, ...]:
    """Return the directories with an ``info`` directly below a local one or in a bucket, by name.

    Names that begin with a dot are no members. There are none on web servers, and where there is no directory.

    Raises
    ------
    AccessDeniedError, StorageError
        If the directory cannot be listed.
    """
    members = (_member(child_store(store, name), name) for name in _folders(store) if not name.startswith("."))
    return tuple(member for member in members if member is not None)


def _folders(store: Store) -> Sequence[str]:
    """Return the names of the directories in a place that can be listed, sorted."""
    if isinstance(store, CloudStore):
        return store.folders()
    if not isinstance(store, LocalStore) or not store.root.is_dir():
        return []
    try:
        return sorted(entry.name for entry in os.scandir(store.root) if entry.is_dir())
    except OSError as error:
        raise translate_os_error(error, "listing", store.root) from None


def _member(store: Store, name: str) -> Member | None:
    try:
        kind = parse_object(store.read(INFO_KEY), f"{store.url}/{INFO_KEY}").get("@type")
    except ObjectNotFoundError:
        return None
    except (FormatError, AccessDeniedError, StorageError) as error:
        return Member(name, error=error)
    if kind is not None and not isinstance(kind, str):
        where = f"{store.url}/{INFO_KEY}"
        return Member(name, error=FormatError(f"{where}: @type is no string: {kind!r:.60}", where=where))
    return Member(name, kind)
