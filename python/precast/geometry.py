"""Vectors and boxes of whole voxels, and voxel sizes: frozen values that check themselves.

Geometry is always ``x, y, z``; arrays are ``(c, z, y, x)``. The only places where one turns into the
other are :meth:`Vec3.zyx` and :meth:`Box.slices`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from precast.errors import UsageError

__all__ = [
    "Box",
    "ResolutionLike",
    "Vec3",
    "VectorLike",
    "VoxelSize",
    "ceil_div",
    "parse_resolution",
    "parse_vector",
]


def ceil_div(a: int, b: int) -> int:
    """Return ``a / b`` rounded up, exact for negative numbers too."""
    return -(-a // b)


class Vec3(NamedTuple):
    """Three whole numbers, ``x, y, z``."""

    x: int
    y: int
    z: int

    @classmethod
    def of(cls, values: Sequence[int] | int) -> Vec3:
        """Build from three integers, or from one for all axes.

        Raises
        ------
        UsageError
            If there are not three values.
        """
        if isinstance(values, int):
            return cls(values, values, values)
        if len(values) != 3:
            raise UsageError(f"three values x,y,z are needed, got {len(values)}: {tuple(values)!r}")
        return cls(int(values[0]), int(values[1]), int(values[2]))

    def map(self, function: Callable[[int, int], int], other: Sequence[int]) -> Vec3:
        """Apply ``function(a, b)`` axis by axis."""
        return Vec3(function(self.x, other[0]), function(self.y, other[1]), function(self.z, other[2]))

    def plus(self, other: Sequence[int]) -> Vec3:
        """Add axis by axis."""
        return self.map(lambda a, b: a + b, other)

    def minus(self, other: Sequence[int]) -> Vec3:
        """Subtract axis by axis."""
        return self.map(lambda a, b: a - b, other)

    def times(self, other: Sequence[int]) -> Vec3:
        """Multiply axis by axis."""
        return self.map(lambda a, b: a * b, other)

    def floordiv(self, other: Sequence[int]) -> Vec3:
        """Divide axis by axis, rounding down."""
        return self.map(lambda a, b: a // b, other)

    def ceildiv(self, other: Sequence[int]) -> Vec3:
        """Divide axis by axis, rounding up."""
        return self.map(ceil_div, other)

    @property
    def volume(self) -> int:
        """Product of the three."""
        return self.x * self.y * self.z

    @property
    def zyx(self) -> tuple[int, int, int]:
        """The same three as an array shape."""
        return (self.z, self.y, self.x)

    def __str__(self) -> str:
        return f"{self.x},{self.y},{self.z}"


@dataclass(frozen=True, slots=True)
class Box:
    """The voxels ``start <= v < stop``, in x, y, z; possibly empty, never negative."""

    start: Vec3
    stop: Vec3

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", Vec3.of(self.start))
        object.__setattr__(self, "stop", Vec3.of(self.stop))
        if any(b < a for a, b in zip(self.start, self.stop, strict=True)):
            raise UsageError(f"a box must not end before it starts: {self}")

    @classmethod
    def of_size(cls, start: Sequence[int], size: Sequence[int]) -> Box:
        """Build from the first voxel and the extent."""
        start = Vec3.of(start)
        return cls(start, start.plus(size))

    @property
    def size(self) -> Vec3:
        """Extent per axis."""
        return self.stop.minus(self.start)

    @property
    def empty(self) -> bool:
        """Whether it holds no voxel."""
        return 0 in self.size

    def contains(self, other: Box) -> bool:
        """Whether every voxel of ``other`` lies inside."""
        return other.empty or (
            all(a <= b for a, b in zip(self.start, other.start, strict=True))
            and all(a >= b for a, b in zip(self.stop, other.stop, strict=True))
        )

    def intersect(self, other: Box) -> Box:
        """Return the common part; empty if there is none."""
        start = self.start.map(max, other.start)
        return Box(start, self.stop.map(min, other.stop).map(max, start))

    def shift(self, by: Sequence[int]) -> Box:
        """Return the box moved by ``by``."""
        return Box(self.start.plus(by), self.stop.plus(by))

    def slices(self, origin: Sequence[int] = (0, 0, 0)) -> tuple[slice, slice, slice, slice]:
        """Return the index into an array ``(c, z, y, x)`` whose first voxel is ``origin``."""
        a, b = self.start.minus(origin), self.stop.minus(origin)
        return (slice(None), slice(a.z, b.z), slice(a.y, b.y), slice(a.x, b.x))

    def tiles(self, size: Sequence[int]) -> Iterator[Box]:
        """Yield the boxes of ``size`` from ``start`` on, x fastest, the last ones cut off."""
        step = Vec3.of(size)
        for z in range(self.start.z, self.stop.z, step.z):
            for y in range(self.start.y, self.stop.y, step.y):
                for x in range(self.start.x, self.stop.x, step.x):
                    start = Vec3(x, y, z)
                    yield Box(start, start.plus(step).map(min, self.stop))

    def __str__(self) -> str:
        return f"[{self.start} .. {self.stop})"


@dataclass(frozen=True, slots=True)
class VoxelSize:
    """Edges of a voxel in nanometres, x, y, z, as exact decimals."""

    x: Decimal
    y: Decimal
    z: Decimal

    def __post_init__(self) -> None:
        for axis in "xyz":
            value = Decimal(getattr(self, axis))
            if not value.is_finite() or value <= 0:
                raise UsageError(
                    f"a voxel edge must be a positive number of nanometres, got {axis} = {value}",
                    hint="give --resolution x,y,z, for example 32,32,40",
                )
            object.__setattr__(self, axis, value)

    def __iter__(self) -> Iterator[Decimal]:
        return iter((self.x, self.y, self.z))

    def times(self, factors: Sequence[int]) -> VoxelSize:
        """Return the voxel size of a scale coarser by ``factors``."""
        return VoxelSize(self.x * factors[0], self.y * factors[1], self.z * factors[2])

    def text(self) -> tuple[str, str, str]:
        """Return the three as minimal decimals without exponent, as they stand in a scale key."""
        x, y, z = (_minimal(value) for value in self)
        return (x, y, z)

    @property
    def key(self) -> str:
        """The scale key, for example ``4.6_4.6_45``."""
        return "_".join(self.text())

    def __str__(self) -> str:
        return ",".join(self.text())


def _minimal(value: Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


VectorLike = str | int | Sequence[int]
ResolutionLike = str | VoxelSize | float | Sequence[int | float | Decimal]

_UNITS_NM = {"nm": Decimal(1), "um": Decimal(1000), "µm": Decimal(1000), "μm": Decimal(1000), "mm": Decimal(10**6)}


def parse_vector(value: VectorLike, name: str) -> Vec3:
    """Read ``x,y,z`` or one number for all axes.

    Raises
    ------
    UsageError
        If it is neither.
    """
    try:
        if isinstance(value, str):
            numbers = [int(part) for part in value.split(",")]
            return Vec3.of(numbers[0] if len(numbers) == 1 else numbers)
        return Vec3.of(value)
    except (ValueError, TypeError):
        raise UsageError(
            f"{name} must be three whole numbers x,y,z, or one for all axes; got {value!r}",
            hint="for example 64,64,64 or 64",
        ) from None


def parse_resolution(value: ResolutionLike) -> VoxelSize:
    """Read a voxel size: ``32,32,40``, ``4.6,4.6,45nm``, ``0.5,0.5,2um``, one number for all axes; nm by default.

    Raises
    ------
    UsageError
        If it is no such thing, or an edge is not positive.
    """
    if isinstance(value, VoxelSize):
        return value
    text = (
        value
        if isinstance(value, str)
        else ",".join(str(v) for v in (value if isinstance(value, Sequence) else [value]))
    )
    cleaned = text.strip()
    match = re.fullmatch(r"(.*?)\s*(nm|um|µm|μm|mm)?", cleaned)
    body, unit = (match.group(1), match.group(2) or "nm") if match else (cleaned, "nm")
    hint = "give x,y,z in nm (32,32,40) or with a unit (0.5,0.5,2um); one number counts for all axes"
    parts = body.split(",")
    try:
        edges = [Decimal(part.strip()) * _UNITS_NM[unit] for part in parts]
    except InvalidOperation:
        raise UsageError(f"not a voxel size: {text!r}", hint=hint) from None
    if len(edges) == 1:
        edges *= 3
    if len(edges) != 3:
        raise UsageError(f"a voxel size has three edges x,y,z, got {len(edges)}: {text!r}", hint=hint)
    return VoxelSize(*edges)
