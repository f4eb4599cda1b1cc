"""Values by id in one directory, in files of their own or in shards, and what is wrong with the shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from precast.checks.context import Context
from precast.checks.shard_rules import SHARD_FILE, SHARD_FOLDER, ShardFolder, read_shard, shard_number, with_encodings
from precast.checks.work import in_threads
from precast.dataset.shards import ShardReader
from precast.errors import AccessDeniedError, FormatError, ObjectNotFoundError, StorageError
from precast.findings import Finding
from precast.precomputed.sharding import ShardingSpec

__all__ = ["Stored", "find_values"]

U64 = npt.NDArray[np.uint64]
MAX_VALUE_BYTES = 1 << 30


@dataclass(slots=True)
class Stored:
    """Values by key.

    Attributes
    ----------
    path
        The directory.
    keys
        Ascending.
    findings
        What is wrong with the shards.
    unreadable
        Shards that could not be read, with the reason.
    complete
        All keys are known.
    """

    path: str
    keys: U64
    findings: list[Finding] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    complete: bool = True
    read: Callable[[int], bytes] = field(default=lambda _: b"")

    def where(self, key: int) -> str:
        """Return the place of a value, for findings."""
        return f"{self.path}/{key}"

    def values(self, keys: Sequence[int], threads: int) -> Iterator[tuple[int, bytes | FormatError]]:
        """Yield the value of each key, or why it cannot be read.

        Raises
        ------
        AccessDeniedError, StorageError
            If storage fails.
        """

        def one(key: int) -> bytes | FormatError:
            try:
                return self.read(key)
            except FormatError as error:
                return error

        yield from zip(keys, in_threads(one, keys, threads), strict=True)


def find_values(
    context: Context, path: str, spec: ShardingSpec | None, key_of: Callable[[str], int | None], name_of: Any
) -> Stored:
    """Find all values of a directory.

    Parameters
    ----------
    context, path, spec
        Where, and how they are packed.
    key_of, name_of
        The key of a file name, None if it is none; and the other way round.
    """
    store = context.store
    if spec is None:
        names = (stat.key.removeprefix(f"{path}/") for stat in store.list(f"{path}/"))
        keys = np.array(sorted({key for name in names if (key := key_of(name)) is not None}), np.uint64)

        def read_file(key: int) -> bytes:
            try:
                return store.read(f"{path}/{name_of(key)}")
            except ObjectNotFoundError as error:
                raise FormatError(error.message) from None

        return Stored(path, keys, read=read_file)
    objects = [stat for stat in store.list(f"{path}/") if "/" not in stat.key.removeprefix(f"{path}/")]
    objects = with_encodings(store, objects, context.threads)
    folder = ShardFolder.of(path, objects, spec)
    found = Stored(path, np.zeros(0, np.uint64), SHARD_FOLDER.run(folder), complete=not folder.misnamed)
    good = [stat for stat in objects if not stat.encoding and shard_number(stat.key, spec) is not None]
    parts = []
    for stat in good:
        try:
            shard = read_shard(store, stat, spec)
        except (AccessDeniedError, StorageError, FormatError) as error:
            found.unreadable.append((stat.key, error.message))
            continue
        found.findings += SHARD_FILE.run(shard)
        found.complete = found.complete and shard.unknown == [] and not shard.spoiled
        parts.append(shard.keys)
    found.complete = found.complete and not found.unreadable
    found.keys = np.unique(np.concatenate(parts)) if parts else found.keys
    reader = ShardReader(store, path, spec)

    def read_value(key: int) -> bytes:
        value = reader.read(key, MAX_VALUE_BYTES)
        if value is None:
            raise FormatError(f"the key {key} was there and is gone")
        return value

    found.read = read_value
    return found
