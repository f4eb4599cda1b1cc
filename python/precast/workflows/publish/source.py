"""What a dataset consists of: what its info names, and the files in there; nothing hidden, temporary or unknown."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from precast.checks.files import TEMPORARY, in_scale
from precast.dataset.members import read_list, read_members
from precast.errors import FormatError, ObjectNotFoundError, SourceError
from precast.execution.published.transfer import File, checksum, file_checksum
from precast.execution.workdir import unfinished_work
from precast.precomputed.chunk_names import from_folders
from precast.precomputed.objects import COLLECTION_KEY, INFO_KEY, LABEL_TABLE_KEY, PROVENANCE_KEY, ObjectKind, kind_of
from precast.precomputed.paths import normal_path
from precast.precomputed.strict_json import parse_object
from precast.storage import LocalStore
from precast.storage.encodings import SUFFIXES

__all__ = [
    "LinkedInfo",
    "Source",
    "SourceDataset",
    "SourceObject",
    "Top",
    "Unit",
    "content_number",
    "open_source_place",
]

LINKS = ("mesh", "skeletons", "segment_properties")
TOP = (INFO_KEY, PROVENANCE_KEY, LABEL_TABLE_KEY)
ANNOTATIONS = "neuroglancer_annotations_v1"
MULTIRES = "neuroglancer_multilod_draco"
INFO_KINDS = {"mesh": ObjectKind.MESH_INFO, "segment_properties": ObjectKind.SEGMENT_PROPERTIES}

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class SourceObject:
    """One object: its key in the source, its file and what it is."""

    key: str
    file: File
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
    """One dataset.

    Attributes
    ----------
    name
        Its directory in a collection; empty if it stands alone.
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
    """

    name: str
    where: str
    info: str
    references: Mapping[Place, str]
    movable: bool
    units: tuple[Unit, ...]
    top: Mapping[str, Top]
    left_out: tuple[str, ...]

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


def open_source_place(place: str | os.PathLike[str]) -> Source:
    """List what is at a place, and see that it is complete.

    Raises
    ------
    UsageError
        If it is not a directory.
    ObjectNotFoundError
        If there is no dataset.
    SourceError
        If a dataset is not finished.
    FormatError
        If an info, or what it names, is missing or cannot be understood.
    """
    root = Path(place)
    store = LocalStore(root)
    if not root.is_dir():
        raise ObjectNotFoundError(
            f"{root} is not a directory", hint="give a dataset or a collection on this machine", where=str(root)
        )
    _refuse_unfinished(root)
    if _has(store, INFO_KEY):
        return Source(store.url, (_dataset(root, ""),), None, True)
    listed = read_list(store)
    members = [member.name for member in read_members(store)]
    names: Sequence[str] = members
    if listed is not None:
        names = [layer.name for layer in listed.valid().layers]
        missing = [name for name in names if name not in members]
        if missing:
            raise FormatError(
                f"{root / COLLECTION_KEY} lists {', '.join(missing)}, where there is no dataset",
                hint="make it, or take it out of the list",
                where=str(root / COLLECTION_KEY),
            )
    if not names:
        raise ObjectNotFoundError(
            f"{root} is not a precomputed dataset: it has no info file",
            hint="give the directory that holds the info file, or one whose directories do",
            where=str(root),
        )
    for name in names:
        _refuse_unfinished(root / name)
    datasets = tuple(_dataset(root / name, name) for name in names)
    text = store.read(COLLECTION_KEY).decode() if listed is not None else None
    others = [name for name in members if name not in names]
    return Source(store.url, datasets, text, False, tuple(f"{name}/" for name in others))


def _has(store: LocalStore, key: str) -> bool:
    try:
        store.stat(key)
    except ObjectNotFoundError:
        return False
    return True


def _refuse_unfinished(root: Path) -> None:
    for work in unfinished_work(root):
        raise SourceError(
            f"{root} is not finished: work on it is going on, or was interrupted",
            hint=f"run the command that makes it again, to its end; its state is in {work}",
            where=str(root),
        )


# ---- one dataset


def _dataset(root: Path, name: str) -> SourceDataset:
    store = LocalStore(root)
    where = str(root / INFO_KEY)
    data = store.read(INFO_KEY)
    value = parse_object(data, where)
    text = data.decode(json.detect_encoding(data))
    references, kinds = _references(value, where)
    movable = bool(references)
    if not references and value.get("@type") != "neuroglancer_segment_properties":
        kinds = {"": str(value.get("@type"))}
    files, left_out = _files(root)
    parts = _Parts(store, kinds, where)
    parts.follow()
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
        found = parts.object(key, file)
        if found is None or (found[1].key != key and found[1].key in files):
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
    return SourceDataset(
        name=name,
        where=str(root),
        info=text,
        references=references,
        movable=movable,
        units=units,
        top=top,
        left_out=tuple(left_out),
    )


def _top(store: LocalStore, key: str, file: File) -> Top:
    if file.encoding or key == PROVENANCE_KEY:
        data = store.read(key)
        return Top(key, len(data), checksum(data), data, None)
    return Top(key, file.size, file_checksum(file), None, file)


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


def _files(root: Path) -> tuple[dict[str, File], list[str]]:
    """Return all files by key, plain before packed; and those of which there is another form."""
    files: dict[str, File] = {}
    double = []
    for stat in LocalStore(root).list():
        name = stat.key.replace(":", "%3A") if os.name == "nt" else stat.key
        encoding = stat.encoding or ""
        suffix = SUFFIXES.get(encoding, "")
        file = File.of(root / f"{name}{suffix}", encoding=encoding)
        other = files.get(stat.key)
        if other is not None:  # the form that readers get first is the one that counts
            order = ("", *SUFFIXES)
            file, lost = sorted((file, other), key=lambda one: order.index(one.encoding))
            double.append(f"{stat.key}{SUFFIXES[lost.encoding]}")
        files[stat.key] = file
    return files, double


class _Parts:
    """The directories of a dataset, what is in them, and which of them belong together."""

    def __init__(self, store: LocalStore, kinds: dict[str, str], where: str) -> None:
        self.store = store
        self.kinds = kinds
        self.where = where
        self.multires: set[str] = set()
        self.linked: dict[str, LinkedInfo] = {}

    def follow(self) -> None:
        """Read the infos of parts: they may name directories too."""
        queue = [path for path, kind in self.kinds.items() if kind != "scale" and path]
        while queue:
            path = queue.pop()
            where = f"{self.store.url}/{path}/{INFO_KEY}"
            try:
                data = self.store.read(f"{path}/{INFO_KEY}")
                value = parse_object(data, where)
            except ObjectNotFoundError:
                continue
            if value.get("@type") == MULTIRES:
                self.multires.add(path)
            link = value.get("segment_properties")
            if not isinstance(link, str):
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
        if "" in self.kinds and self.kinds[""] == MULTIRES:
            self.multires.add("")

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
        if file.encoding and not kind.rule.whole:
            raise FormatError(
                f"{file.path} is packed as {file.encoding}, but viewers read it by ranges, which a packed object does "
                "not have",
                hint="unpack it and publish again",
                where=key,
            )
        return path, SourceObject(key, file, kind)

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
