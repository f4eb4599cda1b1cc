"""``properties``: segment properties alone, from the label table and a user's columns.

The order of writing is the safety: the properties first, under a directory that nothing names yet, then the link in
``info``. A kill in between leaves the old ``info``, and the same call goes on.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from precast import __version__
from precast.dataset import Volume, open_volume
from precast.dataset.links import link_parts
from precast.dataset.objects import attributes, rewrite
from precast.errors import DestinationExistsError, FormatError, ObjectNotFoundError, StorageError, UsageError
from precast.execution.memory import peak_rss_bytes
from precast.execution.progress import NoProgress, Progress
from precast.execution.published.place import is_published
from precast.execution.work import open_destination, open_work
from precast.execution.workdir import PartsOfDataset
from precast.findings import Finding, notice
from precast.pipelines.label_statistics import label_rows
from precast.pipelines.options import check_choices, thread_count
from precast.precomputed.objects import INFO_KEY, SEGMENT_PROPERTIES_DIRECTORY, ObjectKind
from precast.precomputed.segment_columns import (
    MOST_SEGMENTS,
    ColumnTable,
    SegmentStatistics,
    build_properties,
    columns_of,
)
from precast.precomputed.segment_properties import SegmentProperties
from precast.sources.columns import read_columns
from precast.storage import Store

__all__ = [
    "PropertiesOptions",
    "PropertiesSummary",
    "former_columns",
    "former_properties",
    "plan_properties",
    "properties",
]

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class PropertiesOptions:
    """Which properties to write.

    Raises
    ------
    UsageError
        If a value is not allowed; the text says what is.
    """

    csv: str | os.PathLike[str] | None = field(
        default=None,
        metadata={"help": "Table with a header row and one row per segment, CSV or TSV.", "metavar": "FILE"},
    )
    id_column: str | None = field(
        default=None,
        metadata={"help": "Column of --csv with the ids; default: id, segment_id, root_id, ...", "metavar": "NAME"},
    )
    limit: int = field(
        default=MOST_SEGMENTS,
        metadata={"help": "Most segments; of more the largest are listed.", "bounds": (1, 100_000_000)},
    )
    min_voxels: int = field(
        default=1, metadata={"help": "Leave out segments of fewer voxels.", "bounds": (1, 2**63 - 1)}
    )
    overwrite: bool = field(default=False, metadata={"help": "Replace the properties that the dataset has."})

    def __post_init__(self) -> None:
        for spec in fields(self):
            check_choices(spec.name, getattr(self, spec.name), spec.metadata)
        if self.id_column is not None and self.csv is None:
            raise UsageError("--id-column names a column of --csv", hint="give --csv FILE too")


@dataclass(frozen=True, slots=True, kw_only=True)
class PropertySummary:
    """One property that was written; ``values`` counts the segments with a text or a tag, and all for numbers."""

    id: str
    type: str
    data_type: str | None
    values: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PropertiesSummary:
    """What has been written, or would be."""

    dataset: str
    directory: str
    segments: int
    labels: int
    properties: tuple[PropertySummary, ...]
    bytes: int
    seconds: float
    peak_memory_bytes: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Built:
    """Properties that are ready to be written."""

    store: Store
    data: bytes
    summary: PropertiesSummary


def plan_properties(
    dataset: str | os.PathLike[str] | Store,
    options: PropertiesOptions | None = None,
    *,
    progress: Progress | None = None,
) -> PropertiesSummary:
    """Find out what :func:`properties` would write, and write nothing.

    Parameters and errors are those of :func:`properties`.
    """
    return _build(dataset, options or PropertiesOptions(), progress or NoProgress()).summary


def properties(
    dataset: str | os.PathLike[str] | Store,
    options: PropertiesOptions | None = None,
    *,
    progress: Progress | None = None,
) -> PropertiesSummary:
    """Write the segment properties of a segmentation and link them in its ``info``, last.

    Numbers of voxels, volumes, bounding boxes and centroids come from the label table; a dataset without one is
    counted in one pass. Areas and faces are kept if the dataset has meshes and its former properties tell them, and so
    are the columns of a user's table if no other is given.

    Parameters
    ----------
    dataset
        Directory of a precomputed segmentation, or a store.
    options
        See :class:`PropertiesOptions`.
    progress
        Told about the pass over the voxels, if there is one.

    Returns
    -------
    PropertiesSummary
        Segments, properties, bytes, findings.

    Raises
    ------
    ObjectNotFoundError, FormatError, AccessDeniedError, StorageError
        If the dataset or the table cannot be read, or writing fails; nothing is lost then.
    UsageError
        If the dataset is no segmentation, or a column cannot be stored.
    SourceError
        If the table is damaged; names the line.
    DestinationExistsError
        If there are properties already and ``overwrite`` is not set.

    Examples
    --------
    >>> import numpy, precast, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> labels = numpy.full((8, 8, 8), 5, numpy.uint32)
    >>> summary = precast.convert(labels, folder + "/labels", precast.ConvertOptions(resolution=8, kind="segmentation"))
    >>> precast.properties(folder + "/labels").segments
    1
    """
    begun = time.perf_counter()
    options = options or PropertiesOptions()
    built = _build(open_destination(dataset), options, progress or NoProgress(), begun)
    if is_published(built.store):
        _as_generation(built, progress or NoProgress())
        return built.summary
    key = f"{SEGMENT_PROPERTIES_DIRECTORY}/{INFO_KEY}"
    if not options.overwrite:
        _require_absent(built, key)
    rewrite(built.store, key, built.data, ObjectKind.SEGMENT_PROPERTIES)
    _link(built.store)
    return built.summary


def _link(store: Store) -> None:
    link_parts(store, segment_properties=SEGMENT_PROPERTIES_DIRECTORY)


def _as_generation(built: _Built, progress: Progress) -> None:
    """Write the properties of a dataset that was published: readers see the old ones or the new ones, with all else."""
    name = SEGMENT_PROPERTIES_DIRECTORY
    parts = PartsOfDataset(work="properties", names=(name,), merged=(name,), last=_link)
    with open_work(built.store, parts=parts, progress=progress) as work:
        identity = {"precast": __version__, "properties": hashlib.sha256(built.data).hexdigest()}
        work.begin({"identity": identity, "directories": [name]}, overwrite=True)
        work.store.write(f"{name}/{INFO_KEY}", built.data, attributes(ObjectKind.SEGMENT_PROPERTIES))
        work.commit()


def former_columns(former: SegmentProperties | None) -> ColumnTable | None:
    """Return the columns of a user's table that segment properties hold already, if there are any."""
    columns = None if former is None else columns_of(former)
    return columns if columns is not None and columns.columns else None


def former_properties(volume: Volume) -> tuple[SegmentProperties | None, list[Finding]]:
    """Return the segment properties that a volume has, if it has any that can be read, and what was noticed."""
    linked = volume.info.segment_properties
    if linked is None:
        return None, []
    key = f"{linked.rstrip('/')}/{INFO_KEY}"
    where = f"{volume.store.url}/{key}"
    try:
        return SegmentProperties.from_bytes(volume.store.read(key), where=where), []
    except (ObjectNotFoundError, FormatError, StorageError) as error:
        text = f"nothing can be taken over from the former segment properties: {error.message}"
        return None, [notice("PP105", where, text)]


def _build(
    dataset: str | os.PathLike[str] | Store, options: PropertiesOptions, progress: Progress, begun: float | None = None
) -> _Built:
    begun = time.perf_counter() if begun is None else begun
    volume = open_volume(dataset)
    _check_link(volume, options)
    findings: list[Finding] = []
    columns: ColumnTable | None = None
    if options.csv is not None:  # first, because reading it is quick and where mistakes are
        columns, left_out = read_columns(options.csv, options.id_column)
        findings += left_out
    former, missed = former_properties(volume)
    findings += missed
    rows = label_rows(volume, progress, threads=thread_count(None))
    progress.phase("writing properties", 0)
    if options.csv is None:
        columns = former_columns(former)
    area, faces = _mesh_numbers(volume, former, rows["id"])
    statistics = SegmentStatistics(rows=rows, voxel_size=volume.info.scales[0].resolution, area_um2=area, faces=faces)
    built, found = build_properties(statistics, columns, limit=options.limit, min_voxels=options.min_voxels)
    findings += found
    data = built.to_bytes()
    for finding in findings:
        progress.note(f"{finding.severity}: {finding.message}" + (f"\nhint: {finding.hint}" if finding.hint else ""))
    summary = PropertiesSummary(
        dataset=volume.store.url,
        directory=SEGMENT_PROPERTIES_DIRECTORY,
        segments=len(built.ids),
        labels=len(rows),
        properties=_describe(built),
        bytes=len(data),
        seconds=time.perf_counter() - begun,
        peak_memory_bytes=peak_rss_bytes(),
        findings=tuple(findings),
    )
    return _Built(store=volume.store, data=data, summary=summary)


def _describe(built: SegmentProperties) -> tuple[PropertySummary, ...]:
    return tuple(
        PropertySummary(
            id=item.id,
            type=item.type,
            data_type=item.values.dtype.name if item.type == "number" else None,
            values=len(item.values) if item.type == "number" else sum(map(bool, item.values)),
        )
        for item in built.properties
    )


# ---- what is there already


def _check_link(volume: Volume, options: PropertiesOptions) -> None:
    linked = volume.info.segment_properties
    if linked is not None and not options.overwrite:
        raise DestinationExistsError(
            f"{volume.store.url} has segment properties already, in {linked}",
            hint="give --overwrite to replace them",
            where=volume.store.url,
        )


def _require_absent(built: _Built, key: str) -> None:
    """Refuse to replace a file that nothing links, unless it is this one: then a former run was stopped there."""
    try:
        there = built.store.read(key)
    except ObjectNotFoundError:
        return
    if there != built.data:
        raise DestinationExistsError(
            f"{built.store.url}/{key} exists already, although info does not name it",
            hint="give --overwrite to replace it",
            where=built.store.url,
        )


def _mesh_numbers(volume: Volume, former: SegmentProperties | None, ids: Array) -> tuple[Array | None, Array | None]:
    """Return area and faces of the former properties, which only meshing knows, for these ids."""
    if former is None or volume.info.mesh is None:
        return None, None
    _, new, old = np.intersect1d(ids, former.ids, assume_unique=True, return_indices=True)
    taken: list[Array | None] = []
    for name in ("area_um2", "faces"):
        item = former.find(name)
        if item is None or item.type != "number":
            taken.append(None)
            continue
        values = np.zeros(len(ids), item.values.dtype)
        values[new] = item.values[old]
        taken.append(values)
    return taken[0], taken[1]
