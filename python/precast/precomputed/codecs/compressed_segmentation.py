"""``compressed_segmentation``: labels as per-block tables and packed indices; see the native kernel."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from precast import kernels
from precast.errors import UsageError
from precast.geometry import Vec3
from precast.precomputed.codecs.base import Codec

__all__ = ["DEFAULT_BLOCK_SIZE", "CompressedSegmentationCodec"]

DEFAULT_BLOCK_SIZE = Vec3(8, 8, 8)
WORD_LIMIT = 2**24


class CompressedSegmentationCodec(Codec):
    """uint32 and uint64 labels."""

    name = "compressed_segmentation"

    def check(self) -> None:
        """Refuse other dtypes."""
        o = self.options
        if o.data_type not in ("uint32", "uint64"):
            raise UsageError(
                f"compressed_segmentation holds uint32 and uint64 labels, not {o.data_type}",
                hint="use --encoding raw, or --kind segmentation for labels in a small integer type",
            )

    def check_writing(self) -> None:
        """Refuse huge blocks, and sizes whose worst case does not fit the 24-bit offsets."""
        o = self.options
        block = self.block_size
        if block.volume > 65536:
            raise UsageError(
                f"compressed_segmentation blocks of {block} hold more than 65536 voxels, which viewers cannot draw",
                hint="use --block-size 8,8,8",
            )
        words = kernels.compressed_segmentation_worst_case_words(o.chunk_size, o.data_type, block)
        if words >= WORD_LIMIT:
            raise UsageError(
                f"chunks of {o.chunk_size} {o.data_type} voxels in blocks of {block} may need {words} words; "
                f"the format's offsets end at {WORD_LIMIT}",
                hint="use a smaller --chunk-size, for example 64,64,64 or 128,128,128",
            )

    @property
    def block_size(self) -> Vec3:
        """The block size, 8,8,8 unless given."""
        return self.options.block_size or DEFAULT_BLOCK_SIZE

    def encode_slab(
        self, data: npt.NDArray[Any], *, gzip_level: int | None, skip_zero: bool, threads: int
    ) -> list[bytes | None]:
        """Encode in the native core."""
        codec = kernels.ChunkCodec(
            encoding="compressed_segmentation", block_size=self.block_size, gzip_level=gzip_level, skip_zero=skip_zero
        )
        return kernels.encode_chunks(data, chunk_size=self.options.chunk_size, codec=codec, threads=threads)

    def decode(self, payload: bytes, out: npt.NDArray[Any]) -> None:
        """Decode in the native core."""
        kernels.decode_compressed_segmentation(payload, self.block_size, out)
