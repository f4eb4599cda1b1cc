"""From a place to the datasets that are published from it: one, a collection, or a directory of some."""

from __future__ import annotations

import os
from collections.abc import Sequence

from precast.dataset.members import read_list, read_members
from precast.errors import FormatError, ObjectNotFoundError, SourceError
from precast.execution.published.place import exists
from precast.execution.workdir import unfinished_work
from precast.precomputed.objects import COLLECTION_KEY, INFO_KEY
from precast.storage import HttpStore, LocalStore, MemoryStore, Store, open_store
from precast.storage.below import Below
from precast.storage.opening import child_store
from precast.workflows.publish.contents import Source
from precast.workflows.publish.listing import list_dataset

__all__ = ["open_source_place"]


def open_source_place(place: str | os.PathLike[str] | Store, threads: int) -> Source:
    """List what is at a place, and see that it is complete.

    Parameters
    ----------
    place
        A directory, the address of a place, or a store.
    threads
        Requests at once, where everything has to be asked for.

    Raises
    ------
    UsageError
        If what is there cannot be known.
    ObjectNotFoundError
        If there is no dataset.
    SourceError
        If a dataset is not finished.
    FormatError
        If an info, or what it names, is missing or cannot be understood.
    """
    store = open_store(place)
    if isinstance(store, LocalStore) and not store.root.is_dir():
        raise ObjectNotFoundError(
            f"{store.root} is not a directory", hint="give a dataset or a collection", where=store.url
        )
    _refuse_unfinished(store)
    if exists(store, INFO_KEY):
        return Source(store.url, (list_dataset(store, "", threads),), None, True)
    listed = read_list(store)
    names: Sequence[str] = [layer.name for layer in listed.valid().layers] if listed is not None else []
    if isinstance(store, HttpStore):
        members = [name for name in names if exists(store, f"{name}/{INFO_KEY}")]
    elif isinstance(store, MemoryStore):
        keys = [stat.key for stat in store.list()]
        members = [key.partition("/")[0] for key in keys if key.partition("/")[2] == INFO_KEY]
    else:
        members = [member.name for member in read_members(store)]
    if listed is not None:
        missing = [name for name in names if name not in members]
        if missing:
            where = f"{store.url}/{COLLECTION_KEY}"
            raise FormatError(
                f"{where} lists {', '.join(missing)}, where there is no dataset",
                hint="make it, or take it out of the list",
                where=where,
            )
    else:
        names = members
    if not names:
        raise ObjectNotFoundError(
            f"{store.url} is not a precomputed dataset: it has no info file",
            hint=f"give the address of one dataset, or of a {COLLECTION_KEY}: web servers do not list directories"
            if isinstance(store, HttpStore)
            else "give the directory that holds the info file, or one whose directories do",
            where=store.url,
        )
    children = {name: _child(store, name) for name in names}
    for child in children.values():
        _refuse_unfinished(child)
    datasets = tuple(list_dataset(child, name, threads) for name, child in children.items())
    text = store.read(COLLECTION_KEY).decode() if listed is not None else None
    others = [name for name in members if name not in names]
    return Source(store.url, datasets, text, False, tuple(f"{name}/" for name in others))


def _child(store: Store, name: str) -> Store:
    return Below(store, name) if isinstance(store, MemoryStore) else child_store(store, name)


def _refuse_unfinished(store: Store) -> None:
    if not isinstance(store, LocalStore):
        return
    for work in unfinished_work(store.root):
        raise SourceError(
            f"{store.root} is not finished: work on it is going on, or was interrupted",
            hint=f"run the command that makes it again, to its end; its state is in {work}",
            where=store.url,
        )
