"""TIFF files: a volume in one file (multi-page, BigTIFF, OME-TIFF, ImageJ), or one slice of a folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from precast.errors import SourceError
from precast.findings import Finding, notice
from precast.geometry import Box, Vec3
from precast.sources.base import (
    Array,
    Fingerprint,
    SourceInfo,
    SourceOptions,
    check_request,
    corrupt,
    fingerprint_files,
)
from precast.sources.forms import Form, ImageInfo, Window
from precast.sources.stored import SourcePath
from precast.sources.tiff_axes import channel_and_slice, describe_pages, slice_voxel_size, sparse_planes
from precast.sources.tiff_pages import TiffImage, TiffReader, full_pages, parse_image
from precast.sources.tiff_pixels import read_window

__all__ = ["TiffVolume", "describe_slice", "read_slice"]

# Segments of pages that are kept between reads of one object, and pages: tables of tiled images are long.
CACHED_SEGMENTS = 1 << 17
CACHED_PAGES = 256


class TiffVolume:
    """A volume whose slices are pages of one TIFF file.

    The chain of pages is followed once, on opening; a read parses only pages that were not read lately.

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

    def __init__(self, path: SourcePath, options: SourceOptions) -> None:
        self._path = path
        self._options = options
        self._images: dict[int, TiffImage] = {}
        with TiffReader(path) as reader:
            self._size = reader.size
            offsets, pages, skipped = full_pages(reader)
            image = parse_image(reader, reader.page_at(offsets[pages[0]], pages[0]))
            axes = describe_pages(reader, image, pages)
            # A run of samples behind a single directory has that directory for page 0.
            self._offsets = np.array([offsets[pages[0]]] if axes.contiguous else offsets, np.int64)
            self._form, self._contiguous = image.form, axes.contiguous
            planes = channel_and_slice(axes, options, path)
            self._planes, filled = sparse_planes(planes, options.fill_gaps, path)
            there = self._planes[self._planes >= 0]
            for page in sorted({int(there[i]) for i in (0, there.size // 2, -1)}):
                self._image(reader, page)
        findings = [*axes.findings, *axes.voxel_size.findings, *_image_findings(image, path.name), *filled]
        if skipped:
            message = f"{skipped} pages are thumbnails, pyramid levels or masks: not read"
            findings.append(notice("PS122", path.name, message))
        c, z = self._planes.shape
        self.info = SourceInfo(
            name=path.name,
            shape=(c * image.samples, z, image.height, image.width),
            dtype=image.dtype,
            voxel_size=axes.voxel_size.size,
            voxel_size_origin=axes.voxel_size.origin,
            block=Vec3(*image.block, 1),
            findings=tuple(findings),
            lossy=image.lossy,
        )

    def __getstate__(self) -> dict[str, Any]:
        # Decoders cannot be pickled.
        return self.__dict__ | {"_images": {}}

    def read(self, box: Box, out: Array) -> None:
        """Decode ``box`` into ``out``; see :meth:`precast.sources.Source.read`."""
        check_request(self.info, box, out)
        if box.empty:
            return
        samples = self._form[2]
        window = Window(box.start.y, box.stop.y, box.start.x, box.stop.x)
        with TiffReader(self._path) as reader:
            if reader.size != self._size:
                raise corrupt(
                    self._path,
                    f"the file had {self._size} bytes when it was opened and has {reader.size} now",
                    hint="wait until nothing writes to it any more",
                )
            for channel, planes in enumerate(self._planes):
                target = out[channel * samples : (channel + 1) * samples]
                for i, z in enumerate(range(box.start.z, box.stop.z)):
                    page = int(planes[z])
                    if page < 0:
                        target[:, i] = 0
                    else:
                        read_window(reader, self._image(reader, page), window, target[:, i])

    def fingerprint(self) -> Fingerprint:
        """Return what identifies the file; see :class:`Fingerprint`."""
        return fingerprint_files([self._path], extra=f"axes={self._options.axes} fill={self._options.fill_gaps}")

    def _image(self, reader: TiffReader, page: int) -> TiffImage:
        if self._contiguous and page:
            first = self._image(reader, 0)
            return first._replace(offsets=(first.offsets[0] + page * first.nbytes,))
        image = self._images.get(page)
        if image is not None:
            return image
        image = parse_image(reader, reader.page_at(int(self._offsets[page]), page))
        if image.form != self._form:
            width, height, samples, dtype = image.form
            shape = self._form
            raise SourceError(
                f"{self._path.name}: page {page} is {width} x {height} pixels, {samples} samples of {dtype}, "
                f"but the first is {shape[0]} x {shape[1]}, {shape[2]} samples of {shape[3]}; "
                "all pages of a volume must be alike",
                hint="split the file into one file per volume",
                where=str(self._path),
            )
        if len(self._images) >= max(1, min(CACHED_PAGES, CACHED_SEGMENTS // len(image.offsets))):
            # Replaced, not emptied: another thread may be looking into the old one.
            self._images = {}
        self._images[page] = image
        return image


def describe_slice(path: SourcePath) -> ImageInfo:
    """Return what a file that is one slice of a folder says about itself.

    Raises
    ------
    SourceError
        If the file is damaged, or holds more than one slice.
    """
    with TiffReader(path) as reader:
        image = _single_image(reader)
        found = slice_voxel_size(reader)
    findings = (*found.findings, *_image_findings(image, path.name))
    return ImageInfo(Form(*image.form), image.block, image.lossy, found, findings)


def read_slice(path: SourcePath, window: Window, out: Array, check: Callable[[Form], None]) -> None:
    """Decode a window of such a file into ``out``, ``(c, rows, columns)``, after ``check`` of its form.

    Raises
    ------
    SourceError
        If the file is damaged, or holds more than one slice.
    """
    with TiffReader(path) as reader:
        image = _single_image(reader)
        check(Form(*image.form))
        read_window(reader, image, window, out)


def _single_image(reader: TiffReader) -> TiffImage:
    offsets, pages, _ = full_pages(reader)
    count = len(pages)
    image = parse_image(reader, reader.page_at(offsets[pages[0]], pages[0]))
    if count == 1 and image.contiguous and reader.size >= image.offsets[0] + 2 * image.nbytes and reader.tiff.is_imagej:
        images = (reader.tiff.imagej_metadata or {}).get("images")
        count = images if isinstance(images, int) else 1
    if count > 1:
        raise SourceError(
            f"{reader.path.name} holds {count} pages, but in a folder every file must be one slice",
            hint="if the file is the volume, give it instead of the folder; else split it into one file per slice",
            where=str(reader.path),
        )
    return image


def _image_findings(image: TiffImage, where: str) -> list[Finding]:
    """Return what a person should know about how the samples are taken."""
    findings = []
    if image.photometric == 3:
        message = "the image has a palette: the stored numbers are read, the colours are dropped"
        findings.append(notice("PS110", where, message))
    if image.photometric == 0:
        message = "the image is stored as white is zero: the stored numbers are read, not their negative"
        findings.append(notice("PS111", where, message))
    if image.orientation != 1:
        message = f"the orientation tag is {image.orientation}: rows and columns are read as stored, not turned"
        findings.append(notice("PS112", where, message, "turn the images first if they look turned"))
    if any(offset == 0 and count == 0 for offset, count in zip(image.offsets, image.counts, strict=True)):
        message = "the file is sparse: strips or tiles that were never written are read as its no-data value or 0"
        findings.append(notice("PS113", where, message, "check that the file was written completely"))
    return findings
