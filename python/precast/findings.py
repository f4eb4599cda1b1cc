"""What was noticed and did not stop the work: the bottom layer, imported by everything.

A finding has a code. Those of the rules of ``check`` and ``diff`` begin with ``PC`` and stand beside the rules; those
of what other verbs notice by the way stand here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum

__all__ = ["NOTICES", "Finding", "Severity", "notice"]


class Severity(StrEnum):
    """How much a finding matters; ``ERROR`` makes a command exit with 1."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One observation about data, with a stable code.

    Attributes
    ----------
    code
        Stable identifier, for example ``PC101``.
    severity
        One of :class:`Severity`.
    where
        File, key, scale or box that it concerns; empty if it concerns the whole.
    message
        What is the case, with the value.
    hint
        What to do about it; may be empty.
    """

    code: str
    severity: Severity
    where: str
    message: str
    hint: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the finding as a JSON object."""
        return {key: str(value) for key, value in asdict(self).items()}


_INFO, _WARNING = Severity.INFO, Severity.WARNING
NOTICES: dict[str, tuple[Severity, str]] = {
    "PH101": (_WARNING, "there is no info file yet, so that nothing of a dataset is served"),
    "PH102": (_WARNING, "a layer is a symbolic link, and is not served with its collection"),
    "PH103": (_INFO, "a place in a bucket is read through this machine, with credentials if there are some"),
    "PI101": (_WARNING, "float64 is stored as float32, the only float type of the format"),
    "PI102": (_WARNING, "an offset or size is beyond what Neuroglancer keeps exactly"),
    "PM101": (_WARNING, "ids of --include are not in the volume"),
    "PM102": (_WARNING, "a mesh is not closed, which is a fault in precast"),
    "PP101": (_WARNING, "only the largest segments get properties, because there are too many"),
    "PP102": (_WARNING, "ids of the table are not in the dataset, and are left out"),
    "PP103": (_WARNING, "a column of the table does not become what its values look like"),
    "PP104": (_INFO, "columns of the table without a name are left out"),
    "PP105": (_WARNING, "nothing can be taken over from the former segment properties"),
    "PS101": (_WARNING, "slices or planes are missing, and were filled"),
    "PS102": (_INFO, "by what rule slices are put in order, where names leave a choice"),
    "PS103": (_INFO, "files in the folder of slices that are not read"),
    "PS110": (_INFO, "an image has a palette, of which only the numbers are read"),
    "PS111": (_INFO, "an image is stored as white is zero; its numbers are read, not their negative"),
    "PS112": (_WARNING, "an image is stored turned, and read as it is stored"),
    "PS113": (_WARNING, "a file is sparse: parts that were never written are read as its no-data value or 0"),
    "PS114": (_INFO, "a colour marked as transparent is read like the others"),
    "PS120": (_INFO, "a file does not say all edges of a voxel, so that none is used"),
    "PS121": (_INFO, "a file holds several images, of which the first is read"),
    "PS122": (_INFO, "pages that are thumbnails, pyramid levels or masks are not read"),
    "PU101": (_WARNING, "objects at the destination were not published by precast, and are left alone"),
    "PU102": (_INFO, "files of the source belong to no dataset, and are not published"),
    "PU103": (_INFO, "objects of former generations are kept at the destination"),
    "PU104": (_INFO, "a dataset was published before, and is no longer in the collection"),
    "PU111": (_WARNING, "a web server was asked for the meshes or skeletons of the objects with properties alone"),
    "PU112": (_WARNING, "objects are packed with brotli, which browsers take over https and from localhost alone"),
    "PU113": (_INFO, "a spatial index of cloud-volume is not copied from a web server"),
    "PU114": (_INFO, "a part is not put into shards, and published as it is"),
    "PV101": (_WARNING, "no objects are selected, because none, or no sizes, could be found"),
    "PV102": (_WARNING, "no contrast could be found for an image"),
    "PV103": (_WARNING, "the position is outside the data"),
    "PV104": (_INFO, "an image has more channels than are shown"),
    "PV110": (_WARNING, "the address is so long that some programs cut it"),
    "PV111": (_WARNING, "the viewer is on https, the data are not"),
    "PV120": (
        _WARNING,
        "a layer is not served with the directory that it is in (skeletons or meshes alone), and left out",
    ),
}
"""Severity, and what is the case, by code. A code is never used again for something else."""


def notice(code: str, where: str, message: str, hint: str = "") -> Finding:
    """Return a finding with one of the codes of :data:`NOTICES`."""
    severity, _ = NOTICES[code]
    return Finding(code=code, severity=severity, where=where, message=message, hint=hint)
