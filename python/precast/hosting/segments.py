"""Which objects of a segmentation are selected at first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from precast.dataset import Layer, Scale, Volume, VolumeMeshes
from precast.dataset.label_table import read_label_table
from precast.errors import AccessDeniedError, FormatError, ObjectNotFoundError, PrecastError, UsageError
from precast.findings import Finding, notice
from precast.geometry import Box
from precast.precomputed.objects import INFO_KEY
from precast.precomputed.segment_properties import SegmentProperties
from precast.storage import LocalStore

__all__ = ["DEFAULT_LARGEST", "SegmentChoice", "parse_segments", "select_segments"]

Array = npt.NDArray[Any]

DEFAULT_LARGEST = 30
"""Enough to fill a 3-D panel, few enough to load at once and to keep an address short."""

COUNTED_BYTES = 64 << 20
"""Most voxels of the coarsest scale that are counted where nothing tells the sizes of objects."""

LOOK_UPS = 100
"""Objects beyond those that are wanted whose mesh is looked for one by one."""

MOST_BYTES = 1 << 26
"""Most bytes of a file of ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentChoice:
    """What to select.

    Attributes
    ----------
    ids
        These objects, in this order; or None.
    largest
        The largest so many, or None for all of them; only without ``ids``.
    automatic
        Select nothing where there is nothing to see in 3-D.
    """

    ids: tuple[int, ...] | None = None
    largest: int | None = DEFAULT_LARGEST
    automatic: bool = False


def parse_segments(text: str | None) -> SegmentChoice:
    """Read ``all``, ``none``, ``largest:N``, ids with commas in between, or the name of a file that holds ids.

    In a file, ids are parted by blanks, commas or ends of lines; ``#`` begins a comment. None stands for the largest
    ones of what has meshes or skeletons.

    Raises
    ------
    UsageError
        If it is none of these, or an id is 0 or larger than 2^64 - 1.

    Examples
    --------
    >>> parse_segments("5,7").ids
    (5, 7)
    """
    if text is None:
        return SegmentChoice(automatic=True)
    if text == "all":
        return SegmentChoice(largest=None)
    if text == "none":
        return SegmentChoice(ids=())
    if text.startswith("largest:"):
        number = text.removeprefix("largest:")
        if not re.fullmatch("[1-9][0-9]{0,8}", number):
            raise UsageError(f"--segments largest:N takes a whole number of at least 1, got {text!r}")
        return SegmentChoice(largest=int(number))
    if re.fullmatch(r"[0-9]+(,[0-9]+)*,?", text):
        return SegmentChoice(ids=_ids(text.strip(",").split(","), "--segments"))
    return SegmentChoice(ids=_ids(_file_words(text), text))


def _file_words(name: str) -> list[str]:
    hint = "give all, none, largest:N, ids such as 5,7 or a file that holds ids"
    path = Path(name)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(f"{name} is no list of ids: it has more than {MOST_BYTES} bytes", hint=hint)
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"--segments {name!r} cannot be read as a file of ids: {reason}", hint=hint) from None
    words: list[str] = []
    for line in text.splitlines():
        words += re.split(r"[\s,;]+", line.partition("#")[0].strip())
    return [word for word in words if word]


def _ids(words: list[str], where: str) -> tuple[int, ...]:
    for word in words:
        if not re.fullmatch("[0-9]{1,20}", word) or int(word) >= 2**64:
            raise UsageError(f"{where}: {word!r:.60} is no id; ids are whole numbers up to 2^64 - 1", where=where)
        if int(word) == 0:
            raise UsageError(f"{where}: 0 is the background, which is no object", where=where)
    return tuple(dict.fromkeys(map(int, words)))


# ---- what there is


def select_segments(layer: Layer, choice: SegmentChoice) -> tuple[list[str], list[Finding]]:
    """Return the ids to select in a segmentation, as the strings that viewers want, and what was noticed."""
    if choice.ids is not None:
        return [str(one) for one in choice.ids], []
    if layer.info is None:
        return [], [] if choice.automatic else [_unknown(layer, "it has no volume")]
    if choice.automatic and layer.info.mesh is None and layer.info.skeletons is None:
        return [], []
    try:
        ids = _by_size(layer)
        chosen = list(_shown(layer, ids, choice))
    except PrecastError as error:
        return [], [_unknown(layer, error.message)]
    if not chosen:
        return [], [_unknown(layer, "none is found in it")]
    return [str(one) for one in chosen], []


def _unknown(layer: Layer, reason: str) -> Finding:
    return notice(
        "PV101",
        layer.name,
        f"no objects of {layer.name} are selected, because the largest are not known: {reason}",
        "name them with --segments 5,7",
    )


def _by_size(layer: Layer) -> Array:
    """Return the ids of all objects, the largest first, of equal ones the lower first; without the background."""
    ids, sizes = _sizes(layer)
    keep = (ids != 0) & (sizes > 0)
    ids, sizes = ids[keep], sizes[keep]
    ranked: Array = ids[np.lexsort((ids, -sizes.astype(np.float64)))]
    return ranked


def _sizes(layer: Layer) -> tuple[Array, Array]:
    found = _from_properties(layer)
    if found is None:
        try:
            rows = read_label_table(layer.store)
        except AccessDeniedError:  # what object stores may say of objects that do not exist
            rows = None
        found = None if rows is None else (rows["id"], rows["voxels"])
    if found is None and layer.volume is not None:
        found = _counted(layer.volume)
    return (np.zeros(0, np.uint64), np.zeros(0)) if found is None else found


def _from_properties(layer: Layer) -> tuple[Array, Array] | None:
    linked = None if layer.info is None else layer.info.segment_properties
    if linked is None:
        return None
    store, key = layer.store, f"{linked.strip('/')}/{INFO_KEY}"
    try:
        if ".." in key.split("/"):
            return None
        properties = SegmentProperties.from_bytes(store.read(key), where=f"{store.url}/{key}")
    except (ObjectNotFoundError, AccessDeniedError, FormatError):
        return None
    voxels = properties.find("voxels")
    if voxels is None or voxels.type != "number":
        return None
    return properties.ids, voxels.values


def _counted(volume: Volume) -> tuple[Array, Array]:
    """Count the labels of the coarsest scale; enough to tell which objects are large."""
    scale: Scale = min(volume.scales, key=lambda one: one.info.size.volume)
    size = scale.info.size.volume * scale.dtype.itemsize * scale.channels
    if size > COUNTED_BYTES:
        raise UsageError(f"its coarsest scale is too large to be counted ({size >> 20} MiB)")
    box: Box = scale.box
    ids, counts = np.unique(scale.read(box)[0], return_counts=True)
    good = ids > 0
    return ids[good].astype(np.uint64), counts[good]


def _shown(layer: Layer, ids: Array, choice: SegmentChoice) -> Iterator[int]:
    """Yield as many ids as are wanted; of a local dataset with meshes only those that have one."""
    wanted = len(ids) if choice.largest is None else choice.largest
    meshes = None
    if choice.largest is not None and isinstance(layer.store, LocalStore) and layer.volume is not None:
        meshes = layer.volume.meshes if layer.volume.info.mesh is not None else None
    if meshes is not None:
        ids = _meshed(ids, meshes, wanted)
    yield from ids[:wanted].tolist()


def _meshed(ids: Array, meshes: VolumeMeshes, wanted: int) -> Array:
    """Return the first ids that have a mesh, in their order, as many as are wanted if there are."""
    first = [one in meshes for one in ids[: wanted + LOOK_UPS].tolist()]
    if sum(first) < wanted and len(first) < len(ids):  # many have none: list all that do
        first = np.isin(ids, meshes.ids()).tolist()
    found: Array = ids[: len(first)][np.array(first, bool)]
    return found
