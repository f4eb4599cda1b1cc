"""Putting chunks and meshes that have an object each into shards, without decoding them.

Shards are made when they are needed, one by one, in a scratch file: once to know their size and checksum, once to be
sent. What the first time told is kept in a ledger, so that a repeated publication makes only those that it sends.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from precast import __version__, kernels
from precast.errors import FormatError
from precast.execution.published.transfer import File, Held, Made, Sendable, checksum, each
from precast.findings import Finding, notice
from precast.geometry import Vec3
from precast.pipelines.convert.plan import IMAGE_GZIP_LEVEL, LABEL_GZIP_LEVEL
from precast.precomputed.codecs import Codec, codec_of_scale
from precast.precomputed.info import ENCODINGS, ScaleInfo, VolumeInfo
from precast.precomputed.json_text import set_text_strings
from precast.precomputed.meshes import choose_mesh_sharding, fragments_name, manifest_name, segment_of_manifest
from precast.precomputed.objects import INFO_KEY, PROVENANCE_KEY, ObjectKind
from precast.precomputed.parts import MULTIRES, Place, info_key
from precast.precomputed.paths import normal_path
from precast.precomputed.provenance import TOOL, Provenance
from precast.precomputed.sharding import ShardingSpec, choose_volume_sharding, shard_cells, shard_numbers
from precast.precomputed.strict_json import json_file, parse_object
from precast.storage.encodings import decode
from precast.workflows.publish.contents import SourceDataset, SourceObject, Top, Unit
from precast.workflows.publish.ledger import Ledger
from precast.workflows.publish.reading import packed
from precast.workflows.publish.shard_spool import ShardSpool

__all__ = ["reshard"]

MARK = "precast: a member is put here"


def reshard(dataset: SourceDataset, threads: int) -> SourceDataset:
    """Return a dataset with shards in place of the objects that they are made of.

    Parameters
    ----------
    dataset
        The dataset.
    threads
        Values that are read at once.

    Raises
    ------
    FormatError
        If the info cannot be understood, or half of a mesh is missing.
    """
    return _Resharding(dataset, threads).run()


class _Resharding:
    def __init__(self, dataset: SourceDataset, threads: int) -> None:
        self.dataset = dataset
        self.threads = threads
        self.ledger = Ledger(dataset.store.url)
        self.units = list(dataset.units)
        self.findings: list[Finding] = []
        self.text = dataset.info
        self.provenance: bytes | None = None
        self.changed = False

    def run(self) -> SourceDataset:
        value = parse_object(self.dataset.info.encode(), self.dataset.where)
        if "scales" in value:
            self._volume()
        for at, unit in enumerate(self.units):
            for path in unit.paths:
                self._mesh(at, path)
        self._tell_others("scales" in value)
        dataset = replace(self.dataset, findings=(*self.dataset.findings, *self.findings))
        if not self.changed:
            return dataset
        data = self.text.encode()
        top = {**dataset.top, INFO_KEY: Top(INFO_KEY, len(data), checksum(data), data, None)}
        if self.provenance is not None:
            written = self.provenance
            top[PROVENANCE_KEY] = Top(PROVENANCE_KEY, len(written), checksum(written), written, None)
        return replace(dataset, info=self.text, units=tuple(self.units), top=top)

    def _as_it_is(self, path: str, why: str) -> None:
        where = f"{self.dataset.where}/{path}".rstrip("/")
        self.findings.append(notice("PU114", where, f"{why}: published as it is"))

    def _tell_others(self, volume: bool) -> None:
        for unit in self.units:
            for path in unit.paths:
                mine = [one.key for one in unit.objects if one.key.startswith(f"{path}/" if path else "")]
                single = [key for key in mine if not key.endswith((".shard", f"/{INFO_KEY}")) and key != INFO_KEY]
                if single and not (volume and path in self.scales):
                    self._as_it_is(path, f"{len(single)} objects are not of a kind that precast puts into shards")

    scales: frozenset[str] = frozenset()

    # ---- volumes

    def _volume(self) -> None:
        where = f"{self.dataset.where}/{INFO_KEY}"
        info = VolumeInfo.from_bytes(self.dataset.info.encode(), where=where, any_encoding=True)
        self.scales = frozenset(normal_path(one.key) for one in info.scales)
        made: dict[str, _Scale] = {}
        places: dict[Place, ShardingSpec] = {}
        for number, entry in enumerate(info.scales):
            path = normal_path(entry.key)
            why = ""
            if entry.other_chunk_sizes:
                why = "a scale with several sizes of chunks cannot be sharded"
            elif entry.encoding not in ENCODINGS:
                why = f"precast does not know the encoding {entry.encoding}, and so cannot write what is background"
            if entry.sharding is not None:
                continue
            if why:
                self._as_it_is(path, why)
                continue
            if path not in made:
                made[path] = self._scale(info, replace(entry, key=path))
            places["scales", number, "key"] = made[path].spec
        if made:
            self.changed = True
            self.text = with_shardings(self.text, places, where)
            self.provenance = self._written(info, made)

    def _scale(self, info: VolumeInfo, entry: ScaleInfo) -> _Scale:
        at = next(number for number, unit in enumerate(self.units) if entry.key in unit.paths)
        chunks: dict[str, Sendable] = {}
        others = []
        for one in self.units[at].objects:
            name = one.key.removeprefix(f"{entry.key}/")
            if name != one.key and entry.cell_of(name) is not None:
                chunks[name] = one.file
            else:
                others.append(one)
        job = _Scale.of(info, entry, chunks, f"{self.dataset.where}/{entry.key}", self.threads)
        self.units[at] = replace(self.units[at], objects=(*others, *job.objects(self.ledger)))
        return job

    def _written(self, info: VolumeInfo, made: Mapping[str, _Scale]) -> bytes | None:
        """Return the provenance with a step more: what was stored since, and as what."""
        top = self.dataset.top.get(PROVENANCE_KEY)
        former = Provenance.parse(top.data) if top is not None and top.data is not None else Provenance()
        if former.problem:
            return None
        entries = []
        for one in info.scales:
            path = normal_path(one.key)
            record = former.scale(one.key)
            if path in made:
                entry: dict[str, Any] = {
                    "key": one.key,
                    "stored_chunks": one.grid.volume,
                    "background_chunks": 0,
                    "sharding": made[path].spec.to_json(),
                }
            elif record is not None:
                entry = {
                    "key": one.key,
                    "stored_chunks": record.stored_chunks,
                    "background_chunks": record.background_chunks,
                }
            else:
                continue
            if record is not None and record.voxel_digest is not None:
                entry["voxel_digest"] = record.voxel_digest
            entries.append(entry)
        step = {"tool": TOOL, "version": __version__, "task": "reshard", "options": former.options, "scales": entries}
        empty: dict[str, Any] = {"description": "", "owners": [], "sources": [], "processing": []}
        value = empty if top is None or top.data is None else json.loads(top.data)
        value["processing"] = [*value.get("processing", []), step]
        return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()

    # ---- meshes

    def _mesh(self, at: int, path: str) -> None:
        unit = self.units[at]
        key = info_key(path)
        linked = next((one for one in unit.linked if one.key == key), None)
        stored = next((one for one in unit.objects if one.key == key), None)
        if linked is not None:
            text = linked.text
        elif stored is not None and isinstance(stored.file, File):
            text = _text(stored.file.store.read(stored.file.key))
        elif not path:
            text = self.text
        else:
            return
        where = f"{self.dataset.where}/{key}"
        value = parse_object(text.encode(), where)
        if value.get("@type") != MULTIRES or value.get("sharding") is not None:
            return
        job = self._meshes(unit, path)
        if job is None:
            return
        self.changed = True
        text = with_shardings(text, {("@type",): job.spec}, where)
        taken = job.taken
        objects = [one for one in unit.objects if one.key not in taken]
        if linked is not None:
            new = replace(linked, text=text, crc32c=checksum(text.encode()))
            unit = replace(unit, linked=tuple(new if one is linked else one for one in unit.linked))
        elif stored is not None:
            held = replace(stored, file=Held(where, text.encode()))
            objects = [held if one is stored else one for one in objects]
        else:
            self.text = text
        self.units[at] = replace(unit, objects=(*objects, *job.objects(self.ledger)))

    def _meshes(self, unit: Unit, path: str) -> _Meshes | None:
        prefix = f"{path}/" if path else ""
        files = {one.key.removeprefix(prefix): one.file for one in unit.objects if one.key.startswith(prefix)}
        pairs: dict[int, tuple[File, File]] = {}
        for name, manifest in files.items():
            segment = segment_of_manifest(name)
            if segment is None:
                continue
            fragments = files.get(fragments_name(segment))
            if not isinstance(manifest, File) or not isinstance(fragments, File):
                where = f"{self.dataset.where}/{prefix}{fragments_name(segment)}"
                raise FormatError(
                    f"{where} is missing, which belongs to the mesh {name}",
                    hint="copy or make the meshes again",
                    where=where,
                )
            pairs[segment] = manifest, fragments
        if not pairs:
            return None
        spec = choose_mesh_sharding(len(pairs), sum(a.size + b.size for a, b in pairs.values()))
        return _Meshes(path, f"{self.dataset.where}/{path}", spec, pairs, self.threads)


def _text(data: bytes) -> str:
    return data.decode(json.detect_encoding(data))


def with_shardings(text: str, places: Mapping[Place, ShardingSpec], where: str) -> str:
    """Return JSON text with a member ``sharding`` behind members that are strings.

    Everything else stays as it is written, unless such a member is there already, with null.

    Examples
    --------
    >>> spec = ShardingSpec(preshift_bits=0, minishard_bits=1, shard_bits=2)
    >>> text = with_shardings('{"scales": [{"key": "a", "size": 4.60}]}', {("scales", 0, "key"): spec}, "info")
    >>> text[:45], text[-17:]
    ('{"scales": [{"key": "a", "sharding": {"@type"', ', "size": 4.60}]}')
    """
    value: Any = json.loads(text)
    parents: dict[Place, Any] = {}
    for place in places:
        parent = value
        for step in place[:-1]:
            parent = parent[step]
        parents[place] = parent
    if any("sharding" in parent for parent in parents.values()):
        for place, spec in places.items():
            parents[place]["sharding"] = spec.to_json()
        return json_file(value).decode()
    marked = set_text_strings(text, {place: f"{MARK} {n}" for n, place in enumerate(places)}, where=where)
    for n, (place, spec) in enumerate(places.items()):
        old = json.dumps(parents[place][place[-1]], ensure_ascii=False)
        marked = marked.replace(json.dumps(f"{MARK} {n}"), f'{old}, "sharding": {json.dumps(spec.to_json())}')
    return marked


@dataclass(frozen=True)
class _Job:
    """What the shards of one directory are made of."""

    path: str
    where: str
    spec: ShardingSpec

    def numbers(self) -> Iterable[int]:
        """Return the numbers of all shards."""
        raise NotImplementedError

    def parts(self, number: int) -> Iterator[tuple[str, Sendable | None]]:
        """Yield names and objects that a shard is made of, in a fixed order; None for those that are absent."""
        raise NotImplementedError

    def make(self, number: int, path: Path) -> None:
        """Write a shard into a file."""
        raise NotImplementedError

    def objects(self, ledger: Ledger) -> Iterator[SourceObject]:
        """Yield all shards."""
        for number in self.numbers():
            name = self.spec.shard_name(number)
            size, digest = 0, hashlib.sha256(json.dumps([__version__, self.spec.to_json(), self.settings()]).encode())
            told = True
            for part, file in self.parts(number):
                size += file.size if file is not None else 0
                told = told and (file is None or (isinstance(file, File) and bool(file.etag or file.known is not None)))
                row = [part, *((file.size, file.etag, file.known) if isinstance(file, File) else ())]
                digest.update(json.dumps(row).encode())
            identity = digest.hexdigest()
            known = ledger.find(identity) if told else None
            made = Made(
                where=f"{self.where}/{name}",
                size=known[0] if known is not None else size,
                make=_Maker(self, number),
                known=known[1] if known is not None else None,
                remember=_Remember(ledger, identity) if told else None,
            )
            key = f"{self.path}/{name}" if self.path else name
            yield SourceObject(key, made, ObjectKind.SHARD)

    def settings(self) -> list[Any]:
        """Return what the bytes depend on beside the objects and the sharding."""
        return []


@dataclass(frozen=True)
class _Maker:
    job: _Job
    number: int

    def __call__(self, path: Path) -> None:
        self.job.make(self.number, path)


@dataclass(frozen=True)
class _Remember:
    ledger: Ledger
    identity: str

    def __call__(self, size: int, crc32c: int) -> None:
        self.ledger.add(self.identity, size, crc32c)


@dataclass(frozen=True)
class _Scale(_Job):
    """Chunks of a scale, by their names; those that are not there are zeros."""

    entry: ScaleInfo
    codec: Codec
    gzip_level: int | None
    chunks: Mapping[str, Sendable]
    threads: int
    zeros: dict[Vec3, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, info: VolumeInfo, entry: ScaleInfo, chunks: Mapping[str, Sendable], where: str, threads: int) -> _Scale:
        codec = codec_of_scale(entry, info.data_type, info.num_channels, reading=True)
        level = LABEL_GZIP_LEVEL if info.kind == "segmentation" else IMAGE_GZIP_LEVEL
        raw = entry.chunk_size.volume * info.num_channels * np.dtype(info.data_type).itemsize
        spec = choose_volume_sharding(entry.grid, raw, "raw" if codec.compressed else "gzip")
        return cls(entry.key, where, spec, entry, codec, None if codec.compressed else level, chunks, threads)

    def settings(self) -> list[Any]:
        options = self.codec.options
        block = list(options.block_size) if options.block_size is not None else None
        return [
            self.entry.encoding,
            options.data_type,
            options.num_channels,
            [*self.entry.size, *self.entry.chunk_size],
            block,
            options.jpeg_quality,
            options.png_level,
            self.gzip_level,
        ]

    def numbers(self) -> Iterable[int]:
        return shard_numbers(self.spec, self.entry.grid)

    def _cells(self, number: int) -> Iterator[Vec3]:
        return (cell.start for cell in shard_cells(self.spec, self.entry.grid, number).tiles((1, 1, 1)))

    def parts(self, number: int) -> Iterator[tuple[str, Sendable | None]]:
        for cell in self._cells(number):
            name = self.entry.chunk_name(cell)
            yield name, self.chunks.get(name)

    def make(self, number: int, path: Path) -> None:
        with ShardSpool(self.spec, path) as spool:

            def done(cell: Vec3, value: bytes) -> None:
                keys: npt.NDArray[np.uint64] = kernels.morton_codes(np.array([cell], np.int64), self.entry.grid)
                spool.add(int(keys[0]), value)

            each(self._value, self._cells(number), self.threads, done)
            spool.finish()

    def _value(self, cell: Vec3) -> bytes:
        """Return what is stored of a chunk, packed as shards have it."""
        file = self.chunks.get(self.entry.chunk_name(cell))
        if file is None:
            return self._zero(self.entry.chunk_box(cell).size)
        return self._packed(_payload(file, self.codec.max_payload_bytes))

    def _packed(self, payload: bytes) -> bytes:
        return payload if self.gzip_level is None else kernels.gzip_compress(payload, self.gzip_level)

    def _zero(self, size: Vec3) -> bytes:
        if size not in self.zeros:
            options = self.codec.options
            data = np.zeros((options.num_channels, *size.zyx), options.data_type)
            payload = self.codec.encode_slab(data, gzip_level=None, skip_zero=False, threads=1)[0]
            assert payload is not None  # nothing is skipped
            self.zeros[size] = self._packed(payload)
        return self.zeros[size]


def _payload(file: Sendable, limit: int) -> bytes:
    """Return what readers of a small object get."""
    assert isinstance(file, File)  # it is of the source
    stored = file.whole()
    return decode(stored.data, stored.encoding, file.where, file.key, limit)


@dataclass(frozen=True)
class _Meshes(_Job):
    """Manifests and fragments by the ids of their objects."""

    pairs: Mapping[int, tuple[File, File]]
    threads: int

    @property
    def taken(self) -> frozenset[str]:
        """Keys of what goes into the shards."""
        prefix = f"{self.path}/" if self.path else ""
        names = (name for one in self.pairs for name in (manifest_name(one), fragments_name(one)))
        return frozenset(f"{prefix}{name}" for name in names)

    @cached_property
    def _shards(self) -> dict[int, list[int]]:
        ids = np.array(sorted(self.pairs), np.uint64)
        found: dict[int, list[int]] = {}
        for segment, shard in zip(ids.tolist(), self.spec.place(ids)[0].tolist(), strict=True):
            found.setdefault(shard, []).append(segment)
        return found

    def numbers(self) -> Iterable[int]:
        return sorted(self._shards)

    def parts(self, number: int) -> Iterator[tuple[str, Sendable | None]]:
        for segment in self._shards[number]:
            manifest, fragments = self.pairs[segment]
            yield manifest_name(segment), manifest
            yield fragments_name(segment), fragments

    def make(self, number: int, path: Path) -> None:
        with ShardSpool(self.spec, path) as spool:

            def done(segment: int, manifest: bytes) -> None:
                spool.add(segment, manifest, _plain_pieces(self.pairs[segment][1]))

            each(lambda one: _payload(self.pairs[one][0], 1 << 30), self._shards[number], self.threads, done)
            spool.finish()


def _plain_pieces(file: File) -> Iterator[bytes]:
    """Yield the bytes of an object that readers ask for by ranges."""
    for piece in file.pieces():
        if piece.encoding:
            raise packed(file, piece.encoding)
        yield piece.data
    file.check_unchanged()
