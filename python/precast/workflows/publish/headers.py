"""``publish --fix-headers``: objects uploaded by hand get the headers, the names and the form that viewers need.

What an object is follows from what the infos name; how it is packed, from its bytes. Nothing is removed before what
takes its place was read back, so that it can be ended and begun again at any moment.
"""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from precast.dataset.members import read_list
from precast.dataset.objects import attributes
from precast.errors import FormatError, ObjectNotFoundError, StorageError, UsageError
from precast.execution.progress import NoProgress, Progress
from precast.execution.published.place import attributes_of, read_generations
from precast.execution.published.transfer import checksum, each
from precast.precomputed.objects import COLLECTION_KEY, INFO_KEY, ObjectKind
from precast.precomputed.publication import is_record
from precast.storage import Attributes, CloudStore, ObjectStat, Store, open_store
from precast.storage.base import translate_os_error
from precast.storage.below import Below
from precast.storage.encodings import SUFFIXES, bare_name, unpack
from precast.storage.s3_api import S3Bucket
from precast.workflows.publish.named import GZIP_MAGIC, Named, forgiving, read_named
from precast.workflows.publish.options import PublishOptions

__all__ = ["Fault", "FixSummary", "fix_headers", "plan_fixes"]

PIECE_BYTES = 8 << 20
SHOWN = 3

UNLABELLED = "packed, without a Content-Encoding that says so"
MISLABELLED = "a Content-Encoding that its bytes do not have"
PACKED = "packed, although it is read by ranges"
NAMED = "named as a packed file"
DOUBLE = "there twice, under its name and as a packed file with the same content"
TYPE = "another Content-Type"
CACHE = "another Cache-Control"
FAULTS = (UNLABELLED, MISLABELLED, PACKED, NAMED, DOUBLE, TYPE, CACHE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Objects with one fault; an object may have several.

    Attributes
    ----------
    what
        What is wrong with them.
    objects, bytes
        How many.
    examples
        Some of them.
    """

    what: str
    objects: int
    bytes: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FixSummary:
    """What was repaired, or would be.

    Attributes
    ----------
    place, dry_run
        Where; and whether it only would be.
    datasets
        The datasets there; one without a name is the place itself.
    listed
        Whether a list names them.
    objects
        Those that were looked at.
    fixed_objects, fixed_bytes
        Those that were not as they should be.
    faults
        What was wrong.
    conflicts
        Objects that are there twice with different content, which are left alone.
    left_objects, left
        Objects that belong to no dataset, which are left alone; and some of them.
    """

    place: str
    dry_run: bool
    datasets: tuple[str, ...]
    listed: bool
    objects: int
    fixed_objects: int
    fixed_bytes: int
    faults: tuple[Fault, ...]
    conflicts: tuple[str, ...]
    left_objects: int
    left: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Repair:
    """One object that is not as it should be.

    Attributes
    ----------
    stat
        As it is.
    key
        Where it belongs.
    kind
        What it is.
    wanted
        How it should be.
    encoding
        What its bytes are packed with.
    faults
        What is wrong; nothing if it is in conflict with what is there.
    """

    stat: ObjectStat
    key: str
    kind: ObjectKind
    wanted: Attributes
    encoding: str
    faults: tuple[str, ...]

    @property
    def unpacks(self) -> bool:
        return self.encoding != self.wanted.encoding


@dataclass(frozen=True, slots=True)
class _Place:
    store: CloudStore
    datasets: Mapping[str, tuple[Named, Mapping[str, Attributes]]]
    listed: bool

    def meant(self, key: str) -> tuple[ObjectKind, Attributes | None] | None:
        """Return what an object is, by its plain key, and its headers where a publication has written them down."""
        if is_record(key):
            return None
        if key == COLLECTION_KEY and "" not in self.datasets:
            return ObjectKind.COLLECTION, None
        name, _, inside = ("", "", key) if "" in self.datasets else key.partition("/")
        if name not in self.datasets:
            return None
        named, known = self.datasets[name]
        kind = named.sure_kind(inside)
        return None if kind is None else (kind, known.get(inside))


def plan_fixes(
    place: str | os.PathLike[str] | Store, options: PublishOptions | None = None, progress: Progress | None = None
) -> FixSummary:
    """Tell what :func:`fix_headers` would do; parameters and errors are its."""
    summary, _ = _look(_open(place), options or PublishOptions(), progress or NoProgress())
    return summary


def fix_headers(
    place: str | os.PathLike[str] | Store, options: PublishOptions | None = None, progress: Progress | None = None
) -> FixSummary:
    """Give the objects of datasets in a bucket the headers, the names and the form that viewers need.

    Gzipped objects that are read whole get ``Content-Encoding``; what is read by ranges is unpacked; ``X.gz`` becomes
    ``X``; types and caching become those of a publication. After an interruption the same call goes on.

    Parameters
    ----------
    place
        The address of a dataset, or of a directory of some, in a bucket.
    options
        How many objects at once.
    progress
        Told what happens.

    Raises
    ------
    UsageError
        If it is no bucket.
    ObjectNotFoundError
        If there is no dataset.
    AccessDeniedError, StorageError
        If something cannot be read or written, or is not there as it was written; nothing is lost then.
    """
    options, progress = options or PublishOptions(), progress or NoProgress()
    store = _open(place)
    summary, repairs = _look(store, options, progress)
    progress.phase(f"repairing {len(repairs)} objects", summary.fixed_bytes)
    bucket = S3Bucket(store) if store.scheme == "s3" else None
    with tempfile.TemporaryDirectory(prefix="precast-") as scratch:
        mender = _Mender(store, bucket, Path(scratch))
        # infos after what they name, so that nothing shows before it can be read
        tops = {COLLECTION_KEY, *(f"{name}/{INFO_KEY}".lstrip("/") for name in summary.datasets)}
        for rank in range(3):
            chosen = [one for one in repairs if _rank(one.key, tops) == rank]
            each(mender.mend, chosen, options.at_once, lambda one, _: progress.advance(one.stat.size))
    return replace(summary, dry_run=False)


def _rank(key: str, tops: set[str]) -> int:
    return 2 if key in tops else int(key.rpartition("/")[2] == INFO_KEY)


def _open(place: str | os.PathLike[str] | Store) -> CloudStore:
    store = open_store(place)
    if not isinstance(store, CloudStore):
        raise UsageError(
            f"--fix-headers is for buckets, and {store.url} is none: files have no headers",
            hint="precast serve and precast hosting send files with the right ones",
            where=store.url,
        )
    return store


# ---- looking


def _read_place(store: CloudStore, keys: Iterable[ObjectStat]) -> _Place:
    forms = {f"{INFO_KEY}{suffix}" for suffix in ("", *SUFFIXES.values())}
    names: set[str] = set()
    for stat in keys:
        parts = stat.key.split("/")
        if parts[-1] in forms and len(parts) <= 2 and not parts[0].startswith("."):
            names.add("/".join(parts[:-1]))
    if "" in names:
        names = {""}
    listed = read_list(store) if "" not in names else None
    if not names:
        raise ObjectNotFoundError(
            f"there is no dataset at {store.url}: no {INFO_KEY}, and none in its directories",
            hint="give the address of a dataset, or of a directory of some",
            where=store.url,
        )
    datasets = {}
    for name in sorted(names):
        below = Below(store, name)
        datasets[name] = (read_named(forgiving(below)), _known(below))
    return _Place(store, datasets, listed is not None)


def _known(store: Below) -> dict[str, Attributes]:
    """Return the headers that publications have written down."""
    _, manifests = read_generations(store)
    return {one.key: attributes_of(one.headers) for manifest in manifests.values() for one in manifest.objects}


def _look(store: CloudStore, options: PublishOptions, progress: Progress) -> tuple[FixSummary, list[_Repair]]:
    """Ask for the headers and the first bytes of every object; of those that may be packed for all of them."""
    place = _read_place(store, store.list())
    counts = dict.fromkeys(FAULTS, 0)
    sizes = dict.fromkeys(FAULTS, 0)
    examples: dict[str, list[str]] = {fault: [] for fault in FAULTS}
    repairs: list[_Repair] = []
    conflicts: list[str] = []
    left: list[str] = []
    looked = 0
    claimed: dict[str, str] = {}

    def chosen() -> Iterator[tuple[ObjectStat, str, ObjectKind, Attributes | None]]:
        for stat in store.list():
            plain, _ = bare_name(stat.key)
            meant = place.meant(plain)
            if meant is not None:
                yield stat, plain, *meant
            elif not is_record(stat.key):
                left.append(stat.key)

    def done(_: object, one: _Repair | None) -> None:
        nonlocal looked
        looked += 1
        if one is None:
            return
        if not one.faults or (one.key != one.stat.key and DOUBLE not in one.faults and one.key in claimed):
            conflicts.append(one.stat.key)
            return
        claimed[one.key] = one.stat.key
        repairs.append(one)
        for fault in one.faults:
            counts[fault] += 1
            sizes[fault] += one.stat.size
            if len(examples[fault]) < SHOWN:
                examples[fault].append(one.stat.key)

    progress.phase("asking for headers", 0)
    each(lambda item: _examine(store, *item), chosen(), options.at_once, done)
    summary = FixSummary(
        place=store.url,
        dry_run=True,
        datasets=tuple(place.datasets),
        listed=place.listed,
        objects=looked,
        fixed_objects=len(repairs),
        fixed_bytes=sum(one.stat.size for one in repairs),
        faults=tuple(
            Fault(what=fault, objects=counts[fault], bytes=sizes[fault], examples=tuple(sorted(examples[fault])))
            for fault in FAULTS
            if counts[fault]
        ),
        conflicts=tuple(sorted(conflicts)),
        left_objects=len(left),
        left=tuple(left[:SHOWN]),
    )
    return summary, repairs


def _examine(
    store: CloudStore, stat: ObjectStat, plain: str, kind: ObjectKind, known: Attributes | None
) -> _Repair | None:
    there = store.attributes(stat.key)
    encoding = _packed_with(store, stat, kind, there)
    wanted = known or attributes(kind)
    wanted = replace(wanted, encoding=encoding if kind.rule.whole else "")
    faults = []
    if encoding and not kind.rule.whole:
        faults.append(PACKED)
    elif encoding and encoding != there.encoding:
        faults.append(UNLABELLED)
    elif there.encoding and encoding != there.encoding:
        faults.append(MISLABELLED)
    if there.content_type != wanted.content_type:
        faults.append(TYPE)
    if there.cache_control != wanted.cache_control:
        faults.append(CACHE)
    if plain != stat.key:
        faults = [*_other(store, stat, plain, encoding, kind), *faults]
        if NAMED not in faults:
            faults = [fault for fault in faults if fault == DOUBLE]
            return _Repair(stat, plain, kind, wanted, encoding, tuple(faults))
    return _Repair(stat, plain, kind, wanted, encoding, tuple(faults)) if faults else None


def _packed_with(store: CloudStore, stat: ObjectStat, kind: ObjectKind, there: Attributes) -> str:
    """Tell what the bytes of an object are packed with: by what they are, as far as that can be told."""
    first = store.read_stored(stat.key, 0, len(GZIP_MAGIC)).data if stat.size else b""
    if first == GZIP_MAGIC:
        _, suffix = bare_name(stat.key)
        # bytes of voxels may begin so by chance; the whole of them does not fit its own sum by chance
        sure = kind.rule.whole and "gzip" in (there.encoding, suffix)
        return "gzip" if sure or _is_gzip(store, stat) else ""
    _, named = bare_name(stat.key)
    for encoding in (there.encoding, named):
        if encoding and encoding != "gzip" and _unpacks(store.read_stored(stat.key).data, encoding):
            return encoding
    return ""


def _unpacks(data: bytes, encoding: str) -> bool:
    try:
        unpack(data, encoding)
    except (FormatError, KeyError):
        return False
    return True


def _is_gzip(store: CloudStore, stat: ObjectStat) -> bool:
    try:
        for _ in _inflated(_pieces(store, stat.key, stat.size)):
            pass
    except FormatError:
        return False
    return True


def _other(store: CloudStore, stat: ObjectStat, plain: str, encoding: str, kind: ObjectKind) -> list[str]:
    """Compare what is named as a packed file with the object that has the name already."""
    try:
        other = store.stat(plain)
    except ObjectNotFoundError:
        return [NAMED]
    theirs = _packed_with(store, other, kind, store.attributes(plain))
    one = _content(store, stat, encoding)
    return [DOUBLE] if one == _content(store, other, theirs) else []


def _content(store: CloudStore, stat: ObjectStat, encoding: str) -> tuple[int, int]:
    """Return size and checksum of what is packed in an object."""
    size = crc = 0
    for piece in _unpacked(store, stat, encoding):
        size, crc = size + len(piece), checksum(piece, crc)
    return size, crc


def _unpacked(store: CloudStore, stat: ObjectStat, encoding: str) -> Iterator[bytes]:
    if encoding == "gzip":
        yield from _inflated(_pieces(store, stat.key, stat.size))
    elif encoding:
        yield unpack(store.read_stored(stat.key).data, encoding)
    else:
        yield from _pieces(store, stat.key, stat.size)


def _pieces(store: CloudStore, key: str, size: int) -> Iterator[bytes]:
    for start in range(0, size, PIECE_BYTES):
        stop = min(size, start + PIECE_BYTES)
        piece = store.read_stored(key, start, stop).data
        if len(piece) != stop - start:
            raise StorageError(f"{store.url}/{key} ended early while it was read", where=key)
        yield piece


def _inflated(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Undo gzip piece by piece; of several members one after another too."""
    member = zlib.decompressobj(31)
    begun = False
    try:
        for piece in pieces:
            rest = piece
            while rest:
                if member.eof:
                    member = zlib.decompressobj(31)
                begun = True
                data = member.decompress(rest, PIECE_BYTES)
                rest = member.unconsumed_tail or member.unused_data
                if data:
                    yield data
        while begun and not member.eof:
            data = member.decompress(member.unconsumed_tail, PIECE_BYTES)
            if not data:
                break
            yield data
    except zlib.error as error:
        raise FormatError(f"not gzip data: {error}") from None
    if not member.eof:
        raise FormatError("not gzip data, or cut")


# ---- repairing


class _Mender:
    """Repairs single objects."""

    def __init__(self, store: CloudStore, bucket: S3Bucket | None, scratch: Path) -> None:
        self.store = store
        self.bucket = bucket
        self.scratch = scratch

    def mend(self, repair: _Repair) -> None:
        """Repair one object, see that it is right, and only then remove what it was."""
        store, stat = self.store, repair.stat
        if DOUBLE in repair.faults:
            store.delete(stat.key)
            return
        if repair.unpacks or self.bucket is None or not self._copied(self.bucket, repair):
            size, crc = self._rewrite(repair)
        elif repair.key == stat.key:
            return  # the bytes were not touched
        else:
            size, crc = stat.size, self._sum(stat.key, stat.size)
        there = store.stat(repair.key)
        if there.size != size or self._sum(repair.key, size) != crc or store.attributes(repair.key) != repair.wanted:
            raise StorageError(
                f"{store.url}/{repair.key} is not what was written there",
                hint="something else may be writing there; run the same command again",
                where=repair.key,
            )
        if repair.key != stat.key:
            store.delete(stat.key)

    def _sum(self, key: str, size: int) -> int:
        crc = 0
        for piece in _pieces(self.store, key, size):
            crc = checksum(piece, crc)
        return crc

    def _copied(self, bucket: S3Bucket, repair: _Repair) -> bool:
        """Have the store copy the bytes with other headers; some do not take away an encoding when they do."""
        bucket.copy(repair.stat.key, repair.key, repair.wanted)
        return (
            self.store.attributes(repair.key) == repair.wanted and self.store.stat(repair.key).size == repair.stat.size
        )

    def _rewrite(self, repair: _Repair) -> tuple[int, int]:
        """Write an object by way of a file; returns its size and its sum."""
        encoding = repair.encoding if repair.unpacks else ""
        handle, name = tempfile.mkstemp(dir=self.scratch)
        path = Path(name)
        size = crc = 0
        try:
            with os.fdopen(handle, "wb") as file:
                for piece in _unpacked(self.store, repair.stat, encoding):
                    file.write(piece)
                    size, crc = size + len(piece), checksum(piece, crc)
            self.store.write_file(repair.key, path, repair.wanted)
        except OSError as error:
            if isinstance(error, StorageError | ObjectNotFoundError) or not error.errno:
                raise
            raise translate_os_error(error, "writing", path) from None
        finally:
            path.unlink(missing_ok=True)
        return size, crc
