"""Datasets to publish, and what is at a place afterwards; for all tests of publishing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import precast
from precast.storage import Attributes, LocalStore, MemoryStore
from precast.storage.base import StoredBytes
from precast.workflows.publish import PublishOptions
from volume_files import labels

ONE = PublishOptions(threads=1)


def make(root: Path, seed: int = 1, **options: Any) -> Path:
    """Make labels of two scales with properties."""
    values = {"resolution": "10,10,20", "chunk_size": "16", "overwrite": True, **options}
    precast.convert(labels(seed), root, precast.ConvertOptions(**values))
    precast.properties(root, options=precast.PropertiesOptions())
    return root


def make_versions(root: Path) -> dict[str, Path]:
    """Make a dataset, another one of the same shape, and the first with other properties only."""
    first, second, third = make(root / "a", 1), make(root / "b", 2, unsharded=True), root / "c"
    shutil.copytree(first, third)
    path = third / "segment_properties" / "info"
    value = json.loads(path.read_text())
    value["inline"]["properties"][0]["id"] = "renamed"
    path.write_text(json.dumps(value))
    return {"a": first, "b": second, "c": third}


def write_list(root: Path, *names: str) -> None:
    """List datasets in a collection."""
    value = {
        "@type": "precast_collection",
        "schema": 1,
        "layers": [{"name": name, "kind": "segmentation"} for name in names],
    }
    (root / "precast.json").write_text(json.dumps(value))


def make_collection(root: Path, made: dict[str, Path]) -> Path:
    """Make a collection of two datasets."""
    shutil.copytree(made["a"], root / "one")
    shutil.copytree(made["b"], root / "two")
    write_list(root, "one", "two")
    return root


def contents(store: Any) -> dict[str, bytes]:
    """Return all that is at a place, unpacked, but what the publication itself keeps."""
    return {stat.key: store.read(stat.key) for stat in store.list() if not stat.key.startswith(".")}


def into(store: Any, folder: Path) -> Any:
    """Copy a dataset into a store in memory, file by file."""
    for stat in LocalStore(folder).list():
        found = LocalStore(folder).read_stored(stat.key)
        store.write(stat.key, found.data, Attributes(encoding=found.encoding))
    return store


class Changing(MemoryStore):
    """Writes zeros in place of an object when it was read ``times`` times."""

    key = ""
    times = 1

    def read_stored(self, key: str, start: int | None = None, stop: int | None = None) -> StoredBytes:
        found = super().read_stored(key, start, stop)
        if key == self.key:
            self.times -= 1
            if self.times == 0:
                data, how = self._objects[key]
                self._objects[key] = (bytes(len(data)), how)
        return found
