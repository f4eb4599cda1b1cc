"""Buckets: the contract of stores, and what buckets promise beyond it, on servers that speak S3."""

from __future__ import annotations

import gzip
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_stores import StoreContract

import s3_server
from buckets import Place, moto_server, new_place
from cloud_calls import DATA, PLAIN, SECRET, calls_of, everything_said
from precast.dataset.objects import attributes
from precast.errors import AccessDeniedError, ObjectNotFoundError, StorageError
from precast.precomputed.objects import ObjectKind
from precast.storage import CloudStore, StoreOptions, cloud

pytestmark = pytest.mark.usefixtures("no_credentials")


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with moto_server() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with s3_server.versitygw(tmp_path_factory.mktemp("s3")) as server:
        yield server


class CloudContract(StoreContract):
    """What buckets promise beyond other stores."""

    @pytest.fixture
    def place(self, signed: None) -> Place:
        raise NotImplementedError

    @pytest.fixture
    def store(self, place: Place) -> CloudStore:
        return place.store()

    def test_the_headers_are_those_of_the_table(self, place: Place, store: CloudStore) -> None:
        packed = gzip.compress(b"{}")
        store.write("info", packed, attributes(ObjectKind.INFO, encoding="gzip"))
        store.write("8_8_8/0.shard", DATA, attributes(ObjectKind.SHARD))
        store.write("g1/8_8_8/0-8_0-8_0-8", packed, attributes(ObjectKind.CHUNK, encoding="gzip", generation=True))
        assert place.bytes("data/em/info") == packed
        heads = [place.head(f"data/em/{key}") for key in ("info", "8_8_8/0.shard", "g1/8_8_8/0-8_0-8_0-8")]
        assert [head.get("ContentEncoding", "") for head in heads] == ["gzip", "", "gzip"]
        octets = "application/octet-stream"
        assert [head["ContentType"] for head in heads] == ["application/json", octets, octets]
        assert [head["CacheControl"] for head in heads] == [
            "no-cache",
            "public, max-age=3600",
            "public, max-age=31536000, immutable",
        ]

    def test_what_was_written_is_told(self, store: CloudStore) -> None:
        how = attributes(ObjectKind.CHUNK, encoding="gzip", generation=True)
        store.write("chunk", gzip.compress(b"one"), how)
        assert store.attributes("chunk") == how
        first = store.stat("chunk").etag
        assert first
        assert [stat.etag for stat in store.list()] == [first]
        store.write("chunk", gzip.compress(b"two"), how)
        assert store.stat("chunk").etag not in ("", first)
        store.write("shard", b"", attributes(ObjectKind.SHARD))
        assert store.attributes("shard") == attributes(ObjectKind.SHARD)
        with pytest.raises(ObjectNotFoundError):
            store.attributes("nothing")

    def test_large_files_are_sent_in_parts_with_their_headers(
        self, place: Place, store: CloudStore, tmp_path: Path
    ) -> None:
        data = np.random.default_rng(0).bytes(2 * cloud.PART_BYTES + 12345)
        source = tmp_path / "part"
        source.write_bytes(data)
        store.write_file("8_8_8/0.shard", source, attributes(ObjectKind.SHARD))
        assert not source.exists()
        head = place.head("data/em/8_8_8/0.shard")
        assert head["ETag"].strip('"').endswith("-3")
        assert head["ContentType"] == "application/octet-stream"
        assert head["CacheControl"] == "public, max-age=3600"
        assert place.bytes("data/em/8_8_8/0.shard") == data
        at = cloud.PART_BYTES - 5
        assert store.read("8_8_8/0.shard", at, at + 10) == data[at : at + 10]
        store.write("at-once", data, PLAIN)
        assert place.bytes("data/em/at-once") == data

    def test_what_others_wrote_is_inflated_too(self, place: Place, store: CloudStore) -> None:
        for encoding in ("gzip", "gzip,aws-chunked", "aws-chunked"):
            body = gzip.compress(DATA) if "gzip" in encoding else DATA
            place.client.put_object(Bucket=place.bucket, Key="data/em/x", Body=body, ContentEncoding=encoding)
            assert store.read("x") == DATA
        place.client.put_object(Bucket=place.bucket, Key="data/em/x", Body=DATA, ContentEncoding="gzip")
        with pytest.raises(StorageError, match="not the gzip that its header says"):
            store.read("x")

    def test_children_and_folders(self, store: CloudStore) -> None:
        child = store.child("labels")
        child.write("8_8_8/x", b"1", PLAIN)
        store.write("em/info", b"2", PLAIN)
        store.write("top", b"3", PLAIN)
        assert child.url == f"{store.url}/labels"
        assert store.read("labels/8_8_8/x") == pickle.loads(pickle.dumps(child)).read("8_8_8/x") == b"1"
        assert store.folders() == ("em", "labels")
        assert [stat.key for stat in child.list()] == ["8_8_8/x"]
        with pytest.raises(StorageError):
            store.child("../other")

    def test_nothing_beside_the_prefix_is_seen(self, place: Place, store: CloudStore) -> None:
        for key in ("data/em-2/x", "data/e", "data/em/x"):
            place.client.put_object(Bucket=place.bucket, Key=key, Body=b"1")
        assert [stat.key for stat in store.list()] == ["x"]
        everything = place.store("")
        assert everything.url == f"s3://{place.bucket}"
        assert [stat.key for stat in everything.list("data/em")] == ["data/em-2/x", "data/em/x"]
        assert everything.folders() == ("data",)

    def test_names_in_keys(self, place: Place, store: CloudStore) -> None:
        names = ["a b", "a+b", "a%3Ab", "5:0", "ü", "x#?&=@|'"]
        for name in names:
            store.write(name, name.encode(), PLAIN)
            assert place.bytes(f"data/em/{name}") == name.encode()
            assert store.read(name) == name.encode()
        assert [stat.key for stat in store.list()] == sorted(names)

    def test_there_is_no_such_bucket(self, place: Place) -> None:
        store = replace(place, bucket="there-is-none").store()
        calls: list[Callable[[], Any]] = [
            lambda: store.read("x"),
            lambda: store.read("x", 0, 5),
            lambda: store.stat("x"),
            lambda: store.write("x", b"", PLAIN),
            lambda: list(store.list()),
            lambda: store.delete("x"),
        ]
        for call in calls:
            with pytest.raises(StorageError, match="there is no bucket s3://there-is-none"):
                call()


class TestOnMoto(CloudContract):
    @pytest.fixture
    def place(self, moto: str, signed: None) -> Place:
        return new_place(moto, "AKIAEXAMPLE", SECRET)

    def test_an_object_with_the_name_of_a_directory(self, place: Place, store: CloudStore) -> None:
        """Not possible where the server keeps objects as files."""
        for key in ("data/em", "data/em/x"):
            place.client.put_object(Bucket=place.bucket, Key=key, Body=b"1")
        assert [stat.key for stat in store.list()] == ["x"]
        assert [stat.key for stat in place.store("").list("data/em")] == ["data/em", "data/em/x"]

    def test_marks_of_folders_are_no_objects(self, place: Place, store: CloudStore) -> None:
        for key in ("data/em/8_8_8/", "data/em/empty", "data/em/mesh/"):
            place.client.put_object(Bucket=place.bucket, Key=key, Body=b"")
        store.write("8_8_8/x", b"1", PLAIN)
        store.write("8_8_8-2/x", b"1", PLAIN)
        assert [stat.key for stat in store.list()] == ["8_8_8-2/x", "8_8_8/x", "empty"]

    def test_many_objects_come_page_by_page(self, store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cloud, "LIST_PAGE", 3)
        for number in range(10):
            store.write(f"a/{number}", b"x" * number, PLAIN)
        assert [(stat.key, stat.size, stat.encoding) for stat in store.list("a/")] == [
            (f"a/{number}", number, None) for number in range(10)
        ]

    def test_a_source_that_is_not_there(self, store: CloudStore, tmp_path: Path) -> None:
        with pytest.raises(ObjectNotFoundError, match=r"no-file does not exist"):
            store.write_file("x", tmp_path / "no-file", PLAIN)

    def test_another_process_opens_its_own_connection(self, store: CloudStore) -> None:
        store.write("x", DATA, PLAIN)
        script = "import pickle, sys; print(pickle.load(sys.stdin.buffer).read('x', 3, 6).hex())"
        done = subprocess.run(
            [sys.executable, "-c", script], input=pickle.dumps(store), capture_output=True, check=True
        )
        assert bytes.fromhex(done.stdout.decode()) == DATA[3:6]

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux for the most memory that was in use")
    def test_sending_a_file_takes_the_memory_of_a_few_parts(
        self, place: Place, store: CloudStore, tmp_path: Path
    ) -> None:
        size = 20 * cloud.PART_BYTES
        with (tmp_path / "large").open("wb") as file:
            file.truncate(size)
        script = """if True:
            import pickle, pathlib, re, sys
            from precast.storage import Attributes
            most = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) << 10
            store = pickle.load(sys.stdin.buffer)
            store.write("small", b"1", Attributes())
            before = most()
            store.write_file("large", pathlib.Path(sys.argv[1]), Attributes())
            print(most() - before)
        """
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "large")],
            input=pickle.dumps(store),
            capture_output=True,
            check=True,
        )
        assert place.head("data/em/large")["ContentLength"] == size
        assert int(done.stdout) < (cloud.PARTS_AT_ONCE + 4) * cloud.PART_BYTES

    def test_threads_share_a_store(self, store: CloudStore) -> None:
        def one(number: int) -> None:
            store.write(f"t/{number}", str(number).encode(), PLAIN)

        threads = [threading.Thread(target=one, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(int(store.read(stat.key)) for stat in store.list("t/")) == list(range(16))


class TestOnAStrictServer(CloudContract):
    """A server that enforces signatures and policies."""

    @pytest.fixture
    def place(self, strict: Any, monkeypatch: pytest.MonkeyPatch) -> Place:
        self.sign_in(monkeypatch, strict.keys)
        monkeypatch.setenv("AWS_REGION", strict.region)
        return new_place(strict.endpoint, strict.access_key, strict.secret_key, strict.region)

    def sign_in(self, monkeypatch: pytest.MonkeyPatch, keys: Any) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key)

    def test_each_permission_by_its_name(
        self, strict: Any, place: Place, store: CloudStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.write("x", DATA, PLAIN)
        user = strict.new_user()
        self.sign_in(monkeypatch, user)
        resources = [f"arn:aws:s3:::{place.bucket}", f"arn:aws:s3:::{place.bucket}/*"]
        every = ["s3:GetObject", "s3:PutObject", "s3:ListBucket", "s3:DeleteObject"]
        needed = {"read": 0, "range": 0, "stat": 0, "write": 1, "list": 2, "folders": 2, "delete": 3}
        for without, permission in enumerate(every):
            allowed = [name for name in every if name != permission]
            who = {"Effect": "Allow", "Principal": {"AWS": [user.access_key]}}
            statements = [{**who, "Action": [name], "Resource": resources[name != "s3:ListBucket"]} for name in allowed]
            strict.allow(place.bucket, *statements)
            for action, call in calls_of(place.store()).items():
                if action == "delete" and needed[action] != without:
                    continue  # what it deleted would not be there for the next one
                if needed[action] != without:
                    call()
                    continue
                with pytest.raises(AccessDeniedError) as caught:
                    call()
                assert permission in caught.value.hint

    def test_wrong_keys(self, strict: Any, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        for call in calls_of(place.store()).values():
            with pytest.raises(AccessDeniedError, match="secret key does not belong") as caught:
                call()
            assert SECRET not in everything_said(caught.value)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODY")
        with pytest.raises(AccessDeniedError, match="does not know the access key"):
            place.store().read("x")

    def test_the_region_is_asked_for(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_REGION", "us-west-2")
        place.store().write("x", b"1", PLAIN)
        assert place.bytes("data/em/x") == b"1"
        for call in calls_of(place.store()).values():
            call()
        told = StoreOptions(endpoint=place.endpoint, region="us-west-2")
        for call in calls_of(CloudStore(place.url("data/em"), told)).values():
            with pytest.raises(StorageError, match=f"is in the region {s3_server.REGION}") as caught:
                call()
            assert caught.value.hint == f"give --region {s3_server.REGION}"

    def test_anonymous_reading_of_what_is_public(
        self, strict: Any, place: Place, store: CloudStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        packed = gzip.compress(DATA)
        store.write("x", packed, attributes(ObjectKind.CHUNK, encoding="gzip"))
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(AccessDeniedError, match="no credentials were found"):
            place.store().read("x")
        read = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject"]}
        strict.allow(place.bucket, {**read, "Resource": [f"arn:aws:s3:::{place.bucket}/data/*"]})
        assert place.store().read("x") == DATA
        with pytest.raises(AccessDeniedError, match="no credentials were found"):
            place.store().write("x", DATA, PLAIN)
