"""Write the README's table of speeds from ``bench/results/*.json``: ``python -m bench.table [--check]``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["insert", "main", "render"]

_REPOSITORY = Path(__file__).resolve().parent.parent
_BEGIN, _END = "<!-- bench:begin -->", "<!-- bench:end -->"
_SUITES = ("kernels", "whole", "memory", "meshing", "mesh-whole", "serving", "publishing")
_PEERS = ("compressed-segmentation", "tensorstore", "tinybrain", "igneous-pipeline", "neuroglancer-scripts")
_PUBLISHING_PEERS = ("awscli", "cloud-files")
_MESH_PEERS = ("zmesh", "pyfqmr", "meshoptimizer", "DracoPy", "igneous-pipeline", "cloud-volume")

Document = Mapping[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite the table between the markers; with ``--check`` only say whether it is up to date."""
    parser = argparse.ArgumentParser(prog="python -m bench.table", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the table is out of date")
    parser.add_argument("--readme", type=Path, default=_REPOSITORY / "README.md")
    parser.add_argument("--results", type=Path, default=_REPOSITORY / "bench" / "results")
    options = parser.parse_args(arguments)
    paths = [options.results / f"{suite}.json" for suite in _SUITES]
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]
    old = options.readme.read_text(encoding="utf-8")
    new = insert(old, render(documents))
    if options.check:
        if new != old:
            print(f"{options.readme} is out of date; run: make bench-table", file=sys.stderr)
        return int(new != old)
    options.readme.write_text(new, encoding="utf-8")
    return 0


def insert(readme: str, table: str) -> str:
    """Return the README with the text between the markers replaced.

    Raises
    ------
    ValueError
        If there is not one pair of markers.
    """
    if readme.count(_BEGIN) != 1 or readme.count(_END) != 1 or readme.index(_BEGIN) > readme.index(_END):
        raise ValueError(f"the README needs one line {_BEGIN} and below it one line {_END}")
    head, rest = readme.split(_BEGIN)
    return f"{head}{_BEGIN}\n{table}{_END}{rest.split(_END)[1]}"


def render(documents: Sequence[Document]) -> str:
    """Return the tables of all suites as Markdown; a suite without figures of precast is left out."""
    by_suite = {document["suite"]: document for document in documents}
    parts = []
    tables: Mapping[str, Callable[[Sequence[Mapping[str, Any]]], str]] = {
        "kernels": _kernels,
        "whole": _whole,
        "memory": _memory,
        "meshing": _meshing,
        "mesh-whole": _mesh_whole,
        "serving": _serving,
        "publishing": _publishing,
    }
    for suite in _SUITES:
        if suite in by_suite and any("precast" in case["sides"] for case in by_suite[suite]["cases"]):
            peers: Sequence[str] = _MESH_PEERS if suite in ("meshing", "mesh-whole") else _PEERS
            peers = {"serving": (), "publishing": _PUBLISHING_PEERS}.get(suite, peers)
            parts.append(tables[suite](by_suite[suite]["cases"]) + _where(by_suite[suite]["environment"], peers))
    return "\n".join(parts) if parts else "No figures yet: `make bench` makes them.\n"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |\n"


def _kernels(cases: Sequence[Mapping[str, Any]]) -> str:
    text = "**Kernels, one thread**, million voxels of input per second, best of all repeats:\n\n"
    text += _row("work", "data", "fastest peer", "peer", "precast", "faster", "floor", "share of a plain copy's speed")
    text += "|---|---|---|--:|--:|--:|--:|--:|\n"
    for case in cases:
        best = {name: min(side["seconds"]) for name, side in case["sides"].items()}
        if "precast" not in best:
            continue
        peer = min((name for name in best if name not in case["not_peers"]), key=best.__getitem__)
        text += _row(
            case["work"],
            case["data"],
            peer,
            _rate(case, best[peer]),
            _rate(case, best["precast"]),
            f"**{best[peer] / best['precast']:.1f}×**",
            f"{case['floor']:g}×",
            f"{100 * best['copy'] / best['precast']:.0f} %",
        )
    return text


def _rate(case: Mapping[str, Any], seconds: float) -> str:
    return f"{case['voxels'] / seconds / 1e6:,.0f}"


def _whole(cases: Sequence[Mapping[str, Any]]) -> str:
    text = ""
    for case in cases:
        ours = min(case["sides"]["precast"]["seconds"])
        text += f"**Whole process, two cores:** {case['work']}, best of all repeats:\n\n"
        text += _row(
            "program", "seconds", "CPU seconds", "peak memory", "objects", "bytes", "precast is faster", "floor"
        )
        text += "|---|--:|--:|--:|--:|--:|--:|--:|\n"
        scaled = []
        for name, side in case["sides"].items():
            best = min(side["seconds"])
            mark = ""
            if "measured_on" in side:
                mark = " †"
                scaled.append(
                    f"† Measured on {side['measured_on']} voxels in {side['measured_seconds']:.1f} s; seconds, objects "
                    f"and bytes scaled by {side['scaled_by']:g}, start-up excepted; the memory is that of the cut.\n"
                )
            text += _row(
                name + mark,
                f"{best:.2f}",
                f"{min(side['cpu_seconds']):.2f}",
                _mib(max(side["peak_rss_bytes"])),
                f"{side['objects']:,}",
                f"{side['bytes']:,}",
                "" if name in case["not_peers"] else f"**{best / ours:.1f}×**",
                f"{case['floors'][name]:g}×" if name in case["floors"] else "",
            )
        text += "\n" + "".join(scaled)
    return text


def _memory(cases: Sequence[Mapping[str, Any]]) -> str:
    text = "**Memory of `precast convert`** with its default budget:\n\n"
    text += _row("stack", "seconds", "peak memory", "budget and interpreter", "objects", "bytes")
    text += "|---|--:|--:|--:|--:|--:|\n"
    for case in cases:
        side = case["sides"]["precast"]
        text += _row(
            case["data"],
            f"{side['seconds']:.1f}",
            _mib(side["peak_rss_bytes"]),
            _mib(case["allowed_bytes"]),
            f"{side['objects']:,}",
            f"{side['bytes']:,}",
        )
    return text


def _meshing(cases: Sequence[Mapping[str, Any]]) -> str:
    text = "**Meshing kernels, one thread**, million triangles of input (extraction: of output) per second:\n\n"
    text += _row("work", "data", "peer", "peer", "precast", "faster", "floor", "peer's bytes", "bytes")
    text += "|---|---|---|--:|--:|--:|--:|--:|--:|\n"
    qualities = ""
    for case in cases:
        if "precast" not in case["sides"]:
            continue
        best = {name: min(side["seconds"]) for name, side in case["sides"].items()}
        rate = {name: case["triangles"] / seconds / 1e6 for name, seconds in best.items()}
        facts = case["facts"]
        for peer, floor in case["floors"].items():
            sizes = [f"{facts[name]['bytes']:,}" if "bytes" in facts[name] else "" for name in (peer, "precast")]
            text += _row(
                case["work"],
                case["data"],
                peer,
                f"{rate[peer]:.2f}",
                f"{rate['precast']:.2f}",
                f"**{best[peer] / best['precast']:.1f}×**",
                f"{floor:g}×",
                *sizes,
            )
        if "input" in facts:
            qualities += f"\n{case['work'].capitalize()}, {case['data']}: what is left\n\n" + _simplified(facts)
    return text + qualities


def _simplified(facts: Mapping[str, Mapping[str, Any]]) -> str:
    text = _row(
        "",
        "faces",
        "mean / max distance to the original, nm",
        "from the original, nm",
        "volume, µm³",
        "components",
        "Euler number",
        "open edges",
        "edges of over two faces",
    )
    text += "|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    for name, side in facts.items():
        text += _row(
            name,
            f"{side['faces']:,}",
            *_distances(side),
            f"{side['volume_um3']:.2f}",
            *(f"{side[key]:,}" for key in ("components", "euler", "open_edges", "crowded_edges")),
        )
    return text


def _distances(side: Mapping[str, Any]) -> list[str]:
    """Return the mean and the largest distance to the original, and from it."""
    if "mean_to_original_nm" not in side:
        return ["", ""]
    return [
        f"{side['mean_to_original_nm']:.2f} / {side['max_to_original_nm']:.1f}",
        f"{side['mean_from_original_nm']:.2f} / {side['max_from_original_nm']:.1f}",
    ]


def _mesh_whole(cases: Sequence[Mapping[str, Any]]) -> str:
    text = _whole(cases)
    for case in cases:
        text += (
            "Level 0 of all objects, and below, how good that of 100 objects from the largest to the smallest is, as "
            "far as all programs meshed them:\n\n"
        )
        text += _row("program", "objects with a mesh", "closed", "faces", "bytes", "fragments", "left behind")
        text += "|---|--:|--:|--:|--:|--:|--:|\n"
        for name, side in case["sides"].items():
            keys = ("objects", "closed", "faces", "bytes", "fragments")
            cells = [f"{side['meshes'][key]:,}" for key in keys]
            text += _row(name, *cells, f"{side['left_behind_bytes']:,} bytes")
        text += "\n" + _row(
            "program",
            "closed",
            "volume / voxels",
            "mean error of a volume",
            "mean / max distance to the full surface, nm",
            "from the full surface, nm",
            "faces",
            "bytes",
        )
        text += "|---|--:|--:|--:|--:|--:|--:|--:|\n"
        for name, side in case["sides"].items():
            quality = side["quality"]
            text += _row(
                name,
                f"{quality['closed']} of {quality['objects']}",
                f"{quality['volume_ratio']:.4f}",
                f"{100 * quality['mean_volume_error']:.1f} %",
                *_distances(quality),
                f"{quality['faces']:,}",
                f"{quality['bytes']:,}",
            )
    return text


def _serving(cases: Sequence[Mapping[str, Any]]) -> str:
    text = f"**`precast serve` against {cases[0]['nginx'].removeprefix('nginx version: ')}**, {cases[0]['data']}:\n\n"
    text += _row("ranges of", "server", "requests per second", "MiB/s", "median", "99 % within", "of nginx", "floor")
    text += "|---|---|--:|--:|--:|--:|--:|--:|\n"
    for case in cases:
        for name, side in case["sides"].items():
            rate = side["requests_per_second"]
            ours = name == "precast"
            text += _row(
                f"{case['range_bytes'] >> 10:,} KiB",
                name,
                f"{rate:,.0f}",
                f"{rate * case['range_bytes'] / 2**20:,.0f}",
                f"{side['p50_ms']:.0f} ms",
                f"{side['p99_ms']:.0f} ms",
                f"**{100 * rate / case['sides']['nginx']['requests_per_second']:.0f} %**" if ours else "",
                f"{100 * case['floors']['nginx']:.0f} %" if ours else "",
            )
    requests = sum(side["requests"] for case in cases for side in case["sides"].values())
    return text + f"\n{requests:,.0f} requests, none of which failed.\n"


def _publishing(cases: Sequence[Mapping[str, Any]]) -> str:
    text = "**Sending a dataset to an S3 server on this machine**, programs from start to exit, best of repeats:\n\n"
    text += _row("data", "program", "seconds", "objects/s", "MiB/s", "CPU seconds", "peak memory", "precast is faster")
    text += "|---|---|--:|--:|--:|--:|--:|--:|\n"
    for case in cases:
        best = {name: min(side["seconds"]) for name, side in case["sides"].items()}
        for name, side in case["sides"].items():
            text += _row(
                case["data"],
                name,
                f"{best[name]:.2f}",
                f"{case['objects'] / best[name]:,.0f}",
                f"{case['bytes'] / best[name] / 2**20:,.0f}",
                f"{min(side['cpu_seconds']):.2f}",
                _mib(max(side["peak_rss_bytes"])),
                "" if name in case["not_peers"] else f"**{best[name] / best['precast']:.1f}×**",
            )
    return text + f"\nThe server is {cases[0]['sink']}.\n"


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"


def _where(environment: Mapping[str, Any], names: Sequence[str]) -> str:
    versions = environment["versions"]
    peers = "".join(f"{name} {versions[name]}, " for name in names).removesuffix(", ")
    peers = f"; {peers}" if peers else ""
    changed = " with uncommitted changes" if environment["uncommitted_changes"] else ""
    return (
        f"\n{environment['processor']}, {environment['cores']} cores, {environment['system']}, Python "
        f"{environment['python']}, numpy {versions['numpy']}; precast {versions['precast']} at "
        f"{environment['commit'][:12]}{changed}{peers}; {environment['date']}.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
