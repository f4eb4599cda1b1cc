"""The rules about annotations, ``PC6xx``: the info, the values of all indices, and the indices against each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from precast.checks.places import Tally
from precast.checks.rules import Fault, RuleTable
from precast.findings import Severity
from precast.precomputed.annotations import AnnotationInfo

__all__ = ["FILE", "INDICES", "VALUES", "AnnotationsFile", "Indices", "Values"]


@dataclass(frozen=True, slots=True)
class AnnotationsFile:
    """The ``info`` of annotations; ``problem`` says why it cannot be parsed, if so."""

    where: str
    value: Mapping[str, Any]
    problem: str = ""

    def problems(self, *rules: str) -> Iterator[Fault]:
        """Yield what the model finds wrong, for some of its rules."""
        if not self.problem:
            yield from ((self.where, p.text) for p in AnnotationInfo.problems(self.value) if p.rule in rules)

    @property
    def info(self) -> AnnotationInfo | None:
        """The model, if there are no problems."""
        if self.problem or AnnotationInfo.problems(self.value):
            return None
        return AnnotationInfo.from_json(self.value)


FILE: RuleTable[AnnotationsFile] = RuleTable()


@FILE.add("PC600", "the info of annotations is a strict JSON object")
def annotations_readable(file: AnnotationsFile) -> Iterator[Fault]:
    if file.problem:
        yield file.where, file.problem


@FILE.add("PC601", "the type of annotations is one of the format")
def annotations_type(file: AnnotationsFile) -> Iterator[Fault]:
    yield from file.problems("type")


@FILE.add("PC602", "dimensions and bounds of annotations are legal")
def annotations_space(file: AnnotationsFile) -> Iterator[Fault]:
    yield from file.problems("space")


@FILE.add("PC603", "properties of annotations have legal ids, types and enumerations")
def annotations_properties(file: AnnotationsFile) -> Iterator[Fault]:
    yield from file.problems("properties")


@FILE.add("PC604", "the indices of annotations are described as the format wants")
def annotations_indices(file: AnnotationsFile) -> Iterator[Fault]:
    yield from file.problems("indices")


@FILE.add("PC605", "every spatial level covers the bounds", hint="grid_shape * chunk_size = upper_bound - lower_bound")
def annotations_cover(file: AnnotationsFile) -> Iterator[Fault]:
    info = file.info
    for i, level in enumerate(info.spatial if info else ()):
        assert info is not None  # there is a level
        for n, edge, low, high in zip(level.grid_shape, level.chunk_size, info.lower, info.upper, strict=True):
            if n * edge < (high - low) * (1 - 1e-6):
                text = f"spatial[{i}]: {n} cells of {edge:g} do not cover the bounds, {low:g} to {high:g}"
                yield file.where, text
                break


@FILE.add(
    "PC606",
    "cells of a spatial level are made of whole cells of the next",
    severity=Severity.WARNING,
    hint="list levels from coarse to fine; chunk_size of a level is a multiple of that of the next",
)
def annotations_levels(file: AnnotationsFile) -> Iterator[Fault]:
    info = file.info
    levels = info.spatial if info else ()
    for i, (coarse, fine) in enumerate(pairwise(levels)):
        ratios = [a / b for a, b in zip(coarse.chunk_size, fine.chunk_size, strict=True)]
        if any(ratio < 1 - 1e-6 or abs(ratio - round(ratio)) > 1e-6 * ratio for ratio in ratios):
            text = f"chunk_size {list(fine.chunk_size)} does not divide that of the level before"
            yield file.where, f"spatial[{i + 1}]: {text}, {list(coarse.chunk_size)}"


@FILE.add(
    "PC607",
    "properties are listed in the order in which they are stored",
    severity=Severity.INFO,
    hint="4-byte types first, then 2, then 1: some readers follow the list",
)
def annotations_order(file: AnnotationsFile) -> Iterator[Fault]:
    info = file.info
    if info is not None and not info.stored_as_listed:
        yield file.where, f"the properties are listed as {', '.join(item.data_type for item in info.properties)}"


# ---- values of one index


@dataclass(slots=True)
class Values:
    """What was found in the values of one index."""

    where: str
    broken: Tally = field(default_factory=Tally)
    not_finite: Tally = field(default_factory=Tally)
    degenerate: Tally = field(default_factory=Tally)
    padding: Tally = field(default_factory=Tally)
    not_named: Tally = field(default_factory=Tally)
    misnamed: Tally = field(default_factory=Tally)
    crowded: Tally = field(default_factory=Tally)
    sorted_lists: Tally = field(default_factory=Tally)
    outside_cell: Tally = field(default_factory=Tally)


VALUES: RuleTable[Values] = RuleTable()


@VALUES.add("PC610", "values have exactly the length that their counts say")
def values_length(values: Values) -> Iterator[Fault]:
    yield from values.broken.faults(values.where)


@VALUES.add("PC611", "coordinates and properties are finite")
def values_finite(values: Values) -> Iterator[Fault]:
    yield from values.not_finite.faults(values.where)


@VALUES.add("PC612", "radii are not negative, and a polyline has at least two points")
def values_geometry(values: Values) -> Iterator[Fault]:
    yield from values.degenerate.faults(values.where)


@VALUES.add("PC613", "unused bytes of annotations are 0", severity=Severity.WARNING)
def values_padding(values: Values) -> Iterator[Fault]:
    yield from values.padding.faults(values.where)


@VALUES.add("PC614", "properties with names for their values have only such values", severity=Severity.WARNING)
def values_enums(values: Values) -> Iterator[Fault]:
    yield from values.not_named.faults(values.where)


@VALUES.add(
    "PC615",
    "every value of an index can be asked for",
    severity=Severity.WARNING,
    hint="ids are decimal; cells are joined by _ and lie in the grid",
)
def values_names(values: Values) -> Iterator[Fault]:
    yield from values.misnamed.faults(values.where)


@VALUES.add("PC616", "an annotation is listed in cells that it touches", severity=Severity.WARNING)
def values_cells(values: Values) -> Iterator[Fault]:
    yield from values.outside_cell.faults(values.where)


@VALUES.add(
    "PC617",
    "cells have not far more annotations than the limit of their level",
    severity=Severity.WARNING,
    hint="viewers draw them all: move some to a finer level",
)
def values_limit(values: Values) -> Iterator[Fault]:
    yield from values.crowded.faults(values.where)


@VALUES.add(
    "PC618",
    "lists of annotations are in random order",
    severity=Severity.WARNING,
    hint="viewers thin out by drawing the first of a list, which must stand for all",
)
def values_order(values: Values) -> Iterator[Fault]:
    yield from values.sorted_lists.faults(values.where)


# ---- the indices against each other


@dataclass(slots=True)
class Indices:
    """Where the indices of one collection disagree."""

    where: str
    not_by_id: Tally = field(default_factory=Tally)
    not_spatial: Tally = field(default_factory=Tally)
    different: Tally = field(default_factory=Tally)
    relations: Tally = field(default_factory=Tally)
    repeated: Tally = field(default_factory=Tally)
    not_in_cell: Tally = field(default_factory=Tally)


INDICES: RuleTable[Indices] = RuleTable()


@INDICES.add("PC620", "every annotation of an index is in the index by id", hint="it cannot be selected")
def indices_by_id(indices: Indices) -> Iterator[Fault]:
    yield from indices.not_by_id.faults(indices.where)


@INDICES.add("PC621", "every annotation by id is in the spatial index", hint="it is not drawn")
def indices_spatial(indices: Indices) -> Iterator[Fault]:
    yield from indices.not_spatial.faults(indices.where)


@INDICES.add("PC622", "an annotation has the same bytes in all indices")
def indices_equal(indices: Indices) -> Iterator[Fault]:
    yield from indices.different.faults(indices.where)


@INDICES.add("PC623", "the relationships of annotations and their index say the same")
def indices_relations(indices: Indices) -> Iterator[Fault]:
    yield from indices.relations.faults(indices.where)


@INDICES.add(
    "PC624", "an annotation is on one level of the spatial index", severity=Severity.WARNING, hint="drawn twice"
)
def indices_repeated(indices: Indices) -> Iterator[Fault]:
    yield from indices.repeated.faults(indices.where)


@INDICES.add(
    "PC625",
    "an annotation is in every cell of its level that it touches",
    severity=Severity.WARNING,
    hint="it vanishes when the cells that list it are out of view",
)
def indices_cells(indices: Indices) -> Iterator[Fault]:
    yield from indices.not_in_cell.faults(indices.where)
