"""What is to be seen at a place, layer by layer: a collection, one dataset, or a directory of datasets."""

from __future__ import annotations

import json
import os
import urllib.parse
from dataclasses import dataclass, field
from functools import cached_property

from precast.dataset.members import Member, read_list, read_members
from precast.dataset.volume import Volume
from precast.errors import AccessDeniedError, FormatError, ObjectNotFoundError
from precast.precomputed.annotation_space import ANNOTATIONS_TYPE, AnnotationSpace
from precast.precomputed.collection import CollectionLayer, ViewHints
from precast.precomputed.info import VolumeInfo
from precast.precomputed.objects import COLLECTION_KEY, INFO_KEY
from precast.precomputed.strict_json import parse_object
from precast.storage import LocalStore, Store, StoreOptions, open_store
from precast.storage.opening import child_store

__all__ = ["Layer", "LayerSet", "open_layers"]

VOLUME_TYPE = "neuroglancer_multiscale_volume"
OBJECT_TYPES = {
    "neuroglancer_multilod_draco": "meshes",
    "neuroglancer_legacy_mesh": "meshes",
    "neuroglancer_skeletons": "skeletons",
}
"""Parts of a segmentation that can be shown on their own."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One dataset that can be shown.

    Attributes
    ----------
    name
        What it is called.
    kind
        ``image``, ``segmentation`` or ``annotation``.
    store
        Where it lies.
    path
        Its directory relative to the place that was opened; empty if it is that place itself.
    info
        The parsed ``info`` of a volume, or None. Its encodings may be ones that precast cannot decode.
    part
        ``meshes`` or ``skeletons`` if it holds only those, else empty.
    space
        Axes and bounds of annotations, or None.
    view
        How it should look at first.
    """

    name: str
    kind: str
    store: Store
    path: str = ""
    info: VolumeInfo | None = None
    part: str = ""
    space: AnnotationSpace | None = None
    view: ViewHints = field(default_factory=ViewHints)

    @cached_property
    def volume(self) -> Volume | None:
        """The volume, to be read; None if this is none.

        Raises
        ------
        FormatError
            If it has an encoding that precast cannot decode.
        """
        if self.info is None:
            return None
        where = f"{self.store.url}/{INFO_KEY}"
        return Volume(self.store, VolumeInfo.from_bytes(self.store.read(INFO_KEY), where=where))


@dataclass(frozen=True, eq=False)
class LayerSet:
    """The layers at a place.

    Attributes
    ----------
    store
        The place.
    layers
        At least one.
    single
        Whether the place is one dataset itself, rather than a directory of some.
    """

    store: Store
    layers: tuple[Layer, ...]
    single: bool


def open_layers(place: str | os.PathLike[str] | Store, options: StoreOptions | None = None) -> LayerSet:
    """Open what is at a place.

    Parameters
    ----------
    place
        A dataset; a collection (a directory with ``precast.json``); a directory of datasets, which come in the order of
        their names; the address of a dataset or a collection; or a store of one.
    options
        How its bucket is reached, beyond what the environment says.

    Raises
    ------
    ObjectNotFoundError
        If there is nothing that can be shown.
    FormatError
        If an ``info`` or ``precast.json`` cannot be understood; lists every problem.
    AccessDeniedError, StorageError, UsageError
        If the place cannot be read.
    """
    store = open_store(place, options)
    refused: AccessDeniedError | None = None
    try:
        data = _read(store, INFO_KEY)
    except AccessDeniedError as error:  # what object stores may say of objects that do not exist
        data, refused = None, error
    if data is not None:
        return LayerSet(store, (_layer(store, data, _name_of(store)),), single=True)
    try:
        listed = read_list(store)
    except AccessDeniedError as error:
        raise refused or error from None
    if listed is not None:
        return LayerSet(store, tuple(_listed(store, entry) for entry in listed.valid().layers), single=False)
    if refused is not None:
        raise refused
    layers = tuple(_found(store, member) for member in read_members(store))
    if not layers:
        raise ObjectNotFoundError(
            f"there is no dataset at {store.url}: no {INFO_KEY}, no {COLLECTION_KEY}",
            hint="give the directory or address of a dataset, or a directory of datasets",
            where=store.url,
        )
    return LayerSet(store, layers, single=False)


def _read(store: Store, key: str) -> bytes | None:
    try:
        return store.read(key)
    except ObjectNotFoundError:
        return None


def _name_of(store: Store) -> str:
    if isinstance(store, LocalStore):
        return store.root.resolve().name or "data"
    path = urllib.parse.unquote(urllib.parse.urlsplit(store.url).path).strip("/")
    return path.rpartition("/")[2] or "data"


def _listed(store: Store, entry: CollectionLayer) -> Layer:
    member = child_store(store, entry.name)
    try:
        data = member.read(INFO_KEY)
    except ObjectNotFoundError:
        raise ObjectNotFoundError(
            f"{store.url}/{COLLECTION_KEY} lists {entry.name!r}, which has no {INFO_KEY} file",
            hint="convert it again, or take it out of the list",
            where=member.url,
        ) from None
    layer = _layer(member, data, entry.name, path=entry.name, view=entry.view)
    if layer.kind != entry.kind:
        raise FormatError(
            f"{store.url}/{COLLECTION_KEY} says that {entry.name!r} is of the kind {entry.kind}; its info says "
            f"{layer.kind}",
            where=member.url,
        )
    return layer


def _found(store: Store, member: Member) -> Layer:
    if member.error is not None:
        raise member.error
    place = child_store(store, member.name)
    return _layer(place, place.read(INFO_KEY), member.name, path=member.name)


def _layer(store: Store, data: bytes, name: str, *, path: str = "", view: ViewHints | None = None) -> Layer:
    where = f"{store.url}/{INFO_KEY}"
    value = parse_object(data, where)
    kind, view = value.get("@type"), view or ViewHints()
    if isinstance(kind, str) and kind in OBJECT_TYPES:
        return Layer(name, "segmentation", store, path, part=OBJECT_TYPES[kind], view=view)
    if kind == ANNOTATIONS_TYPE:
        return Layer(name, "annotation", store, path, space=AnnotationSpace.from_json(value, where=where), view=view)
    if kind not in (None, VOLUME_TYPE):
        raise FormatError(
            f"{where} is of the type {json.dumps(kind, ensure_ascii=False)[:80]}, which is no layer of its own",
            hint="give the directory of the volume that it belongs to",
            where=where,
        )
    info = VolumeInfo.from_bytes(data, where=where, any_encoding=True)
    return Layer(name, _volume_kind(info), store, path, info=info, view=view)


def _volume_kind(info: VolumeInfo) -> str:
    """Return the kind of layer; a volume of the kind ``unknown`` is shown as its dtype suggests."""
    if info.kind in ("image", "segmentation"):
        return info.kind
    return "segmentation" if info.data_type in ("uint32", "uint64") and info.num_channels == 1 else "image"
