"""Volumes of single images: a folder with one file per slice, or one PNG or JPEG file."""

from __future__ import annotations

import numpy as np

from precast.errors import SourceError
from precast.findings import notice
from precast.geometry import Box, Vec3
from precast.sources.base import (
    Array,
    Fingerprint,
    SourceInfo,
    SourceOptions,
    check_request,
    fingerprint_files,
)
from precast.sources.forms import Form, Window
from precast.sources.images import ImageFormat, format_of
from precast.sources.listing import slice_names
from precast.sources.numbering import Numbering, number_names
from precast.sources.stored import SourcePath

__all__ = ["SliceStack"]


class SliceStack:
    """A volume with one image file per slice.

    Parameters
    ----------
    path
        A folder, or a single PNG or JPEG file (a volume of one slice).
    options
        See :class:`SourceOptions`; ``axes`` does not apply.

    Raises
    ------
    SourceError
        If the folder holds no images or files that may or may not be slices, if a number is missing or twice, or if
        the first, the middle and the last slice differ. Every other slice is checked when it is read.
    """

    def __init__(self, path: SourcePath, options: SourceOptions) -> None:
        if path.is_dir():
            self._folder = path
            names, findings = slice_names(path)
            numbering = number_names(names, str(path), fill=options.fill_gaps is not None)
        else:
            self._folder = path.parent
            findings = []
            numbering = Numbering((path.name,), (0,), "", "")
        self._names = numbering.names
        self._fill_gaps = options.fill_gaps
        self._slices = _filled(numbering.slices, options.fill_gaps)
        if numbering.rule:
            findings.append(notice("PS102", path.name, numbering.rule))
        if numbering.missing:
            message = f"slice numbers {numbering.missing} are missing and were filled ({options.fill_gaps})"
            findings.append(notice("PS101", path.name, message))
        first = self._format(0).describe(self._folder / self._names[0])
        self._form = first.form
        for i in sorted({len(self._names) // 2, len(self._names) - 1} - {0}):
            other = self._format(i).describe(self._folder / self._names[i])
            self._check(i, other.form)
        columns, rows = first.block
        self.info = SourceInfo(
            name=path.name,
            shape=(self._form.channels, len(self._slices), self._form.height, self._form.width),
            dtype=self._form.dtype,
            voxel_size=first.voxel_size.size,
            voxel_size_origin=first.voxel_size.origin,
            block=Vec3(columns, rows, 1),
            findings=(*findings, *first.findings),
            lossy=first.lossy,
        )

    def read(self, box: Box, out: Array) -> None:
        """Decode ``box`` into ``out``; see :meth:`precast.sources.Source.read`."""
        check_request(self.info, box, out)
        if box.empty:
            return
        window = Window(box.start.y, box.stop.y, box.start.x, box.stop.x)
        for i, z in enumerate(range(box.start.z, box.stop.z)):
            index = int(self._slices[z])
            if index < 0:
                out[:, i] = 0
                continue
            path = self._folder / self._names[index]

            def check(form: Form, index: int = index) -> None:
                self._check(index, form)

            self._format(index).read(path, window, out[:, i], check)

    def fingerprint(self) -> Fingerprint:
        """Return what identifies the files; see :class:`Fingerprint`."""
        return fingerprint_files((self._folder / name for name in self._names), extra=f"fill={self._fill_gaps}")

    def _format(self, index: int) -> ImageFormat:
        form = format_of(self._names[index])
        assert form is not None
        return form

    def _check(self, index: int, form: Form) -> None:
        if form == self._form:
            return
        first = self._names[0]
        raise SourceError(
            f"{self._names[index]} is {form}, but {first} is {self._form}; all slices must be alike",
            hint="export the slice again like the others, or move it out of the folder",
            where=str(self._folder / self._names[index]),
        )


def _filled(slices: tuple[int, ...], fill_gaps: str | None) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Return for each slice the index of its file, or -1 for zeros."""
    index = np.array(slices, np.int32)
    if fill_gaps == "previous":
        # Names are sorted by number, so the file before a gap has the largest index so far.
        index = np.maximum.accumulate(index)
    return index
