"""What every input looks like to the rest of precast: one protocol, one description, one set of options.

Codes of the findings:

===== ======= ==========================================================
code  weight  what
===== ======= ==========================================================
PS101 warning missing slices or planes were filled
PS102 info    how the order of the slices was found
PS103 info    files or folders beside the slices that were not read
PS110 info    a palette was dropped, the stored numbers are read
PS111 info    white is zero: the stored numbers are read
PS112 warning an orientation tag was not applied
PS113 warning a sparse TIFF: parts that were never written are background
PS114 info    a transparent colour is read like the others
PS120 info    a voxel size that lacks an axis is not used
PS121 info    the first of several images of an OME-TIFF is read
PS122 info    thumbnails, pyramid levels and masks were not read
===== ======= ==========================================================
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from io import FileIO
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from precast.errors import AccessDeniedError, ObjectNotFoundError, SourceError, StorageError, UsageError
from precast.findings import Finding
from precast.geometry import Box, Vec3, VoxelSize
from precast.sources.stored import SourcePath, StoredFile, StoredPath

__all__ = [
    "Array",
    "Fingerprint",
    "Source",
    "SourceInfo",
    "SourceOptions",
    "check_request",
    "corrupt",
    "delivered_dtype",
    "fingerprint_files",
    "open_binary",
    "size_of",
]

Array = npt.NDArray[Any]
FillGaps = Literal["zero", "previous"]

AXIS_LETTERS = "tczyx"


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """How to read an input where the input itself leaves a choice.

    Attributes
    ----------
    fill_gaps
        What stands in for a slice whose number (or whose plane in an OME-TIFF) is missing: ``"zero"``,
        ``"previous"`` (a copy of the slice before), or ``None``: a missing slice is an error.
    axes
        Names of the dimensions, slowest first, where the input does not say them or says them wrongly:
        letters of ``t``, ``c``, ``z``, ``y``, ``x``, each once. For arrays and ``.npy`` one letter per
        dimension in any order (``"xyz"`` for an array indexed ``[x, y, z]``). For multi-page TIFF the
        letters of the dimensions over the pages, then ``yx`` (``"zcyx"``). ``t`` must have length 1.
    """

    fill_gaps: FillGaps | None = None
    axes: str | None = None

    def __post_init__(self) -> None:
        if self.fill_gaps not in (None, "zero", "previous"):
            raise UsageError(f"fill_gaps = {self.fill_gaps!r} is not known", hint="use 'zero' or 'previous'")
        if self.axes is not None:
            axes = self.axes.lower()
            wrong = [letter for letter in axes if letter not in AXIS_LETTERS or axes.count(letter) > 1]
            if wrong or "y" not in axes or "x" not in axes:
                raise UsageError(
                    f"axes = {self.axes!r} cannot be used: letters of {AXIS_LETTERS!r}, each once, with y and x",
                    hint="for example 'zyx', 'czyx' or 'xyz'",
                )
            object.__setattr__(self, "axes", axes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """Hexadecimal digests that tell whether an input is still the same.

    Attributes
    ----------
    content
        From base names and sizes of the files (for arrays from shape, dtype and values): the same wherever
        and whenever the same data lie. For provenance.
    stamp
        As ``content``, with the times of modification: changes when a file is rewritten. For resuming.
    """

    content: str
    stamp: str


@dataclass(frozen=True, kw_only=True)
class SourceInfo:
    """What is known about an input without decoding all of it.

    Attributes
    ----------
    name
        Base name of the file or folder; never a path.
    shape
        ``(c, z, y, x)``.
    dtype
        What ``read`` delivers, in native byte order: bool, signed and unsigned integers of 8 to 64 bits,
        float32 or float64. Half precision is delivered as float32.
    voxel_size
        In nanometres, if the file says it for all three axes.
    voxel_size_origin
        Where it was found, for example ``"OME-XML"``; empty if ``voxel_size`` is ``None``.
    block
        Smallest box, x, y, z, that is decoded on its own; boxes made of whole blocks cost no double decoding.
    findings
        What was noticed on opening and did not stop it.
    lossy
        Whether the samples went through JPEG: such data cannot be trusted as labels.
    """

    name: str
    shape: tuple[int, int, int, int]
    dtype: np.dtype[np.generic]
    block: Vec3
    voxel_size: VoxelSize | None = None
    voxel_size_origin: str = ""
    findings: tuple[Finding, ...] = ()
    lossy: bool = False

    @property
    def bounds(self) -> Box:
        """All voxels, from 0,0,0."""
        return Box(Vec3(0, 0, 0), Vec3(self.shape[3], self.shape[2], self.shape[1]))


@runtime_checkable
class Source(Protocol):
    """An input volume; pickles, holds no open files between calls, and may be read by many threads at once."""

    @property
    def info(self) -> SourceInfo:
        """The description, fixed when the input was opened."""

    def read(self, box: Box, out: Array) -> None:
        """Decode the voxels of ``box``, all channels, into ``out``.

        Parameters
        ----------
        box
            In voxels from the first voxel of the input; inside ``info.bounds``.
        out
            Shape ``(c, z, y, x)`` of the box, dtype ``info.dtype``, any strides, writeable.

        Raises
        ------
        SourceError
            If a file is damaged, or differs from the first in shape, dtype or channels.
        ObjectNotFoundError, AccessDeniedError, StorageError
            If a file is gone, may not be read, or the disk fails.
        UsageError
            If ``box`` or ``out`` does not fit.
        """

    def fingerprint(self) -> Fingerprint:
        """Return what identifies the data, see :class:`Fingerprint`."""


def check_request(info: SourceInfo, box: Box, out: Array) -> None:
    """Raise `UsageError` unless ``out`` can take ``box`` of a source described by ``info``."""
    if not info.bounds.contains(box):
        raise UsageError(f"box {box} is not inside {info.name}, which is {info.bounds}")
    wanted = (info.shape[0], *box.size.zyx)
    if out.shape != wanted or out.dtype != info.dtype or not out.flags.writeable:
        raise UsageError(
            f"the array for box {box} must be writeable {info.dtype} of shape {wanted}, got "
            f"{'writeable' if out.flags.writeable else 'read-only'} {out.dtype} of shape {out.shape}"
        )


def delivered_dtype(stored: np.dtype[np.generic], what: str, where: str = "") -> np.dtype[np.generic]:
    """Return the native dtype in which samples of dtype ``stored`` are delivered.

    Raises
    ------
    SourceError
        For complex, object, structured, text and time types, and floats of more than 64 bits.
    """
    if stored.kind == "f" and stored.itemsize == 2:
        return np.dtype(np.float32)
    if stored.kind in "bui" or (stored.kind == "f" and stored.itemsize in (4, 8)):
        return stored.newbyteorder("=")
    raise SourceError(
        f"{what}: samples of type {stored} cannot be converted; allowed are bool, integers of 8 to 64 bits and "
        "floats of 16 to 64 bits",
        hint="convert it first, for example to its magnitude"
        if stored.kind == "c"
        else "convert it to a number type first",
        where=where,
    )


def open_binary(path: SourcePath) -> FileIO | StoredFile:
    """Open a file for unbuffered reading, with precast's errors.

    Raises
    ------
    ObjectNotFoundError, AccessDeniedError, StorageError
        If there is no such file, it may not be read, or the disk fails.
    """
    if isinstance(path, StoredPath):
        return path.open()
    try:
        return FileIO(path, "r")
    except OSError as error:
        raise os_error(error, path) from None


def size_of(file: FileIO | StoredFile) -> int:
    """Return the bytes of an open file."""
    return file.size if isinstance(file, StoredFile) else os.fstat(file.fileno()).st_size


def os_error(error: OSError, path: SourcePath) -> ObjectNotFoundError | AccessDeniedError | StorageError:
    """Return the precast error for what the operating system said about ``path``."""
    if isinstance(error, FileNotFoundError):
        return ObjectNotFoundError(f"{path.name} does not exist", hint="check the path", where=str(path))
    if isinstance(error, PermissionError):
        return AccessDeniedError(
            f"{path.name} may not be read", hint="check its permissions, and who owns it", where=str(path)
        )
    return StorageError(f"{path.name} could not be read: {error.strerror or error}", where=str(path))


def corrupt(path: SourcePath, message: str, hint: str = "copy or export the file again") -> SourceError:
    """Return the error for a file whose bytes are damaged or cannot be understood."""
    return SourceError(f"{path.name}: {message}", hint=hint, where=str(path))


def fingerprint_files(paths: Iterable[SourcePath], extra: str = "") -> Fingerprint:
    """Return the fingerprint of files in their order; ``extra`` holds the options that change what is read.

    Raises
    ------
    ObjectNotFoundError, AccessDeniedError, StorageError
        If a file cannot be examined.
    """
    content, stamp = hashlib.sha256(extra.encode()), hashlib.sha256(extra.encode())
    for path in paths:
        try:
            status = path.stat()
        except OSError as error:
            raise os_error(error, path) from None
        # NUL cannot occur in a file name, so no two lists of names run together.
        line = f"{path.name}\0{status.st_size}\0"
        content.update(line.encode("utf-8", "surrogateescape"))
        stamp.update(f"{line}{status.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
    return Fingerprint(content=content.hexdigest(), stamp=stamp.hexdigest())
