"""Turn the spheres of an anatomy into labels and an image that looks like electron microscopy.

Each voxel belongs to the process whose surface it lies deepest under (an additively weighted Voronoi
diagram of spheres); what is farther than ``_GLIA_NM`` from every process belongs to the glia, which so
gets the ragged shape that it has in tissue. The difference between the smallest and the second smallest
distance is small exactly along borders: there the membranes are drawn.

A voxel's value depends on the spheres near it, its coordinates and the noise of its section, never on the
slab or tile in which it is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from precast.geometry import Vec3
from precast.pipelines.sample_anatomy import (
    BODY,
    MITOCHONDRION,
    NUCLEUS,
    PERIKARYON,
    SYNAPSE,
    VESICLES,
    Anatomy,
    Spheres,
)

__all__ = ["Renderer", "Slab"]

Floats = NDArray[np.float32]

_TILE = 256
_GLIA_NM = 55.0
_FAR = np.float32(1e9)
_MEMBRANE_NM = 17.0
_MEMBRANE_GREY = 46.0


@dataclass(frozen=True, slots=True)
class Slab:
    """Finished sections.

    Attributes
    ----------
    first
        Number of the first section.
    labels
        ``uint32``, (z, y, x).
    image
        ``uint8``, (z, y, x).
    """

    first: int
    labels: NDArray[np.uint32]
    image: NDArray[np.uint8]


class Renderer:
    """Renders sections of one anatomy.

    Parameters
    ----------
    anatomy
        The processes and their spheres.
    ids
        Label of each process, ``uint32``; 0 for those without a name.
    size
        Voxels, x, y, z.
    voxel_nm
        Edges of a voxel in nm, x, y, z.
    seed
        Of the grey levels and the noise.
    """

    def __init__(
        self, anatomy: Anatomy, ids: NDArray[np.uint32], size: Vec3, voxel_nm: tuple[float, float, float], seed: int
    ) -> None:
        self._spool = anatomy.spool
        self._ids = np.append(ids, np.uint32(0))
        self._size = size
        self._voxel_nm = voxel_nm
        self._seed = seed
        self._axes = [((np.arange(n) + 0.5) * edge).astype(np.float32) for n, edge in zip(size, voxel_nm, strict=True)]
        pixel = (voxel_nm[0] * voxel_nm[1]) ** 0.5
        self._pixel_nm = np.float32(pixel)
        self._membrane_nm = np.float32(max(_MEMBRANE_NM, 0.5 * pixel))
        # Beyond this distance a sphere changes neither the owner of a voxel nor its membrane.
        self._margin_nm = float(_GLIA_NM + 5 * self._membrane_nm)
        self._tone = np.random.default_rng([seed, 5]).normal(172, 11, len(self._ids)).astype(np.float32)
        self._tone[-1] = 184

    def slabs(self, sections: int) -> Iterator[Slab]:
        """Yield the whole volume, ``sections`` sections at a time."""
        for first in range(0, self._size.z, sections):
            yield self.slab(first, min(first + sections, self._size.z))

    def slab(self, first: int, stop: int) -> Slab:
        """Render the sections ``first <= z < stop``."""
        shape = (stop - first, self._size.y, self._size.x)
        labels = np.empty(shape, np.uint32)
        tone, grain = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
        z = self._axes[2][first:stop]
        spheres = self._spool.between(float(z[0]), float(z[-1]), self._margin_nm)
        for y0 in range(0, self._size.y, _TILE):
            row = self._near(spheres, "y", self._axes[1][y0 : y0 + _TILE])
            for x0 in range(0, self._size.x, _TILE):
                tile = (slice(None), slice(y0, y0 + _TILE), slice(x0, x0 + _TILE))
                axes = (z, self._axes[1][tile[1]], self._axes[0][tile[2]])
                labels[tile], tone[tile], grain[tile] = self._tile(self._near(row, "x", axes[2]), axes)
        image = np.empty(shape, np.uint8)
        for k in range(len(z)):
            image[k] = self._section(first + k, tone[k], grain[k])
        return Slab(first, labels, image)

    def _near(self, spheres: Spheres, name: str, axis: Floats) -> Spheres:
        reach = spheres["radius"] + np.float32(self._margin_nm)
        near: Spheres = spheres[(spheres[name] + reach >= axis[0]) & (spheres[name] - reach <= axis[-1])]
        return near

    def _tile(
        self, spheres: Spheres, axes: tuple[Floats, Floats, Floats]
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.uint8]]:
        shape = (len(axes[0]), len(axes[1]), len(axes[2]))
        margin = np.float32(self._margin_nm)
        nobody = len(self._ids) - 1
        owner = np.full(shape, nobody, np.int32)
        best = np.full(shape, _GLIA_NM, np.float32)
        second = np.full(shape, margin, np.float32)
        bodies = spheres[spheres["kind"] == BODY]
        for box, process, distance in self._distances(bodies, axes, self._margin_nm):
            mine, other, who = best[box], second[box], owner[box]
            loser = np.maximum(distance, mine)
            loser[who == process] = _FAR
            np.minimum(other, loser, out=other)
            who[distance < mine] = process
            np.minimum(mine, distance, out=mine)
        depth = np.subtract(second, best, out=second)
        depth *= np.float32(0.5)
        tone, grain = self._shade(spheres, axes, owner, depth)
        return self._ids[owner], tone, grain

    def _distances(
        self, spheres: Spheres, axes: tuple[Floats, Floats, Floats], margin_nm: float
    ) -> Iterator[tuple[tuple[slice, slice, slice], int, Floats]]:
        """Yield for each sphere the box that it reaches, its process and the distances to its surface, in nm."""
        reach = spheres["radius"] + np.float32(margin_nm)
        bounds = []
        for name, axis in zip("zyx", axes, strict=True):
            bounds.append(np.searchsorted(axis, spheres[name] - reach, "left").tolist())
            bounds.append(np.searchsorted(axis, spheres[name] + reach, "right").tolist())
        squares = [(name, axis) for name, axis in zip("zyx", axes, strict=True)]
        centres = [spheres[name] for name, _ in squares]
        rows = zip(*bounds, spheres["process"].tolist(), strict=True)
        for k, (z0, z1, y0, y1, x0, x1, process) in enumerate(rows):
            if z0 >= z1 or y0 >= y1 or x0 >= x1:
                continue
            dz = axes[0][z0:z1] - centres[0][k]
            dy = axes[1][y0:y1] - centres[1][k]
            dx = axes[2][x0:x1] - centres[2][k]
            plane = (dz * dz)[:, None] + dy * dy
            distance = plane[:, :, None] + dx * dx
            np.sqrt(distance, out=distance)
            distance -= spheres["radius"][k]
            yield (slice(z0, z1), slice(y0, y1), slice(x0, x1)), process, distance

    def _shade(
        self, spheres: Spheres, axes: tuple[Floats, Floats, Floats], owner: NDArray[np.int32], depth: Floats
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the mean grey level of every voxel and how strongly texture modulates it."""
        pixel, width = self._pixel_nm, self._membrane_nm
        tone = self._tone[owner]
        grain = np.full(tone.shape, 11, np.float32)

        perikaryon = self._organelles(spheres[spheres["kind"] == PERIKARYON], axes, owner)
        if perikaryon is not None:
            # Ribosomes and rough reticulum: greyer and grainier than a neurite.
            share = np.clip(np.float32(0.5) - perikaryon / 300, 0, 1)
            tone -= 14 * share
            grain += 14 * share
        nucleus = self._organelles(spheres[spheres["kind"] == NUCLEUS], axes, owner)
        if nucleus is not None:
            tone += (160 - tone) * _soft(nucleus, pixel)
            grain[nucleus < 0] = 20
            tone -= 85 * np.clip(1.4 - np.abs(nucleus) / width, 0, 1)
        vesicles = self._organelles(spheres[spheres["kind"] == VESICLES], axes, owner)
        if vesicles is not None:
            cloud = vesicles < 0
            tone[cloud] -= 14
            grain[cloud] = 34
        mitochondria = self._organelles(spheres[spheres["kind"] == MITOCHONDRION], axes, owner)
        if mitochondria is not None:
            np.maximum(mitochondria, np.float32(30) - depth, out=mitochondria)
            inside = _soft(mitochondria, pixel)
            tone += (102 - tone) * inside
            grain += (17 - grain) * inside
            tone -= 34 * np.clip(1 - np.abs(mitochondria + 8) / width, 0, 1)
        edge = np.clip(1.25 - depth / width, 0, 1)
        synapses = self._organelles(spheres[spheres["kind"] == SYNAPSE], axes, None)
        if synapses is not None:
            np.maximum(edge, np.clip(1.9 - depth / width, 0, 1) * _soft(synapses, pixel), out=edge)
        tone += (_MEMBRANE_GREY - tone) * edge
        grain *= 1 - np.float32(0.6) * edge
        return np.clip(tone, 0, 255).astype(np.uint8), np.clip(grain, 0, 255).astype(np.uint8)

    def _organelles(
        self, spheres: Spheres, axes: tuple[Floats, Floats, Floats], owner: NDArray[np.int32] | None
    ) -> Floats | None:
        """Return the distance to the nearest of the spheres, inside their own processes if these are given."""
        # An organelle paints its rim too, two membranes wide at most.
        margin = 3 * float(self._membrane_nm)
        field: Floats | None = None
        for box, process, distance in self._distances(spheres, axes, margin):
            if field is None:
                field = np.full((len(axes[0]), len(axes[1]), len(axes[2])), _FAR, np.float32)
            if owner is not None:
                distance[owner[box] != process] = _FAR
            np.minimum(field[box], distance, out=field[box])
        if field is not None:
            # What lies farther away depends on the cut; nothing reads it, and this makes sure of it.
            field[field > margin] = _FAR
        return field

    def _section(self, z: int, tone: NDArray[np.uint8], grain: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Add texture, blur, noise and the light of the day to one section."""
        rng = np.random.default_rng([self._seed, 6, z])
        # In place as far as possible: a section of 4096 x 4096 is 64 MiB in float32.
        section = _blur(rng.standard_normal(tone.shape, np.float32))
        section *= np.float32(1.1)
        section += self._cloud(z, 210.0, 7) * np.float32(0.8)
        section *= grain
        section += tone
        blurred = _blur(section)
        blurred *= np.float32(0.55)
        section *= np.float32(0.45)
        section += blurred
        del blurred
        section += rng.standard_normal(tone.shape, np.float32) * np.float32(6)
        # No two sections are equally thick or equally stained.
        contrast, brightness = 1 + 0.035 * rng.standard_normal(), 3.5 * rng.standard_normal()
        section += self._cloud(z, 9000.0, 8) * np.float32(4)
        section -= np.float32(128)
        section *= np.float32(contrast)
        section += np.float32(128 + brightness)
        np.rint(section, out=section)
        np.clip(section, 0, 255, out=section)
        return section.astype(np.uint8)

    def _cloud(self, z: int, period_nm: float, stream: int) -> Floats:
        """Return one section of smooth noise of about unit variance: random lattice planes, interpolated."""
        height = float(self._axes[2][z]) / period_nm
        low = int(height)
        planes = []
        for k in (low, low + 1):
            rows, columns = (int(axis[-1] / period_nm) + 2 for axis in (self._axes[1], self._axes[0]))
            planes.append(np.random.default_rng([self._seed, stream, k]).standard_normal((rows, columns), np.float32))
        plane = planes[0] + (planes[1] - planes[0]) * np.float32(height - low)
        for axis, coordinates in ((0, self._axes[1]), (1, self._axes[0])):
            at = coordinates / np.float32(period_nm)
            index = at.astype(np.intp)
            weight = at - index
            weight = weight[:, None] if axis == 0 else weight
            below, above = plane.take(index, axis), plane.take(index + 1, axis)
            plane = below + (above - below) * weight
        return np.asarray(plane * np.float32(1.5))


def _soft(distance: Floats, pixel: np.float32) -> Floats:
    """Return 1 inside, 0 outside, with an edge one pixel wide."""
    return np.asarray(np.clip(np.float32(0.5) - distance / pixel, 0, 1))


def _blur(section: Floats) -> Floats:
    """Blur with 1-2-1 along y and x; the border repeats."""
    for axis in (0, 1):
        source = section if axis == 0 else section.T
        blurred = section * np.float32(0.5)
        target = blurred if axis == 0 else blurred.T
        side = source * np.float32(0.25)
        target[1:] += side[:-1]
        target[:-1] += side[1:]
        target[0] += side[0]
        target[-1] += side[-1]
        section = blurred
    return section
