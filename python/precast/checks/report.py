"""What a check gives back: findings, and counts of what was looked at."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from precast.findings import Finding, Severity

__all__ = ["DatasetReport", "PartReport", "PlaceReport", "Report", "ScaleReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleReport:
    """One scale, counted.

    Attributes
    ----------
    key
        Its directory.
    size
        Voxels, x, y, z.
    resolution_nm
        Edges of a voxel.
    encoding, sharded
        How it is stored.
    chunks
        Of the grid; ``stored + absent``.
    stored, absent
        Chunks that are there, and that are not.
    decoded, empty
        Chunks that were looked into, and those of them that hold only zeros.
    lost
        Chunks that are absent although they were stored, by provenance.
    unreadable
        Chunks that are there but cannot be read or decoded.
    objects, stored_bytes
        Files of the scale.
    digest
        ``verified``, ``differs``, or empty if there is nothing to compare or not all voxels were read.
    pyramid
        How the scale follows from the finer one: the method, voxels that were compared, voxels that differ.
    """

    key: str
    size: tuple[int, int, int]
    resolution_nm: tuple[float, float, float]
    encoding: str
    sharded: bool
    chunks: int
    stored: int
    absent: int
    decoded: int
    empty: int
    lost: int
    unreadable: int
    objects: int
    stored_bytes: int
    digest: str = ""
    pyramid: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartReport:
    """One part of a dataset: its directory, what it is, how many objects it has and how many were looked at."""

    path: str
    kind: str
    objects: int
    checked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceReport:
    """One directory on a web server: what it holds, the requests that were sent, the objects that were looked at."""

    path: str
    what: str
    requests: int
    objects: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetReport:
    """One dataset.

    Attributes
    ----------
    name
        The layer in its collection; empty for a dataset of its own.
    path
        Where it lies.
    kind
        ``image``, ``segmentation``, or what else it is; empty if that cannot be told.
    data_type, channels
        Of the voxels; empty and 0 if it has none.
    scales, parts
        What was looked at.
    against
        Voxels that were compared with the source, and that differ, if that was asked for.
    server, places
        What serves it, if that is recognised, and the directories that were looked at, if it is on a web server.
    findings
        What is wrong with it.
    """

    name: str
    path: str
    kind: str = ""
    data_type: str = ""
    channels: int = 0
    scales: tuple[ScaleReport, ...] = ()
    parts: tuple[PartReport, ...] = ()
    against: dict[str, Any] | None = None
    server: str = ""
    places: tuple[PlaceReport, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of a check.

    Attributes
    ----------
    path
        What was checked.
    datasets
        One, or those of a collection.
    sample
        The share that was decoded.
    strict
        Whether warnings count.
    general
        Findings about the collection itself.
    """

    path: str
    datasets: tuple[DatasetReport, ...]
    sample: float = 1.0
    strict: bool = False
    general: tuple[Finding, ...] = field(default=())

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings; in a collection their places begin with the layer, unless they are addresses."""
        found = list(self.general)
        for dataset in self.datasets:
            if not dataset.name or dataset.places:
                found += dataset.findings
            else:
                found += [replace(finding, where=f"{dataset.name}/{finding.where}") for finding in dataset.findings]
        return tuple(found)

    @property
    def counts(self) -> dict[str, int]:
        """How many findings there are of each severity."""
        counted = Counter(finding.severity for finding in self.findings)
        return {severity.value: counted[severity] for severity in (Severity.ERROR, Severity.WARNING, Severity.INFO)}

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong: no errors, and if the check is strict no warnings."""
        counts = self.counts
        return not counts["error"] and not (self.strict and counts["warning"])

    def to_json(self) -> dict[str, Any]:
        """Return the report without its findings, which the document of ``--json`` has on their own."""
        datasets = []
        for dataset in self.datasets:
            value = asdict(dataset)
            del value["findings"]
            datasets.append(value)
        return {
            "path": self.path,
            "ok": self.ok,
            "counts": self.counts,
            "sample": self.sample,
            "strict": self.strict,
            "datasets": datasets,
        }
