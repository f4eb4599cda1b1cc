"""Scratch files: the pieces of a block, the encoded objects of a task, what an object does not keep in memory.

A task's results are ``NAME.done``: a line of JSON with names, dtypes, shapes and places, then the arrays as they lie
in memory. It is written last, by rename: the task is done when it is there. Encoded objects lie in ``NAME.data``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from precast.storage.base import translate_os_error

__all__ = ["Shelf", "data_path", "is_done", "load_arrays", "save_arrays"]

Array = npt.NDArray[Any]
ALIGNMENT = 64


def data_path(spool: Path, name: str) -> Path:
    """Return the file of the encoded objects of a task."""
    return spool / f"{name}.data"


def is_done(spool: Path, name: str) -> bool:
    """Whether the results of a task are complete."""
    return (spool / f"{name}.done").exists()


def save_arrays(spool: Path, name: str, arrays: Mapping[str, Array], **more: Any) -> None:
    """Write the results of a task, at once; ``more`` are JSON values."""
    part = spool / f"{name}.done.part"
    places: list[list[Any]] = []
    at = 0
    for key, array in arrays.items():
        at = -(-at // ALIGNMENT) * ALIGNMENT
        places.append([key, np.lib.format.dtype_to_descr(array.dtype), list(array.shape), at])
        at += array.nbytes
    header = json.dumps({"arrays": places, "more": more}).encode() + b"\n"
    base = -(-len(header) // ALIGNMENT) * ALIGNMENT
    try:
        with part.open("wb", buffering=1 << 20) as file:
            file.write(header[:-1].ljust(base - 1) + b"\n")
            for array, place in zip(arrays.values(), places, strict=True):
                file.seek(base + place[3])
                file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else b"")
            file.truncate(max(file.tell(), base))
        part.replace(spool / f"{name}.done")
    except OSError as error:
        part.unlink(missing_ok=True)
        raise translate_os_error(error, "writing", part) from None


def load_arrays(spool: Path, name: str) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read the results of a task; arrays are mapped, not read."""
    path = spool / f"{name}.done"
    try:
        with path.open("rb") as file:
            line = file.readline()
        header = json.loads(line)
        whole = np.memmap(path, np.uint8, "r") if path.stat().st_size > len(line) else np.zeros(0, np.uint8)
    except OSError as error:
        raise translate_os_error(error, "reading", path) from None
    arrays = {}
    for key, described, shape, at in header["arrays"]:
        dtype = np.dtype(described if isinstance(described, str) else [_field(field) for field in described])
        count = int(np.prod(shape)) * dtype.itemsize
        raw = np.asarray(whole[len(line) + at : len(line) + at + count])
        arrays[key] = raw.view(dtype).reshape(shape) if count else np.zeros(shape, dtype)
    return arrays, header["more"]


def _field(field: list[Any]) -> tuple[Any, ...]:
    """Return one field of a dtype as NumPy wants it; JSON has made its tuples lists."""
    name, kind, *shape = field
    return (name, kind, tuple(shape[0])) if shape else (name, kind)


class Shelf:
    """Arrays that one task puts aside, in memory or in a directory that goes when the task ends."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._count = 0

    def __enter__(self) -> Shelf:
        return self

    def __exit__(self, *_: object) -> None:
        if self._count:
            shutil.rmtree(self.directory, ignore_errors=True)

    def put(self, arrays: Sequence[Array], *, in_memory: bool) -> Callable[[], list[Array]]:
        """Keep arrays and return a function that gives them back."""
        if in_memory:
            kept = list(arrays)
            return lambda: kept
        name = f"{self._count:06d}"
        self._count += 1
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise translate_os_error(error, "making", self.directory) from None
        save_arrays(self.directory, name, {str(i): array for i, array in enumerate(arrays)})
        return lambda: list(load_arrays(self.directory, name)[0].values())
