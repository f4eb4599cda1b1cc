"""``precast build``."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from precast.cli.fields import from_dataclass, given, output_options, store_options, take_store_options, typed
from precast.cli.findings import grouped_text, summary_text
from precast.cli.progress import progress_for
from precast.cli.render import bytes_text, document, seconds_text, to_json
from precast.execution.memory import share_heaps
from precast.hosting.server import DEFAULT_PORT
from precast.storage import StoreOptions
from precast.storage.opening import is_bucket
from precast.workflows.build import BuildOptions, BuildSummary, BuiltLayer, build

__all__ = ["command"]

EXIT_FINDINGS = 1
PROGRAM = "precast"


@click.command("build")
@click.argument("sources", nargs=-1, required=True, type=click.Path(), metavar="SOURCE...")
@click.argument("destination", type=click.Path())
@from_dataclass(BuildOptions)
@store_options
@output_options
def command(sources: tuple[str, ...], destination: str, *, as_json: bool, quiet: bool, **values: Any) -> int:
    """Go the whole way: convert every SOURCE, mesh labels, check all of it, and print how to look at it.

    Each SOURCE, a folder of slices or a TIFF or .npy file, becomes the dataset of its name in DESTINATION. What is
    there already, from the same files and with the same options, is kept; so the same command goes on after an
    interruption. The link is the only line on stdout; that of a directory works while the precast view that is printed
    runs.

    All may be addresses of buckets (s3://, gs://, az://): slices are read there, shards sent as they are made, and
    readers see the old datasets or the new ones. Where everybody can read the bucket, it is also checked as viewers
    meet it.
    """
    share_heaps()
    reached = take_store_options(values)
    options = BuildOptions(**given(values))
    with progress_for(quiet=quiet or as_json) as progress:
        summary = build(*sources, destination=destination, options=options, progress=progress, store=reached)
    if as_json:
        click.echo(document("build", result(summary), summary.findings, ok=summary.ok))
    else:
        if not quiet:
            click.echo(text(summary, options.port, reached), err=True)
        click.echo(summary.url)
    return 0 if summary.ok else EXIT_FINDINGS


def result(summary: BuildSummary) -> dict[str, Any]:
    """Return the summary as JSON values, with its findings in their own place."""
    return {
        "destination": summary.destination,
        "layers": to_json(summary.layers),
        "check": summary.report.to_json(),
        "public": summary.viewed.url if summary.viewed is not None else None,
        "url": summary.url,
        "seconds": summary.seconds,
        "peak_memory_bytes": summary.peak_memory_bytes,
    }


def text(summary: BuildSummary, port: int, reached: StoreOptions) -> str:
    """Return what was done, what is wrong, and how to look at it."""
    width = max(len(layer.name) for layer in summary.layers)
    lines = [f"{summary.destination}:"]
    lines += [f"  {layer.name:<{width}}  {layer.kind}, {_steps(layer)}" for layer in summary.layers]
    if summary.findings:
        lines += ["", grouped_text(summary.findings), ""]
    took = f"in {seconds_text(summary.seconds)}, peak memory {bytes_text(summary.peak_memory_bytes)}"
    lines.append(f"  checked: {summary_text(summary.report.findings)}; {took}")
    if is_bucket(summary.destination):
        return "\n".join([*lines, *_where_in_bucket(summary, reached)])
    other = "" if port == DEFAULT_PORT else f" --port {port}"
    lines += ["", "To look at it, in a browser, without internet:", ""]
    lines += [f"    {_program()} view {shlex.quote(summary.destination)}{other}", ""]
    lines += ["While that runs this link shows it too:", ""]
    return "\n".join(lines)


def _where_in_bucket(summary: BuildSummary, reached: StoreOptions) -> list[str]:
    place = " ".join([shlex.quote(summary.destination), *typed(reached)])
    if summary.viewed is None:
        lines = ["", "To look at it, in a browser:", "", f"    {_program()} view {place}", ""]
        lines += ["Not everybody can read it. This lets everybody, browsers too, and asks first:"]
    else:
        seen = [finding for report in summary.viewed.reports for finding in report.findings]
        lines = [f"  checked as viewers meet it: {summary_text(seen)}", ""]
        if summary.viewed.ok:
            return [*lines, "Everybody can see it by this link:", ""]
        lines += ["Everybody can read it, but not viewers. This sets what buckets must be told, and asks first:"]
    return [*lines, "", f"    {_program()} publish --public {place}", "", "Then this link shows it:", ""]


def _program() -> str:
    """Return how this program is called: by its path where its name alone does not find it."""
    called = Path(sys.argv[0])
    if called.name != PROGRAM or shutil.which(PROGRAM) == shutil.which(str(called)):
        return PROGRAM
    return shlex.quote(str(called))


def _steps(layer: BuiltLayer) -> str:
    steps = ["converted" if layer.converted else "unchanged"]
    if layer.meshed:
        steps.append(f"{layer.meshes} meshes" + (f", {layer.failures} failed" if layer.failures else ""))
    return ", ".join(steps)
