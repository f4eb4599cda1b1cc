"""``precast properties``."""

from __future__ import annotations

from typing import Any

import click

from precast.cli.fields import from_dataclass, given, output_options, store_options, take_store_options
from precast.cli.progress import progress_for
from precast.cli.render import bytes_text, document, print_findings, seconds_text, table
from precast.execution.memory import share_heaps
from precast.pipelines.properties import PropertiesOptions, PropertiesSummary, plan_properties, properties
from precast.storage import open_store

__all__ = ["command"]


@click.command("properties")
@click.argument("dataset", type=click.Path())
@from_dataclass(PropertiesOptions)
@click.option("--dry-run", is_flag=True, help="Say what would be written and write nothing.")
@store_options
@output_options
def command(dataset: str, *, dry_run: bool, as_json: bool, quiet: bool, **values: Any) -> int:
    """Write segment properties of the segmentation DATASET, so that a viewer lists, labels and searches its segments.

    Sizes, bounding boxes and centroids come from the label table; labels, descriptions, tags, texts and numbers of
    your own from --csv.
    """
    share_heaps()
    store = open_store(dataset, take_store_options(values))
    options = PropertiesOptions(**given(values))
    with progress_for(quiet=quiet or as_json or dry_run) as progress:
        summary = (plan_properties if dry_run else properties)(store, options, progress=progress)
    if as_json:
        click.echo(document("properties", summary, summary.findings))
    elif dry_run:
        click.echo(summary_text(summary, dry_run=True))
        print_findings(summary.findings)
    elif not quiet:
        click.echo(summary_text(summary), err=True)
    return 0


def summary_text(summary: PropertiesSummary, *, dry_run: bool = False) -> str:
    """Return what was done, on one screen."""
    rows = [[item.id, item.data_type or item.type, str(item.values)] for item in summary.properties]
    done = "dry run: nothing is written" if dry_run else f"in {summary.directory}, linked in info"
    return "\n".join(
        [
            f"{summary.dataset}: properties of {summary.segments} of {summary.labels} segments, {done}",
            table(["property", "type", "segments"], rows, left=2),
            f"  {bytes_text(summary.bytes)} in {seconds_text(summary.seconds)}, "
            f"peak memory {bytes_text(summary.peak_memory_bytes)}",
        ]
    )
