"""Geometry of a pyramid: which factors, which sizes, which offsets.

A scale coarser by factor f covers, per axis, the cells ``floor(o / f) .. ceil((o + s) / f)`` of the
finer scale's voxels ``o .. o + s``: cells lie on global multiples of f whatever the offset is, and the
cells at either end may hold fewer voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from precast.errors import UsageError
from precast.geometry import Box, Vec3, VoxelSize

__all__ = ["ScaleGeometry", "choose_factors", "coarser", "pyramid"]


@dataclass(frozen=True, slots=True)
class ScaleGeometry:
    """One scale: its voxels in its own absolute coordinates, its voxel size and how it came to be.

    Attributes
    ----------
    box
        ``voxel_offset`` to ``voxel_offset + size``.
    voxel_size
        Edge lengths in nm.
    factor
        Relative to the next finer scale; 1,1,1 for scale 0.
    reason
        One sentence for the plan: why that factor.
    """

    box: Box
    voxel_size: VoxelSize
    factor: Vec3
    reason: str


def coarser(box: Box, factor: Sequence[int]) -> Box:
    """Return the cells that cover ``box`` at a scale coarser by ``factor``."""
    return Box(box.start.floordiv(factor), box.stop.ceildiv(factor))


def choose_factors(size: Vec3, voxel_size: VoxelSize) -> Vec3:
    """Choose the factor to the next scale: an axis is halved iff its voxel edge is at most sqrt(2) times the smallest.

    Only axes longer than one voxel count. All 1 if no axis is longer than one voxel.
    """
    long_edges = [edge for edge, n in zip(voxel_size, size, strict=True) if n > 1]
    if not long_edges:
        return Vec3(1, 1, 1)
    smallest = min(long_edges)
    # edge <= sqrt(2) * smallest, exactly, in decimals
    chosen = (
        2 if n > 1 and edge * edge <= 2 * smallest * smallest else 1 for edge, n in zip(voxel_size, size, strict=True)
    )
    return Vec3.of(tuple(chosen))


def pyramid(
    box: Box,
    voxel_size: VoxelSize,
    chunk_size: Vec3,
    *,
    scales: int | None = None,
    factors: Sequence[Vec3] | None = None,
) -> tuple[ScaleGeometry, ...]:
    """Lay out all scales.

    Parameters
    ----------
    box
        Scale 0 in voxels, offset included.
    voxel_size
        Of scale 0, in nm.
    chunk_size
        Scales are added until one fits a single chunk.
    scales
        Exact number of scales instead; fewer if no axis is longer than one voxel before that.
    factors
        Factor of each step instead of the automatic ones; without ``scales`` their number decides.

    Raises
    ------
    UsageError
        If a given factor is not positive or is 1,1,1.
    """
    levels = [ScaleGeometry(box, voxel_size, Vec3(1, 1, 1), "the source")]
    wanted = scales if scales is not None else (len(factors) + 1 if factors is not None else None)
    while wanted is None or len(levels) < wanted:
        last = levels[-1]
        if wanted is None and all(n <= c for n, c in zip(last.box.size, chunk_size, strict=True)):
            break
        given = factors[len(levels) - 1] if factors is not None and len(levels) <= len(factors) else None
        if given is not None:
            if any(f < 1 for f in given) or given.volume == 1:
                raise UsageError(
                    f"a factor must be three whole numbers of at least 1, not all 1; got {given}",
                    hint='for example --factors "2,2,1;2,2,2"',
                )
            factor, reason = given, "given by --factors"
        else:
            factor = choose_factors(last.box.size, last.voxel_size)
            if factor.volume == 1:
                break
            reason = _reason(factor, last)
        levels.append(ScaleGeometry(coarser(last.box, factor), last.voxel_size.times(factor), factor, reason))
    return tuple(levels)


def _reason(factor: Vec3, finer: ScaleGeometry) -> str:
    axes = dict(zip("xyz", zip(factor, finer.voxel_size, finer.box.size, strict=True), strict=True))
    short = [axis for axis, (f, _, n) in axes.items() if f == 1 and n == 1]
    coarse = [axis for axis, (f, _, n) in axes.items() if f == 1 and n > 1]
    size = " x ".join(finer.voxel_size.text())
    parts = [f"voxels of {size} nm"]
    if coarse:
        parts.append(f"{' and '.join(coarse)} is left as it is: its edge is more than 1.41 times the smallest")
    if short:
        parts.append(f"{' and '.join(short)} is one voxel")
    if not coarse and not short:
        parts.append("near enough to cubes: all axes are halved")
    return "; ".join(parts)
