"""The data server: datasets as a viewer in a browser wants them, from threads of its own.

Those on a disk are served by the native server; those in buckets by handlers (:mod:`precast.hosting.stored`).

>>> import numpy, precast, tempfile, urllib.request
>>> folder = tempfile.mkdtemp() + "/labels"
>>> summary = precast.convert(numpy.ones((8, 8, 8), "u4"), folder, precast.ConvertOptions(resolution="8"))
>>> with precast.serve(folder, precast.ServeOptions(port=0)) as server:
...     urllib.request.urlopen(server.datasets[0].url + "/info").status
200
"""

from __future__ import annotations

import atexit
import errno
import ipaddress
import os
import secrets
import socket
import sys
import threading
import time
import traceback
import urllib.parse
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from types import TracebackType

from precast import kernels
from precast.errors import AccessDeniedError, PrecastError, StorageError, UsageError
from precast.findings import Finding
from precast.hosting.pages import CONTENT_TYPES, CutError, Handler, Listed, Request, Response, listing
from precast.hosting.places import Place, find_places, is_complete
from precast.hosting.stored import Room, StoredDatasets
from precast.precomputed.mesh_info import TYPES as MESH_TYPES
from precast.precomputed.objects import (
    COLLECTION_KEY,
    EXPOSED_HEADERS,
    KINDS_BY_NAME,
    KINDS_BY_SUFFIX,
    ObjectKind,
    ObjectRule,
)
from precast.storage import CloudStore, LocalStore, Store, StoreOptions
from precast.storage.base import translate_os_error

__all__ = ["DEFAULT_PORT", "LOOPBACK", "DataServer", "ServeOptions", "ServedDataset", "serve"]

DEFAULT_PORT = 9000
LOOPBACK = "127.0.0.1"
SECRET_BYTES = 16
MOST_THREADS = 8
SHORTEST_PAUSE_S = 0.001
LONGEST_PAUSE_S = 0.05
SILENT_S = 60.0
"""How long an error of a store is not told again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedDataset:
    """One dataset that is served.

    Attributes
    ----------
    name
        Path of its address below that of the server: ``labels``, or ``out/labels`` for a layer of a collection.
    url
        Its address, without a slash at the end.
    store
        Where it is read from: a directory, or a place in a bucket.
    """

    name: str
    url: str
    store: LocalStore | CloudStore

    @property
    def path(self) -> Path | None:
        """Its directory; None if it is in a bucket."""
        return self.store.root if isinstance(self.store, LocalStore) else None

    @property
    def source(self) -> str:
        """The address of its place in a bucket; empty if it is in a directory."""
        return self.store.url if isinstance(self.store, CloudStore) else ""

    @property
    def ready(self) -> bool:
        """Whether its ``info`` is there; nothing of it is served before.

        Raises
        ------
        AccessDeniedError, StorageError
            If its bucket does not tell.
        """
        return is_complete(self.store)


# ---- what the native server reads, attribute by attribute


@dataclass(frozen=True, slots=True)
class _Rule:
    content_type: str
    cache_control: str
    whole: bool


@dataclass(frozen=True, slots=True)
class _Rules:
    names: list[tuple[str, _Rule]]
    suffixes: list[tuple[str, _Rule]]
    other: _Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    secret: str | None
    datasets: list[tuple[list[str], str]]
    files: list[tuple[list[str], str]]
    rules: _Rules
    ranged_types: list[str]
    hosts: set[str]
    any_address: bool
    exposed_headers: str
    verbose: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeOptions:
    """How to serve.

    Raises
    ------
    UsageError
        If a value is not allowed; the text says what is.
    """

    port: int = field(
        default=DEFAULT_PORT, metadata={"help": "Port; 0 is any that is free.", "bounds": (0, 65535), "metavar": "PORT"}
    )
    host: str = field(
        default=LOOPBACK,
        metadata={"help": "Address to bind; 0.0.0.0 is every one, so that other machines can read all of it."},
    )
    allow_host: str | None = field(
        default=None,
        metadata={
            "help": "Host names, by commas, that it answers to beside those of this machine.",
            "metavar": "NAMES",
        },
    )
    private: bool = field(
        default=False,
        metadata={"help": "Put a path that nobody can guess in front; else any web page can read the data."},
    )
    no_cache: bool = field(
        default=False,
        metadata={"help": "Let browsers ask each time whether data changed, instead of after an hour."},
    )
    verbose: bool = field(default=False, metadata={"help": "Print every request on stderr."})

    def __post_init__(self) -> None:
        spec = next(spec for spec in fields(self) if spec.name == "port")
        low, high = spec.metadata["bounds"]
        if not isinstance(self.port, int) or isinstance(self.port, bool) or not low <= self.port <= high:
            raise UsageError(f"--port must be a whole number from {low} to {high}, got {self.port!r}")
        self.allowed_hosts()

    def allowed_hosts(self) -> tuple[str, ...]:
        """Return the names of ``allow_host`` without ports and brackets."""
        return tuple(_host_name(text) for text in (self.allow_host or "").split(",") if text)


class DataServer:
    """A server that answers from when it is made until it is closed.

    Parameters
    ----------
    paths
        Datasets, collections (directories with ``precast.json``), directories of datasets, on this machine or in
        buckets. Each is served under its base name; where two have the same, the later ones get a number. There may be
        none: pages can be put there.
    options
        How; its defaults if None.
    store
        How buckets are reached, beyond what the environment says; there has to be one then.
    tell
        Told of errors of buckets while it runs, which clients are answered with; by default they are printed on
        standard error, each once in a while.

    Attributes
    ----------
    url
        Address of the list of datasets; ends with a slash.
    port
        The port.
    open_to_others
        Whether other machines may reach it.
    places
        What was found at each path.
    datasets
        All datasets, in order.
    findings
        What should be said about the paths.

    Raises
    ------
    UsageError
        If an option or path cannot be used.
    ObjectNotFoundError, FormatError
        If a path does not exist, or is a collection that cannot be understood.
    StorageError, AccessDeniedError
        If the port cannot be had, or a bucket cannot be read.
    MissingExtraError
        If there is a bucket, and the extra ``cloud`` is not installed.
    """

    url: str
    port: int
    open_to_others: bool
    places: tuple[Place, ...]
    datasets: tuple[ServedDataset, ...]
    findings: tuple[Finding, ...]

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str] | Store],
        options: ServeOptions | None = None,
        store: StoreOptions | None = None,
        *,
        tell: Callable[[PrecastError], None] | None = None,
    ) -> None:
        options = options or ServeOptions()
        host, port = options.host, options.port
        address = _address(host)
        self.places, self.findings = find_places(paths, store)
        secret = secrets.token_urlsafe(SECRET_BYTES) if options.private else None
        names = [one for place in self.places for one in place.datasets]
        settings = _Settings(
            secret=secret,
            datasets=[(name.split("/"), str(one.root)) for name, one in names if isinstance(one, LocalStore)],
            files=[
                ([place.name, COLLECTION_KEY], str(place.store.root / COLLECTION_KEY))
                for place in self.places
                if place.listed and isinstance(place.store, LocalStore)
            ],
            rules=_rules_of_objects(cache=not options.no_cache),
            ranged_types=[MESH_TYPES["multilod_draco"]],
            hosts=_hosts(host, address, options.allowed_hosts()),
            any_address=address.is_unspecified,
            exposed_headers=", ".join(EXPOSED_HEADERS),
            verbose=options.verbose,
        )
        try:
            self._server = kernels.HttpServer(str(address), port, _threads(), settings)
        except OSError as error:
            raise _refused(error, host, port) from None
        self.port = self._server.port
        self.open_to_others = not address.is_loopback
        shown = LOOPBACK if address.is_unspecified else host
        self.url = f"http://{f'[{shown}]' if ':' in shown else shown}:{self.port}/" + (f"{secret}/" if secret else "")
        self.datasets = tuple(
            ServedDataset(name=name, url=self.url + urllib.parse.quote(name), store=one) for name, one in names
        )
        self._closed = False
        self._room = Room()
        self._tell = tell or _Teller().tell
        _running.add(self)
        self.mount("", self._list)
        for place in self.places:
            if isinstance(place.store, CloudStore):
                self.mount(place.name, self._passing_on(place, cache=not options.no_cache))

    def __repr__(self) -> str:
        return f"<DataServer {self.url}{' closed' if self._closed else ''}>"

    def mount(self, path: str, handler: Handler) -> None:
        """Let a handler answer under a path, in place of what answered there.

        Parameters
        ----------
        path
            Relative to :attr:`url`, such as ``events/abc``; empty for the page at the root.
        handler
            Answers requests of any method but ``OPTIONS``. One that fails is told on standard error, and its client
            gets a 500.
        """

        def call(
            method: str, path: str, query: str, headers: list[tuple[str, str]], body: bytes, reply: kernels.HttpReply
        ) -> None:
            request = Request(method=method, path=path, query=query, headers=_joined(headers), body=body)
            # a thread of Python's own, which may be in the middle of anything when the program ends
            threading.Thread(
                target=_answer, args=(handler, request, reply), name=f"precast {path}", daemon=True
            ).start()

        self._check_open()
        self._server.mount(_segments(path, empty=True), call)

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the server is closed", where=self.url)

    def mount_files(self, path: str, directory: str | os.PathLike[str], *, index: str = "index.html") -> None:
        """Serve the files of a directory that is no dataset, such as a web page, under a path.

        Parameters
        ----------
        path
            Relative to :attr:`url`, such as ``v/abc``; the page itself is at ``v/abc/``.
        directory
            Nothing outside it is served, nor what starts with a dot.
        index
            The file that stands for the directory.
        """
        self._check_open()
        try:
            root = Path(directory).resolve(strict=True)
        except OSError as error:
            raise translate_os_error(error, "reading", directory) from None
        self._server.mount_files(_segments(path), str(root), _rules_of_page(), index)

    def _passing_on(self, place: Place, *, cache: bool) -> Handler:
        return StoredDatasets(
            place.store, place.layers, listed=place.listed, cache=cache, room=self._room, tell=self._tell
        )

    def _is_ready(self, dataset: ServedDataset) -> bool:
        try:
            return dataset.ready
        except PrecastError as error:
            self._tell(error)
            return False

    def _list(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return Response(body=b"only to be read\n", status=405, headers={"Allow": "GET, HEAD, OPTIONS"})
        # the address that the client used: behind a forwarded port it is another than ours
        base = f"http://{request.headers['host']}{urllib.parse.urlsplit(self.url).path}"
        listed = [
            Listed(name=one.name, url=base + urllib.parse.quote(one.name), ready=self._is_ready(one), source=one.source)
            for one in self.datasets
        ]
        return listing(listed, as_html="text/html" in request.headers.get("accept", ""))

    def close(self) -> None:
        """Stop, after a moment for the answers that are on their way; again is fine."""
        self._closed = True
        _running.discard(self)
        self._server.close()
        self._room.close()

    def __enter__(self) -> DataServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def serve(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    options: ServeOptions | None = None,
    store: StoreOptions | None = None,
) -> DataServer:
    """Serve datasets in the background until the server that is returned is closed.

    Parameters
    ----------
    paths
        A dataset, a collection or a directory of datasets, on this machine or in a bucket, or several of them.
    options
        How; by default at port 9000 of this machine, for this machine alone.
    store
        How buckets are reached, beyond what the environment says; there has to be one then. What is in one is read with
        the credentials found there, and passed on to whoever may ask this server.

    Raises
    ------
    UsageError
        If there is no path, or as :class:`DataServer` does.
    """
    named = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not named:
        raise UsageError("there is nothing to serve", hint="name at least one dataset")
    return DataServer(named, options, store)


_running: weakref.WeakSet[DataServer] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Close what is still running: its threads must not be on their way into an interpreter that ends."""
    for server in list(_running):
        server.close()


def _answer(handler: Handler, request: Request, reply: kernels.HttpReply) -> None:
    try:
        answer = handler(request)
        kind = [("Content-Type", answer.content_type)] if answer.content_type else []
        headers = [*kind, *answer.headers.items()]
        if isinstance(answer.body, bytes):
            reply.whole(answer.status, headers, answer.body)
            return
        pieces = iter(answer.body)
        try:
            reply.begin(answer.status, headers)
            for piece in pieces:
                if not _when_there_is_room(partial(reply.send, piece)):
                    break
        finally:
            if isinstance(pieces, Generator):
                pieces.close()
        reply.end()
    except Exception as error:  # a fault of the handler, which is told here and nowhere else
        if not isinstance(error, CutError):
            traceback.print_exc()
        _when_there_is_room(reply.fail)


def _when_there_is_room(put: Callable[[], bool | None]) -> bool:
    """Try until a client has taken what came before; waiting here, a thread can be ended with the program."""
    pause_s = SHORTEST_PAUSE_S
    while (taken := put()) is None:
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
    return taken


def _threads() -> int:
    return min(MOST_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _joined(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    named: dict[str, str] = {}
    for name, value in headers:
        named[name] = f"{named[name]}, {value}" if name in named else value
    return named


class _Teller:
    """Prints errors of stores on standard error: each once in a while, whatever object it is about."""

    def __init__(self) -> None:
        self._told: dict[tuple[type, str], float] = {}
        self._lock = threading.Lock()

    def tell(self, error: PrecastError) -> None:
        what = type(error), error.message.replace(error.where, "") if error.where else error.message
        with self._lock:
            if time.monotonic() < self._told.get(what, 0):
                return
            self._told[what] = time.monotonic() + SILENT_S
        lines = [f"error: {error.message}", *([f"hint: {error.hint}"] if error.hint else [])]
        with suppress(OSError, ValueError):  # nobody may be reading it; that is no reason not to answer
            sys.stderr.write("\n".join([*lines, ""]))
            sys.stderr.flush()


def _segments(path: str, *, empty: bool = False) -> list[str]:
    segments = [segment for segment in path.split("/") if segment]
    if not segments and not empty:
        raise UsageError("a path to mount at must not be empty")
    return segments


# ---- rules


def _rules_of_objects(*, cache: bool) -> _Rules:
    def rule(kind: ObjectKind) -> _Rule:
        return _rule(kind.rule, cache=cache)

    return _Rules(
        [(name, rule(kind)) for name, kind in KINDS_BY_NAME.items()],
        [(suffix, rule(kind)) for suffix, kind in KINDS_BY_SUFFIX.items()],
        rule(ObjectKind.OTHER),
    )


def _rule(rule: ObjectRule, *, cache: bool) -> _Rule:
    return _Rule(rule.content_type, rule.cache_control() if cache else "no-cache", rule.whole)


def _rules_of_page() -> _Rules:
    by_suffix: Mapping[str, str] = CONTENT_TYPES
    return _Rules(
        [],
        [(suffix, _Rule(content_type, "no-cache", True)) for suffix, content_type in by_suffix.items()],
        _Rule("application/octet-stream", "no-cache", True),
    )


# ---- addresses


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the address that a name stands for; of several the first of the older kind, which all programs try."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"--host {host}: {getattr(error, 'strerror', None) or error}",
            hint="give an address of this machine: 127.0.0.1, or 0.0.0.0 for all of them",
        ) from None
    found.sort(key=lambda item: item[0] != socket.AF_INET)
    return ipaddress.ip_address(str(found[0][4][0]))


def _hosts(host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address, others: Sequence[str]) -> set[str]:
    """Return the names that requests may be for, in lower case, without brackets and ports."""
    names = {"localhost", LOOPBACK, "::1", str(address), host.strip("[]")}
    if not address.is_loopback:
        names |= {socket.gethostname(), socket.getfqdn()}
    names |= set(others)
    return {name.lower().removesuffix(".") for name in names}


def _host_name(text: str) -> str:
    try:
        parts = urllib.parse.urlsplit(f"//{text}")
        name = parts.hostname if parts.netloc == text and parts.username is None else None
    except ValueError:
        name = None
    if not name or "*" in name or not name.isprintable() or " " in name:
        raise UsageError(f"--allow-host {text!r} is not a host name", hint="give a name such as lab.example.org")
    return name


def _refused(error: OSError, host: str, port: int) -> PrecastError:
    where = f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        hint = "another program, perhaps another precast, has it; give another --port, or --port 0 for any that is free"
        return StorageError(f"port {port} of {host} is in use", hint=hint, where=where)
    if error.errno in (errno.EACCES, errno.EPERM):
        hint = "ports below 1024 are the system's; give one from 1024 to 65535"
        return AccessDeniedError(f"port {port} of {host} must not be used", hint=hint, where=where)
    if error.errno == errno.EADDRNOTAVAIL:
        hint = "give an address of this machine: 127.0.0.1, or 0.0.0.0 for all of them"
        return StorageError(f"{host} is no address of this machine", hint=hint, where=where)
    return StorageError(f"{where} cannot be served at: {error.strerror or error}", where=where)
