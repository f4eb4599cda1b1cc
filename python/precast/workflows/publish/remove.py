"""``rm``: a dataset or a collection goes, what makes it visible first; other files stay where they are.

What is going to be removed is written down before anything is, in ``.published/removal.json``, so that it can be gone
on with when the info, which names it, is not there any more.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path

from precast.checks.former import FormerGenerations, former_generations
from precast.dataset.members import read_list, read_members
from precast.errors import FormatError, ObjectNotFoundError, SourceError, UsageError
from precast.execution.progress import NoProgress, Progress
from precast.execution.published.place import SIDES, exists, read_or_none
from precast.execution.published.switching import prune
from precast.execution.published.transfer import each
from precast.execution.workdir import unfinished_work
from precast.pipelines.options import check_choices
from precast.precomputed.objects import COLLECTION_KEY, INFO_KEY, JSON
from precast.precomputed.publication import (
    COLLECTION_RECORD_KEY,
    INDEX_KEY,
    PUBLISHED_DIRECTORY,
    CollectionRecord,
    is_record,
)
from precast.precomputed.strict_json import json_file, parse_object
from precast.storage import Attributes, CloudStore, HttpStore, LocalStore, ObjectStat, Store, open_store
from precast.storage.below import Below
from precast.storage.encodings import bare_name
from precast.workflows.publish.named import Named, forgiving, read_named

__all__ = ["RemovalOptions", "RemovalSummary", "RemovedDataset", "plan_rm", "rm"]

RECORD_KEY = f"{PUBLISHED_DIRECTORY}/removal.json"
TYPE = "precast_removal"
SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class RemovalOptions:
    """What to remove.

    Raises
    ------
    UsageError
        If a value is not allowed; the text says what is.
    """

    all: bool = field(
        default=False, metadata={"help": "Remove everything below, other files too, not only what belongs to datasets."}
    )
    root: bool = field(
        default=False,
        metadata={"help": "Although it is the root of a bucket, the home directory, or one that holds it."},
    )
    threads: int = field(
        default=16, metadata={"help": "Objects that are removed at once.", "bounds": (1, 1024), "metavar": "N"}
    )

    def __post_init__(self) -> None:
        for spec in fields(self):
            check_choices(spec.name, getattr(self, spec.name), spec.metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedDataset:
    """One dataset; objects of all its generations, and what was written down about them."""

    name: str
    objects: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalSummary:
    """What was removed, or would be.

    Attributes
    ----------
    place
        From where.
    datasets
        Each of them.
    objects, bytes
        All of it.
    left_objects, left_bytes, left
        What belongs to no dataset, and stays; and some of it.
    """

    place: str
    datasets: tuple[RemovedDataset, ...]
    objects: int
    bytes: int
    left_objects: int
    left_bytes: int
    left: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What belongs: the datasets by name, with what their infos and their publications name."""

    datasets: Mapping[str, tuple[Named, FormerGenerations]]
    everything: bool
    begun: bool

    def owner(self, key: str) -> str | None:
        """Return the dataset that an object belongs to, empty for the place itself too; None for other files."""
        if key.startswith(f"{PUBLISHED_DIRECTORY}/") or ("" not in self.datasets and key == COLLECTION_KEY):
            return ""
        name, _, inside = ("", "", key) if "" in self.datasets else key.partition("/")
        named, former = self.datasets.get(name, (None, None))
        if named is None or former is None:
            return "" if self.everything else None
        plain, _ = bare_name(inside)
        belongs = (
            inside.startswith(f"{PUBLISHED_DIRECTORY}/") or former.holds(inside) or named.sure_kind(plain) is not None
        )
        return name if belongs or self.everything else None


def plan_rm(place: str | os.PathLike[str] | Store, options: RemovalOptions | None = None) -> RemovalSummary:
    """Tell what :func:`rm` would remove; parameters and errors are its."""
    options = options or RemovalOptions()
    store = open_store(place)
    return _summary(store, _plan(store, options))


def rm(
    place: str | os.PathLike[str] | Store, options: RemovalOptions | None = None, progress: Progress | None = None
) -> RemovalSummary:
    """Remove a dataset or a collection, and leave other files alone.

    What makes it visible goes first, so that no reader begins on half a dataset. After an interruption the same call
    goes on.

    Parameters
    ----------
    place
        A directory, the address of a place that can be written, or a store.
    options
        See :class:`RemovalOptions`.
    progress
        Told what happens.

    Raises
    ------
    UsageError
        If it cannot be written, or is the root of a bucket or the home directory and ``root`` is not set.
    ObjectNotFoundError
        If there is no dataset.
    FormatError
        If an info cannot be understood, so that it is not known what belongs to it, and ``all`` is not set.
    SourceError
        If work on it is going on.
    AccessDeniedError, StorageError
        If something cannot be read or removed.

    Examples
    --------
    >>> import numpy, tempfile
    >>> from precast.pipelines.convert import ConvertOptions, convert
    >>> folder = tempfile.mkdtemp()
    >>> made = convert(numpy.ones((9, 9, 9), numpy.uint32), folder + "/labels", ConvertOptions(resolution="8"))
    >>> rm(folder + "/labels").left_objects
    0
    >>> os.listdir(folder)
    []
    """
    options, progress = options or RemovalOptions(), progress or NoProgress()
    store = open_store(place)
    plan = _plan(store, options)
    summary = _summary(store, plan)
    store.write(RECORD_KEY, _record(plan), Attributes(content_type=JSON, cache_control="no-cache"))
    if "" not in plan.datasets:
        store.delete(COLLECTION_KEY)
    for name in plan.datasets:
        for top in (INFO_KEY, *SIDES):
            store.delete(f"{name}/{top}" if name else top)
    progress.phase(f"removing {summary.objects} objects", summary.bytes)
    for published in (False, True):  # what generations have is known by their lists, which go last
        chosen = (
            stat
            for stat in _objects(store, plan)
            if is_record(stat.key) == published and stat.key != RECORD_KEY and plan.owner(stat.key) is not None
        )
        each(lambda stat: store.delete(stat.key), chosen, options.threads, lambda stat, _: progress.advance(stat.size))
    store.delete(RECORD_KEY)
    if isinstance(store, LocalStore):
        _clear(store.root, plan)
    return summary


def _clear(root: Path, plan: _Plan) -> None:
    """Remove directories in which nothing is left, and what was being written in those of publications."""
    for name in ("", *plan.datasets):
        shutil.rmtree(root / name / PUBLISHED_DIRECTORY, ignore_errors=True)
    if plan.everything:
        for entry in os.scandir(root):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                Path(entry.path).unlink()
    prune(root)
    with suppress(OSError):
        root.rmdir()


# ---- planning


def _plan(store: Store, options: RemovalOptions) -> _Plan:
    if isinstance(store, HttpStore):
        raise UsageError(
            f"{store.url} is on a web server, where nothing can be removed",
            hint="give the directory or the bucket that it is in",
            where=store.url,
        )
    _refuse_roots(store, options)
    begun = read_or_none(Below(store, ""), RECORD_KEY)
    if begun is not None:
        return _read_record(store, begun, everything=options.all)
    names = _names(store)
    if names is None:
        raise ObjectNotFoundError(
            f"there is no dataset at {store.url}: nothing is removed",
            hint="give a directory that holds an info file, or one with datasets",
            where=store.url,
        )
    if isinstance(store, LocalStore):
        for name in names:
            for work in unfinished_work(store.root / name):
                raise SourceError(
                    f"{store.root / name} is not finished: work on it is going on, or was interrupted",
                    hint=f"wait for its end; or remove {work}, in which its state is",
                    where=str(work),
                )
    datasets = {name: _named(Below(store, name), everything=options.all) for name in names}
    return _Plan(datasets, options.all, begun=False)


def _refuse_roots(store: Store, options: RemovalOptions) -> None:
    what = ""
    if isinstance(store, CloudStore) and not store.prefix:
        what = "is a whole bucket"
    elif isinstance(store, LocalStore):
        here = store.root.resolve()
        home, work = Path.home().resolve(), Path.cwd()
        if here == home or here in home.parents:
            what = "holds the home directory"
        elif here == work or here in work.parents:
            what = "holds the directory in which this runs"
        if what and options.all:
            raise UsageError(f"{here} {what}, of which precast does not remove everything", where=str(here))
    if what and not options.root:
        raise UsageError(
            f"{store.url} {what}",
            hint="name the datasets in it one by one; or give --root, if that is what is meant",
            where=store.url,
        )


def _names(store: Store) -> list[str] | None:
    """Return the datasets at a place; None if nothing there is one."""
    top = Below(store, "")
    # the list of generations alone is left of work that was begun and given up
    if any(exists(top, name) for name in (INFO_KEY, f"{INFO_KEY}.gz", f"{INFO_KEY}.br", INDEX_KEY)):
        return [""]
    record = read_or_none(top, COLLECTION_RECORD_KEY)
    listed = read_list(store)
    names: list[str] = []
    if record is not None:
        names += CollectionRecord.from_bytes(record, where=f"{store.url}/{COLLECTION_RECORD_KEY}").names
    if listed is not None:
        names += [layer.name for layer in listed.valid().layers]
    names += [member.name for member in read_members(store)]
    if not names and record is None and listed is None:
        return None
    return [name for name in dict.fromkeys(names) if name and "/" not in name and not name.startswith(".")]


def _named(store: Below, *, everything: bool) -> tuple[Named, FormerGenerations]:
    former = former_generations(store)
    read = forgiving(store)
    try:
        named = read_named(read)
        unknown = not named.kinds and not former.keys and read(INFO_KEY) is not None
    except FormatError:
        named, unknown = Named(), True
    if unknown and not everything:
        raise FormatError(
            f"{store.url}/{INFO_KEY} cannot be understood, so that it is not known what belongs to it",
            hint="--all removes everything below",
            where=store.url,
        )
    return named, former


def _record(plan: _Plan) -> bytes:
    return json_file(
        {
            "@type": TYPE,
            "everything": plan.everything,
            "datasets": {
                name: {"kinds": dict(named.kinds), "multires": sorted(named.multires)}
                for name, (named, _) in plan.datasets.items()
            },
        }
    )


def _read_record(store: Store, data: bytes, *, everything: bool) -> _Plan:
    where = f"{store.url}/{RECORD_KEY}"
    value = parse_object(data, where)
    datasets = {}
    try:
        if value["@type"] != TYPE:
            raise ValueError(value["@type"])
        for name, one in value["datasets"].items():
            named = Named({str(path): str(kind) for path, kind in one["kinds"].items()}, frozenset(one["multires"]))
            datasets[str(name)] = (named, former_generations(Below(store, name)))
        return _Plan(datasets, everything or value["everything"] is True, begun=True)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise FormatError(
            f"{where} cannot be understood", hint="it was written by a newer precast, or damaged", where=where
        ) from None


def _objects(store: Store, plan: _Plan) -> Iterator[ObjectStat]:
    """Yield all objects, those of publications too, each once."""
    links: dict[Path, bool] = {}
    for stat in store.list():
        if not is_record(stat.key) and not _behind_link(store, stat.key, links):
            yield stat
    for name in dict.fromkeys(("", *plan.datasets)):
        yield from store.list(f"{name}/{PUBLISHED_DIRECTORY}/" if name else f"{PUBLISHED_DIRECTORY}/")


def _behind_link(store: Store, key: str, known: dict[Path, bool]) -> bool:
    """Whether a file lies elsewhere, in a directory to which a link leads."""
    if not isinstance(store, LocalStore):
        return False
    folder = (store.root / key).parent
    if folder == store.root:
        return False
    if folder not in known:
        parent = str(folder.relative_to(store.root))
        known[folder] = folder.is_symlink() or _behind_link(store, parent, known)
    return known[folder]


def _summary(store: Store, plan: _Plan) -> RemovalSummary:
    counts = {name: [0, 0] for name in plan.datasets}
    rest, left = [0, 0], [0, 0]
    names: list[str] = []
    for stat in _objects(store, plan):
        if stat.key == RECORD_KEY:
            continue
        owner = plan.owner(stat.key)
        count = left if owner is None else counts.get(owner, rest)
        count[0] += 1
        count[1] += stat.size
        if owner is None and len(names) < SHOWN:
            names.append(stat.key)
    both = [*counts.values(), rest]
    return RemovalSummary(
        place=store.url,
        datasets=tuple(RemovedDataset(name=name, objects=n, bytes=size) for name, (n, size) in counts.items()),
        objects=sum(count for count, _ in both),
        bytes=sum(size for _, size in both),
        left_objects=left[0],
        left_bytes=left[1],
        left=tuple(names),
    )
