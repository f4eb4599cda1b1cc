"""``jpeg``: uint8, one channel or three, lossy."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from precast.errors import FormatError, UsageError
from precast.precomputed.codecs.base import Codec
from precast.precomputed.codecs.image2d import from_picture, to_picture

__all__ = ["JpegCodec"]

MAX_SIDE = 65535
DEFAULT_QUALITY = 85


class JpegCodec(Codec):
    """libjpeg-turbo through imagecodecs; colour with the usual 4:2:0 subsampling."""

    name = "jpeg"
    compressed = True
    lossy = True

    def check(self) -> None:
        """Refuse other dtypes and channels."""
        o = self.options
        if o.data_type != "uint8" or o.num_channels not in (1, 3):
            raise UsageError(
                f"jpeg holds uint8 images of 1 or 3 channels, not {o.data_type} with {o.num_channels}",
                hint="use --encoding raw (any dtype) or png (uint8, uint16)",
            )

    def check_writing(self) -> None:
        """Refuse chunks whose picture is too tall."""
        o = self.options
        if o.chunk_size.x > MAX_SIDE or o.chunk_size.y * o.chunk_size.z > MAX_SIDE:
            raise UsageError(
                f"a jpeg chunk is a picture of x by y*z pixels with at most {MAX_SIDE} a side; "
                f"chunks of {o.chunk_size} give {o.chunk_size.x} by {o.chunk_size.y * o.chunk_size.z}",
                hint="use a smaller --chunk-size, for example 64,64,64",
            )

    def encode_slab(
        self, data: npt.NDArray[Any], *, gzip_level: int | None, skip_zero: bool, threads: int
    ) -> list[bytes | None]:
        """Encode chunk by chunk; ``gzip_level`` must be None."""
        assert_bare(gzip_level, self.name)
        import imagecodecs

        quality = DEFAULT_QUALITY if self.options.jpeg_quality is None else self.options.jpeg_quality

        def encode(chunk: npt.NDArray[Any]) -> bytes:
            return bytes(imagecodecs.jpeg8_encode(to_picture(chunk), level=quality))

        return self._map_chunks(data, encode, skip_zero=skip_zero, threads=threads)

    def decode(self, payload: bytes, out: npt.NDArray[Any]) -> None:
        """Decode one picture."""
        import imagecodecs

        try:
            picture = imagecodecs.jpeg8_decode(payload)
        except (ValueError, RuntimeError) as error:
            raise FormatError(f"a jpeg chunk cannot be decoded: {error}") from None
        from_picture(picture, out, self.name)


def assert_bare(gzip_level: int | None, name: str) -> None:
    """Refuse gzip around a payload that is compressed already."""
    if gzip_level is not None:
        raise UsageError(f"{name} chunks are compressed already and are stored without gzip")
