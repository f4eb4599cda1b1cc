"""Every exception that precast raises on purpose.

The tree has one root, :class:`PrecastError`; each leaf is also the built-in exception that people
already catch. A message says what failed, the value, what was allowed and where; ``hint`` says what
to do. All of them pickle, because they come back from workers.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "AccessDeniedError",
    "CertificateError",
    "DestinationExistsError",
    "FormatError",
    "MemoryBudgetError",
    "MissingExtraError",
    "ObjectNotFoundError",
    "PrecastError",
    "SourceError",
    "StorageError",
    "TaskFailedError",
    "UsageError",
]


class PrecastError(Exception):
    """Root of the tree.

    Parameters
    ----------
    message
        What failed, with the value and what was allowed.
    hint
        What the user can do; shown on a line of its own.
    where
        File, key, scale or box; part of the JSON form of the error.
    """

    code = "error"

    def __init__(self, message: str, *, hint: str = "", where: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.hint, self.where)

    def to_json(self) -> dict[str, str]:
        """Return the error as the JSON object of ``--json``."""
        return {"code": self.code, "message": self.message, "hint": self.hint, "where": self.where}


def _rebuild(cls: type[PrecastError], message: str, hint: str, where: str) -> PrecastError:
    return cls(message, hint=hint, where=where)


class UsageError(PrecastError, ValueError):
    """An option or argument cannot be used."""

    code = "usage"


class FormatError(PrecastError, ValueError):
    """Stored bytes or metadata do not follow the format."""

    code = "format"


class SourceError(PrecastError, ValueError):
    """The input cannot be read as one consistent volume."""

    code = "source"


class ObjectNotFoundError(PrecastError, FileNotFoundError):
    """A file, key or dataset does not exist."""

    code = "not_found"


class DestinationExistsError(PrecastError, FileExistsError):
    """The destination holds something already."""

    code = "exists"


class AccessDeniedError(PrecastError, PermissionError):
    """The store refused access."""

    code = "access_denied"


class StorageError(PrecastError, OSError):
    """Reading or writing failed for another reason: disk full, input/output error."""

    code = "storage"


class CertificateError(StorageError):
    """A server cannot show that it is the one that its address names."""

    code = "certificate"


class MemoryBudgetError(PrecastError, MemoryError):
    """The work does not fit the memory budget in any arrangement."""

    code = "memory"


class MissingExtraError(PrecastError, ImportError):
    """An optional dependency is needed; the hint names the install command."""

    code = "missing_extra"


class TaskFailedError(PrecastError):
    """Tasks failed although the others went on."""

    code = "task_failed"
