"""``precast sample``."""

from __future__ import annotations

from typing import Any

import click

from precast.cli.fields import from_dataclass, given, output_options
from precast.cli.render import document
from precast.pipelines.sample import SampleOptions, sample

__all__ = ["command"]


@click.command("sample")
@click.argument("directory", type=click.Path())
@from_dataclass(SampleOptions)
@output_options
def command(directory: str, *, as_json: bool, quiet: bool, **values: Any) -> int:
    """Make a synthetic stack in DIRECTORY: EM-like slices in em/ and their labels in labels/."""
    summary = sample(directory, SampleOptions(**given(values)))
    if as_json:
        click.echo(document("sample", summary))
    elif not quiet:
        click.echo(str(summary), err=True)
    return 0
