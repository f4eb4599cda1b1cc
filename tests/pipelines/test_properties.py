"""``properties``: numbers against NumPy on the array, the link, and what survives a fault."""

from __future__ import annotations

import doctest
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import precast
from precast import kernels
from precast.dataset import links
from precast.dataset.links import link_parts
from precast.errors import DestinationExistsError, FormatError, SourceError, StorageError, UsageError
from precast.pipelines import label_statistics
from precast.pipelines.convert import ConvertOptions, convert
from precast.pipelines.label_statistics import count_labels, label_rows
from precast.pipelines.properties import PropertiesOptions, plan_properties, properties
from precast.storage import Attributes, LocalStore, MemoryStore

OFFSET = (-10, 3, 7)


@pytest.fixture
def labels(make_blobs: Any) -> Any:
    return make_blobs((30, 40, 50))


@pytest.fixture
def dataset(tmp_path: Path, labels: Any) -> Path:
    path = tmp_path / "v"
    convert(labels, path, ConvertOptions(resolution="4.6,4.6,45", chunk_size=16, offset=OFFSET))
    return path


def written(path: Path, directory: str = "segment_properties") -> dict[str, Any]:
    document = json.loads((path / directory / "info").read_bytes())
    assert document["@type"] == "neuroglancer_segment_properties"
    return {"ids": document["inline"]["ids"]} | {item["id"]: item for item in document["inline"]["properties"]}


def table(path: Path, text: str) -> Path:
    file = path.parent / "cells.csv"
    file.write_text(text)
    return file


def check_numbers(found: dict[str, Any], labels: Any) -> None:
    ids = np.unique(labels)
    ids = ids[ids > 0]
    assert found["ids"] == [str(label) for label in ids.tolist()]
    for at, label in enumerate(ids):
        voxels = np.argwhere(labels == label)[:, ::-1] + np.array(OFFSET)
        assert found["voxels"]["values"][at] == len(voxels)
        assert found["volume_um3"]["values"][at] == pytest.approx(len(voxels) * 4.6 * 4.6 * 45 / 1e9, 1e-6)
        for axis, letter in enumerate("xyz"):
            assert found[f"bbox_{letter}0"]["values"][at] == voxels[:, axis].min()
            assert found[f"bbox_{letter}1"]["values"][at] == voxels[:, axis].max() + 1
            centroid = voxels[:, axis].mean() + 0.5
            assert found[f"centroid_{letter}"]["values"][at] == pytest.approx(centroid, rel=1e-6)


def test_numbers_are_those_of_the_array_and_info_gets_the_link_alone(dataset, labels) -> None:
    before = (dataset / "info").read_text()
    assert "4.6" in before
    summary = properties(dataset)
    check_numbers(written(dataset), labels)
    assert summary.segments == summary.labels == len(np.unique(labels)) - 1
    assert summary.bytes == (dataset / "segment_properties" / "info").stat().st_size
    assert (dataset / "info").read_text() == before.replace(
        "\n ]\n}", '\n ],\n "segment_properties": "segment_properties"\n}'
    )
    assert precast.open(dataset).info.segment_properties == "segment_properties"


def test_a_dataset_of_another_program_is_counted(dataset, labels, monkeypatch) -> None:
    properties(dataset)
    wanted = (dataset / "segment_properties" / "info").read_bytes()
    (dataset / "label_table.npy").unlink()
    monkeypatch.setattr(label_statistics, "BLOCK_BYTES", 5 * 16**3 * 4)
    moved: list[Any] = []

    class Listener:
        def phase(self, text: str, total_bytes: int) -> None:
            moved.append([text, total_bytes, 0])

        def advance(self, done_bytes: int) -> None:
            moved[-1][2] += done_bytes

        def note(self, text: str) -> None:
            raise AssertionError(text)

    properties(dataset, PropertiesOptions(overwrite=True), progress=Listener())
    assert (dataset / "segment_properties" / "info").read_bytes() == wanted
    assert moved[0] == ["counting labels", labels.nbytes, labels.nbytes]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32"])
def test_labels_of_other_types_are_counted(tmp_path, dtype) -> None:
    labels = np.zeros((4, 6, 9), np.dtype(dtype))
    labels[1:3, 2, 4:] = 5
    info = {
        "@type": "neuroglancer_multiscale_volume",
        "type": "segmentation",
        "data_type": dtype,
        "num_channels": 1,
        "scales": [
            {"key": "s", "size": [9, 6, 4], "chunk_sizes": [[9, 6, 4]], "resolution": [8, 8, 8], "encoding": "raw"}
        ],
    }
    store = MemoryStore()
    store.write("info", json.dumps(info).encode(), Attributes())
    store.write("s/0-9_0-6_0-4", labels.tobytes(), Attributes())
    (row,) = label_rows(precast.open(store))
    assert (row["id"], row["voxels"], row["start"].tolist(), row["stop"].tolist()) == (5, 10, [4, 2, 1], [9, 3, 3])
    summary = properties(store)
    assert summary.segments == 1
    if dtype == "int32":
        labels[0, 0, 0] = -1
        store.write("s/0-9_0-6_0-4", labels.tobytes(), Attributes())
        with pytest.raises(SourceError, match="negative label -1"):
            count_labels(precast.open(store).scales[0])


def test_a_users_columns_are_merged_by_id(dataset, labels) -> None:
    first, second = np.unique(labels)[1:3].tolist()
    text = f"segment_id,label,class,depth\n{second},axon 3,neuron;L2,0.25\n{first},,glia,-1\n99,x,y,7\n"
    summary = properties(dataset, PropertiesOptions(csv=table(dataset, text)))
    found = written(dataset)
    assert list(found)[1:4] == ["label", "class", "depth"]
    rest = len(found["ids"]) - 2
    assert found["label"] == {"id": "label", "type": "label", "values": ["", "axon 3"] + [""] * rest}
    assert found["class"]["tags"] == ["glia", "L2", "neuron"]
    assert found["class"]["values"] == [[0], [1, 2]] + [[]] * rest
    assert found["depth"] == {
        "id": "depth",
        "type": "number",
        "data_type": "float32",
        "description": "-10 means no value",
        "values": [-1, 0.25] + [-10] * rest,
    }
    check_numbers(found, labels)
    assert [finding.code for finding in summary.findings] == ["PP102"]
    counts = {item.id: (item.type, item.data_type, item.values) for item in summary.properties}
    assert counts["label"] == ("label", None, 1)
    assert counts["class"] == ("tags", None, 2)
    assert counts["voxels"] == ("number", "uint32", len(found["ids"]))


def test_a_users_columns_stay_without_a_new_table(dataset, labels) -> None:
    ids = np.unique(labels[labels > 0])
    table = dataset.parent / "cells.csv"
    table.write_text("id,label,tags,depth\n" + "".join(f"{i},cell {i},a;b,{i}.5\n" for i in ids))
    properties(dataset, PropertiesOptions(csv=table))
    before = (dataset / "segment_properties" / "info").read_bytes()
    summary = properties(dataset, PropertiesOptions(overwrite=True))
    assert (dataset / "segment_properties" / "info").read_bytes() == before
    assert summary.findings == ()
    table.write_text(f"id,depth\n{ids[0]},1.5\n")
    names = {item.id for item in properties(dataset, PropertiesOptions(csv=table, overwrite=True)).properties}
    assert "depth" in names
    assert not {"label", "tags"} & names


def test_limit_and_least_voxels(dataset, labels) -> None:
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    largest = sorted(ids[np.argsort(counts)[-3:]].tolist())
    summary = properties(dataset, PropertiesOptions(limit=3))
    assert written(dataset)["ids"] == [str(label) for label in largest]
    assert "3 largest" in summary.findings[0].message
    least = int(np.sort(counts)[-2])
    summary = properties(dataset, PropertiesOptions(min_voxels=least, overwrite=True))
    assert (summary.segments, summary.findings) == (2, ())


def test_what_is_there_is_replaced_only_when_asked(dataset) -> None:
    properties(dataset, PropertiesOptions(limit=2))
    before = (dataset / "segment_properties" / "info").read_bytes()
    with pytest.raises(DestinationExistsError, match="already") as caught:
        properties(dataset)
    assert "--overwrite" in caught.value.hint
    with pytest.raises(DestinationExistsError):
        plan_properties(dataset)
    assert (dataset / "segment_properties" / "info").read_bytes() == before
    properties(dataset, PropertiesOptions(overwrite=True))
    assert (dataset / "segment_properties" / "info").read_bytes() != before


def test_a_file_that_nothing_links_is_not_lost_either(dataset) -> None:
    file = dataset / "segment_properties" / "info"
    file.parent.mkdir()
    file.write_text("by hand")
    with pytest.raises(DestinationExistsError, match="info does not name it"):
        properties(dataset)
    assert file.read_text() == "by hand"
    assert precast.open(dataset).info.segment_properties is None


def test_stopped_before_the_link_the_old_info_stands_and_the_next_run_ends_it(dataset, monkeypatch) -> None:
    before = (dataset / "info").read_bytes()

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("precast.pipelines.properties.link_parts", stop)
        with pytest.raises(KeyboardInterrupt):
            properties(dataset)
    assert (dataset / "info").read_bytes() == before
    assert (dataset / "segment_properties" / "info").exists()
    properties(dataset)
    assert precast.open(dataset).info.segment_properties == "segment_properties"


def test_a_full_disk_leaves_everything_as_it_was(dataset, monkeypatch) -> None:
    properties(dataset, PropertiesOptions(limit=2))
    files = {file: file.read_bytes() for file in dataset.rglob("*") if file.is_file()}

    def full(self: LocalStore, temporary: Path, data: bytes, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LocalStore, "_put", full)
    with pytest.raises(StorageError, match="No space left"):
        properties(dataset, PropertiesOptions(overwrite=True))
    assert {file: file.read_bytes() for file in dataset.rglob("*") if file.is_file()} == files


def test_area_and_faces_of_meshes_are_kept(dataset, labels) -> None:
    ids = np.unique(labels)[1:].tolist()
    former = {
        "@type": "neuroglancer_segment_properties",
        "inline": {
            "ids": [str(label) for label in [*ids[1:3], 2**40]],
            "properties": [
                {"id": "area_um2", "type": "number", "data_type": "float32", "values": [1.5, 2.25, 9]},
                {"id": "faces", "type": "number", "data_type": "uint32", "values": [12, 4000000000, 9]},
            ],
        },
    }
    (dataset / "old").mkdir()
    (dataset / "old" / "info").write_text(json.dumps(former))
    store = LocalStore(dataset)
    link_parts(store, segment_properties="old/")
    properties(dataset, PropertiesOptions(overwrite=True))
    assert "area_um2" not in written(dataset)  # no meshes, no areas
    link_parts(store, mesh="mesh", segment_properties="old/")
    summary = properties(dataset, PropertiesOptions(overwrite=True))
    found = written(dataset)
    rest = [0] * (len(ids) - 3)
    assert found["area_um2"]["values"] == [0, 1.5, 2.25, *rest]
    assert found["faces"]["values"] == [0, 12, 4000000000, *rest]
    assert summary.findings == ()
    info = precast.open(dataset).info
    assert (info.mesh, info.segment_properties) == ("mesh", "segment_properties")
    properties(dataset, PropertiesOptions(overwrite=True))
    assert written(dataset)["faces"]["values"] == [0, 12, 4000000000, *rest]
    (dataset / "segment_properties" / "info").write_text("{}")
    summary = properties(dataset, PropertiesOptions(overwrite=True))
    assert [finding.code for finding in summary.findings] == ["PP105"]


def test_links_change_nothing_else_and_only_once(dataset) -> None:
    store = LocalStore(dataset)
    odd = (dataset / "info").read_text().replace("[\n    4.6,", "[\n    4.60,")
    odd = odd.replace('"key": "4.6_4.6_45",', '"key": "4.6_4.6_45", "mine": 1.0e2,').replace(
        '"num_channels": 1,', '"num_channels": 1,\n "mesh":null, "mesh_metadata": {"a": 12345678901234567890},'
    )
    assert "4.60" in odd
    (dataset / "info").write_text(odd)
    assert link_parts(store, mesh="mesh") is True
    assert (dataset / "info").read_text() == odd.replace('"mesh":null', '"mesh":"mesh"')
    stamp = (dataset / "info").stat().st_mtime_ns
    assert link_parts(store, mesh="mesh") is False
    assert link_parts(store) is False
    assert (dataset / "info").stat().st_mtime_ns == stamp
    assert link_parts(store, segment_properties="p") is True
    assert link_parts(store, mesh="mesh", segment_properties="p") is False


def test_a_gzipped_info_stays_gzipped(dataset) -> None:
    plain = (dataset / "info").read_bytes()
    (dataset / "info").unlink()
    (dataset / "info.gz").write_bytes(kernels.gzip_compress(plain, 6))
    properties(dataset)
    assert not (dataset / "info").exists()
    inflated = kernels.gzip_decompress((dataset / "info.gz").read_bytes(), 1 << 20)
    assert json.loads(inflated) == json.loads(plain) | {"segment_properties": "segment_properties"}


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff\xfe\xff", b'{"a": NaN}'])
def test_an_info_that_is_no_json_object_is_left_alone(data) -> None:
    store = MemoryStore()
    store.write("info", data, Attributes())
    with pytest.raises(FormatError, match="strict JSON"):
        links.link_parts(store, mesh="mesh")
    assert store.read("info") == data


def test_an_image_has_no_segments(tmp_path) -> None:
    convert(np.zeros((4, 4, 4), np.uint8), tmp_path / "v", ConvertOptions(resolution=8, kind="image"))
    with pytest.raises(UsageError, match="is an image"):
        properties(tmp_path / "v")


@pytest.mark.parametrize("damage", ["cut", "fields", "order", "pickle"])
def test_a_damaged_label_table_is_an_error(dataset, damage) -> None:
    file = dataset / "label_table.npy"
    rows = np.load(file)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "fields":
        np.save(file, rows["id"])
    elif damage == "order":
        np.save(file, rows[::-1])
    else:
        np.save(file, np.array([{}], object))
    with pytest.raises(FormatError, match=r"label_table\.npy") as caught:
        properties(dataset)
    assert "counted anew" in caught.value.hint
    assert not (dataset / "segment_properties").exists()


def test_plan_writes_nothing_and_tells_the_same(dataset) -> None:
    files = {file: file.read_bytes() for file in dataset.rglob("*") if file.is_file()}
    plan = plan_properties(dataset)
    assert {file: file.read_bytes() for file in dataset.rglob("*") if file.is_file()} == files
    done = properties(dataset)
    assert (plan.segments, plan.bytes, plan.properties) == (done.segments, done.bytes, done.properties)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "--limit must be a whole number from 1"),
        ({"limit": 1.5}, "--limit must be"),
        ({"min_voxels": 0}, "--min-voxels must be"),
        ({"id_column": "x"}, "--id-column names a column of --csv"),
    ],
)
def test_options_are_checked(options, message) -> None:
    with pytest.raises(UsageError, match=message):
        PropertiesOptions(**options)


def test_a_fault_in_the_table_stops_before_the_voxels_are_read(dataset, monkeypatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("precast.pipelines.properties.label_rows", never)
    with pytest.raises(SourceError, match="line 2"):
        properties(dataset, PropertiesOptions(csv=table(dataset, "id\nx\n")))


def test_cloudvolume_opens_the_volume_with_its_properties(dataset, labels) -> None:
    cloudvolume = pytest.importorskip("cloudvolume")
    properties(dataset)
    volume = cloudvolume.CloudVolume(f"file://{dataset}", progress=False)
    assert volume.info["segment_properties"] == "segment_properties"
    np.testing.assert_array_equal(np.asarray(volume[:])[..., 0].T, labels)


@pytest.mark.parametrize(
    "name", ["pipelines.properties", "precomputed.segment_properties", "precomputed.json_text", "sources.column_types"]
)
def test_examples(name) -> None:
    result = doctest.testmod(importlib.import_module(f"precast.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
