"""Faults that may be many: all are counted, the first are kept."""

from __future__ import annotations

from collections.abc import Iterator

from precast.checks.rules import Fault

__all__ = ["Tally"]

KEPT = 100


class Tally:
    """Faults of one kind in one thing.

    Attributes
    ----------
    count
        How many there are.
    """

    def __init__(self) -> None:
        self.count = 0
        self._kept: list[Fault] = []

    def __bool__(self) -> bool:
        return self.count > 0

    def add(self, where: str, message: str, count: int = 1) -> None:
        """Count faults, and keep the text if there is room."""
        self.count += count
        if len(self._kept) < KEPT:
            self._kept.append((where, message))

    @property
    def first(self) -> Fault:
        """The first of them; there must be one."""
        return self._kept[0]

    def join(self, other: Tally) -> None:
        """Add the faults of another tally."""
        self.count += other.count
        self._kept += other._kept[: max(0, KEPT - len(self._kept))]

    def faults(self, where: str) -> Iterator[Fault]:
        """Yield what was kept; if there were more, one line says so, about ``where``."""
        yield from self._kept
        if self.count > len(self._kept) >= KEPT:
            yield where, f"and {self.count - len(self._kept)} more"
