"""Neuroglancer draws meshes in a real browser: where they are, at every level, without an error.

Set ``PRECAST_SCREENSHOTS`` to a folder to keep the pictures.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import mesh_files
import viewer_page

Pixels = npt.NDArray[np.uint8]
RED, GREEN = "#ff0000", "#00ff00"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("PRECAST_SCREENSHOTS", tmp_path / "pictures"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def state(
    source: str, voxel_nm: Sequence[float], centre: Sequence[float], colours: dict[int, str], scale: float, **more: Any
) -> dict[str, Any]:
    """Return a viewer state: some segments in 3d, seen along z, ``scale`` voxels (of x) from the top to the bottom."""
    return {
        "dimensions": {axis: [nm * 1e-9, "m"] for axis, nm in zip("xyz", voxel_nm, strict=True)},
        "position": list(centre),
        "projectionScale": scale,
        "layers": [
            {
                "type": "segmentation",
                "name": "labels",
                "source": source,
                "segments": [str(one) for one in colours],
                "segmentColors": {str(one): colour for one, colour in colours.items()},
            }
        ],
        "layout": {"type": "3d", "orthographicProjection": True},
        "showSlices": False,
        "showAxisLines": False,
        "showDefaultAnnotations": False,
        **more,
    }


def mask(picture: Pixels, channel: int) -> npt.NDArray[np.bool_]:
    """Return where a picture shows a pure colour, in light or in shadow."""
    others = [k for k in range(3) if k != channel]
    return np.asarray((picture[..., channel] > 40) & (picture[..., others].max(axis=-1) < picture[..., channel] // 3))


def extent(where: npt.NDArray[np.bool_]) -> list[int]:
    """Return left, right, top and bottom of what is drawn, in pixels."""
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    return [int(columns[0]), int(columns[-1]) + 1, int(rows[0]), int(rows[-1]) + 1]


def test_handmade_meshes_are_drawn_where_they_are_at_every_level(tmp_path: Path, pictures: Path) -> None:
    """The page by itself: what it asks for and shows of files that are known to be right."""
    objects = {1: mesh_files.make_object(mesh_files.BOX, 3), 2: mesh_files.make_object(mesh_files.ELL, 3)}
    mesh_files.write_dataset(tmp_path / "labels", objects, sharded=False)
    (low, high), scale = mesh_files.BOX[0], 120.0
    centre = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
    with viewer_page.open_viewer(tmp_path) as viewer:

        def levels_asked_for() -> dict[int, set[tuple[int, int]]]:
            """Return the fragments (level, which) of each object that were read."""
            found: dict[int, set[tuple[int, int]]] = {one: set() for one in objects}
            for one, item in objects.items():
                ranges, at = {}, 0
                for lod, level in enumerate(item.levels):
                    for k, cell in enumerate(level):
                        ranges[at, at + len(cell.stream)] = (lod, k)
                        at += len(cell.stream)
                for request in viewer.requests:
                    if request.path == f"labels/mesh/{one}":
                        found[one].add(ranges[request.start, request.stop])
            return found

        colours = {1: RED, 2: GREEN}
        source = f"precomputed://{viewer.address}/data/labels"
        # A level is refined where half a pixel is less than its scale, here 4 and 2 voxels; a panel is 650 pixels high.
        viewer.show(state(source, mesh_files.RESOLUTION, centre, colours, 8000))
        viewer.picture(pictures / "handmade-afar.png")
        assert {lod for asked in levels_asked_for().values() for lod, _ in asked} == {2}
        viewer.zoom(4000)
        assert {lod for asked in levels_asked_for().values() for lod, _ in asked} == {2, 1}
        viewer.zoom(scale)
        assert levels_asked_for() == {
            one: {(lod, k) for lod, level in enumerate(item.levels) for k, cell in enumerate(level) if cell.stream}
            for one, item in objects.items()
        }
        both = viewer.picture(pictures / "handmade-near.png")
        assert mask(both, 0).sum() > 1000
        assert mask(both, 1).sum() > 1000

        viewer.show(state(source, mesh_files.RESOLUTION, centre, {1: RED}, scale))
        picture = viewer.picture(pictures / "handmade-box.png")
        assert viewer.problems == []
    height, width = picture.shape[:2]
    per_voxel = height / scale
    expected = [
        width / 2 + (low[0] - centre[0]) * per_voxel,
        width / 2 + (high[0] - centre[0]) * per_voxel,
        height / 2 + (low[1] - centre[1]) * per_voxel,
        height / 2 + (high[1] - centre[1]) * per_voxel,
    ]
    assert extent(mask(picture, 0)) == pytest.approx(expected, abs=1.5)
