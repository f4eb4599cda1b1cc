"""Every odd dtype has a rule, and no value changes silently."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import precast
from oracles import read_tensorstore
from precast.errors import SourceError, UsageError
from precast.pipelines.convert import ConvertOptions, convert


def options(**more: Any) -> ConvertOptions:
    return ConvertOptions(resolution="8,8,8", chunk_size=16, **more)


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [
        ("bool", "uint32"),
        ("uint8", "uint32"),
        ("int8", "uint32"),
        ("uint16", "uint32"),
        ("int16", "uint32"),
        ("uint32", "uint32"),
        ("int32", "uint32"),
        ("uint64", "uint64"),
        ("int64", "uint64"),
    ],
)
def test_labels(tmp_path, dtype, stored) -> None:
    labels = np.random.default_rng(0).integers(0, 2, (10, 20, 30)).astype(dtype)
    if dtype != "bool":
        labels *= np.iinfo(dtype).max
    summary = convert(labels, tmp_path / "v", options(kind="segmentation"))
    assert summary.data_type == stored
    np.testing.assert_array_equal(read_tensorstore(tmp_path / "v", 0)[0], labels.astype(stored))


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [
        ("bool", "uint8"),
        ("uint8", "uint8"),
        ("int8", "int8"),
        ("uint16", "uint16"),
        ("int16", "int16"),
        ("uint32", "uint32"),
        ("int32", "int32"),
        ("float16", "float32"),
        ("float32", "float32"),
        ("float64", "float32"),
    ],
)
def test_images(tmp_path, dtype, stored) -> None:
    image = (np.random.default_rng(0).random((10, 20, 30)) * 2).astype(dtype)
    summary = convert(image, tmp_path / "v", options(kind="image"))
    assert summary.data_type == stored
    np.testing.assert_array_equal(read_tensorstore(tmp_path / "v", 0)[0], image.astype(stored))
    assert any("float64" in finding.message for finding in summary.findings) == (dtype == "float64")


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
def test_first_negative_label_is_named(tmp_path, dtype) -> None:
    labels = np.ones((40, 20, 30), dtype)
    labels[33, 7, 11] = -5
    with pytest.raises(SourceError, match=r"-5 at slice 33, x 11, y 7") as caught:
        convert(labels, tmp_path / "v", options(kind="segmentation"))
    assert "background" in caught.value.hint
    assert not (tmp_path / "v").exists()


def test_uint32_is_checked_on_the_way(tmp_path) -> None:
    labels = np.ones((40, 20, 30), np.uint64)
    assert convert(labels, tmp_path / "a", options(dtype="uint32")).data_type == "uint32"
    labels[17, 2, 3] = 2**32
    with pytest.raises(SourceError, match=r"4294967296 at slice 17, x 3, y 2"):
        convert(labels, tmp_path / "b", options(dtype="uint32"))
    assert convert(labels.astype(np.uint32), tmp_path / "c", options(dtype="uint64")).data_type == "uint64"


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_64_bit_images_are_refused_with_advice(tmp_path, dtype) -> None:
    with pytest.raises(UsageError, match=dtype) as caught:
        convert(np.ones((4, 4, 4), dtype), tmp_path / "v", options(kind="image"))
    assert "segmentation" in caught.value.hint


def test_labels_must_be_whole_numbers_with_one_channel(tmp_path) -> None:
    with pytest.raises(UsageError, match="float32"):
        convert(np.ones((4, 4, 4), np.float32), tmp_path / "v", options(kind="segmentation"))
    with pytest.raises(UsageError, match="2"):
        convert(np.ones((2, 4, 4, 4), np.uint32), tmp_path / "v", options(kind="segmentation"))


@pytest.mark.parametrize(
    ("array", "more", "message"),
    [
        (np.ones((4, 4, 4), np.uint32), {"kind": "segmentation", "encoding": "jpeg"}, "jpeg is not for labels"),
        (np.ones((4, 4, 4), np.uint32), {"kind": "segmentation", "encoding": "png"}, "png is not for labels"),
        (np.ones((4, 4, 4), np.uint8), {"kind": "image", "encoding": "compressed_segmentation"}, "uint32 and uint64"),
        (np.ones((4, 4, 4), np.uint16), {"kind": "image", "encoding": "jpeg"}, "uint8"),
        (np.ones((2, 4, 4, 4), np.uint8), {"kind": "image", "encoding": "jpeg"}, "1 or 3"),
        (np.ones((2, 4, 4, 4), np.uint16), {"kind": "image", "encoding": "png"}, "16-bit"),
        (np.ones((4, 4, 4), np.uint8), {"kind": "image", "encoding": "jpeg", "chunk_size": "64,256,256"}, "65535"),
        (np.ones((4, 4, 4), np.uint64), {"kind": "segmentation", "chunk_size": 192}, "16777216"),
        (np.ones((4, 4, 4), np.uint32), {"kind": "segmentation", "block_size": 64}, "65536"),
        (np.ones((4, 4, 4), np.uint32), {"kind": "segmentation", "method": "mean"}, "not for labels"),
        (np.ones((4, 4, 4), np.uint8), {"kind": "image", "method": "majority"}, "not for images"),
        (np.ones((4, 4, 4), np.uint8), {"kind": "image", "sparse": True}, "--sparse"),
        (np.ones((4, 4, 4), np.uint8), {"kind": "image", "dtype": "uint32"}, "--dtype"),
    ],
)
def test_what_cannot_be_encoded_is_refused_before_anything_is_written(tmp_path, array, more, message) -> None:
    values: dict[str, Any] = {"resolution": "8,8,8", **more}
    with pytest.raises(UsageError, match=message):
        convert(array, tmp_path / "v", ConvertOptions(**values))
    assert list(tmp_path.iterdir()) == []


def test_largest_safe_chunk_of_uint64_labels(tmp_path) -> None:
    labels = np.random.default_rng(0).integers(0, 2**64, (176, 176, 176), np.uint64)
    convert(labels, tmp_path / "v", ConvertOptions(resolution="8,8,8", chunk_size=176, scales=1))
    np.testing.assert_array_equal(read_tensorstore(tmp_path / "v", 0)[0], labels)


def test_resolution_is_needed_and_kept_exactly(tmp_path) -> None:
    labels = np.ones((20, 20, 40), np.uint32)
    with pytest.raises(UsageError, match="voxel size") as caught:
        convert(labels, tmp_path / "v", ConvertOptions())
    assert "--resolution" in caught.value.hint
    convert(labels, tmp_path / "v", ConvertOptions(resolution="0.0046,0.0046,0.045um", chunk_size=16))
    keys = [scale.info.key for scale in precast.open(tmp_path / "v").scales]
    assert keys == ["4.6_4.6_45", "9.2_9.2_45", "18.4_18.4_45", "36.8_36.8_45", "73.6_73.6_90"]
    text = (tmp_path / "v" / "info").read_text()
    assert "4.6,\n" in text


@pytest.mark.parametrize("bad", ["0,1,1", "-4,4,4", "nan,1,1", "4,4", "4,4,4,4", "four", "4 inch", ""])
def test_bad_resolutions(bad) -> None:
    with pytest.raises(UsageError):
        ConvertOptions(resolution=bad)


def test_means_of_single_steps_are_rounded_half_to_even(tmp_path) -> None:
    image = np.zeros((2, 2, 8), np.uint8)
    image[0, 0] = [1, 1, 3, 3, 5, 5, 7, 7]  # sums over cells of 2x2x2: 2, 6, 10, 14 -> 0.25, 0.75, 1.25, 1.75
    image[0, 1, :2] = 1  # 4 / 8 = 0.5 -> 0
    image[0, 1, 2:4] = 3  # 12 / 8 = 1.5 -> 2
    convert(image, tmp_path / "v", ConvertOptions(resolution="8,8,8", kind="image", chunk_size=4, factors="2,2,2"))
    assert read_tensorstore(tmp_path / "v", 1).ravel().tolist() == [0, 2, 1, 2]
