"""What can be chosen about a check or a comparison."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from precast.errors import UsageError
from precast.execution.memory import parse_bytes

__all__ = ["CheckOptions", "DiffOptions", "parse_share"]

SHARE_HINT = "for example 5%, 0.05, or 100% for everything"
THREADS = {"help": "Threads; default: all processors.", "bounds": (1, 1024)}
MEMORY = {"help": "Memory for voxels; default: 1 GiB or a quarter of the limit, the smaller.", "metavar": "SIZE"}


def parse_share(value: str | float) -> float:
    """Read a share: ``5%``, ``0.05``, ``1``.

    Raises
    ------
    UsageError
        If it is none, or not above 0 and at most 1.
    """
    text = str(value).strip()
    try:
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise UsageError(f"not a share: {value!r}", hint=SHARE_HINT) from None
    if not 0 < number <= 1:
        raise UsageError(f"a share is above 0 and at most 1, or 100%; got {value!r}", hint=SHARE_HINT)
    return number


def _settle(options: Any) -> None:
    """Check the fields that have bounds, and read a size in bytes."""
    if options.memory is not None:
        object.__setattr__(options, "memory", parse_bytes(options.memory))
    for spec in fields(options):
        value = getattr(options, spec.name)
        if "bounds" in spec.metadata and value is not None:
            low, high = spec.metadata["bounds"]
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise UsageError(f"--{spec.name} must be a whole number from {low} to {high}, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """How to check a dataset.

    Raises
    ------
    UsageError
        If a value is not allowed; the text says what is.
    """

    sample: float = field(
        default=1.0,
        metadata={
            "help": "Share of chunks, meshes and other objects to decode, for example 5%; all are counted.",
            "metavar": "SHARE",
        },
    )
    seed: int = field(default=0, metadata={"help": "Which ones a sample takes.", "bounds": (0, 2**31 - 1)})
    against: str | None = field(
        default=None,
        metadata={"help": "Compare scale 0, voxel for voxel, with what it was made from.", "metavar": "SOURCE"},
    )
    strict: bool = field(default=False, metadata={"help": "Warnings count as errors."})
    threads: int | None = field(default=None, metadata=THREADS)
    memory: int | None = field(default=None, metadata=MEMORY)

    if TYPE_CHECKING:  # what may be given is wider than what is kept

        def __init__(
            self,
            *,
            sample: str | float = ...,
            seed: int = ...,
            against: str | None = ...,
            strict: bool = ...,
            threads: int | None = ...,
            memory: str | int | None = ...,
        ) -> None: ...

    else:

        def __post_init__(self) -> None:
            object.__setattr__(self, "sample", parse_share(self.sample))
            _settle(self)


@dataclass(frozen=True, kw_only=True)
class DiffOptions:
    """How to compare two datasets.

    Raises
    ------
    UsageError
        If a value is not allowed; the text says what is.
    """

    trust_digests: bool = field(
        default=False,
        metadata={
            "help": "Compare the digests in provenance where both have one, not the voxels: fast, but it sees no "
            "change after the conversion."
        },
    )
    threads: int | None = field(default=None, metadata=THREADS)
    memory: int | None = field(default=None, metadata=MEMORY)

    if TYPE_CHECKING:  # what may be given is wider than what is kept

        def __init__(
            self, *, trust_digests: bool = ..., threads: int | None = ..., memory: str | int | None = ...
        ) -> None: ...

    else:

        def __post_init__(self) -> None:
            _settle(self)
