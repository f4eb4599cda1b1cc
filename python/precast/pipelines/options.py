"""What the options of all verbs share: metadata of their fields, checks, JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal
from typing import Any, ClassVar

from precast.errors import UsageError
from precast.geometry import Vec3, VoxelSize

__all__ = ["MEMORY", "THREADS", "WorkOptions", "check_choices", "help_text", "json_value", "thread_count"]


def help_text(text: str, **more: Any) -> dict[str, Any]:
    """Return the metadata of a field: its help, and ``choices``, ``bounds`` or ``metavar``."""
    return {"help": text, **more}


MEMORY = help_text("Memory for buffers; default: 1 GiB or a quarter of the limit, the smaller.", metavar="SIZE")
THREADS = help_text("Threads; default: all processors.", bounds=(1, 1024))


class WorkOptions:
    """What the options of work in blocks do alike.

    The fields stand in the dataclasses themselves, because their order is that of the help.
    """

    memory: int | None
    threads: int | None
    __dataclass_fields__: ClassVar[dict[str, Any]]

    NOT_IN_BYTES = ("memory", "threads", "scratch", "overwrite")
    """Options that do not change a byte of the result."""

    def _settle(self) -> None:
        """Read the size of the memory, and check every field that has choices or bounds."""
        if self.memory is not None:
            from precast.execution.memory import parse_bytes

            object.__setattr__(self, "memory", parse_bytes(self.memory))
        for spec in fields(self):
            check_choices(spec.name, getattr(self, spec.name), spec.metadata)

    @property
    def thread_count(self) -> int:
        """Threads to use: as given, else all processors that this process may run on."""
        return thread_count(self.threads)

    def result_options(self) -> dict[str, Any]:
        """Return, as JSON values, every option that the bytes of the result depend on."""
        return {
            spec.name: json_value(getattr(self, spec.name))
            for spec in fields(self)
            if spec.name not in self.NOT_IN_BYTES
        }


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
