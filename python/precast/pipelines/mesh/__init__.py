"""Meshes of every object of a segmentation."""

from __future__ import annotations

from precast.pipelines.mesh.options import MeshOptions
from precast.pipelines.mesh.plan import MeshPlan
from precast.pipelines.mesh.run import Failure, MeshSummary, mesh, plan_meshing

__all__ = ["Failure", "MeshOptions", "MeshPlan", "MeshSummary", "mesh", "plan_meshing"]
