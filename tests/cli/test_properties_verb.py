"""``precast properties`` as a person or a script meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from precast.cli.main import run
from precast.pipelines.convert import ConvertOptions, convert


@pytest.fixture
def dataset(tmp_path: Path, make_blobs: Any) -> Path:
    convert(make_blobs((20, 20, 20)), tmp_path / "v", ConvertOptions(resolution=8, chunk_size=16))
    return tmp_path / "v"


def test_properties_then_inspect(dataset, tmp_path, capsys) -> None:
    label = int(np.load(dataset / "label_table.npy")["id"][0])
    (tmp_path / "cells.tsv").write_text(f"cell\tname\n{label}\tsoma\n99\tx\n")
    arguments = ["properties", str(dataset), "--csv", str(tmp_path / "cells.tsv"), "--id-column", "cell"]
    assert run([*arguments, "--dry-run"]) == 0
    captured = capsys.readouterr()
    assert "dry run: nothing is written" in captured.out
    assert "name" in captured.out
    assert captured.err.count("1 of 2 ids are not in the dataset") == 1
    assert not (dataset / "segment_properties").exists()
    assert run(arguments) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("warning: 1 of 2 ids are not in the dataset and are left out: 99") == 1
    assert "linked in info" in captured.err
    assert run(["inspect", str(dataset)]) == 0
    assert "segment_properties: segment_properties/" in capsys.readouterr().out


def test_as_json(dataset, capsys) -> None:
    assert run(["properties", str(dataset), "--limit", "2", "--min-voxels", "5", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["verb"], document["ok"]) == ("properties", True)
    assert document["result"]["segments"] == 2
    assert document["result"]["properties"][0] == {"id": "voxels", "type": "number", "data_type": "uint32", "values": 2}
    assert document["findings"][0]["code"] == "PP101"


def test_errors(dataset, tmp_path, capsys) -> None:
    assert run(["properties", str(dataset), "-q"]) == 0
    assert run(["properties", str(dataset)]) == 3
    assert "--overwrite" in capsys.readouterr().err
    assert run(["properties", str(dataset), "--overwrite", "-q"]) == 0
    (tmp_path / "cells.csv").write_text("id,n\n7.2E+17,1\n")
    assert run(["properties", str(dataset), "--overwrite", "--csv", str(tmp_path / "cells.csv")]) == 3
    assert "floating point" in capsys.readouterr().err
    assert run(["properties", str(dataset), "--limit", "0"]) == 2
    assert run(["properties", str(tmp_path / "none")]) == 3
    assert run(["properties", str(dataset), "--id-column", "x", "--overwrite"]) == 2
