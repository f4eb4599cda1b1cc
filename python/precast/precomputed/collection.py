"""A collection: datasets that are shown together, listed in the file ``precast.json`` of the directory they lie in.

One JSON object; layers stand in the order in which they are drawn, each is the directory of its name::

    {"@type": "precast_collection", "schema": 1,
     "layers": [{"name": "em", "kind": "image", "view": {"contrast": [20, 180]}},
                {"name": "labels", "kind": "segmentation"}]}

``view`` holds hints, all optional: ``visible`` (true), ``blend`` (``default`` or ``additive``; images) and ``contrast``
(the values that are shown black and white; images).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from precast.errors import FormatError, UsageError
from precast.precomputed.objects import COLLECTION_KEY
from precast.precomputed.strict_json import json_file, parse_object

__all__ = ["BLENDS", "LAYER_KINDS", "Collection", "CollectionLayer", "ViewHints"]

TYPE = "precast_collection"
SCHEMA = 1
LAYER_KINDS = ("image", "segmentation", "annotation")
BLENDS = ("default", "additive")


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewHints:
    """How a layer should look at first; checks itself.

    Attributes
    ----------
    visible
        Whether it is shown.
    blend
        How an image is put over what lies below it; one of :data:`BLENDS`.
    contrast
        The values of an image that are shown black and white, or None to find them out.
    """

    visible: bool = True
    blend: str | None = None
    contrast: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        _refuse(_hint_problems(self.visible, self.blend, self.contrast))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object; hints that say nothing are left out."""
        value: dict[str, Any] = {}
        if not self.visible:
            value["visible"] = False
        if self.blend is not None:
            value["blend"] = self.blend
        if self.contrast is not None:
            value["contrast"] = [_number(edge) for edge in self.contrast]
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionLayer:
    """One dataset of a collection; checks itself.

    Attributes
    ----------
    name
        Its directory, and what the layer is called.
    kind
        One of :data:`LAYER_KINDS`.
    view
        How it should look at first.
    """

    name: str
    kind: str
    view: ViewHints = field(default_factory=ViewHints)

    def __post_init__(self) -> None:
        _refuse(_layer_problems(self.name, self.kind))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        value: dict[str, Any] = {"name": self.name, "kind": self.kind}
        view = self.view.to_json()
        return value | ({"view": view} if view else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """The layers, the lowest first; checks itself.

    Raises
    ------
    UsageError
        If two have the same name.

    Examples
    --------
    >>> one = Collection(layers=(CollectionLayer(name="em", kind="image"),))
    >>> Collection.from_bytes(one.to_bytes()) == one
    True
    """

    layers: tuple[CollectionLayer, ...]

    def __post_init__(self) -> None:
        _refuse(_name_problems([layer.name for layer in self.layers]))

    def to_bytes(self) -> bytes:
        """Return the file: UTF-8 JSON, strict, the same bytes for the same value."""
        return json_file({"@type": TYPE, "schema": SCHEMA, "layers": [layer.to_json() for layer in self.layers]})

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str = COLLECTION_KEY) -> Collection:
        """Parse the file.

        Raises
        ------
        FormatError
            If it is not strict JSON or not a collection; lists every problem with its place.
        """
        value = parse_object(data, where)
        reader = _Reader()
        layers = reader.collection(value)
        if reader.problems:
            listing = "\n".join(f"  {problem}" for problem in reader.problems)
            raise FormatError(f"{where} does not describe a collection:\n{listing}", where=where)
        return cls(layers=layers)


def _number(value: float) -> int | float:
    return int(value) if value == int(value) else float(value)


def _refuse(problems: list[str]) -> None:
    if problems:
        raise UsageError("; ".join(problems))


# ---- rules


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _hint_problems(visible: Any, blend: Any, contrast: Any) -> list[str]:
    found = []
    if not isinstance(visible, bool):
        found.append(f"visible: must be true or false, got {visible!r:.60}")
    if blend is not None and blend not in BLENDS:
        found.append(f"blend: must be one of {', '.join(BLENDS)}, got {blend!r:.60}")
    if contrast is not None:
        good = isinstance(contrast, tuple | list) and len(contrast) == 2 and all(map(_is_number, contrast))
        if not good or contrast[0] == contrast[1]:
            found.append(f"contrast: must be two different numbers, got {contrast!r:.60}")
    return found


def _layer_problems(name: Any, kind: Any) -> list[str]:
    found = []
    if not isinstance(name, str) or not name or name.startswith(".") or any(bad in name for bad in "/\\\0"):
        found.append(f"name: must be the name of a directory that does not begin with a dot, got {name!r:.60}")
    elif not name.isprintable():
        found.append(f"name: must be printable, got {name!r:.60}")
    if kind not in LAYER_KINDS:
        found.append(f"kind: must be one of {', '.join(LAYER_KINDS)}, got {kind!r:.60}")
    return found


def _name_problems(names: list[Any]) -> list[str]:
    first: dict[Any, int] = {}
    found = []
    for at, name in enumerate(names):
        if isinstance(name, str) and first.setdefault(name, at) != at:
            found.append(f"layers[{at}].name: {name!r} is the name of layers[{first[name]}] too")
    return found


class _Reader:
    """Turns JSON into the model and collects every problem with its place."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def problem(self, place: str, text: str) -> None:
        self.problems.append(f"{place}: {text}" if place else text)

    def unknown(self, value: dict[str, Any], known: tuple[str, ...], place: str) -> None:
        for key in value:
            if key not in known:
                self.problem(f"{place}{key}", f"is not known; known are {', '.join(known)}")

    def collection(self, value: dict[str, Any]) -> tuple[CollectionLayer, ...]:
        if value.get("@type") != TYPE:
            self.problem("@type", f"must be {TYPE!r}, got {value.get('@type')!r:.60}")
        schema = value.get("schema")
        if type(schema) is int and schema > SCHEMA:
            # what it may hold is not for this version to judge
            self.problem("schema", f"{schema} is newer than this precast, which knows {SCHEMA}")
            return ()
        if type(schema) is not int or schema != SCHEMA:
            self.problem("schema", f"must be {SCHEMA}, got {schema!r:.60}")
        self.unknown(value, ("@type", "schema", "layers"), "")
        raw = value.get("layers")
        if not isinstance(raw, list) or not raw:
            self.problem("layers", f"must be a list of at least one layer, got {raw!r:.60}")
            return ()
        layers = [self.layer(item, f"layers[{at}]") for at, item in enumerate(raw)]
        self.problems += _name_problems([item.get("name") if isinstance(item, dict) else None for item in raw])
        return tuple(layer for layer in layers if layer is not None) if not self.problems else ()

    def layer(self, value: Any, place: str) -> CollectionLayer | None:
        if not isinstance(value, dict):
            self.problem(place, f"must be an object, got {value!r:.60}")
            return None
        self.unknown(value, ("name", "kind", "view"), f"{place}.")
        found = _layer_problems(value.get("name"), value.get("kind"))
        self.problems += [f"{place}.{problem}" for problem in found]
        view = self.view(value.get("view", {}), f"{place}.view")
        if found or view is None:
            return None
        return CollectionLayer(name=value["name"], kind=value["kind"], view=view)

    def view(self, value: Any, place: str) -> ViewHints | None:
        if not isinstance(value, dict):
            self.problem(place, f"must be an object, got {value!r:.60}")
            return None
        self.unknown(value, ("visible", "blend", "contrast"), f"{place}.")
        visible, blend, contrast = value.get("visible", True), value.get("blend"), value.get("contrast")
        found = _hint_problems(visible, blend, contrast)
        self.problems += [f"{place}.{problem}" for problem in found]
        if found:
            return None
        return ViewHints(
            visible=visible, blend=blend, contrast=None if contrast is None else (contrast[0], contrast[1])
        )
