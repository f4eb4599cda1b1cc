"""The rules about meshes, ``PC3xx``: info, shards, manifests, fragments, and the surface that they make together.

Neuroglancer checks next to nothing of this: a broken rule shows as parts that vanish, double or never sharpen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from precast.checks.rules import Fault, RuleTable
from precast.dataset.meshes import Fragment
from precast.errors import FormatError
from precast.findings import Severity
from precast.precomputed.mesh_info import MeshInfo
from precast.precomputed.meshes import MultiresManifest, morton_codes, octants

__all__ = [
    "INFO",
    "LEGACY",
    "LEVEL",
    "PAIR",
    "SEGMENT",
    "SHARD",
    "InfoFile",
    "LegacyFiles",
    "LevelPair",
    "LevelSurface",
    "Segment",
    "Shard",
]

Array = npt.NDArray[Any]


# ---- the info


@dataclass(frozen=True, slots=True)
class InfoFile:
    """The parsed ``info`` of a mesh directory."""

    where: str
    value: Mapping[str, Any]

    def problems(self, *rules: str) -> Iterator[Fault]:
        """Yield what the model of the file finds wrong, for some of its rules."""
        yield from ((self.where, problem.text) for problem in MeshInfo.problems(self.value) if problem.rule in rules)


INFO: RuleTable[InfoFile] = RuleTable()
VOLUME_FIELDS = ("scales", "data_type", "num_channels", "type")


@INFO.add("PC301", "the info of meshes has a known type and legal values")
def info_fields(info: InfoFile) -> Iterator[Fault]:
    yield from info.problems("type", "fields")


@INFO.add("PC302", "the transform is 12 finite numbers and can be inverted")
def info_transform(info: InfoFile) -> Iterator[Fault]:
    yield from info.problems("transform")
    if info.value.get("@type") == "neuroglancer_multilod_draco" and "transform" not in info.value:
        yield info.where, "transform is missing; some readers require it"


@INFO.add("PC303", "the info of meshes has no keys of a volume", hint="remove them: viewers take it for a volume")
def info_volume_fields(info: InfoFile) -> Iterator[Fault]:
    found = [key for key in VOLUME_FIELDS if key in info.value]
    if found:
        yield info.where, f"the info of meshes has keys of a volume: {', '.join(found)}"


@INFO.add("PC304", "sharding is an object or absent", hint="leave the key out")
def info_null_sharding(info: InfoFile) -> Iterator[Fault]:
    if "sharding" in info.value and info.value["sharding"] is None:
        yield info.where, "sharding is null, which Neuroglancer refuses"


# ---- shards


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard file: who occupies which bytes, and keys that do not belong there.

    Attributes
    ----------
    where
        Its key in the store.
    ranges
        ``(start, stop, what)`` of the shard index, every minishard index, every manifest and its fragments.
    misplaced
        Keys that a reader would look for elsewhere.
    """

    where: str
    ranges: list[tuple[int, int, str]]
    misplaced: list[int]


SHARD: RuleTable[Shard] = RuleTable()


@SHARD.add("PC306", "every key stands in the shard and minishard that its hash says")
def shard_places(shard: Shard) -> Iterator[Fault]:
    if shard.misplaced:
        first = shard.misplaced[0]
        yield shard.where, f"{len(shard.misplaced)} keys are not where a reader looks for them, for example {first}"


@SHARD.add("PC307", "nothing in a shard overlaps")
def shard_overlaps(shard: Shard) -> Iterator[Fault]:
    end, last = 0, ""
    for start, stop, what in sorted(entry for entry in shard.ranges if entry[1] > entry[0]):
        if start < end:
            yield shard.where, f"{what} (bytes {start}..{stop}) overlaps {last}, which ends at {end}"
        if stop > end:
            end, last = stop, what


# ---- one object of the multi-resolution format


@dataclass(slots=True)
class Segment:
    """One object.

    Attributes
    ----------
    where
        Its place, for findings.
    info
        The info of the meshes.
    unreadable
        Why the manifest cannot be read, if so; the manifest is then None.
    manifest
        Its manifest, read without a look at its values.
    storage
        What is wrong with the stored fragments as a whole, if anything; they are then not read.
    fragments
        Per level those that could be decoded.
    broken
        Per level those that could not.
    """

    where: str
    info: MeshInfo
    unreadable: str = ""
    manifest: MultiresManifest | None = None
    storage: str = ""
    fragments: list[list[Fragment]] = field(default_factory=list)
    broken: list[list[FormatError]] = field(default_factory=list)

    def problems(self, rule: str) -> Iterator[Fault]:
        """Yield what the model of the manifest finds wrong, for one of its rules."""
        if self.manifest is not None:
            yield from ((self.where, problem.text) for problem in self.manifest.problems() if problem.rule == rule)

    def codes(self) -> list[npt.NDArray[np.uint64]]:
        """Return the Morton codes of the cells of every level; none if they cannot be computed."""
        try:
            return [morton_codes(cells) for cells in self.manifest.cells] if self.manifest is not None else []
        except FormatError:
            return []


SEGMENT: RuleTable[Segment] = RuleTable()


@SEGMENT.add("PC310", "a manifest has exactly the length that its counts say")
def manifest_length(segment: Segment) -> Iterator[Fault]:
    if segment.unreadable:
        yield segment.where, segment.unreadable


@SEGMENT.add("PC311", "the cells of a level are in strictly ascending Morton order")
def manifest_order(segment: Segment) -> Iterator[Fault]:
    yield from segment.problems("order")


@SEGMENT.add("PC312", "lod_scales are above 0 and do not decrease")
def manifest_lod_scales(segment: Segment) -> Iterator[Fault]:
    yield from segment.problems("lod_scales")


@SEGMENT.add("PC313", "chunk_shape is above 0, grid_origin and vertex_offsets are finite")
def manifest_grid(segment: Segment) -> Iterator[Fault]:
    yield from segment.problems("chunk_shape")
    yield from segment.problems("grid")


@SEGMENT.add("PC314", "level 0 lists at least one cell", hint="viewers take the bounds of an object from level 0")
def manifest_level_0(segment: Segment) -> Iterator[Fault]:
    if segment.manifest is not None and not len(segment.manifest.cells[0]):
        yield segment.where, "level 0 lists no cell"


@SEGMENT.add("PC315", "every cell has its parent in the next level", hint="list the parent, empty if need be")
def manifest_parents(segment: Segment) -> Iterator[Fault]:
    codes = segment.codes()
    for lod in range(len(codes) - 1):
        orphans = np.flatnonzero(~np.isin(codes[lod] >> np.uint64(3), codes[lod + 1]))
        if len(orphans) and segment.manifest is not None:
            cell = segment.manifest.cells[lod][orphans[0]].tolist()
            yield segment.where, f"level {lod}: {len(orphans)} cells have no parent, for example {cell}; never drawn"


@SEGMENT.add("PC316", "every octant with triangles has its cell in the finer level", hint="list it, empty if need be")
def manifest_children(segment: Segment) -> Iterator[Fault]:
    codes = segment.codes()
    bits = segment.info.vertex_quantization_bits
    for lod, fragments in enumerate(segment.fragments):
        if lod == 0 or not codes:
            continue
        missing = []
        for fragment in fragments:
            used = np.unique(octants(fragment.positions, fragment.faces, bits))
            children = (morton_codes([fragment.cell]) << np.uint64(3)) + used[used >= 0].astype(np.uint64)
            missing += children[~np.isin(children, codes[lod - 1])].tolist()
        if missing:
            text = f"level {lod}: {len(missing)} octants with triangles have no cell in level {lod - 1}"
            yield segment.where, f"{text}; they stay visible beside the finer level"


@SEGMENT.add("PC320", "the fragments are stored where the sizes in the manifest say")
def fragments_stored(segment: Segment) -> Iterator[Fault]:
    if segment.storage:
        yield segment.where, segment.storage


@SEGMENT.add("PC321", "every fragment is a Draco triangle mesh with integer positions and valid indices")
def fragments_decode(segment: Segment) -> Iterator[Fault]:
    for errors in segment.broken:
        if errors:
            yield segment.where, f"{len(errors)} fragments cannot be read: {errors[0].message}"
    for lod, fragments in enumerate(segment.fragments):
        for fragment in fragments:
            count = len(fragment.positions)
            if fragment.faces.size and int(fragment.faces.max()) >= count:
                yield (
                    segment.where,
                    f"level {lod}, cell {fragment.cell.tolist()}: a face points beyond {count} positions",
                )


@SEGMENT.add("PC322", "positions are from 0 to 2**bits - 1", hint="they wrap around in the viewer")
def fragments_range(segment: Segment) -> Iterator[Fault]:
    top = (1 << segment.info.vertex_quantization_bits) - 1
    for lod, fragments in enumerate(segment.fragments):
        for fragment in fragments:
            q = fragment.positions
            outside = ((q < 0) | (q > top)).any(axis=1)
            if outside.any():
                text = f"{int(outside.sum())} positions are not from 0 to {top}, for example {q[outside][0].tolist()}"
                yield segment.where, f"level {lod}, cell {fragment.cell.tolist()}: {text}"


@SEGMENT.add("PC323", "above level 0 every triangle lies in one octant of its cell", hint="cut at 2**(bits - 1)")
def fragments_octants(segment: Segment) -> Iterator[Fault]:
    bits = segment.info.vertex_quantization_bits
    for lod, fragments in enumerate(segment.fragments):
        for fragment in fragments if lod else ():
            across = int((octants(fragment.positions, fragment.faces, bits) < 0).sum())
            if across:
                text = f"level {lod}, cell {fragment.cell.tolist()}: {across} triangles cross a plane between octants"
                yield segment.where, text


# ---- one level as a surface, of either format


@dataclass
class LevelSurface:
    """One level of an object, equal positions joined.

    Attributes
    ----------
    where
        Its place, for findings.
    vertices
        float64, shape (n, 3), nm.
    faces
        Shape (m, 3).
    bounds_nm
        Of the volume, shape (2, 3).
    tolerance_nm
        One coarse voxel, shape (3,).
    """

    where: str
    vertices: Array
    faces: Array
    bounds_nm: Array
    tolerance_nm: Array

    @cached_property
    def open_edges(self) -> tuple[Array, Array]:
        """Edges without an opposite, shape (k, 2), and whether each lies on a border of the volume."""
        edges = np.concatenate([self.faces[:, [0, 1]], self.faces[:, [1, 2]], self.faces[:, [2, 0]]]).astype(np.int64)
        edges = edges[edges[:, 0] != edges[:, 1]]
        low, high = edges.min(axis=1), edges.max(axis=1)
        codes, inverse = np.unique(low * len(self.vertices) + high, return_inverse=True)
        balance = np.bincount(inverse, np.where(edges[:, 0] == low, 1.0, -1.0), minlength=len(codes))
        odd = codes[balance != 0]
        found = np.stack([odd // max(1, len(self.vertices)), odd % max(1, len(self.vertices))], axis=1)
        ends = self.vertices[found]  # (k, 2 ends, 3 axes)
        near = np.abs(ends[:, :, None] - self.bounds_nm) <= self.tolerance_nm  # (k, end, low or high, axis)
        return found, np.asarray(near.all(axis=1).any(axis=(1, 2)))


LEVEL: RuleTable[LevelSurface] = RuleTable()


@LEVEL.add("PC330", "a mesh lies within the bounds of its volume, to one coarse voxel")
def level_bounds(level: LevelSurface) -> Iterator[Fault]:
    if not len(level.vertices):
        return
    low, high = level.vertices.min(axis=0), level.vertices.max(axis=0)
    if (low < level.bounds_nm[0] - level.tolerance_nm).any() or (high > level.bounds_nm[1] + level.tolerance_nm).any():
        mesh, volume = ([[round(float(v), 3) for v in row] for row in rows] for rows in ((low, high), level.bounds_nm))
        yield level.where, f"the mesh spans {mesh} nm, outside the volume, {volume} nm"


@LEVEL.add("PC331", "a surface is closed: every edge has as many faces on one side as on the other")
def level_closed(level: LevelSurface) -> Iterator[Fault]:
    edges, at_border = level.open_edges
    if not at_border.all():
        inner = edges[~at_border]
        place = [round(float(v), 3) for v in level.vertices[inner[0]].mean(axis=0)]
        yield level.where, f"{len(inner)} edges are open, for example at {place} nm"


@LEVEL.add(
    "PC332",
    "a surface is closed at the borders of the volume",
    severity=Severity.WARNING,
    hint="as it should be if the meshes were made with open borders",
)
def level_open_border(level: LevelSurface) -> Iterator[Fault]:
    _, at_border = level.open_edges
    if at_border.any():
        yield level.where, f"{int(at_border.sum())} edges at the border of the volume are open"


@LEVEL.add("PC333", "the faces of a closed surface look outward", severity=Severity.WARNING)
def level_outward(level: LevelSurface) -> Iterator[Fault]:
    edges, _ = level.open_edges
    if len(edges) or not len(level.faces):
        return
    corners = (level.vertices - level.vertices.mean(axis=0))[level.faces]
    volume = float(np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))) / 6
    if volume < 0:
        yield level.where, f"the surface encloses {volume:.6g} nm3: its faces look inward"


# ---- a level beside the finest


@dataclass(frozen=True, slots=True)
class LevelPair:
    """A coarser level and level 0 of one object.

    Attributes
    ----------
    coarse, finest
        The two.
    distance_nm
        How far they may be apart by the ``lod_scales`` of both.
    """

    coarse: LevelSurface
    finest: LevelSurface
    distance_nm: float


PAIR: RuleTable[LevelPair] = RuleTable()


@PAIR.add("PC334", "a coarser level spans what level 0 spans, to its lod_scale", severity=Severity.WARNING)
def pair_bounds(pair: LevelPair) -> Iterator[Fault]:
    if not len(pair.coarse.vertices) or not len(pair.finest.vertices):
        if len(pair.coarse.vertices) != len(pair.finest.vertices):
            yield pair.coarse.where, "this level and level 0 do not both have triangles"
        return
    apart = max(
        float(np.abs(pair.coarse.vertices.min(axis=0) - pair.finest.vertices.min(axis=0)).max()),
        float(np.abs(pair.coarse.vertices.max(axis=0) - pair.finest.vertices.max(axis=0)).max()),
    )
    if apart > pair.distance_nm:
        text = f"the bounds of this level and of level 0 are {apart:.6g} nm apart, allowed are {pair.distance_nm:.6g}"
        yield pair.coarse.where, text


# ---- one object of the single-resolution format


@dataclass(slots=True)
class LegacyFiles:
    """The files of one object of the single-resolution format.

    Attributes
    ----------
    where
        Its place, for findings.
    unreadable
        Why the manifest cannot be read, if so.
    broken
        What is wrong with its fragments.
    """

    where: str
    unreadable: str = ""
    broken: list[FormatError] = field(default_factory=list)


LEGACY: RuleTable[LegacyFiles] = RuleTable()


@LEGACY.add("PC350", "the manifest of a single-resolution mesh is a JSON object with a list of fragments")
def legacy_manifest(files: LegacyFiles) -> Iterator[Fault]:
    if files.unreadable:
        yield files.where, files.unreadable


@LEGACY.add("PC351", "every fragment that a manifest lists is there and whole")
def legacy_fragments(files: LegacyFiles) -> Iterator[Fault]:
    for error in files.broken:
        yield error.where or files.where, error.message
