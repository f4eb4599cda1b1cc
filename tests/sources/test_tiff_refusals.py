"""TIFF files that are refused, or read only in part: each with its reason and advice."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from precast.errors import SourceError
from precast.sources import SourceOptions, open_source
from precast.sources.base import Array
from source_contract import noise, read_all
from tiff_files import GREY, tiff_bytes

RAW = bytes(range(12))
PIXELS = (
    '<Pixels DimensionOrder="XYZCT" Type="uint8" SizeX="5" SizeY="6" SizeZ="{z}" SizeC="{c}" SizeT="1">{data}</Pixels>'
)


def ome(path: Path, voxels: Array, pixels: str, after: str = "") -> Path:
    """Write pages with an OME-XML of our own."""
    root = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
    file = path / "v.ome.tif"
    tifffile.imwrite(
        file, voxels, photometric="minisblack", metadata=None, description=f"{root}{pixels}</Image>{after}</OME>"
    )
    return file


def refused(path: Path, options: SourceOptions | None = None) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read_all(open_source(path, options))
    assert caught.value.message.startswith(path.name)
    assert caught.value.where == str(path)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({256: 0}, "the image is 0 x 3 pixels with 1 samples: it is empty or damaged"),
        ({258: 24, 339: 2}, "signed samples of 24 bits cannot be converted"),
        ({258: 64, 339: 6}, "complex samples of 64 bits cannot be converted"),
        ({262: 5, 277: 4}, "the colour space CMYK cannot be converted"),
        ({262: 6, 277: 3}, "the colour space YCbCr cannot be converted"),
        ({262: 8, 277: 3}, "the colour space CIELab cannot be converted"),
        ({278: 0}, "RowsPerStrip is 0"),
        ({32997: 2}, "the tag ImageDepth is not supported"),
        ({33628: 1}, "is a MetaMorph STK file"),
        ({34412: 1}, "is a Zeiss LSM file"),
        ({278: 1}, "the image needs 3 strips, but the file lists 1"),
        ({259: 65000}, "cannot be decoded"),
        ({257: 4, 278: 4}, "has 12 bytes, but needs 16: it is truncated"),
    ],
)
def test_tags_that_cannot_be(tmp_path: Path, change: dict[int, int], text: str) -> None:
    path = tmp_path / "v.tif"
    path.write_bytes(tiff_bytes(GREY | change, RAW))
    assert text in refused(path).message


@pytest.mark.parametrize(
    ("offset", "count", "text"),
    [
        (10**6, 12, r"truncated: the strip or tile 0 \(rows from 0, columns from 0\) needs bytes 1000000 to 1000012"),
        (0, 12, "has offset 0 and length 12; both are 0 in a sparse file"),
        (8, 0, "has offset 8 and length 0; both are 0 in a sparse file"),
        (8, 2**32 - 1, "truncated"),
    ],
)
@pytest.mark.parametrize("compression", [5, 8])
def test_strips_that_are_not_there(tmp_path: Path, compression: int, offset: int, count: int, text: str) -> None:
    path = tmp_path / "v.tif"
    path.write_bytes(tiff_bytes(GREY | {259: compression}, RAW, offset=offset, count=count))
    with pytest.raises(SourceError, match=text):
        read_all(open_source(path))


def test_strip_that_decodes_to_too_little(tmp_path: Path) -> None:
    import zlib

    path = tmp_path / "v.tif"
    path.write_bytes(tiff_bytes(GREY | {259: 8}, zlib.compress(RAW[:9])))
    assert "decodes to 9 bytes, but 12 are needed" in refused(path).message


def test_strip_that_decodes_to_far_too_much(tmp_path: Path) -> None:
    """A few bytes that unpack to 100 MB are damage, and are not unpacked."""
    import zlib

    path = tmp_path / "v.tif"
    path.write_bytes(tiff_bytes(GREY | {259: 8}, zlib.compress(bytes(100 << 20), 9)))
    assert "cannot be decoded: it is damaged" in refused(path).message


def test_chain_of_directories_in_a_circle(tmp_path: Path) -> None:
    data = bytearray(tiff_bytes(GREY, RAW))
    end = 8 + 2 + 12 * (len(GREY) + 2)
    data[end : end + 4] = struct.pack("<I", 8)
    path = tmp_path / "v.tif"
    path.write_bytes(data)
    assert "the chain of image directories returns to byte 8" in refused(path).message


def test_chain_of_directories_that_breaks_off(tmp_path: Path) -> None:
    """tifffile ends its list of pages there; the slices behind must not be lost silently."""
    path = tmp_path / "v.tif"
    with tifffile.TiffWriter(path) as file:
        for plane in noise((4, 6, 5), "u1"):
            file.write(plane, metadata=None, photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        third = struct.pack("<I", file.pages[2].offset)
    data = path.read_bytes()
    assert data.count(third) == 1
    for other in (len(data) + 2, 2**32 - 1):
        path.write_bytes(data.replace(third, struct.pack("<I", other)))
        assert "the chain of image directories breaks off after 2" in refused(path).message


def test_tag_whose_values_lie_behind_the_end(tmp_path: Path) -> None:
    """tifffile leaves the tag out; without BitsPerSample the bytes would be read as single bits."""
    path = tmp_path / "v.tif"
    data = tiff_bytes(GREY | {277: 3, 262: 2}, bytes(36))
    bits = struct.pack("<HHII", 258, 4, 1, 8)
    assert data.count(bits) == 1
    path.write_bytes(data.replace(bits, struct.pack("<HHII", 258, 3, 3, len(data) - 4)))
    assert "TIFF tags 258 cannot be read" in refused(path).message


@pytest.mark.parametrize(("tag", "kind", "count"), [(282, 3, 2), (283, 4, 1), (296, 11, 1), (296, 3, 2)])
def test_resolution_of_an_odd_type_is_not_used(tmp_path: Path, tag: int, kind: int, count: int) -> None:
    path = tmp_path / "v.tif"
    metadata = {"spacing": 1.0, "unit": "um"}
    tifffile.imwrite(path, noise((3, 6, 5), "u1"), imagej=True, resolution=(2.0, 2.0), metadata=metadata)
    assert open_source(path).info.voxel_size is not None
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        at, order = file.pages.first.tags[tag].offset, file.byteorder
    struct.pack_into(f"{order}HI", data, at + 2, kind, count)
    path.write_bytes(data)
    # ImageJ gives the unit in its description: the tag for it does not count.
    assert (open_source(path).info.voxel_size is None) == (tag != 296)


def test_unfinished_file(tmp_path: Path) -> None:
    path = tmp_path / "v.tif"
    path.write_bytes(b"II*\0" + bytes(100))
    assert "writing it was never finished" in refused(path).message


def test_pages_that_differ(tmp_path: Path) -> None:
    path = tmp_path / "v.tif"
    with tifffile.TiffWriter(path) as file:
        for size in (6, 6, 6, 7, 6, 6, 6, 6):
            file.write(np.zeros((size, 5), np.uint8), metadata=None, photometric="minisblack")
    error = refused(path)
    assert "page 3 is 5 x 7 pixels, 1 samples of uint8, but the first is 5 x 6" in error.message


def test_file_that_grew_after_opening(tmp_path: Path) -> None:
    path = tmp_path / "v.tif"
    path.write_bytes(tiff_bytes(GREY, RAW))
    source = open_source(path)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(SourceError, match=r"had \d+ bytes when it was opened and has \d+ now"):
        read_all(source)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("images=4\nchannels=2\nslices=3", "says 4 images, but 2 channels, 3 slices, 1 frames"),
        ("images=x", "has a size that is no number"),
        ("images=9\nslices=9", "says 9 images, but the file has 4"),
        ("images=4\nframes=4", "holds 4 times"),
    ],
)
def test_imagej_descriptions_that_contradict(tmp_path: Path, line: str, text: str) -> None:
    path = tmp_path / "v.tif"
    tifffile.imwrite(
        path, noise((4, 6, 5), "u1"), photometric="minisblack", metadata=None, description=f"ImageJ=1.54f\n{line}\n"
    )
    assert text in refused(path).message


# --- OME-XML ---


def test_ome_places_planes_where_it_says(tmp_path: Path) -> None:
    voxels = noise((3, 6, 5), "u1")
    data = '<TiffData IFD="2" FirstZ="0"/><TiffData IFD="0" FirstZ="1" PlaneCount="2"/>'
    source = open_source(ome(tmp_path, voxels, PIXELS.format(z=3, c=1, data=data)))
    np.testing.assert_array_equal(read_all(source)[0], voxels[[2, 0, 1]])


def test_ome_with_missing_planes(tmp_path: Path) -> None:
    voxels = noise((3, 6, 5), "u1")
    data = '<TiffData IFD="0" FirstZ="0" PlaneCount="2"/><TiffData IFD="2" FirstZ="3"/>'
    path = ome(tmp_path, voxels, PIXELS.format(z=4, c=1, data=data))
    error = refused(path)
    assert "1 of 4 planes of its OME-XML are not in the file: c 0 z 2" in error.message
    assert "--fill-gaps" in error.hint
    blank = np.zeros_like(voxels[0])
    for fill, third in (("zero", blank), ("previous", voxels[1])):
        source = open_source(path, SourceOptions(fill_gaps=fill))  # type: ignore[arg-type]
        np.testing.assert_array_equal(read_all(source)[0], [voxels[0], voxels[1], third, voxels[2]])
        assert [finding.code for finding in source.info.findings] == ["PS101"]


def test_ome_without_its_first_plane_has_no_previous_one(tmp_path: Path) -> None:
    data = '<TiffData IFD="0" FirstZ="1" PlaneCount="2"/>'
    path = ome(tmp_path, noise((2, 6, 5), "u1"), PIXELS.format(z=3, c=1, data=data))
    assert "the first plane of channel 0 is missing" in refused(path, SourceOptions(fill_gaps="previous")).message


def test_ome_over_several_files(tmp_path: Path) -> None:
    part = '<TiffData IFD="0" FirstZ="{z}"><UUID FileName="{z}.tif">urn:uuid:{z}</UUID></TiffData>'
    data = "".join(part.format(z=z) for z in range(2))
    error = refused(ome(tmp_path, noise((1, 6, 5), "u1"), PIXELS.format(z=2, c=1, data=data)))
    assert "spreads the image over several files" in error.message
    assert "one OME-TIFF file" in error.hint


def test_ome_that_names_its_old_file_name_is_one_file(tmp_path: Path) -> None:
    voxels = noise((2, 6, 5), "u1")
    data = "".join(f'<TiffData IFD="{z}" FirstZ="{z}"><UUID FileName="old.tif">urn:a</UUID></TiffData>' for z in (0, 1))
    source = open_source(ome(tmp_path, voxels, PIXELS.format(z=2, c=1, data=data)))
    np.testing.assert_array_equal(read_all(source)[0], voxels)


def test_ome_with_two_images_reads_the_first(tmp_path: Path) -> None:
    voxels = noise((2, 6, 5), "u1")
    pixels = PIXELS.format(z=2, c=1, data='<TiffData IFD="0" PlaneCount="2"/>')
    second = f'<Image ID="Image:1">{PIXELS.format(z=1, c=1, data="")}</Image>'
    source = open_source(ome(tmp_path, voxels, pixels, second))
    np.testing.assert_array_equal(read_all(source)[0], voxels)
    assert [finding.code for finding in source.info.findings] == ["PS121"]


@pytest.mark.parametrize(
    ("pixels", "text"),
    [
        ("<Pixels", "its OME-XML cannot be parsed"),
        ("", "its OME-XML describes no image"),
        (PIXELS.format(z="many", c=1, data=""), "has a size that is no number"),
        (PIXELS.format(z=0, c=1, data=""), "z 0"),
        (PIXELS.replace('SizeX="5"', 'SizeX="9"').format(z=2, c=1, data=""), "says 9 x 6 pixels"),
        (PIXELS.replace("XYZCT", "ZYXCT").format(z=2, c=1, data=""), "DimensionOrder 'ZYXCT'"),
        (PIXELS.format(z=2, c=1, data='<TiffData FirstZ="7"/>'), "the TiffData of its OME-XML is damaged"),
        (PIXELS.format(z=2, c=1, data='<TiffData IFD="0" PlaneCount="9"/>'), "the TiffData of its OME-XML is damaged"),
        (PIXELS.format(z=10**9, c=1, data=""), "says 1000000000 planes, but the file has 2 pages"),
    ],
)
def test_damaged_ome_xml(tmp_path: Path, pixels: str, text: str) -> None:
    assert text in refused(ome(tmp_path, noise((2, 6, 5), "u1"), pixels)).message


def test_ome_colour_counts_samples_as_channels(tmp_path: Path) -> None:
    voxels = noise((3, 6, 5, 3), "u1")
    path = tmp_path / "v.ome.tif"
    options: dict[str, Any] = {"ome": True, "photometric": "rgb", "metadata": {"axes": "ZYXS"}}
    tifffile.imwrite(path, voxels, **options)
    np.testing.assert_array_equal(read_all(open_source(path)), voxels.transpose(3, 0, 1, 2))
