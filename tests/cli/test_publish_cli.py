"""``precast publish`` as a command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import precast
from precast.cli.main import run


def make(root: Path, fill: int) -> Path:
    data = np.full((16, 16, 16), fill, np.uint32)
    precast.convert(data, root, precast.ConvertOptions(resolution="8", overwrite=True))
    return root


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make(tmp_path / "cells", 7)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def voxel(place: Path) -> int:
    return int(precast.open(place).scales[0][3, 3, 3])


class Terminal:
    """A terminal at which somebody answers."""

    def isatty(self) -> bool:
        return True


def test_the_whole_way(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    www = tmp_path / "www"
    assert run(["publish", str(source), str(www), "--dry-run"]) == 0
    out, told = capsys.readouterr()
    assert "dry run: nothing is written" in out
    assert "public, max-age=3600" in out
    assert told == ""
    assert not www.exists()
    assert run(["publish", str(source), str(www)]) == 0
    out, told = capsys.readouterr()
    assert out == ""
    assert "verified; 1 objects" in told
    assert voxel(www) == 7
    make(source, 8)
    assert run(["publish", str(source), str(www)]) == 0
    assert "are kept" in capsys.readouterr().err
    assert voxel(www) == 8
    assert run(["publish", "--rollback", str(www)]) == 0
    assert "switched" in capsys.readouterr().err
    assert voxel(www) == 7
    assert run(["publish", "--rollback", str(www)]) == 0
    assert voxel(www) == 8
    capsys.readouterr()

    # asked, and answered
    monkeypatch.setattr("sys.stdin", Terminal())
    before = files(www)
    monkeypatch.setattr("click.confirm", lambda *_, **__: False)
    assert run(["publish", str(source), str(www), "--delete"]) == 0
    told = capsys.readouterr().err
    assert "1 objects" in told
    assert "nothing is removed" in told
    assert files(www) == before
    monkeypatch.setattr("click.confirm", lambda *_, **__: True)
    assert run(["publish", str(source), str(www), "--delete"]) == 0
    assert "removed: 1 objects" in capsys.readouterr().err
    assert voxel(www) == 8
    assert run(["publish", "--rollback", str(www)]) == 2
    assert "no former generation" in capsys.readouterr().err


def test_nobody_to_ask(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    www = tmp_path / "www"
    assert run(["publish", str(source), str(www), "--delete"]) == 2
    assert "hint: give --yes too" in capsys.readouterr().err
    assert not www.exists()
    assert run(["publish", str(source), str(www), "--delete", "--yes", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert voxel(www) == 7


def test_json(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    www = str(tmp_path / "www")

    def ask(*arguments: str) -> Any:
        assert run(["publish", *arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    plan, done = ask(str(source), www, "--dry-run"), ask(str(source), www)
    assert plan["result"]["dry_run"] is True
    assert plan["result"]["datasets"] == done["result"]["datasets"]
    assert done["result"]["datasets"][0]["sent_objects"] == 1
    make(source, 8)
    again = ask(str(source), www, "--delete", "--yes")
    assert [finding["code"] for finding in again["findings"]] == ["PU103"]
    assert [one["objects"] for one in again["result"]["removed"]] == [1]
    make(source, 9)
    ask(str(source), www)
    assert len(ask("--rollback", www)["result"]["datasets"]) == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["SOURCE"], "a source and a destination are needed, got 1"),
        (["SOURCE", "WWW", "x"], "a source and a destination are needed, got 3"),
        (["SOURCE", "WWW", "--rollback"], "--rollback takes the destination alone"),
        (["WWW", "--rollback", "--delete"], "--delete does not go with --rollback"),
        (["SOURCE", "WWW", "--yes"], "--yes answers what --delete and --public ask"),
        (["SOURCE", "WWW", "--threads", "0"], "--threads"),
        (["SOURCE", "SOURCE/inside"], "in one another"),
    ],
)
def test_what_does_not_fit(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    named = [one.replace("SOURCE", str(source)).replace("WWW", str(tmp_path / "www")) for one in arguments]
    assert run(["publish", *named]) == 2
    assert text in capsys.readouterr().err
    assert not (tmp_path / "www").exists()


def test_what_cannot_be_done(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["publish", str(tmp_path / "nothing"), str(tmp_path / "www")]) == 3
    assert "is not a directory" in capsys.readouterr().err
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "index.html").write_text("mine")
    assert run(["publish", str(source), str(tmp_path / "www")]) == 3
    told = capsys.readouterr().err
    assert "error:" in told
    assert "index.html" in told
    assert "--overwrite" in told
    assert run(["publish", str(source), str(tmp_path / "www"), "--overwrite"]) == 0
    assert "left alone: index.html" in capsys.readouterr().err
    assert (tmp_path / "www" / "index.html").read_text() == "mine"
