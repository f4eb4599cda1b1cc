"""Many small reads at once, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_threads"]

S = TypeVar("S")
T = TypeVar("T")


def in_threads(function: Callable[[S], T], subjects: Iterable[S], threads: int) -> Iterator[T]:
    """Yield ``function(subject)`` in the order of the subjects; at most two results a thread wait to be taken.

    An exception ends the work and comes out here.
    """
    if threads <= 1:
        yield from map(function, subjects)
        return
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[T]] = deque()
    try:
        for subject in subjects:
            waiting.append(pool.submit(function, subject))
            if len(waiting) >= 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
