"""Meshing kernels on one thread: extraction, simplification and Draco encoding, in triangles per second.

Fairness. zmesh gets the memory order that it likes best. What is simplified and encoded is the same for all
sides, extracted once by a peer, and handed to each in the types that it works in, converted beforehand. No
side simplifies under an error bound that would make it stop early: all are asked for the same number of faces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

import DracoPy
import meshoptimizer
import numpy as np
import pyfqmr
import zmesh

from bench import data as datasets
from bench import surfaces
from bench.harness import Case, DifferenceError, Side
from bench.surfaces import Points, Surface

__all__ = ["RESOLUTION_NM", "cases", "extract"]

Surfaces = Sequence[Surface]

RESOLUTION_NM = (32, 32, 40)
_HALF_NM = np.array(RESOLUTION_NM) / 2
_LARGEST = 20
_SHARE = 20
"""One face of so many is kept."""
_NO_BOUND_NM = 1_000_000
_UNITS = 16
"""Lattice units per voxel in which precast simplifies."""
_SAMPLES = 20_000
_BITS = 16
_STEP_NM = 10
_TOLERANCE = 0.002
_EXTRACT_FLOOR, _DRACO_FLOOR = 6.0, 4.0
_SIMPLIFY_FLOORS = {"zmesh": 15.0, "pyfqmr": 5.0, "meshoptimizer": 2.5}


def cases(*, with_precast: bool) -> Iterator[Case]:
    """Yield all cases; without precast only the peers are in them."""
    yield _extraction(with_precast)
    yield _simplification(with_precast)
    whole = list(extract(datasets.labels("uint32")).values())
    yield _draco("extracted, on the half-voxel lattice", whole, with_precast)
    yield _draco(f"extracted, scaled to {_BITS} bits", [_scaled(one) for one in whole], with_precast)
    small = _simplified()
    yield _draco(f"simplified, steps of {_STEP_NM} nm", [_rounded(one) for one in small], with_precast)
    yield _draco(f"simplified, scaled to {_BITS} bits", [_scaled(one) for one in small], with_precast)


def extract(labels: datasets.Voxels) -> dict[int, Surface]:
    """Return the closed surface of every label as zmesh makes it, by ascending id.

    Positions are in half voxels, voxel i spanning [2i, 2i + 2]: zmesh counts from the centre of the layer that
    it puts around the volume to close surfaces, which is one half voxel before the first voxel begins.
    """
    mesher = zmesh.Mesher((2, 2, 2))
    mesher.mesh(labels.T, close=True)
    found = {}
    for one in sorted(mesher.ids()):
        mesh = mesher.get(one)
        found[int(one)] = (_integers(mesh.vertices - 1), mesh.faces.astype(np.uint32))
    return found


def _integers(positions: Points) -> Points:
    whole = np.rint(positions)
    if np.any(whole != positions):
        raise DifferenceError("zmesh: a vertex is not on the half-voxel lattice")
    return whole.astype(np.int32)


@cache
def _originals() -> tuple[Surface, ...]:
    """Return the largest objects of the crop, in half voxels."""
    found = extract(datasets.labels("uint32")).values()
    return tuple(sorted(found, key=lambda surface: -len(surface[1]))[:_LARGEST])


def _simplified() -> list[Surface]:
    """Return what zmesh leaves of every fifth object of the crop, in nm."""
    mesher = zmesh.Mesher(RESOLUTION_NM)
    mesher.mesh(datasets.labels("uint32").T, close=True)
    meshes = (mesher.get(one) for one in sorted(mesher.ids())[::5])
    simple = (mesher.simplify(mesh, reduction_factor=_SHARE, max_error=_NO_BOUND_NM, min_error=0) for mesh in meshes)
    return [(one.vertices - _HALF_NM.astype(np.float32), one.faces) for one in simple]


def _rounded(surface: Surface) -> Surface:
    """Return a surface in nm on a lattice; corners that rounding has brought together are one, as DracoPy has them."""
    positions = np.rint(surface[0] / _STEP_NM).astype(np.int32)
    return surfaces.drop_degenerate(surfaces.weld(positions - positions.min(axis=0), surface[1]))


def _scaled(surface: Surface) -> Surface:
    """Return a surface with its longest extent over all integers of a number of bits."""
    positions = surface[0].astype(np.float64)
    positions -= positions.min(axis=0)
    scaled = np.rint(positions * ((2**_BITS - 1) / positions.max())).astype(np.int32)
    return surfaces.drop_degenerate(surfaces.weld(scaled, surface[1]))


# ---- extraction ----


def _extraction(with_precast: bool) -> Case:
    labels = datasets.labels("uint32")
    expected = extract(labels)
    triangles = sum(len(faces) for _, faces in expected.values())
    # The order of axes and memory that zmesh is fastest with.
    image = np.ascontiguousarray(labels.T)
    facts: dict[str, dict[str, Any]] = {}

    def peer() -> list[Any]:
        mesher = zmesh.Mesher(RESOLUTION_NM)
        mesher.mesh(image, close=True)
        return [mesher.get(one) for one in mesher.ids()]

    def check(outputs: Mapping[str, Any]) -> str:
        facts["zmesh"] = _extracted_facts(expected)
        if "precast" not in outputs:
            return "nothing to compare"
        got: dict[int, Surface] = outputs["precast"]
        if sorted(got) != sorted(expected):
            raise DifferenceError(f"precast: {len(got)} objects instead of {len(expected)}, or other ids")
        equal = 0
        for one, surface in got.items():
            theirs = expected[one]
            if not surfaces.is_closed(surface[1]) or surfaces.signed_volume(surface) <= 0:
                raise DifferenceError(f"precast: the surface of {one} is open or turned inside out")
            # Where vertices are is a matter of the voxels; how faces of cells are joined is not.
            if not np.array_equal(_places(surface[0]), _places(theirs[0])):
                raise DifferenceError(f"{one}: precast and zmesh put vertices elsewhere")
            equal += len(surface[1]) == len(theirs[1])
        facts["precast"] = _extracted_facts(got)
        for key in ("faces", "cubic_half_voxels"):
            ours_total, total = facts["precast"][key], facts["zmesh"][key]
            if abs(ours_total - total) > _TOLERANCE * total:
                raise DifferenceError(f"{key}: {ours_total} in all; zmesh has {total}")
        return (
            f"the same {len(expected)} ids, vertices of each at the same positions, every surface closed and facing "
            f"outward, totals of triangles and volume within {100 * _TOLERANCE:g} %; as many triangles in {equal} "
            "objects, in the others ambiguous cells are joined otherwise"
        )

    sides = [Side("zmesh", peer)]
    if with_precast:
        from bench import ours

        sides.insert(0, Side("precast", lambda: ours.extract(labels)))
    return Case(
        "meshing",
        "extract surfaces",
        "all objects, uint32",
        labels.size,
        labels.nbytes,
        sides,
        check,
        _EXTRACT_FLOOR,
        triangles=triangles,
        floors={"zmesh": _EXTRACT_FLOOR},
        facts=facts,
    )


def _places(positions: Points) -> Points:
    """Return the distinct positions, in an order of their own."""
    x, y, z = positions.astype(np.int64).T
    return np.unique(x | y << 20 | z << 40)


def _extracted_facts(found: Mapping[int, Surface]) -> dict[str, Any]:
    return {
        "objects": len(found),
        "faces": sum(len(faces) for _, faces in found.values()),
        "closed": sum(surfaces.is_closed(faces) for _, faces in found.values()),
        "cubic_half_voxels": sum(map(surfaces.signed_volume, found.values())),
    }


# ---- simplification ----


def _simplification(with_precast: bool) -> Case:
    originals = _originals()
    targets = [len(faces) // _SHARE for _, faces in originals]
    in_nm = [(positions * _HALF_NM, faces) for positions, faces in originals]
    triangles = sum(len(faces) for _, faces in originals)
    facts: dict[str, dict[str, Any]] = {}

    zmesh_input = [zmesh.Mesh(positions.astype(np.float32), faces) for positions, faces in in_nm]
    mesher = zmesh.Mesher(RESOLUTION_NM)

    def by_zmesh() -> list[Surface]:
        simple = (
            mesher.simplify(mesh, reduction_factor=_SHARE, max_error=_NO_BOUND_NM, min_error=0) for mesh in zmesh_input
        )
        return [(mesh.vertices, mesh.faces) for mesh in simple]

    pyfqmr_input = [(np.ascontiguousarray(positions), faces.astype(np.int32)) for positions, faces in in_nm]

    def by_pyfqmr() -> list[Surface]:
        done = []
        for (positions, faces), target in zip(pyfqmr_input, targets, strict=True):
            tool = pyfqmr.Simplify()
            tool.setMesh(positions, faces)
            tool.simplify_mesh(target_count=target, preserve_border=False, verbose=False)
            done.append(tool.getMesh()[:2])
        return done

    optimizer_input = [(positions.astype(np.float32), faces.ravel()) for positions, faces in in_nm]

    def by_meshoptimizer() -> list[Surface]:
        done = []
        for (positions, indices), target in zip(optimizer_input, targets, strict=True):
            kept = np.empty_like(indices)
            # The error is relative to the extent: 1 is no bound.
            count = meshoptimizer.simplify(kept, indices, positions, target_index_count=3 * target, target_error=1.0)
            done.append((positions, kept[:count].reshape(-1, 3)))
        return done

    def check(outputs: Mapping[str, Any]) -> str:
        facts["input"] = _topologies(in_nm)
        for name, output in outputs.items():
            faces = sum(len(faces) for _, faces in output)
            if abs(faces - sum(targets)) > 0.05 * sum(targets):
                raise DifferenceError(f"{name}: {faces} faces; asked for {sum(targets)}")
            facts[name] = _topologies(output) | _deviations(output, in_nm)
        return "face counts within 5 % of the same target; quality is measured and shown"

    sides = [
        Side("zmesh", by_zmesh),
        Side("pyfqmr", by_pyfqmr),
        Side("meshoptimizer", by_meshoptimizer),
    ]
    if with_precast:
        from bench import ours

        lattice = [(positions * (_UNITS // 2), faces) for positions, faces in originals]
        x, y, z = (edge / _UNITS for edge in RESOLUTION_NM)

        def by_precast() -> list[Surface]:
            return ours.simplify(lattice, targets, (x, y, z), _UNITS)

        def by_precast_in_nm() -> list[Surface]:
            return [(positions * np.array([x, y, z]), faces) for positions, faces in by_precast()]

        sides.insert(0, Side("precast", by_precast, by_precast_in_nm))
    return Case(
        "meshing",
        f"simplify to {100 // _SHARE} % of the faces",
        f"the {_LARGEST} largest objects",
        0,
        sum(positions.nbytes + faces.nbytes for positions, faces in originals),
        sides,
        check,
        min(_SIMPLIFY_FLOORS.values()),
        triangles=triangles,
        floors=_SIMPLIFY_FLOORS,
        facts=facts,
    )


def _topologies(found: Surfaces) -> dict[str, Any]:
    total: dict[str, Any] = {"faces": sum(len(faces) for _, faces in found)}
    for _, faces in found:
        for key, value in asdict(surfaces.topology(faces)).items():
            total[key] = total.get(key, 0) + value
    total["volume_um3"] = sum(map(surfaces.signed_volume, found)) / 1e9
    return total


def _deviations(found: Surfaces, originals: Surfaces) -> dict[str, Any]:
    """Return distances both ways in nm, weighted by area."""
    there, back = [], []
    for simple, original in zip(found, originals, strict=True):
        there.append((surfaces.area(simple), surfaces.deviation(simple, original, _SAMPLES)))
        back.append((surfaces.area(original), surfaces.deviation(original, simple, _SAMPLES)))
    to_original, from_original = surfaces.pooled(there), surfaces.pooled(back)
    return {
        "mean_to_original_nm": to_original.mean,
        "max_to_original_nm": to_original.max,
        "mean_from_original_nm": from_original.mean,
        "max_from_original_nm": from_original.max,
    }


# ---- Draco ----


def _draco(text: str, meshes: Surfaces, with_precast: bool) -> Case:
    # The dtype that DracoPy stores as integers, as the format wants them.
    for_peer = [(positions.astype(np.uint32), faces.astype(np.uint32)) for positions, faces in meshes]
    for_ours = [(positions.astype(np.int32), faces.astype(np.uint32)) for positions, faces in meshes]
    triangles = sum(len(faces) for _, faces in meshes)
    facts: dict[str, dict[str, Any]] = {}

    def peer() -> list[bytes]:
        return [DracoPy.encode(points, faces, compression_level=7) for points, faces in for_peer]

    def check(outputs: Mapping[str, Any]) -> str:
        for name, streams in outputs.items():
            for stream, mesh in zip(streams, meshes, strict=True):
                back = DracoPy.decode(stream)
                if not np.issubdtype(back.points.dtype, np.integer):
                    raise DifferenceError(f"{name}: positions are {back.points.dtype}")
                got = surfaces.triangle_set((back.points.astype(np.int64), back.faces))
                if not np.array_equal(got, surfaces.triangle_set((mesh[0].astype(np.int64), mesh[1]))):
                    raise DifferenceError(f"{name}: a mesh of {len(mesh[1])} triangles comes back with other triangles")
            facts[name] = {"bytes": sum(map(len, streams))}
        if "precast" in facts and facts["precast"]["bytes"] > facts["DracoPy, level 7"]["bytes"]:
            raise DifferenceError(f"precast needs more bytes than level 7: {facts}")
        return "every stream decoded by DracoPy to the same triangles, integer positions"

    sides = [Side("DracoPy, level 7", peer)]
    if with_precast:
        from bench import ours

        sides.insert(0, Side("precast", lambda: ours.draco(for_ours)))
    return Case(
        "meshing",
        "encode Draco",
        text,
        0,
        sum(positions.nbytes + faces.nbytes for positions, faces in for_ours),
        sides,
        check,
        _DRACO_FLOOR,
        triangles=triangles,
        floors={"DracoPy, level 7": _DRACO_FLOOR},
        facts=facts,
    )
