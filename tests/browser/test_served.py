"""Neuroglancer draws what ``precast serve`` serves, on another origin and on the same one."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import precast
import viewer_page
from precast.hosting.pages import Request, Response

SIZE = (40, 96, 128)  # z, y, x
CUT = 64  # x below which voxels are of object 1
PER_VOXEL = 4  # pixels


@pytest.fixture(scope="module", autouse=True)
def _browser() -> None:
    viewer_page.need_browser()


def state(source: str) -> dict[str, Any]:
    return {
        "dimensions": {axis: [8e-9, "m"] for axis in "xyz"},
        "position": [SIZE[2] / 2, SIZE[1] / 2, SIZE[0] / 2],
        "crossSectionScale": 1 / PER_VOXEL,
        "layers": [
            {
                "type": "segmentation",
                "name": "labels",
                "source": source,
                "segments": ["1"],
                "segmentColors": {"1": "#ff0000"},
                "selectedAlpha": 1,
            }
        ],
        "layout": "xy",
        "showAxisLines": False,
        "showScaleBar": False,
        "showDefaultAnnotations": False,
    }


def convert(folder: Path, *, unsharded: bool) -> Path:
    labels = np.full(SIZE, 2, np.uint32)
    labels[:, :, :CUT] = 1
    options = precast.ConvertOptions(resolution="8", kind="segmentation", unsharded=unsharded)
    precast.convert(labels, folder / "data" / "labels", options)
    return folder / "data" / "labels"


def check(picture: Any) -> None:
    red = (picture[..., 0] > 200) & (picture[..., 1:].max(axis=-1) < 60)
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    height, width = red.shape
    expected = [
        width / 2 - SIZE[2] / 2 * PER_VOXEL,
        width / 2 + (CUT - SIZE[2] / 2) * PER_VOXEL,
        height / 2 - SIZE[1] / 2 * PER_VOXEL,
        height / 2 + SIZE[1] / 2 * PER_VOXEL,
    ]
    assert [columns[0], columns[-1] + 1, rows[0], rows[-1] + 1] == pytest.approx(expected, abs=1.5)
    assert red[rows[0] + 1 : rows[-1], columns[0] + 1 : columns[-1]].all()


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("sharded", "{url}/|neuroglancer-precomputed:"),
        ("unsharded", "precomputed://{url}"),
        ("sharded", "{url}/"),
    ],
)
def test_on_another_origin(tmp_path: Path, kind: str, form: str) -> None:
    """Every header that a browser insists on is there."""
    dataset = convert(tmp_path, unsharded=kind == "unsharded")
    pictures = Path(os.environ.get("PRECAST_SCREENSHOTS", tmp_path))
    with (
        precast.serve(dataset, precast.ServeOptions(port=0)) as server,
        viewer_page.open_viewer(tmp_path) as viewer,
    ):
        assert viewer.address.rstrip("/") != server.url.rstrip("/")
        viewer.show(state(form.format(url=server.datasets[0].url)))
        check(viewer.picture(pictures / f"served-{kind}.png"))
        # to find out what is there the viewer asks for what other formats have, which is rightly missing
        assert [text for text in viewer.problems if form != "{url}/" or "404" not in text] == []


@pytest.mark.parametrize("private", [False, True])
def test_on_the_same_origin(tmp_path: Path, private: bool) -> None:
    """The viewer's own files and its stream of events can be mounted beside the data, also behind a secret path."""
    dataset = convert(tmp_path, unsharded=True)
    spec = importlib.util.find_spec("neuroglancer")
    assert spec is not None
    assert spec.origin is not None
    over, asked = threading.Event(), threading.Event()

    def events(_: Request) -> Response:
        def pieces() -> Iterator[bytes]:
            asked.set()
            yield b":\n\n"
            while not over.wait(0.1):
                yield b""

        return Response(body=pieces(), content_type="text/event-stream")

    with (
        precast.serve(dataset, precast.ServeOptions(port=0, private=private)) as server,
        viewer_page.open_viewer(tmp_path) as viewer,
    ):
        viewer.address = server.url.rstrip("/")
        token = viewer_page.TOKEN
        server.mount_files(f"v/{token}", Path(spec.origin).parent / "static" / "client")
        server.mount(f"events/{token}", events)
        server.mount(f"state/{token}", lambda _: Response())
        viewer.show(state(f"{server.datasets[0].url}/|neuroglancer-precomputed:"))
        check(viewer.picture(tmp_path / "same.png"))
        assert not viewer.problems, viewer.problems
        assert asked.is_set()
        over.set()
