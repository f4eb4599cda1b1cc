"""Numbers, tables, errors and JSON documents as they are shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from decimal import Decimal
from typing import Any

import click

from precast import __version__
from precast.errors import PrecastError
from precast.findings import Finding

__all__ = ["bytes_text", "document", "print_error", "print_findings", "seconds_text", "table", "to_json"]


def bytes_text(count: float) -> str:
    """Return a size with a unit: 1.5 GiB."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} PiB"


def seconds_text(seconds: float) -> str:
    """Return a duration: 0.84 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1, indent: str = "  ") -> str:
    """Return a plain table; the first ``left`` columns are left-aligned, the others right-aligned."""
    lines = [list(header), *[list(row) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    out = []
    for line in lines:
        cells = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        out.append((indent + "  ".join(cells)).rstrip())
    return "\n".join(out)


def to_json(value: Any) -> Any:
    """Turn dataclasses, tuples and decimals into JSON values; anything else must be JSON already."""
    if isinstance(value, Finding):
        return value.to_json()
    if is_dataclass(value) and not isinstance(value, type):
        return {spec.name: to_json(getattr(value, spec.name)) for spec in fields(value)}
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value


def document(
    verb: str,
    result: Any,
    findings: Sequence[Finding] = (),
    errors: Sequence[PrecastError] = (),
    *,
    ok: bool | None = None,
) -> str:
    """Return the one JSON document of ``--json``; all is well, unless ``ok`` says otherwise, if there are no errors."""
    value = {
        "schema": 1,
        "precast": __version__,
        "verb": verb,
        "ok": not errors if ok is None else ok,
        "result": to_json(result),
        "findings": [finding.to_json() for finding in findings],
        "errors": [error.to_json() for error in errors],
    }
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)


def print_error(error: PrecastError) -> None:
    """Print ``error:`` and ``hint:`` on stderr."""
    click.secho("error: ", fg="red", bold=True, nl=False, err=True)
    click.echo(error.message, err=True)
    if error.hint:
        click.secho("hint: ", fg="cyan", bold=True, nl=False, err=True)
        click.echo(error.hint, err=True)


def print_findings(findings: Sequence[Finding]) -> None:
    """Print findings on stderr, a line each."""
    for finding in findings:
        where = f" ({finding.where})" if finding.where else ""
        click.echo(f"{finding.severity}: {finding.message}{where}", err=True)
        if finding.hint:
            click.echo(f"hint: {finding.hint}", err=True)
    sys.stderr.flush()
