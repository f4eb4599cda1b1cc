"""Conversions against TensorStore and cloud-volume, voxel for voxel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import precast
from oracles import check_pyramid, read_tensorstore
from precast.pipelines.convert import ConvertOptions, budget, convert

IMAGE_DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32"]


def random_volume(shape: tuple[int, ...], dtype: str, seed: int, *, labels: bool) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    if dtype == "float32":
        return rng.normal(0, 1000, shape).astype(np.float32)
    info = np.iinfo(dtype)
    if labels:
        pool = rng.integers(0, info.max, 5, dtype, endpoint=True)
        pool[0] = 0
        coarse = pool[rng.integers(0, 5, [n // 3 + 1 for n in shape])]
        for axis in range(len(shape)):
            coarse = coarse.repeat(3, axis)
        return np.ascontiguousarray(coarse[tuple(slice(0, n) for n in shape)])
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


class SmallBlocks:
    """Makes even small volumes fall into several blocks and stages."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(budget, "TASK_BYTES", 20_000)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> SmallBlocks:
    return SmallBlocks(monkeypatch)


def few_chunks(size: tuple[int, ...], chunk: tuple[int, ...]) -> tuple[int, ...]:
    """Return a size of at most 8 chunks along each axis: many blocks, but not thousands of files."""
    return tuple(min(length, 8 * step) for length, step in zip(size, chunk, strict=True))


vectors = st.tuples(*[st.integers(1, 70)] * 3)
offsets = st.one_of(st.just((0, 0, 0)), st.tuples(*[st.integers(-50, 50)] * 3))
chunks = st.sampled_from([(8, 8, 8), (16, 8, 4), (5, 7, 3), (64, 64, 64), (10, 9, 11)])
factors = st.one_of(
    st.none(),
    st.lists(st.tuples(*[st.integers(1, 3)] * 3).filter(lambda f: f != (1, 1, 1)), min_size=1, max_size=3),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=vectors,
    offset=offsets,
    chunk=chunks,
    steps=factors,
    dtype=st.sampled_from(["uint32", "uint64"]),
    sharded=st.booleans(),
    room=st.sampled_from([16, 40, 10_000]),
    seed=st.integers(0, 99),
)
def test_labels_any_shape_offset_and_factor(
    size, offset, chunk, steps, dtype, sharded, room, seed, tmp_path_factory, small_blocks
) -> None:
    size = few_chunks(size, chunk)
    labels = random_volume(size[::-1], dtype, seed, labels=True)
    path = tmp_path_factory.mktemp("labels") / "v"
    options = ConvertOptions(
        resolution="8,8,8",
        offset=offset,
        chunk_size=chunk,
        factors=steps,
        unsharded=not sharded,
        compress="none",
        memory=200_000 + room * 8 * chunk[0] * chunk[1] * chunk[2],
        threads=2,
    )
    convert(labels, path, options)
    check_pyramid(path, labels, offset, "majority")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=vectors,
    offset=offsets,
    chunk=chunks,
    steps=factors,
    dtype=st.sampled_from(IMAGE_DTYPES),
    channels=st.integers(1, 3),
    method=st.sampled_from(["mean", "min", "max", "stride"]),
    sharded=st.booleans(),
    seed=st.integers(0, 99),
)
def test_images_any_dtype_and_method(
    size, offset, chunk, steps, dtype, channels, method, sharded, seed, tmp_path_factory, small_blocks
) -> None:
    size = few_chunks(size, chunk)
    image = random_volume((channels, *size[::-1]), dtype, seed, labels=False)
    path = tmp_path_factory.mktemp("image") / "v"
    options = ConvertOptions(
        resolution="8,8,8",
        kind="image",
        offset=offset,
        chunk_size=chunk,
        factors=steps,
        method=method,
        unsharded=not sharded,
        compress="none",
        memory=600_000 + 100 * channels * chunk[0] * chunk[1] * chunk[2],
        threads=2,
    )
    convert(image, path, options)
    check_pyramid(path, image, offset, method)


def tree(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


@pytest.mark.parametrize("unsharded", [False, True])
@pytest.mark.parametrize("offset", [(0, 0, 0), (3, -5, 7)])
def test_bytes_do_not_depend_on_memory_threads_or_blocks(tmp_path, make_blobs, unsharded, offset, monkeypatch) -> None:
    labels = make_blobs((70, 60, 65))
    trees = []
    for i, (memory, threads, task) in enumerate([(2**28, 1, 2**30), (220_000, 3, 20_000), (300_000, 1, 100_000)]):
        monkeypatch.setattr(budget, "TASK_BYTES", task)
        options = ConvertOptions(
            resolution="4,4,4", chunk_size=8, offset=offset, unsharded=unsharded, memory=memory, threads=threads
        )
        plan = precast.plan_conversion(labels, options)
        if i:
            assert plan.stages[0].count > 1
            assert len(plan.stages) > 1
        convert(labels, tmp_path / str(i), options)
        trees.append(tree(tmp_path / str(i)))
    assert trees[0] == trees[1] == trees[2]
    assert not (tmp_path / ".precast").exists()


def test_gzipped_chunks_are_read_over_http(tmp_path, serve, make_blobs) -> None:
    labels = make_blobs((30, 40, 50))
    convert(labels, tmp_path / "v", ConvertOptions(resolution="8,8,8", chunk_size=16, unsharded=True))
    assert all(file.suffix == ".gz" for file in (tmp_path / "v" / "8_8_8").iterdir())
    check_pyramid(f"{serve}/v", labels, (0, 0, 0), "majority")


@pytest.mark.parametrize("unsharded", [False, True])
def test_real_labels(connectomics, tmp_path, unsharded) -> None:
    import tifffile

    options = ConvertOptions(resolution="32,32,40", unsharded=unsharded, compress="none")
    summary = convert(connectomics, tmp_path / "v", options)
    source = np.stack([tifffile.imread(file) for file in sorted(connectomics.glob("*.tif"))])
    assert check_pyramid(tmp_path / "v", source, (0, 0, 0), "majority") == 3
    assert summary.labels == len(np.unique(source)) - 1
    table = np.load(tmp_path / "v" / "label_table.npy")
    check_label_table(table, source, (0, 0, 0))


def check_label_table(table: Any, labels: Any, offset: tuple[int, int, int]) -> None:
    ids, counts = np.unique(labels, return_counts=True)
    keep = ids != 0
    np.testing.assert_array_equal(table["id"], ids[keep])
    np.testing.assert_array_equal(table["voxels"], counts[keep])
    for row in table[:: max(1, len(table) // 50)]:
        where = np.argwhere(labels == row["id"])[:, ::-1] + np.array(offset)
        np.testing.assert_array_equal(row["start"], where.min(0))
        np.testing.assert_array_equal(row["stop"], where.max(0) + 1)
        np.testing.assert_allclose(row["centroid"], where.mean(0) + 0.5, rtol=1e-12)


def test_label_table_over_many_blocks(tmp_path, make_blobs, small_blocks) -> None:
    labels = make_blobs((50, 60, 70), count=200, dtype=np.uint64)
    options = ConvertOptions(resolution="8,8,8", chunk_size=8, memory=300_000, offset=(-9, 4, 11))
    summary = convert(labels, tmp_path / "v", options)
    table = np.load(tmp_path / "v" / "label_table.npy")
    assert summary.labels == len(table)
    check_label_table(table, labels, (-9, 4, 11))


def test_real_image_lossless_and_jpeg(drosophila, tmp_path) -> None:
    import tifffile

    source = np.stack([tifffile.imread(file) for file in sorted(drosophila.glob("*.tif"))])
    convert(drosophila, tmp_path / "raw", ConvertOptions(resolution="4.6,4.6,45"))
    assert check_pyramid(tmp_path / "raw", source, (0, 0, 0), "mean") == 5
    convert(drosophila, tmp_path / "jpeg", ConvertOptions(resolution="4.6,4.6,45", encoding="jpeg"))
    for scale in range(5):
        exact = read_tensorstore(tmp_path / "raw", scale)
        lossy = read_tensorstore(tmp_path / "jpeg", scale)
        assert lossy.shape == exact.shape
        # every scale is made from the samples as they were before jpeg, so the error does not grow with the scale
        assert np.abs(lossy.astype(int) - exact.astype(int)).mean() < 5.0
    volume = precast.open(tmp_path / "jpeg")
    np.testing.assert_array_equal(volume.scales[0].read(volume.scales[0].box), read_tensorstore(tmp_path / "jpeg", 0))


@pytest.mark.parametrize(
    ("encoding", "dtype", "channels"),
    [("png", "uint8", 1), ("png", "uint8", 3), ("png", "uint8", 4), ("png", "uint16", 1), ("png", "uint8", 2)],
)
@pytest.mark.parametrize("unsharded", [False, True])
def test_png_is_exact(tmp_path, encoding, dtype, channels, unsharded) -> None:
    image = random_volume((channels, 20, 30, 40), dtype, 3, labels=False)
    options = ConvertOptions(resolution="8,8,8", kind="image", encoding=encoding, chunk_size=16, unsharded=unsharded)
    convert(image, tmp_path / "v", options)
    check_pyramid(tmp_path / "v", image, (0, 0, 0), "mean")


def test_rgb_jpeg_keeps_colours_apart(tmp_path) -> None:
    image = np.zeros((3, 16, 64, 64), np.uint8)
    image[0, :, :32] = 250
    image[2, :, 32:] = 200
    options = ConvertOptions(resolution="8,8,8", encoding="jpeg", chunk_size=32, scales=1)
    convert(image, tmp_path / "v", options)
    found = read_tensorstore(tmp_path / "v", 0)
    assert np.abs(found.astype(int) - image).max() < 60
    assert np.abs(found.astype(int) - image).mean() < 3
    np.testing.assert_array_equal(
        found, precast.open(tmp_path / "v").scales[0].read(precast.Box.of_size((0, 0, 0), (64, 64, 16)))
    )


def test_cloud_volume_reads_the_same(tmp_path, make_blobs) -> None:
    cloudvolume = pytest.importorskip("cloudvolume")
    labels = make_blobs((60, 70, 75), dtype=np.uint64)
    for name, unsharded in (("sharded", False), ("files", True)):
        convert(
            labels,
            tmp_path / name,
            ConvertOptions(resolution="8,8,10", chunk_size=32, offset=(5, -7, 3), unsharded=unsharded),
        )
        for scale in range(2):
            volume = cloudvolume.CloudVolume(f"file://{tmp_path / name}", mip=scale, progress=False, fill_missing=True)
            found = np.asarray(volume[:]).transpose(3, 2, 1, 0)
            np.testing.assert_array_equal(found, read_tensorstore(tmp_path / name, scale) if not unsharded else found)
            ours = precast.open(tmp_path / name).scales[scale]
            np.testing.assert_array_equal(found, ours.read(ours.box))
            assert tuple(volume.voxel_offset) == tuple(ours.box.start)


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(np.arange(1, 1_000_001, dtype=np.uint64).reshape(100, 100, 100) * 2**43, id="a million ids"),
        pytest.param(np.full((20, 20, 20), 2**64 - 1, np.uint64), id="one label, the largest"),
        pytest.param(np.zeros((20, 20, 20), np.uint32), id="all zero"),
    ],
)
def test_extreme_labels(tmp_path, labels) -> None:
    options = ConvertOptions(resolution="8,8,8", chunk_size=100, kind="segmentation")
    summary = convert(labels, tmp_path / "v", options)
    np.testing.assert_array_equal(read_tensorstore(tmp_path / "v", 0)[0], labels)
    assert summary.labels == len(np.unique(labels[labels != 0]))
    # sharded: background is stored, so that absent can only mean lost
    assert summary.scales[0].stored_chunks == summary.scales[0].chunks


def test_background_is_left_out_where_the_format_allows_and_is_counted(tmp_path) -> None:
    labels = np.zeros((32, 32, 32), np.uint32)
    labels[:8, :8, :8] = 5
    for name, options in {
        "files": ConvertOptions(resolution="8,8,8", chunk_size=8, unsharded=True, compress="none", kind="segmentation"),
        "skip": ConvertOptions(resolution="8,8,8", chunk_size=8, skip_background=True, kind="segmentation"),
        "all": ConvertOptions(resolution="8,8,8", chunk_size=8, kind="segmentation"),
    }.items():
        summary = convert(labels, tmp_path / name, options)
        check_pyramid(tmp_path / name, labels, (0, 0, 0), "majority")
        stored = summary.scales[0].stored_chunks
        assert stored == (64 if name == "all" else 1)
        assert precast.open(tmp_path / name).scales[0].stored_chunks() == stored
        scale = json.loads((tmp_path / name / "provenance").read_text())["processing"][0]["scales"][0]
        assert (scale["stored_chunks"], scale["background_chunks"]) == (stored, 64 - stored)


def test_sparse_does_not_count_zero(tmp_path) -> None:
    labels = np.zeros((8, 8, 8), np.uint32)
    labels[::2, ::2, ::2] = 9
    labels[1, 1, 1] = 4
    convert(labels, tmp_path / "v", ConvertOptions(resolution="8,8,8", chunk_size=4, sparse=True, kind="segmentation"))
    found = read_tensorstore(tmp_path / "v", 1)[0]
    assert found[0, 0, 0] == 4  # a tie of 4 and 9: the lowest
    assert (found.ravel()[1:] == 9).all()


def test_digest_is_the_same_however_it_is_stored(tmp_path, make_blobs) -> None:
    labels = make_blobs((40, 50, 60))
    digests = []
    variants: list[dict[str, Any]] = [
        {},
        {"unsharded": True},
        {"chunk_size": 16},
        {"encoding": "raw"},
        {"memory": 400_000, "chunk_size": 8},
    ]
    for i, more in enumerate(variants):
        summary = convert(labels, tmp_path / str(i), ConvertOptions(resolution="8,8,8", scales=3, **more))
        digests.append([scale.voxel_digest for scale in summary.scales])
    assert all(digest == digests[0] for digest in digests)
    labels[20, 20, 20] += 1
    changed = convert(labels, tmp_path / "changed", ConvertOptions(resolution="8,8,8", scales=3))
    assert changed.scales[0].voxel_digest != digests[0][0]


def test_digest_of_jpeg_is_that_of_the_decoded_voxels(tmp_path) -> None:
    image = random_volume((1, 20, 40, 40), "uint8", 0, labels=False)
    summary = convert(
        image, tmp_path / "jpeg", ConvertOptions(resolution="8,8,8", encoding="jpeg", chunk_size=16, scales=1)
    )
    decoded = read_tensorstore(tmp_path / "jpeg", 0)
    again = convert(decoded, tmp_path / "raw", ConvertOptions(resolution="8,8,8", kind="image", scales=1))
    assert summary.scales[0].voxel_digest == again.scales[0].voxel_digest
