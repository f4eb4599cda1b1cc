"""``publish --public``: everybody may read what was published, with browsers too; looked at as a viewer does."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from precast.checks import CheckOptions, Report, check
from precast.errors import AccessDeniedError, MissingExtraError, PrecastError, StorageError, UsageError
from precast.execution.progress import NoProgress, Progress
from precast.hosting.link import LinkSummary, link
from precast.hosting.public_access import (
    SettingChange,
    azure_commands,
    google_commands,
    google_lets_read,
    merge_cors,
    merge_google_cors,
    merge_google_policy,
    merge_policy,
)
from precast.precomputed.objects import COLLECTION_KEY, INFO_KEY
from precast.storage import CloudStore, HttpStore, Store
from precast.storage.google_api import GoogleBucket
from precast.storage.s3_api import NotOfferedError, S3Bucket

__all__ = ["PublicPlan", "Viewed", "look", "make_public", "plan_public", "plan_text"]

PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Between looks: stores may answer by old settings for a while."""

BLOCKS_POLICY = ("BlockPublicPolicy", "RestrictPublicBuckets")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicPlan:
    """What has to be changed so that everybody can read.

    Attributes
    ----------
    destination, url
        The place, and its address for everybody.
    changes
        Settings of the bucket that would be changed.
    notes
        What was noticed.
    blocked
        What forbids public access, and only the user may change.
    lift
        The commands that change it; empty if none does.
    commands
        What is left to the user on a store whose settings precast does not change.
    """

    destination: str
    url: str
    changes: tuple[SettingChange, ...] = ()
    notes: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    lift: str = ""
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewed:
    """What a viewer meets at the address for everybody.

    Attributes
    ----------
    url
        The address.
    reports
        What the check of the web server found, for each place that viewers are given.
    link
        The link; None if there are errors.
    """

    url: str
    reports: tuple[Report, ...]
    link: LinkSummary | None

    @property
    def ok(self) -> bool:
        """Whether there are no errors."""
        return all(report.ok for report in self.reports)


def plan_public(store: Store) -> PublicPlan:
    """Tell what :func:`make_public` would change; nothing is changed.

    Raises
    ------
    UsageError
        If it is no bucket, or a statement of the policy is in the way.
    AccessDeniedError, StorageError
        If settings may not be read, or there is no such bucket.
    """
    if not isinstance(store, CloudStore):
        raise UsageError(
            f"--public is for buckets, and {store.url} is none",
            hint="precast hosting prints the configuration of web servers",
            where=store.url,
        )
    if store.options.anonymous:
        raise UsageError("--public changes settings, which --anonymous may not", hint="leave one of them out")
    url = store.public_url()
    if store.scheme == "gs":
        try:
            return _plan_google(GoogleBucket(store))
        except MissingExtraError as error:
            note = f"{error.message}: {error.hint}"
            commands = tuple(google_commands(store.bucket, store.prefix))
            return PublicPlan(destination=store.url, url=url, notes=(note,), commands=commands)
    if store.scheme == "az":
        return PublicPlan(destination=store.url, url=url, commands=tuple(azure_commands(_account(url), store.bucket)))
    return _plan_s3(S3Bucket(store))


def _account(url: str) -> str:
    host, _, path = url.partition("://")[2].partition("/")
    return host.partition(".")[0] if host.endswith(".blob.core.windows.net") else path.partition("/")[0]


def _plan_google(bucket: GoogleBucket) -> PublicPlan:
    store = bucket.store
    changes, blocked, lift, notes = [], [], [], []
    settings = bucket.settings()
    access = settings.get("iamConfiguration", {})
    rules = settings.get("cors", [])
    merged = merge_google_cors(rules)
    if merged is not None:
        changes.append(SettingChange(name="CORS", before=rules or None, after=merged))
    update = f"gcloud storage buckets update gs://{shlex.quote(store.bucket)}"
    if access.get("publicAccessPrevention") == "enforced":
        blocked.append("public access prevention is enforced")
        lift.append(f"{update} --no-public-access-prevention")
    uniform = access.get("uniformBucketLevelAccess", {}).get("enabled") is True
    if store.prefix and not uniform:
        blocked.append("access to a prefix alone takes uniform bucket-level access, which is off")
        lift.append(f"{update} --uniform-bucket-level-access")
    else:
        try:
            whole = store.prefix and google_lets_read(bucket.policy(""))
        except AccessDeniedError as error:
            whole = False
            notes.append(f"{error.message}: whether everybody may read the whole bucket already is not known")
        policy = None if whole else bucket.policy(store.prefix)
        wanted = None if whole else merge_google_policy(policy)
        if wanted is not None:
            name = "policy of the managed folder" if store.prefix else "policy"
            changes.append(SettingChange(name=name, before=policy, after=wanted))
    return PublicPlan(
        destination=store.url,
        url=store.public_url(),
        changes=tuple(changes),
        notes=tuple(notes),
        blocked=tuple(blocked),
        lift=" && ".join(lift),
    )


def _make_google(bucket: GoogleBucket, plan: PublicPlan) -> bool:
    changed = False
    settings = bucket.settings()
    rules = merge_google_cors(settings.get("cors", []))
    if rules is not None and any(change.name == "CORS" for change in plan.changes):
        bucket.set_cors(rules, str(settings.get("metageneration", "")))
        changed = True
    if plan.blocked:
        raise _blocked(plan)
    if any(change.name.startswith("policy") for change in plan.changes):
        policy = merge_google_policy(bucket.policy(bucket.store.prefix))
        if policy is not None:
            try:
                bucket.set_policy(bucket.store.prefix, policy)
            except (AccessDeniedError, StorageError) as error:
                text = f"the data are at {plan.destination}, but are not public: {error.message}"
                raise AccessDeniedError(text, hint=error.hint, where=error.where) from None
            changed = True
    return changed


def _blocked(plan: PublicPlan) -> AccessDeniedError:
    return AccessDeniedError(
        f"the data are at {plan.destination}, but nobody else can read them: {'; '.join(plan.blocked)}",
        hint=f"if the bucket may hold public data: {plan.lift}\nthen run the same command again",
        where=plan.destination,
    )


def _plan_s3(bucket: S3Bucket) -> PublicPlan:
    changes, notes = [], []
    try:
        rules = bucket.cors()
        merged = merge_cors(rules)
        if merged is not None:
            changes.append(SettingChange(name="CORS", before=rules or None, after=merged))
    except NotOfferedError as error:
        notes.append(f"{error.message}; the check says whether viewers can read without")
    try:
        policy = bucket.policy()
        wanted = merge_policy(policy, bucket.name, bucket.store.prefix, bucket.partition)
        if wanted is not None:
            changes.append(SettingChange(name="policy", before=policy, after=wanted))
    except NotOfferedError as error:
        notes.append(f"{error.message}; the check says whether everybody can read")
    blocked: Sequence[str] = ()
    lift = ""
    try:
        block = bucket.public_access_block()
        names = [name for name in BLOCKS_POLICY if block.get(name)]
        blocked = (f"Block Public Access of the bucket is on ({', '.join(names)})",) if names else ()
        lift = _lift(bucket.name, block)
    except NotOfferedError:
        pass  # nothing can be blocked that is not there
    except AccessDeniedError as error:
        notes.append(f"{error.message}: whether public access is blocked is not known ({error.hint})")
    return PublicPlan(
        destination=bucket.store.url,
        url=bucket.store.public_url(),
        changes=tuple(changes),
        notes=tuple(notes),
        blocked=tuple(blocked),
        lift=lift if blocked else "",
    )


def _lift(bucket: str, block: dict[str, bool]) -> str:
    names = ("BlockPublicAcls", "IgnorePublicAcls", *BLOCKS_POLICY)
    values = {name: block.get(name, False) and name not in BLOCKS_POLICY for name in names}
    text = ",".join(f"{name}={str(value).lower()}" for name, value in values.items())
    return (
        f"aws s3api put-public-access-block --bucket {shlex.quote(bucket)} --public-access-block-configuration {text}"
    )


def make_public(store: Store, plan: PublicPlan) -> bool:
    """Change what is planned; what others have changed meanwhile stays. Returns whether anything was changed.

    Raises
    ------
    AccessDeniedError
        If public access is blocked, or the settings may not be changed; the error names the permission.
    StorageError
        If a setting cannot be written.
    """
    if plan.commands or not isinstance(store, CloudStore):
        return False
    if store.scheme == "gs":
        return _make_google(GoogleBucket(store), plan)
    bucket = S3Bucket(store)
    changed = False
    if any(change.name == "CORS" for change in plan.changes):
        rules = merge_cors(bucket.cors())
        if rules is not None:
            try:
                bucket.set_cors(rules)
                changed = True
            except NotOfferedError:
                pass  # it answered no rules, and takes none: what viewers meet is told by the check
    if plan.blocked:
        raise _blocked(plan)
    if any(change.name == "policy" for change in plan.changes):
        policy = merge_policy(bucket.policy(), bucket.name, store.prefix, bucket.partition)
        if policy is not None:
            try:
                bucket.set_policy(policy)
            except AccessDeniedError as error:
                text = f"the data are at {plan.destination}, but are not public: {error.message}"
                raise AccessDeniedError(text, hint=error.hint, where=error.where) from None
            changed = True
    return changed


# ---- what a viewer meets


def look(
    store: Store,
    names: Sequence[str] = ("",),
    *,
    listed: bool = False,
    wait: bool = False,
    progress: Progress | None = None,
) -> Viewed | None:
    """Check what was published at its address for everybody, and make the link.

    Parameters
    ----------
    store
        The place.
    names
        The datasets there; one without a name is the place itself.
    listed
        Whether a list names them, so that the place as a whole can be given to viewers.
    wait
        Whether settings were just changed, which stores take some seconds to go by.
    progress
        Told what happens.

    Returns
    -------
    Viewed or None
        None if it is no bucket, or nobody else may read it.
    """
    if not isinstance(store, CloudStore):
        return None
    url = store.public_url()
    if not wait and not _is_public(url, COLLECTION_KEY if listed else f"{names[0]}/{INFO_KEY}".lstrip("/")):
        return None
    places = [store.public_url()] if listed else [_at(store, name) for name in names]
    pauses = PAUSES_S if wait else ()
    for pause in (*pauses, None):
        reports, failed = _reports(places, progress or NoProgress())
        if failed is None and all(report.ok for report in reports):
            break
        if pause is None:
            if failed is not None:
                raise failed
            return Viewed(url=url, reports=tuple(reports), link=None)
        time.sleep(pause)
    return Viewed(url=url, reports=tuple(reports), link=link(*places))


def _reports(places: Sequence[str], progress: Progress) -> tuple[list[Report], PrecastError | None]:
    reports: list[Report] = []
    try:
        for place in places:
            reports.append(check(HttpStore(place), CheckOptions(), progress=progress))
    except PrecastError as error:
        return reports, error
    return reports, None


def _at(store: CloudStore, name: str) -> str:
    return store.child(name).public_url() if name else store.public_url()


def _is_public(url: str, key: str) -> bool:
    try:
        HttpStore(url).read(key)
    except (PrecastError, OSError):
        return False
    return True


def plan_text(plan: PublicPlan) -> str:
    """Return what would be changed, for a terminal."""
    lines: list[Any] = []
    for change in plan.changes:
        lines += [f"{change.name} of the bucket:", *(f"  {line}" for line in str(change).splitlines())]
    lines += [f"note: {note}" for note in plan.notes]
    if plan.blocked:
        lines.append(f"note: {'; '.join(plan.blocked)}: what is published stays private")
    if plan.commands:
        lines += ["precast does not change settings of this store. These commands make it public:"]
        lines += [f"  {line}" for line in plan.commands]
    elif not plan.changes:
        lines.append("The bucket needs no other settings.")
    return "\n".join(lines)
