"""The table of stored objects."""

from __future__ import annotations

import pickle

import pytest

from precast.dataset.objects import attributes
from precast.errors import UsageError
from precast.geometry import Vec3
from precast.precomputed import legacy_meshes, meshes
from precast.precomputed.info import VolumeInfo
from precast.precomputed.objects import (
    COLLECTION_KEY,
    INFO_KEY,
    LABEL_TABLE_KEY,
    PROVENANCE_KEY,
    ObjectKind,
    kind_of,
)


def test_every_kind_is_a_kind_of_its_own() -> None:
    """Members of an enumeration with equal values would be one."""
    assert len(ObjectKind) == len(ObjectKind.__members__)
    assert all(pickle.loads(pickle.dumps(kind)) is kind for kind in ObjectKind)


@pytest.mark.parametrize("kind", [ObjectKind.MESH_FRAGMENTS, ObjectKind.SHARD, ObjectKind.LABEL_TABLE])
def test_what_is_read_by_ranges_is_never_gzipped(kind) -> None:
    assert not attributes(kind).encoding
    with pytest.raises(UsageError, match=kind.rule.what):
        attributes(kind, encoding="gzip")


@pytest.mark.parametrize("kind", [ObjectKind.MESH_MANIFEST, ObjectKind.LEGACY_FRAGMENT, ObjectKind.LEGACY_MANIFEST])
def test_what_is_read_whole_may_be(kind) -> None:
    assert attributes(kind, encoding="gzip").encoding == "gzip"


@pytest.mark.parametrize("kind", [ObjectKind.INFO, ObjectKind.MESH_INFO, ObjectKind.SEGMENT_PROPERTIES])
def test_json_that_is_replaced_in_place_is_not_cached_for_long(kind) -> None:
    assert kind.rule.content_type == "application/json"
    for generation in (False, True):
        assert attributes(kind, generation=generation).cache_control == "no-cache"


def test_data_are_cached_for_long_where_no_other_can_have_their_name() -> None:
    assert attributes(ObjectKind.SHARD).cache_control == "public, max-age=3600"
    assert attributes(ObjectKind.SHARD, generation=True).cache_control == "public, max-age=31536000, immutable"


def chunk_name() -> str:
    info = VolumeInfo.from_bytes(
        b"""{"type": "image", "data_type": "uint8", "num_channels": 1, "scales": [{"key": "8_8_8", "size": [90, 64, 64],
        "voxel_offset": [-70, 0, 5], "chunk_sizes": [[64, 64, 64]], "resolution": [8, 8, 8], "encoding": "raw"}]}"""
    )
    return info.scales[0].chunk_name(Vec3(0, 0, 0))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (INFO_KEY, ObjectKind.INFO),
        (PROVENANCE_KEY, ObjectKind.PROVENANCE),
        (LABEL_TABLE_KEY, ObjectKind.LABEL_TABLE),
        (COLLECTION_KEY, ObjectKind.COLLECTION),
        ("00ff.shard", ObjectKind.SHARD),
        (meshes.manifest_name(2**64 - 1), ObjectKind.MESH_MANIFEST),
        (legacy_meshes.manifest_name(5), ObjectKind.LEGACY_MANIFEST),
        # these names do not tell: the directory does
        (chunk_name(), ObjectKind.OTHER),
        (meshes.fragments_name(5), ObjectKind.OTHER),
        (legacy_meshes.fragment_name(5), ObjectKind.OTHER),
    ],
)
def test_names_tell_the_kind(name: str, kind: ObjectKind) -> None:
    assert kind_of(f"a/b/{name}") == kind


def test_what_is_rewritten_in_place_is_asked_for_again() -> None:
    assert ObjectKind.INFO.rule.cache_control() == "no-cache"
    assert ObjectKind.SHARD.rule.cache_control() == "public, max-age=3600"
