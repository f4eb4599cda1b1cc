"""What would be changed so that everybody can read."""

from __future__ import annotations

from dataclasses import dataclass

from precast.errors import AccessDeniedError
from precast.hosting.public_access import SettingChange

__all__ = ["PublicPlan", "not_public", "refuse_blocked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicPlan:
    """What has to be changed so that everybody can read.

    Attributes
    ----------
    destination, url
        The place, and its address for everybody.
    changes
        Settings that would be changed.
    notes
        What was noticed.
    blocked
        Switches that forbid public access, which only the user may turn.
    obstacle
        What they do, in words; empty if there are none.
    lift
        The command that turns them; empty if none does.
    consent
        What has to be true before anybody gives that command.
    commands
        What is left to the user where precast cannot change the settings.
    """

    destination: str
    url: str
    changes: tuple[SettingChange, ...] = ()
    notes: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    obstacle: str = ""
    lift: str = ""
    consent: str = "the bucket may hold public data"
    commands: tuple[str, ...] = ()

    def changed(self, name: str) -> bool:
        """Whether a setting of this name would be changed."""
        return any(change.name == name for change in self.changes)


def refuse_blocked(plan: PublicPlan) -> None:
    """Raise an error if something forbids public access that only the user may change."""
    if plan.blocked:
        raise AccessDeniedError(
            f"the data are at {plan.destination}, but nobody else can read them: {plan.obstacle}",
            hint=f"if {plan.consent}: {plan.lift}\nthen run the same command again",
            where=plan.destination,
        )


def not_public(plan: PublicPlan, error: AccessDeniedError) -> AccessDeniedError:
    """Return a refusal of settings as one that says that the data are there."""
    text = f"the data are at {plan.destination}, but are not public: {error.message}"
    return AccessDeniedError(text, hint=error.hint, where=error.where)
