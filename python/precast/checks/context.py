"""What the checks of one dataset share."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from precast.checks.options import CheckOptions
from precast.checks.survey import Depth
from precast.execution.memory import default_budget_bytes
from precast.execution.progress import Progress
from precast.precomputed.provenance import Provenance
from precast.storage import Store

__all__ = ["Context"]

T = TypeVar("T")


@dataclass(slots=True)
class Context:
    """One dataset, how to check it, and whom to tell.

    Attributes
    ----------
    store
        The dataset.
    options, progress
        How, and whom to tell.
    provenance
        What is known of its origin.
    """

    store: Store
    options: CheckOptions
    progress: Progress
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def threads(self) -> int:
        """The threads to use: as given, else all processors that this process may run on."""
        if self.options.threads is not None:
            return self.options.threads
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity else (os.cpu_count() or 1)

    @property
    def memory_bytes(self) -> int:
        """The memory for voxels."""
        return default_budget_bytes() if self.options.memory is None else self.options.memory

    @property
    def depth(self) -> Depth:
        """How much to look into."""
        return Depth(
            sample=self.options.sample, seed=self.options.seed, threads=self.threads, memory_bytes=self.memory_bytes
        )

    def sample(self, subjects: list[T]) -> list[T]:
        """Return the subjects to look into: all, or the share that was asked for, at least one."""
        if self.options.sample >= 1 or not subjects:
            return subjects
        count = max(1, math.ceil(len(subjects) * self.options.sample))
        chosen = np.random.default_rng([self.options.seed, len(subjects)]).choice(len(subjects), count, replace=False)
        return [subjects[i] for i in sorted(chosen.tolist())]
