"""``precast rm``."""

from __future__ import annotations

import sys
from typing import Any

import click

from precast.cli.fields import output_options, store_options, take_store_options
from precast.cli.progress import progress_for
from precast.cli.render import bytes_text, document, table
from precast.errors import UsageError
from precast.storage import open_store
from precast.workflows.removing import RemovalSummary, plan_remove, remove

__all__ = ["command"]


@click.command("rm")
@click.argument("place", type=click.Path())
@click.option("--all", "everything", is_flag=True, help="Remove what lies there without belonging, too.")
@click.option("--dry-run", is_flag=True, help="Tell what would be removed, and remove nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@store_options
@output_options
def command(
    place: str, *, everything: bool, dry_run: bool, yes: bool, as_json: bool, quiet: bool, **values: Any
) -> int:
    """Remove PLACE, a dataset or a collection, in a directory or a bucket: what belongs to it and nothing else.

    What is to go is shown, and asked about. The info goes first, so that no reader sees a part of a dataset; after an
    interruption the same command goes on.
    """
    store = open_store(place, take_store_options(values))
    planned = plan_remove(store, everything=everything)
    if dry_run:
        click.echo(document("rm", planned) if as_json else text(planned))
        return 0
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise UsageError("rm asks before it removes anything, and nobody can answer", hint="give --yes too")
        click.echo(text(planned), err=True)
        if not click.confirm("Remove it? There is no way back.", err=True):
            click.echo("nothing is removed", err=True)
            return 0
    with progress_for(quiet=quiet or as_json) as progress:
        done = remove(store, everything=everything, progress=progress)
    if as_json:
        click.echo(document("rm", done))
    elif not quiet:
        click.echo(f"{done.place}: {done.objects} objects removed, {bytes_text(done.bytes)}", err=True)
        for one in done.datasets:
            if one.others and not everything:
                click.echo(f"  left in {one.name or 'it'}: {_others(one.others, one.examples)}", err=True)
    return 0


def text(planned: RemovalSummary) -> str:
    """Return what would be removed, on one screen."""
    rows = [[one.name or ".", str(one.objects), bytes_text(one.bytes), str(one.others)] for one in planned.datasets]
    note = "   (dry run: nothing is removed)" if planned.dry_run else ""
    lines = [f"{planned.place}{note}", table(["dataset", "objects", "bytes", "other objects"], rows, left=1)]
    for one in planned.datasets:
        if one.others:
            fate = "go too" if planned.everything else "do not belong to it, and stay"
            lines.append(f"  {one.name or '.'}: {_others(one.others, one.examples)} {fate}")
    lines.append(f"  {planned.objects} objects, {bytes_text(planned.bytes)}")
    return "\n".join(lines)


def _others(count: int, examples: tuple[str, ...]) -> str:
    return f"{count} objects ({', '.join(examples)}{' …' if count > len(examples) else ''})"
