"""Check datasets on a web server as a viewer on another origin meets them: every directory that the info names.

Each directory may be set up differently, so each is asked on its own: for an object or two that are there, for one that
is not, with ``OPTIONS``. Nothing is listed and no shard is read as a whole.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from dataclasses import fields, replace

from precast.checks.hosting_answers import Content, Place, Site
from precast.checks.hosting_fixes import with_fix
from precast.checks.hosting_probes import Prober, is_local, is_page
from precast.checks.hosting_rules import SITE
from precast.checks.hosting_walk import NOTHING, Walk
from precast.checks.options import CheckOptions
from precast.checks.part_rules import COLLECTION, CollectionFile
from precast.checks.report import DatasetReport, Report
from precast.errors import CertificateError, FormatError, ObjectNotFoundError, StorageError, UsageError
from precast.execution.progress import Progress
from precast.execution.workdir import BUILD_LEDGER
from precast.findings import Finding
from precast.precomputed.collection import Collection
from precast.precomputed.objects import COLLECTION_KEY, INFO_KEY, ObjectKind
from precast.precomputed.strict_json import parse_object
from precast.storage import HttpStore

__all__ = ["check_hosting"]

THREADS = 8
HIDDEN = (BUILD_LEDGER,)


def check_hosting(store: HttpStore, options: CheckOptions, progress: Progress) -> Report:
    """Check a dataset, or the datasets of a collection, on a web server.

    Raises
    ------
    UsageError
        If an option does not go with an address.
    ObjectNotFoundError
        If there is no dataset.
    StorageError
        If the server does not answer at all.
    """
    _refuse_options(options)
    address = store.address("").rstrip("/")
    url = store.url
    prober = Prober(url, options.threads or THREADS)
    progress.phase(f"asking {urllib.parse.urlsplit(url).netloc}", 0)
    try:
        prober.client.request("GET", store.address(INFO_KEY), prober.headers, limit=1, cut=True)
    except CertificateError as error:
        site = Site(url, certificate=error.message)
        return Report(path=address, datasets=(), strict=options.strict, general=tuple(SITE.run(site)))
    walks, general = _walks(store, prober)
    reports = []
    for walk in walks:
        progress.phase(f"asking for {walk.store.url}", 0)
        reports.append(walk.report())
    hidden = tuple(prober.ask(store.address(name), limit=1 << 16) for name in HIDDEN)
    top = walks[0].places[0]  # a page for everything is told by a rule of its own
    told = tuple(one for one in hidden if not is_page(top, one))
    general += [_fixed(finding, walks) for finding in SITE.run(Site(url, is_local(url), hidden=told))]
    reports = [_with_fixes(report, walk.server, walks) for report, walk in zip(reports, walks, strict=True)]
    return Report(path=address, datasets=tuple(reports), strict=options.strict, general=tuple(general))


def _with_fixes(report: DatasetReport, server: str, walks: Sequence[Walk]) -> DatasetReport:
    """Say what to change on the server, in the same words for all datasets."""
    fragments = [path for walk in walks for path in walk.fragments]
    return replace(report, findings=tuple(with_fix(finding, server, fragments) for finding in report.findings))


def _refuse_options(options: CheckOptions) -> None:
    for spec in fields(options):
        if spec.name not in ("strict", "threads") and getattr(options, spec.name) != spec.default:
            raise UsageError(
                f"--{spec.name} does not go with an address: of a dataset on a web server a few objects are looked at",
                hint="check the local copy too: precast check DIR",
            )


def _fixed(finding: Finding, walks: Sequence[Walk]) -> Finding:
    return with_fix(finding, next((walk.server for walk in walks if walk.server), ""))


# ---- what is there


def _walks(store: HttpStore, prober: Prober) -> tuple[list[Walk], list[Finding]]:
    """Find out whether it is one dataset or a collection."""
    walk = Walk(store, prober)
    info = walk.root()
    if info.answer is None:
        raise StorageError(info.problem, hint="check the address and the network", where=store.url)
    if not info.absent and (walk.value is not None or info.status != 200):
        return [walk], []
    asked = prober.ask(store.address(COLLECTION_KEY))
    if asked.status != 200:
        if info.status in (404, 410) and asked.status in (404, 410):
            raise ObjectNotFoundError(
                f"there is no dataset at {store.url}: no {INFO_KEY}, no {COLLECTION_KEY}",
                hint="give the address of a dataset, or of a directory with precast.json",
                where=store.url,
            )
        return [walk], []
    place = Place(store.url, "", "list of datasets", asked=[asked])
    top = Walk(store, prober, places=[place], kind="collection")
    data = prober.whole(place, asked, ObjectKind.COLLECTION, lambda data: parse_object(data, COLLECTION_KEY), root=True)
    if place.wholes[0].content is Content.WRONG and walk.value is None and info.status == 200:
        return [walk], []  # a page for everything
    top.settle(place, store, NOTHING, store.address(COLLECTION_KEY))
    if not data:
        return [top], []
    try:
        layers = Collection.from_bytes(data).layers
    except FormatError as error:
        problem = CollectionFile(store.address(COLLECTION_KEY), " ".join(error.message.split()))
        return [top], list(COLLECTION.run(problem))
    return [top, *(Walk(store.child(layer.name), prober, layer.name) for layer in layers)], []
