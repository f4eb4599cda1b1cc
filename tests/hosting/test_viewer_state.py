"""The state that shows datasets: its parts against rules of their own, and all of it against the viewer's package."""

from __future__ import annotations

import json
import math
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import neuroglancer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import precast
from precast.dataset import Layer, open_layers
from precast.errors import StorageError, UsageError
from precast.hosting.contrast import Contrast, measure_contrast
from precast.hosting.frame import LAYOUTS, Extent, Frame, parse_position
from precast.hosting.segments import DEFAULT_LARGEST, parse_segments, select_segments
from precast.hosting.shaders import image_shader
from precast.hosting.state import PlacedLayer, ViewerState, ViewOptions, build_state
from precast.precomputed.collection import Collection, CollectionLayer, ViewHints

BASE = "https://host/data"


def convert(folder: Path, data: Any, resolution: str = "8", **options: Any) -> Path:
    precast.convert(data, folder, precast.ConvertOptions(resolution=resolution, **options))
    return folder


def state_of(folder: Path, **options: Any) -> ViewerState:
    layers = open_layers(folder).layers
    return build_state([PlacedLayer(layer, f"{BASE}/{layer.name}") for layer in layers], ViewOptions(**options))


def labels(count: int = 6) -> np.ndarray[Any, Any]:
    """Return labels of which ``100 - k`` is the k-th largest, and a great deal of background."""
    out = np.zeros((20, 32, 40), np.uint32)
    for k in range(count):
        out[2 * k, : 30 - k, :5] = 100 - k
    return out


# ---- the whole


def test_the_viewers_own_package_sees_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(100, 900, (20, 32, 40)).astype(np.uint16)
    convert(tmp_path / "em", image, "4.6,4.6,45", kind="image")
    convert(tmp_path / "labels", labels(), "9.2,9.2,45", kind="segmentation")
    precast.mesh(tmp_path / "labels")
    made = state_of(tmp_path, segments=f"{2**64 - 1},7", layout="xy-3d", blend="additive")
    state = neuroglancer.ViewerState(made.state)
    assert neuroglancer.to_json_dump(state) == neuroglancer.to_json_dump(json.loads(json.dumps(made.state)))
    assert [layer.name for layer in state.layers] == ["em", "labels"]
    em, seg = (layer.layer for layer in state.layers)
    assert isinstance(em, neuroglancer.ImageLayer)
    assert (em.opacity, em.blend) == (1, "additive")
    assert em.source[0].url == f"{BASE}/em/|neuroglancer-precomputed:"
    assert isinstance(seg, neuroglancer.SegmentationLayer)
    assert set(seg.segments) == {2**64 - 1, 7}
    assert state.selected_layer.layer == "labels"
    dimensions = state.dimensions
    assert list(dimensions.names) == ["x", "y", "z"]
    assert list(dimensions.units) == ["m", "m", "m"]
    assert list(dimensions.scales) == [4.6 / 1e9, 4.6 / 1e9, 45 / 1e9]
    assert list(state.position) == [40.5, 32.5, 10.5]
    assert state.layout.type == "xy-3d"
    # and it reads the address
    url = f"https://neuroglancer-demo.appspot.com/#!{made.fragment()}"
    assert neuroglancer.parse_url(url).to_json() == neuroglancer.ViewerState(made.state).to_json()


def test_images_lie_under_labels_and_annotations_on_top(tmp_path: Path) -> None:
    convert(tmp_path / "a-labels", labels(), kind="segmentation")
    convert(tmp_path / "b-em", np.zeros((8, 8, 8), np.uint8), kind="image")
    convert(tmp_path / "c-em", np.zeros((8, 8, 8), np.uint8), kind="image")
    (tmp_path / "0-points").mkdir()
    info = {
        "@type": "neuroglancer_annotations_v1",
        "dimensions": {"z": [8, "nm"], "y": [4, "nm"], "x": [4, "nm"]},
        "lower_bound": [0, -100, 0],
        "upper_bound": [10, 10, 10],
    }
    (tmp_path / "0-points" / "info").write_text(json.dumps(info))
    state = state_of(tmp_path).state
    assert [layer["name"] for layer in state["layers"]] == ["b-em", "c-em", "a-labels", "0-points"]
    assert state["layers"][3] == {
        "type": "annotation",
        "source": f"{BASE}/0-points/|neuroglancer-precomputed:",
        "name": "0-points",
    }
    # the finest voxels are those of the annotations; their box goes further down along y
    assert state["dimensions"] == {"x": [4e-9, "m"], "y": [4e-9, "m"], "z": [8e-9, "m"]}
    assert state["position"] == [40.5, math.floor((-100 + 64) / 2) + 0.5, 10.5]


def test_names_differ_although_directories_do_not(tmp_path: Path) -> None:
    convert(tmp_path / "em", np.zeros((8, 8, 8), np.uint8), kind="image")
    layer = open_layers(tmp_path / "em").layers[0]
    state = build_state([PlacedLayer(layer, f"{BASE}/{k}") for k in range(3)]).state
    assert [one["name"] for one in state["layers"]] == ["em", "em-2", "em-3"]
    with pytest.raises(UsageError, match="nothing to show"):
        build_state([])


def test_hints_of_a_collection(tmp_path: Path) -> None:
    for name in ("one", "two"):
        convert(tmp_path / name, np.zeros((8, 8, 8), np.uint8), kind="image")
    layers = (
        CollectionLayer(name="two", kind="image", view=ViewHints(contrast=(9, 3), blend="additive")),
        CollectionLayer(name="one", kind="image", view=ViewHints(visible=False)),
    )
    (tmp_path / "precast.json").write_bytes(Collection(layers=layers).to_bytes())
    two, one = state_of(tmp_path).state["layers"]
    assert two["blend"] == "additive"
    assert two["shaderControls"] == {"normalized": {"range": [9, 3], "window": [3, 9]}}
    assert one["visible"] is False
    assert "blend" not in state_of(tmp_path, blend="default").state["layers"][0]
    assert state_of(tmp_path, blend="additive").state["layers"][1]["blend"] == "additive"


def test_what_has_no_box_has_no_place(tmp_path: Path) -> None:
    (tmp_path / "bodies").mkdir()
    (tmp_path / "bodies" / "info").write_text('{"@type": "neuroglancer_legacy_mesh"}')
    made = state_of(tmp_path, segments="5")
    assert made.state == {
        "layers": [
            {
                "type": "segmentation",
                "source": f"{BASE}/bodies/|neuroglancer-precomputed:",
                "segments": ["5"],
                "name": "bodies",
                "tab": "segments",
            }
        ],
        "selectedLayer": {"layer": "bodies", "visible": True},
        "layout": "4panel",
    }
    assert [finding.code for finding in state_of(tmp_path, segments="all").findings] == ["PV101"]
    assert state_of(tmp_path, position="1,2,3").state["position"] == [1.5, 2.5, 3.5]


@pytest.mark.parametrize(
    "options",
    [
        {"layout": "5panel"},
        {"blend": "soft"},
        {"position": "1,2"},
        {"position": "1,2,x"},
        {"position": (1, 2, float("inf"))},
        {"zoom": 0},
        {"zoom": "near"},
        {"zoom": float("nan")},
        {"segments": "0"},
        {"segments": "5,0"},
        {"segments": str(2**64)},
        {"segments": "largest:0"},
        {"segments": "no such file"},
    ],
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ViewOptions(**options)


# ---- place and zoom

EDGES = st.tuples(*[st.integers(1, 1000).map(lambda n: Decimal(n) / 10)] * 3)
SIZES = st.tuples(*[st.integers(1, 5000)] * 3)
OFFSETS = st.tuples(*[st.integers(-5000, 5000)] * 3)


@st.composite
def extents(draw: st.DrawFn) -> Extent:
    edges, size, offset = draw(EDGES), draw(SIZES), draw(OFFSETS)
    return Extent(
        tuple(o * e for o, e in zip(offset, edges, strict=True)),
        tuple((o + n) * e for o, n, e in zip(offset, size, edges, strict=True)),
        edges,
    )


@given(st.lists(extents(), min_size=1, max_size=3))
def test_the_centre_is_the_middle_of_a_voxel_that_holds_the_middle(found: list[Extent]) -> None:
    frame = Frame(found)
    centre = frame.centre()
    assert frame.holds(centre) or any(n < 1 for n in _voxels(frame))
    for at, low, high, edge in zip(centre, frame.lower, frame.upper, frame.voxel, strict=True):
        middle = (low + high) / 2 / edge
        assert at % 1 == 0.5
        assert abs(middle - Decimal(at)) <= Decimal("0.5")
    assert frame.voxel in [extent.voxel for extent in found]


def _voxels(frame: Frame) -> list[float]:
    return [float((high - low) / edge) for low, high, edge in zip(frame.lower, frame.upper, frame.voxel, strict=True)]


@given(extents(), st.sampled_from(LAYOUTS), st.booleans())
def test_the_whole_is_in_view_and_fills_its_panel(extent: Extent, layout: str, side_panel: bool) -> None:
    """Corners of the box are projected as the viewer does it: pixels in slices, perspective in 3-D."""
    frame = Frame([extent])
    window = (1600, 1000)
    slices, deep = frame.scales(layout, 1, frame.room(window, bars=True, side_panel=side_panel))
    smallest = float(min(frame.voxel))
    size = [float(high - low) / smallest for low, high in zip(frame.lower, frame.upper, strict=True)]
    width, height = 1300.0 if side_panel else 1600.0, 954.0
    if layout.startswith("4panel"):
        width, height = width / 2, height / 2
    elif "-" in layout:
        width /= 2
    planes = {"xy": (0, 1), "xz": (0, 2), "yz": (2, 1)}
    shown = [plane for plane in planes if layout[:2] in (plane, "4p")] or ["xy"]
    fills = max(
        max(size[planes[plane][0]] / slices / width, size[planes[plane][1]] / slices / height) for plane in shown
    )
    assert 0.9 < fills < 0.92
    # in the middle `deep` voxels fill the height; the eye is deep / 2 / tan(22.5 degrees) away from there
    eye = deep / 2 / math.tan(math.radians(22.5))
    front = eye - size[2] / 2
    seen = max(size[1] / 2 / front, size[0] / 2 / front * height / width) / math.tan(math.radians(22.5))
    assert 0.9 < seen < 0.92


def test_zoom_and_position(tmp_path: Path) -> None:
    folder = convert(tmp_path / "em", np.zeros((10, 20, 30), np.uint8), kind="image", offset="5,0,0")
    whole, near = (state_of(folder, zoom=zoom).state for zoom in (1, "4"))
    assert near["crossSectionScale"] == pytest.approx(whole["crossSectionScale"] / 4, rel=1e-3)
    assert near["projectionScale"] == pytest.approx(whole["projectionScale"] / 4, rel=1e-3)
    assert whole["position"] == [20.5, 10.5, 5.5]
    assert state_of(folder, position="7,8.25,9").state["position"] == [7.5, 8.25, 9.5]
    assert parse_position([-3, 2.0, 1]) == [-2.5, 2.0, 1.5]
    outside = state_of(folder, position=(4, 0, 0))
    assert outside.state["position"] == [4.5, 0.5, 0.5]
    assert [finding.code for finding in outside.findings] == ["PV103"]
    assert "5 to 35, 0 to 20, 0 to 10" in outside.findings[0].message


# ---- contrast and colours


def contrast_of(tmp_path: Path, data: Any, **options: Any) -> list[Contrast]:
    shutil.rmtree(tmp_path / "em", ignore_errors=True)
    convert(tmp_path / "em", data, kind="image", **options)
    return measure_contrast(precast.open(tmp_path / "em"))


def test_contrast_ignores_a_few_extremes_and_what_is_not_there(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(5000, 300, (32, 64, 64)).clip(1, 60000).astype(np.uint16)
    data[:8] = 0  # slices that are not there
    data[10, 3, 4:9] = 65535
    (found,) = contrast_of(tmp_path, data)
    shown = data[data > 0]
    assert abs((shown < found.low).mean() - 0.005) < 0.001
    assert abs((shown > found.high).mean() - 0.001) < 0.0005
    assert (found.least, found.most) == (0, 65535)
    assert isinstance(found.low, int)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (np.zeros((4, 4, 4), np.uint16), (0, 1)),
        (np.full((4, 4, 4), 700, np.uint16), (0, 700)),
        (np.full((4, 4, 4), -2.5, np.float32), (-2.5, 0)),
        (np.full((4, 4, 4), np.nan, np.float32), (0, 1)),
        (np.array([np.nan, np.inf, -np.inf, 3] * 16, np.float32).reshape(4, 4, 4), (0, 3)),
        (np.array([0, 0, 0, 9] * 16, np.uint16).reshape(4, 4, 4), (0, 9)),
        (np.array([0.1, 0.1, 0.1, 0.4] * 16, np.float32).reshape(4, 4, 4), (0.1, 0.4)),
    ],
)
def test_contrast_of_odd_images(tmp_path: Path, data: Any, expected: tuple[float, float]) -> None:
    (found,) = contrast_of(tmp_path, data)
    assert (found.low, found.high) == expected
    assert found.least <= min(expected) < max(expected) <= found.most


def test_contrast_of_a_large_scale_comes_from_chunks_spread_over_it(tmp_path: Path, monkeypatch: Any) -> None:
    data = np.broadcast_to(np.arange(1, 129, dtype=np.uint16) * 100, (64, 64, 128)).copy()
    monkeypatch.setattr("precast.hosting.contrast.SAMPLE_BYTES", 16**3 * 2 * 12)
    (found,) = contrast_of(tmp_path, data, scales=1, chunk_size="16", unsharded=True)
    assert found.low < 3000
    assert found.high > 10000
    for chunk in (tmp_path / "em").glob("8_8_8/*"):
        chunk.unlink()  # not stored means 0, if that is how it was made
    record = json.loads((tmp_path / "em" / "provenance").read_text())
    record["processing"][-1]["scales"][0]["stored_chunks"] = 0
    (tmp_path / "em" / "provenance").write_text(json.dumps(record))
    (found,) = measure_contrast(precast.open(tmp_path / "em"))
    assert (found.low, found.high) == (0, 1)


def test_eight_bits_need_no_look_at_the_voxels(tmp_path: Path) -> None:
    folder = convert(tmp_path / "em", np.full((8, 8, 8), 3, np.uint8), kind="image")
    shutil.rmtree(folder / "8_8_8")
    made = state_of(folder)
    assert made.findings == ()
    assert set(made.state["layers"][0]) == {"type", "source", "opacity", "name"}


def test_an_image_that_cannot_be_read_is_shown_without_contrast(tmp_path: Path) -> None:
    folder = convert(tmp_path / "em", np.full((8, 8, 8), 3, np.uint16), kind="image", unsharded=True, compress="none")
    for chunk in (folder / "8_8_8").iterdir():
        chunk.write_bytes(b"short")
    made = state_of(folder)
    assert [finding.code for finding in made.findings] == ["PV102"]
    assert "shaderControls" not in made.state["layers"][0]


def test_shaders_by_channels() -> None:
    one = [Contrast(1, 2, 0, 3)]
    assert image_shader("uint8", 1, []) == {}
    assert image_shader("uint16", 1, one) == {"shaderControls": {"normalized": {"range": [1, 2], "window": [0, 3]}}}
    assert image_shader("uint64", 1, one)["shaderControls"]["normalized"]["range"] == ["1", "2"]
    assert "toNormalized(getDataValue(2))" in image_shader("uint8", 3, [])["shader"]
    rgb = image_shader("float32", 3, one * 3)
    assert list(rgb["shaderControls"]) == ["red", "green", "blue"]
    many = image_shader("uint16", 9, one * 9)
    assert list(many["shaderControls"]) == [f"channel{k}" for k in range(6)]
    for name in many["shaderControls"]:
        assert f"#uicontrol invlerp {name}(" in many["shader"]
        assert f"{name}()" in many["shader"]


def test_more_channels_than_colours_are_told(tmp_path: Path) -> None:
    folder = convert(tmp_path / "em", np.zeros((8, 4, 4, 4), np.uint8), kind="image")
    assert [finding.code for finding in state_of(folder).findings] == ["PV104"]


# ---- objects


def layer_of(folder: Path) -> Layer:
    return open_layers(folder).layers[0]


def chosen(folder: Path, which: str | None) -> list[str]:
    segments, findings = select_segments(layer_of(folder), parse_segments(which))
    assert findings == []
    return segments


def test_the_largest_objects_from_whatever_tells_their_sizes(tmp_path: Path) -> None:
    folder = convert(tmp_path / "labels", labels(), kind="segmentation")
    expected = [str(100 - k) for k in range(6)]
    assert chosen(folder, None) == []  # nothing to see in 3-D
    assert chosen(folder, "none") == []
    assert chosen(folder, "all") == expected
    assert chosen(folder, "largest:2") == expected[:2]
    precast.mesh(folder)
    assert chosen(folder, None) == expected
    (folder / "segment_properties" / "info").write_text("{}")
    assert chosen(folder, None) == expected  # the label table
    (folder / "label_table.npy").unlink()
    assert chosen(folder, None) == expected  # voxels of the coarsest scale
    shutil.rmtree(folder / "8_8_8")
    segments, findings = select_segments(layer_of(folder), parse_segments(None))
    assert segments == []
    assert [finding.code for finding in findings] == ["PV101"]


def test_only_objects_that_have_a_mesh_are_the_largest(tmp_path: Path) -> None:
    folder = convert(tmp_path / "labels", labels(), kind="segmentation")
    precast.mesh(folder, precast.MeshOptions(include=(98, 96), no_properties=True))
    assert chosen(folder, None) == ["98", "96"]
    assert chosen(folder, "largest:1") == ["98"]
    assert chosen(folder, "all") == [str(100 - k) for k in range(6)]


def test_objects_with_meshes_are_found_behind_many_without(tmp_path: Path, monkeypatch: Any) -> None:
    folder = convert(tmp_path / "labels", labels(), kind="segmentation")
    precast.mesh(folder, precast.MeshOptions(include=(96, 95), no_properties=True))
    for look_ups in (0, 1, 2, 100):
        monkeypatch.setattr("precast.hosting.segments.LOOK_UPS", look_ups)
        assert chosen(folder, "largest:1") == ["96"]
        assert chosen(folder, "largest:5") == ["96", "95"]


def test_there_is_an_end_to_what_is_selected_by_itself(tmp_path: Path) -> None:
    many = np.zeros((8, 40, 40), np.uint32)
    many[2, ::2, ::2] = np.arange(1, 401).reshape(20, 20)
    folder = convert(tmp_path / "labels", many, kind="segmentation")
    precast.mesh(folder)
    # all of one voxel: the lower id comes first
    assert chosen(folder, None) == [str(one) for one in range(1, DEFAULT_LARGEST + 1)]


def test_ids_by_name_and_in_files(tmp_path: Path) -> None:
    file = tmp_path / "ids.txt"
    file.write_bytes(b"\xef\xbb\xbf# mine\n5, 7\r\n18446744073709551615 # the last\n\n7;3\n")
    assert parse_segments(str(file)).ids == (5, 7, 2**64 - 1, 3)
    assert parse_segments("007,5,").ids == (7, 5)
    assert ViewOptions(segments=[2**63, 5]).segment_choice().ids == (2**63, 5)
    assert ViewOptions(segments=()).segment_choice().ids == ()
    for text, words in ((b"5\nseven\n", "'seven' is no id"), (b"0", "background"), (b"\xff\xfe", "cannot be read")):
        file.write_bytes(text)
        with pytest.raises(UsageError, match=words):
            parse_segments(str(file))
    with pytest.raises(UsageError, match="cannot be read as a file of ids"):
        parse_segments(str(tmp_path))


def test_objects_beside_the_selected_stay_visible(tmp_path: Path) -> None:
    folder = convert(tmp_path / "labels", labels(), kind="segmentation")
    layer = state_of(folder, segments="99").state["layers"][0]
    assert layer["segments"] == ["99"]
    assert 0 < layer["notSelectedAlpha"] < 0.5
    assert "notSelectedAlpha" not in state_of(folder).state["layers"][0]


def test_a_dataset_that_is_out_of_reach_is_an_error() -> None:
    with pytest.raises(StorageError, match="nothing answers"):
        open_layers("http://127.0.0.1:9/labels")
