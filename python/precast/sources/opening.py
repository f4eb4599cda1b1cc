"""Find out what kind of input something is, and open it."""

from __future__ import annotations

import os
from pathlib import Path

from precast.errors import SourceError, UsageError
from precast.sources.arrays import ArrayVolume, require_array
from precast.sources.base import Array, Source, SourceOptions
from precast.sources.folder import SliceStack
from precast.sources.images import FORMATS, format_of
from precast.sources.listing import require_exists
from precast.sources.npy import NpyVolume
from precast.sources.stored import SourcePath, stored_path
from precast.sources.tiff import TiffVolume
from precast.storage import StoreOptions
from precast.storage.opening import is_url

__all__ = ["open_source"]

ADVICE = {
    "npz": "take the array out of the archive and save it with numpy.save",
    "zarr": "export the array as .npy or TIFF",
    "n5": "export the array as .npy or TIFF",
    "h5": "export the data set as .npy or TIFF",
    "hdf5": "export the data set as .npy or TIFF",
    "czi": "export it as OME-TIFF, for example with Bio-Formats",
    "nd2": "export it as OME-TIFF, for example with Bio-Formats",
    "lif": "export it as OME-TIFF, for example with Bio-Formats",
    "lsm": "export it as OME-TIFF, for example with Bio-Formats",
    "gz": "unpack it first",
    "zip": "unpack it first and give the folder",
}


def open_source(
    source: str | os.PathLike[str] | Array,
    options: SourceOptions | None = None,
    store_options: StoreOptions | None = None,
) -> Source:
    """Open a volume: a folder of slices, a TIFF, PNG, JPEG or ``.npy`` file, or an array.

    Parameters
    ----------
    source
        A path; the address of a folder or file in a bucket (``s3://…``, ``gs://…``, ``az://…``), or of a file on a web
        server; or a numpy array ``(y, x)``, ``(z, y, x)`` or ``(c, z, y, x)`` of any strides.
    options
        See :class:`SourceOptions`.
    store_options
        How its bucket is reached, beyond what the environment says.

    Returns
    -------
    Source
        Knows shape, dtype and voxel size; nothing but the first, the middle and the last slice's headers was read.

    Raises
    ------
    ObjectNotFoundError, AccessDeniedError, StorageError
        If the path does not exist, may not be read, or the disk fails.
    SourceError
        If it cannot be read as one consistent volume.
    UsageError
        If an option does not apply to it.

    Examples
    --------
    >>> import numpy as np
    >>> source = open_source(np.zeros((3, 4, 5), np.uint8))
    >>> source.info.shape
    (1, 3, 4, 5)
    """
    options = options or SourceOptions()
    if not isinstance(source, str | os.PathLike):
        return ArrayVolume(require_array(source), options)
    path: SourcePath
    if is_url(source):
        path = stored_path(str(source), store_options)
    else:
        path = local = Path(source)
        require_exists(local)
        # A base name even for "." and "..".
        path = local if local.name not in ("", "..") else local.resolve()
    suffix = path.name.rpartition(".")[2].lower()
    if path.is_dir() and suffix in ("zarr", "n5"):
        raise _unknown(path, suffix)
    if path.is_dir() or (format_of(path.name) is not None and suffix not in ("tif", "tiff")):
        if options.axes is not None:
            raise UsageError(
                f"axes = {options.axes!r} does not apply to {path.name}: slices are one image each",
                hint="leave it out",
            )
        return SliceStack(path, options)
    if suffix in ("tif", "tiff", "btf", "tf8", "tf2"):
        return TiffVolume(path, options)
    if suffix == "npy":
        return NpyVolume(path, options)
    raise _unknown(path, suffix)


def _unknown(path: SourcePath, suffix: str) -> SourceError:
    known = ", ".join(f".{name}" for name in (*FORMATS, "npy"))
    return SourceError(
        f"{path.name}: the format is not known; allowed are {known}, and folders of TIFF, PNG or JPEG slices",
        hint=ADVICE.get(suffix, "export it as TIFF or .npy"),
        where=str(path),
    )
