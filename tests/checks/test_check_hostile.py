"""Whatever is in a dataset: a check ends with findings, never with an error of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_check_annotations import files as annotation_files
from test_check_annotations import points_info, records
from test_check_skeletons import INFO as SKELETONS
from test_check_skeletons import skeleton

import precast
from precast.checks import check
from precast.storage import Attributes, LocalStore, MemoryStore
from volume_files import SHARDING, shard

pytestmark = pytest.mark.filterwarnings("error")
PLAIN = Attributes()
ODD: list[Any] = [None, True, -1, 0, 1, 2, 63, 2**31, 2**63, 2**70, 10**400, 1.5, 1e308, "", "x", "../..", "10", [], {},
                  [[]], [1, 2, 3], [0, 0, 0], [10**9] * 3, {"a": None}, "raw", "gzip", "png", "jpeg"]  # fmt: skip


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory, make_blobs: Any) -> list[dict[str, bytes]]:
    """A sharded dataset with all parts, and an unsharded one with meshes of the single-resolution format."""
    found = []
    for unsharded in (False, True):
        path = tmp_path_factory.mktemp("hostile") / "v"
        options = precast.ConvertOptions(
            resolution=8, chunk_size=16, unsharded=unsharded, compress="none", encoding="raw" if unsharded else "auto"
        )
        precast.convert(make_blobs((24, 20, 28), count=6), path, options)
        precast.mesh(path, precast.MeshOptions(format="legacy" if unsharded else "multires"))
        store = LocalStore(path)
        values = {stat.key: store.read(stat.key) for stat in store.list()}
        if not unsharded:
            info = json.loads(values["info"]) | {"skeletons": "skeletons"}
            values["info"] = json.dumps(info).encode()
            values["skeletons/info"] = json.dumps(SKELETONS | {"sharding": SHARDING}).encode()
            values["skeletons/1.shard"] = shard([[(4, skeleton()), (5, skeleton())], [(6, skeleton())]])
            values["points/info"] = json.dumps(points_info()).encode()
            values |= {f"points/{name}": data for name, data in annotation_files(records()).items()}
        found.append(values)
    return found


def run(values: dict[str, bytes]) -> None:
    store = MemoryStore()
    for key, data in values.items():
        store.write(key, data, PLAIN)
    report = check(store)
    assert json.loads(json.dumps(report.to_json()))["ok"] == report.ok
    for finding in report.findings:
        assert finding.message
        assert len(finding.message) < 2000


@pytest.mark.parametrize("seed", range(4))
def test_damaged_bytes(datasets: list[dict[str, bytes]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    for values in datasets:
        run(values)
        for _ in range(25):
            changed = dict(values)
            key = sorted(values)[rng.integers(len(values))]
            data = bytearray(values[key])
            way = rng.integers(4)
            if way == 0:
                data = data[: rng.integers(len(data) + 1)]
            elif way == 1:
                data += bytes(rng.integers(0, 256, 9, np.uint8))
            elif way == 2 and data:
                for at in rng.integers(0, len(data), 3):
                    data[at] = rng.integers(256)
            elif data:
                at = int(rng.integers(len(data)))
                data[at : at + 8] = bytes([255] * 8)
            changed[key] = bytes(data)
            run(changed)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in a JSON document."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*path, key))
    return found


@pytest.mark.parametrize("name", ["info", "mesh/info", "skeletons/info", "points/info", "segment_properties/info",
                                  "provenance"])  # fmt: skip
def test_odd_values_in_json(datasets: list[dict[str, bytes]], name: str) -> None:
    rng = np.random.default_rng(len(name))
    values = datasets[0]
    paths = places(json.loads(values[name]))
    for _ in range(60):
        document = json.loads(values[name])
        path = paths[rng.integers(len(paths))]
        parent = document
        for key in path[:-1]:
            parent = parent[key]
        if rng.random() < 0.15:
            del parent[path[-1]]
        else:
            parent[path[-1]] = ODD[rng.integers(len(ODD))]
        run(values | {name: json.dumps(document).encode()})


def test_a_text_is_not_endless(tmp_path: Path) -> None:
    store = MemoryStore()
    store.write("info", json.dumps({"@type": "x" * 10**5, "scales": "y" * 10**5, "type": "z" * 10**5}).encode(), PLAIN)
    for finding in check(store).findings:
        assert len(finding.message) < 500
