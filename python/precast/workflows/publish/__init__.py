"""``publish``: a dataset or a collection to another place, whole at every moment, changed later without a gap."""

from __future__ import annotations

from precast.workflows.publish.former import (
    Removal,
    RollbackSummary,
    plan_removal,
    remove_former_generations,
    roll_back,
    tell_former,
)
from precast.workflows.publish.headers import FixSummary, fix_headers, plan_fixes
from precast.workflows.publish.options import PublishOptions
from precast.workflows.publish.public import PublicPlan, Viewed, look, make_public, plan_public, what_is_there
from precast.workflows.publish.publication import (
    DatasetSummary,
    HeaderCount,
    PublishSummary,
    plan_publication,
    publish,
)
from precast.workflows.publish.remove import RemovalOptions, RemovalSummary, plan_rm, rm

__all__ = [
    "DatasetSummary",
    "FixSummary",
    "HeaderCount",
    "PublicPlan",
    "PublishOptions",
    "PublishSummary",
    "Removal",
    "RemovalOptions",
    "RemovalSummary",
    "RollbackSummary",
    "Viewed",
    "fix_headers",
    "look",
    "make_public",
    "plan_fixes",
    "plan_public",
    "plan_publication",
    "plan_removal",
    "plan_rm",
    "publish",
    "remove_former_generations",
    "rm",
    "roll_back",
    "tell_former",
    "what_is_there",
]
