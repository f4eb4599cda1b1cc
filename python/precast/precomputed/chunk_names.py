"""Names of chunks that have a file each: ``xb-xe_yb-ye_zb-ze``, in absolute voxels, without the last.

neuroglancer-scripts lay them in a folder per axis unless they are told ``--flat``: ``xb-xe/yb-ye/zb-ze``. Viewers do
not ask for those names.
"""

from __future__ import annotations

import re

from precast.geometry import Vec3

__all__ = ["from_folders", "in_folders", "parse_chunk_name"]

NAME = re.compile(r"(-?\d+)-(-?\d+)_(-?\d+)-(-?\d+)_(-?\d+)-(-?\d+)")


def parse_chunk_name(name: str) -> tuple[Vec3, Vec3] | None:
    """Return the first voxel and the one behind the last, or None if it is no name of a chunk.

    >>> parse_chunk_name("-8-56_0-64_64-100")
    (Vec3(x=-8, y=0, z=64), Vec3(x=56, y=64, z=100))
    """
    match = NAME.fullmatch(name)
    if match is None:
        return None
    x0, x1, y0, y1, z0, z1 = (int(group) for group in match.groups())
    return Vec3(x0, y0, z0), Vec3(x1, y1, z1)


def in_folders(name: str) -> str:
    """Return where a chunk lies in a folder per axis.

    >>> in_folders("0-64_0-48_0-40")
    '0-64/0-48/0-40'
    """
    return name.replace("_", "/")


def from_folders(path: str) -> tuple[str, bool]:
    """Return a name as readers ask for it, and whether it lies in a folder per axis."""
    return (path.replace("/", "_"), True) if path.count("/") == 2 else (path, False)
