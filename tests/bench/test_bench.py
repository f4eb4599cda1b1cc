"""The benchmark harness itself: it compares before it times, keeps every repeat, and the README shows its figures."""

from __future__ import annotations

import json
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench import data, harness, table  # noqa: E402


def test_readme_shows_the_committed_results() -> None:
    assert table.main(["--check"]) == 0, "run: make bench-table"


def test_references_agree_with_counting_and_fractions() -> None:
    rng = np.random.default_rng(1)
    for factors in ((2, 2, 1), (2, 2, 2)):
        labels = rng.integers(0, 4, (4, 6, 8)).astype(np.uint64)
        grey = rng.integers(0, 256, (4, 6, 8)).astype(np.uint8)
        values, alone = data.majority(labels, factors)
        means, floors = data.mean(grey, factors), data.truncated_mean(grey, factors)
        fx, fy, fz = factors
        for z, y, x in np.ndindex(values.shape):
            cell = np.s_[z * fz : (z + 1) * fz, y * fy : (y + 1) * fy, x * fx : (x + 1) * fx]
            counts = Counter(labels[cell].ravel().tolist())
            most = max(counts.values())
            winners = sorted(label for label, count in counts.items() if count == most)
            assert values[z, y, x] == winners[0]
            assert alone[z, y, x] == (len(winners) == 1)
            exact = Fraction(int(grey[cell].sum(dtype=int)), grey[cell].size)
            assert means[z, y, x] == round(exact)
            assert floors[z, y, x] == exact.numerator // exact.denominator


def _case(sides: list[harness.Side], check: Any) -> harness.Case:
    return harness.Case("s", "work", "data", 10, 40, sides, check, 2.0)


def test_nothing_is_timed_when_outputs_differ() -> None:
    runs: list[str] = []

    def check(outputs: Any) -> str:
        if outputs["a"] != outputs["b"]:
            raise harness.DifferenceError("they differ")
        return "equal"

    def side(name: str, value: int) -> harness.Side:
        def run() -> int:
            runs.append(name)
            return value

        return harness.Side(name, run)

    with pytest.raises(harness.DifferenceError, match="differ"):
        harness.measure(_case([side("a", 1), side("b", 2)], check), 3)
    assert runs == ["a", "b"]


def test_sides_take_turns_and_all_repeats_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "_SHORT_S", 0.0)
    runs: list[str] = []
    sides = [harness.Side(name, lambda name=name: runs.append(name), lambda: None) for name in "abc"]  # type: ignore[misc]
    result = harness.measure(_case(sides, lambda outputs: f"{sorted(outputs)}"), 4)
    assert "".join(runs) == "abc" + "abc" + "bca" + "cab" + "abc"
    assert result["checked"] == "['a', 'b', 'c']"
    for side in result["sides"].values():
        assert len(side["seconds"]) == len(side["cpu_seconds"]) == 4
        assert min(side["seconds"]) >= 0


def test_peak_memory_is_the_childs_own(tmp_path: Path) -> None:
    ballast = np.ones(300 << 20, np.uint8)
    small = harness.run_child([sys.executable, "-c", "import time; time.sleep(0.2)"], tmp_path)
    hold = "import time; x = bytearray(b'1') * (120 << 20); time.sleep(0.2)"
    large = harness.run_child([sys.executable, "-c", hold], tmp_path)
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}], check=True)"
    tree = harness.run_child([sys.executable, "-c", nested], tmp_path)
    assert small.peak_rss_bytes < 60 << 20 < ballast.nbytes
    assert 120 << 20 <= large.peak_rss_bytes < 180 << 20
    assert tree.peak_rss_bytes >= 120 << 20
    assert small.seconds >= 0.2
    assert list(tmp_path.iterdir()) == []


def test_cpu_time_includes_grandchildren(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.4: pass"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}], check=True)"
    both = harness.run_children([[sys.executable, "-c", nested], [sys.executable, "-c", burn]], tmp_path)
    assert both.cpu_seconds >= 0.8
    assert len(both.steps) == 2
    assert both.seconds == pytest.approx(sum(both.steps))


def test_a_failing_program_is_an_error_with_its_output(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)ended with 3:.*boom"):
        harness.run_child([sys.executable, "-c", "print('boom'); raise SystemExit(3)"], tmp_path)


def _documents() -> list[dict[str, Any]]:
    environment = {
        "processor": "P",
        "cores": 2,
        "system": "Linux 1",
        "python": "3.11",
        "versions": dict.fromkeys((*table._PEERS, *table._MESH_PEERS, "numpy", "precast"), "1.0"),
        "commit": "0123456789abcdef",
        "uncommitted_changes": False,
        "date": "2026-01-02",
    }
    sides = {"precast": [0.2, 0.1], "slow": [2.0, 3.0], "quick": [0.5, 0.4], "copy": [0.05, 0.06]}
    case = {"suite": "encode", "work": "encode", "data": "d", "voxels": 10**8, "floor": 3.0}
    case |= {"not_peers": ["precast", "copy"], "sides": {name: {"seconds": s} for name, s in sides.items()}}
    return [{"suite": "kernels", "environment": environment, "cases": [case]}]


def test_table_takes_the_best_repeat_and_the_fastest_peer() -> None:
    rows = [line for line in table.render(_documents()).splitlines() if line.startswith("| encode")]
    assert rows == ["| encode | d | quick | 250 | 1,000 | **4.0×** | 3× | 50 % |"]


def _mesh_documents() -> list[dict[str, Any]]:
    environment = _documents()[0]["environment"]
    topology = {"components": 1, "euler": 2, "open_edges": 0, "crowded_edges": 0, "volume_um3": 1.0}
    away = {
        "mean_to_original_nm": 1.0,
        "max_to_original_nm": 2.0,
        "mean_from_original_nm": 3.0,
        "max_from_original_nm": 4.0,
    }
    kernel = {
        "suite": "meshing",
        "work": "simplify",
        "data": "d",
        "voxels": 0,
        "triangles": 10**6,
        "floors": {"slow": 2.0, "quick": 1.5},
        "not_peers": ["precast"],
        "sides": {name: {"seconds": [s]} for name, s in {"precast": 0.5, "slow": 4.0, "quick": 1.0}.items()},
        "facts": {
            "input": topology | {"faces": 1000},
            "precast": topology | away | {"faces": 50, "bytes": 1234},
            "slow": topology | away | {"faces": 50, "bytes": 5678},
            "quick": topology | away | {"faces": 50},
        },
    }
    side = {
        "seconds": [2.0],
        "cpu_seconds": [3.0],
        "peak_rss_bytes": [1 << 20],
        "objects": 1,
        "bytes": 100,
        "left_behind_bytes": 7,
        "meshes": {"objects": 5, "closed": 4, "faces": 60, "bytes": 90, "fragments": 6},
        "quality": away
        | {"objects": 3, "closed": 2, "volume_ratio": 0.99, "mean_volume_error": 0.125, "faces": 40, "bytes": 80},
    }
    whole = {
        "work": "w",
        "not_peers": ["precast"],
        "floors": {"igneous": 35.0},
        "sides": {"precast": side, "igneous": side | {"seconds": [80.0]}},
    }
    return [
        {"suite": "meshing", "environment": environment, "cases": [kernel]},
        {"suite": "mesh-whole", "environment": environment, "cases": [whole]},
    ]


def test_tables_of_meshes_show_each_peer_and_the_quality_of_all_sides() -> None:
    rows = table.render(_mesh_documents()).splitlines()
    assert "| simplify | d | slow | 0.25 | 2.00 | **8.0×** | 2× | 5,678 | 1,234 |" in rows
    assert "| simplify | d | quick | 1.00 | 2.00 | **2.0×** | 1.5× |  | 1,234 |" in rows
    assert "| input | 1,000 |  |  | 1.00 | 1 | 2 | 0 | 0 |" in rows
    assert "| slow | 50 | 1.00 / 2.0 | 3.00 / 4.0 | 1.00 | 1 | 2 | 0 | 0 |" in rows
    assert "| igneous | 80.00 | 3.00 | 1 MiB | 1 | 100 | **40.0×** | 35× |" in rows
    assert "| precast | 5 | 4 | 60 | 90 | 6 | 7 bytes |" in rows
    assert "| precast | 2 of 3 | 0.9900 | 12.5 % | 1.00 / 2.0 | 3.00 / 4.0 | 40 | 80 |" in rows


def test_the_table_of_servers_shows_the_share_of_the_other() -> None:
    def side(rate: float) -> dict[str, Any]:
        return {"requests_per_second": rate, "p50_ms": 5.0, "p99_ms": 20.4, "requests": 5000, "errors": 0}

    case = {"nginx": "nginx version: nginx/1", "data": "d", "range_bytes": 65536, "floors": {"nginx": 0.333}}
    case["sides"] = {"nginx": side(2000.0), "precast": side(1500.0)}
    document = {"suite": "serving", "environment": _documents()[0]["environment"], "cases": [case]}
    rows = table.render([document]).splitlines()
    assert "| 64 KiB | nginx | 2,000 | 125 | 5 ms | 20 ms |  |  |" in rows
    assert "| 64 KiB | precast | 1,500 | 94 | 5 ms | 20 ms | **75 %** | 33 % |" in rows
    assert "10,000 requests, none of which failed." in rows


def test_the_table_of_senders_shows_how_much_faster_precast_is() -> None:
    def side(seconds: float) -> dict[str, Any]:
        return {"seconds": [seconds, 9.0], "cpu_seconds": [1.5, 2.0], "peak_rss_bytes": [1 << 20, 3 << 20]}

    case = {"data": "d", "objects": 1000, "bytes": 8 << 20, "not_peers": ["precast"], "sink": "versitygw v1"}
    case["sides"] = {"precast": side(2.0), "cp": side(5.0)}
    environment = _documents()[0]["environment"]
    environment["versions"] |= {"awscli": "1", "cloud-files": "2"}
    rows = table.render([{"suite": "publishing", "environment": environment, "cases": [case]}]).splitlines()
    assert "| d | precast | 2.00 | 500 | 4 | 1.50 | 3 MiB |  |" in rows
    assert "| d | cp | 5.00 | 200 | 2 | 1.50 | 3 MiB | **2.5×** |" in rows
    assert "The server is versitygw v1." in rows


def test_facts_that_the_check_found_are_kept() -> None:
    facts: dict[str, dict[str, Any]] = {}

    def check(outputs: Any) -> str:
        facts["a"] = {"bytes": outputs["a"]}
        return "equal"

    sides = [harness.Side("a", lambda: 7)]
    case = harness.Case("s", "work", "data", 0, 40, sides, check, 2.0, triangles=12, floors={"a": 2.0}, facts=facts)
    result = harness.measure(case, 1)
    assert (result["triangles"], result["floors"], result["facts"]) == (12, {"a": 2.0}, {"a": {"bytes": 7}})


def test_table_leaves_out_what_was_not_measured() -> None:
    documents = _documents()
    del documents[0]["cases"][0]["sides"]["precast"]
    assert "No figures" in table.render(documents)


def test_table_is_replaced_between_its_markers(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# a\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nb\n", encoding="utf-8")
    (tmp_path / "kernels.json").write_text(json.dumps(_documents()[0]), encoding="utf-8")
    options = ["--readme", str(readme), "--results", str(tmp_path)]
    assert table.main([*options, "--check"]) == 1
    assert table.main(options) == 0
    assert table.main([*options, "--check"]) == 0
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("# a\n<!-- bench:begin -->\n**Kernels")
    assert text.endswith("<!-- bench:end -->\nb\n")
    assert "old" not in text


@pytest.mark.parametrize("text", ["", "<!-- bench:begin -->", "<!-- bench:end -->\n<!-- bench:begin -->"])
def test_missing_markers_are_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="bench:begin"):
        table.insert(text, "x")
