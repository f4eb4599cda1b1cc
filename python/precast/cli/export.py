"""``precast export``."""

from __future__ import annotations

from typing import Any

import click

from precast.cli.fields import from_dataclass, given, output_options, store_options, take_store_options
from precast.cli.render import document
from precast.errors import UsageError
from precast.pipelines.export import ExportOptions, export
from precast.storage import open_store

__all__ = ["command"]


@click.command("export")
@click.argument("dataset", type=click.Path())
@click.option("--segment", required=True, metavar="ID", help="The object.")
@click.option("--output", "-o", required=True, type=click.Path(), metavar="FILE", help="The file to write.")
@from_dataclass(ExportOptions)
@store_options
@output_options
def command(dataset: str, segment: str, output: str, *, as_json: bool, quiet: bool, **values: Any) -> int:
    """Write the mesh of one object of DATASET as a PLY, OBJ, STL or GLB file."""
    store = open_store(dataset, take_store_options(values))
    summary = export(store, _id(segment), output, ExportOptions(**given(values)))
    if as_json:
        click.echo(document("export", summary))
    elif not quiet:
        click.echo(str(summary), err=True)
    return 0


def _id(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) >= 2**64:
        raise UsageError(f"--segment must be a whole number from 0 to 2**64 - 1, got {text!r}")
    return int(text)
