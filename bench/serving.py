"""``precast serve`` against nginx: byte ranges of one shard to 200 connections on loopback.

Both serve the same file. wrk asks for ranges at random places; it and nginx are Debian's, from ``apt-get install
nginx-light wrk``. A single failed request ends the run.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import DifferenceError
from bench.whole import Say

__all__ = ["run"]

_BYTES = 512 << 20
_RANGES = (64 << 10, 1 << 20)
_CONNECTIONS = 200
_SECONDS = 10
_COMPARED = 20
_KEY = "labels/32_32_40/0.shard"

_NGINX = """
daemon off;
pid {scratch}/nginx.pid;
error_log {scratch}/nginx-error.log;
worker_processes auto;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  client_body_temp_path {scratch}/t1; proxy_temp_path {scratch}/t2; fastcgi_temp_path {scratch}/t3;
  uwsgi_temp_path {scratch}/t4; scgi_temp_path {scratch}/t5;
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    root {scratch}/served;
    add_header Access-Control-Allow-Origin * always;
  }}
}}
"""

_WRK = """
request = function()
  local start = math.random(0, {pieces} - 1) * {count}
  return wrk.format("GET", nil, {{["Range"] = string.format("bytes=%d-%d", start, start + {count} - 1)}})
end
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n{{"requests": %d, "microseconds": %d, "bytes": %d, "errors": %d, "p50_ms": %.3f, '
    .. '"p99_ms": %.3f}}\\n', summary.requests, summary.duration, summary.bytes,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
"""


def run(scratch: Path, *, repeats: int, with_precast: bool, say: Say) -> list[dict[str, Any]]:
    """Measure both servers in turns; return one JSON object for each length of range.

    Raises
    ------
    DifferenceError
        If the servers send different bytes, or a request failed.
    """
    for program in ("nginx", "wrk"):
        if shutil.which(program) is None and not Path(f"/usr/sbin/{program}").exists():
            say(f"serving: {program} is not installed (apt-get install nginx-light wrk); left out")
            return []
    shard = scratch / "served" / _KEY
    shard.parent.mkdir(parents=True)
    rng = np.random.default_rng(6)
    with shard.open("wb") as file:
        for _ in range(_BYTES >> 20):
            file.write(rng.integers(0, 256, 1 << 20, np.uint8).tobytes())
    (scratch / "served/labels/info").write_text("{}")
    results = []
    with _nginx(scratch) as nginx, _precast(scratch) as ours:
        sides = {"nginx": nginx, **({"precast": ours} if with_precast else {})}
        for count in _RANGES:
            _compare(shard, count, list(sides.values()))
            runs: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
            for repeat in range(-1, repeats):  # the first is to warm up
                order = list(sides) if repeat % 2 else list(reversed(sides))
                for name in order:
                    done = _load(scratch, sides[name], count, _SECONDS if repeat >= 0 else 2)
                    if repeat >= 0:
                        runs[name].append(done)
            results.append(_case(count, runs))
            text = ", ".join(
                f"{name} {side['requests_per_second']:,.0f}/s (p99 {side['p99_ms']:.0f} ms)"
                for name, side in results[-1]["sides"].items()
            )
            say(f"ranges of {count >> 10} KiB, {_CONNECTIONS} connections: {text}")
    return results


def _case(count: int, runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    sides = {}
    for name, done in runs.items():
        best = max(done, key=lambda one: one["requests"] / one["microseconds"])
        sides[name] = {
            "requests_per_second": round(best["requests"] / best["microseconds"] * 1e6, 1),
            "p50_ms": best["p50_ms"],
            "p99_ms": best["p99_ms"],
            "requests": sum(one["requests"] for one in done),
            "errors": sum(one["errors"] for one in done),
            "runs": done,
        }
    return {
        "suite": "serving",
        "work": f"ranges of {count >> 10} KiB",
        "data": f"a shard of {_BYTES >> 20} MiB, {_CONNECTIONS} connections on loopback",
        "range_bytes": count,
        "connections": _CONNECTIONS,
        "floors": {"nginx": round(1 / 3, 3)},
        "nginx": subprocess.run([_nginx_program(), "-v"], capture_output=True, text=True, check=True).stderr.strip(),
        "checked": f"{_COMPARED} ranges from each server compared with the file; no request failed",
        "sides": sides,
    }


def _nginx_program() -> str:
    return shutil.which("nginx") or "/usr/sbin/nginx"


@contextmanager
def _nginx(scratch: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = scratch / "nginx.conf"
    config.write_text(_NGINX.format(scratch=scratch, port=port))
    # the workers of a root's nginx are another user, who must be able to look into the scratch folder
    scratch.chmod(0o755)
    process = subprocess.Popen([_nginx_program(), "-c", str(config)])
    try:
        base = f"http://127.0.0.1:{port}/"
        _wait_for(base + _KEY)
        yield base
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _precast(scratch: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "precast.cli.main", "serve", scratch / "served/labels", "--port", "0", "--quiet"]
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def _wait_for(url: str) -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD")).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"nothing answers at {url}")


def _compare(shard: Path, count: int, bases: list[str]) -> None:
    rng = np.random.default_rng(count)
    for start in rng.integers(0, _BYTES - count, _COMPARED).tolist():
        with shard.open("rb") as file:
            file.seek(start)
            wanted = file.read(count)
        for base in bases:
            request = urllib.request.Request(base + _KEY, headers={"Range": f"bytes={start}-{start + count - 1}"})
            with urllib.request.urlopen(request) as answer:
                if answer.status != 206 or answer.read() != wanted:
                    raise DifferenceError(
                        f"{base}{_KEY}: bytes {start} to {start + count - 1} are not those of the file"
                    )


def _load(scratch: Path, base: str, count: int, seconds: int) -> dict[str, float]:
    script = scratch / "ranges.lua"
    script.write_text(_WRK.format(pieces=_BYTES // count, count=count))
    command = ["wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script), base + _KEY]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"^\{.*\}$", output, re.M)
    if found is None:
        raise RuntimeError(f"wrk did not say how it went:\n{output}")
    done: dict[str, float] = json.loads(found[0])
    if done["errors"] or done["bytes"] < done["requests"] * count:
        raise DifferenceError(f"{base}: {done['errors']} of {done['requests']} requests failed: {output}")
    return done
