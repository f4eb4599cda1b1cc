"""Format and storage together: datasets that are opened, listed and read."""

from __future__ import annotations

from precast.dataset.layers import Layer, LayerSet, open_layers
from precast.dataset.meshes import SegmentMesh, VolumeMeshes
from precast.dataset.volume import Scale, Volume, open_volume

__all__ = [
    "Layer",
    "LayerSet",
    "Scale",
    "SegmentMesh",
    "Volume",
    "VolumeMeshes",
    "open_layers",
    "open_volume",
]
