"""From a folder of slices to Neuroglancer: complete, exact precomputed volumes in one pass."""

from __future__ import annotations

__all__: list[str] = []
