"""Decode a window of one TIFF image: only the strips or tiles that it touches, with tifffile's decoders."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from precast.errors import PrecastError
from precast.sources.base import Array, corrupt
from precast.sources.forms import Window
from precast.sources.tiff_pages import TiffImage, TiffReader

__all__ = ["read_window"]

# Uncompressed rows that must be cropped or reordered pass through a buffer of about this size.
BUFFER_BYTES = 4 << 20


class _Segment(NamedTuple):
    """One strip or tile, and the part of it that is wanted."""

    number: int
    y: int
    x: int
    rows: int
    part: Window

    def __str__(self) -> str:
        return f"the strip or tile {self.number} (rows from {self.y}, columns from {self.x})"


def read_window(reader: TiffReader, image: TiffImage, window: Window, out: Array) -> None:
    """Decode ``window`` of one image into ``out``.

    Parameters
    ----------
    reader
        The file that holds the image.
    image
        What is known about it.
    window
        Inside the image, not empty.
    out
        Shape ``(c, rows, columns)`` of the window, dtype ``image.dtype``, any strides.

    Raises
    ------
    SourceError
        If a segment is cut off, damaged, or packed in a way that cannot be decoded.
    """
    rows, columns = image.segment_rows, image.segment_width
    across, down = -(-image.width // columns), -(-image.height // rows)
    for plane in range(image.samples if image.separate else 1):
        target = out[plane : plane + 1] if image.separate else out
        if image.contiguous:
            _read_rows(reader, image, plane, window, target)
            continue
        for row in range(window.y0 // rows, (window.y1 - 1) // rows + 1):
            y = row * rows
            y0, y1 = max(window.y0, y), min(window.y1, y + rows)
            stored_rows = rows if image.tiled else min(rows, image.height - y)
            for column in range(window.x0 // columns, (window.x1 - 1) // columns + 1):
                x = column * columns
                part = Window(y0, y1, max(window.x0, x), min(window.x1, x + columns))
                segment = _Segment((plane * down + row) * across + column, y, x, stored_rows, part)
                piece = target[:, y0 - window.y0 : y1 - window.y0, part.x0 - window.x0 : part.x1 - window.x0]
                _read_segment(reader, image, segment, piece)


def _read_rows(reader: TiffReader, image: TiffImage, plane: int, window: Window, out: Array) -> None:
    """Copy uncompressed samples, reading only the rows that are wanted."""
    samples = 1 if image.separate else image.samples
    row_bytes = image.width * samples * image.stored.itemsize
    start = image.offsets[0] + (plane * image.height + window.y0) * row_bytes
    rows, what = window.y1 - window.y0, f"the rows {window.y0} to {window.y1}"
    reader.check_inside(start, rows * row_bytes, what)
    if samples == 1 and image.stored == out.dtype and out.shape[2] == image.width and out.flags.c_contiguous:
        reader.read_into(start, out.reshape(-1).view(np.uint8).data, what)
        return
    step = max(1, BUFFER_BYTES // row_bytes)
    for y in range(0, rows, step):
        height = min(step, rows - y)
        data = reader.read(start + y * row_bytes, height * row_bytes, what)
        block = np.frombuffer(data, image.stored).reshape(height, image.width, samples)
        out[:, y : y + height] = block[:, window.x0 : window.x1].transpose(2, 0, 1)


def _read_segment(reader: TiffReader, image: TiffImage, segment: _Segment, piece: Array) -> None:
    offset, count = image.offsets[segment.number], image.counts[segment.number]
    if offset == 0 and count == 0:
        # Left out on purpose, as GDAL does in sparse files.
        piece[...] = image.nodata
        return
    if offset <= 0 or count <= 0:
        raise corrupt(
            reader.path,
            f"{segment} has offset {offset} and length {count}; both are 0 in a sparse file, neither in another: "
            "the file was not written completely",
        )
    data = reader.read(offset, count, segment)
    try:
        if not _unpack_directly(reader, image, segment, data, piece):
            _decode(reader, image, segment, data, piece)
    except (PrecastError, MemoryError):
        raise
    except Exception as error:
        raise corrupt(
            reader.path,
            f"{segment} cannot be decoded: it is damaged, or its compression ({image.compression}) is not known "
            f"({error})",
            hint="if the file opens elsewhere, export it again without compression or with deflate",
        ) from None


def _unpack_directly(reader: TiffReader, image: TiffImage, segment: _Segment, data: bytes, piece: Array) -> bool:
    """Decompress straight into ``piece`` if it takes the whole segment as it is; tell whether it did."""
    samples, rows, columns = piece.shape
    if (
        image.unpack is None
        or image.stored != piece.dtype
        or (samples, rows, columns) != (1, segment.rows, image.segment_width)
        or not piece.flags.c_contiguous
    ):
        return False
    try:
        got = len(image.unpack(data, out=piece.reshape(-1).view(np.uint8)))
    except MemoryError:
        raise
    except Exception:
        # Damaged, or longer than it should be, which the general way bears.
        return False
    if got < piece.nbytes:
        raise corrupt(
            reader.path, f"{segment} decodes to {got} bytes, but {piece.nbytes} are needed: it is truncated or damaged"
        )
    return True


def _decode(reader: TiffReader, image: TiffImage, segment: _Segment, data: bytes, piece: Array) -> None:
    try:
        block, _, _ = image.decode(data, segment.number, **image.tables)
    except Exception:
        if image.tiled or segment.rows == image.segment_rows:
            raise
        # Some writers fill the last strip up to its full height: decode it like the first one.
        block, _, _ = image.decode(data, 0, **image.tables)
    part = segment.part
    y, x = part.y0 - segment.y, part.x0 - segment.x
    wanted = (1, part.y1 - segment.y, part.x1 - segment.x, 1 if image.separate else image.samples)
    if block is None or block.ndim != 4 or any(a < b for a, b in zip(block.shape, wanted, strict=True)):
        shape = None if block is None else block.shape
        raise corrupt(reader.path, f"{segment} decodes to the shape {shape}, but {wanted} is needed")
    if not np.can_cast(block.dtype, image.dtype, "same_kind"):
        raise corrupt(reader.path, f"{segment} decodes to {block.dtype}, but {image.dtype} is expected")
    piece[...] = block[0, y : y + piece.shape[1], x : x + piece.shape[2]].transpose(2, 0, 1)
