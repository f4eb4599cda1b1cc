"""``snapshot``: a picture of what a viewer shows, drawn by the viewer itself in a browser without a window."""

from __future__ import annotations

import base64
import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imagecodecs

from precast.errors import DestinationExistsError, PrecastError, StorageError, UsageError
from precast.findings import Finding
from precast.hosting.chromium import Chromium, find_chromium
from precast.hosting.server import ServeOptions
from precast.hosting.state import ViewOptions, build_state
from precast.hosting.view import ServedLayers
from precast.storage import Attributes, LocalStore, StoreOptions

__all__ = ["SnapshotOptions", "SnapshotSummary", "snapshot"]

LARGEST_EDGE = 8192
SMALLEST_EDGE = 64
LONGEST_S = 86400
COMPRESSION = 9
SUFFIX = ".png"

SHOW = """
((state) => {
    const { viewer } = window;
    viewer.uiConfiguration.showUIControls.value = false;
    viewer.uiConfiguration.showPanelBorders.value = false;
    viewer.state.reset();
    viewer.state.restoreState(state);
})
"""

DRAWN = """
new Promise((resolve, reject) => {
    const { viewer } = window;
    let settled = false;
    let done = false;
    const look = () => {
        if (done) return;
        if (!viewer.isReady()) {
            settled = false;
        } else if (!settled) {
            // what is ready is asked once more after all that was put off has been done
            settled = true;
            setTimeout(look, 0);
        } else {
            done = true;
            const problems = [];
            for (const { name, layer } of viewer.layerManager.managedLayers) {
                for (const { loadState } of layer?.dataSources ?? []) {
                    if (loadState?.error) problems.push(`${name}: ${loadState.error.message}`);
                }
            }
            const status = document.getElementById("neuroglancer-status-container")?.innerText.trim();
            if (status) problems.push(status);
            viewer.display.draw();
            resolve({ problems, picture: viewer.display.canvas.toDataURL() });
        }
    };
    viewer.display.updateFinished.add(() => setTimeout(look, 0));
    look();
})
"""


@dataclass(frozen=True, kw_only=True)
class SnapshotOptions(ViewOptions):
    """What a picture shows, and how large it is.

    Raises
    ------
    UsageError
        If a value is not allowed; the text says what is.
    """

    size: str | tuple[int, int] = field(
        default="1600x1000", metadata={"help": "Width and height of the picture in pixels.", "metavar": "WxH"}
    )
    timeout: float | str = field(
        default=120.0, metadata={"help": "Seconds after which it is given up.", "metavar": "SECONDS"}
    )
    browser: str | os.PathLike[str] | None = field(
        default=None,
        metadata={"help": "A Chromium, or a browser made from it [default: the system's].", "metavar": "PATH"},
    )
    overwrite: bool = field(default=False, metadata={"help": "Replace an existing file."})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pixels()
        self.seconds()

    def pixels(self) -> tuple[int, int]:
        """Return width and height."""
        if isinstance(self.size, str):
            found = re.fullmatch(r"([0-9]{1,5})[x×]([0-9]{1,5})", self.size.strip())
            edges = tuple(map(int, found.groups())) if found else ()
        else:
            edges = tuple(self.size)
        if len(edges) != 2 or not all(
            isinstance(edge, int) and SMALLEST_EDGE <= edge <= LARGEST_EDGE for edge in edges
        ):
            raise UsageError(
                f"--size must be width and height from {SMALLEST_EDGE} to {LARGEST_EDGE}, got {self.size!r}",
                hint="such as 1600x1000",
            )
        return edges[0], edges[1]

    def seconds(self) -> float:
        """Return the time limit."""
        try:
            value = float(self.timeout)
        except (TypeError, ValueError):
            value = math.nan
        if not 0 < value <= LONGEST_S:
            raise UsageError(f"--timeout must be a positive number of seconds, got {self.timeout!r}")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSummary:
    """The picture.

    Attributes
    ----------
    path
        The file.
    width, height
        Pixels.
    state
        What the viewer was told to show, as JSON.
    findings
        What was noticed.
    """

    path: str
    width: int
    height: int
    state: dict[str, Any]
    findings: tuple[Finding, ...]

    def __str__(self) -> str:
        return f"{self.path}: {self.width} × {self.height} pixels"


def snapshot(
    *places: str | os.PathLike[str],
    output: str | os.PathLike[str],
    options: SnapshotOptions | None = None,
    store: StoreOptions | None = None,
) -> SnapshotSummary:
    """Write a picture of what Neuroglancer shows of some datasets.

    The picture holds the panels alone, and is written when all that is in view is drawn at its best.

    Parameters
    ----------
    places
        Datasets, collections, directories of datasets, or their addresses.
    output
        The file, a PNG.
    options
        See :class:`SnapshotOptions`.
    store
        How buckets are reached, beyond what the environment says; there has to be one.

    Raises
    ------
    UsageError
        If there is nothing to show, or the file's name does not end in ``.png``.
    DestinationExistsError
        If the file exists and is not to be replaced.
    MissingExtraError
        If there is no Neuroglancer or no Chromium; the hint says how to get them.
    ObjectNotFoundError, FormatError, AccessDeniedError
        If a dataset is not there or cannot be read.
    StorageError
        If the viewer could not get or draw something, or not in time.
    """
    options = options or SnapshotOptions()
    path = Path(output)
    if path.suffix.lower() != SUFFIX:
        raise UsageError(f"pictures are PNG files, got {path}", hint="give a name that ends in .png", where=str(path))
    if path.exists() and not options.overwrite:
        raise DestinationExistsError(
            f"{path} exists already", hint="give --overwrite to replace it, or another name", where=str(path)
        )
    browser, size = find_chromium(options.browser), options.pixels()
    troubles: list[PrecastError] = []
    # nobody else has to do with this server
    with ServedLayers(places, ServeOptions(port=0, private=True), store, tell=troubles.append) as served:
        built = build_state(served.layers, options, window=size, bare=True)
        try:
            with Chromium(browser, size, options.seconds()) as chromium:
                chromium.load(served.client.url)
                chromium.run(f"{SHOW}({json.dumps(built.state)})")
                drawn = chromium.run(DRAWN)
            if drawn["problems"]:
                raise StorageError(f"the viewer could not draw everything: {'; '.join(drawn['problems'])}")
        except StorageError:
            if not troubles:
                raise
            raise troubles[0] from None  # the browser knows no more than that an answer was an error
    LocalStore(path.parent).write(path.name, _picture(drawn["picture"], size), Attributes())
    return SnapshotSummary(
        path=str(path),
        width=size[0],
        height=size[1],
        state=built.state,
        findings=(*served.findings, *built.findings),
    )


def _picture(data_url: str, size: Sequence[int]) -> bytes:
    """Return a PNG without transparency and as small as one gets."""
    pixels = imagecodecs.png_decode(base64.b64decode(data_url.partition(",")[2]))[..., :3]
    if pixels.shape != (size[1], size[0], 3):
        raise StorageError(f"the viewer drew {pixels.shape[1]} × {pixels.shape[0]} pixels, not {size[0]} × {size[1]}")
    return bytes(imagecodecs.png_encode(pixels.copy(), level=COMPRESSION))
