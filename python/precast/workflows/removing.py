"""``rm``: a dataset, or a collection, and nothing else.

What belongs to a dataset is what its ``info`` names, with everything that was published under it. Readers begin with
``info``, so it goes first; before that, what is to be removed is written down beside it, so that a removal that was
interrupted can be brought to its end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from precast.checks.files import Belongs, in_annotations, in_meshes, in_properties, in_scale, in_skeletons
from precast.dataset.members import read_list
from precast.errors import FormatError, ObjectNotFoundError, UsageError
from precast.execution.progress import NoProgress, Progress
from precast.execution.published.place import PublishedPlace, read_or_none
from precast.execution.published.transfer import each
from precast.execution.work import open_destination
from precast.execution.workdir import unfinished_work
from precast.precomputed.objects import COLLECTION_KEY, INFO_KEY, JSON, LABEL_TABLE_KEY, PROVENANCE_KEY
from precast.precomputed.paths import normal_path
from precast.precomputed.publication import (
    COLLECTION_RECORD_KEY,
    PUBLISHED_DIRECTORY,
    CollectionRecord,
)
from precast.precomputed.strict_json import parse_object
from precast.storage import Attributes, CloudStore, LocalStore, ObjectStat, Store
from precast.storage.below import Below
from precast.storage.encodings import bare_name

__all__ = ["DatasetToRemove", "RemovalSummary", "plan_remove", "remove"]

THREADS = 16
REMOVAL_KEY = f"{PUBLISHED_DIRECTORY}/removal.json"
"""Written before the first object goes, removed as the last one."""

TOPS = (INFO_KEY, PROVENANCE_KEY, LABEL_TABLE_KEY)
SHOWN = 5
KINDS: Mapping[str, Belongs] = {
    "scale": in_scale,
    # fragments of single-resolution meshes are called as their writer liked: after the object, as a rule
    "mesh": lambda name: in_meshes(name) or name[0].isdigit(),
    "skeletons": in_skeletons,
    "segment_properties": in_properties,
    "index": lambda name: in_annotations(f"index/{name}"),
}
ALONE = {
    "neuroglancer_multilod_draco": "mesh",
    "neuroglancer_legacy_mesh": "mesh",
    "neuroglancer_skeletons": "skeletons",
    "neuroglancer_segment_properties": "segment_properties",
}
ANNOTATIONS = "neuroglancer_annotations_v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetToRemove:
    """One dataset.

    Attributes
    ----------
    name
        Its directory in a collection; empty if it stands alone.
    objects, bytes
        What belongs to it, former generations too.
    others, examples
        Objects in its directory that do not belong to it, and some of their names.
    """

    name: str
    objects: int
    bytes: int
    others: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalSummary:
    """What was removed, or would be.

    Attributes
    ----------
    place
        Where.
    dry_run
        Whether it only would be.
    everything
        Whether what does not belong to a dataset goes too.
    datasets
        Each of them.
    objects, bytes
        All that goes.
    """

    place: str
    dry_run: bool
    everything: bool
    datasets: tuple[DatasetToRemove, ...]
    objects: int
    bytes: int


@dataclass(slots=True)
class _Dataset:
    store: Below
    name: str
    directories: dict[str, str]
    sizes: dict[str, int]
    others: dict[str, int]
    infos: list[str]


def plan_remove(place: str | os.PathLike[str] | Store, *, everything: bool = False) -> RemovalSummary:
    """Tell what :func:`remove` would remove; nothing is.

    Parameters and errors are those of :func:`remove`.
    """
    store = open_destination(place)
    datasets, tops = _collect(store, everything=everything)
    return _summary(store, datasets, tops, everything=everything, dry_run=True)


def remove(
    place: str | os.PathLike[str] | Store,
    *,
    everything: bool = False,
    threads: int = THREADS,
    progress: Progress | None = None,
) -> RemovalSummary:
    """Remove a dataset, or all datasets of a collection, wherever they are; there is no way back.

    Parameters
    ----------
    place
        A directory, the address of a bucket's directory, or a store.
    everything
        Remove what lies in the directories of the datasets without belonging to them, too.
    threads
        Objects that are removed at once.
    progress
        Told what happens; by default nobody is.

    Raises
    ------
    ObjectNotFoundError
        If there is no dataset and no collection.
    UsageError
        If work on it is not finished, it can only be read, or a part of it is a link to another place.
    FormatError
        If its info cannot be understood, so that it is not known what belongs to it.
    AccessDeniedError, StorageError
        If something cannot be removed; the same call goes on.
    """
    progress = progress or NoProgress()
    store = open_destination(place)
    datasets, tops = _collect(store, everything=everything)
    summary = _summary(store, datasets, tops, everything=everything, dry_run=False)
    progress.phase(f"removing {summary.objects} objects", summary.bytes)
    root = Below(store, "")
    for dataset in datasets:
        _remove(dataset, threads, progress, everything=everything)
    for key in (*tops, COLLECTION_RECORD_KEY):  # last, because they name what may be left
        root.delete(key)
    if isinstance(store, LocalStore):
        _prune(store.root, [store.root / one.name for one in datasets])
    return summary


def _remove(dataset: _Dataset, threads: int, progress: Progress, *, everything: bool) -> None:
    store = dataset.store
    record = {"directories": dataset.directories}
    store.write(REMOVAL_KEY, json.dumps(record).encode(), Attributes(content_type=JSON, cache_control="no-cache"))
    for key in dataset.infos:
        store.delete(key)
        progress.advance(dataset.sizes[key])
    going = {key: size for key, size in dataset.sizes.items() if key not in dataset.infos}
    if everything:
        going |= dataset.others
    # what publications say of it last, because it names what may be left
    written = {key: size for key, size in going.items() if key.startswith(f"{PUBLISHED_DIRECTORY}/")}
    for some in (going.keys() - written.keys(), written):
        each(store.delete, sorted(some), threads, lambda key, _: progress.advance(going[key]))
    store.delete(REMOVAL_KEY)


# ---- what there is


def _collect(store: Store, *, everything: bool) -> tuple[list[_Dataset], list[str]]:
    """Return the datasets at a place, and the files of a collection itself."""
    root = Below(store, "")
    if everything:
        _refuse_too_much(store)
    if isinstance(store, LocalStore) and not store.root.is_dir():
        raise ObjectNotFoundError(f"{store.root} is not a directory", hint="check the path", where=str(store.root))
    alone = _read(root, "", everything=everything)
    if alone is not None:
        return [alone], []
    listed = read_list(store)
    data = read_or_none(root, COLLECTION_RECORD_KEY)
    record = CollectionRecord() if data is None else CollectionRecord.from_bytes(data, where=COLLECTION_RECORD_KEY)
    names = [*record.names, *(listed.names if listed is not None else ())]
    if listed is not None:
        listed.valid()
    if listed is None and data is None:
        raise ObjectNotFoundError(
            f"{store.url} is not a precomputed dataset, nor a collection: it has no info and no {COLLECTION_KEY}",
            hint="give the directory that holds the info file",
            where=store.url,
        )
    found = [_read(Below(store, name), name, everything=everything) for name in dict.fromkeys(names)]
    return [one for one in found if one is not None], [COLLECTION_KEY] if listed is not None else []


def _read(store: Below, name: str, *, everything: bool) -> _Dataset | None:
    """Return a dataset with all that belongs to it; None if none is there, or was being removed."""
    info, begun = read_or_none(store, INFO_KEY), read_or_none(store, REMOVAL_KEY)
    place = PublishedPlace.read(store)
    if info is None and begun is None and not place.index.all:
        return None
    _refuse_unfinished(store)
    directories: dict[str, str] = {}
    if begun is not None:
        told = parse_object(begun, f"{store.url}/{REMOVAL_KEY}").get("directories")
        directories |= {str(path): str(kind) for path, kind in told.items()} if isinstance(told, dict) else {}
    if info is not None:
        directories |= _directories(store, parse_object(info, f"{store.url}/{INFO_KEY}"))
    ours = place.known
    unlisted = [manifest for manifest in place.manifests.values() if not manifest.listed]
    sizes: dict[str, int] = {}
    others: dict[str, int] = {}
    for stat in _all(store):
        key = bare_name(stat.key)[0]
        path = max((one for one in directories if not one or key.startswith(f"{one}/")), key=len, default=None)
        belongs = key in TOPS or key in ours or key.startswith(f"{PUBLISHED_DIRECTORY}/")
        belongs = belongs or any(one.holds(stat.key) for one in unlisted)
        if path is not None and not belongs:
            inside = key[len(path) + 1 :] if path else key
            belongs = inside == INFO_KEY or KINDS.get(directories[path], _nothing)(inside)
        if stat.key == REMOVAL_KEY:
            continue
        (sizes if belongs else others)[stat.key] = stat.size
    _refuse_links(store, [*sizes, *(others if everything else ())])
    infos = [key for key in sizes if bare_name(key)[0] == INFO_KEY]
    return _Dataset(store, name, directories, sizes, others, infos)


def _nothing(_: str) -> bool:
    return False


def _all(store: Below) -> Iterator[ObjectStat]:
    """Yield all objects, those of publications too, which local stores list only when they are asked for."""
    seen = set()
    for prefix in ("", f"{PUBLISHED_DIRECTORY}/"):
        for stat in store.list(prefix):
            if stat.key not in seen:
                seen.add(stat.key)
                yield stat


def _directories(store: Below, value: Mapping[str, object]) -> dict[str, str]:
    """Return the directories that an info names, and what is in each; an empty one if it is all in one."""
    named: list[tuple[object, str]] = []
    if value.get("@type") == ANNOTATIONS:
        groups = [value.get("by_id")]
        for key in ("relationships", "spatial"):
            entries = value.get(key)
            groups += entries if isinstance(entries, list) else []
        # a whole index is in its directory, and the test is for names with the directory
        found = [normal_path(one["key"]) for one in groups if isinstance(one, dict) and isinstance(one.get("key"), str)]
        return dict.fromkeys(found, "index")
    if value.get("@type") in ALONE:
        return {"": ALONE[str(value["@type"])]}
    scales = value.get("scales")
    for scale in scales if isinstance(scales, list) else []:
        named.append((scale.get("key") if isinstance(scale, dict) else None, "scale"))
    named += [(value.get(kind), kind) for kind in ("mesh", "skeletons", "segment_properties")]
    directories: dict[str, str] = {}
    for path, kind in named:
        if not isinstance(path, str) or "://" in path:
            continue
        normal = normal_path(path)
        if normal.startswith(".."):
            continue  # of another dataset
        directories[normal] = kind
        if kind in ("mesh", "skeletons"):
            data = read_or_none(store, f"{normal}/{INFO_KEY}" if normal else INFO_KEY)
            with suppress(FormatError):
                link = parse_object(data or b"{}", normal).get("segment_properties")
                target = normal_path(f"{normal}/{link}") if isinstance(link, str) else ".."
                if not target.startswith(".."):
                    directories.setdefault(target, "segment_properties")
    return directories


def _refuse_too_much(store: Store) -> None:
    """Refuse to remove everything from places in which people have other things."""
    too_much = isinstance(store, CloudStore) and not store.prefix
    if isinstance(store, LocalStore):
        root = store.root.resolve()
        too_much = any(place == root or root in place.parents for place in (Path.home(), Path.cwd()))
    if too_much:
        raise UsageError(
            f"--all is not for {store.url}, in which there may be anything",
            hint="leave it out: then only what belongs to datasets goes; or name a directory in there",
            where=store.url,
        )


def _refuse_unfinished(store: Below) -> None:
    if not isinstance(store.store, LocalStore):
        return
    for work in unfinished_work(store.store.root / store.directory):
        raise UsageError(
            f"work on {store.url} is going on, or was interrupted",
            hint=f"bring it to its end, or remove {work} first",
            where=store.url,
        )


def _refuse_links(store: Below, keys: Sequence[str]) -> None:
    """Refuse to remove files through a link: they are somewhere else, and may belong to somebody else."""
    if not isinstance(store.store, LocalStore):
        return
    root = store.store.root / store.directory
    folders = {parent for key in keys for parent in Path(key).parents}
    for folder in sorted(folders):
        if str(folder) != "." and (root / folder).is_symlink():
            raise UsageError(
                f"{root / folder} is a link to {(root / folder).readlink()}",
                hint="remove the link first, and what it leads to if that is to go too",
                where=str(root / folder),
            )


def _prune(root: Path, datasets: Sequence[Path]) -> None:
    """Remove the directories in which nothing is left."""
    for dataset in [*datasets, root]:
        for inside, _, _ in os.walk(dataset, topdown=False):
            with suppress(OSError):
                Path(inside).rmdir()


def _summary(
    store: Store, datasets: Sequence[_Dataset], tops: Sequence[str], *, everything: bool, dry_run: bool
) -> RemovalSummary:
    def total(of: Callable[[_Dataset], int]) -> int:
        return sum(map(of, datasets))

    extra = everything
    return RemovalSummary(
        place=store.url,
        dry_run=dry_run,
        everything=everything,
        datasets=tuple(
            DatasetToRemove(
                name=one.name,
                objects=len(one.sizes),
                bytes=sum(one.sizes.values()),
                others=len(one.others),
                examples=tuple(sorted(one.others)[:SHOWN]),
            )
            for one in datasets
        ),
        objects=len(tops) + total(lambda one: len(one.sizes) + (len(one.others) if extra else 0)),
        bytes=total(lambda one: sum(one.sizes.values()) + (sum(one.others.values()) if extra else 0)),
    )
