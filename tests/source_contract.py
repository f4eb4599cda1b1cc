"""What every source must do: subclass `SourceContract` and say how to open one."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from precast.errors import UsageError
from precast.geometry import Box, Vec3
from precast.sources import Source
from precast.sources.base import Array


def noise(shape: tuple[int, ...], dtype: str, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if not kind.isnative:
        return noise(shape, kind.newbyteorder("=").str, seed).astype(kind)
    if np.dtype(dtype).kind == "b":
        return rng.random(shape) < 0.5
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


def read_all(source: Source) -> Array:
    out = np.full(source.info.shape, 1, source.info.dtype)
    source.read(source.info.bounds, out)
    return out


def open_files() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def cut(expected: Array, box: Box) -> Array:
    return expected[box.slices()]


@st.composite
def boxes(draw: st.DrawFn, shape: tuple[int, ...]) -> Box:
    ends = [sorted(draw(st.lists(st.integers(0, size), min_size=2, max_size=2))) for size in shape[:0:-1]]
    return Box(Vec3.of([a for a, _ in ends]), Vec3.of([b for _, b in ends]))


class SourceContract:
    """Subclasses give `make(tmp_path)` -> the source and its voxels ``(c, z, y, x)``, from an independent writer."""

    def make(self, path: Path) -> tuple[Source, Array]:
        raise NotImplementedError

    @pytest.fixture
    def opened(self, tmp_path: Path) -> tuple[Source, Array]:
        return self.make(tmp_path)

    def test_describes_and_reads_everything(self, opened: tuple[Source, Array]) -> None:
        source, expected = opened
        assert isinstance(source, Source)
        assert source.info.shape == expected.shape
        assert source.info.dtype == expected.dtype
        assert source.info.dtype.isnative
        assert "/" not in source.info.name
        np.testing.assert_array_equal(read_all(source), expected)

    def test_blocks_lie_inside(self, opened: tuple[Source, Array]) -> None:
        info = opened[0].info
        assert all(1 <= a <= b for a, b in zip(info.block, info.bounds.size, strict=True))

    def test_reads_any_box(self, opened: tuple[Source, Array]) -> None:
        source, expected = opened

        # Defined here, because every subclass has a property of its own.
        @settings(max_examples=60, deadline=None)
        @given(box=boxes(expected.shape), layout=st.sampled_from(["contiguous", "strided", "transposed"]))
        def check(box: Box, layout: str) -> None:
            wanted = cut(expected, box)
            if layout == "contiguous":
                out = np.full(wanted.shape, 1, wanted.dtype)
            elif layout == "strided":
                wide = [2 * size + 1 for size in wanted.shape]
                out = np.full(wide, 1, wanted.dtype)[tuple(slice(0, 2 * size, 2) for size in wanted.shape)]
            else:
                out = np.full(wanted.shape[::-1], 1, wanted.dtype).T
            source.read(box, out)
            np.testing.assert_array_equal(out, wanted)

        check()

    def test_writes_nothing_beside_the_box(self, opened: tuple[Source, Array]) -> None:
        source, expected = opened
        c, z, y, x = expected.shape
        frame = np.full((c, z + 2, y + 2, x + 2), 1, expected.dtype)
        source.read(source.info.bounds, frame[:, 1:-1, 1:-1, 1:-1])
        np.testing.assert_array_equal(frame[:, 1:-1, 1:-1, 1:-1], expected)
        frame[:, 1:-1, 1:-1, 1:-1] = 1
        assert (frame == 1).all()

    def test_many_threads_read_at_once(self, opened: tuple[Source, Array]) -> None:
        source, expected = opened
        size = Vec3(*(max(1, n // 2) for n in expected.shape[:0:-1]))
        tiles = list(source.info.bounds.tiles(size)) * 6

        def read(box: Box) -> bool:
            wanted = cut(expected, box)
            out = np.empty(wanted.shape, wanted.dtype)
            source.read(box, out)
            return bool(np.array_equal(out, wanted))

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(read, tiles))

    def test_pickles(self, opened: tuple[Source, Array]) -> None:
        source, expected = opened
        read_all(source)
        copy = pickle.loads(pickle.dumps(source))
        assert copy.info == source.info
        assert copy.fingerprint() == source.fingerprint()
        np.testing.assert_array_equal(read_all(copy), expected)

    @pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to count open files")
    def test_leaves_no_file_open(self, tmp_path: Path) -> None:
        before = open_files()
        source, _ = self.make(tmp_path)
        read_all(source)
        source.fingerprint()
        assert open_files() == before

    def test_fingerprint_does_not_depend_on_place(self, tmp_path: Path) -> None:
        (tmp_path / "here").mkdir()
        (tmp_path / "there").mkdir()
        one, other = self.make(tmp_path / "here")[0], self.make(tmp_path / "there")[0]
        assert one.fingerprint() == one.fingerprint()
        assert one.fingerprint().content == other.fingerprint().content

    def test_refuses_what_does_not_fit(self, opened: tuple[Source, Array]) -> None:
        source, expected = opened
        bounds = source.info.bounds
        with pytest.raises(UsageError, match="is not inside"):
            source.read(bounds.shift((1, 0, 0)), np.empty_like(expected))
        with pytest.raises(UsageError, match="must be writeable"):
            source.read(bounds, np.empty((*expected.shape[:3], expected.shape[3] + 1), expected.dtype))
        with pytest.raises(UsageError, match="must be writeable"):
            source.read(bounds, np.empty(expected.shape, np.complex64))
        frozen = np.empty_like(expected)
        frozen.flags.writeable = False
        with pytest.raises(UsageError, match="read-only"):
            source.read(bounds, frozen)
