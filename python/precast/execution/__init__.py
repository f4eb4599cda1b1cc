"""Running work: tasks, work directories that survive a kill, memory, progress."""

from __future__ import annotations
