"""Small datasets, and where the viewer must draw their voxels and in which colours: computed from a state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import precast

Pixels = npt.NDArray[np.uint8]

OFFSET = (10, 20, 30)
SIZE = (64, 48, 40)
"""x, y, z."""
VOXEL_NM = (16, 16, 20)
PLANES = ((0, 1, 1), (0, 2, 1), (2, 1, -1))
"""Axis to the right and axis down of the slice panels, as they follow each other in the window; z runs to the left."""

OUTLINE = 0.005
"""Most of the outline of meshes that may differ: edges of pixels, and the bevels that marching cubes make."""


def grid() -> tuple[Any, Any, Any]:
    """Return x, y and z of every voxel, from 0, as arrays (z, y, x)."""
    z, y, x = np.mgrid[0 : SIZE[2], 0 : SIZE[1], 0 : SIZE[0]]
    return x, y, z


def boxes() -> npt.NDArray[np.uint64]:
    """Return three boxes of no symmetry; one has an id beyond what JavaScript's numbers hold."""
    labels = np.zeros(SIZE[::-1], np.uint64)
    labels[4:22, 4:30, 6:30] = 7
    labels[10:36, 20:44, 36:60] = 2**63 + 5
    labels[22:38, 4:16, 4:33] = 99
    return labels


def some_labels() -> npt.NDArray[np.uint64]:
    """Return the boxes, two of them with corners missing: their meshes differ in the number of faces.

    How a property is spread that is the same for all objects the viewer cannot draw, and says so on its console.
    """
    labels = boxes()
    labels[4:10, 4:12, 6:14] = 0
    labels[10:18, 20:28, 36:44] = 0
    labels[28:36, 36:44, 52:60] = 0
    return labels


def write(folder: Path, data: npt.NDArray[Any], kind: str, **options: Any) -> None:
    resolution, offset = (",".join(map(str, vector)) for vector in (VOXEL_NM, OFFSET))
    made = precast.ConvertOptions(kind=kind, resolution=resolution, offset=offset, scales=1, **options)
    precast.convert(data, folder, made)


def seen_voxels(
    panel: Pixels, plane: tuple[int, int, int], state: dict[str, Any], offset: Sequence[int] = OFFSET
) -> tuple[Pixels, npt.NDArray[np.intp]]:
    """Return all pixels well inside of voxels, and the voxel (x, y, z), from 0, that is to be seen at each.

    Two neighbours tell half a voxel from none only on one side of their border, so none may be left out.
    """
    right, down, sign = plane
    height, width = panel.shape[:2]
    row, column = np.mgrid[0:height, 0:width]
    place = [np.full(row.shape, float(at)) for at in state["position"]]
    for axis, pixels in ((right, sign * (column + 0.5 - width / 2)), (down, row + 0.5 - height / 2)):
        place[axis] += pixels * state["crossSectionScale"] * min(VOXEL_NM) / VOXEL_NM[axis]
    well_inside = np.logical_and(*(abs(place[axis] % 1 - 0.5) < 0.35 for axis in (right, down)))
    voxels = np.stack([np.floor(at) - low for at, low in zip(place, offset, strict=True)], axis=-1).astype(np.intp)
    within = well_inside & (voxels >= 0).all(axis=-1) & (voxels < SIZE).all(axis=-1)
    return panel[within], voxels[within]


def slices(panels: list[Pixels]) -> list[Pixels]:
    """Return the panels of :data:`PLANES` of a window with four."""
    return [panels[0], panels[1], panels[3]]


def hash_colour(segment: int) -> npt.NDArray[np.float64]:
    """Return the colour of a segment, as the viewer's own Python package computes it."""
    from neuroglancer.segment_colors import hex_string_from_segment_id

    text = hex_string_from_segment_id(0, segment)
    return np.array([int(text[at : at + 2], 16) for at in (1, 3, 5)], np.float64)


def wrong_share(
    panels: list[Pixels],
    state: dict[str, Any],
    expected: npt.NDArray[np.float64],
    offset: Sequence[int] = OFFSET,
    tolerance: float = 3,
) -> float:
    """Return the share of looked-at pixels that differ from what an array (z, y, x, RGB) says."""
    wrong = total = 0
    for panel, plane in zip(slices(panels), PLANES, strict=True):
        colours, voxels = seen_voxels(panel, plane, state, offset)
        x, y, z = voxels.T
        wrong += int((np.abs(colours - expected[z, y, x]).max(axis=-1) > tolerance).sum())
        total += len(colours)
        assert len(colours) > 10_000
    return wrong / total


def silhouette_share(
    panel: Pixels, state: dict[str, Any], solid: npt.NDArray[np.bool_], offset: Sequence[int] = OFFSET
) -> float:
    """Return how much what a 3-D panel shows differs from the shadow of voxels (z, y, x), as a share of that.

    The panel looks along z without perspective, and shows nothing but meshes.
    """
    height, width = panel.shape[:2]
    inside, at = [], []
    for axis, length, voxels in ((1, height, solid.shape[1]), (0, width, solid.shape[2])):
        pixels = np.arange(length) + 0.5 - length / 2
        place = np.floor(state["position"][axis] - offset[axis] + pixels * state["projectionScale"] / height).astype(
            int
        )
        inside.append((place >= 0) & (place < voxels))
        at.append(np.clip(place, 0, voxels - 1))
    shadow = inside[0][:, None] & inside[1][None] & np.asarray(solid.any(axis=0))[at[0]][:, at[1]]
    return float(((panel.max(axis=-1) > 20) != shadow).sum() / shadow.sum())
