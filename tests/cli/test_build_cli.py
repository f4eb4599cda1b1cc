"""``precast build`` as a command."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from precast.cli.main import run


@pytest.fixture
def source(tmp_path: Path) -> Path:
    data = np.zeros((16, 16, 16), np.uint32)
    data[4:12, 4:12, 4:12] = 90000
    np.save(tmp_path / "cells.npy", data)
    return tmp_path / "cells.npy"


def test_the_link_is_the_only_line_on_stdout(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "my out"
    arguments = ["build", str(source), str(out), "--resolution", "8"]
    assert run(arguments) == 0
    url, told = capsys.readouterr()
    assert url.startswith("http://127.0.0.1:9000/v/view/#!")
    assert url.count("\n") == 1
    assert "  cells  segmentation, converted, 1 meshes\n" in told
    assert "checked: nothing is wrong" in told
    assert f"\n    precast view '{out}'\n" in told
    assert run([*arguments, "--port", "9001"]) == 0
    url, told = capsys.readouterr()
    assert url.startswith("http://127.0.0.1:9001/")
    assert "  cells  segmentation, unchanged\n" in told
    assert f"precast view '{out}' --port 9001\n" in told
    assert run([*arguments, "--quiet"]) == 0
    url, told = capsys.readouterr()
    assert (url.count("\n"), told) == (1, "")


def test_the_program_is_named_as_it_was_called(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "precast"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    arguments = ["build", str(source), str(tmp_path / "out"), "--resolution", "8"]
    for path, shown in (("/nowhere", str(program)), (str(program.parent), "precast")):
        monkeypatch.setenv("PATH", path)
        assert run(arguments) == 0
        assert f"\n    {shown} view {tmp_path}/out\n" in capsys.readouterr().err


def test_json_and_exit_codes(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["build", str(source), str(tmp_path / "out"), "--resolution", "8", "--json"]
    assert run(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["verb"], document["ok"], document["errors"]) == ("build", True, [])
    assert document["result"]["layers"][0]["meshes"] == 1
    assert document["result"]["check"]["ok"]
    (shard,) = (tmp_path / "out" / "cells" / "8_8_8").glob("*.shard")
    shard.write_bytes(b"")
    assert run(arguments) == 1
    document = json.loads(capsys.readouterr().out)
    assert not document["ok"]
    assert document["findings"]
    assert run(["build", str(source)]) == 2
    assert run(["build", str(tmp_path / "absent"), str(tmp_path / "out")]) == 3
    assert run(["build", str(source), str(tmp_path / "out"), "--resolution", "9"]) == 3
    assert "--overwrite" in capsys.readouterr().err


def test_a_resolution_for_each_source(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "em.npy", np.arange(16**3, dtype=np.uint8).reshape(16, 16, 16))
    arguments = ["build", str(source), str(tmp_path / "em.npy"), str(tmp_path / "out"), "--quiet"]
    resolutions = ["--resolution", "cells=32,32,40", "--resolution", "em=4,4,40"]
    assert run([*arguments, *resolutions, "--min-voxels", "5"]) == 0
    found = [json.loads((tmp_path / "out" / name / "info").read_text()) for name in ("cells", "em")]
    assert [info["scales"][0]["resolution"] for info in found] == [[32, 32, 40], [4, 4, 40]]
    capsys.readouterr()
    for wrong, words in (
        (["--resolution", "em=5,5,40"], "--resolution is given twice for em: 4,4,40 and 5,5,40"),
        (["--resolution", "ems=5"], "--resolution ems=5: no source is called ems\nhint: they are called cells, em"),
        (["--offset", "em=1,2"], "--offset em=1,2: --offset must be three whole numbers"),
        (["--image-encoding", "em=gif"], "must be one of auto, raw, jpeg, png; got 'gif'"),
    ):
        assert run([*arguments, *resolutions, *wrong]) == 2
        assert words in capsys.readouterr().err
    assert run(["build", "--help"]) == 0
    assert "--resolution [NAME=]X,Y,Z" in capsys.readouterr().out
