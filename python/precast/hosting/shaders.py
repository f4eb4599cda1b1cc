"""How an image becomes colour: grey, red-green-blue, or a colour for each channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from precast.hosting.contrast import Contrast

__all__ = ["MOST_CHANNELS", "image_shader"]

RGB = """void main() {
  emitRGB(vec3(toNormalized(getDataValue(0)), toNormalized(getDataValue(1)), toNormalized(getDataValue(2))));
}
"""
RGB_CONTROLS = """#uicontrol invlerp red(channel=0)
#uicontrol invlerp green(channel=1)
#uicontrol invlerp blue(channel=2)
void main() {
  emitRGB(vec3(red(), green(), blue()));
}
"""
COLOURS = ("#00ff00", "#ff00ff", "#00ffff", "#ffff00", "#ff4000", "#4060ff")
MOST_CHANNELS = len(COLOURS)
"""Channels that are shown at once; of more the first ones."""


def image_shader(data_type: str, channels: int, contrast: Sequence[Contrast]) -> dict[str, Any]:
    """Return the keys ``shader`` and ``shaderControls`` of an image layer, as far as they differ from the default.

    Parameters
    ----------
    data_type, channels
        Of the image.
    contrast
        One for each channel, or none for the whole range of the data type.
    """
    if channels == 3 and data_type == "uint8" and not contrast:
        return {"shader": RGB}
    if channels == 1:
        names, shader = ["normalized"], None
    elif channels == 3:
        names, shader = ["red", "green", "blue"], RGB_CONTROLS
    else:
        shown = min(channels, MOST_CHANNELS)
        names, shader = [f"channel{at}" for at in range(shown)], _composite(shown)
    value: dict[str, Any] = {} if shader is None else {"shader": shader}
    if contrast:
        controls = zip(names, contrast, strict=False)
        value["shaderControls"] = {name: _control(one, data_type) for name, one in controls}
    return value


def _composite(channels: int) -> str:
    lines = []
    for at in range(channels):
        lines.append(f"#uicontrol invlerp channel{at}(channel={at})")
        lines.append(f'#uicontrol vec3 colour{at} color(default="{COLOURS[at]}")')
    total = " + ".join(f"channel{at}() * colour{at}" for at in range(channels))
    return "\n".join([*lines, "void main() {", f"  emitRGB({total});", "}", ""])


def _control(contrast: Contrast, data_type: str) -> dict[str, Any]:
    return {
        "range": [_number(edge, data_type) for edge in (contrast.low, contrast.high)],
        "window": [_number(edge, data_type) for edge in (contrast.least, contrast.most)],
    }


def _number(value: float, data_type: str) -> int | float | str:
    if data_type == "float32":
        return float(value) if value != int(value) else int(value)
    whole = round(value)
    return str(whole) if data_type == "uint64" else whole
