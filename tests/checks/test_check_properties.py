"""Each rule about segment properties: one fault is planted, and exactly that rule finds it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import precast
from mesh_files import BOX, make_object, write_dataset
from precast.checks import catalogue, check_properties
from precast.errors import ObjectNotFoundError

GOOD: dict[str, Any] = {
    "@type": "neuroglancer_segment_properties",
    "inline": {
        "ids": ["5", "7", "18446744073709551615"],
        "properties": [
            {"id": "label", "type": "label", "values": ["soma", "", "axon 3"]},
            {"id": "note", "type": "description", "values": ["", "", ""]},
            {"id": "text", "type": "string", "values": ["a", "b", "c"]},
            {"id": "class", "type": "tags", "tags": ["neuron", "glia"], "tag_descriptions": ["", ""],
             "values": [[0], [0, 1], []]},
            {"id": "volume", "type": "number", "data_type": "float32", "values": [12.5, 3, 0]},
            {"id": "faces", "type": "number", "data_type": "uint8", "values": [255, 0, 1]},
        ],
    },
}  # fmt: skip
LABEL, NOTE, TEXT, CLASS, VOLUME, FACES = range(6)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    item = make_object(BOX, 1)
    path = write_dataset(tmp_path_factory.mktemp("properties") / "v", {5: item, 7: item, 2**64 - 1: item})
    info = json.loads((path / "info").read_text()) | {"segment_properties": "segment_properties"}
    (path / "info").write_text(json.dumps(info))
    (path / "segment_properties").mkdir()
    return path


def codes(dataset: Path, value: Any) -> list[str]:
    text = value if isinstance(value, str) else json.dumps(value)
    (dataset / "segment_properties" / "info").write_text(text)
    return [finding.code for finding in check_properties(precast.open(dataset))]


def test_good_properties_have_no_findings(dataset) -> None:
    assert codes(dataset, GOOD) == []


def put(number: int, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda inline: inline["properties"][number].update(values)


def ids(*values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda inline: inline.update(ids=list(values))


def add(**item: Any) -> Callable[[dict[str, Any]], None]:
    return lambda inline: inline["properties"].append(item)


FAULTS: list[tuple[str, Callable[[dict[str, Any]], None]]] = [
    ("PC400", ids()),
    ("PC401", ids("5", "7", "18446744073709551615", "18446744073709551616")),
    ("PC401", ids("5", "7", "18446744073709551615", 9)),
    ("PC401", ids("5", "7", "18446744073709551615", "09")),
    ("PC401", ids("5", "7", "18446744073709551615", "+9")),
    ("PC402", ids("5", "7", "7", "18446744073709551615")),
    ("PC403", ids("7", "5", "18446744073709551615")),
    ("PC404", put(LABEL, values=["a", "b"])),
    ("PC404", put(LABEL, values=None)),
    ("PC405", put(TEXT, type="label")),
    ("PC405", put(TEXT, type="description")),
    ("PC405", add(id="more", type="tags", tags=[], values=[[], [], []])),
    ("PC406", put(TEXT, type="text")),
    ("PC406", put(TEXT, id="label")),
    ("PC406", put(TEXT, id=5)),
    ("PC407", put(TEXT, values=["a", None, "c"])),
    ("PC408", put(VOLUME, values=[None, 0, 0])),
    ("PC408", put(VOLUME, values=[1e39, 0, 0])),
    ("PC408", put(VOLUME, data_type="float64")),
    ("PC408", put(FACES, values=[256, 0, 0])),
    ("PC408", put(FACES, values=[-1, 0, 0])),
    ("PC408", put(FACES, values=[0.5, 0, 0])),
    ("PC408", put(FACES, data_type="uint64")),
    ("PC409", put(FACES, id="faces/1")),
    ("PC410", put(CLASS, tags=["neuron", "Neuron"])),
    ("PC410", put(CLASS, tags=["neuron", "a b"])),
    ("PC410", put(CLASS, tags=["neuron", "#glia"])),
    ("PC410", put(CLASS, tag_descriptions=[""])),
    ("PC411", put(CLASS, values=[[1, 0], [], []])),
    ("PC411", put(CLASS, values=[[0, 0], [], []])),
    ("PC411", put(CLASS, values=[[2], [], []])),
    ("PC411", put(CLASS, values=[[-1], [], []])),
    ("PC411", put(CLASS, values=["neuron", [], []])),
    ("PC420", ids("5", "7", "8", "18446744073709551615")),
    ("PC421", ids("5", "7")),
]


@pytest.mark.parametrize(("code", "plant"), FAULTS, ids=[f"{code}-{i}" for i, (code, _) in enumerate(FAULTS)])
def test_faults(dataset, code, plant) -> None:
    value = copy.deepcopy(GOOD)
    plant(value["inline"])
    if plant.__qualname__.startswith("ids"):  # keep one value per id: each fault alone
        count = len(value["inline"]["ids"])
        for item in value["inline"]["properties"]:
            item["values"] = (item["values"] * 2)[:count]
    if code == "PC400":
        value["inline"]["ids"] = "5"
    assert codes(dataset, value) == [code]


@pytest.mark.parametrize(
    "value",
    ["{", "[]", json.dumps(GOOD).replace("12.5", "NaN"), GOOD | {"@type": "x"}, GOOD | {"inline": None},
     GOOD | {"inline": {"ids": []}}],
)  # fmt: skip
def test_files_that_cannot_be_taken_apart(dataset, value) -> None:
    assert codes(dataset, value) == ["PC400"]


def test_a_file_that_is_not_there(dataset) -> None:
    (dataset / "segment_properties" / "info").unlink(missing_ok=True)
    findings = check_properties(precast.open(dataset))
    assert [finding.code for finding in findings] == ["PC400"]
    assert "there is no segment_properties/info" in findings[0].message


def test_a_volume_without_properties(tmp_path) -> None:
    with pytest.raises(ObjectNotFoundError, match="segment_properties"):
        check_properties(precast.open(write_dataset(tmp_path / "v", {})))


def test_every_rule_about_properties_is_tested_here() -> None:
    tested = {code for code, _ in FAULTS}
    assert {rule.code for rule in catalogue() if rule.code.startswith("PC4")} == tested
