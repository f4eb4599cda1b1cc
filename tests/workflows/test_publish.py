"""``publish``: whole at every moment, whatever ends it; sent once; with the headers that objects need."""

from __future__ import annotations

import copy
import gzip
import itertools
import json
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import precast
from oracles import read_tensorstore
from precast.errors import (
    DestinationExistsError,
    FormatError,
    SourceError,
    StorageError,
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
from volume_files import labels
from watched_store import Killed, Watched, side, view

OVERWRITE = PublishOptions(overwrite=True)


# ---- datasets, and what a reader sees


def make(root: Path, seed: int, **options: Any) -> Path:
    """Make labels of two scales with properties."""
    data = labels(seed)
    values = {"resolution": "10,10,20", "chunk_size": "16", "overwrite": True, **options}
    precast.convert(data, root, precast.ConvertOptions(**values))
    precast.properties(root, options=precast.PropertiesOptions())
    return root


ONE = PublishOptions(threads=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a dataset, another one of the same shape, and the first with other properties only."""
    root = tmp_path_factory.mktemp("made")
    first, second, third = make(root / "a", 1), make(root / "b", 2, unsharded=True), root / "c"
    shutil.copytree(first, third)
    path = third / "segment_properties" / "info"
    value = json.loads(path.read_text())
    value["inline"]["properties"][0]["id"] = "renamed"
    path.write_text(json.dumps(value))
    return {"a": first, "b": second, "c": third}


def kinds(store: Watched) -> Iterator[tuple[str, Attributes]]:
    for key, (_, how) in store.contents().items():
        yield key, how


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


# ---- what ends in the middle


def steps(start: Watched, source: Path) -> int:
    store = start.again()
    publish(source, store, ONE)
    return len(store.operations)


@pytest.mark.parametrize(("before", "after"), [(None, "a"), ("a", "b"), ("a", "c"), ("b", "a")])
def test_killed_at_every_operation(made: dict[str, Path], before: str | None, after: str) -> None:
    start = Watched()
    if before:
        publish(made[before], start)
    start = start.again()
    old, new = (view(LocalStore(made[before])) if before else None), view(LocalStore(made[after]))
    sides = {
        name: [side(LocalStore(made[one]), name) if one else None for one in (before, after)]
        for name in ("provenance", "label_table.npy")
    }
    count = steps(start, made[after])
    assert count > 5
    for number, late in itertools.product(range(count), (False, True)):
        store = start.again()

        def read(store: Watched = store) -> None:
            seen = view(store)
            assert seen in (old, new), f"a mixture after {store.operations[-1]}"
            for name, (was, will) in sides.items():
                expected = [was] if seen == old else []
                expected += [will] if seen == new else []
                assert side(store, name) in (None, *expected), f"another {name} after {store.operations[-1]}"

        store.reader, store.end_at, store.after = read, number, late
        with pytest.raises(Killed):
            publish(made[after], store, ONE)
        store.end_at = None
        publish(made[after], store, ONE)
        assert view(store) == new
        assert [side(store, name) for name in sides] == [will for _, will in sides.values()]
        settled = len(store.operations)
        publish(made[after], store, ONE)
        assert len(store.operations) == settled


def test_killed_and_something_else_published_then(made: dict[str, Path]) -> None:
    views = {name: view(LocalStore(path)) for name, path in made.items()}
    for before in (None, "b"):
        start = Watched()
        if before:
            publish(made[before], start)
        start = start.again()
        for number in range(steps(start, made["a"])):
            store = start.again()
            store.end_at, store.after = number, True
            with pytest.raises(Killed):
                publish(made["a"], store, ONE)
            store.end_at = None

            def read(store: Watched = store, before: str | None = before) -> None:
                assert view(store) in (views[before] if before else None, views["a"], views["c"])

            store.reader = read
            publish(made["c"], store, ONE)
            assert view(store) == views["c"]
            remove_former_generations(store, ONE)
            assert view(store) == views["c"]
            # nothing that belongs to nothing is left, but what publications write about themselves
            named = set(view(store) or ())
            left = [key for key, _ in kinds(store) if not key.startswith(".")]
            assert len(left) == len(named) + 2  # provenance and label table


def test_processes_killed_at_random_moments(made: dict[str, Path], tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from precast.storage import LocalStore\n"
        "from precast.workflows.publish import publish\n"
        "left = int(sys.argv[3])\n"
        "for name in ('write', 'write_file', 'delete'):\n"
        "    def end(self, *a, real=getattr(LocalStore, name)):\n"
        "        global left\n"
        "        left -= 1\n"
        "        if left == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return real(self, *a)\n"
        "    setattr(LocalStore, name, end)\n"
        "publish(sys.argv[1], sys.argv[2])\n"
    )
    target = tmp_path / "www"
    publish(made["a"], target)
    old, new = view(LocalStore(target)), view(LocalStore(made["b"]))
    kills, seeded = 0, random.Random(7)
    for _ in range(3):
        moment = str(seeded.randint(2, 12))
        ended = subprocess.run([sys.executable, "-c", program, made["b"], target, moment], check=False)
        kills += ended.returncode == -signal.SIGKILL
        assert view(LocalStore(target)) in (old, new)
    assert kills > 1
    publish(made["b"], target)
    assert view(LocalStore(target)) == new
    assert not list((target / ".published").glob(".parts-*"))


def test_what_was_sent_before_an_end_is_not_sent_again(made: dict[str, Path]) -> None:
    store = Watched()
    store.end_at, store.after = steps(Watched(), made["b"]) // 2, True
    with pytest.raises(Killed):
        publish(made["b"], store, ONE)
    sent = {key for _, key in store.operations if not key.startswith(".")}
    assert sent
    store.end_at = None
    begun = len(store.operations)
    publish(made["b"], store, ONE)
    assert sent.isdisjoint(key for _, key in store.operations[begun:])


# ---- going back, and removing


def test_going_back_and_forward(made: dict[str, Path]) -> None:
    store = Watched()
    publish(made["a"], store)
    publish(made["b"], store)
    first, second = (view(LocalStore(made[name])) for name in "ab")
    assert roll_back(store).datasets[0].name == ""
    assert view(store) == first
    assert side(store, "provenance") == (made["a"] / "provenance").read_bytes()
    assert side(store, "label_table.npy") == (made["a"] / "label_table.npy").read_bytes()
    assert store.read("info") == (made["a"] / "info").read_bytes()
    roll_back(store)
    assert view(store) == second
    roll_back(store)
    # publishing it again sends nothing, because it is still there
    assert publish(made["b"], store).datasets[0].sent_objects == 0
    assert view(store) == second


def test_going_back_killed_at_every_operation(made: dict[str, Path]) -> None:
    start = Watched()
    publish(made["a"], start)
    publish(made["b"], start)
    views = [view(LocalStore(made[name])) for name in "ab"]
    start = start.again()
    trial = start.again()
    roll_back(trial)
    for number in range(len(trial.operations)):
        store = start.again()
        store.reader = lambda store=store: None if view(store) in views else pytest.fail("a mixture")  # type: ignore[misc]
        store.end_at, store.after = number, True
        with pytest.raises(Killed):
            roll_back(store)
        store.end_at = None
        publish(made["a"], store)
        assert view(store) == views[0]
        assert side(store, "provenance") == (made["a"] / "provenance").read_bytes()


def test_nothing_to_go_back_to(made: dict[str, Path]) -> None:
    store = Watched()
    publish(made["a"], store)
    with pytest.raises(UsageError, match="no former generation"):
        roll_back(store)
    publish(made["b"], store)
    remove_former_generations(store)
    with pytest.raises(UsageError, match="no former generation"):
        roll_back(store)


def test_going_back_is_refused_where_something_is_missing(made: dict[str, Path]) -> None:
    store = Watched()
    publish(made["a"], store)
    publish(made["b"], store)
    second = view(store)
    MemoryStore.delete(store, next(key for key, _ in kinds(store) if key.endswith(".shard")))
    with pytest.raises(StorageError, match="not all there"):
        roll_back(store)
    assert view(store) == second


def test_removing_former_generations(made: dict[str, Path]) -> None:
    store = Watched()
    publish(made["a"], store)
    assert plan_removal(store) == ()
    publish(made["b"], store)
    plan = plan_removal(store)
    assert plan == remove_former_generations(store)
    assert plan[0].objects == len([key for key in view(LocalStore(made["a"])) or {} if key != "info"])
    assert view(store) == view(LocalStore(made["b"]))
    assert not any(key.endswith(".shard") for key, _ in kinds(store))
    assert plan_removal(store) == ()


def test_removing_killed_at_every_operation(made: dict[str, Path]) -> None:
    start = Watched()
    publish(made["a"], start)
    publish(made["c"], start)
    start = start.again()
    trial = start.again()
    remove_former_generations(trial)
    expected = trial.contents()
    for number, late in itertools.product(range(len(trial.operations)), (False, True)):
        store = start.again()
        store.end_at, store.after = number, late
        with pytest.raises(Killed):
            remove_former_generations(store, ONE)
        store.end_at = None
        assert view(store) == view(LocalStore(made["c"]))
        if number % 2:
            remove_former_generations(store)
        else:
            publish(made["c"], store)
            remove_former_generations(store)
        assert store.contents() == expected


# ---- collections


@pytest.fixture
def collection(made: dict[str, Path], tmp_path: Path) -> Path:
    root = tmp_path / "out"
    shutil.copytree(made["a"], root / "one")
    shutil.copytree(made["b"], root / "two")
    write_list(root, "one", "two")
    return root


def write_list(root: Path, *names: str) -> None:
    value = {
        "@type": "precast_collection",
        "schema": 1,
        "layers": [{"name": name, "kind": "segmentation"} for name in names],
    }
    (root / "precast.json").write_text(json.dumps(value))


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


# ---- what is refused, and what is left out


def test_what_somebody_else_has_put_there_is_not_touched(made: dict[str, Path]) -> None:
    store = Watched()
    for path in made["a"].rglob("*"):
        if path.is_file():
            MemoryStore.write(store, path.relative_to(made["a"]).as_posix(), path.read_bytes(), Attributes())
    theirs = store.contents()
    with pytest.raises(DestinationExistsError, match="did not publish"):
        publish(made["b"], store)
    assert store.contents() == theirs
    publish(made["b"], store, OVERWRITE)
    assert view(store) == view(LocalStore(made["b"]))
    data = {key: value for key, value in theirs.items() if "/" in key}
    assert {key: store.contents()[key] for key in data} == data
    roll_back(store)
    assert view(store) == view(LocalStore(made["a"]))
    assert store.read("provenance") == (made["a"] / "provenance").read_bytes()
    roll_back(store)
    remove_former_generations(store)
    assert {key: store.contents()[key] for key in data} == data


def test_an_info_that_was_changed_by_hand_is_refused(made: dict[str, Path]) -> None:
    store = Watched()
    publish(made["a"], store)
    info = json.loads(store.read("info"))
    MemoryStore.write(store, "info", json.dumps(info | {"mine": 1}).encode(), Attributes())
    with pytest.raises(DestinationExistsError, match="did not publish"):
        publish(made["c"], store)
    publish(made["c"], store, OVERWRITE)
    assert view(store) == view(LocalStore(made["c"]))


def test_files_beside_a_published_dataset_are_told_and_left(made: dict[str, Path]) -> None:
    store = Watched()
    publish(made["a"], store)
    MemoryStore.write(store, "state.json", b"{}", Attributes())
    done = publish(made["b"], store)
    assert [one.code for one in done.findings] == ["PU101", "PU103"]
    assert "state.json" in done.findings[0].message
    remove_former_generations(store)
    assert store.read("state.json") == b"{}"


def test_unfinished_sources_are_refused(made: dict[str, Path], tmp_path: Path) -> None:
    source = tmp_path / "labels"
    shutil.copytree(made["a"], source)
    for name in ("labels", "labels.mesh"):
        work = tmp_path / ".precast" / name
        work.mkdir(parents=True)
        (work / "ledger.json").write_text("{}")
        with pytest.raises(SourceError, match="not finished") as caught:
            publish(source, Watched())
        assert str(work) in caught.value.hint
        shutil.rmtree(work)
    publish(source, Watched())


def test_a_wrong_info_is_refused(made: dict[str, Path], tmp_path: Path) -> None:
    source, store = tmp_path / "labels", Watched()
    shutil.copytree(made["a"], source)
    good = json.loads((source / "info").read_text())

    def refuse(match: str, **changes: Any) -> None:
        (source / "info").write_text(json.dumps({**copy.deepcopy(good), **changes}))
        with pytest.raises(FormatError, match=match):
            publish(source, store)

    refuse("PC", data_type="uint7")
    refuse("names mesh, where nothing is", mesh="mesh")
    refuse("not a directory inside the dataset", mesh="../meshes")
    refuse("strict JSON", extra=float("nan"))
    scales = copy.deepcopy(good["scales"])
    for scale in scales:
        scale["key"] = f"x{scale['key']}"
    refuse("holds none of the shards", scales=scales)
    assert store.contents() == {}


def test_hidden_temporary_and_unknown_files_are_not_sent(made: dict[str, Path], tmp_path: Path) -> None:
    source, store = tmp_path / "labels", Watched()
    shutil.copytree(made["b"], source)
    scale = source / json.loads((source / "info").read_text())["scales"][0]["key"]
    for name in (".hidden", "0-16_0-16_0-16.tmp", "thumbs.db"):
        (scale / name).write_bytes(b"x")
    (source / "notes.txt").write_text("private")
    (source / ".git").mkdir()
    (source / ".git" / "config").write_text("private")
    done = publish(source, store)
    assert view(store) == view(LocalStore(made["b"]))
    assert [(one.code, "3 files" in one.message) for one in done.findings] == [("PU102", True)]
    assert not any("private" in str(data) for data, _ in store.contents().values())


def test_shards_that_were_gzipped_are_refused(made: dict[str, Path], tmp_path: Path) -> None:
    source = tmp_path / "labels"
    shutil.copytree(made["a"], source)
    shard = next(source.rglob("*.shard"))
    shard.with_name(f"{shard.name}.gz").write_bytes(gzip.compress(shard.read_bytes()))
    shard.unlink()
    with pytest.raises(FormatError, match="by ranges"):
        publish(source, Watched())


def test_a_source_that_changes_meanwhile_is_refused(made: dict[str, Path], tmp_path: Path) -> None:
    source, store = tmp_path / "labels", Watched()
    shutil.copytree(made["a"], source)
    shard = next(source.rglob("*.shard"))
    data = shard.read_bytes()

    def change() -> None:
        shard.write_bytes(data[:-1] + b"?")

    store.reader = change
    with pytest.raises(SourceError, match="was changed while"):
        publish(source, store)
    assert view(store) is None


def test_places_in_one_another_are_refused(made: dict[str, Path], collection: Path) -> None:
    for target in (made["a"], made["a"] / "www", made["a"].parent):
        with pytest.raises(UsageError, match="in one another"):
            publish(made["a"], target)
    store = Watched()
    publish(collection, store)
    with pytest.raises(DestinationExistsError, match="is a collection"):
        publish(made["a"], store)
    store = Watched()
    publish(made["a"], store)
    with pytest.raises(DestinationExistsError, match="is a dataset"):
        publish(collection, store)


# ---- damage, and verifying


def test_objects_that_were_lost_or_changed_are_sent_again(made: dict[str, Path], tmp_path: Path) -> None:
    store, target = Watched(), tmp_path / "www"
    publish(made["b"], store)
    publish(made["b"], target)
    chunks = [key for key, how in kinds(store) if how.encoding and not key.startswith(".")]
    MemoryStore.delete(store, chunks[0])
    data = store.contents()[chunks[1]][0]
    other = gzip.compress(gzip.decompress(data)[:-1] + b"?", compresslevel=9)
    MemoryStore.write(store, chunks[1], other, Attributes(encoding="gzip"))
    assert publish(made["b"], store).datasets[0].sent_objects == 2
    assert view(store) == view(LocalStore(made["b"]))
    damaged = target / f"{chunks[1]}.gz"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)  # of the same size
    assert publish(made["b"], target).datasets[0].sent_objects == 1
    assert view(LocalStore(target)) == view(LocalStore(made["b"]))
    assert publish(made["b"], target).datasets[0].sent_objects == 0


def test_a_copy_of_what_was_published_is_compared_and_not_sent(made: dict[str, Path], tmp_path: Path) -> None:
    publish(made["a"], tmp_path / "www")
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "www", moved)
    before = {path: path.stat().st_ino for path in moved.rglob("*.shard")}
    assert publish(made["a"], moved).datasets[0].sent_objects == 0
    assert before == {path: path.stat().st_ino for path in moved.rglob("*.shard")}


class Losing(Watched):
    """A store that keeps other than it is given, or less of it."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def write(self, key: str, data: bytes, attributes: Attributes) -> None:
        if key.endswith(".shard"):
            if self.how == "lost":
                return
            if self.how == "short":
                data = data[:-1]
            if self.how == "type":
                attributes = Attributes(content_type="text/plain", cache_control=attributes.cache_control)
            if self.how == "cache":
                attributes = Attributes(cache_control="")
        super().write(key, data, attributes)


@pytest.mark.parametrize(
    ("how", "text"), [("lost", "is not there"), ("short", "bytes, not"), ("type", "headers"), ("cache", "headers")]
)
def test_what_a_store_did_not_keep_is_found_before_readers_see_it(made: dict[str, Path], how: str, text: str) -> None:
    store = Losing(how)
    with pytest.raises(StorageError, match=text):
        publish(made["a"], store)
    assert view(store) is None


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
