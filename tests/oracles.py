"""Other implementations as judges: TensorStore and cloud-volume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts

TS_METHODS: dict[str, Any] = {"majority": "mode", "mean": "mean", "min": "min", "max": "max"}


def open_tensorstore(location: Path | str, scale: int) -> Any:
    """Open one scale with TensorStore: dimensions x, y, z, channel; absolute voxel coordinates."""
    text = str(location)
    if text.startswith("http"):
        kvstore: Any = {"driver": "http", "base_url": text}
    else:
        kvstore = {"driver": "file", "path": text + "/"}
    spec = {"driver": "neuroglancer_precomputed", "kvstore": kvstore, "scale_index": scale}
    return ts.open(spec, open=True, read=True).result()


def read_tensorstore(location: Path | str, scale: int) -> npt.NDArray[Any]:
    """Read a whole scale as ``(c, z, y, x)``."""
    return np.asarray(open_tensorstore(location, scale).read().result()).transpose(3, 2, 1, 0)


def downsample_tensorstore(
    data: npt.NDArray[Any], start: Sequence[int], factor: Sequence[int], method: str
) -> npt.NDArray[Any]:
    """Reduce ``(c, z, y, x)`` whose first voxel is ``start`` (x, y, z) with TensorStore's own ``downsample``.

    Its ``stride`` leaves out cells whose first voxel is out of bounds; ours takes their first voxel in bounds.
    """
    if method == "stride":
        picks = [
            np.maximum(np.arange(o // f, -(-(o + n) // f)) * f, o) - o
            for o, f, n in zip(start[::-1], factor[::-1], data.shape[1:], strict=True)
        ]
        return data[np.ix_(range(len(data)), *picks)]
    # TensorStore 0.1.86 reads past an axis that lies inside one cell without touching either of its ends; begun at the
    # cell's first voxel instead, the cell holds the same voxels.
    start = [
        o - o % f if o // f == (o + n - 1) // f else o for o, f, n in zip(start, factor, data.shape[:0:-1], strict=True)
    ]
    array = ts.array(np.ascontiguousarray(data)).translate_to[0, start[2], start[1], start[0]]
    factors = [1, factor[2], factor[1], factor[0]]
    return np.asarray(ts.downsample(array, factors, TS_METHODS[method]).read().result())


def check_pyramid(location: Path | str, source: npt.NDArray[Any], offset: Sequence[int], method: str) -> int:
    """Compare every scale of a volume with the source and with TensorStore's reduction of the scale before.

    Returns the number of scales.
    """
    from precast.dataset import open_volume

    volume = open_volume(location) if not str(location).startswith("http") else None
    store = open_tensorstore(location, 0)
    assert tuple(store.domain.inclusive_min[:3]) == tuple(offset)
    expected = source if source.ndim == 4 else source[None]
    count = 0
    while True:
        found = read_tensorstore(location, count)
        assert found.shape == expected.shape
        np.testing.assert_array_equal(found, expected)
        if volume is not None:
            np.testing.assert_array_equal(volume.scales[count].read(volume.scales[count].box), expected)
        count += 1
        try:
            coarser = open_tensorstore(location, count)
        except ValueError:  # no further scale
            return count
        fine = open_tensorstore(location, count - 1)
        factor = [
            round(b / a)
            for a, b in zip(
                [unit.multiplier for unit in fine.dimension_units[:3]],
                [unit.multiplier for unit in coarser.dimension_units[:3]],
                strict=True,
            )
        ]
        expected = downsample_tensorstore(expected, tuple(fine.domain.inclusive_min[:3]), factor, method)
        assert tuple(coarser.domain.inclusive_min[:3]) == tuple(
            o // f for o, f in zip(fine.domain.inclusive_min[:3], factor, strict=True)
        )
