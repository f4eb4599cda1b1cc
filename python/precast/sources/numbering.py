"""From file names to the order of slices: which number in the names counts, and which are missing or twice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from precast.errors import SourceError

__all__ = ["Numbering", "number_names"]

DIGITS = re.compile(r"([0-9]+)")
SHOWN = 8


@dataclass(frozen=True, slots=True)
class Numbering:
    """The slices in order.

    Attributes
    ----------
    names
        The file names, sorted.
    slices
        For each slice of the volume the index into ``names``, or -1 where the number is missing.
    missing
        The missing numbers as they would be reported; empty if there are none.
    rule
        How the order was found, for a person; empty where there was nothing to decide.
    """

    names: tuple[str, ...]
    slices: tuple[int, ...]
    missing: str
    rule: str


def number_names(names: Sequence[str], where: str, *, fill: bool) -> Numbering:
    """Order the names of slices by the run of digits that varies between them.

    Three or more numbers with the same step between all of them (10, 20, 30) are a complete series.

    Parameters
    ----------
    names
        Names with their extensions, at least one.
    where
        The folder, for messages.
    fill
        Whether missing numbers may stay open (-1 in ``slices``).

    Raises
    ------
    SourceError
        If the names follow no common pattern, a number occurs twice, or one is missing and ``fill`` is false.
    """
    parts = {name: DIGITS.split(name.rpartition(".")[0] or name) for name in names}
    runs = {name: tuple(int(digits) for digits in pieces[1::2]) for name, pieces in parts.items()}
    lengths = {len(numbers) for numbers in runs.values()}
    varying = [i for i in range(min(lengths)) if len({numbers[i] for numbers in runs.values()}) > 1]
    if len(lengths) > 1 or varying:
        _check_pattern(parts, where)
    if not varying:
        _check_twice(parts, runs, where)
        ordered = sorted(names, key=lambda name: (name.lower(), name))
        rule = "" if len(names) == 1 else "no number varies between the names: they are sorted as text"
        return Numbering(tuple(ordered), tuple(range(len(ordered))), "", rule)
    key = varying[-1]
    rule = ""
    if len(varying) > 1:
        last = [numbers[key] for numbers in runs.values()]
        rule = (
            f"{len(varying)} numbers vary between the names; the last of them ({min(last)} to {max(last)}) "
            "is taken as the slice number"
        )
    ordered = sorted(names, key=lambda name: (runs[name][key], name))
    numbers = [runs[name][key] for name in ordered]
    for i in range(1, len(ordered)):
        if numbers[i] == numbers[i - 1]:
            raise SourceError(
                f"slice number {numbers[i]} occurs twice: {ordered[i - 1]} and {ordered[i]}"
                + (f"; {rule}" if rule else ""),
                hint="remove one of them, or put channels, times or tiles into folders of their own",
                where=where,
            )
    gaps = [(a + 1, b - 1) for a, b in pairwise(numbers) if b - a > 1]
    steps = {b - a for a, b in pairwise(numbers)}
    if gaps and len(steps) == 1 and len(numbers) > 2:
        even = f"the slice numbers rise by {min(steps)} throughout ({numbers[0]} to {numbers[-1]}): none is missing"
        rule, gaps = f"{rule}; {even}" if rule else even, []
    if not gaps:
        return Numbering(tuple(ordered), tuple(range(len(ordered))), "", rule)
    missing = _ranges(gaps)
    count = sum(b - a + 1 for a, b in gaps)
    _check_gaps(ordered, numbers, gaps, fill=fill, rule=rule, where=where)
    index = {number: i for i, number in enumerate(numbers)}
    slices = tuple(index.get(number, -1) for number in range(numbers[0], numbers[-1] + 1))
    return Numbering(tuple(ordered), slices, f"{missing} ({count} in all)" if count > 1 else missing, rule)


def _check_gaps(
    ordered: Sequence[str],
    numbers: Sequence[int],
    gaps: Sequence[tuple[int, int]],
    *,
    fill: bool,
    rule: str,
    where: str,
) -> None:
    """Raise `SourceError` if slices are missing and may not be filled."""
    count = sum(b - a + 1 for a, b in gaps)
    if fill and count <= len(numbers):
        return
    at = next(i for i, number in enumerate(numbers) if number == gaps[0][0] - 1)
    what = f"slice number {_ranges(gaps)} is" if count == 1 else f"slice numbers {_ranges(gaps)} are"
    message = (
        f"{what} missing between {ordered[at]} and {ordered[at + 1]}"
        + (f" and in {len(gaps) - 1} other places" if len(gaps) > 1 else "")
        + (f"; {rule}" if rule else "")
    )
    if fill:
        raise SourceError(
            f"{message}: {count} would be filled, but at most as many as there are ({len(numbers)}) can be",
            hint="check that this number in the names is the slice number; else rename the files",
            where=where,
        )
    hint = "put the files back, or fill the gaps with --fill-gaps zero or --fill-gaps previous"
    raise SourceError(message, hint=hint, where=where)


def _ranges(gaps: Sequence[tuple[int, int]]) -> str:
    texts = [str(a) if a == b else f"{a}-{b}" for a, b in gaps[:SHOWN]]
    return ", ".join(texts) + (", ..." if len(gaps) > SHOWN else "")


def _pattern(pieces: Iterable[str]) -> str:
    return "#".join(list(pieces)[0::2])


def _check_pattern(parts: dict[str, list[str]], where: str) -> None:
    """Raise `SourceError` unless all names are the same text around their numbers."""
    patterns: dict[str, list[str]] = {}
    for name, pieces in parts.items():
        patterns.setdefault(_pattern(pieces).lower(), []).append(name)
    if len(patterns) == 1:
        return
    (pattern, most), *others = sorted(patterns.items(), key=lambda item: (-len(item[1]), item[0]))
    odd = sorted(name for _, members in others for name in members)
    shown = ", ".join(odd[:SHOWN]) + (", ..." if len(odd) > SHOWN else "")
    raise SourceError(
        f"the names of the slices do not follow one pattern: {len(most)} like {pattern!r} (# is a number), "
        f"but also {shown}",
        hint="move the files that are no slices elsewhere, or rename them like the others",
        where=where,
    )


def _check_twice(parts: dict[str, list[str]], runs: dict[str, tuple[int, ...]], where: str) -> None:
    """Raise `SourceError` if two names differ only in zeros before a number, in capitals, or in the extension."""
    seen: dict[tuple[str, tuple[int, ...]], str] = {}
    for name in sorted(parts):
        other = seen.setdefault((_pattern(parts[name]).lower(), runs[name]), name)
        if other != name:
            number = f"slice number {runs[name][-1]}" if runs[name] else "the same slice"
            raise SourceError(f"{number} occurs twice: {other} and {name}", hint="remove one of them", where=where)
