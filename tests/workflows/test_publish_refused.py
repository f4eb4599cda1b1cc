"""``publish``: what is refused, and what is left out; damage is found, and mended."""

from __future__ import annotations

import copy
import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from precast.errors import (
    DestinationExistsError,
    FormatError,
    SourceError,
    StorageError,
    UsageError,
)
from precast.storage import Attributes, LocalStore, MemoryStore
from precast.workflows.publish import (
    PublishOptions,
    publish,
    remove_former_generations,
    roll_back,
)
from published_data import make_collection, make_versions
from watched_store import Watched, kinds, view

OVERWRITE = PublishOptions(overwrite=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_versions(tmp_path_factory.mktemp("made"))


@pytest.fixture
def collection(made: dict[str, Path], tmp_path: Path) -> Path:
    return make_collection(tmp_path / "out", made)


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
