"""What can be chosen about a publication."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from precast.execution.memory import default_budget_bytes, parse_bytes
from precast.pipelines.options import check_choices

__all__ = ["PublishOptions"]

DEFAULT_THREADS = 16
BYTES_OF_ONE = 40 << 20
"""Memory of one object that is being sent: a client of object stores keeps some parts of 8 MiB."""


@dataclass(frozen=True, kw_only=True)
class PublishOptions:
    """How to publish.

    Raises
    ------
    UsageError
        If a value is not allowed; the text says what is.
    """

    overwrite: bool = field(
        default=False,
        metadata={"help": "Publish although the destination holds something that precast did not publish there."},
    )
    reshard: bool = field(
        default=False,
        metadata={
            "help": "Pack chunks, and meshes with levels of detail, that have an object each into shards on the way; "
            "not a voxel or vertex changes."
        },
    )
    threads: int = field(
        default=DEFAULT_THREADS,
        metadata={"help": "Objects that are sent at once.", "bounds": (1, 1024), "metavar": "N"},
    )
    memory: Any = field(
        default=None,
        metadata={
            "help": "Memory for what is being sent; default: 1 GiB or a quarter of the limit, the smaller. Fewer "
            "objects are sent at once if it is little.",
            "metavar": "SIZE",
        },
    )

    def __post_init__(self) -> None:
        if self.memory is not None:
            object.__setattr__(self, "memory", parse_bytes(self.memory))
        for spec in fields(self):
            check_choices(spec.name, getattr(self, spec.name), spec.metadata)

    @property
    def at_once(self) -> int:
        """Objects that are sent at once within the memory."""
        budget = default_budget_bytes() if self.memory is None else int(self.memory)
        return max(1, min(self.threads, budget // BYTES_OF_ONE))
