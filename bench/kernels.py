"""Kernels on one thread, each beside a plain copy of its input: coding, reducing, counting and hashing of voxels.

Fairness. The peers get their data in the memory order that they like best (Fortran order x, y, z, which is
the same bytes as our z, y, x) and already cut into chunks, as precast does. TensorStore has
no function that encodes one chunk: its side writes or reads a whole ``memory://`` volume of such chunks
with its cache off, one copy thread, without compression on top, the volume made beforehand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import compressed_segmentation
import numpy as np
import tensorstore as ts
import tinybrain

from bench import data as datasets
from bench.data import Voxels
from bench.harness import Case, DifferenceError, Side

__all__ = ["cases"]

_BLOCK = 8
_CHUNKS = (64, 128)
_FACTORS = ((2, 2, 1), (2, 2, 2))
_ENCODE_FLOOR, _DECODE_FLOOR, _MAJORITY_FLOOR, _MEAN_FLOOR = 10.0, 2.5, 1.5, 1.0


def cases(*, with_precast: bool) -> Iterator[Case]:
    """Yield all kernel cases; without precast only the peers are in them."""
    for dtype in ("uint32", "uint64"):
        for chunk in _CHUNKS:
            yield from _codec(dtype, chunk, with_precast)
    for dtype in ("uint32", "uint64"):
        for factors in _FACTORS:
            for scales in (1, 4):
                yield _majority(dtype, factors, scales, with_precast)
    for dtype in ("uint8", "uint16"):
        for factors in _FACTORS:
            for scales in (1, 4):
                yield _mean(dtype, factors, scales, with_precast)
    for dtype in ("uint32", "uint64"):
        yield _label_table(dtype, with_precast)
    for data in (datasets.labels("uint32"), datasets.electron_microscopy("uint8")):
        yield _digest(data, with_precast)


def _copy(source: Voxels) -> Side:
    target = np.empty_like(source)
    return Side("copy", lambda: np.copyto(target, source))


def _chunkwise(name: str, decode: Callable[[bytes], Voxels], encoded: Sequence[bytes]) -> Side:
    """Return a side that decodes chunk after chunk and keeps none, so that it does not time fresh memory."""

    def run() -> None:
        for one in encoded:
            decode(one)

    return Side(name, run, lambda: [decode(one) for one in encoded])


def _same(what: str, got: Voxels, expected: Voxels) -> None:
    if got.shape != expected.shape or got.dtype != expected.dtype:
        raise DifferenceError(f"{what}: {got.dtype}{got.shape} instead of {expected.dtype}{expected.shape}")
    wrong = got != expected
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise DifferenceError(
            f"{what}: {int(wrong.sum())} of {wrong.size} voxels differ; at {where} {got[where]} instead of "
            f"{expected[where]}"
        )


def _cut(data: Voxels, chunk: int) -> list[Voxels]:
    """Return contiguous chunks, x fastest."""
    starts = [range(0, extent, chunk) for extent in data.shape]
    return [
        np.ascontiguousarray(data[z : z + chunk, y : y + chunk, x : x + chunk])
        for z in starts[0]
        for y in starts[1]
        for x in starts[2]
    ]


def _store(data: Voxels, chunk: int) -> Any:
    """Return an empty in-memory volume of TensorStore, x, y, z, channel."""
    z, y, x = data.shape
    return ts.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "memory"},
            "multiscale_metadata": {"data_type": str(data.dtype), "num_channels": 1, "type": "segmentation"},
            "scale_metadata": {
                "encoding": "compressed_segmentation",
                "compressed_segmentation_block_size": [_BLOCK] * 3,
                "chunk_size": [chunk] * 3,
                "resolution": [32, 32, 40],
                "size": [x, y, z],
            },
            "create": True,
        },
        context=ts.Context({"data_copy_concurrency": {"limit": 1}, "cache_pool": {"total_bytes_limit": 0}}),
    ).result()


def _codec(dtype: str, chunk: int, with_precast: bool) -> Iterator[Case]:
    data = datasets.labels(dtype)
    pieces = _cut(data, chunk)
    block = (_BLOCK,) * 3
    store = _store(data, chunk)
    image = data.T[..., None]

    def peer_encode() -> list[bytes]:
        return [compressed_segmentation.compress(piece.T, block, order="F") for piece in pieces]

    def peer_decode(one: bytes) -> Voxels:
        size = (chunk,) * 3
        back = compressed_segmentation.decompress(one, size, dtype, block, order="F")
        return np.asarray(back.reshape(size).T)

    def check_encode(outputs: Mapping[str, Any]) -> str:
        _same("tensorstore", np.asarray(store.read().result())[..., 0].T, data)
        for name in ("compressed_segmentation", "precast"):
            if name not in outputs:
                continue
            if len(outputs[name]) != len(pieces):
                raise DifferenceError(f"{name}: {len(outputs[name])} chunks instead of {len(pieces)}")
            for chunk_bytes, piece in zip(outputs[name], pieces, strict=True):
                size = piece.shape[::-1]
                # A decoder of a third party: a fault of an encoder cannot hide behind its own decoder.
                back = compressed_segmentation.decompress(chunk_bytes, size, dtype, block, order="F")
                _same(f"{name}, decoded by compressed_segmentation", back.reshape(size).T, piece)
        sizes = {n: sum(map(len, outputs[n])) for n in ("compressed_segmentation", "precast") if n in outputs}
        return f"every output decoded to the input; encoded bytes {sizes}"

    def check_decode(outputs: Mapping[str, Any]) -> str:
        _same("tensorstore", np.asarray(outputs["tensorstore"])[..., 0].T, data)
        for piece, got in zip(pieces, outputs["compressed_segmentation"], strict=True):
            _same("compressed_segmentation", got, piece)
        for piece, got in zip(pieces, outputs.get("precast", pieces), strict=True):
            _same("precast", got, piece)
        return "every output equal to the voxels before encoding"

    text = f"{dtype}, chunks {chunk}³"
    sides = [
        Side("compressed_segmentation", peer_encode),
        Side("tensorstore", lambda: store.write(image, can_reference_source_data_indefinitely=True).result()),
        _copy(data),
    ]
    if with_precast:
        from bench import ours

        sides.insert(0, Side("precast", lambda: ours.encode(pieces, _BLOCK)))
    yield Case(
        "encode", "encode compressed_segmentation", text, data.size, data.nbytes, sides, check_encode, _ENCODE_FLOOR
    )

    encoded = peer_encode()
    store.write(image).result()
    sides = [
        _chunkwise("compressed_segmentation", peer_decode, encoded),
        Side("tensorstore", lambda: store.read().result()),
        _copy(data),
    ]
    if with_precast:
        out = np.empty((chunk, chunk, chunk), dtype)

        def decode_all() -> None:
            for one in encoded:
                ours.decode(one, _BLOCK, out)

        def decoded() -> list[Voxels]:
            return [ours.decode(one, _BLOCK, np.empty_like(out)) for one in encoded]

        sides.insert(0, Side("precast", decode_all, decoded))
    yield Case(
        "decode", "decode compressed_segmentation", text, data.size, data.nbytes, sides, check_decode, _DECODE_FLOOR
    )


def _tensorstore_pyramid(
    data: Voxels, factors: Sequence[int], method: Literal["mode", "mean"], scales: int
) -> list[Voxels]:
    """Return successive reductions by TensorStore, its axes in our order."""
    levels, level = [], data
    for _ in range(scales):
        context = ts.Context({"data_copy_concurrency": {"limit": 1}})
        view = ts.downsample(ts.array(level, context=context), list(factors[::-1]), method)
        level = np.asarray(view.read().result())
        levels.append(level)
    return levels


def _reference(
    data: Voxels, factors: Sequence[int], scales: int, step: Callable[[Voxels, Sequence[int]], Voxels]
) -> list[Voxels]:
    levels, level = [], data
    for _ in range(scales):
        level = step(level, factors)
        levels.append(level)
    return levels


def _majority(dtype: str, factors: Sequence[int], scales: int, with_precast: bool) -> Case:
    data = datasets.labels(dtype)
    image = data.T

    def check(outputs: Mapping[str, Any]) -> str:
        expected = _reference(data, factors, scales, lambda level, by: datasets.majority(level, by)[0])
        for name in ("tensorstore", "precast"):
            for k, level in enumerate(outputs.get(name, ())):
                _same(f"{name}, scale {k + 1}", level, expected[k])
        peers = [level.reshape(level.shape[:3]).T for level in outputs["tinybrain"]]
        if len(peers) != scales:
            raise DifferenceError(f"tinybrain: {len(peers)} scales instead of {scales}")
        _, alone = datasets.majority(data, factors)
        _same("tinybrain, cells with one most frequent label", peers[0][alone], expected[0][alone])
        ties = 100 * (1 - alone.mean())
        text = (
            "precast and tensorstore equal to an exact numpy reference at every scale; tinybrain at the first scale in "
            f"all cells that have a single most frequent label ({ties:.2f} % do not, it breaks such ties otherwise)"
        )
        return text + ("; its coarser scales follow from these ties and are not compared" if scales > 1 else "")

    sides = [
        Side("tinybrain", lambda: tinybrain.downsample_segmentation(image, tuple(factors), num_mips=scales)),
        Side("tensorstore", lambda: _tensorstore_pyramid(data, factors, "mode", scales)),
        _copy(data),
    ]
    if with_precast:
        from bench import ours

        sides.insert(0, Side("precast", lambda: ours.downsample(data, factors, "majority", scales)))
    return Case(
        "majority", _work("majority", factors, scales), dtype, data.size, data.nbytes, sides, check, _MAJORITY_FLOOR
    )


def _mean(dtype: str, factors: Sequence[int], scales: int, with_precast: bool) -> Case:
    data = datasets.electron_microscopy(dtype)
    image = data.T

    def check(outputs: Mapping[str, Any]) -> str:
        expected = _reference(data, factors, scales, datasets.mean)
        for name in ("tensorstore", "precast"):
            for k, level in enumerate(outputs.get(name, ())):
                _same(f"{name}, scale {k + 1}", level, expected[k])
        peers = [level.reshape(level.shape[:3]).T for level in outputs["tinybrain"]]
        _same("tinybrain, first scale, against the truncated mean", peers[0], datasets.truncated_mean(data, factors))
        for k, level in enumerate(peers):
            apart = np.abs(level.astype(np.int64) - expected[k].astype(np.int64)).max()
            if level.shape != expected[k].shape or apart > k + 1:
                raise DifferenceError(f"tinybrain, scale {k + 1}: {apart} grey levels from the exact mean")
        return (
            "precast and tensorstore equal to an exact numpy reference, rounded half to even, at every scale; "
            "tinybrain, which rounds down, equal to the truncated mean at the first scale and within one level a scale "
            "after it; all extents are even, since it leaves the last row of odd ones unwritten"
        )

    sides = [
        Side("tinybrain", lambda: tinybrain.downsample_with_averaging(image, tuple(factors), num_mips=scales)),
        Side("tensorstore", lambda: _tensorstore_pyramid(data, factors, "mean", scales)),
        _copy(data),
    ]
    if with_precast:
        from bench import ours

        sides.insert(0, Side("precast", lambda: ours.downsample(data, factors, "mean", scales)))
    return Case("mean", _work("mean", factors, scales), dtype, data.size, data.nbytes, sides, check, _MEAN_FLOOR)


def _label_table(dtype: str, with_precast: bool) -> Case:
    data = datasets.labels(dtype)

    def check(outputs: Mapping[str, Any]) -> str:
        ids, counts = outputs["numpy.unique"]
        if "precast" in outputs:
            table = outputs["precast"]
            _same("ids", table["id"].astype(dtype), ids[ids != 0])
            _same("counts", table["voxels"].astype(np.int64), counts[ids != 0].astype(np.int64))
        return "ids and counts equal; numpy.unique gives nothing else, precast boxes and coordinate sums too"

    sides = [Side("numpy.unique", lambda: np.unique(data, return_counts=True)), _copy(data)]
    if with_precast:
        from bench import ours

        sides.insert(0, Side("precast", lambda: ours.label_table(data)))
    return Case("labels", "label table", dtype, data.size, data.nbytes, sides, check, 1.0)


def _digest(data: Voxels, with_precast: bool) -> Case:
    def check(outputs: Mapping[str, Any]) -> str:
        if "precast" not in outputs:
            return "nothing to compare"
        from bench import ours

        half = data.shape[0] // 2
        parts = [ours.digest(data[:half], 0, data.shape), ours.digest(data[half:], half, data.shape)]
        if tuple(sum(lanes) % 2**64 for lanes in zip(*parts, strict=True)) != outputs["precast"]:
            raise DifferenceError("the digests of two halves do not add up to that of the whole")
        return "the digests of two halves add up to that of the whole, which no hash of bytes offers"

    sides = [Side("BLAKE2b (hashlib)", lambda: hashlib.blake2b(data.data).digest()), _copy(data)]
    if with_precast:
        from bench import ours

        sides.insert(0, Side("precast", lambda: ours.digest(data, 0, data.shape)))
    return Case("digest", "voxel digest", str(data.dtype), data.size, data.nbytes, sides, check, 1.0)


def _work(method: str, factors: Sequence[int], scales: int) -> str:
    text = "×".join(map(str, factors))
    return f"{method} {text}, {'one scale' if scales == 1 else 'four scales'}"
