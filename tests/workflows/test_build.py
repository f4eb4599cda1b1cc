"""``precast.build``: what is made, what is kept, and what is told."""

from __future__ import annotations

import doctest
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
from precast.errors import DestinationExistsError, FormatError, MissingExtraError, SourceError, UsageError
from precast.storage import opening
from precast.workflows import per_source
from precast.workflows.per_source import PerSource

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
    assert files(out) == before

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
    assert [layer["name"] for layer in listed] == ["em", "cells", "more"]
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


def options(values: dict[str, Any]) -> precast.BuildOptions:
    return precast.BuildOptions(**values)


def scale_zero(out: Path, name: str) -> dict[str, Any]:
    scale: dict[str, Any] = json.loads((out / name / "info").read_text())["scales"][0]
    return scale


def test_values_of_one_source(sources: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    wanted: dict[str, Any] = {"resolution": {"em": (8, 8, 20), None: 16}, "offset": {"em": "10,20,30"}}
    made = build(sources, out, **wanted)
    assert made.ok
    assert [scale_zero(out, name)["resolution"] for name in ("cells", "em")] == [[16, 16, 16], [8, 8, 20]]
    assert [scale_zero(out, name)["voxel_offset"] for name in ("cells", "em")] == [[0, 0, 0], [10, 20, 30]]

    # the same in other words is the same
    same = {"resolution": typed("16", "em=8,8,20"), "offset": "em=10,20,30"}
    assert not any(layer.converted for layer in build(sources, out, **same).layers)

    # what has changed for one is made again for that one alone
    other = wanted | {"resolution": {"em": "8,8,21", None: 16}}
    with pytest.raises(DestinationExistsError, match="em exists"):
        build(sources, out, **other)
    made = build(sources, out, **other, overwrite=True)
    assert [(layer.converted, layer.meshed) for layer in made.layers] == [(False, False), (True, False)]
    assert scale_zero(out, "em")["resolution"] == [8, 8, 21]
    made = build(sources, out, **other | {"image_encoding": "em=png"}, overwrite=True)
    assert [layer.converted for layer in made.layers] == [False, True]
    assert scale_zero(out, "em")["encoding"] == "png"


def typed(*texts: str) -> PerSource:
    return PerSource.typed("--resolution", texts)


def test_meshes_of_one_source(sources: tuple[Path, Path], tmp_path: Path) -> None:
    out, more, table = tmp_path / "out", tmp_path / "src" / "more.npy", tmp_path / "more.csv"
    np.save(more, labels())
    table.write_text("id,label\n90000,big\n")
    both = (sources[0], more)
    named: dict[str, Any] = {"csv": {"more": table}, "min_voxels": "more=12000", "max_error": {"cells": "30nm"}}
    assert [layer.meshes for layer in build(both, out, **named).layers] == [2, 1]
    properties = [(out / name / "segment_properties" / "info").read_text() for name in ("cells", "more")]
    assert ["big" in text for text in properties] == [False, True]
    assert not any(layer.meshed for layer in build(both, out, **named).layers)
    table.write_text("id,label\n90000,huge\n")
    made = build(both, out, **named, overwrite=True)
    assert [layer.meshed for layer in made.layers] == [False, True]


def test_names_and_values_that_are_refused(sources: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("resolution", "offset", "image_encoding", "max_error", "min_voxels", "csv"):
        flag = f"--{name.replace('_', '-')}"
        value = "png" if name == "image_encoding" else 8
        with pytest.raises(UsageError, match=f"{flag} ems={value}: no source is called ems") as caught:
            build(sources, out, **{name: {"ems": value}})
        assert caught.value.hint == "they are called cells, em"
        with pytest.raises(UsageError, match=f"{flag}: 7 is no name"):
            options({name: {7: value}})
    for name, value, words in (
        ("resolution", "a", "not a voxel size"),
        ("resolution", "8,8", "three edges"),
        ("offset", "1,2", "three whole numbers"),
        ("image_encoding", "gif", "auto, raw, jpeg, png"),
        ("max_error", "x", "40nm"),
        ("min_voxels", "0", "from 1 to"),
        ("min_voxels", "many", "from 1 to"),
    ):
        with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} em={value}: ") as caught:
            options({name: f"em={value}"})
        assert words in f"{caught.value.message} {caught.value.hint}"
    # what is for images is given for labels, and the other way round
    with pytest.raises(UsageError, match="--image-encoding cells=png: cells is of the kind segmentation"):
        build(sources, out, image_encoding={"cells": "png"})
    with pytest.raises(UsageError, match="--min-voxels em=2: em is of the kind image"):
        build(sources[1:], out, min_voxels={"em": 2})
    assert not out.exists()
    for wrong in ({"csv": "x.csv"}, {"min_voxels": {"cells": 2}}, {"max_error": 5}):
        with pytest.raises(UsageError, match="--no-mesh"):
            options({"no_mesh": True, **wrong})


def test_what_is_typed() -> None:
    examples = doctest.testmod(per_source)
    assert (examples.failed, examples.attempted) == (0, 2)
    given = typed("a=1", "5", "b=2,3")
    assert (given["a"], given["b"], given["c"]) == ("1", "2,3", "5")
    assert dict(typed("./x=1/cells.csv").items()) == {"": "./x=1/cells.csv"}
    for texts, words in (
        (("em=4", "em=5"), "twice for em: 4 and 5"),
        (("4", "5"), "twice for all sources: 4 and 5"),
        (("=4",), "the name is missing"),
        (("em=",), "the value is missing"),
    ):
        with pytest.raises(UsageError, match=words):
            typed(*texts)


def test_addresses_do_not_become_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("em.npy", np.ones((8, 8, 8), np.uint8))
    with pytest.raises(UsageError, match="can only be read"):
        precast.build("em.npy", destination="https://127.0.0.1:9/x")
    with pytest.raises(UsageError, match="is an address"):
        precast.sample("s3://bucket/x", precast.SampleOptions())
    monkeypatch.setattr(opening, "has_cloud_client", lambda: False)
    with pytest.raises(MissingExtraError, match=r"writing to https://bucket\.s3") as caught:
        precast.build("em.npy", destination="s3://bucket/x")
    assert "precast[cloud]" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["em.npy"]


def test_a_dataset_is_no_place_for_others(sources: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(sources[1:], out)
    before = files(out)
    with pytest.raises(DestinationExistsError, match="em is a dataset, and build makes a directory"):
        build(sources, out / "em")
    assert files(out) == before


def test_without_the_ledger(sources: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(sources, out)
    ledger = out / ".precast" / "build.json"
    known = ledger.read_bytes()
    ledger.unlink()
    before = files(out)
    with pytest.raises(DestinationExistsError) as caught:
        build(sources, out)
    assert f"{ledger} does not say what it was made from" in caught.value.message
    assert files(out) == before
    ledger.write_bytes(known)
    assert not any(layer.converted for layer in build(sources, out).layers)


def test_what_is_told_before_anything_is_made(sources: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    strange = tmp_path / "a\nb.npy"
    np.save(strange, labels())
    with pytest.raises(UsageError, match="must be printable"):
        build((*sources, strange), out)
    assert not out.exists()
    out.mkdir()
    (out / "precast.json").write_text('{"layers": 5}')
    with pytest.raises(FormatError, match="does not describe a collection"):
        build(sources, out)
    assert list(out.iterdir()) == [out / "precast.json"]
