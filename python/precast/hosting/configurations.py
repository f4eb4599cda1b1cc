"""``hosting``: how a web server or a bucket is set up so that viewers can read datasets from it, ready for pasting."""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath

from precast.dataset import LayerSet, open_layers
from precast.dataset.layout import ScaleLayout
from precast.errors import FormatError, ObjectNotFoundError, UsageError
from precast.hosting.addresses import join_url
from precast.precomputed.mesh_info import MeshInfo
from precast.precomputed.objects import INFO_KEY
from precast.storage import LocalStore
from precast.storage.encodings import SUFFIXES

__all__ = [
    "BUCKETS",
    "SERVERS",
    "Configuration",
    "HostingOptions",
    "Site",
    "configure_hosting",
    "site_of",
]

SERVERS = ("nginx", "apache", "caddy")
BUCKETS = ("s3", "gcs")
DEFAULT_URL = "http://localhost:8080"
DEFAULT_ROOT = "/srv/precast"
PLAIN_PATH = re.compile(r"/?[A-Za-z0-9._~/+:@-]*")
"""What can stand in every configuration without quotes."""


@dataclass(frozen=True, kw_only=True)
class HostingOptions:
    """Where the data will be.

    Raises
    ------
    UsageError
        If a value is not allowed; the text says what is.
    """

    url: str | None = field(
        default=None,
        metadata={
            "help": f"Address below which the data will be, by the name of DATASET [default: {DEFAULT_URL}].",
            "metavar": "URL",
        },
    )
    root: str | os.PathLike[str] | None = field(
        default=None,
        metadata={
            "help": f"Directory that the server has at its address without a path [default: {DEFAULT_ROOT}].",
            "metavar": "DIR",
        },
    )
    bucket: str | None = field(default=None, metadata={"help": "Bucket of s3 or gcs.", "metavar": "NAME[/PREFIX]"})

    def __post_init__(self) -> None:
        if self.url is not None:
            _check_url(self.url)
        if self.root is not None:
            root = os.fspath(self.root)
            if not PurePosixPath(root).is_absolute() or not PLAIN_PATH.fullmatch(root):
                raise UsageError(
                    f"--root must be an absolute path without blanks and quotes, got {root!r}",
                    hint="make a link with a plain name to it, and give that",
                )
        if self.bucket is not None and not re.fullmatch(
            r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[A-Za-z0-9._~+-]+)*/?", self.bucket
        ):
            raise UsageError(
                f"--bucket must be the name of a bucket, with a prefix if need be; got {self.bucket!r}",
                hint="for example --bucket my-lab/mouse-12",
            )


def _check_url(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    hint = "for example https://data.example.org or http://localhost:8080/mouse-12"
    try:
        _ = parts.port
    except ValueError:
        raise UsageError(f"--url {url!r} has no valid port", hint=hint) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise UsageError(f"--url must be an http or https address without ? and #, got {url!r}", hint=hint)
    if not re.fullmatch(r"[A-Za-z0-9.-]+(:[0-9]+)?", parts.netloc) or not PLAIN_PATH.fullmatch(parts.path):
        raise UsageError(f"--url must be plain letters, digits and . _ ~ / + : @ -, got {url!r}", hint=hint)
    if any(part.startswith(".") for part in parts.path.split("/")):
        raise UsageError(f"--url must not have parts that begin with a dot, got {url!r}", hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What is served, and where it will be.

    Attributes
    ----------
    source
        The local directory: a dataset, or a directory of some. On the server it has the same name.
    url
        Address of the directory that it is put into.
    root
        Directory on the server that belongs to the address without its path.
    fragments
        Directories, relative to ``source``, of meshes whose files ``<id>`` are read by ranges.
    manifests
        Whether there are meshes of the single-resolution format, whose manifests are JSON.
    packed
        Whether there are files ``X.gz`` that stand for ``X``.
    """

    source: Path
    url: str
    root: str
    fragments: tuple[str, ...]
    manifests: bool
    packed: bool

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return urllib.parse.urlsplit(self.url).scheme

    @property
    def host(self) -> str:
        """The host without its port."""
        return urllib.parse.urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port."""
        return urllib.parse.urlsplit(self.url).port or {"http": 80, "https": 443}[self.scheme]

    @property
    def prefix(self) -> str:
        """Path of ``source`` below the root and below the host: ``a/b``, or nothing."""
        path = urllib.parse.urlsplit(self.url).path.strip("/")
        return "/".join(part for part in (path, self.source.name) if part)

    @property
    def target(self) -> str:
        """The directory on the server that ``source`` is copied to."""
        return f"{self.root.rstrip('/')}/{self.prefix}".rstrip("/")

    @property
    def address(self) -> str:
        """Address of ``source``."""
        return join_url(self.url, self.source.name)

    @property
    def in_place(self) -> bool:
        """Whether the data lie there already."""
        return Path(self.target) == self.source

    def fragment_paths(self) -> list[str]:
        """Return the directories of :attr:`fragments` as paths of addresses."""
        return ["/" + "/".join(part for part in (self.prefix, one) if part) for one in self.fragments]


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A configuration.

    Attributes
    ----------
    server
        What it is for.
    text
        The configuration; what has to be done by hand stands in its comments.
    url
        Where the directory will be.
    """

    server: str
    text: str
    url: str

    def __str__(self) -> str:
        return self.text


def configure_hosting(
    server: str, place: str | os.PathLike[str], options: HostingOptions | None = None
) -> Configuration:
    """Return the configuration with which a web server or a bucket serves local datasets to viewers.

    Parameters
    ----------
    server
        One of :data:`SERVERS` or :data:`BUCKETS`.
    place
        A dataset, a collection or a directory of datasets.
    options
        See :class:`HostingOptions`.

    Raises
    ------
    UsageError
        If the options do not go with the server.
    ObjectNotFoundError, FormatError
        If there is no dataset.
    """
    from precast.hosting import buckets, web_servers

    options = options or HostingOptions()
    if server not in (*SERVERS, *BUCKETS):
        raise UsageError(f"precast configures {', '.join((*SERVERS, *BUCKETS))}; not {server!r}")
    unused = ("bucket",) if server in SERVERS else ("url", "root")
    for spec in fields(options):
        if spec.name in unused and getattr(options, spec.name) is not None:
            raise UsageError(f"--{spec.name} does not go with {server}")
    if server in BUCKETS and options.bucket is None:
        raise UsageError(f"{server} needs the name of a bucket", hint="--bucket NAME, or --bucket NAME/PREFIX")
    site = site_of(place, options)
    if server in SERVERS:
        return Configuration(server=server, text=web_servers.TEXTS[server](site), url=site.address)
    assert options.bucket is not None
    return buckets.TEXTS[server](site, options.bucket)


def site_of(place: str | os.PathLike[str], options: HostingOptions) -> Site:
    """Look at what is to be served."""
    found = open_layers(place)
    if not isinstance(found.store, LocalStore):
        raise UsageError(f"{os.fspath(place)} is an address; what is to be served lies in a directory")
    source = found.store.root.resolve()
    if not PLAIN_PATH.fullmatch(source.name) or not str(source).isprintable():
        raise UsageError(
            f"the name of {str(source)!r} cannot stand in an address as it is", hint="rename the directory"
        )
    _refuse_what_is_not_sent(source, found)
    meshes = list(_mesh_directories(found))
    return Site(
        source=source,
        url=options.url or DEFAULT_URL,
        root=os.fspath(options.root or DEFAULT_ROOT),
        fragments=tuple(path for path, info in meshes if info.kind != "legacy" and info.sharding is None),
        manifests=any(info.kind == "legacy" for _, info in meshes),
        packed=any(True for _ in source.rglob(f"*{SUFFIXES['gzip']}")),
    )


def _refuse_what_is_not_sent(source: Path, found: LayerSet) -> None:
    """Raise where files lie in a form that none of these servers sends under the names that viewers ask for."""
    packed = next(source.rglob(f"*{SUFFIXES['br']}"), None)
    if packed is not None:
        raise UsageError(
            f"{packed} is packed with brotli, which these configurations do not send: nginx needs a module for it, "
            "and browsers take it over https alone",
            hint="igneous image xfer --compress gzip, or --sharded, writes a copy that they send",
            where=str(packed),
        )
    for layer in found.layers:
        for scale in () if layer.info is None else layer.info.scales:
            layout = ScaleLayout(layer.store, scale)
            if scale.sharding is None and _in_folders(layout):
                raise UsageError(
                    f"{layout.where} has its chunks in a folder per axis, where viewers do not look",
                    hint="write them with --flat of neuroglancer-scripts, or rename a/b/c to a_b_c",
                    where=layout.where,
                )


def _in_folders(layout: ScaleLayout) -> bool:
    try:
        return layout.in_folders()
    except FormatError:  # nothing is there yet
        return False


def _mesh_directories(found: LayerSet) -> Iterator[tuple[str, MeshInfo]]:
    """Yield the directories of meshes with their ``info``; without one they are of the single-resolution format."""
    for layer in found.layers:
        linked = "" if layer.part == "meshes" else (layer.info.mesh if layer.info is not None else None)
        if linked is None:
            continue
        parts = [part for part in linked.split("/") if part]
        key = "/".join([*parts, INFO_KEY])
        try:
            info = MeshInfo.from_bytes(layer.store.read(key), where=f"{layer.store.url}/{key}")
        except ObjectNotFoundError:
            info = MeshInfo(kind="legacy")
        yield "/".join([part for part in (layer.path, *parts) if part]), info
