"""Time several sides of the same work fairly, and say on what machine.

Every side produces its output once; these go to the case's check, which raises :class:`DifferenceError`
where two sides disagree, and then nothing is timed. After one more run each to warm up, the sides take
turns, the order rotating from repeat to repeat, so that a slow spell of the machine hits all of them. All
repeats are kept.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.metadata
import os
import platform
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = [
    "REPOSITORY",
    "Case",
    "ChildRun",
    "DifferenceError",
    "Side",
    "dataset_size",
    "environment",
    "keep_memory",
    "measure",
    "run_child",
    "run_children",
]

REPOSITORY = Path(__file__).resolve().parent.parent
_POLL_S = 0.01
_SHORT_S = 2.0
_PACKAGES = (
    "precast",
    "compressed-segmentation",
    "tensorstore",
    "tinybrain",
    "igneous-pipeline",
    "neuroglancer-scripts",
    "cloud-volume",
    "awscli",
    "cloud-files",
    "zmesh",
    "pyfqmr",
    "meshoptimizer",
    "DracoPy",
    "numpy",
    "scipy",
    "tifffile",
    "imagecodecs",
)


class DifferenceError(Exception):
    """Two sides produced different values: their times must not be compared."""


@dataclass(frozen=True, slots=True)
class Side:
    """One contender.

    ``run`` does the whole work once; it is what is timed. ``output`` returns what it produces, for the
    check; without it, ``run`` does.
    """

    name: str
    run: Callable[[], Any]
    output: Callable[[], Any] | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One piece of work and everyone who does it.

    Attributes
    ----------
    suite, work, data
        What is measured: ``encode``, ``compressed_segmentation``, ``uint32, chunks 64``.
    voxels, bytes
        Size of the uncompressed data: what rates are counted in.
    sides
        The contenders; the one named ``precast`` is ours.
    check
        Given the output of every side by name, returns a sentence that says what was compared.
    floor
        How many times faster than the fastest peer precast has to be; not used where there are ``floors``.
    triangles
        What rates are counted in, if there are any.
    floors
        How many times faster than each peer precast has to be, where that is not the same for all.
    facts
        What the check finds out about the outputs besides, by side: quality, bytes. Stored with the times.
    """

    suite: str
    work: str
    data: str
    voxels: int
    bytes: int
    sides: Sequence[Side]
    check: Callable[[Mapping[str, Any]], str]
    floor: float
    not_peers: Sequence[str] = ("precast", "copy")
    """Sides that the floor is not measured against."""
    triangles: int = 0
    floors: Mapping[str, float] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)


def keep_memory() -> None:
    """Let this process keep what its sides free, where the C library is glibc.

    Otherwise every large array is of new pages, and on a virtual machine whose host takes free pages back supplying
    them takes longer than the work itself, or not, as the host pleases.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(-4, 0)  # M_MMAP_MAX: no pages of their own for large arrays
        libc.mallopt(-1, -1)  # M_TRIM_THRESHOLD: none given back


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """Check the outputs of a case, then time it; return a JSON object.

    Short cases are repeated more often than asked for, up to ten times as often, until two seconds have
    been spent: a short time is the more easily disturbed.

    Raises
    ------
    DifferenceError
        If the outputs are not equal where they must be.
    """
    checked = case.check({side.name: (side.output or side.run)() for side in case.sides})
    for side in case.sides:
        side.run()
    seconds: dict[str, list[float]] = {side.name: [] for side in case.sides}
    cpu: dict[str, list[float]] = {side.name: [] for side in case.sides}
    gc.collect()
    gc.disable()
    try:
        began = time.perf_counter()
        for repeat in range(repeats * 10):
            if repeat >= repeats and time.perf_counter() - began > _SHORT_S:
                break
            turn = repeat % len(case.sides)
            for side in [*case.sides[turn:], *case.sides[:turn]]:
                wall_start, cpu_start = time.perf_counter(), time.process_time()
                output = side.run()
                wall_stop, cpu_stop = time.perf_counter(), time.process_time()
                del output
                seconds[side.name].append(round(wall_stop - wall_start, 7))
                cpu[side.name].append(round(cpu_stop - cpu_start, 7))
    finally:
        gc.enable()
    result = {
        "suite": case.suite,
        "work": case.work,
        "data": case.data,
        "voxels": case.voxels,
        "bytes": case.bytes,
        "floor": case.floor,
        "not_peers": list(case.not_peers),
        "checked": checked,
        "sides": {name: {"seconds": seconds[name], "cpu_seconds": cpu[name]} for name in seconds},
    }
    if case.triangles:
        result |= {"triangles": case.triangles, "floors": dict(case.floors), "facts": case.facts}
    return result


@dataclass(frozen=True, slots=True)
class ChildRun:
    """One or several whole processes, one after the other.

    ``peak_rss_bytes`` is the largest resident memory of the tree of processes, sampled every 10 ms, pages that
    several of them share counted once; or the kernel's own high-water mark of a single process, if that is larger.
    """

    seconds: float
    cpu_seconds: float
    peak_rss_bytes: int
    steps: tuple[float, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        return {
            "seconds": round(self.seconds, 4),
            "cpu_seconds": round(self.cpu_seconds, 4),
            "peak_rss_bytes": self.peak_rss_bytes,
            "steps": [round(step, 4) for step in self.steps],
        }


def run_child(argv: Sequence[str | Path], cwd: Path) -> ChildRun:
    """Run one program to its end.

    Raises
    ------
    RuntimeError
        If it exits with anything but 0; the text holds the end of what it printed.
    """
    output = cwd / "child-output.txt"
    with output.open("wb") as sink:
        start = time.perf_counter()
        child = subprocess.Popen([str(part) for part in argv], cwd=cwd, stdout=sink, stderr=subprocess.STDOUT)
        watch = _Watch(child.pid)
        watch.start()
        # The resource usage includes all descendants that were waited for.
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        watch.stop()
    if child.returncode != 0:
        tail = output.read_bytes()[-2000:].decode(errors="replace")
        raise RuntimeError(f"{' '.join(map(str, argv))} ended with {child.returncode}:\n{tail}")
    output.unlink()
    # Not usage.ru_maxrss: it starts from the memory of this process, which was copied when the child was made.
    return ChildRun(seconds, usage.ru_utime + usage.ru_stime, watch.peak_bytes, (seconds,))


def run_children(commands: Sequence[Sequence[str | Path]], cwd: Path) -> ChildRun:
    """Run programs one after the other and add them up; the peak is the largest of theirs."""
    runs = [run_child(argv, cwd) for argv in commands]
    return ChildRun(
        sum(run.seconds for run in runs),
        sum(run.cpu_seconds for run in runs),
        max(run.peak_rss_bytes for run in runs),
        tuple(run.seconds for run in runs),
    )


class _Watch(threading.Thread):
    """Samples the resident memory of a process and its descendants."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._over = threading.Event()
        self.peak_bytes = 0

    def run(self) -> None:
        while not self._over.wait(_POLL_S):
            tree = _tree(self._pid)
            now = sum(_field_bytes(pid, "smaps_rollup", "Pss:") for pid in tree) if len(tree) > 1 else 0
            peaks = [_field_bytes(pid, "status", "VmHWM:") for pid in tree]
            self.peak_bytes = max(self.peak_bytes, now, *peaks)

    def stop(self) -> None:
        self._over.set()
        self.join()


def _tree(pid: int) -> list[int]:
    found, waiting = [], [pid]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        # Processes end while they are looked at; what is gone uses no memory.
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                waiting.extend(int(child) for child in task.read_text().split())
            except OSError:
                continue
    return found


def _field_bytes(pid: int, file: str, name: str) -> int:
    """Return a number of kB from /proc as bytes; 0 if the process has ended."""
    try:
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def dataset_size(folder: Path) -> dict[str, int]:
    """Return the number of objects of a dataset and their total length."""
    lengths = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return {"objects": len(lengths), "bytes": sum(lengths)}


def environment() -> dict[str, Any]:
    """Return what the figures depend on: processor, system, versions, commit."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": versions,
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--", "crates", "python", "bench/*.py")),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _processor() -> str:
    model: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        model.setdefault(key.strip(), value.strip())
    name = model.get("model name", platform.processor())
    family = f" (family {model['cpu family']}, model {model['model']})" if "cpu family" in model else ""
    return name + family


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return done.stdout.strip()
