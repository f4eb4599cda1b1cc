"""``build``: from sources to datasets that are meshed, listed, checked and ready to be looked at, in one call.

What a former call has made, from the same files and with the same options, is kept. What that was stands in a ledger:
``.precast/build.json`` beside the datasets of a directory (names that begin with a dot are never served), and in the
user's cache directory for datasets in a bucket. Of each dataset it has::

    convert   source, options and version of the conversion
    result    what tells its outcome from any other
    mesh      options, tables and conversion of the meshes, or that some objects have none
    begun     the conversion that is at work, and its outcome, once that is complete and readers do not see it yet
    meshing   the meshes that are at work

So a process may be ended between the moment in which readers see a dataset and that in which it is noted; and a dataset
that somebody else has put there is known to be another.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import Field, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from precast import __version__
from precast.checks import CheckOptions, Report, check
from precast.dataset.members import read_list
from precast.dataset.objects import rewrite
from precast.errors import DestinationExistsError, ObjectNotFoundError, UsageError
from precast.execution.memory import peak_rss_bytes
from precast.execution.progress import NoProgress, Progress
from precast.execution.published.place import exists
from precast.execution.work import build_ledger, open_destination
from precast.findings import Finding
from precast.hosting.link import LinkOptions, LinkSummary, link
from precast.hosting.server import DEFAULT_PORT
from precast.hosting.view import viewer_at
from precast.pipelines.convert import ConvertOptions
from precast.pipelines.convert.run import run_conversion
from precast.pipelines.mesh import MeshOptions, mesh
from precast.pipelines.mesh.plan import MESH_DIRECTORY, files_digest
from precast.pipelines.options import MEMORY, THREADS, check_choices
from precast.precomputed.collection import Collection, CollectionLayer
from precast.precomputed.info import VolumeInfo
from precast.precomputed.objects import COLLECTION_KEY, INFO_KEY, JSON, PROVENANCE_KEY, ObjectKind
from precast.precomputed.provenance import Provenance
from precast.sources import SourceOptions, open_source
from precast.sources.guess import guess_kind
from precast.storage import Attributes, LocalStore, Store, StoreOptions
from precast.storage.opening import child_store, is_bucket, is_url, open_places
from precast.workflows.per_source import PerSource
from precast.workflows.publish import Viewed, look, tell_former

__all__ = ["BuildOptions", "BuildSummary", "BuiltLayer", "build"]

KINDS = ("image", "segmentation")
_OF_MESHES = ("max_error", "min_voxels", "csv")
SUFFIXES = (".ome.tiff", ".ome.tif", ".tiff", ".tif", ".btf", ".npy")


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """How to build; what is not here has the defaults of ``convert``, ``mesh`` and ``check``.

    ``resolution``, ``offset``, ``image_encoding``, ``max_error``, ``min_voxels`` and ``csv`` take one value for all
    sources, or a mapping from the names of sources to values, in which None stands for all others.

    Raises
    ------
    UsageError
        If a value is not allowed; the text says what is.
    """

    resolution: Any = field(
        default=None,
        metadata={
            "help": "Voxel size x,y,z in nm, or with nm, um, mm. Needed unless the files say it.",
            "metavar": "X,Y,Z",
            "per_source": "any",
        },
    )
    image_encoding: Any = field(
        default="auto",
        metadata={
            "help": "Encoding of images: auto (which is raw), raw, jpeg or png.",
            "choices": ("auto", "raw", "jpeg", "png"),
            "metavar": "ENCODING",
            "per_source": "image",
        },
    )
    offset: Any = field(
        default=(0, 0, 0),
        metadata={
            "help": "Position of the first voxel, in voxels; default: 0,0,0.",
            "metavar": "X,Y,Z",
            "per_source": "any",
        },
    )
    unsharded: bool = field(default=False, metadata={"help": "One file per chunk and mesh instead of shards."})
    no_mesh: bool = field(default=False, metadata={"help": "Make no meshes."})
    max_error: Any = field(
        default=None,
        metadata={
            "help": "Largest distance of meshes to the surface of the voxels.",
            "metavar": "LENGTH",
            "per_source": "segmentation",
        },
    )
    min_voxels: Any = field(
        default=1,
        metadata={
            "help": "Make no meshes of objects with fewer voxels; default: 1.",
            "bounds": (1, 2**62),
            "metavar": "N",
            "per_source": "segmentation",
        },
    )
    csv: Any = field(
        default=None,
        metadata={
            "help": "Table with properties of the objects, by id; a path with = in it is given as ./PATH.",
            "metavar": "FILE",
            "per_source": "segmentation",
        },
    )
    sample: Any = field(
        default=1.0, metadata={"help": "Share of chunks and meshes that the check decodes.", "metavar": "SHARE"}
    )
    port: int = field(
        default=DEFAULT_PORT,
        metadata={"help": "Port of precast view for which the link is made.", "bounds": (1, 65535), "metavar": "PORT"},
    )
    memory: Any = field(default=None, metadata=MEMORY)
    threads: int | None = field(default=None, metadata=THREADS)
    overwrite: bool = field(
        default=False, metadata={"help": "Replace datasets that were made from other files or with other options."}
    )

    def __post_init__(self) -> None:
        for spec in fields(self):
            value, flag = getattr(self, spec.name), _flag(spec.name)
            if "per_source" not in spec.metadata:
                check_choices(spec.name, value, spec.metadata)
                continue
            given = PerSource.of(flag, value, spec.default)
            given = given.map(_whole_number if "bounds" in spec.metadata else _text_of_path)
            object.__setattr__(self, spec.name, given)
            given.check_values(flag, partial(self._check_value, spec))
            if self.no_mesh and spec.name in _OF_MESHES and given != PerSource(spec.default):
                raise UsageError(f"{flag} is about meshes, which --no-mesh leaves out", hint="leave out one of the two")
        # the options of the steps check the rest
        self.convert_options("", "image")
        self.mesh_options("")
        self.check_options()

    def _check_value(self, spec: Field[Any], value: Any) -> None:
        """Check one value of an option that may differ between sources."""
        check_choices(spec.name, value, spec.metadata)
        if spec.name in _OF_MESHES:
            MeshOptions(**{spec.name: value})
        elif spec.name != "image_encoding":
            ConvertOptions(**{spec.name: value})

    def check_names(self, sources: Sequence[str]) -> None:
        """See that every name in an option is that of a source.

        Raises
        ------
        UsageError
            If one is not.
        """
        for spec in fields(self):
            if "per_source" in spec.metadata:
                getattr(self, spec.name).check_names(_flag(spec.name), sources)

    def check_kind(self, name: str, kind: str) -> None:
        """See that what is given for a source by its name is for things of its kind.

        Raises
        ------
        UsageError
            If it is not.
        """
        for spec in fields(self):
            wanted = spec.metadata.get("per_source", "any")
            if wanted not in ("any", kind) and name in getattr(self, spec.name).named:
                raise UsageError(
                    f"{_flag(spec.name)} {name}={getattr(self, spec.name)[name]}: {name} is of the kind {kind}, and "
                    f"the option is for sources of the kind {wanted}",
                    hint="name another source; precast convert --dry-run says why a source is taken for what it is",
                )

    def convert_options(self, name: str, kind: str) -> ConvertOptions:
        """Return how the source of a name is converted if it turns out to be of a kind."""
        return ConvertOptions(
            kind=kind,
            resolution=self.resolution[name],
            offset=self.offset[name],
            encoding=self.image_encoding[name] if kind == "image" else "auto",
            unsharded=self.unsharded,
            memory=self.memory,
            threads=self.threads,
            overwrite=self.overwrite,
        )

    def mesh_options(self, name: str, *, again: bool = False) -> MeshOptions:
        """Return how the labels of a name are meshed; ``again`` if what is there has gaps."""
        return MeshOptions(
            max_error=self.max_error[name],
            min_voxels=self.min_voxels[name],
            csv=self.csv[name],
            unsharded=self.unsharded,
            memory=self.memory,
            threads=self.threads,
            overwrite=self.overwrite or again,
        )

    def check_options(self) -> CheckOptions:
        """Return how thoroughly the result is checked."""
        return CheckOptions(sample=self.sample, memory=self.memory, threads=self.threads)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _whole_number(value: Any) -> Any:
    """Return the number that was typed; anything else as it is, to be refused with the bounds."""
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else value


def _text_of_path(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltLayer:
    """One dataset.

    Attributes
    ----------
    name
        Its directory.
    source
        What it was made from.
    kind
        ``image`` or ``segmentation``.
    converted, meshed
        Whether this call did it; otherwise it was there already, or is not called for.
    meshes
        Objects with a mesh; None if they were there already, or are not called for.
    failures
        Objects that could not be meshed.
    """

    name: str
    source: str
    kind: str
    converted: bool
    meshed: bool
    meshes: int | None
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSummary:
    """What was done.

    Attributes
    ----------
    destination
        The directory, or the address in a bucket.
    layers
        The datasets, in the order of the sources.
    report
        The result of the check.
    viewed
        What viewers meet in the bucket, if everybody may read it; None if not, and for a directory.
    url
        Address of the viewer: of a directory while ``precast view DESTINATION`` runs, of a bucket for those who may
        read it.
    seconds, peak_memory_bytes
        What it took.
    findings
        What was noticed by the way, and what the checks found.
    """

    destination: str
    layers: tuple[BuiltLayer, ...]
    report: Report
    viewed: Viewed | None
    url: str
    seconds: float
    peak_memory_bytes: int
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether everything was done and nothing is wrong."""
        seen = self.viewed is None or self.viewed.ok
        return self.report.ok and seen and not any(layer.failures for layer in self.layers)


def build(
    *sources: str | os.PathLike[str],
    destination: str | os.PathLike[str] | Store,
    options: BuildOptions | None = None,
    progress: Progress | None = None,
    store: StoreOptions | None = None,
) -> BuildSummary:
    """Convert sources, each into a dataset of its own, mesh labels, list all of it, check it and make a link.

    Parameters
    ----------
    sources
        Folders of slices, TIFF or ``.npy`` files, or their addresses in buckets; what each holds is found out.
    destination
        The directory in which the datasets are made, each under the name of its source; the address of one in a bucket
        (``s3://…``, ``gs://…``, ``az://…``), or its store. In a bucket readers see the old datasets or the new ones.
    options
        See :class:`BuildOptions`.
    progress
        Told what happens; by default nobody is.
    store
        How buckets are reached, beyond what the environment says; there has to be one.

    Raises
    ------
    UsageError
        If there is no source, two have the same name, options do not fit, or the destination can only be read.
    DestinationExistsError
        If a dataset is there that was made from something else, and ``overwrite`` is not set.
    MissingExtraError
        If something is in a bucket, and the extra ``cloud`` is not installed.
    PrecastError
        Whatever ``convert``, ``mesh`` and ``check`` raise. What was finished is kept, and the same call goes on there.
    """
    begun = time.perf_counter()
    options, progress = options or BuildOptions(), progress or NoProgress()
    if not sources:
        raise UsageError("there is nothing to build from", hint="precast build SOURCE... DESTINATION")
    root = open_destination(open_places([*sources, destination], store)[-1])
    if not isinstance(root, LocalStore) and options.port != DEFAULT_PORT:
        raise UsageError(f"--port is of precast view, and {root.url} is no directory", hint="leave it out")
    names = _names(sources)
    options.check_names(names)
    work = _Work(root, options, progress, store)
    layers = tuple(work.layer(source, name) for source, name in zip(sources, names, strict=True))
    work.list(layers)
    progress.phase("checking", 0)
    report = check(root, options.check_options(), progress=progress)
    viewed = look(root, names, listed=True, progress=progress)
    seen = [finding for one in viewed.reports for finding in one.findings] if viewed is not None else []
    made = _link(root, options.port)
    return BuildSummary(
        destination=root.url,
        layers=layers,
        report=report,
        viewed=viewed,
        url=made.url,
        seconds=time.perf_counter() - begun,
        peak_memory_bytes=peak_rss_bytes(),
        findings=(*work.findings, *report.findings, *seen, *made.findings),
    )


def _link(root: Store, port: int) -> LinkSummary:
    """Make the link: of a bucket that of its address, of a directory that of its server, once it runs."""
    if not isinstance(root, LocalStore):
        return link(root)
    base, viewer = viewer_at(port)
    return link(root, options=LinkOptions(base_url=base, viewer=viewer))


def _names(sources: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Return the name of each source's dataset."""
    names: list[str] = []
    for source in sources:
        name = str(source).rstrip("/").rpartition("/")[2] if is_url(source) else Path(source).absolute().name
        for suffix in SUFFIXES:
            if name.lower().endswith(suffix):
                name = name[: -len(suffix)]
                break
        name = name.lstrip(".") or "data"
        if name in names:
            raise UsageError(
                f"two sources are called {name}", hint="rename one; datasets are called like their sources"
            )
        CollectionLayer(name=name, kind="image")  # which says what is wrong with a name
        names.append(name)
    return names


class _Work:
    """The steps, and the ledger of what has been done."""

    def __init__(self, root: Store, options: BuildOptions, progress: Progress, reached: StoreOptions | None) -> None:
        self.root = root
        self.options = options
        self.progress = progress
        self.findings: list[Finding] = []
        self._reached = reached
        self._ledger, self._key = build_ledger(root)
        self._done = self._read()
        # first, because reading them is quick and a mistake likely
        self._tables = files_digest([table for _, table in options.csv.items()])
        if exists(root, INFO_KEY):
            raise DestinationExistsError(
                f"{root.url} is a dataset, and build makes a directory of datasets",
                hint="name the directory that it is in, or another one",
                where=root.url,
            )
        listed = read_list(root)
        if listed is not None:
            listed.valid()  # it is added to at the end

    def layer(self, source: str | os.PathLike[str], name: str) -> BuiltLayer:
        """Make what is not there yet of one dataset."""
        target = child_store(self.root, name)
        kind, converted = self._convert(source, name, target)
        meshed, count, failures = False, None, 0
        if kind == "segmentation" and not self.options.no_mesh:
            options = self.options.mesh_options(name)
            step = {
                "precast": __version__,
                "options": options.result_options(),
                "csv": [] if options.csv is None else [self._tables[options.csv]],
                "of": self._done[name]["result"],
            }
            before = self._done[name].get("mesh") or {}
            if before != step or not _has_meshes(target):
                self.progress.note(f"{name}: meshes")
                again = before.get("gaps") is True or self._meshed_unnoted(name, target, step)
                self._note(name, meshing=step)
                summary = mesh(target, self.options.mesh_options(name, again=again), progress=self.progress)
                self.findings += summary.findings
                meshed, count, failures = True, summary.objects, len(summary.failures)
                self._note(name, mesh={"gaps": True} if failures else step, meshing=None)
        if converted or meshed:
            self.findings += tell_former(target)
        return BuiltLayer(
            name=name,
            source=str(source),
            kind=kind,
            converted=converted,
            meshed=meshed,
            meshes=count,
            failures=failures,
        )

    def _meshed_unnoted(self, name: str, target: Store, step: dict[str, Any]) -> bool:
        """Whether meshes that a former call began came into place, and it was ended before it could note that."""
        made = _provenance(target).meshing or {}
        ours = (made.get("version"), made.get("options")) == (__version__, step["options"])
        return self._done[name].get("meshing") == step and ours

    def _convert(self, source: str | os.PathLike[str], name: str, target: Store) -> tuple[str, bool]:
        opened = open_source(source, SourceOptions(), self._reached if is_bucket(source) else None)
        step = {
            "precast": __version__,
            "source": opened.fingerprint().stamp,
            # the kind is found out from the source, whose options hold for either
            "options": [self.options.convert_options(name, kind).result_options() for kind in KINDS],
        }
        known, there = self._done.get(name, {}), _result(target)
        if known.get("convert") == step and known.get("result") == there is not None:
            kind = VolumeInfo.from_bytes(target.read(INFO_KEY), where=f"{target.url}/{INFO_KEY}").kind
            self.options.check_kind(name, kind)
            self.progress.note(f"{name}: unchanged")
            return kind, False
        begun = known.get("begun") or {}
        if begun.get("step") != step:
            begun = {}
            self._refuse_other(name, target)
        kind = guess_kind(opened).kind
        self.options.check_kind(name, kind)
        self.progress.note(f"{name}: from {source}")
        options = self.options.convert_options(name, kind)

        def put(options: ConvertOptions) -> None:
            def complete(growing: Store) -> None:
                self._note(name, begun={"step": step, "result": _result(growing)})

            self.findings += run_conversion(opened, target, options, self.progress, complete=complete).findings

        try:
            put(replace(options, overwrite=False) if begun else options)
        except DestinationExistsError:
            # what was complete may be in place already, or is put there on the way to this error
            if not begun:
                raise
            there = _result(target)
            if there is None or there != begun.get("result"):
                self._refuse_other(name, target)
                put(options)
        result = _result(target)
        self._done[name] = {}
        self._note(name, convert=step, result=result)
        return kind, True

    def _refuse_other(self, name: str, target: Store) -> None:
        """Refuse to replace a dataset that is not known to be made from this, unless that is wanted."""
        if self.options.overwrite or not exists(target, INFO_KEY):
            return
        if self._done.get(name):
            raise DestinationExistsError(
                f"{target.url} exists already, and was not made from these files with these options",
                hint="give --overwrite to replace it, or another destination",
                where=target.url,
            )
        ledger = f"{self._ledger.url}/{self._key}"
        raise DestinationExistsError(
            f"{target.url} exists already, and {ledger} does not say what it was made from",
            hint="run it where it was built, or bring that file here; precast check --against SOURCE compares the two; "
            "--overwrite makes it again",
            where=target.url,
        )

    def list(self, layers: Sequence[BuiltLayer]) -> None:
        """Write ``precast.json``: images under labels; order and hints that somebody has put there are kept."""
        listed = read_list(self.root)
        made = {layer.name: CollectionLayer(name=layer.name, kind=layer.kind) for layer in layers}
        stay: list[CollectionLayer] = []
        for layer in listed.valid().layers if listed is not None else ():
            if layer.name in made:
                new = made.pop(layer.name)
                stay.append(layer if layer.kind == new.kind else new)
            elif exists(self.root, f"{layer.name}/{INFO_KEY}"):
                stay.append(layer)
        images = [layer for layer in made.values() if layer.kind == "image"]
        under = next((at for at, layer in enumerate(stay) if layer.kind != "image"), len(stay))
        others = [layer for layer in made.values() if layer.kind != "image"]
        collection = Collection(layers=(*stay[:under], *images, *stay[under:], *others))
        if listed is None or listed.collection != collection:
            rewrite(self.root, COLLECTION_KEY, collection.to_bytes(), ObjectKind.COLLECTION)

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            value = json.loads(self._ledger.read(self._key))
        except (ObjectNotFoundError, ValueError):
            return {}  # all is made again, or refused where something is
        if not isinstance(value, dict) or not all(isinstance(one, dict) for one in value.values()):
            return {}
        return value

    def _note(self, name: str, **steps: Any) -> None:
        noted = self._done.get(name, {}) | steps
        self._done[name] = {step: value for step, value in noted.items() if value is not None}
        done = self._read() | {name: self._done[name]}  # another process may have built other datasets there
        self._ledger.write(self._key, json.dumps(done, indent=1).encode(), Attributes(content_type=JSON))


def _has_meshes(target: Store) -> bool:
    info = VolumeInfo.from_bytes(target.read(INFO_KEY), where=f"{target.url}/{INFO_KEY}")
    return exists(target, f"{info.mesh or MESH_DIRECTORY}/{INFO_KEY}")


def _provenance(target: Store) -> Provenance:
    try:
        return Provenance.parse(target.read(PROVENANCE_KEY))
    except ObjectNotFoundError:
        return Provenance()


def _result(target: Store) -> str | None:
    """Return what tells a dataset from any other: the conversion in its provenance, with the digests of all voxels."""
    conversion = _provenance(target).conversion
    if conversion is None or not exists(target, INFO_KEY):
        return None
    return hashlib.sha256(json.dumps(conversion, sort_keys=True).encode()).hexdigest()
