"""``build`` straight into buckets: what a directory would get, whatever happens on the way."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import numpy.typing as npt
import pytest

import azurite
import precast
from buckets import Place, forget_credentials
from google_server import BUCKET, google_server
from precast.cli.main import run
from precast.errors import AccessDeniedError, DestinationExistsError, UsageError
from precast.storage import Attributes, CloudStore, LocalStore, StoreOptions
from precast.workflows.publish import remove_former_generations, roll_back
from s3_server import Keys, S3Server
from watched_store import Killed, view

JSON, BINARY = "application/json", "application/octet-stream"
REWRITTEN, KEPT = "no-cache", "public, max-age=3600"


def labels() -> npt.NDArray[np.uint32]:
    data = np.zeros((20, 24, 32), np.uint32)
    data[2:11, 2:15, 3:15] = 7
    data[5:18, 10:22, 18:30] = 90000
    return data


@pytest.fixture
def sources(tmp_path: Path) -> tuple[Path, Path]:
    """Return two files: labels, and an image of the same size."""
    folder = tmp_path / "src"
    folder.mkdir()
    np.save(folder / "cells.npy", labels())
    np.save(folder / "em.npy", np.random.default_rng(0).integers(0, 255, (20, 24, 32), np.uint8))
    return folder / "cells.npy", folder / "em.npy"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where this machine keeps its state."""
    monkeypatch.setenv("PRECAST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def place(s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    forget_credentials(monkeypatch, tmp_path)
    sign_in(monkeypatch, s3, s3.keys)
    return Place(s3.endpoint, bucket, boto3.client("s3", endpoint_url=s3.endpoint, region_name=s3.region))


def sign_in(monkeypatch: pytest.MonkeyPatch, s3: S3Server, keys: Keys) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key)
    monkeypatch.setenv("AWS_REGION", s3.region)


CONNECTIONS: dict[Any, CloudStore] = {}
"""Finding credentials takes longer than most of what is done with them here."""


def at(place: Place, prefix: str) -> CloudStore:
    """Return what is below a prefix, by one connection for as long as the same credentials are in use."""
    used = place.endpoint, place.bucket, os.environ["AWS_ACCESS_KEY_ID"]
    if used not in CONNECTIONS:
        CONNECTIONS[used] = CloudStore(f"s3://{place.bucket}", StoreOptions(endpoint=place.endpoint))
    return CONNECTIONS[used].child(prefix)


def build(sources: tuple[Path, ...], destination: Path | CloudStore, **options: Any) -> precast.BuildSummary:
    given = precast.BuildOptions(**{"resolution": "16,16,20", **options})
    return precast.build(*sources, destination=destination, options=given)


def done(made: precast.BuildSummary) -> list[tuple[bool, bool]]:
    return [(layer.converted, layer.meshed) for layer in made.layers]


def names(store: CloudStore) -> list[str]:
    return [layer["name"] for layer in json.loads(store.read("precast.json"))["layers"]]


def rewrite(path: Path, data: npt.NDArray[Any]) -> None:
    """Write a file anew, of the same size but later."""
    np.save(path, data)
    later = path.stat().st_mtime + 10
    os.utime(path, (later, later))


@contextmanager
def writes(hook: Callable[[str], None], after: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Call a function before everything that is written to a bucket, or noted on this machine, and one after it."""
    with pytest.MonkeyPatch.context() as patch:
        for kind, name in (
            (CloudStore, "write"),
            (CloudStore, "write_file"),
            (CloudStore, "delete"),
            (LocalStore, "write"),
        ):
            real = getattr(kind, name)

            def one(self: Any, key: str, *more: Any, real: Any = real) -> Any:
                if isinstance(self, LocalStore) and self.root.name != "build":
                    return real(self, key, *more)
                where = f"{self.url}/{key}"
                hook(where)
                result = real(self, key, *more)
                after(where)
                return result

            patch.setattr(kind, name, one)
        yield


def forbidden(where: str) -> None:
    raise AssertionError(f"{where} is written")


# ---- the same objects


def headers_of(name: str, *, packed: bool) -> tuple[str, str, str]:
    """Return type, encoding and caching that viewers need, by the name of a file of this module's datasets."""
    whole = name.rpartition("/")[2] in ("info", "provenance", "precast.json")
    return (JSON, "", REWRITTEN) if whole else (BINARY, "gzip" if packed else "", KEPT)


@pytest.mark.parametrize("unsharded", [False, True])
def test_the_same_as_in_a_directory(
    sources: tuple[Path, Path], place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], unsharded: bool
) -> None:
    out, table = tmp_path / "out", tmp_path / "names.csv"
    table.write_text("id,label\n7,seven\n")
    build(sources, out, unsharded=unsharded, csv=table)
    files = {str(path.relative_to(out)): path for path in out.rglob("*") if path.is_file()}
    files = {name: path for name, path in files.items() if not name.startswith(".precast/")}
    assert any(name.endswith(".gz") for name in files) == unsharded

    arguments = ["build", *map(str, sources), place.url("p"), "--resolution", "16,16,20", "--endpoint", place.endpoint]
    assert run([*arguments, "--csv", str(table), *(["--unsharded"] if unsharded else [])]) == 0
    url, told = capsys.readouterr()
    there = {key.removeprefix("p/") for key in place.tags() if "/.published/" not in key}
    assert there == {name.removesuffix(".gz") for name in files}
    for name, path in files.items():
        key = f"p/{name.removesuffix('.gz')}"
        head, stored = place.head(key), place.bytes(key)
        assert stored == path.read_bytes(), name
        found = head["ContentType"], head.get("ContentEncoding", ""), head["CacheControl"]
        assert found == headers_of(name.removesuffix(".gz"), packed=name.endswith(".gz")), name

    # nothing there tells of this machine
    for key in place.tags():
        stored = place.bytes(key)
        data = gzip.decompress(stored) if place.head(key).get("ContentEncoding") == "gzip" else stored
        assert str(tmp_path).encode() not in data, key

    # what is told, and the link
    assert url == f"{precast.link(place.url('p'), store=StoreOptions(endpoint=place.endpoint)).url}\n"
    assert f"{place.endpoint}/{place.bucket}/p/em/" in url
    assert f"{place.url('p')}:\n  cells  segmentation, converted, 2 meshes\n  em     image, converted\n" in told
    assert "checked: nothing is wrong" in told
    for verb in ("view", "publish --public"):
        assert f"precast {verb} {place.url('p')} --endpoint {place.endpoint}\n" in told
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in url + told


def test_slices_in_a_bucket_too(sources: tuple[Path, Path], place: Place, tmp_path: Path) -> None:
    for path in sources:
        place.client.put_object(Bucket=place.bucket, Key=f"raw/{path.name}", Body=path.read_bytes())
    reached, options = StoreOptions(endpoint=place.endpoint), precast.BuildOptions(resolution="16,16,20")
    there = [place.url(f"raw/{path.name}") for path in sources]
    for _ in range(2):
        made = precast.build(*there, destination=place.url("p"), options=options, store=reached)
    assert done(made) == [(False, False)] * 2
    build(sources, tmp_path / "out")
    for name in ("cells", "em"):
        assert view(at(place, f"p/{name}")) == view(LocalStore(tmp_path / "out" / name))
    # and from a bucket to a directory
    precast.build(*there, destination=tmp_path / "from", options=options, store=reached)
    assert view(LocalStore(tmp_path / "from" / "cells")) == view(LocalStore(tmp_path / "out" / "cells"))


def test_what_is_there_already_is_kept(sources: tuple[Path, Path], place: Place, cache: Path) -> None:
    store = at(place, "p")
    build(sources, store)
    before = place.tags()
    assert not [key for key in before if ".precast" in key or "build.json" in key]
    assert [path for path in cache.rglob("*") if path.is_file()] == [next((cache / "build").iterdir())]
    with writes(forbidden):
        assert done(build(sources, store, memory="500MB", threads=1)) == [(False, False)] * 2
    assert place.tags() == before
    # the same server, named by the environment
    with pytest.MonkeyPatch.context() as patch, writes(forbidden):
        patch.setenv("AWS_ENDPOINT_URL", place.endpoint)
        made = precast.build(*sources, destination=place.url("p"), options=precast.BuildOptions(resolution="16,16,20"))
        assert done(made) == [(False, False)] * 2
    # other options for meshes, and a layer more
    with pytest.raises(DestinationExistsError, match="has meshes already"):
        build(sources, store, min_voxels=1500)
    made = build(sources, store, min_voxels=1500, overwrite=True)
    assert [(layer.converted, layer.meshed, layer.meshes) for layer in made.layers] == [
        (False, True, 1),
        (False, False, None),
    ]
    with writes(forbidden):
        build(sources, store, min_voxels=1500)


# ---- replacing


def test_what_has_changed_is_made_again_if_that_is_wanted(sources: tuple[Path, Path], place: Place) -> None:
    store, cells, changed = at(place, "p"), at(place, "p/cells"), labels()
    build(sources, store)
    theirs = {"name": "mine", "kind": "image"}
    place.client.copy_object(
        Bucket=place.bucket, Key="p/mine/info", CopySource={"Bucket": place.bucket, "Key": "p/em/info"}
    )
    listed = json.loads(store.read("precast.json"))
    listed["layers"] = [theirs, {**listed["layers"][0], "view": {"contrast": [5, 200]}}, *listed["layers"][1:]]
    store.write("precast.json", json.dumps(listed).encode(), Attributes(content_type=JSON))
    changed[5, 5, 5] = 8
    rewrite(sources[0], changed)
    old, before = view(cells), place.tags()
    with pytest.raises(DestinationExistsError, match="not made from these files") as caught:
        build(sources, store)
    assert "--overwrite" in (caught.value.hint or "")
    assert place.tags() == before

    seen: list[Any] = []
    with writes(lambda _: None, lambda _: seen.append((view(cells), names(store)))):
        made = build(sources, store, overwrite=True, no_mesh=True)
    assert done(made) == [(True, False), (False, False)]
    (told,) = [one for one in made.findings if one.code.startswith("PU")]
    former = [key for key in before if key.startswith("p/cells/") and key.count("/") == 3 and "/." not in key]
    former.remove("p/cells/mesh/info")  # of which each generation has its own
    assert (told.code, told.where) == ("PU103", at(place, "p/cells").url)
    assert told.message.startswith(f"{len(former)} objects of former generations")
    new = view(cells)
    assert [one for one, _ in seen if one not in (old, new)] == []
    assert seen[0][0] == old
    assert {tuple(found) for _, found in seen} == {("mine", "em", "cells")}
    assert (precast.open(cells).scales[0][...] == changed).all()
    assert json.loads(store.read("precast.json")) == listed, "layers and hints of others stay"

    # the way back; and what readers were led back to is not replaced unasked
    roll_back(cells)
    assert view(cells) == old
    with pytest.raises(DestinationExistsError, match="not made from these files"):
        build(sources, store, no_mesh=True)
    assert view(cells) == old


def test_a_place_with_something_else(sources: tuple[Path, Path], place: Place) -> None:
    store = at(place, "p")
    store.write("em/notes.txt", b"mine", Attributes())
    for overwrite in (False, True):
        with pytest.raises(DestinationExistsError, match=r"holds notes\.txt"):
            build(sources[1:], store, overwrite=overwrite)
    build(sources[:1], store)
    before = place.tags()
    with pytest.raises(DestinationExistsError, match="cells is a dataset, and build makes a directory"):
        build(sources, at(place, "p/cells"))
    with pytest.raises(DestinationExistsError, match="not made from these files"):
        build(sources[:1], store, resolution="8")
    assert place.tags() == before


# ---- ends


def listed_is_there(place: Place, prefix: str) -> None:
    """See that everything that the list of the datasets names is there."""
    if f"{prefix}/precast.json" in place.tags():
        for name in names(at(place, prefix)):
            assert view(at(place, f"{prefix}/{name}"))


@pytest.mark.parametrize("before", [False, True])
def test_killed_at_every_write(sources: tuple[Path, Path], place: Place, cache: Path, before: bool) -> None:
    """Also before and after what is noted on this machine, the last of which says that all is done."""
    first, changed = labels(), labels()
    changed[5, 5, 5] = 8
    source = sources[:1]

    def begin(prefix: str) -> CloudStore:
        """Have the old dataset there, or nothing, and something to make."""
        shutil.rmtree(cache, ignore_errors=True)
        if before:
            np.save(sources[0], first)
            os.utime(sources[0], (1, 1))
            build(source, at(place, prefix))
        np.save(sources[0], changed)
        os.utime(sources[0], (2, 2))
        return at(place, prefix)

    def seen(prefix: str) -> Any:
        return seen_by_readers(at(place, f"{prefix}/cells"))

    def objects(prefix: str) -> int:
        """Return how many there are when former generations are gone."""
        remove_former_generations(at(place, prefix))
        return len([key for key in place.tags() if key.startswith(f"{prefix}/")])

    passed: list[str] = []
    undisturbed = begin("whole")
    allowed = [seen("whole")]
    with writes(passed.append, lambda _: allowed.append(seen("whole"))):
        build(source, undisturbed, overwrite=before)
    wanted, count = seen("whole"), objects("whole")
    whole = [one for number, one in enumerate(allowed) if one not in allowed[:number]]
    assert len(whole) == 3  # nothing or the old one, the new one without meshes, and with them
    here = [number for number, where in enumerate(passed) if where.startswith(str(cache))]
    assert len(here) == 4
    others = () if before else range(0, len(passed), 12)
    for moment in sorted({*here, *(number + 1 for number in here), *others}):
        prefix, hook = f"k{moment}", Ending(moment)
        store = begin(prefix)
        with writes(hook), hook.ends():
            build(source, store, overwrite=before)
        assert seen(prefix) in whole, moment
        listed_is_there(place, prefix)
        build(source, store, overwrite=before)
        assert seen(prefix) == wanted, moment
        assert objects(prefix) == count, moment
    with writes(forbidden):
        assert done(build(source, store)) == [(False, False)]


class Ending:
    """The end of a process before it writes the object of a number; what other threads do then comes to nothing too."""

    def __init__(self, moment: int) -> None:
        self.moment = moment
        self.passed = 0
        self.lock = threading.Lock()

    def __call__(self, where: str) -> None:
        with self.lock:
            if self.passed >= self.moment:
                raise Killed
            self.passed += 1

    @contextmanager
    def ends(self) -> Iterator[None]:
        with suppress(Killed):
            yield
        assert self.passed == self.moment


def seen_by_readers(store: Any) -> dict[str, Any] | None:
    """Return what readers see, but for the way from meshes to properties."""
    found = view(store)
    if found is not None and "mesh/info" in found:
        value = json.loads(found["mesh/info"])
        link = json.loads(store.read("info"))["mesh"]
        assert store.read(os.path.normpath(f"{link}/{value.pop('segment_properties')}/info"))
        found["mesh/info"] = value
    return found


KILLED = """
import sys, precast
from precast.storage import StoreOptions
print("begun", flush=True)
precast.build(*sys.argv[3:], destination=sys.argv[1], store=StoreOptions(endpoint=sys.argv[2]),
              options=precast.BuildOptions(resolution="16,16,20"))
print("done", flush=True)
"""


def test_processes_killed_at_random_moments(sources: tuple[Path, Path], place: Place, tmp_path: Path) -> None:
    seeded, kills = random.Random(5), 0
    arguments = [sys.executable, "-c", KILLED, place.url("k"), place.endpoint, *map(str, sources)]
    for _ in range(6):
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            process.wait(seeded.uniform(0.1, 0.7))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            kills += 1
        _, errors = process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0), errors
        assert os.environ["AWS_SECRET_ACCESS_KEY"] not in errors
        listed_is_there(place, "k")
    assert kills
    store = at(place, "k")
    assert build(sources, store).ok
    build(sources, tmp_path / "out")
    for name in ("cells", "em"):
        wanted = seen_by_readers(LocalStore(tmp_path / "out" / name))
        assert seen_by_readers(at(place, f"k/{name}")) == wanted


def test_the_state_on_this_machine_is_lost(sources: tuple[Path, Path], place: Place, cache: Path) -> None:
    store, hook = at(place, "p"), Ending(5)
    with writes(hook), hook.ends():
        build(sources, store)
    shutil.rmtree(cache)
    assert build(sources, store).ok
    ledger = next((cache / "build").iterdir())
    known = ledger.read_bytes()
    before, seen = place.tags(), seen_by_readers(at(place, "p/cells"))
    for lost in (ledger.unlink, lambda: ledger.write_bytes(known[:-5])):
        lost()
        with pytest.raises(DestinationExistsError) as caught:
            build(sources, store)
        assert f"{ledger} does not say what it was made from" in caught.value.message
        for words in ("bring that file here", "precast check --against", "--overwrite"):
            assert words in caught.value.hint
        assert place.tags() == before
    # another machine that was given the file
    ledger.write_bytes(known)
    with writes(forbidden):
        assert done(build(sources, store)) == [(False, False)] * 2
    # made again, the old one stays until it is removed
    ledger.unlink()
    assert done(build(sources, store, overwrite=True)) == [(True, True), (True, False)]
    assert seen_by_readers(at(place, "p/cells")) == seen
    assert set(before) <= set(place.tags())
    roll_back(at(place, "p/em"))


# ---- two machines


def test_two_machines_build_different_datasets(
    sources: tuple[Path, Path], place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one begins and ends while the first one is at work."""
    store = at(place, "p")
    other: list[str] = []

    def hook(where: str) -> None:
        if not other:
            other.append(where)
            monkeypatch.setenv("PRECAST_CACHE", str(tmp_path / "other"))
            build(sources[1:], store)
            monkeypatch.setenv("PRECAST_CACHE", str(tmp_path / "cache"))

    with writes(hook):
        build(sources[:1], store)
    assert other
    assert names(store) == ["em", "cells"]
    # on one machine they share a ledger
    monkeypatch.setenv("PRECAST_CACHE", str(tmp_path / "third"))
    third, other = at(place, "third"), []

    def hook_of_third(where: str) -> None:
        if not other and where.endswith("info"):
            other.append(where)
            build(sources[1:], third)

    with writes(hook_of_third):
        build(sources[:1], third)
    with writes(forbidden):
        assert done(build(sources, third)) == [(False, False)] * 2


def test_two_machines_build_the_same_dataset(
    sources: tuple[Path, Path], place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one begins and ends while the first one is at work."""

    def meanwhile(store: CloudStore, source: Path) -> Callable[[str], None]:
        other: list[str] = []

        def hook(where: str) -> None:
            if not other and where.endswith("em/.published/index.json"):
                other.append(where)
                monkeypatch.setenv("PRECAST_CACHE", str(tmp_path / "other"))
                build((source,), store)
                monkeypatch.setenv("PRECAST_CACHE", str(tmp_path / "cache"))

        return hook

    # of the same files: it is told, and found to be the same
    store, em = at(place, "p"), sources[1]
    written = pytest.raises(DestinationExistsError, match="written by another process")
    with written as caught, writes(lambda _: None, meanwhile(store, em)):
        build((em,), store)
    assert caught.value.hint == "run the same command again"
    before = view(at(place, "p/em"))
    assert build((em,), store).ok
    assert view(at(place, "p/em")) == before
    with writes(forbidden):
        assert done(build((em,), store)) == [(False, False)]

    # of others, of the same name and size, one is refused and says so, also later
    (tmp_path / "theirs").mkdir()
    theirs = tmp_path / "theirs" / "em.npy"
    np.save(theirs, ~np.load(em))
    store = at(place, "q")
    with (
        pytest.raises(DestinationExistsError, match="written by another process"),
        writes(lambda _: None, meanwhile(store, theirs)),
    ):
        build((em,), store)
    for _ in range(2):
        with pytest.raises(DestinationExistsError, match="not made from these files"):
            build((em,), store)
        assert (precast.open(at(place, "q/em")).scales[0][...] == np.load(theirs)).all()
    assert build((em,), store, overwrite=True).ok
    assert (precast.open(at(place, "q/em")).scales[0][...] == np.load(em)).all()


# ---- refusals


def everything(place: Place, keys: Keys, *actions: str) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Principal": {"AWS": keys.access_key},
        "Action": list(actions) or "s3:*",
        "Resource": [f"arn:aws:s3:::{place.bucket}", f"arn:aws:s3:::{place.bucket}/*"],
    }


def test_rights_are_taken_away_half_way(
    sources: tuple[Path, Path], s3: S3Server, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = s3.new_user()
    s3.allow(place.bucket, everything(place, keys))
    build(sources, at(place, "whole"))
    sign_in(monkeypatch, s3, keys)
    store, passed = at(place, "p"), 0

    def hook(where: str) -> None:
        nonlocal passed
        passed += where.startswith("s3://")
        if passed == 9:
            s3.allow(place.bucket, everything(place, keys, "s3:GetObject", "s3:ListBucket"))

    with pytest.raises(AccessDeniedError, match="writing is refused") as caught, writes(hook):
        build(sources, store)
    assert "s3:PutObject" in str(caught.value.hint)
    assert keys.secret_key not in f"{caught.value} {caught.value.hint}"
    listed_is_there(place, "p")
    s3.allow(place.bucket, everything(place, keys))
    assert build(sources, store).ok
    for name in ("cells", "em"):
        assert view(at(place, f"p/{name}")) == view(at(place, f"whole/{name}"))


def test_what_is_refused(
    sources: tuple[Path, Path],
    s3: S3Server,
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    reader = s3.new_user()
    s3.allow(place.bucket, everything(place, reader, "s3:GetObject", "s3:ListBucket"))
    end = ["--resolution", "8", "--endpoint", place.endpoint]

    def refused(destination: str, *more: str, code: int = 3) -> str:
        assert run(["build", *map(str, sources), destination, *end, *more]) == code
        out, told = capsys.readouterr()
        assert out == ""
        assert "\nhint: " in told
        assert "Traceback" not in told
        for secret in (s3.secret_key, reader.secret_key):
            assert secret not in told
        return told

    assert "error: there is no bucket s3://there-is-none" in refused("s3://there-is-none/p")
    assert "secret key does not belong" in _as(monkeypatch, s3, Keys("owner", "wrong"), lambda: refused(place.url("p")))
    assert "s3:PutObject" in _as(monkeypatch, s3, reader, lambda: refused(place.url("p")))
    assert "without credentials" in refused(place.url("p"), "--anonymous")
    assert "--port is of precast view" in refused(place.url("p"), "--port", "9001", code=2)
    assert "is in no bucket, for which alone --endpoint" in refused(str(tmp_path / "out"), code=2)
    assert place.tags() == {}
    assert not (tmp_path / "out").exists()
    assert run(["build", str(sources[0]), "https://127.0.0.1:9/p", "--resolution", "8"]) == 2
    assert "can only be read\nhint: write to a directory, or to the bucket" in capsys.readouterr().err
    with pytest.raises(UsageError, match="has no directories"):
        build(sources, precast.storage.MemoryStore())  # type: ignore[arg-type]


def _as(monkeypatch: pytest.MonkeyPatch, s3: S3Server, keys: Keys, work: Callable[[], str]) -> str:
    sign_in(monkeypatch, s3, keys)
    try:
        return work()
    finally:
        sign_in(monkeypatch, s3, s3.keys)


# ---- who can see it


def test_where_everybody_can_read_it(
    sources: tuple[Path, Path], place: Place, s3: S3Server, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["build", *map(str, sources), place.url("p"), "--resolution", "8", "--endpoint", place.endpoint]
    assert run([*arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    assert (result["public"], result["destination"]) == (None, place.url("p"))
    place.open_to_browsers("p")
    assert run(arguments) == 0
    url, told = capsys.readouterr()
    assert "error PC" not in told  # this server's refusals lack a header, which is a warning
    assert "checked as viewers meet it: 1 warning\n" in told
    assert "Everybody can see it by this link:" in told
    assert url == f"{result['url']}\n"
    # readable, but not by pages
    place.client.delete_bucket_cors(Bucket=place.bucket)
    assert run([*arguments, "--quiet"]) == 1
    assert run(arguments) == 1
    told = capsys.readouterr().err
    assert "Everybody can read it, but not viewers." in told
    assert f"publish --public {place.url('p')} --endpoint {place.endpoint}\n" in told
    assert run([*arguments, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["result"]["public"] == f"{place.endpoint}/{place.bucket}/p"
    assert document["result"]["check"]["ok"]
    assert not document["ok"]
    assert {one["code"] for one in document["findings"] if one["severity"] == "error"} == {"PC910", "PC911"}


def test_made_public_where_it_is(
    sources: tuple[Path, Path], place: Place, s3: S3Server, capsys: pytest.CaptureFixture[str]
) -> None:
    build(sources, at(place, "p"))
    build(sources[:1], at(place, "other"))
    build(sources, at(place, "p"), resolution="8", overwrite=True)
    end = ["--endpoint", place.endpoint]

    def publish(*arguments: str, code: int = 0) -> Any:
        assert run(["publish", *arguments, *end]) == code
        return capsys.readouterr()

    for wrong, words in (
        (["--public", "--reshard", "--yes"], "there is no source here, which --reshard is about"),
        (["--public", "--from-region", "x", "--yes"], "which --from-… is about"),
        (["--public"], "--public asks before it changes the bucket, and nobody can answer"),
        ([], "a source and a destination are needed, got 1"),
    ):
        assert words in publish(place.url("p"), *wrong, code=2)[1]
    assert "no dataset at" in publish(place.url("nothing"), "--public", "--yes", code=3)[1]
    before = place.tags()
    plan = publish(place.url("p"), "--public", "--delete", "--dry-run")
    assert "PrecastPublicRead" in plan.err
    assert "cells: generations" in plan.out
    assert place.tags() == before
    assert s3.anonymously("GET", f"/{place.bucket}/p/precast.json").status == 403

    out, told = publish(place.url("p"), "--public", "--yes")
    assert "checked as viewers meet it" in told
    assert out.startswith("https://neuroglancer-demo.appspot.com/#!")
    assert f"{place.endpoint}/{place.bucket}/p/cells/" in out
    assert place.tags() == before
    for key in ("precast.json", "cells/info", "em/info"):
        assert s3.anonymously("GET", f"/{place.bucket}/p/{key}", {"Origin": "https://x.org"}).status == 200
    assert s3.anonymously("GET", f"/{place.bucket}/other/cells/info").status == 403
    assert s3.secret_key not in out + told

    # what was replaced goes, and not more
    seen = {name: view(at(place, f"p/{name}")) for name in ("cells", "em")}
    document = json.loads(publish(place.url("p"), "--delete", "--yes", "--json").out)
    assert {one["name"] for one in document["result"]["removed"]} == {"cells", "em"}
    assert document["result"]["url"] == f"{place.endpoint}/{place.bucket}/p"
    assert {name: view(at(place, f"p/{name}")) for name in seen} == seen
    gone = before.keys() - place.tags().keys()
    assert gone
    assert {key.split("/")[2] for key in gone} <= {"16_16_20", "32_32_20", "mesh", "segment_properties", ".published"}
    with pytest.raises(UsageError, match="no former generation") as caught:
        roll_back(at(place, "p"))
    assert f"precast publish --rollback {place.url('p/cells')}" in caught.value.hint


# ---- other stores


def twice(sources: tuple[Path, Path], url: str, out: Path) -> None:
    """Build twice into a bucket, and see that readers find what a directory has."""
    for expected in ([(True, True), (True, False)], [(False, False)] * 2):
        made = precast.build(*sources, destination=url, options=precast.BuildOptions(resolution="16,16,20"))
        assert done(made) == expected
        assert made.ok
    build(sources, out)
    for name in ("cells", "em"):
        assert view(precast.open_store(f"{url}/{name}")) == view(LocalStore(out / name))


def test_google(sources: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_credentials(monkeypatch, tmp_path)
    with google_server() as google:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", google.url)
        twice(sources, f"gs://{BUCKET}/p", tmp_path / "out")
        assert run(["publish", "--public", f"gs://{BUCKET}/p", "--yes"]) == 0
        url = f"{google.url}/{BUCKET}/p/precast.json"
        assert json.loads(urllib.request.urlopen(url, timeout=10).read())["layers"][0]["name"] == "em"
        for name, headers in (("cells/info", (JSON, REWRITTEN)), ("cells/label_table.npy", (BINARY, KEPT))):
            found = google.objects[f"p/{name}"][1]
            assert (found["Content-Type"], found["Cache-Control"]) == headers


def test_azure(sources: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_credentials(monkeypatch, tmp_path)
    with azurite.azurite(tmp_path) as address:
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", azurite.ACCOUNT)
        monkeypatch.setenv("AZURE_STORAGE_KEY", azurite.KEY)
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", address)
        twice(sources, f"az://{azurite.new_container(address)}/p", tmp_path / "out")
