"""What a dataset consists of: what its info names, and the files in there; nothing hidden, temporary or unknown."""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from precast.checks.files import TEMPORARY, in_scale
from precast.dataset.layout import ScaleLayout
from precast.dataset.members import read_list, read_members
from precast.errors import FormatError, ObjectNotFoundError, SourceError
from precast.execution.progress import Progress
from precast.execution.published.place import known_keys, read_generations
from precast.execution.published.transfer import File, Made, Sendable, checksum, each
from precast.execution.workdir import unfinished_work
from precast.findings import Finding
from precast.precomputed.chunk_names import from_folders
from precast.precomputed.generations import plain_path
from precast.precomputed.info import ScaleInfo, VolumeInfo
from precast.precomputed.json_text import set_text_strings
from precast.precomputed.objects import (
    COLLECTION_KEY,
    INFO_KEY,
    LABEL_TABLE_KEY,
    LINKS,
    PROVENANCE_KEY,
    ObjectKind,
    kind_of,
)
from precast.precomputed.paths import normal_path
from precast.precomputed.provenance import Provenance
from precast.precomputed.strict_json import parse_object
from precast.storage import HttpStore, LocalStore, MemoryStore, ObjectStat, Store, open_store
from precast.storage.below import Below
from precast.storage.encodings import SUFFIXES
from precast.storage.opening import child_store
from precast.workflows.publish.scales import refuse_holes
from precast.workflows.publish.unlisted import Unlisted

__all__ = [
    "LinkedInfo",
    "Source",
    "SourceDataset",
    "SourceObject",
    "Top",
    "Unit",
    "content_number",
    "open_source_place",
    "read_objects",
]

TOP = (INFO_KEY, PROVENANCE_KEY, LABEL_TABLE_KEY)
ANNOTATIONS = "neuroglancer_annotations_v1"
MULTIRES = "neuroglancer_multilod_draco"
INFO_KINDS = {"mesh": ObjectKind.MESH_INFO, "segment_properties": ObjectKind.SEGMENT_PROPERTIES}

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class SourceObject:
    """One object: its key in the dataset, where its bytes are and what it is."""

    key: str
    file: Sendable
    kind: ObjectKind


@dataclass(frozen=True, slots=True)
class Top:
    """One file at the top of a dataset; of those that are read into memory the bytes."""

    name: str
    size: int
    crc32c: int
    data: bytes | None
    file: File | None


@dataclass(frozen=True, slots=True)
class LinkedInfo:
    """The info of a part that names another part of the dataset, so that its text depends on where both lie.

    Attributes
    ----------
    part
        The directory of the part.
    text, crc32c
        What it holds in the source.
    target
        The directory that ``segment_properties`` in it leads to.
    """

    part: str
    text: str
    crc32c: int
    target: str

    @property
    def key(self) -> str:
        """Its key in the source."""
        return f"{self.part}/{INFO_KEY}"


@dataclass(frozen=True, slots=True)
class Unit:
    """Directories that move together, because one is inside another; and what is in them."""

    paths: tuple[str, ...]
    objects: tuple[SourceObject, ...]
    linked: tuple[LinkedInfo, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDataset:
    """One dataset. Paths in it are plain: without the generations in which it may be published where it is.

    Attributes
    ----------
    name
        Its directory in a collection; empty if it stands alone.
    store
        Where it is.
    where
        What errors call it.
    info
        The text of its info.
    references
        The directories that the info names, by their places in it; without empty parts.
    movable
        Whether all that is not at the top can lie elsewhere, because the info names it.
    units
        Everything that is not at the top.
    top
        The files at the top, info among them.
    left_out
        Files that belong to nothing, or are temporary.
    findings
        What was noticed by the way.
    """

    name: str
    store: Store
    where: str
    info: str
    references: Mapping[Place, str]
    movable: bool
    units: tuple[Unit, ...]
    top: Mapping[str, Top]
    left_out: tuple[str, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def objects(self) -> Iterator[SourceObject]:
        """All that is not at the top."""
        for unit in self.units:
            yield from unit.objects


@dataclass(frozen=True, slots=True)
class Source:
    """What is published: datasets, and the text of the list that they are in; None if there is none."""

    url: str
    datasets: tuple[SourceDataset, ...]
    text: str | None
    single: bool
    left_out: tuple[str, ...] = field(default=())


def open_source_place(place: str | os.PathLike[str] | Store, threads: int) -> Source:
    """List what is at a place, and see that it is complete.

    Parameters
    ----------
    place
        A directory, the address of a place, or a store.
    threads
        Requests at once, where everything has to be asked for.

    Raises
    ------
    UsageError
        If what is there cannot be known.
    ObjectNotFoundError
        If there is no dataset.
    SourceError
        If a dataset is not finished.
    FormatError
        If an info, or what it names, is missing or cannot be understood.
    """
    store = open_store(place)
    if isinstance(store, LocalStore) and not store.root.is_dir():
        raise ObjectNotFoundError(
            f"{store.root} is not a directory", hint="give a dataset or a collection", where=store.url
        )
    _refuse_unfinished(store)
    if _has(store, INFO_KEY):
        return Source(store.url, (_dataset(store, "", threads),), None, True)
    listed = read_list(store)
    names: Sequence[str] = [layer.name for layer in listed.valid().layers] if listed is not None else []
    if isinstance(store, HttpStore):
        members = [name for name in names if _has(store, f"{name}/{INFO_KEY}")]
    elif isinstance(store, MemoryStore):
        keys = [stat.key for stat in store.list()]
        members = [key.partition("/")[0] for key in keys if key.partition("/")[2] == INFO_KEY]
    else:
        members = [member.name for member in read_members(store)]
    if listed is not None:
        missing = [name for name in names if name not in members]
        if missing:
            where = f"{store.url}/{COLLECTION_KEY}"
            raise FormatError(
                f"{where} lists {', '.join(missing)}, where there is no dataset",
                hint="make it, or take it out of the list",
                where=where,
            )
    else:
        names = members
    if not names:
        raise ObjectNotFoundError(
            f"{store.url} is not a precomputed dataset: it has no info file",
            hint=f"give the address of one dataset, or of a {COLLECTION_KEY}: web servers do not list directories"
            if isinstance(store, HttpStore)
            else "give the directory that holds the info file, or one whose directories do",
            where=store.url,
        )
    children = {name: _child(store, name) for name in names}
    for child in children.values():
        _refuse_unfinished(child)
    datasets = tuple(_dataset(child, name, threads) for name, child in children.items())
    text = store.read(COLLECTION_KEY).decode() if listed is not None else None
    others = [name for name in members if name not in names]
    return Source(store.url, datasets, text, False, tuple(f"{name}/" for name in others))


def _child(store: Store, name: str) -> Store:
    return Below(store, name) if isinstance(store, MemoryStore) else child_store(store, name)


def _has(store: Store, key: str) -> bool:
    try:
        store.stat(key)
    except ObjectNotFoundError:
        return False
    return True


def _refuse_unfinished(store: Store) -> None:
    if not isinstance(store, LocalStore):
        return
    for work in unfinished_work(store.root):
        raise SourceError(
            f"{store.root} is not finished: work on it is going on, or was interrupted",
            hint=f"run the command that makes it again, to its end; its state is in {work}",
            where=store.url,
        )


# ---- one dataset


def _dataset(store: Store, name: str, threads: int) -> SourceDataset:
    where = f"{store.url}/{INFO_KEY}"
    data = store.read(INFO_KEY)
    value = parse_object(data, where)
    text = data.decode(json.detect_encoding(data))
    references, kinds = _references(value, where)
    movable = bool(references)
    if not references and value.get("@type") != "neuroglancer_segment_properties":
        kinds = {"": str(value.get("@type"))}
    parts = _Parts(store, kinds, where)
    parts.follow()
    scales = _scales(data, store)
    findings: list[Finding] = []
    if isinstance(store, HttpStore):
        if "scales" in value and len(scales) != len([one for one in kinds.values() if one == "scale"]):
            VolumeInfo.from_bytes(data, where=where, any_encoding=True)  # says why the scales cannot be understood
        asked = Unlisted(store, value, kinds, parts.infos, scales, threads)
        stats: Iterable[ObjectStat] = asked.find()
        findings = asked.findings
    else:
        stats = (stat for stat in store.list() if not any(part.startswith(".") for part in stat.key.split("/")))
    files, left_out = _files(store, stats)
    former = _trust(store, files)
    chunks = _chunk_keys(store, scales, files)
    record = _provenance(store, files)
    for path, scale in scales.items():
        there = [ObjectStat(key=chunks.get(key) or key, size=files[key].size) for key in _under(files, path)]
        refuse_holes(store, replace(scale, key=path), record.scale(scale.key), there)
    groups = parts.groups()
    objects: dict[int, list[SourceObject]] = {number: [] for number in range(len(groups))}
    top: dict[str, Top] = {INFO_KEY: Top(INFO_KEY, len(data), checksum(data), data, None)}
    for key, file in files.items():
        if key in TOP:
            if key != INFO_KEY:
                top[key] = _top(store, key, file)
            continue
        if key in parts.linked:
            continue
        flat = chunks.get(key, key)
        found = parts.object(flat, file) if flat is not None else None
        if found is None:
            if key not in former:
                left_out.append(key)
        else:
            number = next(number for number, group in enumerate(groups) if found[0] in group)
            objects[number].append(found[1])
    units = tuple(
        Unit(
            tuple(group),
            tuple(objects[number]),
            tuple(one for one in parts.linked.values() if one.part in group),
        )
        for number, group in enumerate(groups)
    )
    parts.refuse_missing(units)
    dataset = SourceDataset(
        name=name,
        store=store,
        where=store.url,
        info=text,
        references=references,
        movable=movable,
        units=units,
        top=top,
        left_out=tuple(left_out),
        findings=tuple(findings),
    )
    return _without_generations(dataset)


def _top(store: Store, key: str, file: File) -> Top:
    file, crc = file.read()
    if file.encoding or key == PROVENANCE_KEY:
        data = store.read(key)
        return Top(key, len(data), checksum(data), data, None)
    return Top(key, file.size, crc, None, file)


def _scales(data: bytes, store: Store) -> dict[str, ScaleInfo]:
    """Return the scales of a volume by their directories; none if its info is wrong, which is told later."""
    try:
        info = VolumeInfo.from_bytes(data, where=f"{store.url}/{INFO_KEY}", any_encoding=True)
    except FormatError:
        return {}
    return {normal_path(scale.key): scale for scale in info.scales}


def _provenance(store: Store, files: Mapping[str, File]) -> Provenance:
    return Provenance.parse(store.read(PROVENANCE_KEY)) if PROVENANCE_KEY in files else Provenance()


def _under(files: Mapping[str, File], path: str) -> Iterator[str]:
    return (key for key in files if key.startswith(f"{path}/"))


def _chunk_keys(store: Store, scales: Mapping[str, ScaleInfo], files: Mapping[str, File]) -> dict[str, str | None]:
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
                record = _provenance(store, files).scale(scale.key)
                if record is None or record.stored_chunks != 0:
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


def _without_generations(dataset: SourceDataset) -> SourceDataset:
    """Return the dataset as if it lay under plain paths, unless two of its directories would then be one."""
    paths = [path for unit in dataset.units for path in unit.paths]
    plain = {path: plain_path(path) for path in paths}
    if all(path == one for path, one in plain.items()):
        return dataset
    inside = {(a, b) for a in paths for b in paths if a != b and b.startswith(f"{a}/")}
    after = {(a, b) for a in paths for b in paths if a != b and f"{plain[b]}/".startswith(f"{plain[a]}/")}
    if inside != after:
        return dataset

    def moved(key: str, unit: Unit) -> str:
        path = max((path for path in unit.paths if key.startswith(f"{path}/")), key=len)
        return plain[path] + key[len(path) :]

    def relinked(one: LinkedInfo) -> LinkedInfo:
        part, target = plain[one.part], plain[one.target]
        if posixpath.relpath(target, part) == posixpath.relpath(one.target, one.part):
            return replace(one, part=part, target=target)
        link = posixpath.relpath(target, part)
        text = set_text_strings(one.text, {("segment_properties",): link}, where=f"{dataset.where}/{one.key}")
        return LinkedInfo(part, text, checksum(text.encode()), target)

    units = tuple(
        Unit(
            tuple(plain[path] for path in unit.paths),
            tuple(replace(one, key=moved(one.key, unit)) for one in unit.objects),
            tuple(relinked(one) for one in unit.linked),
        )
        for unit in dataset.units
    )
    changes = {place: plain[path] for place, path in dataset.references.items() if plain[path] != path}
    info = set_text_strings(dataset.info, changes, where=dataset.where)
    data = info.encode()
    return replace(
        dataset,
        info=info,
        references={place: plain[path] for place, path in dataset.references.items()},
        units=units,
        top={**dataset.top, INFO_KEY: Top(INFO_KEY, len(data), checksum(data), data, None)},
    )


def _references(value: Mapping[str, Any], where: str) -> tuple[dict[Place, str], dict[str, str]]:
    """Return the directories that an info names, by place; and what is in each."""
    found: list[tuple[Place, Any, str]] = []
    if value.get("@type") == ANNOTATIONS:
        by_id = value.get("by_id")
        found += [(("by_id", "key"), by_id.get("key"), "annotations")] if isinstance(by_id, dict) else []
        for key in ("relationships", "spatial"):
            entries = value.get(key)
            for number, entry in enumerate(entries if isinstance(entries, list) else []):
                if isinstance(entry, dict):
                    found.append(((key, number, "key"), entry.get("key"), "annotations"))
    elif "scales" in value:
        scales = value["scales"]
        for number, entry in enumerate(scales if isinstance(scales, list) else []):
            found.append((("scales", number, "key"), entry.get("key") if isinstance(entry, dict) else None, "scale"))
        found += [((key,), value[key], key) for key in LINKS if value.get(key) is not None]
    references: dict[Place, str] = {}
    kinds: dict[str, str] = {}
    for place, path, kind in found:
        text = ".".join(str(step) for step in place)
        if not isinstance(path, str):
            raise FormatError(f"{where}: {text} must be a path, got {path!r:.60}", where=where)
        normal = normal_path(path)
        if not normal or normal.startswith("..") or "://" in path or normal.startswith("."):
            raise FormatError(
                f"{where}: {text} names {path!r}, which is not a directory inside the dataset",
                hint="what is published must lie in the dataset: move it there, and name it so in the info",
                where=where,
            )
        references[place] = normal
        kinds.setdefault(normal, kind)
    return references, kinds


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


class _Parts:
    """The directories of a dataset, what is in them, and which of them belong together."""

    def __init__(self, store: Store, kinds: dict[str, str], where: str) -> None:
        self.store = store
        self.kinds = kinds
        self.where = where
        self.multires: set[str] = set()
        self.linked: dict[str, LinkedInfo] = {}
        self.infos: dict[str, dict[str, Any]] = {}

    def follow(self) -> None:
        """Read the infos of parts: they may name directories too."""
        queue = [path for path, kind in self.kinds.items() if kind not in ("scale", "annotations") and path]
        queue += [""] if "" in self.kinds else []
        while queue:
            path = queue.pop()
            key = f"{path}/{INFO_KEY}" if path else INFO_KEY
            where = f"{self.store.url}/{key}"
            try:
                data = self.store.read(key)
                value = parse_object(data, where)
            except ObjectNotFoundError:
                continue
            self.infos[path] = value
            if value.get("@type") == MULTIRES:
                self.multires.add(path)
            link = value.get("segment_properties")
            if not path or not isinstance(link, str):
                continue
            target = normal_path(f"{path}/{link}")
            if not target or target.startswith("."):
                raise FormatError(
                    f"{where}: segment_properties names {link!r}, which is not a directory inside the dataset",
                    hint="what is published must lie in the dataset: move it there, and name it so in the info",
                    where=where,
                )
            if target not in self.kinds:
                self.kinds[target] = "segment_properties"
                queue.append(target)
            if not target.startswith(f"{path}/"):
                text = data.decode(json.detect_encoding(data))
                self.linked[f"{path}/{INFO_KEY}"] = LinkedInfo(path, text, checksum(data), target)

    def groups(self) -> list[list[str]]:
        """Return the directories, those together that lie in each other."""
        paths = sorted(self.kinds)
        pairs = [(a, b) for a in paths for b in paths if a != b and (not a or b.startswith(f"{a}/"))]
        group = {path: path for path in paths}
        for a, b in pairs:
            old, new = group[b], group[a]
            group = {path: new if one == old else one for path, one in group.items()}
        return [[path for path in paths if group[path] == first] for first in dict.fromkeys(group[p] for p in paths)]

    def object(self, key: str, file: File) -> tuple[str, SourceObject] | None:
        """Return the directory that a file belongs to, and what it is; None if it belongs to nothing.

        Chunks in folders, for which a web server needs a rule, get the names that viewers ask for.
        """
        inside = [path for path in self.kinds if not path or key.startswith(f"{path}/")]
        if not inside:
            return None
        path = max(inside, key=len)
        kind_of_part, name = self.kinds[path], key.removeprefix(f"{path}/")
        if TEMPORARY.search(name) or (kind_of_part == "scale" and not in_scale(name)):
            return None
        if kind_of_part == "scale":
            name = from_folders(name)[0]
            key = f"{path}/{name}" if path else name
        kind = kind_of(key)
        if kind is ObjectKind.INFO:
            kind = INFO_KINDS.get(kind_of_part, kind)
        elif kind is ObjectKind.OTHER:
            if kind_of_part == "scale":
                kind = ObjectKind.CHUNK
            elif path in self.multires and name.isdecimal():  # not what igneous keeps beside them
                kind = ObjectKind.MESH_FRAGMENTS
        one = SourceObject(key, file, kind)
        _refuse_packed(one)
        return path, one

    def refuse_missing(self, units: Sequence[Unit]) -> None:
        """See that something is in every directory; scales may be all background, but not all of them."""
        keys = [*self.linked, *(one.key for unit in units for one in unit.objects)]
        for path, kind in self.kinds.items():
            if kind not in ("scale", "annotations") and path and not any(key.startswith(f"{path}/") for key in keys):
                raise FormatError(
                    f"{self.where} names {path}, where nothing is",
                    hint="make that part, or take it out of the info",
                    where=path,
                )
        scales = [path for path, kind in self.kinds.items() if kind == "scale"]
        if scales and not any(key.startswith(tuple(f"{path}/" for path in scales)) for key in keys):
            raise FormatError(
                f"{self.where} names scales, but there is not one chunk in any of them",
                hint="make the dataset again; precast check says what is missing",
                where=self.where,
            )


def _refuse_packed(one: SourceObject) -> None:
    if one.file.encoding and not one.kind.rule.whole:
        raise packed(one.file, one.file.encoding)


def packed(file: Sendable, encoding: str) -> FormatError:
    """Return the error about an object that is packed and must not be."""
    return FormatError(
        f"{file.where} is packed as {encoding}, but viewers read it by ranges, which a packed object does not have",
        hint="unpack it and publish again",
        where=file.where,
    )


def read_objects(
    datasets: Sequence[SourceDataset], threads: int, progress: Progress
) -> tuple[tuple[SourceDataset, ...], dict[str, dict[str, int]]]:
    """Return the datasets with what only reading their objects tells, and the checksums of those, by dataset and key.

    What a publication has written down, and has not changed since, is not read.

    Raises
    ------
    SourceError
        If an object was written since it was listed.
    FormatError
        If one is packed that must not be.
    """
    checksums: dict[str, dict[str, int]] = {dataset.name: {} for dataset in datasets}
    files: dict[tuple[str, str], Sendable] = {}
    objects = [(dataset.name, one) for dataset in datasets for one in dataset.objects]

    def read_one(item: tuple[str, SourceObject]) -> tuple[Sendable, int]:
        return item[1].file.read()

    def done(item: tuple[str, SourceObject], result: tuple[Sendable, int]) -> None:
        name, one = item
        file, checksums[name][one.key] = result
        if file != one.file:
            _refuse_packed(replace(one, file=file))
        files[name, one.key] = file
        progress.advance(one.file.size)

    progress.phase("reading", sum(one.file.size for _, one in objects))
    each(read_one, (item for item in objects if not isinstance(item[1].file, Made)), threads, done)
    # one after the other: each reads with all threads, and takes room on the disk
    each(read_one, (item for item in objects if isinstance(item[1].file, Made)), 1, done)

    def read(dataset: SourceDataset, unit: Unit) -> Unit:
        return replace(unit, objects=tuple(replace(one, file=files[dataset.name, one.key]) for one in unit.objects))

    found = (replace(one, units=tuple(read(one, unit) for unit in one.units)) for one in datasets)
    return tuple(found), checksums


def content_number(dataset: SourceDataset, checksums: Mapping[str, int]) -> str:
    """Return the number of the generation that has this content: the same for the same content."""
    digest = hashlib.sha256()
    for name, top in sorted(dataset.top.items()):
        digest.update(json.dumps([name, top.size, top.crc32c]).encode())
    for one in sorted(dataset.objects, key=lambda one: one.key):
        row = [one.key, one.file.size, checksums[one.key], one.file.encoding]
        digest.update(json.dumps(row).encode())
    for unit in dataset.units:
        for linked in unit.linked:
            digest.update(json.dumps([linked.key, linked.crc32c]).encode())
    return digest.hexdigest()[:12]
