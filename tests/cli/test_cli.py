"""The command line as a person or a script meets it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from precast.cli.main import VERBS, run
from precast.pipelines.convert import ConvertOptions


@pytest.fixture
def slices(tmp_path: Path, make_blobs: Any) -> Path:
    folder = tmp_path / "slices"
    folder.mkdir()
    for z, plane in enumerate(make_blobs((20, 40, 50))):
        tifffile.imwrite(folder / f"z{z:02d}.tif", plane)
    return folder


def test_convert_then_inspect(slices, tmp_path, capsys) -> None:
    assert run(["convert", str(slices), str(tmp_path / "v"), "--resolution", "32,32,40", "--chunk-size", "16"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "segmentation, uint32, compressed_segmentation" in captured.err
    assert "peak memory" in captured.err
    assert run(["inspect", str(tmp_path / "v")]) == 0
    text = capsys.readouterr().out
    assert "32_32_40" in text
    assert "50 x 40 x 20" in text
    assert re.search(r"24/24 +1 ", text)


def test_inspect_counts_what_is_there_not_what_info_says(slices, tmp_path, capsys) -> None:
    run(["convert", str(slices), str(tmp_path / "v"), "--resolution", "8", "--chunk-size", "16", "--unsharded", "-q"])
    removed = sorted((tmp_path / "v" / "8_8_8").iterdir())[:3]
    for file in removed:
        file.unlink()
    capsys.readouterr()
    assert run(["inspect", str(tmp_path / "v"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["verb"], document["ok"]) == (1, "inspect", True)
    scale = document["result"]["scales"][0]
    listed = list((tmp_path / "v" / "8_8_8").iterdir())
    assert scale["stored_chunks"] == len(listed) == scale["objects"]
    assert scale["stored_bytes"] == sum(file.stat().st_size for file in listed)
    assert scale["chunks"] == 24


def test_dry_run_writes_nothing_and_says_everything(slices, tmp_path, capsys) -> None:
    command = ["convert", str(slices), str(tmp_path / "v"), "--resolution", "4,4,40", "--chunk-size", "16", "--dry-run"]
    assert run(command) == 0
    text = capsys.readouterr().out
    for part in (
        "8_8_40",
        "2 x 2 x 1",
        "1.41 times",
        "objects",
        "memory",
        "peak about",
        "decoded once",
        "segmentation:",
    ):
        assert part in text, part
    assert sorted(tmp_path.iterdir()) == [slices]
    assert run([*command, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)["result"]
    assert run(command[:-1]) == 0
    made = json.loads((tmp_path / "v" / "info").read_text())
    assert plan["info"] == made
    files = [len(list((tmp_path / "v" / scale["key"]).iterdir())) for scale in made["scales"]]
    assert [scale["objects"] for scale in plan["scales"]] == files


@pytest.mark.parametrize(
    ("arguments", "code", "error", "hint"),
    [
        (["convert", "{tmp}/none", "{tmp}/v", "--resolution", "8"], 3, "none", ""),
        (["convert", "{slices}", "{tmp}/v"], 2, "voxel size", "--resolution"),
        (["convert", "{slices}", "{tmp}/v", "--resolution", "8,8"], 2, "8,8", "x,y,z"),
        (["convert", "{slices}", "{tmp}/v", "--resolution", "8", "--chunk-size", "0"], 2, "--chunk-size", ""),
        (["convert", "{slices}", "{tmp}/v", "--resolution", "8", "--memory", "lots"], 2, "lots", "1GiB"),
        (["convert", "{slices}", "{tmp}/v", "--resolution", "8", "--encoding", "gif"], 2, "gif", "--help"),
        (["convert", "{slices}", "{slices}", "--resolution", "8"], 3, "exists already", "--overwrite"),
        (["inspect", "{slices}"], 3, "not a precomputed volume", "info"),
        (["convert"], 2, "SOURCE", "--help"),
        (["frobnicate"], 2, "frobnicate", "--help"),
    ],
)
def test_errors_say_what_and_what_to_do(slices, tmp_path, capsys, arguments, code, error, hint) -> None:
    words = [word.format(tmp=tmp_path, slices=slices) for word in arguments]
    assert run(words) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert error in captured.err
    assert hint in captured.err
    assert "Traceback" not in captured.err


def test_errors_as_json(slices, tmp_path, capsys) -> None:
    assert run(["convert", str(slices), str(tmp_path / "v"), "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert document["errors"][0]["code"] == "usage"
    assert "--resolution" in document["errors"][0]["hint"]


def test_a_missing_slice_is_named_and_can_be_filled(slices, tmp_path, capsys) -> None:
    (slices / "z07.tif").unlink()
    command = ["convert", str(slices), str(tmp_path / "v"), "--resolution", "8"]
    assert run(command) == 3
    error = capsys.readouterr().err
    assert "7" in error
    assert "z06.tif" in error
    assert "--fill-gaps" in error
    assert run([*command, "--fill-gaps", "previous"]) == 0
    provenance = json.loads((tmp_path / "v" / "provenance").read_text())["processing"][0]
    assert provenance["options"]["fill_gaps"] == "previous"
    assert provenance["notes"]


def test_a_truncated_slice_is_named_and_nothing_is_left(slices, tmp_path, capsys) -> None:
    victim = slices / "z13.tif"
    victim.write_bytes(victim.read_bytes()[:-900])
    assert run(["convert", str(slices), str(tmp_path / "v"), "--resolution", "8", "--chunk-size", "4"]) == 3
    assert "z13.tif" in capsys.readouterr().err
    assert not (tmp_path / "v").exists()


def test_help_shows_every_option_and_default(capsys) -> None:
    assert run(["convert", "--help"]) == 0
    text = capsys.readouterr().out
    for name in ConvertOptions.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in text
    assert "[default: 64,64,64]" in text
    for verb in VERBS:
        assert run([verb, "--help"]) == 0


def test_quiet_and_pipes(slices, tmp_path) -> None:
    command = [
        sys.executable,
        "-m",
        "precast.cli.main",
        "convert",
        str(slices),
        str(tmp_path / "v"),
        "--resolution",
        "8",
    ]
    done = subprocess.run([*command, "--quiet"], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    done = subprocess.run([*command, "--overwrite"], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert "\x1b" not in done.stderr  # not a terminal: no bar, no colours
    inspect = f"{sys.executable} -m precast.cli.main inspect {tmp_path / 'v'} | head -c 1"
    assert subprocess.run(inspect, shell=True, capture_output=True, check=True).stderr == b""


def test_importing_is_cheap() -> None:
    heavy = ("numpy", "tifffile", "imagecodecs", "click", "rich")
    code = f"import sys, precast; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_readable_by_others_after_umask(slices, tmp_path) -> None:
    """Files are made like any other program's: a web server must be able to read them."""
    run(["convert", str(slices), str(tmp_path / "v"), "--resolution", "8", "-q"])
    mask = os.umask(0)
    os.umask(mask)
    for file in (tmp_path / "v").rglob("*"):
        if file.is_file():
            assert file.stat().st_mode & 0o777 == 0o666 & ~mask
    assert np.load(tmp_path / "v" / "label_table.npy")["voxels"].sum() > 0
