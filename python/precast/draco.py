"""Draco streams of triangle meshes with integer positions: the fragments of the multi-resolution mesh format.

>>> import numpy, precast
>>> positions = numpy.array([[0, 0, 0], [2, 0, 0], [0, 3, 0], [0, 0, 5]])
>>> faces = numpy.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
>>> mesh = precast.draco.decode(precast.draco.encode(positions, faces))
>>> sorted(mesh.positions.tolist()) == sorted(positions.tolist()), len(mesh.faces)
(True, 4)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from precast import kernels

__all__ = ["Mesh", "decode", "encode"]


class Mesh(NamedTuple):
    """A decoded mesh.

    Attributes
    ----------
    positions
        int32, shape (vertices, 3): x, y, z.
    faces
        uint32, shape (faces, 3): indices into ``positions``.
    """

    positions: npt.NDArray[np.int32]
    faces: npt.NDArray[np.uint32]


def encode(positions: npt.ArrayLike, faces: npt.ArrayLike) -> bytes:
    """Encode a mesh without loss.

    A decoder gives back every face with its exact positions and its orientation, but vertices and faces in another
    order. Faces that name a vertex twice and vertices without faces are left out; a vertex at which several sheets of
    the surface meet comes back once per sheet. The same mesh gives the same bytes on every machine.

    Parameters
    ----------
    positions
        Integers, shape (vertices, 3), within 32 bits with sign: x, y, z.
    faces
        Integers, shape (faces, 3): indices into ``positions``.

    Returns
    -------
    bytes
        A stream of version 2.2: edgebreaker connectivity and parallelogram prediction. The one attribute is stored as
        uint32, or as int32 if a coordinate is negative, not quantised.

    Raises
    ------
    UsageError
        If an array has another shape or type, an index is out of range, no face with three different vertices is left,
        or the coordinates are so far apart that decoders would overflow. From 0 to 2**30 - 1 and from -2**29 to 2**29
        all are good.
    """
    return kernels.draco_encode(positions, faces)


def decode(data: kernels.Bytes, *, max_faces: int = 1 << 26, max_vertices: int = 1 << 26) -> Mesh:
    """Decode a mesh.

    Parameters
    ----------
    data
        A stream of version 2.2 with triangles and three-dimensional positions alone, as written by :func:`encode` or by
        Google's encoder at any level. Bytes after the mesh are not looked at.
    max_faces, max_vertices
        A larger mesh is an error. Memory is taken as the mesh grows, not as the stream claims.

    Returns
    -------
    Mesh
        Integer positions as they are stored. Where the encoder quantised floating-point positions, they are the steps
        on its lattice.

    Raises
    ------
    FormatError
        If the bytes are something else, are damaged, or hold more than is allowed.
    UsageError
        If a limit is negative or ``data`` are not bytes.
    """
    return Mesh(*kernels.draco_decode(data, max_faces, max_vertices))
