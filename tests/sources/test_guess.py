"""The guess of kinds, on real and on difficult data."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from precast.sources import guess_kind, open_source
from precast.sources.base import Array
from source_contract import read_all

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the test data are not beside the repository")


def kind(array: Array) -> str:
    guess = guess_kind(open_source(array))
    assert guess.reason
    assert "\n" not in guess.reason
    return guess.kind


def labels() -> Array:
    voxels: Array = read_all(open_source(DATA / "connectomics-256"))[0]
    return voxels


@needs_data
def test_real_labels() -> None:
    assert guess_kind(open_source(DATA / "connectomics-256")).kind == "segmentation"
    voxels = labels()
    assert kind(voxels.astype(np.uint16)) == "segmentation"
    assert kind((voxels % 251).astype(np.uint8)) == "segmentation"
    assert kind((voxels % 5).astype(np.uint8)) == "segmentation"
    assert kind((voxels == np.bincount(voxels.ravel())[1:].argmax() + 1).astype(np.uint8) * 255) == "segmentation"


@needs_data
def test_real_micrographs() -> None:
    assert guess_kind(open_source(DATA / "drosophila-em")).kind == "image"
    voxels = read_all(open_source(DATA / "drosophila-em"))[0, :3]
    assert kind(voxels.astype(np.uint16) * 16) == "image"
    assert kind(np.clip(voxels.astype(int) * 4 - 500, 0, 255).astype(np.uint8)) == "image", "saturated at both ends"
    assert kind(voxels >> 4) == "image", "only 16 grey levels"


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_floats_are_images(dtype: str) -> None:
    assert kind(np.zeros((2, 8, 8), dtype)) == "image"


@pytest.mark.parametrize("dtype", ["u4", "i4", "u8", "i8", "?"])
def test_wide_integers_and_masks_are_labels(dtype: str) -> None:
    assert kind(np.zeros((2, 8, 8), dtype)) == "segmentation"


def test_colours_and_jpeg_are_images(tmp_path: Path) -> None:
    assert kind(np.zeros((3, 2, 8, 8), np.uint8)) == "image"
    (tmp_path / "v.jpg").write_bytes(imagecodecs.jpeg8_encode(np.zeros((64, 64), np.uint8)))
    guess = guess_kind(open_source(tmp_path / "v.jpg"))
    assert guess.kind == "image"
    assert "JPEG" in guess.reason


@pytest.mark.parametrize("value", [0, 7, 255])
def test_constant(value: int) -> None:
    guess = guess_kind(open_source(np.full((3, 16, 16), value, np.uint8)))
    assert guess.kind == "image"
    assert "constant" in guess.reason


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("slope", [1, 4, 16])
def test_smooth_gradients_are_images(dtype: type, slope: int) -> None:
    y, x = np.mgrid[:512, :512]
    assert kind(np.stack([((x + y) // slope % 256).astype(dtype)] * 2)) == "image"
    assert (
        kind(np.stack([(128 + 100 * np.sin(x / (20 * slope)) * np.cos(y / (20 * slope))).astype(dtype)] * 2)) == "image"
    )


def test_few_flat_labels_are_labels() -> None:
    y, x = np.mgrid[:128, :128]
    assert kind(np.stack([((x // 32) + 4 * (y // 32)).astype(np.uint8)] * 2)) == "segmentation"
    assert kind(np.stack([((x - 64) ** 2 + (y - 64) ** 2 < 900).astype(np.uint8)] * 2)) == "segmentation"


def test_noise_of_two_values_is_an_image() -> None:
    assert kind(np.random.default_rng(0).integers(0, 2, (2, 64, 64), dtype=np.uint8)) == "image"


def test_sparse_image_on_black_is_an_image() -> None:
    voxels = np.zeros((2, 256, 256), np.uint8)
    voxels[:, 100:130, 90:140] = np.random.default_rng(0).normal(120, 30, (2, 30, 50)).clip(0, 255)
    assert kind(voxels) == "image"


def test_one_voxel() -> None:
    assert kind(np.ones((1, 1, 1), np.uint8)) == "image"
