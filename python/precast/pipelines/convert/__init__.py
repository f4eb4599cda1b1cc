"""From slices to a complete pyramid in one pass."""

from __future__ import annotations

from precast.pipelines.convert.options import ConvertOptions
from precast.pipelines.convert.plan import ConvertPlan
from precast.pipelines.convert.run import ConvertSummary, ScaleSummary, convert, plan_conversion

__all__ = ["ConvertOptions", "ConvertPlan", "ConvertSummary", "ScaleSummary", "convert", "plan_conversion"]
