"""Triangle meshes as Draco streams."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from precast import _native
from precast.errors import UsageError
from precast.kernels.common import Bytes, kernel_errors

__all__ = ["draco_decode", "draco_encode"]


def _triples(values: npt.ArrayLike, dtype: type[np.integer[Any]], what: str) -> npt.NDArray[Any]:
    """Return integers as a C-contiguous array of shape (n, 3), none of them changed."""
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] != 3:
        raise UsageError(f"{what} must have the shape (n, 3), got {array.shape}")
    if array.dtype.kind not in "iu":
        raise UsageError(f"{what} must be integers, got dtype {array.dtype}")
    limits = np.iinfo(dtype)
    if array.size and not np.can_cast(array.dtype, dtype) and (array.min() < limits.min or array.max() > limits.max):
        raise UsageError(f"{what} must be from {limits.min} to {limits.max}, got {array.min()} to {array.max()}")
    return np.ascontiguousarray(array, dtype)


def draco_encode(positions: npt.ArrayLike, faces: npt.ArrayLike) -> bytes:
    """Encode a triangle mesh with integer positions; described in :func:`precast.draco.encode`."""
    what = "encoding a Draco mesh"
    vertices = _triples(positions, np.int32, f"{what}: positions")
    triangles = _triples(faces, np.uint32, f"{what}: faces")
    with kernel_errors(what):
        return _native.draco_encode(vertices, triangles)


def draco_decode(
    data: Bytes, max_faces: int, max_vertices: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint32]]:
    """Decode a Draco mesh to positions and faces; described in :func:`precast.draco.decode`."""
    with kernel_errors("decoding a Draco mesh"):
        return _native.draco_decode(data, max_faces, max_vertices)
