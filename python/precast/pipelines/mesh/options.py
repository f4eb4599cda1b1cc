"""Options of ``mesh``: the only home of their defaults, bounds and help texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

from precast.errors import UsageError
from precast.pipelines.options import MEMORY, THREADS, WorkOptions, help_text

__all__ = ["MeshOptions"]

_UNITS_NM = {"": 1, "nm": 1, "um": 1000, "µm": 1000, "μm": 1000, "mm": 10**6}
MAX_ID = 2**64 - 1
FILES = ("include_file", "exclude_file", "csv")
"""Options that name files of this machine."""


@dataclass(frozen=True, kw_only=True)
class MeshOptions(WorkOptions):
    """How to mesh. Values are checked and normalised when the object is made.

    Strings are accepted wherever the command line accepts them (``max_error="40nm"``, ``include="5,17"``).

    Raises
    ------
    UsageError
        If a value is not allowed; the text says what is.
    """

    scale: int | str = field(
        default="auto",
        metadata=help_text(
            "Scale to mesh: its number, or auto: the coarsest with no voxel edge above the error.", metavar="N"
        ),
    )
    max_error: Decimal | None = field(
        default=None,
        metadata=help_text(
            "Largest distance of the finest level to the surface of the voxels, in nm or with nm, um; "
            "default: the longest edge of a voxel of scale 0.",
            metavar="LENGTH",
        ),
    )
    faces: int | None = field(
        default=None,
        metadata=help_text(
            "Stop simplifying an object at this many faces; default: go as far as the error allows.",
            bounds=(4, 2**40),
        ),
    )
    min_voxels: int = field(
        default=1, metadata=help_text("Leave out objects with fewer voxels of scale 0.", bounds=(1, 2**62))
    )
    include: tuple[int, ...] | None = field(
        default=None, metadata=help_text("Mesh only these objects.", metavar="ID,...")
    )
    include_file: str | None = field(
        default=None, metadata=help_text("Mesh only the objects whose ids are in this text file.", metavar="FILE")
    )
    exclude: tuple[int, ...] | None = field(
        default=None, metadata=help_text("Leave these objects out.", metavar="ID,...")
    )
    exclude_file: str | None = field(
        default=None, metadata=help_text("Leave out the objects whose ids are in this text file.", metavar="FILE")
    )
    format: str = field(
        default="multires",
        metadata=help_text(
            "multires: levels of detail, Draco; legacy: one level, for older viewers.", choices=("multires", "legacy")
        ),
    )
    unsharded: bool = field(default=False, metadata=help_text("Two files per object instead of shards."))
    levels: int | None = field(
        default=None,
        metadata=help_text("Most levels of detail; default: as many as an object calls for.", bounds=(1, 16)),
    )
    fill_holes: bool = field(
        default=False, metadata=help_text("Fill cavities: what lies wholly inside an object gets no inner wall.")
    )
    open_border: bool = field(
        default=False, metadata=help_text("Leave surfaces open where the volume ends instead of closing them.")
    )
    csv: str | None = field(
        default=None,
        metadata=help_text("Columns for the segment properties: a table with an id column.", metavar="FILE"),
    )
    no_properties: bool = field(default=False, metadata=help_text("Write no segment properties."))
    memory: int | None = field(default=None, metadata=MEMORY)
    threads: int | None = field(default=None, metadata=THREADS)
    scratch: str | None = field(
        default=None,
        metadata=help_text("Directory for large temporary files; default: beside the dataset.", metavar="DIR"),
    )
    overwrite: bool = field(
        default=False, metadata=help_text("Replace existing meshes; they stay whole until the new ones are complete.")
    )

    if TYPE_CHECKING:  # what may be given is wider than what is kept; the defaults are those of the fields above

        def __init__(  # noqa: PLR0913
            self,
            *,
            scale: int | str = ...,
            max_error: str | float | Decimal | None = ...,
            faces: int | None = ...,
            min_voxels: int = ...,
            include: str | Sequence[int] | None = ...,
            include_file: str | None = ...,
            exclude: str | Sequence[int] | None = ...,
            exclude_file: str | None = ...,
            format: str = ...,  # noqa: A002
            unsharded: bool = ...,
            levels: int | None = ...,
            fill_holes: bool = ...,
            open_border: bool = ...,
            csv: str | None = ...,
            no_properties: bool = ...,
            memory: int | str | None = ...,
            threads: int | None = ...,
            scratch: str | None = ...,
            overwrite: bool = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        put("scale", _scale(self.scale))
        if self.max_error is not None:
            put("max_error", _length_nm(self.max_error, "--max-error"))
        for name in ("include", "exclude"):
            value = getattr(self, name)
            if value is not None:
                put(name, _ids(value, f"--{name}"))
        self._settle()
        if self.csv is not None and self.no_properties:
            raise UsageError("--csv gives columns of segment properties, which --no-properties leaves out")
        if self.format == "legacy":
            for name in ("unsharded", "levels"):
                if getattr(self, name):
                    raise UsageError(f"--{name} does not go with --format legacy, which has neither shards nor levels")

    def result_options(self) -> dict[str, Any]:
        """Return, as JSON values, every option that the result depends on; files by their names, without paths."""
        options = super().result_options()
        for name in FILES:
            if options[name] is not None:
                options[name] = Path(options[name]).name
        return options


def _scale(value: int | str) -> int | str:
    if value == "auto":
        return "auto"
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        raise UsageError(f"--scale must be auto or the number of a scale, from 0 on; got {value!r}")
    return number


def _length_nm(value: str | float | Decimal, flag: str) -> Decimal:
    text = str(value).strip()
    number = text.rstrip("nmuµμ ")
    unit = text[len(number) :].strip()
    try:
        length = Decimal(number) * _UNITS_NM[unit]
    except (InvalidOperation, KeyError):
        raise UsageError(f"{flag} must be a length, got {value!r}", hint="for example 40, 40nm or 0.5um") from None
    if not length.is_finite() or length <= 0:
        raise UsageError(f"{flag} must be positive, got {value!r}", hint="for example 40, 40nm or 0.5um")
    return length.normalize()


def _ids(value: str | Sequence[int], flag: str) -> tuple[int, ...]:
    parts: Sequence[Any] = value.replace(",", " ").split() if isinstance(value, str) else value
    out = []
    for part in parts:
        try:
            number = int(part)
        except (TypeError, ValueError):
            number = -1
        if not 1 <= number <= MAX_ID:
            raise UsageError(
                f"{flag} takes ids of objects, whole numbers from 1 to 2^64 - 1; got {part!r}",
                hint="0 is the background, which has no mesh" if number == 0 else "",
            )
        out.append(number)
    if not out:
        raise UsageError(f"{flag} names no object", hint="give ids, for example 5,17")
    return tuple(sorted(set(out)))
