"""``precast publish`` against ``aws s3 sync`` and cloud-files' ``cp``: 10,000 small and 10 large objects.

The sink is versitygw on this machine (``tools/install-s3-server.sh``): it checks signatures, and keeps objects as
files, which are compared with the source before a clock counts. Every program is timed from start to exit, each time
into an empty bucket. precast also makes checksums before, and looks at every object and its headers afterwards.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import numpy as np

from bench.harness import ChildRun, DifferenceError, run_child
from bench.whole import PROGRAMS, Say, shown, summary

__all__ = ["run"]

_GRID = (25, 20, 20)
_CHUNK = (32, 16, 16)
"""Of one byte voxels, random, so that gzip leaves 8 KiB of them as they are."""

_SHARDS = 10
_SHARD_BYTES = 128 << 20
_HEADERS_OF = 200
_REGION = "us-east-1"
_REQUESTS = 32
_SIDES = ("precast", "aws s3 sync", f"aws s3 sync, {_REQUESTS} requests", "cloudfiles cp", "cloudfiles -p 2 cp")


@dataclass(frozen=True)
class _Sink:
    """A running server."""

    endpoint: str
    folder: Path
    process: int

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(scratch: Path, *, repeats: int, with_precast: bool, say: Say) -> list[dict[str, Any]]:
    """Measure all programs in turns; return one JSON object for each kind of dataset.

    Raises
    ------
    DifferenceError
        If a program brought other objects to the sink than those of the source.
    """
    program = _server()
    if program is None:
        say("publishing: versitygw is not installed (tools/install-s3-server.sh); left out")
        return []
    sides = [side for side in _SIDES if with_precast or side != "precast"]
    results = []
    with _environment(scratch), _running(program, scratch) as sink:
        _configure_peers(scratch, sink)
        for name, make in _DATASETS.items():
            make(scratch / "p")
            results.append(_measure(name, sides, sink, scratch, repeats, say))
            shutil.rmtree(scratch / "p")
    return results


# ---- datasets


def _small(folder: Path) -> None:
    size = [count * edge for count, edge in zip(_GRID, _CHUNK, strict=True)]
    _write_info(folder, size, _CHUNK, {})
    rng = np.random.default_rng(5)
    x, y, z = _CHUNK
    for i, j, k in itertools.product(*map(range, _GRID)):
        name = f"{i * x}-{(i + 1) * x}_{j * y}-{(j + 1) * y}_{k * z}-{(k + 1) * z}.gz"
        voxels = rng.integers(0, 256, x * y * z, np.uint8).tobytes()
        (folder / "8_8_8" / name).write_bytes(gzip.compress(voxels, 1, mtime=0))


def _large(folder: Path) -> None:
    sharding = {
        "@type": "neuroglancer_uint64_sharded_v1",
        "hash": "identity",
        "minishard_bits": 6,
        "minishard_index_encoding": "gzip",
        "data_encoding": "gzip",
        "preshift_bits": 9,
        "shard_bits": 4,
    }
    _write_info(folder, [4096, 4096, 1024], (64, 64, 64), {"sharding": sharding})
    rng = np.random.default_rng(6)
    for number in range(_SHARDS):
        with (folder / "8_8_8" / f"{number:x}.shard").open("wb") as file:
            for _ in range(_SHARD_BYTES >> 20):
                file.write(rng.integers(0, 256, 1 << 20, np.uint8).tobytes())


def _write_info(folder: Path, size: Sequence[int], chunk: Sequence[int], more: Mapping[str, Any]) -> None:
    scale = {
        "key": "8_8_8",
        "size": list(size),
        "resolution": [8, 8, 8],
        "voxel_offset": [0, 0, 0],
        "chunk_sizes": [list(chunk)],
        "encoding": "raw",
        **more,
    }
    info = {
        "@type": "neuroglancer_multiscale_volume",
        "type": "image",
        "data_type": "uint8",
        "num_channels": 1,
        "scales": [scale],
    }
    (folder / "8_8_8").mkdir(parents=True)
    (folder / "info").write_text(json.dumps(info))


_DATASETS: dict[str, Callable[[Path], None]] = {
    f"{np.prod(_GRID):,} chunks of 8 KiB": _small,
    f"{_SHARDS} shards of {_SHARD_BYTES >> 20} MiB": _large,
}


# ---- the sink


def _server() -> str | None:
    go = Path(os.environ.get("GOPATH") or Path.home() / "go") / "bin"
    return shutil.which("versitygw", path=f"{os.environ.get('PATH', '')}{os.pathsep}{go}")


def _version() -> str:
    """Return the version that the Go toolchain has written into the program."""
    try:
        done = subprocess.run(["go", "version", "-m", _server() or ""], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "versitygw"
    found = re.search(r"^\s*mod\s+\S+\s+(\S+)", done.stdout, re.MULTILINE)
    return f"versitygw {found[1]}" if found else "versitygw"


@contextmanager
def _environment(scratch: Path) -> Iterator[None]:
    """Let programs find credentials that are for this sink alone, and nothing else of this machine."""
    before = dict(os.environ)
    home = scratch / "home"
    home.mkdir()
    for name in list(os.environ):
        if name.startswith("AWS_"):
            del os.environ[name]
    os.environ |= {
        "HOME": str(home),
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
        "AWS_REGION": _REGION,
        "AWS_DEFAULT_REGION": _REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before


@contextmanager
def _running(program: str, scratch: Path) -> Iterator[_Sink]:
    folder = scratch / "sink"
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    keys = {"ROOT_ACCESS_KEY": os.environ["AWS_ACCESS_KEY_ID"], "ROOT_SECRET_KEY": os.environ["AWS_SECRET_ACCESS_KEY"]}
    command = [program, "--port", f"127.0.0.1:{port}", "--region", _REGION, "--keep-alive", "--quiet"]
    with (scratch / "sink.log").open("wb") as log:
        server = subprocess.Popen([*command, "posix", str(folder)], stdout=log, stderr=log, env={**os.environ, **keys})
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    text = (scratch / "sink.log").read_text()[-2000:]
                    raise RuntimeError(f"versitygw does not start:\n{text}") from None
                time.sleep(0.05)
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
        yield _Sink(f"http://127.0.0.1:{port}", folder, server.pid)
    finally:
        server.terminate()
        server.wait()


# ---- the programs


def _configure_peers(scratch: Path, sink: _Sink) -> None:
    home = scratch / "home"
    (home / "many.ini").write_text(f"[default]\ns3 =\n  max_concurrent_requests = {_REQUESTS}\n")
    (home / ".cloudfiles").mkdir()
    (home / ".cloudfiles" / "aliases.json").write_text(json.dumps({"sink": {"host": f"s3://{sink.endpoint}/"}}))


def _command(side: str, source: Path, bucket: str) -> list[str | Path]:
    if side == "precast":
        return [PROGRAMS / "precast", "publish", source, f"s3://{bucket}/p", "--quiet"]
    if side.startswith("aws"):
        sync: list[str | Path] = [PROGRAMS / "aws", "s3", "sync", source, f"s3://{bucket}/p", "--only-show-errors"]
        return ["env", f"AWS_CONFIG_FILE={os.environ['HOME']}/many.ini", *sync] if "requests" in side else sync
    # without a token in the environment it finds no keys there
    two = ["-p", "2"] if "-p 2" in side else []
    return ["env", "AWS_SESSION_TOKEN=", PROGRAMS / "cloudfiles", *two, "cp", "-r", source, f"sink://{bucket}/"]


def _client() -> Any:
    return boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name=_REGION)


def _measure(name: str, sides: list[str], sink: _Sink, scratch: Path, repeats: int, say: Say) -> dict[str, Any]:
    source = scratch / "p"
    runs: dict[str, list[ChildRun]] = {side: [] for side in sides}
    load: dict[str, list[float]] = {side: [] for side in sides}
    numbers = itertools.count()
    count = size = 0
    for repeat in range(-1, repeats):  # the first is compared, and warms up
        for side in sides[repeat % len(sides) :] + sides[: repeat % len(sides)]:
            bucket = f"bucket-{len(name)}-{next(numbers)}"
            _client().create_bucket(Bucket=bucket)
            before = sink.cpu_seconds()
            done = run_child(_command(side, source, bucket), scratch)
            if repeat < 0:
                count, size = _compare(side, source, sink.folder / bucket / "p", bucket)
            else:
                runs[side].append(done)
                load[side].append(round(sink.cpu_seconds() - before, 3))
            shutil.rmtree(sink.folder / bucket)
            os.sync()  # what one program wrote is not written back while another one is timed
    results = {}
    for side in sides:
        best = min(run.seconds for run in runs[side])
        results[side] = {
            **summary(runs[side]),
            "sink_cpu_seconds": load[side],
            "objects_per_second": round(count / best, 1),
            "bytes_per_second": round(size / best),
        }
        say(
            f"{name}, {side}: {best:.2f} s ({count / best:,.0f} objects/s, {size / best / 2**20:,.0f} MiB/s), "
            f"CPU {min(run.cpu_seconds for run in runs[side]):.2f} s and the sink's {min(load[side]):.2f} s, "
            f"peak {max(run.peak_rss_bytes for run in runs[side]) >> 20} MiB"
        )
    return {
        "suite": "publishing",
        "work": "publish",
        "data": name,
        "objects": count,
        "bytes": size,
        "not_peers": ["precast"],
        "floors": {side: 1.0 for side in sides if side != "precast"},
        "sink": _version(),
        "checked": f"the sink's files equal the source's for every program; headers of {_HEADERS_OF} of ours by boto3",
        "commands": {
            side: [shown(_command(side, source, "bucket"), scratch).replace(f"{PROGRAMS}/", "")] for side in sides
        },
        "sides": results,
    }


def _compare(side: str, source: Path, sent: Path, bucket: str) -> tuple[int, int]:
    """See that all objects are there; return their number and bytes."""
    files = {path.relative_to(source).as_posix(): path for path in source.rglob("*") if path.is_file()}
    found = {path.relative_to(sent).as_posix(): path for path in sent.rglob("*") if path.is_file()}
    if not side.startswith("aws"):  # which keeps the names of files
        files = {key.removesuffix(".gz"): path for key, path in files.items()}
    if side == "precast":
        found = {key: path for key, path in found.items() if not key.startswith(".published/")}
    if found.keys() != files.keys():
        missing, more = sorted(files.keys() - found)[:2], sorted(found.keys() - files)[:2]
        raise DifferenceError(f"{side}: {len(found)} objects, not {len(files)}: not {missing}, but {more}")
    for key, path in files.items():
        data, there = path.read_bytes(), found[key].read_bytes()
        if data != there:
            raise DifferenceError(f"{side}: {key} is not the file")
    if side == "precast":
        _compare_headers(files, bucket)
    return len(files), sum(path.stat().st_size for path in files.values())


def _compare_headers(files: Mapping[str, Path], bucket: str) -> None:
    client = _client()
    for key in sorted(files)[:: max(1, len(files) // _HEADERS_OF)]:
        told = client.head_object(Bucket=bucket, Key=f"p/{key}")
        encoding, kind = told.get("ContentEncoding"), told["ContentType"]
        wanted = ("gzip" if files[key].suffix == ".gz" else None, "application/octet-stream")
        if key == "info":
            wanted = (None, "application/json")
        if (encoding, kind) != wanted or not told.get("CacheControl"):
            raise DifferenceError(f"precast: {key} has the headers {told['ResponseMetadata']['HTTPHeaders']}")
