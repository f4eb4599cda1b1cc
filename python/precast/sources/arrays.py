"""Volumes in memory, and the meaning of an array's dimensions."""

from __future__ import annotations

import hashlib

import numpy as np

from precast.errors import SourceError, UsageError
from precast.geometry import Box, Vec3
from precast.sources.base import (
    Array,
    Fingerprint,
    SourceInfo,
    SourceOptions,
    check_request,
    delivered_dtype,
)

__all__ = ["ArrayVolume", "to_czyx"]

DEFAULT_AXES = {2: "yx", 3: "zyx", 4: "czyx"}


def to_czyx(shape: tuple[int, ...], axes: str | None, what: str) -> list[int | None]:
    """Return for c, z, y, x which dimension of an array of ``shape`` it is, None for one that is not there.

    Raises
    ------
    SourceError
        If the dimensions cannot be told, ``axes`` does not fit, or the array is empty or has several times.
    """
    if 0 in shape:
        raise SourceError(f"{what}: an array of shape {shape} holds no voxels", where=what)
    letters = axes or DEFAULT_AXES.get(len(shape))
    if letters is None:
        raise SourceError(
            f"{what}: an array of shape {shape} has {len(shape)} dimensions; "
            "allowed are (z, y, x), (c, z, y, x) and (y, x)",
            hint="name the dimensions, for example axes='tczyx', or select a part of the array",
            where=what,
        )
    if len(letters) != len(shape):
        raise SourceError(
            f"{what}: axes = {letters!r} names {len(letters)} dimensions, but the array has {len(shape)}: {shape}",
            hint="name every dimension once, slowest first",
            where=what,
        )
    if "t" in letters and shape[letters.index("t")] != 1:
        raise SourceError(
            f"{what}: there are {shape[letters.index('t')]} times in the shape {shape}; a volume has one",
            hint="select one time",
            where=what,
        )
    return [letters.index(letter) if letter in letters else None for letter in "czyx"]


def _arranged(array: Array, axes: str | None, what: str) -> Array:
    """Return a view ``(c, z, y, x)``."""
    order = to_czyx(array.shape, axes, what)
    dropped = tuple(i for i in range(array.ndim) if i not in order)
    kept = [i for i in order if i is not None]
    view = array.transpose([*kept, *dropped])
    view = view.reshape(view.shape[: len(kept)]) if dropped else view
    for position, i in enumerate(order):
        if i is None:
            view = np.expand_dims(view, position)
    return view


class ArrayVolume:
    """An array in memory; it is neither copied nor changed.

    Parameters
    ----------
    array
        ``(y, x)``, ``(z, y, x)`` or ``(c, z, y, x)``, or as ``options.axes`` says; any strides and byte order.
    options
        See :class:`SourceOptions`.

    Raises
    ------
    SourceError
        If the dtype cannot be converted or the dimensions cannot be told.
    """

    def __init__(self, array: Array, options: SourceOptions) -> None:
        if isinstance(array, np.ma.MaskedArray):
            raise SourceError(
                "a masked array cannot be converted: precomputed volumes have no mask",
                hint="give array.filled(0), or another value for what is masked",
            )
        dtype = delivered_dtype(array.dtype, "array")
        self._array = _arranged(np.asarray(array), options.axes, "array")
        c, z, y, x = self._array.shape
        self.info = SourceInfo(name="array", shape=(c, z, y, x), dtype=dtype, block=Vec3(1, 1, 1))

    def read(self, box: Box, out: Array) -> None:
        """Copy ``box`` into ``out``; see :meth:`precast.sources.Source.read`."""
        check_request(self.info, box, out)
        out[...] = self._array[box.slices()]

    def fingerprint(self) -> Fingerprint:
        """Return a digest of shape, dtype and values; reads the whole array."""
        array = self._array
        digest = hashlib.sha256(f"{self.info.dtype.str}{array.shape}".encode())
        for channel in array:
            for plane in channel:
                # Native order and C layout: how the array lies in memory must not matter.
                digest.update(np.ascontiguousarray(plane, plane.dtype.newbyteorder("=")).view(np.uint8).data)
        content = digest.hexdigest()
        return Fingerprint(content=content, stamp=content)


def require_array(value: object) -> Array:
    """Return ``value`` if it is a numpy array.

    Raises
    ------
    UsageError
        If it is something else.
    """
    if isinstance(value, np.ndarray):
        return value
    raise UsageError(
        f"a source must be a path or a numpy array, got {type(value).__name__}",
        hint="turn it into an array with numpy.asarray",
    )
