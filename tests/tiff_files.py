"""TIFF files written by hand, byte for byte: what no library writes, or writes only for huge images."""

from __future__ import annotations

import struct
from pathlib import Path

from precast.sources.base import Array
from source_contract import noise


def tiff_bytes(tags: dict[int, int], raw: bytes, *, offset: int | None = None, count: int | None = None) -> bytes:
    """Return a little-endian TIFF with SHORT or LONG tags and one strip."""
    entries = dict(tags)
    size = 8 + 2 + 12 * (len(entries) + 2) + 4
    entries[273] = size if offset is None else offset
    entries[279] = len(raw) if count is None else count
    body = b"".join(struct.pack("<HHII", tag, 4, 1, entries[tag]) for tag in sorted(entries))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + struct.pack("<I", 0) + raw


GREY = {256: 4, 257: 3, 258: 8, 259: 1, 262: 1, 277: 1, 278: 3}


def sparse_file(path: Path, nodata: bytes = b"") -> None:
    """Write a 2 x 1 tiled image whose second tile was never written."""
    tags: dict[int, tuple[int, int, bytes]] = {
        256: (4, 1, struct.pack("<I", 32)), 257: (4, 1, struct.pack("<I", 16)), 258: (4, 1, struct.pack("<I", 8)),
        259: (4, 1, struct.pack("<I", 1)), 262: (4, 1, struct.pack("<I", 1)), 277: (4, 1, struct.pack("<I", 1)),
        322: (4, 1, struct.pack("<I", 16)), 323: (4, 1, struct.pack("<I", 16)),
    }  # fmt: skip
    if nodata:
        tags[42113] = (2, len(nodata), nodata.ljust(4, b"\0"))
    count = len(tags) + 2
    start = 8 + 2 + 12 * count + 4
    tags[324], tags[325] = (4, 2, struct.pack("<I", start)), (4, 2, struct.pack("<I", start + 8))
    body = b"".join(struct.pack("<HHI", tag, *tags[tag][:2]) + tags[tag][2] for tag in sorted(tags))
    tables = struct.pack("<IIII", start + 16, 0, 256, 0)
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, count) + body + bytes(4) + tables + b"\x07" * 256)


def contiguous_stack(path: Path, count: int, *, images: int) -> Array:
    voxels = noise((count, 3, 4), "u2")
    text = f"ImageJ=1.54f\nimages={images}\nslices={images}\n".encode()
    tags = {256: (4, 4), 257: (3, 3), 258: (3, 16), 259: (3, 1), 262: (3, 1), 277: (3, 1), 278: (3, 3), 279: (4, 24)}
    size = len(tags) + 2
    start = 8 + 2 + 12 * size + 4
    entries = {tag: struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in tags.items()}
    entries[270] = struct.pack("<HHII", 270, 2, len(text), start)
    entries[273] = struct.pack("<HHII", 273, 4, 1, start + len(text))
    head = b"II*\0" + struct.pack("<IH", 8, size) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
    path.write_bytes(head + text + voxels.astype("<u2").tobytes())
    return voxels
