"""Changes to JSON text that leave every other byte as it is.

Parsing and writing anew would lose what a model does not know, and the form of numbers: 4.60 would become 4.6.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from precast.errors import FormatError

__all__ = ["set_text_member", "set_text_strings"]

_BLANK = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class _Member:
    """Where a member lies: its key from ``start``, its value in ``value``; ``gap`` is the text between the two."""

    key: str
    start: int
    value: slice
    gap: str


def set_text_member(text: str, key: str, value: str, *, where: str = "info") -> str:
    """Return the JSON object ``text`` with the member ``key`` set to the string ``value``.

    A member that is there gets the new value; otherwise it becomes the last one, laid out like the one before.

    Raises
    ------
    FormatError
        If the text is not one strict JSON object.

    Examples
    --------
    >>> set_text_member('{"size": 4.60, "mesh": null}', "mesh", "m")
    '{"size": 4.60, "mesh": "m"}'
    >>> set_text_member('{"size": 4.60}', "mesh", "m")
    '{"size": 4.60, "mesh": "m"}'
    """
    try:
        members, opening = _scan(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where} is not a strict JSON object: {error}", where=where) from None
    new = json.dumps(value, ensure_ascii=False)
    for member in reversed(members):  # of members with the same key the last one counts
        if member.key == key:
            return text[: member.value.start] + new + text[member.value.stop :]
    name = json.dumps(key, ensure_ascii=False)
    if not members:
        return f"{text[:opening]}{name}: {new}{text[opening:]}"
    last = members[-1]
    if len(members) > 1:
        before = _blank_before(text, last.start)
    else:
        before = text[opening : last.start] or (" " if last.gap.endswith(" ") else "")
    return f"{text[: last.value.stop]},{before}{name}{last.gap}{new}{text[last.value.stop :]}"


def set_text_strings(text: str, changes: Mapping[tuple[str | int, ...], str], *, where: str = "info") -> str:
    """Return JSON text with other strings in the places of some values.

    Parameters
    ----------
    text, where
        The text, and its name for errors.
    changes
        The new strings, by keys of objects and positions in lists, from the outside in. The places must exist.

    Raises
    ------
    FormatError
        If the text is not one strict JSON object, or has no such place.

    Examples
    --------
    >>> set_text_strings('{"scales": [{"key": "a", "size": 4.60}]}', {("scales", 0, "key"): "b/a"})
    '{"scales": [{"key": "b/a", "size": 4.60}]}'
    """
    try:
        _scan(text)
        places = sorted(((_find(text, path), new) for path, new in changes.items()), reverse=True)
    except (ValueError, LookupError, RecursionError) as error:
        raise FormatError(f"{where} is not a strict JSON object with all places: {error}", where=where) from None
    for (start, stop), new in places:
        text = text[:start] + json.dumps(new, ensure_ascii=False) + text[stop:]
    return text


def _find(text: str, path: tuple[str | int, ...]) -> tuple[int, int]:
    """Return where the value of a place begins and ends, in text that is known to be well formed."""
    decoder = json.JSONDecoder()
    at = _skip(text, 0)
    for step in path:
        opening, position = text[at], 0
        if opening != ("{" if isinstance(step, str) else "["):
            raise LookupError(f"{path} is no place")
        found = None
        at = _skip(text, at + 1)
        while text[at] not in "]}":
            name: str | int = position
            if opening == "{":
                name, end = decoder.raw_decode(text, at)
                at = _skip(text, _skip(text, end) + 1)
            if name == step:  # of members with the same key the last one counts
                found = at
            _, end = decoder.raw_decode(text, at)
            at = _skip(text, end)
            at = _skip(text, at + 1) if text[at] == "," else at
            position += 1
        if found is None:
            raise LookupError(f"{path} is no place")
        at = found
    return at, decoder.raw_decode(text, at)[1]


def _blank_before(text: str, end: int) -> str:
    start = end
    while text[start - 1] in " \t\r\n":
        start -= 1
    return text[start:end]


def _scan(text: str) -> tuple[list[_Member], int]:
    """Return the members of the object, and where the first could begin."""
    if not isinstance(json.loads(text, parse_constant=_refuse_constant), dict):
        raise ValueError("it holds something else")
    # from here on the text is known to be well formed
    decoder = json.JSONDecoder()
    at = _skip(text, 0)
    opening = at + 1
    members: list[_Member] = []
    at = _skip(text, opening)
    while text[at] != "}":
        start = at
        key, end = decoder.raw_decode(text, start)
        begin = _skip(text, _skip(text, end) + 1)
        _, stop = decoder.raw_decode(text, begin)
        members.append(_Member(key, start, slice(begin, stop), text[end:begin]))
        at = _skip(text, stop)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return members, opening


def _skip(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
