"""``raw``: the voxels, little-endian, x fastest, channel slowest; no header."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from precast import kernels
from precast.errors import FormatError
from precast.precomputed.codecs.base import Codec

__all__ = ["RawCodec"]


class RawCodec(Codec):
    """Any dtype, any number of channels."""

    name = "raw"

    def check(self) -> None:
        """Accept everything."""

    def encode_slab(
        self, data: npt.NDArray[Any], *, gzip_level: int | None, skip_zero: bool, threads: int
    ) -> list[bytes | None]:
        """Encode in the native core."""
        codec = kernels.ChunkCodec(encoding="raw", block_size=None, gzip_level=gzip_level, skip_zero=skip_zero)
        return kernels.encode_chunks(data, chunk_size=self.options.chunk_size, codec=codec, threads=threads)

    def decode(self, payload: bytes, out: npt.NDArray[Any]) -> None:
        """Copy the bytes."""
        if len(payload) != out.nbytes:
            raise FormatError(
                f"a raw chunk of shape {out.shape} and dtype {out.dtype} has {out.nbytes} bytes, got {len(payload)}"
            )
        out[...] = np.frombuffer(payload, out.dtype.newbyteorder("<")).reshape(out.shape)
