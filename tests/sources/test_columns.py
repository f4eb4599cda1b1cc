"""Tables of users: what they become, and every way in which they go wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from precast.errors import ObjectNotFoundError, PrecastError, SourceError, UsageError
from precast.precomputed.segment_columns import Column
from precast.sources.columns import ID_NAMES, read_columns


def write(folder: Path, text: str | bytes, name: str = "cells.csv") -> Path:
    file = folder / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def columns(folder: Path, text: str | bytes, name: str = "cells.csv") -> dict[str, Column]:
    return {column.id: column for column in read_columns(write(folder, text, name))[0].columns}


def test_a_typical_table(tmp_path) -> None:
    text = (
        "label,id,class,notes,size,score,description\n"
        '"axon, 3",18446744073709551615,#Neuron;L2 3,,5,0.5,"two\nlines"\n'
        "soma,3,neuron | GABA,x,-7,2e3,\n"
        "\n"
        ",12,,y,0,1,d\n"
    )
    table, findings = read_columns(write(tmp_path, text))
    assert findings == ()
    assert table.ids.tolist() == [3, 12, 2**64 - 1]
    assert table.name == "cells.csv"
    kinds = [(column.id, column.type, column.data_type) for column in table.columns]
    assert kinds == [
        ("label", "label", ""),
        ("description", "description", ""),
        ("class", "tags", ""),
        ("notes", "string", ""),
        ("size", "number", "int32"),
        ("score", "number", "float32"),
    ]
    values = {column.id: column.values for column in table.columns}
    assert values["label"] == ("soma", "", "axon, 3")
    assert values["description"] == ("", "d", "two\nlines")
    assert values["class"] == (("neuron", "GABA"), (), ("neuron", "L2_3"))
    assert values["notes"] == ("x", "y", "")
    assert values["size"].tolist() == [-7, 0, 5]
    assert values["score"].tolist() == [2000, 1, 0.5]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("id,label\n5,a\n", "c.csv"),
        ("\ufeffid,label\r\n5,a\r\n", "c.csv"),
        ("id;label\n5;a\n", "c.csv"),
        ("id\tlabel\n5\ta\n", "c.csv"),
        ("id\tlabel\n5\ta\n", "c.tsv"),
        ("id\tlabel\n5\ta\n", "c.TAB"),
        ('"id","label"\n"5","a"\n', "c.csv"),
        ('id,"label"\n 5 , a \n,\n', "c.txt"),
        ("\n\nid,label\n5,a", "c.csv"),
        ("id,label\r5,a\r", "c.csv"),
    ],
)
def test_dialects(tmp_path, text, name) -> None:
    table, _ = read_columns(write(tmp_path, text, name))
    assert table.ids.tolist() == [5]
    assert table.columns[0].values == ("a",)


def test_a_tab_separated_file_may_hold_commas(tmp_path) -> None:
    assert columns(tmp_path, "id\tx,y,z\n5\t1,2,3\n", "c.tsv")["x_y_z"].values == ("1,2,3",)


@pytest.mark.parametrize("name", ID_NAMES)
def test_id_columns(tmp_path, name) -> None:
    table, _ = read_columns(write(tmp_path, f"x,{name}\n1,5\n"))
    assert table.ids.tolist() == [5]
    assert [column.id for column in table.columns] == ["x"]


def test_the_id_column_can_be_named(tmp_path) -> None:
    file = write(tmp_path, "id,cell\n1,5\n2,4\n")
    table, _ = read_columns(file, "cell")
    assert table.ids.tolist() == [4, 5]
    assert table.columns[0].values.tolist() == [2, 1]
    with pytest.raises(UsageError, match="no column 'neuron'") as caught:
        read_columns(file, "neuron")
    assert "'id', 'cell'" in caught.value.hint


def number(column: Column) -> tuple[str, list[Any]]:
    assert column.type == "number"
    assert column.known is not None
    known = column.known.tolist()
    return column.data_type, [v if k else None for v, k in zip(column.values.tolist(), known, strict=True)]


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        (["1", "-2"], ("int32", [1, -2])),
        (["2147483647", "-2147483648"], ("int32", [2147483647, -2147483648])),
        (["2147483648", "0"], ("uint32", [2147483648, 0])),
        (["4294967295", ""], ("uint32", [4294967295, None])),
        (["4294967296", "-1"], ("float32", [4294967296, -1])),
        (["1.0", "2.", ""], ("int32", [1, 2, None])),
        (["1.5", "nan", "2"], ("float32", [1.5, None, 2])),
        (["1", "NA"], ("int32", [1, None])),
        (["+5", "-.5", "1E-3"], ("float32", [5, -0.5, 0.001])),
    ],
)
def test_numbers(tmp_path, cells, wanted) -> None:
    text = "id,n\n" + "".join(f"{at},{cell}\n" for at, cell in enumerate(cells))
    assert number(columns(tmp_path, text)["n"]) == wanted


@pytest.mark.parametrize(
    "cells", [["1", "x"], ["007", "1"], ["", ""], ["inf", "1"], ["1_000"], ["0x10"], ["٣"], ["1 2"], ["1" * 400]]
)
def test_what_is_text(tmp_path, cells) -> None:
    text = "id,n\n" + "".join(f"{at},{cell}\n" for at, cell in enumerate(cells))
    file = write(tmp_path, text)
    table, findings = read_columns(file)
    assert table.columns[0].type == "string"
    assert table.columns[0].values == tuple(cells)
    assert findings == ()


@pytest.mark.parametrize(
    ("cells", "named"),
    [
        (["720575940621039001", "5"], "720575940621039001"),
        (["18446744073709551615", "-5"], "18446744073709551615"),
        (["4294967297"], "4294967297"),
        (["1e39", "0.5"], "1e+39"),
    ],
)
def test_numbers_that_would_not_survive_become_text_and_it_says_so(tmp_path, cells, named) -> None:
    text = "id,n\n" + "".join(f"{at},{cell}\n" for at, cell in enumerate(cells))
    table, findings = read_columns(write(tmp_path, text))
    assert table.columns[0].values == tuple(cells)
    assert [finding.code for finding in findings] == ["PP103"]
    assert named in findings[0].message


def test_a_decimal_comma_is_one_where_semicolons_part_cells(tmp_path) -> None:
    found = columns(tmp_path, "id;n;m\n1;0,5;1,2,3\n2;-3;4\n")
    assert number(found["n"]) == ("float32", [0.5, -3])
    assert found["m"].type == "string"


def test_types_in_the_header(tmp_path) -> None:
    text = "id,name,cell:label,code:string,layer:tags,size:uint8,w:float32,kind:tags,t 1:30\n1,a,b,7,L1,255,7,x;y,q\n"
    table, _ = read_columns(write(tmp_path, text))
    kinds = [(column.id, column.type, column.data_type) for column in table.columns]
    assert kinds == [
        ("cell", "label", ""),
        ("tags", "tags", ""),
        ("name", "string", ""),
        ("code", "string", ""),
        ("size", "number", "uint8"),
        ("w", "number", "float32"),
        ("t_1_30", "string", ""),
    ]
    assert table.columns[1].values == (("L1", "x", "y"),)
    assert table.columns[6].description == "t 1:30"


def test_names_are_made_fit_for_queries(tmp_path) -> None:
    found = columns(tmp_path, "id,Größe (µm³),2nd,_x\n1,2,3,4\n")
    assert {name: column.description for name, column in found.items()} == {
        "Grosse_um3": "Größe (µm³)",
        "p_2nd": "2nd",
        "x": "_x",
    }


def test_a_column_without_a_name_is_left_out(tmp_path) -> None:
    table, findings = read_columns(write(tmp_path, ",id,n\n0,5,7\n"))
    assert [column.id for column in table.columns] == ["n"]
    assert [finding.code for finding in findings] == ["PP104"]


def test_ids_alone(tmp_path) -> None:
    table, _ = read_columns(write(tmp_path, "id\n7\n5\n"))
    assert (table.ids.tolist(), table.columns) == ([5, 7], ())
    assert table.ids.dtype == np.uint64
    assert read_columns(write(tmp_path, "id,n\n"))[0].ids.tolist() == []


@pytest.mark.parametrize(
    ("text", "kind", "message", "hint"),
    [
        ("", SourceError, "is empty", "names the columns"),
        ("5,a\n6,b\n", SourceError, "no header row", "first row"),
        ("neuron,label\n5,a\n", UsageError, "no id column; looked for id, ID, segment", "--id-column"),
        ("id,n,n\n1,2,3\n", SourceError, "two columns are named 'n'", "rename"),
        ("id,n\n1,2\n3\n", SourceError, "cells.csv, line 3: 1 cells, the header row has 2", "blank"),
        ("id,n\n1,2,3\n", SourceError, "line 2: 3 cells", "quote"),
        ('id,n\n1,"a\n2,b\n', SourceError, "line 3: not a table", "doubled"),
        ('id,n\n1,"a"b\n', SourceError, "line 2: not a table", "doubled"),
        ("id,n\n5,1\n6,2\n5,3\n", SourceError, "the id 5 is on line 2 and on line 4", "one row per segment"),
        ("id,n\n5,1\n05,3\n", SourceError, "the id 5 is on line 2 and on line 3", "one row"),
        ("id,n\n5,1\n,2\n", SourceError, "line 3: the id is missing", "id"),
        ("id,n\n-5,1\n", SourceError, "line 2: '-5' is no id", "from 0 to 18446744073709551615"),
        ("id,n\n18446744073709551616,1\n", SourceError, "'18446744073709551616' is no id", "18446744073709551615"),
        ("id,n\nabc,1\n", SourceError, "'abc' is no id", "digits"),
        ("id,n\n٣,1\n", SourceError, "'٣' is no id", "digits"),
        ("id,n\n7.20576E+17,1\n", SourceError, "'7.20576E+17' is a floating point number", "as text"),
        ("id,n\n5,1\n7.0,1\n", SourceError, "line 3: the id '7.0' is a floating point number", "pandas"),
        ('id;n\n"7,2E+17";1\n', SourceError, "'7,2E+17' is a floating point number", "spreadsheet"),
        ("id,label,a:label,b:label\n1,a,b,c\n", UsageError, "'a:label' and 'b:label' both", "b:string"),
        ("id,a b,a_b\n1,x,y\n", UsageError, "'a b' and 'a_b' have the same name", "rename"),
        ("id,A,a\n1,x,y\n", UsageError, "same name", "case"),
        ("id,n:number\n1,x\n", SourceError, "'n:number' holds 'x', which is no number", "string"),
        ("id,n:number\n1,4294967297\n", SourceError, "4294967297", "string"),
        ("id,n:uint8\n1,256\n", SourceError, "'n:uint8' holds 256", "n:number"),
        ("id,n:int16\n1,0.5\n", SourceError, "'n:int16' holds 0.5", "n:number"),
        (b"id,n\n1,\xe4\n", SourceError, "line 2: not UTF-8 but another encoding", "UTF-8"),
        ("id,n\n1,a\n".encode("utf-16"), SourceError, "not UTF-8 but UTF-16", "UTF-8"),
        (b"PK\x03\x04rest", SourceError, "spreadsheet", "export"),
    ],
)
def test_every_fault_is_named_with_its_line(tmp_path, text, kind, message, hint) -> None:
    with pytest.raises(PrecastError) as caught:
        read_columns(write(tmp_path, text))
    assert type(caught.value) is kind
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_the_line_is_that_of_the_file_even_after_line_breaks_in_cells(tmp_path) -> None:
    with pytest.raises(SourceError, match="line 5"):
        read_columns(write(tmp_path, 'id,n\n1,"a\nb"\n\n1e3,c\n'))


def test_no_file(tmp_path) -> None:
    with pytest.raises(ObjectNotFoundError, match=r"none\.csv does not exist"):
        read_columns(tmp_path / "none.csv")
    with pytest.raises(PrecastError):
        read_columns(tmp_path)
