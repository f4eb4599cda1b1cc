"""Faults that other tools have, reproduced as inputs; each must come out right."""

from __future__ import annotations

import json

import numpy as np
import pytest

from oracles import check_pyramid, read_tensorstore
from precast.pipelines.convert import ConvertOptions, convert


def test_odd_sizes_keep_their_last_column_and_do_not_mix_neighbours(tmp_path) -> None:
    """Elsewhere, averaging odd x or y leaves the last column 0 (4225 voxels of this volume)."""
    image = np.full((65, 129, 129), 100, np.uint8)
    convert(image, tmp_path / "v", ConvertOptions(resolution="4,4,40", kind="image"))
    for scale in range(2):
        assert (read_tensorstore(tmp_path / "v", scale) == 100).all()


@pytest.mark.parametrize("method", ["max", "min"])
@pytest.mark.parametrize("unsharded", [False, True])
def test_max_and_min_are_not_ignored(tmp_path, method, unsharded) -> None:
    image = np.full((9, 9, 9), 100, np.uint8)
    image[::2, ::2, ::2] = 200
    image[1::2, 1::2, 1::2] = 3
    options = ConvertOptions(
        resolution="8", kind="image", method=method, chunk_size=4, unsharded=unsharded, compress="none"
    )
    convert(image, tmp_path / "v", options)
    check_pyramid(tmp_path / "v", image, (0, 0, 0), method)
    assert read_tensorstore(tmp_path / "v", 1)[0, 0, 0, 0] == (200 if method == "max" else 3)


def test_means_do_not_darken_over_scales(tmp_path) -> None:
    """Truncation would lose about 0.44 a step, 1.75 in all."""
    image = np.random.default_rng(0).integers(90, 110, (64, 128, 128), np.uint8)
    convert(image, tmp_path / "v", ConvertOptions(resolution="8", kind="image", chunk_size=8))
    for scale in range(5):
        assert abs(read_tensorstore(tmp_path / "v", scale).mean() - image.mean()) < 0.5


def test_an_offset_that_the_factor_does_not_divide_shifts_nothing(tmp_path) -> None:
    """Offset 3, factor 2: the first coarse voxel covers fine voxels 2 and 3, of which only 3 is in bounds."""
    image = np.arange(3, 13, dtype=np.float32).repeat(4).reshape(10, 2, 2).transpose(1, 2, 0)
    options = ConvertOptions(resolution="8", kind="image", offset=(3, 0, 0), factors="2,1,1", chunk_size=4)
    convert(np.ascontiguousarray(image), tmp_path / "v", options)
    info = json.loads((tmp_path / "v" / "info").read_text())
    assert info["scales"][1]["voxel_offset"] == [1, 0, 0]
    assert info["scales"][1]["size"] == [6, 2, 2]
    assert read_tensorstore(tmp_path / "v", 1)[0, 0, 0].tolist() == [3, 4.5, 6.5, 8.5, 10.5, 12]


def test_ties_take_the_lowest_id_whatever_comes_first(tmp_path) -> None:
    labels = np.array([[[9, 9], [4, 4]], [[9, 4], [9, 4]]], np.uint64)
    convert(labels, tmp_path / "v", ConvertOptions(resolution="8", factors="2,2,2", chunk_size=1))
    assert read_tensorstore(tmp_path / "v", 1).ravel().tolist() == [4]


def test_coarse_scales_of_jpeg_are_made_from_the_samples(tmp_path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (32, 64, 64), np.uint8)
    convert(image, tmp_path / "raw", ConvertOptions(resolution="8", kind="image", chunk_size=8))
    convert(image, tmp_path / "jpeg", ConvertOptions(resolution="8", encoding="jpeg", jpeg_quality=40, chunk_size=8))
    # encoding the exact scale 2 by itself gives what the pyramid holds: no artefact came from a finer scale
    exact = read_tensorstore(tmp_path / "raw", 2)
    convert(exact, tmp_path / "alone", ConvertOptions(resolution="32", encoding="jpeg", jpeg_quality=40, chunk_size=8))
    np.testing.assert_array_equal(read_tensorstore(tmp_path / "jpeg", 2), read_tensorstore(tmp_path / "alone", 0))


def test_no_nulls_and_whole_numbers(tmp_path) -> None:
    convert(
        np.ones((9, 9, 9), np.uint32), tmp_path / "v", ConvertOptions(resolution="32.0,32,40.50", kind="segmentation")
    )
    text = (tmp_path / "v" / "info").read_text()
    assert "null" not in text
    assert json.loads(text)["scales"][0]["resolution"] == [32, 32, 40.5]
    assert json.loads(text)["scales"][0]["key"] == "32_32_40.5"


def test_background_zero_is_no_label_and_ids_beyond_2_53_are_kept(tmp_path) -> None:
    labels = np.zeros((8, 8, 8), np.uint64)
    labels[0] = 2**53 + 1
    labels[1] = 2**64 - 1
    convert(labels, tmp_path / "v", ConvertOptions(resolution="8"))
    assert np.load(tmp_path / "v" / "label_table.npy")["id"].tolist() == [2**53 + 1, 2**64 - 1]


def test_slices_one_voxel_thick_and_volumes_of_one_voxel(tmp_path) -> None:
    for i, shape in enumerate([(1, 200, 300), (300, 1, 1), (1, 1, 1)]):
        labels = np.arange(1, 1 + np.prod(shape), dtype=np.uint32).reshape(shape)
        convert(labels, tmp_path / str(i), ConvertOptions(resolution="8,8,40", kind="segmentation"))
        check_pyramid(tmp_path / str(i), labels, (0, 0, 0), "majority")
