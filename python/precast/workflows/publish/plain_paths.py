"""A published dataset as if it lay where it lay first: without the generations in its paths."""

from __future__ import annotations

import posixpath
from dataclasses import replace

from precast.execution.published.transfer import checksum
from precast.precomputed.generations import plain_path
from precast.precomputed.json_text import set_text_strings
from precast.precomputed.objects import INFO_KEY
from precast.workflows.publish.contents import LinkedInfo, SourceDataset, Top, Unit

__all__ = ["without_generations"]


def without_generations(dataset: SourceDataset) -> SourceDataset:
    """Return the dataset as if it lay under plain paths, unless two of its directories would then be one."""
    paths = [path for unit in dataset.units for path in unit.paths]
    plain = {path: plain_path(path) for path in paths}
    if all(path == one for path, one in plain.items()):
        return dataset
    inside = {(a, b) for a in paths for b in paths if a != b and b.startswith(f"{a}/")}
    after = {(a, b) for a in paths for b in paths if a != b and f"{plain[b]}/".startswith(f"{plain[a]}/")}
    if inside != after:
        return dataset

    def moved(key: str, unit: Unit) -> str:
        path = max((path for path in unit.paths if key.startswith(f"{path}/")), key=len)
        return plain[path] + key[len(path) :]

    def relinked(one: LinkedInfo) -> LinkedInfo:
        part, target = plain[one.part], plain[one.target]
        if posixpath.relpath(target, part) == posixpath.relpath(one.target, one.part):
            return replace(one, part=part, target=target)
        link = posixpath.relpath(target, part)
        text = set_text_strings(one.text, {("segment_properties",): link}, where=f"{dataset.where}/{one.key}")
        return LinkedInfo(part, text, checksum(text.encode()), target)

    units = tuple(
        Unit(
            tuple(plain[path] for path in unit.paths),
            tuple(replace(one, key=moved(one.key, unit)) for one in unit.objects),
            tuple(relinked(one) for one in unit.linked),
        )
        for unit in dataset.units
    )
    changes = {place: plain[path] for place, path in dataset.references.items() if plain[path] != path}
    info = set_text_strings(dataset.info, changes, where=dataset.where)
    return replace(
        dataset,
        info=info,
        references={place: plain[path] for place, path in dataset.references.items()},
        units=units,
        top={**dataset.top, INFO_KEY: Top.of(INFO_KEY, info.encode())},
    )
