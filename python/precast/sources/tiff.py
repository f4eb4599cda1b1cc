"""Volumes in one TIFF file: multi-page TIFF, BigTIFF, OME-TIFF, ImageJ stacks, or a single image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from precast.errors import SourceError
from precast.findings import Finding
from precast.geometry import Box, Vec3
from precast.sources.base import (
    Array,
    Fingerprint,
    SourceInfo,
    SourceOptions,
    check_request,
    corrupt,
    fingerprint_files,
    info_finding,
    warning_finding,
)
from precast.sources.tiff_axes import channel_and_slice, describe_pages, sparse_planes
from precast.sources.tiff_directory import Directory, TiffBytes
from precast.sources.tiff_layout import ORIENTATION, Layout, parse_layout, subfile_kind
from precast.sources.tiff_pixels import Window, read_window
from precast.sources.voxel_sizes import TiffResolution

__all__ = ["TiffVolume", "image_findings", "resolution_of"]

DESCRIPTION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 270, 282, 283, 296
# Parsed directories kept between reads of one object; tiled pages of huge images have long tables.
CACHED_LAYOUTS = 64


class TiffVolume:
    """A volume whose slices are pages of one TIFF file.

    Parameters
    ----------
    path
        The file.
    options
        See :class:`SourceOptions`.

    Raises
    ------
    SourceError
        If the file is damaged, or its pages are not one volume.
    """

    def __init__(self, path: Path, options: SourceOptions) -> None:
        self._path = path
        self._options = options
        self._layouts: dict[int, Layout] = {}
        with TiffBytes(path) as file:
            self._size = file.size
            offsets, pages, skipped = _full_pages(file)
            first = file.directory(offsets[pages[0]])
            layout = parse_layout(file, first)
            axes = describe_pages(path, file.text(first, DESCRIPTION), layout, pages, resolution_of(file, first))
            findings = [*axes.findings, *axes.voxel_size.findings, *image_findings(file, first, layout, path.name)]
        planes = channel_and_slice(axes, options, path)
        planes, filled = sparse_planes(planes, options.fill_gaps, path)
        if skipped:
            findings.append(
                info_finding("PS122", path.name, f"{skipped} pages are thumbnails, pyramid levels or masks: not read")
            )
        # A run of samples behind a single directory has that directory for page 0.
        self._offsets = np.array([offsets[pages[0]]] if axes.contiguous else offsets, np.int64)
        self._planes = planes
        self._contiguous = axes.contiguous
        c, z = planes.shape
        columns, rows = layout.block
        self.info = SourceInfo(
            name=path.name,
            shape=(c * layout.samples, z, layout.height, layout.width),
            dtype=layout.dtype,
            voxel_size=axes.voxel_size.size,
            voxel_size_origin=axes.voxel_size.origin,
            block=Vec3(columns, rows, 1),
            findings=(*findings, *filled),
            lossy=layout.lossy,
        )
        self._form = layout.form
        with TiffBytes(path) as file:
            for page in sorted({int(planes.flat[i]) for i in (0, planes.size // 2, -1) if planes.flat[i] >= 0}):
                self._layout(file, page)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_layouts": {}}

    def read(self, box: Box, out: Array) -> None:
        """Decode ``box`` into ``out``; see :meth:`precast.sources.Source.read`."""
        check_request(self.info, box, out)
        if box.empty:
            return
        samples = self._form[2]
        window = Window(box.start.y, box.stop.y, box.start.x, box.stop.x)
        with TiffBytes(self._path) as file:
            if file.size != self._size:
                raise corrupt(
                    self._path,
                    f"the file had {self._size} bytes when it was opened and has {file.size} now",
                    hint="wait until nothing writes to it any more",
                )
            for channel, planes in enumerate(self._planes):
                target = out[channel * samples : (channel + 1) * samples]
                for i, z in enumerate(range(box.start.z, box.stop.z)):
                    page = int(planes[z])
                    if page < 0:
                        target[:, i] = 0
                    else:
                        read_window(file, self._layout(file, page), window, target[:, i])

    def fingerprint(self) -> Fingerprint:
        """Return what identifies the file; see :class:`Fingerprint`."""
        return fingerprint_files([self._path], extra=f"axes={self._options.axes} fill={self._options.fill_gaps}")

    def _layout(self, file: TiffBytes, page: int) -> Layout:
        layout = self._layouts.get(page)
        if layout is not None:
            return layout
        if self._contiguous and page:
            first = self._layout(file, 0)
            size = first.contiguous_bytes
            assert size is not None
            layout = first._replace(offsets=(first.offsets[0] + page * size,))
        else:
            layout = parse_layout(file, file.directory(int(self._offsets[page])))
        if layout.form != self._form:
            width, height, samples, dtype = layout.form
            shape = self._form
            raise SourceError(
                f"{self._path.name}: page {page} is {width} x {height} pixels, {samples} samples of {dtype}, "
                f"but the first is {shape[0]} x {shape[1]}, {shape[2]} samples of {shape[3]}; "
                "all pages of a volume must be alike",
                hint="split the file into one file per volume",
                where=str(self._path),
            )
        if len(self._layouts) >= CACHED_LAYOUTS:
            # Replaced, not emptied: another thread may be looking into the old one.
            self._layouts = {}
        self._layouts[page] = layout
        return layout


def _full_pages(file: TiffBytes) -> tuple[list[int], list[int], int]:
    """Return all directory offsets, the indices of images of full size, and how many others there are."""
    offsets, pages = [], []
    for index, directory in enumerate(file.directories()):
        offsets.append(directory.offset)
        if not subfile_kind(file, directory):
            pages.append(index)
    if not pages:
        pages = [0]
    return offsets, pages, len(offsets) - len(pages)


def resolution_of(file: TiffBytes, directory: Directory) -> TiffResolution:
    """Read the resolution tags of a page."""
    return TiffResolution(
        file.rational(directory, X_RESOLUTION),
        file.rational(directory, Y_RESOLUTION),
        file.integer(directory, RESOLUTION_UNIT, 2),
    )


def image_findings(file: TiffBytes, directory: Directory, layout: Layout, where: str) -> list[Finding]:
    """Return what a person should know about how the samples are taken."""
    findings = []
    if layout.photometric == 3:
        message = "the image has a palette: the stored numbers are read, the colours are dropped"
        findings.append(info_finding("PS110", where, message))
    if layout.photometric == 0:
        message = "the image is stored as white is zero: the stored numbers are read, not their negative"
        findings.append(info_finding("PS111", where, message))
    orientation = file.integer(directory, ORIENTATION, 1)
    if orientation != 1:
        message = f"the orientation tag is {orientation}: rows and columns are read as stored, not turned"
        findings.append(warning_finding("PS112", where, message, "turn the images first if they look turned"))
    if any(offset == 0 and count == 0 for offset, count in zip(layout.offsets, layout.counts, strict=True)):
        message = "the file is sparse: strips or tiles that were never written are read as its no-data value or 0"
        findings.append(warning_finding("PS113", where, message, "check that the file was written completely"))
    return findings
