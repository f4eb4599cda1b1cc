"""The rules as a whole: documented, tested, and with texts that a person can use."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

import precast.checks  # loads all rules
from precast.checks import catalogue
from precast.findings import NOTICES, notice

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


def test_the_documentation_lists_all_that_verbs_notice_by_the_way() -> None:
    lines = ["| code | severity | what is the case |", "|---|---|---|"]
    lines += [f"| {code} | {severity.value} | {title} |" for code, (severity, title) in sorted(NOTICES.items())]
    found = re.search(r"<!-- notices:begin -->\n(.*)\n<!-- notices:end -->", DOCUMENT.read_text(), re.S)
    assert found is not None
    assert found.group(1) == "\n".join(lines)


def test_every_code_of_a_notice_is_used_and_no_other() -> None:
    used: set[str] = set()
    for file in (ROOT / "python" / "precast").rglob("*.py"):
        if file.name != "findings.py":
            text = file.read_text()
            used |= set(re.findall(r'\bnotice\(\s*"(P\w+)"', text))
            # whatever makes a finding without them has a rule, or is one of its own
            assert file.parent.name == "checks" or not re.search(r"(?<!\w)Finding\(", text), file
    assert used == set(NOTICES)
    assert used.isdisjoint(rule.code for rule in catalogue())
    for code, (_, title) in NOTICES.items():
        assert re.fullmatch(r"P[A-BD-Z]\d{3}", code)
        assert title[-1] not in ".!"
        assert "|" not in title
    with pytest.raises(KeyError):
        notice("PC100", "", "this is the code of a rule")


@pytest.mark.parametrize("name", ["checks.dataset", "checks.difference", "checks.hosting_walk", "precomputed.paths"])
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"precast.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
