"""``png``: uint8 with 1 to 4 channels, uint16 with one; lossless."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from precast.errors import FormatError, UsageError
from precast.precomputed.codecs.base import Codec
from precast.precomputed.codecs.image2d import from_picture, to_picture
from precast.precomputed.codecs.jpeg import assert_bare

__all__ = ["PngCodec"]

DEFAULT_LEVEL = 6


class PngCodec(Codec):
    """libpng through imagecodecs."""

    name = "png"
    compressed = True

    def check(self) -> None:
        """Refuse other dtypes and more than four channels."""
        o = self.options
        if o.data_type not in ("uint8", "uint16") or not 1 <= o.num_channels <= 4:
            self._refuse()

    def check_writing(self) -> None:
        """Refuse what the viewer cannot show: 16 bits with several channels."""
        if self.options.data_type == "uint16" and self.options.num_channels > 1:
            self._refuse()

    def _refuse(self) -> None:
        o = self.options
        raise UsageError(
            f"png holds uint8 with 1 to 4 channels, or uint16 with one (viewers scramble 16-bit colour), "
            f"not {o.data_type} with {o.num_channels}",
            hint="use --encoding raw",
        )

    def encode_slab(
        self, data: npt.NDArray[Any], *, gzip_level: int | None, skip_zero: bool, threads: int
    ) -> list[bytes | None]:
        """Encode chunk by chunk; ``gzip_level`` must be None."""
        assert_bare(gzip_level, self.name)
        import imagecodecs

        level = DEFAULT_LEVEL if self.options.png_level is None else self.options.png_level

        def encode(chunk: npt.NDArray[Any]) -> bytes:
            return bytes(imagecodecs.png_encode(to_picture(chunk), level=level))

        return self._map_chunks(data, encode, skip_zero=skip_zero, threads=threads)

    def decode(self, payload: bytes, out: npt.NDArray[Any]) -> None:
        """Decode one picture."""
        import imagecodecs

        try:
            picture = imagecodecs.png_decode(payload)
        except (ValueError, RuntimeError) as error:
            raise FormatError(f"a png chunk cannot be decoded: {error}") from None
        from_picture(picture, out, self.name)
