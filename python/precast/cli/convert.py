"""``precast convert``."""

from __future__ import annotations

from typing import Any

import click

from precast.cli.fields import from_dataclass, given, output_options, store_options, take_store_options
from precast.cli.progress import progress_for
from precast.cli.render import bytes_text, document, print_findings, seconds_text, table
from precast.execution.memory import share_heaps
from precast.execution.work import open_destination
from precast.pipelines.convert import ConvertOptions, ConvertPlan, ConvertSummary, convert, plan_conversion
from precast.pipelines.convert.estimate import Estimate, estimate
from precast.pipelines.convert.run import open_any
from precast.storage.opening import is_bucket, open_places

__all__ = ["command"]


@click.command("convert")
@click.argument("source", type=click.Path())
@click.argument("destination", type=click.Path())
@from_dataclass(ConvertOptions)
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing.")
@store_options
@output_options
def command(source: str, destination: str, *, dry_run: bool, as_json: bool, quiet: bool, **values: Any) -> int:
    """Convert SOURCE, a folder of slices or a TIFF or .npy file, into a precomputed volume DESTINATION.

    Both may be addresses of buckets (s3://, gs://, az://): slices are read there, and shards sent as they are made.
    All scales are made in one pass over the source. The destination appears when it is complete; after an
    interruption the same command goes on where it stopped.
    """
    share_heaps()
    reached = take_store_options(values)
    store = open_destination(open_places([source, destination], reached)[1])
    options = ConvertOptions(**given(values))
    opened = open_any(source, options, reached if is_bucket(source) else None)
    if dry_run:
        plan = plan_conversion(opened, options)
        expected = estimate(plan)
        if as_json:
            click.echo(document("convert", plan_json(plan, expected), plan.findings))
        else:
            click.echo(plan_text(plan, expected, destination))
            print_findings(plan.findings)
        return 0
    with progress_for(quiet=quiet or as_json) as progress:
        summary = convert(opened, store, options, progress=progress)
    if as_json:
        click.echo(document("convert", summary, summary.findings))
    elif not quiet:
        click.echo(summary_text(summary), err=True)
    return 0


def plan_text(plan: ConvertPlan, expected: Estimate, destination: str) -> str:
    """Return the plan on one screen."""
    shape = plan.source.info.shape
    size = " x ".join(str(n) for n in (shape[3], shape[2], shape[1]))
    channels = f", {shape[0]} channels" if shape[0] > 1 else ""
    lines = [
        f"{plan.source.info.name} -> {destination}   (dry run: nothing is written)",
        f"  source      {size} voxels of {plan.source.info.dtype}{channels}",
        f"  kind        {plan.info.kind}: {plan.kind_reason}",
        f"  voxel size  {plan.scales[0].voxel_size} nm, {plan.resolution_origin}",
        f"  stored as   {plan.info.data_type}, {plan.info.scales[0].encoding}, chunks of {plan.options.chunk_size}, "
        f"{'one file per chunk' if plan.options.unsharded else 'sharded'}; scales by {plan.method}",
        "",
    ]
    rows = []
    for k, (scale, info) in enumerate(zip(plan.scales, plan.info.scales, strict=True)):
        rows.append(
            [
                info.key,
                " x ".join(str(n) for n in scale.box.size),
                " x ".join(str(n) for n in scale.factor) if k else "",
                str(info.grid.volume),
                str(expected.objects[k]),
                bytes_text(expected.raw_bytes[k]),
                bytes_text(expected.stored_bytes[k]),
                scale.reason if k else "",
            ]
        )
    header = ["scale", "size", "factor", "chunks", "objects", "raw", "expected", "why this factor"]
    lines.append(_table_with_reason(header, rows))
    blocks = ", ".join(
        f"{stage.count} of {stage.edge.map(min, plan.scales[stage.first].box.size)}" for stage in plan.stages
    )
    memory = plan.memory
    decodes = (
        "decoded once, then spooled to scratch: a slice is wider than the memory budget allows"
        if plan.spooled
        else f"decoded {'once' if plan.decodes == 1 else f'{plan.decodes} times'}"
    )
    lines += [
        "",
        f"  objects     {sum(expected.objects)}, about {bytes_text(sum(expected.stored_bytes))} "
        f"(raw {bytes_text(sum(expected.raw_bytes))})",
        f"  memory      {bytes_text(memory.buffer_bytes)} of buffers (budget {bytes_text(memory.budget_bytes)}), "
        f"peak about {bytes_text(memory.peak_bytes)}",
        f"  slices      each {decodes}",
        f"  blocks      {blocks} voxels, {plan.threads} threads",
        f"  scratch     about {bytes_text(expected.scratch_bytes)}",
    ]
    return "\n".join(lines)


def _table_with_reason(header: list[str], rows: list[list[str]]) -> str:
    numbers = table(header[:-1], [row[:-1] for row in rows]).split("\n")
    width = max(len(line) for line in numbers)
    reasons = [header[-1], *[row[-1] for row in rows]]
    return "\n".join(f"{line:<{width}}  {reason}".rstrip() for line, reason in zip(numbers, reasons, strict=True))


def plan_json(plan: ConvertPlan, expected: Estimate) -> dict[str, Any]:
    """Return the plan as JSON values."""
    return {
        "kind": plan.info.kind,
        "kind_reason": plan.kind_reason,
        "resolution_origin": plan.resolution_origin,
        "method": plan.method,
        "info": plan.info.to_json(),
        "scales": [
            {
                "key": info.key,
                "factor": list(scale.factor),
                "reason": scale.reason,
                "objects": expected.objects[k],
                "raw_bytes": expected.raw_bytes[k],
                "expected_bytes": expected.stored_bytes[k],
            }
            for k, (scale, info) in enumerate(zip(plan.scales, plan.info.scales, strict=True))
        ],
        "memory": {
            "budget_bytes": plan.memory.budget_bytes,
            "buffer_bytes": plan.memory.buffer_bytes,
            "peak_bytes": plan.memory.peak_bytes,
        },
        "decodes": plan.decodes,
        "spooled": plan.spooled,
        "scratch_bytes": expected.scratch_bytes,
        "blocks": [stage.count for stage in plan.stages],
        "threads": plan.threads,
    }


def summary_text(summary: ConvertSummary) -> str:
    """Return what was done, on one screen."""
    rows = [
        [
            scale.key,
            " x ".join(str(n) for n in scale.size),
            f"{scale.stored_chunks}"
            if scale.stored_chunks == scale.chunks
            else f"{scale.stored_chunks}/{scale.chunks}",
            str(scale.objects),
            bytes_text(scale.stored_bytes),
            f"{scale.raw_bytes / max(1, scale.stored_bytes):.1f}",
        ]
        for scale in summary.scales
    ]
    labels = f", {summary.labels} labels" if summary.labels is not None else ""
    ratio = summary.raw_bytes / max(1, summary.stored_bytes)
    rate = summary.raw_bytes / max(summary.seconds, 1e-9)
    return "\n".join(
        [
            f"{summary.destination}: {summary.kind}, {summary.data_type}, {summary.encoding}{labels}",
            table(["scale", "size", "chunks", "objects", "bytes", "ratio"], rows),
            f"  {summary.objects} objects, {bytes_text(summary.stored_bytes)} "
            f"(ratio {ratio:.1f}) in {seconds_text(summary.seconds)} ({bytes_text(rate)}/s), "
            f"peak memory {bytes_text(summary.peak_memory_bytes)}",
        ]
    )
