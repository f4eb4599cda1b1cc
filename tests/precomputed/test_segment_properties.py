"""Segment properties: exact JSON out, every problem named on the way in, and what is built from label tables."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from precast.errors import FormatError, UsageError
from precast.geometry import VoxelSize
from precast.precomputed import Property, SegmentProperties
from precast.precomputed.json_text import set_text_member
from precast.precomputed.label_table import LABEL_ROW
from precast.precomputed.segment_columns import (
    OWN_IDS,
    Column,
    ColumnTable,
    SegmentStatistics,
    build_properties,
)
from precast.precomputed.segment_properties import NUMBER_TYPES

SMALL = (
    '{"@type":"neuroglancer_segment_properties","inline":{"ids":["5","7","18446744073709551615"],"properties":['
    '{"id":"label","type":"label","values":["soma","","axon \\"3\\" µ"]},'
    '{"id":"class","type":"tags","tags":["neuron","glia"],"tag_descriptions":["",""],"values":[[0,1],[1],[]]},'
    '{"id":"volume","type":"number","data_type":"float32","description":"um^3","values":[12.5,3,0.1]},'
    '{"id":"z","type":"number","data_type":"int32","values":[-2147483648,0,2147483647]}]}}\n'
)


def small() -> SegmentProperties:
    return SegmentProperties(
        ids=np.array([5, 7, 2**64 - 1], np.uint64),
        properties=(
            Property(id="label", type="label", values=("soma", "", 'axon "3" µ')),
            Property(
                id="class",
                type="tags",
                tags=("neuron", "glia"),
                tag_descriptions=("", ""),
                values=((0, 1), (1,), ()),
            ),
            Property(id="volume", type="number", values=np.array([12.5, 3, 0.1], np.float32), description="um^3"),
            Property(id="z", type="number", values=np.array([-(2**31), 0, 2**31 - 1], np.int32)),
        ),
    )


def test_exact_bytes() -> None:
    assert small().to_bytes().decode() == SMALL
    assert SegmentProperties.from_bytes(SMALL.encode()) == small()
    assert SegmentProperties.from_bytes(SMALL.encode()) != SegmentProperties(ids=np.array([5], np.uint64))
    empty = SegmentProperties(ids=np.zeros(0, np.uint64))
    text = '{"@type":"neuroglancer_segment_properties","inline":{"ids":[],"properties":[]}}\n'
    assert empty.to_bytes().decode() == text
    assert SegmentProperties.from_bytes(b'{"@type": "neuroglancer_segment_properties"}') == empty


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_floats_have_the_fewest_digits_that_give_the_same_float(values: list[float]) -> None:
    array = np.array(values, np.float32)
    one = Property(id="x", type="number", values=array)
    text = one.to_json()
    back = np.array(json.loads(text)["values"], np.float32)
    assert back.tolist() == array.tolist()
    for written, value in zip(json.loads(text, parse_float=str, parse_int=str)["values"], array, strict=True):
        assert Decimal(written) == Decimal(str(value))  # NumPy's own text of a float32 is the shortest


def test_floats_at_every_power_of_ten() -> None:
    powers = np.array([float(f"{sign}1e{n}") for n in range(-45, 39) for sign in ("", "-")], np.float32)
    values = np.concatenate([powers, np.nextafter(powers, np.float32(0)), np.nextafter(powers, np.float32(np.inf))])
    values = values[np.isfinite(values)]
    written = json.loads(Property(id="x", type="number", values=values).to_json(), parse_float=str, parse_int=str)
    assert [Decimal(text) for text in written["values"]] == [Decimal(str(value)) for value in values]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
words = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=6)


@st.composite
def any_properties(draw: Any) -> SegmentProperties:
    ids = np.array(sorted(draw(st.sets(st.integers(0, 2**64 - 1), max_size=6))), np.uint64)
    names = draw(st.lists(st.from_regex(r"[a-zA-Z][a-zA-Z0-9_]{0,6}", fullmatch=True), max_size=5, unique=True))
    found, single = [], {"label", "description", "tags"}
    for name in names:
        kind = draw(st.sampled_from(["string", "number", *sorted(single)]))
        single -= {kind}
        description = draw(st.none() | texts)
        if kind == "number":
            dtype = np.dtype(draw(st.sampled_from(NUMBER_TYPES)))
            if dtype.kind == "f":
                one: Any = st.floats(width=32, allow_nan=False, allow_infinity=False)
            else:
                one = st.integers(int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
            values: Any = np.array([draw(one) for _ in ids], dtype)
            found.append(Property(id=name, type=kind, values=values, description=description))
        elif kind == "tags":
            tags = tuple(draw(st.lists(words, max_size=4, unique_by=str.lower)))
            places = st.sets(st.integers(0, len(tags) - 1)) if tags else st.just(set())
            values = tuple(tuple(sorted(draw(places))) for _ in ids)
            found.append(Property(id=name, type=kind, values=values, tags=tags))
        else:
            found.append(Property(id=name, type=kind, values=tuple(draw(texts) for _ in ids), description=description))
    return SegmentProperties(ids=ids, properties=tuple(found))


@given(any_properties())
def test_round_trip(value: SegmentProperties) -> None:
    data = value.to_bytes()
    again = SegmentProperties.from_bytes(data)
    assert again.ids.tolist() == value.ids.tolist()
    assert [item.id for item in again.properties] == [item.id for item in value.properties]
    assert again.to_bytes() == data
    for read, made in zip(again.properties, value.properties, strict=True):
        if made.type == "number":
            assert read.values.dtype == made.values.dtype
            np.testing.assert_array_equal(read.values, made.values)
        else:
            assert read == made


BASE = json.loads(SMALL)


def broken(place: list[Any], value: Any) -> bytes:
    document = json.loads(SMALL)
    target = document
    for step in place[:-1]:
        target = target[step]
    if value is ...:
        del target[place[-1]]
    else:
        target[place[-1]] = value
    return json.dumps(document).encode()


PROPERTIES: list[Any] = ["inline", "properties"]


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        (["@type"], "neuroglancer_skeletons", "@type: must be 'neuroglancer_segment_properties'"),
        (["inline"], [], "inline: must be an object"),
        (["inline", "ids"], ..., "inline.ids: must be a list"),
        (["inline", "ids", 0], 5, "inline.ids[0]: must be a string"),
        (["inline", "ids", 0], "05", "inline.ids[0]: must be a string"),
        (["inline", "ids", 0], "-5", "got '-5'"),
        (["inline", "ids", 0], " 5", "got ' 5'"),
        (["inline", "ids", 0], "٣", "got '٣'"),
        (["inline", "ids", 2], str(2**64), "inline.ids[2]: must be"),
        (["inline", "ids", 2], "9" * 5000, "inline.ids[2]: must be"),
        (["inline", "ids", 1], "5", "inline.ids[1]: 5 is there twice"),
        (["inline", "ids", 1], "4", "inline.ids[1]: 4 comes after 5"),
        (["inline", "ids"], ["5", "7"], "inline.properties[0].values: 3 for 2 ids"),
        (["inline", "properties"], ..., "inline.properties: must be a list"),
        ([*PROPERTIES, 0], "x", "inline.properties[0]: must be an object"),
        ([*PROPERTIES, 0, "id"], ..., "inline.properties[0].id: must be a non-empty string"),
        ([*PROPERTIES, 0, "id"], "class", "inline.properties[1].id: 'class' is the id of properties[0] too"),
        ([*PROPERTIES, 0, "type"], "Label", "inline.properties[0].type: must be one of label"),
        ([*PROPERTIES, 0, "values"], None, "inline.properties[0].values: must be a list"),
        ([*PROPERTIES, 0, "values", 1], None, "inline.properties[0].values[1]: must be a string, got None"),
        ([*PROPERTIES, 0, "values", 1], "\ud800", "inline.properties[0].values[1]: must be a string"),
        ([*PROPERTIES, 0, "description"], 5, "inline.properties[0].description: must be a string"),
        ([*PROPERTIES, 1, "tags"], ..., "inline.properties[1].tags: must be a list of strings"),
        ([*PROPERTIES, 1, "tags", 1], "NEURON", "inline.properties[1].tags[1]: 'NEURON' is there already, as 'neuron'"),
        ([*PROPERTIES, 1, "tags", 1], "neuron", "inline.properties[1].tags[1]: 'neuron' is there already"),
        ([*PROPERTIES, 1, "tags", 1], "two words", "inline.properties[1].tags[1]: must be a string without blanks"),
        ([*PROPERTIES, 1, "tags", 1], "#glia", "without # in front"),
        ([*PROPERTIES, 1, "tags", 1], "", "inline.properties[1].tags[1]: must be"),
        ([*PROPERTIES, 1, "tag_descriptions"], ["a"], "inline.properties[1].tag_descriptions: 1 for 2 tags"),
        ([*PROPERTIES, 1, "values", 0], [1, 0], "inline.properties[1].values[0]: must be ascending positions below 2"),
        ([*PROPERTIES, 1, "values", 0], [0, 0], "inline.properties[1].values[0]: must be ascending"),
        ([*PROPERTIES, 1, "values", 2], [2], "inline.properties[1].values[2]: must be ascending"),
        ([*PROPERTIES, 1, "values", 2], [-1], "inline.properties[1].values[2]: must be ascending"),
        ([*PROPERTIES, 1, "values", 2], [0.5], "inline.properties[1].values[2]: must be a list of positions"),
        ([*PROPERTIES, 1, "values", 2], [True], "inline.properties[1].values[2]: must be a list of positions"),
        ([*PROPERTIES, 1, "values", 2], None, "inline.properties[1].values[2]: must be a list of positions"),
        ([*PROPERTIES, 2, "data_type"], "uint64", "inline.properties[2].data_type: must be one of uint8"),
        ([*PROPERTIES, 2, "data_type"], ..., "inline.properties[2].data_type: must be one of uint8"),
        ([*PROPERTIES, 2, "values", 1], None, "inline.properties[2].values[1]: must be a number, got None"),
        ([*PROPERTIES, 2, "values", 1], "3", "inline.properties[2].values[1]: must be a number, got '3'"),
        ([*PROPERTIES, 2, "values", 1], True, "inline.properties[2].values[1]: must be a number, got True"),
        ([*PROPERTIES, 2, "values", 1], 1e39, "inline.properties[2].values[1]: 1e+39 is no float32"),
        ([*PROPERTIES, 2, "values", 1], 10**400, "inline.properties[2].values[1]: 1000"),
        ([*PROPERTIES, 2, "id"], "volume (um3)", "inline.properties[2].id: 'volume (um3)' cannot be queried"),
        ([*PROPERTIES, 3, "values", 1], 0.5, "inline.properties[3].values[1]: 0.5 is no int32"),
        ([*PROPERTIES, 3, "values", 1], 2**31, "inline.properties[3].values[1]: 2147483648 is no int32"),
        ([*PROPERTIES, 3, "type"], "label", "inline.properties[3].values[0]: must be a string, got -2147483648"),
    ],
)
def test_problems_are_named_with_their_place(place, value, problem) -> None:
    with pytest.raises(FormatError) as caught:
        SegmentProperties.from_bytes(broken(place, value))
    assert problem in caught.value.message


def test_at_most_one_label() -> None:
    twice = broken([*PROPERTIES, 3], BASE["inline"]["properties"][0] | {"id": "other"})
    with pytest.raises(FormatError, match=r"properties\[3\]\.type: only one may be 'label', properties\[0\] is"):
        SegmentProperties.from_bytes(twice)


def test_all_problems_are_reported_at_once() -> None:
    document = json.loads(SMALL)
    document["@type"] = "x"
    document["inline"]["ids"][1] = 7
    document["inline"]["properties"][2]["values"][0] = None
    with pytest.raises(FormatError) as caught:
        SegmentProperties.from_bytes(json.dumps(document).encode())
    assert caught.value.message.count("\n") == 3


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff", SMALL.replace("12.5", "NaN").encode(), SMALL.replace("12.5", "Infinity").encode()]
)
def test_not_strict_json(data) -> None:
    with pytest.raises(FormatError, match="strict JSON"):
        SegmentProperties.from_bytes(data)


def test_what_would_be_written_is_checked_too() -> None:
    ids = np.array([1, 2], np.uint64)
    for values in (np.array([1, np.nan], np.float32), np.array([1, 2], np.uint64), [1, 2]):
        with pytest.raises(UsageError, match=r"properties\[0\].values"):
            SegmentProperties(ids=ids, properties=(Property(id="x", type="number", values=values),))
    with pytest.raises(UsageError, match="uint64"):
        SegmentProperties(ids=np.array([1, 2]))
    many = Property(id="t", type="tags", values=((), ()), tags=tuple(f"t{n}" for n in range(65536)))
    with pytest.raises(UsageError, match="at most 65535"):
        SegmentProperties(ids=ids, properties=(many,))


# ---- building


def rows(*records: tuple[int, int]) -> np.ndarray[Any, Any]:
    table = np.zeros(len(records), LABEL_ROW)
    for row, (label, voxels) in zip(table, records, strict=True):
        row["id"], row["voxels"] = label, voxels
        row["start"], row["stop"] = (-5, 6, 7), (8, 9, 10)
        row["centroid"] = (1.5, 7.25, 8.1)
    return table


def statistics(*records: tuple[int, int], **more: Any) -> SegmentStatistics:
    return SegmentStatistics(
        rows=rows(*records), voxel_size=VoxelSize(Decimal("4.6"), Decimal("4.6"), Decimal(45)), **more
    )


def test_own_numbers() -> None:
    built, findings = build_properties(statistics((3, 1000), (9, 1)))
    assert findings == ()
    assert [item.id for item in built.properties] == [name for name in OWN_IDS if name not in ("area_um2", "faces")]
    values = {item.id: item.values.tolist() for item in built.properties}
    kinds = {item.id: item.values.dtype.name for item in built.properties}
    assert values["voxels"] == [1000, 1]
    np.testing.assert_allclose(values["volume_um3"], [0.0046 * 0.0046 * 0.045 * 1000, 0.0046 * 0.0046 * 0.045], 1e-6)
    ends = [values[f"bbox_{axis}{end}"][0] for end in (0, 1) for axis in "xyz"]
    assert ends == [-5, 6, 7, 8, 9, 10]
    assert [values[f"centroid_{axis}"][1] for axis in "xyz"] == [1.5, 7.25, float(np.float32(8.1))]
    assert {kinds[name] for name in ("voxels",)} == {"uint32"}
    assert {kinds[f"bbox_{axis}{end}"] for end in (0, 1) for axis in "xyz"} == {"int32"}
    assert {kinds[name] for name in ("volume_um3", "centroid_x")} == {"float32"}
    assert all(item.description for item in built.properties)


def test_counts_beyond_32_bits_are_floats() -> None:
    built, _ = build_properties(statistics((3, 2**32), (9, 1)))
    voxels = built.find("voxels")
    assert voxels is not None
    assert voxels.values.dtype == np.float32
    assert voxels.values.tolist() == [2**32, 1]


def test_meshes_add_area_and_faces() -> None:
    built, _ = build_properties(statistics((3, 5), (9, 1), area_um2=[1.5, 0], faces=[12, 0]))
    area, faces = built.find("area_um2"), built.find("faces")
    assert area is not None
    assert faces is not None
    assert area.values.tolist() == [1.5, 0]
    assert faces.values.tolist() == [12, 0]
    with pytest.raises(UsageError, match="faces has 1 values for 2 rows"):
        statistics((3, 5), (9, 1), faces=[1])


def test_the_largest_are_kept_and_of_equal_ones_the_lower_ids() -> None:
    given_ = statistics((1, 5), (2, 9), (3, 5), (4, 1), (5, 5))
    built, findings = build_properties(given_, limit=3)
    assert built.ids.tolist() == [1, 2, 3]
    assert [finding.code for finding in findings] == ["PP101"]
    assert "3 largest of 5" in findings[0].message
    assert build_properties(given_, limit=5)[1] == ()
    assert build_properties(given_, min_voxels=5)[0].ids.tolist() == [1, 2, 3, 5]
    built, findings = build_properties(given_, limit=4, min_voxels=5)
    assert (built.ids.tolist(), findings) == ([1, 2, 3, 5], ())
    assert build_properties(given_, min_voxels=100)[0].ids.tolist() == []


def table(*ids: int, **columns: Any) -> ColumnTable:
    made = []
    for name, values in columns.items():
        if isinstance(values, np.ndarray):
            known = np.ones(len(ids), bool)
            made.append(
                Column(id=name, type="number", values=values.astype(np.int64), known=known, data_type=str(values.dtype))
            )
        else:
            made.append(Column(id=name, type=name if name in ("label", "tags") else "string", values=values))
    return ColumnTable(ids=np.array(ids, np.uint64), columns=tuple(made), name="cells.csv")


def test_columns_are_merged_by_id_and_come_first() -> None:
    columns = table(
        2, 3, 7, label=("two", "three", "seven"), tags=(("b", "a"), (), ("c",)), n=np.array([5, 6, 7], np.int32)
    )
    built, findings = build_properties(statistics((1, 5), (2, 9), (3, 5)), columns)
    assert [item.id for item in built.properties[:4]] == ["label", "tags", "n", "voxels"]
    label, tags, number = built.properties[:3]
    assert label.values == ("", "two", "three")
    assert (tags.tags, tags.values) == (("a", "b"), ((), (0, 1), ()))
    assert number.values.tolist() == [-1, 5, 6]
    assert number.description == "-1 means no value"
    assert [finding.code for finding in findings] == ["PP102"]
    assert findings[0].message == "1 of 3 ids are not in the dataset and are left out: 7"
    built, _ = build_properties(statistics((2, 9), (3, 5)), columns)
    assert built.properties[2].description is None


def test_ids_that_are_left_out_by_size_are_not_unknown() -> None:
    columns = table(1, 2, label=("a", "b"))
    built, findings = build_properties(statistics((1, 5), (2, 9)), columns, min_voxels=6)
    assert (built.ids.tolist(), findings) == ([2], ())


@pytest.mark.parametrize(
    ("values", "stored", "missing"),
    [
        (np.array([5, 0], np.int32), "int32", -1),
        (np.array([5, -1], np.int32), "int32", -10),
        (np.array([-10, -99], np.int32), "int32", -100),
        (np.array([-1000, 3], np.int32), "int32", -10000),
        (np.array([-(2**31), 3], np.int32), "int32", 2**31 - 1),
        (np.array([2**32 - 2, 3], np.uint32), "uint32", 2**32 - 1),
        (np.array([2**31 - 1, 3], np.uint32), "int32", -1),
        (np.array([-7, 3], np.float32), "float32", -10),
    ],
)
def test_the_number_for_no_value_is_none_of_the_values(values, stored, missing) -> None:
    built, _ = build_properties(statistics((1, 1), (2, 1), (9, 1)), table(1, 2, n=values))
    item = built.properties[0]
    assert item.values.dtype.name == stored
    assert item.values.tolist() == [*values.tolist(), missing]
    assert item.description == f"{missing} means no value"


def test_no_number_left_for_no_value() -> None:
    columns = table(1, 2, n=np.array([2**32 - 1, 3], np.uint32))
    with pytest.raises(UsageError, match="no number for that"):
        build_properties(statistics((1, 1), (2, 1), (9, 1)), columns)


@pytest.mark.parametrize("name", ["voxels", "Faces", "bbox_x0"])
def test_our_own_names_are_taken(name) -> None:
    with pytest.raises(UsageError, match=f"cells.csv: the column '{name}'") as caught:
        build_properties(statistics((1, 1)), table(1, **{name: ("x",)}))
    assert "rename" in caught.value.hint


def test_ids_that_a_spreadsheet_rounded_are_recognised() -> None:
    rounded = table(720575940621039000, 720575940621040000, 864691135000010000, label=("", "", ""))
    _, findings = build_properties(statistics((1, 1)), rounded)
    assert "spreadsheet has rounded" in findings[0].hint
    exact = table(720575940621039001, 720575940621040000, 864691135000010000, label=("", "", ""))
    assert "spreadsheet" not in build_properties(statistics((1, 1)), exact)[1][0].hint


# ---- changes to JSON text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{}", '{"mesh": "m"}'),
        ('{"a":1}', '{"a":1,"mesh":"m"}'),
        ('{"a": 1.50}\n', '{"a": 1.50, "mesh": "m"}\n'),
        ('{"a":1,"b":2}', '{"a":1,"b":2,"mesh":"m"}'),
        ('{\n  "a": 4.60,\n  "b": [1e3]\n}', '{\n  "a": 4.60,\n  "b": [1e3],\n  "mesh": "m"\n}'),
        ('{"mesh": null, "b": {"mesh": 1}}', '{"mesh": "m", "b": {"mesh": 1}}'),
        ('{"mesh": 1, "mesh" :"old"}', '{"mesh": 1, "mesh" :"m"}'),
        ('{"a": "}, \\"mesh\\": 1"}', '{"a": "}, \\"mesh\\": 1", "mesh": "m"}'),
        ('\t{ "a" : 1 , "b" : 2 }', '\t{ "a" : 1 , "b" : 2, "mesh" : "m" }'),
    ],
)
def test_a_member_is_set_and_nothing_else_moves(text, wanted) -> None:
    assert set_text_member(text, "mesh", "m") == wanted
    assert set_text_member(wanted, "mesh", "m") == wanted


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts, lambda part: st.lists(part) | st.dictionaries(texts, part)
)


@given(st.dictionaries(texts, json_values, max_size=5), texts, texts, st.sampled_from([None, 0, 1, 3]))
def test_any_object(value, key, new, indent) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    result = set_text_member(text, key, new)
    assert json.loads(result) == value | {key: new}
    if key not in value and indent is not None and value:
        assert result == json.dumps(value | {key: new}, indent=indent, ensure_ascii=False)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": NaN}', '{"a": 1} x'])
def test_what_is_no_object_is_left_alone(text) -> None:
    with pytest.raises(FormatError, match="strict JSON object"):
        set_text_member(text, "mesh", "m")
