"""How much memory this process may use, and how much it uses."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from precast.errors import UsageError

__all__ = [
    "current_rss_bytes",
    "default_budget_bytes",
    "memory_limit_bytes",
    "parse_bytes",
    "peak_rss_bytes",
    "share_heaps",
]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def share_heaps() -> None:
    """Let all threads of this process allocate from two heaps, where the C library is glibc.

    By default glibc reserves 64 MB of address space for each thread, which counts where address space is
    limited, and keeps freed memory in each. For programs, not for libraries: it concerns the whole process.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    m_arena_max = -8
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none, and no such heaps
    if mallopt is not None:
        mallopt(m_arena_max, 2)


def parse_bytes(text: str | int) -> int:
    """Read ``1GiB``, ``500MB``, ``2g`` or a plain number of bytes.

    Raises
    ------
    UsageError
        If it is none of these.
    """
    cleaned = str(text).strip().lower().removesuffix("b").strip()
    number = cleaned.rstrip("kmgti")
    unit = cleaned[len(number) :]
    try:
        value = float(number)
        scale = _UNITS[unit]
    except (ValueError, KeyError):
        raise UsageError(f"not a size: {text!r}", hint="for example 512MB, 1GiB, 4g or a number of bytes") from None
    if not value > 0:
        raise UsageError(f"a size must be positive: {text!r}")
    return int(value * scale)


def memory_limit_bytes() -> int:
    """Return the smallest limit on this process: address space, control group, physical memory."""
    limits = [_physical_bytes()]
    try:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            limits.append(soft)
    except (ImportError, ValueError):
        pass
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(name).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    return min(limits)


def _physical_bytes() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 4 * 2**30  # Windows has no sysconf; a modest machine


def default_budget_bytes() -> int:
    """Return the default of ``--memory``: the smaller of 1 GiB and a quarter of the limit."""
    return min(2**30, memory_limit_bytes() // 4)


def peak_rss_bytes() -> int:
    """Return the peak resident memory of this process so far; 0 where it cannot be known."""
    try:  # getrusage counts what the parent had before exec; the kernel's own record does not
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def current_rss_bytes() -> int:
    """Return the resident memory now; the peak where the present value cannot be known."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return peak_rss_bytes()
    return pages * os.sysconf("SC_PAGE_SIZE")
