"""``precast check`` and ``precast diff`` as a person or a script meets them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

import precast
from faulty_site import Reply, Request, header, running, with_status
from precast.cli.findings import grouped_text, summary_text
from precast.cli.main import run
from precast.findings import Finding, Severity
from volume_files import volume_info, write_volume

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, make_blobs: Any) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    np.save(folder / "labels.npy", make_blobs((70, 70, 70)))
    options = precast.ConvertOptions(resolution="8,8,40", chunk_size=32, unsharded=True)
    precast.convert(str(folder / "labels.npy"), folder / "v", options)
    return folder


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "v", tmp_path / "v"))


def test_a_good_dataset(made: Path, capsys: Capture) -> None:
    assert run(["check", str(made / "v")]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == f"{made / 'v'}: segmentation, uint32"
    header = "scale (nm) chunks stored empty absent unreadable decoded bytes voxels"
    assert lines[1].split() == header.split()
    assert re.fullmatch(r"  8_8_40 +27 +27 +0 +0 +0 +27 +[\d.]+ KiB +digest verified", lines[2])
    assert lines[-1] == "nothing is wrong"
    assert captured.err == ""
    assert run(["check", str(made / "v"), "--quiet"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_sample(made: Path, capsys: Capture) -> None:
    assert run(["check", str(made / "v"), "--sample", "5%"]) == 0
    assert "0.05 of the chunks and objects were decoded" in capsys.readouterr().out


def test_findings_are_grouped(dataset: Path, capsys: Capture) -> None:
    files = sorted((dataset / "8_8_40").iterdir())
    for file in files[:7]:
        file.write_bytes(b"damaged")
    (dataset / "README").write_text("x")
    assert run(["check", str(dataset)]) == 1
    text = capsys.readouterr().out
    assert "error PC230 (7)  8_8_40/0-32_0-32_0-32: reading gzip data" in text
    assert text.count("reading gzip data") == 3
    assert "… and 4 more; --json lists all" in text
    assert text.count("hint: write it again") == 1
    assert "info PC721  README: 1 file is no part of the dataset, beside the info" in text
    assert text.index("error PC230") < text.index("info PC721")
    assert text.splitlines()[-1] == "7 errors, 1 remark"
    assert re.search(r"8_8_40 +27 +27 +0 +0 +7 +20", text)


def test_as_json(dataset: Path, capsys: Capture) -> None:
    assert run(["check", str(dataset), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["verb"], document["ok"], document["findings"]) == (1, "check", True, [])
    scale = document["result"]["datasets"][0]["scales"][0]
    assert (scale["key"], scale["chunks"], scale["stored"], scale["resolution_nm"]) == ("8_8_40", 27, 27, [8, 8, 40])
    assert scale["digest"] == "verified"
    sorted((dataset / "8_8_40").iterdir())[3].unlink()
    assert run(["check", str(dataset), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert not document["ok"]
    assert document["errors"] == []
    assert document["result"]["counts"] == {"error": 1, "warning": 0, "info": 0}
    assert [finding["code"] for finding in document["findings"]] == ["PC201"]
    assert document["result"]["datasets"][0]["scales"][0]["lost"] == 1


def test_strict(tmp_path: Path, capsys: Capture) -> None:
    info = volume_info() | {"type": "Segmentation"}
    path = write_volume(tmp_path / "v", info)
    assert run(["check", str(path)]) == 0
    assert "warning PC104  info: type: is written 'Segmentation'" in capsys.readouterr().out
    assert run(["check", str(path), "--strict"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 warning"


def test_against(made: Path, capsys: Capture) -> None:
    assert run(["check", str(made / "v"), "--against", str(made / "labels.npy")]) == 0
    assert f"labels.npy: 0 of {70**3} voxels of scale 0 differ" in capsys.readouterr().out
    assert run(["check", str(made / "v"), "--against", str(made / "nothing.npy"), "--json"]) == 3
    assert not json.loads(capsys.readouterr().out)["ok"]


@pytest.mark.parametrize("arguments", [["--sample", "0"], ["--threads", "0"], ["--against"], ["--unknown"]])
def test_usage(made: Path, capsys: Capture, arguments: list[str]) -> None:
    assert run(["check", str(made / "v"), *arguments]) == 2
    assert "error: " in capsys.readouterr().err


def test_what_is_no_dataset(tmp_path: Path, capsys: Capture) -> None:
    assert run(["check", str(tmp_path)]) == 3
    captured = capsys.readouterr()
    assert "is not a precomputed dataset: it has no info file" in captured.err
    assert "hint: " in captured.err


def test_an_address(made: Path, capsys: Capture) -> None:
    with running(made) as site:
        assert run(["check", f"{site.url}/v"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"{site.url}/v: segmentation, uint32"
        assert lines[1].split() == ["directory", "holds", "requests", "objects"]
        assert lines[2].split() == [".", "info", "5", "1"]
        assert lines[3].split() == ["8_8_40", "chunks", "4", "1"]
        assert lines[-1] == "nothing is wrong"
        assert run(["check", f"{site.url}/v", "--json", "--threads", "2"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert (document["ok"], document["findings"]) == (True, [])
        assert document["result"]["datasets"][0]["places"][1]["path"] == "8_8_40"
        assert run(["check", f"{site.url}/v", "--against", str(made / "labels.npy")]) == 2
        assert "hint: check the local copy too" in capsys.readouterr().err
        assert run(["check", f"{site.url}/nothing"]) == 3
        assert "there is no dataset at" in capsys.readouterr().err

        site.fault = with_status(404, header("Access-Control-Allow-Origin", None))
        assert run(["check", f"{site.url}/v"]) == 0
        assert run(["check", f"{site.url}/v", "--strict"]) == 1

        def closed(request: Request, reply: Reply) -> None:
            reply.headers["Server"] = "nginx"
            if "8_8_40" in request.path and request.method != "OPTIONS":
                header("Access-Control-Allow-Origin", None)(reply)

        site.fault = closed
        capsys.readouterr()
        assert run(["check", f"{site.url}/v"]) == 1
        text = capsys.readouterr().out
        assert text.startswith(f"{site.url}/v: segmentation, uint32, served by nginx\n")
        assert f"error PC910  {site.url}/v/8_8_40/" in text
        assert re.search(r'\n {17,}add_header Access-Control-Allow-Origin "\*" always;\n', text)
    assert run(["check", f"{site.url}/v"]) == 3
    captured = capsys.readouterr()
    assert "nothing answers at 127.0.0.1:" in captured.err
    assert "hint: check the address and that the server runs" in captured.err


def test_diff(made: Path, dataset: Path, capsys: Capture) -> None:
    assert run(["diff", str(made / "v"), str(dataset)]) == 0
    text = capsys.readouterr().out
    assert f"8_8_40: 0 of {70**3} voxels differ" in text
    assert text.splitlines()[-1] == "no difference"
    assert run(["diff", str(made / "v"), str(dataset), "--trust-digests"]) == 0
    assert "8_8_40: digests in provenance are equal" in capsys.readouterr().out
    sorted((dataset / "8_8_40").iterdir())[3].unlink()
    assert run(["diff", str(made / "v"), str(dataset)]) == 1
    assert "error PC813" in capsys.readouterr().out
    assert run(["diff", str(made / "v"), str(dataset), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["verb"], document["ok"], document["result"]["equal"]) == ("diff", False, False)
    assert document["result"]["scales"][0]["compared"] == 70**3
    assert document["findings"][0]["code"] == "PC813"
    assert run(["diff", str(made / "v"), str(made)]) == 2
    assert f"name one of them, for example {made}/v" in capsys.readouterr().err
    assert run(["diff", str(made), str(made)]) == 0
    assert f"  v:\n    8_8_40: 0 of {70**3} voxels differ" in capsys.readouterr().out
    assert run(["diff", str(made), str(made), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"]["layers"]["v"]["scales"][0]["compared"] == 70**3


def test_texts() -> None:
    assert summary_text([]) == "nothing is wrong"
    several = [
        Finding(code="PC200", severity=Severity.INFO, where="a", message="m", hint="h"),
        Finding(code="PC100", severity=Severity.ERROR, where="", message="n"),
    ]
    assert summary_text(several) == "1 error, 1 remark"
    lines = click.unstyle(grouped_text(several)).splitlines()
    assert lines == ["error PC100  n", "info PC200  a: m", "            hint: h"]
