"""``.npy`` files, read in pieces: the file is mapped piece by piece, so resident memory stays small at any size.

Layout: 6 bytes of magic, 2 of version, the length of the header, the header (a Python literal with dtype, order and
shape), then the samples (NumPy enhancement proposal 1). Nothing is unpickled.
"""

from __future__ import annotations

import mmap
from io import FileIO

import numpy as np

from precast.errors import SourceError
from precast.geometry import Box, Vec3
from precast.sources.arrays import to_czyx
from precast.sources.base import (
    Array,
    Fingerprint,
    SourceInfo,
    SourceOptions,
    check_request,
    corrupt,
    delivered_dtype,
    fingerprint_files,
    open_binary,
    os_error,
    size_of,
)
from precast.sources.stored import SourcePath, StoredFile

__all__ = ["NpyVolume"]

# Most that is mapped at once. Pages that were touched count as resident until they are unmapped.
PIECE_BYTES = 32 << 20


class NpyVolume:
    """A volume in an ``.npy`` file, in C or Fortran order.

    Parameters
    ----------
    path
        The file.
    options
        See :class:`SourceOptions`.

    Raises
    ------
    SourceError
        If the file is damaged or truncated, holds Python objects, or its dimensions cannot be told.
    """

    def __init__(self, path: SourcePath, options: SourceOptions) -> None:
        self._path = path
        self._axes = options.axes
        with open_binary(path) as file:
            shape, fortran, self._stored, self._offset = _header(path, file)
            dtype = delivered_dtype(self._stored, path.name, str(path))
            order = to_czyx(shape, options.axes, path.name)
            strides = _strides(shape, self._stored.itemsize, fortran=fortran)
            c, z, y, x = (1 if i is None else shape[i] for i in order)
            self._strides = tuple(0 if i is None else strides[i] for i in order)
            self._end = self._offset + int(np.prod(shape, dtype=object)) * self._stored.itemsize
            self._check_size(file)
        self.info = SourceInfo(name=path.name, shape=(c, z, y, x), dtype=dtype, block=Vec3(1, 1, 1))

    def read(self, box: Box, out: Array) -> None:
        """Copy ``box`` into ``out``; see :meth:`precast.sources.Source.read`."""
        check_request(self.info, box, out)
        if box.empty:
            return
        with open_binary(self._path) as file:
            self._check_size(file)
            self._copy(file, (0, *box.start.zyx), out)

    def fingerprint(self) -> Fingerprint:
        """Return what identifies the file; see :class:`Fingerprint`."""
        return fingerprint_files([self._path], extra=f"axes={self._axes}")

    def _check_size(self, file: FileIO | StoredFile) -> None:
        size = size_of(file)
        if size < self._end:
            raise corrupt(self._path, f"the file is truncated: it has {size} bytes, but its header needs {self._end}")

    def _copy(self, file: FileIO | StoredFile, start: tuple[int, ...], out: Array) -> None:
        """Copy what begins at ``start`` (c, z, y, x); halve along the longest step in the file until it is small."""
        spans = [(size - 1) * stride for size, stride in zip(out.shape, self._strides, strict=True)]
        length = sum(spans) + self._stored.itemsize
        if length > PIECE_BYTES:
            axis = spans.index(max(spans))
            half = out.shape[axis] // 2
            low = tuple(slice(half) if i == axis else slice(None) for i in range(4))
            high = tuple(slice(half, None) if i == axis else slice(None) for i in range(4))
            self._copy(file, start, out[low])
            self._copy(file, tuple(a + half if i == axis else a for i, a in enumerate(start)), out[high])
            return
        first = self._offset + sum(a * stride for a, stride in zip(start, self._strides, strict=True))
        if isinstance(file, StoredFile):
            file.seek(first)
            data = bytearray(length)
            file.readinto(data)
            out[...] = np.ndarray(out.shape, self._stored, data, 0, self._strides)
            return
        base = first - first % mmap.ALLOCATIONGRANULARITY
        try:
            with mmap.mmap(file.fileno(), first - base + length, access=mmap.ACCESS_READ, offset=base) as mapped:
                view: Array = np.ndarray(out.shape, self._stored, mapped, first - base, self._strides)
                out[...] = view
                # The mapping can only be closed when no array refers to it.
                del view
        except OSError as error:
            raise os_error(error, self._path) from None


def _strides(shape: tuple[int, ...], itemsize: int, *, fortran: bool) -> tuple[int, ...]:
    steps, step = [], itemsize
    for size in shape if fortran else reversed(shape):
        steps.append(step)
        step *= size
    return tuple(steps if fortran else reversed(steps))


def _header(path: SourcePath, file: FileIO | StoredFile) -> tuple[tuple[int, ...], bool, np.dtype[np.generic], int]:
    """Return shape, whether it is in Fortran order, dtype, and where the samples begin."""
    try:
        version = np.lib.format.read_magic(file)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = reader(file)
    except OSError as error:
        raise os_error(error, path) from None
    except Exception as error:
        size = size_of(file)
        what = "the file is empty (0 bytes)" if size == 0 else f"the .npy header cannot be read ({error})"
        raise corrupt(path, what, hint="save the array again with numpy.save") from None
    if dtype.hasobject:
        raise SourceError(
            f"{path.name}: samples of type {dtype} cannot be converted: the file holds Python objects",
            hint="save the array with a number type",
            where=str(path),
        )
    return shape, fortran, dtype, file.tell()
