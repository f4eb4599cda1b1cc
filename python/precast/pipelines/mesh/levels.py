"""An object from its pieces: joined, simplified, its levels of detail, cut into fragments and encoded.

Pieces are nodes of an octree of blocks. A level is made from the one before, in groups of nodes that fit the memory:
inside a group everything may change, its border with other groups stays until a coarser level joins them. Small
objects, nearly all, are one group, and no border is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf

import numpy as np
import numpy.typing as npt

from precast import kernels
from precast.errors import FormatError
from precast.kernels import Mesh
from precast.pipelines.mesh.frame import COARSEST_STEP_BITS, FINEST_STEP_BITS, WIDTH, Cutting, Frame, Grid
from precast.pipelines.mesh.octree import close_cells, group
from precast.pipelines.mesh.spool import Shelf

__all__ = ["GROUP_FACES", "Level", "LevelRules", "Levels", "Part", "build_levels", "finest", "measured"]

GROUP_FACES = 1 << 20
"""Faces that are in memory at once. A constant: the result must not depend on the memory of a machine."""
FRAGMENT_FACES = 20_000
"""Cells are made smaller if one would hold more faces of the finest level."""
ENOUGH_FACES = 2_000
"""A level of so few faces in one cell needs no coarser one."""
FEWEST_FACES = 500
"""A level of so few faces needs no coarser one even if it lies in many cells."""
RMS_SHARE = 0.5
"""Share of the error bound that the mean distance of a vertex's surroundings may reach on the finest level."""
LEAST_REST = 0.125
"""Share of the error bound below which it is not worth to simplify what blocks have simplified already."""
SEAM_EDGES = 4
"""How many edges from a seam a finest level may still change."""
STEPS = (4, 8)
"""A level has this many times fewer faces than the finer one before it is cut; the second if cutting adds too many."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some pieces of an object: a node of the octree of blocks; ``raw`` if its block left it as it was."""

    code: int
    faces: int
    error_nm: float
    load: Callable[[], list[Mesh]]
    raw: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelRules:
    """What decides about the levels of an object."""

    max_error_nm: float
    faces: int | None
    most_levels: int
    fill_cavities: bool
    group_faces: int = GROUP_FACES


@dataclass(slots=True)
class Level:
    """One level of detail.

    Attributes
    ----------
    cells, octants, fragments
        Per cell with faces, in Morton order: where it is, which octants have faces, its Draco stream.
    faces
        Faces of all fragments together.
    error_nm
        Checked bound of the distance to the full surface.
    """

    faces: int
    error_nm: float
    cells: npt.NDArray[np.uint32]
    octants: npt.NDArray[np.uint8]
    fragments: list[bytes]


@dataclass(slots=True)
class Levels:
    """An object: its levels, finest first, and what was measured on the finest."""

    grid: Grid
    levels: list[Level] = field(default_factory=list)
    listed: list[list[tuple[int, int, int]]] = field(default_factory=list)
    area_nm2: float = 0.0
    volume_nm3: float = 0.0
    open_vertices: int = 0
    filled: int = 0


@dataclass(frozen=True, slots=True)
class Stage:
    """A level as groups of nodes, on the lattice."""

    parts: list[Part]
    faces: int
    error_nm: float
    filled: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Goal:
    """What a level shall be.

    Attributes
    ----------
    level
        Its number; decides about the lattice.
    max_error_nm, max_rms_nm
        Bounds of the distance to the parts that it is made from, at most and on the average around a vertex.
    target
        From the faces of a group to those that are wanted; 0 for as few as the bound allows.
    seams_only
        Whether only the surroundings of what blocks share may change: the rest has been simplified as far.
    """

    level: int
    max_error_nm: float
    max_rms_nm: float
    target: Callable[[int], int]
    seams_only: bool = False


def _simplify(parts: Sequence[Part], frame: Frame, shelf: Shelf, goal: _Goal, rules: LevelRules) -> Stage:
    """Join parts in groups and simplify each group."""
    snap = frame.snap(rules.max_error_nm, goal.level)
    made, filled = [], 0
    groups = group(parts, rules.group_faces)
    for nodes in groups:
        pieces = [piece for node in nodes for piece in node.load()]
        welded = kernels.weld_meshes(pieces, fill_cavities=rules.fill_cavities)
        filled += welded.filled
        del pieces
        positions, faces, error = kernels.simplify_mesh(
            welded.positions,
            welded.faces,
            unit_nm=frame.unit_nm,
            max_error_nm=goal.max_error_nm,
            max_rms_nm=goal.max_rms_nm,
            target_faces=goal.target(len(welded.faces)),
            patch=0,
            snap=snap,
            near=welded.seams if goal.seams_only else None,
            edges=SEAM_EDGES,
        )
        before = max(node.error_nm for node in nodes)
        keep = shelf.put([positions, faces], in_memory=len(groups) == 1)
        made.append(Part(nodes[0].code, len(faces), before + error, _loader(keep)))
    return Stage(made, sum(part.faces for part in made), max(part.error_nm for part in made), filled)


def _loader(keep: Callable[[], list[npt.NDArray[np.generic]]]) -> Callable[[], list[Mesh]]:
    def load() -> list[Mesh]:
        positions, faces = keep()
        return [(positions.astype(np.int32, copy=False), faces.astype(np.uint32, copy=False))]

    return load


def build_levels(parts: Sequence[Part], frame: Frame, rules: LevelRules, shelf: Shelf) -> Levels:
    """Make all levels of an object.

    Parameters
    ----------
    parts
        Its pieces, block by block.
    frame
        The scale that they were extracted from.
    rules
        Error bound, face budget, number of levels.
    shelf
        Keeps what does not fit the memory.

    Raises
    ------
    FormatError
        If the object cannot be made; says why.
    """
    stage = finest(parts, frame, rules, shelf)
    result = measured(stage, frame, rules)
    result.levels.append(_cut(stage, result.grid, 0, shelf))
    while not _is_last(result, rules):
        found = _coarser(stage, frame, shelf, result, rules)
        if found is None:
            break
        stage, level = found
        result.levels.append(level)
    result.listed = close_cells([(level.cells, level.octants) for level in result.levels])
    return result


def _coarser(stage: Stage, frame: Frame, shelf: Shelf, result: Levels, rules: LevelRules) -> tuple[Stage, Level] | None:
    """Return the next level, or None if it would not have three times fewer faces."""
    number, most = len(result.levels), result.levels[-1].faces // 3
    for step in STEPS:
        goal = _Goal(level=number, max_error_nm=inf, max_rms_nm=inf, target=partial(_share, step))
        coarser = _simplify(stage.parts, frame, shelf, goal, rules)
        if coarser.faces > most:
            return None
        level = _cut(coarser, result.grid, number, shelf)
        if level.faces <= most:
            return coarser, level
    return None


def _share(step: int, faces: int) -> int:
    return max(4, faces // step)


def finest(parts: Sequence[Part], frame: Frame, rules: LevelRules, shelf: Shelf) -> Stage:
    """Join the pieces of an object and simplify them as far as the rest of the error bound allows."""
    if not parts:
        raise FormatError("an object has no pieces")
    total = sum(part.faces for part in parts)
    used = max(part.error_nm for part in parts)
    rest = max(0.0, rules.max_error_nm - used - frame.cutting(rules.max_error_nm).error_nm)
    budget = rules.faces or 0
    simplified = not budget and not any(part.raw for part in parts)
    if simplified and rest < LEAST_REST * rules.max_error_nm:
        rest = 0.0
    goal = _Goal(
        level=0,
        max_error_nm=rest,
        max_rms_nm=RMS_SHARE * rules.max_error_nm,
        target=lambda faces: -(-budget * faces // total) if budget else 0,
        seams_only=simplified,
    )
    return _simplify(parts, frame, shelf, goal, rules)


def measured(stage: Stage, frame: Frame, rules: LevelRules) -> Levels:
    """Return the grid and what is measured on a finest level; there are no levels in it yet."""
    low, high = _bounds(stage.parts)
    cutting = frame.cutting(rules.max_error_nm)
    result = Levels(_choose_grid(stage, low, high, cutting), filled=stage.filled)
    seams = []
    for part in stage.parts:
        for mesh in part.load():
            area, volume, border = kernels.measure_mesh(mesh, frame.unit_nm)
            result.area_nm2 += area
            result.volume_nm3 += volume * float(np.prod(frame.unit_nm))
            if len(stage.parts) == 1:
                result.open_vertices += border
            elif border:
                seams.append(_open_edges(mesh))
    if seams:  # groups are open where they meet; only what none of them closes is open
        ends = _unmatched(np.concatenate(seams))
        result.open_vertices = len(np.unique(ends.reshape(-1, 3), axis=0))
    return result


def _open_edges(mesh: Mesh) -> npt.NDArray[np.int32]:
    """Return the ends, (n, 2, 3), of the edges of a mesh that lack a face, in the direction of the one they have."""
    positions, faces = mesh
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    low, high = edges.min(axis=1), edges.max(axis=1)
    signed = (low * len(positions) + high) * 2 + (edges[:, 0] == low)
    signed.sort()
    codes = signed >> 1
    begins = np.flatnonzero(np.diff(codes, prepend=-1))
    balance = np.add.reduceat((signed & 1) * 2 - 1, begins)
    ends = np.stack([codes[begins] // len(positions), codes[begins] % len(positions)], axis=1)
    ends = np.where(balance[:, None] < 0, ends[:, ::-1], ends)
    return np.asarray(positions[np.repeat(ends, np.abs(balance), axis=0)])


def _unmatched(edges: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the ends of the edges that are not there as often one way as the other."""
    _, number = np.unique(edges.reshape(-1, 3), axis=0, return_inverse=True)
    pairs = number.reshape(-1, 2)
    order = np.argsort(pairs.min(axis=1) * (pairs.max() + 1) + pairs.max(axis=1), kind="stable")
    pairs = pairs[order]
    begins = np.flatnonzero((np.diff(np.sort(pairs, axis=1), axis=0, prepend=-1) != 0).any(axis=1))
    balance = np.add.reduceat(np.where(pairs[:, 0] < pairs[:, 1], 1, -1), begins)
    return np.asarray(edges[order[begins[balance != 0]]])


def _is_last(result: Levels, rules: LevelRules) -> bool:
    level = result.levels[-1]
    if len(result.levels) >= rules.most_levels or level.faces <= FEWEST_FACES:
        return True
    return level.faces <= ENOUGH_FACES and len(level.cells) == 1


def _bounds(parts: Sequence[Part]) -> tuple[list[int], list[int]]:
    lows, highs = [], []
    for part in parts:
        for positions, _ in part.load():
            lows.append(positions.min(axis=0))
            highs.append(positions.max(axis=0))
    return np.min(lows, axis=0).tolist(), np.max(highs, axis=0).tolist()


def _choose_grid(stage: Stage, low: Sequence[int], high: Sequence[int], cutting: Cutting) -> Grid:
    """Return the coarsest cells that hold few enough faces each."""
    grid = Grid.around(low, high, COARSEST_STEP_BITS, cutting)
    if stage.faces <= FRAGMENT_FACES:
        return grid
    for bits in range(COARSEST_STEP_BITS, FINEST_STEP_BITS + 1):
        grid = Grid.around(low, high, bits, cutting)
        x, y, _ = count = grid.cells(0).count
        if count.volume > 1 << 40:
            break
        numbers = []
        for part in stage.parts:
            for positions, faces in part.load():
                cells = np.minimum(grid.steps(positions[faces[:, 0]], 0) // WIDTH, np.array(count) - 1).astype(np.int64)
                numbers.append(cells @ np.array([1, x, x * y], np.int64))
        if np.unique(np.concatenate(numbers), return_counts=True)[1].max() <= FRAGMENT_FACES:
            break
    return grid


def _cut(stage: Stage, grid: Grid, level: int, shelf: Shelf) -> Level:
    """Cut a level into its fragments; what several groups have in one cell is joined."""
    cells = grid.cells(level)
    by_cell: dict[tuple[int, int, int], tuple[int, list[Callable[[], list[npt.NDArray[np.generic]]]]]] = {}
    for part in stage.parts:
        for positions, faces in part.load():
            found = kernels.cut_mesh((grid.steps(positions, level), faces), cells)
            if len(stage.parts) == 1:
                streams = [kernels.draco_encode(*piece) for piece in _split(found)]
                return Level(len(found.faces), stage.error_nm, found.cells, found.octants, streams)
            for cell, octants, piece in zip(found.cells.tolist(), found.octants.tolist(), _split(found), strict=True):
                mask, pieces = by_cell.get(tuple(cell), (0, []))
                by_cell[tuple(cell)] = (mask | octants, [*pieces, shelf.put(list(piece), in_memory=False)])
    order = close_cells([(np.array(list(by_cell), np.uint32), np.zeros(len(by_cell), np.uint8))])[0]
    streams, count = [], 0
    for cell in order:
        joined = kernels.weld_meshes([mesh for keep in by_cell[cell][1] for mesh in _loader(keep)()])
        streams.append(kernels.draco_encode(joined.positions, joined.faces))
        count += len(joined.faces)
    masks = np.array([by_cell[cell][0] for cell in order], np.uint8)
    return Level(count, stage.error_nm, np.array(order, np.uint32).reshape(-1, 3), masks, streams)


def _split(found: kernels.Fragments) -> list[Mesh]:
    v, f = found.vertex_offsets.tolist(), found.face_offsets.tolist()
    return [(found.positions[v[i] : v[i + 1]], found.faces[f[i] : f[i + 1]]) for i in range(len(found.cells))]
