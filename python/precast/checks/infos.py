"""A quick look at a dataset: only at the files that describe it, not at what they describe."""

from __future__ import annotations

from decimal import Decimal

from precast.checks.info_rules import UNREADABLE_INFO, VOLUME, Unparsed, VolumeFile
from precast.checks.part_rules import PROVENANCE, ProvenanceFile
from precast.checks.scale_rules import FIELDS
from precast.errors import FormatError, ObjectNotFoundError
from precast.findings import Finding
from precast.precomputed.objects import INFO_KEY, PROVENANCE_KEY
from precast.precomputed.parts import PART_TYPES
from precast.precomputed.provenance import Provenance
from precast.precomputed.strict_json import parse_object
from precast.storage import Store

__all__ = ["check_infos"]


def check_infos(store: Store) -> list[Finding]:
    """Check the info and the provenance of one dataset, whose ``info`` is there.

    Raises
    ------
    AccessDeniedError, StorageError
        If they cannot be read.
    """
    try:
        value = parse_object(store.read(INFO_KEY), INFO_KEY, parse_float=Decimal)
    except FormatError as error:
        return UNREADABLE_INFO.run(Unparsed(INFO_KEY, error.message))
    kind = value.get("@type")
    if isinstance(kind, str) and kind in PART_TYPES:
        return []
    file = VolumeFile(INFO_KEY, value)
    findings = [*VOLUME.run(file), *FIELDS.run(file)]
    try:
        problem = Provenance.parse(store.read(PROVENANCE_KEY)).problem
    except ObjectNotFoundError:
        return findings
    return [*findings, *PROVENANCE.run(ProvenanceFile(PROVENANCE_KEY, problem))]
