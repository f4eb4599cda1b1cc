"""What goes wrong on the way to a bucket: the end is complete or refused, and what readers see is whole all the time.

The server is a strict one, reached through a proxy that does harm; what is there is looked at by Amazon's own client,
past the proxy.
"""

from __future__ import annotations

import errno
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fault_proxy
from buckets import Place, place_on, sign_in
from fault_proxy import FaultProxy, Plan, Request
from precast.errors import AccessDeniedError, StorageError
from precast.storage import CloudStore, StoreOptions, cloud
from precast.storage.cloud_clients import Connection
from precast.workflows.publish import PublishOptions, publish
from s3_server import S3Server

PART = 5 << 20
"""The least that the server takes."""

SHARD = 2 * PART + 1000
MINUTES, FOREVER = "public, max-age=3600", "public, max-age=31536000, immutable"

Seen = dict[str, tuple[bytes, str, str | None]]
"""By its place in the dataset: what is stored, its type, its encoding."""


# ---- datasets, and what a reader sees


def make(root: Path, seed: int) -> Path:
    """Write an image with a scale in chunks and one in a shard that is sent in parts; by hand."""
    rng = np.random.default_rng(seed)
    scale: dict[str, Any] = {"voxel_offset": [0, 0, 0], "encoding": "raw"}
    fine = {**scale, "key": "8", "size": [48, 32, 32], "resolution": [8, 8, 8], "chunk_sizes": [[16, 16, 32]]}
    coarse = {**scale, "key": "16", "size": [24, 16, 16], "resolution": [16, 16, 16], "chunk_sizes": [[64, 64, 64]]}
    coarse["sharding"] = {
        "@type": "neuroglancer_uint64_sharded_v1",
        "preshift_bits": 0,
        "hash": "identity",
        "minishard_bits": 0,
        "shard_bits": 0,
    }
    info = {"@type": "neuroglancer_multiscale_volume", "type": "image", "data_type": "uint8", "num_channels": 1}
    for name in ("8", "16"):
        (root / name).mkdir(parents=True)
    (root / "info").write_text(json.dumps({**info, "scales": [fine, coarse], "seed": seed}))
    for x in range(0, 48, 16):
        for y in range(0, 32, 16):
            data = gzip.compress(rng.bytes(2048), mtime=0)
            (root / "8" / f"{x}-{x + 16}_{y}-{y + 16}_0-32.gz").write_bytes(data)
    (root / "16" / "0.shard").write_bytes(rng.bytes(SHARD))
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("made")
    return make(root / "old", 1), make(root / "new", 2)


def of_files(folder: Path) -> Seen:
    """Return what readers of a published directory have to see."""
    seen: Seen = {"info": ((folder / "info").read_bytes(), "application/json", None)}
    for path in folder.glob("*/*"):
        key = path.relative_to(folder).as_posix()
        encoding = "gzip" if path.suffix == ".gz" else None
        seen[key.removesuffix(".gz")] = (path.read_bytes(), "application/octet-stream", encoding)
    return seen


def view(place: Place) -> Seen | None:
    """Return what the info at ``p`` leads to, as it is stored; the info with the names that it has in the source."""
    try:
        text = place.bytes("p/info")
    except place.client.exceptions.NoSuchKey:
        return None
    info = json.loads(text)
    seen: Seen = {}
    for scale in info["scales"]:
        name = scale["key"].rpartition("/")[2]
        listed = place.client.list_objects_v2(Bucket=place.bucket, Prefix=f"p/{scale['key']}/")
        for entry in listed.get("Contents", ()):
            answer = place.client.get_object(Bucket=place.bucket, Key=entry["Key"])
            assert answer["CacheControl"] == (FOREVER if "/gen-" in entry["Key"] else MINUTES)
            told = (answer["Body"].read(), answer["ContentType"], answer.get("ContentEncoding"))
            seen[f"{name}/{entry['Key'].rpartition('/')[2]}"] = told
        scale["key"] = name
    seen["info"] = (json.dumps(info).encode(), place.head("p/info")["ContentType"], None)
    return seen


@pytest.fixture(autouse=True)
def signed(s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sign_in(monkeypatch, tmp_path, s3)
    monkeypatch.setattr(cloud, "PART_BYTES", PART)


@pytest.fixture
def place(s3: S3Server) -> Place:
    return place_on(s3)


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy.running(s3.port, seed=3) as proxy:
        yield proxy
        # the server ends connections on which parts come that it no longer wants: uploads that were given up or denied
        proxy.troubles[:] = [text for text in proxy.troubles if "ConnectionResetError" not in text]


def through(proxy: FaultProxy, place: Place, **patience: Any) -> CloudStore:
    return CloudStore(place.url("p"), StoreOptions(endpoint=proxy.url), Connection(**patience))


def publish_to_its_end(source: Path, proxy: FaultProxy, place: Place, seen: list[Seen | None], **patience: Any) -> int:
    """Publish until it is complete; return how often it was refused."""
    for refusals in range(20):
        try:
            publish(source, through(proxy, place, **patience), PublishOptions(threads=8))
        except StorageError as error:
            refused = error
        else:
            return refusals
        assert refused.hint, refused
        assert view(place) in seen
    pytest.fail("it does not come to its end")


# ---- faults of servers and connections

SOME: dict[str, tuple[Plan, dict[str, Any]]] = {
    "errors": (Plan(error_500=0.1, slow_down=0.1), {}),
    "connections": (Plan(cut_answer=0.1, cut_upload=0.1, lost_answer=0.05, slow=0.1, pause_s=0.01), {}),
    "silent": (Plan(stall=0.04), {"timeout_s": 0.5}),
    "error in 200": (Plan(error_in_200=0.7, only=lambda request: request.completes_upload), {}),
    # so that errors come through, and not only pauses
    "impatient": (Plan(error_500=0.03, cut_upload=0.04), {"retries": 0}),
}


@pytest.mark.parametrize("name", SOME)
def test_faults_on_the_way(name: str, made: tuple[Path, Path], s3: S3Server, proxy: FaultProxy) -> None:
    old, new = (of_files(one) for one in made)
    plan, patience = SOME[name]
    wanted = [kind for kind, share in plan.shares().items() if share]
    refusals = rounds = 0
    while any(proxy.counts[kind] < 2 for kind in wanted) or (name == "impatient" and not refusals):
        place = place_on(s3)
        proxy.use(plan)
        refusals += publish_to_its_end(made[0], proxy, place, [None, old], **patience)
        assert view(place) == old
        refusals += publish_to_its_end(made[1], proxy, place, [old, new], **patience)
        assert view(place) == new
        proxy.use(Plan())
        assert publish(made[1], through(proxy, place)).datasets[0].sent_objects == 0
        rounds += 1
        assert rounds < 10, proxy.counts


def test_permissions_that_are_taken_away_on_the_way(
    made: tuple[Path, Path], place: Place, s3: S3Server, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (of_files(one) for one in made)
    user = s3.new_user()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", user.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", user.secret_key)
    objects, bucket = f"arn:aws:s3:::{place.bucket}/p/*", f"arn:aws:s3:::{place.bucket}"
    actions = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"]

    def allow(*names: str) -> None:
        who = {"Effect": "Allow", "Principal": {"AWS": [user.access_key]}}
        s3.allow(
            place.bucket,
            *({**who, "Action": [n], "Resource": [bucket if n == "s3:ListBucket" else objects]} for n in names),
        )

    allow(*actions)
    publish(made[0], through(proxy, place))
    for lost, number in (("s3:PutObject", 3), ("s3:PutObject", 10), ("s3:GetObject", 8), ("s3:ListBucket", 4)):
        left = iter(range(number, -1, -1))

        def one(_: Request, left: Iterator[int] = left, lost: str = lost) -> bool:
            if next(left, 1) == 0:
                allow(*(name for name in actions if name != lost))
            return False

        proxy.use(Plan(only=one))
        with pytest.raises(AccessDeniedError) as refused:
            publish(made[1], through(proxy, place), PublishOptions(threads=4))
        assert lost in refused.value.hint
        assert view(place) == old
        allow(*actions)
    proxy.use(Plan())
    assert publish(made[1], through(proxy, place)).datasets[0].objects == 7
    assert view(place) == new


def test_objects_that_a_server_says_it_has(made: tuple[Path, Path], place: Place, proxy: FaultProxy) -> None:
    """All is answered with 200, but what is kept is shorter, or has lost its headers, or is gone."""
    old, new = (of_files(one) for one in made)
    publish(made[0], place.store("p"))

    def harm(key: str, how: str) -> None:
        if how == "gone":
            place.client.delete_object(Bucket=place.bucket, Key=key)
            return
        data = place.bytes(key)
        told = {} if how == "headers" else {"ContentEncoding": "gzip", "CacheControl": FOREVER}
        place.client.put_object(Bucket=place.bucket, Key=key, Body=data[:-5] if how == "short" else data, **told)

    for how, text in (("short", "bytes, not"), ("headers", "has the headers"), ("gone", "is not there")):
        harmed: list[str] = []

        def one(request: Request, how: str = how, harmed: list[str] = harmed) -> bool:
            """Do it when all is sent: what follows is the listing that is to find it."""
            listed = request.method == "GET" and "list-type" in request.query
            sent = [key for key in place.tags() if key.startswith("p/gen-") and "_" in key] if listed else []
            if len(sent) == 6 and not harmed:
                harmed.append(sent[3])
                harm(sent[3], how)
            return False

        proxy.use(Plan(only=one))
        with pytest.raises(StorageError, match="are not as they were sent") as refused:
            publish(made[1], through(proxy, place))
        assert text in str(refused.value)
        assert harmed[0].removeprefix("p/") in str(refused.value)
        assert "run the same command again" in refused.value.hint
        assert view(place) == old
        if how != "gone":
            proxy.use(Plan())
            place.client.delete_object(Bucket=place.bucket, Key=harmed[0])
    proxy.use(Plan())
    publish(made[1], through(proxy, place))
    assert view(place) == new


# ---- disks that are full


def test_no_room_for_scratch_files(made: tuple[Path, Path], place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkdtemp", full)
        with pytest.raises(StorageError, match="No space left") as refused:
            publish(made[0], place.store("p"))
    assert refused.value.hint
    assert view(place) is None
    publish(made[0], place.store("p"))
    assert view(place) == of_files(made[0])


FULL = """
import resource, signal, sys
from precast.errors import StorageError
from precast.workflows.publish import publish
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    publish(sys.argv[1], sys.argv[2])
except StorageError as error:
    print(error, "|", error.hint)
"""


def test_a_destination_that_takes_no_more(made: tuple[Path, Path], tmp_path: Path) -> None:
    """A limit of the system stands for the full disk: writing fails in the middle of the shard."""
    www = tmp_path / "www"
    publish(made[0], www)
    before = {path: path.read_bytes() for path in www.rglob("*") if path.is_file() and ".published" not in path.parts}
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(made[1]), str(www), str(PART)], capture_output=True, text=True, check=False
    )
    assert "File too large" in done.stdout, done
    assert done.stdout.partition(" | ")[2].strip()
    assert before.items() <= {path: path.read_bytes() for path in www.rglob("*") if path.is_file()}.items()
    assert not list((www / ".published").glob(".parts-*"))
    publish(made[1], www)
    info = json.loads((www / "info").read_text())
    assert (www / info["scales"][1]["key"] / "0.shard").read_bytes() == (made[1] / "16" / "0.shard").read_bytes()


# ---- processes that are killed

SPAWNER = """
import os, sys
import boto3, obstore.auth.boto3, obstore.exceptions, obstore.store
import precast.cli.publish  # all is loaded once: each process that is killed begins with it
from precast.cli import main
from precast.storage import cloud

cloud.PART_BYTES = 5 << 20
log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for line in sys.stdin:
    child = os.fork()
    if not child:
        os.dup2(log, 1)
        os.dup2(log, 2)
        os._exit(main.run(line.split()))
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Processes:
    """Runs ``precast`` in processes that begin at once, because all is loaded in the one that they come from."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.running: int | None = None
        """The process that runs now."""

    def run(self, *arguments: str) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(arguments) + "\n")
        self.process.stdin.flush()
        self.running = int(self.process.stdout.readline())
        code = int(self.process.stdout.readline())
        self.running = None
        return code

    def kill(self) -> None:
        if self.running is not None:
            with suppress(ProcessLookupError):  # it may have come to its end this very moment
                os.kill(self.running, signal.SIGKILL)


@contextmanager
def processes(log: Path, **environment: str) -> Iterator[Processes]:
    process = subprocess.Popen(
        [sys.executable, "-c", SPAWNER, str(log)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        yield Processes(process)
    finally:
        process.kill()
        process.wait()


KILLS = 50


def test_killed_at_random_moments(made: tuple[Path, Path], s3: S3Server, proxy: FaultProxy, tmp_path: Path) -> None:
    """At requests that are spread over the whole run, and a moment after them; nothing of it may hold a secret."""
    old, new = (of_files(one) for one in made)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    seeded = random.Random(11)
    kills = 0
    struck: list[Request] = []
    kept: list[bytes] = []
    with processes(tmp_path / "log", TMPDIR=str(scratch), AWS_ENDPOINT_URL=proxy.url) as started:
        while kills < KILLS:
            place = place_on(s3)
            for source, before, after in ((made[0], None, old), (made[1], old, new)):
                low = 1
                while low:
                    number = seeded.randint(low, low + 12)
                    low = number if number < 36 else 1
                    moment = iter(range(number, -1, -1))

                    def one(
                        request: Request, moment: Iterator[int] = moment, wait: float = seeded.random() / 50
                    ) -> bool:
                        if next(moment, 1) == 0:
                            struck.append(request)
                            threading.Timer(wait, started.kill).start()
                        return False

                    proxy.use(Plan(only=one))
                    code = started.run("publish", str(source), place.url("p"), "--quiet", "--threads", "4")
                    assert code in (0, -signal.SIGKILL)
                    kills += code != 0
                    assert view(place) == (after if code == 0 else before) or view(place) == after
                    if code == 0:
                        low = 0
            kept += [place.bytes(key) for key in place.tags() if "/.published/" in key]
    assert {"PUT", "POST", "HEAD", "GET"} <= {request.method for request in struck}
    assert any("uploadId" in request.query for request in struck)
    said = (tmp_path / "log").read_bytes() + b"".join(kept)
    said += b"".join(gzip.decompress(data) for data in kept if data.startswith(b"\x1f\x8b"))
    for path in scratch.rglob("*"):
        said += path.name.encode() + (path.read_bytes() if path.is_file() and not path.is_symlink() else b"")
    assert kept
    assert s3.secret_key.encode() not in said
