"""Staging a publication: objects that no reader knows of. A process may be killed anywhere."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from precast.dataset.objects import attributes
from precast.errors import FormatError, ObjectNotFoundError
from precast.execution.progress import Progress
from precast.execution.published.place import (
    PublishedPlace,
    listing,
    write_index,
    write_manifest,
)
from precast.execution.published.switching import faults, header_faults, keep_foreign, not_as_sent, with_etags
from precast.execution.published.transfer import Made, Sender, each, inflated_checksum, stored_checksum
from precast.precomputed.objects import INFO_KEY, KINDS_BY_NAME, ObjectKind
from precast.precomputed.publication import (
    Manifest,
    top_key,
)
from precast.storage import ObjectStat
from precast.workflows.publish.plan import DatasetPlan, Item

__all__ = ["settle_doubts", "stage"]


def settle_doubts(plan: DatasetPlan, threads: int, progress: Progress) -> DatasetPlan:
    """Read what may have changed since it was published, and send again what has."""
    if not plan.doubtful:
        return plan
    store = plan.place.store
    different: list[Item] = []

    def same(item: Item) -> bool:
        file = item.source.file
        wanted = inflated_checksum(file) if file.encoding else item.crc32c
        try:
            if store.stat(item.key).encoding != file.encoding:
                return False
            return stored_checksum(store, item.key, file.size, whole=bool(file.encoding)) == wanted
        except (ObjectNotFoundError, FormatError):  # removed meanwhile; no gzip data
            return False

    def done(item: Item, equal: bool) -> None:
        progress.advance(item.source.file.size)
        if not equal:
            different.append(item)

    progress.phase("comparing", sum(item.source.file.size for item in plan.doubtful))
    each(same, plan.doubtful, threads, done)
    keys = {item.key for item in (*plan.send, *different)}
    return replace(plan, send=tuple(item for item in plan.items if item.key in keys), doubtful=(), refreshed=True)


# ---- staging


def stage(plan: DatasetPlan, sender: Sender) -> PublishedPlace:
    """Bring everything of a generation to its place, and see that it is there; readers see nothing of it.

    Raises
    ------
    StorageError
        If what is there afterwards is not what was sent.
    """
    place, store = plan.place, plan.place.store
    manifest = Manifest(
        generation=plan.generation,
        complete=False,
        paths=plan.paths,
        top=plan.tops,
        linked={key: crc for key, (_, crc) in plan.linked.items()},
        objects=tuple(item.published for item in plan.items),
    )
    index = place.index
    whole = place.manifests.get(plan.generation)
    # then what is sent is a repair, after which the store calls objects otherwise than the list says
    listed_before = (
        whole is not None
        and whole.complete
        and whole.top == manifest.top
        and {one.key for one in whole.objects} == {one.key for one in manifest.objects}
    )
    ready = listed_before and not plan.send
    if ready and plan.refreshed and any(stat.etag for stat in place.listed.values()):
        write_manifest(store, with_etags(manifest, place.listed))
    if ready and (plan.seen or index.next == plan.generation):
        return place
    for key in plan.stale:
        store.delete(key)
    foreign_info = place.info is not None and place.seen is None
    if foreign_info:
        index = keep_foreign(place, index, sender)
    current = place.seen or index.current
    kept = tuple(dict.fromkeys((*index.kept, *([place.seen] if place.seen else []))))
    if not listed_before:
        _write_tops(plan, sender)
        write_manifest(store, manifest)
    index = replace(
        index,
        current=current,
        next=plan.generation,
        kept=kept,
        previous=index.previous if place.seen in (None, index.current) else index.current,
        removing=tuple(dict.fromkeys((*index.removing, *plan.abandoned))),
    )
    write_index(store, index)
    if ready:
        return replace(place, index=index)

    listed = _send(plan, sender, {name for one in kept if one in place.manifests for name in place.manifests[one].top})
    done = with_etags(manifest, listed)
    write_manifest(store, done)
    return replace(place, index=index, listed=listed, manifests={**place.manifests, plan.generation: done})


def _send(plan: DatasetPlan, sender: Sender, visible: Collection[str]) -> dict[str, ObjectStat]:
    """Send what is not there yet, and return what is there then.

    Parameters
    ----------
    visible
        Infos of parts that readers of former generations see, until the switch.

    Raises
    ------
    StorageError
        If that is not what was sent.
    """
    store = plan.place.store
    for key, (data, _) in plan.linked.items():
        if key not in visible:
            store.write(key, data, attributes(ObjectKind.MESH_INFO))

    def send(item: Item) -> None:
        sender.send(store, item.key, item.source.file, item.crc32c, item.attributes)

    def sent(item: Item, _: None) -> None:
        sender.progress.advance(item.source.file.size)

    each(send, (item for item in plan.send if not isinstance(item.source.file, Made)), sender.threads, sent)
    # what is made on a disk: one while another is sent
    each(send, (item for item in plan.send if isinstance(item.source.file, Made)), min(2, sender.threads), sent)
    listed = listing(store)
    wrong = faults((item.published for item in plan.items), listed)
    wrong += header_faults(store, [item.published for item in plan.send if item.key in listed], sender.threads)
    if wrong:
        raise not_as_sent(store, wrong)
    return listed


def _write_tops(plan: DatasetPlan, sender: Sender) -> None:
    """Keep the files at the top as they are in this generation, to switch to it now or later."""
    store = plan.place.store
    for name, top in plan.source.top.items():
        key, how = top_key(plan.generation, name), attributes(KINDS_BY_NAME[name])
        if top.file is not None:
            sender.send(store, key, top.file, top.crc32c, how)
        else:
            data = plan.info if name == INFO_KEY else top.data
            assert data is not None
            store.write(key, data, how)
    for name, (data, _) in plan.linked.items():
        store.write(top_key(plan.generation, name), data, attributes(ObjectKind.MESH_INFO))
