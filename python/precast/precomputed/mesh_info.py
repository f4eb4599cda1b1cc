"""The ``info`` of a mesh directory: its model, its JSON, and the frame of what it describes.

Positions are kept in the *stored model*; ``transform``, three rows of four numbers, takes them to nanometres::

    nm = transform[:, :3] @ stored + transform[:, 3]

The older single-resolution format has no transform: its positions are nanometres.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import numpy.typing as npt

from precast.errors import FormatError
from precast.precomputed.sharding import ShardingSpec
from precast.precomputed.strict_json import json_file, parse_object

__all__ = ["IDENTITY", "MeshInfo", "Problem", "is_number", "refuse_problems"]

TYPES = {"multilod_draco": "neuroglancer_multilod_draco", "legacy": "neuroglancer_legacy_mesh"}
BITS = (10, 16)
IDENTITY = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)

F64 = npt.NDArray[np.float64]


class Problem(NamedTuple):
    """One thing that is wrong: the rule that it breaks, by a short name, and what is the case."""

    rule: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshInfo:
    """The ``info`` of a mesh directory.

    Attributes
    ----------
    kind
        ``multilod_draco`` or ``legacy``. The other fields except the last two belong to the former.
    vertex_quantization_bits
        10 or 16: positions in a fragment are integers of so many bits.
    transform
        12 numbers, three rows of four: from the stored model to nanometres.
    lod_scale_multiplier
        Factor of every ``lod_scales`` entry of a manifest.
    sharding
        How manifests and fragments are packed, or None for two files per object.
    segment_properties
        Relative directory; used only where the mesh directory is opened on its own.
    extra
        Other keys, kept as they are.
    """

    kind: str = "multilod_draco"
    vertex_quantization_bits: int = 16
    transform: tuple[float, ...] = IDENTITY
    lod_scale_multiplier: float = 1.0
    sharding: ShardingSpec | None = None
    segment_properties: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object; keys that do not belong to the kind are left out."""
        value: dict[str, Any] = {"@type": TYPES[self.kind]}
        if self.kind == "multilod_draco":
            value["vertex_quantization_bits"] = self.vertex_quantization_bits
            value["transform"] = [_number(number) for number in self.transform]
            value["lod_scale_multiplier"] = _number(self.lod_scale_multiplier)
            if self.sharding is not None:
                value["sharding"] = self.sharding.to_json()
        if self.segment_properties is not None:
            value["segment_properties"] = self.segment_properties
        return value | dict(self.extra)

    def to_bytes(self) -> bytes:
        """Return the file: UTF-8 JSON, strict, the same bytes for the same value.

        Raises
        ------
        FormatError
            If a value is not allowed; lists every problem.
        """
        value = self.to_json()
        refuse_problems(self.problems(value), "a mesh info cannot be written")
        return json_file(value)

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str = "info") -> MeshInfo:
        """Parse the file.

        Absent ``transform`` is the identity, and a ``sharding`` of null is taken as absent; the checks report both.

        Raises
        ------
        FormatError
            If it is not JSON or not a mesh that precast can read; the message lists *every* problem found.
        """
        value = parse_object(data, where)
        refuse_problems(cls.problems(value), f"{where} does not describe meshes that precast can read", where)
        kind = next(name for name, text in TYPES.items() if text == value["@type"])
        known = {"@type", "segment_properties"}
        link = value.get("segment_properties")
        if kind == "legacy":
            return cls(kind=kind, segment_properties=link, extra=_others(value, known))
        known |= {"vertex_quantization_bits", "transform", "lod_scale_multiplier", "sharding"}
        sharding = value.get("sharding")
        return cls(
            kind=kind,
            vertex_quantization_bits=int(value["vertex_quantization_bits"]),
            transform=tuple(float(number) for number in value.get("transform", IDENTITY)),
            lod_scale_multiplier=float(value["lod_scale_multiplier"]),
            sharding=None if sharding is None else ShardingSpec.from_json(sharding),
            segment_properties=link,
            extra=_others(value, known),
        )

    @staticmethod
    def problems(value: Mapping[str, Any]) -> list[Problem]:
        """Return everything that is wrong with a parsed ``info``: rules ``type``, ``fields``, ``transform``."""
        found = []
        if value.get("@type") not in TYPES.values():
            allowed = " or ".join(repr(text) for text in TYPES.values())
            return [Problem("type", f"@type: must be {allowed}, got {value.get('@type')!r:.60}")]
        link = value.get("segment_properties")
        if link is not None and not isinstance(link, str):
            found.append(Problem("fields", f"segment_properties: must be a relative directory, got {link!r:.60}"))
        if value["@type"] == TYPES["legacy"]:
            return found
        bits = value.get("vertex_quantization_bits")
        if isinstance(bits, bool) or bits not in BITS:
            found.append(Problem("fields", f"vertex_quantization_bits: must be 10 or 16, got {bits!r:.60}"))
        multiplier = value.get("lod_scale_multiplier")
        if not is_number(multiplier) or multiplier <= 0:
            found.append(Problem("fields", f"lod_scale_multiplier: must be a number above 0, got {multiplier!r:.60}"))
        found += _transform_problems(value.get("transform", IDENTITY))
        sharding = value.get("sharding")
        if isinstance(sharding, dict):
            try:
                ShardingSpec.from_json(sharding)
            except FormatError as error:
                found.append(Problem("fields", error.message))
        elif sharding is not None:
            found.append(Problem("fields", f"sharding: must be an object, got {sharding!r:.60}"))
        return found

    @property
    def matrix(self) -> F64:
        """``transform`` as an array of three rows and four columns."""
        return np.array(self.transform, np.float64).reshape(3, 4)

    def to_nm(self, stored: npt.ArrayLike) -> F64:
        """Take positions of the stored model, shape (n, 3), to nanometres."""
        points = np.asarray(stored, np.float64)
        matrix = self.matrix
        diagonal = np.diagonal(matrix)
        if not (matrix[:, :3] - np.diag(diagonal)).any():  # exact where a product of matrices would round
            return points * diagonal + matrix[:, 3]
        return points @ matrix[:, :3].T + matrix[:, 3]

    @property
    def unit_nm(self) -> F64:
        """Length in nanometres of one unit of the stored model along each of its axes."""
        with np.errstate(over="ignore"):  # numbers of any length parse
            return np.asarray(np.linalg.norm(self.matrix[:, :3], axis=0), np.float64)


def refuse_problems(problems: list[Problem], what: str, where: str = "") -> None:
    """Raise a ``FormatError`` that lists every problem, if there is one."""
    if problems:
        listing = "\n".join(f"  {problem.text}" for problem in problems)
        raise FormatError(f"{what}:\n{listing}", where=where)


def _others(value: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key not in known}


def is_number(value: Any) -> TypeGuard[float]:
    """Tell whether a parsed value is a number that is finite as a float."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # whole numbers of any length parse
        return False


def _transform_problems(value: Any) -> list[Problem]:
    if not isinstance(value, list | tuple) or len(value) != 12 or not all(is_number(number) for number in value):
        return [Problem("transform", f"transform: must be 12 finite numbers, got {value!r:.120}")]
    rows = np.array(value, np.float64).reshape(3, 4)[:, :3]
    largest = np.abs(rows).max(axis=1)
    if not largest.all():
        return [Problem("transform", f"transform: must be invertible, got {list(value)!r:.120}")]
    rows = rows / largest[:, None]  # so that no square overflows
    if abs(np.linalg.det(rows / np.linalg.norm(rows, axis=1)[:, None])) < 1e-12:
        return [Problem("transform", f"transform: must be invertible, got {list(value)!r:.120}")]
    return []


def _number(value: float) -> int | float:
    return int(value) if float(value).is_integer() else float(value)
