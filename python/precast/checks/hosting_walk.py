"""A dataset on a web server, directory by directory: what is asked for, and where the answers belong."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np

from precast.checks.hosting_answers import Asked, Content, Place, Whole, joined
from precast.checks.hosting_fixes import SERVERS, recognise
from precast.checks.hosting_probes import MOST_BYTES, Prober, ShardFiles, begins_as_gzip
from precast.checks.hosting_rules import PLACE
from precast.checks.info_rules import LINKS, UNREADABLE_INFO, VOLUME, Unparsed, VolumeFile
from precast.checks.report import DatasetReport, PlaceReport
from precast.checks.scale_rules import FIELDS
from precast.checks.volume import GEOMETRY
from precast.checks.work import in_threads
from precast.dataset.shards import ShardReader, read_range
from precast.errors import (
    FormatError,
    PrecastError,
    UsageError,
)
from precast.findings import Finding, Severity
from precast.geometry import Vec3
from precast.kernels import morton_codes
from precast.precomputed import legacy_meshes
from precast.precomputed.annotations import AnnotationIndex, AnnotationInfo, SpatialLevel
from precast.precomputed.codecs import Codec, codec_of_scale
from precast.precomputed.info import ScaleInfo, VolumeInfo
from precast.precomputed.mesh_info import MeshInfo
from precast.precomputed.meshes import MultiresManifest, fragments_name, manifest_name
from precast.precomputed.objects import INFO_KEY, ObjectKind
from precast.precomputed.parts import PART_TYPES
from precast.precomputed.paths import normal_path
from precast.precomputed.sharding import ShardingSpec
from precast.precomputed.skeletons import SkeletonInfo, parse_skeleton
from precast.precomputed.strict_json import parse_object
from precast.storage import HttpStore

__all__ = ["NOTHING", "Walk", "spread"]

MOST_TRIED = 64
"""Objects that are asked for in one directory until one is there."""
MOST_IDS = 16
MOST_CELLS = 1 << 21
"""Cells along an axis that fit into keys of 64 bits."""
MOST_REDIRECTS = 3
NO_ID = "99999999999999999999"
"""More than any id."""
NO_SHARD = f"{'f' * 17}.shard"
NOTHING = "no-such-object"


@dataclass(slots=True)
class Walk:
    """One dataset, directory by directory.

    Attributes
    ----------
    store, prober, name
        Where it is, who asks, and what the collection calls it.
    places
        Directories that were looked at.
    data, value
        The info, and what it says.
    kind
        What it is.
    findings
        Findings about the info itself.
    fragments
        Paths below the host of directories of meshes whose files are read by ranges.
    redirects
        How many infos led to this one.
    listed
        Whether segment properties say which objects there are.
    coarsest
        Of annotations, the directory of the level that has some of them.
    """

    store: HttpStore
    prober: Prober
    name: str = ""
    places: list[Place] = field(default_factory=list)
    data: bytes = b""
    value: dict[str, Any] | None = None
    kind: str = ""
    findings: list[Finding] = field(default_factory=list)
    volume: VolumeInfo | None = None
    fragments: list[str] = field(default_factory=list)
    redirects: int = 0
    listed: bool = False
    coarsest: str = ""

    @property
    def server(self) -> str:
        """What the server is, if it is recognised."""
        answers = (one.answer for place in self.places for one in place.asked)
        return next((found for one in answers if one is not None and (found := recognise(one.headers))), "")

    def report(self) -> DatasetReport:
        """Look at everything, and return what was found."""
        if not self.places:
            self.root()
        if self.value is not None:
            self.follow()
        found = [finding for place in self.places for finding in PLACE.run(place)]
        return DatasetReport(
            name=self.name,
            path=self.store.address("").rstrip("/"),
            kind=self.kind,
            data_type=self.volume.data_type if self.volume is not None else "",
            channels=self.volume.num_channels if self.volume is not None else 0,
            server=SERVERS.get(self.server, ""),
            places=tuple(
                PlaceReport(
                    path=place.path,
                    what=place.what,
                    requests=len(place.asked),
                    objects=sum(one.asked.status == 200 for one in place.wholes) + len(place.ranges[:1]),
                )
                for place in self.places
            ),
            findings=(*self.findings, *found),
        )

    # ---- directories

    def place(self, path: str, what: str) -> tuple[Place, HttpStore]:
        """Return a directory of the dataset."""
        store = self.store
        if path:
            parts = urllib.parse.urlsplit(self.store.url)
            above = normal_path(f"{urllib.parse.unquote(parts.path)}/{path}")
            whole = "/".join(part for part in above.split("/") if part != "..")  # nothing is above the root
            url = urllib.parse.urlunsplit((parts.scheme, parts.netloc, "", "", ""))
            store = HttpStore(f"{url}?{self.store.query}" if self.store.query else url, self.store.client).child(whole)
        place = Place(store.url, path, what)
        self.places.append(place)
        return place, store

    def settle(self, place: Place, store: HttpStore, missing: str, url: str) -> None:
        """Ask what every directory is asked."""
        if place.preflight is not None:
            return
        if not place.missing:
            self.prober.without(place, store.address(missing))
        self.prober.preflight(place, url)
        bare = store.address("").replace("/?", "?") if store.query else store.url
        if urllib.parse.urlsplit(store.url).path.strip("/"):
            place.bare = self.prober.get(place, bare, limit=1 << 16)

    def info(self, place: Place, store: HttpStore, kind: ObjectKind, *, optional: bool = False) -> bytes:
        """Read the info of a directory; one that is optional may be absent."""
        url = store.address(INFO_KEY)
        asked = self.prober.get(place, url)
        if optional and asked.absent:
            return b""
        data = self.prober.whole(
            place, asked, kind, lambda data: parse_object(data, INFO_KEY), root=kind is ObjectKind.INFO
        )
        if data:
            place.head = self.prober.ask(url, "HEAD", limit=1 << 16)
            place.asked.append(place.head)
        return data

    def root(self) -> Asked:
        """Read what makes the dataset visible."""
        place, store = self.place("", "info")
        self.data = self.info(place, store, ObjectKind.INFO)
        self.value = parse_object(self.data, INFO_KEY, parse_float=Decimal) if self.data else None
        if self.value is not None:
            self.settle(place, store, NOTHING, store.address(INFO_KEY))
        return place.asked[0]

    # ---- what the info is of

    def follow(self) -> None:
        """Look at everything that the info names."""
        assert self.value is not None
        kind = self.value.get("@type")
        part = PART_TYPES.get(kind, "") if isinstance(kind, str) else ""
        if part:
            self.kind = part
            parts: dict[str, Callable[[Place, HttpStore, bytes, Sequence[int]], None]]
            parts = {"mesh": self.meshes, "skeletons": self.skeletons, "annotations": self.annotations}
            if part in parts:
                parts[part](self.places[0], self.store, self.data, ())
            return
        if "redirect" in self.value and "scales" not in self.value:
            self.redirected()
            return
        where = self.store.address(INFO_KEY)
        file = VolumeFile(where, self.value)
        told = [one for one in [*VOLUME.run(file), *FIELDS.run(file)] if one.severity == Severity.ERROR]
        try:
            self.volume = VolumeInfo.from_json(self.value, where=where, any_encoding=True)
        except (FormatError, UsageError) as error:
            self.findings += told or UNREADABLE_INFO.run(Unparsed(where, error.message))
            return
        if any(one.code in GEOMETRY for one in told):  # numbers of any size parse
            self.findings += told
            return
        self.kind = self.volume.kind
        scales = [
            (scale, *self.place(scale.key, "chunks" if scale.sharding is None else "shards"))
            for scale in self.volume.scales
        ]
        links = {key: path for key in LINKS if isinstance(path := self.value.get(key), str) and "://" not in path}
        properties = []
        if "segment_properties" in links:
            properties.append(self.place(normal_path(links["segment_properties"]), "segment properties"))
        found = self._at_once(
            [
                *(partial(self.properties, *entry) for entry in properties),
                *(partial(self.scale, *entry) for entry in scales),
            ]
        )
        self.listed = any(found[: len(properties)])
        ids = list(dict.fromkeys(number for numbers in found for number in numbers))[:MOST_IDS]
        looks = {"mesh": (self.meshes, "meshes"), "skeletons": (self.skeletons, "skeletons")}
        self._at_once(
            [
                partial(look, *self.place(normal_path(links[key]), what), b"", ids)
                for key, (look, what) in looks.items()
                if key in links
            ]
        )

    def _at_once(self, work: Sequence[Callable[[], Any]]) -> list[Any]:
        return list(in_threads(lambda one: one(), work, min(self.prober.threads, len(work))))

    def redirected(self) -> None:
        """Look at the dataset that the info leads to."""
        assert self.value is not None
        where = self.store.address(INFO_KEY)
        self.findings += [one for one in VOLUME.run(VolumeFile(where, self.value)) if one.code == "PC109"]
        target = self.value["redirect"]
        if not isinstance(target, str) or self.redirects == MOST_REDIRECTS:
            return
        url = joined(self.store.address(""), target.removeprefix("precomputed://"))
        try:
            store = HttpStore(url, self.store.client)
        except UsageError:  # in another form, which viewers may know
            return
        other = Walk(store, self.prober, redirects=self.redirects + 1)
        other.root()
        if other.value is not None:
            other.follow()
        self.kind, self.volume = other.kind, other.volume
        self.findings += other.findings
        self.fragments += other.fragments
        self.places += [replace(place, path=f"{other.store.url}/{place.path}".rstrip("/")) for place in other.places]

    # ---- chunks

    def scale(self, scale: ScaleInfo, place: Place, store: HttpStore) -> list[int]:
        """Look at a chunk of a scale; return labels that it has."""
        assert self.volume is not None
        try:
            codec: Codec | None = codec_of_scale(scale, self.volume.data_type, self.volume.num_channels, reading=True)
        except UsageError:
            codec = None
        limit = MOST_BYTES if codec is None else codec.max_payload_bytes
        if limit > MOST_BYTES:
            codec, limit = None, MOST_BYTES
        cells = spread(scale.grid)
        chunk: list[Any] = []

        def parse(data: bytes, cell: Vec3) -> None:
            if codec is not None:
                out = np.zeros((codec.options.num_channels, *scale.chunk_box(cell).size.zyx), codec.options.data_type)
                codec.decode(data, out)
                chunk.append(out)

        if scale.sharding is not None:
            self.prober.without(place, store.address(NO_SHARD), ranged=True)
            keys = morton_codes(np.array(cells, np.int64), scale.grid).tolist()
            known = dict(zip(keys, cells, strict=True))
            self.shards(place, store, scale.sharding, keys, lambda data, key: parse(data, known[key]))
        else:
            beyond = [
                start + (n + 1) * edge
                for start, n, edge in zip(scale.voxel_offset, scale.grid, scale.chunk_size, strict=True)
            ]
            name = "_".join(f"{start}-{start + edge}" for start, edge in zip(beyond, scale.chunk_size, strict=True))
            self.prober.without(place, store.address(name))
            found = self.prober.first(place, [scale.chunk_name(cell) for cell in cells], store, limit)
            if found is not None:
                cell = cells[found[0]]
                self.prober.whole(
                    place, found[1], ObjectKind.CHUNK, None if codec is None else lambda data: parse(data, cell)
                )
        self.settle(place, store, NOTHING, _good_url(place))
        if not chunk or self.volume.kind != "segmentation":
            return []
        labels, counts = np.unique(chunk[-1], return_counts=True)
        return [int(label) for label in labels[np.argsort(-counts)] if label > 0][: MOST_IDS // 4]

    def shards(
        self, place: Place, store: HttpStore, spec: ShardingSpec, keys: Sequence[int], parse: Any
    ) -> tuple[int, bytes] | None:
        """Look at a shard, and at the value of one of the keys; return its key and the value."""
        numbers = spec.place(np.array(keys, np.uint64))[0].tolist()
        names = list(dict.fromkeys(spec.shard_name(number) for number in numbers))[:MOST_TRIED]
        if not names:
            names = [spec.shard_name(number) for number in _spread_numbers(1 << spec.shard_bits)]
        at = self.prober.first_ranged(place, names, store)
        if at is None:
            return None
        files = ShardFiles(store.address("").rstrip("/"), self.prober.reader)
        reader = ShardReader(files, place.path or "shards", spec)
        inside = [key for key, number in zip(keys, numbers, strict=True) if spec.shard_name(number) == names[at]]
        asked = place.ranges[0].asked
        try:
            for key in inside:
                where = reader.find(key)
                if where is not None:
                    data = spec.decode_value(read_range(files, *where), MOST_BYTES)
                    parse(data, key)
                    return key, data
        except FormatError as error:
            place.packed = begins_as_gzip(place)
            if not place.packed:
                text = " ".join(error.message.split())
                place.wholes.append(Whole(asked, ObjectKind.SHARD, Content.WRONG, text))
        except PrecastError as error:
            place.asked.append(Asked("GET", asked.url, None, error.message))
        return None

    # ---- parts

    def properties(self, place: Place, store: HttpStore) -> list[int]:
        """Look at segment properties; return ids that they have."""
        data = self.info(place, store, ObjectKind.SEGMENT_PROPERTIES)
        self.settle(place, store, NOTHING, store.address(INFO_KEY))
        inline = parse_object(data, INFO_KEY).get("inline") if data else None
        listed = inline.get("ids") if isinstance(inline, dict) else None
        ids = (
            [text for text in listed if isinstance(text, str) and text.isdecimal()] if isinstance(listed, list) else []
        )
        return [int(ids[i]) for i in _spread_numbers(len(ids))[: MOST_IDS // 2] if int(ids[i]) < 2**64]

    def meshes(self, place: Place, store: HttpStore, data: bytes, ids: Sequence[int]) -> None:
        """Look at meshes of objects."""
        data = data or self.info(place, store, ObjectKind.MESH_INFO, optional=True)
        try:
            info = MeshInfo.from_bytes(data) if data else MeshInfo(kind="legacy")
        except FormatError:  # what it says is looked at on the local disk
            self.settle(place, store, NOTHING, store.address(INFO_KEY))
            return
        if info.segment_properties and "://" not in info.segment_properties:
            link = normal_path(f"{place.path}/{info.segment_properties}")
            if all(one.path != link for one in self.places):
                found = self.properties(*self.place(link, "segment properties"))
                self.listed = self.listed or bool(found)
                ids = [*ids, *found]
        place.sparse = not self.listed  # not every label needs a mesh
        if info.kind == "legacy":
            self.legacy(place, store, ids)
        elif info.sharding is not None:
            self.prober.without(place, store.address(NO_SHARD), ranged=True)
            self.shards(place, store, info.sharding, ids, lambda data, _: MultiresManifest.decode(data))
        else:
            self.fragments.append(urllib.parse.unquote(urllib.parse.urlsplit(store.url).path))
            self.prober.without(place, store.address(manifest_name(int(NO_ID))))
            there = self.prober.first(place, [manifest_name(number) for number in ids], store)
            if there is not None:
                number, asked = there
                if self.prober.whole(place, asked, ObjectKind.MESH_MANIFEST, MultiresManifest.decode):
                    self.prober.ranged(place, store.address(fragments_name(ids[number])))
                    place.packed = begins_as_gzip(place)
        self.settle(place, store, NOTHING, _good_url(place))

    def legacy(self, place: Place, store: HttpStore, ids: Sequence[int]) -> None:
        """Look at meshes of the single-resolution format."""
        self.prober.without(place, store.address(f"{NO_ID}:0"))
        names = [legacy_meshes.manifest_name(number) for number in ids]
        found = self.prober.first(place, names, store)
        if found is None:
            for name in [] if place.unmapped else names:
                # as systems without colons in names write them, and as servers that want them escaped do
                for other in ("%3A", "%253A"):
                    url = store.address(name).replace(f"{name[:-2]}:0", f"{name[:-2]}{other}0")
                    asked = self.prober.get(place, url)
                    if asked.status == 200 and _is_manifest(asked):
                        place.misnamed.append((store.address(name), url))
                        return
            return
        data = self.prober.whole(place, found[1], ObjectKind.LEGACY_MANIFEST, legacy_meshes.parse_manifest)
        for name in legacy_meshes.parse_manifest(data)[:1] if data else []:
            url = store.address(name)
            asked = self.prober.get(place, url)
            self.prober.whole(place, asked, ObjectKind.LEGACY_FRAGMENT, legacy_meshes.parse_fragment)

    def skeletons(self, place: Place, store: HttpStore, data: bytes, ids: Sequence[int]) -> None:
        """Look at skeletons of objects."""
        place.sparse = True
        data = data or self.info(place, store, ObjectKind.MESH_INFO)
        value = parse_object(data, INFO_KEY) if data else {}
        if SkeletonInfo.problems(value):
            self.settle(place, store, NOTHING, store.address(INFO_KEY))
            return
        info = SkeletonInfo.from_json(value)
        if info.sharding is not None:
            self.prober.without(place, store.address(NO_SHARD), ranged=True)
            self.shards(place, store, info.sharding, ids, lambda data, _: parse_skeleton(data, info.attributes))
        else:
            self.prober.without(place, store.address(NO_ID))
            found = self.prober.first(place, [str(number) for number in ids], store)
            if found is not None:
                parse = lambda data: parse_skeleton(data, info.attributes)  # noqa: E731
                self.prober.whole(place, found[1], ObjectKind.OTHER, parse)
        self.settle(place, store, NOTHING, _good_url(place))

    def annotations(self, place: Place, store: HttpStore, data: bytes, _: Sequence[int]) -> None:
        """Look at annotations: cells of every level, and what is found in them by id and by relationship."""
        value = parse_object(data, INFO_KEY)
        if AnnotationInfo.problems(value):
            return  # what it says is looked at on the local disk
        info = AnnotationInfo.from_json(value)
        ids: list[int] = []
        self.coarsest = info.spatial[0].key if info.spatial else ""
        for level in info.spatial:
            ids += self.level(info, level)
        related: list[list[int]] = [[] for _ in info.relationships]
        one = self.index(info.by_id, ids[:MOST_IDS], info.parse_single)
        if one:
            related = [found.tolist() for found in info.parse_single(one).related]
        for index, found in zip(info.relationships, related, strict=True):
            self.index(index, found[:MOST_IDS], info.parse_multiple)

    def level(self, info: AnnotationInfo, level: SpatialLevel) -> list[int]:
        """Look at cells of a level of the spatial index; return ids of annotations in them."""
        grid = Vec3(*(*level.grid_shape, 1, 1)[:3])
        cells = [cell[: info.rank] for cell in spread(grid)] if info.rank <= 3 else [(0,) * info.rank]
        index = AnnotationIndex("", level.key, level.sharding)
        names = ["_".join(map(str, cell)) for cell in cells]
        keys: list[int] = []
        if level.sharding and max(level.grid_shape) < MOST_CELLS:
            keys = morton_codes(np.array(cells, np.int64), level.grid_shape).tolist()
        data = self.index(index, keys, info.parse_multiple, names, "_".join(map(str, level.grid_shape)))
        return info.parse_multiple(data).ids[:MOST_IDS].tolist() if data else []

    def index(
        self, index: AnnotationIndex, keys: Sequence[int], parse: Any, names: Sequence[str] = (), none: str = NO_ID
    ) -> bytes:
        """Look at one index of annotations; return a value, if one is found."""
        place, store = self.place(normal_path(index.key), "annotations")
        place.sparse = index.key != self.coarsest
        data = b""
        if index.sharding is not None:
            self.prober.without(place, store.address(NO_SHARD), ranged=True)
            found = self.shards(place, store, index.sharding, keys, lambda data, _: parse(data))
            data = found[1] if found is not None else b""
        else:
            self.prober.without(place, store.address(none))
            there = self.prober.first(place, names or [str(key) for key in keys], store)
            if there is not None:
                data = self.prober.whole(place, there[1], ObjectKind.OTHER, parse)
        self.settle(place, store, NOTHING, _good_url(place))
        return data


def _is_manifest(asked: Asked) -> bool:
    """Whether an answer is the manifest of a mesh, and not a page."""
    try:
        legacy_meshes.parse_manifest(asked.answer.body if asked.answer is not None else b"")
    except FormatError:
        return False
    return True


def _good_url(place: Place) -> str:
    """Return the address of something that is there, as far as something is."""
    there = next((one.url for one in place.asked if one.status in (200, 206)), None)
    return there or place.asked[0].url


def _spread_numbers(count: int) -> list[int]:
    """Return at most :data:`MOST_TRIED` numbers below ``count``, from the beginning to the end."""
    return sorted({i * (count - 1) // max(1, min(count, MOST_TRIED) - 1) for i in range(min(count, MOST_TRIED))})


def spread(grid: Vec3) -> list[Vec3]:
    """Return at most :data:`MOST_TRIED` cells of a grid, the middle one first, the others all over.

    Examples
    --------
    >>> spread(Vec3(2, 1, 1))
    [Vec3(x=1, y=0, z=0), Vec3(x=0, y=0, z=0)]
    >>> len(set(spread(Vec3(100, 200, 300))))
    64
    """
    if grid.volume <= MOST_TRIED:
        x, y, z = np.unravel_index(np.arange(grid.volume), tuple(grid))
        cells = [Vec3(int(a), int(b), int(c)) for a, b, c in zip(x, y, z, strict=True)]
        middle = Vec3(grid.x // 2, grid.y // 2, grid.z // 2)
        return [middle, *(cell for cell in cells if cell != middle)]
    # steps that are multiples of no fraction cover a box evenly from any number of points on
    steps = (0.8191725133961645, 0.6710436067037893, 0.5497004779019703)
    found = {
        Vec3(*(int((0.5 + i * step) % 1 * n) for step, n in zip(steps, grid, strict=True))): None
        for i in range(4 * MOST_TRIED)
    }
    return list(found)[:MOST_TRIED]
