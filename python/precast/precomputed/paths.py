"""Relative paths in JSON files, as viewers read them."""

from __future__ import annotations

__all__ = ["normal_path"]


def normal_path(path: str) -> str:
    """Return a path without empty and ``.`` parts, with ``..`` resolved as far as it goes.

    A leading slash does not make a path absolute. What climbs out of the directory keeps its ``..`` in front.

    Examples
    --------
    >>> normal_path("/mesh//./lod0/..")
    'mesh'
    >>> normal_path("../other/8_8_8")
    '../other/8_8_8'
    """
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
