"""Single images: PNG and JPEG files decoded with imagecodecs, and the first page of TIFF files, behind one face.

Layouts read here before anything is decoded:

- PNG: 8 bytes of signature, then chunks (length, type, data, CRC-32), the first of them IHDR (width, height: uint32
  big-endian; bit depth, colour type, compression, filter, interlace: bytes).
- JPEG: markers FF xx with a length each; SOF (C0 to CF without C4, C8, CC) holds precision, height, width, components;
  SOS (DA) starts the entropy-coded data, in which FF D9 can only be the end of the image.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np

from precast.errors import SourceError
from precast.findings import Finding
from precast.sources.base import Array, corrupt, info_finding, open_binary, os_error
from precast.sources.tiff import DESCRIPTION, image_findings, resolution_of
from precast.sources.tiff_axes import imagej_metadata, is_ome, ome_voxel_size
from precast.sources.tiff_directory import Directory, TiffBytes
from precast.sources.tiff_layout import NO_COMPRESSION, Layout, parse_layout, subfile_kind
from precast.sources.tiff_pixels import Window, read_window
from precast.sources.voxel_sizes import Found, from_imagej

__all__ = ["FORMATS", "Form", "ImageFormat", "ImageInfo", "format_of"]


class Form(NamedTuple):
    """What all slices of a volume must share."""

    width: int
    height: int
    channels: int
    dtype: np.dtype[np.generic]

    def __str__(self) -> str:
        channels = f"{self.channels} channel{'s' if self.channels > 1 else ''}"
        return f"{self.width} x {self.height} pixels, {channels} of {self.dtype}"


class ImageInfo(NamedTuple):
    """What one file says about itself.

    Attributes
    ----------
    form
        Size, channels and dtype.
    block
        Width and rows of the smallest piece that is decoded on its own.
    lossy
        Whether it went through JPEG.
    voxel_size
        As in the file.
    findings
        What a person should know.
    """

    form: Form
    block: tuple[int, int]
    lossy: bool
    voxel_size: Found = Found()
    findings: tuple[Finding, ...] = ()


class ImageFormat(NamedTuple):
    """How to read single images of one format.

    Attributes
    ----------
    name
        For people.
    suffixes
        Lower-case file name extensions.
    describe
        Reads the header of a file.
    read
        Decodes a window of a file into an array ``(c, rows, columns)``; called as
        ``read(path, window, out, check)``, and calls ``check(form)`` before it decodes.
    """

    name: str
    suffixes: tuple[str, ...]
    describe: Callable[[Path], ImageInfo]
    read: Callable[[Path, Window, Array, Callable[[Form], None]], None]


def format_of(name: str) -> ImageFormat | None:
    """Return the format that goes with a file name, None if it is no image's."""
    return FORMATS.get(name.rpartition(".")[2].lower()) if "." in name else None


# --- TIFF ---------------------------------------------------------------------------------------------------------


def _single_page(file: TiffBytes) -> tuple[Directory, Layout]:
    directory = file.directory(file.first)
    if directory.next and sum(not subfile_kind(file, other) for other in file.directories()) > 1:
        pages = sum(not subfile_kind(file, other) for other in file.directories())
        raise _many_pages(file.path, pages)
    layout = parse_layout(file, directory)
    size = layout.contiguous_bytes
    if size is not None and layout.compression == NO_COMPRESSION and file.size >= layout.offsets[0] + 2 * size:
        images = imagej_metadata(file.text(directory, DESCRIPTION)).get("images", "1")
        if images.isdigit() and int(images) > 1:
            raise _many_pages(file.path, int(images))
    return directory, layout


def _many_pages(path: Path, pages: int) -> SourceError:
    return SourceError(
        f"{path.name} holds {pages} pages, but in a folder every file must be one slice",
        hint="give the file itself instead of the folder if it is the volume; else split it into one file per slice",
        where=str(path),
    )


def _describe_tiff(path: Path) -> ImageInfo:
    with TiffBytes(path) as file:
        directory, layout = _single_page(file)
        description = file.text(directory, DESCRIPTION)
        resolution = resolution_of(file, directory)
        found = Found()
        if description.startswith("ImageJ="):
            found = from_imagej(imagej_metadata(description), resolution, path.name)
        elif is_ome(description):
            found = ome_voxel_size(path, description, resolution)
        findings = (*found.findings, *image_findings(file, directory, layout, path.name))
    return ImageInfo(Form(*layout.form), layout.block, layout.lossy, found, findings)


def _read_tiff(path: Path, window: Window, out: Array, check: Callable[[Form], None]) -> None:
    with TiffBytes(path) as file:
        _, layout = _single_page(file)
        check(Form(*layout.form))
        read_window(file, layout, window, out)


# --- PNG ----------------------------------------------------------------------------------------------------------

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


class _Png(NamedTuple):
    form: Form
    bits: int
    colour: int
    transparent: bool


def _whole_file(path: Path) -> bytes:
    with open_binary(path) as file:
        try:
            data = file.readall()
        except OSError as error:
            raise os_error(error, path) from None
    if not data:
        raise corrupt(path, "the file is empty (0 bytes)")
    return data


def _png_header(path: Path, data: bytes) -> _Png:
    if not data.startswith(PNG_SIGNATURE):
        raise corrupt(path, f"this is not a PNG file: it starts with {data[:8]!r}", hint=_CHECK_NAME)
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise corrupt(path, f"the PNG header is damaged: the file has {len(data)} bytes")
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    if colour not in PNG_CHANNELS or bits not in (1, 2, 4, 8, 16) or not width or not height:
        raise corrupt(path, f"the PNG header is damaged: {width} x {height} pixels, {bits} bits, colour type {colour}")
    dtype: np.dtype[np.generic] = np.dtype(np.uint16 if bits == 16 else np.uint8)
    if bits == 1 and colour == 0:
        dtype = np.dtype(bool)
    transparent, at = False, 8
    while at + 8 <= len(data) and data[at + 4 : at + 8] not in (b"IDAT", b"IEND"):
        transparent = transparent or data[at + 4 : at + 8] == b"tRNS"
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return _Png(Form(width, height, PNG_CHANNELS[colour], dtype), bits, colour, transparent)


def _plain_png(data: bytes) -> bytes:
    """Rewrite a palette image as grey and drop transparency, so that libpng hands out the stored numbers."""
    out, at = [PNG_SIGNATURE], 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if kind == b"IHDR" and data[25] == 3:
            body = b"IHDR" + data[16:25] + b"\0" + data[26:29]
            out.append(data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body)))
        elif kind not in (b"PLTE", b"tRNS", b"bKGD", b"hIST", b"sBIT") or (kind == b"PLTE" and data[25] != 3):
            out.append(data[at:end])
        at = end
    return b"".join(out)


def _describe_png(path: Path) -> ImageInfo:
    png = _png_header(path, _whole_file(path))
    findings: list[Finding] = []
    if png.colour == 3:
        message = "the image has a palette: the stored numbers are read, the colours are dropped"
        findings.append(info_finding("PS110", path.name, message))
    elif png.transparent:
        findings.append(info_finding("PS114", path.name, "the colour marked as transparent is read like the others"))
    return ImageInfo(png.form, (png.form.width, png.form.height), False, Found(), tuple(findings))


def _read_png(path: Path, window: Window, out: Array, check: Callable[[Form], None]) -> None:
    data = _whole_file(path)
    png = _png_header(path, data)
    check(png.form)
    if png.colour == 3 or png.transparent:
        data = _plain_png(data)
    if png.bits < 8:
        image = _decode(path, imagecodecs.png_decode, data)
        # libpng stretches grey levels over 0 to 255.
        image = image // np.uint8(255 // (2**png.bits - 1))
        _copy_window(path, image.astype(png.form.dtype, copy=False), png.form, window, out)
        return
    _decode_window(path, imagecodecs.png_decode, data, png.form, window, out)


# --- JPEG ---------------------------------------------------------------------------------------------------------

JPEG_NO_LENGTH = {0x01, *range(0xD0, 0xD9)}
JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_CHECK_NAME = "check that the file is what its name says"


def _jpeg_header(path: Path, data: bytes) -> Form:
    if not data.startswith(b"\xff\xd8\xff"):
        raise corrupt(path, f"this is not a JPEG file: it starts with {data[:4]!r}", hint=_CHECK_NAME)
    at, form = 2, None
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise corrupt(path, f"the JPEG file is damaged: no marker at byte {at}")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in JPEG_NO_LENGTH:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in JPEG_FRAMES and at + 10 <= len(data):
            bits, height, width, channels = struct.unpack_from(">BHHB", data, at + 4)
            if bits != 8 or channels not in (1, 3):
                raise corrupt(
                    path,
                    f"JPEG with {channels} channels of {bits} bits cannot be converted; 1 or 3 channels of 8 bits can",
                    hint="export it as grey or RGB with 8 bits",
                )
            form = Form(width, height, channels, np.dtype(np.uint8))
        if marker == 0xDA:
            break
        at += 2 + length
    # libjpeg fills what is missing at the end with grey and says nothing.
    if form is None or data.find(b"\xff\xd9", at) < 0:
        raise corrupt(path, f"the JPEG file is truncated: it has no end marker in {len(data)} bytes")
    if not form.width or not form.height:
        raise corrupt(path, f"the JPEG file is damaged: {form.width} x {form.height} pixels")
    return form


def _describe_jpeg(path: Path) -> ImageInfo:
    form = _jpeg_header(path, _whole_file(path))
    return ImageInfo(form, (form.width, form.height), True)


def _read_jpeg(path: Path, window: Window, out: Array, check: Callable[[Form], None]) -> None:
    data = _whole_file(path)
    form = _jpeg_header(path, data)
    check(form)
    _decode_window(path, imagecodecs.jpeg8_decode, data, form, window, out)


# --- shared -------------------------------------------------------------------------------------------------------


def _decode_window(path: Path, decode: Callable[..., Any], data: bytes, form: Form, window: Window, out: Array) -> None:
    """Decode a whole image, straight into ``out`` if it is all wanted and lies there in one piece."""
    if out.shape == (1, form.height, form.width) and form.channels == 1 and out.flags.c_contiguous:
        _decode(path, lambda encoded: decode(encoded, out=out[0]), data)
        return
    _copy_window(path, _decode(path, decode, data), form, window, out)


def _decode(path: Path, decode: Callable[[bytes], Any], data: bytes) -> Array:
    try:
        image: Array = decode(data)
    except Exception as error:
        raise corrupt(path, f"the image cannot be decoded: it is truncated or damaged ({error})") from None
    return image


def _copy_window(path: Path, image: Array, form: Form, window: Window, out: Array) -> None:
    if image.shape not in ((form.height, form.width), (form.height, form.width, form.channels)):
        raise corrupt(path, f"the image decodes to the shape {image.shape}, but its header says {form}")
    y0, y1, x0, x1 = window
    out[...] = image.reshape(form.height, form.width, form.channels)[y0:y1, x0:x1].transpose(2, 0, 1)


_TIFF = ImageFormat("TIFF", ("tif", "tiff"), _describe_tiff, _read_tiff)
_PNG = ImageFormat("PNG", ("png",), _describe_png, _read_png)
_JPEG = ImageFormat("JPEG", ("jpg", "jpeg"), _describe_jpeg, _read_jpeg)
FORMATS = {suffix: form for form in (_TIFF, _PNG, _JPEG) for suffix in form.suffixes}
