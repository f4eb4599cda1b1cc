"""Which dtype is stored, and how source values become stored values without a silent change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from precast.errors import SourceError, UsageError
from precast.findings import Finding, notice
from precast.geometry import Box

__all__ = ["BoxReader", "ValueReader", "stored_dtype"]

Array = npt.NDArray[Any]


class BoxReader(Protocol):
    """Anything that fills an array with the voxels of a box: a source, or spooled data."""

    def read(self, box: Box, out: Array) -> None:
        """Fill ``out`` ``(c, z, y, x)`` with the voxels of ``box``, in the reader's own coordinates."""


def stored_dtype(
    kind: str, dtype: np.dtype[Any], wanted: str | None, channels: int
) -> tuple[np.dtype[Any], tuple[Finding, ...]]:
    """Return the dtype to store, and what the user should know about the change.

    Raises
    ------
    UsageError
        If the dtype cannot be stored as that kind; the text says what to do.
    """
    if kind == "segmentation":
        return _label_dtype(dtype, wanted, channels), ()
    if wanted is not None:
        raise UsageError(
            f"--dtype {wanted} is for labels, and this source is converted as an image",
            hint="give --kind segmentation if the voxels are labels",
        )
    return _image_dtype(dtype)


def _label_dtype(dtype: np.dtype[Any], wanted: str | None, channels: int) -> np.dtype[Any]:
    if channels != 1:
        raise UsageError(
            f"a segmentation has one channel, this source has {channels}",
            hint="give --kind image, or convert one channel of it",
        )
    if dtype.kind not in "biu":
        raise UsageError(
            f"labels are whole numbers, this source holds {dtype}",
            hint="give --kind image, or save the labels as an integer type",
        )
    if wanted is not None:
        return np.dtype(wanted)
    return np.dtype("uint64") if dtype.itemsize == 8 else np.dtype("uint32")


def _image_dtype(dtype: np.dtype[Any]) -> tuple[np.dtype[Any], tuple[Finding, ...]]:
    if dtype.kind == "b":
        return np.dtype("uint8"), ()
    if dtype.kind in "iu":
        if dtype.itemsize == 8:
            raise UsageError(
                f"an image cannot hold {dtype}: the format has no 64-bit image type that viewers draw",
                hint="give --kind segmentation if these are labels; else save it as uint8, uint16 or float32",
            )
        return dtype, ()
    if dtype == np.dtype("float64"):
        finding = notice(
            "PI101",
            "",
            "float64 is stored as float32, the only float type of the format: about 7 digits are kept",
        )
        return np.dtype("float32"), (finding,)
    if dtype.kind == "f":
        return np.dtype("float32"), ()
    raise UsageError(f"an image cannot hold {dtype}", hint="save it as uint8, uint16 or float32")


@dataclass(frozen=True, slots=True)
class ValueReader:
    """Reads boxes of a source in the stored dtype.

    Parameters
    ----------
    reader
        Delivers ``native`` values.
    native, stored
        dtypes; integers are checked to survive the change.
    """

    reader: BoxReader
    native: np.dtype[Any]
    stored: np.dtype[Any]

    @property
    def in_place(self) -> bool:
        """Whether values are read straight into the buffer, without a second array."""
        return self.native.itemsize == self.stored.itemsize and self.native.kind in "iub" and self.stored.kind in "iu"

    @property
    def same(self) -> bool:
        """Whether nothing has to be done to the values."""
        return self.native == self.stored

    def read(self, box: Box, out: Array) -> None:
        """Fill ``out`` with the voxels of ``box`` (source coordinates), converted and checked.

        Raises
        ------
        SourceError
            If a value does not fit the stored dtype; names the slice and the value.
        """
        if self.same:
            self.reader.read(box, out)
        elif self.in_place:
            native = out.view(self.native)
            self.reader.read(box, native)
            self._check(native, box)
        else:
            native = np.empty(out.shape, self.native)
            self.reader.read(box, native)
            self._check(native, box)
            with np.errstate(over="ignore"):
                np.copyto(out, native, casting="unsafe")

    def _check(self, values: Array, box: Box) -> None:
        if self.native.kind not in "iu" or not values.size:
            return
        limits = np.iinfo(self.stored)
        low, high = int(limits.min), int(limits.max)
        native = np.iinfo(self.native)
        if int(native.min) < low and int(values.min()) < low:
            self._refuse(values, box, values < low, "negative")
        if int(native.max) > high and int(values.max()) > high:
            self._refuse(values, box, values > high, "too large")

    def _refuse(self, values: Array, box: Box, bad: npt.NDArray[np.bool_], what: str) -> None:
        c, z, y, x = (int(i) for i in np.argwhere(bad)[0])
        value = int(values[c, z, y, x])
        place = f"slice {box.start.z + z}, x {box.start.x + x}, y {box.start.y + y}"
        hint = (
            "labels must not be negative: if -1 or the like means background, set it to 0 first; or give --kind image"
            if what == "negative"
            else "give --dtype uint64, or leave --dtype out"
        )
        raise SourceError(f"the value {value} at {place} is {what} for {self.stored}", hint=hint, where=place)
