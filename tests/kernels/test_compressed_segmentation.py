"""compressed_segmentation against exact bytes, TensorStore and damage."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorstore as ts
from hypothesis import given, settings
from hypothesis import strategies as st

from precast.errors import FormatError, UsageError
from precast.geometry import Vec3
from precast.kernels import (
    ChunkCodec,
    compressed_segmentation_worst_case_words,
    decode_compressed_segmentation,
    encode_chunks,
)

ROOT = Path(__file__).resolve().parents[2]
VECTORS = json.loads((ROOT / "tests" / "vectors" / "compressed_segmentation.json").read_text())["cases"]
REAL = ROOT.parent / "shared" / "data" / "connectomics-256"

Array = npt.NDArray[Any]
EIGHT = (8, 8, 8)


def encode(labels: Array, block: tuple[int, int, int]) -> bytes:
    codec = ChunkCodec(encoding="compressed_segmentation", block_size=Vec3(*block))
    (chunk,) = encode_chunks(labels, chunk_size=labels.shape[:0:-1], codec=codec, threads=1)
    assert chunk is not None
    return chunk


def decode(chunk: bytes, like: Array, block: tuple[int, int, int]) -> Array:
    out = np.full_like(like, 0xA5)
    decode_compressed_segmentation(chunk, block, out)
    return out


def open_oracle(shape: tuple[int, ...], dtype: Any, block: tuple[int, int, int], context: ts.Context) -> Any:
    """Return a TensorStore volume (x, y, z, c) of one chunk in the memory of ``context``."""
    channels, *size = shape
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "memory", "path": "volume/"},
        "multiscale_metadata": {
            "type": "segmentation",
            "data_type": np.dtype(dtype).name,
            "num_channels": channels,
        },
        "scale_metadata": {
            "key": "s",
            "size": size[::-1],
            "chunk_size": size[::-1],
            "resolution": [1, 1, 1],
            "encoding": "compressed_segmentation",
            "compressed_segmentation_block_size": block,
        },
        "fill_missing_data_reads": False,
        "store_data_equal_to_fill_value": True,
    }
    return ts.open(spec, create=True, open=True, context=context).result()


def oracle_encode(labels: Array, block: tuple[int, int, int]) -> bytes:
    context = ts.Context()
    open_oracle(labels.shape, labels.dtype, block, context).write(labels.transpose(3, 2, 1, 0)).result()
    return bytes(chunk_store(labels.shape, context)[chunk_key(labels.shape)])


def oracle_decode(chunk: bytes, like: Array, block: tuple[int, int, int]) -> Array:
    context = ts.Context()
    volume = open_oracle(like.shape, like.dtype, block, context)
    chunk_store(like.shape, context)[chunk_key(like.shape)] = chunk
    return np.asarray(volume.read().result()).transpose(3, 2, 1, 0)


def chunk_store(shape: tuple[int, ...], context: ts.Context) -> Any:
    return ts.KvStore.open({"driver": "memory", "path": "volume/s/"}, context=context).result()


def chunk_key(shape: tuple[int, ...]) -> str:
    return f"0-{shape[3]}_0-{shape[2]}_0-{shape[1]}"


def check(labels: Array, block: tuple[int, int, int] = EIGHT) -> bytes:
    """Encode, compare the bytes with TensorStore's, and decode with both."""
    chunk = encode(labels, block)
    assert chunk == oracle_encode(np.ascontiguousarray(labels), block)
    np.testing.assert_array_equal(decode(chunk, labels, block), labels)
    np.testing.assert_array_equal(oracle_decode(chunk, labels, block), labels)
    return chunk


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        pytest.param(case, dtype, id=f"{case['name']}, {dtype}")
        for case in VECTORS
        for dtype in ("uint32", "uint64")
        if dtype in case
    ],
)
def test_documented_bytes(case: dict[str, Any], dtype: str) -> None:
    labels = np.array(case["labels"], dtype).reshape(case["shape"])
    chunk = bytes.fromhex(case[dtype])
    assert check(labels, tuple(case["block"])) == chunk
    for view in (bytearray(chunk), memoryview(chunk)):
        np.testing.assert_array_equal(decode(view, labels, tuple(case["block"])), labels)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
@pytest.mark.parametrize("distinct", [1, 2, 3, 4, 5, 16, 17, 256, 257])
def test_number_of_labels_in_a_block(distinct: int, dtype: Any) -> None:
    rng = np.random.default_rng(distinct)
    step = np.iinfo(dtype).max // (distinct + 1)
    ids = rng.permutation(np.arange(1, distinct + 1, dtype=dtype) * dtype(step))
    labels = ids[rng.integers(0, distinct, (1, 16, 24, 8))]
    labels[0, :8, :8].flat[:distinct] = ids
    chunk = check(labels)
    assert chunk[7] == next(bits for bits in (0, 1, 2, 4, 8, 16) if 2**bits >= distinct)


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_65536_labels_in_one_block(dtype: Any) -> None:
    labels = np.random.default_rng(0).permutation(65536).astype(dtype).reshape(1, 32, 32, 64)
    chunk = check(labels, (64, 32, 32))
    assert len(chunk) == 4 + 8 + 65536 * 2 + labels.nbytes, "channel table, header, indices of 16 bits, table"


def test_a_million_labels_in_one_chunk() -> None:
    labels = np.random.default_rng(1).permutation(100**3).astype(np.uint64).reshape(1, 100, 100, 100) << 23
    check(labels)


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_all_zero_and_single_label(dtype: Any) -> None:
    blocks = 8 * 8 * 8
    for label in (0, 1, np.iinfo(dtype).max):
        chunk = check(np.full((1, 64, 64, 64), label, dtype))
        assert len(chunk) == 4 + 8 * blocks + np.dtype(dtype).itemsize


def test_labels_whose_low_halves_are_equal() -> None:
    rng = np.random.default_rng(2)
    labels = (rng.integers(0, 5, (2, 9, 16, 17)).astype(np.uint64) << 61) | 7
    assert (labels > 2**63).any()
    check(labels)


@given(st.data())
@settings(max_examples=150)
def test_round_trip_and_equal_bytes(data: st.DataObject) -> None:
    dtype: Any = data.draw(st.sampled_from([np.uint32, np.uint64]))
    shape = (data.draw(st.integers(1, 3)), *(data.draw(st.integers(1, 40)) for _ in range(3)))
    other = st.tuples(st.sampled_from([1, 3, 4, 8, 16, 24]), st.integers(1, 11), st.integers(1, 11))
    block = data.draw(st.one_of(st.just(EIGHT), other))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    distinct = data.draw(st.sampled_from([1, 2, 3, 6, 20, 300, 5000]))
    ids = rng.integers(0, np.iinfo(dtype).max, distinct, dtype=dtype, endpoint=True)
    run = data.draw(st.sampled_from([1, 5, 40]))
    count = int(np.prod(shape))
    labels = ids[np.repeat(rng.integers(0, distinct, -(-count // run)), run)[:count]].reshape(shape)
    check(labels, block)


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_real_labels(dtype: Any) -> None:
    if not REAL.is_dir():
        pytest.skip(f"real data are not here: {REAL}")
    import tifffile

    slab = np.stack([tifffile.imread(path) for path in sorted(REAL.glob("*.tif"))[:64]]).astype(dtype)[None]
    codec = ChunkCodec(encoding="compressed_segmentation", block_size=Vec3(8, 8, 8))
    chunks = encode_chunks(slab, chunk_size=(64, 64, 64), codec=codec, threads=2)
    assert len(chunks) == 16
    for i, chunk in enumerate(chunks):
        y, x = 64 * (i // 4), 64 * (i % 4)
        part = np.ascontiguousarray(slab[:, :, y : y + 64, x : x + 64])
        assert chunk == oracle_encode(part, EIGHT)
        assert chunk is not None
        out = np.zeros_like(slab)
        decode_compressed_segmentation(chunk, EIGHT, out[:, :, y : y + 64, x : x + 64])
        np.testing.assert_array_equal(out[:, :, y : y + 64, x : x + 64], part)
        assert out.sum(dtype=np.uint64) == part.sum(dtype=np.uint64), "nothing beside the chunk is written"


@given(st.data())
@settings(max_examples=300)
def test_damaged_chunks_decode_or_raise(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    labels = rng.integers(0, data.draw(st.sampled_from([1, 3, 30])), (1, 9, 8, 17)).astype(np.uint64)
    chunk = bytearray(encode(labels, EIGHT))
    for _ in range(data.draw(st.integers(0, 3))):
        chunk[data.draw(st.integers(0, len(chunk) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(chunk)))
    damaged = bytes(chunk[: len(chunk) - (cut if data.draw(st.booleans()) else 0)])
    # Anything but a decoded array or FormatError fails the test.
    with contextlib.suppress(FormatError):
        assert decode(damaged, labels, EIGHT).shape == labels.shape


def test_truncated_chunks_raise() -> None:
    labels = np.arange(8**3, dtype=np.uint32).reshape(1, 8, 8, 8)
    chunk = encode(labels, EIGHT)
    for end in (*range(0, 40), len(chunk) - 4, len(chunk) - 1):
        with pytest.raises(FormatError):
            decode(chunk[:end], labels, EIGHT)


def test_arguments_are_not_taken_for_damage() -> None:
    labels = np.ones((1, 8, 8, 8), np.uint32)
    chunk = encode(labels, EIGHT)
    with pytest.raises(UsageError, match="float64"):
        decode_compressed_segmentation(chunk, EIGHT, np.zeros((8, 8, 8)))
    frozen = np.zeros_like(labels)
    frozen.flags.writeable = False
    with pytest.raises(UsageError, match="read-only"):
        decode_compressed_segmentation(chunk, EIGHT, frozen)
    with pytest.raises(UsageError, match="contiguous"):
        decode_compressed_segmentation(chunk, EIGHT, np.zeros((8, 8, 16), np.uint32)[..., ::2])
    with pytest.raises(UsageError, match=r"\[0, 8, 8\]"):
        decode_compressed_segmentation(chunk, (0, 8, 8), np.zeros_like(labels))
    with pytest.raises(UsageError, match="bytes"):
        decode_compressed_segmentation("text", EIGHT, np.zeros_like(labels))  # type: ignore[arg-type]


def test_too_many_labels_raise_instead_of_corrupting() -> None:
    labels = np.arange(192**3, dtype=np.uint64).reshape(1, 192, 192, 192)
    with pytest.raises(UsageError, match="24 bits"):
        encode(labels, EIGHT)


def test_worst_case() -> None:
    def words(edge: int) -> int:
        return compressed_segmentation_worst_case_words((edge,) * 3, "uint64", EIGHT)

    assert words(176) < 2**24 <= words(192)
    for shape in ((1, 8, 8, 8), (1, 13, 9, 20)):
        distinct = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape)
        expected = len(encode(distinct, EIGHT)) // 4 - 1
        assert compressed_segmentation_worst_case_words(shape[:0:-1], "uint32", EIGHT) == expected
    with pytest.raises(UsageError, match="65536"):
        compressed_segmentation_worst_case_words((64, 64, 64), "uint32", (64, 64, 32))
    with pytest.raises(UsageError, match="int32"):
        compressed_segmentation_worst_case_words((64, 64, 64), "int32", EIGHT)
