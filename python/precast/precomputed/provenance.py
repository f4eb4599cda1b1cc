"""``provenance``: how a dataset came to be, as far as a reader can use it.

The file has the keys of cloud-volume: ``description``, ``owners``, ``sources`` and ``processing``, a list of steps that
every program fills as it likes. The step of precast's ``convert`` has ``scales``: per scale its key, how many chunks
were stored, how many were left out because they hold only zeros, and the digest of its voxels.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from precast.precomputed.generations import plain_path

__all__ = ["Provenance", "ScaleRecord"]

TOOL = "precast"


@dataclass(frozen=True, slots=True)
class ScaleRecord:
    """What the conversion wrote down about one scale; None where it did not."""

    stored_chunks: int | None
    background_chunks: int | None
    voxel_digest: str | None


@dataclass(frozen=True, slots=True)
class Provenance:
    """A provenance, read without trust.

    Attributes
    ----------
    problem
        Why it cannot be used, if so; the rest is then empty.
    steps
        ``processing``, as far as its entries are objects.
    """

    problem: str = ""
    steps: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def parse(cls, data: bytes) -> Provenance:
        """Read the file."""
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as error:
            return cls(f"it is not JSON: {error}")
        if not isinstance(value, dict):
            return cls(f"it must hold a JSON object, not {type(value).__name__}")
        steps = value.get("processing", [])
        if not isinstance(steps, list):
            return cls(f"processing must be a list, got {steps!r:.60}")
        return cls("", [step for step in steps if isinstance(step, dict)])

    @property
    def conversion(self) -> dict[str, Any] | None:
        """The last step in which precast wrote the voxels."""
        found = [step for step in self.steps if step.get("tool") == TOOL and isinstance(step.get("scales"), list)]
        return found[-1] if found else None

    @property
    def meshing(self) -> dict[str, Any] | None:
        """The step in which precast made the meshes."""
        found = [step for step in self.steps if step.get("tool") == TOOL and step.get("task") == "mesh"]
        return found[-1] if found else None

    @property
    def meshed(self) -> bool:
        """Whether precast made the meshes."""
        return self.meshing is not None

    @property
    def options(self) -> dict[str, Any]:
        """The options of the conversion; empty if there was none."""
        options = (self.conversion or {}).get("options")
        return options if isinstance(options, dict) else {}

    def scale(self, key: str) -> ScaleRecord | None:
        """Return what is written down about a scale, which may have been published in another generation since."""
        entries = [entry for entry in (self.conversion or {}).get("scales", []) if isinstance(entry, dict)]
        for wanted in dict.fromkeys((key, plain_path(key))):
            entry = next((entry for entry in entries if entry.get("key") == wanted), None)
            if entry is not None:
                digest = entry.get("voxel_digest")
                return ScaleRecord(
                    _count(entry.get("stored_chunks")),
                    _count(entry.get("background_chunks")),
                    digest if isinstance(digest, str) else None,
                )
        return None

    def method(self, kind: str) -> str | None:
        """Return how the conversion reduced its scales, by the kernel's name; None if it does not say."""
        if self.conversion is None:
            return None
        method = self.options.get("method")
        if kind == "segmentation" and self.options.get("sparse") is True:
            return "majority_sparse"
        if method == "auto":
            return "majority" if kind == "segmentation" else "mean"
        return method if isinstance(method, str) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
