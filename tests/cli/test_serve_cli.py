"""``precast serve`` as a process: what it prints, when, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from precast.cli.main import run
from processes import running
from raw_http import Connection, ask


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "labels"
    root.mkdir()
    (root / "info").write_bytes(b"{}")
    return root


def serving(*arguments: object) -> AbstractContextManager[subprocess.Popen[str]]:
    return running("serve", *arguments)


def first_line(process: subprocess.Popen[str]) -> tuple[str, int]:
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    return url, int(url.split(":")[2].split("/")[0])


def last_line(process: subprocess.Popen[str]) -> str:
    """Return what is told once everything is up, line by line to the last."""
    assert process.stderr is not None
    told = ""
    while not told.endswith("Ctrl-C ends it.\n"):
        line = process.stderr.readline()
        assert line
        told += line
    return told


@pytest.mark.parametrize(("ending", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_the_first_line_is_the_address_and_it_ends_cleanly(dataset: Path, ending: int, code: int) -> None:
    with serving(dataset, "--port", 0) as process:
        url, port = first_line(process)
        assert url == f"http://127.0.0.1:{port}/"
        assert ask(port, "GET", "/labels/info").body == b"{}"
        told = last_line(process)
        assert told == f"  {url}labels|neuroglancer-precomputed:\nCtrl-C ends it.\n"
        with Connection(port) as connection:  # an open connection does not hold it up
            assert connection.ask("GET", "/labels/info").status == 200
            process.send_signal(ending)
            assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == code


def test_requests_are_told_only_if_wanted(dataset: Path) -> None:
    with serving(dataset, "--port", 0, "--verbose", "--quiet", "--private") as process:
        url, port = first_line(process)
        path = url.partition(str(port))[2]
        assert len(path) > 20
        ask(port, "GET", f"{path}labels/info", {"Range": "bytes=0-0"})
        ask(port, "GET", "/labels/info")
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    lines = told.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f'GET {path}labels/info "bytes=0-0" -> 206 1 ')
    assert lines[1].startswith("GET /labels/info -> 404 ")


def test_what_is_not_complete_is_told(dataset: Path) -> None:
    (dataset / "info").unlink()
    with serving(dataset, "--port", 0, "--host", "0.0.0.0") as process:
        first_line(process)
        told = last_line(process)
    assert "warning: there is no info file" in told
    assert "Other machines reach it at http://" in told


def test_a_port_in_use_is_an_error_with_a_hint(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(dataset, "--port", 0) as process:
        _, port = first_line(process)
        assert run(["serve", str(dataset), "--port", str(port)]) == 3
        out, told = capsys.readouterr()
    assert out == ""
    assert f"error: port {port} of 127.0.0.1 is in use" in told
    assert "--port 0" in told


@pytest.mark.parametrize(
    ("arguments", "code"), [([], 2), (["absent"], 3), (["x", "--port", "65536"], 2), (["x", "--allow-host", "*"], 2)]
)
def test_usage(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", *arguments]) == code
    assert "error: " in capsys.readouterr().err


def test_the_browser_is_opened_only_if_wanted(dataset: Path, tmp_path: Path) -> None:
    note = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {note}\n')
    browser.chmod(0o755)
    os.environ["BROWSER"] = str(browser)
    try:
        for wanted in ("--no-browser", "--browser"):
            with serving(dataset, "--port", 0, wanted) as process:
                url, _ = first_line(process)
                deadline = time.monotonic() + 60
                while wanted == "--browser" and not note.exists() and time.monotonic() < deadline:
                    time.sleep(0.01)
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=60)
            assert note.exists() is (wanted == "--browser")
        assert note.read_text().strip() == url
    finally:
        del os.environ["BROWSER"]
