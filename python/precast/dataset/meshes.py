"""The meshes of a segmentation: looked up by object, read level by level, in nanometres."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import numpy.typing as npt

from precast import kernels
from precast.dataset.shards import Place, ShardReader, read_range
from precast.errors import FormatError, ObjectNotFoundError, PrecastError
from precast.precomputed import legacy_meshes
from precast.precomputed.meshes import (
    MeshInfo,
    MultiresManifest,
    fragment_lattice,
    fragments_name,
    lattice_to_stored,
    manifest_name,
    segment_of_manifest,
)
from precast.precomputed.objects import INFO_KEY
from precast.storage import Store
from precast.surfaces import Mesh

__all__ = [
    "Fragment",
    "LegacyMeshes",
    "MultiresMesh",
    "MultiresMeshes",
    "SegmentMesh",
    "ShardedMeshes",
    "StoredManifest",
    "VolumeMeshes",
    "open_meshes",
    "weld",
]

MAX_MANIFEST_BYTES = 1 << 30
MAX_FRAGMENT_ELEMENTS = 1 << 26
"""Faces, and positions, that one fragment may have: more do not fit into a viewer by far."""

Array = npt.NDArray[Any]


class Fragment(NamedTuple):
    """One fragment of a level: its cell, its positions as stored (integers), its faces, its place in the store."""

    cell: Array
    positions: Array
    faces: Array
    place: Place


def weld(points: Array, faces: Array) -> tuple[Array, Array]:
    """Join points that are exactly equal.

    Parameters
    ----------
    points
        Shape (n, 3), integers or floats.
    faces
        Integers, shape (m, 3): indices into ``points``.

    Returns
    -------
    tuple
        The distinct points, in the order in which they first stand, and the faces over them, uint32.
    """
    if not len(points):
        return points, faces.astype(np.uint32)
    order = _order(points)
    ranked = points[order]
    begins = np.concatenate([[True], (ranked[1:] != ranked[:-1]).any(axis=1)])
    group = np.cumsum(begins) - 1
    first = order[begins]
    by_place = np.argsort(first, kind="stable")
    number = np.empty(len(first), np.uint32)
    number[by_place] = np.arange(len(first), dtype=np.uint32)
    new = np.empty(len(points), np.uint32)
    new[order] = number[group]
    return points[first[by_place]], new[faces]


def _order(points: Array) -> Array:
    """Sort points in some order of their coordinates; of equal ones the first comes first."""
    if points.dtype.kind in "iu":
        low = points.min(axis=0)
        x, y, z = (int(extent) + 1 for extent in points.max(axis=0) - low)
        if x * y * z < 2**63:  # one key, a third of the work
            keys = (points - low).astype(np.int64) @ np.array([1, x, x * y], np.int64)
            return np.argsort(keys, kind="stable")
    return np.lexsort(points.T)


def open_meshes(store: Store, prefix: str) -> VolumeMeshes:
    """Open a mesh directory; without an ``info`` it holds meshes of the single-resolution format.

    Raises
    ------
    FormatError
        If the ``info`` is not one that precast can read; lists every problem.
    """
    prefix = prefix.strip("/")
    key = f"{prefix}/{INFO_KEY}"
    try:
        info = MeshInfo.from_bytes(store.read(key), where=f"{store.url}/{key}")
    except ObjectNotFoundError:
        info = MeshInfo(kind="legacy")
    kind: Callable[[Store, str, MeshInfo], VolumeMeshes] = LegacyMeshes
    if info.kind != "legacy":
        kind = _UnshardedMeshes if info.sharding is None else ShardedMeshes
    return kind(store, prefix, info)


class VolumeMeshes(ABC):
    """Meshes by the id of their object.

    ``meshes[id]`` is a :class:`SegmentMesh`; ``id in meshes``, ``len(meshes)`` and iteration look at what is stored.

    Attributes
    ----------
    info
        The parsed ``info`` of the mesh directory.
    """

    def __init__(self, store: Store, prefix: str, info: MeshInfo) -> None:
        self.store = store
        self.prefix = prefix
        self.info = info

    def __repr__(self) -> str:
        return f"<precast.VolumeMeshes {self.store.url}/{self.prefix} {self.info.kind}>"

    def __getitem__(self, segment: int) -> SegmentMesh:
        """Return the mesh of an object.

        Raises
        ------
        ObjectNotFoundError
            If it has none.
        FormatError
            If its manifest is damaged.
        """
        found = self._open(int(segment)) if _is_id(segment) else None
        if found is None:
            raise ObjectNotFoundError(
                f"object {segment} has no mesh in {self.store.url}/{self.prefix}",
                hint="the ids of all meshes: list(volume.meshes)",
                where=str(segment),
            )
        return found

    def __contains__(self, segment: object) -> bool:
        return _is_id(segment) and self._has(int(segment))

    def __len__(self) -> int:
        return len(self.ids())

    def __iter__(self) -> Iterator[int]:
        return iter(self.ids().tolist())

    @abstractmethod
    def ids(self) -> npt.NDArray[np.uint64]:
        """Return the ids of all objects that have a mesh, ascending; lists what is stored."""

    @abstractmethod
    def _open(self, segment: int) -> SegmentMesh | None: ...

    @abstractmethod
    def _has(self, segment: int) -> bool: ...

    def _list(self, segment_of: Callable[[str], int | None]) -> npt.NDArray[np.uint64]:
        names = (stat.key.removeprefix(f"{self.prefix}/") for stat in self.store.list(f"{self.prefix}/"))
        return np.array(sorted(number for name in names if (number := segment_of(name)) is not None), np.uint64)

    def _exists(self, name: str) -> bool:
        try:
            self.store.stat(f"{self.prefix}/{name}")
        except ObjectNotFoundError:
            return False
        return True


def _is_id(segment: object) -> TypeGuard[int]:
    return isinstance(segment, int | np.integer) and not isinstance(segment, bool) and 0 <= int(segment) < 2**64


class SegmentMesh(ABC):
    """The mesh of one object.

    Attributes
    ----------
    segment
        The id of the object.
    manifest
        Cells and sizes of every level; None in the single-resolution format.
    """

    def __init__(self, segment: int, manifest: MultiresManifest | None) -> None:
        self.segment = segment
        self.manifest = manifest

    def __repr__(self) -> str:
        return f"<precast.SegmentMesh {self.segment}, {self.lods} levels of detail>"

    @property
    def lods(self) -> int:
        """Number of levels of detail; 0 is the finest."""
        return 1 if self.manifest is None else self.manifest.lods

    @cached_property
    def bounds_nm(self) -> npt.NDArray[np.float64]:
        """Lowest and highest position of level 0, shape (2, 3), x, y, z in nm; reads that level. NaN if it is empty."""
        vertices = self.read(0).vertices
        if not len(vertices):
            return np.full((2, 3), np.nan)
        return np.stack([vertices.min(axis=0), vertices.max(axis=0)])

    def read(self, lod: int = 0) -> Mesh:
        """Return one level of detail, its fragments joined where their positions are exactly equal.

        Raises
        ------
        IndexError
            If there is no such level.
        FormatError
            If a fragment is damaged; names it.
        """
        if not 0 <= lod < self.lods:
            raise IndexError(f"object {self.segment} has the levels of detail 0 to {self.lods - 1}, not {lod}")
        return self._read(lod)

    @abstractmethod
    def _read(self, lod: int) -> Mesh: ...


# ---- the multi-resolution format


class MultiresMesh(SegmentMesh):
    """An object of the multi-resolution format.

    Attributes
    ----------
    data
        Where its fragments lie, all of them together.
    """

    manifest: MultiresManifest

    def __init__(self, segment: int, manifest: MultiresManifest, meshes: VolumeMeshes, data: Place) -> None:
        super().__init__(segment, manifest)
        self._store = meshes.store
        self._info = meshes.info
        self.data = data

    def fragment_places(self, lod: int) -> list[Place]:
        """Return where each fragment of a level lies, in the order of the manifest; empty ones have no bytes."""
        start = self.data.start
        return [Place(self.data.key, start + a, start + b) for a, b in self.manifest.ranges(lod).tolist()]

    def fragments(self, lod: int) -> Iterator[Fragment]:
        """Yield the fragments of a level that are not empty, decoded, in the order of the manifest.

        Raises
        ------
        FormatError
            If one is damaged; names it.
        """
        places = self.fragment_places(lod)
        if not places or places[-1].stop == places[0].start:
            return
        base = places[0].start
        try:
            data = read_range(self._store, self.data.key, base, places[-1].stop)
        except ObjectNotFoundError as error:
            raise FormatError(
                f"the fragments of object {self.segment} are missing: {error}", where=error.where
            ) from None
        for cell, place in zip(self.manifest.cells[lod], places, strict=True):
            if place.stop > place.start:
                yield self.decode(lod, cell, place, data[place.start - base : place.stop - base])

    def decode(self, lod: int, cell: Array, place: Place, data: bytes) -> Fragment:
        """Decode the bytes of one fragment.

        Raises
        ------
        FormatError
            If they are no Draco mesh of integer positions.
        """
        try:
            positions, faces = kernels.draco_decode(data, MAX_FRAGMENT_ELEMENTS, MAX_FRAGMENT_ELEMENTS)
        except PrecastError as error:
            x, y, z = cell.tolist()
            raise FormatError(
                f"object {self.segment}, level {lod}, cell {x},{y},{z}: {error.message}",
                where=f"{place.key} bytes {place.start}..{place.stop}",
            ) from None
        return Fragment(cell, positions, faces, place)

    def lattice(self, lod: int) -> tuple[Array, Array]:
        """Return a level, welded: positions on its lattice (int64) and faces (uint32)."""
        return self.join(self.fragments(lod))

    def join(self, fragments: Iterator[Fragment] | Sequence[Fragment]) -> tuple[Array, Array]:
        """Weld fragments of one level: positions on its lattice (int64) and faces (uint32)."""
        bits = self._info.vertex_quantization_bits
        points, faces = [np.zeros((0, 3), np.int64)], [np.zeros((0, 3), np.int64)]
        count = 0
        for fragment in fragments:
            points.append(fragment_lattice(fragment.positions, fragment.cell, bits))
            faces.append(fragment.faces.astype(np.int64) + count)
            count += len(fragment.positions)
        return weld(np.concatenate(points), np.concatenate(faces))

    def to_nm(self, lattice: Array, lod: int) -> npt.NDArray[np.float64]:
        """Take positions on the lattice of a level to nanometres."""
        bits = self._info.vertex_quantization_bits
        return self._info.to_nm(lattice_to_stored(lattice, self.manifest, lod, bits))

    def _read(self, lod: int) -> Mesh:
        points, faces = self.lattice(lod)
        return Mesh(self.to_nm(points, lod), faces)


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """The bytes of a manifest, and where its fragments lie.

    Attributes
    ----------
    data
        The manifest.
    where
        Its place, for errors.
    key
        The object that holds the fragments.
    stop
        Where they end in it; None if they begin at its start.
    """

    data: bytes
    where: str
    key: str
    stop: int | None

    def fragments(self, total_bytes: int) -> Place:
        """Return the place of all fragments; a manifest that asks for too much gives a negative start."""
        return (
            Place(self.key, 0, total_bytes)
            if self.stop is None
            else Place(self.key, self.stop - total_bytes, self.stop)
        )


class MultiresMeshes(VolumeMeshes):
    """Meshes of the multi-resolution format."""

    first_byte = 0
    """Where fragments can begin in the object that holds them."""

    @abstractmethod
    def stored_manifest(self, segment: int) -> StoredManifest | None:
        """Return the manifest of an object as it is stored, or None if it has none."""

    def _open(self, segment: int) -> MultiresMesh | None:
        stored = self.stored_manifest(segment)
        if stored is None:
            return None
        manifest = MultiresManifest.parse(stored.data, stored.where)
        place = stored.fragments(manifest.total_bytes)
        if place.start < self.first_byte:
            text = f"{stored.where}: {manifest.total_bytes} bytes of fragments do not fit before the manifest"
            raise FormatError(text, where=stored.where)
        return MultiresMesh(segment, manifest, self, place)


class _UnshardedMeshes(MultiresMeshes):
    def ids(self) -> npt.NDArray[np.uint64]:
        return self._list(segment_of_manifest)

    def _has(self, segment: int) -> bool:
        return self._exists(manifest_name(segment))

    def stored_manifest(self, segment: int) -> StoredManifest | None:
        key = f"{self.prefix}/{manifest_name(segment)}"
        try:
            data = self.store.read(key)
        except ObjectNotFoundError:
            return None
        return StoredManifest(data, key, f"{self.prefix}/{fragments_name(segment)}", None)


class ShardedMeshes(MultiresMeshes):
    """Meshes whose manifests and fragments are packed into shards."""

    def __init__(self, store: Store, prefix: str, info: MeshInfo) -> None:
        super().__init__(store, prefix, info)
        assert info.sharding is not None  # open_meshes takes this class only then
        self.shards = ShardReader(store, prefix, info.sharding)
        self.first_byte = info.sharding.index_bytes

    def ids(self) -> npt.NDArray[np.uint64]:
        """Return the keys of all shards."""
        return self.shards.keys()

    def _has(self, segment: int) -> bool:
        return self.shards.find(segment) is not None

    def stored_manifest(self, segment: int) -> StoredManifest | None:
        """Return the manifest and where the fragments end in front of it."""
        place = self.shards.find(segment)
        if place is None:
            return None
        data = self.shards.spec.decode_value(read_range(self.store, *place), MAX_MANIFEST_BYTES)
        return StoredManifest(data, f"{place.key}, object {segment}", place.key, place.start)


# ---- the single-resolution format


class _LegacyMesh(SegmentMesh):
    def __init__(self, segment: int, meshes: VolumeMeshes, names: Sequence[str]) -> None:
        super().__init__(segment, None)
        self._meshes = meshes
        self._names = names

    def _read(self, lod: int) -> Mesh:
        points, faces = [np.zeros((0, 3), np.float32)], [np.zeros((0, 3), np.int64)]
        count = 0
        for name in self._names:
            key = f"{self._meshes.prefix}/{name}"
            try:
                data = self._meshes.store.read(key)
            except ObjectNotFoundError as error:
                raise FormatError(f"a fragment of object {self.segment} is missing: {error}", where=key) from None
            positions, corners = legacy_meshes.parse_fragment(data, key)
            points.append(positions)
            faces.append(corners.astype(np.int64) + count)
            count += len(positions)
        welded, joined = weld(np.concatenate(points), np.concatenate(faces))
        return Mesh(welded.astype(np.float64), joined)


class LegacyMeshes(VolumeMeshes):
    """Meshes of the single-resolution format."""

    def ids(self) -> npt.NDArray[np.uint64]:
        """Return the ids of all manifests."""
        return self._list(legacy_meshes.segment_of_manifest)

    def _has(self, segment: int) -> bool:
        return self._exists(legacy_meshes.manifest_name(segment))

    def _open(self, segment: int) -> SegmentMesh | None:
        key = f"{self.prefix}/{legacy_meshes.manifest_name(segment)}"
        try:
            data = self.store.read(key)
        except ObjectNotFoundError:
            return None
        return _LegacyMesh(segment, self, legacy_meshes.parse_manifest(data, key))
