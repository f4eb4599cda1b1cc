"""Progress on stderr: a bar with rate and time left on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

import click

from precast.execution.progress import NoProgress

__all__ = ["TerminalProgress", "progress_for"]


class TerminalProgress:
    """Draws with rich. Use as a context manager."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import (
            Progress as Bars,
        )

        self._bars = Bars(
            TextColumn("{task.description:<20}"),
            BarColumn(bar_width=32),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: Any = None

    def __enter__(self) -> TerminalProgress:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._bars.stop()

    def phase(self, text: str, total_bytes: int) -> None:
        """Begin a new bar in place of the last."""
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(text, total=total_bytes or None)

    def advance(self, done_bytes: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._bars.advance(self._task, done_bytes)

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._bars.console.print(text, markup=False, highlight=False)


class _Notes(NoProgress):
    """No bar, but notes: for logs."""

    def note(self, text: str) -> None:
        """Print a line."""
        click.echo(text, err=True)

    def __enter__(self) -> _Notes:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Silent(_Notes):
    """Nothing at all."""

    def note(self, text: str) -> None:
        """Ignore."""


def progress_for(*, quiet: bool) -> Any:
    """Return a context manager that yields a :class:`Progress` fit for this stderr."""
    if quiet:
        return _Silent()
    return TerminalProgress() if sys.stderr.isatty() else _Notes()
