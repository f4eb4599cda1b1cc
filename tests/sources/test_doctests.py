"""The examples in the docstrings run."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["opening", "guess", "voxel_sizes"])
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"precast.sources.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
