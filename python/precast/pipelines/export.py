"""Write the mesh of one object as a file that other programs read."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import ModuleType
from typing import Any

from precast.dataset import open_volume
from precast.errors import DestinationExistsError, FormatError, MissingExtraError, ObjectNotFoundError, UsageError
from precast.storage import Attributes, LocalStore, Store
from precast.storage.opening import local_directory
from precast.surfaces import Mesh

__all__ = ["ExportOptions", "ExportSummary", "export"]

FORMATS = ("ply", "obj", "stl", "glb")
UNITS_NM = {"nm": 1.0, "um": 1e3, "mm": 1e6}


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOptions:
    """How to write a mesh.

    Raises
    ------
    UsageError
        If a value is not allowed; the text says what is.
    """

    format: str | None = field(
        default=None, metadata={"help": "File format; default: by the name of the file.", "choices": FORMATS}
    )
    lod: int = field(default=0, metadata={"help": "Level of detail; 0 is the finest.", "bounds": (0, 63)})
    unit: str = field(default="nm", metadata={"help": "Unit of the positions in the file.", "choices": tuple(UNITS_NM)})
    overwrite: bool = field(default=False, metadata={"help": "Replace an existing file."})

    def __post_init__(self) -> None:
        for spec in fields(self):
            value, flag = getattr(self, spec.name), f"--{spec.name}"
            if "choices" in spec.metadata and value is not None and value not in spec.metadata["choices"]:
                raise UsageError(f"{flag} must be one of {', '.join(spec.metadata['choices'])}; got {value!r}")
            if "bounds" in spec.metadata:
                low, high = spec.metadata["bounds"]
                if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                    raise UsageError(f"{flag} must be a whole number from {low} to {high}, got {value!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportSummary:
    """What was written."""

    path: str
    format: str
    unit: str
    segment: str
    lod: int
    vertices: int
    faces: int
    bytes: int

    def __str__(self) -> str:
        return (
            f"{self.path}: object {self.segment}, level of detail {self.lod}, {self.faces} faces, "
            f"{self.vertices} vertices in {self.unit}, {self.bytes:,} bytes"
        )


def export(
    dataset: str | os.PathLike[str] | Store,
    segment: int,
    path: str | os.PathLike[str],
    options: ExportOptions | None = None,
) -> ExportSummary:
    """Write the mesh of one object to a file, which is complete when it appears.

    The fragments of the level are joined. PLY, STL and GLB keep positions as float32, OBJ as decimals. GLB is in the
    unit that was asked for, although programs take its numbers for metres.

    Parameters
    ----------
    dataset
        A precomputed segmentation with meshes: its directory, or a store.
    segment
        Id of the object.
    path
        The file; missing folders are made.
    options
        Format, level and unit.

    Raises
    ------
    UsageError
        If the format is not known or the object has no such level.
    ObjectNotFoundError
        If the dataset has no meshes, or none of this object.
    DestinationExistsError
        If the file exists and is not to be replaced.
    MissingExtraError
        If trimesh is not installed.
    FormatError
        If the stored mesh is damaged, or has no triangles at this level.
    """
    options = options or ExportOptions()
    path = local_directory(path, "name a file")
    kind = options.format or _format_of(path)
    if path.exists() and not options.overwrite:
        raise DestinationExistsError(
            f"{path} exists already", hint="give --overwrite to replace it, or another name", where=str(path)
        )
    trimesh = _trimesh()
    mesh = _read(dataset, segment, options.lod)
    data = _encode(trimesh, mesh, kind, UNITS_NM[options.unit])
    LocalStore(path.parent).write(path.name, data, Attributes())
    return ExportSummary(
        path=str(path),
        format=kind,
        unit=options.unit,
        segment=str(segment),
        lod=options.lod,
        vertices=len(mesh.vertices),
        faces=len(mesh.faces),
        bytes=len(data),
    )


def _format_of(path: Path) -> str:
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise UsageError(
            f"the name {path.name!r} does not say which format to write",
            hint=f"end it in {', '.join('.' + name for name in FORMATS)}, or give --format",
        )
    return kind


def _trimesh() -> ModuleType:
    try:
        import trimesh
    except ImportError:
        raise MissingExtraError(
            "writing meshes to files needs the package trimesh", hint="pip install 'precast[export]'"
        ) from None
    module: ModuleType = trimesh
    return module


def _read(dataset: str | os.PathLike[str] | Store, segment: int, lod: int) -> Mesh:
    meshes = open_volume(dataset).meshes
    try:
        mesh = meshes[segment]
    except ObjectNotFoundError as error:
        raise ObjectNotFoundError(
            f"{error.message}, which has {len(meshes)} meshes", hint=error.hint, where=error.where
        ) from None
    if lod >= mesh.lods:
        raise UsageError(
            f"object {segment} has no level of detail {lod}", hint=f"its levels are 0 (the finest) to {mesh.lods - 1}"
        )
    found = mesh.read(lod)
    if not len(found.faces):
        raise FormatError(f"object {segment} has no triangles at level of detail {lod}")
    return found


def _encode(trimesh: Any, mesh: Mesh, kind: str, unit_nm: float) -> bytes:
    made = trimesh.Trimesh(mesh.vertices / unit_nm, mesh.faces, process=False, validate=False)
    data = made.export(file_type=kind)
    return data.encode() if isinstance(data, str) else bytes(data)
