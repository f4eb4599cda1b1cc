"""Options of ``convert``: the only home of their defaults, bounds and help texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from precast.errors import UsageError
from precast.geometry import ResolutionLike, Vec3, VectorLike, VoxelSize, parse_resolution, parse_vector
from precast.pipelines.options import MEMORY, THREADS, WorkOptions, help_text

__all__ = ["ConvertOptions", "parse_factors"]

METHODS = ("majority", "mean", "min", "max", "stride")


def parse_factors(value: str | Sequence[VectorLike]) -> tuple[Vec3, ...]:
    """Read the factors of the steps from scale to scale: ``2,2,1;2,2,2``."""
    steps = [part for part in value.split(";") if part.strip()] if isinstance(value, str) else list(value)
    return tuple(parse_vector(step, "each factor") for step in steps)


@dataclass(frozen=True, kw_only=True)
class ConvertOptions(WorkOptions):
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
        metadata=help_text(
            "Voxel size x,y,z in nm, or with nm, um, mm. Needed unless the files say it.", metavar="X,Y,Z"
        ),
    )
    kind: str = field(
        default="auto", metadata=help_text("What the voxels are.", choices=("auto", "image", "segmentation"))
    )
    dtype: str | None = field(
        default=None,
        metadata=help_text("Stored dtype of labels; checked on the way.", choices=("uint32", "uint64")),
    )
    encoding: str = field(
        default="auto",
        metadata=help_text(
            "Chunk encoding; auto is compressed_segmentation for labels, raw for images.",
            choices=("auto", "raw", "jpeg", "png", "compressed_segmentation"),
        ),
    )
    chunk_size: Vec3 = field(
        default=Vec3(64, 64, 64), metadata=help_text("Chunk size in voxels, the same at every scale.", metavar="X,Y,Z")
    )
    block_size: Vec3 = field(
        default=Vec3(8, 8, 8), metadata=help_text("Block size of compressed_segmentation.", metavar="X,Y,Z")
    )
    jpeg_quality: int = field(default=85, metadata=help_text("Quality of jpeg chunks.", bounds=(1, 100)))
    png_level: int = field(default=6, metadata=help_text("Compression level of png chunks.", bounds=(0, 9)))
    unsharded: bool = field(default=False, metadata=help_text("One file per chunk instead of shards."))
    compress: str = field(
        default="gzip",
        metadata=help_text("Unsharded chunks: X.gz files, or bare ones.", choices=("gzip", "none")),
    )
    gzip_level: int | None = field(
        default=None,
        metadata=help_text(
            "Level of gzip (libdeflate); default: 4 for labels, 1 for images, whose noise leaves little to find.",
            bounds=(1, 12),
        ),
    )
    scales: int | None = field(
        default=None, metadata=help_text("Number of scales; default: until one chunk holds the volume.", bounds=(1, 64))
    )
    factors: tuple[Vec3, ...] | None = field(
        default=None, metadata=help_text('Factors from scale to scale, for example "2,2,1;2,2,2".', metavar="X,Y,Z;...")
    )
    method: str = field(
        default="auto",
        metadata=help_text("Downsampling; auto is majority for labels, mean for images.", choices=("auto", *METHODS)),
    )
    sparse: bool = field(
        default=False, metadata=help_text("Majority that does not count 0: thin objects stay visible.")
    )
    offset: Vec3 = field(
        default=Vec3(0, 0, 0), metadata=help_text("Position of the first voxel, in scale-0 voxels.", metavar="X,Y,Z")
    )
    skip_background: bool = field(
        default=False, metadata=help_text("Leave chunks of only zeros out of shards; unsharded always does.")
    )
    fill_gaps: Literal["zero", "previous"] | None = field(
        default=None, metadata=help_text("Fill missing slices instead of refusing.", choices=("zero", "previous"))
    )
    axes: str | None = field(
        default=None,
        metadata=help_text(
            "Names of the source's dimensions where it does not say them, for example xyz.", metavar="LETTERS"
        ),
    )
    memory: int | None = field(default=None, metadata=MEMORY)
    threads: int | None = field(default=None, metadata=THREADS)
    scratch: str | None = field(
        default=None,
        metadata=help_text("Directory for large temporary files; default: beside the destination.", metavar="DIR"),
    )
    overwrite: bool = field(
        default=False, metadata=help_text("Replace an existing dataset; it stays whole until the new one is complete.")
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
        self._settle()
        if self.sparse and self.method not in ("auto", "majority"):
            raise UsageError(f"--sparse belongs to majority, not to --method {self.method}")
