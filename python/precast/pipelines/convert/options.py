"""Options of ``convert``: the only home of their defaults, bounds and help texts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from precast.errors import UsageError
from precast.geometry import ResolutionLike, Vec3, VectorLike, VoxelSize, parse_resolution, parse_vector

__all__ = ["ConvertOptions", "parse_factors"]

METHODS = ("majority", "mean", "min", "max", "stride")


def parse_factors(value: str | Sequence[VectorLike]) -> tuple[Vec3, ...]:
    """Read the factors of the steps from scale to scale: ``2,2,1;2,2,2``."""
    steps = [part for part in value.split(";") if part.strip()] if isinstance(value, str) else list(value)
    return tuple(parse_vector(step, "each factor") for step in steps)


def _help(text: str, **more: Any) -> dict[str, Any]:
    return {"help": text, **more}


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """How to convert. Values are checked and normalised when the object is made.

    Strings are accepted wherever the command line accepts them (``resolution="32,32,40"``,
    ``chunk_size=64``, ``memory="2GiB"``).

    Raises
    ------
    UsageError
        If a value is not allowed; the text says what is.
    """

    resolution: VoxelSize | None = field(
        default=None,
        metadata=_help("Voxel size x,y,z in nm, or with nm, um, mm. Needed unless the files say it.", metavar="X,Y,Z"),
    )
    kind: str = field(default="auto", metadata=_help("What the voxels are.", choices=("auto", "image", "segmentation")))
    dtype: str | None = field(
        default=None,
        metadata=_help("Stored dtype of labels; checked on the way.", choices=("uint32", "uint64")),
    )
    encoding: str = field(
        default="auto",
        metadata=_help(
            "Chunk encoding; auto is compressed_segmentation for labels, raw for images.",
            choices=("auto", "raw", "jpeg", "png", "compressed_segmentation"),
        ),
    )
    chunk_size: Vec3 = field(
        default=Vec3(64, 64, 64), metadata=_help("Chunk size in voxels, the same at every scale.", metavar="X,Y,Z")
    )
    block_size: Vec3 = field(
        default=Vec3(8, 8, 8), metadata=_help("Block size of compressed_segmentation.", metavar="X,Y,Z")
    )
    jpeg_quality: int = field(default=85, metadata=_help("Quality of jpeg chunks.", bounds=(1, 100)))
    png_level: int = field(default=6, metadata=_help("Compression level of png chunks.", bounds=(0, 9)))
    unsharded: bool = field(default=False, metadata=_help("One file per chunk instead of shards."))
    compress: str = field(
        default="gzip",
        metadata=_help("Unsharded chunks: X.gz files, or bare ones.", choices=("gzip", "none")),
    )
    gzip_level: int | None = field(
        default=None,
        metadata=_help(
            "Level of gzip (libdeflate); default: 4 for labels, 1 for images, whose noise leaves little to find.",
            bounds=(1, 12),
        ),
    )
    scales: int | None = field(
        default=None, metadata=_help("Number of scales; default: until one chunk holds the volume.", bounds=(1, 64))
    )
    factors: tuple[Vec3, ...] | None = field(
        default=None, metadata=_help('Factors from scale to scale, for example "2,2,1;2,2,2".', metavar="X,Y,Z;...")
    )
    method: str = field(
        default="auto",
        metadata=_help("Downsampling; auto is majority for labels, mean for images.", choices=("auto", *METHODS)),
    )
    sparse: bool = field(default=False, metadata=_help("Majority that does not count 0: thin objects stay visible."))
    offset: Vec3 = field(
        default=Vec3(0, 0, 0), metadata=_help("Position of the first voxel, in scale-0 voxels.", metavar="X,Y,Z")
    )
    skip_background: bool = field(
        default=False, metadata=_help("Leave chunks of only zeros out of shards; unsharded always does.")
    )
    fill_gaps: Literal["zero", "previous"] | None = field(
        default=None, metadata=_help("Fill missing slices instead of refusing.", choices=("zero", "previous"))
    )
    axes: str | None = field(
        default=None,
        metadata=_help(
            "Names of the source's dimensions where it does not say them, for example xyz.", metavar="LETTERS"
        ),
    )
    memory: int | None = field(
        default=None,
        metadata=_help("Memory for buffers; default: 1 GiB or a quarter of the limit, the smaller.", metavar="SIZE"),
    )
    threads: int | None = field(default=None, metadata=_help("Threads; default: all processors.", bounds=(1, 1024)))
    scratch: str | None = field(
        default=None,
        metadata=_help("Directory for large temporary files; default: beside the destination.", metavar="DIR"),
    )
    overwrite: bool = field(
        default=False, metadata=_help("Replace an existing dataset; it stays whole until the new one is complete.")
    )

    if TYPE_CHECKING:  # what may be given is wider than what is kept; the defaults are those of the fields above

        def __init__(  # noqa: PLR0913
            self,
            *,
            resolution: ResolutionLike | None = ...,
            kind: str = ...,
            dtype: str | None = ...,
            encoding: str = ...,
            chunk_size: VectorLike = ...,
            block_size: VectorLike = ...,
            jpeg_quality: int = ...,
            png_level: int = ...,
            unsharded: bool = ...,
            compress: str = ...,
            gzip_level: int | None = ...,
            scales: int | None = ...,
            factors: str | Sequence[VectorLike] | None = ...,
            method: str = ...,
            sparse: bool = ...,
            offset: VectorLike = ...,
            skip_background: bool = ...,
            fill_gaps: Literal["zero", "previous"] | None = ...,
            axes: str | None = ...,
            memory: int | str | None = ...,
            threads: int | None = ...,
            scratch: str | None = ...,
            overwrite: bool = ...,
        ) -> None: ...

    NOT_IN_BYTES = ("memory", "threads", "scratch", "overwrite")
    """Options that do not change a byte of the result."""

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        if self.resolution is not None:
            put("resolution", parse_resolution(self.resolution))
        for name in ("chunk_size", "block_size"):
            vector = parse_vector(getattr(self, name), f"--{name.replace('_', '-')}")
            if min(vector) < 1:
                raise UsageError(f"--{name.replace('_', '-')} must be at least 1 on every axis, got {vector}")
            put(name, vector)
        put("offset", parse_vector(self.offset, "--offset"))
        if self.factors is not None:
            put("factors", parse_factors(self.factors))
        if self.memory is not None:
            from precast.execution.memory import parse_bytes

            put("memory", parse_bytes(self.memory))
        for spec in fields(self):
            self._check(spec.name, getattr(self, spec.name), spec.metadata)
        if self.sparse and self.method not in ("auto", "majority"):
            raise UsageError(f"--sparse belongs to majority, not to --method {self.method}")

    @staticmethod
    def _check(name: str, value: Any, metadata: Mapping[str, Any]) -> None:
        flag = f"--{name.replace('_', '-')}"
        if value is None:
            return
        choices = metadata.get("choices")
        if choices and value not in choices:
            raise UsageError(f"{flag} must be one of {', '.join(choices)}; got {value!r}")
        if "bounds" in metadata:
            low, high = metadata["bounds"]
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise UsageError(f"{flag} must be a whole number from {low} to {high}, got {value!r}")

    @property
    def thread_count(self) -> int:
        """Threads to use: as given, else all processors that this process may run on."""
        if self.threads is not None:
            return self.threads
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity else (os.cpu_count() or 1)

    def result_options(self) -> dict[str, Any]:
        """Return, as JSON values, every option that the bytes of the result depend on."""
        return {
            spec.name: _json(getattr(self, spec.name)) for spec in fields(self) if spec.name not in self.NOT_IN_BYTES
        }


def _json(value: Any) -> Any:
    if isinstance(value, VoxelSize):
        return list(value.text())
    if isinstance(value, Vec3):
        return list(value)
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    return value
