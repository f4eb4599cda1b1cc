"""Findings on a terminal: those of one code together, the first few places, what to do."""

from __future__ import annotations

from collections.abc import Sequence

import click

from precast.findings import Finding, Severity

__all__ = ["grouped_text", "summary_text"]

SHOWN = 3
COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "blue"}
ORDER = (Severity.ERROR, Severity.WARNING, Severity.INFO)


def grouped_text(findings: Sequence[Finding], *, shown: int = SHOWN) -> str:
    """Return findings grouped by severity and code, errors first; of many with one code only the first are shown."""
    groups: dict[tuple[int, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((ORDER.index(finding.severity), finding.code), []).append(finding)
    lines = []
    for (rank, code), members in sorted(groups.items()):
        severity = ORDER[rank]
        count = f" ({len(members)})" if len(members) > 1 else ""
        title = click.style(f"{severity} {code}", fg=COLOURS[severity], bold=True)
        lines.append(f"{title}{count}  {_line(members[0])}")
        indent = " " * len(f"{severity} {code}  ")
        lines += [f"{indent}{_line(member)}" for member in members[1:shown]]
        if len(members) > shown:
            lines.append(f"{indent}… and {len(members) - shown} more; --json lists all")
        hints = dict.fromkeys(member.hint for member in members if member.hint)
        for hint in hints:
            first, *rest = hint.splitlines()
            lines.append(f"{indent}{click.style('hint:', fg='cyan')} {first}")
            lines += [f"{indent}      {line}" for line in rest]
    return "\n".join(lines)


def _line(finding: Finding) -> str:
    return f"{finding.where}: {finding.message}" if finding.where else finding.message


def summary_text(findings: Sequence[Finding]) -> str:
    """Return how many findings there are of each severity, in words."""
    words = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "remark"}
    counts = [(sum(finding.severity == severity for finding in findings), words[severity]) for severity in ORDER]
    parts = [f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts if count]
    return ", ".join(parts) if parts else "nothing is wrong"
