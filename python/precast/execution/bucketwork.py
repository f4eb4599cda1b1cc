"""Work on a dataset in a store that is far away: scratch and state on this machine, objects sent as they are made.

The state is in the user's cache directory (``PRECAST_CACHE``, else ``~/.cache/precast``), or in a directory of its own
below ``--scratch``::

    ledger.json   what is being made: tool, source, options, the generation; and how it was planned
    lock          held while a process works here
    spool/        scratch files of finished and running tasks
    parts/        half-written shards
    outbox/       shards that wait to be sent
    sent.jsonl    what was written
    tops/         the files at the top of the dataset, which are sent last

In the store the work is a generation like those of ``publish``: where nothing is yet it has plain paths, else its
objects lie under ``gen-<number>/``; ``.published/`` says that it was begun; what is there is verified when everything
is sent; and readers see it when ``info`` is switched, which is one write.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from precast.dataset.objects import attributes
from precast.errors import DestinationExistsError, StorageError
from precast.execution.progress import NoProgress, Progress
from precast.execution.published.place import (
    SIDES,
    PublishedPlace,
    headers_of,
    read_or_none,
    write_index,
    write_manifest,
)
from precast.execution.published.switching import (
    faults,
    finish_removal,
    header_faults,
    keep_foreign,
    not_as_sent,
    switch,
    with_etags,
)
from precast.execution.published.transfer import Sender, checksum, stored_checksum
from precast.execution.sending import Placed, SendingStore, sum_of
from precast.execution.workdir import PartsOfDataset, StateDirectory
from precast.precomputed.generations import generation_path
from precast.precomputed.json_text import set_text_strings
from precast.precomputed.objects import INFO_KEY, KINDS_BY_NAME, LABEL_TABLE_KEY, ObjectKind
from precast.precomputed.parts import properties_link, references
from precast.precomputed.publication import Manifest, PublishedObject, top_key
from precast.precomputed.strict_json import parse_object
from precast.storage import CloudStore, Store
from precast.storage.below import Below

__all__ = ["BucketWork", "cache_directory", "state_name"]

THREADS = 16


def cache_directory() -> Path:
    """Return where state is kept that belongs to no directory of the user's.

    That is ``PRECAST_CACHE``, or the place that the operating system has for such things.
    """
    told = os.environ.get("PRECAST_CACHE")
    if told:
        return Path(told)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "precast"


def state_name(destination: Store, work: str = "") -> str:
    """Return what the state of work on a store is called: to be told by people, and no other store's."""
    endpoint = destination.endpoint if isinstance(destination, CloudStore) else ""
    mark = hashlib.sha256("\n".join((destination.url, endpoint, work)).encode()).hexdigest()[:12]
    return f"{destination.url.rpartition('/')[2] or 'dataset'}{work and '.'}{work}-{mark}"


class BucketWork(StateDirectory):
    """Work on a dataset in a store; use as a context manager, which holds the lock.

    Parameters
    ----------
    destination
        Where the dataset is, or will be.
    scratch
        Where state and scratch files go instead of the cache directory.
    parts
        The parts of the dataset that are made, if it is not the whole.
    progress
        Told what is being sent at the end.
    """

    def __init__(
        self,
        destination: Store,
        scratch: str | None = None,
        *,
        parts: PartsOfDataset | None = None,
        progress: Progress | None = None,
    ) -> None:
        folder = cache_directory() / "work" if scratch is None else Path(scratch).absolute()
        path = folder / f"precast-{state_name(destination, '' if parts is None else parts.work)}"
        super().__init__(path, destination.url)
        self.destination = destination
        self.spool = path / "spool"
        self.parts = path / "parts"
        self._root = Below(destination, "")
        self._parts = parts
        self._progress = progress or NoProgress()
        self._generation = ""
        self._paths: dict[str, str] = {}
        self._store: SendingStore | None = None

    def __exit__(self, *unused: object) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
        super().__exit__(*unused)

    @property
    def store(self) -> SendingStore:
        """The store of the growing dataset."""
        assert self._store is not None  # begin() makes it
        return self._store

    # ---- beginning

    def begin(self, ledger: Mapping[str, Any], *, overwrite: bool) -> dict[str, Any] | None:
        """See :meth:`StateDirectory.begin`."""
        place = PublishedPlace.read(self._root)
        found = self._read_ledger()
        same = found is not None and found.get("identity") == ledger["identity"]
        if found is not None and self._finish(place, found):
            place, found, same = PublishedPlace.read(self._root), None, False
        if found is not None and not same and not overwrite:
            raise self._begun_with_something_else(found.get("identity", {}), ledger["identity"])
        if found is not None and same and self._goes_on(place, found):
            self._make()
            self._open(found)
            return found
        self._check(place, overwrite=overwrite)
        self._clear()
        generation = self._number(place, ledger["identity"])
        paths = self._choose_paths(place, generation, [str(one) for one in ledger["directories"]])
        entry = {**ledger, "generation": generation, "paths": paths}
        self._begin_generation(place, generation, paths)
        self._make()
        self._write(self.path / "ledger.json", json.dumps(entry, indent=1).encode())
        self._open(entry)
        return None

    def _number(self, place: PublishedPlace, identity: Mapping[str, Any]) -> str:
        """Return the number of the generation: the same for the same work after the same state."""
        before = "" if place.info is None else place.seen or f"{checksum(place.info):08x}"
        number = hashlib.sha256(json.dumps([identity, before], sort_keys=True).encode()).hexdigest()
        while number[:12] in place.index.kept:  # after a roll-back
            number = hashlib.sha256(number.encode()).hexdigest()
        return number[:12]

    def _choose_paths(self, place: PublishedPlace, generation: str, directories: list[str]) -> dict[str, str]:
        """Return where the directories will be: under their own names where nothing else ever was."""
        begun = place.manifests.get(generation)
        if begun is not None and not begun.listed and begun.paths.keys() == set(directories):
            return dict(begun.paths)
        fresh = self._parts is not None or (place.info is None and not place.index.kept)
        plain = fresh and place.index.next in (None, place.seen) and not any(map(place.listed_in, directories))
        return {one: one if plain else generation_path(generation, one) for one in directories}

    def _goes_on(self, place: PublishedPlace, found: Mapping[str, Any]) -> bool:
        """Whether what was begun is still what is being written there."""
        return place.index.next == found.get("generation") and isinstance(found.get("paths"), dict)

    def _open(self, entry: Mapping[str, Any]) -> None:
        self._generation, self._paths = str(entry["generation"]), dict(entry["paths"])
        paths = self._paths

        def where(key: str) -> str:
            path = max((one for one in paths if key.startswith(f"{one}/")), key=len, default=None)
            if path is None:
                raise StorageError(
                    f"{self.destination.url}/{key} is in none of the directories that are made", where=key
                )
            return paths[path] + key[len(path) :]

        self._store = SendingStore(self.destination, self.path, where)

    def _check(self, place: PublishedPlace, *, overwrite: bool) -> None:
        url = place.store.url
        if self._parts is not None:
            if place.info is None:
                raise DestinationExistsError(f"{url} is not a precomputed dataset (no info)", where=url)
            return
        if place.info is not None:
            if not overwrite:
                raise DestinationExistsError(
                    f"{url} exists already",
                    hint="choose another destination, or give --overwrite: "
                    "the old dataset stays whole until the new one is complete",
                    where=url,
                )
            return
        if place.foreign:
            raise DestinationExistsError(
                f"{url} is not a precomputed dataset (no info), and holds {place.foreign[0]}"
                + (f" and {len(place.foreign) - 1} more objects" if len(place.foreign) > 1 else ""),
                hint="choose another destination, or remove what is there",
                where=url,
            )
        unfinished = place.index.next
        if (
            unfinished is not None
            and unfinished in place.manifests
            and place.manifests[unfinished].listed
            and not overwrite
        ):
            raise DestinationExistsError(
                f"a publication to {url} is not finished",
                hint="run it again to its end, or give --overwrite to drop it",
                where=url,
            )

    def _begin_generation(self, place: PublishedPlace, generation: str, paths: Mapping[str, str]) -> None:
        """Write down that a generation is begun, and drop one that was begun before and never seen."""
        index = place.index
        given_up = index.next if index.next not in (None, generation, place.seen, *index.kept) else None
        removing = tuple(dict.fromkeys((*index.removing, *([given_up] if given_up else []))))
        manifest = Manifest(
            generation=generation, complete=False, paths=paths, top={}, linked={}, objects=(), listed=False
        )
        write_manifest(self._root, manifest)
        index = replace(index, next=generation, removing=removing)
        write_index(self._root, index)
        with Sender(self.destination, THREADS, self._progress) as sender:
            finish_removal(self._root, index, sender)

    # ---- the end

    def _finish(self, place: PublishedPlace, found: Mapping[str, Any]) -> bool:
        """Bring work to its end of which only the switch was left; whether there was any."""
        generation = found.get("generation")
        if not isinstance(generation, str):
            return False
        manifest = place.manifests.get(generation)
        if manifest is None or not manifest.complete or generation not in (place.index.next, place.index.current):
            return False
        if place.index.next == generation:
            with Sender(self.destination, THREADS, self._progress) as sender:
                finish_removal(self._root, switch(place, generation, sender), sender)
        self._clear()
        return True

    def commit(self) -> None:
        """Send what is left, verify everything, let readers see it, and remove the state.

        Raises
        ------
        StorageError
            If what is in the store is not what was sent; readers see what they saw before.
        """
        store = self.store
        self._progress.phase("sending", store.waiting_bytes)
        store.drain(self._progress.advance)
        place = PublishedPlace.read(self._root)
        if place.index.next != self._generation:
            raise DestinationExistsError(
                f"{self.destination.url} was written by another process meanwhile",
                hint="run the same command again",
                where=self.destination.url,
            )
        if self._parts is not None:
            for name in KINDS_BY_NAME:  # of a commit that was cut, from which on the dataset may have changed
                (store.tops / name).unlink(missing_ok=True)
            self._parts.last(store)
        with Sender(self.destination, THREADS, self._progress) as sender:
            self._commit(place, sender)
        self.remove()

    def _commit(self, place: PublishedPlace, sender: Sender) -> None:
        written = dict(self.store.written)
        objects = {key: _published(placed) for key, placed in written.items()}
        self._verify([*objects.values()], place)
        seen = place.manifests.get(place.seen or "")
        made = {name: path for name, path in self._paths.items() if any(key.startswith(f"{name}/") for key in written)}
        paths: Mapping[str, str] = made
        kept: tuple[PublishedObject, ...] = ()
        infos: dict[str, tuple[bytes, int]] = {}
        if self._parts is not None:
            infos, moved = self._relinked(place, seen, made)
            if seen is not None:
                gone = tuple(f"{path}/" for path in moved)
                kept = tuple(one for one in seen.objects if not one.key.startswith(gone) and one.key not in infos)
                paths = {**seen.paths, **made}
        for name in made:
            key = f"{name}/{INFO_KEY}"
            if key in written:
                data = self._root.read(written[key].key)
                if _names_another(data, name, f"{self._root.url}/{key}"):
                    infos[objects.pop(key).key] = (data, checksum(data))
        for key, (data, _) in infos.items():
            self._root.write(top_key(self._generation, key), data, attributes(ObjectKind.MESH_INFO))
        top = {key: (len(data), checksum(data)) for key, (data, _) in infos.items()}
        linked = {key: crc for key, (_, crc) in infos.items()}
        top |= self._send_tops(place, seen, made, sender)
        manifest = Manifest(
            generation=self._generation,
            complete=False,
            paths=paths,
            top=top,
            linked=linked,
            objects=(*kept, *objects.values()),
        )
        index = place.index
        if place.info is not None and place.seen is None:
            index = keep_foreign(place, index, sender)
        manifest = with_etags(manifest, place.listed)
        write_manifest(self._root, manifest)
        current = place.seen or index.current
        index = replace(
            index,
            current=current,
            kept=tuple(dict.fromkeys((*index.kept, *([place.seen] if place.seen else [])))),
            previous=index.previous if place.seen in (None, index.current) else index.current,
        )
        write_index(self._root, index)
        ready = replace(place, index=index, manifests={**place.manifests, self._generation: manifest})
        finish_removal(self._root, switch(ready, self._generation, sender), sender)

    def _verify(self, objects: list[PublishedObject], place: PublishedPlace) -> None:
        wrong = faults(objects, place.listed)
        wrong += header_faults(self._root, [one for one in objects if one.key in place.listed], THREADS)
        if wrong:
            # what was made of them is gone: the next one begins anew
            (self.path / "ledger.json").unlink(missing_ok=True)
            raise not_as_sent(place.store, wrong)

    def _relinked(
        self, place: PublishedPlace, seen: Manifest | None, made: Mapping[str, str]
    ) -> tuple[dict[str, tuple[bytes, int]], dict[str, str]]:
        """Return the infos of parts that stay and name others, as they will be, and where parts have moved.

        Of each info also the CRC-32C that it has in a dataset whose parts have plain paths.
        """
        assert place.info is not None  # else there are no parts to make
        where = f"{self._root.url}/{INFO_KEY}"
        value = parse_object(place.info, where)
        named = {one.kind: one.target for one in references(value) if one.kind != "scale" and one.target}
        before = dict(named) if seen is None else {**named, **seen.paths}
        moved = {before[name]: path for name, path in made.items() if name in before}
        there = [f"{path}/{INFO_KEY}" for path in named.values() if path not in moved]
        infos: dict[str, tuple[bytes, int]] = {}
        for key in dict.fromkeys((*(seen.linked if seen else ()), *there)):
            part = key.removesuffix(f"/{INFO_KEY}")
            data = None if part in moved else read_or_none(self._root, key)
            if data is None:
                continue
            link = next(properties_link(part, parse_object(data, f"{self._root.url}/{key}")), None)
            crc = seen.linked.get(key) if seen else None
            if link is not None and moved.get(link.target, link.target) != link.target:
                change = {link.place: posixpath.relpath(moved[link.target], part)}
                infos[key] = (set_text_strings(data.decode(), change, where=key).encode(), crc or checksum(data))
            elif crc is not None:
                infos[key] = (data, crc)
        return infos, moved

    def _send_tops(
        self, place: PublishedPlace, seen: Manifest | None, made: Mapping[str, str], sender: Sender
    ) -> dict[str, tuple[int, int]]:
        """Bring the files at the top beside the objects, to be switched to."""
        top: dict[str, tuple[int, int]] = {}
        for name in (*SIDES, INFO_KEY):
            key, how, path = top_key(self._generation, name), attributes(KINDS_BY_NAME[name]), self.store.tops / name
            if name == LABEL_TABLE_KEY and path.exists():  # may be large, and is made again by who goes on
                top[name] = sum_of(path)
                self._root.write_file(key, path, how)
            elif name == INFO_KEY or path.exists():
                data = self.store.read(name)
                if name == INFO_KEY:
                    data = self._placed_info(data, made)
                self._root.write(key, data, how)
                top[name] = (len(data), checksum(data))
            elif self._parts is not None and name in place.listed:
                stat = self._root.stat(name)
                if seen is not None and name in seen.top:
                    size, crc = seen.top[name]
                elif stat.encoding:
                    data = self._root.read(name)
                    size, crc = len(data), checksum(data)
                else:
                    size, crc = stat.size, stored_checksum(self._root, name, stat.size, whole=False)
                sender.copy(self._root, name, key, size, how)
                top[name] = (size, crc)
        return top

    def _placed_info(self, data: bytes, made: Mapping[str, str]) -> bytes:
        """Return the info with the directories where the parts are that were made."""
        where = f"{self.destination.url}/{INFO_KEY}"
        value = parse_object(data, where)
        moved = {
            one.place: made[one.target] for one in references(value) if made.get(one.target, one.target) != one.target
        }
        return set_text_strings(data.decode(), moved, where=where).encode() if moved else data

    def _clear(self) -> None:
        """Remove everything but the lock; the ledger goes last, so that a kill leaves a known state."""
        for name in ("spool", "parts", "outbox", "tops"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in ("sent.jsonl", "ledger.json"):
            (self.path / name).unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the state."""
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):
            self.path.parent.rmdir()


def _names_another(data: bytes, part: str, where: str) -> bool:
    """Whether the info of a part names a part that is not inside it."""
    return any(not link.target.startswith(f"{part}/") for link in properties_link(part, parse_object(data, where)))


def _published(placed: Placed) -> PublishedObject:
    return PublishedObject(placed.key, placed.size, placed.crc32c, headers_of(placed.attributes))
