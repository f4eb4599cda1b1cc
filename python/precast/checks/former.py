"""What publications keep in a dataset beside what its info names: former generations, and their lists."""

from __future__ import annotations

from dataclasses import dataclass, field

from precast.errors import FormatError, ObjectNotFoundError
from precast.precomputed.publication import INDEX_KEY, GenerationIndex, Manifest, manifest_key
from precast.storage import Store

__all__ = ["FormerGenerations", "former_generations"]


@dataclass(frozen=True, slots=True)
class FormerGenerations:
    """Directories and objects of all generations, the current one too; none of a dataset that was not published.

    Of one that is being written ``begun`` has the directories, in which there is nothing else.
    """

    paths: frozenset[str] = field(default=frozenset())
    keys: frozenset[str] = field(default=frozenset())
    begun: frozenset[str] = field(default=frozenset())

    def holds(self, key: str) -> bool:
        """Whether an object belongs to a generation."""
        return key in self.keys or any(key.startswith(f"{path}/") for path in self.begun)


def former_generations(store: Store) -> FormerGenerations:
    """Read what publications have written down; what cannot be understood counts for nothing.

    Raises
    ------
    AccessDeniedError, StorageError
        If it is there and cannot be read.
    """
    paths: set[str] = set()
    keys: set[str] = set()
    begun: set[str] = set()
    try:
        index = GenerationIndex.from_bytes(store.read(INDEX_KEY), where=INDEX_KEY)
    except (ObjectNotFoundError, FormatError):
        return FormerGenerations()
    for generation in index.all:
        key = manifest_key(generation)
        try:
            manifest = Manifest.from_bytes(store.read(key), where=key)
        except (ObjectNotFoundError, FormatError):
            continue
        paths.update(manifest.paths.values())
        keys.update(one.key for one in manifest.objects)
        keys.update(manifest.top)  # infos of parts too, which generations can have in common
        if not manifest.listed:
            begun.update(manifest.paths.values())
    return FormerGenerations(frozenset(paths), frozenset(keys), frozenset(begun))
