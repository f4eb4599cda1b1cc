"""What the pages of a TIFF file mean: OME-XML, ImageJ's and tifffile's descriptions, or nothing but a list of pages."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from precast.errors import SourceError
from precast.findings import Finding, notice
from precast.sources.base import SourceOptions, corrupt
from precast.sources.stored import SourcePath
from precast.sources.tiff_pages import TiffImage, TiffReader
from precast.sources.voxel_sizes import Found, TiffResolution, from_imagej, from_ome

__all__ = ["PageAxes", "channel_and_slice", "describe_pages", "slice_voxel_size", "sparse_planes"]

Pages = npt.NDArray[np.int64]


class PageAxes(NamedTuple):
    """The meaning of the pages.

    Attributes
    ----------
    letters
        One letter per dimension of ``pages``, slowest first: of t, c, z, or ``?`` for one without a name.
    pages
        The page for each position, -1 where there is none.
    contiguous
        Whether only the first page has a directory and the others follow its samples without a gap.
    voxel_size
        As the description gives it.
    findings
        What was noticed.
    """

    letters: str
    pages: Pages
    contiguous: bool = False
    voxel_size: Found = Found()
    findings: tuple[Finding, ...] = ()


def describe_pages(reader: TiffReader, image: TiffImage, pages: list[int]) -> PageAxes:
    """Find out what the pages mean.

    tifffile's own ``series`` is not used: it fills what is missing with zeros and ignores contradictions.

    Parameters
    ----------
    reader
        The file.
    image
        The first page of full size.
    pages
        Indices, in the file's chain, of the pages of full size.

    Raises
    ------
    SourceError
        If the description contradicts the pages, or needs other files.
    """
    tiff, first = reader.tiff, reader.tiff.pages.first
    if tiff.is_ome:
        return _ome(reader, image, max(pages) + 1)
    if tiff.is_imagej:
        return _imagej(reader, image, pages)
    if first.description.startswith("{"):
        shaped = _shaped(reader, image, pages)
        if shaped is not None:
            return shaped
    return PageAxes("z", np.array(pages, np.int64))


def slice_voxel_size(reader: TiffReader) -> Found:
    """Return the voxel size that a file states which is one slice of many.

    Raises
    ------
    SourceError
        If its OME-XML cannot be parsed.
    """
    if reader.tiff.is_ome:
        pixels = _ome_root(reader).find("{*}Image/{*}Pixels")
        return Found() if pixels is None else from_ome(pixels.attrib, _resolution(reader), reader.path.name)
    if reader.tiff.is_imagej:
        return from_imagej(reader.tiff.imagej_metadata or {}, _resolution(reader), reader.path.name)
    return Found()


def _resolution(reader: TiffReader) -> TiffResolution:
    x, y, unit = (reader.tiff.pages.first.tags.valueof(tag) for tag in (282, 283, 296))
    # What is no fraction or no number is as good as absent; 2 (inch) is the specification's default, 1 is no unit.
    unit = 2 if unit is None else unit if isinstance(unit, int) else 1
    return TiffResolution(_fraction(x), _fraction(y), int(unit))


def _fraction(value: object) -> tuple[int, int] | None:
    match value:
        case (int(numerator), int(denominator)):
            return numerator, denominator
    return None


def channel_and_slice(axes: PageAxes, options: SourceOptions, path: SourcePath) -> Pages:
    """Arrange the pages as ``(c, z)``, as the file says or as ``options.axes`` says.

    Raises
    ------
    SourceError
        If there is more than one time, dimensions have no name, or ``options.axes`` does not fit.
    """
    pages = axes.pages
    long = [i for i, size in enumerate(pages.shape) if size > 1]
    letters = [axes.letters[i] for i in long]
    sizes = ", ".join(f"{axes.letters[i]} = {pages.shape[i]}" for i in long)
    pages = pages.reshape([pages.shape[i] for i in long])
    if options.axes is not None:
        if not options.axes.endswith("yx"):
            raise SourceError(
                f"{path.name}: axes = {options.axes!r} cannot be used: pages are y, x, so it must end with yx",
                hint="for example axes='zyx' or axes='zcyx'",
                where=str(path),
            )
        given = list(options.axes[:-2])
        if len(given) != len(letters):
            raise SourceError(
                f"{path.name}: axes = {options.axes!r} names {len(given)} dimensions over the pages, but the file has "
                f"{len(letters)} ({sizes or 'a single page'})",
                hint="name them slowest first, without those of length 1, then yx",
                where=str(path),
            )
        letters = given
    elif "?" in letters or len(set(letters)) < len(letters):
        raise SourceError(
            f"{path.name}: the pages have {len(long)} dimensions ({sizes}), and the file does not name them",
            hint="name them, slowest first, for example axes='czyx'",
            where=str(path),
        )
    if "t" in letters:
        raise SourceError(
            f"{path.name} holds {pages.shape[letters.index('t')]} times ({sizes}); a volume has one",
            hint="export one time per file; if these are slices, say so with axes='zyx'",
            where=str(path),
        )
    order = [letters.index(letter) for letter in "cz" if letter in letters]
    pages = pages.transpose(order)
    return pages.reshape([pages.shape[order.index(letters.index(a))] if a in letters else 1 for a in "cz"])


def _ome_root(reader: TiffReader) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(reader.tiff.pages.first.description.lstrip("\ufeff \r\n").encode())
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise corrupt(reader.path, f"its OME-XML cannot be parsed ({error})") from None


def _ome(reader: TiffReader, image: TiffImage, chain: int) -> PageAxes:
    path = reader.path
    images = _ome_root(reader).findall("{*}Image")
    pixels = images[0].find("{*}Pixels") if images else None
    if pixels is None:
        raise corrupt(
            path, "its OME-XML describes no image: it is one of several files that belong together", hint=_ONE_FILE
        )
    if len({e.get("FileName", "") for e in pixels.iterfind("{*}TiffData/{*}UUID")}) > 1:
        raise corrupt(path, "its OME-XML spreads the image over several files", hint=_ONE_FILE)
    try:
        sizes = {axis.lower(): int(pixels.get(f"Size{axis}", "1")) for axis in "XYZCT"}
    except ValueError as error:
        raise corrupt(path, f"its OME-XML has a size that is no number ({error})") from None
    if (sizes["x"], sizes["y"]) != (image.width, image.height) or min(sizes.values()) < 1:
        raise corrupt(
            path,
            f"its OME-XML says {sizes['x']} x {sizes['y']} pixels, z {sizes['z']}, c {sizes['c']}, t {sizes['t']}, "
            f"but the first page has {image.width} x {image.height} pixels",
        )
    if sizes["c"] % image.samples:
        raise corrupt(path, f"its OME-XML says {sizes['c']} channels, but each page has {image.samples} samples")
    sizes["c"] //= image.samples
    order = pixels.get("DimensionOrder", "XYZCT").lower()
    if sorted(order) != sorted("xyzct") or not order.startswith("xy"):
        raise corrupt(path, f"its OME-XML has the DimensionOrder {order.upper()!r}, which is none of the six allowed")
    letters = order[:1:-1]
    pages = _ome_planes(path, pixels, (letters, sizes), chain)
    findings: tuple[Finding, ...] = ()
    if len(images) > 1:
        findings = (notice("PS121", path.name, f"the file holds {len(images)} images; the first one is read"),)
    found = from_ome(pixels.attrib, _resolution(reader), path.name)
    return PageAxes(letters, pages, False, found, findings)


_ONE_FILE = "export it as one OME-TIFF file, or put the slices into a folder and give that"


def _ome_planes(
    path: SourcePath, pixels: ElementTree.Element, axes: tuple[str, Mapping[str, int]], chain: int
) -> Pages:
    """Place pages by the ``TiffData`` elements, which default to all pages in order (OME-TIFF specification)."""
    letters, sizes = axes
    shape = [sizes[letter] for letter in letters]
    total = math.prod(shape)
    if total > 100_000_000:
        raise corrupt(path, f"its OME-XML says {total} planes, but the file has {chain} pages")
    planes = np.full(total, -1, np.int64)
    blocks = pixels.findall("{*}TiffData")
    try:
        for block in blocks or [ElementTree.Element("TiffData")]:
            page = int(block.get("IFD", "0"))
            first = [int(block.get(f"First{letter.upper()}", "0")) for letter in letters]
            if any(not 0 <= a < b for a, b in zip(first, shape, strict=True)):
                raise ValueError(f"FirstZ, FirstC, FirstT = {first} in a stack of {shape}")
            start = int(np.ravel_multi_index(first, shape))
            count = int(block.get("PlaneCount", "1" if "IFD" in block.attrib else str(chain)))
            count = min(count, total - start) if "PlaneCount" not in block.attrib else count
            if count < 0 or start + count > total:
                raise ValueError(f"{count} planes from {start} in a stack of {total}")
            planes[start : start + count] = np.arange(page, page + count)
    except ValueError as error:
        raise corrupt(path, f"the TiffData of its OME-XML is damaged ({error})") from None
    planes[planes >= chain] = -1
    if not (planes >= 0).any():
        raise corrupt(path, "none of the planes of its OME-XML is in this file", hint=_ONE_FILE)
    return planes.reshape(shape)


def _imagej(reader: TiffReader, image: TiffImage, pages: list[int]) -> PageAxes:
    path, metadata = reader.path, reader.tiff.imagej_metadata or {}
    try:
        images, channels, slices, frames = (int(metadata.get(k, 1)) for k in ("images", "channels", "slices", "frames"))
    except ValueError as error:
        raise corrupt(path, f"ImageJ's description has a size that is no number ({error})") from None
    # For RGB, ImageJ counts neither samples nor channels.
    if channels * slices * frames != images and image.samples > 1:
        channels = 1
    if channels * slices * frames != images:
        if channels * slices * frames != 1 or images < 1:
            raise corrupt(
                path,
                f"ImageJ's description says {images} images, but {channels} channels, {slices} slices, {frames} frames",
            )
        slices = images
    found = from_imagej(metadata, _resolution(reader), path.name)
    planes, contiguous = _planes_or_run(reader, image, pages, images, "ImageJ's description")
    return PageAxes("tzc", planes.reshape(frames, slices, channels), contiguous, found)


def _planes_or_run(
    reader: TiffReader, image: TiffImage, pages: list[int], count: int, origin: str
) -> tuple[Pages, bool]:
    """Return ``count`` pages: those with directories, or a run of samples behind a single directory."""
    if len(pages) == count:
        return np.array(pages, np.int64), False
    if len(pages) == 1 and count > 1 and image.contiguous:
        need = image.offsets[0] + count * image.nbytes
        if reader.size < need:
            raise corrupt(
                reader.path,
                f"{origin} says {count} images, which need {need} bytes, but the file has {reader.size}: "
                "it is truncated, or the description was copied from another file",
            )
        return np.arange(count, dtype=np.int64), True
    raise corrupt(reader.path, f"{origin} says {count} images, but the file has {len(pages)}")


def _shaped(reader: TiffReader, image: TiffImage, pages: list[int]) -> PageAxes | None:
    """Read the description that tifffile writes: the shape of the array, possibly its axes."""
    try:
        metadata = json.loads(reader.tiff.pages.first.description)
        shape = tuple(int(size) for size in metadata["shape"])
    except (ValueError, TypeError, KeyError):
        return None
    plane: tuple[int, ...] = (image.height, image.width)
    if image.samples > 1:
        plane = (image.samples, *plane) if image.separate else (*plane, image.samples)
    elif shape[-2:] != plane and shape[-3:] == (*plane, 1):
        plane = (*plane, 1)
    outer = shape[: len(shape) - len(plane)]
    if shape[len(outer) :] != plane:
        return None
    count = math.prod(outer)
    if count == 1 and len(pages) > 1:
        # Written page by page: every page has a description of its own.
        return None
    planes, contiguous = _planes_or_run(reader, image, pages, count, "tifffile's description")
    names = str(metadata.get("axes", "")).lower()
    names = names[: len(outer)] if re.fullmatch(r"[a-z]+", names) and len(names) == len(shape) else "?" * len(outer)
    letters = "".join(letter if letter in "tcz" else "?" for letter in names)
    long = [i for i, size in enumerate(outer) if size > 1]
    if len(long) == 1 and letters[long[0]] == "?":
        letters = letters[: long[0]] + "z" + letters[long[0] + 1 :]
    return PageAxes(letters, planes.reshape(outer), contiguous)


def sparse_planes(pages: Pages, fill_gaps: str | None, path: SourcePath) -> tuple[Pages, tuple[Finding, ...]]:
    """Deal with planes ``(c, z)`` that an OME-TIFF declares but does not hold.

    Raises
    ------
    SourceError
        If there are any and ``fill_gaps`` is None, or nothing comes before the first of them.
    """
    missing = np.argwhere(pages < 0)
    if not len(missing):
        return pages, ()
    shown = ", ".join(f"c {c} z {z}" for c, z in missing[:8].tolist()) + (", ..." if len(missing) > 8 else "")
    if fill_gaps is None:
        raise SourceError(
            f"{path.name}: {len(missing)} of {pages.size} planes of its OME-XML are not in the file: {shown}",
            hint="export it again, or fill the gaps with --fill-gaps zero or --fill-gaps previous",
            where=str(path),
        )
    pages = pages.copy()
    if fill_gaps == "previous":
        for c, z in missing.tolist():
            if z == 0:
                raise SourceError(
                    f"{path.name}: the first plane of channel {c} is missing, so there is no previous one to fill it",
                    hint="use --fill-gaps zero",
                    where=str(path),
                )
            pages[c, z] = pages[c, z - 1]
    message = f"{len(missing)} planes are missing ({shown}) and were filled ({fill_gaps})"
    return pages, (notice("PS101", path.name, message),)
