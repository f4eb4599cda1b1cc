"""Real web servers on a free port, and what must hold of their answers; raw HTTP, as a browser would be told."""

from __future__ import annotations

import gzip
import http.client
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

START_S = 15

BINARIES = {"nginx": "nginx", "apache": "apache2", "caddy": "caddy"}
APACHE_MODULES = Path("/usr/lib/apache2/modules")
APACHE_NEEDS = (
    "mpm_event",
    "authz_core",
    "mime",
    "headers",
    "rewrite",
    "dir",
    "env",
    "filter",
    "deflate",
    "autoindex",
)


def need_server(name: str) -> str:
    """Return the path of a server's program, or skip the test and say what is missing."""
    path = shutil.which(BINARIES[name]) or shutil.which(BINARIES[name], path="/usr/sbin:/usr/local/sbin")
    return path or pytest.skip(f"needs {name}: apt-get install {BINARIES[name]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _nginx(binary: str, folder: Path, configuration: str) -> list[str]:
    (folder / "precast.conf").write_text(configuration)
    user = "user root;" if os.geteuid() == 0 else ""
    # a host that packs whatever it can, which the configuration must keep away from the data
    main = f"""
    daemon off; worker_processes 1; {user} pid {folder}/pid; error_log {folder}/error.log;
    events {{ worker_connections 64; }}
    http {{
        access_log off; gzip on; gzip_types *; gzip_min_length 1; default_type text/plain;
        client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
        uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
        include {folder}/precast.conf;
    }}
    """
    (folder / "nginx.conf").write_text(main)
    return [binary, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]


def _apache(binary: str, folder: Path, configuration: str) -> list[str]:
    if not APACHE_MODULES.is_dir():
        pytest.skip(f"needs Apache's modules in {APACHE_MODULES}")
    modules = "\n".join(f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so" for name in APACHE_NEEDS)
    # as Debian has it: types by suffix, indexes of directories, packing of text
    types = folder / "mime.types"
    types.write_text("application/gzip gz\ntext/html html\n")
    settings = [
        f"ServerRoot {folder}",
        f"DefaultRuntimeDir {folder}",
        f"PidFile {folder}/pid",
        f"ErrorLog {folder}/error.log",
        modules,
        f"TypesConfig {types}",
        "AddOutputFilterByType DEFLATE application/json application/octet-stream",
        "ServerName localhost",
        "StartServers 1",
        "<Directory />\nRequire all denied\n</Directory>",
        configuration,
    ]
    (folder / "apache.conf").write_text("\n".join(settings))
    return [binary, "-X", "-f", str(folder / "apache.conf")]


def _caddy(binary: str, folder: Path, configuration: str) -> list[str]:
    (folder / "Caddyfile").write_text(f"{{\n    admin off\n    auto_https off\n}}\n{configuration}")
    return [binary, "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


COMMANDS: dict[str, Callable[[str, Path, str], list[str]]] = {"nginx": _nginx, "apache": _apache, "caddy": _caddy}


@contextmanager
def running(name: str, folder: Path, configuration: str, port: int) -> Iterator[None]:
    """Run a server with a configuration; ``folder`` is for its files."""
    folder.mkdir(exist_ok=True)
    command = COMMANDS[name](need_server(name), folder, configuration)
    log = folder / "output.log"
    environment = {"PATH": "/usr/sbin:/usr/bin:/bin", "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        deadline = time.monotonic() + START_S
        while True:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{name} does not start: {log.read_text()[-2000:]}")
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                time.sleep(0.02)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Client:
    """Sends exactly the headers that it is told to."""

    port: int
    prefix: str = ""

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.putrequest(method, self.prefix + path, skip_host=True, skip_accept_encoding=True)
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            for name, value in {
                "Host": f"localhost:{self.port}",
                "Origin": "https://viewer.example.org",
                **named,
            }.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            body = answer.read()
            return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, body)
        finally:
            connection.close()


@dataclass(frozen=True)
class Files:
    """What is served: the paths of one file of every sort, and where they lie."""

    root: Path
    info: str
    chunk: str
    """Lies there as ``chunk.gz``."""
    shard: str
    """Has a sibling ``shard.gz`` that must not be sent."""
    fragments: str
    """Too."""
    manifest: str
    """JSON that is never rewritten."""
    hidden: str
    directory: str

    def bytes_of(self, path: str) -> bytes:
        file = self.root / urllib.parse.unquote(path.lstrip("/"))
        return file.read_bytes() if file.exists() else gzip.decompress(Path(f"{file}.gz").read_bytes())


EXPOSED = ("content-range", "content-length", "content-encoding", "accept-ranges", "etag")
DAY_S = 24 * 3600


def probes(client: Client, files: Files) -> dict[str, Callable[[], bool]]:
    """Return what must hold, by name."""

    def exact_range(path: str, first: int, last: int, **headers: str) -> bool:
        whole = files.bytes_of(path)
        answer = client.ask(path, Range=f"bytes={first}-{last}", **headers)
        return (
            answer.status == 206
            and answer.body == whole[first : last + 1]
            and answer.headers.get("content-range") == f"bytes {first}-{last}/{len(whole)}"
            and answer.headers.get("content-length") == str(last + 1 - first)
            and "content-encoding" not in answer.headers
        )

    def as_it_is(path: str) -> bool:
        answer = client.ask(path, Accept_Encoding="gzip, deflate, br")
        same = answer.status == 200 and answer.body == files.bytes_of(path) and "content-encoding" not in answer.headers
        return same and exact_range(path, 16, 31) and exact_range(path, 0, 15, Accept_Encoding="gzip, deflate, br")

    def packed() -> bool:
        answer = client.ask(files.chunk, Accept_Encoding="gzip, deflate, br")
        encoded = answer.status == 200 and answer.headers.get("content-encoding") == "gzip"
        return encoded and gzip.decompress(answer.body) == files.bytes_of(files.chunk)

    def inflated() -> bool:
        answer = client.ask(files.chunk)
        same = answer.status == 200 and answer.body == files.bytes_of(files.chunk)
        return same and "content-encoding" not in answer.headers

    def readable(answer: Answer) -> bool:
        return answer.headers.get("access-control-allow-origin") == "*"

    def lists(answer: Answer, header: str, *wanted: str) -> bool:
        told = {word.strip().lower() for word in answer.headers.get(f"access-control-{header}", "").split(",")}
        return told >= set(wanted)

    def age(path: str) -> int | None:
        told = client.ask(path, Accept_Encoding="gzip").headers.get("cache-control", "")
        if told == "no-cache":
            return 0
        found = re.search(r"\bmax-age=(\d+)", told)
        return int(found[1]) if found else None

    def kind(path: str) -> str:
        return client.ask(path, Accept_Encoding="gzip").headers.get("content-type", "").partition(";")[0]

    def unchanged() -> bool:
        tag = client.ask(files.shard).headers.get("etag", "")
        return bool(tag) and client.ask(files.shard, If_None_Match=tag).status == 304

    def head() -> bool:
        answer = client.ask(files.info, "HEAD")
        size = len(files.bytes_of(files.info))
        return answer.status == 200 and answer.headers.get("content-length") == str(size) and not answer.body

    missing = f"{files.directory}nothing"
    data = (files.chunk, files.shard, files.fragments)
    return {
        "readable": lambda: (
            readable(client.ask(files.info)) and readable(client.ask(files.chunk, Accept_Encoding="gzip"))
        ),
        "range readable": lambda: readable(client.ask(files.shard, Range="bytes=0-15")),
        "error readable": lambda: readable(client.ask(missing)) and readable(client.ask(files.hidden)),
        "exposed": lambda: lists(client.ask(files.shard, Range="bytes=0-15"), "expose-headers", *EXPOSED),
        "preflight": lambda: client.ask(files.shard, "OPTIONS").status in (200, 204),
        "preflight readable": lambda: readable(client.ask(files.shard, "OPTIONS")),
        "methods": lambda: lists(client.ask(files.shard, "OPTIONS"), "allow-methods", "get", "head", "options"),
        "headers": lambda: lists(client.ask(files.shard, "OPTIONS"), "allow-headers", "range"),
        "missing": lambda: client.ask(missing).status == 404,
        "missing not kept": lambda: not age(missing),
        "shard": lambda: as_it_is(files.shard),
        "fragments": lambda: as_it_is(files.fragments),
        "packed": packed,
        "inflated": inflated,
        "json": lambda: {kind(files.info), kind(files.manifest)} == {"application/json"},
        "binary": lambda: {kind(path) for path in data} == {"application/octet-stream"},
        "rewritten": lambda: age(files.info) == 0,
        "kept": lambda: {age(path) for path in (*data, files.manifest)} == {3600},
        "hidden": lambda: client.ask(files.hidden).status == 404,
        "directory": lambda: client.ask(files.directory).status == 404,
        "no redirection": lambda: client.ask(files.directory.rstrip("/")).status == 404,
        "unchanged": unchanged,
        "head": head,
        "inside": lambda: client.ask("/../../../../../../etc/hostname").status in (400, 403, 404),
    }


def failures(client: Client, files: Files) -> set[str]:
    """Return the names of what does not hold."""
    return {name for name, holds in probes(client, files).items() if not holds()}
