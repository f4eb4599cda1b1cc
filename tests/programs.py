"""Programs that tests start, and what becomes of the tests where one is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest


def need_program(name: str, places: Sequence[str | Path], *, how: str, required: str) -> str:
    """Return the path of a program, from the search path or one of these directories; else skip the test.

    Where the environment has ``required``, as in CI, the test fails instead. ``how`` says how to get the program.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, places)])
    return shutil.which(name, path=path) or missing(f"needs {name}: {how}", required)


def missing(reason: str, required: str) -> NoReturn:
    """Skip a test, or fail it where the environment says that what it needs has to be there."""
    if os.environ.get(required):
        pytest.fail(f"{required} is set: {reason}", pytrace=False)
    pytest.skip(reason)
