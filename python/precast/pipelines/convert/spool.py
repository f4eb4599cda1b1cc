"""Scratch files of a block: encoded chunks that wait for their shard, voxels for the next stage, results.

Files of the block NAME, all written by one task and never changed afterwards::

    NAME.data     encoded chunks and gzipped voxel pieces, one after the other
    NAME.labels   its part of the label table, .npy
    NAME.done     a line of JSON, the names of arrays, then the arrays as .npy one after the other: where
                  everything lies in NAME.data, digests, counts. Written last, by rename: the block is
                  done when it is there. (.npz would do, but loading zipfile costs as much as a small block.)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from precast import kernels
from precast.geometry import Box, Vec3
from precast.storage.base import translate_os_error

__all__ = ["CHUNK_RECORD", "BlockResult", "PieceReader", "SpoolWriter", "block_is_done", "encode_pieces", "load_result"]

CHUNK_RECORD = np.dtype([("scale", "<u4"), ("key", "<u8"), ("offset", "<u8"), ("size", "<u8")])
PIECE_RECORD = np.dtype([("start", "<i8", 3), ("stop", "<i8", 3), ("offset", "<u8"), ("size", "<u8")])
PIECE_DEPTH = 4
PIECE_GZIP_LEVEL = 1

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class BlockResult:
    """What a finished block has left behind."""

    chunks: Array
    pieces: Array
    extra: Mapping[str, Array]


def _part(spool: Path, name: str, suffix: str) -> Path:
    return spool / f"{name}.{suffix}"


def block_is_done(spool: Path, name: str) -> bool:
    """Whether the block's results are complete."""
    return _part(spool, name, "done").exists()


def load_result(spool: Path, name: str) -> BlockResult:
    """Read the results of a finished block."""
    path = _part(spool, name, "done")
    try:
        with path.open("rb") as file:
            names = json.loads(file.readline())
            arrays = {name: np.lib.format.read_array(file, allow_pickle=False) for name in names}
    except OSError as error:
        raise translate_os_error(error, "reading", path) from None
    return BlockResult(arrays.pop("chunks"), arrays.pop("pieces"), arrays)


def data_path(spool: Path, name: str) -> Path:
    """Return the file of a block's encoded data."""
    return _part(spool, name, "data")


def labels_path(spool: Path, name: str) -> Path:
    """Return the file of a block's label table."""
    return _part(spool, name, "labels")


def encode_pieces(data: Array, size: Vec3, *, threads: int) -> list[bytes | None]:
    """Gzip an array ``(c, z, y, x)`` in pieces of ``size`` voxels, x fastest; None for pieces of only zeros."""
    codec = kernels.ChunkCodec(encoding="raw", block_size=None, gzip_level=PIECE_GZIP_LEVEL, skip_zero=True)
    return kernels.encode_chunks(data, chunk_size=size, codec=codec, threads=threads)


class SpoolWriter:
    """Writes the files of one block; a context manager that removes them again if the block fails."""

    def __init__(self, spool: Path, name: str) -> None:
        self.spool = spool
        self.name = name
        self._chunks: list[Array] = []
        self._pieces: list[tuple[Any, ...]] = []
        self._offset = 0
        self._path = data_path(spool, name)
        try:
            self._file = self._path.open("wb", buffering=1 << 20)
        except OSError as error:
            raise translate_os_error(error, "writing", self._path) from None

    def __enter__(self) -> SpoolWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._close()
        if kind is not None:
            for suffix in ("data", "labels", "done.part"):
                _part(self.spool, self.name, suffix).unlink(missing_ok=True)

    def _close(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            raise translate_os_error(error, "writing", self._path) from None

    def _append(self, data: bytes) -> int:
        try:
            self._file.write(data)
        except OSError as error:
            raise translate_os_error(error, "writing", self._path) from None
        at = self._offset
        self._offset += len(data)
        return at

    def add_chunks(self, scale: int, keys: Sequence[int], payloads: Sequence[bytes]) -> None:
        """Keep encoded chunks of a scale under their keys."""
        records = np.zeros(len(keys), CHUNK_RECORD)
        records["scale"] = scale
        records["key"] = keys
        records["offset"] = [self._append(payload) for payload in payloads]
        records["size"] = [len(payload) for payload in payloads]
        self._chunks.append(records)

    def add_pieces(self, box: Box, size: Vec3, payloads: Sequence[bytes | None]) -> None:
        """Keep the voxels of a box, cut into pieces of ``size`` and encoded by :func:`encode_pieces`."""
        for part, payload in zip(box.tiles(size), payloads, strict=True):
            at = self._append(payload) if payload is not None else 0
            self._pieces.append((part.start, part.stop, at, len(payload or b"")))

    def add_voxels(self, box: Box, data: Array, threads: int) -> None:
        """Keep the voxels of a box, gzipped in pieces of a few slices."""
        size = Vec3(box.size.x, box.size.y, PIECE_DEPTH)
        self.add_pieces(box, size, encode_pieces(data, size, threads=threads))

    def finish(self, labels: Array | None, extra: Mapping[str, Array]) -> None:
        """Complete the block."""
        self._close()
        chunks = np.concatenate(self._chunks) if self._chunks else np.zeros(0, CHUNK_RECORD)
        pieces = np.array(self._pieces, PIECE_RECORD)
        part = _part(self.spool, self.name, "done.part")
        try:
            if labels is not None:
                with labels_path(self.spool, self.name).open("wb") as file:
                    np.save(file, labels)
            with part.open("wb") as file:
                arrays = {"chunks": chunks, "pieces": pieces, **extra}
                file.write(json.dumps(list(arrays)).encode() + b"\n")
                for array in arrays.values():
                    np.lib.format.write_array(file, array, allow_pickle=False)
            part.replace(_part(self.spool, self.name, "done"))
        except OSError as error:
            raise translate_os_error(error, "writing", part) from None


class PieceReader:
    """Reads boxes from the voxel pieces of several blocks. Picklable; opens files only while it reads."""

    def __init__(self, spool: Path, names: Sequence[str], channels: int, dtype: np.dtype[Any]) -> None:
        self.spool = spool
        self.names = list(names)
        self.channels = channels
        self.dtype = dtype
        self._index: list[Array] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_index": None}

    def _pieces(self) -> list[Array]:
        if self._index is None:
            self._index = [load_result(self.spool, name).pieces for name in self.names]
        return self._index

    def _overlapping(self, box: Box) -> Iterator[tuple[Path, Array]]:
        for name, pieces in zip(self.names, self._pieces(), strict=True):
            hit = (pieces["start"] < box.stop).all(axis=1) & (pieces["stop"] > box.start).all(axis=1)
            if hit.any():
                yield data_path(self.spool, name), pieces[hit]

    def read(self, box: Box, out: Array) -> None:
        """Fill ``out`` with the voxels of ``box``; every one of them must have been kept."""
        for path, pieces in self._overlapping(box):
            try:
                with path.open("rb") as file:
                    for record in pieces:
                        self._copy(record, file, box, out)
            except OSError as error:
                raise translate_os_error(error, "reading", path) from None

    def _copy(self, record: Any, file: Any, box: Box, out: Array) -> None:
        whole = Box(Vec3.of(record["start"].tolist()), Vec3.of(record["stop"].tolist()))
        part = whole.intersect(box)
        target = out[part.slices(box.start)]
        if not record["size"]:
            target[...] = 0
            return
        shape = (self.channels, *whole.size.zyx)
        file.seek(int(record["offset"]))
        raw = kernels.gzip_decompress(file.read(int(record["size"])), int(np.prod(shape)) * self.dtype.itemsize)
        target[...] = np.frombuffer(raw, self.dtype).reshape(shape)[part.slices(whole.start)]
