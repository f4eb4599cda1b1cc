"""Datasets that igneous and neuroglancer-scripts wrote, and what their voxels are.

``tests/vectors/written_by_others/make.py`` had them written; the arrays are computed here once more.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from viewer_truth import OFFSET, boxes, grid

FOLDER = Path(__file__).resolve().parent / "vectors" / "written_by_others"
LARGE_ID = 2**53 + 7
IDS = (7, LARGE_ID, 99)
NO_OFFSET = (0, 0, 0)
"""neuroglancer-scripts know no other."""


def labels() -> npt.NDArray[np.uint64]:
    made = boxes()
    made[made > 99] = LARGE_ID
    return made


def grey() -> npt.NDArray[np.uint8]:
    x, y, z = grid()
    return np.asarray(20 + 8 * (x // 8) + 14 * (y // 8) + 25 * (z // 8)).astype(np.uint8)


def photo() -> npt.NDArray[np.uint8]:
    """Return red, green and blue (c, z, y, x)."""
    x, y, z = grid()
    return np.stack([x * 4, y * 5, z * 6]).astype(np.uint8)


VOXELS: dict[str, tuple[npt.NDArray[Any], tuple[int, int, int]]] = {
    "igneous/cells": (labels(), OFFSET),
    "igneous/cells_sharded": (labels(), OFFSET),
    "igneous/grey_brotli": (grey(), OFFSET),
    "igneous/grey_jpeg": (grey(), OFFSET),
    "neuroglancer_scripts/cells": (labels(), NO_OFFSET),
    "neuroglancer_scripts/cells_in_folders": (labels(), NO_OFFSET),
    "neuroglancer_scripts/cells_sharded": (labels(), NO_OFFSET),
    "neuroglancer_scripts/cells_sharded_zlib": (labels(), NO_OFFSET),
    "neuroglancer_scripts/grey": (grey().astype(np.uint16) * np.uint16(100), NO_OFFSET),
    "neuroglancer_scripts/photo": (photo(), NO_OFFSET),
}
"""Each dataset with its voxels, (z, y, x) or (c, z, y, x), and the first of them."""


def copy(name: str, folder: Path) -> Path:
    """Copy a dataset to where it may be changed."""
    return Path(shutil.copytree(FOLDER / name, folder))
