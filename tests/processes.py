"""The program as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STUCK_S = 120


@contextmanager
def running(*arguments: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start ``precast`` with pipes, and see to it that it ends.

    A process that is still there after two minutes is aborted, and says on standard error where all its threads are;
    so no test waits for it forever, and whoever reads the failure knows why.
    """
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-m", "precast.cli.main", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    watch = threading.Timer(STUCK_S, process.send_signal, (signal.SIGABRT,))
    watch.start()
    try:
        yield process
    finally:
        watch.cancel()
        process.kill()
        process.wait()
