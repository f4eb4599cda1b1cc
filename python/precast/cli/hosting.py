"""``precast hosting``."""

from __future__ import annotations

from typing import Any

import click

from precast.cli.fields import from_dataclass, given
from precast.cli.render import document
from precast.hosting.configurations import BUCKETS, SERVERS, HostingOptions, configure_hosting

__all__ = ["command"]


@click.command("hosting")
@click.argument("server", type=click.Choice((*SERVERS, *BUCKETS)))
@click.argument("dataset", type=click.Path())
@from_dataclass(HostingOptions)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout instead of text.")
def command(server: str, dataset: str, *, as_json: bool, **values: Any) -> int:
    """Print how SERVER is set up so that viewers can read DATASET, a dataset or a directory of some, from it.

    For nginx, apache and caddy that is a file of configuration, with the commands for copying in its comments; for s3
    and gcs a shell script. Nothing is changed anywhere.
    """
    made = configure_hosting(server, dataset, HostingOptions(**given(values)))
    if as_json:
        click.echo(document("hosting", made))
    else:
        click.echo(made.text, nl=False)
    return 0
