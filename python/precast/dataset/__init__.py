"""Format and storage together: datasets that are opened, listed and read."""

from __future__ import annotations

from precast.dataset.meshes import SegmentMesh, VolumeMeshes
from precast.dataset.volume import Scale, Volume, open_volume

__all__ = ["Scale", "SegmentMesh", "Volume", "VolumeMeshes", "open_volume"]
