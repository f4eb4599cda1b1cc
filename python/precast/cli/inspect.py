"""``precast inspect``."""

from __future__ import annotations

import json
from typing import Any

import click

from precast.cli.fields import output_options, store_options, take_store_options
from precast.cli.render import bytes_text, document, table
from precast.dataset import Volume, open_volume
from precast.errors import FormatError, ObjectNotFoundError
from precast.precomputed.objects import LABEL_TABLE_KEY, PROVENANCE_KEY

__all__ = ["command"]


@click.command("inspect")
@click.argument("dataset", type=click.Path())
@store_options
@output_options
def command(dataset: str, *, as_json: bool, quiet: bool, **values: Any) -> int:
    """Say what a precomputed volume holds: counted from the objects that are there, not taken from its info."""
    volume = open_volume(dataset, take_store_options(values))
    facts = gather(volume)
    if as_json:
        click.echo(document("inspect", facts))
    elif not quiet:
        click.echo(text(facts))
    return 0


def gather(volume: Volume) -> dict[str, Any]:
    """Count everything that the volume stores."""
    info = volume.info
    scales = []
    for scale in volume.scales:
        objects = list(scale.objects())
        scales.append(
            {
                "key": scale.info.key,
                "size": list(scale.info.size),
                "voxel_offset": list(scale.info.voxel_offset),
                "resolution_nm": [float(edge) for edge in scale.info.resolution],
                "chunk_size": list(scale.info.chunk_size),
                "grid": list(scale.info.grid),
                "encoding": scale.info.encoding,
                "sharded": scale.info.sharding is not None,
                "chunks": scale.info.grid.volume,
                "stored_chunks": scale.stored_chunks(),
                "objects": len(objects),
                "stored_bytes": sum(stat.size for stat in objects),
                "raw_bytes": scale.info.size.volume * info.num_channels * volume.dtype.itemsize,
            }
        )
    return {
        "path": volume.store.url,
        "kind": info.kind,
        "data_type": info.data_type,
        "num_channels": info.num_channels,
        "scales": scales,
        "objects": sum(scale["objects"] for scale in scales),
        "stored_bytes": sum(scale["stored_bytes"] for scale in scales),
        "labels": _labels(volume),
        "parts": {key: getattr(info, key) for key in ("mesh", "skeletons", "segment_properties") if getattr(info, key)},
        "meshes": _meshes(volume),
        "made_by": _made_by(volume),
    }


def _meshes(volume: Volume) -> dict[str, Any] | None:
    """Count the objects that have a mesh, and what their directory takes; None if there are none or they are broken."""
    try:
        meshes = volume.meshes
        objects = len(meshes)
    except (ObjectNotFoundError, FormatError):
        return None
    files = list(volume.store.list(f"{volume.info.mesh}/"))
    return {
        "objects": objects,
        "format": meshes.info.kind,
        "sharded": meshes.info.sharding is not None,
        "files": len(files),
        "stored_bytes": sum(stat.size for stat in files),
    }


def _labels(volume: Volume) -> int | None:
    """Return the number of labels that the label table lists, from its header alone."""
    try:
        header = volume.store.read(LABEL_TABLE_KEY, 0, 512)
    except ObjectNotFoundError:
        return None
    import ast

    try:
        length = int.from_bytes(header[8:10], "little")
        return int(ast.literal_eval(header[10 : 10 + length].decode("latin-1"))["shape"][0])
    except (ValueError, SyntaxError, KeyError, IndexError, TypeError):
        return None


def _made_by(volume: Volume) -> str:
    try:
        steps = json.loads(volume.store.read(PROVENANCE_KEY)).get("processing", [])
        last = steps[-1]
        return f"{last['tool']} {last['version']}"
    except (ObjectNotFoundError, ValueError, KeyError, IndexError, TypeError, AttributeError):
        return ""


def _mesh_text(meshes: dict[str, Any] | None) -> str:
    if meshes is None:
        return ", which cannot be read"
    how = "sharded" if meshes["sharded"] else "files"
    return f", {meshes['objects']} objects, {meshes['format']} {how}, {bytes_text(meshes['stored_bytes'])}"


def text(facts: dict[str, Any]) -> str:
    """Return the facts on one screen."""
    first = facts["scales"][0]
    channels = f", {facts['num_channels']} channels" if facts["num_channels"] > 1 else ""
    lines = [
        facts["path"],
        f"  {facts['kind']}, {facts['data_type']}{channels}, {first['encoding']}, "
        f"chunks of {','.join(str(n) for n in first['chunk_size'])}, "
        f"{'sharded' if first['sharded'] else 'one file per chunk'}",
    ]
    if any(first["voxel_offset"]):
        lines.append(f"  offset {','.join(str(n) for n in first['voxel_offset'])}")
    if facts["labels"] is not None:
        lines.append(f"  {facts['labels']} labels in the label table")
    for name, path in facts["parts"].items():
        lines.append(f"  {name}: {path}/{_mesh_text(facts['meshes']) if name == 'mesh' else ''}")
    if facts["made_by"]:
        lines.append(f"  made by {facts['made_by']}")
    rows = [
        [
            scale["key"],
            " x ".join(str(n) for n in scale["size"]),
            f"{scale['stored_chunks']}/{scale['chunks']}",
            str(scale["objects"]),
            bytes_text(scale["stored_bytes"]),
            f"{scale['raw_bytes'] / max(1, scale['stored_bytes']):.1f}",
        ]
        for scale in facts["scales"]
    ]
    kind = "shards" if first["sharded"] else "files"
    lines += ["", table(["scale (nm)", "size", "chunks stored", kind, "bytes", "ratio"], rows)]
    lines.append(f"  {facts['objects']} objects, {bytes_text(facts['stored_bytes'])}")
    return "\n".join(lines)
