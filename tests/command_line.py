"""The command line, run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import precast
from precast.cli import main

__all__ = ["Done", "Run", "run", "small_labels"]


@dataclass(frozen=True)
class Done:
    """How it ended: the exit code, and what was printed."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> Any:
        """What ``--json`` printed as the result."""
        return json.loads(self.out)["result"]


Run = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the command line with some arguments."""

    def one(*arguments: object) -> Done:
        capsys.readouterr()
        code = main.run([str(argument) for argument in arguments])
        return Done(code, *capsys.readouterr())

    return one


def small_labels(place: Path) -> Path:
    """Make a dataset of one object."""
    data = np.zeros((24, 24, 24), np.uint32)
    data[3:20, 3:20, 3:20] = 7
    precast.convert(data, place, precast.ConvertOptions(resolution=8, kind="segmentation"))
    return place
