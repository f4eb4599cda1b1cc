"""Which files of a folder are its slices."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from precast.errors import ObjectNotFoundError, SourceError
from precast.findings import Finding, notice
from precast.sources.base import corrupt, os_error
from precast.sources.images import format_of
from precast.sources.stored import SourcePath, StoredPath

__all__ = ["require_exists", "slice_names"]

# What operating systems, microscopes and people leave beside slices; any other unknown file is an error.
JUNK_NAMES = {"thumbs.db", "desktop.ini", "readme", "license", "icon\r"}
JUNK_SUFFIXES = {
    "txt", "json", "csv", "tsv", "md", "log", "xml", "html", "htm", "yaml", "yml", "toml", "ini", "cfg", "pdf", "bak",
    "db", "tmp", "lnk", "doc", "docx", "xls", "xlsx", "rtf", "py", "ijm", "sh", "bat", "md5", "sha256",
}  # fmt: skip


@dataclass(slots=True)
class _Listing:
    """The entries of a folder, sorted into groups."""

    slices: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)


def slice_names(folder: SourcePath) -> tuple[list[str], list[Finding]]:
    """List the image files of a folder, in no particular order, and say what was left out.

    Raises
    ------
    SourceError
        If there are none, if they have several formats, are empty, or if there are files of unknown formats.
    AccessDeniedError, StorageError
        If the folder may not be read, or the disk fails.
    """
    found = _list(folder)
    where = str(folder)
    if not found.slices:
        holds = _some(found.folders, "folder") if found.folders else _some(found.strange + found.ignored, "file")
        hint = "give the folder that holds the slices"
        if found.folders:
            hint = f"give one of its folders, for example {min(found.folders)}"
        message = f"{folder.name} holds no slices (TIFF, PNG or JPEG files): it holds {holds}"
        raise SourceError(message, hint=hint, where=where)
    if found.strange:
        raise SourceError(
            f"{folder.name} holds {_some(found.strange, 'file')} of unknown format beside {len(found.slices)} slices",
            hint="move them elsewhere; slices are TIFF, PNG or JPEG files",
            where=where,
        )
    _check_one_format(folder, found.slices)
    if found.empty:
        others = f", like {len(found.empty) - 1} others" if len(found.empty) > 1 else ""
        raise corrupt(folder / min(found.empty), f"the file is empty (0 bytes){others}")
    groups = ((found.ignored, "file"), (found.folders, "folder"))
    parts = [_some(names, kind) for names, kind in groups if names]
    findings = [notice("PS103", folder.name, f"not read: {' and '.join(parts)}")] if parts else []
    return found.slices, findings


def _list(folder: SourcePath) -> _Listing:
    found = _Listing()
    if isinstance(folder, StoredPath):
        files, folders = folder.entries()
        for name in folders:
            (_group(found, name) if name[0] == "." else found.folders).append(name)
        for name, stat in files.items():
            group = _group(found, name)
            group.append(name)
            if group is found.slices and stat.size == 0:
                found.empty.append(name)
        return found
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                group = found.folders if entry.is_dir() and entry.name[0] != "." else _group(found, entry.name)
                group.append(entry.name)
                if group is found.slices and entry.stat().st_size == 0:
                    found.empty.append(entry.name)
    except OSError as error:
        raise os_error(error, Path(error.filename or folder)) from None
    return found


def _group(found: _Listing, name: str) -> list[str]:
    lower = name.lower()
    if lower[0] == "." or lower in JUNK_NAMES or lower[-1] == "~" or lower.rpartition(".")[2] in JUNK_SUFFIXES:
        return found.ignored
    return found.slices if format_of(name) is not None else found.strange


def _check_one_format(folder: SourcePath, names: Sequence[str]) -> None:
    groups = Counter(form.name for form in map(format_of, names) if form is not None)
    if len(groups) == 1:
        return
    counts = " and ".join(f"{count} {name}" for name, count in groups.most_common())
    rare = groups.most_common()[-1][0]
    examples = [name for name in names if (form := format_of(name)) is not None and form.name == rare]
    raise SourceError(
        f"{folder.name} holds {counts} files, the latter {_some(examples, 'file')}: which are the slices?",
        hint="put the slices into a folder of their own",
        where=str(folder),
    )


def _some(names: Sequence[str], kind: str) -> str:
    if not names:
        return f"no {kind}s"
    shown = ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} {kind}{'s' if len(names) > 1 else ''} ({shown})"


def require_exists(path: SourcePath) -> None:
    """Raise unless the path leads to something that may be examined.

    Raises
    ------
    ObjectNotFoundError, AccessDeniedError
        If it does not exist, or a folder on the way may not be searched.
    """
    try:
        path.stat()
    except FileNotFoundError:
        parent = path.parent
        hint = f"{parent} exists" if parent.is_dir() else f"{parent} does not exist either"
        raise ObjectNotFoundError(f"{path} does not exist", hint=f"check the path: {hint}", where=str(path)) from None
    except OSError as error:
        raise os_error(error, path) from None
