"""Rules about datasets and hosting, one function each, with stable codes."""

from __future__ import annotations

from precast.checks.meshes import check_meshes
from precast.checks.properties import check_properties
from precast.checks.rules import Rule, catalogue

__all__ = ["Rule", "catalogue", "check_meshes", "check_properties"]
