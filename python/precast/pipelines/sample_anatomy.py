"""Where the cells of a synthetic sample lie: cell bodies and branching neurites as chains of spheres.

Everything is in nanometres, x, y, z, and comes from the seed and the extent alone. Each cell process is
a walk whose heading turns slowly; spheres along the walk, closer together than their radius, are its
body. Spheres go to a :class:`Spool` on disk that is read back zone by zone along z, so that memory does
not grow with the depth of the volume.

A homogeneous tissue cut out by a box needs more than walks that start inside it: with a length density
``rho`` and walks of length ``L``, ``rho / L`` of them start per unit of volume and ``rho / 4`` enter per
unit of surface, with cosine-distributed headings (Cauchy-Crofton). Without the second kind a sample would
thin out towards its faces.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BODY",
    "MITOCHONDRION",
    "NUCLEUS",
    "PERIKARYON",
    "SPHERE",
    "SYNAPSE",
    "VESICLES",
    "Anatomy",
    "Spool",
    "build_anatomy",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Spheres = NDArray[np.void]

BODY, MITOCHONDRION, NUCLEUS, PERIKARYON, VESICLES, SYNAPSE = range(6)
"""What a sphere is part of. ``BODY`` decides who owns a voxel; the others only change grey levels."""

SPHERE = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("radius", "<f4"), ("process", "<i4"), ("kind", "u1")], align=True
)

_SOMA_PITCH_NM = 5200.0
_STEP_NM = 60.0
_BATCH = 4096
_SPACING = 0.7
"""Distance of neighbouring spheres in radii; the waist between two is then 6 % narrower than they are."""


@dataclass(frozen=True, slots=True)
class Population:
    """One class of neurites that pass through the volume; lengths in nm, density in nm of neurite per nm^3."""

    density: float
    radius: tuple[float, float]
    length: float
    curl: float
    swelling: float
    named: bool
    spiny: bool = False


_POPULATIONS = (
    Population(density=0.40e-6, radius=(190, 340), length=22000, curl=0.10, swelling=0.0, named=True, spiny=True),
    Population(density=3.2e-6, radius=(75, 190), length=20000, curl=0.20, swelling=1.0, named=True),
    Population(density=6.5e-6, radius=(65, 150), length=12000, curl=0.28, swelling=0.7, named=False),
)


class Spool:
    """Spheres on disk, in zones along z; within a zone they keep the order in which they were added."""

    def __init__(self, folder: Path, depth_nm: float, zone_nm: float) -> None:
        self._folder = folder
        self._zone_nm = zone_nm
        self._zones = max(1, int(np.ceil(depth_nm / zone_nm)))
        self.largest_nm = 0.0
        folder.mkdir()

    def _zone(self, z_nm: NDArray[np.floating]) -> Ints:
        return np.asarray(np.clip(np.floor(z_nm / self._zone_nm), 0, self._zones - 1), dtype=np.int64)

    def add(self, spheres: Spheres) -> None:
        """Append spheres; those beyond the first and last zone are kept in these."""
        if not len(spheres):
            return
        self.largest_nm = max(self.largest_nm, float(spheres["radius"].max()))
        zones = self._zone(spheres["z"])
        for zone in np.unique(zones):
            with (self._folder / f"{zone}.bin").open("ab") as file:
                file.write(spheres[zones == zone].tobytes())

    def between(self, low_nm: float, high_nm: float, margin_nm: float) -> Spheres:
        """Return the spheres that come within ``margin_nm`` of the slab ``low_nm <= z <= high_nm``.

        The order of any two spheres is the same for every slab, so that ties are always broken alike.
        """
        reach = self.largest_nm + margin_nm
        first, last = self._zone(np.array([low_nm - reach, high_nm + reach]))
        parts = [np.empty(0, SPHERE)]
        for zone in range(int(first), int(last) + 1):
            path = self._folder / f"{zone}.bin"
            if path.exists():
                spheres = np.fromfile(path, SPHERE)
                near = spheres["radius"] + np.float32(margin_nm)
                parts.append(spheres[(spheres["z"] + near >= low_nm) & (spheres["z"] - near <= high_nm)])
        return np.concatenate(parts)


@dataclass(slots=True)
class Anatomy:
    """All processes of a sample.

    Attributes
    ----------
    spool
        Their spheres.
    named
        For each process whether it is labelled, ``bool``.
    """

    spool: Spool
    named: list[bool] = field(default_factory=list)

    def new_processes(self, count: int, *, named: bool) -> Ints:
        """Register processes and return their numbers."""
        first = len(self.named)
        self.named.extend([named] * count)
        return np.arange(first, first + count)


@dataclass(slots=True)
class _Walkers:
    """Walks that start together; one row each."""

    position: Floats
    heading: Floats
    process: Ints
    thick: Floats
    thin: Floats
    length: Floats
    curl: Floats
    swelling: Floats
    branching: Floats
    """Mean distance between side branches, nm; infinite for none."""
    spines: Floats
    """Mean distance between spines, nm; infinite for none."""

    def __len__(self) -> int:
        return len(self.process)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> _Walkers:
        return _Walkers(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})

    def batches(self) -> Iterator[_Walkers]:
        for first in range(0, len(self), _BATCH):
            yield self.take(np.arange(first, min(first + _BATCH, len(self))))


@dataclass(frozen=True, slots=True)
class _Somas:
    """One cell body in each cell of a lattice; a lattice cell contains its body whole."""

    origin: Floats
    pitch: Floats
    shape: tuple[int, int, int]
    centre: Floats
    radius: Floats

    def nearest(self, position: Floats) -> Ints:
        """Return the row of the body in the lattice cell of each position, of the closest cell if outside."""
        cell = np.floor((position - self.origin) / self.pitch).astype(np.int64)
        x, y, z = np.clip(cell, 0, np.array(self.shape) - 1).T
        return np.asarray((z * self.shape[1] + y) * self.shape[0] + x)


def build_anatomy(extent_nm: Floats, seed: int, folder: Path, zone_nm: float) -> Anatomy:
    """Grow all cells of a volume.

    Parameters
    ----------
    extent_nm
        Size of the volume, ``float64``, shape (3,), x, y, z.
    seed
        A whole number, not negative; the same seed and extent give the same anatomy.
    folder
        Where the spheres are spooled; created, must not exist.
    zone_nm
        Thickness of the zones of the spool. It has no influence on the anatomy.
    """
    anatomy = Anatomy(Spool(folder, float(extent_nm[2]), zone_nm))
    somas = _place_somas(anatomy, extent_nm, np.random.default_rng([seed, 1]))
    sprouts = _sprouts(somas, np.random.default_rng([seed, 2]))
    _grow(anatomy, sprouts, extent_nm, somas, np.random.default_rng([seed, 3]))
    for number, population in enumerate(_POPULATIONS):
        rng = np.random.default_rng([seed, 4, number])
        for walkers in _passing(anatomy, population, extent_nm, rng):
            _grow(anatomy, walkers, extent_nm, somas, rng)
    return anatomy


def _place_somas(anatomy: Anatomy, extent: Floats, rng: np.random.Generator) -> _Somas:
    # A volume much smaller than a cell body would lie wholly inside it: bodies shrink with the section.
    largest = min(1700.0, 0.25 * float(extent[:2].max()))
    counts = np.maximum(1, np.rint(extent / _SOMA_PITCH_NM)).astype(int)
    pitch = np.maximum(extent / counts, 2.5 * largest)
    origin = (extent - pitch * counts) / 2
    shape = (int(counts[0]), int(counts[1]), int(counts[2]))
    z, y, x = np.indices(shape[::-1]).reshape(3, -1)
    cells = np.stack([x, y, z], axis=1)
    radius = largest * rng.uniform(0.78, 1.0, len(cells))
    # Lumps stick out by a fifth of the radius; the rest of the cell is room for jitter.
    room = np.minimum(np.maximum(0.0, pitch - 2.4 * radius[:, None]), extent) / 2
    centre = origin + (cells + 0.5) * pitch + room * rng.uniform(-1, 1, (len(cells), 3))
    process = anatomy.new_processes(len(cells), named=True)
    for first in range(0, len(cells), _BATCH):
        rows = slice(first, first + _BATCH)
        _soma_spheres(anatomy.spool, centre[rows], radius[rows], process[rows], rng)
    return _Somas(origin, pitch, shape, centre, radius)


def _soma_spheres(spool: Spool, centre: Floats, radius: Floats, process: Ints, rng: np.random.Generator) -> None:
    spool.add(_spheres(centre, radius * 0.93, process, BODY))
    spool.add(_spheres(centre, radius * 1.1, process, PERIKARYON))
    for _ in range(7):
        size = rng.uniform(0.5, 0.78, len(centre))
        away = _unit(rng.normal(size=centre.shape)) * (radius * (1.04 - size))[:, None]
        spool.add(_spheres(centre + away, radius * size, process, BODY))
    heart = centre + _unit(rng.normal(size=centre.shape)) * (radius * 0.1)[:, None]
    spool.add(_spheres(heart, radius * 0.55, process, NUCLEUS))
    for _ in range(4):
        away = _unit(rng.normal(size=centre.shape)) * (radius * 0.2)[:, None]
        spool.add(_spheres(heart + away, radius * rng.uniform(0.36, 0.45, len(centre)), process, NUCLEUS))
    for _ in range(60):
        start = centre + _unit(rng.normal(size=centre.shape)) * (radius * rng.uniform(0.74, 0.97, len(centre)))[:, None]
        along = _unit(rng.normal(size=centre.shape))
        size = np.minimum(rng.uniform(70, 140, len(centre)), radius * 0.09)
        for k in range(int(rng.integers(2, 9))):
            spool.add(_spheres(start + along * (k * 0.7 * size)[:, None], size, process, MITOCHONDRION))


def _sprouts(somas: _Somas, rng: np.random.Generator) -> _Walkers:
    """Return the dendrites and the axon that leave each cell body, process numbers equal to soma numbers."""
    count = len(somas.radius)
    parts = []
    for k in range(7):
        chosen = np.flatnonzero(rng.random(count) < (1.0 if k < 5 else 0.5))
        heading = _unit(rng.normal(size=(len(chosen), 3)))
        axon = k == 0
        ones = np.ones(len(chosen))
        thick = somas.radius[chosen] * (0.10 if axon else 1.0) * rng.uniform(0.85, 1.15, len(chosen))
        if not axon:
            thick *= rng.uniform(0.2, 0.32, len(chosen))
        parts.append(
            _Walkers(
                position=somas.centre[chosen] + heading * (somas.radius[chosen] * 0.85)[:, None],
                heading=heading,
                process=chosen,
                thick=thick,
                thin=np.minimum(thick, 90.0 if axon else 120.0),
                length=rng.uniform(14000, 30000, len(chosen)),
                curl=ones * (0.2 if axon else 0.09),
                swelling=ones * (1.0 if axon else 0.0),
                branching=ones * (6000 if axon else 2600),
                spines=ones * (np.inf if axon else 700),
            )
        )
    return _concatenate(parts)


def _passing(anatomy: Anatomy, population: Population, extent: Floats, rng: np.random.Generator) -> Iterator[_Walkers]:
    """Yield, in batches, neurites that start inside the volume or enter through its faces."""
    inside = int(np.ceil(population.density * extent.prod() / population.length))
    for first in range(0, inside, _BATCH):
        count = min(_BATCH, inside - first)
        position = rng.random((count, 3)) * extent
        heading = _unit(rng.normal(size=(count, 3)))
        yield _neurites(anatomy, population, position, heading, rng)
    for axis in range(3):
        area = extent.prod() / extent[axis]
        for side in (0, 1):
            entering = int(np.ceil(population.density * area / 4))
            for first in range(0, entering, _BATCH):
                count = min(_BATCH, entering - first)
                position = rng.random((count, 3)) * extent
                position[:, axis] = extent[axis] * side
                # Cosine law: a uniform point of the sphere plus the inward normal.
                heading = _unit(rng.normal(size=(count, 3)))
                heading[:, axis] += (1 - 2 * side) * 1.001
                walkers = _neurites(anatomy, population, position, _unit(heading), rng)
                yield replace(walkers, length=walkers.length * rng.random(count))


def _neurites(
    anatomy: Anatomy, population: Population, position: Floats, heading: Floats, rng: np.random.Generator
) -> _Walkers:
    count = len(position)
    low, high = population.radius
    # Calibres of neurites are skewed: many thin ones, few thick ones.
    thick = low + (high - low) * rng.random(count) ** 1.8
    ones = np.ones(count)
    return _Walkers(
        position=position,
        heading=heading,
        process=anatomy.new_processes(count, named=population.named),
        thick=thick,
        thin=np.maximum(0.62 * thick, 0.8 * low),
        length=ones * population.length,
        curl=ones * population.curl,
        swelling=population.swelling * rng.uniform(0.4, 1.2, count),
        branching=ones * (5000 if population.spiny else 9000),
        spines=ones * (700 if population.spiny else np.inf),
    )


def _grow(anatomy: Anatomy, walkers: _Walkers, extent: Floats, somas: _Somas, rng: np.random.Generator) -> None:
    """Walk, then grow the side branches and spines, three orders deep."""
    for batch in walkers.batches():
        generation = batch
        for _ in range(4):
            if not len(generation):
                break
            generation = _concatenate([_walk(anatomy.spool, part, extent, somas, rng) for part in generation.batches()])


def _walk(spool: Spool, walkers: _Walkers, extent: Floats, somas: _Somas, rng: np.random.Generator) -> _Walkers:
    """Walk to the end or out of the volume; spool the spheres and return the side branches, not yet walked."""
    count = len(walkers)
    phase = rng.uniform(0, 1, count)
    period = rng.uniform(1500, 3600, count)
    last = np.full(count, -np.inf)
    turn = rng.normal(size=(count, 3)) * walkers.curl[:, None]
    beads = np.zeros(count)
    organelle = rng.uniform(0, 4000, count)
    position, heading = walkers.position.copy(), walkers.heading.copy()
    rows = np.arange(count)
    branches: list[_Walkers] = []
    spheres: list[Spheres] = []
    for step in range(int(np.ceil(walkers.length.max() / _STEP_NM))):
        done = step * _STEP_NM
        alive = (walkers.length[rows] > done) & _within(position[rows], extent, 700.0)
        rows = rows[alive]
        if not len(rows):
            break
        mine = walkers.take(rows)
        turn[rows] = 0.93 * turn[rows] + 0.37 * mine.curl[:, None] * rng.normal(size=(len(rows), 3))
        beads[rows] = 0.9 * beads[rows] + 0.06 * rng.normal(size=len(rows))
        heading[rows] = _unit(heading[rows] + turn[rows])
        position[rows] += _STEP_NM * heading[rows]

        bump = mine.swelling * (0.5 + 0.5 * np.cos(2 * np.pi * (done / period[rows] + phase[rows]))) ** 10
        radius = mine.thick + (mine.thin - mine.thick) * (done / mine.length)
        radius *= (1 + 1.3 * bump) * np.clip(1 + beads[rows], 0.75, 1.35)
        radius *= np.sqrt(np.clip((mine.length - done) / 250, 0.05, 1))
        position[rows], heading[rows] = _around_somas(position[rows], heading[rows], radius, somas)

        due = done - last[rows] >= _SPACING * radius
        spheres.append(_spheres(position[rows[due]], radius[due], mine.process[due], BODY))
        last[rows[due]] = done
        spheres.extend(_contents(position[rows], heading[rows], radius, bump, (mine, due, done + organelle[rows], rng)))
        branches.extend(_side_branches(mine, position[rows], heading[rows], radius, rng))
    spool.add(np.concatenate([np.empty(0, SPHERE), *spheres]))
    return _concatenate(branches)


def _contents(
    position: Floats,
    heading: Floats,
    radius: Floats,
    bump: Floats,
    state: tuple[_Walkers, NDArray[np.bool_], Floats, np.random.Generator],
) -> Iterator[Spheres]:
    """Yield the organelles at one step: mitochondria, clouds of vesicles in swellings, synapses beside them."""
    walkers, due, along, rng = state
    long = (along % 4200 < 1300) & (radius > 85) & due
    size = np.minimum(radius * 0.5, 190.0)
    drift = _unit(np.cross(heading, np.array([0.3, -0.5, 0.8]))) * (radius * 0.28)[:, None]
    yield _spheres((position + drift)[long], size[long], walkers.process[long], MITOCHONDRION)
    full = (bump > 0.3) & due
    yield _spheres((position - drift)[full], radius[full] * 0.75, walkers.process[full], VESICLES)
    dense = (bump > 0.3) & (rng.random(len(radius)) < 0.12)
    side = _unit(np.cross(heading, rng.normal(size=heading.shape))) * radius[:, None]
    yield _spheres((position + side)[dense], rng.uniform(110, 190, len(radius))[dense], walkers.process[dense], SYNAPSE)


def _side_branches(
    walkers: _Walkers, position: Floats, heading: Floats, radius: Floats, rng: np.random.Generator
) -> Iterator[_Walkers]:
    draw = rng.random(len(walkers))
    branch = (draw < _STEP_NM / walkers.branching) & (radius > 60)
    if branch.any():
        parent, size = walkers.take(branch), radius[branch] * rng.uniform(0.6, 0.8, int(branch.sum()))
        sideways = _unit(np.cross(heading[branch], rng.normal(size=(len(parent), 3))))
        yield replace(
            parent,
            position=position[branch],
            heading=_unit(heading[branch] + sideways * rng.uniform(0.6, 1.3, len(parent))[:, None]),
            thick=size,
            thin=np.minimum(parent.thin, size),
            length=parent.length * rng.uniform(0.25, 0.6, len(parent)),
            branching=parent.branching * 1.6,
        )
    spine = (draw > 1 - _STEP_NM / walkers.spines) & (radius > 110)
    if spine.any():
        parent, ones = walkers.take(spine), np.ones(int(spine.sum()))
        sideways = _unit(np.cross(heading[spine], rng.normal(size=(len(parent), 3))))
        # A spine is a short thin walk whose end is thick: the head.
        yield replace(
            parent,
            position=position[spine] + sideways * (radius[spine] * 0.8)[:, None],
            heading=sideways,
            thick=ones * 48,
            thin=ones * rng.uniform(150, 330, len(parent)),
            length=rng.uniform(420, 900, len(parent)),
            curl=ones * 0.2,
            branching=ones * np.inf,
            spines=ones * np.inf,
        )


def _around_somas(position: Floats, heading: Floats, radius: Floats, somas: _Somas) -> tuple[Floats, Floats]:
    """Push positions out of cell bodies and turn the headings along their surface."""
    nearest = somas.nearest(position)
    away = position - somas.centre[nearest]
    distance = np.linalg.norm(away, axis=1)
    short = np.flatnonzero(distance < somas.radius[nearest] + 0.5 * radius)
    if len(short):
        normal = away[short] / np.maximum(distance[short], 1e-9)[:, None]
        surface = somas.radius[nearest[short]] + 0.5 * radius[short]
        position = position.copy()
        # At most one step at a time: a jump would tear the chain of spheres.
        position[short] += normal * np.minimum(surface - distance[short], _STEP_NM)[:, None]
        inward = np.minimum(0.0, (heading[short] * normal).sum(axis=1))
        heading = heading.copy()
        heading[short] = _unit(heading[short] - normal * inward[:, None])
    return position, heading


def _within(position: Floats, extent: Floats, margin: float) -> NDArray[np.bool_]:
    return np.asarray(((position > -margin) & (position < extent + margin)).all(axis=1))


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1), 1e-9)[:, None])


def _spheres(centre: Floats, radius: Floats, process: Ints, kind: int) -> Spheres:
    spheres = np.empty(len(centre), SPHERE)
    spheres["x"], spheres["y"], spheres["z"] = centre.T
    spheres["radius"], spheres["process"], spheres["kind"] = radius, process, kind
    return spheres


def _concatenate(parts: list[_Walkers]) -> _Walkers:
    if not parts:
        nothing, rows = np.empty(0), np.empty((0, 3))
        return _Walkers(rows, rows, np.empty(0, np.int64), *([nothing] * 7))
    return _Walkers(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in _Walkers.__dataclass_fields__)
    )
