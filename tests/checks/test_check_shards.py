"""Each rule about shard files: one fault is planted in a good dataset, and exactly that rule finds it."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from imagecodecs import brotli_encode

from precast.checks import ScaleReport, catalogue, check
from precast.findings import Severity
from volume_files import labels, pyramid, shard, sharded_info, shards, write_volume

FINE = "10_10_20"
Minishards = list[list[tuple[int, bytes]]]


def look(path: Path) -> tuple[list[str], ScaleReport]:
    report = check(path)
    return sorted({finding.code for finding in report.findings}), report.datasets[0].scales[0]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """One sharded scale: 3 x 2 x 2 chunks in 3 shards of 2 minishards."""
    info = sharded_info()
    del info["scales"][1]
    return write_volume(tmp_path / "v", info, pyramid(labels())[:1])


@pytest.fixture
def values() -> dict[str, Minishards]:
    """What is in the shards."""
    found = shards(sharded_info()["scales"][0], labels())
    assert {name: [len(minishard) for minishard in minishards] for name, minishards in found.items()} == {
        "0.shard": [2, 2],
        "1.shard": [2, 2],
        "2.shard": [1, 1],
        "3.shard": [1, 1],
    }
    return found


def test_clean_shards(dataset: Path, tmp_path: Path) -> None:
    codes, scale = look(dataset)
    assert codes == []
    assert (scale.sharded, scale.stored, scale.decoded, scale.objects) == (True, 12, 12, 4)
    both = write_volume(tmp_path / "w", sharded_info())
    assert look(both)[0] == []


def test_any_order_is_legal(dataset: Path, values: dict[str, Minishards]) -> None:
    file = dataset / FINE / "0.shard"
    file.write_bytes(shard([minishard[::-1] for minishard in values["0.shard"]]))
    report = check(dataset)
    assert [(finding.code, finding.severity) for finding in report.findings] == [("PC226", Severity.INFO)]
    assert report.datasets[0].scales[0].decoded == 12


def test_unused_bytes_are_legal(dataset: Path) -> None:
    file = dataset / FINE / "0.shard"
    file.write_bytes(file.read_bytes() + b"unused")
    assert look(dataset)[0] == []


@pytest.mark.parametrize("name", ["A.shard", "00.shard", "8.shard", "x.shard"])
def test_names(dataset: Path, name: str) -> None:
    file = dataset / FINE / "3.shard"
    (file.with_name(name)).write_bytes(file.read_bytes())
    codes, scale = look(dataset)
    assert codes == ["PC220"]
    assert scale.stored == 12


def test_a_shard_that_is_only_there_under_a_wrong_name(dataset: Path) -> None:
    (dataset / FINE / "3.shard").rename(dataset / FINE / "03.shard")
    codes, scale = look(dataset)
    assert codes == ["PC220"]
    assert (scale.unreadable, scale.absent) == (2, 0)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:20],  # shorter than its index
        lambda data: struct.pack("<Q", 2**40) + data[8:],
        lambda data: data[:8] + struct.pack("<Q", 2**63 + 5) + data[16:],
        lambda data: data[:8] + struct.pack("<Q", struct.unpack("<Q", data[:8])[0] + 20) + data[16:],
    ],
)
def test_indices(dataset: Path, change: Callable[[bytes], bytes]) -> None:
    file = dataset / FINE / "0.shard"
    file.write_bytes(change(file.read_bytes()))
    codes, scale = look(dataset)
    assert codes == ["PC221"]
    assert scale.unreadable in (2, 4)
    assert scale.absent == 0


def test_values_outside_the_file(dataset: Path, values: dict[str, Minishards]) -> None:
    data = bytearray(shard(values["0.shard"]))
    start, stop = struct.unpack("<2Q", data[:16])
    assert stop - start == 48
    data[32 + stop - 8 : 32 + stop] = struct.pack("<Q", 10**6)  # the size of the last value
    (dataset / FINE / "0.shard").write_bytes(data)
    codes, scale = look(dataset)
    assert codes == ["PC222"]
    assert (scale.unreadable, scale.stored) == (1, 12)


def test_keys_in_the_wrong_place(dataset: Path, values: dict[str, Minishards]) -> None:
    minishards = values["0.shard"]
    (dataset / FINE / "0.shard").write_bytes(shard([minishards[1], minishards[0]]))
    codes, scale = look(dataset)
    assert codes == ["PC223"]
    assert (scale.unreadable, scale.absent) == (4, 0)


def test_keys_that_stand_twice(dataset: Path, values: dict[str, Minishards]) -> None:
    minishards = values["0.shard"]
    (dataset / FINE / "0.shard").write_bytes(shard([[*minishards[0], minishards[0][-1]], minishards[1]]))
    codes, scale = look(dataset)
    assert codes == ["PC224"]
    assert scale.absent == 0


def test_values_that_share_bytes(dataset: Path, values: dict[str, Minishards]) -> None:
    """The second value of a minishard is the first one too."""
    data = bytearray(shard(values["0.shard"]))
    start, stop = struct.unpack("<2Q", data[:16])
    size = len(values["0.shard"][0][0][1])
    assert size == len(values["0.shard"][0][1][1])
    at = 32 + start + 24  # the gap before the second value
    assert struct.unpack("<Q", data[at : at + 8]) == (0,)
    data[at : at + 8] = struct.pack("<Q", 2**64 - size)
    (dataset / FINE / "0.shard").write_bytes(data)
    assert stop > start
    assert look(dataset)[0] == ["PC225"]


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("br", brotli_encode)])
def test_shards_that_are_packed(dataset: Path, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    file = dataset / FINE / "1.shard"
    (dataset / FINE / f"1.shard.{suffix}").write_bytes(pack(file.read_bytes()))
    file.unlink()
    codes, scale = look(dataset)
    assert codes == ["PC227"]
    assert (scale.unreadable, scale.absent) == (4, 0)


def test_the_former_variant(dataset: Path) -> None:
    for number in "0123":
        file = dataset / FINE / f"{number}.shard"
        data = file.read_bytes()
        file.with_suffix(".index").write_bytes(data[:32])
        file.with_suffix(".data").write_bytes(data[32:])
    codes, _ = look(dataset)
    assert codes == ["PC228"]
    for number in "0123":
        (dataset / FINE / f"{number}.shard").unlink()
    assert look(dataset)[0] == ["PC211", "PC228"]


def test_keys_of_no_chunk(dataset: Path, values: dict[str, Minishards]) -> None:
    """The grid has 3 x 2 x 2 chunks: the key of the cell 3,0,0 fits its bits, but the cell is none of it."""
    minishards = values["2.shard"]
    assert [[key for key, _ in minishard] for minishard in minishards] == [[8], [10]]
    minishards[0].append((9, minishards[0][0][1]))
    (dataset / FINE / "2.shard").write_bytes(shard(minishards))
    codes, scale = look(dataset)
    assert codes == ["PC208"]
    assert scale.stored == scale.decoded == 12


def test_every_rule_about_shards_is_tested_here() -> None:
    text = Path(__file__).read_text()
    rules: list[Any] = [rule for rule in catalogue() if "PC220" <= rule.code < "PC230" or rule.code == "PC208"]
    assert len(rules) == 10
    assert [rule.code for rule in rules if f'"{rule.code}"' not in text.split("def test_every_rule")[0]] == []
