"""The single-resolution mesh format, for older viewers.

The manifest of object ID is the file ``ID:0``, JSON: ``{"fragments": [name, ...]}``; names are relative to the mesh
directory. A fragment, little-endian::

    N            uint32
    positions    N x 3 float32   x, y, z, nanometres
    faces        m x 3 uint32    to the end of the file
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from precast.errors import FormatError, UsageError
from precast.precomputed.strict_json import parse_object

__all__ = [
    "fragment_name",
    "fragment_to_bytes",
    "manifest_name",
    "manifest_to_bytes",
    "parse_fragment",
    "parse_manifest",
    "segment_of_manifest",
]


def manifest_name(segment: int) -> str:
    """Return the file name of a manifest; stores without ``:`` in names keep it in a form of their own."""
    return f"{segment}:0"


def fragment_name(segment: int, part: int = 0) -> str:
    """Return the file name that precast gives to a fragment; the format leaves it free."""
    return f"{segment}.part{part}"


def segment_of_manifest(name: str) -> int | None:
    """Return the object whose manifest has this file name, or None if it is another file."""
    match = re.fullmatch(r"(0|[1-9][0-9]*):0", name)
    return int(match.group(1)) if match and int(match.group(1)) < 2**64 else None


def manifest_to_bytes(names: Sequence[str]) -> bytes:
    """Return a manifest that lists fragments by name."""
    return (json.dumps({"fragments": list(names)}, ensure_ascii=False) + "\n").encode()


def parse_manifest(data: bytes, where: str = "manifest") -> list[str]:
    """Return the names of the fragments.

    Raises
    ------
    FormatError
        If it is not a JSON object with a list of names.
    """
    value = parse_object(data, where)
    names = value.get("fragments")
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise FormatError(f"{where}: fragments must be a list of names, got {names!r:.60}", where=where)
    return names


def fragment_to_bytes(vertices_nm: npt.ArrayLike, faces: npt.ArrayLike) -> bytes:
    """Return a fragment; positions, shape (n, 3), are rounded to float32.

    Raises
    ------
    UsageError
        If the shapes are wrong, a position is not finite, or a face points outside the positions.
    """
    positions = np.asarray(vertices_nm, np.float64)
    corners = np.asarray(faces)
    if positions.ndim != 2 or positions.shape[1:] != (3,) or corners.ndim != 2 or corners.shape[1:] != (3,):
        raise UsageError(f"positions and faces must have three columns, got {positions.shape} and {corners.shape}")
    with np.errstate(over="ignore"):
        stored = positions.astype("<f4")
    if not np.isfinite(stored).all():
        raise UsageError("a position of a mesh is not a finite float32")
    if corners.size and (int(corners.min()) < 0 or int(corners.max()) >= len(positions)):
        raise UsageError(f"a face points outside the {len(positions)} positions")
    return len(stored).to_bytes(4, "little") + stored.tobytes() + corners.astype("<u4").tobytes()


def parse_fragment(data: bytes, where: str = "fragment") -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint32]]:
    """Return positions in nm, shape (n, 3), and faces, shape (m, 3).

    Raises
    ------
    FormatError
        If the length does not fit, a position is not finite, or a face points outside the positions.
    """

    def refuse(text: str) -> FormatError:
        return FormatError(f"{where}: {text}", where=where)

    if len(data) < 4:
        raise refuse(f"a fragment has at least 4 bytes, got {len(data)}")
    count = int.from_bytes(data[:4], "little")
    rest: Any = len(data) - 4 - 12 * count
    if rest < 0 or rest % 12:
        raise refuse(f"{count} positions and whole triangles do not fill {len(data)} bytes")
    positions = np.frombuffer(data, "<f4", 3 * count, 4).reshape(-1, 3).astype(np.float32)
    faces = np.frombuffer(data, "<u4", rest // 4, 4 + 12 * count).reshape(-1, 3).astype(np.uint32)
    if not np.isfinite(positions).all():
        raise refuse("a position is not a finite number")
    if faces.size and int(faces.max()) >= count:
        raise refuse(f"a face points to position {int(faces.max())}, but there are {count}")
    return positions, faces
