"""Generations of a published dataset: directories that hold what a later publication changed.

The ``info`` of a volume names the directories of its scales, meshes, skeletons and segment properties. A part that was
published anew lies under ``gen-<12 hexadecimal digits>/`` before its own path, so that the old one stays whole until
``info`` names the new one::

    32_32_40                      first published, and not changed since
    gen-3f9a0c61b2d4/64_64_40     changed by the publication of that number

Nothing under such a path is ever written with other bytes.
"""

from __future__ import annotations

import re

__all__ = ["generation_path", "plain_path"]

_PREFIX = re.compile(r"(gen-[0-9a-f]{12}/)+")


def generation_path(generation: str, path: str) -> str:
    """Return the directory of a part in a generation.

    Examples
    --------
    >>> generation_path("3f9a0c61b2d4", "64_64_40")
    'gen-3f9a0c61b2d4/64_64_40'
    """
    return f"gen-{generation}/{path}"


def plain_path(path: str) -> str:
    """Return a path without its generation.

    Examples
    --------
    >>> plain_path("gen-3f9a0c61b2d4/64_64_40"), plain_path("64_64_40")
    ('64_64_40', '64_64_40')
    """
    return _PREFIX.sub("", path, count=1) if _PREFIX.match(path) else path
