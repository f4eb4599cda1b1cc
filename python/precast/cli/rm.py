"""``precast rm``."""

from __future__ import annotations

import sys
from typing import Any

import click

from precast.cli.fields import from_dataclass, given, output_options, store_options, take_store_options
from precast.cli.progress import progress_for
from precast.cli.render import bytes_text, document, table
from precast.errors import UsageError
from precast.storage import open_store
from precast.workflows.publish import RemovalOptions, RemovalSummary, plan_rm, rm

__all__ = ["command"]


@click.command("rm")
@click.argument("place", type=click.Path())
@from_dataclass(RemovalOptions)
@store_options
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Tell what would be removed, and remove nothing.")
@output_options
def command(place: str, *, yes: bool, dry_run: bool, as_json: bool, quiet: bool, **values: Any) -> int:
    """Remove PLACE, a dataset or a collection, with all its generations; asks first.

    What makes it visible goes first, so that no reader sees half of it. Files that belong to no dataset are left alone.
    After an interruption the same command goes on.
    """
    store = open_store(place, take_store_options(values))
    options = RemovalOptions(**given(values))
    if not (yes or dry_run) and (as_json or not sys.stdin.isatty()):
        raise UsageError("rm asks before it removes anything, and nobody can answer", hint="give --yes too")
    if dry_run or not yes:
        planned = plan_rm(store, options)
        if dry_run:
            click.echo(document("rm", planned) if as_json else text(planned, "would be removed"))
            return 0
        click.echo(text(planned, "to be removed"), err=True)
        if not click.confirm("Remove that?", err=True):
            click.echo("nothing is removed", err=True)
            return 0
    with progress_for(quiet=quiet or as_json) as progress:
        done = rm(store, options, progress)
    if as_json:
        click.echo(document("rm", done))
    elif not quiet:
        click.echo(text(done, "removed"), err=True)
    return 0


def text(summary: RemovalSummary, what: str) -> str:
    """Return what was removed, or would be."""
    rows = [[one.name or ".", str(one.objects), bytes_text(one.bytes)] for one in summary.datasets]
    lines = [summary.place, table(["dataset", "objects", "bytes"], rows)]
    lines.append(f"  {what}: {summary.objects} objects, {bytes_text(summary.bytes)}")
    if summary.left_objects:
        some = f"{', '.join(summary.left)}{' ...' if summary.left_objects > len(summary.left) else ''}"
        lines.append(
            f"  left alone: {summary.left_objects} objects, {bytes_text(summary.left_bytes)}, which belong to no "
            f"dataset: {some}"
        )
    return "\n".join(lines)
