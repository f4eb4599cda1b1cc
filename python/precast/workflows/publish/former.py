"""What was published before: going back to it, and removing it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from precast.dataset.members import read_members
from precast.errors import StorageError, UsageError
from precast.execution.progress import NoProgress, Progress
from precast.execution.published.place import PublishedPlace, read_generations, read_or_none, write_index
from precast.execution.published.switching import faults, finish_removal, remove_all, remove_former, switch
from precast.execution.published.transfer import Sender
from precast.findings import Finding, notice
from precast.precomputed.objects import INFO_KEY
from precast.precomputed.publication import INDEX_KEY, CollectionRecord
from precast.storage import Store, open_store
from precast.storage.below import Below
from precast.workflows.publish.options import PublishOptions
from precast.workflows.publish.publication import read_record, write_list, write_record

__all__ = [
    "Removal",
    "RollbackSummary",
    "SwitchedBack",
    "plan_removal",
    "remove_former_generations",
    "roll_back",
    "tell_former",
]

SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchedBack:
    """One dataset that readers see in another generation now."""

    name: str
    generation: str
    from_generation: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackSummary:
    """What was switched back; doing it again switches forward."""

    destination: str
    datasets: tuple[SwitchedBack, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What of one dataset is removed.

    Attributes
    ----------
    name
        Its directory in a collection; empty if it stands alone.
    whole
        Whether nothing of it stays, because the collection no longer has it.
    generations
        The generations.
    objects, bytes
        What only they have.
    """

    name: str
    whole: bool
    generations: tuple[str, ...]
    objects: int
    bytes: int


def roll_back(
    destination: str | os.PathLike[str] | Store,
    options: PublishOptions | None = None,
    progress: Progress | None = None,
) -> RollbackSummary:
    """Let readers see what they saw before the last publication, or before one that was interrupted.

    Raises
    ------
    UsageError
        If there is nothing to go back to.
    StorageError
        If not all of it is there any more; nothing is changed then.
    """
    options, progress = options or PublishOptions(), progress or NoProgress()
    store = open_store(destination)
    root = Below(store, "")
    record = read_record(root)
    with Sender(store, options.at_once, progress) as sender:
        if record == CollectionRecord():
            names = _unrecorded(store)
            if names != [""]:
                raise _nothing(root, names)
            place = PublishedPlace.read(root)
            target = place.index.current if place.index.next else place.index.previous
            if target is None:
                raise _nothing(root)
            ready = [("", _ready(place, target), target)]
            return RollbackSummary(destination=store.url, datasets=_switch(ready, sender))
        state = record.current if record.next is not None else record.previous
        if state is None:
            raise _nothing(root)
        ready = []
        for name, generation in state.datasets.items():
            ready.append((name, _ready(PublishedPlace.read(Below(store, name)), generation), generation))
        if record.next != state:
            record = replace(record, next=state)
            write_record(root, record)
        done = _switch(ready, sender)
        write_list(root, state.text)
        previous = record.previous if record.current == state else record.current
        write_record(root, replace(record, current=state, next=None, previous=previous))
        return RollbackSummary(destination=store.url, datasets=done)


def _nothing(root: Below, names: Sequence[str] = ()) -> UsageError:
    hint = "one is kept when a dataset is published again with changes, until --delete removes it"
    if names:
        hint = (
            f"its datasets were made there one by one, and go back so: precast publish --rollback {root.url}/{names[0]}"
        )
    return UsageError(f"there is no former generation at {root.url}", hint=hint, where=root.url)


def _unrecorded(store: Store) -> list[str]:
    """Return the datasets at a place of which no collection was published; one without a name is the place itself."""
    root = Below(store, "")
    if any(read_or_none(root, key) is not None for key in (INFO_KEY, INDEX_KEY)):
        return [""]
    return [member.name for member in read_members(store)] or [""]


def _ready(place: PublishedPlace, generation: str) -> PublishedPlace:
    """See that all of a generation is there."""
    manifest = place.manifests.get(generation)
    where = place.store.url
    wrong = [] if manifest is None else faults(manifest.objects, place.listed)
    if manifest is None or not manifest.complete or wrong:
        raise StorageError(
            f"{where}: generation {generation} is not all there: {'; '.join(wrong[:SHOWN]) or 'its list is missing'}",
            hint="publish it again from its source",
            where=where,
        )
    return place


def _switch(ready: list[tuple[str, PublishedPlace, str]], sender: Sender) -> tuple[SwitchedBack, ...]:
    done = []
    for name, place, generation in ready:
        before, index = place.seen, place.index
        if index.next not in (None, generation):
            # begun, and given up now; if readers saw it already it is a generation like others
            seen = index.next == before
            kept = (*index.kept, index.next) if seen else index.kept
            removing = index.removing if seen else (*index.removing, index.next)
            current = index.next if seen else index.current
            index = replace(index, kept=tuple(dict.fromkeys(kept)), removing=removing, current=current)
        index = replace(index, next=generation)
        write_index(place.store, index)
        settled = switch(replace(place, index=index), generation, sender)
        finish_removal(place.store, settled, sender)
        if before != generation:
            done.append(SwitchedBack(name=name, generation=generation, from_generation=before))
    return tuple(done)


# ---- removing


def plan_removal(destination: str | os.PathLike[str] | Store) -> tuple[Removal, ...]:
    """Tell what :func:`remove_former_generations` would remove.

    Raises
    ------
    UsageError
        If a publication is not finished.
    """
    store = open_store(destination)
    found = [_removal(place, name, whole=whole) for name, place, whole in _places(store)]
    return tuple(one for one in found if one.generations)


def remove_former_generations(
    destination: str | os.PathLike[str] | Store,
    options: PublishOptions | None = None,
    progress: Progress | None = None,
) -> tuple[Removal, ...]:
    """Remove everything that was published at a place and that readers no longer see.

    Who began to read before the last publication may still ask for it.

    Returns
    -------
    tuple of Removal
        What was removed.

    Raises
    ------
    UsageError
        If a publication is not finished.
    """
    options, progress = options or PublishOptions(), progress or NoProgress()
    store = open_store(destination)
    removed = plan_removal(store)
    root = Below(store, "")
    with Sender(store, options.at_once, progress) as sender:
        for _, place, whole in _places(store):
            if whole:
                remove_all(place.store, sender)
            else:
                remove_former(place.store, finish_removal(place.store, place.index, sender), sender)
        record = read_record(root)
        if record.current is not None:
            done = replace(record, previous=None, names=tuple(record.current.datasets))
            if done != record:
                write_record(root, done)
    return removed


def _places(store: Store) -> list[tuple[str, PublishedPlace, bool]]:
    """Return all places of datasets, and whether a collection no longer has them."""
    root = Below(store, "")
    record = read_record(root)
    if record == CollectionRecord():
        found = [(name, PublishedPlace.read(Below(store, name)), False) for name in _unrecorded(store)]
    else:
        current = record.current.datasets if record.current is not None else {}
        found = [(name, PublishedPlace.read(Below(store, name)), name not in current) for name in record.names]
    if record.next is not None or any(place.index.next for _, place, _ in found):
        raise UsageError(
            f"a publication to {store.url} is not finished",
            hint="run it again to its end, or --rollback, before anything is removed",
            where=store.url,
        )
    return found


def _removal(place: PublishedPlace, name: str, *, whole: bool) -> Removal:
    index = place.index
    former = tuple(one for one in index.all if whole or one != index.current)
    staying = {one.key for one in place.manifests[index.current].objects} if index.current and not whole else set()
    keys = {
        one.key: one.size
        for generation in former
        if generation in place.manifests
        for one in place.manifests[generation].objects
        if one.key not in staying and one.key in place.listed
    }
    return Removal(name=name, whole=whole, generations=former, objects=len(keys), bytes=sum(keys.values()))


def tell_former(store: Store) -> list[Finding]:
    """Return a notice about what the former generations of a dataset keep, if they keep anything."""
    index, manifests = read_generations(Below(store, ""))
    now = {one.key for one in manifests[index.current].objects} if index.current in manifests else set()
    kept = {
        one.key: one.size
        for generation in index.kept
        if generation in manifests
        for one in manifests[generation].objects
        if one.key not in now
    }
    if not kept:
        return []
    return [
        notice(
            "PU103",
            store.url,
            f"{len(kept)} objects of former generations, {sum(kept.values())} bytes, are kept",
            "precast publish --rollback DATASET leads back to the last of them; precast publish --delete DATASET "
            "removes them",
        )
    ]
