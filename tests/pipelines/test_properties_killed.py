"""A process that is killed between the properties and the link."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

from precast.pipelines.convert import ConvertOptions, convert
from precast.pipelines.properties import properties

KILLED = """
import os, signal, sys
from precast.pipelines import properties as module
module.link_parts = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
module.properties(sys.argv[1])
"""


def test_killed_before_the_link(tmp_path, make_blobs: Any) -> None:
    convert(make_blobs((10, 10, 10)), tmp_path / "v", ConvertOptions(resolution=8))
    before = (tmp_path / "v" / "info").read_bytes()
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "v")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "v" / "info").read_bytes() == before
    assert properties(tmp_path / "v").segments > 0
    assert (tmp_path / "v" / "info").read_bytes() != before
    assert sorted(file.name for file in (tmp_path / "v" / "segment_properties").iterdir()) == ["info"]
