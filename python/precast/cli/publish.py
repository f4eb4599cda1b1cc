"""``precast publish``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from precast.cli.fields import (
    OF_SOURCE,
    from_dataclass,
    given,
    open_source,
    output_options,
    source_options,
    store_options,
    take_store_options,
)
from precast.cli.findings import grouped_text, summary_text
from precast.cli.progress import progress_for
from precast.cli.render import bytes_text, document, print_findings, seconds_text, table, to_json
from precast.errors import AccessDeniedError, UsageError
from precast.execution.memory import share_heaps
from precast.storage import Store, open_store
from precast.workflows.publish import (
    FixSummary,
    PublicPlan,
    PublishOptions,
    PublishSummary,
    Removal,
    RollbackSummary,
    Viewed,
    fix_headers,
    look,
    make_public,
    plan_fixes,
    plan_public,
    plan_publication,
    plan_removal,
    publish,
    remove_former_generations,
    roll_back,
    what_is_there,
)
from precast.workflows.publish.public import plan_text

__all__ = ["command"]


EXIT_FINDINGS = 1
FLAGS = ("public", "fix_headers", "delete", "rollback", "yes", "dry_run")
OF_SENDING = ("overwrite", "reshard")


@click.command("publish")
@click.argument("places", nargs=-1, required=True, type=click.Path(), metavar="SOURCE DESTINATION")
@from_dataclass(PublishOptions)
@store_options
@click.option(
    "--public",
    is_flag=True,
    help="Let everybody read it, with browsers too: shows what of the bucket is changed, and asks first.",
)
@click.option(
    "--fix-headers",
    is_flag=True,
    help="Repair headers, names and packing of what lies at DESTINATION, given alone, uploaded by other means.",
)
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

    Where everybody can read the bucket, it is checked as viewers meet it, and their link is printed; exit code 1 if
    there are errors. --public and --delete, with DESTINATION alone, do that for datasets that are there already.
    """
    share_heaps()
    flags = {name: bool(values.pop(name)) for name in FLAGS}
    reached = take_store_options(values)
    _check(places, flags)
    if len(places) == 1:
        _refuse_options_of_sources(values)
    source = open_source(places[0], values)
    options = PublishOptions(**given(values))
    store = open_store(places[-1], reached)
    if flags["rollback"]:
        return _roll_back(store, options, as_json=as_json, quiet=quiet)
    if flags["fix_headers"]:
        return _fix(store, options, dry_run=flags["dry_run"], as_json=as_json, quiet=quiet)
    _refuse_silence(flags, as_json=as_json)
    if len(places) == 1:
        return _in_place(store, options, flags, as_json=as_json, quiet=quiet)
    silent = as_json or quiet
    opening = plan_public(store) if flags["public"] else None
    if opening is not None and not _agreed(opening, flags, silent=silent):
        return 0
    work = plan_publication if flags["dry_run"] else publish
    with progress_for(quiet=silent) as progress:
        summary = work(source, store, options, progress)
    if not silent:
        click.echo(text(summary), err=not summary.dry_run)
        print_findings(summary.findings)
    removed: Sequence[Removal] = ()
    viewed = None
    if not flags["dry_run"]:
        if flags["delete"]:
            removed = _remove(store, options, yes=flags["yes"], quiet=silent)
        changed = opening is not None and make_public(store, opening)
        names = [one.name for one in summary.datasets]
        viewed = _look(store, names, flags, listed=summary.listed, changed=changed, quiet=silent)
    if as_json:
        found = [*summary.findings, *(one for report in viewed.reports for one in report.findings)] if viewed else []
        result = to_json(summary) | _seen(opening, removed, viewed)
        del result["findings"]
        click.echo(document("publish", result, found or summary.findings, ok=viewed is None or viewed.ok))
    return 0 if viewed is None or viewed.ok else EXIT_FINDINGS


def _check(places: tuple[str, ...], flags: dict[str, bool]) -> None:
    alone: dict[str, tuple[str, ...]] = {"rollback": ("fix_headers", "delete", "dry_run", "yes", "public")}
    alone["fix_headers"] = ("delete", "yes", "public")
    one = next((name for name in alone if flags[name]), None)
    if one is not None:
        flag = f"--{one.replace('_', '-')}"
        if len(places) != 1:
            raise UsageError(
                f"{flag} takes the destination alone, got {len(places)} places",
                hint=f"precast publish {flag} DESTINATION",
            )
        for name in alone[one]:
            if flags[name]:
                raise UsageError(f"--{name.replace('_', '-')} does not go with {flag}", hint="leave one of them out")
    elif len(places) != 2 and not (len(places) == 1 and (flags["public"] or flags["delete"])):
        raise UsageError(
            f"a source and a destination are needed, got {len(places)} places",
            hint="precast publish SOURCE DESTINATION",
        )
    elif flags["yes"] and not (flags["delete"] or flags["public"]):
        raise UsageError(
            "--yes answers what --delete and --public ask, and neither is given",
            hint="leave it out, or give one of them",
        )


def _refuse_options_of_sources(values: dict[str, Any]) -> None:
    """Refuse options that would be about what is sent, where nothing is."""
    if given({name: values[name] for name in values if name.startswith(OF_SOURCE)}):
        raise UsageError("there is no source here, which --from-… is about", hint="leave it out")
    for name in OF_SENDING:
        if values[name] is not None:
            raise UsageError(f"there is no source here, which --{name} is about", hint="leave it out")


def _refuse_silence(flags: dict[str, bool], *, as_json: bool) -> None:
    """Refuse to begin what has to be asked where nobody can answer."""
    if flags["yes"] or flags["dry_run"] or not (as_json or not sys.stdin.isatty()):
        return
    asking = {"delete": "removes anything", "public": "changes the bucket"}
    for name, what in asking.items():
        if flags[name]:
            raise UsageError(f"--{name} asks before it {what}, and nobody can answer", hint="give --yes too")


def _in_place(store: Store, options: PublishOptions, flags: dict[str, bool], *, as_json: bool, quiet: bool) -> int:
    """Make public what is there already, or remove its former generations; nothing is sent."""
    silent = as_json or quiet
    names, listed = what_is_there(store)
    opening = plan_public(store) if flags["public"] else None
    if opening is not None and not _agreed(opening, flags, silent=silent, question="Change the bucket so?"):
        return 0
    removed: Sequence[Removal] = ()
    viewed = None
    if flags["dry_run"]:
        removed = plan_removal(store) if flags["delete"] else ()
        if removed and not silent:
            click.echo(removal_text(removed))
    else:
        if flags["delete"]:
            removed = _remove(store, options, yes=flags["yes"], quiet=silent)
        changed = opening is not None and make_public(store, opening)
        viewed = _look(store, names, flags, listed=listed, changed=changed, quiet=silent)
    if as_json:
        found = [one for report in viewed.reports for one in report.findings] if viewed is not None else []
        result = {"destination": store.url, "dry_run": flags["dry_run"], **_seen(opening, removed, viewed)}
        click.echo(document("publish", result, found, ok=viewed is None or viewed.ok))
    return 0 if viewed is None or viewed.ok else EXIT_FINDINGS


def _seen(opening: PublicPlan | None, removed: Sequence[Removal], viewed: Viewed | None) -> dict[str, Any]:
    """Return what was done after sending, as JSON values."""
    return {
        "removed": to_json(tuple(removed)),
        "public": to_json(opening),
        "url": viewed.url if viewed is not None else None,
        "link": viewed.link.url if viewed is not None and viewed.link is not None else None,
    }


def _agreed(
    opening: PublicPlan,
    flags: dict[str, bool],
    *,
    silent: bool,
    question: str = "Change the bucket so, and publish?",
) -> bool:
    """Show what of the bucket would be changed, and ask."""
    if not silent or not flags["yes"]:
        click.echo(f"{opening.destination}: for everybody at {opening.url}", err=True)
        click.echo(plan_text(opening), err=True)
    if flags["yes"] or flags["dry_run"] or not opening.changes:
        return True
    if click.confirm(question, err=True):
        return True
    click.echo("nothing is sent and nothing is changed", err=True)
    return False


def _look(
    store: Store, names: Sequence[str], flags: dict[str, bool], *, listed: bool, changed: bool, quiet: bool
) -> Viewed | None:
    """Check what was published as a viewer does, where everybody may read it, and print the link."""
    viewed = _viewed(store, names, listed=listed, changed=changed, quiet=quiet)
    if viewed is None and flags["public"]:
        raise AccessDeniedError(
            f"the data are at {store.url}, but not everybody can read them",
            hint="something refuses them: settings that are still to be made, a statement of the policy that "
            "denies it, or a block of public access for the whole account",
            where=store.url,
        )
    return viewed


def _viewed(store: Store, names: Sequence[str], *, listed: bool, changed: bool, quiet: bool) -> Viewed | None:
    with progress_for(quiet=quiet) as progress:
        viewed = look(store, names, listed=listed, wait=changed, progress=progress)
    if viewed is not None and not quiet:
        findings = [one for report in viewed.reports for one in report.findings]
        if findings:
            click.echo(grouped_text(findings), err=True)
        click.echo(f"checked as viewers meet it: {summary_text(findings)}", err=True)
        if viewed.link is not None:
            click.echo(viewed.link.url)
            print_findings(viewed.link.findings)
    return viewed


def _fix(store: Store, options: PublishOptions, *, dry_run: bool, as_json: bool, quiet: bool) -> int:
    work = plan_fixes if dry_run else fix_headers
    with progress_for(quiet=quiet or as_json) as progress:
        summary = work(store, options, progress)
    if not (as_json or quiet):
        click.echo(fix_text(summary), err=not dry_run)
    viewed = None
    if not dry_run:
        viewed = _viewed(store, summary.datasets, listed=summary.listed, changed=False, quiet=as_json or quiet)
    ok = not summary.conflicts and (viewed is None or viewed.ok)
    if as_json:
        findings = [one for report in viewed.reports for one in report.findings] if viewed is not None else []
        click.echo(document("publish", summary, findings, ok=ok))
    return 0 if ok else EXIT_FINDINGS


def _roll_back(store: Store, options: PublishOptions, *, as_json: bool, quiet: bool) -> int:
    with progress_for(quiet=quiet or as_json) as progress:
        done = roll_back(store, options, progress)
    if as_json:
        click.echo(document("publish", done))
    elif not quiet:
        click.echo(rollback_text(done), err=True)
    return 0


def _remove(store: Store, options: PublishOptions, *, yes: bool, quiet: bool) -> Sequence[Removal]:
    planned = plan_removal(store)
    if not planned:
        return ()
    if not yes:
        click.echo(removal_text(planned), err=True)
        if not click.confirm("Remove them?", err=True):
            click.echo("nothing is removed", err=True)
            return ()
    with progress_for(quiet=quiet) as progress:
        removed = remove_former_generations(store, options, progress)
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


def fix_text(summary: FixSummary) -> str:
    """Return what was repaired, or would be, by what was wrong, with examples."""
    note = "   (dry run: nothing is written)" if summary.dry_run else ""
    lines = [f"{summary.place}{note}"]
    for fault in summary.faults:
        lines.append(f"  {fault.objects} objects, {bytes_text(fault.bytes)}: {fault.what}")
        lines.append(f"    {', '.join(fault.examples)}{' ...' if fault.objects > len(fault.examples) else ''}")
    for key in summary.conflicts:
        lines.append(f"  left alone: {key} is there without the end of its name too, with other content")
    if summary.left_objects:
        some = f"{', '.join(summary.left)}{' ...' if summary.left_objects > len(summary.left) else ''}"
        lines.append(f"  left alone: {summary.left_objects} objects that belong to no dataset: {some}")
    done = "would be repaired" if summary.dry_run else "repaired and verified"
    lines.append(f"  {summary.fixed_objects} of {summary.objects} objects {done}, {bytes_text(summary.fixed_bytes)}")
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
