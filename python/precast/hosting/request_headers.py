"""What a request for an object asks for beside its name: ranges, conditions, encodings (RFC 9110).

As the native server reads them (``range.rs``, ``conditions.rs``), for what Python answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum

__all__ = ["CONDITIONS", "Outcome", "evaluate", "first_wanted", "parse_ranges", "range_allowed", "takes"]

CONDITIONS = ("if-match", "if-none-match", "if-range")
"""Headers for which the entity tag must be known before anything is read."""

MOST_PARTS = 64
MOST_OVERLAPS = 2
LARGEST = (1 << 64) - 1
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
RANGE = re.compile(r"(?P<first>[0-9]*)-(?P<last>[0-9]*)")
TAG = re.compile(r'[, \t]*([^"]*"[^"]*")')
BLANK = " \t"

Ranges = Sequence[tuple[int, int]]


class Outcome(Enum):
    """What the conditions of a request come to."""

    PROCEED = "proceed"
    NOT_MODIFIED = "not modified"
    FAILED = "failed"


def parse_ranges(value: str, length: int) -> Ranges | None:
    """Read the value of ``Range`` for an object of some length.

    Returns
    -------
    sequence or None
        Half-open ranges within the object, in the order asked for; none if there are no such bytes, or the value cannot
        be understood; None if everything is to be sent.

    Examples
    --------
    >>> parse_ranges("bytes=2-5, -3", 10), parse_ranges("bytes=10-", 10), parse_ranges("lines=1-2", 10)
    ([(2, 6), (7, 10)], [], None)
    """
    unit, mark, texts = value.partition("=")
    unit = unit.strip(BLANK)
    if not mark or not TOKEN.fullmatch(unit):
        return []
    if unit.lower() != "bytes":
        return None
    specs = [spec for text in texts.split(",") if (spec := text.strip(BLANK))]
    parts: list[tuple[int, int]] = []
    end_of_nothing = False
    for spec in specs:
        found = RANGE.fullmatch(spec)
        if found is None or spec == "-":
            return []
        first, last = (min(int(text), LARGEST) if text else None for text in found.groups())
        if first is None:
            count = last or 0
            end_of_nothing |= count > 0 and not length
            if count and length:
                parts.append((max(0, length - count), length))
            continue
        last = LARGEST if last is None else last
        if last < first:
            return []
        if first < length:
            parts.append((first, min(last, length - 1) + 1))
    if len(specs) > MOST_PARTS or _overlaps(parts) > MOST_OVERLAPS:
        return []
    # the last bytes of nothing can be had, but no Content-Range can say so
    return None if end_of_nothing and not parts else parts


def _overlaps(parts: Ranges) -> int:
    return max((sum(start <= at < stop for start, stop in parts) for at, _ in parts), default=0)


def first_wanted(value: str) -> tuple[int, int] | None:
    """Return what a single range from its beginning asks for, half-open, whatever the length; None if it is no such."""
    unit, _, text = value.partition("=")
    found = RANGE.fullmatch(text.strip(BLANK))
    if unit.strip(BLANK).lower() != "bytes" or found is None or not found["first"]:
        return None
    first = min(int(found["first"]), LARGEST - 1)
    last = min(int(found["last"]), LARGEST - 1) if found["last"] else LARGEST - 1
    return (first, last + 1) if last >= first else None


def evaluate(headers: Mapping[str, str], etag: str) -> Outcome:
    """Evaluate ``If-Match`` and ``If-None-Match`` against a strong entity tag, quotes included, or an empty one."""
    wanted = headers.get("if-match")
    # strong comparison: weak tags match nothing
    if wanted is not None and wanted.strip() != "*" and etag not in TAG.findall(wanted):
        return Outcome.FAILED
    known = headers.get("if-none-match")
    if known is not None and (
        known.strip() == "*" or etag in [tag.removeprefix("W/") for tag in TAG.findall(known) if etag]
    ):
        return Outcome.NOT_MODIFIED
    return Outcome.PROCEED


def range_allowed(headers: Mapping[str, str], etag: str) -> bool:
    """Whether ``If-Range``, if there is one, lets a ``Range`` be heeded. No dates are sent, so none can match."""
    value = headers.get("if-range")
    return value is None or (bool(etag) and value.strip() == etag)


def takes(headers: Mapping[str, str], encoding: str) -> bool:
    """Whether a client takes an encoding. One that says nothing is given what everybody can read."""
    names = (encoding, "x-gzip") if encoding == "gzip" else (encoding,)
    anything = False
    for item in headers.get("accept-encoding", "").split(","):
        coding, *settings = (part.strip() for part in item.split(";"))
        refused = any(_is_zero_weight(setting) for setting in settings)
        if coding.lower() in names:
            return not refused
        anything |= coding == "*" and not refused
    return anything


def _is_zero_weight(setting: str) -> bool:
    name, mark, value = setting.partition("=")
    try:
        return bool(mark) and name.strip().lower() == "q" and float(value) <= 0
    except ValueError:
        return False
