"""The tools of the checks: bounded work in threads, faults that are counted, blocks that cover a volume."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from precast.checks.blocks import comparison_boxes, match_blocks
from precast.checks.places import KEPT, Tally
from precast.checks.work import in_threads
from precast.geometry import Box, Vec3


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_keep_their_order(threads: int) -> None:
    def slow(number: int) -> int:
        time.sleep((number * 7 % 5) / 1000)
        return number * number

    assert list(in_threads(slow, range(50), threads)) == [n * n for n in range(50)]
    assert list(in_threads(slow, [], threads)) == []


@pytest.mark.parametrize("threads", [1, 3])
def test_subjects_are_taken_as_results_are(threads: int) -> None:
    """However many subjects there are, only a few are under way."""
    taken = 0

    def subjects() -> object:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield number

    for count, _ in enumerate(in_threads(lambda n: n, subjects(), threads), start=1):  # type: ignore[arg-type]
        assert taken <= count + 2 * threads


def test_an_exception_ends_the_work() -> None:
    begun = threading.Event()

    def fail(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        begun.set()
        return number

    with pytest.raises(ValueError, match="three"):
        list(in_threads(fail, range(10**6), 2))
    assert begun.is_set()


def test_a_tally_counts_more_than_it_keeps() -> None:
    tally = Tally()
    assert not tally
    for number in range(KEPT + 20):
        tally.add(f"place {number}", "wrong")
    tally.add("many", "wrong", 30)
    assert (bool(tally), tally.count, tally.first) == (True, KEPT + 50, ("place 0", "wrong"))
    faults = list(tally.faults("all"))
    assert len(faults) == KEPT + 1
    assert faults[-1] == ("all", "and 50 more")
    other = Tally()
    other.add("one", "wrong")
    other.join(tally)
    assert (other.count, other.first) == (KEPT + 51, ("one", "wrong"))
    assert list(other.faults("all"))[-1] == ("all", "and 51 more")
    few = Tally()
    few.add("a", "7 of them", 7)
    assert list(few.faults("all")) == [("a", "7 of them")]


@given(
    st.tuples(*[st.integers(1, 40)] * 3), st.tuples(*[st.integers(1, 12)] * 3), st.integers(1, 8), st.integers(0, 10**5)
)
def test_boxes_cover_a_volume(
    size: tuple[int, int, int], chunk: tuple[int, int, int], voxel_bytes: int, room: int
) -> None:
    whole = Box.of_size((-3, 5, 100), size)
    seen = np.zeros(size[::-1], int)
    for box in comparison_boxes(whole, Vec3.of(chunk), voxel_bytes, room):
        assert whole.contains(box)
        _, z, y, x = box.slices(whole.start)
        seen[z, y, x] += 1
        for axis in range(3):  # whole chunks, unless the volume ends
            assert (box.start[axis] - whole.start[axis]) % chunk[axis] == 0
        least = min(size[0], chunk[0]) * min(size[1], chunk[1]) * min(size[2], chunk[2])
        assert box.size.volume * voxel_bytes <= max(room, least * voxel_bytes)
    assert (seen == 1).all()


def test_blocks_of_floats() -> None:
    a = np.array([[[[1, np.nan, 3, -0.0]]]], np.float32)
    assert match_blocks(a, a.copy(), Box.of_size((0, 0, 0), (4, 1, 1)), ("a", "b"), distance=True).differ == 0
    b = np.array([[[[1, 2, 5, 0.0]]]], np.float32)
    found = match_blocks(a, b, Box.of_size((10, 0, 0), (4, 1, 1)), ("a", "b"), distance=False)
    assert (found.compared, found.differ, found.first) == (4, 2, ["11,0,0: a nan, b 2.0", "12,0,0: a 3.0, b 5.0"])
