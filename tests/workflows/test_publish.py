"""``publish``: the whole way, sent once, with the headers that objects need; collections; what is told."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import precast
from oracles import read_tensorstore
from precast.errors import (
    UsageError,
)
from precast.execution.published import transfer
from precast.precomputed.publication import INDEX_KEY
from precast.storage import Attributes, LocalStore, MemoryStore
from precast.workflows.publish import (
    PublishOptions,
    plan_publication,
    plan_removal,
    publish,
    remove_former_generations,
    roll_back,
)
from precast.workflows.publish.options import BYTES_OF_ONE
from published_data import ONE, make, make_collection, make_versions, write_list
from volume_files import labels
from watched_store import Killed, Watched, kinds, view


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_versions(tmp_path_factory.mktemp("made"))


# ---- the whole way


def test_first_publication_has_plain_paths_and_the_headers_of_the_table(made: dict[str, Path]) -> None:
    store = Watched()
    done = publish(made["b"], store)
    assert [one.state for one in done.datasets] == ["new"]
    assert view(store) == view(LocalStore(made["b"]))
    assert store.read("info") == (made["b"] / "info").read_bytes()
    assert not any(key.startswith("gen-") for key, _ in kinds(store))
    for key, how in kinds(store):
        if key.startswith(".published"):
            continue
        if "-" in key.rpartition("/")[2]:  # chunks
            data = store.contents()[key][0]
            assert how == Attributes(encoding="gzip", cache_control="public, max-age=3600")
            assert gzip.decompress(data) == store.read(key)
        elif key.endswith("info") or key == "provenance":
            assert how == Attributes(content_type="application/json", cache_control="no-cache")
    sharded = Watched()
    publish(made["a"], sharded)
    shards = {how for key, how in kinds(sharded) if key.endswith(".shard")}
    assert shards == {Attributes(cache_control="public, max-age=3600")}


def test_info_comes_last_and_the_files_beside_it_after_it(made: dict[str, Path]) -> None:
    store = Watched()
    publish(made["a"], store)
    keys = [key for _, key in store.operations]
    data = [at for at, key in enumerate(keys) if not key.startswith(".published") and "/" in key]
    assert max(data) < keys.index("info") < keys.index("provenance")
    assert keys[-1] == INDEX_KEY


def test_again_nothing_is_sent(made: dict[str, Path], tmp_path: Path) -> None:
    store = Watched()
    publish(made["a"], store)
    before = len(store.operations)
    done = publish(made["a"], store)
    assert (done.datasets[0].state, done.datasets[0].sent_objects) == ("unchanged", 0)
    assert len(store.operations) == before
    target = tmp_path / "www"
    publish(made["a"], target)
    stats = {path: path.stat().st_mtime_ns for path in target.rglob("*") if path.is_file()}
    assert publish(made["a"], target).datasets[0].sent_objects == 0
    assert stats == {path: path.stat().st_mtime_ns for path in target.rglob("*") if path.is_file()}


def test_a_changed_part_gets_a_generation_and_the_others_stay(made: dict[str, Path]) -> None:
    store = Watched()
    publish(made["a"], store)
    before = store.contents()
    done = publish(made["c"], store).datasets[0]
    assert (done.state, done.new, done.changed, done.removed, done.sent_objects) == ("changed", 0, 1, 0, 1)
    info, old = json.loads(store.read("info")), json.loads(before["info"][0])
    path = f"gen-{done.generation}/segment_properties"
    assert info == {**old, "segment_properties": path}
    assert store.contents()[f"{path}/info"][1].cache_control == "no-cache"
    untouched = {key: value for key, value in before.items() if not key.startswith(".") and key != "info"}
    assert {key: store.contents()[key] for key in untouched} == untouched
    assert view(store) == view(LocalStore(made["c"]))


def test_all_is_immutable_under_a_generation(made: dict[str, Path]) -> None:
    store = Watched()
    publish(made["a"], store)
    publish(made["b"], store)
    assert view(store) == view(LocalStore(made["b"]))
    chunks = {how for key, how in kinds(store) if key.startswith("gen-") and "-" in key.rpartition("/")[2]}
    assert chunks == {Attributes(encoding="gzip", cache_control="public, max-age=31536000, immutable")}


def test_a_published_directory_is_a_dataset_to_others(made: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "www"
    publish(made["a"], target)
    publish(made["b"], target)
    assert json.loads((target / "info").read_text())["scales"][0]["key"].startswith("gen-")
    assert (precast.open(target).scales[0][...] == labels(2)).all()
    report = precast.check(target)
    assert [str(one) for one in report.findings] == []
    assert {scale.digest for scale in report.datasets[0].scales} == {"verified"}
    remove_former_generations(target)
    assert precast.check(target).findings == ()
    assert sorted(path.name for path in target.iterdir() if not path.name.startswith(".")) == [
        json.loads((target / "info").read_text())["scales"][0]["key"].partition("/")[0],
        "info",
        "label_table.npy",
        "provenance",
    ]


def test_tensorstore_reads_what_was_published_in_generations(made: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "www"
    other = make(tmp_path / "other", 5)
    publish(made["a"], target)
    publish(other, target)
    assert (read_tensorstore(target, 0)[0] == labels(5)).all()


# ---- collections


@pytest.fixture
def collection(made: dict[str, Path], tmp_path: Path) -> Path:
    return make_collection(tmp_path / "out", made)


def test_a_collection(collection: Path, made: dict[str, Path]) -> None:
    (collection / "three").mkdir()
    (collection / "notes.txt").write_text("private")
    store = Watched()
    done = publish(collection, store)
    assert [one.name for one in done.datasets] == ["one", "two"]
    assert view(store, "one/") == view(LocalStore(made["a"]))
    assert view(store, "two/") == view(LocalStore(made["b"]))
    keys = [key for _, key in store.operations]
    assert keys.index("precast.json") > max(keys.index("one/info"), keys.index("two/info"))
    assert "notes.txt" not in keys
    before = len(store.operations)
    publish(collection, store)
    assert len(store.operations) == before


def test_a_collection_killed_at_every_operation(collection: Path, made: dict[str, Path], tmp_path: Path) -> None:
    """The list names only what is there; and a roll-back leads to all that was there before."""
    start = Watched()
    publish(collection, start)
    start = start.again()
    later = tmp_path / "later"
    shutil.copytree(made["c"], later / "one")
    shutil.copytree(made["a"], later / "new")
    write_list(later, "new", "one")
    views = {name: view(LocalStore(path)) for name, path in made.items()}
    trial = start.again()
    publish(later, trial, ONE)
    for number in range(len(trial.operations)):
        store = start.again()

        def read(store: Watched = store) -> None:
            for layer in json.loads(store.read("precast.json"))["layers"]:
                allowed = {"one": "ac", "two": "b", "new": "a"}[layer["name"]]
                assert view(store, f"{layer['name']}/") in [views[name] for name in allowed]

        store.reader, store.end_at, store.after = read, number, True
        with pytest.raises(Killed):
            publish(later, store, ONE)
        store.end_at = None
        publish(later, store, ONE)
        assert (view(store, "one/"), view(store, "new/")) == (views["c"], views["a"])
    roll_back(store)
    assert (view(store, "one/"), view(store, "two/")) == (views["a"], views["b"])
    assert store.read("precast.json") == (collection / "precast.json").read_bytes()
    roll_back(store)
    removed = {one.name: one.whole for one in plan_removal(store)}
    assert removed == {"one": False, "two": True}
    remove_former_generations(store)
    assert not any(key.startswith("two/") for key, _ in kinds(store))
    assert (view(store, "one/"), view(store, "new/")) == (views["c"], views["a"])


# ---- files too large for memory


@pytest.mark.parametrize("where", ["memory", "directory"])
def test_large_objects_go_from_files_that_stay(
    made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(transfer, "PIECE_BYTES", 100)
    for name in "ab":
        store: Any = MemoryStore() if where == "memory" else LocalStore(tmp_path / name)
        before = {path: path.read_bytes() for path in made[name].rglob("*") if path.is_file()}
        publish(made[name], store)
        assert view(store) == view(LocalStore(made[name]))
        assert before == {path: path.read_bytes() for path in made[name].rglob("*") if path.is_file()}
        assert publish(made[name], store).datasets[0].sent_objects == 0
        if where == "directory":
            inodes = {path.stat().st_ino for path in made[name].rglob("*")}
            assert inodes.isdisjoint(path.stat().st_ino for path in (tmp_path / name).rglob("*"))


def test_memory_bounds_what_is_sent_at_once() -> None:
    assert PublishOptions(memory=BYTES_OF_ONE * 3).at_once == 3
    assert PublishOptions(memory=1).at_once == 1
    assert PublishOptions(memory="100GiB", threads=5).at_once == 5
    with pytest.raises(UsageError, match="--threads"):
        PublishOptions(threads=0)


# ---- telling


def test_a_dry_run_tells_the_same_and_writes_nothing(made: dict[str, Path]) -> None:
    store = Watched()
    for name in "aac":
        before = len(store.operations)
        plan = plan_publication(made[name], store)
        assert len(store.operations) == before
        assert plan.dry_run
        done = publish(made[name], store)
        assert plan.datasets == done.datasets
        assert plan.headers == done.headers
    assert sum(one.objects for one in plan.headers) == plan.datasets[0].objects
    assert {one.content_encoding for one in plan.headers} == {""}


def test_progress_is_told_in_bytes(made: dict[str, Path]) -> None:
    phases: dict[str, list[int]] = {}

    class Told:
        def phase(self, text: str, total_bytes: int) -> None:
            self.now = phases.setdefault(text, [total_bytes, 0])

        def advance(self, done_bytes: int) -> None:
            self.now[1] += done_bytes

        def note(self, text: str) -> None:
            pass

    done = publish(made["b"], Watched(), progress=Told()).datasets[0]
    assert phases["reading"] == [done.bytes, done.bytes]
    assert phases[f"sending {done.objects} objects"] == [done.bytes, done.bytes]
