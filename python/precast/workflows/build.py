"""``build``: from sources to datasets that are meshed, listed, checked and ready to be looked at, in one call.

What a former call has made, from the same files and with the same options, is kept. What that was stands in
``.precast/build.json`` beside the datasets; names that begin with a dot are never served.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import Field, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from precast import __version__
from precast.checks import CheckOptions, Report, check
from precast.dataset.members import read_list
from precast.errors import DestinationExistsError, UsageError
from precast.execution.memory import peak_rss_bytes
from precast.execution.progress import NoProgress, Progress
from precast.execution.workdir import BUILD_LEDGER
from precast.findings import Finding
from precast.hosting.link import LinkOptions, link
from precast.hosting.server import DEFAULT_PORT
from precast.hosting.view import viewer_at
from precast.pipelines.convert import ConvertOptions, convert
from precast.pipelines.mesh import MeshOptions, mesh
from precast.pipelines.mesh.plan import MESH_DIRECTORY, files_digest
from precast.pipelines.options import MEMORY, THREADS, check_choices
from precast.precomputed.collection import Collection, CollectionLayer
from precast.precomputed.info import VolumeInfo
from precast.precomputed.objects import COLLECTION_KEY, INFO_KEY, JSON, PROVENANCE_KEY
from precast.precomputed.provenance import Provenance
from precast.sources import SourceOptions, open_source
from precast.sources.guess import guess_kind
from precast.storage import Attributes, LocalStore
from precast.storage.opening import is_url, local_directory
from precast.workflows.per_source import PerSource

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
        The directory.
    layers
        The datasets, in the order of the sources.
    report
        The result of the check.
    url
        Address of the viewer while ``precast view DESTINATION`` runs.
    seconds, peak_memory_bytes
        What it took.
    findings
        What was noticed by the way, and what the check found.
    """

    destination: str
    layers: tuple[BuiltLayer, ...]
    report: Report
    url: str
    seconds: float
    peak_memory_bytes: int
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether everything was done and nothing is wrong."""
        return self.report.ok and not any(layer.failures for layer in self.layers)


def build(
    *sources: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    options: BuildOptions | None = None,
    progress: Progress | None = None,
) -> BuildSummary:
    """Convert sources, each into a dataset of its own, mesh labels, list all of it, check it and make a link.

    Parameters
    ----------
    sources
        Folders of slices, TIFF or ``.npy`` files, or their addresses in buckets; what each holds is found out.
    destination
        The directory in which the datasets are made, each under the name of its source.
    options
        See :class:`BuildOptions`.
    progress
        Told what happens; by default nobody is.

    Raises
    ------
    UsageError
        If there is no source, two have the same name, or options do not fit.
    DestinationExistsError
        If a dataset is there that was made from something else, and ``overwrite`` is not set.
    PrecastError
        Whatever ``convert``, ``mesh`` and ``check`` raise. What was finished is kept, and the same call goes on there.
    """
    begun = time.perf_counter()
    options, progress = options or BuildOptions(), progress or NoProgress()
    if not sources:
        raise UsageError("there is nothing to build from", hint="precast build SOURCE... DESTINATION")
    root = local_directory(destination, "precast publish brings it to a bucket")
    names = _names(sources)
    options.check_names(names)
    work = _Work(root, options, progress)
    layers = tuple(work.layer(source, name) for source, name in zip(sources, names, strict=True))
    work.list(layers)
    progress.phase("checking", 0)
    report = check(root, options.check_options(), progress=progress)
    base, viewer = viewer_at(options.port)
    made = link(root, options=LinkOptions(base_url=base, viewer=viewer))
    return BuildSummary(
        destination=os.fspath(destination),
        layers=layers,
        report=report,
        url=made.url,
        seconds=time.perf_counter() - begun,
        peak_memory_bytes=peak_rss_bytes(),
        findings=(*work.findings, *report.findings, *made.findings),
    )


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
        names.append(name)
    return names


class _Work:
    """The steps, and the list of what has been done."""

    def __init__(self, root: Path, options: BuildOptions, progress: Progress) -> None:
        self.root = root
        self.options = options
        self.progress = progress
        self.findings: list[Finding] = []
        self._store = LocalStore(root)
        self._done = self._read()
        # first, because reading them is quick and a mistake likely
        self._tables = files_digest([table for _, table in options.csv.items()])

    def layer(self, source: str | os.PathLike[str], name: str) -> BuiltLayer:
        """Make what is not there yet of one dataset."""
        target = self.root / name
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
            if before != step or not (target / MESH_DIRECTORY / INFO_KEY).is_file():
                self.progress.note(f"{name}: meshes")
                again = self.options.mesh_options(name, again=before.get("gaps") is True)
                summary = mesh(target, again, progress=self.progress)
                self.findings += summary.findings
                meshed, count, failures = True, summary.objects, len(summary.failures)
                self._note(name, mesh={"gaps": True} if failures else step)
        return BuiltLayer(
            name=name,
            source=str(source),
            kind=kind,
            converted=converted,
            meshed=meshed,
            meshes=count,
            failures=failures,
        )

    def _convert(self, source: str | os.PathLike[str], name: str, target: Path) -> tuple[str, bool]:
        opened = open_source(source, SourceOptions())
        step = {
            "precast": __version__,
            "source": opened.fingerprint().stamp,
            # the kind is found out from the source, whose options hold for either
            "options": [self.options.convert_options(name, kind).result_options() for kind in KINDS],
        }
        known = self._done.get(name, {})
        if known.get("convert") == step and known.get("result") == _result(target) is not None:
            kind = VolumeInfo.from_bytes((target / INFO_KEY).read_bytes(), where=str(target)).kind
            self.options.check_kind(name, kind)
            self.progress.note(f"{name}: unchanged")
            return kind, False
        if target.exists() and not self.options.overwrite:
            raise DestinationExistsError(
                f"{target} exists already, and was not made from these files with these options",
                hint="give --overwrite to replace it, or another destination",
                where=str(target),
            )
        kind = guess_kind(opened).kind
        self.options.check_kind(name, kind)
        self.progress.note(f"{name}: from {source}")
        summary = convert(opened, target, self.options.convert_options(name, kind), progress=self.progress)
        self.findings += summary.findings
        self._done[name] = {}
        self._note(name, convert=step, result=_result(target))
        return summary.kind, True

    def list(self, layers: Sequence[BuiltLayer]) -> None:
        """Write ``precast.json``: images under labels; hints that somebody has put there for a layer are kept."""
        listed = read_list(self._store)
        before = {layer.name: layer for layer in listed.valid().layers} if listed is not None else {}
        new = {layer.name: CollectionLayer(name=layer.name, kind=layer.kind) for layer in layers}
        for name, layer in before.items():
            keep = layer.kind == new[name].kind if name in new else (self.root / name / INFO_KEY).is_file()
            if keep:
                new[name] = layer
        ordered = sorted(new.values(), key=lambda layer: layer.kind != "image")
        data = Collection(layers=tuple(ordered)).to_bytes()
        self._store.write(COLLECTION_KEY, data, Attributes(content_type=JSON))

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            value = json.loads((self.root / BUILD_LEDGER).read_bytes())
        except (OSError, ValueError):
            return {}  # all is made again, or refused where something is
        if not isinstance(value, dict) or not all(isinstance(one, dict) for one in value.values()):
            return {}
        return value

    def _note(self, name: str, **steps: Any) -> None:
        self._done[name] |= steps
        self._store.write(BUILD_LEDGER, json.dumps(self._done, indent=1).encode(), Attributes(content_type=JSON))


def _result(target: Path) -> str | None:
    """Return what tells a dataset from any other: the conversion in its provenance, with the digests of all voxels."""
    try:
        provenance = Provenance.parse((target / PROVENANCE_KEY).read_bytes())
    except OSError:
        return None
    if provenance.conversion is None or not (target / INFO_KEY).is_file():
        return None
    return hashlib.sha256(json.dumps(provenance.conversion, sort_keys=True).encode()).hexdigest()
