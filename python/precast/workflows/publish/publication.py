"""The whole way of a publication: list, check, compare, send, verify, switch."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from precast.checks.infos import check_infos
from precast.dataset.objects import attributes
from precast.errors import DestinationExistsError, FormatError
from precast.execution.memory import peak_rss_bytes
from precast.execution.progress import NoProgress, Progress
from precast.execution.published.place import PublishedPlace, read_or_none
from precast.execution.published.switching import finish_removal, switch
from precast.execution.published.transfer import Sender
from precast.findings import Finding, Severity, notice
from precast.precomputed.objects import COLLECTION_KEY, INFO_KEY, JSON, ObjectKind
from precast.precomputed.publication import COLLECTION_RECORD_KEY, CollectionRecord, CollectionState
from precast.storage import Attributes, LocalStore, Store, open_store
from precast.storage.below import Below
from precast.workflows.publish.contents import Source, SourceDataset
from precast.workflows.publish.nested import refuse_nested
from precast.workflows.publish.options import PublishOptions
from precast.workflows.publish.plan import DatasetPlan, plan_dataset
from precast.workflows.publish.reading import read_objects
from precast.workflows.publish.reshard import reshard
from precast.workflows.publish.run import settle_doubts, stage
from precast.workflows.publish.source import open_source_place

__all__ = [
    "DatasetSummary",
    "HeaderCount",
    "PublishSummary",
    "plan_publication",
    "publish",
    "read_record",
    "write_list",
    "write_record",
]

SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderCount:
    """Objects with the same headers."""

    content_type: str
    content_encoding: str
    cache_control: str
    objects: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSummary:
    """One dataset.

    Attributes
    ----------
    name
        Its directory in a collection; empty if it stands alone.
    generation
        The number of its content.
    state
        ``new``, ``changed`` or ``unchanged``, as readers see it.
    new, changed, unchanged, removed
        Objects beside those that readers saw before.
    objects, bytes
        All of them.
    sent_objects, sent_bytes
        Those that had to be sent.
    former_objects, former_bytes
        What former generations keep that this one does not have.
    paths
        Directories that lie elsewhere than in the source.
    """

    name: str
    generation: str
    state: str
    new: int
    changed: int
    unchanged: int
    removed: int
    objects: int
    bytes: int
    sent_objects: int
    sent_bytes: int
    former_objects: int
    former_bytes: int
    paths: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishSummary:
    """What was done, or would be.

    Attributes
    ----------
    source, destination
        From where, to where.
    dry_run
        Whether it only would be.
    listed
        Whether it is a collection with a list of its datasets.
    datasets
        Each of them.
    headers
        How the objects are sent, the commonest headers first.
    seconds, peak_memory_bytes
        What it took.
    findings
        What was noticed by the way.
    """

    source: str
    destination: str
    dry_run: bool
    listed: bool
    datasets: tuple[DatasetSummary, ...]
    headers: tuple[HeaderCount, ...]
    seconds: float
    peak_memory_bytes: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    source: Source
    store: Store
    record: CollectionRecord
    datasets: tuple[DatasetPlan, ...]


def plan_publication(
    source: str | os.PathLike[str] | Store,
    destination: str | os.PathLike[str] | Store,
    options: PublishOptions | None = None,
    progress: Progress | None = None,
) -> PublishSummary:
    """Tell what :func:`publish` would do; nothing is written.

    Parameters and errors are those of :func:`publish`.
    """
    begun = time.perf_counter()
    options, progress = options or PublishOptions(), progress or NoProgress()
    plan = _plan(source, open_store(destination), options, progress)
    return _summary(plan, begun, dry_run=True)


def publish(
    source: str | os.PathLike[str] | Store,
    destination: str | os.PathLike[str] | Store,
    options: PublishOptions | None = None,
    progress: Progress | None = None,
) -> PublishSummary:
    """Bring a dataset or a collection to another place, so that readers there see the old one or the new one, whole.

    What is there already is not sent again. What changed goes under the path of a new generation, and the one that was
    there stays, until it is removed. After an interruption the same call goes on.

    Parameters
    ----------
    source
        A dataset, or several: a directory, an address (of a bucket, or of a web server), or a store.
    destination
        A directory, the address of a place that can be written, or a store.
    options
        See :class:`PublishOptions`.
    progress
        Told what happens; by default nobody is.

    Raises
    ------
    UsageError
        If one place is inside the other, or the destination is an address that cannot be used.
    ObjectNotFoundError
        If there is no dataset.
    SourceError
        If a dataset is not finished, or was changed meanwhile.
    FormatError
        If an info is wrong.
    DestinationExistsError
        If something is there that precast did not publish, and ``overwrite`` is not set.
    AccessDeniedError, StorageError
        If something cannot be read or written; readers then see what they saw before.

    Examples
    --------
    >>> import numpy, tempfile
    >>> from precast.pipelines.convert import ConvertOptions, convert
    >>> folder = tempfile.mkdtemp()
    >>> made = convert(numpy.ones((9, 9, 9), numpy.uint32), folder + "/labels", ConvertOptions(resolution="8"))
    >>> publish(folder + "/labels", folder + "/www").datasets[0].state
    'new'
    >>> publish(folder + "/labels", folder + "/www").datasets[0].sent_objects
    0
    """
    begun = time.perf_counter()
    options, progress = options or PublishOptions(), progress or NoProgress()
    store = open_store(destination)
    with Sender(store, options.at_once, progress) as sender:
        plan = _plan(source, store, options, progress, sender)
        summary = _summary(plan, begun, dry_run=False)
        _run(plan, sender)
    return replace(summary, seconds=time.perf_counter() - begun, peak_memory_bytes=peak_rss_bytes())


def _plan(
    place: str | os.PathLike[str] | Store,
    store: Store,
    options: PublishOptions,
    progress: Progress,
    sender: Sender | None = None,
) -> _Plan:
    origin = open_store(place)
    refuse_nested(origin, store)
    source = open_source_place(origin, options.at_once)
    _refuse_faulty(source)
    root = Below(store, "")
    record = read_record(root)
    _refuse_other_sort(source, root, record, options)
    # the destination first: what is refused is refused before hours of reading
    places = [_place(store, dataset, sender) for dataset in source.datasets]
    if options.reshard:
        datasets = tuple(reshard(one, options.at_once) for one in source.datasets)
        source = replace(source, datasets=datasets)
    local = isinstance(origin, LocalStore)
    datasets, checksums = read_objects(source.datasets, min(4, options.at_once) if local else options.at_once, progress)
    source = replace(source, datasets=datasets)
    plans = []
    for dataset, there in zip(source.datasets, places, strict=True):
        plan = plan_dataset(dataset, there, checksums[dataset.name], overwrite=options.overwrite)
        plans.append(settle_doubts(plan, options.at_once, progress))
    return _Plan(source, store, record, tuple(plans))


def _refuse_faulty(source: Source) -> None:
    for dataset in source.datasets:
        wrong = [one for one in check_infos(dataset.store) if one.severity == Severity.ERROR]
        if wrong:
            lines = "\n".join(f"  {one.code} {one.where}: {one.message}" for one in wrong[:SHOWN])
            raise FormatError(
                f"{dataset.where} is not as the format wants it:\n{lines}",
                hint="precast check says what to do",
                where=dataset.where,
            )


def _refuse_other_sort(source: Source, root: Below, record: CollectionRecord, options: PublishOptions) -> None:
    """Refuse a dataset where a collection is, a collection where a dataset is, and lists by others."""
    listed = read_or_none(root, COLLECTION_KEY)
    if source.single:
        if listed is not None or record != CollectionRecord():
            raise DestinationExistsError(
                f"{root.url} is a collection, and {source.url} is one dataset",
                hint=f"publish it below: {root.url.rstrip('/')}/NAME; or publish the collection that it is in",
                where=root.url,
            )
        return
    if read_or_none(root, INFO_KEY) is not None:
        raise DestinationExistsError(
            f"{root.url} is a dataset, and {source.url} is a collection",
            hint="publish to another place",
            where=root.url,
        )
    ours = [state.text for state in (record.current, record.next) if state is not None]
    if listed is not None and listed.decode(errors="replace") not in ours and not options.overwrite:
        raise DestinationExistsError(
            f"{root.url}/{COLLECTION_KEY} is not as precast published it",
            hint="publish to another place, or give --overwrite to replace it",
            where=COLLECTION_KEY,
        )


def _place(store: Store, dataset: SourceDataset, sender: Sender | None) -> PublishedPlace:
    below = Below(store, dataset.name)
    place = PublishedPlace.read(below)
    if place.index.removing and sender is not None:  # a removal that was asked for, and interrupted
        finish_removal(below, place.index, sender)
        place = PublishedPlace.read(below)
    return place


# ---- doing it


def _run(plan: _Plan, sender: Sender) -> None:
    sender.prepare()
    total = [item for dataset in plan.datasets for item in dataset.send]
    root, record = Below(plan.store, ""), plan.record
    state = CollectionState({one.source.name: one.generation for one in plan.datasets}, plan.source.text)
    names = tuple(dict.fromkeys((*record.names, *state.datasets)))
    if not plan.source.single and (record.current, record.next, record.names) != (state, None, names):
        record = replace(record, next=state, names=names)
        write_record(root, record)
    sender.progress.phase(f"sending {len(total)} objects", sum(item.source.file.size for item in total))
    staged = [stage(dataset, sender) for dataset in plan.datasets]
    indexes = [switch(place, dataset.generation, sender) for place, dataset in zip(staged, plan.datasets, strict=True)]
    if not plan.source.single:
        write_list(root, plan.source.text)
        if record.next is not None:
            previous = record.previous if record.current == state else record.current
            write_record(root, replace(record, current=state, next=None, previous=previous))
    for dataset, index in zip(plan.datasets, indexes, strict=True):
        finish_removal(dataset.place.store, index, sender)  # of what was begun once and never seen


def read_record(root: Below) -> CollectionRecord:
    """Return what of a collection was published at a place; an empty one if nothing was."""
    data = read_or_none(root, COLLECTION_RECORD_KEY)
    if data is None:
        return CollectionRecord()
    return CollectionRecord.from_bytes(data, where=f"{root.url}/{COLLECTION_RECORD_KEY}")


def write_record(root: Below, record: CollectionRecord) -> None:
    """Write down what of a collection is published at a place."""
    root.write(COLLECTION_RECORD_KEY, record.to_bytes(), Attributes(content_type=JSON, cache_control="no-cache"))


def write_list(root: Below, text: str | None) -> None:
    """Write the list of datasets if it is another one; None for no list."""
    there = read_or_none(root, COLLECTION_KEY)
    if text is None:
        if there is not None:
            root.delete(COLLECTION_KEY)
    elif there != text.encode():
        root.write(COLLECTION_KEY, text.encode(), attributes(ObjectKind.COLLECTION))


# ---- telling it


def _summary(plan: _Plan, begun: float, *, dry_run: bool) -> PublishSummary:
    datasets = tuple(_dataset_summary(one) for one in plan.datasets)
    return PublishSummary(
        source=plan.source.url,
        destination=plan.store.url,
        dry_run=dry_run,
        listed=plan.source.text is not None,
        datasets=datasets,
        headers=_headers(plan),
        seconds=time.perf_counter() - begun,
        peak_memory_bytes=peak_rss_bytes(),
        findings=tuple(_findings(plan, datasets)),
    )


def _findings(plan: _Plan, datasets: tuple[DatasetSummary, ...]) -> list[Finding]:
    """Return what was noticed by the way."""
    findings: list[Finding] = []
    left_out = list(plan.source.left_out)
    for one, told in zip(plan.datasets, datasets, strict=True):
        prefix = f"{one.source.name}/" if one.source.name else ""
        left_out += [f"{prefix}{key}" for key in one.source.left_out]
        findings += one.source.findings
        if one.foreign:
            findings.append(
                notice(
                    "PU101",
                    one.place.store.url,
                    f"{len(one.foreign)} objects were not published by precast, and are left alone: "
                    f"{_some(one.foreign)}",
                )
            )
        if told.former_objects:
            findings.append(
                notice(
                    "PU103",
                    one.place.store.url,
                    f"{told.former_objects} objects of former generations, {told.former_bytes} bytes, are kept",
                    "--rollback leads back to the last of them; --delete removes them",
                )
            )
    brotli = sum(item.attributes.encoding == "br" for one in plan.datasets for item in one.items)
    if brotli:
        findings.append(
            notice(
                "PU112",
                plan.store.url,
                f"{brotli} objects are packed with brotli, as in the source: browsers take it over https and from "
                "localhost alone",
            )
        )
    if left_out:
        findings.append(
            notice("PU102", plan.source.url, f"{len(left_out)} files belong to no dataset: {_some(left_out)}")
        )
    gone = [name for name in plan.record.names if name not in {one.source.name for one in plan.datasets}]
    if gone:
        findings.append(
            notice(
                "PU104",
                plan.store.url,
                f"{', '.join(gone)}: published before, and no longer in the collection",
                "--delete removes them",
            )
        )
    return findings


def _some(names: tuple[str, ...] | list[str]) -> str:
    return f"{', '.join(names[:SHOWN])}{' …' if len(names) > SHOWN else ''}"


def _dataset_summary(plan: DatasetPlan) -> DatasetSummary:
    compared = plan.comparison
    here = {item.key for item in plan.items}
    former = {
        one.key: one.size
        for name, manifest in plan.place.manifests.items()
        if name in (*plan.place.index.kept, plan.place.seen)
        for one in manifest.objects
        if one.key not in here and one.key in plan.place.listed
    }
    state = "unchanged" if plan.seen else "new" if plan.place.info is None else "changed"
    return DatasetSummary(
        name=plan.source.name,
        generation=plan.generation,
        state=state,
        new=compared.new,
        changed=compared.changed,
        unchanged=compared.unchanged,
        removed=compared.removed,
        objects=len(plan.items),
        bytes=sum(item.source.file.size for item in plan.items),
        sent_objects=len(plan.send),
        sent_bytes=sum(item.source.file.size for item in plan.send),
        former_objects=len(former),
        former_bytes=sum(former.values()),
        paths={source: place for source, place in plan.paths.items() if source != place},
    )


def _headers(plan: _Plan) -> tuple[HeaderCount, ...]:
    counts: dict[Attributes, tuple[int, int]] = {}
    for dataset in plan.datasets:
        for item in dataset.items:
            objects, size = counts.get(item.attributes, (0, 0))
            counts[item.attributes] = (objects + 1, size + item.source.file.size)
    found = [
        HeaderCount(
            content_type=how.content_type,
            content_encoding=how.encoding,
            cache_control=how.cache_control,
            objects=objects,
            bytes=size,
        )
        for how, (objects, size) in counts.items()
    ]
    return tuple(sorted(found, key=lambda one: -one.objects))
