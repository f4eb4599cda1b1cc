"""Ctrl-C that comes where Python can bear it.

Locks of ``threading`` that are written in Python (conditions, and what is made of them: events, semaphores, futures)
are taken in a function, ``__enter__``. An exception that a signal raises in it, when the lock has been had and the
``with`` that will give it back has not begun, leaves it locked for good: the next thread that needs it waits for ever,
and the program with it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["safe_interrupts"]

LATER_S = 0.002
LOCKING = frozenset({"__enter__", "__exit__", "_acquire_restore", "_release_save"})
"""Functions of ``threading`` that have a lock in hand, or are about to."""


@contextmanager
def safe_interrupts() -> Iterator[None]:
    """Let Ctrl-C raise ``KeyboardInterrupt`` as usual, only a moment later where it would leave something locked.

    Nothing is changed outside the main thread, where Ctrl-C does something else already, and on systems without timers.
    """
    usual = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        and hasattr(signal, "setitimer")
    )
    if not usual:
        yield
        return
    alarms = signal.signal(signal.SIGALRM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, alarms)


def _interrupt(_: int, frame: FrameType | None) -> None:
    if frame is not None and frame.f_code.co_name in LOCKING and frame.f_globals.get("__name__") == "threading":
        signal.setitimer(signal.ITIMER_REAL, LATER_S)
        return
    raise KeyboardInterrupt
