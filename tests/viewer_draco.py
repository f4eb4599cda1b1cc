"""The viewer's Draco decoder, run under Node, as an independent reader of fragments."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest


class ViewerMesh(NamedTuple):
    """What the viewer makes of a fragment; ``subchunks`` are the bounds of the octants in the list of corners."""

    positions: npt.NDArray[Any]
    faces: npt.NDArray[Any]
    subchunks: list[int]


def viewer_decode(files: Sequence[Path], quantization_bits: int = 0) -> list[ViewerMesh]:
    """Decode files, with partition into octants unless ``quantization_bits`` is 0; skip the test where it cannot run.

    Raises
    ------
    ValueError
        If the viewer refuses a file.
    """
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed")
    wheel = importlib.util.find_spec("neuroglancer")
    client = Path(wheel.origin).parent / "static" / "client" if wheel is not None and wheel.origin else None
    if client is None or not client.is_dir():
        pytest.skip("the neuroglancer wheel with its client is not installed")
    script = Path(__file__).with_name("viewer_draco.mjs")
    command = [node, str(script), str(client), str(quantization_bits), *map(str, files)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert len(lines) == len(files)
    meshes = []
    for file, line in zip(files, lines, strict=True):
        result = json.loads(line)
        if "error" in result:
            raise ValueError(f"the viewer refuses {file}: code {result['error']}")
        positions = np.array(result["positions"], np.uint32).view(np.int32).reshape(-1, 3)
        meshes.append(ViewerMesh(positions, np.array(result["indices"]).reshape(-1, 3), result["subchunks"]))
    return meshes
