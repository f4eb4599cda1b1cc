"""What ``precast.link`` builds, opened in Neuroglancer: the right colours at the right places, and no error.

Set ``PRECAST_SCREENSHOTS`` to a folder to keep the pictures.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import neuroglancer
import numpy as np
import numpy.typing as npt
import pytest

import precast
import viewer_page
from precast.hosting.addresses import encode_state
from precast.hosting.frame import WINDOW
from viewer_page import Viewer
from viewer_truth import OFFSET, SIZE, VOXEL_NM, grid, hash_colour, slices, some_labels, write, wrong_share

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module", autouse=True)
def _browser() -> None:
    viewer_page.need_browser()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("PRECAST_SCREENSHOTS", tmp_path / "pictures"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Viewer]:
    with viewer_page.open_viewer(tmp_path) as viewer:
        width, height = WINDOW
        viewer.page.set_viewport_size({"width": width, "height": height})
        yield viewer


def link(viewer: Viewer, folder: str, **options: Any) -> precast.LinkSummary:
    """Return the link that shows a folder of what the page can read."""
    base_url = f"{viewer.address}/data"
    served = viewer.folder / folder
    return precast.link(served, options=precast.LinkOptions(base_url=base_url, viewer=viewer.client, **options))


def test_grey_under_labels_with_meshes(page: Viewer, tmp_path: Path, pictures: Path) -> None:
    """The state decides where voxels are to be seen and in which colours; the page is compared with the arrays."""
    x, y, z = grid()
    em = (1000 + 100 * (x // 8) + 50 * (y // 8) + 400 * (z // 8)).astype(np.uint16)
    labels = some_labels()
    write(tmp_path / "out" / "em", em, "image")
    write(tmp_path / "out" / "labels", labels, "segmentation")
    precast.mesh(tmp_path / "out" / "labels")
    made = link(page, "out")
    assert [layer.kind for layer in made.layers] == ["image", "segmentation"]
    page.open(made.url)
    panels = page.panels(pictures / "link-labels.png")
    assert page.problems == []

    low, high = made.state["layers"][0]["shaderControls"]["normalized"]["range"]
    grey = np.clip((em.astype(np.float64) - low) / (high - low), 0, 1)[..., None] * [255, 255, 255]
    expected = grey.copy()
    for one in (7, 2**63 + 5, 99):
        where = labels == one
        expected[where] = 0.5 * grey[where] + 0.5 * hash_colour(one)
    assert wrong_share(panels, made.state, expected) == 0
    # the comparison can fail: other data by one value, one axis, one voxel
    changed = expected.copy()
    changed[labels == 99] = 0.5 * grey[labels == 99] + 0.5 * hash_colour(98)
    assert wrong_share(panels, made.state, changed) > 0.02
    assert wrong_share(panels, made.state, np.roll(expected, 1, axis=2)) > 0.02
    assert wrong_share(panels, made.state, expected[:, :, ::-1]) > 0.2

    # everything is in view in every panel: what lies at the border is background
    for panel in slices(panels):
        edge = np.concatenate([panel[0], panel[-1], panel[:, 0], panel[:, -1]])
        assert (edge.std(axis=0) == 0).all()
    # the 3-D panel shows every selected object, and all of it
    solid = panels[2].astype(int)
    hues = solid.max(axis=-1) - solid.min(axis=-1) > 60
    assert hues.sum() > 2000
    assert not hues[[0, -1]].any()
    assert not hues[:, [0, -1]].any()


def test_what_the_viewer_understands_is_what_was_meant(page: Viewer, tmp_path: Path) -> None:
    labels = some_labels()
    write(tmp_path / "out" / "labels", labels, "segmentation")
    precast.mesh(tmp_path / "out" / "labels")
    state_file = tmp_path / "out" / "state.json"
    made = link(page, "out", state_file=str(state_file), segments=f"{2**63 + 5},7", layout="xy-3d", position="20,30,40")
    assert made.url == f"{page.client}#!{page.address}/data/out/state.json"
    page.open(made.url)
    told = page.page.evaluate("() => JSON.parse(JSON.stringify(window.viewer.state.toJSON()))")
    for key in ("dimensions", "position", "crossSectionScale", "projectionScale", "selectedLayer", "layout"):
        assert told[key] == made.state[key], key
    for key, value in made.state["layers"][0].items():
        assert told["layers"][0][key] == value, key
    assert made.state["position"] == [20.5, 30.5, 40.5]
    assert page.problems == []


def test_states_are_written_as_browsers_write_them(page: Viewer) -> None:
    state = {"a": "x|y:#'(é)日🙂", "every": "".join(map(chr, range(32, 127))), "b": [1, 2.5, 1e-9, None, True]}
    # what the viewer does: encodeURI, and some more characters escaped
    script = """text => encodeURI(text).replace(/[!'()*;,]/g, c => "%" + c.charCodeAt(0).toString(16).toUpperCase())"""
    text = json.dumps(state, ensure_ascii=False, separators=(",", ":"))
    assert encode_state(state) == page.page.evaluate(script, text)


def test_colours_of_several_channels(page: Viewer, tmp_path: Path, pictures: Path) -> None:
    x, y, z = grid()
    rgb = np.stack([x * 4, y * 5, z * 6]).astype(np.uint8)
    write(tmp_path / "rgb" / "photo", rgb, "image")
    made = link(page, "rgb")
    page.open(made.url)
    panels = page.panels(pictures / "link-rgb.png")
    assert wrong_share(panels, made.state, np.moveaxis(rgb, 0, -1).astype(np.float64)) == 0

    two = np.stack([x * 1000.0, np.where(y < 24, 0.0, z * 500.0)]).astype(np.float32)
    write(tmp_path / "two" / "stains", two, "image")
    made = link(page, "two")
    page.open(made.url)
    panels = page.panels(pictures / "link-two.png")
    controls = made.state["layers"][0]["shaderControls"]
    green, magenta = (
        np.clip((channel - low) / (high - low), 0, 1)
        for channel, (low, high) in zip(two, (controls[f"channel{at}"]["range"] for at in range(2)), strict=True)
    )
    assert wrong_share(panels, made.state, 255.0 * np.stack([magenta, green, magenta], axis=-1)) == 0
    assert page.problems == []


def test_skeletons_and_annotations(page: Viewer, tmp_path: Path, pictures: Path) -> None:
    """Skeletons come with their volume; annotations are a layer of their own. Both are written by other programs."""
    import neuroglancer.write_annotations as annotations
    from cloudvolume import CloudVolume
    from cloudvolume.skeleton import Skeleton

    labels = np.zeros(SIZE[::-1], np.uint64)
    labels[10:30, 10:20, 10:50] = 7
    write(tmp_path / "out" / "cells", labels, "segmentation")
    info = json.loads((tmp_path / "out" / "cells" / "info").read_text())
    (tmp_path / "out" / "cells" / "info").write_text(json.dumps({**info, "skeletons": "skeletons"}))
    volume = CloudVolume(f"file://{tmp_path}/out/cells", progress=False, compress=False)
    volume.skeleton.meta.info = {
        "@type": "neuroglancer_skeletons",
        "transform": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0],
        "vertex_attributes": [],
    }
    volume.skeleton.meta.commit_info()
    ends = (np.array([[12, 40.5, 20.5], [48, 40.5, 20.5]]) + OFFSET) * VOXEL_NM
    volume.skeleton.upload(Skeleton(ends.astype(np.float32), np.array([[0, 1]], np.uint32), segid=7))
    for file in (tmp_path / "out" / "cells" / "skeletons").glob("*.gz"):
        (file.with_suffix("")).write_bytes(gzip.decompress(file.read_bytes()))
    space = neuroglancer.CoordinateSpace(names=["x", "y", "z"], units="nm", scales=list(VOXEL_NM))
    writer = annotations.AnnotationWriter(space, "axis_aligned_bounding_box")
    low = np.array([20, 25, 10]) + OFFSET
    writer.add_axis_aligned_bounding_box(low, low + 10)
    writer.write(tmp_path / "out" / "boxes")

    made = link(page, "out")
    assert [(layer.name, layer.kind) for layer in made.layers] == [("cells", "segmentation"), ("boxes", "annotation")]
    assert made.state["layers"][0]["segments"] == ["7"]
    # Once without annotations: where starting takes more than 0.4 s, the viewer saves its state before it has read all
    # of it, which fails with a layer of them.
    page.show({**made.state, "layers": made.state["layers"][:1]})
    page.open(made.url)
    panels = page.panels(pictures / "link-skeletons.png")
    assert page.problems == []
    asked = {request.path for request in page.requests}
    assert "out/cells/skeletons/7" in asked
    assert any(path.startswith("out/boxes/spatial0/") for path in asked)
    solid = panels[2].astype(int)
    drawn = np.abs(solid - hash_colour(7)).max(axis=-1) < 40
    # the line lies 16 voxels below the middle, in its plane, and is 36 voxels long
    height = drawn.shape[0]
    per_voxel = height / made.state["projectionScale"]
    at = round(height / 2 + 16 * per_voxel)
    assert drawn[at - 3 : at + 4].any(axis=0).sum() == pytest.approx(36 * per_voxel, abs=4)
    assert not drawn[at + 4 :].any()
    yellow = (solid[..., :2].min(axis=-1) > 200) & (solid[..., 2] < 60)
    assert yellow.sum() > 50, "the edges of the box"
