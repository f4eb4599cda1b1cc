"""``precast mesh`` as a person or a script meets it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import precast
from mesh_truth import tree, write_labels
from precast.checks import check_meshes, check_properties
from precast.cli.main import run
from precast.cli.render import bytes_text


@pytest.fixture(scope="module")
def unmeshed(tmp_path_factory: pytest.TempPathFactory, make_blobs: Any) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "v"
    write_labels(folder, make_blobs((40, 40, 40)), resolution="8,8,40")
    return folder


@pytest.fixture
def dataset(unmeshed: Path, tmp_path: Path) -> Path:
    shutil.copytree(unmeshed, tmp_path / "v")
    return tmp_path / "v"


def test_dry_run(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(dataset)
    assert run(["mesh", str(dataset), "--dry-run", "--min-voxels", "100"]) == 0
    text = capsys.readouterr().out
    assert f"{dataset}   (dry run: nothing is written)" in text
    count = len(np.load(dataset / "label_table.npy"))
    for expected in (f"of {count} labels", "max error   40 nm", "the coarsest with no edge above the error", "sharded"):
        assert expected in text
    assert all(len(line) < 200 for line in text.splitlines())
    assert tree(dataset) == before
    assert not (dataset.parent / ".precast").exists()


def test_dry_run_as_json_is_near_the_truth(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["mesh", str(dataset), "--dry-run", "--json", "--scale", "0", "--max-error", "8nm"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["verb"], document["ok"]) == ("mesh", True)
    expected = document["result"]
    assert (expected["scale"], expected["max_error_nm"], expected["reason"]) == (0, 8.0, "as given")
    summary = precast.mesh(dataset, precast.MeshOptions(scale=0, max_error=8))
    assert expected["objects"] == summary.objects
    assert 0.3 <= expected["faces"] / summary.faces <= 3
    assert 0.2 <= expected["stored_bytes"] / summary.stored_bytes <= 5


def test_meshing(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["mesh", str(dataset)]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    count = len(np.load(dataset / "label_table.npy"))
    assert f"meshes of {count} objects from scale" in captured.err
    assert f"properties of {count} segments" in captured.err
    assert "(allowed 40)" in captured.err
    volume = precast.open(dataset)
    assert check_meshes(volume) == []
    assert run(["inspect", str(dataset)]) == 0
    size = sum(path.stat().st_size for path in (dataset / "mesh").iterdir())
    shown = capsys.readouterr().out
    assert f"mesh: mesh/, {count} objects, multilod_draco sharded, {bytes_text(size)}\n" in shown
    (dataset / "mesh" / "info").write_text("{}")
    assert run(["inspect", str(dataset)]) == 0
    assert "mesh: mesh/, which cannot be read\n" in capsys.readouterr().out
    assert check_properties(volume) == []
    assert run(["mesh", str(dataset)]) == 3
    captured = capsys.readouterr()
    assert "has meshes already" in captured.err
    assert "--overwrite" in captured.err
    assert run(["mesh", str(dataset), "--overwrite", "-q"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_as_json(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["mesh", str(dataset), "--json", "--include", "12345", "--min-voxels", "1"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert not document["ok"]
    biggest = int(max(np.load(dataset / "label_table.npy"), key=lambda row: row["voxels"])["id"])
    assert run(["mesh", str(dataset), "--json", "--include", f"{biggest},12345"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert captured.err == ""
    assert (document["verb"], document["ok"]) == ("mesh", True)
    assert document["result"]["objects"] == 1
    assert document["result"]["failures"] == []
    assert [finding["code"] for finding in document["findings"]] == ["PM101"]
    assert "12345" in document["findings"][0]["message"]


def test_ids_of_64_bits_are_strings_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.zeros((9, 9, 9), np.uint64)
    labels[2:5, 2:5, 2:5] = 2**64 - 1
    write_labels(tmp_path / "v", labels)
    rows = np.load(tmp_path / "v" / "label_table.npy")
    more = rows.copy()
    more["id"] -= np.uint64(1)
    np.save(tmp_path / "v" / "label_table.npy", np.concatenate([more, rows]))
    assert run(["mesh", str(tmp_path / "v"), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert [failure["segment"] for failure in document["result"]["failures"]] == [str(2**64 - 2)]
    assert list(precast.open(tmp_path / "v").meshes) == [2**64 - 1]


@pytest.mark.parametrize(
    ("arguments", "code", "texts"),
    [
        (["--scale", "9"], 2, ["has the scales 0 to", "--scale 9"]),
        (["--scale", "x"], 2, ["--scale must be auto"]),
        (["--max-error", "0"], 2, ["--max-error must be positive", "0.5um"]),
        (["--max-error", "wide"], 2, ["--max-error must be a length"]),
        (["--include", "0"], 2, ["0 is the background"]),
        (["--include", "1,b"], 2, ["got 'b'"]),
        (["--include-file", "none.txt"], 3, ["none.txt"]),
        (["--exclude-file", "none.txt"], 3, ["none.txt"]),
        (["--csv", "none.csv"], 3, ["none.csv"]),
        (["--csv", "none.csv", "--no-properties"], 2, ["--no-properties"]),
        (["--format", "obj"], 2, ["obj"]),
        (["--format", "legacy", "--levels", "3"], 2, ["--levels does not go with --format legacy"]),
        (["--levels", "0"], 2, ["levels"]),
        (["--faces", "1"], 2, ["faces"]),
        (["--min-voxels", "1000000000"], 3, ["no object to mesh", "--min-voxels"]),
        (["--memory", "1MB"], 3, ["MiB", "--memory"]),
        (["--unknown"], 2, ["--unknown"]),
    ],
)
def test_what_cannot_be_done_is_said(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    texts: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    before = tree(dataset)
    for more in ([], ["--dry-run"]):
        found = run(["mesh", str(dataset), *arguments, *more])
        captured = capsys.readouterr()
        if more and arguments == ["--csv", "none.csv"]:
            continue  # a plan does not need the table
        assert found == code, captured.err
        assert captured.out == ""
        assert "Traceback" not in captured.err
        for text in texts:
            assert text in captured.err
    assert tree(dataset) == before
    assert not (tmp_path / ".precast").exists()


def test_datasets_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (20, 20, 20), np.uint8)
    precast.convert(image, tmp_path / "image", precast.ConvertOptions(resolution=8, kind="image"))
    assert run(["mesh", str(tmp_path / "image")]) == 2
    assert "is an image" in capsys.readouterr().err
    assert run(["mesh", str(tmp_path / "none")]) == 3
    assert "none" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image"]


def test_many_failures_are_cut_short(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = np.load(dataset / "label_table.npy")
    more = np.repeat(rows[-1:], 14)
    more["id"] += np.arange(1, 15, dtype=np.uint64)
    np.save(dataset / "label_table.npy", np.concatenate([rows, more]))
    assert run(["mesh", str(dataset)]) == 1
    error = capsys.readouterr().err
    assert error.count("error: object") == 10
    assert "and 4 more; --json lists all" in error


def test_real_neurons_from_conversion_to_export(
    connectomics: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten objects of a real volume: converted, meshed, checked, exported."""
    import trimesh

    assert run(["convert", str(connectomics), str(tmp_path / "v"), "--resolution", "32,32,40", "-q"]) == 0
    rows = np.load(tmp_path / "v" / "label_table.npy")
    largest = np.argsort(rows["voxels"])
    chosen = np.sort(rows[[*largest[-30:-24], *largest[100:104]]]["id"]).tolist()
    include = ",".join(map(str, chosen))
    assert run(["mesh", str(tmp_path / "v"), "--include", include, "--scale", "0", "-q"]) == 0
    volume = precast.open(tmp_path / "v")
    assert list(volume.meshes) == chosen
    assert check_meshes(volume) == []
    assert check_properties(volume) == []
    for segment in chosen:
        file = tmp_path / f"{segment}.ply"
        assert run(["export", str(tmp_path / "v"), "--segment", str(segment), "-o", str(file), "-q"]) == 0
        mesh = trimesh.load(file, force="mesh", process=False)
        assert isinstance(mesh, trimesh.Trimesh)
        assert mesh.is_winding_consistent
        voxels = int(rows["voxels"][rows["id"] == segment][0]) * 32 * 32 * 40
        assert abs(mesh.volume - voxels) <= mesh.area * 40
        np.testing.assert_allclose(mesh.bounds, volume.meshes[segment].bounds_nm, atol=0.05)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
