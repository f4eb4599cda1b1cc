"""The space that the ``info`` of an annotation dataset spans: its axes, their units, its bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from precast.errors import FormatError

__all__ = ["ANNOTATIONS_TYPE", "AnnotationSpace"]

ANNOTATIONS_TYPE = "neuroglancer_annotations_v1"
METRES = {"m": 0, "km": 3, "mm": -3, "um": -6, "µm": -6, "nm": -9, "pm": -12}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationSpace:
    """Axes and bounds.

    Attributes
    ----------
    names
        Of the axes, in order.
    scales_nm
        Size of a unit step along each axis in nm, None for an axis that is no length.
    lower, upper
        Bounds in unit steps.
    """

    names: tuple[str, ...]
    scales_nm: tuple[float | None, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, where: str = "info") -> AnnotationSpace:
        """Read the keys ``dimensions``, ``lower_bound`` and ``upper_bound``.

        Raises
        ------
        FormatError
            If they do not fit the format; lists every problem.
        """
        problems: list[str] = []
        raw = value.get("dimensions")
        if not isinstance(raw, dict) or not raw:
            problems.append(f"dimensions: must be an object of axes, got {raw!r:.60}")
            raw = {}
        scales = []
        for name, scale in raw.items():
            good = isinstance(scale, list) and len(scale) == 2 and _is_number(scale[0]) and isinstance(scale[1], str)
            if not good or scale[0] <= 0:
                problems.append(f"dimensions.{name}: must be a positive number and a unit, got {scale!r:.60}")
                continue
            scales.append(scale[0] * 10.0 ** (METRES[scale[1]] + 9) if scale[1] in METRES else None)
        bounds = {}
        for key in ("lower_bound", "upper_bound"):
            bound = value.get(key)
            if not isinstance(bound, list) or len(bound) != len(raw) or not all(map(_is_number, bound)):
                problems.append(f"{key}: must be a list of {len(raw)} numbers, got {bound!r:.60}")
                bound = [0.0] * len(raw)
            bounds[key] = tuple(float(number) for number in bound)
        if problems:
            listing = "\n".join(f"  {problem}" for problem in problems)
            raise FormatError(f"{where} does not describe annotations:\n{listing}", where=where)
        return cls(names=tuple(raw), scales_nm=tuple(scales), lower=bounds["lower_bound"], upper=bounds["upper_bound"])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
