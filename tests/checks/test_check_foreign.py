"""Datasets that other programs wrote, as they are: nothing in them is called wrong."""

from __future__ import annotations

import gzip
import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
from cloudvolume import CloudVolume, Skeleton

import precast
from mesh_files import BOX, make_object, write_dataset, write_legacy
from precast.checks import Report, check
from precast.findings import Severity
from written_by_others import FOLDER, VOXELS

SIZE = (100, 70, 50)


def no_errors(report: Report) -> set[str]:
    """Return the codes of what is unusual; none may be an error."""
    assert [finding for finding in report.findings if finding.severity == Severity.ERROR] == []
    assert report.ok
    return {finding.code for finding in report.findings}


def cloudvolume(path: Path, data: Any, **options: Any) -> Any:
    """Write scale 0 and, by taking every second voxel, scale 1 with cloud-volume."""
    info = CloudVolume.create_new_info(
        num_channels=data.shape[3],
        layer_type=options.pop("layer_type", "segmentation"),
        data_type=data.dtype.name,
        encoding=options.pop("encoding", "raw"),
        resolution=[8, 8, 40],
        voxel_offset=options.pop("voxel_offset", [6, 4, 10]),
        volume_size=data.shape[:3],
        chunk_size=options.pop("chunk_size", [32, 32, 16]),
    )
    volume = CloudVolume(f"file://{path}", info=info, progress=False, **options)
    volume.add_scale((2, 2, 1))
    volume.commit_info()
    volume.commit_provenance()
    for mip, voxels in enumerate((data, data[::2, ::2])):
        layer = CloudVolume(f"file://{path}", mip=mip, progress=False, **options)
        layer[layer.bounds.to_slices()] = voxels
    return volume


@pytest.fixture
def labels(make_blobs: Any) -> Any:
    data = make_blobs((50, 70, 100), seed=8).T[..., None].copy()
    data[:40, :40, :20] = 0
    return data


@pytest.mark.parametrize("encoding", ["raw", "compressed_segmentation"])
@pytest.mark.parametrize("compress", [True, False])
def test_cloudvolume_labels(tmp_path: Path, labels: Any, encoding: str, compress: bool) -> None:
    cloudvolume(tmp_path / "v", labels, encoding=encoding, compress=compress)
    report = check(tmp_path / "v")
    assert no_errors(report) == set()
    scale = report.datasets[0].scales[0]
    assert (scale.chunks, scale.decoded, scale.empty) == (48, 48, 1)


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_cloudvolume_images(tmp_path: Path, encoding: str) -> None:
    x, y, z = np.meshgrid(*(np.arange(n) for n in SIZE), indexing="ij")
    data = ((x + y + 2 * z) % 256).astype(np.uint8)[..., None]
    cloudvolume(tmp_path / "v", data, layer_type="image", encoding=encoding)
    assert no_errors(check(tmp_path / "v")) == set()


def test_cloudvolume_leaves_out_black(tmp_path: Path, labels: Any) -> None:
    cloudvolume(tmp_path / "v", labels, delete_black_uploads=True, fill_missing=True)
    report = check(tmp_path / "v")
    assert no_errors(report) == {"PC200"}
    assert report.datasets[0].scales[0].absent == 1


def test_cloudvolume_brotli(tmp_path: Path, labels: Any) -> None:
    cloudvolume(tmp_path / "v", labels, compress="br")
    assert no_errors(check(tmp_path / "v")) == {"PC209"}


def test_cloudvolume_skeletons(tmp_path: Path, labels: Any) -> None:
    volume = cloudvolume(tmp_path / "v", labels)
    volume.info["skeletons"] = "skeletons"
    volume.commit_info()
    volume = CloudVolume(f"file://{tmp_path / 'v'}", progress=False)
    volume.skeleton.meta.commit_info()
    points = np.array([[60, 50, 500], [100, 60, 600], [150, 70, 700]], np.float32)
    for segment in (5, 7):
        skeleton = Skeleton(points, np.array([[0, 1], [1, 2]]), np.ones(3), np.zeros(3), segid=segment)
        volume.skeleton.upload(skeleton)
    report = check(tmp_path / "v")
    assert no_errors(report) == {"PC504"}  # its vertex types are uint8, which Neuroglancer does not draw
    part = report.datasets[0].parts[0]
    assert (part.path, part.objects, part.checked) == ("skeletons", 2, 2)


@pytest.mark.parametrize("encoding", ["raw", "compressed_segmentation", "png"])
@pytest.mark.parametrize("sharded", [True, False])
def test_tensorstore(tmp_path: Path, labels: Any, encoding: str, sharded: bool) -> None:
    data = labels if encoding != "png" else labels.astype(np.uint16)
    for number, (voxels, resolution) in enumerate(((data, [8, 8, 40]), (data[::2, ::2], [16, 16, 40]))):
        scale: dict[str, Any] = {
            "key": f"s{number}",
            "size": list(voxels.shape[:3]),
            "voxel_offset": [6 >> number, 4 >> number, 10],
            "chunk_size": [32, 32, 16],
            "resolution": resolution,
            "encoding": encoding,
        }
        if encoding == "compressed_segmentation":
            scale["compressed_segmentation_block_size"] = [8, 8, 8]
        if sharded:
            scale["sharding"] = {
                "@type": "neuroglancer_uint64_sharded_v1",
                "preshift_bits": 2,
                "hash": "identity" if number else "murmurhash3_x86_128",
                "minishard_bits": 2,
                "shard_bits": 1,
                "minishard_index_encoding": "gzip",
                "data_encoding": "gzip",
            }
        spec = {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{tmp_path}/v/"},
            "multiscale_metadata": {"type": "segmentation", "data_type": voxels.dtype.name, "num_channels": 1},
            "scale_metadata": scale,
        }
        ts.open(spec, create=True).result().write(voxels).result()
    report = check(tmp_path / "v")
    assert no_errors(report) == {"PC200"}  # it leaves out chunks of zeros
    found = report.datasets[0].scales
    assert [scale.stored + scale.absent for scale in found] == [48, 16]
    assert [scale.sharded for scale in found] == [sharded, sharded]


def older_workflow(path: Path) -> Path:
    """Write what scripts of the years before 2020 left: gzipped chunks, no @type, no offsets, manifests named ID:0."""
    write_legacy(path, {4: BOX})
    info = json.loads((path / "info").read_text())
    del info["@type"]
    scale = info["scales"][0]
    scale["chunk_sizes"] = [[64, 64, 50]]
    voxels = np.zeros(scale["size"], "<u4", order="F")
    (x0, y0, z0), (x1, y1, z1) = BOX[0]
    ox, oy, oz = scale["voxel_offset"]
    voxels[x0 - ox : x1 - ox, y0 - oy : y1 - oy, z0 - oz : z1 - oz] = 4
    folder = path / scale["key"]
    folder.mkdir()
    (folder / "10-74_20-80_5-55.gz").write_bytes(gzip.compress(voxels.tobytes("F")))
    for file in (path / "mesh").iterdir():
        if file.name != "info":
            file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
            file.unlink()
    (path / "mesh" / "info").unlink()
    (path / "info").write_text(json.dumps(info))
    return path


def test_the_older_workflow(tmp_path: Path) -> None:
    report = check(older_workflow(tmp_path / "v"))
    assert no_errors(report) == set()
    assert [(part.path, part.objects) for part in report.datasets[0].parts] == [("mesh", 1)]


def test_open_surfaces_of_others_are_a_warning(tmp_path: Path) -> None:
    path = older_workflow(tmp_path / "v")
    file = path / "mesh" / "4_1.gz"
    data = gzip.decompress(file.read_bytes())
    file.write_bytes(gzip.compress(data[:-12]))
    assert no_errors(check(path)) == {"PC331"}


def test_unknown_keys_and_files(tmp_path: Path) -> None:
    """Others write what they do not know, such as a comment in info; the format lets everybody do so."""
    path = older_workflow(tmp_path / "v")
    info = json.loads((path / "info").read_text())
    info["scales"][0]["comment"] = "x"
    info["@type"] = "neuroglancer_multiscale_volume"
    (path / "info").write_text(json.dumps(info))
    (path / "transform.json").write_text("[[1, 0, 0, 0]]")
    assert no_errors(check(path)) == {"PC721"}


def test_multiresolution_meshes_of_others(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "v", {4: make_object(BOX), 5: make_object(BOX)})
    folder = path / "4_4_40"
    folder.mkdir()
    (folder / "10-74_20-80_5-55").write_bytes(struct.pack("<I", 4) * (64 * 60 * 50))
    info = json.loads((path / "info").read_text())
    (path / "info").write_text(json.dumps(info))
    report = check(path)
    assert no_errors(report) == set()
    assert report.datasets[0].parts[0].objects == 2


def test_chunks_that_precast_does_not_write(tmp_path: Path, labels: Any) -> None:
    """In the worst case such chunks do not fit the format; these do, and are read like any other."""
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{tmp_path}/v/"},
        "multiscale_metadata": {"type": "segmentation", "data_type": "uint64", "num_channels": 1},
        "scale_metadata": {
            "key": "s0",
            "size": list(labels.shape[:3]),
            "chunk_size": [512, 512, 512],
            "resolution": [8, 8, 8],
            "encoding": "compressed_segmentation",
            "compressed_segmentation_block_size": [64, 64, 64],
        },
    }
    data = labels.astype(np.uint64)
    ts.open(spec, create=True).result().write(data).result()
    assert no_errors(check(tmp_path / "v")) == set()
    np.testing.assert_array_equal(precast.open(tmp_path / "v").scales[0][...], data[..., 0].T)


# ---- what igneous and neuroglancer-scripts wrote, as it is


REMARKS = {
    # meshes are cut into cells without joining the cuts, and what they were made from stays beside them
    "igneous/cells_sharded": {"PC331", "PC721"},
    "igneous/grey_brotli": {"PC209"},
    "neuroglancer_scripts/cells_in_folders": {"PC212"},
}
BROKEN = "neuroglancer_scripts/cells_sharded_zlib"
OTHERS = sorted(set(VOXELS) - {BROKEN})


def test_they_were_written_by_the_peers_of_the_benchmarks() -> None:
    versions = json.loads((FOLDER / "versions.json").read_text())
    pinned = (Path(__file__).parents[2] / "bench" / "peers.txt").read_text()
    assert {f"{name}=={version}" for name, version in versions.items()} <= set(pinned.splitlines())
    assert set(versions) == {"igneous-pipeline", "neuroglancer-scripts"}


@pytest.mark.parametrize("name", OTHERS)
def test_what_others_wrote_is_not_called_wrong(name: str) -> None:
    report = check(FOLDER / name)
    assert no_errors(report) == REMARKS.get(name, set())
    for scale in report.datasets[0].scales:
        assert scale.stored == scale.decoded == scale.chunks


@pytest.mark.parametrize("name", OTHERS)
def test_what_others_wrote_is_read(name: str) -> None:
    voxels, start = VOXELS[name]
    volume = precast.open(FOLDER / name)
    fine = volume.scales[0]
    assert fine.box.start == start
    found = fine[...]
    assert found.dtype == voxels.dtype
    lossy = fine.info.encoding == "jpeg"
    np.testing.assert_allclose(found.astype(float), voxels.astype(float), atol=3 if lossy else 0)
    for scale in volume.scales[1:]:
        coarse = scale[...].astype(voxels.dtype)
        pairs = [n for small, large in zip(coarse.shape, voxels.shape, strict=True) for n in (small, large // small)]
        cells = voxels.reshape(pairs).transpose(0, 2, 4, 1, 3, 5).reshape(*coarse.shape, -1)
        if name.endswith(("cells", "sharded")):
            assert (cells == coarse[..., None]).any(axis=-1).all()
        else:
            slack = 10 if lossy else 0
            assert (coarse >= cells.min(axis=-1).astype(float) - slack).all()
            assert (coarse <= cells.max(axis=-1).astype(float) + slack).all()


@pytest.mark.parametrize("name", ["igneous/cells", "igneous/cells_sharded", "neuroglancer_scripts/cells"])
def test_meshes_that_others_wrote_are_read(name: str) -> None:
    """The box of the vertices is that of the voxels: 64-bit ids, several cells, and the transform are understood."""
    labels, start = VOXELS[name]
    meshes = precast.open(FOLDER / name).meshes
    for one in (7, 99, 2**53 + 7):
        where = np.argwhere(labels == one)[:, ::-1]
        low, high = where.min(axis=0) + start, where.max(axis=0) + 1 + start
        vertices = meshes[one].read(0).vertices / (16, 16, 20)
        np.testing.assert_allclose(vertices.min(axis=0), low, atol=0.02)
        np.testing.assert_allclose(vertices.max(axis=0), high, atol=0.02)


def test_shards_with_the_header_of_zlib_are_wrong() -> None:
    """neuroglancer-scripts promise gzip and write zlib's format; TensorStore does not read it either."""
    report = check(FOLDER / BROKEN)
    assert {finding.code for finding in report.findings} == {"PC221"}
    assert not report.ok
    spec = {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": f"{FOLDER / BROKEN}/"}}
    with pytest.raises(Exception, match=re.compile("gzip|zlib|header", re.IGNORECASE)):
        ts.open(spec).result().read().result()
