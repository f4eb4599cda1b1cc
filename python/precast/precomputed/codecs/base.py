"""What every chunk codec offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from precast.geometry import Box, Vec3

__all__ = ["Codec", "CodecOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecOptions:
    """All that a codec depends on; vectors are x, y, z.

    ``reading`` allows what precast does not write but others may have written.
    """

    data_type: str
    num_channels: int
    chunk_size: Vec3
    block_size: Vec3 | None = None
    jpeg_quality: int | None = None
    png_level: int | None = None
    reading: bool = False


class Codec(ABC):
    """One chunk encoding.

    Attributes
    ----------
    compressed
        The payload is compressed already: gzip on top of it is wasted.
    lossy
        Decoding does not give back the same voxels.
    """

    name: ClassVar[str]
    compressed: ClassVar[bool] = False
    lossy: ClassVar[bool] = False

    def __init__(self, options: CodecOptions) -> None:
        self.options = options
        self.check()
        if not options.reading:
            self.check_writing()

    @abstractmethod
    def check(self) -> None:
        """Raise ``UsageError`` if the encoding cannot hold such chunks at all."""

    def check_writing(self) -> None:  # noqa: B027  # most codecs have nothing to add
        """Raise ``UsageError`` for what can be read but must not be written."""

    @abstractmethod
    def encode_slab(
        self, data: npt.NDArray[Any], *, gzip_level: int | None, skip_zero: bool, threads: int
    ) -> list[bytes | None]:
        """Encode all chunks of a slab.

        Parameters
        ----------
        data
            Array ``(c, z, y, x)`` whose first voxel is the first voxel of a chunk; cut into chunks of
            ``chunk_size``, x fastest, the last ones cut off.
        gzip_level
            Wrap each payload in one gzip member; None leaves it bare.
        skip_zero
            Return None for chunks of only zeros.
        threads
            Number of threads to use.
        """

    @abstractmethod
    def decode(self, payload: bytes, out: npt.NDArray[Any]) -> None:
        """Decode one payload into ``out``, an array ``(c, z, y, x)`` of the chunk's truncated shape.

        Raises
        ------
        FormatError
            If the payload is not a chunk of that shape.
        """

    @property
    def max_payload_bytes(self) -> int:
        """Upper bound of a sane payload, against hostile gzip members."""
        raw = self.options.chunk_size.volume * self.options.num_channels * np.dtype(self.options.data_type).itemsize
        return 4 * raw + (1 << 16)

    def _map_chunks(self, data: npt.NDArray[Any], encode: Any, *, skip_zero: bool, threads: int) -> list[bytes | None]:
        """Call ``encode(chunk)`` for every chunk of a slab from a few threads."""
        size = Vec3(data.shape[3], data.shape[2], data.shape[1])

        def one(box: Box) -> bytes | None:
            chunk = data[box.slices()]
            if skip_zero and not chunk.any():
                return None
            payload: bytes = encode(chunk)
            return payload

        boxes: Sequence[Box] = list(Box(Vec3(0, 0, 0), size).tiles(self.options.chunk_size))
        if threads <= 1 or len(boxes) == 1:
            return [one(box) for box in boxes]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(one, boxes))
