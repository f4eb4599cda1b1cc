"""``publish --fix-headers``: what an upload by hand left in a bucket, put right where it is.

Objects that were uploaded as files have the headers that a program guessed, and sometimes the names of files: bytes
that are gzipped and not labelled so, labels on bytes that are not, gzipped shards, ``X.gz`` in the place of ``X``. What
an object is follows from its name and from the infos; what its bytes are, from the bytes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from precast.errors import FormatError, ObjectNotFoundError, SourceError, StorageError, UsageError
from precast.execution.progress import NoProgress, Progress
from precast.execution.published.transfer import checksum, each
from precast.findings import Finding, notice
from precast.precomputed.generations import plain_path
from precast.precomputed.objects import INFO_KEY, ObjectKind, ObjectRule, kind_of
from precast.precomputed.paths import normal_path
from precast.precomputed.strict_json import parse_object
from precast.storage import Attributes, CloudStore, ObjectStat, Store, open_store
from precast.storage.base import TellsAttributes, translate_os_error
from precast.storage.encodings import bare_name, unpack
from precast.storage.s3_api import S3Bucket

__all__ = ["FixSummary", "Repair", "RepairCount", "fix_headers"]

THREADS = 16
PIECE_BYTES = 8 << 20
GZIP = b"\x1f\x8b"
SHORT_S = 300
"""Longest that a copy of what is rewritten in place may be kept."""

SHOWN = 3
LINKS = ("mesh", "skeletons", "segment_properties")
MULTIRES = "neuroglancer_multilod_draco"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What is done to one object.

    Attributes
    ----------
    key
        Where it is.
    new_key
        Where it will be; the same unless its name ends like that of a packed file.
    size
        Bytes as they are stored now.
    attributes
        How it will be kept and sent.
    unpack
        The encoding that is undone; empty if the bytes stay.
    reasons
        What is wrong, in words.
    """

    key: str
    new_key: str
    size: int
    attributes: Attributes
    unpack: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairCount:
    """Objects with the same fault."""

    reason: str
    objects: int
    bytes: int
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FixSummary:
    """What was repaired, or would be.

    Attributes
    ----------
    place
        Where.
    dry_run
        Whether it only would be.
    objects
        Those that were looked at.
    repaired
        Those that were, or would be, repaired.
    bytes
        Bytes of those.
    copies
        Objects that were, or would be, removed, because the same is there under its own name.
    counts
        By what was wrong; an object may have several faults.
    findings
        What was left as it is, and why.
    """

    place: str
    dry_run: bool
    objects: int
    repaired: int
    bytes: int
    copies: int
    counts: tuple[RepairCount, ...]
    findings: tuple[Finding, ...]


@dataclass(slots=True)
class _Found:
    repairs: list[Repair] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def fix_headers(
    place: str | Store, *, dry_run: bool = False, threads: int = THREADS, progress: Progress | None = None
) -> FixSummary:
    """Give the objects of a dataset, or of a directory of them, the headers and names that readers need.

    Nothing is removed before what takes its place is there and was compared; run again, it goes on.

    Parameters
    ----------
    place
        The address of a bucket's directory, or a store whose objects have headers.
    dry_run
        Find out what would be done, and do nothing.
    threads
        Objects that are looked at, or repaired, at once.
    progress
        Told what happens; by default nobody is.

    Raises
    ------
    UsageError
        If the objects there have no headers.
    ObjectNotFoundError
        If there is no dataset.
    AccessDeniedError, StorageError
        If something cannot be read or written, or is not there afterwards as it was written.
    """
    progress = progress or NoProgress()
    store = open_store(place)
    if not isinstance(store, TellsAttributes):
        raise UsageError(
            f"the objects of {store.url} have no headers that are kept with them",
            hint="give the address of a bucket (s3://, gs://, az://); a web server is configured: precast hosting",
            where=store.url,
        )
    listed = {stat.key: stat for stat in store.list() if not _hidden(stat.key)}
    kinds = _Kinds(store, listed)
    known = {key: kind for key in listed if (kind := kinds.of(key)) is not None}
    taken = [key for key in known if bare_name(key)[0] != key and bare_name(key)[0] in listed]
    found = _Found()

    def look(key: str) -> Repair | None:
        return _look(store, listed[key], known[key])

    def note(key: str, repair: Repair | None) -> None:
        if repair is not None and not repair.reasons:
            found.damaged.append(key)
        elif repair is not None:
            found.repairs.append(repair)

    progress.phase(f"looking at {len(known) - len(taken)} objects", 0)
    each(look, [key for key in known if key not in set(taken)], threads, note)
    found.repairs.sort(key=lambda one: (one.new_key.rpartition("/")[2] == INFO_KEY, one.key))  # infos last
    if not dry_run and found.repairs:
        _repair(store, found.repairs, threads, progress)
    copies = _copies(store, listed, taken, threads)
    taken = [key for key in taken if key not in copies]
    if not dry_run:
        each(store.delete, copies, threads, lambda *_: None)
    return FixSummary(
        place=store.url,
        dry_run=dry_run,
        objects=len(known),
        repaired=len(found.repairs),
        bytes=sum(one.size for one in found.repairs),
        copies=len(copies),
        counts=_counts(found.repairs),
        findings=_findings(store.url, listed, known, taken, found.damaged),
    )


def _hidden(key: str) -> bool:
    return any(part.startswith(".") for part in key.split("/"))


# ---- what the objects are


class _Kinds:
    """The kinds of objects, from their names and from the infos of the datasets that they are in."""

    def __init__(self, store: Store, listed: Mapping[str, ObjectStat]) -> None:
        self._store = store
        self._names = {bare_name(key)[0]: key for key in listed}
        roots = {key.rpartition("/")[0] for key in self._names if key.rpartition("/")[2] == INFO_KEY}
        self._parts: dict[str, str] = {}
        self._roots = []
        for root in sorted(roots):
            if any(root == part or root.startswith(f"{part}/") for part in self._parts):
                continue
            self._roots.append(root)
            self._dataset(root)
        if not self._roots:
            raise ObjectNotFoundError(
                f"{store.url} is not a precomputed dataset: it has no info",
                hint="give the directory that holds the info, or one whose directories do",
                where=store.url,
            )

    def _info(self, root: str) -> dict[str, object]:
        key = self._names.get(f"{root}/{INFO_KEY}" if root else INFO_KEY)
        if key is None:
            return {}
        stored = self._store.read_stored(key)
        data = stored.data
        for encoding in ("gzip", "br"):
            if encoding == "gzip" and not data.startswith(GZIP):
                continue
            try:
                json.loads(data)
            except ValueError:
                data = _unpacked(data, encoding) or data
        return parse_object(data, f"{self._store.url}/{key}")

    def _dataset(self, root: str) -> None:
        value = self._info(root)
        below = f"{root}/" if root else ""

        def add(path: object, kind: str) -> None:
            if isinstance(path, str) and (normal := normal_path(f"{below}{path}")):
                self._parts[normal] = kind

        scales = value.get("scales")
        for scale in scales if isinstance(scales, list) else []:
            add(scale.get("key") if isinstance(scale, dict) else None, "scale")
        for name in LINKS:
            add(value.get(name), name)
        by_id = value.get("by_id")
        groups = [by_id] if isinstance(by_id, dict) else []
        for name in ("relationships", "spatial"):
            entries = value.get(name)
            groups += [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
        for one in groups:
            add(one.get("key"), "annotations")
        for path, kind in list(self._parts.items()):
            if kind == "mesh" and path.startswith(below) and self._info(path).get("@type") == MULTIRES:
                self._parts[path] = MULTIRES
        if not self._parts and value.get("@type") in (MULTIRES, "neuroglancer_legacy_mesh", "neuroglancer_skeletons"):
            self._parts[root] = MULTIRES if value["@type"] == MULTIRES else "mesh"

    def of(self, key: str) -> ObjectKind | None:
        """Return the kind of an object; None if it belongs to no dataset."""
        bare = bare_name(key)[0]
        kind = kind_of(bare)
        folder = max((p for p in self._parts if not p or bare.startswith(f"{p}/")), key=len, default=None)
        if folder is None:
            return kind if kind is not ObjectKind.OTHER and self._at_the_top(bare) else None
        part = self._parts[folder]
        if kind is ObjectKind.INFO and part in ("mesh", MULTIRES):
            return ObjectKind.MESH_INFO
        if kind is ObjectKind.INFO and part == "segment_properties":
            return ObjectKind.SEGMENT_PROPERTIES
        if kind is ObjectKind.OTHER:
            return {"scale": ObjectKind.CHUNK, MULTIRES: ObjectKind.MESH_FRAGMENTS}.get(part, kind)
        return kind

    def _at_the_top(self, key: str) -> bool:
        return key.rpartition("/")[0] in ("", *self._roots)


# ---- what is wrong


def _look(store: Store, stat: ObjectStat, kind: ObjectKind) -> Repair | None:
    """Return what has to be done; without reasons if the object cannot be repaired; None if nothing is wrong."""
    assert isinstance(store, TellsAttributes)
    key, rule = stat.key, kind.rule
    new_key, suffix = bare_name(key)
    there = store.attributes(key)
    actual = _actual_encoding(store, stat, there.encoding or suffix, whole=rule.whole)
    if actual is None:
        return Repair(key=key, new_key=key, size=stat.size, attributes=there, unpack="", reasons=())
    reasons = []
    undo = actual if actual and not rule.whole else ""
    encoding = "" if undo else actual
    if new_key != key:
        reasons.append(f"the name ends in {key[len(new_key) :]}")
    if undo:
        reasons.append(f"packed as {undo}, and read by ranges")
    elif there.encoding != encoding:
        reasons.append(
            f"no Content-Encoding: {encoding}" if encoding else f"Content-Encoding: {there.encoding}, which it is not"
        )
    if there.content_type.partition(";")[0].strip().lower() != rule.content_type:
        reasons.append(f"Content-Type: {there.content_type or 'none'}")
    kept = there.cache_control
    if _must_change(kept, rule):
        reasons.append(f"Cache-Control: {kept or 'none'}")
        kept = rule.cache_control(generation=plain_path(new_key) != new_key)
    if not reasons:
        return None
    return Repair(
        key=key,
        new_key=new_key,
        size=stat.size,
        attributes=Attributes(content_type=rule.content_type, encoding=encoding, cache_control=kept),
        unpack=undo,
        reasons=tuple(reasons),
    )


def _must_change(cache_control: str, rule: ObjectRule) -> bool:
    """Whether it is missing, or lets what is rewritten be kept for long; what somebody chose otherwise stays."""
    if not cache_control or rule.immutable:
        return not cache_control
    words = [word.strip().lower() for word in cache_control.split(",")]
    if "no-cache" in words or "no-store" in words:
        return False
    ages = [word.partition("=")[2] for word in words if word.startswith("max-age=")]
    return not any(age.isdigit() and int(age) <= SHORT_S for age in ages)


def _actual_encoding(store: Store, stat: ObjectStat, said: str, *, whole: bool) -> str | None:
    """Return how the bytes are packed, whatever is said of them; None if that is said and cannot be told."""
    if not stat.size:
        return ""
    if said and said not in ("gzip", "br"):
        return None
    start = store.read_stored(stat.key, 0, len(GZIP)).data
    if start == GZIP and _is_gzip(store, stat):
        return "gzip"
    if said != "br":
        return ""
    # nothing at the start of brotli data tells that they are
    if stat.size > PIECE_BYTES and not whole:
        return None
    return "br" if _unpacked(store.read_stored(stat.key).data, "br") is not None else ""


def _is_gzip(store: Store, stat: ObjectStat) -> bool:
    """Whether an object is one whole gzip member: two bytes alone may be voxels too."""
    inflate = zlib.decompressobj(31)
    try:
        for start in range(0, stat.size, PIECE_BYTES):
            data = store.read_stored(stat.key, start, min(stat.size, start + PIECE_BYTES)).data
            while data and not inflate.eof:
                inflate.decompress(data, PIECE_BYTES)
                data = inflate.unconsumed_tail
    except zlib.error:
        return False
    return inflate.eof and not inflate.unused_data


def _unpacked(data: bytes, encoding: str) -> bytes | None:
    try:
        return unpack(data, encoding)
    except (FormatError, StorageError):
        return None


def _copies(store: Store, listed: Mapping[str, ObjectStat], taken: Sequence[str], threads: int) -> list[str]:
    """Return the objects ``X.gz`` of which ``X`` holds the same: what is left where a process ended in between."""
    found = []

    def same(key: str) -> bool:
        own = listed[bare_name(key)[0]]
        return _content(store, listed[key]) == _content(store, store.stat(own.key))

    each(same, taken, threads, lambda key, equal: found.append(key) if equal else None)
    return found


def _content(store: Store, stat: ObjectStat) -> int:
    """Return the CRC-32C of an object, unpacked if it is gzipped or brotli data by name."""
    encoding = "gzip" if _is_gzip(store, stat) else "br" if stat.key.endswith(".br") else ""
    crc = 0
    for piece in _pieces(store, stat.key, stat.size, encoding):
        crc = checksum(piece, crc)
    return crc


# ---- repairing


def _repair(store: Store, repairs: Sequence[Repair], threads: int, progress: Progress) -> None:
    bucket = S3Bucket(store) if isinstance(store, CloudStore) and store.scheme == "s3" else None
    folder = Path(tempfile.mkdtemp(prefix="precast-"))
    infos = [one for one in repairs if one.new_key.rpartition("/")[2] == INFO_KEY]
    others = repairs[: len(repairs) - len(infos)]

    def work(numbered: tuple[int, Repair]) -> None:
        number, one = numbered
        _repair_one(store, bucket, one, folder / str(number))

    try:
        progress.phase("repairing", sum(one.size for one in repairs))
        for some in (others, infos):  # what leads to objects comes when they are as they should be
            each(work, list(enumerate(some)), threads, lambda item, _: progress.advance(item[1].size))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _repair_one(store: Store, bucket: S3Bucket | None, one: Repair, scratch: Path) -> None:
    size, crc = _write(store, bucket, one, scratch)
    assert isinstance(store, TellsAttributes)
    there, stat = store.attributes(one.new_key), store.stat(one.new_key)
    wrong = there != one.attributes or stat.size != size
    if not wrong and crc is not None:  # the only copy of the bytes is about to go, or has gone
        wrong = _stored_checksum(store, one.new_key, size) != crc
    if wrong:
        raise StorageError(
            f"{store.url}/{one.new_key} is not there as it was written",
            hint="nothing was removed; run the same command again",
            where=one.new_key,
        )
    if one.new_key != one.key:
        store.delete(one.key)


def _write(store: Store, bucket: S3Bucket | None, one: Repair, scratch: Path) -> tuple[int, int | None]:
    """Write the object anew; return its bytes and their CRC-32C, which is None where the store itself copied them."""
    if one.new_key == one.key and not one.unpack and bucket is not None:
        bucket.copy(one.key, one.key, one.attributes)
        assert isinstance(store, TellsAttributes)
        if store.attributes(one.key) == one.attributes:
            return one.size, None
        # some servers keep headers of which a copy says nothing
    if one.size <= PIECE_BYTES and not one.unpack:
        data = store.read_stored(one.key).data
        if len(data) != one.size:
            raise _changed(store, one.key)
        store.write(one.new_key, data, one.attributes)
        return len(data), checksum(data)
    size, crc = _fetch(store, one, scratch)
    store.write_file(one.new_key, scratch, one.attributes)
    return size, crc


def _fetch(store: Store, one: Repair, scratch: Path) -> tuple[int, int]:
    """Bring an object, unpacked if it is to be, into a scratch file."""
    size = crc = 0
    try:
        with scratch.open("wb") as file:
            for piece in _pieces(store, one.key, one.size, one.unpack):
                file.write(piece)
                size, crc = size + len(piece), checksum(piece, crc)
    except OSError as error:
        raise translate_os_error(error, "writing", scratch) from None
    return size, crc


def _pieces(store: Store, key: str, size: int, encoding: str) -> Iterator[bytes]:
    """Yield the bytes of an object, with an encoding undone."""
    if encoding == "br":
        yield unpack(store.read_stored(key).data, "br")
        return
    inflate = zlib.decompressobj(31)
    for start in range(0, size, PIECE_BYTES):
        stop = min(size, start + PIECE_BYTES)
        data = store.read_stored(key, start, stop).data
        if len(data) != stop - start:
            raise _changed(store, key)
        if not encoding:
            yield data
        while encoding and data and not inflate.eof:
            yield inflate.decompress(data, PIECE_BYTES)
            data = inflate.unconsumed_tail


def _stored_checksum(store: Store, key: str, size: int) -> int:
    crc = 0
    for start in range(0, size, PIECE_BYTES):
        crc = checksum(store.read_stored(key, start, min(size, start + PIECE_BYTES)).data, crc)
    return crc


def _changed(store: Store, key: str) -> SourceError:
    return SourceError(
        f"{store.url}/{key} was changed while it was being repaired",
        hint="wait until nothing writes there, then run the same command again",
        where=key,
    )


# ---- telling it


def _counts(repairs: Sequence[Repair]) -> tuple[RepairCount, ...]:
    found: dict[str, list[Repair]] = {}
    for one in repairs:
        for reason in one.reasons:
            found.setdefault(reason, []).append(one)
    return tuple(
        RepairCount(reason=reason, objects=len(ones), bytes=sum(one.size for one in ones), example=ones[0].key)
        for reason, ones in sorted(found.items(), key=lambda item: -len(item[1]))
    )


def _findings(
    url: str,
    listed: Mapping[str, ObjectStat],
    known: Mapping[str, ObjectKind],
    taken: Sequence[str],
    damaged: Sequence[str],
) -> tuple[Finding, ...]:
    found = []
    others = [key for key in listed if key not in known]
    if others:
        found.append(
            notice("PU120", url, f"{len(others)} objects belong to no dataset, and are left alone: {_some(others)}")
        )
    if taken:
        text = f"{len(taken)} objects are there under their own name too, which is what readers get: {_some(taken)}"
        found.append(notice("PU121", url, text, "compare them, and remove what is not wanted"))
    if damaged:
        text = (
            f"{len(damaged)} objects are packed in a way that precast cannot undo, and are left alone: {_some(damaged)}"
        )
        found.append(notice("PU122", url, text, "upload them again from their source"))
    return tuple(found)


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:SHOWN])}{' …' if len(names) > SHOWN else ''}"
