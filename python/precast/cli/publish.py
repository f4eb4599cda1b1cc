"""``precast publish``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from precast.cli.fields import OF_SOURCE, from_dataclass, given, open_source, output_options, source_options
from precast.cli.progress import progress_for
from precast.cli.render import bytes_text, document, print_findings, seconds_text, table, to_json
from precast.errors import UsageError
from precast.execution.memory import share_heaps
from precast.workflows.publish import (
    PublishOptions,
    PublishSummary,
    Removal,
    RollbackSummary,
    plan_publication,
    plan_removal,
    publish,
    remove_former_generations,
    roll_back,
)

__all__ = ["command"]


@click.command("publish")
@click.argument("places", nargs=-1, required=True, type=click.Path(), metavar="SOURCE DESTINATION")
@from_dataclass(PublishOptions)
@click.option("--delete", is_flag=True, help="Remove former generations at the destination afterwards; asks first.")
@click.option("--rollback", is_flag=True, help="Switch DESTINATION, given alone, back to what readers saw before.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and write nothing.")
@source_options
@output_options
def command(places: tuple[str, ...], *, as_json: bool, quiet: bool, **values: Any) -> int:
    """Bring SOURCE, a dataset or a collection, to DESTINATION, where readers see the old one or the new one, whole.

    What is there already is not sent again; after an interruption the same command goes on. A dataset that is changed
    gets a new generation beside the old one, and its info is switched when all is there and verified. --rollback
    switches back, until --delete has removed the old generation.
    """
    share_heaps()
    flags = {name: bool(values.pop(name)) for name in ("delete", "rollback", "yes", "dry_run")}
    _check(places, flags)
    if flags["rollback"] and given({name: values[name] for name in values if name.startswith(OF_SOURCE)}):
        raise UsageError("--rollback has no source, which --from-… is about", hint="leave it out")
    source, destination = open_source(places[0], values), places[-1]
    options = PublishOptions(**given(values))
    if flags["rollback"]:
        return _roll_back(destination, options, as_json=as_json, quiet=quiet)
    if flags["delete"] and not (flags["yes"] or flags["dry_run"]) and (as_json or not sys.stdin.isatty()):
        raise UsageError("--delete asks before it removes anything, and nobody can answer", hint="give --yes too")
    work = plan_publication if flags["dry_run"] else publish
    with progress_for(quiet=quiet or as_json) as progress:
        summary = work(source, destination, options, progress)
    if not (as_json or quiet):
        click.echo(text(summary), err=not summary.dry_run)
        print_findings(summary.findings)
    removed: Sequence[Removal] = ()
    if flags["delete"] and not flags["dry_run"]:
        removed = _remove(destination, options, yes=flags["yes"], quiet=quiet or as_json)
    if as_json:
        result = to_json(summary) | {"removed": to_json(tuple(removed))}
        del result["findings"]
        click.echo(document("publish", result, summary.findings))
    return 0


def _check(places: tuple[str, ...], flags: dict[str, bool]) -> None:
    if flags["rollback"]:
        if len(places) != 1:
            raise UsageError(
                f"--rollback takes the destination alone, got {len(places)} places",
                hint="precast publish --rollback DESTINATION",
            )
        for name in ("delete", "dry_run", "yes"):
            if flags[name]:
                raise UsageError(
                    f"--{name.replace('_', '-')} does not go with --rollback", hint="leave one of them out"
                )
    elif len(places) != 2:
        raise UsageError(
            f"a source and a destination are needed, got {len(places)} places",
            hint="precast publish SOURCE DESTINATION",
        )
    elif flags["yes"] and not flags["delete"]:
        raise UsageError("--yes answers what --delete asks, which is not given", hint="leave it out, or give --delete")


def _roll_back(destination: str, options: PublishOptions, *, as_json: bool, quiet: bool) -> int:
    with progress_for(quiet=quiet or as_json) as progress:
        done = roll_back(destination, options, progress)
    if as_json:
        click.echo(document("publish", done))
    elif not quiet:
        click.echo(rollback_text(done), err=True)
    return 0


def _remove(destination: str, options: PublishOptions, *, yes: bool, quiet: bool) -> Sequence[Removal]:
    planned = plan_removal(destination)
    if not planned:
        return ()
    if not yes:
        click.echo(removal_text(planned), err=True)
        if not click.confirm("Remove them?", err=True):
            click.echo("nothing is removed", err=True)
            return ()
    with progress_for(quiet=quiet) as progress:
        removed = remove_former_generations(destination, options, progress)
    if not quiet:
        objects, size = sum(one.objects for one in removed), sum(one.bytes for one in removed)
        click.echo(f"  removed: {objects} objects, {bytes_text(size)}", err=True)
    return removed


def text(summary: PublishSummary) -> str:
    """Return what was done, or would be, on one screen."""
    note = "   (dry run: nothing is written)" if summary.dry_run else ""
    lines = [f"{summary.source} -> {summary.destination}{note}"]
    header = ["dataset", "is", "generation", "objects", "bytes", "new", "changed", "same", "gone", "to send", "bytes"]
    if not summary.dry_run:
        header[9] = "sent"
    rows = [
        [
            one.name or ".",
            one.state,
            one.generation,
            str(one.objects),
            bytes_text(one.bytes),
            str(one.new),
            str(one.changed),
            str(one.unchanged),
            str(one.removed),
            str(one.sent_objects),
            bytes_text(one.sent_bytes),
        ]
        for one in summary.datasets
    ]
    lines.append(table(header, rows, left=3))
    if summary.dry_run:
        kinds = [
            [one.content_type, one.content_encoding or "-", one.cache_control, str(one.objects), bytes_text(one.bytes)]
            for one in summary.headers
        ]
        lines += ["", table(["Content-Type", "Content-Encoding", "Cache-Control", "objects", "bytes"], kinds, left=3)]
        moved = [(one.name, *pair) for one in summary.datasets for pair in one.paths.items()]
        if moved:
            lines += ["", *(f"  {f'{name}/' if name else ''}{source} lies in {place}" for name, source, place in moved)]
        return "\n".join(lines)
    size = sum(one.sent_bytes for one in summary.datasets)
    rate = f" ({bytes_text(size / max(summary.seconds, 1e-9))}/s)" if size else ""
    lines.append(
        f"  verified; {sum(one.sent_objects for one in summary.datasets)} objects, {bytes_text(size)} sent in "
        f"{seconds_text(summary.seconds)}{rate}, peak memory {bytes_text(summary.peak_memory_bytes)}"
    )
    return "\n".join(lines)


def rollback_text(done: RollbackSummary) -> str:
    """Return what was switched."""
    if not done.datasets:
        return f"{done.destination}: readers see what they saw before"
    lines = [
        f"  {one.name or '.'}: generation {one.generation}, before that {one.from_generation or 'none'}"
        for one in done.datasets
    ]
    return "\n".join([f"{done.destination}: switched; --rollback again switches forward", *lines])


def removal_text(planned: Sequence[Removal]) -> str:
    """Return what would be removed."""
    lines = []
    for one in planned:
        what = "all of it" if one.whole else f"generations {', '.join(one.generations)}"
        lines.append(f"  {one.name or '.'}: {what}, {one.objects} objects, {bytes_text(one.bytes)}")
    return "\n".join(["No reader that begins now sees:", *lines])
