"""From a folder of slices to Neuroglancer: complete, exact precomputed volumes in one pass.

>>> import numpy, precast, tempfile
>>> folder = tempfile.mkdtemp()
>>> labels = numpy.zeros((40, 50, 60), numpy.uint32)  # z, y, x
>>> labels[10:20, 10:20, 10:30] = 7
>>> summary = precast.convert(labels, folder + "/labels", precast.ConvertOptions(resolution="32,32,40"))
>>> volume = precast.open(folder + "/labels")
>>> int(volume.scales[0][15, 15, 15])
7
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from precast import draco
    from precast.checks import CheckOptions, DiffOptions, DiffReport, Report, check, diff
    from precast.dataset import Scale, SegmentMesh, Volume, VolumeMeshes
    from precast.dataset import open_volume as open  # noqa: A004
    from precast.geometry import Box, Vec3, VoxelSize
    from precast.hosting.link import LinkOptions, LinkSummary, link
    from precast.hosting.server import DataServer, ServeOptions, serve
    from precast.hosting.snapshot import SnapshotOptions, SnapshotSummary, snapshot
    from precast.hosting.state import ViewOptions
    from precast.hosting.view import View, view
    from precast.pipelines.convert import ConvertOptions, ConvertPlan, ConvertSummary, convert, plan_conversion
    from precast.pipelines.export import ExportOptions, ExportSummary, export
    from precast.pipelines.mesh import MeshOptions, MeshPlan, MeshSummary, mesh, plan_meshing
    from precast.pipelines.properties import PropertiesOptions, PropertiesSummary, plan_properties, properties
    from precast.pipelines.sample import SampleOptions, sample
    from precast.storage import StoreOptions, open_store
    from precast.surfaces import Mesh, SurfaceMap, extract_surface
    from precast.workflows.build import BuildOptions, BuildSummary, build
    from precast.workflows.publish import (
        PublishOptions,
        PublishSummary,
        RemovalOptions,
        RemovalSummary,
        fix_headers,
        plan_publication,
        publish,
        rm,
    )

__all__ = [
    "Box",
    "BuildOptions",
    "BuildSummary",
    "CheckOptions",
    "ConvertOptions",
    "ConvertPlan",
    "ConvertSummary",
    "DataServer",
    "DiffOptions",
    "DiffReport",
    "ExportOptions",
    "ExportSummary",
    "LinkOptions",
    "LinkSummary",
    "Mesh",
    "MeshOptions",
    "MeshPlan",
    "MeshSummary",
    "PropertiesOptions",
    "PropertiesSummary",
    "PublishOptions",
    "PublishSummary",
    "RemovalOptions",
    "RemovalSummary",
    "Report",
    "SampleOptions",
    "Scale",
    "SegmentMesh",
    "ServeOptions",
    "SnapshotOptions",
    "SnapshotSummary",
    "StoreOptions",
    "SurfaceMap",
    "Vec3",
    "View",
    "ViewOptions",
    "Volume",
    "VolumeMeshes",
    "VoxelSize",
    "__version__",
    "build",
    "check",
    "convert",
    "diff",
    "draco",
    "export",
    "extract_surface",
    "fix_headers",
    "link",
    "mesh",
    "open",
    "open_store",
    "plan_conversion",
    "plan_meshing",
    "plan_properties",
    "plan_publication",
    "properties",
    "publish",
    "rm",
    "sample",
    "serve",
    "snapshot",
    "view",
]

# Module and attribute; no attribute: the module itself.
_HOMES: dict[str, tuple[str, str | None]] = {
    "Box": ("precast.geometry", "Box"),
    "Vec3": ("precast.geometry", "Vec3"),
    "VoxelSize": ("precast.geometry", "VoxelSize"),
    "Scale": ("precast.dataset", "Scale"),
    "SegmentMesh": ("precast.dataset", "SegmentMesh"),
    "Volume": ("precast.dataset", "Volume"),
    "VolumeMeshes": ("precast.dataset", "VolumeMeshes"),
    "open": ("precast.dataset", "open_volume"),
    "ConvertOptions": ("precast.pipelines.convert", "ConvertOptions"),
    "ConvertPlan": ("precast.pipelines.convert", "ConvertPlan"),
    "ConvertSummary": ("precast.pipelines.convert", "ConvertSummary"),
    "convert": ("precast.pipelines.convert", "convert"),
    "draco": ("precast.draco", None),
    "plan_conversion": ("precast.pipelines.convert", "plan_conversion"),
    "MeshOptions": ("precast.pipelines.mesh", "MeshOptions"),
    "MeshPlan": ("precast.pipelines.mesh", "MeshPlan"),
    "MeshSummary": ("precast.pipelines.mesh", "MeshSummary"),
    "mesh": ("precast.pipelines.mesh", "mesh"),
    "plan_meshing": ("precast.pipelines.mesh", "plan_meshing"),
    "PropertiesOptions": ("precast.pipelines.properties", "PropertiesOptions"),
    "PropertiesSummary": ("precast.pipelines.properties", "PropertiesSummary"),
    "plan_properties": ("precast.pipelines.properties", "plan_properties"),
    "properties": ("precast.pipelines.properties", "properties"),
    "StoreOptions": ("precast.storage", "StoreOptions"),
    "open_store": ("precast.storage", "open_store"),
    "Mesh": ("precast.surfaces", "Mesh"),
    "SurfaceMap": ("precast.surfaces", "SurfaceMap"),
    "extract_surface": ("precast.surfaces", "extract_surface"),
    "ExportOptions": ("precast.pipelines.export", "ExportOptions"),
    "ExportSummary": ("precast.pipelines.export", "ExportSummary"),
    "export": ("precast.pipelines.export", "export"),
    "LinkOptions": ("precast.hosting.link", "LinkOptions"),
    "LinkSummary": ("precast.hosting.link", "LinkSummary"),
    "link": ("precast.hosting.link", "link"),
    "SampleOptions": ("precast.pipelines.sample", "SampleOptions"),
    "sample": ("precast.pipelines.sample", "sample"),
    "ServeOptions": ("precast.hosting.server", "ServeOptions"),
    "DataServer": ("precast.hosting.server", "DataServer"),
    "serve": ("precast.hosting.server", "serve"),
    "SnapshotOptions": ("precast.hosting.snapshot", "SnapshotOptions"),
    "SnapshotSummary": ("precast.hosting.snapshot", "SnapshotSummary"),
    "snapshot": ("precast.hosting.snapshot", "snapshot"),
    "View": ("precast.hosting.view", "View"),
    "ViewOptions": ("precast.hosting.state", "ViewOptions"),
    "view": ("precast.hosting.view", "view"),
    "CheckOptions": ("precast.checks", "CheckOptions"),
    "DiffOptions": ("precast.checks", "DiffOptions"),
    "DiffReport": ("precast.checks", "DiffReport"),
    "Report": ("precast.checks", "Report"),
    "check": ("precast.checks", "check"),
    "BuildOptions": ("precast.workflows.build", "BuildOptions"),
    "BuildSummary": ("precast.workflows.build", "BuildSummary"),
    "PublishOptions": ("precast.workflows.publish", "PublishOptions"),
    "PublishSummary": ("precast.workflows.publish", "PublishSummary"),
    "RemovalOptions": ("precast.workflows.publish", "RemovalOptions"),
    "RemovalSummary": ("precast.workflows.publish", "RemovalSummary"),
    "fix_headers": ("precast.workflows.publish", "fix_headers"),
    "rm": ("precast.workflows.publish", "rm"),
    "plan_publication": ("precast.workflows.publish", "plan_publication"),
    "publish": ("precast.workflows.publish", "publish"),
    "build": ("precast.workflows.build", "build"),
    "diff": ("precast.checks", "diff"),
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use, so that importing precast is cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module 'precast' has no attribute {name!r}")
    import importlib

    module, attribute = _HOMES[name]
    home = importlib.import_module(module)
    value = home if attribute is None else getattr(home, attribute)
    globals()[name] = value
    return value
