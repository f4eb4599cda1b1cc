"""Nothing that existed is lost, and what was begun can be finished: kills, full disks, Ctrl-C, other options."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oracles import check_pyramid
from precast.errors import DestinationExistsError, StorageError
from precast.execution.workdir import WorkDirectory
from precast.pipelines.convert import ConvertOptions, budget, convert
from precast.storage import LocalStore

SCRIPT = """
import sys
from precast.pipelines.convert import ConvertOptions, budget, convert
budget.TASK_BYTES = 40_000
options = dict(resolution="8,8,8", chunk_size=8, memory=400_000, threads=2)
options.update(eval(sys.argv[3]))
print("ready", flush=True)
convert(sys.argv[1], sys.argv[2], ConvertOptions(**options))
"""


def tree(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def start(source: Path, destination: Path, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(source), str(destination), repr(options)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish(source: Path, destination: Path, **options: Any) -> None:
    """Do what :func:`start` does, in this process: it starts in no time."""
    made = ConvertOptions(resolution="8,8,8", chunk_size=8, memory=400_000, threads=2, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "TASK_BYTES", 40_000)
        convert(source, destination, made)


@pytest.fixture
def source(tmp_path: Path, make_blobs: Any) -> Path:
    np.save(tmp_path / "labels.npy", make_blobs((60, 50, 55)))
    return tmp_path / "labels.npy"


@pytest.mark.parametrize("unsharded", [False, True])
@pytest.mark.parametrize("overwrite", [False, True])
def test_killed_at_random_moments_and_run_again(tmp_path: Path, source: Path, unsharded: bool, overwrite: bool) -> None:
    """13 kills in each of 4 settings: whatever the moment, the next run ends with the same tree."""
    destination = tmp_path / "out" / "v"
    destination.parent.mkdir()
    undisturbed = start(source, tmp_path / "undisturbed", unsharded=unsharded)
    begun = time.perf_counter()
    assert undisturbed.wait() == 0
    whole = time.perf_counter() - begun
    expected = tree(tmp_path / "undisturbed")
    old: dict[str, bytes] = {}
    moments = random.Random(unsharded * 2 + overwrite)
    killed = 0
    for _ in range(13):
        if overwrite and not old:
            convert(np.ones((9, 9, 9), np.uint32), destination, ConvertOptions(resolution="1,1,1", kind="segmentation"))
            old = tree(destination)
        process = start(source, destination, unsharded=unsharded, overwrite=overwrite)
        begun = time.perf_counter()
        with suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0, whole))
            whole = time.perf_counter() - begun  # it was faster than the first, on a machine that is less busy now
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        # at any moment: nothing, or the old dataset, or the complete new one (or the instant between two renames)
        if destination.exists():
            assert tree(destination) in (old, expected)
        with suppress(DestinationExistsError):  # the killed run had just finished
            finish(source, destination, unsharded=unsharded, overwrite=overwrite)
        assert tree(destination) == expected
        assert not (destination.parent / ".precast").exists()
        shutil.rmtree(destination)
        old = {}
    assert killed >= 6


def test_a_killed_run_is_resumed_and_not_begun_again(tmp_path: Path, source: Path) -> None:
    work = tmp_path / ".precast" / "v"
    process = start(source, tmp_path / "v")
    while not list(work.glob("spool/*.done")) and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {file.name: file.stat().st_mtime_ns for file in work.glob("spool/*.done")}
    assert done
    mp = pytest.MonkeyPatch()
    mp.setattr(budget, "TASK_BYTES", 40_000)
    # another memory budget and thread count: the plan of the first run is kept
    summary = convert(source, tmp_path / "v", ConvertOptions(resolution="8,8,8", chunk_size=8, memory=2**28, threads=1))
    mp.undo()
    assert summary.resumed_blocks == len(done)
    check_pyramid(tmp_path / "v", np.load(source), (0, 0, 0), "majority")


def test_unfinished_work_with_other_options_is_refused(tmp_path: Path, source: Path) -> None:
    process = start(source, tmp_path / "v")
    while not list((tmp_path / ".precast" / "v").glob("spool/*.done")):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    other = ConvertOptions(resolution="8,8,8", chunk_size=16)
    with pytest.raises(DestinationExistsError, match="chunk_size") as caught:
        convert(source, tmp_path / "v", other)
    assert "--overwrite" in caught.value.hint
    convert(source, tmp_path / "v", ConvertOptions(resolution="8,8,8", chunk_size=16, overwrite=True))
    check_pyramid(tmp_path / "v", np.load(source), (0, 0, 0), "majority")
    assert not (tmp_path / ".precast").exists()


def test_existing_destinations(tmp_path: Path, source: Path) -> None:
    options = ConvertOptions(resolution="8,8,8", chunk_size=16)
    (tmp_path / "empty").mkdir()
    convert(source, tmp_path / "empty", options)
    before = tree(tmp_path / "empty")
    with pytest.raises(DestinationExistsError, match="exists already"):
        convert(source, tmp_path / "empty", options)
    assert tree(tmp_path / "empty") == before
    # something else is never replaced, not even with --overwrite
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("...")
    with pytest.raises(DestinationExistsError, match="not a precomputed dataset"):
        convert(source, tmp_path / "thesis", ConvertOptions(resolution="8,8,8", overwrite=True))
    (tmp_path / "file").write_text("...")
    with pytest.raises(DestinationExistsError, match="is a file"):
        convert(source, tmp_path / "file", ConvertOptions(resolution="8,8,8", overwrite=True))
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "..."
    assert not (tmp_path / ".precast").exists()


def test_a_failed_overwrite_leaves_the_old_dataset_whole(tmp_path: Path, source: Path) -> None:
    convert(source, tmp_path / "v", ConvertOptions(resolution="8,8,8", chunk_size=16))
    before = tree(tmp_path / "v")
    bad = np.load(source).astype(np.int64)
    bad[-1, 0, 0] = -1
    with pytest.raises(ValueError, match="negative"):
        convert(
            bad, tmp_path / "v", ConvertOptions(resolution="8,8,8", chunk_size=8, overwrite=True, kind="segmentation")
        )
    assert tree(tmp_path / "v") == before


def test_two_processes_do_not_work_on_one_destination(tmp_path: Path, source: Path) -> None:
    with (
        WorkDirectory(tmp_path / "v"),
        pytest.raises(DestinationExistsError, match="another precast process"),
    ):
        convert(source, tmp_path / "v", ConvertOptions(resolution="8,8,8"))


class FullStore(LocalStore):
    """A disk that is full after some writes."""

    room = 3

    def _put(self, temporary: Path, data: bytes, path: Path) -> None:  # type: ignore[override]
        if FullStore.room == 0:
            temporary.write_bytes(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        FullStore.room -= 1
        super()._put(temporary, data, path)


def test_full_disk_then_space(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ConvertOptions(resolution="8,8,8", chunk_size=16, unsharded=True)
    convert(source, tmp_path / "expected", options)
    with monkeypatch.context() as patch:
        patch.setattr(WorkDirectory, "store", property(lambda self: FullStore(self.out, self.parts)))
        with pytest.raises(StorageError, match="No space left") as caught:
            convert(source, tmp_path / "v", options)
    assert "run the same command again" in caught.value.hint
    assert not (tmp_path / "v").exists()
    convert(source, tmp_path / "v", options)
    assert tree(tmp_path / "v") == tree(tmp_path / "expected")


@pytest.mark.skipif(not shutil.which("mount") or os.geteuid() != 0, reason="needs root to mount a small file system")
def test_a_really_full_disk(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(small)], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        image = np.random.default_rng(0).integers(0, 255, (64, 128, 128), np.uint8)
        with pytest.raises(StorageError, match="No space left") as caught:
            convert(image, small / "v", ConvertOptions(resolution="8,8,8", kind="image"))
        assert "free some space" in caught.value.hint
        assert not (small / "v").exists()
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_ctrl_c(tmp_path: Path, make_blobs: Any) -> None:
    np.save(tmp_path / "labels.npy", np.tile(make_blobs((64, 64, 64)), (4, 4, 4)))
    command = [
        *(sys.executable, "-m", "precast.cli.main", "convert", str(tmp_path / "labels.npy"), str(tmp_path / "v")),
        *("--resolution", "8,8,8", "--chunk-size", "8"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / ".precast" / "v" / "ledger.json").exists():
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130, error
    assert "run the same command again" in error
    assert "Traceback" not in error
    assert not (tmp_path / "v").exists()
    assert subprocess.run(command, check=False).returncode == 0
    check_pyramid(tmp_path / "v", np.load(tmp_path / "labels.npy"), (0, 0, 0), "majority")
