"""``rm``: all that belongs and nothing else, invisible first, gone on with after any end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import precast
from buckets import forget_credentials
from precast.cli import main
from precast.errors import FormatError, ObjectNotFoundError, UsageError
from precast.precomputed.collection import Collection, CollectionLayer
from precast.storage import Attributes, LocalStore, MemoryStore
from precast.workflows.publish import RemovalOptions, plan_rm, publish, rm
from published_data import make
from s3_server import S3Server
from watched_store import Killed, Watched, view

PLAIN = Attributes()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of a dataset, with properties."""
    root = tmp_path_factory.mktemp("made")
    make(root / "a", 1)
    make(root / "b", 2, unsharded=True)
    return root


def published(store: Any, made: Path) -> Any:
    """Return a store with two generations, and files of somebody else."""
    publish(made / "a", store)
    publish(made / "b", store)
    for key in ("notes.txt", "8_8_8/README", "other/info"):
        store.write(key, b"theirs", PLAIN)
    return store


def test_all_that_belongs_and_nothing_else(made: Path) -> None:
    store = published(MemoryStore(), made)
    before = {stat.key for stat in store.list()}
    planned = plan_rm(store)
    assert {stat.key for stat in store.list()} == before
    done = rm(store)
    assert done == planned
    left = {stat.key for stat in store.list()}
    assert left == {"notes.txt", "8_8_8/README", "other/info"}
    assert done.objects == len(before) - len(left)
    assert (done.left_objects, done.left_bytes) == (3, 18)
    with pytest.raises(ObjectNotFoundError, match="there is no dataset"):
        rm(store)


def test_infos_of_parts_that_generations_have_in_common(tmp_path: Path) -> None:
    """A second one's meshes lead to a third one's properties, for which their info is rewritten where it is."""
    table = tmp_path / "names.csv"
    table.write_text("id,name\n7,one\n")
    voxels = np.zeros((24, 24, 24), np.uint32)
    voxels[3:20, 3:20, 3:20] = 7
    store = MemoryStore()
    precast.convert(voxels, store, precast.ConvertOptions(resolution=8, kind="segmentation"))
    precast.mesh(store, precast.MeshOptions(max_error="1nm", csv=str(table)))
    first = MemoryStore()
    publish(store, first)
    precast.mesh(store, precast.MeshOptions(max_error="40nm", overwrite=True))
    table.write_text("id,name\n7,uno\n")
    precast.properties(store, precast.PropertiesOptions(csv=str(table), overwrite=True))
    publish(first, store, precast.PublishOptions(overwrite=True))
    # nothing of them is taken for a stranger's
    assert [one.code for one in precast.check(store).findings] == [one.code for one in precast.check(first).findings]
    assert plan_rm(store).left_objects == 0
    rm(store)
    assert [stat.key for stat in store.list()] == []


def test_everything(made: Path) -> None:
    store = published(MemoryStore(), made)
    assert rm(store, RemovalOptions(all=True)).left_objects == 0
    assert not list(store.list())


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_every_step(made: Path, after: bool) -> None:
    start = published(Watched(), made)
    whole = view(start)
    steps = start.again()
    rm(steps, RemovalOptions(threads=1))
    count = len(steps.operations)
    assert count > 20
    for end in range(count):
        store = start.again()
        store.end_at, store.after = end, after
        seen: list[Any] = []
        store.reader = lambda store=store, seen=seen: seen.append(view(store))
        with pytest.raises(Killed):
            rm(store, RemovalOptions(threads=1))
        store.end_at = None
        # a reader that begins finds all of it or nothing
        assert all(one is None or one == whole for one in seen)
        if store.contents().keys() != {"notes.txt", "8_8_8/README", "other/info"}:
            rm(store, RemovalOptions(threads=1))
        assert store.contents().keys() == {"notes.txt", "8_8_8/README", "other/info"}, end


def collection(root: Path, made: Path) -> Path:
    for name in ("a", "b"):
        shutil.copytree(made / name, root / name)
    layers = tuple(CollectionLayer(name=name, kind="segmentation") for name in ("a", "b"))
    (root / "precast.json").write_bytes(Collection(layers=layers).to_bytes())
    return root


def test_a_collection_on_disk(made: Path, tmp_path: Path) -> None:
    www = tmp_path / "www"
    publish(collection(tmp_path / "c", made), www)
    (www / "a" / "mine.txt").write_text("x")
    planned = plan_rm(www)
    assert [one.name for one in planned.datasets] == ["a", "b"]
    assert planned.left == ("a/mine.txt",)
    rm(www)
    assert sorted(str(path.relative_to(www)) for path in www.rglob("*")) == ["a", "a/mine.txt"]


def test_neighbours_and_links_stay(made: Path, tmp_path: Path) -> None:
    for name in ("a", "a-2"):
        shutil.copytree(made / "a", tmp_path / name)
    scale = next(path for path in (tmp_path / "a").iterdir() if (path / "..").exists() and path.name[0].isdigit())
    shutil.move(scale, tmp_path / "elsewhere")
    scale.symlink_to(tmp_path / "elsewhere")
    before = sorted(path.name for path in (tmp_path / "elsewhere").iterdir())
    rm(tmp_path / "a")
    assert before
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == before
    assert view(LocalStore(tmp_path / "a-2")) == view(LocalStore(made / "a"))


@pytest.mark.parametrize("threads", [0, 1025, "4", True, 2.0])
def test_wrong_options_are_refused(threads: Any) -> None:
    with pytest.raises(UsageError, match="--threads must be a whole number from 1 to 1024"):
        RemovalOptions(threads=threads)


def test_places_that_are_refused(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ObjectNotFoundError):
        rm(tmp_path / "empty", RemovalOptions(all=True))
    with pytest.raises(UsageError, match="web server"):
        rm("https://host/em")
    home = tmp_path / "home"
    shutil.copytree(made / "a", home)
    (home / "letter").write_text("x")
    monkeypatch.setenv("HOME", str(home))
    for place in (home, tmp_path):
        for options in (RemovalOptions(), RemovalOptions(all=True), RemovalOptions(all=True, root=True)):
            with pytest.raises(UsageError, match="holds the home directory"):
                rm(place, options)
    rm(home, RemovalOptions(root=True))
    assert [path.name for path in home.iterdir()] == ["letter"]
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "info").write_text("{")
    with pytest.raises(FormatError, match="not known what belongs"):
        rm(broken)
    assert (broken / "info").exists()
    assert main.run(["rm", str(broken), "--all"]) == 2
    assert "nobody can answer" in capsys.readouterr().err
    assert main.run(["rm", str(broken), "--all", "--dry-run"]) == 0
    assert (broken / "info").exists()
    assert main.run(["rm", str(broken), "--all", "--yes"]) == 0
    assert not broken.exists()


def test_in_a_bucket(
    s3: S3Server,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    forget_credentials(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    monkeypatch.setenv("AWS_REGION", s3.region)
    precast.convert(np.ones((20, 20, 20), np.uint32), tmp_path / "labels", precast.ConvertOptions(resolution=8))
    there = ("--endpoint", s3.endpoint)
    for name in ("labels", "labels-2"):
        assert main.run(["publish", str(tmp_path / "labels"), f"s3://{bucket}/p/{name}", *there]) == 0
    s3.put(bucket, "p/labels/notes.txt", b"theirs")
    capsys.readouterr()
    assert main.run(["rm", f"s3://{bucket}/p/labels", *there, "--dry-run", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)["result"]
    assert s3.ask("GET", f"/{bucket}/p/labels/info").status == 200
    assert main.run(["rm", f"s3://{bucket}/p/labels", *there, "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"] == planned
    assert planned["left"] == ["notes.txt"]
    listed = s3.ask("GET", f"/{bucket}?list-type=2&prefix=p%2Flabels%2F").body
    assert listed.count(b"<Key>") == 1
    assert b"notes.txt" in listed
    assert main.run(["check", f"s3://{bucket}/p/labels-2", *there]) == 0
    s3.put(bucket, "info", b"{}")
    assert main.run(["rm", f"s3://{bucket}", *there, "--all", "--yes"]) == 2
    assert "is a whole bucket" in capsys.readouterr().err
