"""``precast hosting`` as a command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import precast
from precast.cli.main import run


def test_configurations_are_printed_for_pasting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    precast.convert(np.zeros((8, 8, 8), np.uint8), tmp_path / "em", precast.ConvertOptions(resolution=8))
    for server, options, begins in (
        ("nginx", ["--url", "https://data.example.org"], "# nginx serves"),
        ("apache", ["--root", "/data"], "# Apache serves"),
        ("caddy", [], "# Caddy serves"),
        ("s3", ["--bucket", "lab/x"], "#!/usr/bin/env bash"),
        ("gcs", ["--bucket", "lab/x"], "#!/usr/bin/env bash"),
    ):
        assert run(["hosting", server, str(tmp_path / "em"), *options]) == 0
        text = capsys.readouterr().out
        assert text.startswith(begins)
        assert text.endswith("\n")
        assert run(["hosting", server, str(tmp_path / "em"), *options, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["result"]["text"] == text
        assert document["result"]["server"] == server


def test_errors_of_hosting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["hosting", "nginx", str(tmp_path)]) == 3
    assert "there is no dataset" in capsys.readouterr().err
    assert run(["hosting", "iis", str(tmp_path)]) == 2
    assert run(["hosting", "s3", str(tmp_path)]) == 2
    assert "needs the name of a bucket" in capsys.readouterr().err
