"""What was made once and need not be made again to know what it is: sizes and checksums of shards, by what is in them.

A file of this machine, in the user's directory for such things; without it, everything is made once more.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress

from precast.execution.bucketwork import cache_directory

__all__ = ["Ledger"]


class Ledger:
    """Sizes and checksums by a digest of everything that they follow from.

    Parameters
    ----------
    name
        What it is about; each has a file of its own.
    """

    def __init__(self, name: str) -> None:
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        self._path = cache_directory() / "reshard" / f"{digest}.txt"
        self._known: dict[str, tuple[int, int]] = {}
        with suppress(OSError, UnicodeDecodeError):
            for line in self._path.read_text().splitlines():
                with suppress(ValueError):  # the last line of a process that was killed
                    key, size, crc, mark = line.split(" ")
                    if mark == "-":
                        self._known[key] = int(size), int(crc, 16)

    def find(self, key: str) -> tuple[int, int] | None:
        """Return size and CRC-32C; None if they are not known."""
        return self._known.get(key)

    def add(self, key: str, size: int, crc32c: int) -> None:
        """Write down size and CRC-32C, if the directory can be written."""
        self._known[key] = size, crc32c
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(f"\n{key} {size} {crc32c:08x} -\n")
