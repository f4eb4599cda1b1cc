"""Voxel sizes from OME-XML, ImageJ and TIFF tags."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from precast.geometry import VoxelSize
from precast.sources import SourceInfo, open_source
from precast.sources.voxel_sizes import tidy

STACK = np.zeros((3, 6, 5), np.uint8)


def nm(*values: str) -> VoxelSize:
    x, y, z = map(Decimal, values)
    return VoxelSize(x, y, z)


def imagej(path: Path, unit: str | None, pixels: float, spacing: float | None) -> SourceInfo:
    metadata: dict[str, Any] = {"axes": "ZYX"}
    if spacing is not None:
        metadata["spacing"] = spacing
    if unit is not None:
        metadata["unit"] = unit
    tifffile.imwrite(path / "v.tif", STACK, imagej=True, resolution=(pixels, pixels), metadata=metadata)
    return open_source(path / "v.tif").info


@pytest.mark.parametrize(
    ("unit", "pixels", "spacing", "expected"),
    [
        ("micron", 1 / 0.0046, 0.045, nm("4.6", "4.6", "45")),
        ("um", 2.0, 1.0, nm("500", "500", "1000")),
        ("\\u00B5m", 31.25, 0.04, nm("32", "32", "40")),
        ("nm", 0.25, 40.0, nm("4", "4", "40")),
        ("mm", 1000.0, 0.002, nm("1000", "1000", "2000")),
        ("inch", 25400.0, 0.0001, nm("1000", "1000", "2540")),
        ("pixel", 1.0, 1.0, None),
        ("", 4.0, 2.0, None),
        (None, 4.0, 2.0, None),
        ("furlong", 4.0, 2.0, None),
    ],
)
def test_imagej(tmp_path: Path, unit: str | None, pixels: float, spacing: float, expected: VoxelSize | None) -> None:
    info = imagej(tmp_path, unit, pixels, spacing)
    assert info.voxel_size == expected
    assert info.voxel_size_origin == ("ImageJ" if expected else "")


def test_imagej_without_spacing_says_what_it_knows(tmp_path: Path) -> None:
    info = imagej(tmp_path, "um", 2.0, None)
    assert info.voxel_size is None
    (finding,) = info.findings
    assert finding.message == (
        "ImageJ gives x = 500 nm and y = 500 nm, but not the other edges of a voxel: it is not used"
    )


def ome(path: Path, resolution: dict[str, Any] | None = None, **sizes: Any) -> SourceInfo:
    tifffile.imwrite(
        path / "v.ome.tif",
        STACK,
        ome=True,
        metadata={"axes": "ZYX", **sizes},
        photometric="minisblack",
        **(resolution or {}),
    )
    return open_source(path / "v.ome.tif").info


@pytest.mark.parametrize(
    ("size", "unit", "expected"),
    [
        ("0.0046", None, "4.6"),
        ("4000.000189989805", "nm", "4000"),
        ("32", "nm", "32"),
        ("46", "\u00c5", "4.6"),
        ("0.5", "\u00b5m", "500"),
        ("0.5", "\u03bcm", "500"),
        ("0.001", "mm", "1000"),
        ("0.1", "cm", "1000000"),
    ],
)
def test_ome(tmp_path: Path, size: str, unit: str | None, expected: str) -> None:
    sizes: dict[str, Any] = {f"PhysicalSize{axis}": size for axis in "XYZ"}
    if unit:
        sizes |= {f"PhysicalSize{axis}Unit": unit for axis in "XYZ"}
    info = ome(tmp_path, **sizes)
    assert info.voxel_size == nm(expected, expected, expected)
    assert info.voxel_size_origin == "OME-XML"


@pytest.mark.parametrize("unit", ["pixel", "reference frame"])
def test_ome_without_a_length(tmp_path: Path, unit: str) -> None:
    sizes: dict[str, Any] = {f"PhysicalSize{axis}": 1 for axis in "XYZ"} | {
        f"PhysicalSize{axis}Unit": unit for axis in "XYZ"
    }
    assert ome(tmp_path, **sizes).voxel_size is None


@pytest.mark.parametrize("size", ["0", "-1", "nan", "inf", "1e", ""])
def test_ome_with_a_size_that_is_none(tmp_path: Path, size: str) -> None:
    assert ome(tmp_path, PhysicalSizeX=size, PhysicalSizeY=size, PhysicalSizeZ=size).voxel_size is None


def test_tiff_resolution_counts_only_beside_a_z(tmp_path: Path) -> None:
    resolution = {"resolution": (10000 / 0.5, 10000 / 0.5), "resolutionunit": "CENTIMETER"}
    assert ome(tmp_path, resolution).voxel_size is None
    info = ome(tmp_path, resolution, PhysicalSizeZ=2)
    assert info.voxel_size == nm("500", "500", "2000")
    assert info.voxel_size_origin == "OME-XML (z), TIFF XResolution (x, y)"


@pytest.mark.parametrize("unit", ["INCH", "CENTIMETER", "NONE"])
def test_plain_tiff_resolution_is_not_believed(tmp_path: Path, unit: str) -> None:
    tifffile.imwrite(tmp_path / "v.tif", STACK, resolution=(300, 300), resolutionunit=unit, photometric="minisblack")
    info = open_source(tmp_path / "v.tif").info
    assert info.voxel_size is None
    assert info.findings == ()


def test_folder_takes_it_from_its_first_slice(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    for z in range(3):
        tifffile.imwrite(
            tmp_path / "v" / f"{z}.tif",
            STACK[0],
            imagej=True,
            resolution=(2.0, 2.0),
            metadata={"spacing": 1.0, "unit": "um"},
        )
    info = open_source(tmp_path / "v").info
    assert (info.voxel_size, info.voxel_size_origin) == (nm("500", "500", "1000"), "ImageJ")


@given(st.decimals("0.001", "1000000", places=3))
def test_tidy_restores_what_floats_and_units_blurred(value: Decimal) -> None:
    # Four significant digits survive any noise that is removed.
    value = Decimal(f"{value:.3e}")
    if value > 0:
        blurred = Fraction(float(value) / 1000) * 1000 * (1 + Fraction(1, 10**8))
        assert tidy(blurred) == value


@given(st.fractions(Fraction(1, 1000), 10**6))
def test_tidy_stays_within_its_noise(value: Fraction) -> None:
    assert abs(Fraction(tidy(value)) - value) <= value / 10**6
