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
import tifffile
from cloudvolume import CloudVolume

import mesh_files
import precast
import viewer_page

Pixels = npt.NDArray[np.uint8]
RED, GREEN = "#ff0000", "#00ff00"
TURNED = (0.3, 0.2, 0.1, 0.9)


@pytest.fixture(scope="module", autouse=True)
def _browser() -> None:
    viewer_page.need_browser()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("PRECAST_SCREENSHOTS", tmp_path / "pictures"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def state(
    source: str,
    voxel_nm: Sequence[float],
    centre: Sequence[float],
    colours: dict[int, str],
    scale: float,
    orientation: Sequence[float] = (0, 0, 0, 1),
) -> dict[str, Any]:
    """Return a viewer state: some segments in 3d, ``scale`` voxels (of x) from the top to the bottom."""
    return {
        "dimensions": {axis: [nm * 1e-9, "m"] for axis, nm in zip("xyz", voxel_nm, strict=True)},
        "position": list(centre),
        "projectionScale": scale,
        "projectionOrientation": list(orientation),
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
    }


def mask(picture: Pixels, channel: int) -> npt.NDArray[np.bool_]:
    """Return where a picture shows a pure colour, in light or in shadow."""
    others = [k for k in range(3) if k != channel]
    return np.asarray((picture[..., channel] > 40) & (picture[..., others].max(axis=-1) < picture[..., channel] // 3))


def extent(where: npt.NDArray[np.bool_]) -> list[int]:
    """Return left, right, top and bottom of what is drawn, in pixels."""
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    return [int(columns[0]), int(columns[-1]) + 1, int(rows[0]), int(rows[-1]) + 1]


def near(left: Any, right: Any, share: float) -> bool:
    """Return whether two masks differ in at most a share of what is set in the second."""
    return bool((left != right).sum() <= share * right.sum())


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


def stored_fragments(dataset: Path, one: int) -> tuple[str, list[float], dict[tuple[int, int], int]]:
    """Return the shard that an object is in, the scale of each level in voxels, and the level of each range of bytes.

    Read by cloud-volume, which knows nothing of what made the dataset.
    """
    source = CloudVolume(f"file://{dataset}", progress=False).mesh
    manifest = source.get_manifest(one)
    at = int(manifest.shard_offset) - sum(int(sizes.sum()) for sizes in manifest.fragment_offsets)
    ranges = {}
    for lod, sizes in enumerate(manifest.fragment_offsets):
        for size in sizes.tolist():
            if size:
                ranges[at, at + size] = lod
            at += size
    return str(manifest.path), [float(scale) * source.lod_scale_multiplier for scale in manifest.lod_scales], ranges


def test_meshes_of_real_labels_are_drawn_from_afar_and_from_near(
    connectomics: Path, tmp_path: Path, pictures: Path
) -> None:
    voxel_nm = (32, 32, 40)
    labels = np.stack([tifffile.imread(path) for path in sorted(connectomics.glob("*.tif"))])
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    # The largest object, whose surface is the only one to be cut into many cells, and one of middling size.
    order = ids[np.argsort(-counts)].tolist()
    large, small = order[0], order[60]
    dataset = tmp_path / "labels"
    precast.convert(connectomics, dataset, precast.ConvertOptions(resolution="32,32,40", scales=1))
    precast.mesh(dataset, precast.MeshOptions(max_error="10nm", include=(large, small)))
    shard, scales, ranges = stored_fragments(dataset, large)
    assert len(scales) >= 2

    z, y, x = np.nonzero(labels == large)
    centre = [(int(axis.min()) + int(axis.max()) + 1) / 2 for axis in (x, y, z)]
    with viewer_page.open_viewer(tmp_path) as viewer:

        def levels_asked_for() -> set[int]:
            asked = {(request.start, request.stop) for request in viewer.requests if request.path == f"labels/{shard}"}
            return {lod for fragment, lod in ranges.items() if fragment in asked}

        source = f"precomputed://{viewer.address}/data/labels"
        # A level is refined where half a pixel is less than its scale.
        height = viewer_page.PANEL_HEIGHT
        viewer.show(state(source, voxel_nm, centre, {large: RED, small: GREEN}, 2.5 * height * scales[-1]))
        afar = viewer.picture(pictures / "labels-afar.png")
        assert levels_asked_for() == {len(scales) - 1}
        assert mask(afar, 0).any()
        for lod in range(len(scales) - 1, 0, -1):
            viewer.zoom(1.5 * height * scales[lod])
            viewer.picture(pictures / f"labels-level-{lod - 1}.png")
            assert lod - 1 in levels_asked_for()

        extent_voxels = 1.1 * max(np.ptp(y), np.ptp(x) * height / viewer_page.WIDTH)
        viewer.show(state(source, voxel_nm, centre, {large: RED}, extent_voxels))
        picture = viewer.picture(pictures / "labels-near.png")
        asked = {(request.start, request.stop) for request in viewer.requests if request.path == f"labels/{shard}"}
        assert set(ranges) <= asked, "not every fragment of every level was read"
        viewer.show(state(source, voxel_nm, centre, {large: RED, small: GREEN}, extent_voxels / 8, TURNED))
        close = viewer.picture(pictures / "labels-close.png")
        assert mask(close, 0).any()
        assert viewer.problems == []
    rows, columns = (np.arange(length) + 0.5 - length / 2 for length in picture.shape[:2])
    per_voxel = picture.shape[0] / extent_voxels
    at_y, at_x = (
        np.floor(middle + pixels / per_voxel).astype(int)
        for middle, pixels in zip((centre[1], centre[0]), (rows, columns), strict=True)
    )
    inside = ((at_y >= 0) & (at_y < labels.shape[1]))[:, None] & ((at_x >= 0) & (at_x < labels.shape[2]))[None]
    shadow = (labels == large).any(axis=0)
    expected = inside & shadow[np.clip(at_y, 0, labels.shape[1] - 1)][:, np.clip(at_x, 0, labels.shape[2] - 1)]
    assert near(picture[..., 0] > 20, expected, 0.02)
