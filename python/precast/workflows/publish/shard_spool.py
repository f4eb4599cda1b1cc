"""One shard on the disk: values in any order as they arrive, then the file in canonical order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from precast.errors import StorageError
from precast.precomputed.sharding import ShardingSpec, layout_shard
from precast.storage.base import translate_os_error

__all__ = ["ShardSpool"]

PIECE_BYTES = 8 << 20


class ShardSpool:
    """Collects the values of a shard beside the place of the file; a context manager that removes what it collected.

    Parameters
    ----------
    spec
        The sharding.
    path
        The file that is wanted.
    """

    def __init__(self, spec: ShardingSpec, path: Path) -> None:
        self.spec = spec
        self.path = path
        self._path = path.with_name(f"{path.name}.values")
        self._rows: list[tuple[int, int, int, int]] = []
        self._end = 0

    def __enter__(self) -> ShardSpool:
        try:
            self._file: BinaryIO = self._path.open("w+b", buffering=1 << 20)
        except OSError as error:
            raise translate_os_error(error, "writing", self._path) from None
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def add(self, key: int, value: bytes, before: Iterable[bytes] = ()) -> None:
        """Keep a value as it is stored, and the bytes that stand before it."""
        begin = self._end
        try:
            for piece in before:
                self._end += self._file.write(piece)
            middle = self._end
            self._end += self._file.write(value)
        except OSError as error:
            raise translate_os_error(error, "writing", self._path) from None
        self._rows.append((key, begin, middle - begin, len(value)))

    def finish(self) -> None:
        """Write the file."""
        rows = np.array(self._rows, np.uint64).reshape(-1, 4)
        layout = layout_shard(self.spec, rows[:, 0], rows[:, 3], rows[:, 2])
        try:
            self._file.flush()
            with self.path.open("wb", buffering=1 << 20) as out:
                out.write(layout.index)
                for members, index in layout.groups:
                    for at in members:
                        _, begin, before, size = self._rows[int(at)]
                        for piece in self._read(begin, before + size):
                            out.write(piece)
                    out.write(index)
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise translate_os_error(error, "writing", self.path) from None

    def _read(self, begin: int, size: int) -> Iterator[bytes]:
        self._file.seek(begin)
        while size:
            piece = self._file.read(min(size, PIECE_BYTES))
            if not piece:
                raise StorageError(f"the scratch file {self._path} ends too early", where=str(self._path))
            size -= len(piece)
            yield piece
