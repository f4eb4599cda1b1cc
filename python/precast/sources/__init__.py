"""Inputs behind one protocol: what a volume is like, and the voxels of any box of it."""

from __future__ import annotations

from precast.sources.base import Fingerprint, Source, SourceInfo, SourceOptions
from precast.sources.guess import KindGuess, guess_kind
from precast.sources.opening import open_source

__all__ = [
    "Fingerprint",
    "KindGuess",
    "Source",
    "SourceInfo",
    "SourceOptions",
    "guess_kind",
    "open_source",
]
