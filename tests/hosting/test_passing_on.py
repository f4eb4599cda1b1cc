"""Datasets that are passed on from a store, beside the native server's answers for the same files."""

from __future__ import annotations

import gzip
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from imagecodecs import brotli_encode

import precast
from precast.errors import AccessDeniedError, PrecastError, StorageError
from precast.hosting import stored
from precast.hosting.stored import MOST_ANSWERS, PIECE_BYTES, SLICE_BYTES, Room, StoredDatasets
from precast.storage import Attributes, Store
from precast.storage.base import ObjectStat, StoredBytes
from precast.storage.cloud_errors import NotNowError
from precast.storage.encodings import bare_name
from precast.storage.memory import MemoryStore
from raw_http import Answer, Connection, ask

LABELS = np.random.default_rng(1).integers(0, 256, 700_001, np.uint8).tobytes()
FILES = {
    "info": b'{"@type": "neuroglancer_multiscale_volume"}',
    "provenance": b"{}",
    "label_table.npy": b"\x93NUMPY",
    "8_8_8/0.shard": LABELS,
    "8_8_8/0-64_0-64_0-64.gz": gzip.compress(LABELS),
    "8_8_8/64-128_0-64_0-64.br": bytes(brotli_encode(LABELS[:1000])),
    "8_8_8/one": b"x",
    "8_8_8/empty": b"",
    "8_8_8/.hidden": b"hidden",
    "mesh/info": b'{"@type":"neuroglancer_multilod_draco"}',
    "mesh/5": LABELS[:1000],
    "mesh/5.index": b"manifest",
    "mesh/6.gz": gzip.compress(b"fragments that somebody gzipped"),
    "mesh/7.shard.gz": gzip.compress(b"a shard that somebody gzipped"),
    "legacy/5:0": b'{"fragments": ["5:0:a"]}',
    "legacy/5:0:a.gz": gzip.compress(b"fragment"),
    "skeletons/info.gz": gzip.compress(b'{"@type":"neuroglancer_skeletons"}'),
    "skeletons/9.gz": gzip.compress(b"skeleton"),
}
KEYS = sorted(name.removesuffix(".gz").removesuffix(".br") for name in FILES)


class Bucket(MemoryStore):
    """A store whose every reading can be watched, held up and made to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[str, int | None, int | None]] = []
        self.before: Callable[[str, int], None] = lambda key, start: None
        self.version = "1"

    def read_stored(self, key: str, start: int | None = None, stop: int | None = None) -> StoredBytes:
        self.reads.append((key, start, stop))
        self.before(key, start or 0)
        got = super().read_stored(key, start, stop)
        return StoredBytes(got.data, got.encoding, self.version, got.size)

    def stat(self, key: str) -> ObjectStat:
        self.before(key, -1)
        got = super().stat(key)
        return ObjectStat(key=key, size=got.size, encoding=got.encoding, etag=self.version)


def filled() -> Bucket:
    """Return a store with the files as objects."""
    store = Bucket()
    for name, data in FILES.items():
        key, encoding = bare_name(name)
        store.write(key, data, Attributes(encoding=encoding))
    return store


open_now: list[tuple[Connection, Connection]] = []


def put(root: Path) -> Path:
    for name, data in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def handler(
    store: Store,
    *layers: str,
    listed: bool = False,
    cache: bool = True,
    room: Room | None = None,
    tell: Callable[[PrecastError], None] = lambda _: None,
) -> StoredDatasets:
    return StoredDatasets(store, layers, listed=listed, cache=cache, room=room or Room(), tell=tell)


@pytest.fixture(scope="module", autouse=True)
def _both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Serve the same files twice: natively as ``d``, and as a store as ``s``."""
    root = put(tmp_path_factory.mktemp("stored") / "d")
    with precast.serve(root, precast.ServeOptions(port=0)) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored, "WHOLE_BYTES", SLICE_BYTES)  # so that what is here is sent in both ways
        server.mount("s", handler(filled()))
        with Connection(server.port) as one, Connection(server.port) as other:
            open_now.append((one, other))
            yield
            open_now.pop()


def comparable(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """Return all of an answer but its time, the tag's text and the boundary of parts, which are anybody's choice."""
    headers = {name: value for name, value in answer.headers.items() if name != "date"}
    body = answer.body
    if "etag" in headers:
        headers["etag"] = re.sub(r"^\"([^-\"]+-[^-\"]+-[^-\"]+|1)", "TAG", headers["etag"])
    if found := re.search(r"boundary=(.*)", headers.get("content-type", "")):
        # both boundaries are as long as the other
        body = body.replace(found[1].encode(), b"BOUNDARY")
        headers["content-type"] = headers["content-type"].replace(found[1], "BOUNDARY")
    return answer.status, headers, body


def both(method: str, key: str, **headers: str) -> tuple[Answer, Answer]:
    """Ask both for the same; ``TAG`` in headers is each one's entity tag of the object."""
    answers = []
    for connection, name in zip(open_now[0], "ds", strict=True):
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        if any("TAG" in value for value in named.values()):
            accepted = {"Accept-Encoding": named["Accept-Encoding"]} if "Accept-Encoding" in named else {}
            if "Range" in named:
                accepted = {}
            etag = connection.ask("HEAD", f"/{name}/{key}", accepted).headers["etag"]
            named = {key: value.replace("TAG", etag) for key, value in named.items()}
        answers.append(connection.ask(method, f"/{name}/{key}", named))
    return answers[0], answers[1]


def check(method: str, key: str, **headers: str) -> Answer:
    native, passed_on = both(method, key, **headers)
    assert comparable(passed_on) == comparable(native)
    return passed_on


ENCODINGS = ["", "gzip", "br", "gzip, deflate, br", "gzip;q=0, *", "x-gzip", "*;q=0", "identity", "gzip;q=x;q=0.0"]
RANGES = [
    "bytes=0-0",
    "bytes=2-9",
    "bytes=-3",
    "bytes=5-",
    "bytes=999999-",
    "bytes=-0",
    "bytes=1-2,4-4",
    "lines=1-2",
    "x",
]
CONDITIONS = ["*", "TAG", "W/TAG", '"x", TAG', '"x"', "", "x"]


@pytest.mark.parametrize("key", KEYS)
def test_every_kind_of_object_is_answered_as_from_a_disk(key: str) -> None:
    for method in ("GET", "HEAD"):
        for accepted in ENCODINGS:
            check(method, key, Accept_Encoding=accepted)
        for wanted in RANGES:
            check(method, key, Range=wanted, Accept_Encoding="gzip")
    if key != "8_8_8/.hidden":
        assert check("GET", key, Accept_Encoding="gzip").status == 200
        for value in CONDITIONS:
            check("GET", key, If_None_Match=value, Accept_Encoding="gzip")
            check("GET", key, If_Match=value)
            check("GET", key, If_Range=value, Range="bytes=0-0")
    for method in ("OPTIONS", "POST", "DELETE", "PUT"):
        check(method, key, Origin="https://viewer.example.org")


def test_the_comparison_sees_differences() -> None:
    native, _ = both("GET", "8_8_8/0.shard")
    _, other = both("GET", "8_8_8/one")
    assert comparable(native) != comparable(other)
    assert comparable(both("GET", "mesh/5")[0]) != comparable(both("HEAD", "mesh/5")[1])


@pytest.mark.parametrize(
    "key",
    [
        "",
        "8_8_8",
        "8_8_8/",
        "8_8_8/absent",
        "info/",
        "/info",
        "../d/info",
        "%2e%2e/info",
        "8_8_8//one",
        "8_8_8/one/x",
        "8_8_8/0-64_0-64_0-64.gz",
        "8_8_8/64-128_0-64_0-64.br",
        "8_8_8/one%00",
        "8_8_8/%zz",
        "8_8_8/one?x=/../y",
        "mesh/8",
    ],
)
def test_what_is_not_there_is_not_there(key: str) -> None:
    for method in ("GET", "HEAD"):
        answer = check(method, key)
        assert answer.status == (200 if "?" in key else 404)
        assert answer.origins == "*"


NUMBERS = st.one_of(st.integers(0, 12), st.sampled_from([999, 1000, 262_144, 700_000, 700_001, 2**64, 10**30])).map(str)
SPECS = st.one_of(
    st.builds("{}-{}".format, NUMBERS, NUMBERS), st.builds("{}-".format, NUMBERS), st.builds("-{}".format, NUMBERS)
)
SETS = st.lists(st.builds("{}{}".format, st.sampled_from(["", " ", "\t"]), SPECS | st.just("")), min_size=1, max_size=4)
UNITS = st.sampled_from(["bytes", "bytes", "Bytes", " bytes ", "lines", "b tes", ""])
ANYTHING = st.text(st.sampled_from("bytes=-,;0123456789 \t+.xé"), max_size=20)
OBJECTS = st.sampled_from(["8_8_8/0.shard", "8_8_8/0-64_0-64_0-64", "8_8_8/one", "8_8_8/empty", "mesh/5"])


@given(OBJECTS, st.builds("{}={}".format, UNITS, SETS.map(",".join)) | ANYTHING)
@example("8_8_8/0.shard", "bytes=" + ",".join(f"{k * 10}-{k * 10 + 4}" for k in range(65)))
@example("8_8_8/0.shard", "bytes=0-,0-,0-")
@example("8_8_8/0.shard", f"bytes=0-{SLICE_BYTES}")
def test_any_range(key: str, value: str) -> None:
    if value := value.strip(" \t"):  # what a header's value may not begin or end with
        check("GET", key, Range=value)


@given(
    st.sampled_from(["Accept-Encoding", "If-Match", "If-None-Match", "If-Range"]),
    st.lists(st.sampled_from(['"', "TAG", "W/", ",", " ", "*", "gzip", "br", ";", "q=", "0", ".5", "x"]), max_size=8),
)
def test_any_condition(name: str, pieces: list[str]) -> None:
    value = "".join(pieces).strip(" \t")
    more = {"Range": "bytes=1-2"} if name == "If-Range" else {}
    check("GET", "8_8_8/0-64_0-64_0-64", **{name.replace("-", "_"): value, **more})


def test_several_lines_of_range_are_refused() -> None:
    connection = open_now[0][1]
    connection.socket.sendall(
        b"GET /s/mesh/5 HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-1\r\nRange: bytes=4-5\r\n\r\n"
    )
    assert connection.receive().status == 416


# ---- stores that are slow, that fail, that change


@pytest.fixture
def bucket() -> Bucket:
    store = Bucket()
    store.write("info", b"{}", Attributes())
    store.write("s/0.shard", b"".join(bytes([k]) * PIECE_BYTES for k in range(3)) + b"end", Attributes())
    return store


@pytest.fixture
def mounted(tmp_path: Path) -> Callable[..., AbstractContextManager[int]]:
    @contextmanager
    def one(store: Store, *layers: str, **options: object) -> Iterator[int]:
        with precast.serve(put(tmp_path / "d"), precast.ServeOptions(port=0)) as server:
            server.mount("s", handler(store, *layers, **options))  # type: ignore[arg-type]
            yield server.port

    return one


Mounted = Callable[..., AbstractContextManager[int]]


def test_large_objects_are_read_and_sent_piece_by_piece(bucket: Bucket, mounted: Mounted) -> None:
    data = bucket.read("s/0.shard")
    with mounted(bucket) as port:
        answer = ask(port, "GET", "/s/s/0.shard")
        assert answer.headers["content-length"] == str(len(data))
        assert answer.body == data
        part = ask(port, "GET", "/s/s/0.shard", {"Range": f"bytes=5-{2 * PIECE_BYTES}"})
        assert (part.status, part.body) == (206, data[5 : 2 * PIECE_BYTES + 1])
    assert len(bucket.reads) > 5
    for _, start, stop in bucket.reads:
        assert start is not None
        assert stop is not None
        assert stop - start <= PIECE_BYTES


def test_what_viewers_ask_for_is_one_request_to_the_store(bucket: Bucket, mounted: Mounted) -> None:
    bucket.write("s/chunk", b"chunk", Attributes(encoding="gzip"))
    heads: list[str] = []
    bucket.before = lambda key, start: heads.append(key) if start < 0 else None
    with mounted(bucket) as port:
        for _ in range(3):
            ask(port, "GET", "/s/s/0.shard", {"Range": "bytes=7-99"})
            assert ask(port, "GET", "/s/s/chunk", {"Accept-Encoding": "gzip"}).body == b"chunk"
    assert bucket.reads == [("s/0.shard", 7, 100), ("s/chunk", 0, PIECE_BYTES)] * 3
    assert heads == ["info"]  # is it complete


def test_there_is_a_limit_to_what_is_in_memory(bucket: Bucket, mounted: Mounted) -> None:
    """Clients that wait for the store, and such as take nothing, are not more at a time than there is room for."""
    go, full, lock = threading.Event(), threading.Event(), threading.Lock()
    inside = [0, 0]  # now, and at most

    def wait(key: str, start: int) -> None:
        if key != "s/0.shard":
            return
        with lock:
            inside[0] += 1
            inside[1] = max(inside)
            if inside[0] == MOST_ANSWERS:
                full.set()
        assert go.wait(60)
        with lock:
            inside[0] -= 1

    bucket.before = wait
    with mounted(bucket) as port:
        connections = [Connection(port) for _ in range(2 * MOST_ANSWERS)]
        for connection in connections:
            connection.send("GET", "/s/s/0.shard", {"Range": "bytes=0-9"})
        assert full.wait(60)
        assert ask(port, "GET", "/d/info").status == 200  # files are served as ever
        go.set()
        assert {connection.receive().body for connection in connections} == {bytes(10)}
        assert inside == [0, MOST_ANSWERS]
        for connection in connections:
            connection.socket.close()


def test_clients_that_go_away_make_room(bucket: Bucket, mounted: Mounted) -> None:
    with mounted(bucket, room=Room(2)) as port:
        for _ in range(10):
            connection = Connection(port)
            connection.send("GET", "/s/s/0.shard")
            assert connection.socket.recv(100)
            connection.socket.close()
        assert ask(port, "GET", "/s/s/0.shard", {"Range": "bytes=0-0"}).status == 206


def test_an_object_that_is_replaced_is_never_a_mixture(
    bucket: Bucket, mounted: Mounted, capfd: pytest.CaptureFixture[str]
) -> None:
    old, new = bucket.read("s/0.shard"), bytes([9]) * (3 * PIECE_BYTES + 3)
    told: list[PrecastError] = []

    def replace_at(wanted: int) -> None:
        def replace(key: str, start: int) -> None:
            if (key, start) == ("s/0.shard", wanted):
                bucket.version = "2"
                bucket.write("s/0.shard", new, Attributes())

        bucket.version = "1"
        bucket.write("s/0.shard", old, Attributes())
        bucket.before = replace

    with mounted(bucket, tell=told.append) as port:
        replace_at(PIECE_BYTES)  # half-way: the client sees that it ends too early
        with pytest.raises((EOFError, ConnectionResetError)):
            ask(port, "GET", "/s/s/0.shard")
        assert ["was replaced while it was read" in error.message for error in told] == [True]
        replace_at(0)  # before anything is sent: the new one
        assert ask(port, "GET", "/s/s/0.shard", {"If-Match": '"1"'}).status == 412
        replace_at(0)
        assert ask(port, "GET", "/s/s/0.shard", {"If-None-Match": '"0"'}).body == new
    assert capfd.readouterr().err == ""


def test_an_object_that_never_stays_the_same_is_to_be_asked_for_later(bucket: Bucket, mounted: Mounted) -> None:
    def replace(key: str, start: int) -> None:
        bucket.version = str(int(bucket.version) + 1)

    bucket.before = replace
    with mounted(bucket) as port:
        answer = ask(port, "GET", "/s/s/0.shard", {"If-None-Match": '"0"'})
    assert (answer.status, answer.origins) == (503, "*")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AccessDeniedError("s3://b/x: reading is refused", hint="the credentials need s3:GetObject"), 502),
        (StorageError("there is no bucket s3://b"), 502),
        (NotNowError("s3://b is busy", hint="try again later"), 503),
    ],
)
def test_errors_of_the_store_are_never_missing_data(
    bucket: Bucket, mounted: Mounted, error: PrecastError, status: int
) -> None:
    def fail(key: str, start: int) -> None:
        if key != "info":
            raise error

    told: list[PrecastError] = []
    with mounted(bucket, tell=told.append) as port:
        assert ask(port, "GET", "/s/info").status == 200
        bucket.before = fail
        for method, headers in (("GET", {}), ("GET", {"Range": "bytes=0-1"}), ("HEAD", {})):
            for key in ("s/0.shard", "s/absent"):
                answer = ask(port, method, f"/s/{key}", headers)
                assert (answer.status, answer.origins) == (status, "*")
                assert answer.headers["cache-control"] == "no-store"
                assert answer.headers["content-type"] == "text/plain; charset=utf-8"
                if method == "GET":
                    assert error.message in answer.body.decode()
                    assert error.hint in answer.body.decode()
        assert told == [error] * 6
        bucket.before = lambda key, start: None
        assert ask(port, "GET", "/s/s/absent").status == 404
        assert ask(port, "GET", "/s/s/0.shard", {"Range": "bytes=0-0"}).status == 206


def test_the_info_decides_and_not_being_told_is_no_no(bucket: Bucket, mounted: Mounted, monkeypatch) -> None:
    def refuse(key: str, start: int) -> None:
        if key == "info":
            raise AccessDeniedError("refused")

    monkeypatch.setattr(stored, "COMPLETE_S", 0)
    with mounted(bucket) as port:
        bucket.before = refuse
        assert ask(port, "GET", "/s/s/0.shard", {"Range": "bytes=0-0"}).status == 502
        bucket.before = lambda key, start: None
        bucket.delete("info")
        for key in ("s/0.shard", "info", "s/absent"):
            answer = ask(port, "GET", f"/s/{key}")
            assert answer.status == 404
            assert b"this dataset has no info" in answer.body
        bucket.write("info", b"{}", Attributes())
        assert ask(port, "GET", "/s/s/0.shard", {"Range": "bytes=0-0"}).status == 206


def test_a_directory_of_datasets_gives_its_layers_and_its_list(mounted: Mounted) -> None:
    store = MemoryStore()
    for key in ("em/info", "em/x", "em2/info", "other/info", "info.txt", "precast.json"):
        store.write(key, key.encode(), Attributes())
    with mounted(store, "em", "cells", listed=True) as port:
        for key in ("em/info", "em/x", "precast.json"):
            assert ask(port, "GET", f"/s/{key}").body == key.encode()
        assert ask(port, "GET", "/s/precast.json").headers["content-type"] == "application/json"
        for key in (
            "em2/info",
            "other/info",
            "info.txt",
            "cells/info",
            "em",
            "precast.json/",
            "precast.json/x",
            "em/y",
        ):
            assert ask(port, "GET", f"/s/{key}").status == 404, key
    with mounted(store, "em") as port:
        assert ask(port, "GET", "/s/precast.json").status == 404
    store.write("info", b"{}", Attributes())
    with mounted(store, listed=True) as port:  # a list of nothing
        assert ask(port, "GET", "/s/precast.json").status == 200
        assert ask(port, "GET", "/s/em/x").status == 404
        assert ask(port, "GET", "/s/info").status == 404


def test_browsers_ask_each_time_if_that_is_wanted(bucket: Bucket, mounted: Mounted) -> None:
    for cache, told in ((True, "public, max-age=3600"), (False, "no-cache")):
        with mounted(bucket, cache=cache) as port:
            assert ask(port, "HEAD", "/s/s/0.shard").headers["cache-control"] == told


@pytest.mark.parametrize("packed", [b"no gzip at all", gzip.compress(bytes(1000))[:-9]], ids=["other", "cut"])
def test_what_is_not_packed_as_it_says_is_an_error(mounted: Mounted, packed: bytes) -> None:
    store = Bucket()
    store.write("info", b"{}", Attributes())
    store.write("s/chunk", packed, Attributes(encoding="gzip"))
    with mounted(store) as port:
        assert ask(port, "GET", "/s/s/chunk").status == 502
        assert ask(port, "GET", "/s/s/chunk", {"Accept-Encoding": "gzip"}).body == packed


def test_large_packed_objects_and_such_as_are_too_large_to_unpack(mounted: Mounted, monkeypatch) -> None:
    data = np.random.default_rng(3).integers(0, 64, 2 * PIECE_BYTES, np.uint8).tobytes()
    packed = gzip.compress(data, 1)
    assert len(packed) > PIECE_BYTES
    store = Bucket()
    store.write("info", b"{}", Attributes())
    store.write("s/chunk", packed, Attributes(encoding="gzip"))
    with mounted(store) as port:
        for _ in range(2 * stored.UNPACKING):  # each makes room for the next
            assert ask(port, "GET", "/s/s/chunk").body == data
        assert ask(port, "GET", "/s/s/chunk", {"Range": "bytes=5000000-5000009"}).body == data[5000000:5000010]
        assert ask(port, "GET", "/s/s/chunk", {"Accept-Encoding": "gzip"}).body == packed
        for most in (len(data) - 1, len(packed) - 1):
            monkeypatch.setattr(stored, "MOST_UNPACKED_BYTES", most)
            assert ask(port, "GET", "/s/s/chunk").status == 502
            assert ask(port, "GET", "/s/s/chunk", {"Accept-Encoding": "gzip"}).body == packed


def test_the_end_does_not_wait_for_clients(bucket: Bucket, tmp_path: Path) -> None:
    """One takes nothing, others wait for room."""
    with precast.serve(put(tmp_path / "d"), precast.ServeOptions(port=0)) as server:
        room = Room(1)
        server.mount("s", handler(bucket, room=room))
        connections = [Connection(server.port) for _ in range(5)]
        for connection in connections:
            connection.send("GET", "/s/s/0.shard")
            if connection is connections[0]:
                assert connection.socket.recv(1) == b"H"
    room.close()
    with pytest.raises(stored._ClosingError), room:
        pass
    for connection in connections:
        connection.socket.close()
