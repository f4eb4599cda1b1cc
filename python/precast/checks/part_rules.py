"""The rules about a dataset as a whole, ``PC7xx``: links between its parts, ids, provenance, files, collections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from precast.checks.places import Tally
from precast.checks.rules import Fault, RuleTable
from precast.findings import Severity

__all__ = [
    "COLLECTION",
    "FILES",
    "IDS",
    "LABEL_TABLE",
    "LINK",
    "PROVENANCE",
    "STOPPED",
    "CollectionFile",
    "Files",
    "Ids",
    "LabelTableFile",
    "Link",
    "ProvenanceFile",
    "Stopped",
]


# ---- links


@dataclass(frozen=True, slots=True)
class Link:
    """One part that the ``info`` of a volume names, or could name.

    Attributes
    ----------
    key
        The key of ``info``.
    path
        The directory; outside the dataset if it begins with ``..``.
    found
        What the ``@type`` of its ``info`` says: ``mesh``, ``skeletons``, ``segment_properties``, or that text itself;
        empty if there is no ``info``.
    linked
        Whether ``info`` names it.
    missing
        Nothing that a viewer could use is there.
    """

    key: str
    path: str
    found: str
    linked: bool = True
    missing: bool = False

    @property
    def where(self) -> str:
        """The place for findings."""
        return f"info: {self.key}" if self.linked else self.path


LINK: RuleTable[Link] = RuleTable()


@LINK.add(
    "PC700",
    "a directory that the info names has an info of its own",
    hint="viewers then refuse the whole volume: write the part, or remove the key",
)
def link_present(link: Link) -> Iterator[Fault]:
    if link.missing:
        yield link.where, f"names {link.path!r}, but there is no {link.path}/info"


@LINK.add("PC701", "a directory that the info names holds what its key says")
def link_type(link: Link) -> Iterator[Fault]:
    if link.linked and link.found and link.found != link.key:
        yield link.where, f"names {link.path!r}, which holds {link.found}"


@LINK.add(
    "PC702",
    "meshes, skeletons and properties that are there are named in the info",
    severity=Severity.WARNING,
    hint="viewers show only what the info names",
)
def link_named(link: Link) -> Iterator[Fault]:
    if not link.linked:
        yield link.where, f"holds {link.found}, but the info of the volume does not name it"


@LINK.add(
    "PC703",
    "parts lie inside the dataset",
    severity=Severity.INFO,
    hint="legal; check that directory on its own, and take it along when the dataset is copied",
)
def link_inside(link: Link) -> Iterator[Fault]:
    if link.path.startswith(".."):
        yield link.where, f"names {link.path!r}, outside the dataset, which is not looked into"


@dataclass(frozen=True, slots=True)
class Stopped:
    """A part whose check could not go on."""

    where: str
    message: str


STOPPED: RuleTable[Stopped] = RuleTable()


@STOPPED.add("PC704", "a part can be read", hint="check permissions and the disk")
def part_readable(part: Stopped) -> Iterator[Fault]:
    yield part.where, part.message


# ---- ids


@dataclass(frozen=True, slots=True)
class Ids:
    """The ids of two parts: those of the first must be among those of the second.

    Attributes
    ----------
    where
        The first part.
    ids, known
        Both, ascending.
    known_where
        The second part.
    """

    where: str
    ids: npt.NDArray[np.uint64]
    known: npt.NDArray[np.uint64]
    known_where: str


IDS: RuleTable[Ids] = RuleTable()


@IDS.add(
    "PC705",
    "objects with a mesh or a skeleton have voxels",
    severity=Severity.WARNING,
    hint="the label table lists all labels of the volume: the part belongs to another version of it",
)
def ids_known(ids: Ids) -> Iterator[Fault]:
    missing = np.setdiff1d(ids.ids, ids.known)
    if len(missing):
        yield ids.where, f"{len(missing)} objects are not in {ids.known_where}, for example {missing[0]}"


# ---- label table and provenance


@dataclass(frozen=True, slots=True)
class LabelTableFile:
    """The label table.

    Attributes
    ----------
    where
        The file.
    problems
        What is wrong with it, if anything.
    counted, labelled
        How many voxels it counts, and how many of the volume are not 0; None if that is not known.
    """

    where: str
    problems: Sequence[str]
    counted: int | None = None
    labelled: int | None = None


LABEL_TABLE: RuleTable[LabelTableFile] = RuleTable()


@LABEL_TABLE.add("PC706", "the label table can be read, is in order, and lies within the volume")
def label_table(table: LabelTableFile) -> Iterator[Fault]:
    for problem in table.problems:
        yield table.where, problem


@LABEL_TABLE.add(
    "PC707",
    "the label table counts all voxels of the volume that are not 0",
    hint="it belongs to another version of the volume: sizes of objects are wrong; convert again",
)
def label_table_counts(table: LabelTableFile) -> Iterator[Fault]:
    if table.counted is not None and table.labelled is not None and table.counted != table.labelled:
        yield table.where, f"counts {table.counted} voxels, the volume has {table.labelled} that are not 0"


@dataclass(frozen=True, slots=True)
class ProvenanceFile:
    """The provenance, and why it cannot be used, if so."""

    where: str
    problem: str


PROVENANCE: RuleTable[ProvenanceFile] = RuleTable()


@PROVENANCE.add(
    "PC710",
    "provenance is a JSON object",
    severity=Severity.WARNING,
    hint="lost chunks cannot be told from empty ones, and digests not be compared",
)
def provenance_readable(file: ProvenanceFile) -> Iterator[Fault]:
    if file.problem:
        yield file.where, file.problem


# ---- files that belong to nothing


@dataclass(frozen=True, slots=True)
class Files:
    """Files of a dataset that belong to none of its parts, one directory at a time.

    Attributes
    ----------
    where
        The directory.
    temporary
        Half-written files, by their names.
    stray
        Others.
    """

    where: str
    temporary: Tally = field(default_factory=Tally)
    stray: Tally = field(default_factory=Tally)


FILES: RuleTable[Files] = RuleTable()


@FILES.add(
    "PC720",
    "no temporary files lie in a dataset",
    severity=Severity.WARNING,
    hint="left by a program that was stopped; remove them",
)
def files_temporary(files: Files) -> Iterator[Fault]:
    if files.temporary:
        first, _ = files.temporary.first
        yield first, f"{_files(files.temporary.count)} half-written or temporary"


@FILES.add(
    "PC721",
    "every file belongs to a part of the dataset",
    severity=Severity.INFO,
    hint="harmless, but copied and served with it",
)
def files_stray(files: Files) -> Iterator[Fault]:
    if files.stray:
        first, _ = files.stray.first
        place = "beside the info" if files.where == "." else f"in {files.where}"
        yield first, f"{_files(files.stray.count)} no part of the dataset, {place}"


def _files(count: int) -> str:
    return "1 file is" if count == 1 else f"{count} files are"


# ---- collections


@dataclass(frozen=True, slots=True)
class CollectionFile:
    """A collection.

    Attributes
    ----------
    where
        Its file.
    problem
        Why the file cannot be used, if so.
    without_info
        Layers that have no dataset.
    unlisted
        Directories with a dataset that is no layer.
    """

    where: str
    problem: str = ""
    without_info: Sequence[str] = ()
    unlisted: Sequence[str] = ()


COLLECTION: RuleTable[CollectionFile] = RuleTable()


@COLLECTION.add("PC730", "the list of layers of a collection can be read")
def collection_readable(file: CollectionFile) -> Iterator[Fault]:
    if file.problem:
        yield file.where, file.problem


@COLLECTION.add("PC731", "every layer of a collection is a dataset")
def collection_layers(file: CollectionFile) -> Iterator[Fault]:
    for name in file.without_info:
        yield file.where, f"the layer {name!r:.60} has no {name}/info"


@COLLECTION.add("PC732", "every dataset in a collection is one of its layers", severity=Severity.WARNING)
def collection_complete(file: CollectionFile) -> Iterator[Fault]:
    for name in file.unlisted:
        yield file.where, f"the dataset {name!r:.60} is not listed, so that it is not shown"
