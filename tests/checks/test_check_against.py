"""A volume beside its source: the same voxels, or the first that differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import precast
from precast.checks import CheckOptions, Report, catalogue, check
from precast.errors import ObjectNotFoundError

OFFSET = (5, -3, 2)


def against(path: Path, source: Path, **options: Any) -> Report:
    return check(path, CheckOptions(against=str(source), **options))


def convert(source: Path, path: Path, **options: Any) -> Path:
    more: dict[str, Any] = {"resolution": 8, "chunk_size": "16,32,8", "offset": OFFSET} | options
    precast.convert(str(source), path, precast.ConvertOptions(**more))
    return path


def slices(folder: Path, data: Any, **options: Any) -> Path:
    folder.mkdir(parents=True)
    for z, image in enumerate(data):
        tifffile.imwrite(folder / f"slice_{z:03}.tif", image, **options)
    return folder


@pytest.fixture
def data(make_blobs: Any) -> Any:
    return make_blobs((37, 45, 61), seed=2)


@pytest.mark.parametrize("memory", [None, 100_000])
def test_the_source_itself(tmp_path: Path, data: Any, memory: int | None) -> None:
    source = slices(tmp_path / "s", data)
    report = against(convert(source, tmp_path / "v"), source, memory=memory)
    assert report.findings == ()
    assert report.datasets[0].against == {"source": "s", "compared": data.size, "differ": 0}
    np.save(tmp_path / "s.npy", data)
    assert against(tmp_path / "v", tmp_path / "s.npy", memory=memory, threads=1).findings == ()


@pytest.mark.parametrize("memory", [None, 60_000])
def test_voxels_that_differ(tmp_path: Path, data: Any, memory: int | None) -> None:
    path = convert(slices(tmp_path / "s", data), tmp_path / "v")
    other = data.copy()
    places = [(0, 0, 0), (9, 44, 60), (9, 44, 7), (36, 20, 30)]
    for z, y, x in places:
        other[z, y, x] += 1
    report = against(path, slices(tmp_path / "t", other), memory=memory, threads=3)
    assert [finding.code for finding in report.findings] == ["PC801"]
    assert not report.ok
    message = report.findings[0].message
    assert message.startswith(f"4 of {data.size} voxels differ from t, the first at 5,-3,2: stored ")
    for z, y, x in places:
        assert f"{x + 5},{y - 3},{z + 2}: stored {data[z, y, x]}, source {other[z, y, x]}" in message
    counts = report.datasets[0].against
    assert counts is not None
    assert counts["differ"] == 4


def test_no_more_than_a_few_places_are_told(tmp_path: Path, data: Any) -> None:
    path = convert(slices(tmp_path / "s", data), tmp_path / "v")
    report = against(path, slices(tmp_path / "t", data + 1))
    assert f"{data.size} of {data.size} voxels differ" in report.findings[0].message
    assert report.findings[0].message.count("source") == 5


def test_values_of_another_type(tmp_path: Path) -> None:
    """Booleans become 0 and 1, 64-bit floats 32-bit ones; numbers beyond the range of the other type are not equal."""
    rng = np.random.default_rng(1)
    mask = rng.random((9, 10, 11)) > 0.5
    np.save(tmp_path / "mask.npy", mask)
    assert against(convert(tmp_path / "mask.npy", tmp_path / "m"), tmp_path / "mask.npy").findings == ()
    floats = rng.random((9, 10, 11)) * 1e3
    floats[3, 4, 5] = np.nan
    np.save(tmp_path / "floats.npy", floats)
    assert against(convert(tmp_path / "floats.npy", tmp_path / "f"), tmp_path / "floats.npy").findings == ()
    big = np.full((9, 10, 11), 2**64 - 1, np.uint64)
    np.save(tmp_path / "big.npy", big)
    np.save(tmp_path / "minus.npy", np.full((9, 10, 11), -1, np.int64))
    path = convert(tmp_path / "big.npy", tmp_path / "b", kind="segmentation")
    assert against(path, tmp_path / "big.npy").findings == ()
    report = against(path, tmp_path / "minus.npy")
    assert [finding.code for finding in report.findings] == ["PC801"]
    assert "990 of 990" in report.findings[0].message


def test_channels(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    data = rng.integers(0, 255, (3, 9, 20, 30), np.uint8)
    np.save(tmp_path / "rgb.npy", data)
    path = convert(tmp_path / "rgb.npy", tmp_path / "v", kind="image")
    assert against(path, tmp_path / "rgb.npy").findings == ()
    data[2, 5, 6, 7] ^= 1
    np.save(tmp_path / "other.npy", data)
    message = against(path, tmp_path / "other.npy").findings[0].message
    assert "1 of 16200 voxels differ" in message
    assert "12,3,7, channel 2" in message


def test_what_the_conversion_was_told(tmp_path: Path, data: Any) -> None:
    """Missing slices are filled and axes are named as they were then."""
    source = slices(tmp_path / "s", data)
    (source / "slice_011.tif").unlink()
    path = convert(source, tmp_path / "v", fill_gaps="previous")
    assert against(path, source).findings == ()
    np.save(tmp_path / "xyz.npy", data.T)
    path = convert(tmp_path / "xyz.npy", tmp_path / "w", axes="xyz")
    assert against(path, tmp_path / "xyz.npy").findings == ()
    full = slices(tmp_path / "full", data)  # here the axes are as they should be, and need no names
    assert against(path, full).findings == ()


def test_other_sizes(tmp_path: Path, data: Any) -> None:
    path = convert(slices(tmp_path / "s", data), tmp_path / "v")
    report = against(path, slices(tmp_path / "t", data[:-1]))
    assert [finding.code for finding in report.findings] == ["PC800"]
    assert "61 x 45 x 37 voxels, t has 61 x 45 x 36" in report.findings[0].message
    with pytest.raises(ObjectNotFoundError):
        against(path, tmp_path / "nothing")


def test_lossy_volumes(tmp_path: Path) -> None:
    ramp = np.add.outer(np.arange(20), np.add.outer(np.arange(40), np.arange(50))).astype(np.uint8) * 2
    source = slices(tmp_path / "s", ramp)
    path = convert(source, tmp_path / "v", encoding="jpeg")
    report = against(path, source)
    assert report.findings == ()
    counts = report.datasets[0].against
    assert counts is not None
    stored = precast.open(path).scales[0][...].astype(float)
    wanted = np.abs(stored - ramp)
    assert counts["differ"] == (wanted > 0).sum()
    assert counts["mean_difference"] == pytest.approx(wanted.mean())
    assert counts["largest_difference"] == wanted.max()
    other = slices(tmp_path / "t", 255 - ramp)
    assert [finding.code for finding in against(path, other).findings] == ["PC802"]


def test_volumes_that_cannot_be_read(tmp_path: Path, data: Any) -> None:
    source = slices(tmp_path / "s", data)
    path = convert(source, tmp_path / "v", unsharded=True, compress="none")
    file = next(path.glob("8_8_8/5-21_-3-29_2-10"))
    file.write_bytes(b"damaged")
    report = against(path, source)
    assert [finding.code for finding in report.findings] == ["PC230", "PC803"]
    counts = report.datasets[0].against
    assert counts is not None
    assert counts["differ"] == 0


def test_real_slices(connectomics: Path, tmp_path: Path) -> None:
    path = convert(connectomics, tmp_path / "v", chunk_size=64)
    assert against(path, connectomics).findings == ()


def test_every_rule_about_sources_is_tested_here() -> None:
    text = Path(__file__).read_text()
    rules = [rule for rule in catalogue() if "PC800" <= rule.code < "PC810"]
    assert len(rules) == 4
    assert [rule.code for rule in rules if f'"{rule.code}"' not in text] == []
