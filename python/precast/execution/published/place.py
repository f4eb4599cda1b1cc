"""What is at the destination of one dataset: generations, objects, and which generation readers see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from precast import kernels
from precast.errors import ObjectNotFoundError
from precast.execution.published.transfer import checksum
from precast.precomputed.objects import INFO_KEY, JSON, LABEL_TABLE_KEY, PROVENANCE_KEY
from precast.precomputed.publication import (
    INDEX_KEY,
    GenerationIndex,
    Headers,
    Manifest,
    manifest_key,
)
from precast.storage import Attributes, ObjectStat, Store
from precast.storage.below import Below

__all__ = [
    "SIDES",
    "PublishedPlace",
    "attributes_of",
    "exists",
    "headers_of",
    "is_published",
    "known_keys",
    "listing",
    "read_generations",
    "read_or_none",
    "write_index",
    "write_manifest",
]

SIDES = (PROVENANCE_KEY, LABEL_TABLE_KEY)
"""Files at the top that go with the info, and that viewers do not read."""

GZIP_LEVEL = 6


def read_or_none(store: Below, key: str) -> bytes | None:
    """Return an object, or None if it is not there."""
    try:
        return store.read(key)
    except ObjectNotFoundError:
        return None


def exists(store: Store | Below, key: str) -> bool:
    """Whether an object is there."""
    try:
        store.stat(key)
    except ObjectNotFoundError:
        return False
    return True


def headers_of(attributes: Attributes) -> Headers:
    """Return headers as lists of generations have them."""
    return Headers(attributes.content_type, attributes.encoding, attributes.cache_control)


def attributes_of(headers: Headers) -> Attributes:
    """Return headers as stores take them."""
    return Attributes(content_type=headers.content_type, encoding=headers.encoding, cache_control=headers.cache_control)


def read_generations(store: Below) -> tuple[GenerationIndex, dict[str, Manifest]]:
    """Return which generations of a dataset are at a place, and what is in those whose list is there.

    Raises
    ------
    FormatError
        If it cannot be understood.
    """
    data = read_or_none(store, INDEX_KEY)
    where = f"{store.url}/{INDEX_KEY}"
    index = GenerationIndex() if data is None else GenerationIndex.from_bytes(data, where=where)
    manifests = {}
    for generation in index.all:
        text = read_or_none(store, manifest_key(generation))
        if text is not None:
            where = f"{store.url}/{manifest_key(generation)}"
            manifests[generation] = Manifest.from_bytes(text, where=where)
    return index, manifests


def known_keys(manifests: Mapping[str, Manifest]) -> frozenset[str]:
    """Return the keys of all objects of some generations."""
    keys = {one.key for manifest in manifests.values() for one in manifest.objects}
    return frozenset(keys | {name for manifest in manifests.values() for name in manifest.top})


def listing(store: Below) -> dict[str, ObjectStat]:
    """Return all objects of a dataset but those of the publication itself, and hidden ones."""
    found = {}
    for stat in store.list():
        if not any(part.startswith(".") for part in stat.key.split("/")):
            found[stat.key] = stat
    return found


def is_published(store: Store) -> bool:
    """Whether a dataset was published, or made, in generations."""
    data = read_or_none(Below(store, ""), INDEX_KEY)
    return data is not None and bool(GenerationIndex.from_bytes(data, where=f"{store.url}/{INDEX_KEY}").kept)


def write_index(store: Below, index: GenerationIndex) -> None:
    """Write down which generations there are."""
    store.write(INDEX_KEY, index.to_bytes(), Attributes(content_type=JSON, cache_control="no-cache"))


def write_manifest(store: Below, manifest: Manifest) -> None:
    """Write the list of a generation's objects, gzipped, because it may be long."""
    data = kernels.gzip_compress(manifest.to_bytes(), GZIP_LEVEL)
    attributes = Attributes(content_type=JSON, encoding="gzip", cache_control="no-cache")
    store.write(manifest_key(manifest.generation), data, attributes)


@dataclass(frozen=True, slots=True)
class PublishedPlace:
    """What is at the destination of one dataset.

    Attributes
    ----------
    store
        The directory.
    index
        The generations; empty if nothing was ever published there.
    manifests
        Those of all generations whose list is there.
    listed
        All objects.
    info
        What readers see; None if there is none.
    """

    store: Below
    index: GenerationIndex
    manifests: Mapping[str, Manifest]
    listed: Mapping[str, ObjectStat]
    info: bytes | None

    @classmethod
    def read(cls, store: Below) -> PublishedPlace:
        """Read and list it.

        Raises
        ------
        FormatError
            If what a former publication left cannot be understood.
        AccessDeniedError, StorageError
            If it cannot be read or listed.
        """
        index, manifests = read_generations(store)
        return cls(store, index, manifests, listing(store), read_or_none(store, INFO_KEY))

    @property
    def seen(self) -> str | None:
        """The generation that readers see; None if there is no info, or one that was not published."""
        if self.info is None:
            return None
        wanted = (len(self.info), checksum(self.info))
        for generation in (self.index.current, self.index.next):
            manifest = self.manifests.get(generation or "")
            if manifest is not None and manifest.top.get(INFO_KEY) == wanted:
                return generation
        return None

    def listed_in(self, directory: str) -> bool:
        """Whether there is any object in a directory, but for what work that was begun has put there."""
        begun = [manifest for manifest in self.manifests.values() if not manifest.listed]
        return any(key.startswith(f"{directory}/") and not any(one.holds(key) for one in begun) for key in self.listed)

    @property
    def known(self) -> frozenset[str]:
        """Keys that were published here."""
        return known_keys(self.manifests)

    @property
    def foreign(self) -> tuple[str, ...]:
        """Objects that were not published here; an info that somebody else wrote is one."""
        known = self.known
        begun = [manifest for manifest in self.manifests.values() if not manifest.listed]
        found = [key for key in self.listed if key not in known and not any(one.holds(key) for one in begun)]
        if self.info is not None and self.seen is None and INFO_KEY not in found:
            found.insert(0, INFO_KEY)
        return tuple(found)
