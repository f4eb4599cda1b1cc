"""Reading the objects of a source, for what only their bytes tell: their checksums, and how they are packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from precast.errors import FormatError
from precast.execution.progress import Progress
from precast.execution.published.transfer import Made, Sendable, each
from precast.workflows.publish.contents import SourceDataset, SourceObject, Unit

__all__ = ["packed", "read_objects", "refuse_packed"]


def refuse_packed(one: SourceObject) -> None:
    """See that an object that viewers read by ranges is not packed, as far as that is known."""
    if one.file.encoding and not one.kind.rule.whole:
        raise packed(one.file, one.file.encoding)


def packed(file: Sendable, encoding: str) -> FormatError:
    """Return the error about an object that is packed and must not be."""
    return FormatError(
        f"{file.where} is packed as {encoding}, but viewers read it by ranges, which a packed object does not have",
        hint="unpack it and publish again",
        where=file.where,
    )


def read_objects(
    datasets: Sequence[SourceDataset], threads: int, progress: Progress
) -> tuple[tuple[SourceDataset, ...], dict[str, dict[str, int]]]:
    """Return the datasets with what only reading their objects tells, and the checksums of those, by dataset and key.

    What a publication has written down, and has not changed since, is not read.

    Raises
    ------
    SourceError
        If an object was written since it was listed.
    FormatError
        If one is packed that must not be.
    """
    checksums: dict[str, dict[str, int]] = {dataset.name: {} for dataset in datasets}
    files: dict[tuple[str, str], Sendable] = {}
    objects = [(dataset.name, one) for dataset in datasets for one in dataset.objects]

    def read_one(item: tuple[str, SourceObject]) -> tuple[Sendable, int]:
        return item[1].file.read()

    def done(item: tuple[str, SourceObject], result: tuple[Sendable, int]) -> None:
        name, one = item
        file, checksums[name][one.key] = result
        if file != one.file:
            refuse_packed(replace(one, file=file))
        files[name, one.key] = file
        progress.advance(one.file.size)

    progress.phase("reading", sum(one.file.size for _, one in objects))
    each(read_one, (item for item in objects if not isinstance(item[1].file, Made)), threads, done)
    # one after the other: each reads with all threads, and takes room on the disk
    each(read_one, (item for item in objects if isinstance(item[1].file, Made)), 1, done)

    def read(dataset: SourceDataset, unit: Unit) -> Unit:
        return replace(unit, objects=tuple(replace(one, file=files[dataset.name, one.key]) for one in unit.objects))

    found = (replace(one, units=tuple(read(one, unit) for unit in one.units)) for one in datasets)
    return tuple(found), checksums
