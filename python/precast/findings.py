"""What was noticed and did not stop the work: the bottom layer, imported by everything."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum

__all__ = ["Finding", "Severity"]


class Severity(StrEnum):
    """How much a finding matters; ``ERROR`` makes a command exit with 1."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One observation about data, with a stable code.

    Attributes
    ----------
    code
        Stable identifier, for example ``PC101``.
    severity
        One of :class:`Severity`.
    where
        File, key, scale or box that it concerns; empty if it concerns the whole.
    message
        What is the case, with the value.
    hint
        What to do about it; may be empty.
    """

    code: str
    severity: Severity
    where: str
    message: str
    hint: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the finding as a JSON object."""
        return {key: str(value) for key, value in asdict(self).items()}
