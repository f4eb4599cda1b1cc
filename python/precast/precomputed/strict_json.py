"""JSON files of the format, as browsers read them: NaN and Infinity are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from precast.errors import FormatError

__all__ = ["json_file", "parse_object"]


def parse_object(data: bytes, where: str, *, parse_float: Callable[[str], Any] | None = None) -> dict[str, Any]:
    """Parse a file that holds a JSON object.

    Parameters
    ----------
    data, where
        The file, and its name for errors.
    parse_float
        What numbers with a point become; float by default.

    Raises
    ------
    FormatError
        If it is not strict JSON or not an object.
    """
    try:
        value = json.loads(data, parse_float=parse_float, parse_constant=_refuse_constant)
    except (ValueError, UnicodeDecodeError) as error:
        raise FormatError(f"{where} is not strict JSON: {error}", where=where) from None
    if not isinstance(value, dict):
        raise FormatError(f"{where} must hold a JSON object, not {type(value).__name__}", where=where)
    return value


def json_file(value: dict[str, Any]) -> bytes:
    """Return a file: UTF-8, strict, the same bytes for the same value."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
