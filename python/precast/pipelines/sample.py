"""Make a synthetic electron-microscopy stack with its segmentation, for a first try and for tests.

The result is two folders of TIFF slices, ``em`` and ``labels``, of any size. It depends on seed, size and
voxel size alone. See :mod:`precast.pipelines.sample_anatomy` for what is in it and
:mod:`precast.pipelines.sample_render` for how it is drawn.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from precast.errors import DestinationExistsError, StorageError, UsageError
from precast.geometry import Vec3, VoxelSize, parse_resolution, parse_vector
from precast.pipelines.sample_anatomy import Anatomy, build_anatomy
from precast.pipelines.sample_render import Renderer
from precast.storage.opening import local_directory

__all__ = ["SampleOptions", "SampleSummary", "sample"]

_SLAB_BYTES = 192 << 20
_ZONE_SECTIONS = 32
_EDGE_NM = (Decimal(2), Decimal(200))
_LARGEST_AXIS = 65536
_LARGEST_SEED = (1 << 63) - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleOptions:
    """What to make. Strings are accepted as the command line accepts them: ``size="256,256,128"``.

    Raises
    ------
    UsageError
        If a value is out of bounds; the text names it and what is allowed.
    """

    size: Vec3 = field(
        default=Vec3(256, 256, 128), metadata={"help": "Voxels along x,y,z; each from 1 to 65536.", "metavar": "X,Y,Z"}
    )
    voxel_size: VoxelSize = field(
        default=VoxelSize(Decimal(32), Decimal(32), Decimal(40)),
        metadata={
            "help": "Voxel size x,y,z in nm, or with nm, um; each from 2 to 200 nm. Cells keep their size in nm.",
            "metavar": "X,Y,Z",
        },
    )
    seed: int = field(
        default=0,
        metadata={"help": "Whole number; the same seed and size give the same voxels.", "bounds": (0, _LARGEST_SEED)},
    )
    overwrite: bool = field(
        default=False, metadata={"help": "Replace what is at the destination, once the new sample is complete."}
    )

    def __post_init__(self) -> None:
        if isinstance(self.size, str) or isinstance(self.voxel_size, str):
            # Here, because a sample made from Python needs nothing else of the converter.
            object.__setattr__(self, "size", parse_vector(self.size, "--size"))
            object.__setattr__(self, "voxel_size", parse_resolution(self.voxel_size))
        object.__setattr__(self, "size", Vec3.of(self.size))
        for axis, voxels in zip("xyz", self.size, strict=True):
            if not 1 <= voxels <= _LARGEST_AXIS:
                raise UsageError(
                    f"a sample has 1 to {_LARGEST_AXIS} voxels along each axis, got {axis} = {voxels}",
                    hint="give --size x,y,z, for example 256,256,128",
                )
        for axis, edge in zip("xyz", self.voxel_size, strict=True):
            if not _EDGE_NM[0] <= edge <= _EDGE_NM[1]:
                raise UsageError(
                    f"a sample has voxel edges of {_EDGE_NM[0]} to {_EDGE_NM[1]} nm, got {axis} = {edge}",
                    hint="neurites are 100 to 1000 nm thick; give a voxel size that resolves them, such as 32,32,40",
                )
        if not isinstance(self.seed, int) or not 0 <= self.seed <= _LARGEST_SEED:
            raise UsageError(f"a seed is a whole number from 0 to {_LARGEST_SEED}, got {self.seed!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleSummary:
    """What was made.

    Attributes
    ----------
    image, labels
        The folders of slices.
    size, voxel_size, seed
        As in the options.
    neurons
        Number of distinct labels, 0 not counted.
    labelled_voxels
        Voxels with a label other than 0.
    files, bytes
        Slices written, both folders, and their total length.
    """

    image: str
    labels: str
    size: Vec3
    voxel_size: VoxelSize
    seed: int
    neurons: int
    labelled_voxels: int
    files: int
    bytes: int

    def __str__(self) -> str:
        share = 100 * self.labelled_voxels / self.size.volume
        return (
            f"{self.image}, {self.labels}: {self.size.z} slices each of {self.size.x} x {self.size.y} voxels, "
            f"{self.voxel_size} nm; {self.neurons} neurons in {share:.0f} % of the volume; {self.bytes / 1e6:.1f} MB"
        )


_DEFAULT_OPTIONS = SampleOptions()


def sample(
    dest: str | Path,
    options: SampleOptions = _DEFAULT_OPTIONS,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> SampleSummary:
    """Write a synthetic stack: cell bodies, branching neurites, their organelles, and the labels.

    Parameters
    ----------
    dest
        Folder to make. ``dest/em/z0000.tif`` and so on hold the image, ``uint8``; ``dest/labels/z0000.tif``
        the segmentation, ``uint32``; one section each, rows are y, columns x, deflate compressed. A neuron
        with all its branches has one label; labels have gaps, one in seven is above 2^31, and 0 is
        everything that is not labelled: glia and about half of the thin processes.
    options
        Size, voxel size, seed.
    progress
        Called with the number of finished sections and their total.

    Returns
    -------
    SampleSummary
        Where it is and what is in it.

    Raises
    ------
    DestinationExistsError
        If ``dest`` is a file or a folder that is not empty, and ``overwrite`` is not set.
    StorageError
        If writing fails. Nothing is left behind, and what was at ``dest`` stays.

    Notes
    -----
    Sections are rendered slab by slab; memory grows with the area of a section, not with their number:
    about 1.2 GiB at 4096 x 4096. The cells are spooled to a scratch folder beside ``dest`` meanwhile.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from precast.geometry import Vec3
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = sample(folder + "/demo", SampleOptions(size=Vec3(48, 40, 4)))
    ...     made.files, sorted(path.name for path in Path(made.labels).iterdir())[0]
    (8, 'z0000.tif')
    """
    target = local_directory(dest, "name a directory").absolute()
    if not options.overwrite and _occupied(target):
        raise DestinationExistsError(
            f"the destination exists and is not empty: {dest}",
            hint="choose another folder, or replace it with --overwrite",
            where=str(dest),
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
            staged = Path(scratch) / "new"
            neurons, labelled = _write(staged, Path(scratch) / "spool", options, progress)
            lengths = [path.stat().st_size for path in staged.rglob("*.tif")]
            _swap(staged, target, Path(scratch) / "old")
    except OSError as error:
        raise StorageError(
            f"the sample could not be written: {error}",
            hint="check that the folder can be written and that the disk has room",
            where=str(dest),
        ) from error
    return SampleSummary(
        image=str(Path(dest) / "em"),
        labels=str(Path(dest) / "labels"),
        size=options.size,
        voxel_size=options.voxel_size,
        seed=options.seed,
        neurons=neurons,
        labelled_voxels=labelled,
        files=len(lengths),
        bytes=sum(lengths),
    )


def _occupied(target: Path) -> bool:
    return target.exists() and not (target.is_dir() and not any(target.iterdir()))


def _swap(staged: Path, target: Path, old: Path) -> None:
    """Put the finished sample in place; on failure put back what was there."""
    if target.exists() or target.is_symlink():
        target.rename(old)
    try:
        staged.rename(target)
    except OSError:
        if old.exists() or old.is_symlink():
            old.rename(target)
        raise
    # What was there may be a file or a link, which the scratch folder takes along as well.
    if old.is_dir() and not old.is_symlink():
        shutil.rmtree(old)


def _write(
    staged: Path, spool: Path, options: SampleOptions, progress: Callable[[int, int], None] | None
) -> tuple[int, int]:
    """Write all slices; return the number of distinct labels and of labelled voxels."""
    renderer = _renderer(options, spool)
    digits = max(4, len(str(options.size.z - 1)))
    for name in ("em", "labels"):
        (staged / name).mkdir(parents=True)
    seen = np.empty(0, np.uint32)
    labelled = 0
    for slab in renderer.slabs(_slab_sections(options.size)):
        for k, (image, labels) in enumerate(zip(slab.image, slab.labels, strict=True)):
            z = slab.first + k
            for name, section in (("em", image), ("labels", labels)):
                tifffile.imwrite(
                    staged / name / f"z{z:0{digits}d}.tif",
                    section,
                    compression="zlib",
                    compressionargs={"level": 1 if name == "em" else 6},
                    predictor=name == "em",
                    photometric="minisblack",
                    metadata=None,
                    # No date and no program: the files depend on the options alone.
                    software=False,
                )
            seen = np.union1d(seen, labels)
            labelled += int(np.count_nonzero(labels))
            if progress is not None:
                progress(z + 1, options.size.z)
    return int(np.count_nonzero(seen)), labelled


def _slab_sections(size: Vec3) -> int:
    # Seven bytes a voxel are held: label, grey level, grain and image.
    return max(4, min(_ZONE_SECTIONS, _SLAB_BYTES // (7 * size.x * size.y)))


def _renderer(options: SampleOptions, spool: Path) -> Renderer:
    edges = tuple(float(edge) for edge in options.voxel_size)
    extent = np.array(options.size) * np.array(edges)
    anatomy = build_anatomy(extent, options.seed, spool, _ZONE_SECTIONS * edges[2])
    ids = _ids(anatomy, np.random.default_rng([options.seed, 9]))
    return Renderer(anatomy, ids, options.size, (edges[0], edges[1], edges[2]), options.seed)


def _ids(anatomy: Anatomy, rng: np.random.Generator) -> NDArray[np.uint32]:
    """Return the label of each process: distinct, with gaps, one in seven above 2^31; 0 for the unnamed."""
    named = np.flatnonzero(anatomy.named)
    # The first process is a cell body in the middle: even a small sample holds a large label.
    high = np.arange(len(named)) % 7 == 0
    ids = np.zeros(len(anatomy.named), np.uint32)
    for chosen, base in ((high, 1 << 31), (~high, 0)):
        count = int(chosen.sum())
        gaps = rng.integers(2, max(3, min(100_000, ((1 << 31) - 1) // max(1, count))), count)
        ids[named[chosen]] = base + rng.permutation(np.cumsum(gaps))
    return ids
