"""Cutting into chunks, raw bytes and gzip, against NumPy and the standard library."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from precast.errors import FormatError, UsageError
from precast.geometry import Vec3
from precast.kernels import ChunkCodec, encode_chunks, gzip_compress, gzip_decompress

DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float32"]
RAW = ChunkCodec(encoding="raw")


def cut(data: npt.NDArray[Any], size: tuple[int, int, int]) -> list[npt.NDArray[Any]]:
    """Return the chunks, x fastest, by NumPy alone."""
    _, depth, height, width = data.shape
    return [
        data[:, z : z + size[2], y : y + size[1], x : x + size[0]]
        for z in range(0, depth, size[2])
        for y in range(0, height, size[1])
        for x in range(0, width, size[0])
    ]


@given(st.data())
@settings(max_examples=150)
def test_raw_chunks_are_what_numpy_writes(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    shape = (data.draw(st.integers(1, 3)), *(data.draw(st.integers(1, 30)) for _ in range(3)))
    size = tuple(data.draw(st.integers(1, 17)) for _ in range(3))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    array = rng.integers(0, 256, (*shape, np.dtype(dtype).itemsize), np.uint8).view(dtype)[..., 0]
    array[rng.random(shape) >= data.draw(st.sampled_from([0.0, 0.001, 1.0]))] = 0
    skip = data.draw(st.booleans())
    level = data.draw(st.sampled_from([None, 0, 1, 6]))
    codec = ChunkCodec(encoding="raw", gzip_level=level, skip_zero=skip)
    chunks = encode_chunks(array, chunk_size=size, codec=codec, threads=data.draw(st.integers(1, 4)))
    expected = cut(array, (size[0], size[1], size[2]))
    assert len(chunks) == len(expected)
    for chunk, part in zip(chunks, expected, strict=True):
        plain = part.astype(part.dtype.newbyteorder("<")).tobytes()
        if skip and not any(plain):
            assert chunk is None
        else:
            assert chunk is not None
            assert (gzip.decompress(chunk) if level is not None else chunk) == plain


def test_strided_arrays_and_arrays_without_channel_axis() -> None:
    volume = np.arange(4 * 20 * 30 * 40, dtype=np.uint16).reshape(4, 20, 30, 40)
    part = volume[::2, 3:17:2, ::3, 5:33]
    chunks = encode_chunks(part, chunk_size=(16, 4, 4), codec=RAW, threads=2)
    assert chunks == [chunk.tobytes() for chunk in cut(part, (16, 4, 4))]
    assert encode_chunks(part[0], chunk_size=(16, 4, 4), codec=RAW, threads=1) == [
        chunk.tobytes() for chunk in cut(part[:1], (16, 4, 4))
    ]


def test_the_result_does_not_depend_on_threads() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (1, 40, 40, 40)).astype(np.uint64)
    codec = ChunkCodec(encoding="compressed_segmentation", block_size=Vec3(8, 8, 8), gzip_level=6, skip_zero=True)
    results = [encode_chunks(labels, chunk_size=(16, 16, 16), codec=codec, threads=n) for n in (1, 2, 3, 64)]
    assert all(result == results[0] for result in results)


def test_negative_zero_is_not_left_out() -> None:
    data = np.array([[[[0.0, -0.0, 0.0, 0.0]]]], np.float32)
    codec = ChunkCodec(encoding="raw", skip_zero=True)
    assert encode_chunks(data, chunk_size=(2, 1, 1), codec=codec, threads=1) == [b"\0\0\0\0\0\0\0\x80", None]


@pytest.mark.parametrize(
    ("data", "size", "threads", "word"),
    [
        (np.zeros((1, 2, 2, 2)), (2, 2, 2), 1, "float64"),
        (np.zeros((1, 2, 2, 2), ">u2"), (2, 2, 2), 1, "u2"),
        (np.zeros((2, 2), np.uint8), (2, 2, 2), 1, "2-D"),
        (np.zeros((1, 2, 2, 4), np.uint8)[..., ::2], (2, 2, 2), 1, "contiguous"),
        (np.zeros((1, 2, 2, 2), np.uint8)[:, ::-1], (2, 2, 2), 1, "stride"),
        (np.zeros((1, 2, 0, 2), np.uint8), (2, 2, 2), 1, "zero"),
        (np.zeros((1, 2, 2, 2), np.uint8), (2, 0, 2), 1, "zero"),
        (np.zeros((1, 2, 2, 2), np.uint8), (2, -1, 2), 1, "int"),
        (np.zeros((1, 2, 2, 2), np.uint8), (2, 2, 2), 0, "threads"),
    ],
)
def test_arguments_that_cannot_be_used(data: Any, size: tuple[int, int, int], threads: int, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        encode_chunks(data, chunk_size=size, codec=RAW, threads=threads)


def test_codecs_that_cannot_be_used() -> None:
    for keywords in (
        {"encoding": "jpeg"},
        {"encoding": "raw", "block_size": Vec3(8, 8, 8)},
        {"encoding": "compressed_segmentation"},
        {"encoding": "raw", "gzip_level": 13},
    ):
        with pytest.raises(UsageError):
            ChunkCodec(**keywords)
    codec = ChunkCodec(encoding="compressed_segmentation", block_size=Vec3(8, 8, 8))
    with pytest.raises(UsageError, match="uint32 or uint64"):
        encode_chunks(np.zeros((1, 2, 2, 2), np.int32), chunk_size=(2, 2, 2), codec=codec, threads=1)


@given(st.binary(max_size=5000), st.integers(0, 12))
def test_gzip_round_trip(data: bytes, level: int) -> None:
    member = gzip_compress(data, level)
    assert gzip.decompress(member) == data
    assert member[:4] == b"\x1f\x8b\x08\x00", "no name, no comment"
    assert member[4:8] == b"\0\0\0\0", "no time"
    assert member[9] == 255
    assert gzip_decompress(member, len(data)) == data
    assert gzip_decompress(memoryview(bytearray(gzip.compress(data, 9))), len(data)) == data
    if data:
        with pytest.raises(FormatError, match=str(len(data) - 1)):
            gzip_decompress(member, len(data) - 1)


def test_headers_with_a_name_are_read() -> None:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = packer.compress(b"payload") + packer.flush()
    header = b"\x1f\x8b\x08\x08\x01\x02\x03\x04\x00\x03name\0"
    trailer = zlib.crc32(b"payload").to_bytes(4, "little") + (7).to_bytes(4, "little")
    assert gzip_decompress(header + body + trailer, 100) == b"payload"


def test_what_is_not_one_member_raises() -> None:
    member = gzip.compress(b"some text " * 100)
    bad = [b"", b"no gzip data at all, yet long enough", member + b"\0", member + member, zlib.compress(b"text" * 20)]
    bad += [member[:end] for end in range(len(member))]
    for data in bad:
        with pytest.raises(FormatError):
            gzip_decompress(data, 1 << 20)


def test_a_bomb_stops_at_the_bound() -> None:
    bomb = gzip.compress(bytes(200 << 20))
    with pytest.raises(FormatError, match="1048576"):
        gzip_decompress(bomb, 1 << 20)
    lying = bytearray(gzip.compress(b"x"))
    lying[-4:] = b"\xff\xff\xff\xff"
    with pytest.raises(FormatError):
        gzip_decompress(lying, 2**62)


def test_gzip_arguments() -> None:
    with pytest.raises(UsageError, match="0 to 12"):
        gzip_compress(b"", 13)
    with pytest.raises(UsageError, match="str"):
        gzip_compress("text", 6)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="contiguous"):
        gzip_compress(memoryview(b"abcdef")[::2], 6)
    with pytest.raises(UsageError):
        gzip_decompress(gzip.compress(b""), -1)
