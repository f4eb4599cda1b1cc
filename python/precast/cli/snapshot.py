"""``precast snapshot``."""

from __future__ import annotations

import signal
import sys
from typing import Any

import click

from precast.cli.fields import from_dataclass, given, output_options, store_options, take_store_options
from precast.cli.render import document, print_findings
from precast.hosting.snapshot import SnapshotOptions, snapshot

__all__ = ["command"]

SIGNALLED = 128
"""What shells add to the number of a signal that ended a program."""


@click.command("snapshot")
@click.argument("places", nargs=-1, required=True, metavar="PATH|URL...")
@click.option("--output", "-o", required=True, type=click.Path(), metavar="FILE", help="The picture to write, a PNG.")
@from_dataclass(SnapshotOptions)
@store_options
@output_options
def command(places: tuple[str, ...], *, output: str, as_json: bool, quiet: bool, **values: Any) -> int:
    """Write a picture of what Neuroglancer shows of datasets, without a window and without internet.

    A PATH or URL is a dataset, a collection or a directory of datasets. The picture is drawn by the system's Chromium.
    """
    # an ordinary ending, so that the browser ends too and its files are removed
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(SIGNALLED + number))
    store = take_store_options(values)
    summary = snapshot(*places, output=output, options=SnapshotOptions(**given(values)), store=store)
    if as_json:
        click.echo(document("snapshot", summary, summary.findings))
    elif not quiet:
        print_findings(summary.findings)
        click.echo(str(summary), err=True)
    return 0
