"""Progress as events: the library reports, the command line draws."""

from __future__ import annotations

from typing import Protocol

__all__ = ["NoProgress", "Progress"]


class Progress(Protocol):
    """Receives what happens. Methods are called from the thread that runs the pipeline."""

    def phase(self, text: str, total_bytes: int) -> None:
        """Begin a phase of ``total_bytes`` (raw voxels or stored bytes, whatever the phase moves)."""

    def advance(self, done_bytes: int) -> None:
        """Add to the phase."""

    def note(self, text: str) -> None:
        """Tell something once, for example what was resumed."""


class NoProgress:
    """Says nothing."""

    def phase(self, text: str, total_bytes: int) -> None:
        """Ignore."""

    def advance(self, done_bytes: int) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""
