"""Rules about datasets and hosting, one function each, with stable codes."""

from __future__ import annotations

from precast.checks.dataset import check
from precast.checks.difference import DiffReport, diff
from precast.checks.meshes import check_meshes
from precast.checks.options import CheckOptions, DiffOptions
from precast.checks.properties import check_properties
from precast.checks.report import DatasetReport, PartReport, PlaceReport, Report, ScaleReport
from precast.checks.rules import Rule, catalogue

__all__ = [
    "CheckOptions",
    "DatasetReport",
    "DiffOptions",
    "DiffReport",
    "PartReport",
    "PlaceReport",
    "Report",
    "Rule",
    "ScaleReport",
    "catalogue",
    "check",
    "check_meshes",
    "check_properties",
    "diff",
]
