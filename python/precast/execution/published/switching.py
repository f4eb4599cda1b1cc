"""How readers come to see another generation, and what no reader needs any more goes; a process may be killed anywhere.

*Switching* is one write, that of ``info``; files that go with it and that viewers do not read are absent around it, so
that they never belong to another info. *Removing* takes away what no kept generation has. Each begins by writing down,
in ``.published``, what it is going to do.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from precast.dataset.objects import attributes
from precast.errors import ObjectNotFoundError, StorageError
from precast.execution.published.place import (
    SIDES,
    PublishedPlace,
    headers_of,
    read_or_none,
    write_index,
    write_manifest,
)
from precast.execution.published.transfer import Sender, checksum, each, stored_checksum
from precast.precomputed.objects import INFO_KEY, KINDS_BY_NAME, ObjectKind
from precast.precomputed.publication import (
    INDEX_KEY,
    GenerationIndex,
    Manifest,
    PublishedObject,
    manifest_key,
    top_key,
)
from precast.storage import LocalStore, ObjectStat
from precast.storage.below import Below

__all__ = [
    "faults",
    "finish_removal",
    "header_faults",
    "keep_foreign",
    "not_as_sent",
    "prune",
    "remove_all",
    "remove_former",
    "switch",
    "with_etags",
]

SHOWN = 3


def with_etags(manifest: Manifest, listed: Mapping[str, ObjectStat]) -> Manifest:
    """Return the list of a generation that is all there, with what the store calls its objects."""
    objects = tuple(one.with_etag(listed[one.key].etag) for one in manifest.objects)
    return replace(manifest, complete=True, objects=objects)


def keep_foreign(place: PublishedPlace, index: GenerationIndex, sender: Sender) -> GenerationIndex:
    """Write down an info that somebody else has put there, so that a roll-back leads to it."""
    store, info = place.store, place.info
    assert info is not None
    generation = f"{checksum(info):012x}"
    top = {INFO_KEY: (len(info), checksum(info))}
    store.write(top_key(generation, INFO_KEY), info, attributes(KINDS_BY_NAME[INFO_KEY]))
    for name in SIDES:
        data = read_or_none(store, name)
        if data is not None:
            store.write(top_key(generation, name), data, attributes(KINDS_BY_NAME[name]))
            top[name] = (len(data), checksum(data))
    write_manifest(store, Manifest(generation=generation, complete=True, paths={}, top=top, linked={}, objects=()))
    sender.progress.note(f"{store.url}: the info that is there is kept; --rollback leads back to it")
    return replace(index, current=generation, kept=(*(one for one in index.kept if one != generation), generation))


def faults(objects: Iterable[PublishedObject], listed: Mapping[str, ObjectStat]) -> list[str]:
    """Return, in words, what is not there as it is meant, as far as a listing tells."""
    found = []
    for one in objects:
        stat = listed.get(one.key)
        if stat is None:
            found.append(f"{one.key} is not there")
        elif stat.size != one.size:
            found.append(f"{one.key} has {stat.size} bytes, not {one.size}")
        elif stat.encoding not in (None, one.headers.encoding):
            found.append(f"{one.key} is stored as {stat.encoding or 'it is'}, which it must not be")
    return found


def header_faults(store: Below, objects: Sequence[PublishedObject], threads: int) -> list[str]:
    """Return, in words, which objects have other headers than they were sent with, as far as the store tells."""
    found = []

    def look(one: PublishedObject) -> str:
        told, wanted = store.told(one.key), one.headers
        if told is None:
            encoding = store.stat(one.key).encoding
            return (
                "" if encoding == wanted.encoding else f"{one.key} has another Content-Encoding than it was sent with"
            )
        there = headers_of(told)
        return "" if there == wanted else f"{one.key} has the headers {there}, not {wanted}"

    each(look, objects, threads, lambda _, text: found.append(text) if text else None)
    return found


def not_as_sent(store: Below, wrong: Sequence[str]) -> StorageError:
    """Return the error about objects that are not there as they were sent."""
    return StorageError(
        f"{len(wrong)} objects at {store.url} are not as they were sent: {'; '.join(wrong[:SHOWN])}",
        hint="nothing that readers see has changed; run the same command again",
        where=store.url,
    )


# ---- switching


def switch(place: PublishedPlace, generation: str, sender: Sender) -> GenerationIndex:
    """Let readers see a generation that is complete, and is ``next`` in the index; doing it again changes nothing."""
    store, index = place.store, place.index
    top = place.manifests[generation].top
    wrong: list[str] = []
    for name in (*SIDES, INFO_KEY):
        state = _state(store, name, top.get(name))
        if state == "other" and name != INFO_KEY:
            store.delete(name)
        if state != "same" and name in top:
            wrong.insert(0, name)  # info first: what goes with it is absent until then
    for name in (name for name in top if "/" in name):  # infos of parts; the old ones lead to old parts, all there
        state = _state(store, name, top[name])
        if state != "same":
            wrong.insert(0 if state == "absent" else len(wrong), name)
    for name in wrong:
        kind = KINDS_BY_NAME.get(name, ObjectKind.MESH_INFO)
        sender.copy(store, top_key(generation, name), name, top[name][0], attributes(kind))
        if _state(store, name, top[name]) != "same":
            raise StorageError(
                f"{store.url}/{name} is not what was written there",
                hint="the store may still answer with an old copy; run the same command again",
                where=name,
            )
    changed = index.current != generation
    dropped = () if index.next in (None, generation, *index.kept) else (index.next,)
    done = GenerationIndex(
        current=generation,
        next=None,
        previous=index.current if changed else index.previous,
        kept=tuple(dict.fromkeys((*index.kept, generation))),
        removing=tuple(dict.fromkeys((*index.removing, *(one for one in dropped if one is not None)))),
    )
    if done != index:
        write_index(store, done)
    return done


def _state(store: Below, name: str, meant: tuple[int, int] | None) -> str:
    """Tell whether a file at the top is ``absent``, the ``same`` as it is meant, or an ``other``."""
    try:
        stat = store.stat(name)
    except ObjectNotFoundError:
        return "absent"
    if meant is None or stat.encoding or stat.size != meant[0]:
        return "other"
    return "same" if stored_checksum(store, name, stat.size, whole=False) == meant[1] else "other"


# ---- removing


def finish_removal(store: Below, index: GenerationIndex, sender: Sender) -> GenerationIndex:
    """Remove what only the generations have that are to be removed."""
    if not index.removing:
        return index
    place = PublishedPlace.read(store)
    manifests = place.manifests
    staying = [name for name in index.all if name not in index.removing]
    used = {one.key for name in staying if name in manifests for one in manifests[name].objects}
    going = {
        one.key: one.size
        for name in index.removing
        if name in manifests
        for one in manifests[name].objects
        if one.key not in used and one.key in place.listed
    }
    begun = [manifests[name] for name in index.removing if name in manifests and not manifests[name].listed]
    going |= {
        key: stat.size for key, stat in place.listed.items() if key not in used and any(one.holds(key) for one in begun)
    }
    used_tops = {name for one in staying if one in manifests for name in manifests[one].top}
    for name in index.removing:
        tops = manifests[name].top if name in manifests else {}
        going |= {key: size for key, (size, _) in tops.items() if "/" in key and key not in used_tops}
    sender.progress.phase("removing", sum(going.values()))
    each(store.delete, going, sender.threads, lambda key, _: sender.progress.advance(going[key]))
    for name in index.removing:
        if name not in staying:
            for top in (*(manifests[name].top if name in manifests else ()), *SIDES):
                store.delete(top_key(name, top))
            store.delete(manifest_key(name))
    done = replace(index, removing=())
    write_index(store, done)
    if isinstance(store.store, LocalStore):
        prune(store.store.root / store.directory)
    return done


def prune(folder: Path) -> None:
    """Remove directories of a file system in which nothing is left."""
    for inside, _, _ in os.walk(folder, topdown=False):
        if Path(inside) != folder:
            with suppress(OSError):
                Path(inside).rmdir()


def remove_former(store: Below, index: GenerationIndex, sender: Sender) -> GenerationIndex:
    """Remove all generations but the current one."""
    former = tuple(name for name in index.kept if name != index.current)
    if not former:
        return index
    index = replace(
        index,
        kept=tuple(name for name in index.kept if name == index.current),
        previous=None,
        removing=tuple(dict.fromkeys((*index.removing, *former))),
    )
    write_index(store, index)
    return finish_removal(store, index, sender)


def remove_all(store: Below, sender: Sender) -> None:
    """Remove everything that was published in a place: first what readers begin with."""
    place = PublishedPlace.read(store)
    if place.seen is not None:
        for name in (INFO_KEY, *SIDES):
            store.delete(name)
    index = GenerationIndex(removing=place.index.all)
    write_index(store, index)
    finish_removal(store, index, sender)
    store.delete(INDEX_KEY)
