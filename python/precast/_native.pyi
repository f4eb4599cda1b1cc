"""The compiled kernels; use them through :mod:`precast.kernels`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__version__: str

def downsample(
    data: NDArray[Any],
    out: NDArray[Any],
    start: tuple[int, int, int],
    factors: tuple[int, int, int],
    method: str,
    threads: int,
) -> None: ...
def voxel_digest(
    data: NDArray[np.unsignedinteger[Any]], start: tuple[int, int, int], size: tuple[int, int, int], threads: int
) -> tuple[int, int]: ...
def format_digest(lanes: tuple[int, int], size: tuple[int, int, int], channels: int, dtype: str) -> str: ...

class LabelTable:
    def __init__(self) -> None: ...
    def __len__(self) -> int: ...
    def update(self, data: NDArray[Any], start: tuple[int, int, int], threads: int) -> None: ...
    def merge(self, records: NDArray[np.uint64]) -> None: ...
    def take(self) -> NDArray[np.uint64]: ...
