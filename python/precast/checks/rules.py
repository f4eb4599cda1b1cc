"""What a rule is: a function with a stable code that looks at one thing and tells what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from precast.findings import Finding, Severity

__all__ = ["Fault", "Rule", "RuleTable", "catalogue"]

S = TypeVar("S")
Fault = tuple[str, str]
"""Where, and what is the case."""

_CATALOGUE: dict[str, Rule[Any]] = {}


@dataclass(frozen=True, slots=True)
class Rule(Generic[S]):
    """One rule about things of one kind.

    Attributes
    ----------
    code
        Stable identifier, ``PC`` and three digits; a code is never used again for another rule.
    title
        What has to hold.
    severity
        How much it matters if it does not.
    hint
        What to do about it.
    check
        Yields every fault.
    """

    code: str
    title: str
    severity: Severity
    hint: str
    check: Callable[[S], Iterable[Fault]]

    def run(self, subject: S) -> Iterator[Finding]:
        """Yield the faults of ``subject`` as findings."""
        for where, message in self.check(subject):
            yield Finding(code=self.code, severity=self.severity, where=where, message=message, hint=self.hint)


class RuleTable(Generic[S]):
    """The rules about things of one kind, in the order of their codes."""

    def __init__(self) -> None:
        self.rules: list[Rule[S]] = []

    def add(
        self, code: str, title: str, *, severity: Severity = Severity.ERROR, hint: str = ""
    ) -> Callable[[Callable[[S], Iterable[Fault]]], Callable[[S], Iterable[Fault]]]:
        """Return a decorator that makes a function a rule of this table.

        Raises
        ------
        ValueError
            If the code is taken.
        """

        def decorate(check: Callable[[S], Iterable[Fault]]) -> Callable[[S], Iterable[Fault]]:
            if code in _CATALOGUE:
                raise ValueError(f"two rules have the code {code}")
            rule = Rule(code, title, severity, hint, check)
            _CATALOGUE[code] = rule
            self.rules.append(rule)
            return check

        return decorate

    def run(self, subject: S) -> list[Finding]:
        """Return the findings of all rules about ``subject``."""
        return [finding for rule in self.rules for finding in rule.run(subject)]


def catalogue() -> list[Rule[Any]]:
    """Return every rule of the modules that are loaded, by code."""
    return [_CATALOGUE[code] for code in sorted(_CATALOGUE)]
