"""Each slice is decoded as often as the plan says, each object is written once, and no output is opened."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oracles import check_pyramid
from precast.execution.workdir import WorkDirectory
from precast.geometry import Box, Vec3
from precast.pipelines.convert import ConvertOptions, budget, convert, plan_conversion
from precast.pipelines.convert.plan import make_plan
from precast.pipelines.convert.tasks import BlockTask, Places, ShardTask
from precast.sources import open_source
from precast.storage import LocalStore


class CountingSource:
    """A slice stack in memory whose native block is one slice; counts how often each is decoded."""

    def __init__(self, array: np.ndarray[Any, Any], block: Vec3 | None = None) -> None:
        self._source = open_source(array)
        z, y, x = array.shape
        self.info = type(self._source.info)(
            name="counted", shape=(1, z, y, x), dtype=array.dtype, block=block or Vec3(x, y, 1)
        )
        self.decoded: Counter[int] = Counter()
        self._lock = threading.Lock()

    def read(self, box: Box, out: np.ndarray[Any, Any]) -> None:
        with self._lock:
            self.decoded.update(range(box.start.z, box.stop.z))
        self._source.read(box, out)

    def fingerprint(self) -> Any:
        return self._source.fingerprint()


class CountingStore(LocalStore):
    """Counts writes; a read of an output is a failure."""

    def __init__(self, root: Path, temporary: Path, log: list[str]) -> None:
        super().__init__(root, temporary)
        self.log = log

    def read(self, key: str, start: int | None = None, stop: int | None = None) -> bytes:
        raise AssertionError(f"an output was opened for reading: {key}")

    def write(self, key: str, *args: Any, **more: Any) -> None:
        self.log.append(key)
        super().write(key, *args, **more)

    def write_file(self, key: str, *args: Any, **more: Any) -> None:
        self.log.append(key)
        super().write_file(key, *args, **more)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    log: list[str] = []
    store = property(lambda self: CountingStore(self.out, self.parts, log))
    monkeypatch.setattr(WorkDirectory, "store", store)
    return log


@pytest.mark.parametrize("unsharded", [False, True])
@pytest.mark.parametrize("task_bytes", [2**30, 40_000])
def test_once_each(tmp_path, make_blobs, written, unsharded, task_bytes, monkeypatch) -> None:
    monkeypatch.setattr(budget, "TASK_BYTES", task_bytes)
    labels = make_blobs((50, 40, 45))
    source = CountingSource(labels)
    convert(
        source,
        tmp_path / "v",
        ConvertOptions(resolution="8,8,8", chunk_size=8, unsharded=unsharded, kind="segmentation"),
    )
    assert source.decoded == Counter(dict.fromkeys(range(50), 1))
    assert len(written) == len(set(written))
    assert written[-1] == "info"
    on_disk = {
        str(file.relative_to(tmp_path / "v")).removesuffix(".gz")
        for file in (tmp_path / "v").rglob("*")
        if file.is_file()
    }
    assert on_disk == set(written)


def test_wide_slices_are_decoded_as_often_as_planned(tmp_path, make_blobs) -> None:
    labels = make_blobs((20, 120, 100))
    source = CountingSource(labels)
    options = ConvertOptions(resolution="8,8,8", chunk_size=8, memory=230_000, threads=1, kind="segmentation")
    plan = plan_conversion(source, options)
    assert 1 < plan.decodes <= 3
    assert not plan.spooled
    convert(source, tmp_path / "v", options)
    assert source.decoded == Counter(dict.fromkeys(range(20), plan.decodes))
    check_pyramid(tmp_path / "v", labels, (0, 0, 0), "majority")


@pytest.mark.parametrize("offset", [(0, 0, 0), (1, 3, 5)])
def test_very_wide_slices_are_decoded_once_and_spooled(tmp_path, make_blobs, offset) -> None:
    labels = make_blobs((20, 300, 100))
    source = CountingSource(labels)
    options = ConvertOptions(
        resolution="8,8,8", chunk_size=8, memory=240_000, threads=1, kind="segmentation", offset=offset
    )
    plan = plan_conversion(source, options)
    assert plan.spooled
    convert(source, tmp_path / "v", options)
    assert source.decoded == Counter(dict.fromkeys(range(20), 1))
    check_pyramid(tmp_path / "v", labels, offset, "majority")
    assert not (tmp_path / ".precast").exists()


def test_random_access_sources_are_not_spooled(make_blobs) -> None:
    source = CountingSource(make_blobs((20, 300, 100)), block=Vec3(1, 1, 1))
    options = ConvertOptions(resolution="8,8,8", chunk_size=8, memory=240_000, threads=1, kind="segmentation")
    plan = plan_conversion(source, options)
    assert plan.decodes == 1
    assert not plan.spooled


WORKER = """
import pickle, sys
task, places = pickle.loads(sys.stdin.buffer.read())
task.run(places, lambda done: None)
"""


def test_tasks_pickle_and_run_in_other_processes(tmp_path, make_blobs) -> None:
    """Each task runs in a process of its own, as a cluster would do it; the shards are the same bytes."""
    labels = make_blobs((40, 30, 35))
    np.save(tmp_path / "labels.npy", labels)
    options = ConvertOptions(resolution="8,8,8", chunk_size=8, kind="segmentation", memory=300_000)
    plan = make_plan(open_source(tmp_path / "labels.npy"), options, task_bytes=60_000)
    assert len(plan.stages) == 2
    assert plan.stages[0].count > 1
    places = Places(tmp_path / "spool", tmp_path / "parts", LocalStore(tmp_path / "out"))
    places.spool.mkdir()
    places.parts.mkdir()
    tasks: list[Any] = [BlockTask(plan, s, i) for s, stage in enumerate(plan.stages) for i in range(stage.count)]
    tasks += [ShardTask.of(plan, k, shard) for k in range(len(plan.scales)) for shard in plan.shards(k)]
    for task in tasks:
        subprocess.run([sys.executable, "-c", WORKER], input=pickle.dumps((task, places)), check=True)
    convert(tmp_path / "labels.npy", tmp_path / "v", options)
    shards = sorted(file.relative_to(tmp_path / "out") for file in (tmp_path / "out").rglob("*.shard"))
    assert len(shards) == sum(len(plan.shards(k)) for k in range(len(plan.scales)))
    for name in shards:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "v" / name).read_bytes()
