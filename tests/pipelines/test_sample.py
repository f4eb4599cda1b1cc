"""The synthetic sample: what is in it, that it depends on seed and size alone, and that it never half exists."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from precast.errors import DestinationExistsError, StorageError, UsageError
from precast.geometry import Vec3, VoxelSize
from precast.pipelines import sample as module
from precast.pipelines.sample import SampleOptions, SampleSummary, sample
from precast.pipelines.sample_anatomy import BODY, build_anatomy
from precast.pipelines.sample_render import Renderer


def files(folder: str) -> list[Path]:
    return sorted(Path(folder).iterdir())


def read(folder: str) -> NDArray[Any]:
    return np.stack([tifffile.imread(path) for path in files(folder)])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[SampleSummary, NDArray[Any], NDArray[Any]]:
    summary = sample(tmp_path_factory.mktemp("sample") / "s", SampleOptions(size=Vec3(160, 144, 48), seed=5))
    return summary, read(summary.image), read(summary.labels)


Made = tuple[SampleSummary, NDArray[Any], NDArray[Any]]


def test_slices_have_the_promised_form(made: Made) -> None:
    summary, image, labels = made
    assert image.dtype == np.uint8
    assert labels.dtype == np.uint32
    assert image.shape == labels.shape == (48, 144, 160)
    names = [f"z{z:04d}.tif" for z in range(48)]
    for folder in (summary.image, summary.labels):
        assert [path.name for path in files(folder)] == names
        with tifffile.TiffFile(files(folder)[0]) as file:
            assert len(file.pages) == 1
            assert file.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE


def test_summary_counts_what_is_in_the_files(made: Made) -> None:
    summary, _, labels = made
    assert summary.neurons == len(np.unique(labels[labels > 0]))
    assert summary.labelled_voxels == np.count_nonzero(labels)
    paths = [*files(summary.image), *files(summary.labels)]
    assert summary.files == len(paths)
    assert summary.bytes == sum(path.stat().st_size for path in paths)


def test_labels_are_those_of_a_segmentation(made: Made) -> None:
    _, _, labels = made
    ids, counts = np.unique(labels, return_counts=True)
    assert ids[0] == 0
    assert 0.2 < counts[0] / labels.size < 0.6
    assert len(ids) > 50
    assert (ids > 1 << 31).sum() >= 3
    assert (ids[1:] < 1 << 31).sum() >= 3
    assert (np.diff(ids[1:].astype(np.int64)) > 1).all(), "consecutive ids hide renumbering"
    assert counts[1:].max() > 20 * np.median(counts[1:]), "a cell body dwarfs the neurites"


def test_neurites_run_through_sections(made: Made) -> None:
    """Most labelled voxels have the same label in the next section, and yet sections differ."""
    _, _, labels = made
    below, above = labels[:-1], labels[1:]
    kept = (below == above)[below > 0].mean()
    assert 0.6 < kept < 0.99


def test_membranes_lie_on_label_borders(made: Made) -> None:
    _, image, labels = made
    border = np.zeros(labels.shape, bool)
    border[:, :, 1:] |= labels[:, :, 1:] != labels[:, :, :-1]
    inner = ~border & (labels > 0)
    assert image[border].mean() < image[inner].mean() - 40


def test_sections_differ_in_brightness_but_not_by_much(made: Made) -> None:
    _, image, _ = made
    means = image.mean(axis=(1, 2))
    assert 0.5 < means.std() < 12
    assert 90 < image.mean() < 170
    assert image.std() > 25


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path: Path) -> None:
    options = SampleOptions(size=Vec3(70, 50, 9), seed=1)
    first, again = sample(tmp_path / "a", options), sample(tmp_path / "b", options)
    other = sample(tmp_path / "c", dataclasses.replace(options, seed=2))
    for name in ("image", "labels"):
        paths = [files(getattr(summary, name)) for summary in (first, again, other)]
        assert [path.read_bytes() for path in paths[0]] == [path.read_bytes() for path in paths[1]]
        assert [path.read_bytes() for path in paths[0]] != [path.read_bytes() for path in paths[2]]


@pytest.mark.parametrize(("sections", "zone_nm", "tile"), [(1, 1280.0, 256), (7, 90.0, 64), (40, 1e6, 37)])
def test_slab_zone_and_tile_have_no_influence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sections: int, zone_nm: float, tile: int
) -> None:
    size, voxel = Vec3(110, 90, 21), (24.0, 32.0, 40.0)

    def render(name: str, sections: int, zone_nm: float) -> tuple[NDArray[Any], NDArray[Any]]:
        anatomy = build_anatomy(np.array(size) * np.array(voxel), 11, tmp_path / name, zone_nm)
        ids = np.arange(1, len(anatomy.named) + 1, dtype=np.uint32)
        slabs = list(Renderer(anatomy, ids, size, voxel, 11).slabs(sections))
        return np.concatenate([s.labels for s in slabs]), np.concatenate([s.image for s in slabs])

    expected = render("one", 21, 640.0)
    monkeypatch.setattr("precast.pipelines.sample_render._TILE", tile)
    got = render("two", sections, zone_nm)
    np.testing.assert_array_equal(got[0], expected[0])
    np.testing.assert_array_equal(got[1], expected[1])


def test_every_voxel_belongs_to_the_nearest_process(tmp_path: Path) -> None:
    """Brute force over all spheres at random voxels agrees with the renderer."""
    size, voxel, rng = Vec3(60, 50, 12), (32.0, 32.0, 40.0), np.random.default_rng(0)
    anatomy = build_anatomy(np.array(size) * np.array(voxel), 3, tmp_path / "spool", 500.0)
    ids = np.arange(1, len(anatomy.named) + 1, dtype=np.uint32)
    labels = Renderer(anatomy, ids, size, voxel, 3).slab(0, 12).labels
    spheres = anatomy.spool.between(-1e9, 1e9, 0)
    spheres = spheres[spheres["kind"] == BODY]
    centres = np.stack([spheres[axis] for axis in "xyz"], axis=1).astype(np.float64)
    for x, y, z in rng.integers(0, size, (400, 3)):
        point = (np.array([x, y, z]) + 0.5) * voxel
        distance = np.linalg.norm(centres - point, axis=1) - spheres["radius"]
        nearest = np.argsort(distance)[:2]
        expected = 0 if distance[nearest[0]] > 55 else ids[spheres["process"][nearest[0]]]
        margin = min(abs(distance[nearest[0]] - 55), distance[nearest[1]] - distance[nearest[0]])
        assert labels[z, y, x] == expected or margin < 0.01


def test_memory_does_not_grow_with_depth() -> None:
    assert module._slab_sections(Vec3(4096, 4096, 1000)) == module._slab_sections(Vec3(4096, 4096, 60000)) <= 4
    assert module._slab_sections(Vec3(256, 256, 128)) == 32


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 40, 3), (40, 1, 2), (33, 31, 1)])
def test_odd_and_tiny_sizes(tmp_path: Path, size: tuple[int, int, int]) -> None:
    summary = sample(tmp_path / "s", SampleOptions(size=Vec3(*size)))
    assert read(summary.labels).shape == size[::-1]
    assert read(summary.image).shape == size[::-1]


def test_cells_keep_their_size_in_nanometres(tmp_path: Path) -> None:
    """Twice the resolution, twice as many voxels: about the same share is labelled, borders are rarer."""
    coarse = sample(tmp_path / "c", SampleOptions(size=Vec3(64, 64, 8)))
    half = VoxelSize(Decimal(16), Decimal(16), Decimal(20))
    fine = sample(tmp_path / "f", SampleOptions(size=Vec3(128, 128, 16), voxel_size=half))
    a, b = read(coarse.labels), read(fine.labels)
    assert (a > 0).mean() == pytest.approx((b > 0).mean(), abs=0.02)
    np.testing.assert_array_less((b[:, :, 1:] != b[:, :, :-1]).mean(), 0.7 * (a[:, :, 1:] != a[:, :, :-1]).mean())


def test_full_destination_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "mine.txt").write_text("x")
    with pytest.raises(DestinationExistsError, match="not empty") as caught:
        sample(tmp_path / "s", SampleOptions(size=Vec3(8, 8, 2)))
    assert "--overwrite" in caught.value.hint
    assert [path.name for path in tmp_path.rglob("*")] == ["s", "mine.txt"]


def test_empty_destination_is_used_and_overwrite_replaces(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    sample(tmp_path / "s", SampleOptions(size=Vec3(8, 8, 3)))
    summary = sample(tmp_path / "s", SampleOptions(size=Vec3(8, 8, 2), overwrite=True))
    assert read(summary.image).shape == (2, 8, 8)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_failed_overwrite_keeps_the_old_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sample(tmp_path / "s", SampleOptions(size=Vec3(8, 8, 2)))
    old = [path.read_bytes() for path in files(before.labels)]
    written = 0

    def full(*args: object, **kwargs: object) -> None:
        nonlocal written
        written += 1
        if written > 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tifffile, "imwrite", full)
    with pytest.raises(StorageError, match="No space left"):
        sample(tmp_path / "s", SampleOptions(size=Vec3(8, 8, 5), overwrite=True))
    assert [path.read_bytes() for path in files(before.labels)] == old
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_progress_counts_sections(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    sample(tmp_path / "s", SampleOptions(size=Vec3(8, 8, 5)), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(k, 5) for k in range(1, 6)]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"size": Vec3(0, 5, 5)}, "x = 0"),
        ({"size": Vec3(5, 5, 65537)}, "z = 65537"),
        ({"seed": -1}, "-1"),
        ({"seed": 1 << 63}, str(1 << 63)),
        ({"seed": "3"}, "'3'"),
        ({"voxel_size": VoxelSize(Decimal(32), Decimal(1), Decimal(40))}, "y = 1"),
        ({"voxel_size": VoxelSize(Decimal(32), Decimal(32), Decimal(900))}, "z = 900"),
    ],
)
def test_bad_options_name_the_value(change: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        SampleOptions(**change)  # type: ignore[arg-type]


def test_strings_are_read_as_on_the_command_line() -> None:
    options = SampleOptions(size="64,32,8", voxel_size="0.02,0.02,0.04um")  # type: ignore[arg-type]
    assert options == SampleOptions(size=Vec3(64, 32, 8), voxel_size=VoxelSize(Decimal(20), Decimal(20), Decimal(40)))
    with pytest.raises(UsageError, match="--size"):
        SampleOptions(size="64,32")  # type: ignore[arg-type]


def test_every_option_carries_help() -> None:
    assert all(item.metadata["help"] for item in dataclasses.fields(SampleOptions))


def test_summary_says_where_what_and_how_much(made: Made) -> None:
    summary, _, labels = made
    text = str(summary)
    for part in (summary.image, summary.labels, "48 slices", "160 x 144", "32,32,40 nm", f"{summary.neurons} neurons"):
        assert part in text
    assert f"{100 * np.count_nonzero(labels) / labels.size:.0f} %" in text
