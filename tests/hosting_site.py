"""A site with every sort of data on it, as it should be, and what a check finds there."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import neuroglancer
import numpy as np
from neuroglancer.write_annotations import AnnotationWriter

import precast
from faulty_site import (
    Fault,
    Reply,
    Site,
    replaced,
)
from precast.checks import check
from precast.precomputed.collection import Collection, CollectionLayer
from volume_files import SHARDING, shard

SKELETONS: dict[str, Any] = {
    "@type": "neuroglancer_skeletons",
    "transform": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0],
    "vertex_attributes": [],
}
SKELETON = struct.pack("<2I6f2I", 2, 1, 100, 100, 100, 200, 200, 200, 0, 1)


def make_data(out: Path) -> Path:
    """Make a collection with every sort of part, in files and in shards."""
    labels = np.zeros((70, 70, 70), np.uint32)
    labels[5:60, 5:60, 5:65] = 7
    for name, unsharded in (("files", True), ("shards", False), ("old", True)):
        options = precast.ConvertOptions(resolution=8, kind="segmentation", unsharded=unsharded, chunk_size=32)
        precast.convert(labels, out / name, options)
    precast.mesh(out / "files", precast.MeshOptions(unsharded=True))
    precast.mesh(out / "shards", precast.MeshOptions())
    precast.mesh(out / "old", precast.MeshOptions(format="legacy"))
    for name, sharding in (("files", None), ("shards", SHARDING)):
        folder = out / name / "skeletons"
        folder.mkdir()
        folder.joinpath("info").write_text(json.dumps(SKELETONS | ({"sharding": sharding} if sharding else {})))
        if sharding is None:
            folder.joinpath("7").write_bytes(SKELETON)
        else:  # 7 >> 1 is minishard 1 of shard 1
            folder.joinpath("1.shard").write_bytes(shard([[], [(7, SKELETON)]]))
        info = out / name / "info"
        info.write_text(json.dumps(json.loads(info.read_text()) | {"skeletons": "skeletons"}))
    space = neuroglancer.CoordinateSpace(names=["x", "y", "z"], units="nm", scales=[8, 8, 8])
    writer = AnnotationWriter(space, annotation_type="point", relationships=["cell"])
    for number in range(5):
        writer.add_point([number, 20, 30], id=number, cell=[7])
    writer.write(out / "points")
    kinds = {"files": "segmentation", "shards": "segmentation", "old": "segmentation", "points": "annotation"}
    layers = tuple(CollectionLayer(name=name, kind=kind) for name, kind in kinds.items())
    (out / "precast.json").write_bytes(Collection(layers=layers).to_bytes())
    (out / ".precast").mkdir()
    (out / ".precast" / "build.json").write_text("{}")
    return out


def codes(site: Site, name: str = "", fault: Fault | None = None) -> set[str]:
    site.fault = fault
    return {finding.code for finding in check(f"{site.url}/data/{name}").findings}


ORIGIN = "Access-Control-Allow-Origin"


def soft_page(reply: Reply) -> None:
    replaced(200, b"<!doctype html>" + b"<p>not here</p>" * 500, Content_Type="text/html", Cache_Control="no-cache")(
        reply
    )


def half(reply: Reply) -> None:
    reply.body = reply.body[: len(reply.body) // 2]
