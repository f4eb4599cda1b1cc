"""``precast mesh``."""

from __future__ import annotations

from typing import Any

import click

from precast.cli.fields import from_dataclass, given, output_options, store_options, take_store_options
from precast.cli.progress import progress_for
from precast.cli.render import bytes_text, document, print_findings, seconds_text, to_json
from precast.execution.memory import share_heaps
from precast.findings import Severity
from precast.pipelines.mesh import MeshOptions, MeshSummary, mesh, plan_meshing
from precast.pipelines.mesh.estimate import Estimate, estimate
from precast.storage import open_store

__all__ = ["command"]

EXIT_FINDINGS = 1
SHOWN = 10


@click.command("mesh")
@click.argument("dataset", type=click.Path())
@from_dataclass(MeshOptions)
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing.")
@store_options
@output_options
def command(dataset: str, *, dry_run: bool, as_json: bool, quiet: bool, **values: Any) -> int:
    """Mesh every object of the segmentation DATASET, and link meshes and segment properties in its info.

    Meshes have levels of detail, so that a viewer shows them at any zoom, and stay within --max-error of the voxels.
    They appear when they are complete; after an interruption the same command goes on where it stopped.
    """
    share_heaps()
    store = open_store(dataset, take_store_options(values))
    options = MeshOptions(**given(values))
    if dry_run:
        with progress_for(quiet=quiet or as_json) as progress:
            plan = plan_meshing(store, options, progress=progress)
            expected = estimate(plan)
        if as_json:
            click.echo(document("mesh", expected, plan.findings))
        else:
            click.echo(plan_text(expected))
            print_findings(plan.findings)
        return 0
    with progress_for(quiet=quiet or as_json) as progress:
        summary = mesh(store, options, progress=progress)
    if as_json:
        result = to_json(summary)
        for failure in result["failures"]:  # 64 bits do not survive most readers of JSON numbers
            failure["segment"] = None if failure["segment"] is None else str(failure["segment"])
        click.echo(document("mesh", result, summary.findings))
    elif not quiet:
        click.echo(summary_text(summary), err=True)
    for failed in () if as_json else summary.failures[:SHOWN]:
        what = f"object {failed.segment}" if failed.segment is not None else failed.where
        click.secho("error: ", fg="red", bold=True, nl=False, err=True)
        click.echo(f"{what}: {failed.message}", err=True)
    if not as_json and len(summary.failures) > SHOWN:
        click.echo(f"and {len(summary.failures) - SHOWN} more; --json lists all", err=True)
    bad = bool(summary.failures) or any(finding.severity == Severity.ERROR for finding in summary.findings)
    return EXIT_FINDINGS if bad else 0


def plan_text(expected: Estimate) -> str:
    """Return the plan on one screen."""
    return "\n".join(
        [
            f"{expected.dataset}   (dry run: nothing is written)",
            f"  objects     {expected.objects} of {expected.labels} labels",
            f"  scale       {expected.scale}, voxels of {expected.resolution} nm: {expected.reason}",
            f"  max error   {expected.max_error_nm:g} nm",
            f"  triangles   about {_count(expected.full_faces)} on the surface of the voxels, "
            f"{_count(expected.faces)} on the finest level, {_count(expected.all_faces)} on all "
            f"(measured on {expected.sampled_blocks} of {expected.blocks} blocks)",
            f"  bytes       about {bytes_text(expected.stored_bytes)}, {expected.format}",
            f"  memory      about {bytes_text(expected.memory_bytes)} (budget {bytes_text(expected.budget_bytes)}), "
            f"{expected.threads} threads",
            f"  scratch     about {bytes_text(expected.scratch_bytes)}",
        ]
    )


def _count(number: float) -> str:
    for unit in ("", " thousand", " million"):
        if number < 1000:
            return f"{number:.0f}{unit}" if not unit or number >= 100 else f"{number:.1f}{unit}"
        number /= 1000
    return f"{number:.1f} billion"


def summary_text(summary: MeshSummary) -> str:
    """Return what was done, on one screen."""
    levels = f"up to {summary.levels} levels, " if summary.format == "multires" else ""
    holes = f", {summary.holes_filled} cavities filled" if summary.holes_filled else ""
    properties = f", properties of {summary.properties} segments" if summary.properties else ""
    return "\n".join(
        [
            f"{summary.dataset}: meshes of {summary.objects} objects from scale {summary.scale}, "
            f"{summary.format}{properties}{holes}",
            f"  {_count(summary.faces)} triangles within {summary.largest_error_nm:.1f} nm of the voxels' surface "
            f"(allowed {summary.max_error_nm:g}), {levels}{_count(summary.all_faces)} in all, "
            f"{summary.fragments} fragments",
            f"  {summary.files} files, {bytes_text(summary.stored_bytes)} in {seconds_text(summary.seconds)}, "
            f"peak memory {bytes_text(summary.peak_memory_bytes)}",
        ]
    )
