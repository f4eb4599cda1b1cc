"""What a bucket of Google's must be told so that everybody can read below a prefix; merged into what it is told.

Rules and bindings of others stay as they are. Nothing here talks to a store.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from precast.hosting.public_access import insert_rule
from precast.precomputed.server_lines import GCS_CORS, READ_METHODS

__all__ = ["folders_above", "google_commands", "is_open", "merge_google_cors", "open_policy", "shown_policy"]

EVERYBODY = "allUsers"
ROLE = "roles/storage.objectViewer"
READING = (
    ROLE,
    "roles/storage.legacyObjectReader",
    "roles/storage.objectUser",
    "roles/storage.objectAdmin",
    "roles/storage.admin",
)
"""Roles by which objects can be read."""


def merge_google_cors(rules: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """Return the CORS rules of a bucket with one by which viewers on any page can read; None if they can already.

    It is put where :func:`precast.hosting.public_access.merge_cors` would. ``responseHeader`` is both what pages may
    send and what they see of the answers.

    Examples
    --------
    >>> [rule["origin"] for rule in merge_google_cors([{"origin": ["https://lab.org"], "method": ["PUT"]}])]
    [['https://lab.org'], ['*']]
    >>> merge_google_cors(merge_google_cors([])) is None
    True
    """

    def ours(shown: list[str]) -> dict[str, Any]:
        rule = GCS_CORS[0]
        more = [name for name in shown if name.lower() not in {one.lower() for one in rule["responseHeader"]}]
        return rule | {"responseHeader": [*rule["responseHeader"], *more]}

    return insert_rule(rules, [_meant(rule) for rule in rules], ours)


def _meant(rule: Mapping[str, Any]) -> dict[str, Any]:
    methods = list(rule.get("method", ()))
    return {
        "AllowedOrigins": list(rule.get("origin", ())),
        "AllowedMethods": [*READ_METHODS, *methods] if "*" in methods else methods,
        "AllowedHeaders": list(rule.get("responseHeader", ())),
        "ExposeHeaders": list(rule.get("responseHeader", ())),
    }


def is_open(policy: Mapping[str, Any] | None) -> bool:
    """Tell whether everybody may read what a policy is of."""
    return any(
        EVERYBODY in one.get("members", ()) and one.get("role") in READING and not one.get("condition")
        for one in (policy or {}).get("bindings", ())
    )


def open_policy(policy: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a policy by which everybody may read, too; all else of it stays, its etag and version too.

    Examples
    --------
    >>> open_policy({"etag": "CAE="})
    {'etag': 'CAE=', 'bindings': [{'role': 'roles/storage.objectViewer', 'members': ['allUsers']}]}
    """
    bindings = [dict(one) for one in (policy or {}).get("bindings", ())]
    mine = next((one for one in bindings if one.get("role") == ROLE and not one.get("condition")), None)
    if mine is None:
        bindings.append({"role": ROLE, "members": [EVERYBODY]})
    elif EVERYBODY not in mine.get("members", ()):
        mine["members"] = [*mine.get("members", ()), EVERYBODY]
    return {**(policy or {}), "bindings": bindings}


def shown_policy(policy: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what of a policy people want to see."""
    return {"bindings": policy["bindings"]} if policy and policy.get("bindings") else None


def folders_above(prefix: str) -> list[str]:
    """Return the names of managed folders whose policies hold below a prefix, its own last.

    Examples
    --------
    >>> folders_above("p/labels")
    ['p/', 'p/labels/']
    """
    parts = prefix.split("/") if prefix else []
    return ["/".join(parts[: number + 1]) + "/" for number in range(len(parts))]


def google_commands(bucket: str, prefix: str) -> list[str]:
    """Return the commands by which everybody may read below a prefix on Google Cloud Storage."""
    cors = json.dumps(GCS_CORS)
    role = "--member=allUsers --role=roles/storage.objectViewer"
    start = [
        "# pages of other origins may read; this replaces the CORS setting of the bucket:",
        f"#   gcloud storage buckets describe gs://{bucket} --format='default(cors_config)' shows it",
        f"gcloud storage buckets update gs://{bucket} --cors-file=<(echo '{cors}')",
    ]
    if not prefix:
        return [
            *start,
            "# everybody may read the whole bucket",
            f"gcloud storage buckets add-iam-policy-binding gs://{bucket} {role}",
        ]
    return [
        *start,
        f"# everybody may read below {bucket}/{prefix}: that takes a folder of its own, and uniform access to the",
        "# bucket, which ends what access control lists of single objects allow",
        f"gcloud storage buckets update gs://{bucket} --uniform-bucket-level-access",
        f"gcloud storage managed-folders create gs://{bucket}/{prefix}/",
        f"gcloud storage managed-folders add-iam-policy-binding gs://{bucket}/{prefix}/ {role}",
        "# if public access prevention is enforced, no binding for allUsers is taken. To lift it:",
        f"#   gcloud storage buckets update gs://{bucket} --no-public-access-prevention",
    ]
