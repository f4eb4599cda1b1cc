"""``precast snapshot``: what it refuses, and what it says; pictures themselves are looked at in ``tests/browser``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import precast
from precast.cli.main import run
from precast.errors import UsageError


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    folder = tmp_path / "labels"
    options = precast.ConvertOptions(resolution=8, kind="segmentation")
    precast.convert(np.full((8, 8, 8), 5, np.uint32), folder, options)
    return folder


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_without_a_chromium_it_says_how_to_get_one(labels: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "precast.cli.main", "snapshot", str(labels), "-o", str(tmp_path / "x.png")],
        env={"PATH": str(tmp_path / "empty"), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "error: pictures are drawn by Chromium, which is not here\nhint: apt-get install chromium" in done.stderr
    assert "--browser PATH" in done.stderr
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("exit 5", "ended"),
        ("echo 'some ERROR: no sandbox' >&2; exit 1", "ended: some ERROR: no sandbox\nhint: its sandbox"),
        ("exec sleep 100", "the picture is not ready after 1 s"),
        ("echo nonsense >&4; printf '\\0' >&4; exec sleep 100", "ended"),
        ("exec cat <&3 >&4", "refused Target.createTarget"),
    ],
)
def test_a_program_that_is_no_chromium(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    output = tmp_path / "x.png"
    browser = program(tmp_path / "browser", text)
    arguments = ["snapshot", str(labels), "-o", str(output), "--browser", browser, "--timeout", "1"]
    assert run(arguments) == 3
    assert told in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["browser", "labels"]


@pytest.mark.parametrize(("ending", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_nothing_is_left_when_it_is_ended(labels: Path, tmp_path: Path, ending: int, code: int) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    browser = program(
        tmp_path / "browser", f"echo $$ > {tmp_path}/part; mv {tmp_path}/part {tmp_path}/started; exec sleep 1000"
    )
    arguments = ["snapshot", str(labels), "-o", str(tmp_path / "x.png"), "--browser", browser]
    process = subprocess.Popen(
        [sys.executable, "-m", "precast.cli.main", *arguments],
        env={**os.environ, "TMPDIR": str(temporary)},
        stderr=subprocess.DEVNULL,
    )
    while not (tmp_path / "started").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(ending)
    assert process.wait(60) == code
    assert list(temporary.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "started").read_text()), 0)


def test_what_cannot_be_written_is_told_before_anything_is_drawn(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "there.png"
    there.write_bytes(b"mine")
    browser = program(tmp_path / "browser", f"touch {tmp_path}/started")
    for output, code, told in ((there, 3, "--overwrite"), (tmp_path / "x.jpg", 2, "end")):
        assert run(["snapshot", str(labels), "-o", str(output), "--browser", browser]) == code
        assert told in capsys.readouterr().err
    assert there.read_bytes() == b"mine"
    assert not (tmp_path / "started").exists()
    assert run(["snapshot", str(labels), "-o", "x.png", "--browser", str(tmp_path / "absent")]) == 2
    assert "is not a program" in capsys.readouterr().err
    assert run(["snapshot", str(tmp_path / "absent"), "-o", "x.png", "--browser", browser, "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert (document["verb"], document["ok"]) == ("snapshot", False)


@pytest.mark.parametrize("size", ["", "10x10", "1600", "1600x", "axb", "9000x100", "100x100x100", (100,), (1.5, 100)])
def test_sizes_that_are_none(size: str | tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="--size must be width and height from 64 to 8192"):
        precast.SnapshotOptions(size=size)


@pytest.mark.parametrize("timeout", ["", "0", "-1", "nan", "inf", "soon"])
def test_times_that_are_none(timeout: str) -> None:
    with pytest.raises(UsageError, match="--timeout"):
        precast.SnapshotOptions(timeout=timeout)


def test_sizes_and_times() -> None:
    options = precast.SnapshotOptions(size="1600x1000", timeout="2.5")
    assert (options.pixels(), options.seconds()) == ((1600, 1000), 2.5)
    assert precast.SnapshotOptions(size=(64, 8192)).pixels() == (64, 8192)
