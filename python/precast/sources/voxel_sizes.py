"""Voxel sizes as files state them, turned into nanometres with exact decimals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from precast.findings import Finding, notice
from precast.geometry import VoxelSize

__all__ = ["Found", "TiffResolution", "from_imagej", "from_ome", "tidy"]

# Nanometres per unit; both micro signs (U+00B5 and U+03BC) and the escapes that ImageJ writes.
_UNITS = {
    "0.001": "pm",
    "0.1": "\u00e5 \u212b angstrom",
    "1": "nm nanometer nanometre",
    "1000": "\u00b5m \u03bcm \\u00b5m um micron micrometer micrometre",
    "1000000": "mm millimeter millimetre",
    "10000000": "cm centimeter centimetre",
    "100000000": "dm decimeter decimetre",
    "1000000000": "m meter metre",
    "25400000": "in inch",
}
UNITS = {name.lower(): Decimal(value) for value, names in _UNITS.items() for name in names.split()}
# Relative deviation that is noise of a conversion between units or of a binary fraction.
NOISE = Fraction(1, 10**6)
MOST_NOISE = Fraction(2, 10**5)


@dataclass(frozen=True, slots=True)
class Found:
    """A voxel size, where it came from, and what kept it from being complete."""

    size: VoxelSize | None = None
    origin: str = ""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class TiffResolution:
    """The tags XResolution, YResolution (pixels per unit, numerator and denominator) and ResolutionUnit."""

    x: tuple[int, int] | None
    y: tuple[int, int] | None
    unit: int

    def edges_nm(self) -> tuple[Decimal, Decimal] | None:
        """Return the pixel edges by the tag's own unit, None without an absolute one."""
        nm = {2: UNITS["inch"], 3: UNITS["cm"]}.get(self.unit)
        return None if nm is None else self.edges(nm)

    def edges(self, unit_nm: Decimal) -> tuple[Decimal, Decimal] | None:
        """Return the pixel edges x, y in nanometres if the unit has ``unit_nm``."""
        if self.x is None or self.y is None or 0 in (*self.x, *self.y):
            return None
        x, y = (tidy(Fraction(d, n) * Fraction(unit_nm), _noise_of(n)) for n, d in (self.x, self.y))
        return x, y


def _noise_of(numerator: int) -> Fraction:
    # Writers store a fraction over 10^6, so a small numerator holds few digits.
    return max(NOISE, min(MOST_NOISE, Fraction(1, 2 * numerator)))


def tidy(value: Fraction, noise: Fraction = NOISE) -> Decimal:
    """Return the decimal with the fewest digits within a relative ``noise`` of ``value``.

    Examples
    --------
    >>> tidy(Fraction("4000.000189989805"))
    Decimal('4000')
    >>> tidy(Fraction("4.6"))
    Decimal('4.6')
    """
    for places in range(12):
        scaled = Fraction(round(value * 10**places), 10**places)
        if scaled > 0 and abs(scaled - value) <= value * noise:
            return Decimal(scaled.numerator * (10**places // scaled.denominator)).scaleb(-places)
    return Decimal(value.numerator) / Decimal(value.denominator)


def _unit_nm(unit: str) -> Decimal | None:
    name = unit.strip().lower()
    return UNITS.get(name) or UNITS.get(name.removesuffix("s"))


def _length_nm(text: str | None, unit: str) -> Decimal | None:
    """Return ``text`` (a number) in nanometres; None unless it is positive and the unit known."""
    nm = _unit_nm(unit)
    if text is None or nm is None:
        return None
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        return None
    if not value.is_finite() or value <= 0:
        return None
    return tidy(Fraction(value) * Fraction(nm))


def from_ome(pixels: Mapping[str, str], resolution: TiffResolution, where: str) -> Found:
    """Return the voxel size from the attributes of the OME-XML element ``Pixels``.

    The default unit is the micrometre, as in the schema.
    """
    edges = [
        _length_nm(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "\u00b5m"))
        for axis in "XYZ"
    ]
    return _complete(edges, resolution, "OME-XML", where)


def from_imagej(metadata: Mapping[str, Any], resolution: TiffResolution, where: str) -> Found:
    """Return the voxel size from ImageJ's description: ``spacing`` and ``unit``; x and y are in the resolution tags."""
    unit = str(metadata.get("unit", ""))
    nm = _unit_nm(unit)
    xy = resolution.edges(nm) if nm is not None else None
    edges = [*(xy or (None, None)), _length_nm(str(metadata.get("spacing", "")), unit)]
    return _complete(edges, resolution, "ImageJ", where)


def _complete(edges: list[Decimal | None], resolution: TiffResolution, origin: str, where: str) -> Found:
    x, y, z = edges
    if z is not None and (x is None or y is None):
        xy = resolution.edges_nm()
        if xy is not None:
            (x, y), origin = xy, f"{origin} (z), TIFF XResolution (x, y)"
    if x is not None and y is not None and z is not None:
        return Found(VoxelSize(x, y, z), origin)
    known = [f"{axis} = {_plain(edge)} nm" for axis, edge in zip("xyz", (x, y, z), strict=True) if edge is not None]
    if not known:
        return Found()
    message = f"{origin} gives {' and '.join(known)}, but not the other edges of a voxel: it is not used"
    return Found(findings=(notice("PS120", where, message, "give --resolution x,y,z"),))


def _plain(value: Decimal) -> str:
    return format(value, "f")
