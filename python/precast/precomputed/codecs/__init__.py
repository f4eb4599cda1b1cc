"""Chunk encodings: one file each, one protocol, one table.

A codec turns a chunk, an array ``(c, z, y, x)`` of the volume's dtype, into the payload that
``encoding`` names, and back. It knows nothing of gzip, shards or files. ``raw`` and
``compressed_segmentation`` are encoded many at a time in the native core; the image codecs are
called chunk by chunk from threads (their libraries release the interpreter lock).
"""

from __future__ import annotations

from precast.errors import UsageError
from precast.precomputed.codecs.base import Codec, CodecOptions
from precast.precomputed.codecs.compressed_segmentation import CompressedSegmentationCodec
from precast.precomputed.codecs.jpeg import JpegCodec
from precast.precomputed.codecs.png import PngCodec
from precast.precomputed.codecs.raw import RawCodec
from precast.precomputed.info import ScaleInfo

__all__ = ["Codec", "CodecOptions", "codec_for", "codec_of_scale"]

_TABLE: dict[str, type[Codec]] = {
    "raw": RawCodec,
    "jpeg": JpegCodec,
    "png": PngCodec,
    "compressed_segmentation": CompressedSegmentationCodec,
}


def codec_for(encoding: str, options: CodecOptions) -> Codec:
    """Return the codec of an ``encoding``.

    Raises
    ------
    UsageError
        If the encoding is unknown or cannot hold the dtype, channels or chunk size.
    """
    if encoding not in _TABLE:
        raise UsageError(f"unknown encoding {encoding!r}; allowed: {', '.join(_TABLE)}")
    return _TABLE[encoding](options)


def codec_of_scale(scale: ScaleInfo, data_type: str, num_channels: int, *, reading: bool = False) -> Codec:
    """Return the codec of the chunks of a scale.

    Parameters
    ----------
    scale, data_type, num_channels
        What the chunks are.
    reading
        Allow what precast reads but does not write.

    Raises
    ------
    UsageError
        If the encoding cannot hold such chunks.
    """
    options = CodecOptions(
        data_type=data_type,
        num_channels=num_channels,
        chunk_size=scale.chunk_size,
        block_size=scale.compressed_segmentation_block_size,
        jpeg_quality=scale.jpeg_quality,
        png_level=scale.png_level,
        reading=reading,
    )
    return codec_for(scale.encoding, options)
