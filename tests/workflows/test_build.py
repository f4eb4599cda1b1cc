"""``precast.build``: what is made, what is kept, and what is told."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile

import precast
from precast.errors import DestinationExistsError, SourceError, UsageError

OPTIONS: dict[str, Any] = {"resolution": "16,16,20"}


def labels() -> npt.NDArray[np.uint32]:
    data = np.zeros((40, 48, 64), np.uint32)
    data[4:22, 4:30, 6:30] = 7
    data[10:36, 20:44, 36:60] = 90000
    return data


@pytest.fixture
def sources(tmp_path: Path) -> tuple[Path, Path]:
    """Return a folder of slices and a file: labels, and a noisy image of the same size."""
    folder, image = tmp_path / "src" / "cells", tmp_path / "src" / "em.ome.tif"
    folder.mkdir(parents=True)
    for z, page in enumerate(labels()):
        tifffile.imwrite(folder / f"{z:03}.tif", page)
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 64), np.uint8)
    tifffile.imwrite(image, noise, photometric="minisblack", metadata={"axes": "ZYX"})
    return folder, image


def build(sources: tuple[Path, ...], out: Path, **options: Any) -> precast.BuildSummary:
    return precast.build(*sources, destination=out, options=precast.BuildOptions(**{**OPTIONS, **options}))


def files(root: Path) -> dict[str, tuple[int, int]]:
    """Return what changes when a file is written again."""
    stats = {str(path.relative_to(root)): path.stat() for path in root.rglob("*") if path.is_file()}
    return {name: (status.st_ino, status.st_mtime_ns) for name, status in stats.items()}


def test_the_whole_way(sources: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = build(sources, out)
    cells, em = made.layers
    assert (cells.name, cells.kind, cells.converted, cells.meshed, cells.meshes) == (
        "cells",
        "segmentation",
        True,
        True,
        2,
    )
    assert (em.name, em.kind, em.converted, em.meshed, em.meshes) == ("em", "image", True, False, None)
    assert (precast.open(out / "cells").scales[0][...] == labels()).all()
    assert sorted(precast.open(out / "cells").meshes) == [7, 90000]
    assert [layer["name"] for layer in json.loads((out / "precast.json").read_text())["layers"]] == ["em", "cells"]
    assert made.ok
    assert made.report.findings == ()
    assert {one.name for one in made.report.datasets} == {"em", "cells"}
    # the link is that of the viewer, when it runs
    with precast.view(out) as view:
        assert made.url.replace("127.0.0.1:9000", f"127.0.0.1:{view.server.port}") == view.url


def test_what_is_there_already_is_kept(sources: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(sources, out)
    before = files(out)
    made = build(sources, out)
    assert [(layer.converted, layer.meshed) for layer in made.layers] == [(False, False)] * 2
    after = files(out)
    # the list is written anew each time, the same
    assert {name for name in after if after[name] != before[name]} == {"precast.json"}

    # other memory and threads are no other result
    made = build(sources, out, memory="500MB", threads=1)
    assert not any(layer.converted or layer.meshed for layer in made.layers)

    # one more source is made beside the others, and hints in the list are kept
    listed = json.loads((out / "precast.json").read_text())
    listed["layers"][0]["view"] = {"contrast": [10, 90]}
    (out / "precast.json").write_text(json.dumps(listed))
    np.save(tmp_path / "src" / "more.npy", labels() + np.uint32(1))
    made = build((tmp_path / "src" / "more.npy",), out)
    assert [(layer.name, layer.converted, layer.meshes) for layer in made.layers] == [("more", True, 3)]
    listed = json.loads((out / "precast.json").read_text())["layers"]
    assert [layer["name"] for layer in listed] == ["em", "more", "cells"]
    assert listed[0]["view"] == {"contrast": [10, 90]}


def rewrite(path: Path, data: npt.NDArray[Any]) -> None:
    """Write a file anew, of the same size but later."""
    size = path.stat().st_size
    tifffile.imwrite(path, data)
    assert path.stat().st_size == size
    later = time.time() + 10
    os.utime(path, (later, later))


def test_what_has_changed_is_made_again_if_that_is_wanted(sources: tuple[Path, Path], tmp_path: Path) -> None:
    out, changed = tmp_path / "out", labels()
    build(sources, out)
    changed[5] = 8
    rewrite(sources[0] / "005.tif", changed[5])
    before = files(out)
    with pytest.raises(DestinationExistsError, match="not made from these files") as caught:
        build(sources, out)
    assert "--overwrite" in (caught.value.hint or "")
    assert files(out) == before
    made = build(sources, out, overwrite=True)
    assert [(layer.converted, layer.meshed) for layer in made.layers] == [(True, True), (False, False)]
    assert (precast.open(out / "cells").scales[0][...] == changed).all()
    assert sorted(precast.open(out / "cells").meshes) == [7, 8, 90000]
    assert made.ok


def test_other_options_for_meshes_make_only_meshes_again(sources: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(sources, out)
    with pytest.raises(DestinationExistsError):
        build(sources, out, min_voxels=12000)
    made = build(sources, out, min_voxels=12000, overwrite=True)
    assert [(layer.converted, layer.meshed, layer.meshes) for layer in made.layers] == [
        (False, True, 1),
        (False, False, None),
    ]
    table = tmp_path / "cells.csv"
    table.write_text("id,label\n90000,big\n")
    assert build(sources, out, csv=str(table), overwrite=True).layers[0].meshed
    assert not build(sources, out, csv=str(table)).layers[0].meshed
    table.write_text("id,label\n90000,huge\n")
    assert build(sources, out, csv=str(table), overwrite=True).layers[0].meshed
    assert "huge" in (out / "cells" / "segment_properties" / "info").read_text()


def test_datasets_that_others_put_there_are_not_touched(sources: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(sources, out)
    # converted again by hand: no longer what was noted
    again = precast.ConvertOptions(resolution="8", overwrite=True)
    precast.convert(labels() * np.uint32(2), out / "cells", again)
    before = files(out)
    with pytest.raises(DestinationExistsError):
        build(sources, out)
    assert files(out) == before
    # a list of what was done that cannot be read is as if there were none
    (out / ".precast" / "build.json").write_text("[")
    with pytest.raises(DestinationExistsError):
        build((sources[1],), out)


def test_what_was_finished_before_an_error_is_kept(sources: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    broken = tmp_path / "src" / "broken.npy"
    broken.write_bytes(b"nothing")
    with pytest.raises(SourceError):
        build((*sources, broken), out)
    assert not (out / "precast.json").exists()
    np.save(broken, labels())
    made = build((*sources, broken), out)
    assert [layer.converted for layer in made.layers] == [False, False, True]


def test_without_meshes_and_unsharded(sources: tuple[Path, Path], tmp_path: Path) -> None:
    made = build(sources, tmp_path / "out", no_mesh=True, unsharded=True, image_encoding="png", port=9001)
    assert not (tmp_path / "out" / "cells" / "mesh").exists()
    assert list((tmp_path / "out" / "em").rglob("0-64*"))
    assert json.loads((tmp_path / "out" / "em" / "info").read_text())["scales"][0]["encoding"] == "png"
    assert made.url.startswith("http://127.0.0.1:9001/v/view/#!")
    assert made.ok
    # meshes can be made later
    assert build(sources, tmp_path / "out", unsharded=True, image_encoding="png").layers[0].meshes == 2


def test_what_is_wrong_is_told(sources: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(sources, out)
    (shard,) = (out / "em").rglob("*.shard")
    shard.write_bytes(shard.read_bytes()[:100])
    made = build(sources, out)
    assert not made.ok
    assert any(finding.where.startswith("em/") for finding in made.findings)


def test_usage(sources: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to build"):
        build((), tmp_path / "out")
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError, match="two sources are called cells"):
        build((sources[0], tmp_path / "other" / "cells"), tmp_path / "out")
    for wrong in ({"image_encoding": "gif"}, {"port": 0}, {"sample": "0%"}, {"resolution": "a"}, {"max_error": "x"}):
        with pytest.raises(UsageError):
            precast.BuildOptions(**wrong)
    assert not (tmp_path / "out").exists()


def test_a_table_that_is_not_there_is_told_before_anything_is_made(sources: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"cannot read .*cells\.csv"):
        build(sources, tmp_path / "out", csv=str(tmp_path / "cells.csv"))
    assert not (tmp_path / "out").exists()
