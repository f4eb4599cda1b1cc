"""Draco streams against Google's encoder and decoder, on meshes of all kinds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import DracoPy
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from precast import draco
from precast.errors import FormatError, UsageError
from viewer_draco import viewer_decode

Array = npt.NDArray[Any]
Mesh = tuple[Array, Array]


def triangles(positions: Array, faces: Array) -> Counter[tuple[tuple[int, ...], ...]]:
    """Count the faces by their positions, from the least corner on, so that only the orientation is left."""
    found: Counter[tuple[tuple[int, ...], ...]] = Counter()
    points = [tuple(int(value) for value in point) for point in positions.tolist()]
    for a, b, c in faces.tolist():
        if len({a, b, c}) == 3:
            p, q, r = points[a], points[b], points[c]
            found[min((p, q, r), (q, r, p), (r, p, q))] += 1
    return found


def grid(rng: np.random.Generator, width: int, height: int, wrapped: bool) -> Mesh:
    """Return an open sheet or a torus of noisy positions."""
    index = np.arange(width * height).reshape(height, width)
    if wrapped:
        index = np.pad(index, (0, 1), mode="wrap")
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack(three, -1).reshape(-1, 3) for three in ((a, b, c), (a, c, d))])
    n = np.arange(width * height)
    return np.stack([n % width * 8, n // width * 8, rng.integers(0, 20, len(n))], -1), faces


def joined(*meshes: Mesh) -> Mesh:
    offsets = np.cumsum([0, *(len(positions) for positions, _ in meshes)])
    faces = [faces + offset for (_, faces), offset in zip(meshes, offsets, strict=False)]
    return np.concatenate([positions for positions, _ in meshes]), np.concatenate(faces)


def make(kind: str, seed: int) -> Mesh:
    """Return a mesh of a kind, its faces and their corners in random order."""
    rng = np.random.default_rng(seed)
    if kind == "soup":  # edges of many faces, faces twice and mirrored
        n = int(rng.integers(3, 60))
        positions, faces = rng.integers(0, 1000, (n, 3)), rng.integers(0, n, (int(rng.integers(1, 200)), 3))
    elif kind == "triangle":
        positions, faces = rng.integers(0, 1000, (3, 3)), np.array([[0, 1, 2]])
    elif kind == "components":
        many = [
            grid(rng, int(rng.integers(3, 6)), int(rng.integers(3, 6)), wrapped=bool(rng.integers(2)))
            for _ in range(rng.integers(2, 9))
        ]
        positions, faces = joined(*many)
    else:
        positions, faces = grid(
            rng, int(rng.integers(3, 16)), int(rng.integers(3, 16)), wrapped=kind in ("torus", "glued", "punctured")
        )
    if kind in ("holes", "punctured"):
        faces = faces[rng.random(len(faces)) < 0.85]
    elif kind == "glued":
        faces = np.where(rng.random(len(positions)) < 0.2, rng.integers(0, 5), np.arange(len(positions)))[faces]
    elif kind == "mirrored":  # closed surfaces of two faces, attached and apart
        faces = np.concatenate([faces, faces[:4, ::-1]])
        positions, faces = joined((positions, faces), (positions[:3], np.array([[0, 1, 2], [2, 1, 0]])))
    elif kind == "fins":  # edges of three faces
        fins = np.stack([faces[:5, 0], faces[:5, 1], np.arange(5) + len(positions)], -1)
        positions, faces = np.concatenate([positions, rng.integers(0, 99, (5, 3))]), np.concatenate([faces, fins])
    proper = (faces != np.roll(faces, 1, 1)).all(1)
    if not proper.any():
        faces, positions = np.array([[0, 1, 2]]), rng.integers(0, 1000, (3, 3))
    order = rng.permutation(len(faces))
    turn = (np.arange(3) + rng.integers(0, 3, (len(faces), 1))) % 3
    faces = np.take_along_axis(faces[order], turn, 1)
    return positions.astype(np.int32), faces.astype(np.uint32)


KINDS = ["soup", "triangle", "components", "sheet", "holes", "torus", "punctured", "glued", "mirrored", "fins"]
meshes = st.builds(make, st.sampled_from(KINDS), st.integers(0, 2**32 - 1))


@given(mesh=meshes, scale=st.sampled_from([1, 65, -400]))
@settings(max_examples=200)
def test_both_decoders_give_the_same_triangles(mesh: Mesh, scale: int) -> None:
    positions, faces = mesh[0] * scale, mesh[1]
    expected = triangles(positions, faces)
    data = draco.encode(positions, faces)
    mine = draco.decode(data, max_faces=len(faces))
    assert triangles(mine.positions, mine.faces) == expected
    other = DracoPy.decode(data)
    assert triangles(np.asarray(other.points), np.asarray(other.faces)) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("span", [2**24, 2**30])
@pytest.mark.parametrize("lowest", [0, -(2**29)])
def test_large_coordinates(kind: str, span: int, lowest: int) -> None:
    positions, faces = make(kind, 5)
    positions = np.random.default_rng(1).integers(lowest, lowest + span, positions.shape)
    data = draco.encode(positions, faces)
    mine = draco.decode(data)
    assert triangles(mine.positions, mine.faces) == triangles(positions, faces)
    if lowest == 0:  # else it gives float32, which are not exact
        other = DracoPy.decode(data)
        assert triangles(np.asarray(other.points), np.asarray(other.faces)) == triangles(positions, faces)


@pytest.mark.parametrize("level", range(11))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int16, np.uint16])
def test_streams_of_googles_encoder_are_read(level: int, kind: str, dtype: Any) -> None:
    for seed in range(3):
        positions, faces = make(kind, seed)
        proper = faces[(faces != np.roll(faces, 1, 1)).all(1)]
        data = DracoPy.encode(positions.astype(dtype), proper, compression_level=level)
        mesh = draco.decode(data)
        assert triangles(mesh.positions, mesh.faces) == triangles(positions, proper)


@pytest.mark.parametrize("level", [1, 7, 10])
def test_quantised_positions_come_as_steps(level: int) -> None:
    positions, faces = make("torus", 3)
    lattice = positions.astype(np.float32)
    extent = float(np.ptp(lattice, axis=0).max())
    data = DracoPy.encode(
        lattice, faces, compression_level=level, quantization_bits=10, quantization_range=extent,
        quantization_origin=[0.0, 0.0, 0.0],
    )  # fmt: skip
    mesh = draco.decode(data)
    steps = np.floor(lattice.astype(np.float64) * 1023 / extent + 0.5)
    expected = triangles(steps, faces)
    assert triangles(mesh.positions, mesh.faces) == expected


@given(mesh=meshes, cut=st.floats(0, 1, exclude_max=True))
def test_cut_streams_are_errors(mesh: Mesh, cut: float) -> None:
    data = draco.encode(*mesh)
    with pytest.raises(FormatError, match="Draco mesh"):
        draco.decode(data[: int(cut * len(data))])


@given(mesh=meshes, data=st.data(), level=st.sampled_from([None, 0, 1, 7, 10]))
@settings(max_examples=300)
def test_damaged_streams_do_no_harm(mesh: Mesh, data: st.DataObject, level: int | None) -> None:
    positions, faces = mesh
    stream = bytearray(
        draco.encode(*mesh) if level is None else DracoPy.encode(positions, faces, compression_level=level)
    )
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = draco.decode(bytes(stream), max_faces=5000, max_vertices=5000)
    except FormatError:
        return
    assert decoded.faces.size == 0 or decoded.faces.max() < len(decoded.positions)
    assert len(decoded.faces) <= 5000
    assert len(decoded.positions) <= 5000


def test_one_triangle_is_the_known_stream() -> None:
    data = draco.encode([[10, 20, 30], [110, 20, 30], [10, 220, 30]], [[0, 1, 2]])
    expected = DracoPy.encode(
        np.array([[10, 20, 30], [110, 20, 30], [10, 220, 30]], np.uint32), np.array([[0, 1, 2]]), compression_level=7
    )
    assert data == expected


def voxel_faces(mask: Array) -> Mesh:
    """Return the sides of voxels that face outward, two triangles each: closed, with pinched vertices and edges."""
    padded = np.pad(mask, 1)
    quads = []
    for axis in range(3):
        u, v = np.eye(3, dtype=np.int64)[[(axis + 1) % 3, (axis + 2) % 3]]
        step = np.eye(3, dtype=np.int64)[axis]
        for sign in (1, -1):
            here = np.argwhere(padded & ~np.roll(padded, -sign, axis))
            corner = here + (step if sign == 1 else 0)
            around = [corner, corner + u, corner + u + v, corner + v]
            quads.append(np.stack(around[::sign], 1))
    corners = np.concatenate(quads)
    positions, index = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    index = index.reshape(-1, 4)
    return positions.astype(np.int32), np.concatenate([index[:, [0, 1, 2]], index[:, [0, 2, 3]]]).astype(np.uint32)


def test_real_surfaces_are_exact_and_no_larger_than_level_7(connectomics: Path) -> None:
    labels = np.stack([tifffile.imread(file) for file in sorted(connectomics.glob("z*.tif"))[:24]])
    ids, counts = np.unique(labels, return_counts=True)
    for label in ids[np.argsort(counts)][-70:-1:10]:
        positions, faces = voxel_faces(labels == label)
        data = draco.encode(positions, faces)
        mesh = draco.decode(data)
        assert triangles(mesh.positions, mesh.faces) == triangles(positions, faces)
        assert len(data) <= len(DracoPy.encode(positions, faces, compression_level=7))


def test_the_viewer_reads_every_kind(tmp_path: Path) -> None:
    cases = [(kind, seed) for kind in KINDS for seed in range(4)]
    files = [tmp_path / f"{kind}-{seed}" for kind, seed in cases]
    for file, case in zip(files, cases, strict=True):
        file.write_bytes(draco.encode(*make(*case)))
    for case, mesh in zip(cases, viewer_decode(files), strict=True):
        assert triangles(mesh.positions, mesh.faces) == triangles(*make(*case))


def test_the_viewer_refuses_a_damaged_stream(tmp_path: Path) -> None:
    file = tmp_path / "cut"
    file.write_bytes(draco.encode(*make("torus", 0))[:-1])
    with pytest.raises(ValueError, match="refuses"):
        viewer_decode([file])


def test_what_cannot_be_encoded() -> None:
    positions, faces = make("torus", 1)
    for bad_positions, bad_faces, text in [
        (positions[:, :2], faces, "shape"),
        (positions.astype(np.float32), faces, "integers"),
        (positions.astype(np.int64) + 2**31, faces, "must be from"),
        (positions, faces + np.uint32(len(positions)), "names vertex"),
        (positions, faces[:0], "no face"),
        (positions, faces[:, [0, 0, 1]], "no face"),
        (np.array([[0, 0, 0], [2**30, 0, 0], [0, 1, 0]]), np.array([[0, 1, 2]]), "cannot be decoded"),
    ]:
        with pytest.raises(UsageError, match=text):
            draco.encode(bad_positions, bad_faces)


def test_limits() -> None:
    positions, faces = make("torus", 1)
    data = draco.encode(positions, faces)
    assert len(draco.decode(data, max_faces=len(faces), max_vertices=len(positions)).faces) == len(faces)
    with pytest.raises(FormatError, match="faces, more than"):
        draco.decode(data, max_faces=len(faces) - 1)
    with pytest.raises(FormatError, match="vertices, more than"):
        draco.decode(data, max_vertices=len(positions) - 1)
    with pytest.raises(FormatError, match="does not begin"):
        draco.decode(b"no stream at all")


def test_metadata_are_passed_over() -> None:
    points = np.array([[0, 0, 0], [90, 0, 0], [0, 70, 0], [0, 0, 50]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.uint32)
    plain, named = (
        DracoPy.encode(points, faces, compression_level=7, create_metadata=wanted) for wanted in (False, True)
    )
    assert len(named) > len(plain)
    for one, other in zip(draco.decode(named), draco.decode(plain), strict=True):
        assert np.array_equal(one, other)


def test_nested_metadata_are_passed_over_and_cut_ones_are_errors() -> None:
    stream = draco.encode(np.array([[0, 0, 0], [9, 0, 0], [0, 7, 0]]), np.array([[0, 1, 2]]))
    value = b"\x03key\x02ab"
    inner = b"\x01" + value + b"\x00"
    element = b"\x02" + value + value + b"\x02" + b"\x01x" + inner + b"\x01y" + b"\x00\x01\x01z" + inner
    metadata = b"\x01\x05" + inner + element
    marked = stream[:9] + b"\x00\x80" + metadata + stream[11:]
    found = draco.decode(marked)
    assert sorted(map(tuple, found.positions.tolist())) == [(0, 0, 0), (0, 7, 0), (9, 0, 0)]
    for stop in range(11, 11 + len(metadata)):
        with pytest.raises(FormatError):
            draco.decode(marked[:stop])
