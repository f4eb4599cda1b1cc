"""Collections, datasets and directories of datasets, opened as layers."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import precast
from precast.dataset import open_layers
from precast.dataset.members import read_list, read_members
from precast.errors import FormatError, ObjectNotFoundError
from precast.precomputed.collection import Collection, CollectionLayer, ViewHints
from precast.storage import MemoryStore, open_store

ANNOTATIONS = {
    "@type": "neuroglancer_annotations_v1",
    "dimensions": {axis: [8e-9, "m"] for axis in "xyz"},
    "lower_bound": [0, 0, 0],
    "upper_bound": [10, 10, 10],
}


def write(folder: Path, info: dict[str, Any]) -> None:
    folder.mkdir(parents=True)
    (folder / "info").write_text(json.dumps(info))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a directory with one dataset of every kind, and other things."""
    out = tmp_path / "out"
    options = precast.ConvertOptions(resolution=8)
    precast.convert(np.zeros((8, 8, 8), np.uint8), out / "em", options)
    labels = precast.ConvertOptions(resolution=8, kind="segmentation")
    precast.convert(np.zeros((8, 8, 8), np.uint32), out / "labels", labels)
    write(out / "synapses", ANNOTATIONS)
    write(out / "bodies", {"@type": "neuroglancer_legacy_mesh"})
    write(out / "neurites", {"@type": "neuroglancer_skeletons"})
    (out / "notes").mkdir()
    write(out / ".precast", {"@type": "unfinished"})
    (out / "readme.txt").write_text("hello")
    return out


def test_a_directory_of_datasets(folder: Path) -> None:
    found = open_layers(folder)
    assert not found.single
    assert [(layer.name, layer.kind, layer.part, layer.path) for layer in found.layers] == [
        ("bodies", "segmentation", "meshes", "bodies"),
        ("em", "image", "", "em"),
        ("labels", "segmentation", "", "labels"),
        ("neurites", "segmentation", "skeletons", "neurites"),
        ("synapses", "annotation", "", "synapses"),
    ]
    volume = found.layers[1].volume
    assert volume is not None
    assert volume.scales[0].shape == (8, 8, 8)
    assert found.layers[0].volume is None


def test_one_dataset(folder: Path) -> None:
    for place in (folder / "em", str(folder / "em"), open_layers(folder / "em").store):
        found = open_layers(place)
        assert found.single
        assert [(layer.name, layer.path) for layer in found.layers] == [("em", "")]


def test_a_collection_decides_what_is_shown_and_in_which_order(folder: Path) -> None:
    view = ViewHints(visible=False)
    layers = (CollectionLayer(name="labels", kind="segmentation", view=view), CollectionLayer(name="em", kind="image"))
    (folder / "precast.json").write_bytes(Collection(layers=layers).to_bytes())
    found = open_layers(folder)
    assert [(layer.name, layer.view.visible) for layer in found.layers] == [("labels", False), ("em", True)]

    wrong = (CollectionLayer(name="em", kind="segmentation"),)
    (folder / "precast.json").write_bytes(Collection(layers=wrong).to_bytes())
    with pytest.raises(FormatError, match="'em' is of the kind segmentation; its info says image"):
        open_layers(folder)
    missing = (CollectionLayer(name="gone", kind="image"),)
    (folder / "precast.json").write_bytes(Collection(layers=missing).to_bytes())
    with pytest.raises(ObjectNotFoundError, match="'gone'"):
        open_layers(folder)


def test_what_is_no_layer(folder: Path, tmp_path: Path) -> None:
    for place in (folder / "notes", tmp_path / "nowhere", MemoryStore()):
        with pytest.raises(ObjectNotFoundError, match="there is no dataset"):
            open_layers(place)
    write(folder / "properties", {"@type": "neuroglancer_segment_properties"})
    with pytest.raises(FormatError, match="no layer of its own"):
        open_layers(folder / "properties")
    write(folder / "broken", {"type": "image"})
    with pytest.raises(FormatError, match="scales"):
        open_layers(folder)


def test_members_that_are_not_as_they_should_be(folder: Path) -> None:
    write(folder / "odd", {"@type": ["neuroglancer_skeletons"]})
    write(folder / "broken", {})
    (folder / "broken" / "info").write_text("{")
    (folder / "packed").mkdir()
    (folder / "packed" / "info.gz").write_bytes(gzip.compress(b"{}"))
    (folder / "damaged").mkdir()
    (folder / "damaged" / "info.gz").write_bytes(b"\x1f\x8b")
    found = read_members(open_store(folder))
    assert {member.name: member.type or type(member.error).__name__ for member in found} == {
        "bodies": "neuroglancer_legacy_mesh",
        "broken": "FormatError",
        "damaged": "FormatError",
        "em": "neuroglancer_multiscale_volume",
        "labels": "neuroglancer_multiscale_volume",
        "neurites": "neuroglancer_skeletons",
        "odd": "FormatError",
        "packed": "NoneType",
        "synapses": "neuroglancer_annotations_v1",
    }
    for name in ("odd", "broken", "damaged"):
        with pytest.raises(FormatError):
            open_layers(folder / name)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('{"layers": [{"name": "b"}, 5, {"name": 7}, {"name": "a"}, {"name": "b"}]}', ("b", "a")),
        ('{"layers": {"name": "b"}}', ()),
        ("{", ()),
    ],
)
def test_a_list_that_cannot_be_understood(folder: Path, text: str, names: tuple[str, ...]) -> None:
    assert read_list(open_store(folder)) is None
    (folder / "precast.json").write_text(text)
    found = read_list(open_store(folder))
    assert found is not None
    assert found.names == names
    with pytest.raises(FormatError, match=r"precast\.json"):
        found.valid()


def test_an_encoding_that_precast_cannot_decode_can_still_be_shown(folder: Path) -> None:
    info = json.loads((folder / "em" / "info").read_text())
    info["scales"][0]["encoding"] = "jxl"
    (folder / "em" / "info").write_text(json.dumps(info))
    layer = open_layers(folder / "em").layers[0]
    assert layer.info is not None
    assert layer.info.scales[0].encoding == "jxl"
    with pytest.raises(FormatError, match="jxl"):
        _ = layer.volume


@pytest.mark.parametrize(
    ("data_type", "channels", "kind"),
    [("uint8", 1, "image"), ("uint64", 1, "segmentation"), ("uint32", 1, "segmentation"), ("uint32", 2, "image")],
)
def test_volumes_of_an_unknown_kind(folder: Path, data_type: str, channels: int, kind: str) -> None:
    info = json.loads((folder / "em" / "info").read_text())
    info |= {"type": "unknown", "data_type": data_type, "num_channels": channels}
    (folder / "em" / "info").write_text(json.dumps(info))
    assert open_layers(folder / "em").layers[0].kind == kind
