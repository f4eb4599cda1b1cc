"""Check the parts of a dataset beside its voxels: links, meshes, properties, skeletons, annotations, tables, files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt

from precast.checks.annotations import check_annotations
from precast.checks.context import Context
from precast.checks.files import (
    TEMPORARY,
    Belongs,
    check_files,
    in_annotations,
    in_meshes,
    in_properties,
    in_scale,
    in_skeletons,
)
from precast.checks.former import former_generations
from precast.checks.info_rules import LINKS, VOLUME_TYPE
from precast.checks.meshes import check_meshes
from precast.checks.part_rules import IDS, LABEL_TABLE, LINK, STOPPED, Ids, LabelTableFile, Link, Stopped
from precast.checks.properties import check_properties, check_properties_file
from precast.checks.report import PartReport
from precast.checks.skeletons import check_skeletons
from precast.dataset.meshes import LegacyMeshes
from precast.dataset.volume import Volume
from precast.errors import AccessDeniedError, FormatError, ObjectNotFoundError, StorageError
from precast.findings import Finding, Severity
from precast.precomputed.label_table import LABEL_ROW
from precast.precomputed.objects import INFO_KEY, LABEL_TABLE_KEY
from precast.precomputed.parts import PART_TYPES
from precast.precomputed.paths import normal_path
from precast.precomputed.strict_json import parse_object
from precast.storage import CloudStore, LocalStore
from precast.storage.encodings import forms

__all__ = ["check_parts"]

STRICT_FOR_OURS = ("PC331", "PC420")
"""Rules that precast keeps and that others need not keep: closed surfaces, a mesh for every object with properties."""

BROKEN_ARRAY = (
    ValueError,
    TypeError,
    KeyError,
    SyntaxError,
    EOFError,
    OSError,
    ArithmeticError,
    TokenError,
    MemoryError,
)
"""What NumPy raises for a damaged file, whose header it reads as Python."""

U64 = npt.NDArray[np.uint64]


def check_parts(
    value: Mapping[str, Any], volume: Volume | None, context: Context, labelled: int | None = None
) -> tuple[list[Finding], list[PartReport]]:
    """Check everything in a dataset but its voxels.

    Parameters
    ----------
    value
        The parsed ``info`` of the volume.
    volume
        The volume, if it can be opened: meshes lie within its bounds.
    context
        The dataset, and how to check it.
    labelled
        Voxels of scale 0 that are not 0, if that is known.
    """
    parts = _Parts(volume, context)
    parts.check_label_table(labelled)
    linked = {}
    for key in LINKS:
        path = value.get(key)
        if isinstance(path, str) and normal_path(path) and "://" not in path:
            linked[key] = normal_path(path)
    scale_keys = _scale_keys(value)
    for key, path in linked.items():
        link = _follow(key, path, context)
        parts.findings += LINK.run(link)
        if link.found == key and not link.missing:
            parts.check(key, path)
        elif not path.startswith("..") and path not in scale_keys:
            parts.skipped.append(path)
    former = former_generations(context.store)
    for path in _folders(context):
        kind = None if path in (*linked.values(), *scale_keys, *former.paths) else _type_of(path, context)
        if kind is None:
            continue
        if kind in LINKS:
            parts.findings += LINK.run(Link(kind, path, kind, linked=False))
        if kind in ("skeletons", "annotations"):
            parts.check(kind, path)
        else:
            parts.skipped.append(path)
    if isinstance(context.store, LocalStore | CloudStore):
        folders = dict.fromkeys(scale_keys, in_scale) | parts.folders
        parts.findings += check_files(context.store, folders, skip=tuple(parts.skipped), former=former)
    return parts.findings, parts.reports


def _scale_keys(value: Mapping[str, Any]) -> list[str]:
    scales = value.get("scales")
    entries = scales if isinstance(scales, list) else []
    keys = [entry.get("key") for entry in entries if isinstance(entry, dict)]
    return [normal_path(key) for key in keys if isinstance(key, str) and normal_path(key)]


# ---- links


def _follow(key: str, path: str, context: Context) -> Link:
    if path.startswith(".."):
        return Link(key, path, "")
    found = _type_of(path, context)
    if found is None:
        if key == "mesh" and any(stat.key.endswith(":0") for stat in context.store.list(f"{path}/")):
            return Link(key, path, "mesh")  # meshes of the single-resolution format need no info
        return Link(key, path, "", missing=True)
    return Link(key, path, found or key)  # what is damaged is told by the rules of the part


def _type_of(path: str, context: Context) -> str | None:
    """Return what the info of a directory says it is; empty if it cannot be read, None if there is none."""
    try:
        value = parse_object(context.store.read(f"{path}/{INFO_KEY}"), path)
    except ObjectNotFoundError:
        return None
    except (FormatError, AccessDeniedError, StorageError):
        return ""
    text = value.get("@type")
    if text == VOLUME_TYPE or (text is None and "scales" in value):
        return "a volume"
    if text is None:
        return ""
    return PART_TYPES[text] if isinstance(text, str) and text in PART_TYPES else f"{text!r:.60}"


def _folders(context: Context) -> list[str]:
    """Return the directories directly in the dataset that have an info."""
    if isinstance(context.store, LocalStore):
        root = context.store.root
        entries = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        return [entry.name for entry in entries if any((entry / name).is_file() for name in forms(INFO_KEY))]
    if isinstance(context.store, CloudStore):
        return [name for name in context.store.folders() if _has_info(name, context)]
    keys = (stat.key for stat in context.store.list())
    return sorted({key.partition("/")[0] for key in keys if key.count("/") == 1 and key.endswith(f"/{INFO_KEY}")})


def _has_info(path: str, context: Context) -> bool:
    try:
        context.store.stat(f"{path}/{INFO_KEY}")
    except ObjectNotFoundError:
        return False
    return True


# ---- the parts


class _Parts:
    """Checks one part after the other and gathers what is found.

    Attributes
    ----------
    findings, reports
        What was found, and counted.
    folders
        Directories that were looked into, and what belongs there.
    skipped
        Directories that were not.
    """

    def __init__(self, volume: Volume | None, context: Context) -> None:
        self.volume = volume
        self.context = context
        self.findings: list[Finding] = []
        self.reports: list[PartReport] = []
        self.folders: dict[str, Belongs] = {}
        self.skipped: list[str] = []
        self.meshes_listed = False
        self.labels: U64 | None = None

    def check(self, kind: str, path: str) -> None:
        """Check one part; where storage ends it, say so."""
        self.context.progress.phase(f"checking {path}", 0)
        work = {
            "mesh": self._meshes,
            "segment_properties": self._properties,
            "skeletons": self._skeletons,
            "annotations": self._annotations,
        }
        try:
            work[kind](path)
        except (AccessDeniedError, StorageError, ObjectNotFoundError) as error:
            self.findings += STOPPED.run(Stopped(path, error.message))

    def _meshes(self, path: str) -> None:
        if self.volume is None:
            self.skipped.append(path)
            return
        self.folders[path] = in_meshes
        ids: U64 = np.zeros(0, np.uint64)
        chosen = None
        try:
            meshes = self.volume.meshes
            ids = meshes.ids()
            self.meshes_listed = True
            chosen = self.context.sample(ids.tolist())
            if isinstance(meshes, LegacyMeshes):  # its fragments have any names
                self.folders[path] = lambda name: not TEMPORARY.search(name)
        except FormatError:
            pass  # the check says what is wrong
        found = check_meshes(self.volume, ids=chosen, threads=self.context.threads)
        self._add(found)
        self.reports.append(PartReport(path=path, kind="mesh", objects=len(ids), checked=len(chosen or ())))
        self._compare_ids(path, ids)

    def _properties(self, path: str) -> None:
        self.folders[path] = in_properties
        try:
            ids = parse_object(self.context.store.read(f"{path}/{INFO_KEY}"), path)["inline"]["ids"]
            objects = len(ids)
        except (FormatError, KeyError, TypeError):
            objects = 0  # told by the rules
        self.reports.append(PartReport(path=path, kind="segment_properties", objects=objects, checked=objects))
        # meshes that cannot be listed are told on their own
        if self.volume is not None and (self.volume.info.mesh is None or self.meshes_listed):
            self._add(check_properties(self.volume))
        else:
            self._add(check_properties_file(self.context.store, path))

    def _skeletons(self, path: str) -> None:
        self.folders[path] = in_skeletons
        result = check_skeletons(self.context, path, self.volume)
        self.findings += result.findings
        self.reports.append(PartReport(path=path, kind="skeletons", objects=len(result.ids), checked=result.checked))
        self._compare_ids(path, result.ids)

    def _annotations(self, path: str) -> None:
        self.folders[path] = in_annotations
        result = check_annotations(self.context, path)
        self.findings += result.findings
        self.reports.append(PartReport(path=path, kind="annotations", objects=len(result.ids), checked=result.checked))

    def _add(self, findings: list[Finding]) -> None:
        self.findings += findings if self.context.provenance.meshed else [_soften(finding) for finding in findings]

    def _compare_ids(self, path: str, ids: U64) -> None:
        if self.labels is not None:
            self.findings += IDS.run(Ids(path, ids, self.labels, LABEL_TABLE_KEY))

    def check_label_table(self, labelled: int | None) -> None:
        """Check the label table and keep its ids, if they can be used."""
        problems: list[str] = []
        rows = None
        store = self.context.store
        try:
            if not store.stat(LABEL_TABLE_KEY).encoding and isinstance(store, LocalStore):
                rows = np.load(store.root / LABEL_TABLE_KEY, mmap_mode="r", allow_pickle=False)
            else:
                rows = np.load(io.BytesIO(store.read(LABEL_TABLE_KEY)), allow_pickle=False)
        except ObjectNotFoundError:
            return
        except (AccessDeniedError, StorageError) as error:
            self.findings += STOPPED.run(Stopped(LABEL_TABLE_KEY, error.message))
            return
        except BROKEN_ARRAY as error:  # ours are of these kinds too, and stand above
            problems.append(f"cannot be read: {error}")
        if rows is not None and (rows.dtype != LABEL_ROW or rows.ndim != 1):
            problems.append(f"has the type {rows.dtype!s:.80} and {rows.ndim} axes, not rows of a label table")
            rows = None
        if rows is not None:
            problems += _table_problems(rows, self.volume)
        table = LabelTableFile(LABEL_TABLE_KEY, problems)
        if rows is not None and not problems:
            self.labels = np.asarray(rows["id"], np.uint64)
            table = LabelTableFile(LABEL_TABLE_KEY, problems, int(rows["voxels"].sum()), labelled)
        self.findings += LABEL_TABLE.run(table)


def _soften(finding: Finding) -> Finding:
    """Take what only precast promises for a warning in datasets by other programs."""
    if finding.code in STRICT_FOR_OURS and finding.severity == Severity.ERROR:
        return replace(finding, severity=Severity.WARNING)
    return finding


def _table_problems(rows: Any, volume: Volume | None) -> list[str]:
    problems = []
    ids = rows["id"]
    if (ids[1:] <= ids[:-1]).any():
        problems.append("the ids do not ascend")
    if (ids == 0).any():
        problems.append("0, the background, has a row")
    if volume is None or not len(rows):
        return problems
    box = volume.info.scales[0].box
    outside = (rows["start"] < np.array(box.start)).any(axis=1) | (rows["stop"] > np.array(box.stop)).any(axis=1)
    outside |= (rows["stop"] <= rows["start"]).any(axis=1)
    if outside.any():
        problems.append(f"{int(outside.sum())} labels lie outside the volume, for example {ids[outside][0]}")
    if int(rows["voxels"].sum()) > box.size.volume * volume.info.num_channels:
        problems.append(f"it counts {int(rows['voxels'].sum())} voxels, more than the volume has")
    return problems
