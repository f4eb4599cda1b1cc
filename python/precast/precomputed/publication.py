"""What a publication leaves beside a dataset: which generations there are, and every object of each.

It lies in the directory ``.published`` of the dataset, which viewers never ask for and servers of files do not list::

    .published/index.json                     generations: the current one, the one that is being written, former ones
    .published/<generation>/manifest.json     every object of a generation, with size, CRC-32C and headers
    .published/<generation>/info, …           the files at the top of the dataset, as they are in that generation
    .published/collection.json                in the directory of a collection: which generation of which dataset

``manifest.json`` is ``complete`` when all its objects are there. The ``info`` at the top decides what readers see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from precast.errors import FormatError
from precast.precomputed.strict_json import json_file, parse_object

__all__ = [
    "COLLECTION_RECORD_KEY",
    "INDEX_KEY",
    "PUBLISHED_DIRECTORY",
    "CollectionRecord",
    "CollectionState",
    "GenerationIndex",
    "Headers",
    "Manifest",
    "PublishedObject",
    "is_record",
    "manifest_key",
    "top_key",
]

PUBLISHED_DIRECTORY = ".published"
INDEX_KEY = f"{PUBLISHED_DIRECTORY}/index.json"
COLLECTION_RECORD_KEY = f"{PUBLISHED_DIRECTORY}/collection.json"
SCHEMA = 1
_BROKEN = (KeyError, TypeError, ValueError, IndexError, AttributeError)


def is_record(key: str) -> bool:
    """Whether an object is one that publications keep about themselves, of the dataset or of one in it.

    Examples
    --------
    >>> is_record(".published/index.json"), is_record("labels/.published/index.json"), is_record("labels/info")
    (True, True, False)
    """
    return f"/{PUBLISHED_DIRECTORY}/" in f"/{key}"


def manifest_key(generation: str) -> str:
    """Return where the manifest of a generation is."""
    return f"{PUBLISHED_DIRECTORY}/{generation}/manifest.json"


def top_key(generation: str, name: str) -> str:
    """Return where the copy of a file at the top of the dataset is."""
    return f"{PUBLISHED_DIRECTORY}/{generation}/{name}"


def _parse(data: bytes, kind: str, where: str) -> dict[str, Any]:
    value = parse_object(data, where)
    if value.get("@type") != kind or value.get("schema") != SCHEMA:
        raise FormatError(
            f"{where} is not a {kind} of schema {SCHEMA}: {value.get('@type')!r:.60}, {value.get('schema')!r:.20}",
            hint="it was written by a newer precast, or damaged",
            where=where,
        )
    return value


def _head(kind: str) -> dict[str, Any]:
    return {"@type": kind, "schema": SCHEMA}


@dataclass(frozen=True, slots=True)
class Headers:
    """How an object is sent."""

    content_type: str
    encoding: str
    cache_control: str


@dataclass(frozen=True, slots=True)
class PublishedObject:
    """One object of a generation.

    Attributes
    ----------
    key
        Where it is, from the directory of the dataset.
    size, crc32c
        Of the bytes as they are stored.
    headers
        How it is sent.
    etag
        What the store called it when it had been sent; empty if the store has no such thing, or it is not sent yet.
    """

    key: str
    size: int
    crc32c: int
    headers: Headers
    etag: str = ""

    def with_etag(self, etag: str) -> PublishedObject:
        """Return the same with what the store calls it."""
        return replace(self, etag=etag)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One generation of a dataset.

    Attributes
    ----------
    generation
        Its number: 12 hexadecimal digits, made from all of its content by ``publish``, from its source, options and the
        state before by work that is done in a bucket.
    complete
        Whether all objects were there when it was written.
    paths
        Directories of the source that the info names, and where they are in this generation.
    top
        The files at the top, with size and CRC-32C; and the infos of parts that name other parts, by their keys.
    linked
        The CRC-32C of those infos in the source, where their paths may be others.
    objects
        All others.
    listed
        Whether ``objects`` names everything that was written; of a conversion that goes on only the directories are
        known, in which nothing else is.

    Examples
    --------
    >>> headers = Headers("application/octet-stream", "", "public, max-age=3600")
    >>> one = Manifest(generation="0123456789ab", complete=True, paths={"8_8_8": "8_8_8"}, top={"info": (3, 5)},
    ...                linked={}, objects=(PublishedObject("8_8_8/0.shard", 7, 99, headers, "e"),))
    >>> Manifest.from_bytes(one.to_bytes(), where="manifest") == one
    True
    """

    generation: str
    complete: bool
    paths: Mapping[str, str]
    top: Mapping[str, tuple[int, int]]
    linked: Mapping[str, int]
    objects: tuple[PublishedObject, ...]
    listed: bool = True

    TYPE = "precast_published_generation"

    def to_bytes(self) -> bytes:
        """Return the file, in which each kind of headers stands once."""
        kinds = list(dict.fromkeys(one.headers for one in self.objects))
        numbers = {headers: number for number, headers in enumerate(kinds)}
        return json_file(
            _head(self.TYPE)
            | {
                "generation": self.generation,
                "complete": self.complete,
                "listed": self.listed,
                "paths": dict(self.paths),
                "top": {name: {"size": size, "crc32c": f"{crc:08x}"} for name, (size, crc) in self.top.items()},
                "linked": {name: f"{crc:08x}" for name, crc in self.linked.items()},
                "headers": [
                    {"Content-Type": one.content_type}
                    | ({"Content-Encoding": one.encoding} if one.encoding else {})
                    | {"Cache-Control": one.cache_control}
                    for one in kinds
                ],
                "columns": ["key", "size", "crc32c", "headers", "etag"],
                "objects": [
                    [one.key, one.size, f"{one.crc32c:08x}", numbers[one.headers], one.etag] for one in self.objects
                ],
            }
        )

    def holds(self, key: str) -> bool:
        """Whether a key is in one of the directories of a generation whose objects are not listed."""
        return not self.listed and any(key.startswith(f"{path}/") for path in self.paths.values())

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str) -> Manifest:
        """Parse the file.

        Raises
        ------
        FormatError
            If it is none.
        """
        value = _parse(data, cls.TYPE, where)
        try:
            kinds = [
                Headers(str(one["Content-Type"]), str(one.get("Content-Encoding", "")), str(one["Cache-Control"]))
                for one in value["headers"]
            ]
            return cls(
                generation=str(value["generation"]),
                complete=value["complete"] is True,
                listed=value["listed"] is True,
                paths={str(source): str(place) for source, place in value["paths"].items()},
                top={str(name): (int(one["size"]), int(one["crc32c"], 16)) for name, one in value["top"].items()},
                linked={str(name): int(crc, 16) for name, crc in value["linked"].items()},
                objects=tuple(
                    PublishedObject(str(key), int(size), int(crc, 16), kinds[number], str(etag))
                    for key, size, crc, number, etag in value["objects"]
                ),
            )
        except _BROKEN as error:
            raise FormatError(f"{where} cannot be understood: {type(error).__name__} {error}", where=where) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationIndex:
    """Which generations of a dataset are at a place.

    Attributes
    ----------
    current
        The one that readers see, or saw before ``next`` was begun.
    next
        The one that is being written or switched to.
    previous
        The one before ``current``, to which a roll-back leads.
    kept
        All that are complete, the oldest first; ``current`` and ``previous`` are among them.
    removing
        Those that are being removed.
    """

    current: str | None = None
    next: str | None = None
    previous: str | None = None
    kept: tuple[str, ...] = ()
    removing: tuple[str, ...] = ()

    TYPE = "precast_published"

    @property
    def all(self) -> tuple[str, ...]:
        """Every generation, once."""
        return tuple(dict.fromkeys((*self.kept, *([self.next] if self.next else []), *self.removing)))

    def to_bytes(self) -> bytes:
        """Return the file."""
        return json_file(
            _head(self.TYPE)
            | {
                "current": self.current,
                "next": self.next,
                "previous": self.previous,
                "kept": list(self.kept),
                "removing": list(self.removing),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str) -> GenerationIndex:
        """Parse the file.

        Raises
        ------
        FormatError
            If it is none.
        """
        value = _parse(data, cls.TYPE, where)
        try:
            names = {name: value[name] for name in ("current", "next", "previous")}
            if not all(one is None or isinstance(one, str) for one in names.values()):
                raise TypeError("generations must be text")
            return cls(
                kept=tuple(str(one) for one in value["kept"]),
                removing=tuple(str(one) for one in value["removing"]),
                **names,
            )
        except _BROKEN as error:
            raise FormatError(f"{where} cannot be understood: {type(error).__name__} {error}", where=where) from None


@dataclass(frozen=True, slots=True)
class CollectionState:
    """One state of a collection: the generation of every dataset, and the text of ``precast.json``."""

    datasets: Mapping[str, str]
    text: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {"datasets": dict(self.datasets), "precast.json": self.text}

    @classmethod
    def from_json(cls, value: Any) -> CollectionState | None:
        """Read the JSON object; None stays None."""
        if value is None:
            return None
        text = value["precast.json"]
        if text is not None and not isinstance(text, str):
            raise TypeError("precast.json must be text")
        return cls({str(name): str(one) for name, one in value["datasets"].items()}, text)


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """What of a collection is at a place; the three states are as in :class:`GenerationIndex`."""

    current: CollectionState | None = None
    next: CollectionState | None = None
    previous: CollectionState | None = None
    names: tuple[str, ...] = field(default=())

    TYPE = "precast_published_collection"

    def to_bytes(self) -> bytes:
        """Return the file; ``names`` are all datasets that were ever published here and not removed."""
        states = {"current": self.current, "next": self.next, "previous": self.previous}
        return json_file(
            _head(self.TYPE)
            | {name: None if state is None else state.to_json() for name, state in states.items()}
            | {"names": list(self.names)}
        )

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str) -> CollectionRecord:
        """Parse the file.

        Raises
        ------
        FormatError
            If it is none.
        """
        value = _parse(data, cls.TYPE, where)
        try:
            current, following, previous = (
                CollectionState.from_json(value[name]) for name in ("current", "next", "previous")
            )
            return cls(current, following, previous, tuple(str(name) for name in value["names"]))
        except _BROKEN as error:
            raise FormatError(f"{where} cannot be understood: {type(error).__name__} {error}", where=where) from None
