"""Run the benchmarks and write ``bench/results/<suite>.json``: ``python -m bench.run [suite ...]``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.harness import REPOSITORY, Case, environment, keep_memory, measure

__all__ = ["main"]

_SUITES = ("kernels", "meshing", "whole", "mesh-whole", "memory", "serving", "publishing")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suites that were asked for; all of them if none was named."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="suite", help=f"of {', '.join(_SUITES)}; default: all")
    parser.add_argument("--repeats", type=int, help="of each side; default: 9 for kernels, else 3")
    parser.add_argument("--only", default="", help="only kernel cases whose text contains this, e.g. 'majority 2×2×2'")
    parser.add_argument("--peers-only", action="store_true", help="leave precast out")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "bench" / "results", help="folder for the JSON")
    parser.add_argument("--scratch", type=Path, help="where stacks and volumes are made; default: the system's")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.suites) - set(_SUITES))
    if unknown:
        parser.error(f"no such suite: {', '.join(unknown)}; there are {', '.join(_SUITES)}")
    if options.repeats is not None and options.repeats < 1:
        parser.error(f"--repeats is at least 1, got {options.repeats}")
    options.output.mkdir(parents=True, exist_ok=True)
    for suite in options.suites or _SUITES:
        _say(f"== {suite}")
        with tempfile.TemporaryDirectory(prefix="precast-bench-", dir=options.scratch) as scratch:
            results = _run(suite, options, Path(scratch))
        document = {"schema": 1, "suite": suite, "environment": environment(), "cases": results}
        path = options.output / f"{suite}.json"
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        _say(f"wrote {path}")
    return 0


def _run(suite: str, options: argparse.Namespace, scratch: Path) -> list[dict[str, Any]]:
    with_precast = not options.peers_only
    cases: Callable[..., Iterable[Case]]
    run: Callable[..., list[dict[str, Any]]]
    if suite in ("kernels", "meshing"):
        keep_memory()
        if suite == "kernels":
            from bench.kernels import cases
        else:
            from bench.meshing import cases
        chosen = (case for case in cases(with_precast=with_precast) if options.only in f"{case.work}, {case.data}")
        return [_kernel(case, options.repeats or (9 if suite == "kernels" else 3)) for case in chosen]
    if suite == "whole":
        from bench.whole import run
    elif suite == "mesh-whole":
        from bench.mesh_whole import run
    elif suite == "serving":
        from bench.serving import run
    elif suite == "publishing":
        from bench.publishing import run
    else:
        from bench.memory import run
    return run(scratch, repeats=options.repeats or 3, with_precast=with_precast, say=_say)


def _kernel(case: Case, repeats: int) -> dict[str, Any]:
    result = measure(case, repeats)
    unit, count = ("triangles", case.triangles) if case.triangles else ("voxels", case.voxels)
    rates = {name: count / min(side["seconds"]) / 1e6 for name, side in result["sides"].items()}
    text = ", ".join(f"{name} {rate:,.{0 if rate > 100 else 2}f}" for name, rate in rates.items())
    floors = dict(case.floors)
    if not floors:
        fastest = max((name for name in rates if name not in case.not_peers), key=rates.__getitem__)
        floors = {fastest: case.floor}
    if "precast" in rates:
        text += "".join(
            f"; {rates['precast'] / rates[peer]:.2f}× {peer} (floor {floor:g}×)" for peer, floor in floors.items()
        )
    _say(f"{case.work}, {case.data}: million {unit}/s {text}")
    for name, facts in case.facts.items():
        _say(f"    {name}: {facts}")
    return result


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
