"""``convert``, ``mesh`` and ``properties`` straight into stores: the same objects as on a disk, whatever happens."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import precast
from buckets import Place, forget_credentials
from precast.errors import AccessDeniedError, DestinationExistsError, StorageError, UsageError
from precast.execution import sending
from precast.precomputed.objects import kind_of
from precast.storage import Attributes, CloudStore, LocalStore, MemoryStore, StoreOptions
from precast.workflows.publish import publish, remove_former_generations, roll_back
from s3_server import Keys, S3Server
from volume_files import labels
from watched_store import Killed, Watched, view

SHARDED = precast.ConvertOptions(resolution="10,10,20", chunk_size="16")
SINGLE = precast.ConvertOptions(resolution="10,10,20", chunk_size="16", unsharded=True)
FINE = precast.MeshOptions(max_error="5nm")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where state is kept, which no test may leave anything in."""
    monkeypatch.setenv("PRECAST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return datasets on a disk: sharded, with meshes; the same of other voxels; and in single chunks."""
    root = tmp_path_factory.mktemp("made")
    for name, seed, options in (("a", 1, SHARDED), ("b", 2, SHARDED), ("single", 1, SINGLE)):
        precast.convert(labels(seed), root / name, options)
    shutil.copytree(root / "a", root / "meshed")
    precast.mesh(root / "meshed", FINE)
    return {path.name: path for path in root.iterdir()}


def replacing(options: precast.ConvertOptions) -> precast.ConvertOptions:
    return precast.ConvertOptions(**{**options.__dict__, "overwrite": True})


def objects(store: Any) -> dict[str, bytes]:
    """Return what is there but for what publications write about themselves."""
    return {stat.key: store.read(stat.key) for stat in store.list() if not stat.key.startswith(".")}


def left(cache: Path) -> list[str]:
    return [str(path) for path in cache.rglob("*")]


# ---- the same objects


@pytest.mark.parametrize(("name", "options"), [("a", SHARDED), ("single", SINGLE)])
def test_conversion(made: dict[str, Path], cache: Path, name: str, options: precast.ConvertOptions) -> None:
    store = MemoryStore()
    done = precast.convert(labels(1), store, options)
    wanted = LocalStore(made[name])
    assert objects(store) == objects(wanted)
    assert [scale.objects for scale in done.scales] == [
        len(list(wanted.list(f"{scale.key}/"))) for scale in done.scales
    ]
    for key in objects(store):
        rule, how = kind_of(key).rule, store.attributes(key)
        assert (how.content_type, how.cache_control) == (rule.content_type, rule.cache_control())
        assert how.encoding == wanted.stat(key).encoding
    assert not left(cache)


def test_meshes(made: dict[str, Path], cache: Path) -> None:
    store = MemoryStore()
    precast.convert(labels(1), store, SHARDED)
    done = precast.mesh(store, FINE)
    assert done.objects > 1
    assert done.files == len(list(LocalStore(made["meshed"]).list("mesh/")))
    assert objects(store) == objects(LocalStore(made["meshed"]))
    assert not left(cache)
    with pytest.raises(DestinationExistsError, match="has meshes already"):
        precast.mesh(store, FINE)


def test_publishing_the_same_afterwards_sends_nothing(made: dict[str, Path]) -> None:
    store = MemoryStore()
    precast.convert(labels(1), store, SHARDED)
    precast.mesh(store, FINE)
    before = objects(store)
    done = publish(made["meshed"], store).datasets[0]
    assert (done.sent_objects, done.new, done.changed, done.removed) == (0, 0, 0, 0)
    assert objects(store) == before


def test_parts_of_what_was_published_become_a_generation(made: dict[str, Path], tmp_path: Path) -> None:
    for store in (MemoryStore(), LocalStore(tmp_path / "www")):
        publish(made["meshed"], store)
        old = view(store)
        precast.mesh(store, precast.MeshOptions(max_error="40nm", overwrite=True))
        new = view(store)
        assert old is not None
        assert new is not None
        assert {key for key in old if old[key] != new[key]} >= {"mesh/0.shard"}
        assert all(new[key] == old[key] for key in old if key.startswith("scale"))
        table = tmp_path / "names.csv"
        table.write_text("id,name\n1,one\n")
        precast.properties(store, precast.PropertiesOptions(csv=table, overwrite=True))
        newest = view(store)
        assert newest is not None
        assert newest["mesh/0.shard"] == new["mesh/0.shard"]
        assert b"one" in newest["segment_properties/info"]
        # the info of the meshes leads to the new ones too
        place = json.loads(store.read("info"))["mesh"]
        link = json.loads(store.read(f"{place}/info"))["segment_properties"]
        assert store.read(os.path.normpath(f"{place}/{link}/info")) == newest["segment_properties/info"]
        roll_back(store)
        assert view(store) == new
        roll_back(store)
        remove_former_generations(store)
        assert view(store) == newest
        assert publish(made["meshed"], store).datasets[0].state == "changed"
        assert view(store) == old


def test_meshes_of_what_others_uploaded(made: dict[str, Path]) -> None:
    """The dataset has no record of its generations; nothing of it is touched but the info and its provenance."""
    store = MemoryStore()
    local = LocalStore(made["a"])
    for key, data in objects(local).items():
        store.write(key, data, Attributes())
    before = objects(store)
    precast.mesh(store, FINE)
    assert {key: data for key, data in objects(store).items() if objects(LocalStore(made["meshed"]))[key] != data} == {}
    roll_back(store)
    assert store.read("info") == before["info"]
    assert store.read("provenance") == before["provenance"]


# ---- replacing


def test_a_dataset_is_replaced_whole_and_can_be_gone_back_to(made: dict[str, Path], cache: Path) -> None:
    store = Watched()
    precast.convert(labels(1), store, SHARDED)
    old, new = view(LocalStore(made["a"])), view(LocalStore(made["b"]))
    with pytest.raises(DestinationExistsError, match="exists already"):
        precast.convert(labels(2), store, SHARDED)
    seen = []

    def read() -> None:
        seen.append(view(store))
        assert seen[-1] in (old, new)

    store.reader = read
    precast.convert(labels(2), store, replacing(SHARDED))
    assert seen[0] == old
    assert view(store) == new
    assert all(
        store.attributes(stat.key).cache_control == "public, max-age=31536000, immutable" for stat in store.list("gen-")
    )
    roll_back(store)
    assert view(store) == old
    precast.convert(labels(2), store, replacing(SHARDED))  # the same work again, after a roll-back
    assert view(store) == new
    roll_back(store)
    assert view(store) == old
    assert not left(cache)


def test_other_objects_are_left_alone() -> None:
    store = MemoryStore()
    store.write("somebody/else", b"1", Attributes())
    with pytest.raises(DestinationExistsError, match="holds somebody/else"):
        precast.convert(labels(1), store, replacing(SHARDED))
    assert objects(store) == {"somebody/else": b"1"}


def test_addresses_that_can_only_be_read() -> None:
    with pytest.raises(UsageError, match="can only be read"):
        precast.convert(labels(1), "https://127.0.0.1:9/x", SHARDED)
    with pytest.raises(UsageError, match="can only be read"):
        precast.mesh("https://127.0.0.1:9/x")


# ---- ends


def into(store: Any, work: str) -> None:
    if work == "mesh":
        precast.mesh(store, precast.MeshOptions(max_error="5nm", overwrite=True))
    elif work == "properties":
        precast.properties(store, precast.PropertiesOptions(min_voxels=3, overwrite=True))
    else:
        precast.convert(labels(1), store, replacing(SINGLE if work == "single" else SHARDED))


CASES = [
    (None, "sharded"),
    (None, "single"),
    ("b", "sharded"),
    ("a", "mesh"),
    ("meshed", "mesh"),
    ("meshed", "properties"),
]


def seen_by_readers(store: Any) -> dict[str, Any] | None:
    """Return what readers see, but for the way from meshes to properties: the old ones are all there for a while."""
    found = view(store)
    if found is not None and "mesh/info" in found:
        value = json.loads(found["mesh/info"])
        place = json.loads(store.read("info"))["mesh"]
        assert store.read(os.path.normpath(f"{place}/{value.pop('segment_properties')}/info"))
        found["mesh/info"] = value
    return found


@pytest.mark.parametrize(("before", "work"), CASES)
def test_killed_at_every_operation(made: dict[str, Path], cache: Path, before: str | None, work: str) -> None:
    start = Watched()
    if before:
        publish(made[before], start)
        start = start.again()
    undisturbed = start.again()
    into(undisturbed, work)
    old, new = seen_by_readers(start), seen_by_readers(undisturbed)
    count = len(undisturbed.operations)
    remove_former_generations(undisturbed)
    assert count > 5
    moments = range(count) if count < 30 else sorted({*range(8), *range(8, count - 12, 7), *range(count - 12, count)})
    for number in moments:
        store = start.again()
        mixtures: list[Any] = []
        lock = threading.Lock()

        def read(store: Watched = store, mixtures: list[Any] = mixtures, lock: Any = lock) -> None:
            with lock:
                if seen_by_readers(store) not in (old, new):
                    mixtures.append(store.operations[-1])

        store.reader, store.end_at, store.after = read, number, number % 2 == 0
        with pytest.raises(Killed):
            into(store, work)
        store.end_at = None
        into(store, work)
        assert not mixtures
        assert seen_by_readers(store) == new, f"ended at {number}"
        assert not left(cache)
        remove_former_generations(store)
        assert seen_by_readers(store) == new
        assert len(objects(store)) == len(objects(undisturbed)), "something that belongs to nothing is left"


def test_what_was_sent_is_not_sent_again(cache: Path) -> None:
    undisturbed, store = Watched(), Watched()
    precast.convert(labels(1), undisturbed, SHARDED)
    shards = [key for what, key in undisturbed.operations if what == "write" and key.endswith(".shard")]
    store.end_at, store.after = [key for _, key in undisturbed.operations].index(shards[-1]), True
    with pytest.raises(Killed):
        precast.convert(labels(1), store, SHARDED)
    sent = {key for _, key in store.operations if key.endswith(".shard")}
    assert sent
    store.end_at = None
    number = len(store.operations)
    precast.convert(labels(1), store, SHARDED)
    again = {key for _, key in store.operations[number:] if key.endswith(".shard")}
    assert len(again & sent) <= sending.FILES_AT_ONCE  # of those the list of what was sent had no line yet
    assert objects(store) == objects(undisturbed)


def test_the_state_on_this_machine_is_lost(made: dict[str, Path], cache: Path) -> None:
    for before in (None, "b"):
        store = Watched()
        if before:
            publish(made[before], store)
            store = store.again()
        store.end_at = 6
        with pytest.raises(Killed):
            into(store, "sharded")
        shutil.rmtree(cache)
        store.end_at = None
        into(store, "sharded")
        assert view(store) == view(LocalStore(made["a"]))
        remove_former_generations(store)
        assert len(objects(store)) == len(view(store) or ()) - 1 + 3  # info, provenance, label table


def test_other_unfinished_work_is_refused_and_dropped_when_asked(made: dict[str, Path]) -> None:
    store = Watched()
    store.end_at = 5
    with pytest.raises(Killed):
        precast.convert(labels(2), store, SINGLE)
    store.end_at = None
    with pytest.raises(DestinationExistsError, match="begun with something else"):
        precast.convert(labels(1), store, SHARDED)
    precast.convert(labels(1), store, replacing(SHARDED))
    assert view(store) == view(LocalStore(made["a"]))
    remove_former_generations(store)
    assert len(objects(store)) == len(objects(LocalStore(made["a"])))


def test_what_was_begun_is_no_obstacle_to_publishing(made: dict[str, Path]) -> None:
    store = Watched()
    store.end_at = 9
    with pytest.raises(Killed):
        precast.convert(labels(2), store, SINGLE)
    assert objects(store)
    store.end_at = None
    publish(made["a"], store)
    assert view(store) == view(LocalStore(made["a"]))
    assert len(objects(store)) == len(objects(LocalStore(made["a"])))


FULL = """
import os, pickle, resource, signal, sys, numpy, precast
from precast.storage import LocalStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
class Far(LocalStore): ...  # is on a disk without limits, but not for what is done with stores elsewhere
import precast.execution.work as work
work.LocalStore = type("Never", (), {})
try:
    precast.convert(numpy.load(sys.argv[1]), Far(sys.argv[2]), precast.ConvertOptions(resolution=8, chunk_size="32"))
except precast.errors.PrecastError as error:
    print(type(error).__name__, error)
    sys.exit(3)
"""


def test_the_disk_for_scratch_files_is_full(tmp_path: Path, cache: Path) -> None:
    """A limit of the size of files stands for it: the system refuses to write on."""
    voxels = np.random.default_rng(0).integers(1, 1 << 30, (40, 64, 64)).astype(np.uint32)
    np.save(tmp_path / "labels.npy", voxels)
    out = tmp_path / "far"
    arguments = [sys.executable, "-c", FULL, str(tmp_path / "labels.npy"), str(out)]
    ended = subprocess.run([*arguments, "20000"], capture_output=True, text=True, check=False)
    assert ended.returncode == 3, ended.stderr
    assert "StorageError writing" in ended.stdout
    assert view(LocalStore(out)) is None
    assert left(cache)
    done = subprocess.run([*arguments, str(1 << 30)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(precast.open(out).scales[0][:], voxels)
    assert not left(cache)


def test_what_was_begun_can_be_removed() -> None:
    store = Watched()
    store.end_at = 9
    with pytest.raises(Killed):
        precast.convert(labels(2), store, SINGLE)
    assert objects(store)
    store.end_at = None
    store.write("elsewhere/info", b"{}", Attributes())
    assert precast.rm(store).left == ("elsewhere/info",)
    assert list(store.contents()) == ["elsewhere/info"]


class Losing(MemoryStore):
    """Keeps less of a shard than it was sent."""

    def write(self, key: str, data: bytes, attributes: Attributes) -> None:
        super().write(key, data[:-1] if key.endswith(".shard") else data, attributes)


def test_what_a_store_did_not_keep_is_found_before_readers_see_it(cache: Path) -> None:
    store = Losing()
    for _ in range(2):
        with pytest.raises(StorageError, match="not as they were sent"):
            precast.convert(labels(1), store, SHARDED)
        assert view(store) is None
    store.__class__ = MemoryStore  # type: ignore[assignment]
    precast.convert(labels(1), store, SHARDED)
    assert np.array_equal(precast.open(store).scales[0][:], labels(1))
    assert not left(cache)


class Slow(MemoryStore):
    """Keeps nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()

    def write_file(self, key: str, path: Path, attributes: Attributes) -> None:
        self.open.wait(60)
        super().write_file(key, path, attributes)


def test_files_that_wait_take_no_more_than_their_share_of_the_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sending, "OUTBOX_BYTES", 250)
    store = Slow()
    growing = sending.SendingStore(store, tmp_path, lambda key: key)
    most = 0

    def write() -> None:
        for number in range(8):
            part = tmp_path / "part"
            part.write_bytes(bytes(100))
            growing.write_file(f"s/{number}", part, Attributes())

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(20):
        most = max(most, growing.waiting_bytes)
        writer.join(0.01)
    assert writer.is_alive()
    assert most == 200
    store.open.set()
    writer.join()
    growing.drain(lambda _: None)
    growing.close()
    assert len(list(store.list())) == 8
    assert not list((tmp_path / "outbox").iterdir())


# ---- a real server


@pytest.fixture
def place(s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    forget_credentials(monkeypatch, tmp_path)
    sign_in(monkeypatch, s3.keys, s3.region)
    import boto3

    client = boto3.client("s3", endpoint_url=s3.endpoint, region_name=s3.region)
    return Place(s3.endpoint, bucket, client)


def sign_in(monkeypatch: pytest.MonkeyPatch, keys: Keys, region: str) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key)
    monkeypatch.setenv("AWS_REGION", region)


def test_straight_to_a_bucket(made: dict[str, Path], place: Place, cache: Path, capsys: Any) -> None:
    from precast.cli.main import run

    np.save(cache.parent / "labels.npy", labels(1))
    reached = ["--endpoint", place.endpoint]
    convert = ["convert", str(cache.parent / "labels.npy"), place.url("p/a"), "--resolution", "10,10,20"]
    assert run([*convert, "--chunk-size", "16", *reached]) == 0
    assert run(["mesh", place.url("p/a"), "--max-error", "5nm", *reached]) == 0
    assert run(["check", place.url("p/a"), *reached]) == 0
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in "".join(capsys.readouterr())
    wanted = objects(LocalStore(made["meshed"]))
    for key, data in wanted.items():
        if key != "provenance":  # which names the source
            assert place.bytes(f"p/a/{key}") == data
        head = place.head(f"p/a/{key}")
        rule = kind_of(key).rule
        assert (head["ContentType"], head.get("ContentEncoding", "")) == (rule.content_type, "")
    assert not left(cache)


KILLED = """
import sys, numpy, precast
from precast.storage import StoreOptions
store = precast.open_store(sys.argv[1], StoreOptions(endpoint=sys.argv[2]))
print("begun", flush=True)
precast.convert(numpy.load(sys.argv[3]), store, precast.ConvertOptions(
    resolution="10,10,20", chunk_size="16", unsharded=sys.argv[4] == "single"))
precast.mesh(store, precast.MeshOptions(max_error="5nm"))
"""


@pytest.mark.parametrize("form", ["sharded", "single"])
def test_processes_killed_at_random_moments(
    made: dict[str, Path], place: Place, tmp_path: Path, cache: Path, form: str
) -> None:
    np.save(tmp_path / "labels.npy", labels(1))
    seeded, kills = random.Random(form), 0
    arguments = [sys.executable, "-c", KILLED, place.url("k"), place.endpoint, str(tmp_path / "labels.npy"), form]
    for _ in range(6):
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            process.wait(seeded.uniform(0.02, 0.5))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            kills += 1
        _, errors = process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0, 1), errors
        if process.returncode == 1:  # the conversion was through already
            assert "exists already" in errors or "has meshes already" in errors, errors
    assert kills
    store = CloudStore(place.url("k"), StoreOptions(endpoint=place.endpoint))
    options = SINGLE if form == "single" else SHARDED
    try:
        precast.convert(np.load(tmp_path / "labels.npy"), store, options)
    except DestinationExistsError:
        assert view(store) is not None
    precast.mesh(store, precast.MeshOptions(max_error="5nm", overwrite=True))
    got, wanted = view(store), view(LocalStore(made["meshed"]))
    assert got is not None
    assert wanted is not None
    assert np.array_equal(precast.open(store).scales[0][:], labels(1))
    assert got["mesh/0.shard"] == wanted["mesh/0.shard"]


def test_permissions_are_taken_away_half_way(
    made: dict[str, Path], s3: S3Server, place: Place, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    keys = s3.new_user()
    everything = {
        "Effect": "Allow",
        "Principal": {"AWS": keys.access_key},
        "Action": "s3:*",
        "Resource": [f"arn:aws:s3:::{place.bucket}", f"arn:aws:s3:::{place.bucket}/*"],
    }
    s3.allow(place.bucket, everything)
    sign_in(monkeypatch, keys, s3.region)
    real, written = CloudStore.write, []

    def write(self: CloudStore, key: str, data: bytes, attributes: Attributes) -> None:
        written.append(key)
        if len(written) == 5:
            s3.allow(place.bucket, {**everything, "Action": ["s3:GetObject", "s3:ListBucket"]})
        real(self, key, data, attributes)

    monkeypatch.setattr(CloudStore, "write", write)
    store = CloudStore(place.url("r"), StoreOptions(endpoint=place.endpoint))
    with pytest.raises(AccessDeniedError, match="writing is refused") as caught:
        precast.convert(labels(1), store, SINGLE)
    assert "s3:PutObject" in str(caught.value.hint)
    assert keys.secret_key not in f"{caught.value} {caught.value.hint}"
    assert view(store) is None
    s3.allow(place.bucket, everything)
    precast.convert(labels(1), store, SINGLE)
    assert objects(store) == objects(LocalStore(made["single"]))
    assert not left(cache)
