"""The rules about skeletons, ``PC5xx``, and their check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from precast.checks.context import Context
from precast.checks.key_value import find_values
from precast.checks.part_rules import STOPPED, Stopped
from precast.checks.rules import Fault, RuleTable
from precast.dataset.volume import Volume
from precast.errors import FormatError
from precast.findings import Finding, Severity
from precast.precomputed.objects import INFO_KEY
from precast.precomputed.skeletons import Skeleton, SkeletonInfo, parse_skeleton
from precast.precomputed.strict_json import parse_object

__all__ = ["SkeletonsCheck", "check_skeletons"]

U64 = npt.NDArray[np.uint64]
F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SkeletonsFile:
    """The ``info`` of skeletons; ``problem`` says why it cannot be parsed, if so."""

    where: str
    value: Mapping[str, Any]
    problem: str = ""

    def problems(self, *rules: str) -> Iterator[Fault]:
        """Yield what the model finds wrong, for some of its rules."""
        if not self.problem:
            yield from ((self.where, p.text) for p in SkeletonInfo.problems(self.value) if p.rule in rules)


FILE: RuleTable[SkeletonsFile] = RuleTable()


@FILE.add("PC500", "the info of skeletons is a strict JSON object")
def skeletons_readable(file: SkeletonsFile) -> Iterator[Fault]:
    if file.problem:
        yield file.where, file.problem


@FILE.add("PC501", "the info of skeletons has legal values")
def skeletons_fields(file: SkeletonsFile) -> Iterator[Fault]:
    yield from file.problems("type", "transform", "attributes", "fields")


@FILE.add("PC502", "sharding of skeletons is an object or absent", hint="leave the key out: Neuroglancer refuses null")
def skeletons_null(file: SkeletonsFile) -> Iterator[Fault]:
    if "sharding" in file.value and file.value["sharding"] is None:
        yield file.where, "sharding is null"


@FILE.add(
    "PC503",
    "the info of skeletons has transform and vertex_attributes",
    severity=Severity.WARNING,
    hint="some readers require them; write the identity and []",
)
def skeletons_complete(file: SkeletonsFile) -> Iterator[Fault]:
    if file.value.get("@type"):
        missing = [key for key in ("transform", "vertex_attributes") if key not in file.value]
        if missing:
            yield file.where, f"{' and '.join(missing)} missing"


@FILE.add(
    "PC504",
    "Neuroglancer can draw skeletons with these attributes",
    severity=Severity.WARNING,
    hint="float32, 1 to 4 components, names of letters, digits and _; with others it shows no skeleton at all",
)
def skeletons_drawn(file: SkeletonsFile) -> Iterator[Fault]:
    if file.problem or SkeletonInfo.problems(file.value):
        return
    for item in SkeletonInfo.from_json(file.value).attributes:
        if not item.drawn:
            text = f"the attribute {item.id!r:.60} is {item.num_components} x {item.data_type}"
            yield file.where, text


@dataclass(frozen=True, slots=True)
class SkeletonFile:
    """One skeleton.

    Attributes
    ----------
    where
        Its place.
    problem
        Why it cannot be read, if so; the skeleton is then None.
    skeleton
        As stored.
    bounds_nm
        Lowest and highest position in nm, shape (2, 3); None without vertices.
    volume_nm
        Bounds of the volume with a tolerance, shape (2, 3), if there is a volume.
    """

    where: str
    problem: str = ""
    skeleton: Skeleton | None = None
    bounds_nm: F64 | None = None
    volume_nm: F64 | None = None


SKELETON: RuleTable[SkeletonFile] = RuleTable()


@SKELETON.add("PC510", "a skeleton has exactly the length that its counts and the info say")
def skeleton_length(file: SkeletonFile) -> Iterator[Fault]:
    if file.problem:
        yield file.where, file.problem


@SKELETON.add("PC511", "the vertices of a skeleton are finite")
def skeleton_finite(file: SkeletonFile) -> Iterator[Fault]:
    if file.skeleton is not None:
        wrong = ~np.isfinite(file.skeleton.positions).all(axis=1)
        if wrong.any():
            yield file.where, f"{int(wrong.sum())} vertices are not finite, for example vertex {int(np.argmax(wrong))}"


@SKELETON.add("PC512", "the edges of a skeleton join vertices that it has")
def skeleton_edges(file: SkeletonFile) -> Iterator[Fault]:
    if file.skeleton is not None:
        count = len(file.skeleton.positions)
        wrong = (file.skeleton.edges >= count).any(axis=1)
        if wrong.any():
            edge = file.skeleton.edges[wrong][0].tolist()
            yield file.where, f"{int(wrong.sum())} edges point beyond {count} vertices, for example {edge}"


@SKELETON.add("PC513", "no edge of a skeleton stands twice or joins a vertex to itself", severity=Severity.WARNING)
def skeleton_double_edges(file: SkeletonFile) -> Iterator[Fault]:
    if file.skeleton is None or not len(file.skeleton.edges):
        return
    ordered = np.sort(file.skeleton.edges, axis=1)
    loops = int((ordered[:, 0] == ordered[:, 1]).sum())
    twice = len(ordered) - len(np.unique(ordered, axis=0))
    if loops or twice:
        yield file.where, f"{loops} edges join a vertex to itself, {twice} stand more than once"


@SKELETON.add("PC514", "a skeleton lies within its volume, to one coarse voxel", severity=Severity.WARNING)
def skeleton_bounds(file: SkeletonFile) -> Iterator[Fault]:
    if file.bounds_nm is None or file.volume_nm is None:
        return
    if (file.bounds_nm[0] < file.volume_nm[0]).any() or (file.bounds_nm[1] > file.volume_nm[1]).any():
        spans, volume = (
            [[round(float(n), 1) for n in row] for row in rows] for rows in (file.bounds_nm, file.volume_nm)
        )
        yield file.where, f"the skeleton spans {spans} nm, outside the volume, {volume} nm"


@SKELETON.add("PC515", "a skeleton has vertices", severity=Severity.WARNING, hint="leave out skeletons of nothing")
def skeleton_empty(file: SkeletonFile) -> Iterator[Fault]:
    if file.skeleton is not None and not len(file.skeleton.positions):
        yield file.where, "has no vertices"


# ---- the check


@dataclass(slots=True)
class SkeletonsCheck:
    """Findings, the ids of all skeletons, and how many were looked at."""

    findings: list[Finding]
    ids: U64 = field(default_factory=lambda: np.zeros(0, np.uint64))
    checked: int = 0


def check_skeletons(context: Context, path: str, volume: Volume | None) -> SkeletonsCheck:
    """Check the skeletons in a directory.

    Parameters
    ----------
    context
        The dataset, and how to check it.
    path
        The directory; empty if it is the dataset.
    volume
        The volume that they lie in, if there is one.

    Raises
    ------
    ObjectNotFoundError
        If there is no ``info``.
    AccessDeniedError, StorageError
        If storage fails.
    """
    key = f"{path}/{INFO_KEY}" if path else INFO_KEY
    try:
        value = parse_object(context.store.read(key), key)
    except FormatError as error:
        return SkeletonsCheck(FILE.run(SkeletonsFile(key, {}, error.message)))
    result = SkeletonsCheck(FILE.run(SkeletonsFile(key, value)))
    if SkeletonInfo.problems(value):
        return result
    info = SkeletonInfo.from_json(value)
    stored = find_values(context, path, info.sharding, _id_of, str)
    result.findings += stored.findings
    for where, message in stored.unreadable:
        result.findings += STOPPED.run(Stopped(where, message))
    result.ids = stored.keys
    chosen = context.sample(stored.keys.tolist())
    bounds = None if volume is None else _bounds(volume)
    for number, data in stored.values(chosen, context.threads):
        result.findings += SKELETON.run(_look(stored.where(number), data, info, bounds))
    result.checked = len(chosen)
    return result


def _id_of(name: str) -> int | None:
    number = int(name) if name.isascii() and name.isdigit() and (name == "0" or name[0] != "0") else None
    return number if number is not None and number < 2**64 else None


def _look(where: str, data: bytes | FormatError, info: SkeletonInfo, volume_nm: F64 | None) -> SkeletonFile:
    try:
        if isinstance(data, FormatError):
            raise data
        skeleton = parse_skeleton(data, info.attributes)
    except FormatError as error:
        return SkeletonFile(where, error.message)
    bounds = None
    finite = skeleton.positions[np.isfinite(skeleton.positions).all(axis=1)]
    if len(finite):
        points = info.to_nm(finite)
        bounds = np.stack([points.min(axis=0), points.max(axis=0)])
    return SkeletonFile(where, "", skeleton, bounds, volume_nm)


def _bounds(volume: Volume) -> F64:
    finest, coarsest = volume.info.scales[0], volume.info.scales[-1]
    voxel = np.array([float(edge) for edge in finest.resolution], np.float64)
    tolerance = np.array([float(edge) for edge in coarsest.resolution], np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # edges of any length parse
        box = np.array([finest.box.start, finest.box.stop], np.float64) * voxel
        return np.asarray(box + np.array([-tolerance, tolerance]))
