"""What the looks of ``test_forms`` tell apart: one label value, one axis, half a voxel.

Set ``PRECAST_SCREENSHOTS`` to a folder to keep the pictures.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import precast
import viewer_page
from precast.hosting.frame import WINDOW
from viewer_truth import OFFSET, OUTLINE, VOXEL_NM, hash_colour, silhouette_share, some_labels, write, wrong_share

IDS = (7, 2**63 + 5, 99)


@pytest.fixture(scope="module", autouse=True)
def _browser() -> None:
    viewer_page.need_browser()


def test_what_is_wrong_with_the_data_is_seen(tmp_path: Path) -> None:
    """The same state shows data that were changed behind its back; the looks that pass above must not pass."""
    cells, true = tmp_path / "out" / "cells", some_labels()
    pictures = Path(os.environ.get("PRECAST_SCREENSHOTS", tmp_path))
    write(cells, true, "segmentation")
    precast.mesh(cells)

    def put(data: npt.NDArray[np.uint64], voxel_nm: Sequence[int] = VOXEL_NM, offset: Sequence[int] = OFFSET) -> None:
        shutil.move(cells / "mesh", tmp_path / "mesh")
        shutil.rmtree(cells)
        resolution, start = (",".join(map(str, vector)) for vector in (voxel_nm, offset))
        options = precast.ConvertOptions(kind="segmentation", resolution=resolution, offset=start, scales=1)
        precast.convert(data, cells, options)
        shutil.move(tmp_path / "mesh", cells / "mesh")
        info = json.loads((cells / "info").read_text())
        (cells / "info").write_text(json.dumps({**info, "mesh": "mesh"}))

    serving = precast.ServeOptions(port=0, no_cache=True)
    with precast.serve(tmp_path / "out", serving) as server, viewer_page.open_viewer(tmp_path) as page:
        width, height = WINDOW
        page.page.set_viewport_size({"width": width, "height": height})
        base_url = f"{server.url.rstrip('/')}/out"
        options = precast.LinkOptions(viewer=page.client, segments="all")
        made = precast.link(f"{base_url}/cells", options=options)
        # where there is nothing, the background is seen
        expected = np.full((*true.shape, 3), 128.0)
        for one in IDS:
            expected[true == one] = hash_colour(one)

        def opened(name: str) -> Path:
            page.open(made.url)
            assert page.problems == []
            return pictures / f"wrong-{name}.png"

        def wrong(name: str) -> float:
            return wrong_share(page.panels(opened(name)), made.state, expected)

        assert wrong("nothing") == 0
        # one label value
        put(np.where(true == 99, np.uint64(98), true))
        assert wrong("value") > 0.02
        # one axis
        put(np.ascontiguousarray(true[:, ::-1]))
        assert wrong("axis") > 0.02
        # half a voxel: voxels of half the size, each twice, along one axis one of them further on
        half = true.repeat(2, 0).repeat(2, 1).repeat(2, 2)
        for axis in range(3):
            start = [2 * low + (k == axis) for k, low in enumerate(OFFSET)]
            put(half, [nm // 2 for nm in VOXEL_NM], start)
            assert wrong(f"half-{'xyz'[axis]}") > 0.005
        # half a voxel, in the meshes; nothing of the voxels, which were all written anew
        put(true)
        info = json.loads((cells / "mesh" / "info").read_text())
        for at in (3, 7):
            changed = list(info["transform"])
            changed[at] += VOXEL_NM[0] / 2
            (cells / "mesh" / "info").write_text(json.dumps({**info, "transform": changed}))
            picture = opened(f"half-mesh-{'xy'[at // 4]}")
            assert wrong_share(page.panels(picture), made.state, expected) == 0
            outline = page.outline(picture.with_stem(f"{picture.stem}-outline"))
            assert silhouette_share(outline, made.state, true > 0) > 2 * OUTLINE
