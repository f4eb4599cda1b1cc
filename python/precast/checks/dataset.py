"""Check a dataset, or every dataset of a collection, against the rules of all its parts."""

from __future__ import annotations

import os
from dataclasses import replace
from decimal import Decimal
from typing import Any

from precast.checks.against import check_against
from precast.checks.annotations import check_annotations
from precast.checks.context import Context
from precast.checks.hosting import check_hosting
from precast.checks.info_rules import UNREADABLE_INFO, VOLUME, Unparsed, VolumeFile
from precast.checks.options import CheckOptions
from precast.checks.part_rules import COLLECTION, PROVENANCE, CollectionFile, ProvenanceFile
from precast.checks.parts import check_parts
from precast.checks.properties import check_properties_file
from precast.checks.report import DatasetReport, PartReport, Report
from precast.checks.skeletons import check_skeletons
from precast.checks.volume import check_volume
from precast.dataset.members import Member, read_list, read_members
from precast.errors import FormatError, ObjectNotFoundError, UsageError
from precast.execution.progress import NoProgress, Progress
from precast.execution.published.place import exists
from precast.findings import Finding
from precast.precomputed.objects import COLLECTION_KEY, INFO_KEY, PROVENANCE_KEY
from precast.precomputed.parts import PART_TYPES
from precast.precomputed.provenance import Provenance
from precast.precomputed.strict_json import parse_object
from precast.storage import HttpStore, LocalStore, Store, open_store
from precast.storage.opening import child_store

__all__ = ["check"]


def check(
    path: str | os.PathLike[str] | Store, options: CheckOptions | None = None, *, progress: Progress | None = None
) -> Report:
    """Check a dataset against the whole format, and the parts of it against each other.

    Parameters
    ----------
    path
        A precomputed dataset, or a directory with several: its path, or a store. Of an address (``https://…``) the
        server is checked, as viewers meet it.
    options
        How much to look into, and what to compare with.
    progress
        Whom to tell.

    Returns
    -------
    Report
        Findings and counts; ``report.ok`` says whether all is well.

    Raises
    ------
    ObjectNotFoundError
        If there is no dataset.
    UsageError
        If an option does not fit the dataset, or does not go with an address.
    AccessDeniedError, StorageError
        If the dataset itself cannot be listed or read; what is in it becomes a finding.

    Examples
    --------
    >>> import numpy, tempfile
    >>> from precast.pipelines.convert import ConvertOptions, convert
    >>> folder = tempfile.mkdtemp() + "/labels"
    >>> summary = convert(numpy.ones((9, 9, 9), numpy.uint32), folder, ConvertOptions(resolution="8"))
    >>> check(folder).ok
    True
    """
    options = options or CheckOptions()
    progress = progress or NoProgress()
    store = open_store(path)
    if isinstance(store, HttpStore):
        return check_hosting(store, options, progress)
    if exists(store, INFO_KEY):
        reports: list[DatasetReport] = [_check_one(store, "", options, progress)]
        general: list[Finding] = []
    else:
        names, general = _layers(store)
        if options.against is not None:
            raise UsageError(
                f"{store.url} is a collection; --against compares one volume",
                hint=f"name its directory, for example {store.url}/{names[0] if names else 'labels'}",
            )
        reports = [_check_one(child_store(store, name), name, options, progress) for name in names]
    return Report(
        path=store.url,
        datasets=tuple(reports),
        sample=options.sample,
        strict=options.strict,
        general=tuple(general),
    )


# ---- collections


def _layers(store: Store) -> tuple[list[str], list[Finding]]:
    """Return the datasets of a collection and what is wrong with its list."""
    there = [member.name for member in read_members(store) if _is_dataset(member)]
    listed = read_list(store, COLLECTION_KEY)
    if listed is None:
        if not there:
            raise ObjectNotFoundError(
                f"{store.url} is not a precomputed dataset: it has no info file",
                hint="give the directory that holds the info file, or one whose directories do",
                where=store.url,
            )
        return there, []
    problem = " ".join(listed.error.message.split()) if listed.error is not None else ""
    if not listed.names:
        return there, COLLECTION.run(CollectionFile(COLLECTION_KEY, problem))
    file = CollectionFile(
        COLLECTION_KEY,
        problem,
        [name for name in listed.names if name not in there],
        [name for name in there if name not in listed.names],
    )
    return [*[name for name in listed.names if name in there], *file.unlisted], COLLECTION.run(file)


def _is_dataset(member: Member) -> bool:
    """Tell whether a directory can be a layer: its info is not that of a part of a volume."""
    if member.error is not None or member.type is None:
        return True  # its check says what is wrong
    return PART_TYPES.get(member.type, "annotations") == "annotations"


# ---- one dataset


def _check_one(store: Store, name: str, options: CheckOptions, progress: Progress) -> DatasetReport:
    report = DatasetReport(name=name, path=store.url)
    try:
        value = parse_object(store.read(INFO_KEY), INFO_KEY, parse_float=Decimal)
    except FormatError as error:
        return replace(report, findings=tuple(UNREADABLE_INFO.run(Unparsed(INFO_KEY, error.message))))
    kind = value.get("@type")
    if isinstance(kind, str) and kind in PART_TYPES:
        return _check_part(store, PART_TYPES[kind], report, options, progress)
    if "redirect" in value and "scales" not in value:
        found = VOLUME.run(VolumeFile(INFO_KEY, value))
        return replace(report, findings=tuple(finding for finding in found if finding.code == "PC109"))
    context = Context(store, options, progress)
    findings = _provenance(context)
    checked = check_volume(value, context)
    findings += checked.findings
    parts, reports = check_parts(value, checked.volume, context, checked.labelled)
    findings += parts
    against: dict[str, Any] | None = None
    if options.against is not None and checked.volume is not None:
        differences, against = check_against(checked.volume, options.against, context)
        findings += differences
    text = VolumeFile(INFO_KEY, value)
    return replace(
        report,
        kind=text.kind,
        data_type=text.data_type,
        channels=text.channels,
        scales=checked.scales,
        parts=tuple(reports),
        against=against,
        findings=tuple(findings),
    )


def _provenance(context: Context) -> list[Finding]:
    try:
        context.provenance = Provenance.parse(context.store.read(PROVENANCE_KEY))
    except ObjectNotFoundError:
        return []
    except FormatError as error:
        context.provenance = Provenance(error.message)
    return PROVENANCE.run(ProvenanceFile(PROVENANCE_KEY, context.provenance.problem))


def _check_part(
    store: Store, kind: str, report: DatasetReport, options: CheckOptions, progress: Progress
) -> DatasetReport:
    """Check a part that is a dataset of its own, seen from the directory that it lies in."""
    if kind == "mesh" or not isinstance(store, LocalStore):
        raise UsageError(
            f"{store.url} holds meshes, which are checked with the volume that they belong to",
            hint="give the directory of the volume",
        )
    if options.against is not None:
        raise UsageError(
            f"{store.url} holds {kind}; --against compares a volume", hint="give the directory of the volume"
        )
    root = store.root.resolve()
    context = Context(LocalStore(root.parent), options, progress)
    if kind == "segment_properties":
        findings = check_properties_file(context.store, root.name)
        return replace(report, kind=kind, findings=tuple(findings))
    if kind == "skeletons":
        skeletons = check_skeletons(context, root.name, None)
        part = PartReport(path="", kind=kind, objects=len(skeletons.ids), checked=skeletons.checked)
        return replace(report, kind=kind, parts=(part,), findings=tuple(skeletons.findings))
    found = check_annotations(context, root.name)
    part = PartReport(path="", kind=kind, objects=len(found.ids), checked=found.checked)
    return replace(report, kind=kind, parts=(part,), findings=tuple(found.findings))
