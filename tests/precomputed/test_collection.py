"""``precast.json``: exact bytes, round trips, and every fault told with its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from precast.errors import FormatError, UsageError
from precast.precomputed.annotation_space import AnnotationSpace
from precast.precomputed.collection import BLENDS, LAYER_KINDS, Collection, CollectionLayer, ViewHints

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32) | st.integers(-(2**40), 2**40)
CONTRASTS = st.none() | st.tuples(NUMBERS, NUMBERS).filter(lambda pair: pair[0] != pair[1])
HINTS = st.builds(ViewHints, visible=st.booleans(), blend=st.none() | st.sampled_from(BLENDS), contrast=CONTRASTS)
NAMES = st.text("abcµ日 -_.()|#", min_size=1, max_size=8).filter(lambda name: not name.startswith("."))
LAYERS = st.builds(CollectionLayer, name=NAMES, kind=st.sampled_from(LAYER_KINDS), view=HINTS)


def test_the_bytes() -> None:
    collection = Collection(
        layers=(
            CollectionLayer(name="em", kind="image", view=ViewHints(contrast=(20, 180.5), blend="additive")),
            CollectionLayer(name="labels", kind="segmentation", view=ViewHints(visible=False)),
            CollectionLayer(name="synapses", kind="annotation"),
        )
    )
    assert collection.to_bytes() == (
        b'{\n "@type": "precast_collection",\n "schema": 1,\n "layers": [\n'
        b'  {\n   "name": "em",\n   "kind": "image",\n   "view": {\n    "blend": "additive",\n'
        b'    "contrast": [\n     20,\n     180.5\n    ]\n   }\n  },\n'
        b'  {\n   "name": "labels",\n   "kind": "segmentation",\n   "view": {\n    "visible": false\n   }\n  },\n'
        b'  {\n   "name": "synapses",\n   "kind": "annotation"\n  }\n ]\n}\n'
    )


@given(st.lists(LAYERS, min_size=1, max_size=5, unique_by=lambda layer: layer.name))
def test_round_trip(layers: list[CollectionLayer]) -> None:
    collection = Collection(layers=tuple(layers))
    data = collection.to_bytes()
    assert Collection.from_bytes(data) == collection
    assert Collection.from_bytes(data).to_bytes() == data


def test_every_problem_is_told_with_its_place() -> None:
    value = {
        "@type": "neuroglancer",
        "schema": True,
        "colour": 1,
        "layers": [
            {"name": "../x", "kind": "image"},
            {"name": "a", "kind": "picture", "view": []},
            {"name": "a", "kind": "image", "view": {"blend": "soft", "contrast": [1, 1], "visible": 1, "zoom": 2}},
            7,
            {"name": "b\u0000", "kind": "image", "note": ""},
        ],
    }
    with pytest.raises(FormatError) as caught:
        Collection.from_bytes(json.dumps(value).encode(), where="out/precast.json")
    text = caught.value.message
    assert text.startswith("out/precast.json does not describe a collection:")
    places = [line.strip().split(": ")[0] for line in text.splitlines()[1:]]
    assert places == [
        "@type",
        "schema",
        "colour",
        "layers[0].name",
        "layers[1].kind",
        "layers[1].view",
        "layers[2].view.zoom",
        "layers[2].view.visible",
        "layers[2].view.blend",
        "layers[2].view.contrast",
        "layers[3]",
        "layers[4].note",
        "layers[4].name",
        "layers[2].name",
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"[]", "JSON object"),
        (b'{"layers": NaN}', "strict JSON"),
        (b'{"@type": "precast_collection", "schema": 2, "layers": {}}', "schema: 2 is newer"),
        (b'{"@type": "precast_collection", "schema": 1, "layers": []}', "at least one layer"),
    ],
)
def test_other_files(value: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        Collection.from_bytes(value)


@pytest.mark.parametrize("name", ["", ".", ".precast", "a/b", "a\\b", "..", "a\nb", 5])
def test_names_are_those_of_directories_that_are_served(name: Any) -> None:
    with pytest.raises(UsageError, match="name"):
        CollectionLayer(name=name, kind="image")


def test_names_differ() -> None:
    layer = CollectionLayer(name="em", kind="image")
    with pytest.raises(UsageError, match=r"layers\[1\]"):
        Collection(layers=(layer, layer))
    with pytest.raises(UsageError, match="contrast"):
        ViewHints(contrast=(1, float("nan")))


def test_the_space_of_annotations() -> None:
    value: dict[str, Any] = {
        "dimensions": {"x": [4e-9, "m"], "y": [4, "nm"], "t": [1, "s"]},
        "lower_bound": [0, 1.5, 2],
        "upper_bound": [10, 20, 30],
    }
    space = AnnotationSpace.from_json(value)
    assert space.names == ("x", "y", "t")
    assert space.scales_nm[0] == pytest.approx(4)
    assert space.scales_nm[1:] == (4, None)
    assert space.upper == (10, 20, 30)
    wrong = {"dimensions": {"x": [0, "m"], "y": 3}, "lower_bound": [0], "upper_bound": ["a", 1]}
    with pytest.raises(FormatError) as caught:
        AnnotationSpace.from_json(wrong)
    assert [line.strip().split(":")[0] for line in caught.value.message.splitlines()[1:]] == [
        "dimensions.x",
        "dimensions.y",
        "lower_bound",
        "upper_bound",
    ]
