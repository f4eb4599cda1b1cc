"""Folders of slices: order, gaps, strays, and slices that do not fit; each error says which file and what to do."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Literal

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from precast.errors import AccessDeniedError, ObjectNotFoundError, SourceError, StorageError, UsageError
from precast.findings import Severity
from precast.geometry import Box, Vec3
from precast.sources import SourceOptions, open_source
from precast.sources.numbering import number_names
from source_contract import noise, read_all
from tiff_files import contiguous_stack

PLANE = np.arange(30, dtype=np.uint8).reshape(5, 6)


def write(folder: Path, *names: str) -> Path:
    """Write slices; each holds its place among the names."""
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        tifffile.imwrite(folder / name, np.full((5, 6), i, np.uint8))
    return folder


def order_of(folder: Path, options: SourceOptions | None = None) -> list[int]:
    values: list[int] = read_all(open_source(folder, options))[0, :, 0, 0].tolist()
    return values


def code_of(folder: Path) -> dict[str, str]:
    return {finding.code: finding.message for finding in open_source(folder).info.findings}


# --- order ---


def test_natural_order(tmp_path: Path) -> None:
    names = [f"s{i}.tif" for i in range(8, 13)]
    assert order_of(write(tmp_path / "v", *names)) == [0, 1, 2, 3, 4]


def test_mixed_case_of_extensions_is_one_format(tmp_path: Path) -> None:
    assert order_of(write(tmp_path / "v", "a1.tif", "a2.TIF", "a3.tiff")) == [0, 1, 2]


def test_the_last_varying_number_counts_and_is_explained(tmp_path: Path) -> None:
    folder = write(tmp_path / "v", "r9_s1_of_3.tif", "r8_s2_of_3.tif", "r7_s3_of_3.tif")
    assert order_of(folder) == [0, 1, 2]
    assert code_of(folder)["PS102"] == (
        "2 numbers vary between the names; the last of them (1 to 3) is taken as the slice number"
    )


def test_names_without_numbers_are_sorted(tmp_path: Path) -> None:
    folder = write(tmp_path / "v", "back.tif", "front.tif", "middle.tif")
    assert order_of(folder) == [0, 1, 2]
    assert "sorted as text" in code_of(folder)["PS102"]


def test_a_single_slice_needs_no_explanation(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "v", "only7.tif"))
    assert source.info.shape == (1, 1, 5, 6)
    assert source.info.findings == ()


@given(st.sets(st.integers(0, 10**6), min_size=1, max_size=20), st.integers(0, 7))
def test_numbers_decide_whatever_their_zeros(numbers: set[int], width: int) -> None:
    start = min(numbers)
    names = [f"z{n:0{width}}.tif" for n in range(start, start + len(numbers))]
    assert list(number_names(sorted(names), "v", fill=False).names) == names


@given(st.sets(st.integers(0, 300), min_size=2, max_size=40))
def test_gaps_are_found_exactly(numbers: set[int]) -> None:
    names = [f"z{n}.tif" for n in numbers]
    low, high = min(numbers), max(numbers)
    lost = [n for n in range(low, high + 1) if n not in numbers]
    steps = {b - a for a, b in pairwise(sorted(numbers))}
    if not lost or (len(steps) == 1 and len(numbers) > 2):
        assert number_names(names, "v", fill=False).slices == tuple(range(len(names)))
        return
    with pytest.raises(SourceError, match=f"{lost[0]}") as caught:
        number_names(names, "v", fill=False)
    before = max(n for n in numbers if n < lost[0])
    after = min(n for n in numbers if n > lost[0])
    assert f"between z{before}.tif and z{after}.tif" in caught.value.message
    if len(lost) <= len(numbers):
        filled = number_names(names, "v", fill=True)
        assert [low + i for i, index in enumerate(filled.slices) if index < 0] == lost
        assert [filled.names[index] for index in filled.slices if index >= 0] == [f"z{n}.tif" for n in sorted(numbers)]


# --- gaps ---


def test_missing_number(tmp_path: Path) -> None:
    folder = write(tmp_path / "v", "z07.tif", "z08.tif", "z11.tif", "z13.tif")
    with pytest.raises(SourceError) as caught:
        open_source(folder)
    assert caught.value.message == (
        "slice numbers 9-10, 12 are missing between z08.tif and z11.tif and in 1 other places"
    )
    assert "--fill-gaps zero" in caught.value.hint
    assert "--fill-gaps previous" in caught.value.hint


def test_gaps_are_filled_and_recorded(tmp_path: Path) -> None:
    folder = write(tmp_path / "v", "z1.tif", "z2.tif", "z5.tif")
    assert order_of(folder, SourceOptions(fill_gaps="zero")) == [0, 1, 0, 0, 2]
    assert order_of(folder, SourceOptions(fill_gaps="previous")) == [0, 1, 1, 1, 2]
    (finding,) = open_source(folder, SourceOptions(fill_gaps="previous")).info.findings
    assert (finding.code, finding.severity) == ("PS101", Severity.WARNING)
    assert finding.message == "slice numbers 3-4 (2 in all) are missing and were filled (previous)"
    one, other = (open_source(folder, SourceOptions(fill_gaps=fill)) for fill in ("zero", "previous"))
    assert one.fingerprint().content != other.fingerprint().content, "the voxels differ"


def test_more_gaps_than_slices_are_not_filled(tmp_path: Path) -> None:
    folder = write(tmp_path / "v", "t20240101.tif", "t20250101.tif")
    with pytest.raises(SourceError, match="9999 would be filled, but at most as many as there are") as caught:
        open_source(folder, SourceOptions(fill_gaps="zero"))
    assert "rename" in caught.value.hint


@pytest.mark.parametrize("fill", [None, "zero", "previous"])
def test_even_steps_are_a_complete_series(tmp_path: Path, fill: Literal["zero", "previous"] | None) -> None:
    folder = write(tmp_path / "v", "z10.tif", "z20.tif", "z30.tif", "z40.tif")
    options = SourceOptions(fill_gaps=fill)
    assert order_of(folder, options) == [0, 1, 2, 3]
    (finding,) = open_source(folder, options).info.findings
    assert (finding.code, finding.severity) == ("PS102", Severity.INFO)
    assert finding.message == "the slice numbers rise by 10 throughout (10 to 40): none is missing"


@pytest.mark.parametrize("names", [("z10.tif", "z20.tif"), ("z10.tif", "z20.tif", "z30.tif", "z50.tif")])
def test_uneven_steps_and_two_slices_are_gaps(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(SourceError, match=r"slice numbers 11-19.* are missing between z10\.tif and z20\.tif"):
        open_source(write(tmp_path / "v", *names))


@pytest.mark.parametrize(
    "names",
    [
        ("z1.tif", "z01.tif"),
        ("z1.tif", "z01.tif", "z2.tif"),
        ("c0_z1.tif", "c1_z1.tif", "c0_z2.tif"),
        ("z1.tif", "Z1.tiff"),
    ],
)
def test_a_number_twice(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(SourceError, match="slice number 1 occurs twice") as caught:
        open_source(write(tmp_path / "v", *names))
    assert sum(name in caught.value.message for name in names) == 2
    assert "remove one of them" in caught.value.hint


def test_a_name_out_of_pattern(tmp_path: Path) -> None:
    folder = write(tmp_path / "v", "z1.tif", "z2.tif", "z3.tif", "overview.tif")
    with pytest.raises(SourceError, match=r"do not follow one pattern: 3 like 'z#' .*but also overview\.tif") as caught:
        open_source(folder)
    assert "move the files" in caught.value.hint


# --- what lies beside ---


def test_junk_is_ignored_and_said(tmp_path: Path) -> None:
    folder = write(tmp_path / "v", "z1.tif", "z2.tif")
    for name in (".DS_Store", "Thumbs.db", "notes.txt", "meta.json", "sizes.csv", "._z1.tif"):
        (folder / name).write_text("x")
    (folder / "old").mkdir()
    (finding,) = open_source(folder).info.findings
    assert finding.severity == Severity.INFO
    assert finding.message.startswith("not read: 6 files (")
    assert "1 folder (old)" in finding.message


def test_unknown_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "v", "z1.tif", "z2.tif")
    (folder / "z3.bmp").write_bytes(b"BM")
    with pytest.raises(SourceError, match=r"v holds 1 file \(z3\.bmp\) of unknown format beside 2 slices"):
        open_source(folder)


def test_two_formats(tmp_path: Path) -> None:
    folder = write(tmp_path / "v", "z1.tif", "z2.tif")
    (folder / "z3.png").write_bytes(imagecodecs.png_encode(PLANE))
    with pytest.raises(SourceError, match=r"2 TIFF and 1 PNG files, the latter 1 file \(z3\.png\)"):
        open_source(folder)


def test_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    with pytest.raises(SourceError, match=r"v holds no slices .*: it holds no files"):
        open_source(tmp_path / "v")


def test_folder_of_folders(tmp_path: Path) -> None:
    write(tmp_path / "b", "1.tif")
    write(tmp_path / "a", "1.tif")
    with pytest.raises(SourceError, match=r"2 folders \(a, b\)") as caught:
        open_source(tmp_path)
    assert caught.value.hint == "give one of its folders, for example a"


def test_missing_path(tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFoundError, match="nowhere does not exist") as caught:
        open_source(tmp_path / "nowhere")
    assert str(tmp_path) in caught.value.hint


def test_unknown_format_and_foreign_types(tmp_path: Path) -> None:
    (tmp_path / "v.nd2").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"v\.nd2: the format is not known") as caught:
        open_source(tmp_path / "v.nd2")
    assert "OME-TIFF" in caught.value.hint
    with pytest.raises(UsageError, match="got list"):
        open_source([[1, 2]])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"not 'ftp://host/volume\.tif'"):
        open_source("ftp://host/volume.tif")
    with pytest.raises(UsageError, match="does not apply to v"):
        open_source(write(tmp_path / "v", "1.tif"), SourceOptions(axes="zyx"))


@pytest.mark.parametrize("axes", ["zy", "zyxx", "qyx", ""])
def test_impossible_axes(axes: str) -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        SourceOptions(axes=axes)


def test_unknown_fill() -> None:
    with pytest.raises(UsageError, match="fill_gaps = 'nearest' is not known"):
        SourceOptions(fill_gaps="nearest")  # type: ignore[arg-type]


# --- slices that do not fit ---


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (PLANE[:4], "is 6 x 4 pixels, 1 channel of uint8"),
        (PLANE.astype(np.uint16), "is 6 x 5 pixels, 1 channel of uint16"),
        (np.stack([PLANE] * 3, -1), "is 6 x 5 pixels, 3 channels of uint8"),
    ],
)
@pytest.mark.parametrize("at", [0, 3, 6])
def test_first_middle_and_last_are_compared_on_opening(tmp_path: Path, at: int, other: np.ndarray, text: str) -> None:
    folder = write(tmp_path / "v", *(f"z{i}.tif" for i in range(7)))
    tifffile.imwrite(folder / f"z{at}.tif", other)
    with pytest.raises(SourceError, match="all slices must be alike") as caught:
        open_source(folder)
    if at:
        assert text in caught.value.message
        assert caught.value.message.startswith(f"z{at}.tif ")


def test_the_others_are_compared_when_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "v", *(f"z{i}.tif" for i in range(7)))
    tifffile.imwrite(folder / "z2.tif", PLANE[:4])
    source = open_source(folder)
    out = np.empty((1, 1, 5, 6), np.uint8)
    source.read(Box(Vec3(0, 0, 1), Vec3(6, 5, 2)), out)
    with pytest.raises(SourceError) as caught:
        read_all(source)
    assert caught.value.message == (
        "z2.tif is 6 x 4 pixels, 1 channel of uint8, but z0.tif is 6 x 5 pixels, 1 channel of uint8; "
        "all slices must be alike"
    )
    assert caught.value.where == str(folder / "z2.tif")


def test_multi_page_files_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    folder.mkdir()
    tifffile.imwrite(folder / "a.tif", noise((4, 5, 6), "u1"), photometric="minisblack")
    with pytest.raises(
        SourceError, match=r"a\.tif holds 4 pages, but in a folder every file must be one slice"
    ) as caught:
        open_source(folder)
    assert "give it instead of the folder" in caught.value.hint


def test_hidden_imagej_stack_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    contiguous_stack(tmp_path / "v" / "a.tif", 5, images=5)
    with pytest.raises(SourceError, match=r"a\.tif holds 5 pages"):
        open_source(tmp_path / "v")


# --- damage ---


def test_every_truncation_of_a_tiff_is_noticed(tmp_path: Path) -> None:
    """Whatever is cut off, either an error or, if only padding is lost, the right voxels; never other voxels."""
    voxels = noise((40, 30), "u1")
    for number, options in enumerate(({}, {"compression": "lzw", "rowsperstrip": 8}, {"compression": "zlib"})):
        whole = tmp_path / f"{number}.tif"
        tifffile.imwrite(whole, voxels, **options)  # type: ignore[arg-type]
        data = whole.read_bytes()
        for size in range(0, len(data) - 1, 37):
            (tmp_path / "cut.tif").write_bytes(data[:size])
            with pytest.raises(SourceError, match=r"cut\.tif: "):
                read_all(open_source(tmp_path / "cut.tif"))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_every_truncation_of_an_image_is_noticed(tmp_path: Path, suffix: str) -> None:
    voxels = noise((40, 30), "u1")
    data = imagecodecs.png_encode(voxels) if suffix == "png" else imagecodecs.jpeg8_encode(voxels)
    path = tmp_path / f"cut.{suffix}"
    # The last 12 bytes of a PNG are its end marker, without which every pixel can still be there.
    for size in range(0, len(data) - 13, 29):
        path.write_bytes(data[:size])
        with pytest.raises(SourceError, match=rf"cut\.{suffix}: "):
            read_all(open_source(path))


@pytest.mark.parametrize("suffix", ["tif", "png", "jpg"])
def test_any_damaged_byte_gives_voxels_or_our_error(tmp_path: Path, suffix: str) -> None:
    """Never an exception of another library."""
    path = tmp_path / f"v.{suffix}"
    if suffix == "tif":
        tifffile.imwrite(path, noise((9, 8), "u1"), compression="zlib")
    else:
        encode = imagecodecs.png_encode if suffix == "png" else imagecodecs.jpeg8_encode
        path.write_bytes(encode(noise((9, 8), "u1")))
    data = path.read_bytes()
    for at in range(len(data)):
        for value in (0, 255, data[at] ^ 1):
            path.write_bytes(data[:at] + bytes([value]) + data[at + 1 :])
            try:
                source = open_source(path)
                if np.prod(source.info.shape, dtype=object) < 1 << 24:
                    read_all(source)
            except SourceError:
                pass


def test_zero_bytes(tmp_path: Path) -> None:
    folder = write(tmp_path / "v", "z1.tif", "z2.tif", "z3.tif")
    (folder / "z2.tif").write_bytes(b"")
    with pytest.raises(SourceError, match=r"z2\.tif: the file is empty \(0 bytes\)"):
        open_source(folder)
    for name in ("a.tif", "a.png", "a.jpg", "a.npy"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(SourceError, match=r"the file is empty \(0 bytes\)"):
            open_source(tmp_path / name)


@pytest.mark.parametrize("name", ["v.tif", "v.png", "v.jpg", "v.npy"])
def test_content_that_is_not_what_the_name_says(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"GIF89a" + bytes(100))
    with pytest.raises(SourceError, match=r"^v\.") as caught:
        open_source(tmp_path / name)
    assert "GIF8" in caught.value.message or "npy" in caught.value.message
    assert caught.value.hint


def test_a_slice_that_vanished(tmp_path: Path) -> None:
    folder = write(tmp_path / "v", "z1.tif", "z2.tif", "z3.tif")
    source = open_source(folder)
    (folder / "z2.tif").unlink()
    with pytest.raises(ObjectNotFoundError, match=r"z2\.tif does not exist"):
        read_all(source)
    with pytest.raises(ObjectNotFoundError, match=r"z2\.tif does not exist"):
        source.fingerprint()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
def test_file_without_permission(tmp_path: Path) -> None:
    folder = write(tmp_path / "v", "z1.tif", "z2.tif")
    (folder / "z1.tif").chmod(0)
    with pytest.raises(AccessDeniedError, match=r"z1\.tif may not be read"):
        open_source(folder)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [(PermissionError(13, "denied"), AccessDeniedError), (OSError(5, "I/O error"), StorageError)],
)
def test_what_the_system_says_becomes_our_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: OSError, expected: type[Exception]
) -> None:
    folder = write(tmp_path / "v", "z1.tif")

    def refuse(*_: object) -> None:
        raise raised

    monkeypatch.setattr("precast.sources.base.FileIO", refuse)
    with pytest.raises(expected, match=r"z1\.tif"):
        open_source(folder)


def test_stamp_changes_when_a_slice_is_rewritten(tmp_path: Path) -> None:
    folder = write(tmp_path / "v", "z1.tif", "z2.tif")
    source = open_source(folder)
    before = source.fingerprint()
    os.utime(folder / "z2.tif", ns=(1, 1))
    after = source.fingerprint()
    assert before.content == after.content
    assert before.stamp != after.stamp


# --- PNG ---


def png(bits: int, colour: int, rows: list[bytes], width: int, extra: bytes = b"") -> bytes:
    """Write a PNG by hand."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0))
    palette = chunk(b"PLTE", bytes(i % 256 for i in range(3 * 2**bits))) if colour == 3 else b""
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    transparent = chunk(b"tRNS", extra) if extra else b""
    return b"\x89PNG\r\n\x1a\n" + header + palette + transparent + data + chunk(b"IEND", b"")


@pytest.mark.parametrize("colour", [0, 3])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_png_of_few_bits_gives_the_stored_numbers(tmp_path: Path, bits: int, colour: int) -> None:
    row = bytes([0b11100100] * bits)
    number = int.from_bytes(row, "big")
    expected = [(number >> (8 * bits - bits * (i + 1))) & ((1 << bits) - 1) for i in range(8)]
    (tmp_path / "v.png").write_bytes(png(bits, colour, [row], 8))
    source = open_source(tmp_path / "v.png")
    assert source.info.dtype == (bool if (bits, colour) == (1, 0) else np.uint8)
    assert read_all(source)[0, 0, 0].tolist() == expected
    assert [f.code for f in source.info.findings] == (["PS110"] if colour == 3 else [])


@pytest.mark.parametrize(("colour", "extra"), [(0, b"\0\x05"), (3, b"\0\x80")])
def test_png_transparency_adds_no_channel(tmp_path: Path, colour: int, extra: bytes) -> None:
    rows = [bytes([5, 6, 7]), bytes([8, 9, 10])]
    data = png(8, colour, rows, 3, extra)
    (tmp_path / "v.png").write_bytes(data)
    assert read_all(open_source(tmp_path / "v.png"))[0, 0].tolist() == [[5, 6, 7], [8, 9, 10]]
