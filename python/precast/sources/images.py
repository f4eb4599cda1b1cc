"""Single images behind one face: TIFF slices, and PNG and JPEG files decoded with imagecodecs.

What libpng and libjpeg do not tell is read here. PNG: 8 bytes of signature, then chunks (length, type, data, CRC-32),
the first of them IHDR (width, height: uint32 big-endian; bit depth, colour type: bytes). JPEG: FF DA starts
entropy-coded data, in which FF D9 can only be the end of the image.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import imagecodecs
import numpy as np

from precast.findings import Finding, notice
from precast.sources.base import Array, corrupt, open_binary, os_error
from precast.sources.forms import Form, ImageInfo, Window
from precast.sources.stored import SourcePath
from precast.sources.tiff import describe_slice, read_slice

__all__ = ["FORMATS", "ImageFormat", "format_of"]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHECK_NAME = "check that the file is what its name says"


class ImageFormat(NamedTuple):
    """How to read single images of one format.

    Attributes
    ----------
    name
        For people.
    suffixes
        Lower-case file name extensions.
    describe
        Returns what a file says about itself.
    read
        Decodes a window of a file into an array ``(c, rows, columns)``; called as
        ``read(path, window, out, check)``, and calls ``check(form)`` before it writes.
    """

    name: str
    suffixes: tuple[str, ...]
    describe: Callable[[SourcePath], ImageInfo]
    read: Callable[[SourcePath, Window, Array, Callable[[Form], None]], None]


def format_of(name: str) -> ImageFormat | None:
    """Return the format that goes with a file name, None if it is no image's."""
    return FORMATS.get(name.rpartition(".")[2].lower()) if "." in name else None


def _png(path: SourcePath) -> tuple[Array, tuple[Finding, ...]]:
    """Return the stored numbers ``(y, x)`` or ``(y, x, c)``, without palette and transparency."""
    data = _whole_file(path)
    if not data.startswith(PNG_SIGNATURE):
        raise corrupt(path, f"this is not a PNG file: it starts with {data[:8]!r}", hint=CHECK_NAME)
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise corrupt(path, f"the PNG header is damaged: the file has {len(data)} bytes")
    bits, colour = data[24], data[25]
    findings: tuple[Finding, ...] = ()
    if colour == 3:
        message = "the image has a palette: the stored numbers are read, the colours are dropped"
        findings = (notice("PS110", path.name, message),)
    elif b"tRNS" in data[: data.find(b"IDAT")]:
        findings = (notice("PS114", path.name, "the colour marked as transparent is read like the others"),)
    image = _decode(path, imagecodecs.png_decode, _plain_png(data) if findings else data)
    if bits < 8 and image.dtype == np.uint8:
        # libpng stretches grey levels over 0 to 255.
        image = image // np.uint8(255 // (2**bits - 1))
    return image.astype(bool) if (bits, colour) == (1, 0) else image, findings


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


def _jpeg(path: SourcePath) -> tuple[Array, tuple[Finding, ...]]:
    """Return grey ``(y, x)`` or RGB ``(y, x, 3)``."""
    data = _whole_file(path)
    if not data.startswith(b"\xff\xd8\xff"):
        raise corrupt(path, f"this is not a JPEG file: it starts with {data[:4]!r}", hint=CHECK_NAME)
    # libjpeg fills what is missing at the end with grey and says nothing.
    if data.find(b"\xff\xd9", data.rfind(b"\xff\xda")) < 0:
        raise corrupt(path, f"the JPEG file is truncated: it has no end marker in {len(data)} bytes")
    image = _decode(path, imagecodecs.jpeg8_decode, data)
    if image.ndim == 3 and image.shape[2] != 3:
        raise corrupt(
            path,
            f"JPEG with {image.shape[2]} channels cannot be converted; 1 or 3 channels can",
            hint="export it as grey or RGB",
        )
    return image, ()


def _whole_file(path: SourcePath) -> bytes:
    with open_binary(path) as file:
        try:
            data = file.readall()
        except OSError as error:
            raise os_error(error, path) from None
    if not data:
        raise corrupt(path, "the file is empty (0 bytes)")
    return data


def _decode(path: SourcePath, decode: Callable[[bytes], Any], data: bytes) -> Array:
    try:
        image: Array = decode(data)
    except MemoryError:
        raise
    except Exception as error:
        raise corrupt(path, f"the image cannot be decoded: it is truncated or damaged ({error})") from None
    return image


def _whole_images(
    name: str,
    suffixes: tuple[str, ...],
    decode: Callable[[SourcePath], tuple[Array, tuple[Finding, ...]]],
    *,
    lossy: bool,
) -> ImageFormat:
    """Return a format whose files can only be decoded as a whole."""

    def form_of(image: Array) -> Form:
        return Form(image.shape[1], image.shape[0], image.shape[2] if image.ndim == 3 else 1, image.dtype)

    def describe(path: SourcePath) -> ImageInfo:
        image, findings = decode(path)
        form = form_of(image)
        return ImageInfo(form, (form.width, form.height), lossy, findings=findings)

    def read(path: SourcePath, window: Window, out: Array, check: Callable[[Form], None]) -> None:
        image, _ = decode(path)
        check(form_of(image))
        y0, y1, x0, x1 = window
        out[...] = (image if image.ndim == 3 else image[:, :, None])[y0:y1, x0:x1].transpose(2, 0, 1)

    return ImageFormat(name, suffixes, describe, read)


_FORMATS = (
    ImageFormat("TIFF", ("tif", "tiff"), describe_slice, read_slice),
    _whole_images("PNG", ("png",), _png, lossy=False),
    _whole_images("JPEG", ("jpg", "jpeg"), _jpeg, lossy=True),
)
FORMATS = {suffix: form for form in _FORMATS for suffix in form.suffixes}
