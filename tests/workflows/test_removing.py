"""``rm``: what belongs to a dataset goes, wherever it is; nothing else does, and no reader sees a part of one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest

import precast
from buckets import forget_credentials
from precast.cli.main import run
from precast.errors import ObjectNotFoundError, UsageError
from precast.precomputed.collection import Collection, CollectionLayer
from precast.storage import Attributes, LocalStore, MemoryStore
from precast.workflows.publish import publish
from precast.workflows.removing import plan_remove, remove
from s3_server import S3Server
from volume_files import labels
from watched_store import Killed, Watched, view


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("made")
    for name, seed in (("a", 1), ("b", 2), ("c", 1)):
        options = precast.ConvertOptions(resolution="10,10,20", chunk_size="16", unsharded=name != "a")
        precast.convert(labels(seed), root / name, options)
    precast.mesh(root / "a", precast.MeshOptions())
    precast.mesh(root / "c", precast.MeshOptions(format="legacy"))
    return {name: root / name for name in "abc"}


def everything(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_a_directory(made: dict[str, Path], tmp_path: Path, name: str) -> None:
    data = tmp_path / "data"
    shutil.copytree(made[name], data / name)
    shutil.copytree(made["b"], data / f"{name}-beside")
    beside = everything(data / f"{name}-beside")
    count = len(everything(data / name))
    planned = plan_remove(data / name)
    assert (planned.objects, planned.datasets[0].others) == (count, 0)
    assert planned.bytes == sum(map(len, everything(data / name).values()))
    assert len(everything(data / name)) == count  # it was a plan
    assert remove(data / name).objects == count
    assert not (data / name).exists()
    assert everything(data / f"{name}-beside") == beside


def test_what_does_not_belong_stays_unless_all_is_said(made: dict[str, Path], tmp_path: Path) -> None:
    data = tmp_path / "data"
    others = {"notes.txt": b"1", "10_10_20/notes.txt": b"2", "more/info": b"{}"}
    for name in (data, tmp_path / "again"):
        shutil.copytree(made["a"], name)
        for key, text in others.items():
            (name / key).parent.mkdir(exist_ok=True)
            (name / key).write_bytes(text)
    done = remove(data)
    assert everything(data) == others
    assert done.datasets[0].others == 3
    assert remove(tmp_path / "again", everything=True).objects == done.objects + 3
    assert not (tmp_path / "again").exists()


def test_a_link_is_not_followed(made: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(made["a"], tmp_path / "data")
    shutil.move(tmp_path / "data" / "mesh", tmp_path / "elsewhere")
    (tmp_path / "data" / "mesh").symlink_to(tmp_path / "elsewhere")
    before = everything(tmp_path)
    with pytest.raises(UsageError, match="mesh is a link to"):
        remove(tmp_path / "data")
    assert everything(tmp_path) == before


def test_places_that_are_no_dataset(made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(made["a"], tmp_path / "data" / "a")
    for place in (tmp_path / "data", tmp_path / "nothing", MemoryStore()):
        with pytest.raises(ObjectNotFoundError):
            remove(place)
    with pytest.raises(UsageError, match="can only be read"):
        remove("https://127.0.0.1:9/x")
    monkeypatch.setenv("HOME", str(tmp_path / "data" / "a"))
    with pytest.raises(UsageError, match="--all is not for"):
        remove(tmp_path / "data" / "a", everything=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "data" / "a" / "mesh")
    with pytest.raises(UsageError, match="--all is not for"):
        remove(tmp_path / "data", everything=True)
    assert len(everything(tmp_path / "data" / "a")) == len(everything(made["a"]))


def test_unfinished_work_is_not_pulled_from_under_itself(made: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(made["a"], tmp_path / "a")
    (tmp_path / ".precast" / "a.mesh").mkdir(parents=True)
    (tmp_path / ".precast" / "a.mesh" / "ledger.json").write_text("{}")
    with pytest.raises(UsageError, match="going on, or was interrupted"):
        remove(tmp_path / "a")
    assert len(everything(tmp_path / "a")) == len(everything(made["a"]))


def published(made: dict[str, Path]) -> Watched:
    """Return a store with two generations of a dataset, and a neighbour."""
    store = Watched()
    for name in ("a", "b"):
        publish(made[name], store)
    store.write("elsewhere/info", b"{}", Attributes())
    return store.again()


def test_all_generations_go(made: dict[str, Path]) -> None:
    store = published(made)
    done = remove(store)
    assert list(store.contents()) == ["elsewhere/info"]
    assert done.datasets[0].examples == ("elsewhere/info",)
    with pytest.raises(ObjectNotFoundError):
        remove(store)


@pytest.mark.parametrize("form", ["published", "uploaded"])
def test_killed_at_every_operation(made: dict[str, Path], form: str) -> None:
    start = Watched()
    if form == "published":
        start = published(made)
    else:
        for stat in LocalStore(made["c"]).list():
            start.write(stat.key, (made["c"] / stat.key).read_bytes() if not stat.encoding else b"1", Attributes())
        start.write("elsewhere/info", b"{}", Attributes())
    undisturbed = start.again()
    remove(undisturbed, threads=1)
    whole, count = view(start), len(start.contents())
    for number in range(len(undisturbed.operations)):
        store = start.again()

        def read(store: Watched = store) -> None:
            if "info" in store.contents():
                assert view(store) == whole
                assert len(store.contents()) == count + 1  # and the list of what is being removed

        store.reader, store.end_at, store.after = read, number, number % 2 == 0
        with pytest.raises(Killed):
            remove(store, threads=1)
        store.end_at = None
        try:
            remove(store)
        except ObjectNotFoundError:
            assert number == len(undisturbed.operations) - 1
        assert list(store.contents()) == ["elsewhere/info"]


def test_a_collection(made: dict[str, Path], tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("a", "b"):
        shutil.copytree(made[name], data / name)
    shutil.copytree(made["c"], data / "not-listed")
    listed = Collection(layers=tuple(CollectionLayer(name=name, kind="segmentation") for name in "ab"))
    (data / "precast.json").write_bytes(listed.to_bytes())
    store = MemoryStore()
    publish(data, store)
    store.write("c/info", b"{}", Attributes())
    remove(store)
    assert [stat.key for stat in store.list()] == ["c/info"]
    kept = everything(data / "not-listed")
    done = remove(data)
    assert [one.name for one in done.datasets] == ["a", "b"]
    assert {path.name for path in data.iterdir()} == {"not-listed"}
    assert everything(data / "not-listed") == kept


def test_the_command_in_a_bucket(
    s3: S3Server, bucket: str, made: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    forget_credentials(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.keys.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.keys.secret_key)
    monkeypatch.setenv("AWS_REGION", s3.region)
    client = boto3.client("s3", endpoint_url=s3.endpoint)

    def keys() -> set[str]:
        return {one["Key"] for one in client.list_objects_v2(Bucket=bucket).get("Contents", [])}

    url, reached = f"s3://{bucket}/p/labels", ["--endpoint", s3.endpoint]
    np.save(tmp_path / "v.npy", labels(1))
    convert = ["convert", str(tmp_path / "v.npy"), url, "--resolution", "8", "--kind", "segmentation", *reached]
    monkeypatch.setenv("PRECAST_CACHE", str(tmp_path / "cache"))
    assert run(convert) == 0
    for key in ("p/labels-2/info", "p/label", "other"):
        client.put_object(Bucket=bucket, Key=key, Body=b"{}")
    before = keys()
    assert run(["rm", url, *reached]) == 2
    assert "give --yes" in capsys.readouterr().err
    assert run(["rm", url, "--dry-run", *reached]) == 0
    assert f"{len(before) - 3} objects" in capsys.readouterr().out
    assert keys() == before
    assert run(["rm", url, "--yes", *reached]) == 0
    assert "objects removed" in capsys.readouterr().err
    assert keys() == {"p/labels-2/info", "p/label", "other"}
    assert run(["rm", url, "--yes", *reached]) == 3
    assert run(["rm", f"s3://{bucket}", "--yes", "--all", *reached]) == 2
    assert keys() == {"p/labels-2/info", "p/label", "other"}


def test_the_question(made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    shutil.copytree(made["a"], tmp_path / "a")

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("click.confirm", lambda *_, **__: False)
    assert run(["rm", str(tmp_path / "a")]) == 0
    assert "nothing is removed" in capsys.readouterr().err
    assert len(everything(tmp_path / "a")) == len(everything(made["a"]))
    monkeypatch.setattr("click.confirm", lambda *_, **__: True)
    assert run(["rm", str(tmp_path / "a")]) == 0
    assert not (tmp_path / "a").exists()
