"""The rules about the chunks of a volume, ``PC200``-``PC211`` and ``PC230``-``PC251``: what a survey found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from precast.checks.places import Tally
from precast.checks.rules import Fault, RuleTable
from precast.findings import Severity
from precast.precomputed.provenance import ScaleRecord

__all__ = ["ABSENT", "BROKEN", "EMPTY", "PACKED", "SCALE", "STORED", "UNREADABLE", "VOXELS", "ScaleSurvey"]

ABSENT, STORED, VOXELS, EMPTY, UNREADABLE, BROKEN, PACKED = range(7)
"""What is known of a chunk: not there; there and not looked into; voxels; only zeros; not readable; not decodable;
stored in a form that precast does not read."""


@dataclass(slots=True)
class ScaleSurvey:
    """What was found of one scale.

    Attributes
    ----------
    where
        The directory of the scale.
    states
        uint8, shape (z, y, x): the state of every chunk of the grid.
    record
        What provenance says, if anything.
    alone
        No scale of the volume has a chunk.
    stored_bytes, objects
        What lies in the directory.
    decoded
        Chunks that were looked into.
    complete
        Every stored chunk was.
    lossy
        Decoding does not give back what was encoded, here or at the scale before.
    labelled
        Voxels that are not 0, of the chunks that were looked into.
    digest
        The digest of the voxels; empty if not all of them were read.
    """

    where: str
    states: npt.NDArray[np.uint8]
    record: ScaleRecord | None = None
    alone: bool = False
    stored_bytes: int = 0
    objects: int = 0
    decoded: int = 0
    complete: bool = False
    lossy: bool = False
    labelled: int = 0
    digest: str = ""
    unreadable: Tally = field(default_factory=Tally)
    zero_length: Tally = field(default_factory=Tally)
    twice: Tally = field(default_factory=Tally)
    misnamed: Tally = field(default_factory=Tally)
    leftover: Tally = field(default_factory=Tally)
    packed: Tally = field(default_factory=Tally)
    nested: Tally = field(default_factory=Tally)
    no_cell: Tally = field(default_factory=Tally)
    broken: Tally = field(default_factory=Tally)
    empty_beside: Tally = field(default_factory=Tally)
    pyramid: Pyramid | None = None

    @property
    def chunks(self) -> int:
        """Chunks of the grid."""
        return int(self.states.size)

    def count(self, *states: int) -> int:
        """Count the chunks in some states."""
        asked = np.zeros(256, bool)
        asked[list(states)] = True
        return sum(int(np.count_nonzero(asked[plane])) for plane in self.states)  # no copy of the whole

    @property
    def present(self) -> int:
        """Chunks that are stored, readable or not."""
        return self.chunks - self.count(ABSENT)

    @property
    def recorded(self) -> int | None:
        """How many chunks provenance says were stored."""
        return None if self.record is None else self.record.stored_chunks

    @property
    def lost(self) -> int:
        """How many chunks are fewer than provenance says."""
        return 0 if self.recorded is None else max(0, self.recorded - self.present)


@dataclass(slots=True)
class Pyramid:
    """A scale beside the finer one.

    Attributes
    ----------
    where
        The directory of the coarser scale.
    method
        How it was compared.
    exact
        Whether precast made it, so that every voxel is determined.
    lossy
        One of the two scales is stored with loss, so that they are only near.
    compared, differ
        Voxels that were compared, and that are not what the method gives; of lossy scales those are not counted.
    wrong
        Those that are an error.
    impossible
        Those that no way of reducing gives, in datasets by other programs.
    far
        Blocks of lossy scales that are far from what the method gives.
    """

    where: str
    method: str
    exact: bool
    lossy: bool = False
    compared: int = 0
    differ: int = 0
    wrong: Tally = field(default_factory=Tally)
    impossible: Tally = field(default_factory=Tally)
    far: Tally = field(default_factory=Tally)

    def to_json(self) -> dict[str, Any]:
        """Return what a report says about it."""
        return {"method": self.method, "compared": self.compared, "differ": None if self.lossy else self.differ}


SCALE: RuleTable[ScaleSurvey] = RuleTable()


@SCALE.add(
    "PC200",
    "chunks that are absent are known to be empty",
    severity=Severity.INFO,
    hint="legal: viewers show zeros there; if the data should have no gaps, look for interrupted uploads",
)
def chunks_absent(scale: ScaleSurvey) -> Iterator[Fault]:
    absent = scale.count(ABSENT)
    if scale.recorded is None and absent and scale.present and not scale.empty_beside:
        yield (
            scale.where,
            f"{absent} of {scale.chunks} chunks are absent, and nothing says whether they were ever there",
        )


@SCALE.add(
    "PC201",
    "as many chunks are there as provenance says were stored",
    hint="they were lost after the conversion: convert again, or copy the dataset again from its origin",
)
def chunks_lost(scale: ScaleSurvey) -> Iterator[Fault]:
    if scale.lost:
        text = f"{scale.lost} of {scale.recorded} stored chunks are lost"
        if scale.record is not None and scale.record.background_chunks == 0:
            z, y, x = np.unravel_index(int(np.argmax(scale.states == ABSENT)), scale.states.shape)
            text += f", for example at cell {x},{y},{z} of the chunk grid"
        elif scale.empty_beside:
            text += f", for example {scale.empty_beside.first[0]}"
        yield scale.where, text


@SCALE.add(
    "PC202",
    "where a chunk is absent, the scale beside it is empty too",
    hint="the chunk is lost, not empty: write that scale again",
)
def chunks_empty_beside(scale: ScaleSurvey) -> Iterator[Fault]:
    if scale.recorded is None and scale.present:
        yield from scale.empty_beside.faults(scale.where)


@SCALE.add("PC203", "every chunk that is there can be read", hint="check permissions and the disk")
def chunks_readable(scale: ScaleSurvey) -> Iterator[Fault]:
    yield from scale.unreadable.faults(scale.where)


@SCALE.add("PC204", "no stored chunk is a file without bytes", hint="an interrupted write: remove it or write it again")
def chunks_zero_length(scale: ScaleSurvey) -> Iterator[Fault]:
    yield from scale.zero_length.faults(scale.where)


@SCALE.add(
    "PC205",
    "a chunk is stored in one form: as X, X.gz or X.br",
    severity=Severity.WARNING,
    hint="servers may send either; remove the older one",
)
def chunks_twice(scale: ScaleSurvey) -> Iterator[Fault]:
    yield from scale.twice.faults(scale.where)


@SCALE.add(
    "PC206",
    "names of chunks are those that readers ask for",
    hint="names have the first and last voxel plus one of each axis, cut off at the end of the volume",
)
def chunks_misnamed(scale: ScaleSurvey) -> Iterator[Fault]:
    yield from scale.misnamed.faults(scale.where)


@SCALE.add("PC207", "every chunk belongs to a cell of the grid", severity=Severity.WARNING, hint="remove it")
def chunks_leftover(scale: ScaleSurvey) -> Iterator[Fault]:
    yield from scale.leftover.faults(scale.where)


@SCALE.add("PC208", "every key in the shards of a scale is that of a chunk of its grid")
def chunks_no_cell(scale: ScaleSurvey) -> Iterator[Fault]:
    yield from scale.no_cell.faults(scale.where)


@SCALE.add(
    "PC209",
    "chunks are stored plain or gzipped",
    severity=Severity.WARNING,
    hint="browsers take brotli over https and from this machine alone, and few servers send it (precast serve does), "
    "other forms not at all; igneous image xfer --compress gzip, or --sharded, writes what all servers send",
)
def chunks_packed(scale: ScaleSurvey) -> Iterator[Fault]:
    yield from scale.packed.faults(scale.where)


@SCALE.add("PC210", "no more chunks are there than provenance says were stored", severity=Severity.WARNING)
def chunks_more(scale: ScaleSurvey) -> Iterator[Fault]:
    if scale.recorded is not None and scale.present > scale.recorded:
        text = f"{scale.present} chunks are stored, provenance says {scale.recorded}: they were changed afterwards"
        yield scale.where, text


@SCALE.add("PC211", "a scale has chunks", hint="info names a scale that was not written: write it, or remove it there")
def chunks_none(scale: ScaleSurvey) -> Iterator[Fault]:
    if not scale.present and scale.recorded is None:
        others = "no scale has any" if scale.alone else "other scales have theirs"
        yield scale.where, f"none of {scale.chunks} chunks is there; {others}"


@SCALE.add(
    "PC212",
    "chunks lie directly in the directory of their scale",
    severity=Severity.WARNING,
    hint="as neuroglancer-scripts lay them without --flat: precast reads and serves them so, other servers must "
    "rewrite names; with --flat, or renamed from a/b/c to a_b_c, they need nothing",
)
def chunks_nested(scale: ScaleSurvey) -> Iterator[Fault]:
    if scale.nested:
        yield (
            scale.nested.first[0],
            f"{scale.nested.count} chunks lie in a folder per axis, where viewers do not look",
        )


# ---- decoding


@SCALE.add("PC230", "every chunk decodes to its shape", hint="write it again")
def chunks_decode(scale: ScaleSurvey) -> Iterator[Fault]:
    yield from scale.broken.faults(scale.where)


# ---- scale beside scale


@SCALE.add(
    "PC240",
    "every voxel of a coarser scale follows from the finer one, as the conversion made it",
    hint="one of the two was changed after the conversion: convert again",
)
def pyramid_exact(scale: ScaleSurvey) -> Iterator[Fault]:
    if scale.pyramid is not None and scale.pyramid.wrong:
        first = scale.pyramid.wrong.first
        yield first[0], f"{scale.pyramid.wrong.count} voxels differ from {scale.pyramid.method}; {first[1]}"


@SCALE.add(
    "PC241",
    "every voxel of a coarser scale is a value that some reduction of the finer one gives",
    severity=Severity.WARNING,
    hint="often borders of odd sizes, or offsets that the factor does not divide; precast convert makes them exact",
)
def pyramid_possible(scale: ScaleSurvey) -> Iterator[Fault]:
    if scale.pyramid is not None and scale.pyramid.impossible:
        first = scale.pyramid.impossible.first
        text = (
            f"{scale.pyramid.impossible.count} of {scale.pyramid.compared} voxels are outside what the finer scale has"
        )
        yield first[0], f"{text} there; {first[1]}"


@SCALE.add(
    "PC243",
    "a coarser scale that is stored with loss looks like the finer one",
    severity=Severity.WARNING,
)
def pyramid_near(scale: ScaleSurvey) -> Iterator[Fault]:
    if scale.pyramid is not None:
        yield from scale.pyramid.far.faults(scale.where)


# ---- digests


@SCALE.add(
    "PC250",
    "the voxels have the digest that provenance says",
    hint="voxels were changed after the conversion: convert again, or copy the dataset again from its origin",
)
def digest_exact(scale: ScaleSurvey) -> Iterator[Fault]:
    if not scale.lossy:
        yield from _digest(scale)


@SCALE.add(
    "PC251",
    "the voxels of a scale that is stored with loss have the digest that provenance says",
    severity=Severity.WARNING,
    hint="voxels were changed after the conversion, or another decoder rounds differently",
)
def digest_lossy(scale: ScaleSurvey) -> Iterator[Fault]:
    if scale.lossy:
        yield from _digest(scale)


def _digest(scale: ScaleSurvey) -> Iterator[Fault]:
    expected = scale.record.voxel_digest if scale.record is not None else None
    if expected and scale.digest and scale.digest != expected:
        yield scale.where, f"the voxels have the digest {scale.digest}, provenance says {expected}"
