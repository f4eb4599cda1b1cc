"""Octrees: how an object's pieces are grouped, and which cells its levels must list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["close_cells", "group", "morton"]

Cell = tuple[int, int, int]


class Node(Protocol):
    """Something at a place of the Z-curve with a number of faces."""

    @property
    def code(self) -> int:
        """Morton code."""

    @property
    def faces(self) -> int:
        """Number of faces."""


N = TypeVar("N", bound=Node)


def morton(cell: Sequence[int]) -> int:
    """Return the Morton code of a cell: bit i of x, y, z is bit 3 i, 3 i + 1, 3 i + 2 of the code."""
    code = 0
    for axis, index in enumerate(cell):
        for bit in range(int(index).bit_length()):
            code |= (int(index) >> bit & 1) << (3 * bit + axis)
    return code


def group(nodes: Sequence[N], most: int) -> list[list[N]]:
    """Group nodes into the largest cubes of an octree that hold at most so many faces; one node alone may hold more."""
    ordered = sorted(nodes, key=lambda node: node.code)
    if not ordered:
        return []
    top = max(node.code for node in ordered).bit_length()
    return _split(ordered, -(-top // 3) * 3, most)


def _split(nodes: list[N], bits: int, most: int) -> list[list[N]]:
    if len(nodes) == 1 or bits == 0 or sum(node.faces for node in nodes) <= most:
        return [nodes]
    parts: dict[int, list[N]] = {}
    for node in nodes:
        parts.setdefault(node.code >> (bits - 3), []).append(node)
    return [found for part in parts.values() for found in _split(part, bits - 3, most)]


def close_cells(levels: Sequence[tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8]]]) -> list[list[Cell]]:
    """Return the cells that each level lists, in Morton order.

    A viewer goes from a cell to its children: every listed cell needs its parent on the next level, and every
    octant that has faces needs a cell on the level below, which may be empty.

    Parameters
    ----------
    levels
        Per level, finest first: the cells that have faces, shape (n, 3), and the octants where these lie.
    """
    listed: list[set[Cell]] = [set(map(tuple, cells.tolist())) for cells, _ in levels]
    for level in range(len(levels) - 1, 0, -1):
        cells, octants = levels[level]
        for (x, y, z), mask in zip(cells.tolist(), octants.tolist(), strict=True):
            for octant in range(8):
                if mask >> octant & 1:
                    listed[level - 1].add((2 * x + (octant & 1), 2 * y + (octant >> 1 & 1), 2 * z + (octant >> 2)))
    for level in range(1, len(levels)):
        listed[level].update((x >> 1, y >> 1, z >> 1) for x, y, z in listed[level - 1])
    return [sorted(cells, key=morton) for cells in listed]
