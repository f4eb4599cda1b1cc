"""``publish --fix-headers``: every fault that an upload by hand leaves, planted in a bucket of a strict server."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import imagecodecs
import numpy as np
import pytest

import precast
from buckets import sign_in
from precast.cli import main
from precast.errors import FormatError, ObjectNotFoundError, StorageError, UsageError
from precast.precomputed.objects import kind_of
from precast.storage import CloudStore
from precast.storage.s3_api import S3Bucket
from precast.workflows.publish import fix_headers, headers, plan_fixes
from s3_server import S3Server

CHANCE = b"\x1f\x8b\x08"


@dataclass
class Uploaded:
    """Two datasets in a public bucket, and what their objects are meant to hold."""

    server: S3Server
    bucket: str
    client: Any
    truth: dict[str, bytes]
    multires: str

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/p"

    def put(self, key: str, body: bytes, **how: Any) -> None:
        self.client.put_object(Bucket=self.bucket, Key=f"p/{key}", Body=body, **how)

    def head(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.head_object(Bucket=self.bucket, Key=f"p/{key}")
        return found

    def stored(self, key: str) -> bytes:
        found: bytes = self.client.get_object(Bucket=self.bucket, Key=f"p/{key}")["Body"].read()
        return found

    def keys(self) -> set[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix="p/")
        return {one["Key"].removeprefix("p/") for page in pages for one in page.get("Contents", ())}

    def state(self) -> dict[str, tuple[Any, ...]]:
        names = ("ContentType", "ContentEncoding", "CacheControl")
        return {key: (self.stored(key), *(self.head(key).get(name) for name in names)) for key in self.keys()}

    def read(self, key: str) -> bytes:
        """Return an object as a browser gets it."""
        data = self.stored(key)
        encoding = self.head(key).get("ContentEncoding")
        if encoding == "br":
            return bytes(imagecodecs.brotli_decode(data))
        return gzip.decompress(data) if encoding == "gzip" else data

    def assert_right(self, but: tuple[str, ...] = ()) -> None:
        """See that everything is as a viewer needs it."""
        assert self.keys() - set(but) == set(self.truth)
        for key, data in self.truth.items():
            head = self.head(key)
            ranged = key.endswith(".shard") or (self.multires in key and key.rpartition("/")[2].isdigit())
            rule = kind_of(key).rule
            assert self.read(key) == data, key
            assert head["ContentType"] == rule.content_type, key
            assert head["CacheControl"] == rule.cache_control(), key
            if ranged:
                assert not head.get("ContentEncoding"), key
                assert self.stored(key) == data, key


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels in shards with meshes in single files, and an image in single chunks, one of which looks like gzip."""
    root = tmp_path_factory.mktemp("datasets") / "out"
    data = np.zeros((24, 24, 24), np.uint32)
    data[3:20, 3:20, 3:20] = 7
    data[21:23, 3:20, 3:20] = 9
    precast.convert(data, root / "labels", precast.ConvertOptions(resolution=8, kind="segmentation"))
    precast.mesh(root / "labels", precast.MeshOptions(unsharded=True))
    image = np.random.default_rng(0).integers(1, 255, (24, 24, 24)).astype(np.uint8)
    image[0, 0, :3] = list(CHANCE)
    options = precast.ConvertOptions(resolution=8, kind="image", unsharded=True, chunk_size="16", compress="none")
    precast.convert(image, root / "em", options)
    return root


@pytest.fixture
def uploaded(s3: S3Server, bucket: str, datasets: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Uploaded:
    """Upload with the headers that a program guesses."""
    sign_in(monkeypatch, tmp_path, s3)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    client = boto3.client("s3")
    truth = {
        str(path.relative_to(datasets)): path.read_bytes()
        for path in datasets.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
    assert not any(key.endswith(".gz") for key in truth)
    mesh = json.loads(truth["labels/info"])["mesh"]
    made = Uploaded(s3, bucket, client, truth, f"labels/{mesh}/")
    for key, data in truth.items():
        made.put(key, data, ContentType="binary/octet-stream")
    return made


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def one(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main.run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return one


def plant(uploaded: Uploaded) -> None:
    """Plant each fault."""
    truth, put = uploaded.truth, uploaded.put
    chunks = sorted(key for key in truth if key.startswith("em/") and "-" in key)
    assert sum(truth[key].startswith(CHANCE) for key in chunks) == 1
    ordinary = [key for key in chunks if not truth[key].startswith(CHANCE)]
    shard = next(key for key in truth if key.endswith(".shard"))
    fragments = sorted(key for key in truth if key.startswith(uploaded.multires) and key.rpartition("/")[2].isdigit())
    manifest = next(key for key in truth if key.endswith(".index"))
    put(ordinary[0], gzip.compress(truth[ordinary[0]]))
    put(ordinary[1], truth[ordinary[1]], ContentEncoding="gzip")
    put(ordinary[2], gzip.compress(truth[ordinary[2]]), ContentEncoding="gzip", Metadata={"lab": "x"})
    put(f"{ordinary[3]}.gz", gzip.compress(truth[ordinary[3]]), ContentType="application/gzip")
    put(f"{ordinary[4]}.gz", truth[ordinary[4]])
    put(f"{ordinary[5]}.br", bytes(imagecodecs.brotli_encode(truth[ordinary[5]])))
    put(f"{ordinary[6]}.gz", gzip.compress(truth[ordinary[6]]))  # beside the same
    put(shard, gzip.compress(truth[shard]), ContentEncoding="gzip")
    put(fragments[0], gzip.compress(truth[fragments[0]]))
    put(f"{fragments[1]}.gz", gzip.compress(truth[fragments[1]]), ContentEncoding="gzip")
    put(f"{manifest}.gz", gzip.compress(truth[manifest]))
    put("em/info.gz", gzip.compress(truth["em/info"]))
    put("labels/info", gzip.compress(truth["labels/info"]), CacheControl="max-age=31536000")
    gone = [*ordinary[3:6], fragments[1], manifest, "em/info"]
    for key in gone:
        uploaded.client.delete_object(Bucket=uploaded.bucket, Key=f"p/{key}")


def test_every_fault(uploaded: Uploaded, run: Run) -> None:
    plant(uploaded)
    uploaded.put("em/notes.txt", b"theirs", ContentType="text/plain")
    before = uploaded.state()
    code, out, _ = run("publish", "--fix-headers", uploaded.url, "--dry-run")
    assert code == 0
    assert "dry run: nothing is written" in out
    for fault in headers.FAULTS:
        assert fault in out
    assert uploaded.state() == before
    planned = plan_fixes(uploaded.url)

    uploaded.server.allow(
        uploaded.bucket,
        {
            "Effect": "Allow",
            "Principal": "*",
            "Action": ["s3:GetObject"],
            "Resource": [f"arn:aws:s3:::{uploaded.bucket}/p/*"],
        },
    )
    code, out, told = run("publish", "--fix-headers", uploaded.url, "--json")
    assert code == 1, "the bucket has no CORS rules, which the check says"
    result = json.loads(out)["result"]
    assert result["fixed_objects"] == planned.fixed_objects
    assert result["left"] == ["em/notes.txt"]
    uploaded.assert_right(but=("em/notes.txt",))
    assert uploaded.state()["em/notes.txt"] == before["em/notes.txt"]
    labelled = [key for key in uploaded.truth if uploaded.head(key).get("ContentEncoding") == "gzip"]
    assert len(labelled) == 6, "what was packed and is read whole is packed still"
    assert [uploaded.head(key)["Metadata"] for key in labelled].count({"lab": "x"}) == 1

    # as viewers meet it, once other pages may read
    from precast.precomputed.server_lines import S3_CORS

    uploaded.client.put_bucket_cors(Bucket=uploaded.bucket, CORSConfiguration=S3_CORS)
    after = uploaded.state()
    code, out, told = run("publish", "--fix-headers", uploaded.url)
    assert code == 0, told
    assert "0 of " in told
    assert out.startswith("https://neuroglancer-demo")
    assert uploaded.state() == after
    for name in ("labels", "em"):
        code, out, _ = run("check", f"{uploaded.server.endpoint}/{uploaded.bucket}/p/{name}", "--json")
        assert code == 0
        assert [one["code"] for one in json.loads(out)["findings"]] in ([], ["PC912"]), "as the server refuses"
        assert run("check", f"{uploaded.url}/{name}")[0] == 0


def test_what_is_beside_meshes_and_read_whole_stays_packed(uploaded: Uploaded) -> None:
    """As ``publish`` sends it: an index of cloud-volume among meshes is none of their fragments."""
    key, data = f"{uploaded.multires}0-192_0-192_0-192.spatial", b'{"7": [0, 0, 0, 160, 160, 160]}'
    uploaded.put(key, gzip.compress(data), ContentEncoding="gzip")
    fix_headers(uploaded.url)
    assert uploaded.head(key)["ContentEncoding"] == "gzip"
    assert gzip.decompress(uploaded.stored(key)) == data


def test_different_content_under_both_names_is_left_alone(uploaded: Uploaded, run: Run) -> None:
    fix_headers(uploaded.url)
    chunk = next(key for key in sorted(uploaded.truth) if key.startswith("em/") and "-" in key)
    uploaded.put(f"{chunk}.gz", gzip.compress(b"older"))
    before = uploaded.state()
    code, _, told = run("publish", "--fix-headers", uploaded.url)
    assert code == 1
    assert f"{chunk}.gz is there without the end of its name too" in told
    assert uploaded.state() == before


def test_where_the_store_is_not_asked_to_copy(uploaded: Uploaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with stores that do not speak S3: everything is read and written."""
    plant(uploaded)
    monkeypatch.setattr(CloudStore, "scheme", property(lambda _: "az"))
    monkeypatch.setattr(S3Bucket, "copy", None)
    assert fix_headers(uploaded.url).fixed_objects > len(headers.FAULTS)
    uploaded.assert_right()
    assert fix_headers(uploaded.url).fixed_objects == 0


class Killed(BaseException):
    """The end of a process."""


def test_killed_at_every_change_nothing_is_lost(uploaded: Uploaded, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(uploaded)
    total = plan_fixes(uploaded.url).fixed_objects
    count, lock = 0, threading.Lock()
    original = {name: getattr(CloudStore, name) for name in ("write_file", "delete")}
    copy = S3Bucket.copy

    def ending(work: Callable[..., None], after: bool) -> Callable[..., None]:
        def one(*arguments: Any) -> None:
            nonlocal count
            with lock:
                count += 1
                if count >= 3 and not after:
                    raise Killed
            work(*arguments)
            if count >= 3 and after:
                raise Killed

        return one

    ends = 0
    while ends < 60:
        count = 0
        with monkeypatch.context() as patch:
            after = ends % 2 == 0
            for name, work in original.items():
                patch.setattr(CloudStore, name, ending(work, after))
            patch.setattr(S3Bucket, "copy", ending(copy, after))
            try:
                fix_headers(uploaded.url, precast.PublishOptions(threads=1))
                break
            except Killed:
                ends += 1
        # whatever is missing under its name is there as a packed file
        keys = uploaded.keys()
        for key in uploaded.truth:
            assert any(f"{key}{end}" in keys for end in ("", ".gz", ".br")), key
    assert total // 3 <= ends < 60
    uploaded.assert_right()


def test_what_does_not_arrive_is_not_taken_for_repaired(uploaded: Uploaded, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(uploaded)
    write = CloudStore.write_file

    def cut(self: CloudStore, key: str, path: Path, attributes: Any) -> None:
        path.write_bytes(path.read_bytes()[:-1])
        write(self, key, path, attributes)

    monkeypatch.setattr(CloudStore, "write_file", cut)
    monkeypatch.setattr(S3Bucket, "copy", lambda *_: None)
    with pytest.raises((StorageError, ObjectNotFoundError)):
        fix_headers(uploaded.url, precast.PublishOptions(threads=1))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["PLACE", "PLACE", "--fix-headers"], "--fix-headers takes the destination alone"),
        (["PLACE", "--fix-headers", "--rollback"], "does not go with"),
        (["PLACE", "--fix-headers", "--public"], "--public does not go with --fix-headers"),
        (["PLACE", "--fix-headers"], "--fix-headers is for buckets"),
    ],
)
def test_what_does_not_fit(datasets: Path, run: Run, arguments: list[str], text: str) -> None:
    code, _, told = run("publish", *(one.replace("PLACE", str(datasets)) for one in arguments))
    assert code == 2
    assert text in told


def test_nothing_there(uploaded: Uploaded) -> None:
    with pytest.raises(ObjectNotFoundError, match="there is no dataset"):
        fix_headers(f"s3://{uploaded.bucket}/elsewhere")
    with pytest.raises(UsageError):
        fix_headers("https://host/em")


def test_gzip_in_pieces() -> None:
    data = bytes(np.random.default_rng(1).integers(0, 9, 1 << 20, np.uint8))
    packed = gzip.compress(data[:400_000]) + gzip.compress(data[400_000:])
    for step in (1 << 16, 99_991, len(packed)):
        pieces = (packed[start : start + step] for start in range(0, len(packed), step))
        assert b"".join(headers._inflated(pieces)) == data
    for wrong in (packed[:-5], packed[:100], b"\x1f\x8b\x08" + b"x" * 50, packed + b"tail"):
        with pytest.raises(FormatError):
            list(headers._inflated([wrong]))
