"""Look into the chunks of a volume: decode them, add up the digest, and lay each scale beside the next coarser one.

A scale is read in tiles, each the voxels that one chunk of the coarser scale is made of, so that every chunk is decoded
once for all three. A chunk that reaches into several tiles counts in the one that holds its first voxel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, cast, get_args

import numpy as np
import numpy.typing as npt

from precast import kernels
from precast.checks.chunk_rules import ABSENT, BROKEN, EMPTY, PACKED, STORED, UNREADABLE, VOXELS, Pyramid, ScaleSurvey
from precast.checks.places import Tally
from precast.checks.work import in_threads
from precast.dataset.volume import Scale
from precast.errors import AccessDeniedError, FormatError, StorageError, UsageError
from precast.execution.progress import Progress
from precast.geometry import Box, Vec3

__all__ = ["Depth", "look_into", "plan_pyramid"]

Array = npt.NDArray[Any]

LOSSY_MEAN = 8.0
"""Mean of a block, in grey levels, above which a lossy scale is not taken for black."""
LOSSY_APART = 24.0
"""Mean difference of a block, in grey levels, that no quality of jpeg explains."""
MOST_REDUCED = 2**12
"""Voxels that one coarser voxel may stand for; scales further apart are not compared."""
NOT_READ = (UNREADABLE, BROKEN, PACKED)
BATCH = 8
TILE_BYTES = 2**25
ARRAYS_PER_TILE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How much to look into.

    Attributes
    ----------
    sample
        Share of the tiles, from 0 to 1.
    seed
        Which ones.
    threads, memory_bytes
        Bounds of the work.
    """

    sample: float
    seed: int
    threads: int
    memory_bytes: int


def plan_pyramid(
    finer: tuple[Scale, ScaleSurvey], coarser: tuple[Scale, ScaleSurvey], method: str | None, kind: str
) -> Pyramid | None:
    """Return how a scale can be laid beside the finer one, or None if it cannot.

    Parameters
    ----------
    finer, coarser
        The scales, with what was found of them.
    method
        How precast reduced the finer scale, if it did.
    kind
        Of the volume; another program's method is not known, it is taken for the usual one.
    """
    (fine, fine_survey), (coarse, survey) = finer, coarser
    if _factor(fine, coarse) is None:
        return None
    known = method in get_args(kernels.DownsampleMethod) and survey.record is not None
    usual = "majority" if kind == "segmentation" else "mean"
    lossy = survey.lossy or fine_survey.lossy
    return Pyramid(survey.where, str(method) if known else usual, known, lossy)


def _factor(fine: Scale, coarse: Scale) -> Vec3 | None:
    """Return the whole factor between two scales, or None if there is none or they do not lie above each other."""
    ratios = [float(b / a) for a, b in zip(fine.info.resolution, coarse.info.resolution, strict=True)]
    factors = [round(ratio) for ratio in ratios]
    if any(f < 1 or abs(f - r) > 1e-6 * r for f, r in zip(factors, ratios, strict=True)):
        return None
    factor = Vec3.of(factors)
    should = kernels.downsample_domain(fine.box.start, fine.box.size, factor)
    near = [
        abs(a - b) <= 1
        for ends in ((should.start, coarse.box.start), (should.stop, coarse.box.stop))
        for a, b in zip(*ends, strict=True)
    ]
    return factor if all(near) and 1 < factor.volume <= MOST_REDUCED else None


@dataclass(slots=True)
class TileResult:
    """What one tile added."""

    states: list[tuple[Vec3, int]] = field(default_factory=list)
    lanes: tuple[int, int] = (0, 0)
    voxels_bytes: int = 0
    labelled: int = 0
    broken: Tally = field(default_factory=Tally)
    unreadable: Tally = field(default_factory=Tally)
    lost_here: Tally = field(default_factory=Tally)
    lost_above: Tally = field(default_factory=Tally)
    pyramid: Pyramid | None = None


def look_into(
    scale: Scale,
    survey: ScaleSurvey,
    above: tuple[Scale, ScaleSurvey] | None,
    depth: Depth,
    progress: Progress,
) -> None:
    """Decode the chunks of a scale, and lay the next coarser one beside it.

    Parameters
    ----------
    scale, survey
        The scale, and what was found of it so far; the rest is entered here.
    above
        The next coarser scale, with its survey whose ``pyramid`` says how to compare; None if it is not compared.
    depth, progress
        How much, and whom to tell.
    """
    work = _Tiles(scale, survey, above, depth)
    chosen = work.choose()
    lanes = [0, 0]
    progress.phase(f"scale {survey.where}", work.raw_bytes(chosen))
    for results in in_threads(work.batch, _batches(chosen, BATCH), work.threads):
        for result in results:
            work.enter(result)
            lanes = [(a + b) % 2**64 for a, b in zip(lanes, result.lanes, strict=True)]
            progress.advance(result.voxels_bytes)
    survey.decoded = survey.count(VOXELS, EMPTY, BROKEN)
    survey.complete = survey.count(STORED) == 0
    sound = survey.count(*NOT_READ) == 0 and not survey.lost
    if survey.complete and sound and not survey.unreadable:
        info = scale.info
        survey.digest = kernels.format_digest((lanes[0], lanes[1]), info.size, scale.channels, scale.dtype.name)


def _batches(numbers: Sequence[int], size: int) -> Iterator[list[int]]:
    rest = iter(numbers)
    while batch := list(islice(rest, size)):
        yield batch


class _Tiles:
    """The tiles of one scale; what is called from threads changes nothing but its result."""

    def __init__(
        self, scale: Scale, survey: ScaleSurvey, above: tuple[Scale, ScaleSurvey] | None, depth: Depth
    ) -> None:
        self.scale = scale
        self.survey = survey
        self.depth = depth
        self.above = None if above is None else above[0]
        self.above_survey = None if above is None else above[1]
        self.factor = None if above is None else _factor(scale, above[0])
        step = scale.info.chunk_size
        origin = scale.box.start
        if above is not None and self.factor is not None:
            coarse = self._coarse_step(above[0].info.chunk_size)
            step, origin = coarse.times(self.factor), above[0].box.start.times(self.factor)
        self.edges = [
            _cuts(a, b, o, s) for a, b, o, s in zip(scale.box.start, scale.box.stop, origin, step, strict=True)
        ]
        self.grid = Vec3.of([len(cuts) - 1 for cuts in self.edges])
        tile_bytes = max(step.volume, scale.info.chunk_size.volume) * self._voxel_bytes * ARRAYS_PER_TILE
        self.threads = max(1, min(depth.threads, depth.memory_bytes // max(1, tile_bytes)))

    @property
    def _voxel_bytes(self) -> int:
        return int(self.scale.channels * self.scale.dtype.itemsize)

    def _coarse_step(self, chunk: Vec3) -> Vec3:
        """Return a part of a coarser chunk whose tile is not too large, but not smaller than a chunk.

        It is the same on every machine, as samples must be.
        """
        assert self.factor is not None
        sizes = list(chunk)
        room = max(TILE_BYTES // self._voxel_bytes, self.scale.info.chunk_size.volume)
        while sizes[0] * sizes[1] * sizes[2] * self.factor.volume > room and max(sizes) > 1:
            at = sizes.index(max(sizes))
            sizes[at] = -(-sizes[at] // 2)
        return Vec3.of(sizes)

    # ---- which tiles

    def tile(self, number: int) -> Box:
        """Return the voxels of a tile."""
        nx, ny, _ = self.grid
        at = (number % nx, number // nx % ny, number // nx // ny)
        start = Vec3.of([cuts[i] for cuts, i in zip(self.edges, at, strict=True)])
        return Box(start, Vec3.of([cuts[i + 1] for cuts, i in zip(self.edges, at, strict=True)]))

    def raw_bytes(self, numbers: Sequence[int]) -> int:
        """Return the decoded size of some tiles."""
        whole = len(numbers) == self.grid.volume
        voxels = self.scale.box.size.volume if whole else sum(self.tile(number).size.volume for number in numbers)
        return voxels * self._voxel_bytes

    def choose(self) -> list[int]:
        """Return the tiles to look into: those with chunks, or a sample of them."""
        there = list(range(self.grid.volume))
        if self.survey.count(ABSENT):
            there = [number for number in there if self._has_chunks(self.tile(number))]
        if self.depth.sample >= 1 or not there:
            return there
        count = max(1, -(-len(there) * int(self.depth.sample * 10**6) // 10**6))
        chosen = np.random.default_rng([self.depth.seed, self.scale.index]).choice(len(there), count, replace=False)
        return [there[i] for i in sorted(chosen.tolist())]

    def _has_chunks(self, tile: Box) -> bool:
        if (_states(self.survey, self.scale.info.cells(tile)) != ABSENT).any():
            return True
        if self.above is None or self.above_survey is None or self.factor is None:
            return False
        region = self._region(tile)
        return not region.empty and bool((_states(self.above_survey, self.above.info.cells(region)) != ABSENT).any())

    def _region(self, tile: Box) -> Box:
        """Return the voxels of the coarser scale that a tile is reduced to."""
        assert self.above is not None
        assert self.factor is not None
        return kernels.downsample_domain(tile.start, tile.size, self.factor).intersect(self.above.box)

    # ---- one tile, in a thread

    def batch(self, numbers: Sequence[int]) -> list[TileResult]:
        """Look into some tiles."""
        return [self.one(self.tile(number)) for number in numbers]

    def one(self, tile: Box) -> TileResult:
        """Decode the chunks of a tile and compare it."""
        result = TileResult(voxels_bytes=tile.size.volume * self._voxel_bytes)
        scale = self.scale
        whole = None
        if self.above is not None:
            whole = np.zeros((scale.channels, *tile.size.zyx), scale.dtype)
        sound, absent = True, []
        for cell in (box.start for box in scale.info.cells(tile).tiles((1, 1, 1))):
            state = int(self.survey.states[cell.z, cell.y, cell.x])
            box = scale.info.chunk_box(cell)
            if state == ABSENT:
                absent.append(box.intersect(tile))
                continue
            home = tile.contains(Box(box.start, box.start.plus((1, 1, 1))))
            chunk = self._decode(cell, result if home else TileResult()) if state not in NOT_READ else None
            if chunk is None:
                sound = False
                continue
            if home:
                # by their bits, as the digest takes them: -0.0 is no 0
                state = VOXELS if chunk.view(f"u{chunk.dtype.itemsize}").any() else EMPTY
                result.states.append((cell, state))
                if state == VOXELS:
                    result.labelled += int(np.count_nonzero(chunk))
                    share = kernels.voxel_digest(chunk, box.start.minus(scale.box.start), scale.box.size)
                    result.lanes = tuple((a + b) % 2**64 for a, b in zip(result.lanes, share, strict=True))  # type: ignore[assignment]
            if whole is not None:
                part = box.intersect(tile)
                whole[part.slices(tile.start)] = chunk[part.slices(box.start)]
        if whole is not None and sound:
            self._beside(tile, whole, absent, result)
        return result

    def _decode(self, cell: Vec3, result: TileResult) -> Array | None:
        name = f"{self.scale.info.key}/{self.scale.info.chunk_name(cell)}"
        try:
            chunk = self.scale.read_chunk(cell)
            if chunk is None:
                raise StorageError("it was listed, but it is not there")
        except FormatError as error:
            result.broken.add(name, error.message.removeprefix(f"chunk {name}: "))
            result.states.append((cell, BROKEN))
            return None
        except (AccessDeniedError, StorageError, UsageError) as error:
            result.unreadable.add(name, error.message)
            result.states.append((cell, UNREADABLE))
            return None
        return chunk

    # ---- the coarser scale beside it

    def _beside(self, tile: Box, fine: Array, absent: Sequence[Box], result: TileResult) -> None:
        """Compare a tile with the coarser voxels that it is reduced to, if those can be read."""
        above, survey = self.above, self.above_survey
        assert above is not None
        assert survey is not None
        region = self._region(tile)
        if region.empty or survey.pyramid is None:
            return
        states = _states(survey, above.info.cells(region))
        if np.isin(states, NOT_READ).any():
            return
        try:
            coarse = above.read(region, threads=1)
        except (FormatError, AccessDeniedError, StorageError, UsageError):
            return  # told when that scale is looked into
        self._find_lost(_Beside(tile, fine, region, coarse), absent, result)
        lost = (absent and self.survey.lost) or (survey.lost and (states == ABSENT).any())
        if not lost and not result.lost_here and not result.lost_above:  # those are told on their own
            result.pyramid = self._compare(_Beside(tile, fine, region, coarse))

    def _compare(self, pair: _Beside) -> Pyramid:
        above, survey, factor = self.above, self.above_survey, self.factor
        assert above is not None
        assert survey is not None
        assert survey.pyramid is not None
        assert factor is not None
        coarse, region = pair.coarse, pair.region
        plan = survey.pyramid
        found = Pyramid(plan.where, plan.method, plan.exact, plan.lossy, compared=coarse.size)
        method = cast("kernels.DownsampleMethod", found.method)
        expected = pair.reduced(factor, method)
        if found.lossy:
            low, high = (
                (expected, expected) if found.exact else (pair.reduced(factor, "min"), pair.reduced(factor, "max"))
            )
            values = coarse.astype(np.float64)
            apart = float(np.abs(values - np.clip(values, low, high)).mean())
            if apart > LOSSY_APART:
                found.far.add(_place(above, region), f"differs from the finer scale by {apart:.0f} on average")
            return found
        different = coarse != expected
        if coarse.dtype.kind == "f":
            different &= ~(np.isnan(coarse) & np.isnan(expected))
        found.differ = int(different.sum())
        if found.differ and found.exact:
            self._tell(found.wrong, different, pair, found.method, expected)
        elif found.differ:
            wrong = different & ~pair.possible(factor, different, labels=found.method == "majority")
            if wrong.any():
                self._tell(found.impossible, wrong, pair, found.method, expected)
        return found

    def _tell(self, tally: Tally, wrong: Array, pair: _Beside, method: str, expected: Array) -> None:
        assert self.above is not None
        c, z, y, x = (int(n) for n in np.argwhere(wrong)[0])
        place = pair.region.start.plus((x, y, z))
        channel = f", channel {c}" if self.above.channels > 1 else ""
        values = f"{pair.coarse[c, z, y, x]}, where {method} gives {expected[c, z, y, x]}"
        tally.add(_place(self.above, pair.region), f"for example at {place}{channel}: {values}", int(wrong.sum()))

    def _find_lost(self, pair: _Beside, absent: Sequence[Box], result: TileResult) -> None:
        """Find absent chunks, here or above, where the other scale has voxels that no reduction makes of zeros."""
        above, factor = self.above, self.factor
        assert above is not None
        assert factor is not None
        assert self.above_survey is not None
        lossy = self.survey.lossy or self.above_survey.lossy
        for box in absent:
            # a voxel less on every side: other programs place voxels differently by up to one
            inner = box.start.ceildiv(factor).plus((1, 1, 1))
            stop = box.stop.floordiv(factor).minus((1, 1, 1)).map(max, inner)
            part = Box(inner, stop).intersect(pair.region)
            values = pair.coarse[part.slices(pair.region.start)]
            if values.size and (float(values.mean()) > LOSSY_MEAN if lossy else values.any()):
                where = f"{self.scale.info.key}/{self.scale.info.chunk_name(self.scale.info.cells(box).start)}"
                result.lost_here.add(where, f"is absent, but scale {above.info.key} has voxels there")
        for cell in (box.start for box in above.info.cells(pair.region).tiles((1, 1, 1))):
            if self.above_survey.states[cell.z, cell.y, cell.x] != ABSENT:
                continue
            part = above.info.chunk_box(cell).intersect(pair.region)
            source = Box(part.start.times(factor), part.stop.times(factor)).intersect(pair.tile)
            least = 2 * LOSSY_MEAN if lossy else 0
            filled = (pair.fine[source.slices(pair.tile.start)] > least).astype(np.uint8)
            if filled.size and kernels.downsample(filled, factor, "min", start=source.start).any():
                where = f"{above.info.key}/{above.info.chunk_name(cell)}"
                result.lost_above.add(where, f"is absent, but scale {self.scale.info.key} has voxels there")

    # ---- back in the thread that runs the check

    def enter(self, result: TileResult) -> None:
        """Add what a tile found to the surveys."""
        for cell, state in result.states:
            self.survey.states[cell.z, cell.y, cell.x] = state
        self.survey.labelled += result.labelled
        self.survey.broken.join(result.broken)
        self.survey.unreadable.join(result.unreadable)
        self.survey.empty_beside.join(result.lost_here)
        if self.above_survey is not None:
            self.above_survey.empty_beside.join(result.lost_above)
            total, part = self.above_survey.pyramid, result.pyramid
            if total is not None and part is not None:
                total.compared += part.compared
                total.differ += part.differ
                total.wrong.join(part.wrong)
                total.impossible.join(part.impossible)
                total.far.join(part.far)


def _cuts(start: int, stop: int, origin: int, step: int) -> list[int]:
    """Return where tiles begin and end: at multiples of a step from an origin, and at both ends."""
    first = start + (origin - start) % step
    inner: Iterable[int] = range(first if first > start else first + step, stop, step)
    return [start, *inner, stop]


def _states(survey: ScaleSurvey, cells: Box) -> Array:
    _, z, y, x = cells.slices()
    return survey.states[z, y, x]


def _place(scale: Scale, box: Box) -> str:
    return f"{scale.info.key}, voxels {box.start}..{box.stop}"


@dataclass(frozen=True, slots=True)
class _Beside:
    """Voxels of a scale, and those of the coarser scale that they are reduced to.

    Attributes
    ----------
    tile, fine
        The finer block.
    region, coarse
        The coarser one.
    """

    tile: Box
    fine: Array
    region: Box
    coarse: Array

    def reduced(self, factor: Vec3, method: kernels.DownsampleMethod) -> Array:
        """Reduce the finer block to the voxels of the coarser one."""
        domain = kernels.downsample_domain(self.tile.start, self.tile.size, factor)
        whole = kernels.downsample(self.fine, factor, method, start=self.tile.start)
        return whole[self.region.slices(domain.start)]

    def possible(self, factor: Vec3, asked: Array, *, labels: bool) -> Array:
        """Tell for some coarse voxels whether their cell can be reduced to them.

        Labels must occur in their cell; other values must lie between its lowest and its highest.
        """
        if not labels:
            low, high = self.reduced(factor, "min"), self.reduced(factor, "max")
            return np.asarray((self.coarse >= low) & (self.coarse <= high))
        c, z, y, x = np.nonzero(asked)
        values = self.coarse[c, z, y, x]
        member = np.zeros(len(values), bool)
        corner = [
            (n + a) * f - b for n, a, f, b in zip((x, y, z), self.region.start, factor, self.tile.start, strict=True)
        ]
        for step in Box(Vec3(0, 0, 0), factor).tiles((1, 1, 1)):
            px, py, pz = (
                np.clip(begin + d, 0, n - 1) for begin, d, n in zip(corner, step.start, self.tile.size, strict=True)
            )
            member |= self.fine[c, pz, py, px] == values
        possible = np.zeros(self.coarse.shape, bool)
        possible[c, z, y, x] = member
        return possible
