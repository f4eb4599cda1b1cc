"""Reading: any box across borders, absolute coordinates, and damage that is never taken for data."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from imagecodecs import brotli_encode

import precast
from precast.errors import FormatError, ObjectNotFoundError
from precast.geometry import Vec3
from precast.pipelines.convert import ConvertOptions, convert
from precast.storage import LocalStore, ObjectStat

SIZE, OFFSET = (50, 40, 30), (-10, 3, 7)


@pytest.fixture(scope="module", params=["sharded", "files"])
def stored(request, tmp_path_factory, make_blobs):
    labels = make_blobs(SIZE[::-1])
    path = tmp_path_factory.mktemp("volume") / "v"
    options = ConvertOptions(
        resolution="8,8,8", chunk_size="16,8,10", offset=OFFSET, unsharded=request.param == "files"
    )
    convert(labels, path, options)
    return path, labels


@given(data=st.data())
def test_any_box(stored, data) -> None:
    path, labels = stored
    scale = precast.open(path).scales[0]
    ends = [sorted(data.draw(st.tuples(*[st.integers(o, o + n)] * 2))) for o, n in zip(OFFSET, SIZE, strict=True)]
    (x0, x1), (y0, y1), (z0, z1) = ends
    found = scale[z0:z1, y0:y1, x0:x1]
    ox, oy, oz = OFFSET
    np.testing.assert_array_equal(found, labels[z0 - oz : z1 - oz, y0 - oy : y1 - oy, x0 - ox : x1 - ox])


def test_indices(stored) -> None:
    path, labels = stored
    scale = precast.open(path).scales[0]
    assert scale.shape == (30, 40, 50)
    assert scale[10, 5, -3] == labels[3, 2, 7]
    np.testing.assert_array_equal(scale[10], labels[3])
    np.testing.assert_array_equal(scale[..., -3], labels[:, :, 7])
    np.testing.assert_array_equal(scale[:], labels)
    np.testing.assert_array_equal(scale[8:9, :, -10:-5], labels[1:2, :, :5])
    for bad in (np.s_[6], np.s_[:, :, 40], np.s_[7:38], np.s_[::2], np.s_[0, 0, 0, 0], np.s_["a"], np.s_[9:8]):
        with pytest.raises(IndexError):
            scale[bad]


def test_channels(tmp_path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (3, 10, 20, 30), np.uint8)
    convert(image, tmp_path / "v", ConvertOptions(resolution="8,8,8", chunk_size=8))
    scale = precast.open(tmp_path / "v").scales[0]
    assert scale.shape == image.shape
    np.testing.assert_array_equal(scale[1:3, 2:9, 5, :], image[1:3, 2:9, 5])


def test_it_pickles_and_describes_itself(stored) -> None:
    path, labels = stored
    volume = pickle.loads(pickle.dumps(precast.open(path)))
    np.testing.assert_array_equal(volume.scales[0][:], labels)
    assert "segmentation uint32 50x40x30" in repr(volume)
    assert volume.dtype == np.uint32


def test_not_a_volume(tmp_path) -> None:
    with pytest.raises(ObjectNotFoundError, match="no info file"):
        precast.open(tmp_path)


def test_absent_chunks_read_as_zero(tmp_path) -> None:
    labels = np.ones((8, 8, 16), np.uint32)
    convert(labels, tmp_path / "v", ConvertOptions(resolution="8", chunk_size=8, unsharded=True, scales=1))
    next((tmp_path / "v" / "8_8_8").iterdir()).unlink()
    found = precast.open(tmp_path / "v").scales[0][:]
    assert sorted((found[:, :, :8].max(), found[:, :, 8:].max())) == [0, 1]


@pytest.mark.parametrize("unsharded", [True, False])
def test_a_scale_of_which_nothing_is_there_is_an_error(tmp_path: Path, unsharded: bool) -> None:
    options = ConvertOptions(resolution="8", chunk_size=8, unsharded=unsharded, scales=2)
    convert(np.ones((8, 8, 16), np.uint32), tmp_path / "v", options)
    folder = tmp_path / "v" / "8_8_8"
    files = sorted(folder.iterdir())
    hidden = tmp_path / "kept"
    hidden.mkdir()
    for file in files:
        file.rename(hidden / file.name)
    scale = precast.open(tmp_path / "v").scales[0]
    for read in (lambda: scale[:], lambda: scale[0, 0, 0], lambda: scale.read_chunk(Vec3(0, 0, 0))):
        with pytest.raises(FormatError, match=r"v/8_8_8 holds none of the .* of this scale$") as caught:
            read()
        assert "copied as a whole" in caught.value.hint
        assert caught.value.where == str(folder)
    # what is of no use to a reader is named
    (folder / f"{files[0].stem}.zstd").write_bytes(b"x")
    with pytest.raises(FormatError, match=rf"but for example {files[0].stem}\.zstd$"):
        scale[:]
    # the other scale is not concerned; and what was an error is none once the data are there
    assert precast.open(tmp_path / "v").scales[1][:].all()
    for file in hidden.iterdir():
        file.rename(folder / file.name)
    assert scale[:].all()


@pytest.mark.parametrize("unsharded", [True, False])
def test_a_scale_that_is_known_to_be_empty_reads_as_zero(tmp_path: Path, unsharded: bool) -> None:
    options = ConvertOptions(resolution="8", chunk_size=8, unsharded=unsharded, skip_background=True, scales=1)
    convert(np.zeros((8, 8, 16), np.uint32), tmp_path / "v", options)
    assert list((tmp_path / "v" / "8_8_8").glob("*")) == []
    assert not precast.open(tmp_path / "v").scales[0][:].any()
    (tmp_path / "v" / "provenance").unlink()
    with pytest.raises(FormatError, match="holds none of"):
        precast.open(tmp_path / "v").scales[0][:]


def test_a_directory_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.zeros((8, 8, 800), np.uint32)
    labels[..., 0] = 1
    convert(labels, tmp_path / "v", ConvertOptions(resolution="8", chunk_size=8, unsharded=True, scales=1))
    listed: list[str] = []
    plain = LocalStore.list

    def counted(store: LocalStore, prefix: str = "") -> Iterator[ObjectStat]:
        listed.append(prefix)
        return plain(store, prefix)

    monkeypatch.setattr(LocalStore, "list", counted)
    scale = precast.open(tmp_path / "v").scales[0]
    np.testing.assert_array_equal(scale[:], labels)
    np.testing.assert_array_equal(scale[:], labels)
    assert listed == ["8_8_8/"]


def test_chunks_in_a_folder_per_axis_are_read(tmp_path: Path) -> None:
    labels = np.arange(8 * 16 * 24, dtype=np.uint32).reshape(8, 16, 24)
    options = ConvertOptions(resolution="8", chunk_size=8, offset="-8,8,0", unsharded=True, scales=1)
    convert(labels, tmp_path / "v", options)
    folder = tmp_path / "v" / "8_8_8"
    for file in list(folder.iterdir()):
        target = folder / file.name.replace("_", "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
    volume = precast.open(tmp_path / "v")
    assert volume.scales[0].in_folders()
    np.testing.assert_array_equal(volume.scales[0][:], labels)
    again = pickle.loads(pickle.dumps(volume))
    (folder / "0-8" / "16-24" / "0-8.gz").unlink()
    labels[:, 8:, 8:16] = 0
    np.testing.assert_array_equal(again.scales[0][:], labels)


def test_links_to_parts_replace_a_packed_info(tmp_path: Path) -> None:
    convert(np.ones((8, 8, 8), np.uint32), tmp_path / "v", ConvertOptions(resolution="8"))
    info = tmp_path / "v" / "info"
    (tmp_path / "v" / "info.br").write_bytes(brotli_encode(info.read_bytes()))
    info.unlink()
    precast.properties(tmp_path / "v")
    assert precast.open(tmp_path / "v").info.segment_properties == "segment_properties"
    assert [file.name for file in (tmp_path / "v").glob("info*")] == ["info"]


@pytest.mark.parametrize("where", ["index", "minishard", "value", "cut"])
def test_a_damaged_shard_is_an_error_and_names_the_place(tmp_path, make_blobs, where) -> None:
    convert(make_blobs((20, 20, 20)), tmp_path / "v", ConvertOptions(resolution="8", chunk_size=8, scales=1))
    shard = tmp_path / "v" / "8_8_8" / "0.shard"
    data = bytearray(shard.read_bytes())
    if where == "index":
        data[0:8] = (2**40).to_bytes(8, "little")
    elif where == "minishard":
        data[int.from_bytes(data[0:8], "little") + 16 + 12] ^= 0xFF
    elif where == "value":
        data[16 + 30] ^= 0xFF
    else:
        del data[100:]
    shard.write_bytes(data)
    with pytest.raises(FormatError, match="8_8_8"):
        precast.open(tmp_path / "v").scales[0][:]


def test_a_chunk_of_the_wrong_length_is_an_error(tmp_path: Path) -> None:
    image = np.ones((8, 8, 8), np.uint8)
    options = ConvertOptions(resolution="8", kind="image", chunk_size=8, unsharded=True, compress="none")
    convert(image, tmp_path / "v", options)
    chunk = tmp_path / "v" / "8_8_8" / "0-8_0-8_0-8"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(FormatError, match=r"0-8_0-8_0-8.*512 bytes, got 511"):
        precast.open(tmp_path / "v").scales[0][:]
