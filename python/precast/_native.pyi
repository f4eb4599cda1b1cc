"""The compiled kernels; use them through :mod:`precast.kernels`, where they are described."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = bytes | bytearray | memoryview

__version__: str

class FormatError(ValueError): ...

def encode_chunks(
    data: npt.NDArray[Any],
    chunk_size: Sequence[int],
    block_size: Sequence[int] | None,
    gzip_level: int | None,
    skip_zero: bool,
    threads: int,
) -> list[bytes | None]: ...
def decode_compressed_segmentation(data: Bytes, block_size: Sequence[int], out: npt.NDArray[Any]) -> None: ...
def compressed_segmentation_worst_case_words(
    chunk_size: Sequence[int], block_size: Sequence[int], itemsize: int
) -> int: ...
def gzip_compress(data: Bytes, level: int) -> bytes: ...
def gzip_decompress(data: Bytes, max_size: int) -> bytes: ...
def morton_codes(cells: npt.NDArray[np.uint64], grid: Sequence[int]) -> npt.NDArray[np.uint64]: ...
def morton_cells(codes: npt.NDArray[np.uint64], grid: Sequence[int]) -> npt.NDArray[np.uint64]: ...
def murmurhash3_x86_128(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]: ...
