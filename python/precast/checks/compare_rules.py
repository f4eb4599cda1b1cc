"""The rules about comparisons, ``PC8xx``: a volume with its source, and two datasets with each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from precast.checks.places import Tally
from precast.checks.rules import Fault, RuleTable
from precast.findings import Severity

__all__ = ["PAIR", "SOURCE", "VOXELS", "Pair", "SourceMatch", "VoxelMatch"]

FAR = 24.0
"""Mean difference, in grey levels, that no quality of jpeg explains."""


@dataclass(slots=True)
class SourceMatch:
    """A volume beside what it was made from.

    Attributes
    ----------
    where
        The scale.
    source
        Name of the source.
    shape_problem
        Why they cannot be laid over each other, if so.
    lossy
        The scale is stored with loss: voxels need not be equal, but near.
    compared, differ
        Voxels, all channels.
    total_difference, largest_difference
        Of lossy scales.
    first
        The first voxels that differ.
    unreadable
        Parts of the volume that cannot be read.
    """

    where: str
    source: str
    shape_problem: str = ""
    lossy: bool = False
    compared: int = 0
    differ: int = 0
    total_difference: float = 0.0
    largest_difference: float = 0.0
    first: list[str] = field(default_factory=list)
    unreadable: Tally = field(default_factory=Tally)

    @property
    def mean_difference(self) -> float:
        """Mean absolute difference of all voxels."""
        return self.total_difference / max(1, self.compared)


SOURCE: RuleTable[SourceMatch] = RuleTable()


@SOURCE.add("PC800", "a volume has the size and channels of its source")
def source_shape(match: SourceMatch) -> Iterator[Fault]:
    if match.shape_problem:
        yield match.where, match.shape_problem


@SOURCE.add("PC801", "every voxel of scale 0 is that of the source")
def source_voxels(match: SourceMatch) -> Iterator[Fault]:
    if match.differ and not match.lossy:
        text = f"{match.differ} of {match.compared} voxels differ from {match.source}, the first at "
        yield match.where, text + "; ".join(match.first)


@SOURCE.add("PC802", "voxels that are stored with loss are near those of the source", severity=Severity.WARNING)
def source_near(match: SourceMatch) -> Iterator[Fault]:
    if match.lossy and match.mean_difference > FAR:
        text = f"voxels differ from {match.source} by {match.mean_difference:.1f} on average"
        yield match.where, f"{text}, {match.largest_difference:g} at most"


@SOURCE.add("PC803", "all voxels can be read to be compared with the source")
def source_readable(match: SourceMatch) -> Iterator[Fault]:
    yield from match.unreadable.faults(match.where)


@dataclass(frozen=True, slots=True)
class Pair:
    """What two datasets have in common and what not, beside voxels: each entry a place and a text."""

    info: list[Fault] = field(default_factory=list)
    scales: list[Fault] = field(default_factory=list)
    geometry: list[Fault] = field(default_factory=list)
    meshes: list[Fault] = field(default_factory=list)
    skeletons: list[Fault] = field(default_factory=list)
    properties: list[Fault] = field(default_factory=list)
    unlisted: list[Fault] = field(default_factory=list)


PAIR: RuleTable[Pair] = RuleTable()


@PAIR.add("PC810", "two datasets have the same type, data_type and channels")
def pair_info(pair: Pair) -> Iterator[Fault]:
    yield from pair.info


@PAIR.add("PC811", "two datasets have the same number of scales")
def pair_scales(pair: Pair) -> Iterator[Fault]:
    yield from pair.scales


@PAIR.add("PC812", "two scales have the same size, offset and resolution")
def pair_geometry(pair: Pair) -> Iterator[Fault]:
    yield from pair.geometry


@dataclass(slots=True)
class VoxelMatch:
    """One scale of two datasets.

    Attributes
    ----------
    where
        The scale.
    compared, differ
        Voxels, all channels.
    first
        The first voxels that differ.
    digests
        The digests that were compared instead, if they differ.
    unreadable
        Parts that cannot be read.
    """

    where: str
    compared: int = 0
    differ: int = 0
    first: list[str] = field(default_factory=list)
    digests: str = ""
    unreadable: Tally = field(default_factory=Tally)


VOXELS: RuleTable[VoxelMatch] = RuleTable()


@VOXELS.add("PC813", "two scales have the same voxels")
def pair_voxels(match: VoxelMatch) -> Iterator[Fault]:
    if match.digests:
        yield match.where, match.digests
    elif match.differ:
        yield match.where, f"{match.differ} of {match.compared} voxels differ, the first at {'; '.join(match.first)}"


@VOXELS.add("PC814", "all voxels can be read to be compared")
def pair_readable(match: VoxelMatch) -> Iterator[Fault]:
    yield from match.unreadable.faults(match.where)


@PAIR.add("PC820", "two datasets have meshes of the same objects")
def pair_meshes(pair: Pair) -> Iterator[Fault]:
    yield from pair.meshes


@PAIR.add("PC821", "two datasets have skeletons of the same objects")
def pair_skeletons(pair: Pair) -> Iterator[Fault]:
    yield from pair.skeletons


@PAIR.add("PC822", "two datasets have the same segment properties")
def pair_properties(pair: Pair) -> Iterator[Fault]:
    yield from pair.properties


@PAIR.add("PC823", "the objects of parts can be listed", severity=Severity.INFO, hint="they were not compared")
def pair_listed(pair: Pair) -> Iterator[Fault]:
    yield from pair.unlisted


@dataclass(slots=True)
class LayerPairs:
    """The layers of two collections.

    Attributes
    ----------
    unlike
        Layers that one of them does not have, or that are something else there.
    uncompared
        Layers that are no volumes.
    """

    unlike: list[Fault] = field(default_factory=list)
    uncompared: list[Fault] = field(default_factory=list)


LAYERS: RuleTable[LayerPairs] = RuleTable()


@LAYERS.add("PC830", "two collections have the same layers")
def layers_alike(pairs: LayerPairs) -> Iterator[Fault]:
    yield from pairs.unlike


@LAYERS.add(
    "PC831", "the layers of two collections are volumes", severity=Severity.INFO, hint="others were not compared"
)
def layers_comparable(pairs: LayerPairs) -> Iterator[Fault]:
    yield from pairs.uncompared
