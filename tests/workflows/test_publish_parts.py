"""What a dataset consists of, as ``publish`` sees it: meshes, annotations, parts that name one another."""

from __future__ import annotations

import doctest
import json
import posixpath
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import precast
from precast.errors import DestinationExistsError, FormatError
from precast.precomputed import generations, json_text, publication
from precast.storage import Attributes, MemoryStore
from precast.workflows.publish import PublishOptions, publish, remove_former_generations, roll_back
from precast.workflows.publish import publication as workflow


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = np.zeros((24, 24, 24), np.uint32)
    data[4:20, 4:20, 4:20] = 7
    root = tmp_path_factory.mktemp("volume") / "cells"
    precast.convert(data, root, precast.ConvertOptions(resolution="8"))
    precast.mesh(root, precast.MeshOptions(unsharded=True))
    return root


@pytest.fixture
def dataset(volume: Path, tmp_path: Path) -> Path:
    shutil.copytree(volume, tmp_path / "cells")
    return tmp_path / "cells"


def change(path: Path, **values: Any) -> None:
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, **values}))


def paths(store: MemoryStore) -> dict[str, str]:
    info = json.loads(store.read("info"))
    return {name: info[name] for name in ("mesh", "segment_properties")} | {"scale": info["scales"][0]["key"]}


def test_fragments_of_meshes_are_never_encoded_and_have_their_headers(dataset: Path) -> None:
    store = MemoryStore()
    publish(dataset, store)
    for name in ("mesh/7", "mesh/7.index"):
        assert store.attributes(name).encoding == ""
        assert store.attributes(name).content_type == "application/octet-stream"
    assert store.attributes("mesh/info").content_type == "application/json"
    fragments = dataset / "mesh" / "7"
    (dataset / "mesh" / "7.gz").write_bytes(fragments.read_bytes())
    fragments.unlink()
    with pytest.raises(FormatError, match="by ranges"):
        publish(dataset, MemoryStore())


def test_new_meshes_move_and_voxels_stay(dataset: Path) -> None:
    store = MemoryStore()
    publish(dataset, store)
    before = paths(store)
    (dataset / "mesh" / "8").write_bytes(b"new")
    done = publish(dataset, store).datasets[0]
    assert paths(store) == {**before, "mesh": f"gen-{done.generation}/mesh"}
    assert store.read(f"gen-{done.generation}/mesh/8") == b"new"
    with pytest.raises(FileNotFoundError):
        store.read("mesh/8")


def test_new_properties_move_alone_and_meshes_are_linked_to_them(dataset: Path) -> None:
    """The mesh of precast names the properties by a relative path, which must lead to them wherever they lie."""
    store = MemoryStore()
    publish(dataset, store)
    old = store.read("mesh/info")
    link = json.loads(old)["segment_properties"]
    assert link == "../segment_properties"
    change(dataset / "segment_properties" / "info", mine=1)
    done = publish(dataset, store).datasets[0]
    prefix = f"gen-{done.generation}"
    assert done.sent_objects == 1
    assert paths(store) == {"mesh": "mesh", "segment_properties": f"{prefix}/segment_properties", "scale": "8_8_8"}
    assert json.loads(store.read("mesh/info")) == {
        **json.loads(old),
        "segment_properties": f"../{prefix}/segment_properties",
    }
    roll_back(store)
    assert store.read("mesh/info") == old
    roll_back(store)
    remove_former_generations(store)
    assert json.loads(store.read("mesh/info"))["segment_properties"] == f"../{prefix}/segment_properties"
    assert publish(dataset, store).datasets[0].state == "unchanged"
    # meshes that are new lie in a generation themselves
    (dataset / "mesh" / "8").write_bytes(b"new")
    later = publish(dataset, store).datasets[0]
    mesh = json.loads(store.read(f"gen-{later.generation}/mesh/info"))
    assert mesh["segment_properties"] == f"../../{prefix}/segment_properties"
    remove_former_generations(store)
    assert not any(stat.key.startswith("mesh/") for stat in store.list())


def test_what_only_a_mesh_names_is_published_too(dataset: Path) -> None:
    change(dataset / "mesh" / "info", segment_properties="../other")
    shutil.copytree(dataset / "segment_properties", dataset / "other")
    store = MemoryStore()
    publish(dataset, store)
    assert store.read("other/info") == (dataset / "other" / "info").read_bytes()
    change(dataset / "mesh" / "info", segment_properties="../../elsewhere")
    with pytest.raises(FormatError, match="not a directory inside the dataset"):
        publish(dataset, store)


def test_meshes_are_there_at_every_moment(dataset: Path, tmp_path: Path) -> None:
    """Whatever ends it: the info of the volume leads to an info of meshes, and that to properties."""
    old = tmp_path / "old"
    shutil.copytree(dataset, old)
    change(dataset / "segment_properties" / "info", mine=1)
    starts: list[Path | None] = [None, old]
    for start in starts:
        number = 0
        ended = True
        while ended:
            store = Ending()
            if start is not None:
                publish(start, store)
            store.left = number
            try:
                publish(dataset, store, PublishOptions(threads=1))
                ended = False
            except Ended:
                number += 1
            store.left = None
            publish(dataset, store)
            reach(store)
            link = json.loads(store.read("mesh/info"))["segment_properties"]
            assert "mine" in json.loads(store.read(posixpath.normpath(f"mesh/{link}/info")))
        assert number > 8


class Ended(BaseException):
    """The end of a process."""


class Ending(MemoryStore):
    """Ends after some writes; what the info leads to must be there after each."""

    left: int | None = None

    def write(self, key: str, data: bytes, attributes: Attributes) -> None:
        if self.left == 0:
            raise Ended
        super().write(key, data, attributes)
        reach(self)
        self.left = None if self.left is None else self.left - 1


def reach(store: MemoryStore) -> None:
    """Follow the links of a volume as a viewer does."""
    if not any(stat.key == "info" for stat in store.list("info")):
        return
    info = json.loads(store.read("info"))
    assert store.read(f"{info['segment_properties']}/info")
    mesh = json.loads(store.read(f"{info['mesh']}/info"))
    assert store.read(posixpath.normpath(f"{info['mesh']}/{mesh['segment_properties']}/info"))
    assert store.read(f"{info['mesh']}/7")


def test_files_at_the_top_alone_may_change(dataset: Path) -> None:
    store = MemoryStore()
    publish(dataset, store)
    before = paths(store)
    old = (dataset / "provenance").read_bytes()
    change(dataset / "provenance", description="told better")
    done = publish(dataset, store).datasets[0]
    assert (done.state, done.sent_objects, paths(store)) == ("changed", 0, before)
    assert store.read("provenance") == (dataset / "provenance").read_bytes()
    (dataset / "label_table.npy").unlink()
    publish(dataset, store)
    with pytest.raises(FileNotFoundError):
        store.read("label_table.npy")
    roll_back(store)
    assert store.read("label_table.npy")
    assert store.read("provenance") != old


def test_text_of_the_info_stays_but_for_the_paths(dataset: Path) -> None:
    """Numbers keep their form, and keys that nobody knows stay."""
    store = MemoryStore()
    publish(dataset, store)
    text = (dataset / "info").read_text()
    text = text.replace('"type"', '"mine": [1.50, {"key": "x"}], "type"', 1)
    (dataset / "info").write_text(text)
    (dataset / "mesh" / "8").write_bytes(b"new")
    done = publish(dataset, store).datasets[0]
    assert store.read("info").decode() == text.replace('"mesh": "mesh"', f'"mesh": "gen-{done.generation}/mesh"')


def annotated(root: Path) -> Path:
    info = {
        "@type": "neuroglancer_annotations_v1",
        "dimensions": {"x": [1e-9, "m"]},
        "lower_bound": [0],
        "upper_bound": [9],
        "annotation_type": "point",
        "properties": [],
        "relationships": [{"id": "cell", "key": "rel_cell"}],
        "by_id": {"key": "by_id"},
        "spatial": [{"key": "spatial0", "grid_shape": [1], "chunk_size": [9], "limit": 9}],
    }
    for name in ("rel_cell/5", "by_id/1", "spatial0/0"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_bytes(name.encode())
    (root / "info").write_text(json.dumps(info))
    return root


def test_annotations_move_index_by_index(tmp_path: Path) -> None:
    root, store = annotated(tmp_path / "points"), MemoryStore()
    publish(root, store)
    (root / "rel_cell" / "6").write_bytes(b"new")
    done = publish(root, store).datasets[0]
    info = json.loads(store.read("info"))
    assert info["relationships"][0]["key"] == f"gen-{done.generation}/rel_cell"
    assert (info["by_id"]["key"], info["spatial"][0]["key"]) == ("by_id", "spatial0")
    assert store.read(f"gen-{done.generation}/rel_cell/6") == b"new"


def test_a_mesh_directory_alone_cannot_be_replaced_while_it_is_read(dataset: Path) -> None:
    root, store = dataset / "mesh", MemoryStore()
    publish(root, store)
    assert store.read("7") == (root / "7").read_bytes()
    assert publish(root, store).datasets[0].sent_objects == 0
    (root / "7").write_bytes(b"new")
    with pytest.raises(DestinationExistsError, match="cannot be replaced while it is read"):
        publish(root, store)
    assert store.read("7") != b"new"


def test_segment_properties_alone_are_one_file_and_can(dataset: Path) -> None:
    root, store = dataset / "segment_properties", MemoryStore()
    publish(root, store)
    change(root / "info", inline={"ids": ["1"], "properties": []})
    assert publish(root, store).datasets[0].state == "changed"
    assert store.read("info") == (root / "info").read_bytes()


def test_a_collection_lists_what_is_there(dataset: Path) -> None:
    layers = [{"name": "cells", "kind": "segmentation"}, {"name": "gone", "kind": "image"}]
    value = {"@type": "precast_collection", "schema": 1, "layers": layers}
    (dataset.parent / "precast.json").write_text(json.dumps(value))
    with pytest.raises(FormatError, match="lists gone"):
        publish(dataset.parent, MemoryStore())


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ('{"a": 1.50, "a": "x"}', ("a",), '{"a": 1.50, "a": "NEW"}'),
        ('{ "s" : [ {"k":"}]"} , {"k" : "b"}] }', ("s", 1, "k"), '{ "s" : [ {"k":"}]"} , {"k" : "NEW"}] }'),
        ('{"s": [[], ["a", "b"]]}', ("s", 1, 0), '{"s": [[], ["NEW", "b"]]}'),
    ],
)
def test_strings_in_json_text(text: str, place: tuple[str | int, ...], expected: str) -> None:
    assert json_text.set_text_strings(text, {place: "NEW"}) == expected


@pytest.mark.parametrize("place", [("x",), ("s", 2), ("s", "k"), ("n", 0)])
def test_places_that_are_not_in_the_json_are_refused(place: tuple[str | int, ...]) -> None:
    with pytest.raises(FormatError, match="places"):
        json_text.set_text_strings('{"s": [1, 2], "n": 1}', {place: "NEW"})


@pytest.mark.parametrize("data", [b"{}", b"[", b'{"@type": "precast_published", "schema": 2}'])
def test_damaged_records_are_errors(dataset: Path, data: bytes) -> None:
    store = MemoryStore()
    publish(dataset, store)
    store.write(publication.INDEX_KEY, data, store.attributes(publication.INDEX_KEY))
    with pytest.raises(FormatError, match="index"):
        publish(dataset, store)


@pytest.mark.parametrize("module", [generations, json_text, publication, workflow])
def test_examples(module: Any) -> None:
    examples = doctest.testmod(module)
    assert examples.attempted > 0
    assert examples.failed == 0
