"""Reading shards: from a key to its bytes, for volumes and meshes alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from precast.errors import FormatError, ObjectNotFoundError, PrecastError
from precast.precomputed.sharding import MinishardIndex, ShardingSpec
from precast.storage import Store

__all__ = ["Place", "ShardReader", "StoredMinishard", "read_range"]

CACHED_MINISHARDS = 256


class Place(NamedTuple):
    """Bytes of a shard file: its key in the store, and the range."""

    key: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class StoredMinishard:
    """A minishard that has keys: its shard's key in the store and number, its own number, where its index lies."""

    key: str
    shard: int
    minishard: int
    start: int
    stop: int
    index: MinishardIndex


def read_range(store: Store, key: str, start: int, stop: int) -> bytes:
    """Return the bytes ``[start, stop)`` of an object.

    Raises
    ------
    FormatError
        If the object ends before ``stop``.
    """
    data = store.read(key, start, stop) if start < stop < 2**63 else b""
    if len(data) != stop - start:
        raise FormatError(f"{key} ends before byte {stop}", where=key)
    return data


class ShardReader:
    """Looks up keys in the shards of one directory. Pickles; keeps the minishard indices that it used last.

    Parameters
    ----------
    store
        Where the dataset is.
    prefix
        The directory, without a slash at its end.
    spec
        The sharding.
    """

    def __init__(self, store: Store, prefix: str, spec: ShardingSpec) -> None:
        self.store = store
        self.prefix = prefix
        self.spec = spec
        self._minishards = lru_cache(maxsize=CACHED_MINISHARDS)(self._load)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_minishards"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._minishards = lru_cache(maxsize=CACHED_MINISHARDS)(self._load)

    def find(self, key: int) -> Place | None:
        """Return where the value of a key lies, or None if it is absent.

        Raises
        ------
        FormatError
            If the shard is damaged.
        """
        shard, minishard = (int(part[0]) for part in self.spec.place(np.array([key], np.uint64)))
        name = self.spec.shard_name(shard)
        stored = self._minishards(name, minishard)
        found = stored.index.find(key) if stored is not None else None
        return Place(f"{self.prefix}/{name}", *found) if found is not None else None

    def read(self, key: int, max_size: int) -> bytes | None:
        """Return the value of a key, decoded, of at most ``max_size`` bytes, or None if it is absent."""
        place = self.find(key)
        return None if place is None else self.spec.decode_value(read_range(self.store, *place), max_size)

    def forget(self) -> None:
        """Forget the indices that were read, and shards that were not there."""
        self._minishards.cache_clear()

    def minishards(self) -> Iterator[StoredMinishard]:
        """Yield every minishard that has keys, shard by shard."""
        for stat in self.store.list(f"{self.prefix}/"):
            name = stat.key.removeprefix(f"{self.prefix}/")
            if "/" not in name and name.endswith(".shard"):
                index = read_range(self.store, stat.key, 0, self.spec.index_bytes)
                entries = np.frombuffer(index, "<u8").reshape(-1, 2)
                for minishard in np.flatnonzero(entries[:, 0] != entries[:, 1]).tolist():
                    yield self._parse(name, minishard, entries[minishard])

    def keys(self) -> npt.NDArray[np.uint64]:
        """Return all keys, ascending."""
        parts = [stored.index.keys for stored in self.minishards()]
        return np.sort(np.concatenate(parts)) if parts else np.zeros(0, np.uint64)

    def _load(self, name: str, minishard: int) -> StoredMinishard | None:
        key = f"{self.prefix}/{name}"
        try:
            entry = np.frombuffer(read_range(self.store, key, 16 * minishard, 16 * minishard + 16), "<u8")
        except ObjectNotFoundError:
            return None
        return self._parse(name, minishard, entry) if entry[0] != entry[1] else None

    def _parse(self, name: str, minishard: int, entry: npt.NDArray[np.uint64]) -> StoredMinishard:
        key = f"{self.prefix}/{name}"
        start, stop = (self.spec.index_bytes + int(number) for number in entry)
        if stop < start:
            raise FormatError(f"{key}: the shard index of minishard {minishard} ends before it starts", where=key)
        stored = read_range(self.store, key, start, stop)
        try:
            index = MinishardIndex.parse(stored, self.spec, where=key)
            number = int(name.removesuffix(".shard"), 16)
        except (PrecastError, ValueError) as error:
            raise FormatError(f"{key}, minishard {minishard}: {error}", where=key) from None
        return StoredMinishard(key, number, minishard, start, stop, index)
