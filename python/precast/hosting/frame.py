"""Where a viewer looks at first: the units of its axes, the middle, and a zoom at which everything is in view."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import Any

from precast.dataset import Layer
from precast.errors import UsageError

__all__ = ["LAYOUTS", "WINDOW", "Extent", "Frame", "extent_of", "parse_position"]

AXES = ("x", "y", "z")
PLANES = {"xy": (0, 1), "xz": (0, 2), "yz": (2, 1)}
"""Axes that run to the right and down in a slice panel."""

LAYOUTS = ("4panel", "4panel-alt", "xy", "xz", "yz", "3d", "xy-3d", "xz-3d", "yz-3d")
WINDOW = (1280, 720)
"""Pixels of a browser window on a small laptop: what fits there fits on anything larger."""

BARS = 46
SIDE_PANEL = 300
MARGIN = 1.1
NEAR = math.tan(math.pi / 8)
"""The perspective view has an angle of 45 degrees from its top to its bottom."""


@dataclass(frozen=True, slots=True)
class Extent:
    """The box of a dataset in nm, and its voxel size, x, y, z."""

    lower: tuple[Decimal, ...]
    upper: tuple[Decimal, ...]
    voxel: tuple[Decimal, ...]


def extent_of(layer: Layer) -> Extent | None:
    """Return the box of a layer, or None if its ``info`` does not tell one in lengths along x, y and z."""
    if layer.info is not None:
        scale = layer.info.scales[0]
        voxel = tuple(scale.resolution)
        return Extent(
            tuple(start * edge for start, edge in zip(scale.box.start, voxel, strict=True)),
            tuple(stop * edge for stop, edge in zip(scale.box.stop, voxel, strict=True)),
            voxel,
        )
    space = layer.space
    if space is None or not set(AXES) <= set(space.names):
        return None
    order = [space.names.index(axis) for axis in AXES]
    scales = [space.scales_nm[at] for at in order]
    if any(scale is None for scale in scales):
        return None
    voxel = tuple(Decimal(f"{scale:.12g}") for scale in scales)
    return Extent(
        tuple(Decimal(repr(space.lower[at])) * edge for at, edge in zip(order, voxel, strict=True)),
        tuple(Decimal(repr(space.upper[at])) * edge for at, edge in zip(order, voxel, strict=True)),
        voxel,
    )


class Frame:
    """The common frame of some datasets.

    Parameters
    ----------
    extents
        At least one.
    """

    def __init__(self, extents: Iterable[Extent]) -> None:
        known = list(extents)
        # the dataset with the finest voxels: one of them, so that its voxels are whole numbers
        finest = min(known, key=lambda extent: extent.voxel[0] * extent.voxel[1] * extent.voxel[2])
        self.voxel = finest.voxel
        self.lower = tuple(min(extent.lower[axis] for extent in known) for axis in range(3))
        self.upper = tuple(max(extent.upper[axis] for extent in known) for axis in range(3))

    def dimensions(self) -> dict[str, list[Any]]:
        """Return the axes with the size of a voxel in metres, divided as viewers do, so that both are equal."""
        return {axis: [float(edge) / 1e9, "m"] for axis, edge in zip(AXES, self.voxel, strict=True)}

    def centre(self) -> list[float]:
        """Return the middle of the voxel in the middle."""
        return [
            float((((low + high) / 2) / edge).to_integral_value(ROUND_FLOOR)) + 0.5
            for low, high, edge in zip(self.lower, self.upper, self.voxel, strict=True)
        ]

    def holds(self, position: Sequence[float]) -> bool:
        """Whether a position, in voxels, is in the common box."""
        return all(
            float(low) <= at * float(edge) <= float(high)
            for at, low, high, edge in zip(position, self.lower, self.upper, self.voxel, strict=True)
        )

    @staticmethod
    def room(window: tuple[int, int], *, bars: bool, side_panel: bool) -> tuple[int, int]:
        """Return the width and height of what bars and the side panel leave to the panels."""
        return window[0] - (SIDE_PANEL if side_panel else 0), window[1] - (BARS if bars else 0)

    def scales(self, layout: str, zoom: float, room: tuple[int, int]) -> tuple[float, float]:
        """Return voxels per pixel in slices and per height of the 3-D panel, so that everything is in view.

        A voxel is one of the smallest edge. ``zoom`` 2 shows half of everything.
        """
        smallest = float(min(self.voxel))
        size = [float(high - low) / smallest for low, high in zip(self.lower, self.upper, strict=True)]
        width, height = map(float, room)
        if layout.startswith("4panel"):
            width, height = width / 2, height / 2
        elif layout.endswith("-3d"):
            width = width / 2
        width, height = max(width, 64), max(height, 64)
        shown = [plane for plane in PLANES if layout.startswith("4panel") or layout.startswith(plane)] or ["xy"]
        across = max(max(size[PLANES[plane][0]] / width, size[PLANES[plane][1]] / height) for plane in shown)
        # what is nearest to the eye, half the depth in front of the middle, is seen the largest
        deep = max(size[1], size[0] * height / width) * MARGIN + NEAR * size[2]
        return float(f"{across * MARGIN / zoom:.4g}"), float(f"{deep / zoom:.6g}")


def parse_position(value: str | Sequence[int | float]) -> list[float]:
    """Read a position in voxels: a whole number is a voxel and means its middle, any other number the place itself.

    Raises
    ------
    UsageError
        If it is not three finite numbers.

    Examples
    --------
    >>> parse_position("10,20,30.25")
    [10.5, 20.5, 30.25]
    """
    parts: list[Any] = value.split(",") if isinstance(value, str) else list(value)
    hint = "x,y,z in voxels, for example 120,80,40"
    if len(parts) != 3:
        raise UsageError(f"--position must be three numbers, got {value!r}", hint=hint)
    position = []
    for part in parts:
        text = str(part).strip()
        try:
            position.append(int(text) + 0.5 if text.lstrip("+-").isdigit() else float(text))
        except ValueError:
            raise UsageError(f"--position must be three numbers, got {value!r}", hint=hint) from None
    if not all(map(math.isfinite, position)):
        raise UsageError(f"--position must be three finite numbers, got {value!r}", hint=hint)
    return position
