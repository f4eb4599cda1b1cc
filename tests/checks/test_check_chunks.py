"""Each rule about chunks: one fault is planted in a good dataset, and exactly that rule finds it."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from imagecodecs import brotli_encode

import precast
from precast.checks import CheckOptions, Report, ScaleReport, catalogue, check
from precast.errors import FormatError
from precast.findings import Severity
from precast.geometry import Vec3
from precast.precomputed.codecs import codec_of_scale
from volume_files import SIZE, chunk_name, labels, pyramid, volume_info, write_volume

FINE, COARSE = "10_10_20", "20_20_40"


def codes(path: Path, **options: Any) -> list[str]:
    return sorted({finding.code for finding in check(path, CheckOptions(**options)).findings})


def only_scale(report: Report, number: int = 0) -> ScaleReport:
    return report.datasets[0].scales[number]


# ---- datasets by precast


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, make_blobs: Any) -> dict[str, Path]:
    """Labels in shards and in files, and an image in jpeg, each with some scales."""
    folder = tmp_path_factory.mktemp("made")
    data = make_blobs((70, 90, 110), seed=5)
    data[:40, :40, :40] = 0
    rng = np.random.default_rng(1)
    smooth = np.add.outer(np.add.outer(np.arange(70), np.arange(90)), np.arange(110)) * 0.7
    image = (smooth + rng.integers(0, 9, smooth.shape)).astype(np.uint8)
    options: dict[str, Any] = {"resolution": "8,8,8", "chunk_size": 32, "offset": "3,-5,8"}
    precast.convert(data, folder / "sharded", precast.ConvertOptions(**options))
    precast.convert(data, folder / "files", precast.ConvertOptions(**options, unsharded=True))
    precast.convert(image, folder / "jpeg", precast.ConvertOptions(**options, encoding="jpeg"))
    precast.convert(image, folder / "jpegs", precast.ConvertOptions(**options, encoding="jpeg", unsharded=True))
    return {path.name: path for path in sorted(folder.iterdir())}


@pytest.fixture
def copy(made: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(made[name], tmp_path / name))


@pytest.mark.parametrize("name", ["sharded", "files", "jpeg", "jpegs"])
def test_clean_datasets(made: dict[str, Path], name: str) -> None:
    report = check(made[name])
    assert report.findings == ()
    assert report.ok
    for scale in report.datasets[0].scales:
        assert scale.stored + scale.absent == scale.chunks
        assert (scale.unreadable, scale.lost, scale.digest) == (0, 0, "verified")
        assert scale.decoded == scale.stored
    assert [scale.chunks for scale in report.datasets[0].scales] == [36, 8, 1]
    assert only_scale(report).empty + only_scale(report).absent == (1 if name in ("sharded", "files") else 0)
    if name in ("sharded", "files"):
        compared = [scale.pyramid for scale in report.datasets[0].scales]
        assert compared[0] is None
        assert compared[1] is not None
        assert (compared[1]["method"], compared[1]["differ"]) == ("majority", 0)
        assert compared[1]["compared"] == np.prod(only_scale(report, 1).size)


@pytest.mark.parametrize("name", ["sharded", "files"])
def test_the_result_does_not_depend_on_threads_or_memory(made: dict[str, Path], name: str) -> None:
    first = check(made[name], CheckOptions(threads=1))
    assert check(made[name], CheckOptions(threads=5)) == first
    assert check(made[name], CheckOptions(threads=2, memory=200_000)).datasets == first.datasets


def test_a_sample_is_fixed_by_its_seed(made: dict[str, Path]) -> None:
    one = check(made["sharded"], CheckOptions(sample="10%"))
    assert one.findings == ()
    assert check(made["sharded"], CheckOptions(sample=0.1, threads=1, memory=100_000)) == one
    finest = only_scale(one)
    assert finest.stored == finest.chunks  # all are counted
    assert 0 < finest.decoded < finest.chunks
    assert finest.digest == ""
    others = [check(made["sharded"], CheckOptions(sample=0.1, seed=seed)).datasets for seed in range(1, 6)]
    assert any(datasets != one.datasets for datasets in others)


def test_a_lost_shard(copy: Callable[[str], Path]) -> None:
    path = copy("sharded")
    shard = sorted((path / "8_8_8").iterdir())[0]
    shard.unlink()
    report = check(path)
    assert [finding.code for finding in report.findings] == ["PC201"]
    assert "36 of 36 stored chunks are lost, for example at cell 0,0,0" in report.findings[0].message
    assert only_scale(report).lost == 36


def test_a_lost_file(copy: Callable[[str], Path]) -> None:
    path = copy("files")
    files = sorted((path / "8_8_8").iterdir())
    files[20].unlink()
    assert codes(path) == ["PC201"]
    assert codes(path, sample=0.2) == ["PC201"]


def encoded(scale: Any, chunk: Any) -> bytes:
    """Encode a chunk as a scale has it."""
    codec = codec_of_scale(scale.info, scale.dtype.name, scale.channels)
    (payload,) = codec.encode_slab(chunk, gzip_level=4, skip_zero=False, threads=1)
    assert payload is not None
    return payload


def test_more_chunks_than_recorded(copy: Callable[[str], Path]) -> None:
    path = copy("files")
    assert only_scale(check(path)).absent == 1
    payload = encoded(precast.open(path).scales[0], np.zeros((1, 32, 32, 32), np.uint32))
    (path / "8_8_8" / "3-35_-5-27_8-40.gz").write_bytes(payload)
    assert codes(path) == ["PC210"]


def test_negative_zeros_are_no_zeros(tmp_path: Path) -> None:
    data = np.zeros((40, 40, 40), np.float32)
    data[:8] = -0.0
    for name, unsharded in (("sharded", False), ("files", True)):
        options = precast.ConvertOptions(resolution=8, chunk_size=8, unsharded=unsharded)
        precast.convert(data, tmp_path / name, options)
        assert codes(tmp_path / name) == []


def test_a_changed_voxel(copy: Callable[[str], Path]) -> None:
    """In the finest scale, so that the coarser one does not follow; the digest tells it too."""
    path = copy("files")
    volume = precast.open(path)
    scale = volume.scales[0]
    cell = Vec3(1, 1, 1)
    chunk = scale.read_chunk(cell)
    assert chunk is not None
    assert scale.info.chunk_box(cell).start == (35, 27, 40)
    whole = chunk[0, 0:30, 1:31, 1:31].reshape(15, 2, 15, 2, 15, 2)  # cells of the next scale, [cell, within] per axis
    z, y, x = np.argwhere(whole.all(axis=(1, 3, 5)))[0]
    chunk[0, 2 * z : 2 * z + 2, 2 * y + 1 : 2 * y + 3, 2 * x + 1 : 2 * x + 3] = 77
    file = path / "8_8_8" / f"{scale.info.chunk_name(cell)}.gz"
    file.write_bytes(encoded(scale, chunk))
    assert codes(path) == ["PC240", "PC250"]
    provenance = json.loads((path / "provenance").read_text())
    provenance["processing"][0]["scales"][0]["voxel_digest"] = ""
    (path / "provenance").write_text(json.dumps(provenance))
    report = check(path)
    assert [finding.code for finding in report.findings] == ["PC240"]
    assert "1 voxels differ from majority" in report.findings[0].message
    assert only_scale(report, 1).pyramid == {
        "method": "majority",
        "compared": np.prod(only_scale(report, 1).size),
        "differ": 1,
    }


def test_a_wrong_digest(copy: Callable[[str], Path]) -> None:
    for name, code in (("sharded", "PC250"), ("jpeg", "PC251")):
        path = copy(name)
        text = (path / "provenance").read_text()
        first = json.loads(text)["processing"][0]["scales"][0]["voxel_digest"]
        (path / "provenance").write_text(text.replace(first, first[:-1] + ("0" if first[-1] != "0" else "1")))
        report = check(path)
        assert [finding.code for finding in report.findings] == [code]
        assert only_scale(report).digest == "differs"
        assert codes(path, sample=0.5) == []  # a digest is of all voxels
        assert report.ok == (name == "jpeg")
        assert not check(path, CheckOptions(strict=True)).ok


def test_lossy_scales_that_have_nothing_in_common(copy: Callable[[str], Path]) -> None:
    path = copy("jpegs")
    (path / "provenance").unlink()
    assert codes(path) == []
    for file in (path / "16_16_16").iterdir():
        picture = imagecodecs.jpeg8_decode(file.read_bytes())
        file.write_bytes(imagecodecs.jpeg8_encode(255 - picture, level=90))
    assert codes(path) == ["PC243"]


# ---- datasets by others


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("written")
    write_volume(folder / "gz")
    write_volume(folder / "bare", packed=False)
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture
def foreign(written: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(written["gz"], tmp_path / "v"))


def name_of(cell: tuple[int, int, int], scale: int = 0) -> str:
    return chunk_name(volume_info()["scales"][scale], cell)


def chunk_file(path: Path, cell: tuple[int, int, int], scale: int = 0) -> Path:
    return path / (FINE, COARSE)[scale] / f"{name_of(cell, scale)}.gz"


@pytest.mark.parametrize("name", ["gz", "bare"])
def test_clean_foreign_datasets(written: dict[str, Path], name: str) -> None:
    report = check(written[name])
    assert report.findings == ()
    assert only_scale(report).chunks == only_scale(report).decoded == 12
    assert only_scale(report).digest == ""


def test_an_absent_chunk_that_may_be_empty(foreign: Path) -> None:
    """Where the scale beside it is empty too."""
    data = labels()
    data[:8, :16, :16] = 0
    path = write_volume(foreign.parent / "w", data=pyramid(data))
    assert codes(path) == []
    chunk_file(path, (0, 0, 0)).unlink()
    report = check(path)
    assert [(finding.code, finding.severity) for finding in report.findings] == [("PC200", Severity.INFO)]
    assert report.ok


@pytest.mark.parametrize(("cell", "scale"), [((1, 1, 0), 0), ((0, 0, 0), 1)])
def test_an_absent_chunk_that_was_not_empty(foreign: Path, cell: tuple[int, int, int], scale: int) -> None:
    chunk_file(foreign, cell, scale).unlink()
    report = check(foreign)
    assert [finding.code for finding in report.findings] == ["PC202"]
    assert name_of(cell, scale) in report.findings[0].where
    assert only_scale(report, scale).lost == 1


def test_a_chunk_that_cannot_be_read(foreign: Path) -> None:
    file = chunk_file(foreign, (2, 0, 1))
    file.unlink()
    file.symlink_to(file.name)  # a link to itself: listed, but not to be opened, whoever asks
    with pytest.raises(OSError, match="symbolic"):
        file.read_bytes()
    report = check(foreign)
    assert [finding.code for finding in report.findings] == ["PC203"]
    assert (only_scale(report).unreadable, only_scale(report).absent) == (1, 0)


def test_a_chunk_without_bytes(foreign: Path) -> None:
    chunk_file(foreign, (1, 0, 1)).write_bytes(b"")
    report = check(foreign)
    assert [finding.code for finding in report.findings] == ["PC204"]
    assert only_scale(report).unreadable == 1


def test_a_chunk_that_is_stored_twice(foreign: Path) -> None:
    file = chunk_file(foreign, (1, 0, 1))
    file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
    assert codes(foreign) == ["PC205"]


def test_a_chunk_whose_name_is_not_cut_off(foreign: Path) -> None:
    """The fault of writers that name the last chunks by their full size."""
    file = chunk_file(foreign, (2, 1, 0))
    assert file.name == "40-48_16-24_4-12.gz"
    file.rename(file.with_name("40-56_16-32_4-12.gz"))
    report = check(foreign)
    assert {finding.code for finding in report.findings} == {"PC202", "PC206"}
    # where nothing else says that it is lost, the name alone does
    info = volume_info()
    del info["scales"][1]
    (foreign / "info").write_text(json.dumps(info))
    shutil.rmtree(foreign / COARSE)
    assert codes(foreign) == ["PC200", "PC206"]


def test_a_chunk_of_another_grid(foreign: Path) -> None:
    shutil.copy(chunk_file(foreign, (0, 0, 0)), foreign / FINE / "0-16_0-16_4-12.gz")
    shutil.copy(chunk_file(foreign, (0, 0, 0)), foreign / FINE / "8-40_0-32_4-20.gz")
    report = check(foreign)
    assert {finding.code for finding in report.findings} == {"PC207"}
    assert len(report.findings) == 2
    assert report.ok


def test_chunks_in_brotli(foreign: Path) -> None:
    for file in list((foreign / COARSE).iterdir()):
        file.with_suffix(".br").write_bytes(brotli_encode(gzip.decompress(file.read_bytes())))
        file.unlink()
    report = check(foreign)
    assert {finding.code for finding in report.findings} == {"PC209"}
    assert "brotli" in report.findings[0].message
    coarse = only_scale(report, 1)
    assert coarse.stored == coarse.decoded == coarse.chunks
    assert coarse.pyramid is not None
    spoiled = next((foreign / COARSE).iterdir())
    spoiled.write_bytes(spoiled.read_bytes()[:-5])
    assert codes(foreign) == ["PC209", "PC230"]


def test_chunks_packed_as_nobody_reads_them(foreign: Path) -> None:
    for file in list((foreign / COARSE).iterdir()):
        file.rename(file.with_suffix(".zstd"))
    report = check(foreign)
    assert {finding.code for finding in report.findings} == {"PC209"}
    assert only_scale(report, 1).decoded == 0
    with pytest.raises(FormatError, match=r"for example .*\.zstd"):
        precast.open(foreign).scales[1][:]


def test_chunks_in_a_folder_per_axis(foreign: Path) -> None:
    for file in list((foreign / FINE).iterdir()):
        target = file.parent / file.name.replace("_", "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
    report = check(foreign)
    assert [finding.code for finding in report.findings] == ["PC212"]
    assert "12 chunks" in report.findings[0].message
    assert only_scale(report).stored == only_scale(report).decoded == 12
    for file in list((foreign / FINE).rglob("*.gz")):
        shutil.copy(file, foreign / FINE / file.relative_to(foreign / FINE).as_posix().replace("/", "_"))
    assert codes(foreign) == ["PC205", "PC212"]


def test_a_scale_without_chunks(foreign: Path) -> None:
    shutil.rmtree(foreign / COARSE)
    assert codes(foreign) == ["PC211"]
    shutil.rmtree(foreign / FINE)
    report = check(foreign)
    assert [finding.code for finding in report.findings] == ["PC211", "PC211"]
    assert "no scale has any" in report.findings[0].message


@pytest.mark.parametrize(
    "change",
    [
        lambda data: gzip.compress(gzip.decompress(data)[:-4]),
        lambda data: gzip.compress(gzip.decompress(data) + bytes(4)),
        lambda data: data[:-9],
        lambda data: data + data,
        lambda _: b"not gzip",
    ],
)
def test_a_chunk_that_does_not_decode(foreign: Path, change: Callable[[bytes], bytes]) -> None:
    file = chunk_file(foreign, (1, 1, 1))
    file.write_bytes(change(file.read_bytes()))
    report = check(foreign)
    assert [finding.code for finding in report.findings] == ["PC230"]
    assert name_of((1, 1, 1)) in report.findings[0].where
    assert only_scale(report).unreadable == 1


def test_a_coarser_scale_that_does_not_follow(foreign: Path) -> None:
    file = chunk_file(foreign, (0, 0, 0), 1)
    data = np.frombuffer(gzip.decompress(file.read_bytes()), "<u4").copy()
    data[5] = 12345
    file.write_bytes(gzip.compress(data.tobytes()))
    report = check(foreign)
    assert [(finding.code, finding.severity) for finding in report.findings] == [("PC241", Severity.WARNING)]
    assert "1 of 1920 voxels" in report.findings[0].message
    assert "12345" in report.findings[0].message


def test_every_way_of_reducing_labels_is_accepted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = rng.integers(1, 2**31, SIZE[::-1]).astype("<u4")
    for z, y, x in ((0, 0, 0), (1, 0, 1), (1, 1, 1)):
        path = write_volume(tmp_path / f"{z}{y}{x}", data=[data, data[z::2, y::2, x::2]])
        assert codes(path) == []
    wrong = write_volume(tmp_path / "wrong", data=[data, np.roll(data, 1, 2)[::2, ::2, ::2]])
    assert codes(wrong) == ["PC241"]


def test_every_way_of_reducing_images_is_accepted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = rng.integers(0, 2**31, SIZE[::-1]).astype("<u4")
    cells = data.reshape(8, 2, 12, 2, 20, 2).transpose(0, 2, 4, 1, 3, 5).reshape(8, 12, 20, 8)
    info = volume_info() | {"type": "image"}
    ways = {"mean": cells.mean(-1), "low": cells.min(-1), "high": cells.max(-1), "median": np.median(cells, -1)}
    for name, coarse in ways.items():
        assert codes(write_volume(tmp_path / name, info, [data, coarse.astype("<u4")])) == []
    wrong = write_volume(tmp_path / "wrong", info, [data, cells.max(-1).astype("<u4") + 1])
    assert codes(wrong) == ["PC241"]


def test_labels_are_not_averaged(tmp_path: Path) -> None:
    """A mean lies between the lowest and the highest, but is no label of its cell."""
    data = labels()
    data[0, 0, :2] = 10, 20
    data[0, 1, :2] = 10, 20
    data[1, :2, :2] = 10
    coarse = data[::2, ::2, ::2].copy()
    coarse[0, 0, 0] = 15
    path = write_volume(tmp_path / "v", data=[data, coarse])
    assert codes(path) == ["PC241"]


def test_a_scale_outside_the_dataset_is_not_looked_into(foreign: Path) -> None:
    info = volume_info()
    info["scales"][1]["key"] = f"../elsewhere/{COARSE}"
    (foreign / "info").write_text(json.dumps(info))
    (foreign.parent / "elsewhere").mkdir()
    (foreign / COARSE).rename(foreign.parent / "elsewhere" / COARSE)
    assert codes(foreign) == ["PC134"]


def test_a_folder_that_cannot_be_listed(foreign: Path) -> None:
    shutil.rmtree(foreign / COARSE)
    (foreign / COARSE).symlink_to(COARSE)
    assert codes(foreign) == ["PC203"]


def test_every_rule_about_chunks_is_tested_here() -> None:
    text = Path(__file__).read_text()
    rules = [rule for rule in catalogue() if "PC200" <= rule.code < "PC300" and not "PC220" <= rule.code < "PC230"]
    shards = {"PC208"}
    assert len(rules) > 15
    assert [rule.code for rule in rules if f'"{rule.code}"' not in text and rule.code not in shards] == []
