"""``precast diff``."""

from __future__ import annotations

from typing import Any

import click

from precast.checks import DiffOptions, DiffReport, diff
from precast.cli.fields import from_dataclass, given, output_options, store_options, take_store_options
from precast.cli.findings import grouped_text
from precast.cli.progress import progress_for
from precast.cli.render import document
from precast.execution.memory import share_heaps
from precast.storage.opening import open_places

__all__ = ["command"]

EXIT_FINDINGS = 1


@click.command("diff")
@click.argument("a", type=click.Path())
@click.argument("b", type=click.Path())
@from_dataclass(DiffOptions)
@store_options
@output_options
def command(a: str, b: str, *, as_json: bool, quiet: bool, **values: Any) -> int:
    """Compare the datasets A and B: voxels of every scale, whatever their chunks and encodings, and objects of parts.

    Of directories of datasets, as build makes them, those of the same name are compared. Exit code 1 if they differ.
    """
    share_heaps()
    first, second = open_places((a, b), take_store_options(values))
    options = DiffOptions(**given(values))
    with progress_for(quiet=quiet or as_json) as progress:
        report = diff(first, second, options, progress=progress)
    if as_json:
        click.echo(document("diff", report.to_json(), report.findings, ok=report.equal))
    elif not quiet:
        click.echo(text(report))
    return 0 if report.equal else EXIT_FINDINGS


def text(report: DiffReport) -> str:
    """Return the report for a terminal."""
    lines = [f"a: {report.a}", f"b: {report.b}"]
    lines += _scales(report, "  ")
    for name, layer in report.layers.items():
        lines += [f"  {name}:", *_scales(layer, "    ")]
    lines += ["", grouped_text(report.findings) if report.findings else "no difference"]
    return "\n".join(lines)


def _scales(report: DiffReport, indent: str) -> list[str]:
    lines = []
    for scale in report.scales:
        if scale.by_digest:
            what = "digests in provenance are equal" if scale.equal else "digests in provenance differ"
        else:
            what = f"{scale.differ} of {scale.compared} voxels differ"
        lines.append(f"{indent}{scale.key}: {what}")
    return lines
