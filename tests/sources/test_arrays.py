"""Arrays and ``.npy`` files: meaning of dimensions, dtypes, memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from precast.errors import SourceError
from precast.geometry import Box, Vec3
from precast.sources import SourceOptions, open_source
from precast.sources import npy as npy_module
from source_contract import noise, read_all


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", ">u4", ">f8"])
def test_dtypes_are_kept(tmp_path: Path, dtype: str) -> None:
    voxels = noise((3, 4, 5), dtype)
    np.save(tmp_path / "v.npy", voxels)
    for source in (open_source(voxels), open_source(tmp_path / "v.npy")):
        assert source.info.dtype == np.dtype(dtype).newbyteorder("=")
        np.testing.assert_array_equal(read_all(source)[0], voxels)


@pytest.mark.parametrize("dtype", ["c8", "O", "M8[s]", "S3", [("a", "u1")], "g"])
def test_dtypes_that_are_no_samples(tmp_path: Path, dtype: object) -> None:
    voxels = np.zeros((2, 3, 4), dtype)  # type: ignore[call-overload]
    np.save(tmp_path / "v.npy", voxels)
    with pytest.raises(SourceError, match="cannot be converted"):
        open_source(voxels)
    with pytest.raises(SourceError, match=r"v\.npy: .*cannot be converted"):
        open_source(tmp_path / "v.npy")


def test_two_dimensions_are_one_slice() -> None:
    assert open_source(np.zeros((4, 5), np.uint8)).info.shape == (1, 1, 4, 5)


def test_dimensions_that_say_nothing() -> None:
    with pytest.raises(SourceError, match="has 5 dimensions"):
        open_source(np.zeros((1, 1, 2, 3, 4), np.uint8))
    with pytest.raises(SourceError, match="holds no voxels"):
        open_source(np.zeros((0, 3, 4), np.uint8))
    with pytest.raises(SourceError, match="names 3 dimensions, but the array has 2"):
        open_source(np.zeros((3, 4), np.uint8), SourceOptions(axes="zyx"))
    with pytest.raises(SourceError, match="there are 2 times"):
        open_source(np.zeros((2, 3, 4), np.uint8), SourceOptions(axes="tyx"))


def test_masked_arrays_are_refused() -> None:
    with pytest.raises(SourceError, match="masked array"):
        open_source(np.ma.masked_array(np.zeros((2, 3, 4), np.uint8), True))


def test_fingerprint_of_an_array_is_its_values() -> None:
    voxels = noise((3, 4, 5), "u2")
    prints = [open_source(array).fingerprint() for array in (voxels, np.asfortranarray(voxels), voxels.astype(">u2"))]
    assert prints[0] == prints[1] == prints[2]
    changed = voxels.copy()
    changed[1, 2, 3] ^= 1
    assert open_source(changed).fingerprint() != prints[0]
    assert open_source(voxels.reshape(3, 5, 4)).fingerprint() != prints[0]


def test_truncated_npy(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    np.save(path, noise((3, 4, 5), "u2"))
    source = open_source(path)
    path.write_bytes(path.read_bytes()[:-1])
    message = r"v\.npy: the file is truncated: it has 247 bytes, but its header needs 248"
    with pytest.raises(SourceError, match=message):
        open_source(path)
    with pytest.raises(SourceError, match=message):
        read_all(source)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("limit", [2, 7, 64, 1000])
def test_npy_in_small_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str, limit: int) -> None:
    voxels = noise((2, 5, 6, 7), "u2")
    np.save(tmp_path / "v.npy", np.asarray(voxels, order=order))  # type: ignore[call-overload]
    monkeypatch.setattr(npy_module, "PIECE_BYTES", limit)
    source = open_source(tmp_path / "v.npy")
    np.testing.assert_array_equal(read_all(source), voxels)
    box = Box(Vec3(2, 1, 1), Vec3(5, 6, 4))
    out = np.empty((2, *box.size.zyx), np.uint16)
    source.read(box, out)
    np.testing.assert_array_equal(out, voxels[box.slices()])


PROBE = """
import resource, sys
import numpy as np
from precast.geometry import Box, Vec3
from precast.sources import open_source
source = open_source(sys.argv[1])
z, y, x = source.info.shape[1:]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
total = 0
for start in range(0, z, 64):
    box = Box(Vec3(0, 0, start), Vec3(x, y // 8, min(z, start + 64)))
    out = np.empty((1, *box.size.zyx), source.info.dtype)
    source.read(box, out)
    total += int(out.sum())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, total)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_of_npy_reads_does_not_grow_with_the_file(tmp_path: Path, order: str) -> None:
    """A file of 256 MB, read in boxes of 4 MB: Fortran order touches every page of the file."""
    path = tmp_path / "v.npy"
    voxels = np.lib.format.open_memmap(path, "w+", np.uint8, (512, 1024, 512), fortran_order=order == "F")
    voxels[:, :, ::16] = 1
    expected = int(voxels[:, :128].sum())
    del voxels
    run = subprocess.run([sys.executable, "-c", PROBE, path], capture_output=True, text=True, check=True)
    grown_kib, total = map(int, run.stdout.split())
    assert total == expected
    assert grown_kib < 80 * 1024
