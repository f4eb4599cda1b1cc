"""Format and storage together: datasets that are opened, listed and read."""

from __future__ import annotations

from precast.dataset.volume import Scale, Volume, open_volume

__all__ = ["Scale", "Volume", "open_volume"]
