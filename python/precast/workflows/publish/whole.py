"""What a dataset that is published consists of: all that its infos name must be in it, and be there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from precast.errors import FormatError, ObjectNotFoundError
from precast.execution.published.transfer import checksum
from precast.precomputed.parts import Place, Reference, info_key, walk
from precast.precomputed.strict_json import parse_object
from precast.storage import Store
from precast.workflows.publish.contents import LinkedInfo, Unit
from precast.workflows.publish.named import Named

__all__ = ["WholeParts", "read_parts"]


@dataclass(frozen=True, slots=True)
class WholeParts:
    """The directories of a dataset, and what was read to find them.

    Attributes
    ----------
    named
        The directories, and what is in each.
    references
        Those that the info at the top names, by their places in it.
    infos
        The infos of those that have one.
    linked
        Those infos that name a directory elsewhere, by their keys.
    where
        What errors call the info at the top.
    """

    named: Named
    references: Mapping[Place, str]
    infos: Mapping[str, Mapping[str, Any]]
    linked: Mapping[str, LinkedInfo]
    where: str

    def groups(self) -> list[list[str]]:
        """Return the directories, those together that lie in each other."""
        paths = sorted(self.named.kinds)
        pairs = [(a, b) for a in paths for b in paths if a != b and (not a or b.startswith(f"{a}/"))]
        group = {path: path for path in paths}
        for a, b in pairs:
            old, new = group[b], group[a]
            group = {path: new if one == old else one for path, one in group.items()}
        return [[path for path in paths if group[path] == first] for first in dict.fromkeys(group[p] for p in paths)]

    def refuse_missing(self, units: Sequence[Unit]) -> None:
        """See that something is in every directory; scales may be all background, but not all of them."""
        keys = [*self.linked, *(one.key for unit in units for one in unit.objects)]
        for path, kind in self.named.kinds.items():
            if kind not in ("scale", "annotations") and path and not any(key.startswith(f"{path}/") for key in keys):
                raise FormatError(
                    f"{self.where} names {path}, where nothing is",
                    hint="make that part, or take it out of the info",
                    where=path,
                )
        scales = [path for path, kind in self.named.kinds.items() if kind == "scale"]
        if scales and not any(key.startswith(tuple(f"{path}/" for path in scales)) for key in keys):
            raise FormatError(
                f"{self.where} names scales, but there is not one chunk in any of them",
                hint="make the dataset again; precast check says what is missing",
                where=self.where,
            )


def read_parts(store: Store, value: Mapping[str, Any]) -> WholeParts:
    """Find the directories of a dataset.

    Parameters
    ----------
    store, value
        Where it is, and its info.

    Raises
    ------
    FormatError
        If an info names what is no directory inside the dataset, or cannot be understood.
    """
    stored: dict[str, bytes] = {}

    def read(key: str) -> Mapping[str, Any] | None:
        try:
            stored[key] = store.read(key)
        except ObjectNotFoundError:
            return None
        return parse_object(stored[key], f"{store.url}/{key}")

    def refuse(reference: Reference) -> None:
        where = f"{store.url}/{info_key(reference.part)}"
        place = ".".join(str(step) for step in reference.place)
        if not isinstance(reference.path, str):
            raise FormatError(f"{where}: {place} must be a path, got {reference.path!r:.60}", where=where)
        raise FormatError(
            f"{where}: {place} names {reference.path!r}, which is not a directory inside the dataset",
            hint="what is published must lie in the dataset: move it there, and name it so in the info",
            where=where,
        )

    found = walk(value, read, refuse)
    linked: dict[str, LinkedInfo] = {}
    for link in found.links:
        if not link.target.startswith(f"{link.part}/"):
            data = stored[info_key(link.part)]
            text = data.decode(json.detect_encoding(data))
            linked[info_key(link.part)] = LinkedInfo(link.part, text, checksum(data), link.target)
    # segment properties alone are their info, which is at the top
    kinds = {path: kind for path, kind in found.kinds.items() if path or kind != "neuroglancer_segment_properties"}
    references = {one.place: one.target for one in found.references}
    return WholeParts(Named(kinds, found.multires), references, found.infos, linked, f"{store.url}/{info_key('')}")
