"""``precast check``."""

from __future__ import annotations

from typing import Any

import click

from precast.checks import CheckOptions, DatasetReport, Report, ScaleReport, check
from precast.cli.fields import from_dataclass, given, output_options, store_options, take_store_options
from precast.cli.findings import grouped_text, summary_text
from precast.cli.progress import progress_for
from precast.cli.render import bytes_text, document, table
from precast.execution.memory import share_heaps
from precast.storage import open_store

__all__ = ["command"]

EXIT_FINDINGS = 1


@click.command("check")
@click.argument("dataset", type=click.Path())
@from_dataclass(CheckOptions)
@store_options
@output_options
def command(dataset: str, *, as_json: bool, quiet: bool, **values: Any) -> int:
    """Check DATASET against the whole format: info, chunks, shards, pyramid, digests, meshes, properties and more.

    DATASET may be by any program, or a directory with several datasets, also in a bucket (s3://, gs://, az://). Of an
    address (https://...) the web server is checked, as viewers on other pages meet it, with what to change in its
    configuration. What is wrong is an error; what is legal but unusual is a warning or a remark. Exit code 1 if there
    are errors.
    """
    share_heaps()
    store = open_store(dataset, take_store_options(values))
    options = CheckOptions(**given(values))
    with progress_for(quiet=quiet or as_json) as progress:
        report = check(store, options, progress=progress)
    if as_json:
        click.echo(document("check", report.to_json(), report.findings, ok=report.ok))
    elif not quiet:
        click.echo(text(report))
    return 0 if report.ok else EXIT_FINDINGS


def text(report: Report) -> str:
    """Return the report for a terminal."""
    blocks = [dataset_text(dataset, report) for dataset in report.datasets]
    findings = report.findings
    if findings:
        blocks.append(grouped_text(findings))
    sample = f"; {report.sample:.3g} of the chunks and objects were decoded" if report.sample < 1 else ""
    blocks.append(f"{summary_text(findings)}{sample}")
    return "\n\n".join(blocks)


def dataset_text(dataset: DatasetReport, report: Report) -> str:
    """Return what was looked at in one dataset."""
    what = [dataset.kind or "no volume"]
    if dataset.data_type:
        what.append(dataset.data_type)
    if dataset.channels > 1:
        what.append(f"{dataset.channels} channels")
    if dataset.server:
        what.append(f"served by {dataset.server}")
    lines = [f"{dataset.path}: {', '.join(what)}"]
    if dataset.scales:
        header = ["scale (nm)", "chunks", "stored", "empty", "absent", "unreadable", "decoded", "bytes", "voxels"]
        lines.append(table(header, [_row(scale) for scale in dataset.scales]))
    if dataset.places:
        header = ["directory", "holds", "requests", "objects"]
        rows = [[place.path or ".", place.what, str(place.requests), str(place.objects)] for place in dataset.places]
        lines.append(table(header, rows, left=2))
    for part in dataset.parts:
        of = "" if part.checked == part.objects else f"{part.checked} of "
        lines.append(f"  {part.path or part.kind}: {of}{part.objects} objects checked")
    if dataset.against is not None and dataset.against:
        counts = dataset.against
        lines.append(f"  {counts['source']}: {counts['differ']} of {counts['compared']} voxels of scale 0 differ")
        if "mean_difference" in counts:
            far = f"by {counts['mean_difference']:.2f} on average, {counts['largest_difference']:g} at most"
            lines[-1] += f", {far} (stored with loss)"
    return "\n".join(lines)


def _row(scale: ScaleReport) -> list[str]:
    absent = f"{scale.absent} ({scale.lost} lost)" if scale.lost else str(scale.absent)
    if scale.digest:
        voxels = f"digest {scale.digest}"
    elif scale.pyramid is not None:
        differ = scale.pyramid["differ"]
        voxels = (
            f"{scale.pyramid['method']}, lossy" if differ is None else f"{scale.pyramid['method']}: {differ} differ"
        )
    else:
        voxels = ""
    return [
        scale.key,
        str(scale.chunks),
        str(scale.stored),
        str(scale.empty),
        absent,
        str(scale.unreadable),
        str(scale.decoded),
        bytes_text(scale.stored_bytes),
        voxels,
    ]
