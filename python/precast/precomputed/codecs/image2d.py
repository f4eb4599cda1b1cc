"""Chunks as flat pictures: width x, height y*z, one component per channel, interleaved."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from precast.errors import FormatError

__all__ = ["from_picture", "to_picture"]


def to_picture(chunk: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Turn ``(c, z, y, x)`` into a picture ``(z*y, x)`` or, with several channels, ``(z*y, x, c)``."""
    c, z, y, x = chunk.shape
    if c == 1:
        return np.ascontiguousarray(chunk[0]).reshape(z * y, x)
    return np.ascontiguousarray(np.moveaxis(chunk, 0, -1)).reshape(z * y, x, c)


def from_picture(picture: npt.NDArray[Any], out: npt.NDArray[Any], encoding: str) -> None:
    """Fill ``out`` ``(c, z, y, x)`` from a picture of any width and height with the right number of pixels.

    Raises
    ------
    FormatError
        If pixels, components or dtype do not fit.
    """
    c, z, y, x = out.shape
    components = 1 if picture.ndim == 2 else picture.shape[2]
    pixels = picture.shape[0] * picture.shape[1]
    if components != c or pixels != z * y * x or picture.dtype != out.dtype:
        raise FormatError(
            f"a {encoding} chunk must hold {z * y * x} pixels of {c} x {out.dtype}; "
            f"it holds {pixels} of {components} x {picture.dtype}"
        )
    if c == 1:
        out[0] = picture.reshape(z, y, x)
    else:
        out[...] = np.moveaxis(picture.reshape(z, y, x, c), -1, 0)
