"""What the options of all verbs share: metadata of their fields, checks, JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from precast.errors import UsageError
from precast.geometry import Vec3, VoxelSize

__all__ = ["check_choices", "help_text", "json_value", "thread_count"]


def help_text(text: str, **more: Any) -> dict[str, Any]:
    """Return the metadata of a field: its help, and ``choices``, ``bounds`` or ``metavar``."""
    return {"help": text, **more}


def check_choices(name: str, value: Any, metadata: Mapping[str, Any]) -> None:
    """Check a value against the ``choices`` or ``bounds`` of its field; None is always allowed.

    Raises
    ------
    UsageError
        If it is none of them; says what is allowed.
    """
    flag = f"--{name.replace('_', '-')}"
    if value is None:
        return
    choices = metadata.get("choices")
    if choices and value not in choices:
        raise UsageError(f"{flag} must be one of {', '.join(str(c) for c in choices)}; got {value!r}")
    if "bounds" in metadata:
        low, high = metadata["bounds"]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise UsageError(f"{flag} must be a whole number from {low} to {high}, got {value!r}")


def thread_count(threads: int | None) -> int:
    """Return the threads to use: as given, else all processors that this process may run on."""
    if threads is not None:
        return threads
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else (os.cpu_count() or 1)


def json_value(value: Any) -> Any:
    """Turn the value of an option into one of JSON."""
    if isinstance(value, VoxelSize):
        return list(value.text())
    if isinstance(value, Vec3):
        return list(value)
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, tuple):
        return [json_value(item) for item in value]
    return value
