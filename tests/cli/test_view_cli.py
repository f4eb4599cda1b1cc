"""``precast view`` as a process: what it prints, when, and how it ends."""

from __future__ import annotations

import getpass
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

import precast
from precast.cli.main import run
from precast.cli.serve import until_ended
from processes import running
from raw_http import Connection, ask

ALONE = dict.fromkeys(("BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"), "")


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    folder = tmp_path / "labels"
    options = precast.ConvertOptions(resolution=8, kind="segmentation")
    precast.convert(np.full((8, 8, 8), 5, np.uint32), folder, options)
    return folder


def viewing(*arguments: object, **environment: str) -> AbstractContextManager[subprocess.Popen[str]]:
    return running("view", *arguments, **{**ALONE, **environment})


def first_line(process: subprocess.Popen[str]) -> tuple[str, int]:
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    port = urllib.parse.urlsplit(url).port
    assert port is not None
    return url, port


def told_until_the_last(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    told = ""
    while not told.endswith("Ctrl-C ends it.\n"):
        line = process.stderr.readline()
        assert line
        told += line
    return told


@pytest.mark.parametrize(("ending", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_the_first_line_is_the_address_and_it_ends_cleanly(labels: Path, ending: int, code: int) -> None:
    with viewing(labels, "--port", 0, "--segments", "5") as process:
        url, port = first_line(process)
        page, _, fragment = url.partition("#!")
        assert page == f"http://127.0.0.1:{port}/v/view/"
        state = json.loads(urllib.parse.unquote(fragment))
        assert state["layers"][0]["source"] == f"http://127.0.0.1:{port}/labels/|neuroglancer-precomputed:"
        assert state["layers"][0]["segments"] == ["5"]
        assert ask(port, "GET", "/v/view/").status == 200
        assert ask(port, "GET", "/labels/info").status == 200
        told_until_the_last(process)
        with Connection(port) as connection:  # a page that listens does not hold it up
            connection.send("GET", "/events/view?c=1&gc=")
            while b":\n\n" not in connection.socket.recv(1 << 16):
                pass
            process.send_signal(ending)
            assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == code


def test_the_address_is_a_link_to_it(labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So that one can be printed before it runs."""
    with viewing(labels.parent, "--port", 0) as process:
        url, port = first_line(process)
    base = f"http://127.0.0.1:{port}"
    assert run(["link", str(labels.parent), "--quiet", "--base-url", base, "--viewer", f"{base}/v/view/"]) == 0
    assert capsys.readouterr().out == f"{url}\n"


def test_quiet_prints_the_address_alone(labels: Path) -> None:
    with viewing(labels, "--port", 0, "--quiet", "--private", SSH_CONNECTION="192.0.2.1 5000 192.0.2.2 22") as process:
        url, _ = first_line(process)
        assert len(urllib.parse.urlsplit(url).path) > 25
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=60) == ("", "")


@pytest.mark.parametrize(
    ("connection", "command"), [("192.0.2.2 22", "ssh -N -L"), ("2001:db8::2 2222", "ssh -p 2222 -N -L")]
)
def test_over_ssh_no_browser_is_opened_and_the_way_is_told(
    labels: Path, tmp_path: Path, connection: str, command: str
) -> None:
    browser, note = some_browser(tmp_path)
    came = f"192.0.2.1 5000 {connection}"
    with viewing(labels, "--port", 0, BROWSER=str(browser), DISPLAY=":0", SSH_CONNECTION=came) as process:
        _, port = first_line(process)
        told = told_until_the_last(process)
    host = connection.split(maxsplit=1)[0]
    assert f"\n  {command} {port}:127.0.0.1:{port} {getpass.getuser()}@{host}\n" in told
    assert not note.exists()


def some_browser(folder: Path) -> tuple[Path, Path]:
    note, browser = folder / "opened", folder / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {note}.part\nmv {note}.part {note}\n')
    browser.chmod(0o755)
    return browser, note


def test_the_browser_is_opened_at_the_address_that_is_printed(labels: Path, tmp_path: Path) -> None:
    browser, note = some_browser(tmp_path)
    with viewing(labels, "--port", 0, "--no-browser", BROWSER=str(browser)) as process:
        first_line(process)
        assert told_until_the_last(process) == "Ctrl-C ends it.\n"
        assert not note.exists()
    with viewing(labels, "--port", 0, BROWSER=str(browser)) as process:
        url, _ = first_line(process)
        deadline = time.monotonic() + 60
        while not note.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert note.read_text() == url


def test_without_windows_no_browser_takes_the_terminal(labels: Path, tmp_path: Path) -> None:
    some_browser(tmp_path)
    (tmp_path / "browser").rename(tmp_path / "www-browser")  # what is opened in terminals
    with viewing(labels, "--port", 0, PATH=f"{tmp_path}:{os.environ['PATH']}") as process:
        first_line(process)
        assert "No browser could be started here" in told_until_the_last(process)
    assert not (tmp_path / "opened").exists()


def test_other_machines_are_told_of(labels: Path) -> None:
    with viewing(labels, "--port", 0, "--host", "0.0.0.0") as process:
        url, port = first_line(process)
        told = told_until_the_last(process)
    assert url.startswith("http://127.0.0.1:")
    (line,) = [line for line in told.splitlines() if line.startswith("From other machines, which can read all of it: ")]
    there = line.partition(": ")[2]
    assert there.count(f":{port}/") == url.count(f":{port}/") == 2
    assert there.partition("/v/view/#!")[1]


def test_errors_say_what_to_do(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments, code in (
        (["view"], 2),
        (["view", str(labels), "--zoom", "0"], 2),
        (["view", str(labels), "--layout", "round"], 2),
        (["view", str(tmp_path / "absent")], 3),
    ):
        assert run(arguments) == code
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "neuroglancer" else find(name))
    assert run(["view", str(labels), "--port", "0"]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "package neuroglancer, which is not installed\nhint: pip install 'precast[view]'\n" in err


class Server:
    """What works until it is closed."""

    def __init__(self) -> None:
        self.closed = False

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True


@pytest.mark.parametrize(("ending", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_that_comes_at_a_bad_moment_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, ending: int, code: int
) -> None:
    """Exceptions are dropped in finalizers, and whatever else runs while something else is in progress."""
    dropped: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: dropped.append(told.exc_type))

    class Finalized:
        def __del__(self) -> None:
            os.kill(os.getpid(), ending)

    def announce(_: Server) -> None:
        Finalized()

    server, before = Server(), [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert until_ended(lambda: server, announce) == code
    assert (len(dropped), server.closed) == (1, True)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_job_in_the_background_of_a_shell_ignores_what_is_for_that_in_front() -> None:
    heard: list[int] = []

    def announce(_: Server) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            heard.append(number)
            os.kill(os.getpid(), number)

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert until_ended(Server, announce) == 0
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [signal.SIGINT, signal.SIGTERM]
