"""The files of one dataset: which of them belong to it, what each is, and whether all are there.

Nothing hidden, temporary or unknown belongs to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from precast.dataset.layout import ScaleLayout
from precast.errors import FormatError
from precast.execution.published.place import known_keys, read_generations
from precast.execution.published.transfer import File
from precast.findings import Finding
from precast.precomputed.chunk_names import from_folders
from precast.precomputed.info import ScaleInfo, VolumeInfo
from precast.precomputed.objects import INFO_KEY, PROVENANCE_KEY, ObjectKind
from precast.precomputed.paths import normal_path
from precast.precomputed.provenance import Provenance
from precast.precomputed.strict_json import parse_object
from precast.storage import HttpStore, ObjectStat, Store
from precast.storage.below import Below
from precast.storage.encodings import SUFFIXES
from precast.workflows.publish.contents import TOP, SourceDataset, SourceObject, Top, Unit
from precast.workflows.publish.plain_paths import without_generations
from precast.workflows.publish.reading import refuse_packed
from precast.workflows.publish.scales import refuse_holes
from precast.workflows.publish.unlisted import Unlisted
from precast.workflows.publish.whole import WholeParts, read_parts

__all__ = ["list_dataset"]


def list_dataset(store: Store, name: str, threads: int) -> SourceDataset:
    """List one dataset, and see that it is complete.

    Parameters
    ----------
    store, name
        Where it is, and its directory in a collection.
    threads
        Requests at once, where everything has to be asked for.

    Raises
    ------
    UsageError
        If what is there cannot be known.
    FormatError
        If its info, or what it names, is missing or cannot be understood.
    """
    data = store.read(INFO_KEY)
    value = parse_object(data, f"{store.url}/{INFO_KEY}")
    parts = read_parts(store, value)
    scales = _scales(data, store)
    findings: list[Finding] = []
    if isinstance(store, HttpStore):
        if "scales" in value and len(scales) != len([one for one in parts.named.kinds.values() if one == "scale"]):
            _volume(data, store)  # says why the scales cannot be understood
        asked = Unlisted(store, value, parts.named.kinds, parts.infos, scales, threads)
        stats: Iterable[ObjectStat] = asked.find()
        findings = asked.findings
    else:
        stats = (stat for stat in store.list() if not any(part.startswith(".") for part in stat.key.split("/")))
    files, double = _files(store, stats)
    former = _trust(store, files)
    record = _provenance(store, files)
    chunks = _chunk_keys(store, scales, files, record)
    for path, scale in scales.items():
        there = [ObjectStat(key=chunks.get(key) or key, size=files[key].size) for key in _under(files, path)]
        refuse_holes(store, replace(scale, key=path), record.scale(scale.key), there)
    units, others = _units(parts, {key: file for key, file in files.items() if key not in TOP}, chunks)
    parts.refuse_missing(units)
    top = {key: _top(store, key, file) for key, file in files.items() if key in TOP and key != INFO_KEY}
    dataset = SourceDataset(
        name=name,
        store=store,
        where=store.url,
        info=data.decode(json.detect_encoding(data)),
        references=parts.references,
        movable=bool(parts.references),
        units=units,
        top={INFO_KEY: Top.of(INFO_KEY, data), **top},
        left_out=(*double, *(key for key in others if key not in former)),
        findings=tuple(findings),
    )
    return without_generations(dataset)


def _units(
    parts: WholeParts, files: Mapping[str, File], chunks: Mapping[str, str | None]
) -> tuple[tuple[Unit, ...], list[str]]:
    """Return what moves together, and the files that belong to nothing."""
    groups = parts.groups()
    number = {path: number for number, group in enumerate(groups) for path in group}
    objects: list[list[SourceObject]] = [[] for _ in groups]
    others: list[str] = []
    for key, file in files.items():
        if key in parts.linked:
            continue
        flat = chunks.get(key, key)
        kind = parts.named.kind(flat) if flat is not None else None
        path = parts.named.directory(flat) if flat is not None else None
        if flat is None or kind is None or path is None:
            others.append(key)
            continue
        if kind is ObjectKind.CHUNK:
            flat = f"{path}/{from_folders(flat.removeprefix(f'{path}/'))[0]}"
        one = SourceObject(flat, file, kind)
        refuse_packed(one)
        objects[number[path]].append(one)
    units = (
        Unit(tuple(group), tuple(found), tuple(one for one in parts.linked.values() if one.part in group))
        for group, found in zip(groups, objects, strict=True)
    )
    return tuple(units), others


def _top(store: Store, key: str, file: File) -> Top:
    file, crc = file.read()
    if file.encoding or key == PROVENANCE_KEY:
        return Top.of(key, store.read(key))
    return Top(key, file.size, crc, None, file)


def _scales(data: bytes, store: Store) -> dict[str, ScaleInfo]:
    """Return the scales of a volume by their directories; none if its info is wrong, which is told later."""
    try:
        return {normal_path(scale.key): scale for scale in _volume(data, store).scales}
    except FormatError:
        return {}


def _volume(data: bytes, store: Store) -> VolumeInfo:
    return VolumeInfo.from_bytes(data, where=f"{store.url}/{INFO_KEY}", any_encoding=True)


def _provenance(store: Store, files: Mapping[str, File]) -> Provenance:
    return Provenance.parse(store.read(PROVENANCE_KEY)) if PROVENANCE_KEY in files else Provenance()


def _under(files: Mapping[str, File], path: str) -> Iterator[str]:
    return (key for key in files if key.startswith(f"{path}/"))


def _chunk_keys(
    store: Store, scales: Mapping[str, ScaleInfo], files: Mapping[str, File], record: Provenance
) -> dict[str, str | None]:
    """Return the keys by which viewers ask for chunks that lie in a folder per axis; None for those nobody reads.

    Raises
    ------
    FormatError
        If nothing of a scale is there, and nothing says that it is empty.
    """
    found: dict[str, str | None] = {}
    for path, scale in scales.items():
        if isinstance(store, HttpStore):
            if not any(True for _ in _under(files, path)):
                made = record.scale(scale.key)
                if made is None or made.stored_chunks != 0:
                    raise FormatError(
                        f"{store.url}/{path}: the server sends not one chunk of this scale",
                        hint="see that the dataset there is whole; chunks in a folder per axis, which viewers do not "
                        "ask for, have to be copied from where they can be listed",
                        where=path,
                    )
            continue
        nested = ScaleLayout(store, replace(scale, key=path)).in_folders()
        if scale.sharding is not None:
            continue
        for key in _under(files, path):
            name, in_folders = from_folders(key.removeprefix(f"{path}/"))
            if in_folders and scale.cell_of(name) is not None:
                flat = f"{path}/{name}"
                found[key] = flat if nested and flat not in files else None
    return found


def _trust(store: Store, files: dict[str, File]) -> frozenset[str]:
    """Enter the checksums that a publication here wrote down; return all that was ever published here.

    They are those of objects that the store still calls what it called them when they had been sent.
    """
    if isinstance(store, HttpStore):
        return frozenset()
    _, manifests = read_generations(Below(store, ""))
    for manifest in manifests.values():
        for one in manifest.objects:
            file = files.get(one.key)
            if file is not None and one.etag and (one.etag, one.size) == (file.etag, file.size):
                files[one.key] = replace(file, encoding=one.headers.encoding, known=one.crc32c)
    return known_keys(manifests)


def _files(store: Store, stats: Iterable[ObjectStat]) -> tuple[dict[str, File], list[str]]:
    """Return all objects by key, plain before packed; and those of which there is another form."""
    files: dict[str, File] = {}
    double = []
    for stat in stats:
        file = File.of(store, stat)
        other = files.get(stat.key)
        if other is not None:  # the form that readers get first is the one that counts
            order = ("", *SUFFIXES)
            file, lost = sorted((file, other), key=lambda one: order.index(one.encoding or ""))
            double.append(f"{stat.key}{SUFFIXES[lost.encoding or '']}")
        files[stat.key] = file
    return files, double
