"""How the samples of one TIFF image lie in its file: the tags, checked and brought into one form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from precast.errors import SourceError
from precast.sources.base import corrupt
from precast.sources.tiff_directory import Directory, TiffBytes

__all__ = ["Layout", "parse_layout", "subfile_kind"]

# Tags, by their names in the TIFF specification.
NEW_SUBFILE_TYPE, WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 254, 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS, PLANAR, PREDICTOR = 273, 274, 277, 278, 279, 284, 317
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS, SAMPLE_FORMAT, DEPTH, NODATA = 322, 323, 324, 325, 339, 32997, 42113

# Files of these makers keep slices, channels or times where only their own tags tell.
VENDOR_TAGS = {33628: "MetaMorph STK", 34412: "Zeiss LSM", 34361: "FluoView", 43314: "NIH Image"}

NO_COMPRESSION, OLD_JPEG, JPEG, PACKBITS = 1, 6, 7, 32773
# LZW, deflate (two numbers), PackBits, zstd (two numbers), LZMA: bytes in, bytes out.
PLAIN_CODECS = frozenset({NO_COMPRESSION, 5, 8, 32946, 32773, 50000, 34926, 34925})
# WhiteIsZero, BlackIsZero, RGB, palette, mask, YCbCr (JPEG turns it into RGB), colour filter array.
PHOTOMETRICS = {0, 1, 2, 3, 4, 6, 32803}
PHOTOMETRIC_NAMES = {5: "CMYK", 6: "YCbCr", 8: "CIELab", 9: "ICCLab", 10: "ITULab", 32844: "LogL", 32845: "LogLuv"}


class Layout(NamedTuple):
    """One image of a TIFF file.

    Attributes
    ----------
    width, height, samples
        Pixels per row, rows, samples per pixel.
    dtype
        As delivered: native, half precision as float32, one bit as bool.
    stored
        As in the file, with its byte order; None where the samples are packed otherwise.
    separate
        Whether each sample has its own plane.
    tiled, segment_width, segment_rows
        Form of the strips or tiles; the last strip may be shorter.
    offsets, counts
        Where the segments lie: row by row, plane by plane.
    """

    width: int
    height: int
    samples: int
    dtype: np.dtype[np.generic]
    stored: np.dtype[np.generic] | None
    separate: bool
    tiled: bool
    segment_width: int
    segment_rows: int
    offsets: Sequence[int]
    counts: Sequence[int]
    compression: int
    predictor: int
    fill_order: int
    photometric: int
    nodata: str
    directory: int

    @property
    def across(self) -> int:
        """Segments per row of segments."""
        return -(-self.width // self.segment_width)

    @property
    def down(self) -> int:
        """Rows of segments."""
        return -(-self.height // self.segment_rows)

    @property
    def plane_samples(self) -> int:
        """Samples of a pixel that lie together."""
        return 1 if self.separate else self.samples

    @property
    def form(self) -> tuple[int, int, int, np.dtype[np.generic]]:
        """Width, height, channels and dtype: what all slices of a volume must share."""
        return self.width, self.height, self.samples, self.dtype

    @property
    def lossy(self) -> bool:
        """Whether the samples went through JPEG."""
        return self.compression in (OLD_JPEG, JPEG) and self.dtype.itemsize == 1

    @property
    def block(self) -> tuple[int, int]:
        """Smallest piece that is decoded on its own, width and rows."""
        if self.compression == NO_COMPRESSION and not self.tiled and self.stored is not None:
            return self.width, 1
        return min(self.segment_width, self.width), min(self.segment_rows, self.height)

    @property
    def contiguous_bytes(self) -> int | None:
        """Bytes of the image if they lie in one uncompressed run, else None."""
        if self.compression != NO_COMPRESSION or self.tiled or self.stored is None or len(self.offsets) != 1:
            return None
        return self.width * self.height * self.samples * self.stored.itemsize


def subfile_kind(file: TiffBytes, directory: Directory) -> str:
    """Return ``""`` for an image of full size, else ``"reduced"`` (thumbnail, pyramid level) or ``"mask"``."""
    kind = file.integer(directory, NEW_SUBFILE_TYPE, 0) if NEW_SUBFILE_TYPE in directory.entries else 0
    return "reduced" if kind & 1 else "mask" if kind & 4 else ""


def parse_layout(file: TiffBytes, directory: Directory) -> Layout:
    """Read and check the tags of one image.

    Raises
    ------
    SourceError
        If tags are missing, contradict each other, or describe something that cannot be converted.
    """
    path, get = file.path, file.integer
    entries = directory.entries
    _refuse_vendors(path, directory)
    width, height = get(directory, WIDTH, 0), get(directory, LENGTH, 0)
    samples = get(directory, SAMPLES, 1)
    if width <= 0 or height <= 0 or samples <= 0:
        raise corrupt(path, f"the image is {width} x {height} pixels with {samples} samples: it is empty or damaged")
    if get(directory, DEPTH, 1) != 1:
        raise corrupt(path, "the tag ImageDepth is not supported", hint="export the volume as one page per slice")
    bits = _one_value(file, directory, BITS, 1)
    order = get(directory, FILL_ORDER, 1)
    dtype, stored = _dtypes(path, file.order, bits, _one_value(file, directory, SAMPLE_FORMAT, 1))
    compression, photometric = get(directory, COMPRESSION, 1), get(directory, PHOTOMETRIC, 1)
    # Only these codecs know predictors; libtiff ignores the tag elsewhere too.
    predictor = 1 if compression in (NO_COMPRESSION, PACKBITS) else get(directory, PREDICTOR, 1)
    _check_photometric(path, photometric, compression)
    if predictor not in (1, 2) or compression not in PLAIN_CODECS or order != 1:
        stored = None
    tiled = TILE_WIDTH in entries or TILE_OFFSETS in entries
    separate = samples > 1 and get(directory, PLANAR, 1) == 2
    if tiled:
        columns, rows = get(directory, TILE_WIDTH, 0), get(directory, TILE_LENGTH, 0)
        offsets, counts = file.integers(directory, TILE_OFFSETS), file.integers(directory, TILE_COUNTS)
        if columns <= 0 or rows <= 0 or columns * rows > 4 * max(width * height, 1 << 22):
            raise corrupt(path, f"tiles of {columns} x {rows} pixels make no sense for {width} x {height} pixels")
    else:
        columns, rows = width, min(get(directory, ROWS_PER_STRIP, height), height)
        offsets, counts = file.integers(directory, STRIP_OFFSETS), file.integers(directory, STRIP_COUNTS)
        if rows <= 0:
            raise corrupt(path, "RowsPerStrip is 0: the image is damaged")
    layout = Layout(
        width=width,
        height=height,
        samples=samples,
        dtype=dtype,
        stored=stored,
        separate=separate,
        tiled=tiled,
        segment_width=columns,
        segment_rows=rows,
        offsets=offsets,
        counts=counts,
        compression=compression,
        predictor=predictor,
        fill_order=order,
        photometric=photometric,
        nodata=file.text(directory, NODATA).strip() if NODATA in entries else "",
        directory=directory.offset,
    )
    return _one_run(_with_counts(file, layout))


def _one_value(file: TiffBytes, directory: Directory, tag: int, default: int) -> int:
    entry = directory.entries.get(tag)
    if entry is None:
        return default
    if entry[1] == 1:
        return file.integer(directory, tag, default)
    values = set(file.integers(directory, tag))
    if len(values) != 1:
        raise corrupt(
            file.path,
            f"the samples of a pixel differ in {'bits' if tag == BITS else 'format'}: {sorted(values)}",
            hint="export it with the same sample type for every channel",
        )
    return values.pop()


def _dtypes(path: Path, order: str, bits: int, form: int) -> tuple[np.dtype[np.generic], np.dtype[np.generic] | None]:
    """Return the dtype that is delivered, and the one in the file (None if packed in another way)."""
    kind = {1: "u", 2: "i", 3: "f", 4: "u"}.get(form)
    if kind == "u" and bits == 1:
        return np.dtype(bool), None
    if (kind in ("u", "i") and bits in (8, 16, 32, 64)) or (kind == "f" and bits in (16, 32, 64)):
        stored: np.dtype[np.generic] = np.dtype(f"{order}{kind}{bits // 8}")
        return np.dtype(np.float32) if stored == np.dtype(f"{order}f2") else stored.newbyteorder("="), stored
    if kind == "u" and 1 < bits < 32:
        return np.dtype(f"u{1 if bits <= 8 else 2 if bits <= 16 else 4}"), None
    names = {1: "unsigned", 2: "signed", 3: "floating point", 5: "complex integer", 6: "complex"}
    raise SourceError(
        f"{path.name}: {names.get(form, f'unknown (format {form})')} samples of {bits} bits cannot be converted; "
        "allowed are 1 bit, integers of 8 to 64 bits and floats of 16 to 64 bits",
        hint="export it with another sample type",
        where=str(path),
    )


def _check_photometric(path: Path, photometric: int, compression: int) -> None:
    jpeg = compression in (OLD_JPEG, JPEG)
    if photometric not in PHOTOMETRICS or (photometric == 6 and not jpeg):
        name = PHOTOMETRIC_NAMES.get(photometric, f"number {photometric}")
        raise SourceError(
            f"{path.name}: the colour space {name} cannot be converted; grey, palette and RGB can",
            hint="export it as grey or RGB",
            where=str(path),
        )


def _refuse_vendors(path: Path, directory: Directory) -> None:
    for tag, name in VENDOR_TAGS.items():
        if tag in directory.entries:
            raise SourceError(
                f"{path.name} is a {name} file, whose slices and channels only its own tags describe",
                hint="export it as OME-TIFF (for example with Bio-Formats) or as one TIFF per slice",
                where=str(path),
            )


def _with_counts(file: TiffBytes, layout: Layout) -> Layout:
    """Check the number of segments, and supply byte counts where an old writer left them out."""
    needed = layout.across * layout.down * (layout.samples if layout.separate else 1)
    what = "tiles" if layout.tiled else "strips"
    offsets, counts = layout.offsets, layout.counts
    if len(offsets) < needed:
        raise corrupt(file.path, f"the image needs {needed} {what}, but the file lists {len(offsets)}: it is damaged")
    if not counts:
        if layout.compression == NO_COMPRESSION and layout.stored is not None and not layout.tiled:
            size = layout.width * layout.plane_samples * layout.stored.itemsize
            down, rows = layout.down, layout.segment_rows
            heights = [min(rows, layout.height - rows * (i % down)) for i in range(needed)]
            counts = [size * height for height in heights]
        elif needed == 1:
            counts = [file.size - offsets[0]]
    if len(counts) < needed:
        raise corrupt(file.path, f"the image has {needed} {what}, but the lengths of only {len(counts)} are given")
    return layout._replace(offsets=offsets[:needed], counts=counts[:needed])


def _one_run(layout: Layout) -> Layout:
    """Join uncompressed strips that follow one another: one read instead of hundreds."""
    offsets, counts = layout.offsets, layout.counts
    if (
        layout.compression != NO_COMPRESSION
        or layout.tiled
        or layout.separate
        or layout.stored is None
        or len(offsets) < 2
        or offsets[0] == 0
    ):
        return layout
    full = layout.segment_rows * layout.width * layout.samples * layout.stored.itemsize
    start = offsets[0]
    last = len(offsets) - 1
    for i in range(1, len(offsets)):
        if offsets[i] != start + i * full or counts[i - 1] != full:
            return layout
    return layout._replace(segment_rows=layout.height, offsets=(start,), counts=(full * last + counts[last],))
