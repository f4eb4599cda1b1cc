"""What a source consists of, as values: datasets, their objects, and the files at their tops."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from precast.execution.published.transfer import File, Sendable, checksum
from precast.findings import Finding
from precast.precomputed.objects import INFO_KEY, LABEL_TABLE_KEY, PROVENANCE_KEY, ObjectKind
from precast.precomputed.parts import Place, info_key
from precast.storage import Store

__all__ = ["TOP", "LinkedInfo", "Source", "SourceDataset", "SourceObject", "Top", "Unit", "content_number"]

TOP = (INFO_KEY, PROVENANCE_KEY, LABEL_TABLE_KEY)
"""Files at the top of a dataset."""


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

    @classmethod
    def of(cls, name: str, data: bytes) -> Top:
        """Return one that is read."""
        return cls(name, len(data), checksum(data), data, None)


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
        return info_key(self.part)


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
