"""The units of work of a meshing. Each pickles, opens what it needs when it runs, and can be run again.

==================  ==============================================================================
task                reads, writes
==================  ==============================================================================
``BlockTask``       a block of labels -> the simplified pieces of their surfaces
``ObjectTask``      the pieces of some objects -> their levels, encoded, or their files
``ShardTask``       encoded objects -> one shard
==================  ==============================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from precast import kernels
from precast.dataset.objects import attributes
from precast.errors import AccessDeniedError, FormatError, PrecastError, StorageError
from precast.geometry import Box
from precast.kernels import Mesh
from precast.pipelines.mesh.frame import UNITS, Frame
from precast.pipelines.mesh.levels import Level, Levels, Part, build_levels, finest, measured
from precast.pipelines.mesh.plan import MESH_DIRECTORY, Block, MeshPlan
from precast.pipelines.mesh.spool import Shelf, data_path, load_arrays, save_arrays
from precast.precomputed import legacy_meshes
from precast.precomputed.meshes import MultiresManifest, fragments_name, manifest_name
from precast.precomputed.objects import ObjectKind
from precast.precomputed.sharding import ShardingSpec, layout_shard
from precast.storage import Store
from precast.storage.base import flush, translate_os_error

__all__ = ["OBJECT_RECORD", "BlockTask", "ObjectTask", "Places", "ShardTask", "forget_pieces"]

Array = npt.NDArray[Any]

OBJECT_RECORD = np.dtype(
    [
        ("id", "<u8"),
        ("offset", "<u8"),
        ("fragment_bytes", "<u8"),
        ("manifest_bytes", "<u8"),
        ("faces", "<u8"),
        ("all_faces", "<u8"),
        ("fragments", "<u4"),
        ("levels", "<u4"),
        ("open_vertices", "<u4"),
        ("filled", "<u4"),
        ("error_nm", "<f8"),
        ("area_nm2", "<f8"),
        ("volume_nm3", "<f8"),
    ]
)
"""What is known of a finished object; ``faces`` are those of the finest level, ``offset`` is that of its fragments."""

PIECE_RECORD = np.dtype([("id", "<u8"), ("file", "<u4"), ("piece", "<u4"), ("faces", "<u4")])
"""Where a piece of an object is."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where a meshing works: scratch in ``spool``, half-written shards in ``parts``, objects in ``store``."""

    spool: Path
    parts: Path
    store: Store


@dataclass(frozen=True)
class BlockTask:
    """Extract and simplify the surfaces of a block; ``only`` are the ids to take instead of the plan's."""

    plan: MeshPlan
    block: Block
    only: Array | None = None

    @property
    def name(self) -> str:
        """Name of its files."""
        kind = "block" if self.only is None else "rescue"
        return f"{kind}-{self.block.scale}-{self.block.code:x}"

    def run(self, places: Places) -> int:
        """Do it; returns the voxels that were read."""
        plan, block = self.plan, self.block
        scale = plan.volume.scales[block.scale]
        closed = plan.closed(block)
        # one layer more where another block follows: the cells between the two belong to this one
        stop = block.box.stop.map(lambda b, end: min(b + 1, end), scale.box.stop)
        box = Box(block.box.start, stop)
        labels = scale.read(box, threads=1)
        if labels.dtype.itemsize < 4:
            labels = labels.astype(np.uint32)
        pieces = kernels.mesh_block(
            labels,
            start=box.start,
            closed=closed,
            units_per_voxel=UNITS,
            simplification=plan.simplification(block.scale),
            only=plan.only if self.only is None else self.only,
            keep=plan.small(block.scale),
        )
        save_arrays(
            places.spool,
            self.name,
            {
                "ids": pieces.ids,
                "vertex_offsets": pieces.vertex_offsets,
                "face_offsets": pieces.face_offsets,
                "errors_nm": pieces.errors_nm,
                "full_faces": pieces.full_faces,
                "positions": pieces.positions,
                "faces": pieces.faces,
            },
            scale=block.scale,
            code=block.code,
            failures=[[str(i), text] for i, text in pieces.failures],
        )
        return block.box.size.volume


def forget_pieces() -> None:
    """Let go of the files of pieces that are kept open: another run may give their names to other files."""
    _pieces.cache_clear()


@lru_cache(maxsize=64)
def _pieces(spool: Path, name: str) -> tuple[dict[str, Array], dict[str, Any]]:
    return load_arrays(spool, name)


@dataclass(frozen=True)
class ObjectTask:
    """Make some objects from their pieces.

    Attributes
    ----------
    index
        Number of the task.
    files
        Names of the files of pieces; ``PIECE_RECORD.file`` counts in them.
    pieces
        Records of dtype ``PIECE_RECORD``, sorted by id.
    """

    plan: MeshPlan
    index: int
    files: tuple[str, ...]
    pieces: Array

    @property
    def name(self) -> str:
        """Name of its files."""
        return f"objects-{self.index:08d}"

    def run(self, places: Places) -> int:
        """Do it; returns the faces that were read."""
        records: list[tuple[Any, ...]] = []
        failures: list[list[str]] = []
        bounds = np.flatnonzero(np.diff(self.pieces["id"], prepend=0, append=0))
        path = data_path(places.spool, self.name)
        try:
            with path.open("wb", buffering=1 << 20) as file:
                for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
                    mine = self.pieces[first:last]
                    segment = int(mine["id"][0])
                    try:
                        records.append(self._object(segment, mine, places, file))
                    except (PrecastError, ValueError, ArithmeticError, IndexError) as error:
                        if isinstance(error, StorageError | AccessDeniedError):
                            raise
                        failures.append([str(segment), str(error)])
        except PrecastError:
            path.unlink(missing_ok=True)
            raise
        except OSError as error:
            path.unlink(missing_ok=True)
            raise translate_os_error(error, "writing", path) from None
        flush(places.store)  # objects of a batch that is done are not made again
        save_arrays(places.spool, self.name, {"objects": np.array(records, OBJECT_RECORD)}, failures=failures)
        return int(self.pieces["faces"].sum())

    def _object(self, segment: int, mine: Array, places: Places, file: BinaryIO) -> tuple[Any, ...]:
        parts, scale = self._parts(mine, places.spool)
        frame = self.plan.frame(scale)
        with Shelf(places.spool / f"{self.name}.shelf") as shelf:
            if self.plan.options.format == "legacy":
                return self._legacy(segment, parts, frame, places, shelf)
            built = build_levels(parts, frame, self.plan.rules, shelf)
        manifest, fragments = _encode(built, frame)
        at = file.tell()
        if self.plan.options.unsharded:
            # the manifest last: whoever finds it finds its fragments
            _put(places.store, fragments_name(segment), b"".join(fragments), ObjectKind.MESH_FRAGMENTS)
            _put(places.store, manifest_name(segment), manifest, ObjectKind.MESH_MANIFEST)
        else:
            file.writelines(fragments)
            file.write(manifest)
        size = sum(map(len, fragments))
        cut_nm = built.grid.cutting.error_nm
        return _record(segment, at, (size, len(manifest)), built, built.levels[0].error_nm + cut_nm)

    def _parts(self, mine: Array, spool: Path) -> tuple[list[Part], int]:
        """Return an object's pieces, a part per block, and the scale that they are from."""
        parts, scales = [], set()
        for which, number in zip(mine["file"].tolist(), mine["piece"].tolist(), strict=True):
            arrays, more = _pieces(spool, self.files[which])
            scales.add(more["scale"])
            f0, f1 = arrays["face_offsets"][number : number + 2].tolist()
            loader = _PieceLoader(spool, self.files[which], number)
            error_nm = float(arrays["errors_nm"][number])
            raw = error_nm == 0 and self.plan.is_small(int(mine["id"][0]), more["scale"])
            parts.append(Part(more["code"], f1 - f0, error_nm, loader, raw))
        if len(scales) != 1:
            raise FormatError(f"its pieces are from several scales: {sorted(scales)}")
        return parts, scales.pop()

    def _legacy(self, segment: int, parts: list[Part], frame: Frame, places: Places, shelf: Shelf) -> tuple[Any, ...]:
        stage = finest(parts, frame, self.plan.rules, shelf)
        built = measured(stage, frame, self.plan.rules)
        names, size = [], 0
        for number, part in enumerate(stage.parts):
            for positions, faces in part.load():
                data = legacy_meshes.fragment_to_bytes(positions * np.array(frame.unit_nm), faces)
                names.append(legacy_meshes.fragment_name(segment, number))
                _put(places.store, names[-1], data, ObjectKind.LEGACY_FRAGMENT)
                size += len(data)
        # fragments are written already: only their number is told
        cells, octants = np.zeros((0, 3), np.uint32), np.zeros(0, np.uint8)
        built.levels.append(Level(stage.faces, stage.error_nm, cells, octants, [b""] * len(names)))
        manifest = legacy_meshes.manifest_to_bytes(names)
        _put(places.store, legacy_meshes.manifest_name(segment), manifest, ObjectKind.LEGACY_MANIFEST)
        return _record(segment, 0, (size, len(manifest)), built, stage.error_nm)


@dataclass(frozen=True, slots=True)
class _PieceLoader:
    spool: Path
    name: str
    number: int

    def __call__(self) -> list[Mesh]:
        arrays, _ = _pieces(self.spool, self.name)
        v0, v1 = arrays["vertex_offsets"][self.number : self.number + 2].tolist()
        f0, f1 = arrays["face_offsets"][self.number : self.number + 2].tolist()
        return [(np.asarray(arrays["positions"][v0:v1]), np.asarray(arrays["faces"][f0:f1]))]


def _put(store: Store, name: str, data: bytes, kind: ObjectKind) -> None:
    store.write(f"{MESH_DIRECTORY}/{name}", data, attributes(kind))


def _encode(built: Levels, frame: Frame) -> tuple[bytes, list[bytes]]:
    """Return the manifest, and the fragments in the order of the manifest."""
    cells, sizes, data = [], [], []
    for level, listed in zip(built.levels, built.listed, strict=True):
        streams = dict(zip(map(tuple, level.cells.tolist()), level.fragments, strict=True))
        found = [streams.get(cell, b"") for cell in listed]
        cells.append(np.array(listed, np.uint32).reshape(-1, 3))
        sizes.append(np.array([len(stream) for stream in found], np.uint32))
        data.extend(found)
    manifest = MultiresManifest(
        chunk_shape=built.grid.stored_cell(frame),
        grid_origin=built.grid.stored_origin(frame),
        lod_scales=lod_scales(built, frame),
        vertex_offsets=np.zeros((len(cells), 3)),
        cells=cells,
        sizes=sizes,
    )
    return manifest.to_bytes(), data


def lod_scales(built: Levels, frame: Frame) -> list[float]:
    """Return the resolution of each level in units of the stored model: a checked bound of its distance to the surface.

    The stored model's shortest unit counts, so that in nanometres it is a bound along every axis; cutting included.
    """
    unit = min(frame.stored_nm)
    scales: list[float] = []
    for number, level in enumerate(built.levels):
        bound = (level.error_nm + built.grid.cutting.error_nm * 2.0**number) / unit
        at_least = scales[-1] if scales else 2.0**-8
        scales.append(float(np.nextafter(np.float32(max(bound, at_least)), np.float32(np.inf))))
    return scales


def _record(segment: int, at: int, sizes: tuple[int, int], built: Levels, error_nm: float) -> tuple[Any, ...]:
    return (
        segment,
        at,
        *sizes,
        built.levels[0].faces,
        sum(level.faces for level in built.levels),
        sum(len(level.fragments) for level in built.levels),
        len(built.levels),
        built.open_vertices,
        built.filled,
        error_nm,
        built.area_nm2,
        built.volume_nm3,
    )


@dataclass(frozen=True)
class ShardTask:
    """Assemble one shard: fragments directly before their manifest, in canonical order."""

    spec: ShardingSpec
    shard: int
    files: tuple[str, ...]
    records: Array
    file_of: Array

    def run(self, places: Places) -> int:
        """Do it; returns the bytes of the shard."""
        layout = layout_shard(
            self.spec, self.records["id"], self.records["manifest_bytes"], self.records["fragment_bytes"]
        )
        name = self.spec.shard_name(self.shard)
        part = places.parts / f"mesh-{self.shard:x}.part"
        try:
            with part.open("wb", buffering=1 << 20) as out:
                out.write(layout.index)
                with _Files(places.spool) as files:
                    for members, index in layout.groups:
                        for at in members:
                            record = self.records[at]
                            size = int(record["fragment_bytes"]) + int(record["manifest_bytes"])
                            for piece in files.read(self.files[int(self.file_of[at])], int(record["offset"]), size):
                                out.write(piece)
                        out.write(index)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise translate_os_error(error, "writing", part) from None
        places.store.write_file(f"{MESH_DIRECTORY}/{name}", part, attributes(ObjectKind.SHARD))
        return layout.size


class _Files:
    """Open files of encoded objects, not too many at a time."""

    MOST = 256

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        self._open: dict[str, BinaryIO] = {}

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._open.values():
            file.close()

    def read(self, name: str, offset: int, size: int) -> Iterator[bytes]:
        """Yield the bytes of a range, a few megabytes at a time."""
        file = self._open.get(name)
        if file is None:
            if len(self._open) >= self.MOST:
                self._open.pop(next(iter(self._open))).close()
            file = self._open[name] = data_path(self.spool, name).open("rb")
        file.seek(offset)
        while size:
            data = file.read(min(size, 4 << 20))
            if not data:
                raise StorageError(
                    f"the scratch file {file.name} ends too early",
                    hint="it was changed from outside; remove the work directory and run again",
                    where=str(file.name),
                )
            size -= len(data)
            yield data
