"""``precast link``."""

from __future__ import annotations

import json
from typing import Any

import click

from precast.cli.fields import from_dataclass, given, output_options, store_options, take_store_options
from precast.cli.render import document, print_findings
from precast.hosting.link import LinkOptions, link

__all__ = ["command"]


@click.command("link")
@click.argument("places", nargs=-1, required=True, metavar="PATH|URL...")
@from_dataclass(LinkOptions)
@store_options
@click.option("--state", "as_state", is_flag=True, help="Print the viewer's state as JSON instead of the link.")
@output_options
def command(places: tuple[str, ...], *, as_state: bool, as_json: bool, quiet: bool, **values: Any) -> int:
    """Print the address of a viewer that shows datasets, images under labels, with the largest objects selected.

    A PATH or URL is a dataset, a collection or a directory of datasets. Paths need --base-url, the address at which
    they are served, each under the name of its directory.
    """
    store = take_store_options(values)
    summary = link(*places, options=LinkOptions(**given(values)), store=store)
    if as_json:
        click.echo(document("link", summary, summary.findings))
        return 0
    click.echo(json.dumps(summary.state, indent=1, ensure_ascii=False) if as_state else summary.url)
    if not quiet:
        print_findings(summary.findings)
    return 0
