"""Decode a window of one TIFF image: only the strips or tiles that it touches, straight into the caller's array.

The common cases (uncompressed, LZW, deflate, PackBits, zstd, LZMA; horizontal predictor; whole-byte samples) go from
the file's bytes to the array with one call per segment. Everything else that tifffile can decode (JPEG, CCITT,
JPEG 2000, floating point predictor, packed bits, ...) goes through tifffile's decoder of single segments.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import imagecodecs
import numpy as np

from precast.errors import PrecastError, SourceError
from precast.sources.base import Array, corrupt
from precast.sources.tiff_directory import TiffBytes
from precast.sources.tiff_layout import NO_COMPRESSION, Layout

__all__ = ["Window", "read_window"]

DECODERS: dict[int, Callable[..., Any]] = {
    5: imagecodecs.lzw_decode,
    8: imagecodecs.deflate_decode,
    32946: imagecodecs.deflate_decode,
    32773: imagecodecs.packbits_decode,
    50000: imagecodecs.zstd_decode,
    34926: imagecodecs.zstd_decode,
    34925: imagecodecs.lzma_decode,
}
# Uncompressed rows that must be cropped or reordered pass through a buffer of about this size.
BUFFER_BYTES = 4 << 20


class Window(NamedTuple):
    """Rows and columns of an image: ``y0 <= y < y1``, ``x0 <= x < x1``."""

    y0: int
    y1: int
    x0: int
    x1: int


class _Segment(NamedTuple):
    """One strip or tile, and the part of it that is wanted."""

    number: int
    plane: int
    y: int
    x: int
    rows: int
    part: Window

    def __str__(self) -> str:
        return f"the strip or tile {self.number} (rows from {self.y}, columns from {self.x})"


def read_window(file: TiffBytes, layout: Layout, window: Window, out: Array) -> None:
    """Decode ``window`` of one image into ``out``.

    Parameters
    ----------
    file
        Open file that holds the image.
    layout
        Its layout.
    window
        Inside the image, not empty.
    out
        Shape ``(c, rows, columns)`` of the window, dtype ``layout.dtype``, any strides.

    Raises
    ------
    SourceError
        If a segment is cut off, damaged, or packed in a way that cannot be decoded.
    """
    rows, columns = layout.segment_rows, layout.segment_width
    across, down = layout.across, layout.down
    fallback: _Fallback | None = None
    for plane in range(layout.samples if layout.separate else 1):
        target = out[plane : plane + 1] if layout.separate else out
        for row in range(window.y0 // rows, (window.y1 - 1) // rows + 1):
            y = row * rows
            y0, y1 = max(window.y0, y), min(window.y1, y + rows)
            for column in range(window.x0 // columns, (window.x1 - 1) // columns + 1):
                x = column * columns
                part = Window(y0, y1, max(window.x0, x), min(window.x1, x + columns))
                index = (plane * down + row) * across + column
                stored_rows = rows if layout.tiled else min(rows, layout.height - y)
                segment = _Segment(index, plane, y, x, stored_rows, part)
                piece = target[:, y0 - window.y0 : y1 - window.y0, part.x0 - window.x0 : part.x1 - window.x0]
                if _is_sparse(file, layout, segment):
                    piece[...] = _fill_value(layout)
                elif layout.stored is None:
                    fallback = fallback or _Fallback(file, layout)
                    fallback.decode(segment, piece)
                elif layout.compression == NO_COMPRESSION:
                    _copy_raw(file, layout, segment, piece)
                else:
                    _decode_plain(file, layout, segment, piece)


def _is_sparse(file: TiffBytes, layout: Layout, segment: _Segment) -> bool:
    """Whether the segment was left out on purpose; GDAL's sparse files have offset and length 0 then."""
    offset, count = layout.offsets[segment.number], layout.counts[segment.number]
    if offset > 0 and count > 0:
        return False
    if offset == 0 and count == 0:
        return True
    raise corrupt(
        file.path,
        f"{segment} has offset {offset} and length {count}; both are 0 in a sparse file, neither in another: "
        "the file was not written completely",
    )


def _fill_value(layout: Layout) -> Any:
    if not layout.nodata:
        return 0
    try:
        value = float(layout.nodata)
        return layout.dtype.type(value if layout.dtype.kind == "f" else int(value))
    except (ValueError, OverflowError):
        return 0


def _copy_raw(file: TiffBytes, layout: Layout, segment: _Segment, piece: Array) -> None:
    """Copy uncompressed samples, reading only the rows that are wanted."""
    stored = layout.stored
    assert stored is not None
    samples, part = layout.plane_samples, segment.part
    row_bytes = layout.segment_width * samples * stored.itemsize
    offset, count = layout.offsets[segment.number], layout.counts[segment.number]
    if count < segment.rows * row_bytes:
        raise corrupt(file.path, f"{segment} has {count} bytes, but needs {segment.rows * row_bytes}: it is truncated")
    first, rows = part.y0 - segment.y, part.y1 - part.y0
    start = offset + first * row_bytes
    file.check_inside(start, rows * row_bytes, segment)
    left, right = part.x0 - segment.x, part.x1 - segment.x
    if samples == 1 and stored == piece.dtype and right - left == layout.segment_width and piece.flags.c_contiguous:
        if file.read_into(start, piece.reshape(-1).view(np.uint8).data) != rows * row_bytes:
            raise file.truncated(start, rows * row_bytes, segment)
        return
    step = max(1, BUFFER_BYTES // row_bytes)
    for y in range(0, rows, step):
        height = min(step, rows - y)
        data = file.read(start + y * row_bytes, height * row_bytes, segment)
        block = np.frombuffer(data, stored).reshape(height, layout.segment_width, samples)
        piece[:, y : y + height] = block[:, left:right].transpose(2, 0, 1)


def _decode_plain(file: TiffBytes, layout: Layout, segment: _Segment, piece: Array) -> None:
    """Decode a segment of a bytes-to-bytes codec."""
    stored = layout.stored
    assert stored is not None
    samples, part = layout.plane_samples, segment.part
    row_bytes = layout.segment_width * samples * stored.itemsize
    size = segment.rows * row_bytes
    data = file.read(layout.offsets[segment.number], layout.counts[segment.number], segment)
    direct = piece.nbytes == size and samples == 1 and stored == piece.dtype and piece.flags.c_contiguous
    flat = piece.reshape(-1).view(np.uint8) if direct else np.empty(size, np.uint8)
    decode = DECODERS[layout.compression]
    try:
        got = len(decode(data, out=flat))
    except MemoryError:
        raise
    except Exception:
        # Some writers fill the last strip up to its full height: then the buffer is too small. Or it is damaged.
        flat, direct = np.empty(layout.segment_rows * row_bytes, np.uint8), False
        try:
            got = min(len(decode(data, out=flat)), size)
        except Exception as error:
            raise corrupt(file.path, f"{segment} cannot be decoded: it is damaged ({error})") from None
    # Rows below the image may be missing from a tile at the lower border.
    needed = min(segment.rows, layout.height - segment.y) * row_bytes
    if got < needed:
        raise corrupt(
            file.path, f"{segment} decodes to {got} bytes, but {needed} are needed: it is truncated or damaged"
        )
    if direct and layout.predictor == 1:
        return
    rows = got // row_bytes
    block = flat[: rows * row_bytes].view(stored).reshape(rows, layout.segment_width, samples)
    if layout.predictor == 2:
        block = _undo_differences(block)
    if not direct:
        y, x = part.y0 - segment.y, part.x0 - segment.x
        piece[...] = block[y : y + piece.shape[1], x : x + piece.shape[2]].transpose(2, 0, 1)


def _undo_differences(block: Array) -> Array:
    """Sum up the horizontal differences of predictor 2; in place if the byte order is the machine's."""
    native = block.astype(block.dtype.newbyteorder("="), copy=False)
    # The differences of floats are those of their bits.
    bits = native.view(f"u{native.dtype.itemsize}")
    imagecodecs.delta_decode(bits, axis=-2, out=bits)
    return native


@functools.cache
def _keep_quiet() -> None:
    """Keep tifffile's log messages off stderr unless the application asks for them; what matters is raised."""
    logging.getLogger("tifffile").addHandler(logging.NullHandler())


class _Fallback:
    """tifffile's decoder of single segments, for one image."""

    def __init__(self, file: TiffBytes, layout: Layout) -> None:
        import tifffile

        self.file, self.layout = file, layout
        _keep_quiet()
        try:
            # tifffile reads from our open file, from where it stands, and leaves closing it to us.
            file.file.seek(0)
            self.tiff = tifffile.TiffFile(file.file, name=file.path.name)
            self.tiff.filehandle.seek(layout.directory)
            self.page = tifffile.TiffPage(self.tiff, 0)
            self.decoder = self.page.decode
            self.tables = {"jpegtables": self.page.jpegtables, "jpegheader": self.page.jpegheader}
        except PrecastError:
            raise
        except Exception as error:
            raise corrupt(file.path, f"the image cannot be decoded ({error})") from None

    def decode(self, segment: _Segment, piece: Array) -> None:
        layout, part = self.layout, segment.part
        data = self.file.read(layout.offsets[segment.number], layout.counts[segment.number], segment)
        try:
            block, _, _ = self.decoder(data, segment.number, **self.tables)
        except Exception as error:
            raise self._error(segment, error) from None
        y, x = part.y0 - segment.y, part.x0 - segment.x
        wanted = (1, part.y1 - segment.y, part.x1 - segment.x, layout.plane_samples)
        if block is None or block.ndim != 4 or any(a < b for a, b in zip(block.shape, wanted, strict=True)):
            shape = None if block is None else block.shape
            raise corrupt(self.file.path, f"{segment} decodes to the shape {shape}, but {wanted} is needed")
        if not np.can_cast(block.dtype, layout.dtype, "same_kind"):
            raise corrupt(self.file.path, f"{segment} decodes to {block.dtype}, but {layout.dtype} is expected")
        piece[...] = block[0, y : y + piece.shape[1], x : x + piece.shape[2], :].transpose(2, 0, 1)

    def _error(self, segment: _Segment, error: Exception) -> SourceError:
        return corrupt(
            self.file.path,
            f"{segment} (compression {self.layout.compression}) cannot be decoded: {error}",
            hint="if the file opens elsewhere, export it again without compression or with deflate",
        )
