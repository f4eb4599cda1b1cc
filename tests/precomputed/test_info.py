"""The volume ``info``: exact JSON out, every problem named on the way in."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from precast.errors import FormatError
from precast.geometry import Box, Vec3, VoxelSize
from precast.precomputed import ScaleInfo, ShardingSpec, VolumeInfo

SCALE: dict[str, Any] = {
    "key": "4.6_4.6_45",
    "size": [100, 60, 30],
    "voxel_offset": [5, -7, 3],
    "chunk_sizes": [[16, 16, 16]],
    "resolution": [4.6, 4.6, 45],
    "encoding": "compressed_segmentation",
    "compressed_segmentation_block_size": [8, 8, 8],
}
INFO: dict[str, Any] = {
    "@type": "neuroglancer_multiscale_volume",
    "type": "segmentation",
    "data_type": "uint64",
    "num_channels": 1,
    "scales": [SCALE],
}


def read(value: Any) -> VolumeInfo:
    return VolumeInfo.from_bytes(json.dumps(value).encode())


def changed(**scale: Any) -> dict[str, Any]:
    return INFO | {"scales": [{key: item for key, item in (SCALE | scale).items() if item != "absent"}]}


def test_round_trip_is_exact() -> None:
    sharding = ShardingSpec(preshift_bits=1, minishard_bits=2, shard_bits=3).to_json()
    for value in (INFO, changed(sharding=sharding), INFO | {"mesh": "mesh", "segment_properties": "p"}):
        assert json.loads(read(value).to_bytes()) == value


def test_numbers_are_minimal_and_keys_of_other_encodings_are_left_out() -> None:
    scale = ScaleInfo(
        key="k",
        size=Vec3(1, 1, 1),
        voxel_offset=Vec3(0, 0, 0),
        chunk_size=Vec3(64, 64, 64),
        resolution=VoxelSize(Decimal("4.60"), Decimal("4E+1"), Decimal("0.1")),
        encoding="raw",
    )
    info = VolumeInfo(kind="image", data_type="uint8", num_channels=1, scales=(scale,))
    value = json.loads(info.to_bytes())
    assert list(value) == ["@type", "type", "data_type", "num_channels", "scales"]
    assert value["scales"][0]["resolution"] == [4.6, 40, 0.1]
    assert "null" not in info.to_bytes().decode()
    assert set(value["scales"][0]) == {"key", "size", "voxel_offset", "chunk_sizes", "resolution", "encoding"}
    assert scale.resolution.key == "4.6_40_0.1"


def test_names_and_cells_follow_the_format() -> None:
    scale = read(INFO).scales[0]
    assert scale.grid == (7, 4, 2)
    assert scale.chunk_name((6, 0, 1)) == "101-105_-7-9_19-33"
    assert scale.cells(Box(Vec3(20, 9, 18), Vec3(22, 10, 20))) == Box(Vec3(0, 1, 0), Vec3(2, 2, 2))


def test_what_others_write_is_read() -> None:
    value = read(INFO | {"mesh_metadata": {"a": 1.5}, "rois": ["x"], "skeletons": None})
    assert value.extra == {"mesh_metadata": {"a": 1.5}, "rois": ["x"]}
    assert value.skeletons is None
    assert read({key: item for key, item in INFO.items() if key != "@type"}).kind == "segmentation"
    assert read(changed(voxel_offset="absent")).scales[0].voxel_offset == (0, 0, 0)
    assert read(changed(sharding=None)).scales[0].sharding is None
    assert read(INFO | {"type": "Segmentation", "data_type": "UINT64"}).data_type == "uint64"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (INFO | {"@type": "neuroglancer_skeletons"}, "@type: 'neuroglancer_skeletons'"),
        (INFO | {"type": "picture"}, "type: must be image or segmentation, got 'picture'"),
        (INFO | {"data_type": "float64"}, "data_type: must be one of"),
        (INFO | {"num_channels": 0}, "num_channels: must be an integer of at least 1, got 0"),
        (INFO | {"scales": []}, "scales: must be a list of at least one scale"),
        (changed(size=[1, 2]), "scales[0].size"),
        (changed(size=[1, 2, 0]), "scales[0].size"),
        (changed(size=[1, 2, 2.5]), "scales[0].size"),
        (changed(chunk_sizes=[]), "scales[0].chunk_sizes"),
        (changed(resolution=[1, 1, -1]), "scales[0].resolution"),
        (changed(encoding="fpzip"), "got 'fpzip'"),
        (changed(compressed_segmentation_block_size="absent"), "compressed_segmentation_block_size"),
        (changed(sharding={"@type": "x"}), "sharding: @type"),
        (changed(key=""), "scales[0].key"),
        (["list"], "must hold a JSON object"),
    ],
)
def test_problems_are_named_with_their_place(value, problem) -> None:
    with pytest.raises(FormatError) as caught:
        read(value)
    assert problem in caught.value.message


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(FormatError) as caught:
        read(changed(size=None, encoding="x", resolution="y") | {"type": "z"})
    assert caught.value.message.count("\n") == 4


@pytest.mark.parametrize("data", [b"", b"{", b'{"a": NaN}', b"\xff"])
def test_not_json(data) -> None:
    with pytest.raises(FormatError, match="strict JSON"):
        VolumeInfo.from_bytes(data)
