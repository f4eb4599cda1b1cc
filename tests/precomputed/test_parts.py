"""The walk from an info to the directories of a dataset, beside what the specification says that each info names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from precast.precomputed.parts import Reference, walk

ANNOTATIONS = "neuroglancer_annotations_v1"
MULTIRES = "neuroglancer_multilod_draco"

VOLUME = {
    "@type": "neuroglancer_multiscale_volume",
    "scales": [{"key": "8_8_8"}, {"key": "./16_16_16/"}],
    "mesh": "mesh",
    "skeletons": None,
    "segment_properties": "names",
}
INFOS: dict[str, dict[str, Any]] = {
    "mesh/info": {"@type": MULTIRES, "segment_properties": "../columns"},
    "names/info": {"@type": "neuroglancer_segment_properties"},
    "columns/info": {"@type": "neuroglancer_segment_properties"},
}


def nothing(_: str) -> None:
    return None


def test_what_a_volume_and_its_parts_name() -> None:
    asked: list[str] = []

    def read(key: str) -> Mapping[str, Any] | None:
        asked.append(key)
        return INFOS.get(key)

    found = walk(VOLUME, read)
    assert found.kinds == {
        "8_8_8": "scale",
        "16_16_16": "scale",
        "mesh": "mesh",
        "names": "segment_properties",
        "columns": "segment_properties",
    }
    assert {one.place: one.target for one in found.references} == {
        ("scales", 0, "key"): "8_8_8",
        ("scales", 1, "key"): "16_16_16",
        ("mesh",): "mesh",
        ("segment_properties",): "names",
    }
    assert [(one.part, one.target) for one in found.links] == [("mesh", "columns")]
    assert found.multires == {"mesh"}
    assert sorted(asked) == ["columns/info", "mesh/info", "names/info"], "each once, no scale"


def test_a_server_that_has_an_info_for_every_key_has_an_end() -> None:
    found = walk({"scales": [], "mesh": "a"}, lambda _: {"segment_properties": "b"})
    assert found.kinds == {"a": "mesh", "a/b": "segment_properties"}


def test_what_annotations_name() -> None:
    value = {
        "@type": ANNOTATIONS,
        "by_id": {"key": "by_id"},
        "relationships": [{"id": "of", "key": "rel/of"}],
        "spatial": [{"key": "s0"}, {"key": "s1"}],
    }
    found = walk(value, nothing)
    assert found.kinds == dict.fromkeys(["by_id", "rel/of", "s0", "s1"], "annotations")
    assert [one.place for one in found.references] == [
        ("by_id", "key"),
        ("relationships", 0, "key"),
        ("spatial", 0, "key"),
        ("spatial", 1, "key"),
    ]


def test_what_names_nothing_is_a_part_of_its_own() -> None:
    value = {"@type": MULTIRES, "segment_properties": "../names"}
    found = walk(value, nothing)
    assert found.kinds == {"": MULTIRES}
    assert found.multires == {""}
    assert not found.links


@pytest.mark.parametrize("path", ["../mesh", "a/../..", "", ".", ".hidden", "https://host/mesh", 7, ["mesh"], {}])
def test_what_is_no_directory_inside_the_dataset(path: Any) -> None:
    value = {"scales": [{"key": "1"}, "no scale"], "mesh": path}
    passed = walk(value, nothing)
    assert passed.kinds == {"1": "scale"}
    refused: list[Reference] = []
    assert walk(value, nothing, refused.append).kinds == passed.kinds
    assert [(one.place, one.path) for one in refused] == [(("scales", 1, "key"), None), (("mesh",), path)]


@pytest.mark.parametrize(("path", "target"), [("../../mesh", ""), ("..", ""), ("/names", "mesh/names"), (7, None)])
def test_links_of_parts_lead_from_their_own_directory(path: Any, target: str | None) -> None:
    refused: list[Reference] = []
    found = walk({"scales": [{"key": "1"}], "mesh": "mesh"}, lambda _: {"segment_properties": path}, refused.append)
    assert [one.target for one in found.links] == ([target] if target else [])
    assert [one.part for one in refused] == (["mesh"] if target == "" else [])


@pytest.mark.parametrize(
    "value", [{}, {"scales": 7}, {"scales": {}, "mesh": None}, {"@type": ANNOTATIONS, "spatial": 7}]
)
def test_infos_that_are_damaged_name_nothing(value: dict[str, Any]) -> None:
    assert not walk(value, nothing).references
