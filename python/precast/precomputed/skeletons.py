"""Skeletons: the ``info`` of their directory, and one skeleton.

Layout of a skeleton, all numbers little-endian::

    uint32 Nv, uint32 Ne
    positions    Nv x 3 float32, x, y, z of the stored model
    edges        Ne x 2 uint32, vertex indices
    attributes   in the order of ``info``: Nv x num_components elements each, nothing between them
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from precast.errors import FormatError
from precast.precomputed.mesh_info import IDENTITY, Problem, is_number
from precast.precomputed.sharding import ShardingSpec

__all__ = ["Skeleton", "SkeletonAttribute", "SkeletonInfo", "parse_skeleton"]

TYPE = "neuroglancer_skeletons"
ATTRIBUTE_TYPES = ("float32", "int8", "uint8", "int16", "uint16", "int32", "uint32")
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class SkeletonAttribute:
    """One number, or a few, at every vertex."""

    id: str
    data_type: str
    num_components: int

    @property
    def vertex_bytes(self) -> int:
        """Bytes of one vertex."""
        return self.num_components * np.dtype(self.data_type).itemsize

    @property
    def drawn(self) -> bool:
        """Whether Neuroglancer can draw skeletons with it: float32, at most a vec4, a name of its shading language."""
        return self.data_type == "float32" and self.num_components <= 4 and IDENTIFIER.fullmatch(self.id) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class SkeletonInfo:
    """The ``info`` of a skeleton directory.

    Attributes
    ----------
    transform
        12 numbers, three rows of four: from the stored model to nanometres.
    attributes
        In the order in which they are stored.
    sharding
        None for one file per skeleton.
    """

    transform: tuple[float, ...] = IDENTITY
    attributes: tuple[SkeletonAttribute, ...] = ()
    sharding: ShardingSpec | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SkeletonInfo:
        """Read the parsed file, which must have no problems."""
        sharding = value.get("sharding")
        return cls(
            transform=tuple(float(number) for number in value.get("transform", IDENTITY)),
            attributes=tuple(
                SkeletonAttribute(item["id"], item["data_type"], item["num_components"])
                for item in value.get("vertex_attributes", [])
            ),
            sharding=None if sharding is None else ShardingSpec.from_json(sharding),
        )

    @staticmethod
    def problems(value: Mapping[str, Any]) -> list[Problem]:
        """Return everything that is wrong: rules ``type``, ``transform``, ``attributes``, ``fields``."""
        if value.get("@type") != TYPE:
            return [Problem("type", f"@type: must be {TYPE!r}, got {value.get('@type')!r:.60}")]
        found = []
        transform = value.get("transform", list(IDENTITY))
        if not isinstance(transform, list) or len(transform) != 12 or not all(map(is_number, transform)):
            found.append(Problem("transform", f"transform: must be 12 finite numbers, got {transform!r:.120}"))
        found += _attribute_problems(value.get("vertex_attributes", []))
        sharding = value.get("sharding")
        if isinstance(sharding, Mapping):
            try:
                ShardingSpec.from_json(sharding)
            except FormatError as error:
                found.append(Problem("fields", error.message))
        elif sharding is not None:
            found.append(Problem("fields", f"sharding: must be an object, got {sharding!r:.60}"))
        link = value.get("segment_properties")
        if link is not None and not isinstance(link, str):
            found.append(Problem("fields", f"segment_properties: must be a relative directory, got {link!r:.60}"))
        return found

    def to_nm(self, stored: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Take positions of the stored model, shape (n, 3), to nanometres."""
        matrix = np.array(self.transform, np.float64).reshape(3, 4)
        return np.asarray(stored, np.float64) @ matrix[:, :3].T + matrix[:, 3]


def _attribute_problems(value: Any) -> list[Problem]:
    if not isinstance(value, list):
        return [Problem("attributes", f"vertex_attributes: must be a list, got {value!r:.60}")]
    found = []
    names: set[str] = set()
    for i, item in enumerate(value):
        place = f"vertex_attributes[{i}]"
        if not isinstance(item, dict):
            found.append(Problem("attributes", f"{place}: must be an object, got {item!r:.60}"))
            continue
        name, kind, count = item.get("id"), item.get("data_type"), item.get("num_components")
        if not isinstance(name, str) or not name:
            found.append(Problem("attributes", f"{place}.id: must be a non-empty string, got {name!r:.60}"))
        elif name in names:
            found.append(Problem("attributes", f"{place}.id: {name!r:.60} stands twice"))
        else:
            names.add(name)
        if kind not in ATTRIBUTE_TYPES:
            allowed = ", ".join(ATTRIBUTE_TYPES)
            found.append(Problem("attributes", f"{place}.data_type: must be one of {allowed}; got {kind!r:.60}"))
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count < 2**16:
            found.append(Problem("attributes", f"{place}.num_components: must be an integer from 1, got {count!r:.60}"))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Skeleton:
    """One skeleton.

    Attributes
    ----------
    positions
        float32, shape (n, 3), of the stored model.
    edges
        uint32, shape (m, 2).
    attributes
        By id, shape (n, components).
    """

    positions: npt.NDArray[np.float32]
    edges: npt.NDArray[np.uint32]
    attributes: dict[str, npt.NDArray[Any]]


def parse_skeleton(data: bytes, attributes: tuple[SkeletonAttribute, ...]) -> Skeleton:
    """Read one skeleton.

    Raises
    ------
    FormatError
        If it does not have exactly the length that its counts and attributes say.
    """
    if len(data) < 8:
        raise FormatError(f"a skeleton has at least 8 bytes, got {len(data)}")
    vertices, edges = (int(number) for number in np.frombuffer(data, "<u4", 2))
    expected = 8 + 12 * vertices + 8 * edges + sum(vertices * item.vertex_bytes for item in attributes)
    if len(data) != expected:
        text = f"{vertices} vertices and {edges} edges with {len(attributes)} attributes take {expected} bytes"
        raise FormatError(f"{text}, got {len(data)}")
    at = 8
    positions = np.frombuffer(data, "<f4", 3 * vertices, at).reshape(-1, 3)
    at += 12 * vertices
    pairs = np.frombuffer(data, "<u4", 2 * edges, at).reshape(-1, 2)
    at += 8 * edges
    values = {}
    for item in attributes:
        kind = np.dtype(item.data_type).newbyteorder("<")
        values[item.id] = np.frombuffer(data, kind, vertices * item.num_components, at).reshape(
            vertices, item.num_components
        )
        at += vertices * item.vertex_bytes
    return Skeleton(positions, pairs, values)
