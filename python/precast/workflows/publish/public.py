"""``publish --public``: everybody may read what was published, with browsers too; looked at as a viewer does."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from precast.checks import CheckOptions, Report, check
from precast.dataset import open_layers
from precast.dataset.members import read_list
from precast.errors import AccessDeniedError, MissingExtraError, PrecastError, UsageError
from precast.execution.progress import NoProgress, Progress
from precast.hosting.link import LinkSummary, link
from precast.hosting.public_access import SettingChange, merge_cors, merge_policy
from precast.hosting.public_azure import azure_commands
from precast.hosting.public_google import google_commands
from precast.precomputed.objects import COLLECTION_KEY, INFO_KEY
from precast.storage import CloudStore, HttpStore, Store
from precast.storage.azure_api import AzureContainer
from precast.storage.cloud_clients import azure_access
from precast.storage.cloud_errors import NotOfferedError
from precast.storage.google_api import GoogleBucket
from precast.storage.s3_api import S3Bucket
from precast.workflows.publish.public_azure import make_azure_public, plan_azure
from precast.workflows.publish.public_google import make_google_public, plan_google
from precast.workflows.publish.public_plan import PublicPlan, not_public, refuse_blocked

__all__ = ["PublicPlan", "Viewed", "look", "make_public", "plan_public", "plan_text", "what_is_there"]

PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Between looks: stores may answer by old settings for a while."""

BLOCKS_POLICY = ("BlockPublicPolicy", "RestrictPublicBuckets")


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
    try:
        if store.scheme == "gs":
            return plan_google(GoogleBucket(store))
        if store.scheme == "az":
            return plan_azure(AzureContainer(store))
    except MissingExtraError as error:
        return PublicPlan(
            destination=store.url,
            url=url,
            commands=tuple(_commands(store)),
            notes=(f"{error.message}: {error.hint}, and precast changes them itself",),
        )
    return _plan_s3(S3Bucket(store))


def _commands(store: CloudStore) -> list[str]:
    if store.scheme == "gs":
        return google_commands(store.bucket, store.prefix)
    return azure_commands(azure_access(store.options).account, store.bucket)


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
        blocked = tuple(name for name in BLOCKS_POLICY if block.get(name))
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
        obstacle=f"Block Public Access of the bucket is on ({', '.join(blocked)})" if blocked else "",
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
        return make_google_public(GoogleBucket(store), plan)
    if store.scheme == "az":
        return make_azure_public(AzureContainer(store), plan)
    return _make_s3_public(S3Bucket(store), plan)


def _make_s3_public(bucket: S3Bucket, plan: PublicPlan) -> bool:
    changed = False
    if plan.changed("CORS"):
        rules = merge_cors(bucket.cors())
        if rules is not None:
            try:
                bucket.set_cors(rules)
                changed = True
            except NotOfferedError:
                pass  # it answered no rules, and takes none: what viewers meet is told by the check
    refuse_blocked(plan)
    if plan.changed("policy"):
        policy = merge_policy(bucket.policy(), bucket.name, bucket.store.prefix, bucket.partition)
        if policy is not None:
            try:
                bucket.set_policy(policy)
            except AccessDeniedError as error:
                raise not_public(plan, error) from None
            changed = True
    return changed


# ---- what a viewer meets


def what_is_there(store: Store) -> tuple[list[str], bool]:
    """Return the datasets at a place, and whether a list names them, as :func:`look` takes them.

    Raises
    ------
    ObjectNotFoundError
        If there is none.
    FormatError, AccessDeniedError, StorageError
        If one, or the list, cannot be read.
    """
    found = open_layers(store)
    listed = not found.single and read_list(store) is not None
    return [layer.path for layer in found.layers], listed


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
        lines += [f"{change.name} of {change.of}:", *(f"  {line}" for line in str(change).splitlines())]
    lines += [f"note: {note}" for note in plan.notes]
    if plan.blocked:
        lines.append(f"note: {plan.obstacle}: what is published stays private")
    if plan.commands:
        lines += ["These commands make it public:"]
        lines += [f"  {line}" for line in plan.commands]
    elif not plan.changes:
        lines.append("The bucket needs no other settings.")
    return "\n".join(lines)
