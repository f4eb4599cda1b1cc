"""A store that ends like a killed process, and what readers see of a dataset."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from precast.errors import ObjectNotFoundError
from precast.storage import Attributes, MemoryStore


def view(store: Any, prefix: str = "") -> dict[str, Any] | None:
    """Return all that the info of a volume leads to, as a reader finds it: the same wherever it lies.

    Knows nothing of generations: only of the info, as the format has it.
    """
    try:
        info = json.loads(store.read(f"{prefix}info"))
    except ObjectNotFoundError:
        return None
    seen: dict[str, Any] = {}
    parts = [*((scale, "key", f"scale {k}") for k, scale in enumerate(info["scales"]))]
    parts += [(info, name, name) for name in ("mesh", "segment_properties") if name in info]
    for where, name, label in parts:
        path = where[name]
        for stat in store.list(f"{prefix}{path}/"):
            seen[f"{label}/{stat.key.removeprefix(f'{prefix}{path}/')}"] = store.read(stat.key)
        where[name] = label
    seen["info"] = info
    return seen


def side(store: Any, name: str, prefix: str = "") -> bytes | None:
    try:
        return bytes(store.read(f"{prefix}{name}"))
    except ObjectNotFoundError:
        return None


class Watched(MemoryStore):
    """Ends at a certain write or removal, before or after it, as a killed process does; calls a reader after each."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[str, str]] = []
        self.end_at: int | None = None
        self.after = False
        self.reader: Callable[[], None] = lambda: None

    def _do(self, what: str, key: str, work: Callable[[], None]) -> None:
        number = len(self.operations)
        if self.end_at is not None and (number > self.end_at or (number == self.end_at and not self.after)):
            raise Killed
        work()
        self.operations.append((what, key))
        self.reader()
        if number == self.end_at:
            raise Killed

    def write(self, key: str, data: bytes, attributes: Attributes) -> None:
        self._do("write", key, lambda: MemoryStore.write(self, key, data, attributes))

    def delete(self, key: str) -> None:
        self._do("delete", key, lambda: MemoryStore.delete(self, key))

    def contents(self) -> dict[str, tuple[bytes, Attributes]]:
        return dict(self._objects)

    def again(self) -> Watched:
        """Return a store with the same objects."""
        other = Watched()
        other._objects = dict(self._objects)
        return other


class Killed(BaseException):
    """The end of a process."""


def kinds(store: Watched) -> Iterator[tuple[str, Attributes]]:
    """Yield the keys, and the headers of each object."""
    for key, (_, how) in store.contents().items():
        yield key, how
