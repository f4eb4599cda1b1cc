"""What happens to a finished slab: digest, label table, encoding, storing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from precast import kernels
from precast.dataset.objects import attributes
from precast.geometry import Box, Vec3
from precast.pipelines.convert.plan import ConvertPlan
from precast.pipelines.convert.spool import SpoolWriter
from precast.precomputed.objects import ObjectKind
from precast.storage import Store

__all__ = ["BlockSink"]

Array = npt.NDArray[Any]


class BlockSink:
    """Takes the slabs of one block; implements the cascade's ``SlabSink``.

    Parameters
    ----------
    plan
        The conversion.
    spool
        Where encoded chunks for shards and the next stage's voxels go.
    store
        Where unsharded chunks go.
    threads
        Threads for encoding.
    """

    def __init__(self, plan: ConvertPlan, spool: SpoolWriter, store: Store, threads: int) -> None:
        self.plan = plan
        self.spool = spool
        self.store = store
        self.threads = threads
        self.digests = np.zeros((len(plan.scales), 2), np.uint64)
        self.stored = np.zeros(len(plan.scales), np.uint64)
        self.stored_bytes = np.zeros(len(plan.scales), np.uint64)
        self.labels = kernels.LabelTable() if plan.info.kind == "segmentation" else None

    def slab(self, scale: int, box: Box, data: Array) -> None:
        """Process the owned part of one slab of a scale."""
        plan = self.plan
        geometry = plan.scales[scale]
        if scale == 0 and self.labels is not None:
            self.labels.update(data, box.start.minus(geometry.box.start), threads=self.threads)
        if not plan.codecs[scale].lossy:
            self._digest(scale, box, data)
        for batch in box.tiles(self._batch_size(box.size)):
            part = data[batch.slices(box.start)]
            payloads = plan.codecs[scale].encode_slab(
                part, gzip_level=plan.gzip_level, skip_zero=plan.skip_zero, threads=self.threads
            )
            if plan.codecs[scale].lossy:
                self._digest_decoded(scale, batch, payloads)
            self._store(scale, batch, payloads)

    def residual(self, box: Box, data: Array) -> None:
        """Keep voxels for the next stage."""
        self.spool.add_voxels(box, data, self.threads)

    def extra(self) -> dict[str, Array]:
        """Return the results that belong into the block's record."""
        return {"digests": self.digests, "stored": self.stored, "stored_bytes": self.stored_bytes}

    def _batch_size(self, size: Vec3) -> Vec3:
        """Return how much of a slab is encoded at once: whole rows of chunks while they fit, else parts of one row."""
        chunk = self.plan.options.chunk_size
        voxel = self.plan.channels * self.plan.dtype.itemsize
        limit = self.plan.batch_bytes
        row = size.x * chunk.y * chunk.z * voxel
        if row <= limit:
            return Vec3(size.x, chunk.y * max(1, limit // row), size.z)
        count = max(1, limit // (chunk.volume * voxel))
        return Vec3(chunk.x * count, chunk.y, size.z)

    def _digest(self, scale: int, box: Box, data: Array) -> None:
        whole = self.plan.scales[scale].box
        lanes = kernels.voxel_digest(data, box.start.minus(whole.start), whole.size, threads=self.threads)
        self.digests[scale] += np.array(lanes, np.uint64)

    def _digest_decoded(self, scale: int, box: Box, payloads: list[bytes | None]) -> None:
        """Add what a reader will decode, which for a lossy encoding is not what was encoded."""
        codec, plan = self.plan.codecs[scale], self.plan
        decoded = np.zeros((plan.channels, *box.size.zyx), plan.dtype)

        def decode(item: tuple[Box, bytes | None]) -> None:
            part, payload = item
            if payload is not None:
                codec.decode(payload, decoded[part.slices(box.start)])

        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(decode, zip(box.tiles(plan.options.chunk_size), payloads, strict=True)))
        self._digest(scale, box, decoded)

    def _store(self, scale: int, box: Box, payloads: list[bytes | None]) -> None:
        info = self.plan.info.scales[scale]
        cells = list(info.cells(box).tiles((1, 1, 1)))
        kept = [(cell.start, payload) for cell, payload in zip(cells, payloads, strict=True) if payload is not None]
        if not kept:
            return
        self.stored[scale] += np.uint64(len(kept))
        self.stored_bytes[scale] += np.uint64(sum(len(payload) for _, payload in kept))
        if info.sharding is not None:
            keys = kernels.morton_codes(np.array([cell for cell, _ in kept], np.int64), info.grid).tolist()
            self.spool.add_chunks(scale, keys, [payload for _, payload in kept])
            return
        kept_as = attributes(ObjectKind.CHUNK, encoding="" if self.plan.gzip_level is None else "gzip")
        for cell, payload in kept:
            self.store.write(f"{info.key}/{info.chunk_name(cell)}", payload, kept_as)
