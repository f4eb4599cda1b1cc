"""Ctrl-C at any moment leaves nothing locked that other threads need."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest

from precast.cli.interrupts import safe_interrupts

# The main thread uses locks all the time; another one interrupts it once, after a pause that is never the same, so that
# this comes at every place. Then the main thread looks whether a lock is still held, and says that it is ready again.
PROGRAM = """
import contextlib, json, os, random, signal, sys, threading, time
from concurrent.futures import Future
from precast.cli.interrupts import safe_interrupts

SAFE, WANTED, MOST_S = sys.argv[1] == "safe", int(sys.argv[2]), float(sys.argv[3])
ready = 0

def interrupt():
    pauses, seen = random.Random(1), 0
    while True:
        if ready > seen:
            seen = ready
            time.sleep(pauses.random() * 0.0003)
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.0001)

def once():
    global ready
    event, count, future = threading.Event(), threading.Semaphore(0), Future()
    try:
        ready += 1
        while True:
            event.wait(0)
            count.acquire(blocking=False)
            future.done()
    except KeyboardInterrupt:
        # nobody else uses them
        locks = event._cond._lock, count._cond._lock, future._condition._lock
        return any(not lock.acquire(blocking=False) for lock in locks)
    except RuntimeError:  # given back without having been had
        return True

threading.Thread(target=interrupt, daemon=True).start()
end, interrupted, locked = time.monotonic() + MOST_S, 0, 0
with safe_interrupts() if SAFE else contextlib.nullcontext():
    while interrupted < WANTED and time.monotonic() < end and not locked:
        locked += once()
        interrupted += 1
print(json.dumps([interrupted, locked]))
"""


def count(how: str, wanted: int, seconds: float) -> list[int]:
    command = [sys.executable, "-c", PROGRAM, how, str(wanted), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found: list[int] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers")
def test_no_lock_is_left_behind() -> None:
    assert count("usual", 20_000, 30)[1] == 1, "else this test would find nothing"
    interrupted, left = count("safe", 400, 30)
    assert interrupted > 40
    assert left == 0


def test_what_there_was_is_there_again() -> None:
    def other(*_: Any) -> None:
        raise AssertionError

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGALRM)
    assert before[0] is signal.default_int_handler
    with safe_interrupts(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGALRM)) == before
    signal.signal(signal.SIGINT, other)
    try:
        with safe_interrupts():
            assert signal.getsignal(signal.SIGINT) is other
    finally:
        signal.signal(signal.SIGINT, before[0])
    inside: list[Any] = []

    def elsewhere() -> None:
        with safe_interrupts():
            inside.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert inside == [before[0]]
