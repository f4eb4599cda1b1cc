"""TIFF files opened and parsed by tifffile: pages, checked, as plain descriptions that outlive the open file.

tifffile goes on where it can: it logs and leaves out tags that it cannot read, and ends the list of pages where their
chain breaks. For a conversion both are damage that must not pass unnoticed, so both are looked for here.
"""

from __future__ import annotations

import functools
import itertools
import logging
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

import numpy as np

from precast.errors import PrecastError, SourceError
from precast.sources.base import corrupt, open_binary, os_error, size_of
from precast.sources.stored import SourcePath

if TYPE_CHECKING:
    import tifffile

__all__ = ["TiffImage", "TiffReader", "full_pages", "parse_image"]

# Files of these makers keep slices, channels or times where only their own tags tell.
VENDOR_TAGS = {33628: "MetaMorph STK", 34412: "Zeiss LSM", 34361: "FluoView", 43314: "NIH Image"}
# Bits, the places and lengths of the segments, format, orientation, resolution: not among tifffile's TAG_ATTRIBUTES.
OTHER_TAGS = {258, 273, 274, 279, 282, 283, 296, 324, 325, 339}
NUMBERS = (
    *("imagewidth", "imagelength", "imagedepth", "samplesperpixel", "planarconfig", "rowsperstrip", "tilewidth"),
    *("tilelength", "compression", "predictor", "fillorder", "photometric"),
)

DEFLATE = frozenset({8, 32946})
# LZW, deflate (two numbers), PackBits, zstd (two numbers), LZMA: bytes in, bytes out.
BYTE_CODECS = {5, 8, 32946, 32773, 50000, 34926, 34925}
JPEG_CODECS = {6, 7, 33007, 34892}
# WhiteIsZero, BlackIsZero, RGB, palette, mask, YCbCr (JPEG turns it into RGB), colour filter array.
PHOTOMETRICS = {0, 1, 2, 3, 4, 6, 32803}
PHOTOMETRIC_NAMES = {5: "CMYK", 6: "YCbCr", 8: "CIELab", 9: "ICCLab", 10: "ITULab", 32844: "LogL", 32845: "LogLuv"}
FORMAT_NAMES = {1: "unsigned", 2: "signed", 3: "floating point", 5: "complex integer", 6: "complex"}


class TiffImage(NamedTuple):
    """One image of a TIFF file; holds no open file, and may be used by many threads.

    Attributes
    ----------
    width, height, samples
        Pixels per row, rows, samples per pixel.
    dtype
        As delivered: native, half precision as float32, one bit as bool.
    stored
        As in the file, with its byte order.
    separate
        Whether each sample has its own plane.
    contiguous
        Whether all samples are one uncompressed run, from ``offsets[0]`` on.
    tiled, segment_width, segment_rows
        Form of the strips or tiles; the last strip may be shorter.
    offsets, counts
        Where the segments lie: row by row, plane by plane.
    compression, photometric, orientation
        Numbers of the TIFF specification.
    nodata
        Value of segments that were never written.
    unpack
        Decompressor whose bytes are the samples, else None.
    decode
        tifffile's decoder of single segments, and its keyword arguments.
    """

    width: int
    height: int
    samples: int
    dtype: np.dtype[np.generic]
    stored: np.dtype[np.generic]
    separate: bool
    contiguous: bool
    tiled: bool
    segment_width: int
    segment_rows: int
    offsets: Sequence[int]
    counts: Sequence[int]
    compression: int
    photometric: int
    orientation: int
    nodata: float
    unpack: Callable[..., Any] | None
    decode: Callable[..., Any]
    tables: dict[str, Any]

    @property
    def form(self) -> tuple[int, int, int, np.dtype[np.generic]]:
        """Width, height, channels and dtype: what all slices of a volume must share."""
        return self.width, self.height, self.samples, self.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the uncompressed samples."""
        return self.width * self.height * self.samples * self.stored.itemsize

    @property
    def lossy(self) -> bool:
        """Whether the samples went through JPEG."""
        return self.compression in JPEG_CODECS and self.dtype.itemsize == 1

    @property
    def block(self) -> tuple[int, int]:
        """Smallest piece that is decoded on its own, width and rows."""
        if self.contiguous:
            return self.width, 1
        return min(self.segment_width, self.width), min(self.segment_rows, self.height)


class TiffReader:
    """One TIFF file, open for reading; a context manager, not to be shared between threads.

    Parameters
    ----------
    path
        The file. It is parsed when `tiff` is first asked for; `read` works without.
    """

    def __init__(self, path: SourcePath) -> None:
        self.path = path
        raw = open_binary(path)
        self.size = size_of(raw)
        self.file = BufferedReader(raw)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    @functools.cached_property
    def tiff(self) -> tifffile.TiffFile:
        """The parsed file; it has at least one page.

        Raises
        ------
        SourceError
            If the file is empty, is no TIFF, or has no page.
        """
        if not self.size:
            raise corrupt(self.path, "the file is empty (0 bytes)")
        with _translated(self.path):
            # tifffile takes where the file stands as its start.
            self.file.seek(0)
            # Makers' formats are refused or read as plain pages; virtual frames would be guesses.
            plain = {"is_lsm": False, "is_ndpi": False, "is_scanimage": False}
            tiff: tifffile.TiffFile = _tifffile().TiffFile(self.file, name=self.path.name, **plain)
        if not len(tiff.pages[:1]):
            raise corrupt(
                self.path,
                f"the TIFF has no image directory in its {self.size} bytes: "
                "it is truncated, or writing it was never finished",
            )
        return tiff

    def pages(self) -> Iterator[tifffile.TiffPage]:
        """Yield every page of the main chain.

        Raises
        ------
        SourceError
            If one is damaged, or the chain breaks off or runs in a circle.
        """
        seen: set[int] = set()
        for number in itertools.count():
            with _translated(self.path):
                try:
                    page = cast("tifffile.TiffPage", self.tiff.pages[number])
                except IndexError:
                    break
            if page.offset in seen:
                raise corrupt(self.path, f"the chain of image directories returns to byte {page.offset}: it is damaged")
            seen.add(page.offset)
            self._check_tags(page)
            yield page
        with _translated(self.path):
            end, form = self.tiff.pages.next_page_offset, self.tiff.tiff
            if end is None or self._at(end, form.offsetsize) != bytes(form.offsetsize):
                raise corrupt(
                    self.path, f"the chain of image directories breaks off after {len(seen)}: truncated or damaged"
                )

    def page_at(self, offset: int, number: int) -> tifffile.TiffPage:
        """Parse the page ``number`` of the chain, whose directory is at ``offset``, without following the chain."""
        page = self.tiff.pages.first
        if page.offset != offset:
            with _translated(self.path):
                self.tiff.filehandle.seek(offset)
                page = _tifffile().TiffPage(self.tiff, number)
        self._check_tags(page)
        return page

    def _check_tags(self, page: tifffile.TiffPage) -> None:
        """Raise `SourceError` if a tag was left out that matters, or belongs to a format that is not supported."""
        codes, lost, form = set(page.tags.keys()), set(), self.tiff.tiff
        with _translated(self.path):
            (count,) = struct.unpack(form.tagnoformat, self._at(page.offset, form.tagnosize))
            if count != len(page.tags):
                table = self._at(page.offset + form.tagnosize, count * form.tagsize)
                lost = {code for (code,) in struct.iter_unpack(f"{form.byteorder}H{form.tagsize - 2}x", table)} - codes
        for tag, name in VENDOR_TAGS.items():
            if tag in codes or tag in lost:
                raise SourceError(
                    f"{self.path.name} is a {name} file, whose slices and channels only its own tags describe",
                    hint="export it as OME-TIFF (for example with Bio-Formats) or as one TIFF per slice",
                    where=str(self.path),
                )
        lost &= OTHER_TAGS.union(_tifffile().TIFF.TAG_ATTRIBUTES)
        if lost or not codes:
            raise corrupt(
                self.path,
                f"the image directory at byte {page.offset} is truncated or damaged: "
                f"TIFF tags {', '.join(map(str, sorted(lost))) or 'of all kinds'} cannot be read",
            )

    def _at(self, offset: int, count: int) -> bytes:
        self.file.seek(offset)
        return self.file.read(count)

    def read(self, offset: int, count: int, what: object) -> bytes:
        """Return ``count`` bytes from ``offset``; ``what`` (its ``str``) says in errors what they are.

        Raises
        ------
        SourceError
            If the file ends before.
        """
        self.check_inside(offset, count, what)
        with _translated(self.path):
            data = self._at(offset, count)
        if len(data) != count:
            raise self.truncated(offset, count, what)
        return data

    def read_into(self, offset: int, view: memoryview, what: object) -> None:
        """Fill ``view`` (bytes) from ``offset`` on; else as `read`."""
        self.check_inside(offset, len(view), what)
        done = 0
        with _translated(self.path):
            self.file.seek(offset)
            # The operating system delivers at most 2 GiB at a time.
            while done < len(view) and (got := self.file.readinto(view[done:])):
                done += got
        if done != len(view):
            raise self.truncated(offset, len(view), what)

    def check_inside(self, offset: int, count: int, what: object) -> None:
        """Raise `SourceError` unless the bytes lie in the file."""
        if offset < 0 or offset + count > self.size:
            raise self.truncated(offset, count, what)

    def truncated(self, offset: int, count: int, what: object) -> SourceError:
        """Return the error that ``what`` lies behind the end of the file."""
        return corrupt(
            self.path,
            f"the file is truncated: {what} needs bytes {offset} to {offset + count}, but the file has {self.size}",
        )


def full_pages(reader: TiffReader) -> tuple[list[int], list[int], int]:
    """Return all offsets of pages, the indices of images of full size, and how many others there are."""
    offsets, pages = [], []
    for index, page in enumerate(reader.pages()):
        offsets.append(page.offset)
        # Bit 0: thumbnail or pyramid level, bit 2: mask.
        if not page.subfiletype & 5:
            pages.append(index)
    return offsets, pages or [0], len(offsets) - len(pages or [0])


def parse_image(reader: TiffReader, page: tifffile.TiffPage) -> TiffImage:
    """Check a page and describe it.

    Raises
    ------
    SourceError
        If tags are missing, contradict each other, or describe something that cannot be converted.
    """
    path = reader.path
    if odd := [name for name in NUMBERS if not isinstance(getattr(page, name), int)]:
        raise corrupt(path, f"the TIFF tags {', '.join(odd)} are no whole numbers: the file is damaged")
    width, height, samples = page.imagewidth, page.imagelength, page.samplesperpixel
    if width <= 0 or height <= 0 or samples <= 0:
        raise corrupt(path, f"the image is {width} x {height} pixels with {samples} samples: it is empty or damaged")
    if page.imagedepth != 1:
        raise corrupt(path, "the tag ImageDepth is not supported", hint="export the volume as one page per slice")
    stored = _stored(path, page)
    compression = int(page.compression)
    jpeg = compression in JPEG_CODECS
    # Without the tag tifffile assumes white is zero, most readers black.
    photometric = int(page.photometric) if jpeg or 262 in page.tags else 1
    _check_photometric(path, photometric, jpeg=jpeg)
    columns, rows = (page.tilewidth, page.tilelength) if page.is_tiled else (width, min(page.rowsperstrip, height))
    if rows <= 0 and not page.is_tiled:
        raise corrupt(path, "RowsPerStrip is 0: the image is damaged")
    if columns <= 0 or rows <= 0 or columns * rows > 4 * max(width * height, 1 << 22):
        raise corrupt(path, f"tiles of {columns} x {rows} pixels make no sense for {width} x {height} pixels")
    separate = samples > 1 and page.planarconfig == 2
    whole_bytes = page.bitspersample in (8, 16, 32, 64)
    with _translated(path):
        plain = compression in BYTE_CODECS and page.predictor == 1 and page.fillorder == 1 and whole_bytes
        image = TiffImage(
            width=width,
            height=height,
            samples=samples,
            dtype=np.dtype(np.float32) if stored.kind == "f" and stored.itemsize == 2 else stored.newbyteorder("="),
            stored=stored,
            separate=separate,
            contiguous=bool(page.is_final) and page.dataoffsets[0] > 0 and min(page.databytecounts) > 0,
            tiled=page.is_tiled,
            segment_width=columns,
            segment_rows=rows,
            offsets=page.dataoffsets,
            counts=page.databytecounts,
            compression=compression,
            photometric=photometric,
            orientation=int(page.tags.valueof(274, default=1)),
            nodata=page.nodata,
            unpack=_unpacker(compression) if plain else None,
            decode=page.decode,
            tables={"jpegtables": page.jpegtables, "jpegheader": page.jpegheader},
        )
    return _checked_segments(path, image)


def _unpacker(compression: int) -> Callable[..., Any]:
    """Return a decompressor for segments whose exact size is known."""
    if compression in DEFLATE:
        # libdeflate, which wants the exact size, takes a fifth of the time of zlib, tifffile's own choice
        import imagecodecs

        unpack: Callable[..., Any] = imagecodecs.deflate_decode
        return unpack
    other: Callable[..., Any] = _tifffile().TIFF.DECOMPRESSORS[compression]
    return other


def _stored(path: SourcePath, page: tifffile.TiffPage) -> np.dtype[np.generic]:
    """Return the dtype of the samples in the file (packed ones: as tifffile unpacks them)."""
    bits, form = page.bitspersample, page.sampleformat
    if not isinstance(bits, int):
        raise corrupt(
            path,
            f"the samples of a pixel differ in bits: {bits}",
            hint="export every channel with the same sample type",
        )
    if page.dtype is None or page.dtype.kind not in "buif":
        raise SourceError(
            f"{path.name}: {FORMAT_NAMES.get(form, f'unknown (format {form})')} samples of {bits} bits cannot be "
            "converted; allowed are 1 bit, integers of 8 to 64 bits and floats of 16 to 64 bits",
            hint="export it with another sample type",
            where=str(path),
        )
    stored: np.dtype[np.generic] = page.dtype.newbyteorder(page.parent.byteorder)
    return stored


def _check_photometric(path: SourcePath, photometric: int, *, jpeg: bool) -> None:
    if photometric not in PHOTOMETRICS or (photometric == 6 and not jpeg):
        name = PHOTOMETRIC_NAMES.get(photometric, f"number {photometric}")
        raise SourceError(
            f"{path.name}: the colour space {name} cannot be converted; grey, palette and RGB can",
            hint="export it as grey or RGB",
            where=str(path),
        )


def _checked_segments(path: SourcePath, image: TiffImage) -> TiffImage:
    """Check that there are as many segments as the image needs, long enough if they are not compressed."""
    needed = -(-image.width // image.segment_width) * -(-image.height // image.segment_rows)
    needed *= image.samples if image.separate else 1
    what = "tiles" if image.tiled else "strips"
    offsets, counts = image.offsets[:needed], image.counts[:needed]
    if len(offsets) < needed:
        raise corrupt(path, f"the image needs {needed} {what}, but the file lists {len(offsets)}: it is damaged")
    if len(counts) < needed:
        raise corrupt(path, f"the image has {needed} {what}, but the lengths of only {len(counts)} are given")
    if image.contiguous and sum(counts) < image.nbytes:
        raise corrupt(path, f"the image has {sum(counts)} bytes, but needs {image.nbytes}: it is truncated")
    return image._replace(offsets=offsets, counts=counts)


@functools.cache
def _tifffile() -> Any:
    """Import tifffile when it is needed (0.1 s), and keep its log off stderr unless the application asks for it."""
    import tifffile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    return tifffile


@contextmanager
def _translated(path: SourcePath) -> Iterator[None]:
    """Turn what tifffile and the operating system raise into precast's errors."""
    try:
        yield
    except (PrecastError, MemoryError):
        raise
    except OSError as error:
        raise os_error(error, path) from None
    except Exception as error:
        hint = "check that the file is what its name says, or copy or export it again"
        raise corrupt(path, f"it cannot be parsed as TIFF ({error})", hint=hint) from None
