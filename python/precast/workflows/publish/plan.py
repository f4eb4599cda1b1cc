"""What a publication has to do for one dataset: pure, but for looking again at objects that may have changed."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass

from precast.dataset.objects import attributes
from precast.errors import DestinationExistsError
from precast.execution.published.place import PublishedPlace, headers_of
from precast.execution.published.transfer import checksum
from precast.precomputed.generations import generation_path, plain_path
from precast.precomputed.json_text import set_text_strings
from precast.precomputed.objects import INFO_KEY
from precast.precomputed.publication import Manifest, PublishedObject
from precast.storage import Attributes, LocalStore, ObjectStat
from precast.workflows.publish.contents import LinkedInfo, SourceDataset, SourceObject, Unit, content_number

__all__ = ["Comparison", "DatasetPlan", "Item", "plan_dataset"]


@dataclass(frozen=True, slots=True)
class Item:
    """An object of the source, where it goes, and how it is sent there."""

    source: SourceObject
    key: str
    crc32c: int
    attributes: Attributes

    @property
    def published(self) -> PublishedObject:
        """Its line in a manifest, before it is sent."""
        return PublishedObject(self.key, self.source.file.size, self.crc32c, headers_of(self.attributes))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Objects of the source beside those that readers see now, and their bytes."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetPlan:
    """What has to be done for one dataset.

    Attributes
    ----------
    source, place
        From where, to where.
    generation
        The number of the content.
    info
        The info as it will be, with the directories of this generation.
    linked
        The infos of parts that name other parts, as they will be, by their keys; and their checksums in the source.
    paths
        Directories of the source, and where they will be.
    items
        All objects of the generation that are not at the top.
    send
        Those of them that have to be sent.
    doubtful
        Those that are there as far as can be told without reading them.
    stale
        Objects of an interrupted first publication of something else, which nobody has seen.
    abandoned
        Generations that were begun and never seen by a reader.
    comparison
        For people.
    foreign
        Objects that precast did not publish, and leaves alone.
    refreshed
        Whether objects were read because the store calls them otherwise than when they were sent.
    """

    source: SourceDataset
    place: PublishedPlace
    generation: str
    info: bytes
    linked: Mapping[str, tuple[bytes, int]]
    paths: Mapping[str, str]
    items: tuple[Item, ...]
    send: tuple[Item, ...]
    doubtful: tuple[Item, ...]
    stale: tuple[str, ...]
    abandoned: tuple[str, ...]
    comparison: Comparison
    foreign: tuple[str, ...]
    refreshed: bool = False

    @property
    def seen(self) -> bool:
        """Whether readers see this generation already."""
        return self.place.seen == self.generation

    @property
    def tops(self) -> dict[str, tuple[int, int]]:
        """The files at the top, with size and checksum."""
        found = {name: (top.size, top.crc32c) for name, top in self.source.top.items()}
        found |= {key: (len(data), checksum(data)) for key, (data, _) in self.linked.items()}
        return found | {INFO_KEY: (len(self.info), checksum(self.info))}


def plan_dataset(
    source: SourceDataset, place: PublishedPlace, checksums: Mapping[str, int], *, overwrite: bool
) -> DatasetPlan:
    """Decide where everything goes, and what has to be sent.

    Raises
    ------
    DestinationExistsError
        If something is there that precast did not publish, or that cannot be replaced while it is read.
    """
    generation = content_number(source, checksums)
    foreign = place.foreign
    _refuse_foreign(place, foreign, overwrite=overwrite)
    complete = {name: one for name, one in place.manifests.items() if one.complete and name not in place.index.removing}
    # a path may be used again only if nothing else was ever seen under it
    first = place.info is None and not place.index.kept and not foreign
    first = first and all(one.listed for one in place.manifests.values())
    prefixed = not first
    order = dict.fromkeys((generation, place.seen, place.index.current, *reversed(place.index.kept), place.index.next))
    kept = [complete[name] for name in order if name in complete]
    paths: dict[str, str] = {}
    items: list[Item] = []
    for unit in source.units:
        found = next((one for one in kept if _holds(one, unit, checksums)), None)
        for path in unit.paths:
            if found is not None:
                paths[path] = found.paths[path]
            else:
                paths[path] = generation_path(generation, path) if prefixed and source.movable else path
        items += [_item(one, unit, paths, checksums) for one in unit.objects]
    known = {one.key: one for manifest in kept for one in manifest.objects}
    if not source.movable:
        _refuse_fixed(place, items, known, source, foreign)
    begun = place.manifests.get(place.index.next or "")
    given_up = begun is not None and begun.generation not in (generation, place.seen)
    lines = {item.key: item.published for item in items}
    stale = [one.key for one in begun.objects if lines.get(one.key) != one] if begun and given_up and first else []
    resumed: dict[str, PublishedObject] = {}
    if begun is not None and (first or not given_up):  # only what stands in its list was ever written there
        resumed = {one.key: one for one in begun.objects if lines.get(one.key) == one}
    states = {item.key: _state(item, known.get(item.key), resumed, place.listed.get(item.key)) for item in items}
    changes = {reference: paths[path] for reference, path in source.references.items() if paths[path] != path}
    info = set_text_strings(source.info, changes, where=source.where).encode() if changes else _info_bytes(source)
    return DatasetPlan(
        source=source,
        place=place,
        generation=generation,
        info=info,
        linked={
            f"{paths[one.part]}/{INFO_KEY}": (_relinked(one, paths, source), one.crc32c)
            for unit in source.units
            for one in unit.linked
        },
        paths=paths,
        items=tuple(items),
        send=tuple(item for item in items if states[item.key] == "absent"),
        doubtful=tuple(item for item in items if states[item.key] == "doubtful"),
        stale=tuple(stale),
        abandoned=(begun.generation,) if begun is not None and given_up else (),
        comparison=_compare(source, place, checksums),
        foreign=foreign,
    )


def _info_bytes(source: SourceDataset) -> bytes:
    data = source.top[INFO_KEY].data
    assert data is not None
    return data


def _relinked(one: LinkedInfo, paths: Mapping[str, str], source: SourceDataset) -> bytes:
    """Return the info of a part with the way from its place to that of the part that it names."""
    part, target = paths[one.part], paths[one.target]
    if (part, target) == (one.part, one.target):
        return one.text.encode()
    link = posixpath.relpath(target, part)
    return set_text_strings(one.text, {("segment_properties",): link}, where=f"{source.where}/{one.key}").encode()


def _refuse_foreign(place: PublishedPlace, foreign: tuple[str, ...], *, overwrite: bool) -> None:
    strange_info = INFO_KEY in foreign
    if foreign and not overwrite and (strange_info or not place.index.kept):
        what = "an info that precast did not publish there" if strange_info else "objects that precast did not publish"
        raise DestinationExistsError(
            f"{place.store.url} holds {what}: {', '.join(foreign[:3])}{' …' if len(foreign) > 3 else ''}",
            hint="publish to another place, or give --overwrite: what is there stays, and info is switched to what is "
            "published",
            where=place.store.url,
        )
    if strange_info and isinstance(place.store.store, LocalStore) and place.listed[INFO_KEY].encoding:
        raise DestinationExistsError(
            f"{place.store.url} has an info that is packed as {place.listed[INFO_KEY].encoding}, which readers "
            "could find beside the new one",
            hint="publish to another directory, or remove it",
            where=place.store.url,
        )


def _refuse_fixed(
    place: PublishedPlace,
    items: list[Item],
    known: Mapping[str, PublishedObject],
    source: SourceDataset,
    foreign: tuple[str, ...],
) -> None:
    """Refuse to replace what its info gives no other place, while readers may see it."""
    there = {one.key: one for key, one in known.items() if key in place.listed}
    same = all(item.key not in there or there[item.key].crc32c == item.crc32c for item in items)
    same = same and set(there) == {item.key for item in items}
    if (place.info is not None and not same) or (items and foreign):
        raise DestinationExistsError(
            f"{place.store.url} cannot be replaced while it is read: the info of {source.where} names no directories, "
            "so that the new objects would have to lie where the old ones are",
            hint="publish it to another place, or with the volume that it belongs to",
            where=place.store.url,
        )


def _item(one: SourceObject, unit: Unit, paths: Mapping[str, str], checksums: Mapping[str, int]) -> Item:
    key = _moved(one.key, unit, paths)
    how = attributes(one.kind, encoding=one.file.encoding or "", generation=plain_path(key) != key)
    return Item(one, key, checksums[one.key], how)


def _moved(key: str, unit: Unit, paths: Mapping[str, str]) -> str:
    path = max((path for path in unit.paths if not path or key.startswith(f"{path}/")), key=len)
    return paths[path] + key[len(path) :]


def _holds(manifest: Manifest, unit: Unit, checksums: Mapping[str, int]) -> bool:
    """Tell whether a generation has a unit: all of it, and nothing else in its directories."""
    if not all(path in manifest.paths for path in unit.paths):
        return False
    if any(manifest.linked.get(f"{manifest.paths[one.part]}/{INFO_KEY}") != one.crc32c for one in unit.linked):
        return False
    places = [manifest.paths[path] for path in unit.paths]
    there = {
        one.key: one
        for one in manifest.objects
        if any(not place or one.key.startswith(f"{place}/") for place in places)
    }
    wanted = {_moved(one.key, unit, manifest.paths): one for one in unit.objects}
    return there.keys() == wanted.keys() and all(
        (there[key].size, there[key].crc32c, there[key].headers.encoding)
        == (one.file.size, checksums[one.key], one.file.encoding)
        and there[key].headers.content_type == one.kind.rule.content_type
        for key, one in wanted.items()
    )


def _same_form(item: Item, stat: ObjectStat) -> bool:
    return stat.size == item.source.file.size and stat.encoding in (None, item.source.file.encoding)


def _state(
    item: Item, known: PublishedObject | None, resumed: Mapping[str, PublishedObject], stat: ObjectStat | None
) -> str:
    """Tell whether an object is ``there``, ``absent``, or ``doubtful``: there, but perhaps with other bytes."""
    if stat is None or not _same_form(item, stat):
        return "absent"
    if known is not None and known.with_etag("") == item.published:
        return "there" if stat.etag and stat.etag == known.etag else "doubtful"
    return "there" if item.key in resumed else "absent"


def _compare(source: SourceDataset, place: PublishedPlace, checksums: Mapping[str, int]) -> Comparison:
    manifest = place.manifests.get(place.seen or "")
    before: dict[str, tuple[int, int]] = {}
    if manifest is not None:
        for one in manifest.objects:
            path = next(
                (path for path, where in manifest.paths.items() if not where or one.key.startswith(f"{where}/")), None
            )
            if path is not None:
                key = path + one.key[len(manifest.paths[path]) :]
                before[key] = (one.size, one.crc32c)
    after = {one.key: (one.file.size, checksums[one.key]) for one in source.objects}
    return Comparison(
        new=len(after.keys() - before.keys()),
        changed=sum(key in before and before[key] != value for key, value in after.items()),
        unchanged=sum(before.get(key) == value for key, value in after.items()),
        removed=len(before.keys() - after.keys()),
    )
