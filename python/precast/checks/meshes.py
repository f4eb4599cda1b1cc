"""Check the meshes of a volume against every rule of the format."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from precast.checks.mesh_rules import (
    INFO,
    LEGACY,
    LEVEL,
    PAIR,
    SEGMENT,
    SHARD,
    InfoFile,
    LegacyFiles,
    LevelPair,
    LevelSurface,
    Segment,
    Shard,
)
from precast.checks.rules import Fault, RuleTable
from precast.checks.work import in_threads
from precast.dataset.meshes import LegacyMeshes, MultiresMesh, MultiresMeshes, ShardedMeshes, VolumeMeshes
from precast.dataset.shards import Place, read_range
from precast.dataset.volume import Volume
from precast.errors import AccessDeniedError, FormatError, ObjectNotFoundError, StorageError
from precast.findings import Finding
from precast.precomputed.meshes import MultiresManifest
from precast.precomputed.objects import INFO_KEY
from precast.precomputed.strict_json import parse_object

__all__ = ["check_meshes"]

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something that ends the look at its surroundings."""

    where: str
    message: str


DIRECTORY: RuleTable[Unreadable] = RuleTable()
SHARDS: RuleTable[Unreadable] = RuleTable()
ABSENT: RuleTable[Unreadable] = RuleTable()
BLOCKED: RuleTable[Unreadable] = RuleTable()


@DIRECTORY.add("PC300", "the info of meshes is a strict JSON object")
def directory_info(subject: Unreadable) -> Iterable[Fault]:
    yield subject.where, subject.message


@SHARDS.add("PC305", "the indices of shards can be read")
def shard_indices(subject: Unreadable) -> Iterable[Fault]:
    yield subject.where, subject.message


@BLOCKED.add("PC309", "what belongs to an object can be read", hint="check permissions and the disk")
def object_readable(subject: Unreadable) -> Iterable[Fault]:
    yield subject.where, subject.message


@ABSENT.add("PC308", "an object that was asked for has a mesh")
def object_present(subject: Unreadable) -> Iterable[Fault]:
    yield subject.where, subject.message


def check_meshes(volume: Volume, *, ids: Iterable[int] | None = None, threads: int = 1) -> list[Finding]:
    """Return what is wrong with the meshes of a volume.

    Parameters
    ----------
    volume
        An open segmentation whose ``info`` names meshes.
    ids
        Objects to look at; all by default. Every fragment of every level of them is decoded.
    threads
        How many objects to look at at a time.

    Raises
    ------
    ObjectNotFoundError
        If the volume has no meshes.
    AccessDeniedError, StorageError
        If the meshes cannot be listed.
    """
    if volume.info.mesh is None:
        _ = volume.meshes  # raises, with the hint
    key = f"{str(volume.info.mesh).strip('/')}/{INFO_KEY}"
    findings: list[Finding] = []
    try:
        value = parse_object(volume.store.read(key), key)
        findings += INFO.run(InfoFile(key, value))
    except ObjectNotFoundError:
        pass  # meshes of the single-resolution format need none
    except FormatError as error:
        return DIRECTORY.run(Unreadable(key, error.message))
    try:
        meshes = volume.meshes
    except FormatError:
        return findings  # told above, rule by rule
    try:
        found = meshes.ids()
    except FormatError as error:
        return [*findings, *SHARDS.run(Unreadable(error.where or key, error.message))]
    wanted = found.tolist() if ids is None else [int(segment) for segment in ids]
    looked_at: dict[str, list[tuple[int, int, str]]] = {}

    def one(segment: int) -> tuple[list[Finding], Place | None]:
        try:
            if isinstance(meshes, MultiresMeshes):
                return _check_object(meshes, segment, volume)
            return (_check_legacy(meshes, segment, volume) if isinstance(meshes, LegacyMeshes) else []), None
        except (AccessDeniedError, StorageError) as error:
            return BLOCKED.run(Unreadable(f"{meshes.prefix}, object {segment}", error.message)), None

    for segment, (found_here, place) in zip(wanted, in_threads(one, wanted, threads), strict=True):
        findings += found_here
        if place is not None:
            looked_at.setdefault(place.key, []).append((place.start, place.stop, f"fragments of object {segment}"))
    if isinstance(meshes, ShardedMeshes):
        findings += _check_shards(meshes, looked_at)
    return findings


def _absent(meshes: VolumeMeshes, segment: int) -> list[Finding]:
    return ABSENT.run(Unreadable(f"{meshes.prefix}, object {segment}", f"object {segment} has no mesh"))


def _check_object(meshes: MultiresMeshes, segment: int, volume: Volume) -> tuple[list[Finding], Place | None]:
    """Look at one object; returns where its fragments lie too, if that can be told."""
    subject = Segment(f"{meshes.prefix}, object {segment}", meshes.info)
    try:
        stored = meshes.stored_manifest(segment)
        if stored is None:
            return _absent(meshes, segment), None
        subject.where = stored.where
        manifest = MultiresManifest.decode(stored.data, stored.where)
    except FormatError as error:
        subject.unreadable = error.message
        return SEGMENT.run(subject), None
    subject.manifest = manifest
    place = stored.fragments(manifest.total_bytes)
    subject.storage = _storage_problem(meshes, place, whole=stored.stop is None)
    if subject.storage:
        return SEGMENT.run(subject), None
    mesh = MultiresMesh(segment, manifest, meshes, place)
    for lod in range(manifest.lods):
        subject.fragments.append([])
        subject.broken.append([])
        for cell, part in zip(manifest.cells[lod], mesh.fragment_places(lod), strict=True):
            if part.stop > part.start:
                try:
                    data = read_range(meshes.store, *part)
                    subject.fragments[-1].append(mesh.decode(lod, cell, part, data))
                except FormatError as error:
                    subject.broken[-1].append(error)
    findings = SEGMENT.run(subject)
    if any(finding.code in ("PC313", "PC321") for finding in findings):
        return findings, place  # what is not there cannot be closed, and without a grid there are no bounds
    return findings + _check_levels(mesh, subject, volume), place


def _check_levels(mesh: MultiresMesh, subject: Segment, volume: Volume) -> list[Finding]:
    findings: list[Finding] = []
    scales = mesh.manifest.lod_scales.astype(np.float64) * subject.info.lod_scale_multiplier
    scales = np.where(np.isfinite(scales) & (scales > 0), scales, 0)  # told by a rule of its own
    finest: LevelSurface | None = None
    for lod, fragments in enumerate(subject.fragments):
        points, faces = mesh.join(fragments)
        tolerance = _voxel(volume, 0) + subject.info.unit_nm * scales[lod]
        where = f"{subject.where}, level {lod}"
        level = LevelSurface(where, mesh.to_nm(points, lod), faces, _bounds_nm(volume), tolerance)
        findings += LEVEL.run(level)
        finest = finest or level
        if lod and scales.all():
            distance = float(subject.info.unit_nm.max() * (scales[0] + scales[lod]))
            findings += PAIR.run(LevelPair(level, finest, distance))
    return findings


def _storage_problem(meshes: MultiresMeshes, place: Place, *, whole: bool) -> str:
    total = place.stop - place.start
    if not whole:
        if place.start < meshes.first_byte:
            return f"{total} bytes of fragments do not fit before the manifest, which stands at byte {place.stop}"
        return ""
    try:
        stat = meshes.store.stat(place.key)
    except ObjectNotFoundError:
        return f"the manifest lists {total} bytes of fragments, but {place.key} is missing" if total else ""
    if stat.encoding:
        return f"{place.key} is stored packed as {stat.encoding}, so that it cannot be read by ranges"
    return "" if stat.size == total else f"the manifest lists {total} bytes of fragments, {place.key} has {stat.size}"


def _check_shards(meshes: ShardedMeshes, looked_at: dict[str, list[tuple[int, int, str]]]) -> list[Finding]:
    spec = meshes.shards.spec
    shards: dict[str, Shard] = {}
    for stored in meshes.shards.minishards():
        first = [(0, spec.index_bytes, "the shard index"), *looked_at.get(stored.key, [])]
        shard = shards.setdefault(stored.key, Shard(stored.key, first, []))
        shard.ranges.append((stored.start, stored.stop, f"the index of minishard {stored.minishard}"))
        keys, starts, sizes = stored.index.keys, stored.index.starts, stored.index.sizes
        for key, start, size in zip(keys.tolist(), starts.tolist(), sizes.tolist(), strict=True):
            shard.ranges.append((start, start + size, f"the manifest of object {key}"))
        number, minishard = spec.place(keys)
        wrong = (number != np.uint64(stored.shard)) | (minishard != np.uint64(stored.minishard))
        shard.misplaced.extend(keys[wrong].tolist())
    return [finding for shard in shards.values() for finding in SHARD.run(shard)]


def _check_legacy(meshes: LegacyMeshes, segment: int, volume: Volume) -> list[Finding]:
    where = f"{meshes.prefix}, object {segment}"
    files = LegacyFiles(where)
    try:
        if segment not in meshes:
            return _absent(meshes, segment)
        mesh = meshes[segment]
    except FormatError as error:
        files.unreadable = error.message
        return LEGACY.run(files)
    try:
        surface = mesh.read()
    except FormatError as error:
        files.broken.append(error)
        return LEGACY.run(files)
    tolerance = _voxel(volume, len(volume.scales) - 1)
    return LEVEL.run(LevelSurface(where, surface.vertices, surface.faces, _bounds_nm(volume), tolerance))


def _voxel(volume: Volume, scale: int) -> F64:
    return np.array([float(edge) for edge in volume.info.scales[scale].resolution], np.float64)


def _bounds_nm(volume: Volume) -> F64:
    box = volume.info.scales[0].box
    with np.errstate(over="ignore"):  # edges of any length parse
        return np.array([box.start, box.stop], np.float64) * _voxel(volume, 0)
