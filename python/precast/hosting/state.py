"""The state of a viewer that shows some datasets: what ``link``, ``view``, ``snapshot`` and ``build`` have in common.

Images lie under segmentations, annotations on top; every layer looks as its data suggest, everything is in view, and
the first segmentation is selected together with its largest objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from precast.dataset import Layer
from precast.errors import PrecastError, UsageError
from precast.findings import Finding, notice
from precast.hosting.addresses import encode_state, source_url
from precast.hosting.contrast import Contrast, measure_contrast
from precast.hosting.frame import LAYOUTS, WINDOW, Frame, extent_of, parse_position
from precast.hosting.segments import DEFAULT_LARGEST, SegmentChoice, parse_segments, select_segments
from precast.hosting.shaders import MOST_CHANNELS, image_shader
from precast.precomputed.collection import BLENDS

__all__ = ["PlacedLayer", "ViewOptions", "ViewerState", "build_state"]

ORDER = {"image": 0, "segmentation": 1, "annotation": 2}
"""From the lowest to the highest."""

NOT_SELECTED_ALPHA = 0.15
"""Beside selected objects the others stay visible in slices; the viewer's own choice is to hide them."""

LARGEST_ZOOM = 1e6


@dataclass(frozen=True, kw_only=True)
class ViewOptions:
    """How datasets are shown.

    Raises
    ------
    UsageError
        If a value is not allowed; the text says what is.
    """

    segments: str | Sequence[int] | None = field(
        default=None,
        metadata={
            "help": "Objects to select: all, none, largest:N, ids, or a file with ids "
            f"[default: largest:{DEFAULT_LARGEST} of what has meshes or skeletons].",
            "metavar": "WHICH",
        },
    )
    blend: str | None = field(
        default=None,
        metadata={
            "help": "How images are put over each other: one hides the other, or they add up.",
            "choices": BLENDS,
        },
    )
    layout: str = field(default="4panel", metadata={"help": "Panels.", "choices": LAYOUTS})
    position: str | Sequence[int | float] | None = field(
        default=None,
        metadata={"help": "Voxel in the middle, of the finest dataset [default: its centre].", "metavar": "X,Y,Z"},
    )
    zoom: float | str = field(
        default=1.0, metadata={"help": "1 shows everything, 4 is four times as near.", "metavar": "FACTOR"}
    )

    def __post_init__(self) -> None:
        for spec in fields(self):
            choices, value = spec.metadata.get("choices"), getattr(self, spec.name)
            if choices and value is not None and value not in choices:
                raise UsageError(f"--{spec.name} must be one of {', '.join(choices)}; got {value!r}")
        self.segment_choice()
        self.place()
        self.factor()

    def segment_choice(self) -> SegmentChoice:
        """Return which objects are selected."""
        if self.segments is None or isinstance(self.segments, str):
            return parse_segments(self.segments)
        return parse_segments(",".join(str(one) for one in self.segments) or "none")

    def place(self) -> list[float] | None:
        """Return the position that was given."""
        return None if self.position is None else parse_position(self.position)

    def factor(self) -> float:
        """Return the zoom as a number."""
        try:
            value = float(self.zoom)
        except (TypeError, ValueError):
            value = 0.0
        if not 1 / LARGEST_ZOOM <= value <= LARGEST_ZOOM:
            raise UsageError(f"--zoom must be a positive number, got {self.zoom!r}", hint="1 shows everything")
        return value


@dataclass(frozen=True, eq=False)
class PlacedLayer:
    """A dataset, and the address at which the viewer finds it."""

    layer: Layer
    url: str


@dataclass(frozen=True, eq=False)
class ViewerState:
    """A state as JSON, and what was noticed while it was made."""

    state: dict[str, Any]
    findings: tuple[Finding, ...]

    def fragment(self) -> str:
        """Return it as it stands behind ``#!`` in an address."""
        return encode_state(self.state)


def build_state(
    placed: Sequence[PlacedLayer],
    options: ViewOptions | None = None,
    *,
    window: tuple[int, int] = WINDOW,
    bare: bool = False,
    title: str = "",
) -> ViewerState:
    """Build the state of a viewer that shows datasets.

    Parameters
    ----------
    placed
        The datasets, in their order; at least one.
    options
        See :class:`ViewOptions`.
    window
        Width and height of the browser window in pixels; the zoom is chosen for it.
    bare
        Whether there is nothing in the window but panels, as in a picture; no side panel is opened then.
    title
        Of the page.

    Raises
    ------
    UsageError
        If there is no layer.
    AccessDeniedError, StorageError
        If a dataset cannot be read. Where only a nicety cannot be found out, a finding says so instead.
    """
    options = options or ViewOptions()
    if not placed:
        raise UsageError("there is nothing to show")
    ordered = sorted(placed, key=lambda one: ORDER[one.layer.kind])
    names = _unique([one.layer.name for one in ordered])
    findings: list[Finding] = []
    layers = []
    for one, name in zip(ordered, names, strict=True):
        value, found = _layer(one, name, options)
        layers.append(value)
        findings += found
    selected = next(
        (value["name"] for value in layers if value["type"] == "segmentation" and value.get("visible", True)), None
    )
    state: dict[str, Any] = {} if not title else {"title": title}
    extents = [extent for one in ordered if (extent := extent_of(one.layer)) is not None]
    place = options.place()
    if extents:
        frame = Frame(extents)
        position = place or frame.centre()
        if place and not frame.holds(place):
            findings.append(_outside(place, frame))
        room = frame.room(window, bars=not bare, side_panel=not bare and selected is not None)
        slices, deep = frame.scales(options.layout, options.factor(), room)
        state |= {
            "dimensions": frame.dimensions(),
            "position": [_short(number) for number in position],
            "crossSectionScale": slices,
            "projectionScale": deep,
        }
    elif place:
        state["position"] = [_short(number) for number in place]
    state["layers"] = layers
    if selected is not None and not bare:
        next(value for value in layers if value["name"] == selected)["tab"] = "segments"
        state["selectedLayer"] = {"layer": selected, "visible": True}
    state["layout"] = options.layout
    return ViewerState(state, tuple(findings))


def _short(number: float) -> int | float:
    return int(number) if number == int(number) else number


def _unique(names: list[str]) -> list[str]:
    """Return names that differ: viewers know layers by them."""
    taken: set[str] = set()
    result = []
    for name in names:
        number, new = 1, name
        while new in taken:
            number += 1
            new = f"{name}-{number}"
        taken.add(new)
        result.append(new)
    return result


def _outside(place: list[float], frame: Frame) -> Finding:
    bounds = [
        f"{float(low / edge):g} to {float(high / edge):g}"
        for low, high, edge in zip(frame.lower, frame.upper, frame.voxel, strict=True)
    ]
    return notice(
        "PV103",
        ",".join(f"{number:g}" for number in place),
        f"the position is outside the data, which go from {', '.join(bounds)} (x, y, z)",
        "--position takes voxels of the dataset with the finest voxels",
    )


def _layer(placed: PlacedLayer, name: str, options: ViewOptions) -> tuple[dict[str, Any], list[Finding]]:
    layer = placed.layer
    value: dict[str, Any] = {"type": layer.kind, "source": source_url(placed.url)}
    findings: list[Finding] = []
    if layer.kind == "image":
        more, findings = _image(layer, options)
        value |= more
    elif layer.kind == "segmentation":
        segments, findings = select_segments(layer, options.segment_choice())
        if segments:
            value["segments"] = segments
            if layer.info is not None:
                value["notSelectedAlpha"] = NOT_SELECTED_ALPHA
    value["name"] = name
    if not layer.view.visible:
        value["visible"] = False
    return value, findings


def _image(layer: Layer, options: ViewOptions) -> tuple[dict[str, Any], list[Finding]]:
    info = layer.info
    assert info is not None
    findings: list[Finding] = []
    contrast: list[Contrast] = []
    if layer.view.contrast is not None:
        contrast = [Contrast.given(*layer.view.contrast)] * info.num_channels
    elif info.data_type not in ("uint8", "int8"):
        try:
            contrast = measure_contrast(layer.volume) if layer.volume is not None else []
        except PrecastError as error:
            findings.append(
                notice(
                    "PV102",
                    layer.name,
                    f"no contrast could be found for {layer.name}: {error.message}",
                    "set it in the viewer, in the layer's rendering tab",
                )
            )
    if info.num_channels > MOST_CHANNELS:
        findings.append(
            notice(
                "PV104",
                layer.name,
                f"of the {info.num_channels} channels of {layer.name} the first {MOST_CHANNELS} are shown",
            )
        )
    value = image_shader(info.data_type, info.num_channels, contrast)
    value["opacity"] = 1
    blend = options.blend or layer.view.blend
    if blend == "additive":
        value["blend"] = blend
    return value, findings
