"""What ``precast view`` serves, in a real browser, and the pictures of ``precast snapshot`` beside it.

Set ``PRECAST_SCREENSHOTS`` to a folder to keep the pictures.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import imagecodecs
import neuroglancer
import numpy as np
import numpy.typing as npt
import pytest

import precast
import viewer_page
from precast.cli.main import run
from precast.errors import StorageError
from precast.hosting.frame import WINDOW
from viewer_truth import OFFSET, VOXEL_NM, grid, hash_colour, some_labels, write, wrong_share

Pixels = npt.NDArray[np.uint8]
SIZE = (640, 480)
LINES = 0.04
"""Share of looked-at pixels that lie under axes, frames and the scale bar."""


@pytest.fixture(scope="module", autouse=True)
def _browser() -> None:
    viewer_page.need_browser()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("PRECAST_SCREENSHOTS", tmp_path / "pictures"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return a directory with an image of 16 bits, and labels with meshes over it."""
    x, y, z = grid()
    em = (1000 + 100 * (x // 8) + 50 * (y // 8) + 400 * (z // 8)).astype(np.uint16)
    write(tmp_path / "out" / "em", em, "image")
    write(tmp_path / "out" / "labels", some_labels(), "segmentation")
    precast.mesh(tmp_path / "out" / "labels")
    return tmp_path / "out"


def colours(state: dict[str, Any]) -> npt.NDArray[np.float64]:
    """Return what is to be seen of :func:`out`, (z, y, x, RGB)."""
    x, y, z = grid()
    em = 1000.0 + 100 * (x // 8) + 50 * (y // 8) + 400 * (z // 8)
    low, high = state["layers"][0]["shaderControls"]["normalized"]["range"]
    seen = np.clip((em - low) / (high - low), 0, 1)[..., None] * [255.0, 255.0, 255.0]
    labels = some_labels()
    for one in (7, 2**63 + 5, 99):
        seen[labels == one] = 0.5 * seen[labels == one] + 0.5 * hash_colour(one)
    return np.asarray(seen)


def hues(panel: Pixels) -> npt.NDArray[np.bool_]:
    """Return where a 3-D panel shows something that is not grey."""
    solid = panel.astype(int)
    return np.asarray(solid.max(axis=-1) - solid.min(axis=-1) > 60)


def quarters(picture: Pixels) -> list[Pixels]:
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    return [picture[:height, :width], picture[:height, width:], picture[height:, :width], picture[height:, width:]]


def read(path: Path) -> Pixels:
    return np.asarray(imagecodecs.png_decode(path.read_bytes()))


def test_everything_comes_from_one_port_and_is_where_it_belongs(out: Path, pictures: Path) -> None:
    with precast.view(out) as view, viewer_page.open_page(WINDOW) as page:
        page.open(view.url)
        panels = page.panels(pictures / "view.png")
        assert page.problems == []
        assert len(page.requests) > 10
        for request in page.requests:
            assert request.path.startswith((view.server.url, "data:", "blob:", "about:")), request.path
        told = page.page.evaluate("() => JSON.parse(JSON.stringify(window.viewer.state.toJSON()))")
    assert [layer["name"] for layer in told["layers"]] == ["em", "labels"]
    expected = colours(view.state)
    assert wrong_share(panels, view.state, expected) == 0
    # the comparison can fail: other data by one value, one voxel, one axis
    changed = expected.copy()
    labels = some_labels()
    changed[labels == 99] += 0.5 * (hash_colour(98) - hash_colour(99))
    assert wrong_share(panels, view.state, changed) > 0.02
    assert wrong_share(panels, view.state, np.roll(expected, 1, axis=2)) > 0.02
    assert wrong_share(panels, view.state, expected[:, :, ::-1]) > 0.2
    assert hues(panels[2]).sum() > 2000


def with_boxes(folder: Path) -> None:
    import neuroglancer.write_annotations as annotations

    space = neuroglancer.CoordinateSpace(names=["x", "y", "z"], units="nm", scales=list(VOXEL_NM))
    writer = annotations.AnnotationWriter(space, "axis_aligned_bounding_box")
    low = np.array([20, 25, 10]) + OFFSET
    writer.add_axis_aligned_bounding_box(low, low + 10)
    writer.write(folder / "boxes")


def test_a_slow_start_does_not_lose_half_of_the_state(out: Path, pictures: Path) -> None:
    """Annotations are what the viewer trips over when it saves its state before it has read all of it."""
    with_boxes(out)
    with precast.view(out, options=precast.ViewOptions(layout="xy-3d")) as view, viewer_page.open_page() as page:
        slow = page.page.context.new_cdp_session(page.page)
        slow.send("Emulation.setCPUThrottlingRate", {"rate": 6})
        page.open(view.url)
        slow.send("Emulation.setCPUThrottlingRate", {"rate": 1})
        page.page.screenshot(path=pictures / "view-boxes.png")
        told = page.page.evaluate("() => JSON.parse(JSON.stringify(window.viewer.state.toJSON()))")
    assert [layer["name"] for layer in told["layers"]] == ["em", "labels", "boxes"]
    assert (told["layout"], told["selectedLayer"]) == ("xy-3d", view.state["selectedLayer"])
    assert not [problem for problem in page.problems if "exception" in problem or "failed" in problem]


# ---- pictures


def test_the_picture_is_what_the_viewer_shows(out: Path, tmp_path: Path, pictures: Path) -> None:
    made = precast.snapshot(
        out, output=pictures / "snapshot.png", options=precast.SnapshotOptions(size=SIZE, overwrite=True)
    )
    assert (made.path, made.width, made.height) == (str(pictures / "snapshot.png"), *SIZE)
    picture = read(pictures / "snapshot.png")
    assert picture.shape == (SIZE[1], SIZE[0], 3)
    expected = colours(made.state)
    panels = quarters(picture)
    under_lines = wrong_share(panels, made.state, expected)
    assert under_lines < LINES
    changed = expected.copy()
    changed[some_labels() == 99] += 0.5 * (hash_colour(98) - hash_colour(99))
    assert wrong_share(panels, made.state, changed) > under_lines + 0.02
    assert wrong_share(panels, made.state, expected[:, :, ::-1]) > 0.2
    assert hues(panels[2]).sum() > 2000

    # pixel for pixel what another program finds in a window with nothing but panels
    with precast.view(out) as view, viewer_page.open_page(SIZE) as page:
        here = json.loads(json.dumps(made.state))
        for layer, served in zip(here["layers"], view.state["layers"], strict=True):
            layer["source"] = served["source"]
        page.page.goto(view.url.partition("#")[0])
        page.page.add_style_tag(content=viewer_page.OVERLAYS)
        page.page.evaluate(
            """state => {
                const { viewer } = window;
                viewer.uiConfiguration.showUIControls.value = false;
                viewer.uiConfiguration.showPanelBorders.value = false;
                viewer.state.restoreState(state);
            }""",
            here,
        )
        page.settle()
        seen = np.asarray(imagecodecs.png_decode(page.page.screenshot())[..., :3])
        assert page.problems == []
    assert seen.shape == picture.shape
    assert (np.abs(seen.astype(int) - picture) > 2).any(axis=-1).mean() < 0.001


def test_the_verb_with_annotations_and_options(out: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_boxes(out)
    path = pictures / "snapshot-3d.png"
    path.write_bytes(b"old")
    arguments = ["snapshot", str(out), "-o", str(path), "--size", "500x400", "--layout", "3d", "--segments", "99"]
    assert run([*arguments, "--overwrite", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["result"]["path"], document["result"]["width"]) == (True, str(path), 500)
    state = document["result"]["state"]
    assert (state["layout"], state["layers"][1]["segments"]) == ("3d", ["99"])
    picture = read(path)
    assert picture.shape == (400, 500, 3)
    # one object and the box's edges, which are yellow; nothing of the other objects
    near = np.abs(picture.astype(int) / picture.max(axis=-1, keepdims=True).clip(1) - hash_colour(99) / 255).max(
        axis=-1
    )
    assert ((near < 0.08) & hues(picture)).sum() > 500
    assert ((picture[..., :2].min(axis=-1) > 200) & (picture[..., 2] < 60)).sum() > 50


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for temporary files that shows what is left."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def assert_nothing_is_left(folder: Path) -> None:
    assert list(folder.iterdir()) == []
    if sys.platform == "linux":
        commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        assert not [command for command in commands if str(folder).encode() in command]


def test_data_that_cannot_be_decoded_give_no_picture(out: Path, tmp_path: Path, own_folder: Path) -> None:
    (shard,) = (out / "em" / "16_16_20").glob("*.shard")
    data = bytearray(shard.read_bytes())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    shard.write_bytes(data)
    with pytest.raises(StorageError, match="could not draw everything"):
        precast.snapshot(out / "em", output=tmp_path / "x.png", options=precast.SnapshotOptions(size=SIZE, zoom=1))
    assert not (tmp_path / "x.png").exists()
    assert_nothing_is_left(own_folder)


def test_chunks_that_are_absent_are_empty(tmp_path: Path) -> None:
    """As in every unsharded volume with background: the server says 404, and all is well."""
    labels = np.zeros((64, 64, 192), np.uint32)
    labels[:, :, 128:] = 99
    options = precast.ConvertOptions(kind="segmentation", resolution=8, unsharded=True, scales=1)
    precast.convert(labels, tmp_path / "cells", options)
    assert len(list((tmp_path / "cells" / "8_8_8").iterdir())) == 1
    shown = precast.SnapshotOptions(size=(300, 200), layout="xy", segments="all")
    precast.snapshot(tmp_path / "cells", output=tmp_path / "x.png", options=shown)
    picture = read(tmp_path / "x.png")
    seen = np.abs(picture - hash_colour(99)).max(axis=-1) < 3
    assert seen[:, 200:].sum() > 5000
    assert not seen[:, :190].any()


class _NoAccess(SimpleHTTPRequestHandler):
    """A server that works, but does not let pages of other origins read it."""

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def closed_to_pages(out: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_NoAccess, directory=str(out)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_server_that_browsers_may_not_read_is_an_error_not_an_empty_picture(
    closed_to_pages: str, tmp_path: Path, own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["snapshot", f"{closed_to_pages}/labels", "-o", str(tmp_path / "x.png"), "--size", "640x480"]
    assert run(arguments) == 3
    told = capsys.readouterr().err
    assert f"could not draw everything: {closed_to_pages}/labels/" in told
    assert "MissingAllowOriginHeader" in told
    assert not (tmp_path / "x.png").exists()
    assert_nothing_is_left(own_folder)


def test_a_part_that_is_missing_is_an_error(out: Path, tmp_path: Path) -> None:
    (out / "labels" / "segment_properties" / "info").unlink()
    with pytest.raises(StorageError, match=r"segment_properties/info: status 404"):
        precast.snapshot(
            out / "labels", output=tmp_path / "x.png", options=precast.SnapshotOptions(size=SIZE, segments="7")
        )
    assert not (tmp_path / "x.png").exists()
