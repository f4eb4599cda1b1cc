"""The table of stored objects."""

from __future__ import annotations

import pickle

import pytest

from precast.dataset.objects import attributes
from precast.errors import UsageError
from precast.precomputed.objects import ObjectKind


def test_every_kind_is_a_kind_of_its_own() -> None:
    """Members of an enumeration with equal values would be one."""
    assert len(ObjectKind) == len(ObjectKind.__members__)
    assert all(pickle.loads(pickle.dumps(kind)) is kind for kind in ObjectKind)


@pytest.mark.parametrize("kind", [ObjectKind.MESH_FRAGMENTS, ObjectKind.SHARD, ObjectKind.LABEL_TABLE])
def test_what_is_read_by_ranges_is_never_gzipped(kind) -> None:
    assert not attributes(kind).gzipped
    with pytest.raises(UsageError, match=kind.rule.what):
        attributes(kind, gzipped=True)


@pytest.mark.parametrize("kind", [ObjectKind.MESH_MANIFEST, ObjectKind.LEGACY_FRAGMENT, ObjectKind.LEGACY_MANIFEST])
def test_what_is_read_whole_may_be(kind) -> None:
    assert attributes(kind, gzipped=True).gzipped


@pytest.mark.parametrize("kind", [ObjectKind.INFO, ObjectKind.MESH_INFO, ObjectKind.SEGMENT_PROPERTIES])
def test_json_that_is_replaced_in_place_is_not_cached_for_long(kind) -> None:
    assert kind.rule.content_type == "application/json"
    assert not attributes(kind).immutable
