"""The memory budget holds under a hard limit, and the plan predicts the peak."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oracles import read_tensorstore

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and sets RLIMIT_AS")

SCRIPT = """
import json, resource, sys
from pathlib import Path

def status(key):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024

source, destination, budget, limited, kind = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5]
import imagecodecs, numpy, tifffile
from precast.cli.main import run
from precast.execution.memory import peak_rss_bytes
from precast.pipelines.convert import ConvertOptions, plan_conversion
options = dict(resolution="8,8,8", memory=budget, threads=2, kind=kind)
plan = plan_conversion(source, ConvertOptions(**options))
if limited == "limited":
    # what the interpreter and the libraries have mapped already, the budget, and the allowance on top of it
    allowed = status("VmSize") + budget + 150 * 10**6
    resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
code = run(["convert", source, destination, "--quiet", *(f"--{key}={value}" for key, value in options.items())])
print(json.dumps({"predicted": plan.memory.peak_bytes, "peak": peak_rss_bytes(), "buffers": plan.memory.buffer_bytes}))
sys.exit(code)
"""


def run(source: Path, destination: Path, budget: int, mode: str, kind: str) -> dict[str, Any]:
    command = [sys.executable, "-c", SCRIPT, str(source), str(destination), str(budget), mode, kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stack of 192 labelled slices of 768 x 768, one strip each."""
    import tifffile

    folder: Path = tmp_path_factory.mktemp("memory") / "slices"
    folder.mkdir()
    y, x = np.mgrid[:768, :768]
    for z in range(192):
        labels = (((x + z) // 37) * 64 + (y - z // 2) // 41 + 1).astype(np.uint32)
        tifffile.imwrite(folder / f"z{z:03d}.tif", labels, compression="zlib", rowsperstrip=768)
    return folder


@pytest.mark.parametrize("megabytes", [60, 120, 500])
def test_conversion_under_an_address_space_limit(stack: Path, tmp_path: Path, megabytes: int) -> None:
    result = run(stack, tmp_path / "v", megabytes * 10**6, "limited", "segmentation")
    assert result["buffers"] <= megabytes * 10**6
    found = read_tensorstore(tmp_path / "v", 0)[0]
    y, x = np.mgrid[:768, :768]
    for z in (0, 63, 64, 191):
        np.testing.assert_array_equal(found[z], ((x + z) // 37) * 64 + (y - z // 2) // 41 + 1)


@pytest.mark.parametrize("megabytes", [60, 120, 500])
def test_prediction_is_within_a_fifth(stack: Path, tmp_path: Path, megabytes: int) -> None:
    result = run(stack, tmp_path / "v", megabytes * 10**6, "free", "segmentation")
    assert 0.8 <= result["predicted"] / result["peak"] <= 1.2, result
    assert result["peak"] <= (megabytes + 150) * 10**6


def test_prediction_for_images(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (200, 600, 700), np.uint8)
    np.save(tmp_path / "image.npy", image)
    result = run(tmp_path / "image.npy", tmp_path / "v", 300 * 10**6, "free", "image")
    assert 0.8 <= result["predicted"] / result["peak"] <= 1.2, result


def test_a_budget_that_is_too_small_says_how_much_is_needed(tmp_path: Path) -> None:
    from precast.errors import MemoryBudgetError
    from precast.pipelines.convert import ConvertOptions, convert

    with pytest.raises(MemoryBudgetError, match="MiB") as caught:
        convert(np.ones((64, 64, 64), np.uint32), tmp_path / "v", ConvertOptions(resolution="8,8,8", memory="1MB"))
    assert "--memory" in caught.value.hint
