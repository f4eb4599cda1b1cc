"""Find the files of a dataset, on a local disk or in a bucket, that belong to none of its parts."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from precast.checks.former import FormerGenerations
from precast.checks.part_rules import FILES, Files
from precast.checks.presence import PACKED_SUFFIXES
from precast.checks.shard_rules import is_obsolete
from precast.findings import Finding
from precast.precomputed.chunk_names import from_folders, parse_chunk_name
from precast.precomputed.objects import INFO_KEY, LABEL_TABLE_KEY, PROVENANCE_KEY
from precast.precomputed.publication import PUBLISHED_DIRECTORY
from precast.storage import CloudStore, LocalStore
from precast.storage.encodings import bare_name

__all__ = ["Belongs", "check_files", "in_annotations", "in_meshes", "in_properties", "in_scale", "in_skeletons"]

NOTHING = FormerGenerations()

Belongs = Callable[[str], bool]
"""Whether a file belongs to a part, by its name inside the part's directory, without the suffix of an encoding."""

TEMPORARY = re.compile(
    r"(^|/)(\..*\.part|\.[^/]*\.(tmp|temp|swp)|[^/]*(\.tmp|\.temp|\.part|\.partial|~|\.gstmp|_\.gstmp))$"
)
ID = re.compile(r"\d+")
MESH_FILE = re.compile(r"\d+(\.index)?|\d+:\d+(:.*)?")
CELL = re.compile(r"-?\d+(_-?\d+)*")


def in_scale(name: str) -> bool:
    """Tell whether it is a chunk or a shard."""
    for suffix in PACKED_SUFFIXES:
        name = name.removesuffix(suffix)
    return name.endswith(".shard") or parse_chunk_name(from_folders(name)[0]) is not None or is_obsolete(name)


def in_meshes(name: str) -> bool:
    """Tell whether it is a manifest, a fragment with a usual name, a shard, or a spatial index of cloud-volume."""
    return name == INFO_KEY or name.endswith((".shard", ".spatial")) or MESH_FILE.fullmatch(name) is not None


def in_skeletons(name: str) -> bool:
    """Tell whether it is a skeleton, a shard, or a spatial index of cloud-volume."""
    return name == INFO_KEY or name.endswith((".shard", ".spatial")) or ID.fullmatch(name) is not None


def in_annotations(name: str) -> bool:
    """Tell whether it is a value or a shard of some index."""
    last = name.rpartition("/")[2]
    return name == INFO_KEY or ("/" in name and (last.endswith(".shard") or CELL.fullmatch(last) is not None))


def in_properties(name: str) -> bool:
    """Tell whether it is the info."""
    return name == INFO_KEY


def check_files(
    store: LocalStore | CloudStore,
    parts: Mapping[str, Belongs],
    *,
    skip: tuple[str, ...] = (),
    former: FormerGenerations = NOTHING,
) -> list[Finding]:
    """Return findings about files that belong to nothing.

    Parameters
    ----------
    store
        The dataset.
    parts
        Directories of its parts, and what belongs there.
    skip
        Directories that are not looked into.
    former
        What publications keep here.
    """
    groups: dict[str, Files] = {}
    names = _walk(store.root) if isinstance(store, LocalStore) else (stat.key for stat in store.list())
    for name in names:
        folder = next((f for f in (*parts, *skip) if name.startswith(f"{f}/")), None)
        plain, _ = bare_name(name)
        if name.startswith(f"{PUBLISHED_DIRECTORY}/") or (folder is None and former.holds(plain)):
            continue
        if folder in skip or name in parts:  # a directory of which only a broken link is left
            continue
        if folder is None:
            group = name.partition("/")[0] if "/" in name else "."
            known = plain in (INFO_KEY, PROVENANCE_KEY, LABEL_TABLE_KEY) or plain.startswith(f"{PROVENANCE_KEY}.")
        else:
            group = folder
            known = parts[folder](plain.removeprefix(f"{folder}/"))
        if known:
            continue
        files = groups.setdefault(group, Files(group))
        (files.temporary if TEMPORARY.search(name) else files.stray).add(name, "")
    return [finding for group in sorted(groups) for finding in FILES.run(groups[group])]


def _walk(root: Path) -> Iterator[str]:
    """Yield all files below a directory, hidden ones too, in a fixed order."""
    for folder, folders, files in os.walk(root):
        folders.sort()
        inside = Path(folder).relative_to(root).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        for name in sorted(files):
            yield prefix + (name.replace("%3A", ":") if os.name == "nt" else name)
