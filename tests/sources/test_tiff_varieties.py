"""TIFF files as tifffile writes them in every variety, compared with the array that was written."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import tifffile

from precast.errors import SourceError
from precast.geometry import Box, Vec3
from precast.sources import SourceOptions, open_source
from source_contract import noise, read_all
from tiff_files import GREY, contiguous_stack, sparse_file, tiff_bytes

ByteOrder = Literal["<", ">"]
CODECS = ["none", "lzw", "zlib", "packbits", "zstd", "lzma"]


def codec(name: str) -> dict[str, Any]:
    return {} if name == "none" else {"compression": name}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("form", [{"rowsperstrip": 7}, {"tile": (16, 32)}, {}])
@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "i8", "u8", "f2", "f4", "f8"])
def test_dtype_codec_form_and_order(
    tmp_path: Path, dtype: str, name: str, form: dict[str, Any], order: ByteOrder
) -> None:
    voxels = noise((2, 37, 41), dtype)
    tifffile.imwrite(tmp_path / "v.tif", voxels, photometric="minisblack", byteorder=order, **codec(name), **form)
    source = open_source(tmp_path / "v.tif")
    assert source.info.dtype == (np.float32 if dtype == "f2" else np.dtype(dtype))
    np.testing.assert_array_equal(read_all(source)[0], voxels.astype(source.info.dtype))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("form", [{"rowsperstrip": 7}, {"tile": (16, 32)}])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("name", ["none", "lzw", "zlib"])
@pytest.mark.parametrize("predictor", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "f4"])
def test_colour_with_predictor(
    tmp_path: Path, dtype: str, predictor: bool, name: str, planar: str, form: dict[str, Any], order: ByteOrder
) -> None:
    voxels = noise((3, 37, 41) if planar == "separate" else (37, 41, 3), dtype)
    options = codec(name) | ({"predictor": True} if predictor and name != "none" else {})
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, voxels, photometric="rgb", planarconfig=planar, byteorder=order, **options, **form)
    expected = voxels if planar == "separate" else voxels.transpose(2, 0, 1)
    source = open_source(path)
    assert source.info.shape == (3, 1, 37, 41)
    np.testing.assert_array_equal(read_all(source)[:, 0], expected)


@pytest.mark.parametrize("bits", [2, 4, 12])
def test_packed_bits_as_stored(tmp_path: Path, bits: int) -> None:
    # Rows of packed samples start at a byte, so the bytes can be written by hand: all bits set, then none.
    rows = np.zeros((4, 8), np.uint16)
    rows[::2] = (1 << bits) - 1
    raw = b"".join(b"\xff" * bits if i % 2 == 0 else b"\0" * bits for i in range(4))
    (tmp_path / "v.tif").write_bytes(tiff_bytes({256: 8, 257: 4, 258: bits, 259: 1, 262: 1, 277: 1, 278: 4}, raw))
    source = open_source(tmp_path / "v.tif")
    assert source.info.dtype == (np.uint8 if bits <= 8 else np.uint16)
    np.testing.assert_array_equal(read_all(source)[0, 0], rows)


def test_exact_bytes(tmp_path: Path) -> None:
    (tmp_path / "v.tif").write_bytes(tiff_bytes(GREY, bytes(range(12))))
    source = open_source(tmp_path / "v.tif")
    np.testing.assert_array_equal(read_all(source)[0, 0], np.arange(12, dtype=np.uint8).reshape(3, 4))
    assert source.info.block == Vec3(4, 1, 1), "uncompressed rows are read one by one"


def test_bits_are_bool(tmp_path: Path) -> None:
    (tmp_path / "v.tif").write_bytes(
        tiff_bytes(GREY | {256: 10, 257: 1, 258: 1, 278: 1}, bytes([0b10110001, 0b01000000]))
    )
    source = open_source(tmp_path / "v.tif")
    assert source.info.dtype == bool
    assert read_all(source)[0, 0, 0].tolist() == [True, False, True, True, False, False, False, True, False, True]


def test_jpeg_tiles_are_lossy_and_equal_to_tifffile(tmp_path: Path) -> None:
    image = np.add.outer(np.arange(50), np.arange(70)).astype(np.uint8)
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, image, compression="jpeg", tile=(32, 32))
    source = open_source(path)
    assert source.info.lossy
    np.testing.assert_array_equal(read_all(source)[0, 0], tifffile.imread(path))


def test_jpeg_colour_is_rgb(tmp_path: Path) -> None:
    image = np.stack([np.add.outer(np.arange(48), k * np.arange(64)) % 256 for k in (1, 2, 0)], -1).astype(np.uint8)
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, image, compression="jpeg", photometric="rgb", tile=(16, 16))
    np.testing.assert_array_equal(read_all(open_source(path))[:, 0], tifffile.imread(path).transpose(2, 0, 1))


@pytest.mark.parametrize("name", ["zlib", "none"])
def test_rows_beyond_the_last_strip_are_ignored(tmp_path: Path, name: str) -> None:
    """Some writers fill the last strip up to its full height."""
    import zlib

    padded = noise((2, 4, 6), "u1").reshape(8, 6)
    strips = [padded[:4].tobytes(), padded[4:].tobytes()]
    strips = [zlib.compress(strip) for strip in strips] if name == "zlib" else strips
    tags = {256: 6, 257: 6, 258: 8, 259: 8 if name == "zlib" else 1, 262: 1, 277: 1, 278: 4}
    count = len(tags) + 2
    start = 8 + 2 + 12 * count + 4
    data = start + 16
    entries = {tag: struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()}
    entries[273] = struct.pack("<HHII", 273, 4, 2, start)
    entries[279] = struct.pack("<HHII", 279, 4, 2, start + 8)
    head = b"II*\0" + struct.pack("<IH", 8, count) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
    tables = struct.pack("<IIII", data, data + len(strips[0]), len(strips[0]), len(strips[1]))
    (tmp_path / "v.tif").write_bytes(head + tables + b"".join(strips))
    np.testing.assert_array_equal(read_all(open_source(tmp_path / "v.tif"))[0, 0], padded[:6])


def test_palette_gives_the_stored_numbers(tmp_path: Path) -> None:
    labels = noise((9, 8), "u1")
    colours = np.random.default_rng(1).integers(0, 65535, (3, 256)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "v.tif", labels, photometric="palette", colormap=colours)
    source = open_source(tmp_path / "v.tif")
    np.testing.assert_array_equal(read_all(source)[0, 0], labels)
    assert [finding.code for finding in source.info.findings] == ["PS110"]


def test_white_is_zero_is_read_as_stored(tmp_path: Path) -> None:
    voxels = noise((9, 8), "u1")
    tifffile.imwrite(tmp_path / "v.tif", voxels, photometric="miniswhite")
    source = open_source(tmp_path / "v.tif")
    np.testing.assert_array_equal(read_all(source)[0, 0], voxels)
    assert [finding.code for finding in source.info.findings] == ["PS111"]


def test_thumbnails_and_pyramid_levels_are_left_out(tmp_path: Path) -> None:
    voxels = noise((3, 32, 32), "u1")
    with tifffile.TiffWriter(tmp_path / "v.tif") as file:
        for plane in voxels:
            file.write(plane, metadata=None)
            file.write(plane[::2, ::2], subfiletype=1, metadata=None)
    source = open_source(tmp_path / "v.tif")
    np.testing.assert_array_equal(read_all(source)[0], voxels)
    assert [finding.code for finding in source.info.findings] == ["PS122"]


@pytest.mark.parametrize(("nodata", "value"), [(b"", 0), (b"255", 255)])
def test_sparse_tiles_are_background_and_reported(tmp_path: Path, nodata: bytes, value: int) -> None:
    sparse_file(tmp_path / "v.tif", nodata)
    source = open_source(tmp_path / "v.tif")
    voxels = read_all(source)[0, 0]
    assert (voxels[:, :16] == 7).all()
    assert (voxels[:, 16:] == value).all()
    assert [finding.code for finding in source.info.findings] == ["PS113"]


def test_only_touched_tiles_are_decoded(tmp_path: Path) -> None:
    """A tile that is damaged does not matter to a box beside it."""
    voxels = noise((64, 64), "u1")
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, voxels, tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        offset = page.dataoffsets[5]
    data = bytearray(path.read_bytes())
    data[offset : offset + 40] = b"\xff" * 40
    path.write_bytes(data)
    source = open_source(path)
    box = Box(Vec3(0, 0, 0), Vec3(64, 16, 1))
    out = np.empty((1, 1, 16, 64), np.uint8)
    source.read(box, out)
    np.testing.assert_array_equal(out[0, 0], voxels[:16])
    with pytest.raises(
        SourceError, match=r"v\.tif: the strip or tile 5 \(rows from 16, columns from 16\) cannot be decoded"
    ):
        source.read(Box(Vec3(16, 16, 0), Vec3(17, 17, 1)), np.empty((1, 1, 1, 1), np.uint8))


def test_imagej_stack_behind_one_directory(tmp_path: Path) -> None:
    """What ImageJ writes above 4 GB: one directory, all samples behind it."""
    voxels = contiguous_stack(tmp_path / "v.tif", 5, images=5)
    source = open_source(tmp_path / "v.tif")
    np.testing.assert_array_equal(read_all(source)[0], voxels)
    out = np.empty((1, 1, 2, 4), np.uint16)
    source.read(Box(Vec3(0, 1, 3), Vec3(4, 3, 4)), out)
    np.testing.assert_array_equal(out[0, 0], voxels[3, 1:])


def test_imagej_stack_cut_short(tmp_path: Path) -> None:
    contiguous_stack(tmp_path / "v.tif", 4, images=5)
    with pytest.raises(
        SourceError, match=r"says 5 images, which need \d+ bytes, but the file has \d+: it is truncated"
    ):
        open_source(tmp_path / "v.tif")


def test_contiguous_samples_beyond_4_gb(tmp_path: Path) -> None:
    """A sparse file on disk: only its last slice holds anything."""
    path = tmp_path / "v.tif"
    side, images = 16384, 18
    text = f"ImageJ=1.54f\nimages={images}\nslices={images}\n".encode()
    tags = {256: side, 257: side, 258: 8, 259: 1, 262: 1, 277: 1, 278: side}
    size = len(tags) + 3
    start = 8 + 2 + 12 * size + 4
    entries = {tag: struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()}
    entries[270] = struct.pack("<HHII", 270, 2, len(text), start)
    entries[273] = struct.pack("<HHII", 273, 4, 1, start + len(text))
    entries[279] = struct.pack("<HHII", 279, 4, 1, side * side)
    head = b"II*\0" + struct.pack("<IH", 8, size) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
    with path.open("wb") as file:
        file.write(head + text)
        file.truncate(start + len(text) + images * side * side)
        file.seek(start + len(text) + (images - 1) * side * side + 5 * side + 7)
        file.write(b"\x2a")
    assert path.stat().st_size > 4 << 30
    out = np.ones((1, 1, 2, 8), np.uint8)
    open_source(path).read(Box(Vec3(0, 4, images - 1), Vec3(8, 6, images)), out)
    assert out[0, 0].tolist() == [[0] * 8, [0] * 7 + [42]]


def test_plain_pages_are_slices_and_may_be_called_channels(tmp_path: Path) -> None:
    voxels = noise((3, 6, 5), "u1")
    with tifffile.TiffWriter(tmp_path / "v.tif") as file:
        for plane in voxels:
            file.write(plane, metadata=None, photometric="minisblack")
    assert open_source(tmp_path / "v.tif").info.shape == (1, 3, 6, 5)
    source = open_source(tmp_path / "v.tif", SourceOptions(axes="cyx"))
    assert source.info.shape == (3, 1, 6, 5)
    np.testing.assert_array_equal(read_all(source)[:, 0], voxels)


@pytest.mark.parametrize("axes", ["CZYX", "ZCYX", "TZCYX", "TCZYX"])
def test_ome_orders(tmp_path: Path, axes: str) -> None:
    sizes = {"T": 1, "C": 2, "Z": 3, "Y": 6, "X": 5}
    voxels = noise(tuple(sizes[letter] for letter in axes), "u1")
    path = tmp_path / "v.ome.tif"
    tifffile.imwrite(path, voxels, ome=True, metadata={"axes": axes}, photometric="minisblack")
    expected = voxels.reshape([sizes[letter] for letter in axes if letter != "T"])
    if axes.index("Z") < axes.index("C"):
        expected = expected.transpose(1, 0, 2, 3)
    np.testing.assert_array_equal(read_all(open_source(path)), expected)


def test_ome_times_are_refused_or_renamed(tmp_path: Path) -> None:
    voxels = noise((4, 6, 5), "u1")
    path = tmp_path / "v.ome.tif"
    tifffile.imwrite(path, voxels, ome=True, metadata={"axes": "TYX"}, photometric="minisblack")
    with pytest.raises(SourceError, match=r"v\.ome\.tif holds 4 times \(t = 4\); a volume has one") as caught:
        open_source(path)
    assert "axes='zyx'" in caught.value.hint
    np.testing.assert_array_equal(read_all(open_source(path, SourceOptions(axes="zyx")))[0], voxels)


def test_four_dimensions_without_names_need_names(tmp_path: Path) -> None:
    voxels = noise((2, 3, 6, 5), "u1")
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, voxels, photometric="minisblack")
    with pytest.raises(SourceError, match=r"2 dimensions \(\? = 2, \? = 3\), and the file does not name them"):
        open_source(path)
    np.testing.assert_array_equal(read_all(open_source(path, SourceOptions(axes="czyx"))), voxels)
    swapped = open_source(path, SourceOptions(axes="zcyx"))
    np.testing.assert_array_equal(read_all(swapped), voxels.transpose(1, 0, 2, 3))
    with pytest.raises(SourceError, match="names 1 dimensions over the pages, but the file has 2"):
        open_source(path, SourceOptions(axes="zyx"))


def test_tifffile_names_of_axes_are_used(tmp_path: Path) -> None:
    voxels = noise((3, 2, 6, 5), "u1")
    tifffile.imwrite(tmp_path / "v.tif", voxels, photometric="minisblack", metadata={"axes": "ZCYX"})
    np.testing.assert_array_equal(read_all(open_source(tmp_path / "v.tif")), voxels.transpose(1, 0, 2, 3))


def test_names_of_axes_from_older_versions_are_used(tmp_path: Path) -> None:
    """Their description begins with the axes, not with the shape."""
    voxels = noise((6, 6, 5), "u1")
    text = '{"axes": "ZCYX", "shape": [3, 2, 6, 5]}'
    tifffile.imwrite(tmp_path / "v.tif", voxels, photometric="minisblack", metadata=None, description=text)
    expected = voxels.reshape(3, 2, 6, 5).transpose(1, 0, 2, 3)
    np.testing.assert_array_equal(read_all(open_source(tmp_path / "v.tif")), expected)


def test_appended_pages_are_one_stack(tmp_path: Path) -> None:
    voxels = noise((4, 6, 5), "u1")
    for plane in voxels:
        tifffile.imwrite(tmp_path / "v.tif", plane, append=True, photometric="minisblack")
    np.testing.assert_array_equal(read_all(open_source(tmp_path / "v.tif"))[0], voxels)


def test_many_pages_are_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read goes to its page directly, also in a process that got the source pickled."""
    voxels = noise((300, 3, 4), "u1")
    with tifffile.TiffWriter(tmp_path / "v.tif") as file:
        for plane in voxels:
            file.write(plane, metadata=None, photometric="minisblack", compression="zlib")
    source = open_source(tmp_path / "v.tif")
    parsed = []
    original = tifffile.TiffPage.__init__

    def counting(page: tifffile.TiffPage, *arguments: Any, **options: Any) -> None:
        parsed.append(1)
        original(page, *arguments, **options)

    monkeypatch.setattr(tifffile.TiffPage, "__init__", counting)
    for copy in (source, pickle.loads(pickle.dumps(source))):
        for z in (299, 7, 200):
            parsed.clear()
            out = np.empty((1, 1, 3, 4), np.uint8)
            copy.read(Box(Vec3(0, 0, z), Vec3(4, 3, z + 1)), out)
            np.testing.assert_array_equal(out[0, 0], voxels[z])
            assert len(parsed) <= 2, "tifffile always parses the first page, then ours"
        parsed.clear()
        copy.read(Box(Vec3(0, 0, 7), Vec3(4, 3, 8)), out)
        assert not parsed, "kept from the read before"
        np.testing.assert_array_equal(read_all(copy)[0], voxels)
