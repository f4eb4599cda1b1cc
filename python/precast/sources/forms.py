"""What single images are like: the common ground of TIFF, PNG and JPEG slices."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from precast.findings import Finding
from precast.sources.voxel_sizes import Found

__all__ = ["Form", "ImageInfo", "Window"]


class Window(NamedTuple):
    """Rows and columns of an image: ``y0 <= y < y1``, ``x0 <= x < x1``."""

    y0: int
    y1: int
    x0: int
    x1: int


class Form(NamedTuple):
    """What all slices of a volume must share."""

    width: int
    height: int
    channels: int
    dtype: np.dtype[np.generic]

    def __str__(self) -> str:
        channels = f"{self.channels} channel{'s' if self.channels > 1 else ''}"
        return f"{self.width} x {self.height} pixels, {channels} of {self.dtype}"


class ImageInfo(NamedTuple):
    """What one file that is one slice says about itself.

    Attributes
    ----------
    form
        Size, channels and dtype.
    block
        Width and rows of the smallest piece that is decoded on its own.
    lossy
        Whether it went through JPEG.
    voxel_size
        As in the file.
    findings
        What a person should know.
    """

    form: Form
    block: tuple[int, int]
    lossy: bool
    voxel_size: Found = Found()
    findings: tuple[Finding, ...] = ()
