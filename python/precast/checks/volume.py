"""Check the voxels of a volume: its info, its chunks, its pyramid, its digests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from precast.checks.chunk_rules import ABSENT, BROKEN, EMPTY, SCALE, UNREADABLE, VOXELS, ScaleSurvey
from precast.checks.context import Context
from precast.checks.info_rules import MOST_CHUNKS, UNREADABLE_INFO, VOLUME, Unparsed, VolumeFile
from precast.checks.presence import find_chunks
from precast.checks.report import ScaleReport
from precast.checks.scale_rules import FIELDS, FOREIGN_ENCODINGS, MOST_CHUNK_BYTES, UNDISPLAYED_ENCODINGS, chunk_bytes
from precast.checks.survey import look_into, plan_pyramid
from precast.dataset.volume import Scale, Volume
from precast.errors import FormatError, UsageError
from precast.findings import Finding, Severity
from precast.precomputed.codecs import codec_of_scale
from precast.precomputed.info import VolumeInfo
from precast.precomputed.objects import INFO_KEY
from precast.precomputed.paths import normal_path

__all__ = ["VolumeCheck", "check_volume"]

PLACEHOLDER = "raw"
GEOMETRY = ("PC105", "PC111", "PC112", "PC113", "PC114")


@dataclass(frozen=True, slots=True)
class VolumeCheck:
    """What the check of a volume gives.

    Attributes
    ----------
    volume
        The volume, as far as it can be opened; encodings that precast does not read are replaced.
    scales
        Counts per scale.
    findings
        What is wrong.
    labelled
        Voxels of scale 0 that are not 0; None if not all of them were read.
    """

    volume: Volume | None
    scales: tuple[ScaleReport, ...]
    findings: list[Finding]
    labelled: int | None = None


def check_volume(value: dict[str, Any], context: Context) -> VolumeCheck:
    """Check a volume by its parsed ``info``, whose numbers with a point are decimals."""
    file = VolumeFile(INFO_KEY, value)
    findings = [*VOLUME.run(file), *FIELDS.run(file)]
    opened = _open(value, context)
    if not isinstance(opened, FormatError) and any(finding.code in GEOMETRY for finding in findings):
        return VolumeCheck(None, (), findings)  # numbers of any size parse, but nothing can be done with them
    if isinstance(opened, FormatError):
        if not any(finding.severity == Severity.ERROR for finding in findings):
            findings += UNREADABLE_INFO.run(Unparsed(INFO_KEY, opened.message))
        return VolumeCheck(None, (), findings)
    if any(scale.info.grid.volume > MOST_CHUNKS for scale in opened.scales):
        return VolumeCheck(opened, (), findings)  # told by a rule about the info
    surveys = [_survey(scale, context) for scale in opened.scales]
    readable = [_decodes(entry) and chunk_bytes(file, entry) <= MOST_CHUNK_BYTES for _, entry in file.scales]
    for scale, survey in zip(opened.scales, surveys, strict=True):
        if not scale.info.key.startswith(".."):
            context.progress.phase(f"listing {scale.info.key}", 0)
            findings += find_chunks(scale, survey, context.threads)
    nothing = not any(survey.present for survey in surveys)
    method = context.provenance.method(opened.kind)
    for finer, coarser in pairwise(zip(opened.scales, surveys, strict=True)):
        if all(readable[scale.index] and survey.present for scale, survey in (finer, coarser)):
            coarser[1].pyramid = plan_pyramid(finer, coarser, method, opened.kind)
    for k, (scale, survey) in enumerate(zip(opened.scales, surveys, strict=True)):
        if readable[k] and not scale.info.key.startswith(".."):
            above = (opened.scales[k + 1], surveys[k + 1]) if k + 1 < len(surveys) else None
            look_into(scale, survey, above if above and above[1].pyramid else None, context.depth, context.progress)
    reports = []
    for scale, survey in zip(opened.scales, surveys, strict=True):
        survey.alone = nothing
        if not scale.info.key.startswith(".."):
            findings += SCALE.run(survey)
        reports.append(replace(_report(scale, survey), encoding=str(value["scales"][scale.index]["encoding"])))
    return VolumeCheck(opened, tuple(reports), findings, _labelled(surveys[0]))


def _labelled(survey: ScaleSurvey) -> int | None:
    """Return how many voxels of scale 0 are not 0, if all were read and none is known to be wrong."""
    expected = survey.record.voxel_digest if survey.record is not None else None
    return survey.labelled if survey.digest and expected in (None, "", survey.digest) else None


def _open(value: Mapping[str, Any], context: Context) -> Volume | FormatError:
    """Open a volume although not all of it can be read: chunks that cannot be decoded are still counted."""
    copy = {key: item for key, item in value.items() if item is not None}
    copy["scales"] = [
        _readable_scale(entry) if isinstance(entry, dict) else entry
        for entry in (value["scales"] if isinstance(value.get("scales"), list) else [])
    ]
    try:
        info = VolumeInfo.from_json(copy)
        return Volume(context.store, info)
    except UsageError as error:
        return FormatError(error.message)
    except FormatError as error:
        return error


def _readable_scale(entry: Mapping[str, Any]) -> dict[str, Any]:
    scale = {key: item for key, item in entry.items() if item is not None}
    if isinstance(scale.get("key"), str):
        scale["key"] = normal_path(scale["key"])
    if not _decodes(scale):
        scale["encoding"] = PLACEHOLDER
    return scale


def _decodes(scale: Mapping[str, Any]) -> bool:
    return scale.get("encoding") not in (*FOREIGN_ENCODINGS, *UNDISPLAYED_ENCODINGS)


def _survey(scale: Scale, context: Context) -> ScaleSurvey:
    lossy = codec_of_scale(scale.info, scale.dtype.name, scale.channels, reading=True).lossy
    return ScaleSurvey(
        where=scale.info.key,
        states=np.zeros(scale.info.grid.zyx, np.uint8),
        record=context.provenance.scale(scale.info.key),
        lossy=lossy,
    )


def _report(scale: Scale, survey: ScaleSurvey) -> ScaleReport:
    digest = ""
    if survey.digest and survey.record is not None and survey.record.voxel_digest:
        digest = "verified" if survey.digest == survey.record.voxel_digest else "differs"
    info = scale.info
    x, y, z = (float(edge) for edge in info.resolution)
    return ScaleReport(
        key=info.key,
        size=(info.size.x, info.size.y, info.size.z),
        resolution_nm=(x, y, z),
        encoding=info.encoding,
        sharded=info.sharding is not None,
        chunks=survey.chunks,
        stored=survey.present,
        absent=survey.count(ABSENT),
        decoded=survey.count(VOXELS, EMPTY),
        empty=survey.count(EMPTY),
        lost=max(survey.lost, survey.empty_beside.count),
        unreadable=survey.count(UNREADABLE, BROKEN),
        objects=survey.objects,
        stored_bytes=survey.stored_bytes,
        digest=digest,
        pyramid=survey.pyramid.to_json() if survey.pyramid is not None and survey.pyramid.compared else None,
    )
