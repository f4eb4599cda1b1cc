"""Buckets: the contract of stores on servers that speak S3, headers, credentials, and all the ways to be refused."""

from __future__ import annotations

import gzip
import pickle
import re
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_stores import StoreContract

import s3_server
from buckets import Place, forget_credentials, moto_server, new_place
from precast.dataset.objects import attributes
from precast.errors import (
    AccessDeniedError,
    MissingExtraError,
    ObjectNotFoundError,
    PrecastError,
    StorageError,
    UsageError,
)
from precast.precomputed.objects import ObjectKind
from precast.storage import (
    Attributes,
    CloudStore,
    HttpStore,
    LocalStore,
    StoreOptions,
    cloud,
    cloud_clients,
    open_store,
    opening,
)
from precast.storage.cloud_clients import Connection
from precast.storage.cloud_errors import NotNowError
from scripted_server import Script, scripted

PLAIN = Attributes()
DATA = bytes(range(100))
SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
TOKEN = "FwoGZXIvYXdzEXAMPLETOKEN"


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_credentials(monkeypatch, tmp_path)


@pytest.fixture
def signed(monkeypatch: pytest.MonkeyPatch, no_credentials: None) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)


# ---- servers that speak S3


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


# ---- refusals, word for word as the stores send them


def refusal(status: int, code: str, message: str = "words") -> tuple[int, dict[str, str], bytes]:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return status, {"Content-Type": "application/xml"}, text.encode()


@pytest.fixture
def server() -> Iterator[Script]:
    with scripted() as script:
        yield script


def at(server: Script, url: str = "s3://bucket/em", retries: int = 0, **options: Any) -> CloudStore:
    return CloudStore(url, StoreOptions(endpoint=server.url, **options), Connection(retries=retries, timeout_s=5))


def calls_of(store: CloudStore) -> dict[str, Callable[[], Any]]:
    return {
        "read": lambda: store.read("x"),
        "range": lambda: store.read("x", 0, 5),
        "stat": lambda: store.stat("x"),
        "write": lambda: store.write("x", b"1", PLAIN),
        "list": lambda: list(store.list()),
        "folders": store.folders,
        "delete": lambda: store.delete("x"),
    }


@pytest.mark.parametrize(
    ("action", "permission"),
    [
        ("read", "s3:GetObject"),
        ("range", "s3:GetObject"),
        ("stat", "s3:GetObject"),
        ("write", "s3:PutObject"),
        ("list", "s3:ListBucket"),
        ("folders", "s3:ListBucket"),
        ("delete", "s3:DeleteObject"),
    ],
)
def test_what_is_denied_names_the_permission(server: Script, signed: None, action: str, permission: str) -> None:
    server.answers[None] = refusal(403, "AccessDenied", "Access Denied")
    with pytest.raises(AccessDeniedError, match=r"s3://bucket/em.* is refused \(AccessDenied\)") as caught:
        calls_of(at(server))[action]()
    assert permission in caught.value.hint
    assert "Authorization" in server.seen[0][2]


@pytest.mark.parametrize(
    ("answer", "error", "text", "hint"),
    [
        (refusal(403, "InvalidAccessKeyId"), AccessDeniedError, "does not know the access key", "AWS_PROFILE"),
        (refusal(403, "SignatureDoesNotMatch"), AccessDeniedError, "secret key does not belong", "AWS_PROFILE"),
        (refusal(400, "ExpiredToken"), AccessDeniedError, "credentials have expired", "AWS_PROFILE"),
        (refusal(403, "RequestTimeTooSkewed"), AccessDeniedError, "clock", "set it"),
        (refusal(404, "NoSuchBucket"), StorageError, "there is no bucket s3://bucket", "check its name"),
        ((404, {}, b"<html>Not Found</html>"), StorageError, "is not that of an object store (404)", "--endpoint"),
        (refusal(301, "PermanentRedirect"), StorageError, "another region", "--region"),
        (refusal(400, "AuthorizationHeaderMalformed"), StorageError, "another region", "--region"),
        (refusal(503, "SlowDown", "Reduce your rate"), NotNowError, "503, SlowDown: Reduce your rate", "try again"),
        (refusal(500, "InternalError"), NotNowError, "status 500", "try again"),
        (refusal(507, "InsufficientStorage", "full"), NotNowError, "507, InsufficientStorage: full", ""),
        ((418, {}, b""), StorageError, "status 418", ""),
    ],
)
@pytest.mark.parametrize("action", ["read", "range", "stat", "write", "list", "delete"])
def test_what_goes_wrong_says_what_to_do(
    server: Script, signed: None, answer: Any, error: type[PrecastError], text: str, hint: str, action: str
) -> None:
    server.answers[None] = answer
    with pytest.raises(error, match=re.escape(text)) as caught:
        calls_of(at(server))[action]()
    assert type(caught.value) is error
    assert hint in caught.value.hint
    assert "s3://bucket" in caught.value.message
    assert "\n" not in caught.value.message


def test_no_credentials(server: Script) -> None:
    server.answers[None] = refusal(403, "AccessDenied")
    for call in calls_of(at(server)).values():
        with pytest.raises(AccessDeniedError, match="no credentials were found") as caught:
            call()
        assert "AWS_ACCESS_KEY_ID" in caught.value.hint
    assert not any("Authorization" in headers for _, _, headers in server.seen)


def test_public_buckets_are_read_without_credentials(server: Script, signed: None) -> None:
    server.answers["/bucket/em/info"] = (200, {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"}, b"{}")
    assert at(server, anonymous=True).read("info") == b"{}"
    assert "Authorization" not in server.seen[0][2]
    assert at(server).read("info") == b"{}"
    assert "Authorization" in server.seen[1][2]
    server.answers[None] = refusal(403, "AccessDenied")
    with pytest.raises(AccessDeniedError, match="without credentials is refused") as caught:
        at(server, anonymous=True).read("x")
    assert caught.value.hint == "leave out --anonymous"


def test_profiles(server: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers[None] = (200, {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"}, b"{}")
    config = f"[profile lab]\nregion = eu-north-1\nendpoint_url = {server.url}\n"
    config += f"[profile other]\nservices = mine\n[services mine]\ns3 =\n  endpoint_url = {server.url}/sub\n"
    (tmp_path / "config").write_text(config)
    (tmp_path / "credentials").write_text(
        f"[lab]\naws_access_key_id = OFLAB\naws_secret_access_key = {SECRET}\n"
        f"[other]\naws_access_key_id = OFOTHER\naws_secret_access_key = {SECRET}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    assert CloudStore("s3://bucket/em", StoreOptions(profile="lab")).read("info") == b"{}"
    assert re.search(r"Credential=OFLAB/\d+/eu-north-1/s3/", server.seen[0][2]["Authorization"])
    monkeypatch.setenv("AWS_PROFILE", "other")
    assert CloudStore("s3://bucket/em").read("info") == b"{}"
    assert server.seen[1][1] == "/sub/bucket/em/info"
    assert "Credential=OFOTHER/" in server.seen[1][2]["Authorization"]
    monkeypatch.setenv("AWS_PROFILE", "gone")
    for options in (StoreOptions(), StoreOptions(profile="gone")):
        with pytest.raises(UsageError, match="gone") as caught:
            CloudStore("s3://bucket/em", options).read("info")
        assert caught.value.hint == "profiles that there are: lab, other"


@pytest.mark.parametrize(
    ("profile", "text"),
    [
        (
            "sso_session = s\nsso_account_id = 1\nsso_role_name = r\n"
            "[sso-session s]\nsso_region = us-east-1\nsso_start_url = https://example.org/start\n",
            "SSO",
        ),
        (f"credential_process = {sys.executable} -c exit(3)\n", "custom-process"),
    ],
)
def test_credentials_that_cannot_be_used(
    server: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str, text: str
) -> None:
    (tmp_path / "config").write_text(f"[profile lab]\n{profile}")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with pytest.raises(AccessDeniedError, match=f"s3://bucket: the credentials cannot be used: .*{text}") as caught:
        at(server, profile="lab").read("x")
    assert "aws sso login" in caught.value.hint
    assert server.seen == []


def test_endpoints_of_the_environment(server: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers[None] = (200, {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"}, b"{}")
    nowhere = "http://127.0.0.1:1"

    def path_of(**options: Any) -> str:
        CloudStore("s3://bucket/em", StoreOptions(**options), Connection(retries=0)).read("info")
        return server.seen[-1][1]

    monkeypatch.setenv("AWS_ENDPOINT_URL", f"{server.url}/general/")
    assert path_of() == "/general/bucket/em/info"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"{server.url}/of-s3")
    assert path_of() == "/of-s3/bucket/em/info"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", nowhere)
    monkeypatch.setenv("AWS_ENDPOINT_URL", nowhere)
    assert path_of(endpoint=f"{server.url}/given") == "/given/bucket/em/info"


def test_regions(server: Script, signed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers[None] = (200, {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"}, b"{}")

    def region_of(**options: Any) -> str:
        at(server, **options).read("info")
        return server.seen[-1][2]["Authorization"].split("/")[2]

    assert region_of() == "us-east-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    assert region_of() == "eu-west-3"
    monkeypatch.setenv("AWS_REGION", "eu-west-2")
    assert region_of() == "eu-west-2"
    assert region_of(region="eu-west-1") == "eu-west-1"


def test_a_bucket_in_another_region_is_found(server: Script, signed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Amazon's own addresses stand for this server, which knows what Amazon answers."""

    def by_region(handler: Any) -> tuple[int, dict[str, str], bytes]:
        if "/eu-west-1/" in handler.headers["Authorization"]:
            return 200, {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"}, b"{}"
        return refusal(301, "PermanentRedirect")

    open_client = cloud_clients.open_client

    def opened(scheme: str, bucket: str, options: StoreOptions, *more: Any, **named: Any) -> Any:
        client = open_client(scheme, bucket, replace(options, endpoint=server.url), *more, **named)
        return replace(client, endpoint="")

    monkeypatch.setattr(cloud, "open_client", opened)
    monkeypatch.setattr("precast.storage.cloud_clients.AMAZON", server.url)
    monkeypatch.setenv("AWS_REGION", "us-east-2")
    server.answers["/bucket/em/info"] = by_region
    server.answers["/bucket"] = (301, {"x-amz-bucket-region": "eu-west-1"}, b"")
    assert CloudStore("s3://bucket/em").read("info") == b"{}"
    assert CloudStore("s3://bucket/em").stat("info").size == 2
    with pytest.raises(StorageError, match="is in the region eu-west-1") as caught:
        CloudStore("s3://bucket/em", StoreOptions(region="us-west-1")).read("info")
    assert caught.value.hint == "give --region eu-west-1"


# ---- faults


def test_a_store_that_is_busy_is_asked_again(server: Script, signed: None) -> None:
    good = (200, {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"}, DATA)
    for action in ("read", "write"):
        answers = [refusal(503, "SlowDown"), (429, {}, b""), refusal(500, "InternalError"), good]
        server.seen.clear()
        server.answers["/bucket/em/x"] = lambda _, answers=answers: answers.pop(0)
        calls_of(at(server, retries=5))[action]()
        assert len(server.seen) == 4


def test_a_body_that_is_cut_is_never_taken_for_the_object(server: Script, signed: None) -> None:
    asked = []

    def cut(handler: Any) -> tuple[int, dict[str, str], bytes]:
        handler.close_connection = True
        asked.append(handler.headers.get("Range"))
        headers = {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT", "Content-Length": "100"}
        if handler.headers.get("Range") == "bytes=40-99":
            return 206, {**headers, "Content-Range": "bytes 40-99/100", "Content-Length": "60"}, DATA[40:]
        return 200, headers, DATA[:40]

    server.answers["/bucket/em/x"] = cut
    assert at(server, retries=2).read("x") == DATA
    assert asked == [None, "bytes=40-99"]
    with pytest.raises(StorageError):
        at(server).read("x")


def test_a_server_that_ignores_ranges(server: Script, signed: None) -> None:
    server.answers[None] = (200, {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"}, DATA)
    with pytest.raises(StorageError, match="ignores Range and sends the whole object"):
        at(server).read("x", 10, 20)


def test_nothing_answers(signed: None) -> None:
    store = CloudStore("s3://b/em", StoreOptions(endpoint="http://127.0.0.1:1"), Connection(retries=0))
    for call in calls_of(store).values():
        with pytest.raises(StorageError, match=r"nothing answers at http://127\.0\.0\.1:1") as caught:
            call()
        assert "--endpoint" in caught.value.hint
    named = CloudStore("s3://b/em", StoreOptions(endpoint="http://no-such-host.invalid"), Connection(retries=0))
    with pytest.raises(StorageError, match="no host") as caught:
        named.read("x")


def test_a_server_that_is_silent(signed: None) -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        options = StoreOptions(endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}")
        store = CloudStore("s3://b/em", options, Connection(retries=0, timeout_s=0.2))
        with pytest.raises(StorageError, match="did not answer in time"):
            store.read("x")


# ---- secrets


def everything_said(error: BaseException) -> str:
    shown = "".join(traceback.format_exception(error))
    extra = pickle.dumps(error).decode("latin-1") if isinstance(error, PrecastError) else ""
    return shown + repr(error) + repr(getattr(error, "to_json", dict)()) + extra


def test_credentials_are_never_said_or_kept(server: Script, signed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "account")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", f"?sv=2024&sig={SECRET}")
    said = ""
    for answer in (
        refusal(403, "AccessDenied"),
        refusal(403, "SignatureDoesNotMatch", "The request signature we calculated does not match"),
        refusal(404, "NoSuchKey"),
        refusal(500, "InternalError"),
        (200, {}, b"no headers at all"),
        (301, {}, b""),
        (200, {"Content-Length": "100", "Connection": "close", "ETag": "1"}, b"short"),
    ):
        server.answers[None] = answer
        for url in ("s3://bucket/em", "az://bucket/em"):
            store = at(server, url)
            for call in calls_of(store).values():
                try:
                    call()
                except PrecastError as error:
                    said += everything_said(error)
            said += repr(store) + store.url + pickle.dumps(store).decode("latin-1") + repr(store.options)
    for url in ("s3://bucket/em", "az://bucket/em"):
        try:
            CloudStore(url, StoreOptions(endpoint="http://127.0.0.1:1"), Connection(retries=0)).read("x")
        except StorageError as error:
            said += everything_said(error)
    assert "refused" in said
    assert "nothing answers" in said
    assert SECRET not in said
    assert TOKEN not in said
    # the secrets were in use all the time
    assert any("Authorization" in headers for _, _, headers in server.seen)
    assert any(SECRET in path for _, path, _ in server.seen)


@pytest.mark.parametrize("url", [f"s3://me:{SECRET}@bucket/em", f"s3://{SECRET}@bucket/em"])
def test_credentials_in_addresses_are_refused(url: str) -> None:
    with pytest.raises(UsageError, match="without a user") as caught:
        CloudStore(url)
    assert SECRET not in everything_said(caught.value)
    with pytest.raises(UsageError, match="without a user") as caught:
        StoreOptions(endpoint=f"http://me:{SECRET}@host")
    assert SECRET not in everything_said(caught.value)


# ---- from what a user types


def test_addresses_of_buckets() -> None:
    for given, url in {
        "s3://bucket/a/b/": "s3://bucket/a/b",
        "S3://bucket": "s3://bucket",
        "precomputed://gs://bucket/em": "gs://bucket/em",
        "az://container/em/|neuroglancer-precomputed:": "az://container/em",
    }.items():
        store = open_store(given)
        assert isinstance(store, CloudStore)
        assert store.url == url
    for wrong in ("s3:///em", "s3://bucket/em?versionId=1", "gs://bucket/em#x"):
        with pytest.raises(UsageError, match="not the address of a dataset"):
            open_store(wrong)
    with pytest.raises(StorageError, match="not a key"):
        open_store("s3://bucket/a//b")


def test_options_are_for_buckets(tmp_path: Path) -> None:
    options = StoreOptions(endpoint="http://127.0.0.1:9000/")
    assert options.endpoint == "http://127.0.0.1:9000"
    store = open_store("s3://bucket/em", options)
    assert isinstance(store, CloudStore)
    assert store.options == options == pickle.loads(pickle.dumps(store)).options
    for place in (tmp_path, str(tmp_path), "https://host/em", LocalStore(tmp_path)):
        with pytest.raises(UsageError, match="is in no bucket"):
            open_store(place, options)
    for wrong in ("127.0.0.1:9000", "ftp://host", "http://", "http://host:port"):
        with pytest.raises(UsageError, match="http or https"):
            StoreOptions(endpoint=wrong)
    with pytest.raises(UsageError, match="--anonymous"):
        StoreOptions(anonymous=True, profile="lab")
    with pytest.raises(UsageError, match="--region"):
        StoreOptions(region="eu west")
    with pytest.raises(UsageError, match="of Amazon's store"):
        CloudStore("gs://bucket/em", StoreOptions(profile="lab")).read("info")


class TestWithoutTheExtra:
    @pytest.fixture(autouse=True)
    def no_client(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "obstore", None)
        monkeypatch.setattr(opening, "has_cloud_client", lambda: False)

    def test_public_buckets_are_read_by_their_web_addresses(self) -> None:
        for given, url in {
            "gs://bucket/a/b": "https://storage.googleapis.com/bucket/a/b",
            "s3://bucket/a/b": "https://bucket.s3.amazonaws.com/a/b",
            "s3://my.bucket/a": "https://s3.amazonaws.com/my.bucket/a",
        }.items():
            store = open_store(given)
            assert isinstance(store, HttpStore)
            assert store.url == url
            assert isinstance(open_store(given, StoreOptions(anonymous=True)), HttpStore)

    def test_all_else_names_the_extra(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        store = open_store("s3://bucket/em")
        calls: list[Callable[[], Any]] = [
            lambda: open_store("az://container/em"),
            lambda: open_store("s3://bucket/em", StoreOptions(endpoint="http://127.0.0.1:9000")),
            lambda: open_store("s3://bucket/em", StoreOptions(profile="lab")),
            lambda: store.write("x", b"", PLAIN),
            lambda: store.write_file("x", tmp_path / "x", PLAIN),
            lambda: store.delete("x"),
            store.list,
            lambda: CloudStore("s3://bucket/em").read("info"),
        ]
        for call in calls:
            with pytest.raises(MissingExtraError) as caught:
                call()
            assert caught.value.hint == "pip install 'precast[cloud]'"
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")  # another store than Amazon's
        with pytest.raises(MissingExtraError):
            open_store("s3://bucket/em")
