"""Every form of data, by every way into the viewer: known colours at known places, and meshes where objects are.

An image lies under labels in each scene, so that one look judges two datasets: their voxels in the three slice panels,
their meshes by their outline in the fourth. The array from a formula is the truth, also for what other programs wrote.
Set ``PRECAST_SCREENSHOTS`` to a folder to keep the pictures.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import precast
import s3_server
import viewer_page
import web_server
import written_by_others as others
from buckets import forget_credentials, new_place
from precast.hosting.configurations import HostingOptions, configure_hosting
from precast.hosting.frame import WINDOW
from precast.workflows.publish import publish
from viewer_page import Viewer
from viewer_truth import OFFSET, OUTLINE, grid, hash_colour, silhouette_share, some_labels, write, wrong_share

Pixels = npt.NDArray[np.uint8]
Colours = npt.NDArray[np.float64]
IDS = (7, 2**63 + 5, 99)


@dataclass(frozen=True)
class Scene:
    """An image under labels, in a directory."""

    image: str
    labels: str
    values: npt.NDArray[Any]
    ids: tuple[int, ...] = IDS
    offset: Sequence[int] = OFFSET
    tolerance: float = 3
    """Of colours; jpeg moves them."""
    meshes: bool = True

    def objects(self) -> npt.NDArray[np.uint64]:
        return some_labels() if self.ids == IDS else others.labels()

    def colours(self, state: dict[str, Any]) -> Colours:
        """Return what is to be seen at every voxel (z, y, x, RGB), by the contrast that the state names."""
        if self.values.ndim == 4:
            under = np.moveaxis(self.values, 0, -1).astype(np.float64)
        else:
            low, high = state["layers"][0].get("shaderControls", {}).get("normalized", {}).get("range", (0, 255))
            under = np.clip((self.values.astype(np.float64) - low) / (high - low), 0, 1)[..., None] * np.full(3, 255.0)
        over = under.copy()
        objects = self.objects()
        for one in self.ids:
            over[objects == one] = 0.5 * under[objects == one] + 0.5 * hash_colour(one)
        return np.asarray(over)


def steps() -> npt.NDArray[np.uint16]:
    x, y, z = grid()
    return np.asarray(1000 + 100 * (x // 8) + 50 * (y // 8) + 400 * (z // 8)).astype(np.uint16)


SCENES = {
    "sharded": Scene("em", "sharded", steps()),
    "gzip": Scene("photo", "gzip", others.photo()),
    "legacy": Scene("jpeg", "legacy", others.grey(), tolerance=8),
    "igneous": Scene("igneous_grey_jpeg", "igneous_cells", others.grey(), others.IDS, tolerance=8),
    "igneous-sharded": Scene("igneous_grey_jpeg", "igneous_cells_sharded", others.grey(), others.IDS, tolerance=8),
    "igneous-brotli": Scene("igneous_grey_brotli", "igneous_cells", others.grey(), others.IDS),
    "scripts-folders": Scene(
        "neuroglancer_scripts_photo",
        "neuroglancer_scripts_cells_in_folders",
        others.photo(),
        others.IDS,
        others.NO_OFFSET,
        meshes=False,
    ),
    "scripts": Scene(
        "neuroglancer_scripts_photo", "neuroglancer_scripts_cells", others.photo(), others.IDS, others.NO_OFFSET
    ),
    "scripts-sharded": Scene(
        "neuroglancer_scripts_grey",
        "neuroglancer_scripts_cells_sharded",
        others.grey().astype(np.uint16) * 100,
        others.IDS,
        others.NO_OFFSET,
        meshes=False,
    ),
}


SENT_BY_PRECAST_ALONE = {
    "igneous-brotli": "igneous_grey_brotli",
    "scripts-folders": "neuroglancer_scripts_cells_in_folders",
}
"""Scenes with a dataset that ``precast hosting`` refuses: nginx has no brotli without another module."""


@pytest.fixture(scope="module", autouse=True)
def _browser() -> None:
    viewer_page.need_browser()


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with all datasets, below one that a web server can serve."""
    out = tmp_path_factory.mktemp("srv") / "out"
    write(out / "em", steps(), "image")
    write(out / "photo", others.photo(), "image", unsharded=True)
    write(out / "jpeg", others.grey(), "image", encoding="jpeg")
    for name, unsharded in (("sharded", False), ("gzip", True), ("legacy", True)):
        write(out / name, some_labels(), "segmentation", unsharded=unsharded)
    precast.mesh(out / "sharded")
    precast.mesh(out / "gzip", precast.MeshOptions(unsharded=True))
    precast.mesh(out / "legacy", precast.MeshOptions(format="legacy"))
    for name in others.VOXELS:
        others.copy(name, out / name.replace("/", "_"))
    # what the scenes are about is what was written
    assert list((out / "em").rglob("*.shard"))
    assert list((out / "gzip" / "16_16_20").glob("*.gz"))
    assert json.loads((out / "gzip" / "mesh" / "info").read_text())["@type"] == "neuroglancer_multilod_draco"
    assert not list((out / "gzip" / "mesh").glob("*.shard"))
    assert (out / "legacy" / "mesh" / "7:0").is_file() or (out / "legacy" / "mesh" / "7:0.gz").is_file()
    assert json.loads((out / "jpeg" / "info").read_text())["scales"][0]["encoding"] == "jpeg"
    return out


Show = Callable[[Sequence[str], str], tuple[Viewer, dict[str, Any], list[Pixels]]]


@contextmanager
def by_view(out: Path, pictures: Path) -> Iterator[Show]:
    with viewer_page.open_page(WINDOW) as page:

        def show(names: Sequence[str], picture: str) -> tuple[Viewer, dict[str, Any], list[Pixels]]:
            options = precast.ViewOptions(segments="all")
            serving = precast.ServeOptions(port=0, private=True)
            with precast.view(*(out / name for name in names), options=options, serving=serving) as view:
                page.problems.clear()
                page.open(view.url)
                return page, view.state, look(page, pictures / picture)

        yield show


@contextmanager
def by_address(base_url: str, pictures: Path) -> Iterator[Show]:
    """Yield what shows the datasets that are served at an address, in a viewer that comes from another one."""
    with viewer_page.open_viewer(pictures) as page:
        width, height = WINDOW
        page.page.set_viewport_size({"width": width, "height": height})

        def show(names: Sequence[str], picture: str) -> tuple[Viewer, dict[str, Any], list[Pixels]]:
            options = precast.LinkOptions(viewer=page.client, segments="all")
            made = precast.link(*(f"{base_url}/{name}" for name in names), options=options)
            page.problems.clear()
            page.open(made.url)
            return page, made.state, look(page, pictures / picture)

        yield show


@contextmanager
def by_serve(out: Path, pictures: Path) -> Iterator[Show]:
    with precast.serve(out, precast.ServeOptions(port=0)) as server:
        base_url = f"{server.url.rstrip('/')}/{out.name}"
        with by_address(base_url, pictures) as show:
            yield show


@contextmanager
def by_nginx(out: Path, pictures: Path) -> Iterator[Show]:
    web_server.need_server("nginx")
    port = web_server.free_port()
    base_url = f"http://127.0.0.1:{port}"
    left_out = shutil.ignore_patterns(*SENT_BY_PRECAST_ALONE.values())
    sent = Path(shutil.copytree(out, out.parent / "sent", copy_function=os.link, ignore=left_out))
    text = configure_hosting("nginx", sent, HostingOptions(url=base_url, root=out.parent)).text
    with (
        web_server.running("nginx", pictures / "nginx", text, port),
        by_address(f"{base_url}/{sent.name}", pictures) as show,
    ):
        yield show


@contextmanager
def by_bucket(out: Path, pictures: Path) -> Iterator[Show]:
    folder = out.parent / "s3"
    folder.mkdir()
    with s3_server.versitygw(folder) as server, pytest.MonkeyPatch.context() as patch:
        forget_credentials(patch, folder)
        patch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
        patch.setenv("AWS_REGION", server.region)
        place = new_place(server.endpoint, server.access_key, server.secret_key, server.region)
        publish(out, place.store("p"))
        place.open_to_browsers("p")
        with by_address(f"{place.endpoint}/{place.bucket}/p", pictures) as show:
            yield show


def look(page: Viewer, picture: Path) -> list[Pixels]:
    """Return the slice panels as they are opened, and for the 3-D panel an outline."""
    panels = page.panels(picture)
    panels[2] = page.outline(picture.with_stem(f"{picture.stem}-outline"))
    return panels


WAYS = {"view": by_view, "serve": by_serve, "nginx": by_nginx, "bucket": by_bucket}


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest, out: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Show]:
    """Open one browser for all scenes."""
    folder = Path(os.environ.get("PRECAST_SCREENSHOTS", tmp_path_factory.mktemp("pictures")))
    (folder / request.param).mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        yield stack.enter_context(WAYS[request.param](out, folder / request.param))


@pytest.mark.parametrize("name", SCENES)
def test_colours_and_outlines(way: Show, name: str, request: pytest.FixtureRequest) -> None:
    scene = SCENES[name]
    if name in SENT_BY_PRECAST_ALONE and request.node.callspec.params["way"] == "nginx":
        pytest.skip("nginx cannot send it")
    page, state, panels = way([scene.image, scene.labels], f"{name}.png")
    # neuroglancer-scripts write no info of meshes; the viewer asks for it, and takes its absence for the old format
    absent = "/neuroglancer_scripts_cells/mesh/info" if scene.labels == "neuroglancer_scripts_cells" else None
    told = [text for text in page.problems if absent is None or not (absent in text or text.endswith("(Not Found)"))]
    assert told == []
    assert wrong_share(panels, state, scene.colours(state), scene.offset, scene.tolerance) == 0
    if scene.meshes:
        assert silhouette_share(panels[2], state, scene.objects() > 0, scene.offset) < OUTLINE
