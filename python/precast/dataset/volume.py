"""A precomputed volume that can be read: any box of any scale, across chunk and shard borders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from precast import kernels
from precast.dataset.layout import ScaleLayout
from precast.dataset.meshes import VolumeMeshes, open_meshes
from precast.dataset.shards import ShardReader
from precast.errors import FormatError, ObjectNotFoundError
from precast.geometry import Box, Vec3
from precast.precomputed.chunk_names import in_folders
from precast.precomputed.codecs import codec_of_scale
from precast.precomputed.info import VolumeInfo
from precast.precomputed.objects import INFO_KEY
from precast.storage import CloudStore, HttpStore, ObjectStat, Store, StoreOptions, open_store

__all__ = ["Scale", "Volume", "open_volume"]

Array = npt.NDArray[Any]
READ_THREADS = 4
REQUESTS_AT_ONCE = 16
"""To stores that are far away, where most of the time is spent waiting."""


def open_volume(path: str | os.PathLike[str] | Store, options: StoreOptions | None = None) -> Volume:
    """Open a precomputed volume.

    Parameters
    ----------
    path
        Its directory, its address (``https://…``, ``s3://…``, ``gs://…``, ``az://…``), or a store.
    options
        How its bucket is reached, beyond what the environment says.

    Raises
    ------
    ObjectNotFoundError
        If there is no ``info``.
    FormatError
        If ``info`` is not a volume that precast can read; lists every problem.
    UsageError
        If it is an address that precast cannot read.
    MissingExtraError
        If it is in a bucket that cannot be reached without the extra ``cloud``.
    AccessDeniedError, StorageError
        If it cannot be read.
    """
    store = open_store(path, options)
    try:
        data = store.read(INFO_KEY)
    except ObjectNotFoundError:
        raise ObjectNotFoundError(
            f"{store.url} is not a precomputed volume: it has no info file",
            hint="give the directory that holds the info file",
            where=store.url,
        ) from None
    return Volume(store, VolumeInfo.from_bytes(data, where=f"{store.url}/{INFO_KEY}"))


class Volume:
    """An open volume.

    Attributes
    ----------
    info
        The parsed ``info``.
    scales
        One :class:`Scale` per scale, finest first.
    """

    def __init__(self, store: Store, info: VolumeInfo) -> None:
        self.store = store
        self.info = info
        self.scales = tuple(Scale(store, info, i) for i in range(len(info.scales)))

    @property
    def kind(self) -> str:
        """``image`` or ``segmentation``."""
        return self.info.kind

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy dtype of the voxels."""
        return np.dtype(self.info.data_type)

    @cached_property
    def meshes(self) -> VolumeMeshes:
        """The meshes of a segmentation's objects by id, read when they are asked for.

        Raises
        ------
        ObjectNotFoundError
            If the volume's ``info`` names no meshes.
        FormatError
            If the ``info`` of the meshes is not one that precast can read.
        """
        if self.info.mesh is None:
            raise ObjectNotFoundError(
                f"{self.store.url} has no meshes: its info has no key mesh",
                hint=f"precast mesh {self.store.url} makes them",
                where=self.store.url,
            )
        return open_meshes(self.store, self.info.mesh)

    def __repr__(self) -> str:
        size = "x".join(str(n) for n in self.info.scales[0].size)
        return f"<precast.Volume {self.store.url} {self.kind} {self.info.data_type} {size}, {len(self.scales)} scales>"


class Scale:
    """One scale of a volume.

    ``scale[z0:z1, y0:y1, x0:x1]`` takes absolute voxel coordinates of this scale, ``voxel_offset`` included; negative
    numbers are coordinates, not positions from the end. A volume with several channels has the channel in front:
    ``scale[c0:c1, z0:z1, y0:y1, x0:x1]``. Missing ends mean the bounds, a single number drops its axis. Chunks that
    are not stored read as 0, as the format says; that none is stored is an error, unless ``provenance`` says so.
    """

    def __init__(self, store: Store, info: VolumeInfo, index: int) -> None:
        self.store = store
        self.info = info.scales[index]
        self.index = index
        self.channels = info.num_channels
        self.dtype = np.dtype(info.data_type)
        self._codec = codec_of_scale(self.info, info.data_type, info.num_channels, reading=True)
        sharding = self.info.sharding
        self._shards = None if sharding is None else ShardReader(store, self.info.key, sharding)
        self._layout = ScaleLayout(store, self.info)

    def __repr__(self) -> str:
        return f"<precast.Scale {self.info.key} {self.info.box}>"

    @property
    def box(self) -> Box:
        """All voxels, absolute."""
        return self.info.box

    @property
    def shape(self) -> tuple[int, ...]:
        """Array shape of the whole scale: ``(z, y, x)``, or ``(c, z, y, x)`` with several channels."""
        return self.info.size.zyx if self.channels == 1 else (self.channels, *self.info.size.zyx)

    def __getitem__(self, item: Any) -> Array:
        items = item if isinstance(item, tuple) else (item,)
        bounds = [(a, b) for a, b in zip(self.box.start.zyx, self.box.stop.zyx, strict=True)]
        if self.channels > 1:
            bounds.insert(0, (0, self.channels))
        if Ellipsis in [entry for entry in items if entry is Ellipsis]:
            at = next(i for i, entry in enumerate(items) if entry is Ellipsis)
            items = items[:at] + (slice(None),) * (len(bounds) - len(items) + 1) + items[at + 1 :]
        if len(items) > len(bounds):
            raise IndexError(f"{len(items)} indices for {len(bounds)} axes")
        items = items + (slice(None),) * (len(bounds) - len(items))
        ranges = [_range(entry, low, high) for entry, (low, high) in zip(items, bounds, strict=True)]
        (z0, z1, _), (y0, y1, _), (x0, x1, _) = ranges[-3:]
        data = self.read(Box(Vec3(x0, y0, z0), Vec3(x1, y1, z1)))
        data = data[0] if self.channels == 1 else data[slice(*ranges[0][:2])]
        return data[tuple(0 if single else slice(None) for _, _, single in ranges)]

    def read(self, box: Box, *, threads: int = READ_THREADS) -> Array:
        """Return the voxels of ``box``, absolute x, y, z, as an array ``(c, z, y, x)``.

        Raises
        ------
        IndexError
            If the box is not inside the scale.
        FormatError, StorageError
            If a chunk cannot be read or decoded; names it. If no chunk of the scale is there at all.
        """
        if not self.box.contains(box):
            raise IndexError(f"the box {box} is not inside the bounds {self.box} of scale {self.info.key}")
        out = np.zeros((self.channels, *box.size.zyx), self.dtype)
        if box.empty:
            return out
        cells = [cell.start for cell in self.info.cells(box).tiles((1, 1, 1))]
        keys = self._keys(cells)

        def one(number: int) -> None:
            self._read_chunk(cells[number], keys[number], box, out)

        if len(cells) == 1:
            one(0)
            return out
        if isinstance(self.store, CloudStore | HttpStore):
            threads = max(threads, REQUESTS_AT_ONCE)
        with ThreadPoolExecutor(min(threads, len(cells))) as pool:
            list(pool.map(one, range(len(cells))))
        return out

    def read_chunk(self, cell: Vec3) -> Array | None:
        """Return one chunk ``(c, z, y, x)`` by its grid cell, or None if it is not stored."""
        box = self.info.chunk_box(cell)
        out = np.zeros((self.channels, *box.size.zyx), self.dtype)
        return out if self._read_chunk(cell, self._keys([cell])[0], box, out) else None

    def objects(self) -> Iterator[ObjectStat]:
        """Yield the stored objects of this scale."""
        return self.store.list(f"{self.info.key}/")

    def in_folders(self) -> bool:
        """Return whether the chunks lie in a folder per axis, where viewers do not look.

        Raises
        ------
        FormatError
            If no chunk is there at all, and nothing says that all are empty.
        """
        return self._layout.in_folders()

    def stored_chunks(self) -> int:
        """Count the chunks that are stored, from the objects that are there."""
        if self._shards is None:
            return sum(1 for _ in self.objects())
        return sum(len(stored.index.keys) for stored in self._shards.minishards())

    # ---- chunks

    def _keys(self, cells: list[Vec3]) -> list[int]:
        if self.info.sharding is None:
            return [0] * len(cells)
        keys: list[int] = kernels.morton_codes(np.array(cells, np.int64), self.info.grid).tolist()
        return keys

    def _read_chunk(self, cell: Vec3, key: int, box: Box, out: Array) -> bool:
        whole = self.info.chunk_box(cell)
        name = f"{self.info.key}/{self.info.chunk_name(cell)}"
        try:
            payload = self._payload(cell, key)
            if payload is None:
                return False
            part = whole.intersect(box)
            if part == whole:
                self._codec.decode(payload, out[part.slices(box.start)])
            else:
                chunk = np.empty((self.channels, *whole.size.zyx), self.dtype)
                self._codec.decode(payload, chunk)
                out[part.slices(box.start)] = chunk[part.slices(whole.start)]
        except FormatError as error:
            if error.where == self._layout.where:
                raise  # it is about all chunks
            raise FormatError(f"chunk {name}: {error.message}", hint=error.hint, where=name) from None
        return True

    def _payload(self, cell: Vec3, key: int) -> bytes | None:
        if self._shards is not None:
            payload = self._shards.read(key, self._codec.max_payload_bytes)
            if payload is None:
                try:
                    self._layout.in_folders()
                except FormatError:
                    self._shards.forget()
                    raise
            return payload
        name = self.info.chunk_name(cell)
        payload = self._file(name)
        return self._file(in_folders(name)) if payload is None and self._layout.in_folders() else payload

    def _file(self, name: str) -> bytes | None:
        try:
            return self.store.read(f"{self.info.key}/{name}")
        except ObjectNotFoundError:
            return None


def _range(entry: Any, low: int, high: int) -> tuple[int, int, bool]:
    if isinstance(entry, slice):
        if entry.step not in (None, 1):
            raise IndexError(f"steps are not supported, got {entry.step}")
        start = low if entry.start is None else int(entry.start)
        stop = high if entry.stop is None else int(entry.stop)
        if stop < start:
            raise IndexError(f"the range {start}:{stop} ends before it starts")
    elif isinstance(entry, int | np.integer):
        start, stop = int(entry), int(entry) + 1
    else:
        raise IndexError(f"an index is a number or a range, got {entry!r}")
    if start < low or stop > high:
        raise IndexError(f"{start}:{stop} is outside the bounds {low}:{high}")
    return start, stop, not isinstance(entry, slice)
