"""``precast link`` as a command."""

from __future__ import annotations

import json
from pathlib import Path

import neuroglancer
import numpy as np
import pytest

import precast
from precast.cli.main import run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    labels = np.full((8, 8, 8), 5, np.uint32)
    precast.convert(labels, tmp_path / "labels", precast.ConvertOptions(resolution=8, kind="segmentation"))
    return tmp_path


def test_the_link_is_the_only_line_on_stdout(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["link", str(folder), "--base-url", "http://data.example.org", "--segments", "5", "--zoom", "2"]
    assert run(arguments) == 0
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    state = neuroglancer.parse_url(line)
    assert line.startswith("https://neuroglancer-demo.appspot.com/#!%7B%22dimensions%22")
    assert set(state.layers["labels"].segments) == {5}
    assert "warning: " in err
    assert run([*arguments, "--quiet"]) == 0
    assert capsys.readouterr() == (out, "")


def test_state_and_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["link", str(folder / "labels"), "--base-url", "http://127.0.0.1:9000"]
    assert run([*arguments, "--state"]) == 0
    state = json.loads(capsys.readouterr().out)
    assert run([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"]
    assert document["verb"] == "link"
    assert document["findings"] == []
    result = document["result"]
    assert result["state"] == state
    assert result["layers"] == [
        {
            "name": "labels",
            "kind": "segmentation",
            "source": "http://127.0.0.1:9000/labels/|neuroglancer-precomputed:",
        }
    ]
    assert neuroglancer.parse_url(result["url"]).to_json() == neuroglancer.ViewerState(state).to_json()


def test_errors_say_what_to_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["link", str(folder)]) == 2
    assert "hint: precast serve serves it; --base-url" in capsys.readouterr().err
    assert run(["link", str(folder / "nothing"), "--base-url", "http://127.0.0.1"]) == 3
    assert "there is no dataset" in capsys.readouterr().err
    assert run(["link", "http://127.0.0.1:9/labels"]) == 3
    assert "nothing answers at 127.0.0.1:9" in capsys.readouterr().err
    assert run(["link"]) == 2
    assert run(["link", str(folder), "--layout", "5panel"]) == 2
