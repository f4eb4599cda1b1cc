"""Each rule about a dataset as a whole: one fault is planted in a good one, and exactly that rule finds it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import precast
from precast.checks import CheckOptions, catalogue, check
from precast.errors import ObjectNotFoundError, UsageError
from precast.findings import Severity
from precast.storage import Attributes, LocalStore, MemoryStore
from volume_files import volume_info, write_volume


def codes(path: Path, **options: Any) -> list[str]:
    return sorted({finding.code for finding in check(path, CheckOptions(**options)).findings})


def edit(path: Path, **values: Any) -> None:
    info = json.loads(path.read_text())
    info.update(values)
    path.write_text(json.dumps({key: value for key, value in info.items() if value != "gone"}))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, make_blobs: Any) -> Path:
    """A segmentation with meshes and properties, by precast."""
    folder = tmp_path_factory.mktemp("parts") / "v"
    precast.convert(make_blobs((40, 40, 40)), folder, precast.ConvertOptions(resolution=8))
    precast.mesh(folder)
    return folder


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "v"))


def test_a_clean_dataset(made: Path) -> None:
    report = check(made)
    assert report.findings == ()
    count = len(np.load(made / "label_table.npy"))
    parts = [(part.path, part.kind, part.objects, part.checked) for part in report.datasets[0].parts]
    assert parts == [("mesh", "mesh", count, count), ("segment_properties", "segment_properties", count, count)]
    some = check(made, CheckOptions(sample="20%"))
    assert some.findings == ()
    assert 0 < some.datasets[0].parts[0].checked < count
    assert check(made / "segment_properties").findings == ()


def test_a_store_in_memory(made: Path) -> None:
    store, origin = MemoryStore(), LocalStore(made)
    for stat in origin.list():
        store.write(stat.key, origin.read(stat.key), Attributes())
    report = check(store)
    assert report.findings == ()
    assert report.datasets[0].scales == check(made).datasets[0].scales
    store.write("skeletons/info", b'{"@type": "neuroglancer_skeletons"}', Attributes())
    assert sorted(finding.code for finding in check(store).findings) == ["PC503", "PC702"]


# ---- links


@pytest.mark.parametrize("key", ["mesh", "skeletons", "segment_properties"])
def test_links_that_lead_nowhere(dataset: Path, key: str) -> None:
    edit(dataset / "info", **{key: "elsewhere"})
    report = check(dataset)
    assert [finding.code for finding in report.findings if finding.code != "PC702"] == ["PC700"]
    assert report.findings[0].where == f"info: {key}"


def test_links_to_another_kind(dataset: Path) -> None:
    edit(dataset / "info", skeletons="mesh")
    assert codes(dataset) == ["PC701"]
    edit(dataset / "info", skeletons="8_8_8")
    (dataset / "8_8_8" / "info").write_text(json.dumps(volume_info()))
    report = check(dataset)
    assert {finding.code for finding in report.findings} == {"PC701", "PC721"}
    assert "which holds a volume" in report.findings[0].message


def test_parts_without_a_link(dataset: Path) -> None:
    edit(dataset / "info", mesh="gone", segment_properties="gone")
    report = check(dataset)
    assert [(finding.code, finding.severity) for finding in report.findings] == [("PC702", Severity.WARNING)] * 2
    assert [finding.where for finding in report.findings] == ["mesh", "segment_properties"]


def test_parts_outside(dataset: Path) -> None:
    shutil.rmtree(dataset / "segment_properties")
    edit(dataset / "info", segment_properties="../properties")
    report = check(dataset)
    assert [(finding.code, finding.severity) for finding in report.findings] == [("PC703", Severity.INFO)]


def test_parts_that_cannot_be_read(dataset: Path) -> None:
    (dataset / "label_table.npy").unlink()
    (dataset / "label_table.npy").symlink_to("label_table.npy")
    assert codes(dataset) == ["PC704"]


# ---- ids, label table, provenance


def test_meshes_of_objects_that_have_no_voxels(dataset: Path) -> None:
    rows = np.load(dataset / "label_table.npy")
    rows["id"][-1] += 1
    np.save(dataset / "label_table.npy", rows)
    report = check(dataset)
    assert [finding.code for finding in report.findings] == ["PC705"]
    assert str(rows["id"][-1] - 1) in report.findings[0].message
    assert report.ok


def test_label_tables_of_another_volume(dataset: Path) -> None:
    rows = np.load(dataset / "label_table.npy")
    rows["voxels"][3] -= 1
    np.save(dataset / "label_table.npy", rows)
    report = check(dataset)
    assert [finding.code for finding in report.findings] == ["PC707"]
    assert (
        f"counts {rows['voxels'].sum()} voxels, the volume has {rows['voxels'].sum() + 1}" in report.findings[0].message
    )
    assert codes(dataset, sample=0.5) in ([], ["PC707"])  # one chunk is all of this volume


def swap(rows: Any) -> Any:
    return rows[::-1]


def zero(rows: Any) -> Any:
    rows = rows.copy()
    rows["id"][0] = 0
    return rows


def outside(rows: Any) -> Any:
    rows = rows.copy()
    rows["stop"][2, 1] = 41
    return rows


def too_many(rows: Any) -> Any:
    rows = rows.copy()
    rows["voxels"][2] = 40**3 + 1
    return rows


@pytest.mark.parametrize("change", [swap, zero, outside, too_many, lambda rows: rows["id"]])
def test_label_tables(dataset: Path, change: Callable[[Any], Any]) -> None:
    np.save(dataset / "label_table.npy", change(np.load(dataset / "label_table.npy")))
    assert codes(dataset) == ["PC706"]


@pytest.mark.parametrize("length", [0, 6, 20, 60, 127, 129, -1])
def test_a_label_table_that_is_cut_off(dataset: Path, length: int) -> None:
    data = (dataset / "label_table.npy").read_bytes()
    (dataset / "label_table.npy").write_bytes(data[:length])
    assert codes(dataset) == ["PC706"]


def test_a_label_table_with_a_damaged_header(dataset: Path) -> None:
    data = (dataset / "label_table.npy").read_bytes()
    for old, new in ((b"}", b" "), (b"(", b"["), (b"'<u8'", b"'<q9'"), (b"{'descr'", b"{'de\0cr'")):
        (dataset / "label_table.npy").write_bytes(data.replace(old, new, 1))
        assert codes(dataset) == ["PC706"]


@pytest.mark.parametrize("text", ["{", "[]", '{"processing": {}}'])
def test_provenance(tmp_path: Path, text: str) -> None:
    path = write_volume(tmp_path / "v")
    (path / "provenance").write_text(text)
    report = check(path)
    assert [(finding.code, finding.severity) for finding in report.findings] == [("PC710", Severity.WARNING)]


# ---- files


@pytest.mark.parametrize(
    "name", ["8_8_8/.0.shard.part", "mesh/.0.shard.part", "8_8_8/0.shard_.gstmp", "info.tmp", "notes/a.txt~"]
)
def test_temporary_files(dataset: Path, name: str) -> None:
    (dataset / name).parent.mkdir(exist_ok=True)
    (dataset / name).write_bytes(b"half")
    report = check(dataset)
    assert [(finding.code, finding.severity) for finding in report.findings] == [("PC720", Severity.WARNING)]
    assert report.findings[0].where == name


@pytest.mark.parametrize(
    "name",
    ["README.md", "8_8_8/README", "mesh/5.frags", "segment_properties/table.csv", "old/8_8_8/0.shard", ".DS_Store"],
)
def test_stray_files(dataset: Path, name: str) -> None:
    (dataset / name).parent.mkdir(exist_ok=True, parents=True)
    (dataset / name).write_bytes(b"something")
    report = check(dataset)
    assert [(finding.code, finding.severity) for finding in report.findings] == [("PC721", Severity.INFO)]
    assert report.findings[0].where == name


# ---- collections


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    for name in ("em", "labels"):
        write_volume(tmp_path / "all" / name)
    layers = [{"name": "em", "kind": "image"}, {"name": "labels", "kind": "segmentation"}]
    value = {"@type": "precast_collection", "schema": 1, "layers": layers}
    (tmp_path / "all" / "precast.json").write_text(json.dumps(value))
    return tmp_path / "all"


def test_a_clean_collection(collection: Path) -> None:
    report = check(collection)
    assert report.findings == ()
    assert [dataset.name for dataset in report.datasets] == ["em", "labels"]
    (collection / "precast.json").unlink()
    assert check(collection).findings == ()
    shutil.rmtree(collection / "labels" / "20_20_40")
    report = check(collection)
    assert [(finding.code, finding.where) for finding in report.findings] == [("PC211", "labels/20_20_40")]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"layers": []}', '{"layers": 5}', '{"layers": [5]}'])
def test_lists_of_layers(collection: Path, text: str) -> None:
    (collection / "precast.json").write_text(text)
    report = check(collection)
    assert [finding.code for finding in report.findings] == ["PC730"]
    assert len(report.datasets) == 2


def test_a_list_of_layers_that_is_nearly_right(collection: Path) -> None:
    value = json.loads((collection / "precast.json").read_text())
    value["layers"][1]["kind"] = "labels"
    (collection / "precast.json").write_text(json.dumps(value))
    report = check(collection)
    assert [finding.code for finding in report.findings] == ["PC730"]
    assert "layers[1].kind" in report.findings[0].message
    assert [dataset.name for dataset in report.datasets] == ["em", "labels"]


def test_layers_without_a_dataset(collection: Path) -> None:
    (collection / "labels" / "info").unlink()
    assert codes(collection) == ["PC731"]


def test_datasets_that_are_no_layer(collection: Path) -> None:
    write_volume(collection / "more")
    report = check(collection)
    assert [finding.code for finding in report.findings] == ["PC732"]
    assert [dataset.name for dataset in report.datasets] == ["em", "labels", "more"]


# ---- what is no dataset


def test_nothing_to_check(tmp_path: Path, made: Path, collection: Path) -> None:
    with pytest.raises(ObjectNotFoundError, match="no info file"):
        check(tmp_path / "nothing")
    with pytest.raises(ObjectNotFoundError, match="no info file"):
        check(made / "8_8_8")
    with pytest.raises(UsageError, match="volume"):
        check(made / "mesh")
    with pytest.raises(UsageError, match="--against"):
        check(made / "segment_properties", CheckOptions(against="x"))
    copy = Path(shutil.copytree(made, tmp_path / "copy"))
    (copy / "info").unlink()  # its parts do not make it a collection
    with pytest.raises(ObjectNotFoundError, match="no info file"):
        check(copy)
    with pytest.raises(UsageError, match="collection"):
        check(collection, CheckOptions(against="x"))


@pytest.mark.parametrize("value", ["0%", "101%", "0", "-5%", "some", "nan", 2])
def test_shares_that_are_none(value: Any) -> None:
    with pytest.raises(UsageError):
        CheckOptions(sample=value)


def test_other_options() -> None:
    assert CheckOptions(sample="5%", memory="1GiB").sample == 0.05
    assert CheckOptions(sample=1, memory="1GiB").memory == 2**30
    with pytest.raises(UsageError, match="threads"):
        CheckOptions(threads=0)
    with pytest.raises(UsageError, match="seed"):
        CheckOptions(seed=-1)


def test_every_rule_about_datasets_is_tested_here() -> None:
    text = Path(__file__).read_text()
    rules = [rule for rule in catalogue() if rule.code.startswith("PC7")]
    assert len(rules) > 10
    assert [rule.code for rule in rules if f'"{rule.code}"' not in text] == []
