"""What each option of ``mesh`` does, and what is refused with which words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import precast
from mesh_truth import area_and_volume, distance, open_edges, sphere, tree, write_labels
from precast.checks import check_meshes, check_properties
from precast.errors import DestinationExistsError, MemoryBudgetError, SourceError, UsageError
from precast.pipelines.mesh import plan
from precast.pipelines.mesh.plan import read_ids

Array = npt.NDArray[Any]


def several() -> Array:
    """Return five objects: 5 (big), 6 (hollow), 7 (30 voxels), 8 (one voxel), 9 (from border to border)."""
    labels = np.zeros((48, 48, 64), np.uint32)
    labels[2:42, 2:42, 2:42][sphere((40, 40, 40), (20, 20, 20), 16)] = 5
    labels[30:46, 28:46, 46:62] = 6
    labels[34:42, 32:42, 50:58] = 0
    labels[1:4, 1:6, 50:52] = 7
    labels[2, 10, 60] = 8
    labels[:, :, 44] = 9
    return labels


@pytest.fixture(scope="module")
def unmeshed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several") / "v"
    write_labels(folder, several())
    return folder


@pytest.fixture
def dataset(unmeshed: Path, tmp_path: Path) -> Path:
    """A fresh dataset without meshes."""
    shutil.copytree(unmeshed, tmp_path / "v")
    return tmp_path / "v"


def run(dataset: Path, **options: Any) -> precast.MeshSummary:
    summary = precast.mesh(dataset, precast.MeshOptions(**options))
    assert summary.failures == ()
    volume = precast.open(dataset)
    assert check_meshes(volume) == []
    if not options.get("no_properties"):
        assert check_properties(volume) == []
    assert not (dataset.parent / ".precast").exists()
    return summary


def ids(dataset: Path) -> list[int]:
    return list(precast.open(dataset).meshes)


# ---- which objects


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"min_voxels": 2}, [5, 6, 7, 9]),
        ({"min_voxels": 30}, [5, 6, 7, 9]),
        ({"min_voxels": 31}, [5, 6, 9]),
        ({"include": "8, 5 5"}, [5, 8]),
        ({"include": [7]}, [7]),
        ({"exclude": "5,9"}, [6, 7, 8]),
        ({"include": "5,6,7", "exclude": "6", "min_voxels": 31}, [5]),
        ({"exclude": "77"}, [5, 6, 7, 8, 9]),
    ],
)
def test_selection(dataset: Path, options: dict[str, Any], expected: list[int]) -> None:
    summary = run(dataset, **options)
    assert ids(dataset) == expected
    assert (summary.objects, summary.properties) == (len(expected), len(expected))
    found = json.loads((dataset / "segment_properties" / "info").read_text())["inline"]["ids"]
    assert [int(i) for i in found] == expected


def test_files_of_ids(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("\ufeff# cells\n5, 7\n\n  9 # the wall\r\n8\n", encoding="utf-8")
    (tmp_path / "out.txt").write_text("8\n")
    run(dataset, include_file=str(tmp_path / "in.txt"), include="6", exclude_file=str(tmp_path / "out.txt"))
    assert ids(dataset) == [5, 6, 7, 9]


def test_an_included_id_that_is_not_there_is_told(dataset: Path) -> None:
    summary = run(dataset, include=[5, 70, 71, 72, 73, 74, 75])
    assert [finding.code for finding in summary.findings] == ["PM101"]
    assert "6 of 7 included ids are not in the volume: 70, 71, 72, 73, 74 ..." in summary.findings[0].message


@pytest.mark.parametrize("bad", ["x", "1 2 -3", "0", "18446744073709551616", "1.5", "5;6", "²"])
def test_a_damaged_file_of_ids(dataset: Path, tmp_path: Path, bad: str) -> None:
    before = tree(dataset)
    (tmp_path / "ids.txt").write_text(f"# ids\n5\n{bad}\n", encoding="utf-8")
    for name in ("include_file", "exclude_file"):
        with pytest.raises(SourceError, match=r"line 3: .* is not the id of an object") as caught:
            run(dataset, **{name: str(tmp_path / "ids.txt")})
        assert "2^64 - 1" in caught.value.hint
    assert tree(dataset) == before


def test_other_errors_of_files_of_ids(dataset: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "none.txt", tmp_path):
        for name in ("include_file", "exclude_file", "csv"):
            with pytest.raises(SourceError):
                run(dataset, **{name: str(path)})
    (tmp_path / "utf16.txt").write_text("5", encoding="utf-16")
    with pytest.raises(SourceError, match="cannot read the ids"):
        read_ids(str(tmp_path / "utf16.txt"))
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(SourceError, match="no object to mesh: 5 labels, none of them selected") as caught:
        precast.mesh(dataset, precast.MeshOptions(include_file=str(tmp_path / "empty.txt")))
    assert "--include" in caught.value.hint


def test_nothing_selected(dataset: Path) -> None:
    before = tree(dataset)
    for options in ({"include": "77"}, {"min_voxels": 10**9}, {"exclude": "5,6,7,8,9"}):
        with pytest.raises(SourceError, match="no object to mesh"):
            precast.mesh(dataset, precast.MeshOptions(**options))
    assert tree(dataset) == before
    assert not (dataset.parent / ".precast").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"scale": -1}, "--scale must be auto"),
        ({"scale": "coarse"}, "--scale must be auto"),
        ({"max_error": "0"}, "--max-error must be positive"),
        ({"max_error": "-3nm"}, "--max-error"),
        ({"max_error": "inf"}, "--max-error"),
        ({"max_error": "3 miles"}, "--max-error must be a length"),
        ({"max_error": ""}, "--max-error must be a length"),
        ({"include": "0"}, "--include takes ids"),
        ({"include": ""}, "--include names no object"),
        ({"exclude": "5,x"}, "--exclude takes ids"),
        ({"include": [2**64]}, "--include takes ids"),
        ({"include": [-1]}, "--include takes ids"),
        ({"faces": 3}, "faces"),
        ({"min_voxels": 0}, "min-voxels"),
        ({"levels": 0}, "levels"),
        ({"levels": 17}, "levels"),
        ({"format": "obj"}, "format"),
        ({"threads": 0}, "threads"),
        ({"memory": "much"}, "much"),
        ({"csv": "a.csv", "no_properties": True}, "--no-properties"),
        ({"format": "legacy", "levels": 2}, "--levels does not go with --format legacy"),
        ({"format": "legacy", "unsharded": True}, "--unsharded does not go with --format legacy"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        precast.MeshOptions(**options)


@pytest.mark.parametrize(
    ("given", "nm"),
    [("40", "40"), ("40nm", "40"), ("0.5um", "500"), ("0.5 µm", "500"), (12.5, "12.5"), ("1e-3mm", "1000")],
)
def test_lengths(given: Any, nm: str) -> None:
    assert precast.MeshOptions(max_error=given).max_error == precast.MeshOptions(max_error=nm).max_error


# ---- scales


def test_auto_takes_the_coarsest_scale_within_the_error(tmp_path: Path) -> None:
    labels = np.kron(several(), np.ones((1, 2, 2), np.uint32))
    write_labels(tmp_path / "v", labels, resolution="4,4,40", chunk_size=16)
    volume = precast.open(tmp_path / "v")
    edges = [tuple(float(e) for e in scale.resolution) for scale in volume.info.scales]
    for error in (1, 40, 79, 80, 1000):
        fitting = [k for k, edge in enumerate(edges) if max(edge) <= error]
        chosen = precast.plan_meshing(tmp_path / "v", precast.MeshOptions(max_error=error)).scale
        assert chosen == max(fitting, default=0)
    # by default the error is the longest edge of scale 0, and x and y may be coarser
    assert precast.plan_meshing(tmp_path / "v").max_error_nm == 40
    assert precast.plan_meshing(tmp_path / "v").scale == 3


@pytest.mark.parametrize("scale", [0, 1, 2])
def test_given_scales_and_objects_that_vanish_there(tmp_path: Path, scale: int) -> None:
    """What the scale does not show any more is meshed from the voxels of scale 0, in the right place."""
    dataset = tmp_path / "v"
    write_labels(dataset, several(), chunk_size=16)
    summary = run(dataset, scale=scale, max_error=40)
    assert summary.scale == scale
    volume = precast.open(dataset)
    assert list(volume.meshes) == [5, 6, 7, 8, 9]
    coarse = volume.scales[scale].read(volume.info.scales[scale].box)[0]
    assert scale == 0 or 8 not in coarse
    found = volume.meshes[8].bounds_nm  # one voxel at x 60, y 10, z 2
    assert found.tolist() == [[480, 80, 16], [488, 88, 24]]
    edge = 8 * 2**scale
    low, high = volume.meshes[5].bounds_nm
    assert np.abs(low - 6 * 8).max() <= 40 + edge
    assert np.abs(high - 38 * 8).max() <= 40 + edge


def test_rescue_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small objects on the borders of blocks are whole when they come from scale 0."""
    monkeypatch.setattr(plan, "BLOCK_VOXELS", 16)
    labels = np.zeros((40, 40, 70), np.uint64)
    for number, (z, y, x) in enumerate([(15, 15, 15), (15, 3, 31), (31, 31, 47), (0, 0, 0), (39, 39, 69)], 1):
        labels[z : z + 2, y : y + 1, x : x + 2] = number
    labels[20:30, 20:30, 20:30] = 99
    write_labels(tmp_path / "v", labels, chunk_size=16, offset="-20,30,-7", resolution="8,8,9")
    run(tmp_path / "v", scale=2, max_error=1)
    meshes = precast.open(tmp_path / "v").meshes
    full = precast.extract_surface(labels, resolution=(8, 8, 9), voxel_offset=(-20, 30, -7))
    assert list(meshes) == [1, 2, 3, 4, 5, 99]
    for segment in (1, 2, 3, 4, 5):
        assert distance(meshes[segment].read(0), full[segment]) <= 1
        assert len(open_edges(meshes[segment].read(0).faces)) == 0


# ---- how fine


def test_faces_levels_and_error(dataset: Path) -> None:
    fine = run(dataset, max_error="2nm", include="5", no_properties=True)
    budget = run(dataset, max_error="1um", faces=300, include="5", overwrite=True, no_properties=True, scale=0)
    least = run(dataset, max_error="1um", include="5", overwrite=True, no_properties=True, scale=0)
    assert fine.faces > budget.faces >= least.faces
    assert 150 <= budget.faces <= 330
    few = run(dataset, max_error="0.5nm", scale=0, levels=1, overwrite=True)
    assert few.levels == 1
    two = run(dataset, max_error="0.5nm", scale=0, levels=2, overwrite=True)
    assert two.levels == 2
    assert precast.open(dataset).meshes[5].lods == 2


def test_fill_holes(dataset: Path) -> None:
    summary = run(dataset, max_error="1nm")
    assert summary.holes_filled == 0
    solid, hollow = 16 * 18 * 16 * 512, (16 * 18 * 16 - 8 * 10 * 8) * 512
    mesh = precast.open(dataset).meshes[6].read(0)
    assert area_and_volume(mesh.vertices, mesh.faces)[1] == pytest.approx(hollow, rel=0.02)
    summary = run(dataset, max_error="1nm", fill_holes=True, overwrite=True)
    assert summary.holes_filled == 1
    mesh = precast.open(dataset).meshes[6].read(0)
    assert area_and_volume(mesh.vertices, mesh.faces)[1] == pytest.approx(solid, rel=0.02)


def test_fill_holes_across_blocks(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "BLOCK_VOXELS", 32)
    assert run(dataset, max_error="4nm", fill_holes=True).holes_filled == 1


def test_open_border(dataset: Path) -> None:
    """Surfaces end in the planes of the outermost voxel centres, and are open nowhere else."""
    summary = precast.mesh(dataset, precast.MeshOptions(open_border=True))
    assert summary.findings == ()
    volume = precast.open(dataset)
    assert {(f.code, f.severity.value) for f in check_meshes(volume)} == {("PC332", "warning")}
    assert {f.where.split("object ")[1][:1] for f in check_meshes(volume)} == {"9"}
    planes = np.array([[0.5, 0.5, 0.5], [63.5, 47.5, 47.5]]) * 8
    for segment in volume.meshes:
        mesh = volume.meshes[segment].read(0)
        edges = open_edges(mesh.faces)
        assert (len(edges) > 0) == (segment == 9)
        for edge in mesh.vertices[edges]:
            assert (np.abs(edge - planes[:, None]) < 1e-3).all(axis=1).any()


# ---- segment properties


def test_csv_columns_are_kept_when_meshing_again(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "cells.csv").write_text("id,name,class\n5,soma,neuron\n6,shell,glia\n")
    run(dataset, csv=str(tmp_path / "cells.csv"))
    inline = json.loads((dataset / "segment_properties" / "info").read_text())["inline"]
    columns = {p["id"]: p for p in inline["properties"]}
    names = next(p for p in inline["properties"] if "soma" in str(p.get("values", "")))
    assert len(columns) == len(inline["properties"])
    first = [p["id"] for p in inline["properties"]]
    run(dataset, overwrite=True, max_error="2nm", exclude="7")
    inline = json.loads((dataset / "segment_properties" / "info").read_text())["inline"]
    assert inline["ids"] == ["5", "6", "8", "9"]
    again = next(p for p in inline["properties"] if p["id"] == names["id"])
    assert "soma" in str(again["values"])
    assert [p["id"] for p in inline["properties"]] == first


def test_no_properties(dataset: Path) -> None:
    summary = run(dataset, no_properties=True)
    assert summary.properties == 0
    assert not (dataset / "segment_properties").exists()
    assert "segment_properties" not in json.loads((dataset / "info").read_text())
    assert "segment_properties" not in json.loads((dataset / "mesh" / "info").read_text())


def test_no_properties_leaves_those_that_are_there(dataset: Path) -> None:
    precast.properties(dataset)
    before = tree(dataset / "segment_properties")
    run(dataset, no_properties=True)
    assert tree(dataset / "segment_properties") == before
    assert json.loads((dataset / "info").read_text())["segment_properties"] == "segment_properties"


# ---- the dataset


def test_every_other_byte_of_info_stays(dataset: Path) -> None:
    info = (dataset / "info").read_text()
    odd = info.replace("{", '{ "unknown" : [1.50, 1e3,"\\u00e9"],\n', 1)
    (dataset / "info").write_text(odd)
    others = {name: data for name, data in tree(dataset).items() if name not in ("info", "provenance")}
    run(dataset)
    after = (dataset / "info").read_text()
    assert '{ "unknown" : [1.50, 1e3,"\\u00e9"],\n' in after
    found = json.loads(after)
    assert (found.pop("mesh"), found.pop("segment_properties")) == ("mesh", "segment_properties")
    assert found == json.loads(odd)
    new = tree(dataset)
    assert {name: new[name] for name in others} == others


def test_provenance_names_the_last_meshing_only(dataset: Path) -> None:
    run(dataset)
    run(dataset, overwrite=True, max_error="3nm")
    steps = json.loads((dataset / "provenance").read_text())["processing"]
    assert [step.get("task") for step in steps].count("mesh") == 1
    assert steps[-1]["options"]["max_error"] in ("3", 3)


def test_meshes_are_not_replaced_without_overwrite(dataset: Path) -> None:
    run(dataset)
    before = tree(dataset)
    with pytest.raises(DestinationExistsError, match="has meshes already") as caught:
        precast.mesh(dataset)
    assert "--overwrite" in caught.value.hint
    assert tree(dataset) == before


def test_a_foreign_directory_of_meshes_is_left_alone(dataset: Path) -> None:
    (dataset / "mesh").mkdir()
    (dataset / "mesh" / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(DestinationExistsError):
            precast.mesh(dataset, precast.MeshOptions(overwrite=overwrite))
    assert (dataset / "mesh" / "notes.txt").read_text() == "mine"
    assert not (dataset.parent / ".precast").exists()


def test_without_a_label_table_labels_are_counted(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "w")
    (tmp_path / "w" / "label_table.npy").unlink()
    run(dataset)
    run(tmp_path / "w")
    assert tree(dataset / "mesh") == tree(tmp_path / "w" / "mesh")
    assert tree(dataset / "segment_properties") == tree(tmp_path / "w" / "segment_properties")


def test_a_label_table_of_another_volume_is_noticed(dataset: Path) -> None:
    rows = np.load(dataset / "label_table.npy")
    extra = rows[-1:].copy()
    extra["id"] = 1000
    np.save(dataset / "label_table.npy", np.concatenate([rows, extra]))
    summary = precast.mesh(dataset)
    assert [failure.segment for failure in summary.failures] == [1000]
    assert "does not belong to this volume" in summary.failures[0].message
    assert ids(dataset) == [5, 6, 7, 8, 9]


def test_what_cannot_be_meshed(dataset: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (20, 20, 20), np.uint8)
    precast.convert(image, tmp_path / "image", precast.ConvertOptions(resolution=8, kind="image"))
    with pytest.raises(UsageError, match="is an image"):
        precast.mesh(tmp_path / "image")
    with pytest.raises(UsageError, match="scales 0 to"):
        precast.mesh(dataset, precast.MeshOptions(scale=9))
    with pytest.raises(precast.errors.ObjectNotFoundError):
        precast.mesh(tmp_path / "none")
    with pytest.raises(MemoryBudgetError, match="MiB") as caught:
        precast.mesh(dataset, precast.MeshOptions(memory="2MB"))
    assert "--memory" in caught.value.hint
    assert not (dataset / "mesh").exists()


def test_only_background(tmp_path: Path) -> None:
    write_labels(tmp_path / "v", np.zeros((9, 9, 9), np.uint32))
    with pytest.raises(SourceError, match="no object to mesh: 0 labels"):
        precast.mesh(tmp_path / "v")


# ---- forms


def test_sharded_unsharded_and_legacy_hold_the_same_surface(dataset: Path) -> None:
    found = []
    for options in ({}, {"unsharded": True}, {"format": "legacy"}):
        summary = run(dataset, max_error="3nm", levels=None, overwrite=True, **options)
        volume = precast.open(dataset)
        found.append([volume.meshes[segment].read(0) for segment in volume.meshes])
        assert summary.objects == 5
        names = {path.name for path in (dataset / "mesh").iterdir()}
        assert ("5.index" in names) == (options == {"unsharded": True})
        assert ("5:0" in names) == (options == {"format": "legacy"})
        assert any(name.endswith(".shard") for name in names) == (options == {})

    def corners(mesh: Any) -> Array:
        """Return the triangles in one order whatever the order of vertices and faces."""
        triangles = np.round(mesh.vertices[mesh.faces].astype(np.float32) * 64).astype(np.int64)
        turned = [np.roll(triangles, k, axis=1).reshape(-1, 9).tolist() for k in range(3)]
        return np.array(sorted(min(same) for same in zip(*turned, strict=True)))

    for sharded, unsharded, legacy in zip(*found, strict=True):
        np.testing.assert_array_equal(sharded.vertices, unsharded.vertices)
        np.testing.assert_array_equal(sharded.faces, unsharded.faces)
        np.testing.assert_array_equal(corners(sharded), corners(legacy))


def test_meshing_again_in_one_process_reads_its_own_pieces(tmp_path: Path) -> None:
    """The work directory has the same name each time; nothing of the former meshing may be remembered."""
    for radius in (5, 12, 8):
        labels = sphere((32, 32, 32), (16, 16, 16), radius).astype(np.uint32)
        shutil.rmtree(tmp_path / "v", ignore_errors=True)
        write_labels(tmp_path / "v", labels)
        run(tmp_path / "v", max_error=1)
        assert precast.open(tmp_path / "v").meshes[1].bounds_nm.tolist() == [
            [128 - 8 * radius] * 3,
            [128 + 8 * radius] * 3,
        ]
