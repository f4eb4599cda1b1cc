"""Meshing can be stopped at any moment, goes on where it was, and one fault costs only what it touches."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import precast
from mesh_truth import tree, write_labels
from precast import kernels
from precast.checks import check_meshes, check_properties
from precast.cli.main import run
from precast.errors import DestinationExistsError, StorageError
from precast.execution.workdir import PartsOfDataset, WorkDirectory
from precast.pipelines.mesh import plan, tasks
from precast.pipelines.mesh import run as pipeline

SCRIPT = """
import sys
import precast
from precast.pipelines.mesh import plan, run
plan.BLOCK_VOXELS = 32
run.BATCH_OBJECTS = 3
options = dict(max_error="1nm", threads=2)
options.update(eval(sys.argv[2]))
print("ready", flush=True)
precast.mesh(sys.argv[1], precast.MeshOptions(**options))
"""


@pytest.fixture(autouse=True)
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many tasks even of a small volume; the processes that are started do the same."""
    monkeypatch.setattr(plan, "BLOCK_VOXELS", 32)
    monkeypatch.setattr(pipeline, "BATCH_OBJECTS", 3)


@pytest.fixture(scope="module")
def unmeshed(tmp_path_factory: pytest.TempPathFactory, make_blobs: Any) -> Path:
    folder = tmp_path_factory.mktemp("safety") / "v"
    write_labels(folder, make_blobs((60, 50, 55)), chunk_size=16)
    return folder


@pytest.fixture
def dataset(unmeshed: Path, tmp_path: Path) -> Path:
    shutil.copytree(unmeshed, tmp_path / "out" / "v")
    return tmp_path / "out" / "v"


OPTIONS = precast.MeshOptions(max_error="1nm", threads=2)


def start(dataset: Path, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(dataset), repr(options)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def kill_when(dataset: Path, pattern: str, **options: Any) -> bool:
    """Start meshing and kill it as soon as a scratch file is there; returns whether it was still running."""
    process = start(dataset, **options)
    work = dataset.parent / ".precast" / f"{dataset.name}.mesh"
    while not list(work.glob(pattern)) and process.poll() is None:
        time.sleep(0.0005)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


# ---- bytes


def test_the_tree_is_the_same_whatever_the_machine(unmeshed: Path, tmp_path: Path) -> None:
    trees = []
    for number, options in enumerate(
        [{"threads": 1}, {"threads": 4}, {"threads": 2, "memory": "3GB"}, {"threads": 3, "scratch": str(tmp_path)}]
    ):
        shutil.copytree(unmeshed, tmp_path / str(number) / "v")
        precast.mesh(
            tmp_path / str(number) / "v", precast.MeshOptions(max_error="1nm", **cast("dict[str, Any]", options))
        )
        trees.append(tree(tmp_path / str(number) / "v"))
    assert all(found == trees[0] for found in trees[1:])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "3"]


def test_the_order_of_blocks_and_objects_does_not_matter(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(dataset, tmp_path / "other" / "v")
    precast.mesh(dataset, OPTIONS)
    real = pipeline._Run._left

    def shuffled(self: Any, found: Any, name: Any) -> Any:
        left = real(self, found, name)
        random.Random(3).shuffle(left)
        return left

    monkeypatch.setattr(pipeline._Run, "_left", shuffled)
    monkeypatch.setattr(pipeline, "BATCH_OBJECTS", 2)
    precast.mesh(tmp_path / "other" / "v", OPTIONS)
    assert tree(dataset) == tree(tmp_path / "other" / "v")


# ---- kills


@pytest.mark.parametrize("options", [{}, {"unsharded": True}, {"format": "legacy"}], ids=["sharded", "files", "legacy"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_killed_at_random_moments_and_run_again(
    dataset: Path, unmeshed: Path, tmp_path: Path, options: dict[str, Any], overwrite: bool
) -> None:
    """Whatever the moment, the next run ends with the same tree, and the old meshes are whole until then."""
    shutil.copytree(unmeshed, tmp_path / "undisturbed" / "v")
    undisturbed = start(tmp_path / "undisturbed" / "v", **options)
    begun = time.perf_counter()
    assert undisturbed.wait() == 0
    whole = time.perf_counter() - begun
    if overwrite:
        precast.mesh(dataset, precast.MeshOptions(max_error="20nm"))
        before = tree(dataset)
        precast.mesh(tmp_path / "undisturbed" / "v", precast.MeshOptions(max_error="20nm", overwrite=True))
        again = precast.MeshOptions(max_error="1nm", overwrite=True, **options)
        precast.mesh(tmp_path / "undisturbed" / "v", again)
    else:
        before = tree(dataset)
    expected = tree(tmp_path / "undisturbed" / "v")
    moments = random.Random(str(options))
    killed = 0
    for share in (0.4, 0.7, 1):
        process = start(dataset, overwrite=overwrite, **options)
        begun = time.perf_counter()
        with suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0, share * whole))
            whole = time.perf_counter() - begun
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        found = tree(dataset)
        if found not in (before, expected):  # killed between putting into place and linking
            assert {k: v for k, v in found.items() if k.startswith("8_")} == {
                k: v for k, v in before.items() if k.startswith("8_")
            }
        if found == expected:
            break
    if tree(dataset) != expected:
        with suppress(DestinationExistsError):
            made = precast.MeshOptions(max_error="1nm", threads=2, overwrite=overwrite, **options)
            precast.mesh(dataset, made)
    assert tree(dataset) == expected
    assert killed
    shutil.rmtree(dataset.parent / ".precast", ignore_errors=True)


def test_stopped_after_the_shards(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shards are there, the properties are not: the next run makes what is missing."""
    shutil.copytree(dataset, tmp_path / "undisturbed" / "v")
    precast.mesh(tmp_path / "undisturbed" / "v", OPTIONS)
    with monkeypatch.context() as patch:

        def full(*_: Any, **__: Any) -> Any:
            raise StorageError("no room")

        patch.setattr(pipeline, "write_properties", full)
        with pytest.raises(StorageError):
            precast.mesh(dataset, OPTIONS)
    assert list((dataset.parent / ".precast" / "v.mesh" / "out" / "mesh").glob("*.shard"))
    precast.mesh(dataset, OPTIONS)
    assert tree(dataset) == tree(tmp_path / "undisturbed" / "v")


@pytest.mark.parametrize("pattern", ["spool/block-*.done", "spool/objects-*.done"])
def test_a_killed_run_is_resumed(dataset: Path, unmeshed: Path, tmp_path: Path, pattern: str) -> None:
    shutil.copytree(unmeshed, tmp_path / "undisturbed" / "v")
    precast.mesh(tmp_path / "undisturbed" / "v", OPTIONS)
    assert kill_when(dataset, pattern)
    work = dataset.parent / ".precast" / "v.mesh"
    done = len(list(work.glob("spool/*.done")))
    summary = precast.mesh(dataset, precast.MeshOptions(max_error="1nm", threads=1))  # other threads: the same work
    assert summary.resumed_tasks >= done > 0
    assert tree(dataset) == tree(tmp_path / "undisturbed" / "v")
    assert not (dataset.parent / ".precast").exists()


KILLED = """
import os, signal, sys
import precast
from precast.execution import workdir
from precast.pipelines.mesh import plan, run
plan.BLOCK_VOXELS = 32
run.BATCH_OBJECTS = 3
if sys.argv[2] == "link":
    run.link = lambda plan, store: os.kill(os.getpid(), signal.SIGKILL)
else:
    real = workdir.Path.rename
    def rename(self, target):
        result = real(self, target)
        if sys.argv[2] == target.name:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    workdir.Path.rename = rename
precast.mesh(sys.argv[1], precast.MeshOptions(max_error="1nm", overwrite=True))
"""


@pytest.mark.parametrize(
    ("moment", "again"), [("mesh", "same"), ("segment_properties", "other"), ("link", "same"), ("link", "other")]
)
def test_killed_while_it_is_put_into_place(dataset: Path, tmp_path: Path, moment: str, again: str) -> None:
    precast.mesh(dataset, precast.MeshOptions(max_error="20nm"))
    shutil.copytree(dataset, tmp_path / "undisturbed" / "v")
    wanted = precast.MeshOptions(max_error="1nm" if again == "same" else "2nm", overwrite=True)
    precast.mesh(tmp_path / "undisturbed" / "v", wanted)
    done = subprocess.run([sys.executable, "-c", KILLED, str(dataset), moment], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    precast.mesh(dataset, wanted)
    assert tree(dataset) == tree(tmp_path / "undisturbed" / "v")
    assert not (dataset.parent / ".precast").exists()


def test_unfinished_work_with_other_options_is_refused(dataset: Path) -> None:
    assert kill_when(dataset, "spool/block-*.done")
    with pytest.raises(DestinationExistsError, match="max_error") as caught:
        precast.mesh(dataset, precast.MeshOptions(max_error="3nm"))
    assert "--overwrite" in caught.value.hint
    precast.mesh(dataset, precast.MeshOptions(max_error="3nm", overwrite=True))
    assert check_meshes(precast.open(dataset)) == []
    assert not (dataset.parent / ".precast").exists()


def test_a_changed_file_of_ids_is_other_work(dataset: Path, tmp_path: Path) -> None:
    ids = np.load(dataset / "label_table.npy")["id"].tolist()
    (tmp_path / "ids.txt").write_text("\n".join(map(str, ids)))
    assert kill_when(dataset, "spool/block-*.done", include_file=str(tmp_path / "ids.txt"))
    (tmp_path / "ids.txt").write_text("\n".join(map(str, ids[1:])))
    with pytest.raises(DestinationExistsError, match="not finished"):
        precast.mesh(dataset, precast.MeshOptions(max_error="1nm", include_file=str(tmp_path / "ids.txt")))


def test_two_processes_do_not_mesh_one_dataset(dataset: Path) -> None:
    parts = PartsOfDataset(work="mesh", names=("mesh",), merged=(), last=lambda _: None)
    with (
        WorkDirectory(dataset, parts=parts),
        pytest.raises(DestinationExistsError, match="another precast process"),
    ):
        precast.mesh(dataset, OPTIONS)


def test_ctrl_c(dataset: Path, tmp_path: Path, make_blobs: Any) -> None:
    write_labels(tmp_path / "big", np.tile(make_blobs((64, 64, 64)), (1, 1, 5)), chunk_size=64)
    command = [sys.executable, "-m", "precast.cli.main", "mesh", str(tmp_path / "big"), "--threads", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / ".precast").glob("big.mesh/spool/block-*.done")) and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130, error
    assert "run the same command again" in error
    assert "Traceback" not in error
    assert not (tmp_path / "big" / "mesh").exists()
    assert subprocess.run([*command, "-q"], check=False).returncode == 0
    assert not (tmp_path / ".precast").exists()


# ---- disks


@pytest.mark.parametrize("where", ["block", "objects", "shard"])
def test_a_full_disk_then_space(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    shutil.copytree(dataset, tmp_path / "undisturbed" / "v")
    precast.mesh(tmp_path / "undisturbed" / "v", OPTIONS)
    real = Path.open

    class Full:
        """A file on a disk that is full after some bytes."""

        def __init__(self, file: Any) -> None:
            self.file, self.room = file, 300

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: Any) -> None:
            self.file.close()

        def write(self, data: Any) -> int:
            self.room -= len(data)
            if self.room < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return int(self.file.write(data))

        def writelines(self, lines: Any) -> None:
            for line in lines:
                self.write(line)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    def limited(self: Path, mode: str = "r", *args: Any, **more: Any) -> Any:
        file = real(self, mode, *args, **more)
        mine = {"block": "block-", "objects": "objects-", "shard": "mesh-"}[where]
        return Full(file) if mode == "wb" and self.name.startswith(mine) else file

    before = tree(dataset)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", limited)
        with pytest.raises(StorageError, match="No space left") as caught:
            precast.mesh(dataset, OPTIONS)
    assert "run the same command again" in caught.value.hint
    assert tree(dataset) == before
    precast.mesh(dataset, OPTIONS)
    assert tree(dataset) == tree(tmp_path / "undisturbed" / "v")


@pytest.mark.skipif(not shutil.which("mount") or os.geteuid() != 0, reason="needs root to mount a small file system")
def test_a_really_full_disk(dataset: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(small)], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        before = tree(dataset)
        with pytest.raises(StorageError, match="No space left") as caught:
            precast.mesh(dataset, precast.MeshOptions(max_error="0.5nm", scratch=str(small)))
        assert "free some space" in caught.value.hint
        assert tree(dataset) == before
    finally:
        subprocess.run(["umount", str(small)], check=True)


# ---- one fault costs what it touches


def test_one_damaged_chunk(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_labels(
        tmp_path / "w", precast.open(dataset).scales[0][:, :, :], chunk_size=16, unsharded=True, compress="none"
    )
    rows = np.load(tmp_path / "w" / "label_table.npy")
    (tmp_path / "w" / "8_8_8" / "16-32_16-32_16-32").write_bytes(b"damaged")
    # the block that holds the chunk: what reaches into it, or near it, may be missing a part
    near = rows[(rows["start"] < 34).all(axis=1)]["id"].tolist()
    code = run(["mesh", str(tmp_path / "w"), "--max-error", "1nm", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert code == 1
    failures = document["result"]["failures"]
    failed = {int(f["segment"]) for f in failures if f["segment"] is not None}
    inside = np.unique(volume_without_damage(dataset)[15:32, 15:32, 15:32])
    assert set(inside.tolist()) - {0} <= failed <= set(near)
    assert any(f["segment"] is None and "voxels" in f["where"] for f in failures)
    meshes = precast.open(tmp_path / "w").meshes
    assert set(meshes) == set(rows["id"].tolist()) - failed
    assert len(meshes) > 0
    assert check_meshes(precast.open(tmp_path / "w")) == []
    assert check_properties(precast.open(tmp_path / "w")) == []
    assert not (tmp_path / ".precast").exists()


def volume_without_damage(dataset: Path) -> Any:
    return precast.open(dataset).scales[0][:, :, :]


def test_a_damaged_shard(dataset: Path) -> None:
    shard = max((dataset / "8_8_8").glob("*.shard"), key=lambda path: path.stat().st_size)
    data = bytearray(shard.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    shard.write_bytes(data)
    before = tree(dataset)
    summary = precast.mesh(dataset, OPTIONS)
    assert summary.failures
    rows = set(np.load(dataset / "label_table.npy")["id"].tolist())
    failed = {failure.segment for failure in summary.failures} - {None}
    assert set(precast.open(dataset).meshes) == rows - failed
    assert before.items() - tree(dataset).items() <= {(k, before[k]) for k in ("info", "provenance")}


@pytest.mark.parametrize("kernel", ["draco_encode", "cut_mesh", "simplify_mesh", "weld_meshes"])
def test_a_fault_in_one_object(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kernel: str
) -> None:
    ids = np.load(dataset / "label_table.npy")["id"].tolist()
    victim = ids[2]
    working: list[int] = []
    real_object, real = tasks.ObjectTask._object, getattr(kernels, kernel)

    def mine(self: Any, segment: int, *args: Any) -> Any:
        working.append(segment)
        return real_object(self, segment, *args)

    def failing(*args: Any, **more: Any) -> Any:
        if working[-1] == victim:
            raise precast.errors.FormatError("a fault that was put here")
        return real(*args, **more)

    monkeypatch.setattr(tasks.ObjectTask, "_object", mine)
    monkeypatch.setattr(kernels, kernel, failing)
    assert run(["mesh", str(dataset), "--threads", "1"]) == 1
    error = capsys.readouterr().err
    assert f"error: object {victim}: a fault that was put here" in error
    assert "Traceback" not in error
    volume = precast.open(dataset)
    assert list(volume.meshes) == sorted(set(ids) - {victim})
    assert check_meshes(volume) == []
    assert check_properties(volume) == []
    assert not (dataset.parent / ".precast").exists()


def test_scratch_goes_after_success_and_after_failure(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "mine").write_text("...")
    precast.mesh(dataset, precast.MeshOptions(scratch=str(scratch)))
    assert [path.name for path in scratch.iterdir()] == ["mine"]
    before = tree(dataset)

    def broken(*_: Any, **__: Any) -> Any:
        raise precast.errors.FormatError("nothing works")

    monkeypatch.setattr(kernels, "weld_meshes", broken)
    summary = precast.mesh(dataset, precast.MeshOptions(scratch=str(scratch), overwrite=True))
    assert len(summary.failures) == len(np.load(dataset / "label_table.npy"))
    assert summary.objects == 0
    assert [path.name for path in scratch.iterdir()] == ["mine"]
    assert not (dataset.parent / ".precast").exists()
    # not one mesh could be made: the former ones are better than none
    assert tree(dataset) == before


def test_an_interrupted_overwrite_keeps_the_old_meshes(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    precast.mesh(dataset, precast.MeshOptions(max_error="20nm"))
    before = tree(dataset)
    with monkeypatch.context() as patch:

        def full(*_: Any, **__: Any) -> Any:
            raise StorageError("no room")

        patch.setattr(tasks.ShardTask, "run", full)
        with pytest.raises(StorageError):
            precast.mesh(dataset, precast.MeshOptions(max_error="1nm", overwrite=True))
    assert tree(dataset) == before
    assert check_meshes(precast.open(dataset)) == []
    precast.mesh(dataset, precast.MeshOptions(max_error="1nm", overwrite=True))
    assert tree(dataset / "mesh") != {k[5:]: v for k, v in before.items() if k.startswith("mesh/")}
    assert not (dataset.parent / ".precast").exists()
