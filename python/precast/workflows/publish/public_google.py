"""``publish --public`` on Google Cloud Storage: CORS of the bucket, and a managed folder that everybody may read."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from precast.errors import AccessDeniedError, PrecastError
from precast.hosting.public_access import SettingChange
from precast.hosting.public_google import folders_above, is_open, merge_google_cors, open_policy, shown_policy
from precast.storage.cloud_errors import NotOfferedError
from precast.storage.google_api import ChangedMeanwhileError, GoogleBucket
from precast.workflows.publish.public_plan import PublicPlan, not_public, refuse_blocked

__all__ = ["make_google_public", "plan_google"]

TRIES = 3
"""To merge with settings that others change at the same time."""

UNIFORM = "uniformBucketLevelAccess"
PREVENTION = "publicAccessPrevention"
LISTED = "who can read objects by this role can list their names too"


def plan_google(bucket: GoogleBucket) -> PublicPlan:
    """Tell what :func:`make_google_public` would change; nothing is changed."""
    changes: list[SettingChange] = []
    settings = bucket.settings()
    rules = settings.get("cors") or []
    merged = merge_google_cors(rules)
    if merged is not None:
        changes.append(SettingChange(name="CORS", before=rules or None, after=merged))
    access = settings.get("iamConfiguration") or {}
    uniform = bool((access.get(UNIFORM) or {}).get("enabled"))
    obstacles: dict[str, tuple[str, str, str]] = {}
    if access.get(PREVENTION) == "enforced":
        text = "public access prevention of the bucket is enforced"
        obstacles[PREVENTION] = (text, "--no-public-access-prevention", "the bucket may hold public data")
    notes = []
    change = None if _is_open_above(bucket, uniform=uniform) else _policy_change(bucket, uniform=uniform)
    if change is not None:
        changes.append(change)
        notes.append(LISTED)
        if bucket.store.prefix and not uniform:
            text = (
                "uniform bucket-level access is off, without which Google makes no prefix public, only single objects "
                "or all of the bucket"
            )
            consent = "access control lists of single objects in the bucket may lose their effect"
            obstacles[UNIFORM] = (text, "--uniform-bucket-level-access", consent)
    flags = " ".join(flag for _, flag, _ in obstacles.values())
    lift = f"gcloud storage buckets update {shlex.quote(bucket.url)} {flags}"
    return PublicPlan(
        destination=bucket.store.url,
        url=bucket.store.public_url(),
        changes=tuple(changes),
        notes=tuple(notes),
        blocked=tuple(obstacles),
        obstacle="; ".join(text for text, _, _ in obstacles.values()),
        lift=lift if obstacles else "",
        consent=", and ".join(consent for _, _, consent in obstacles.values()),
    )


def _is_open_above(bucket: GoogleBucket, *, uniform: bool) -> bool:
    """Tell whether a policy of more than the place, of a folder above or of the whole bucket, lets everybody read."""
    if not bucket.store.prefix:
        return False
    above = ["", *folders_above(bucket.store.prefix)[:-1]] if uniform else [""]
    for folder in above:
        try:
            if is_open(bucket.policy(folder)):
                return True
        except (AccessDeniedError, NotOfferedError):
            continue  # what may not be looked at here is not what has to be changed
    return False


def _policy_change(bucket: GoogleBucket, *, uniform: bool) -> SettingChange | None:
    folder = _own_folder(bucket)
    if not folder:
        policy, of = bucket.policy(), "the whole bucket"
    elif not uniform:
        policy, of = None, f"the managed folder {folder}"
    else:
        policy = bucket.policy(folder)
        of = f"the managed folder {folder}" + (", which is new" if policy is None else "")
    if is_open(policy):
        return None
    return SettingChange(name="policy", before=shown_policy(policy), after=shown_policy(open_policy(policy)), of=of)


def _own_folder(bucket: GoogleBucket) -> str:
    return f"{bucket.store.prefix}/" if bucket.store.prefix else ""


def make_google_public(bucket: GoogleBucket, plan: PublicPlan) -> bool:
    """Change what is planned; what others have changed meanwhile stays. Returns whether anything was changed."""
    refuse_blocked(plan)
    changed = False
    if plan.changed("CORS"):
        changed = _repeated(lambda: _set_cors(bucket))
    if plan.changed("policy"):
        try:
            changed = _repeated(lambda: _set_policy(bucket)) or changed
        except AccessDeniedError as error:
            raise not_public(plan, error) from None
    return changed


def _set_cors(bucket: GoogleBucket) -> bool:
    settings = bucket.settings()
    rules = merge_google_cors(settings.get("cors") or [])
    if rules is None:
        return False
    bucket.set_cors(rules, str(settings.get("metageneration", "")))
    return True


def _set_policy(bucket: GoogleBucket) -> bool:
    folder = _own_folder(bucket)
    policy = bucket.policy(folder)
    if policy is None:
        bucket.make_folder(folder)
        policy = bucket.policy(folder)
    if is_open(policy):
        return False
    bucket.set_policy(open_policy(policy), folder)
    return True


def _repeated(work: Callable[[], bool]) -> bool:
    last: PrecastError | None = None
    for _ in range(TRIES):
        try:
            return work() or last is not None
        except ChangedMeanwhileError as error:
            last = error
    assert last is not None
    raise last
