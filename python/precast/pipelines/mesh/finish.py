"""The last steps: properties, mesh info, links."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from precast import __version__
from precast.dataset.links import link_parts
from precast.dataset.objects import attributes, rewrite
from precast.errors import ObjectNotFoundError
from precast.findings import Finding
from precast.pipelines.mesh.frame import BITS
from precast.pipelines.mesh.plan import MESH_DIRECTORY, MeshPlan
from precast.pipelines.properties import former_columns, former_properties
from precast.precomputed.mesh_info import MeshInfo
from precast.precomputed.objects import INFO_KEY, PROVENANCE_KEY, SEGMENT_PROPERTIES_DIRECTORY, ObjectKind
from precast.precomputed.segment_columns import ColumnTable, SegmentStatistics, build_properties
from precast.precomputed.sharding import ShardingSpec
from precast.storage import Store

__all__ = ["link", "write_mesh_info", "write_properties"]

Array = npt.NDArray[Any]


def write_properties(plan: MeshPlan, store: Store, objects: Array) -> tuple[int, list[Finding]]:
    """Write the segment properties of all meshed objects; returns their number and what was noticed.

    Columns come from the table that was given, else from the properties that the dataset has already.
    """
    rows = plan.rows[np.isin(plan.rows["id"], objects["id"])]
    statistics = SegmentStatistics(
        rows=rows,
        voxel_size=plan.volume.info.scales[0].resolution,
        area_um2=objects["area_nm2"] * 1e-6,
        faces=objects["faces"],
    )
    columns, findings = _columns(plan)
    built, found = build_properties(statistics, columns)
    store.write(
        f"{SEGMENT_PROPERTIES_DIRECTORY}/{INFO_KEY}", built.to_bytes(), attributes(ObjectKind.SEGMENT_PROPERTIES)
    )
    return len(built.ids), [*findings, *found]


def _columns(plan: MeshPlan) -> tuple[ColumnTable | None, list[Finding]]:
    if plan.options.csv is not None:
        from precast.sources.columns import read_columns

        columns, findings = read_columns(plan.options.csv, None)
        return columns, list(findings)
    former, missed = former_properties(plan.volume)
    return former_columns(former), missed


def write_mesh_info(plan: MeshPlan, store: Store, sharding: ShardingSpec | None) -> None:
    """Write the ``info`` of the mesh directory."""
    properties = None if plan.options.no_properties else f"../{SEGMENT_PROPERTIES_DIRECTORY}"
    if plan.options.format == "legacy":
        info = MeshInfo(kind="legacy", segment_properties=properties)
    else:
        x, y, z = (float(edge) for edge in plan.volume.info.scales[0].resolution)
        info = MeshInfo(
            vertex_quantization_bits=BITS,
            transform=(x, 0.0, 0.0, 0.0, 0.0, y, 0.0, 0.0, 0.0, 0.0, z, 0.0),
            lod_scale_multiplier=1.0,
            sharding=sharding,
            segment_properties=properties,
        )
    store.write(f"{MESH_DIRECTORY}/{INFO_KEY}", info.to_bytes(), attributes(ObjectKind.MESH_INFO))


def link(plan: MeshPlan, store: Store) -> None:
    """Enter meshes and properties into the volume's ``info``, and the work into its provenance; again is fine."""
    _record(plan, store)
    link_parts(
        store,
        mesh=MESH_DIRECTORY,
        segment_properties=None if plan.options.no_properties else SEGMENT_PROPERTIES_DIRECTORY,
    )


def _record(plan: MeshPlan, store: Store) -> None:
    """Add the meshing to the dataset's provenance, in place of a former one; a damaged provenance is left alone."""
    step = {"tool": "precast", "version": __version__, "task": "mesh", "options": plan.options.result_options()}
    try:
        value = json.loads(store.read(PROVENANCE_KEY))
    except ObjectNotFoundError:
        value = {"description": "", "owners": [], "sources": [], "processing": []}
    except ValueError:
        return
    if not isinstance(value, dict) or not isinstance(value.setdefault("processing", []), list):
        return
    steps = [s for s in value["processing"] if not (isinstance(s, dict) and s.get("task") == "mesh")]
    value["processing"] = [*steps, step]
    data = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    rewrite(store, PROVENANCE_KEY, data.encode(), ObjectKind.PROVENANCE)
