"""The rules as a whole: documented, tested, and with texts that a person can use."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

import precast.checks  # loads all rules
from precast.checks import catalogue

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "checking.md"


def table() -> str:
    """Return the table of all rules."""
    lines = ["| code | severity | what holds |", "|---|---|---|"]
    lines += [f"| {rule.code} | {rule.severity.value} | {rule.title} |" for rule in catalogue()]
    return "\n".join(lines)


def test_the_documentation_lists_every_rule() -> None:
    found = re.search(r"<!-- codes:begin -->\n(.*)\n<!-- codes:end -->", DOCUMENT.read_text(), re.S)
    assert found is not None
    assert found.group(1) == table()


def test_every_rule_is_planted_somewhere() -> None:
    text = "".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py"))
    assert [rule.code for rule in catalogue() if f'"{rule.code}"' not in text] == []


def test_codes_and_titles() -> None:
    assert precast.checks.check is not None
    for rule in catalogue():
        assert re.fullmatch(r"PC\d{3}", rule.code)
        assert rule.title
        assert rule.title[-1] not in ".!"
        assert "|" not in rule.title


@pytest.mark.parametrize("name", ["checks.dataset", "checks.difference", "checks.hosting_walk", "precomputed.paths"])
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"precast.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
