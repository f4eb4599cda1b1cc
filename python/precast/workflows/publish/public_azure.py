"""``publish --public`` on Azure Blob Storage: CORS of the account, and a container whose blobs are public."""

from __future__ import annotations

from precast.errors import AccessDeniedError
from precast.hosting.public_access import SettingChange
from precast.hosting.public_azure import merge_azure_cors
from precast.storage.azure_api import FORBIDDEN, AzureContainer
from precast.workflows.publish.public_plan import PublicPlan, not_public, refuse_blocked

__all__ = ["make_azure_public", "plan_azure"]

BLOB = "blob"
OPEN = (BLOB, "container")
"""Levels at which everybody may read blobs; at the second one, list them too."""


def plan_azure(container: AzureContainer) -> PublicPlan:
    """Tell what :func:`make_azure_public` would change; nothing is changed."""
    changes, notes = [], []
    rules = container.cors()
    merged = merge_azure_cors(rules, container.account)
    if merged is not None:
        of = f"the whole account {container.account}, all its containers"
        changes.append(SettingChange(name="CORS", before=rules or None, after=merged, of=of))
    level = container.access_level()
    if level not in OPEN:
        of = f"the whole container {container.name}"
        changes.append(SettingChange(name="access level", before=level or "private", after=BLOB, of=of))
        notes.append(
            f"Azure has no limit to a prefix: everybody can read every blob of the container {container.name} "
            "whose name they know"
        )
    blocked = container.forbids_public_access()
    return PublicPlan(
        destination=container.store.url,
        url=container.store.public_url(),
        changes=tuple(changes),
        notes=tuple(notes),
        blocked=(FORBIDDEN,) if blocked else (),
        obstacle=f"the account {container.account} does not allow public access to its containers" if blocked else "",
        lift=container.lift if blocked else "",
        consent=f"the account {container.account} may hold public data",
    )


def make_azure_public(container: AzureContainer, plan: PublicPlan) -> bool:
    """Change what is planned; what others have changed meanwhile stays. Returns whether anything was changed."""
    refuse_blocked(plan)
    changed = False
    if plan.changed("access level") and container.access_level() not in OPEN:
        try:
            container.set_access_level(BLOB)
        except AccessDeniedError as error:
            raise not_public(plan, error) from None
        changed = True
    if plan.changed("CORS"):
        rules = merge_azure_cors(container.cors(), container.account)
        if rules is not None:
            container.set_cors(rules)
            changed = True
    return changed
