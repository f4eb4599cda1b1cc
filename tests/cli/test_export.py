"""Exported files, read back by trimesh: the same solid, in the unit that was asked for."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh

import precast
from mesh_files import BOX, ELL, RESOLUTION, Cell, make_object, write_dataset
from precast.cli.main import run
from precast.errors import DestinationExistsError, FormatError, MissingExtraError, UsageError

BOUNDS = np.array(BOX[0], float) * RESOLUTION
VOLUME = 36 * 14 * 23 * float(np.prod(RESOLUTION))
BIG = 2**63 + 8


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    objects = {BIG: make_object(BOX), 6: make_object(ELL)}
    return write_dataset(tmp_path_factory.mktemp("export") / "v", objects)


def load(path: Path) -> trimesh.Trimesh:
    mesh = trimesh.load(path, force="mesh", process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    mesh.merge_vertices()  # STL has no shared vertices
    return mesh


@pytest.mark.parametrize("lod", [0, 1])
@pytest.mark.parametrize("kind", ["ply", "obj", "stl", "glb"])
def test_formats(dataset, tmp_path, capsys, kind, lod) -> None:
    file = tmp_path / f"mesh.{kind}"
    assert run(["export", str(dataset), "--segment", str(BIG), "--lod", str(lod), "-o", str(file)]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"object {BIG}, level of detail {lod}" in captured.err
    mesh = load(file)
    assert mesh.bounds.tolist() == BOUNDS.tolist()
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume == pytest.approx(VOLUME, rel=1e-6)
    found = precast.open(dataset).meshes[BIG].read(lod)
    assert (len(mesh.vertices), len(mesh.faces)) == (len(found.vertices), len(found.faces))


@pytest.mark.parametrize(("unit", "nm"), [("nm", 1), ("um", 1e3), ("mm", 1e6)])
def test_units(dataset, tmp_path, unit, nm) -> None:
    for kind in ("ply", "obj"):
        file = tmp_path / f"mesh.{kind}"
        assert run(["export", str(dataset), "--segment", str(BIG), "-o", str(file), "--unit", unit, "-q"]) == 0
        np.testing.assert_allclose(load(file).bounds, BOUNDS / nm, rtol=1e-5)


def test_format_goes_before_the_name(dataset, tmp_path) -> None:
    file = tmp_path / "folder" / "mesh.dat"
    assert run(["export", str(dataset), "--segment", "6", "-o", str(file), "--format", "stl", "-q"]) == 0
    mesh = trimesh.load(file, file_type="stl", process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    assert mesh.faces.shape[1] == 3


def test_json(dataset, tmp_path, capsys) -> None:
    file = tmp_path / "mesh.ply"
    assert run(["export", str(dataset), "--segment", str(BIG), "-o", str(file), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    assert result["segment"] == str(BIG)
    assert result["bytes"] == file.stat().st_size
    assert result["faces"] == len(load(file).faces)


def test_an_existing_file_is_kept(dataset, tmp_path, capsys) -> None:
    file = tmp_path / "mesh.ply"
    file.write_text("mine")
    command = ["export", str(dataset), "--segment", "6", "-o", str(file)]
    assert run(command) == 3
    assert "--overwrite" in capsys.readouterr().err
    assert file.read_text() == "mine"
    assert run([*command, "--overwrite"]) == 0
    assert len(load(file).faces)
    assert [entry.name for entry in tmp_path.iterdir()] == ["mesh.ply"]


@pytest.mark.parametrize(
    ("arguments", "code", "texts"),
    [
        (["--segment", "7", "-o", "m.ply"], 3, ["object 7 has no mesh", "2 meshes"]),
        (["--segment", "6", "-o", "m.ply", "--lod", "2"], 2, ["no level of detail 2", "0 (the finest) to 1"]),
        (["--segment", "6", "-o", "m.ply", "--lod", "-1"], 2, ["lod"]),
        (["--segment", "6", "-o", "m.xyz"], 2, ["does not say which format", ".ply, .obj, .stl, .glb"]),
        (["--segment", "6", "-o", "m"], 2, ["does not say which format"]),
        (["--segment", "6", "-o", "m.ply", "--format", "dae"], 2, ["dae"]),
        (["--segment", "6", "-o", "m.ply", "--unit", "cm"], 2, ["cm"]),
        (["--segment", "six", "-o", "m.ply"], 2, ["whole number", "six"]),
        (["--segment", "-1", "-o", "m.ply"], 2, ["whole number"]),
        (["--segment", str(2**64), "-o", "m.ply"], 2, ["whole number"]),
        (["-o", "m.ply"], 2, ["--segment"]),
        (["--segment", "6"], 2, ["--output"]),
    ],
)
def test_what_cannot_be_done_is_said(dataset, tmp_path, monkeypatch, capsys, arguments, code, texts) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["export", str(dataset), *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    for text in texts:
        assert text in captured.err
    assert list(tmp_path.iterdir()) == []


def test_a_level_without_triangles(tmp_path) -> None:
    item = make_object(BOX)
    none = np.zeros((0, 3), int)
    item.levels[1] = [Cell(cell.index, none, none) for cell in item.levels[1]]
    path = write_dataset(tmp_path / "v", {4: item})
    with pytest.raises(FormatError, match="no triangles at level of detail 1"):
        precast.export(path, 4, tmp_path / "m.ply", precast.ExportOptions(lod=1))


def test_python(dataset, tmp_path) -> None:
    summary = precast.export(dataset, BIG, tmp_path / "m.glb")
    assert (summary.format, summary.unit, summary.vertices) == ("glb", "nm", len(load(tmp_path / "m.glb").vertices))
    with pytest.raises(DestinationExistsError):
        precast.export(dataset, BIG, tmp_path / "m.glb")
    for bad in ({"unit": "cm"}, {"format": "dae"}, {"lod": -1}, {"lod": True}):
        with pytest.raises(UsageError):
            precast.ExportOptions(**bad)


def test_without_trimesh(dataset, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(MissingExtraError, match="trimesh") as caught:
        precast.export(dataset, 6, tmp_path / "m.ply")
    assert "pip install 'precast[export]'" in caught.value.hint
