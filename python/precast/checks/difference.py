"""Compare two datasets, or collections layer by layer: voxels at every scale, and which objects their parts have."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from precast.checks.blocks import BYTES_BESIDE, SHOWN, BlockMatch, comparison_boxes, match_blocks
from precast.checks.compare_rules import LAYERS, PAIR, VOXELS, LayerPairs, Pair, VoxelMatch
from precast.checks.context import Context
from precast.checks.key_value import find_values
from precast.checks.options import CheckOptions, DiffOptions
from precast.checks.rules import Fault
from precast.checks.work import in_threads
from precast.dataset.layers import Layer, LayerSet, open_layers
from precast.dataset.volume import Scale, Volume, open_volume
from precast.errors import AccessDeniedError, FormatError, ObjectNotFoundError, PrecastError, StorageError, UsageError
from precast.execution.progress import NoProgress, Progress
from precast.findings import Finding, Severity
from precast.geometry import Box
from precast.precomputed.objects import INFO_KEY, PROVENANCE_KEY
from precast.precomputed.paths import normal_path
from precast.precomputed.provenance import Provenance
from precast.precomputed.skeletons import SkeletonInfo
from precast.precomputed.strict_json import parse_object
from precast.storage import Store

__all__ = ["DiffReport", "ScaleDiff", "diff"]

U64 = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleDiff:
    """One scale of both.

    Attributes
    ----------
    key
        Its directory in the first dataset.
    compared, differ
        Voxels, all channels; 0 where digests were compared.
    by_digest
        Whether the digests in provenance were compared instead of the voxels.
    equal
        Whether nothing differs.
    """

    key: str
    compared: int
    differ: int
    by_digest: bool
    equal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffReport:
    """What differs between two datasets or collections.

    Attributes
    ----------
    a, b
        What was compared.
    scales
        Those that both datasets have; none of collections.
    layers
        The layers that both collections have and that are volumes, by name; none of datasets.
    findings
        Every difference; those of a layer have its name before the place.
    """

    a: str
    b: str
    scales: tuple[ScaleDiff, ...] = ()
    layers: dict[str, DiffReport] = field(default_factory=dict)
    findings: tuple[Finding, ...]

    @property
    def equal(self) -> bool:
        """Whether they are the same, as far as could be seen."""
        return all(finding.severity == Severity.INFO for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the report without its findings, which the document of ``--json`` has on their own."""
        value: dict[str, Any] = {"a": self.a, "b": self.b, "equal": self.equal, "scales": list(self.scales)}
        if self.layers:
            value["layers"] = {name: layer.to_json() for name, layer in self.layers.items()}
        return value


def diff(
    a: str | os.PathLike[str] | Store,
    b: str | os.PathLike[str] | Store,
    options: DiffOptions | None = None,
    *,
    progress: Progress | None = None,
) -> DiffReport:
    """Compare two volumes voxel by voxel, whatever their chunks, encodings and shards, and the objects of their parts.

    Of two collections, layers of the same name are compared.

    Parameters
    ----------
    a, b
        Precomputed volumes, or collections or directories of some: their directories, or stores.
    options
        How.
    progress
        Whom to tell.

    Raises
    ------
    ObjectNotFoundError
        If one of them is not there.
    UsageError
        If one of them is a volume, and the other a collection.
    FormatError
        If one of them cannot be opened; ``precast check`` says more.

    Examples
    --------
    >>> import numpy, tempfile
    >>> from precast.pipelines.convert import ConvertOptions, convert
    >>> folder = tempfile.mkdtemp()
    >>> labels = numpy.ones((9, 9, 9), numpy.uint32)
    >>> one = convert(labels, folder + "/a", ConvertOptions(resolution="8"))
    >>> labels[4, 5, 6] = 2
    >>> two = convert(labels, folder + "/b", ConvertOptions(resolution="8", unsharded=True))
    >>> print(diff(folder + "/a", folder + "/b").findings[0].message)
    1 of 729 voxels differ, the first at 6,5,4: a 1, b 2
    """
    options, progress = options or DiffOptions(), progress or NoProgress()
    first, second = _open_both(a, b)
    if first.single != second.single:
        one, many = (first, second) if first.single else (second, first)
        example = next((layer.name for layer in many.layers if layer.name == one.layers[0].name), many.layers[0].name)
        raise UsageError(
            f"{one.store.url} is one dataset, and {many.store.url} is a directory of datasets",
            hint=f"name one of them, for example {many.store.url}/{example}",
        )
    if first.single:
        return _diff_volumes(open_volume(first.store), open_volume(second.store), options, progress)
    return _diff_layers(first, second, options, progress)


def _open_both(a: str | os.PathLike[str] | Store, b: str | os.PathLike[str] | Store) -> tuple[LayerSet, LayerSet]:
    """Open what is at two places; of two that cannot be opened the error names both."""
    found: list[LayerSet] = []
    errors: list[PrecastError] = []
    for place in (a, b):
        try:
            found.append(open_layers(place))
        except PrecastError as error:
            errors.append(error)
    if len(errors) == 2 and errors[0].message != errors[1].message:
        first, second = errors
        hint = "; ".join(dict.fromkeys(error.hint for error in errors if error.hint))
        raise type(first)(f"{first.message}; {second.message}", hint=hint, where=first.where)
    if errors:
        raise errors[0]
    return found[0], found[1]


def _diff_layers(first: LayerSet, second: LayerSet, options: DiffOptions, progress: Progress) -> DiffReport:
    of_a, of_b = ({layer.name: layer for layer in place.layers} for place in (first, second))
    pairs = LayerPairs()
    reports: dict[str, DiffReport] = {}
    for name, layer in of_a.items():
        other = of_b.get(name)
        if other is None:
            pairs.unlike.append((name, "is a layer of a only"))
        elif _sort(layer) != _sort(other):
            pairs.unlike.append((name, f"is {_sort(layer)} in a, {_sort(other)} in b"))
        elif layer.volume is None or other.volume is None:
            pairs.uncompared.append((name, f"is {_sort(layer)}"))
        else:
            progress.note(f"layer {name}")
            reports[name] = _diff_volumes(layer.volume, other.volume, options, progress)
    pairs.unlike += [(name, "is a layer of b only") for name in of_b if name not in of_a]
    findings = LAYERS.run(pairs)
    for name, report in reports.items():
        findings += [replace(finding, where=f"{name}/{finding.where}") for finding in report.findings]
    return DiffReport(a=first.store.url, b=second.store.url, layers=reports, findings=tuple(findings))


def _sort(layer: Layer) -> str:
    """Return what is compared with only the same: of what sort a layer is."""
    if layer.info is not None:
        return "a volume"
    return layer.part or "annotations"


def _diff_volumes(first: Volume, second: Volume, options: DiffOptions, progress: Progress) -> DiffReport:
    work = CheckOptions(threads=options.threads, memory=options.memory)
    contexts = [Context(volume.store, work, progress) for volume in (first, second)]
    pair = Pair()
    findings: list[Finding] = []
    comparable = _info(first, second, pair)
    scales = []
    records = [_provenance(volume.store) for volume in (first, second)] if options.trust_digests else None
    for one, other in zip(first.scales, second.scales, strict=False):
        if not _geometry(one, other, pair) or not comparable:
            continue
        match = VoxelMatch(one.info.key)
        by_digest = records is not None and _digests(one, other, records, match)
        if not by_digest:
            _voxels(one, other, contexts[0], match)
        found = VOXELS.run(match)
        findings += found
        scales.append(
            ScaleDiff(
                key=one.info.key,
                compared=match.compared,
                differ=match.differ,
                by_digest=by_digest,
                equal=not found,
            )
        )
    _parts(first, second, contexts, pair)
    every = sorted([*PAIR.run(pair), *findings], key=lambda finding: finding.code)
    return DiffReport(a=first.store.url, b=second.store.url, scales=tuple(scales), findings=tuple(every))


# ---- voxels


def _info(a: Volume, b: Volume, pair: Pair) -> bool:
    for what, x, y in (
        ("type", a.info.kind, b.info.kind),
        ("data_type", a.info.data_type, b.info.data_type),
        ("num_channels", a.info.num_channels, b.info.num_channels),
    ):
        if x != y:
            pair.info.append((f"info: {what}", f"a has {x}, b has {y}"))
    if len(a.scales) != len(b.scales):
        pair.scales.append(("info: scales", f"a has {len(a.scales)} scales, b has {len(b.scales)}"))
    return a.info.num_channels == b.info.num_channels


def _geometry(a: Scale, b: Scale, pair: Pair) -> bool:
    for what, x, y in (
        ("size", a.info.size, b.info.size),
        ("voxel_offset", a.info.voxel_offset, b.info.voxel_offset),
        ("resolution", a.info.resolution, b.info.resolution),
    ):
        if tuple(x) != tuple(y):
            pair.geometry.append((a.info.key, f"scale {a.index}: {what} is {x} in a, {y} in b"))
    return a.info.size == b.info.size


def _provenance(store: Store) -> Provenance:
    try:
        return Provenance.parse(store.read(PROVENANCE_KEY))
    except (ObjectNotFoundError, FormatError):
        return Provenance()


def _digests(a: Scale, b: Scale, records: list[Provenance], match: VoxelMatch) -> bool:
    """Compare the digests of provenance; returns whether both have one."""
    found = [provenance.scale(scale.info.key) for provenance, scale in zip(records, (a, b), strict=True)]
    x, y = (None if record is None else record.voxel_digest for record in found)
    if x is None or y is None:
        return False
    if x != y:
        match.digests = f"the digests in provenance differ: {x} in a, {y} in b"
    return True


def _voxels(a: Scale, b: Scale, context: Context, match: VoxelMatch) -> None:
    voxel_bytes = a.channels * (a.dtype.itemsize + b.dtype.itemsize + BYTES_BESIDE)
    shift = b.box.start.minus(a.box.start)

    def one(box: Box) -> BlockMatch:
        try:
            return match_blocks(
                a.read(box, threads=1), b.read(box.shift(shift), threads=1), box, ("a", "b"), distance=False
            )
        except (FormatError, AccessDeniedError, StorageError) as error:
            return BlockMatch(unreadable=(error.where or str(box), error.message))

    context.progress.phase(f"scale {a.info.key}", a.box.size.volume * a.channels * a.dtype.itemsize)
    boxes = comparison_boxes(a.box, a.info.chunk_size, voxel_bytes, context.memory_bytes // context.threads)
    for found in in_threads(one, boxes, context.threads):
        context.progress.advance(found.bytes)
        match.compared += found.compared
        match.differ += found.differ
        match.first += found.first[: SHOWN - len(match.first)]
        if found.unreadable is not None:
            match.unreadable.add(*found.unreadable)


# ---- parts


def _parts(a: Volume, b: Volume, contexts: list[Context], pair: Pair) -> None:
    _same_ids("mesh", (a.info.mesh, b.info.mesh), lambda side: (a, b)[side].meshes.ids(), pair.meshes, pair.unlisted)
    _same_ids(
        "skeletons",
        (a.info.skeletons, b.info.skeletons),
        lambda side: _skeleton_ids((a, b)[side], contexts[side]),
        pair.skeletons,
        pair.unlisted,
    )
    properties = [_properties(v) for v in (a, b)]
    where = "segment_properties"
    if (properties[0] is None) != (properties[1] is None):
        pair.properties.append((where, f"only {'a' if properties[1] is None else 'b'} has segment properties"))
    elif properties[0] != properties[1]:
        counts = [_id_count(value) for value in properties]
        pair.properties.append((where, f"segment properties differ: a has {counts[0]} ids, b has {counts[1]}"))


def _id_count(value: dict[str, Any] | None) -> int:
    try:
        return len(value["inline"]["ids"]) if value is not None else 0
    except (KeyError, TypeError):
        return 0


def _same_ids(
    what: str,
    links: tuple[str | None, str | None],
    ids: Callable[[int], U64],
    faults: list[Fault],
    unlisted: list[Fault],
) -> None:
    """Compare which objects a part of both datasets has."""
    if (links[0] is None) != (links[1] is None):
        faults.append((what, f"only {'a' if links[1] is None else 'b'} has {what}"))
    if links[0] is None or links[1] is None:
        return
    try:
        of_a, of_b = ids(0), ids(1)
    except (AccessDeniedError, StorageError) as error:
        unlisted.append((what, error.message))
        return
    for name, missing in (("b", np.setdiff1d(of_a, of_b)), ("a", np.setdiff1d(of_b, of_a))):
        if len(missing):
            faults.append((what, f"{len(missing)} objects are missing in {name}, for example {missing[0]}"))


def _skeleton_ids(volume: Volume, context: Context) -> U64:
    path = normal_path(str(volume.info.skeletons))
    value = parse_object(volume.store.read(f"{path}/{INFO_KEY}"), f"{path}/{INFO_KEY}")
    info = SkeletonInfo.from_json(value) if not SkeletonInfo.problems(value) else SkeletonInfo()
    return find_values(context, path, info.sharding, lambda name: int(name) if name.isdigit() else None, str).keys


def _properties(volume: Volume) -> dict[str, Any] | None:
    link = volume.info.segment_properties
    if link is None:
        return None
    try:
        value: dict[str, Any] = json.loads(volume.store.read(f"{normal_path(link)}/{INFO_KEY}"))
    except ObjectNotFoundError:
        return None
    except ValueError as error:
        raise FormatError(f"{link}/{INFO_KEY} is not JSON: {error}", where=link) from None
    return value
