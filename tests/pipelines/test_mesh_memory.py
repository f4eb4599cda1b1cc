"""The memory budget of meshing holds under a hard limit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import precast
from mesh_truth import write_labels
from precast.checks import check_meshes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and sets RLIMIT_AS")

BUDGET = 600 * 10**6
SCRIPT = """
import json, resource, sys
from pathlib import Path

def status(key):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024

dataset, budget = sys.argv[1], int(sys.argv[2])
from precast.cli.main import run
from precast.execution.memory import peak_rss_bytes
import precast
precast.plan_meshing(dataset, precast.MeshOptions(overwrite=True))
# what the interpreter and the libraries have mapped already, the budget, and the allowance on top of it
allowed = status("VmSize") + budget + 150 * 10**6
resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
code = run(["mesh", dataset, "--quiet", "--overwrite", "--memory", str(budget), "--threads", "2"])
print(json.dumps({"peak": peak_rss_bytes()}))
sys.exit(code)
"""


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """256 x 256 x 256 voxels full of objects without any background."""
    folder = tmp_path_factory.mktemp("dense") / "v"
    z, y, x = np.indices((256, 256, 256), dtype=np.uint16)
    labels = ((x + z // 4) // 23 * 4096 + (y + x // 5) // 19 * 64 + (z // 61) + 1).astype(np.uint32)
    write_labels(folder, labels, chunk_size=64)
    return folder


def test_meshing_stays_within_its_budget(dense: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(dense), str(BUDGET)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["peak"] <= BUDGET + 150 * 10**6
    volume = precast.open(dense)
    assert len(volume.meshes) == len(np.load(dense / "label_table.npy"))
    assert check_meshes(volume, ids=list(volume.meshes)[:40]) == []
