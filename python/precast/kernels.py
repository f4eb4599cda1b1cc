"""The compiled kernels with precast's errors: the only module that imports ``precast._native``."""

from __future__ import annotations

from precast import _native

__all__ = ["version"]

version: str = _native.__version__
