"""Small datasets, and where the viewer must draw their voxels and in which colours: computed from a state."""

from __future__ import annotations

from collections.abc import Iterator
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


def grid() -> tuple[Any, Any, Any]:
    """Return x, y and z of every voxel, from 0, as arrays (z, y, x)."""
    z, y, x = np.mgrid[0 : SIZE[2], 0 : SIZE[1], 0 : SIZE[0]]
    return x, y, z


def some_labels() -> npt.NDArray[np.uint64]:
    """Return three objects of no symmetry; one has an id beyond what JavaScript's numbers hold."""
    labels = np.zeros(SIZE[::-1], np.uint64)
    labels[4:22, 4:30, 6:30] = 7
    labels[10:36, 20:44, 36:60] = 2**63 + 5
    labels[22:38, 4:16, 4:33] = 99
    return labels


def write(folder: Path, data: npt.NDArray[Any], kind: str, **options: Any) -> None:
    resolution, offset = (",".join(map(str, vector)) for vector in (VOXEL_NM, OFFSET))
    made = precast.ConvertOptions(kind=kind, resolution=resolution, offset=offset, scales=1, **options)
    precast.convert(data, folder, made)


def seen_voxels(
    panel: Pixels, plane: tuple[int, int, int], state: dict[str, Any]
) -> Iterator[tuple[Pixels, list[int]]]:
    """Yield pixels well inside of voxels, with the voxel x, y, z, from 0, that is to be seen there."""
    right, down, sign = plane
    height, width = panel.shape[:2]
    for row in range(3, height, 7):
        for column in range(3, width, 7):
            place = [float(at) for at in state["position"]]
            for axis, pixels in ((right, sign * (column + 0.5 - width / 2)), (down, row + 0.5 - height / 2)):
                place[axis] += pixels * state["crossSectionScale"] * min(VOXEL_NM) / VOXEL_NM[axis]
            if all(abs(place[axis] % 1 - 0.5) < 0.3 for axis in (right, down)):
                yield panel[row, column], [int(np.floor(at)) - low for at, low in zip(place, OFFSET, strict=True)]


def slices(panels: list[Pixels]) -> list[Pixels]:
    """Return the panels of :data:`PLANES` of a window with four."""
    return [panels[0], panels[1], panels[3]]


def hash_colour(segment: int) -> npt.NDArray[np.float64]:
    """Return the colour of a segment, as the viewer's own Python package computes it."""
    from neuroglancer.segment_colors import hex_string_from_segment_id

    text = hex_string_from_segment_id(0, segment)
    return np.array([int(text[at : at + 2], 16) for at in (1, 3, 5)], np.float64)


def wrong_share(panels: list[Pixels], state: dict[str, Any], expected: npt.NDArray[np.float64]) -> float:
    """Return the share of looked-at pixels that differ from what an array (z, y, x, RGB) says."""
    wrong = total = 0
    for panel, plane in zip(slices(panels), PLANES, strict=True):
        in_panel = 0
        for colour, (x, y, z) in seen_voxels(panel, plane, state):
            if 0 <= x < SIZE[0] and 0 <= y < SIZE[1] and 0 <= z < SIZE[2]:
                wrong += int(np.abs(colour - expected[z, y, x]).max() > 3)
                in_panel += 1
        assert in_panel > 200
        total += in_panel
    return wrong / total
