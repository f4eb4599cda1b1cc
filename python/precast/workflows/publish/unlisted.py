"""What a dataset on a web server consists of.

Servers send what is asked for by name, and do not say what they have. So the names are made: those of chunks and
shards from the info, those of meshes and skeletons from the ids of objects. What cannot be known is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from precast.dataset.label_table import read_label_table
from precast.errors import FormatError, ObjectNotFoundError, UsageError
from precast.execution.published.transfer import each
from precast.findings import Finding, notice
from precast.geometry import Box, Vec3
from precast.precomputed import legacy_meshes
from precast.precomputed.info import ScaleInfo
from precast.precomputed.meshes import fragments_name, manifest_name
from precast.precomputed.objects import INFO_KEY, LABEL_TABLE_KEY, PROVENANCE_KEY
from precast.precomputed.parts import MULTIRES, PART_TYPES, annotation_indexes
from precast.precomputed.paths import normal_path
from precast.precomputed.segment_properties import SegmentProperties
from precast.precomputed.sharding import ShardingSpec
from precast.storage import HttpStore, ObjectStat
from precast.workflows.publish.scales import MOST_NAMES, chunk_names, shard_names, too_many

__all__ = ["Unlisted"]

MOST_SHARDS = 1 << 16
"""Of meshes, skeletons or annotations: nobody has more, and most of a larger range would be asked for in vain."""


class Unlisted:
    """Finds the objects of one dataset on a web server.

    Parameters
    ----------
    store
        The dataset.
    value
        Its info.
    kinds
        Its directories, and what is in them.
    infos
        The infos of those that have one.
    scales
        The scales, by their directories.
    threads
        Requests at once.
    """

    def __init__(
        self,
        store: HttpStore,
        value: Mapping[str, Any],
        kinds: Mapping[str, str],
        infos: Mapping[str, Mapping[str, Any]],
        scales: Mapping[str, ScaleInfo],
        threads: int,
    ) -> None:
        self.store = store
        self.value = value
        self.kinds = kinds
        self.infos = infos
        self.scales = scales
        self.threads = threads
        self.findings: list[Finding] = []
        self._known: npt.NDArray[np.uint64] | None = None

    def find(self) -> list[ObjectStat]:
        """Ask for everything that may be there, and return what is, sorted by key.

        Raises
        ------
        FormatError
            If something is missing, or what there may be cannot be known.
        UsageError
            If that is too much to ask for.
        AccessDeniedError, StorageError
            If the server does not answer, or refuses; many refuse what they do not have.
        """
        found = {stat.key: stat for stat in self._present([INFO_KEY, PROVENANCE_KEY, LABEL_TABLE_KEY])}
        for path, part in self.kinds.items():
            kind = PART_TYPES.get(part, part) if not path else part
            prefix = f"{path}/" if path else ""
            stats = list(self._part(kind, path, prefix))
            if not stats and kind not in ("scale", "annotations"):
                raise FormatError(
                    f"{self.store.url} does not send one object of {path or kind}",
                    hint="see that the dataset there is whole, or take the part out of its info",
                    where=path,
                )
            found |= {stat.key: stat for stat in stats}
        return [found[key] for key in sorted(found)]

    def _part(self, kind: str, path: str, prefix: str) -> Iterator[ObjectStat]:
        if kind == "scale":
            yield from self._scale(path, prefix)
            return
        yield from self._present([f"{prefix}{INFO_KEY}"])
        info = self.infos.get(path, {})
        if kind == "annotations":
            yield from self._annotations(path, prefix)
        elif kind in ("mesh", "skeletons"):
            if "spatial_index" in info:
                text = "the spatial index of cloud-volume, which viewers do not read, is not copied from a web server"
                self.findings.append(notice("PU113", f"{self.store.url}/{path}", text))
            sharding = info.get("sharding")
            if isinstance(sharding, dict):
                yield from self._shards(path, prefix, ShardingSpec.from_json(sharding))
            elif kind == "skeletons":
                yield from self._present(f"{prefix}{one}" for one in self._ids(path))
            elif info.get("@type") == MULTIRES:
                yield from self._pairs(path, prefix)
            else:
                yield from self._legacy(path, prefix)

    # ---- volumes

    def _scale(self, path: str, prefix: str) -> Iterator[ObjectStat]:
        info = self.scales[path]
        names = shard_names(info) if info.sharding is not None else chunk_names(info)
        yield from self._present(f"{prefix}{name}" for name in names)

    # ---- parts

    def _shards(self, path: str, prefix: str, spec: ShardingSpec) -> Iterator[ObjectStat]:
        if spec.shard_bits > MOST_SHARDS.bit_length() - 1:
            raise UsageError(
                f"{self.store.url}/{path} may have 2^{spec.shard_bits} shards, each of which the server has to be "
                f"asked for; precast asks for {MOST_SHARDS} at most",
                hint="give the address of the bucket that the server sends, which can be listed, or a local copy",
                where=path,
            )
        yield from self._present(f"{prefix}{spec.shard_name(number)}" for number in range(1 << spec.shard_bits))

    def _pairs(self, path: str, prefix: str) -> Iterator[ObjectStat]:
        names = {f"{prefix}{manifest_name(one)}": f"{prefix}{fragments_name(one)}" for one in self._ids(path)}
        manifests = self._present(names)
        yield from manifests
        yield from self._required([names[stat.key] for stat in manifests])

    def _legacy(self, path: str, prefix: str) -> Iterator[ObjectStat]:
        manifests = self._present(f"{prefix}{legacy_meshes.manifest_name(one)}" for one in self._ids(path))
        yield from manifests
        names: dict[str, None] = {}

        def fragments(stat: ObjectStat) -> list[str]:
            return legacy_meshes.parse_manifest(self.store.read(stat.key), f"{self.store.url}/{stat.key}")

        def done(_: ObjectStat, found: list[str]) -> None:
            names.update(dict.fromkeys(f"{prefix}{name}" for name in found))

        each(fragments, manifests, self.threads, done)
        yield from self._required(names)

    def _annotations(self, path: str, prefix: str) -> Iterator[ObjectStat]:
        for place, entry in annotation_indexes(self.value):
            if normal_path(str(entry.get("key"))) != path:
                continue
            sharding = entry.get("sharding")
            if isinstance(sharding, dict):
                yield from self._shards(path, prefix, ShardingSpec.from_json(sharding))
            elif place[0] == "spatial":
                shape = Vec3.of([*entry["grid_shape"], 1, 1][:3]) if len(entry["grid_shape"]) <= 3 else None
                if shape is None or shape.volume > MOST_NAMES:
                    raise too_many(path, int(np.prod(entry["grid_shape"])))
                rank = len(entry["grid_shape"])
                cells = (cell.start for cell in Box(Vec3(0, 0, 0), shape).tiles((1, 1, 1)))
                yield from self._present(f"{prefix}{'_'.join(str(n) for n in cell[:rank])}" for cell in cells)
            else:
                raise self._unknown(path, "annotations with an object each")

    def _ids(self, path: str) -> list[int]:
        """Return the ids of all objects that may have a mesh or a skeleton."""
        if self._known is None:
            table = read_label_table(self.store)
            if table is not None:
                self._known = table["id"]
            else:
                self._known = self._listed_ids(path)
        return [int(one) for one in self._known]

    def _listed_ids(self, path: str) -> npt.NDArray[np.uint64]:
        for other, kind in self.kinds.items():
            if kind == "segment_properties":
                key = f"{other}/{INFO_KEY}"
                ids = SegmentProperties.from_bytes(self.store.read(key), where=f"{self.store.url}/{key}").ids
                text = (
                    f"the {len(ids)} objects in {key} are asked for; meshes or skeletons of others, if there are any, "
                    "are not copied"
                )
                self.findings.append(notice("PU111", f"{self.store.url}/{path}", text))
                return ids
        raise self._unknown(path, "meshes and skeletons with files for each object")

    def _unknown(self, path: str, what: str) -> FormatError:
        return FormatError(
            f"{self.store.url}/{path}: which objects there are cannot be known: web servers do not list {what}, and "
            "there is neither a label table nor segment properties with their ids",
            hint="give the address of the bucket that the server sends (s3://, gs://, az://), or a local copy",
            where=path,
        )

    # ---- asking

    def _present(self, keys: Iterable[str]) -> list[ObjectStat]:
        """Return those objects that are there, in the order of their keys."""
        found: list[ObjectStat] = []

        def look(key: str) -> ObjectStat | None:
            try:
                return self.store.stat(key)
            except ObjectNotFoundError:
                return None

        each(look, keys, self.threads, lambda _, stat: found.append(stat) if stat is not None else None)
        return sorted(found, key=lambda stat: stat.key)

    def _required(self, keys: Iterable[str]) -> list[ObjectStat]:
        wanted = list(keys)
        found = self._present(wanted)
        missing = sorted(set(wanted) - {stat.key for stat in found})
        if missing:
            raise FormatError(
                f"{self.store.url}/{missing[0]} is missing, which belongs to a mesh whose manifest is there"
                + (f"; and {len(missing) - 1} others" if len(missing) > 1 else ""),
                hint="copy or make the meshes there again",
                where=missing[0],
            )
        return found
