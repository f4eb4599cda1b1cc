"""What the wrappers of kernels share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from precast import _native
from precast.errors import FormatError, UsageError

__all__ = ["U64", "Array", "Bytes", "kernel_errors", "unsigned"]

Array = npt.NDArray[Any]


U64 = npt.NDArray[np.uint64]


Bytes = bytes | bytearray | memoryview


@contextmanager
def kernel_errors(what: str) -> Iterator[None]:
    """Turn what the native module raises into precast's errors; ``what`` was done says where."""
    try:
        yield
    except _native.FormatError as error:
        raise FormatError(f"{what}: {error}") from None
    except (ValueError, TypeError, OverflowError) as error:
        raise UsageError(f"{what}: {error}") from None


def unsigned(values: npt.ArrayLike, what: str) -> U64:
    """Return integers as a C-contiguous uint64 array, none of them changed."""
    array = np.asarray(values)
    if array.size == 0:
        return np.zeros(array.shape, np.uint64)
    if array.dtype.kind not in "iu":
        raise UsageError(f"{what} must be integers, got dtype {array.dtype}")
    if array.dtype.kind == "i" and array.min() < 0:
        raise UsageError(f"{what} must not be negative, got {array.min()}")
    return np.ascontiguousarray(array, np.uint64)
