"""``publish --fix-headers``: what uploads by hand leave, planted fault by fault in a strict server."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from imagecodecs import brotli_encode

import precast
from buckets import Place, forget_credentials
from precast.cli.main import run
from precast.errors import AccessDeniedError, ObjectNotFoundError, UsageError
from precast.storage import Attributes, CloudStore, LocalStore, MemoryStore
from precast.workflows.fix_headers import fix_headers
from s3_server import S3Server
from watched_store import Killed, Watched

OCTETS = "application/octet-stream"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return two datasets: labels in shards with meshes, and an image in gzipped chunks, one of which is odd."""
    root = tmp_path_factory.mktemp("datasets")
    labels = np.zeros((40, 60, 70), np.uint32)
    labels[5:30, 5:40, 5:35] = 7
    labels[10:25, 45:55, 40:60] = 9
    precast.convert(labels, root / "labels", precast.ConvertOptions(resolution=8, kind="segmentation"))
    precast.mesh(root / "labels", precast.MeshOptions(unsharded=True))
    image = np.random.default_rng(0).integers(1, 255, (40, 60, 70)).astype(np.uint8)
    image[0, 0, :2] = 0x1F, 0x8B  # a chunk that begins as gzip data do, and is none
    for name, compress in (("em", "gzip"), ("plain", "none")):
        options = precast.ConvertOptions(resolution=8, kind="image", unsharded=True, chunk_size="32", compress=compress)
        precast.convert(image, root / name, options)
    return root


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def headers(key: str) -> dict[str, str]:
    """Return the headers that an object must have, by the format alone."""
    name = key.rpartition("/")[2]
    rewritten = name in ("info", "provenance")
    json_too = rewritten
    return {"ContentType": "application/json" if json_too else OCTETS, "CacheControl": cache(rewritten)}


def cache(rewritten: bool) -> str:
    return "no-cache" if rewritten else "public, max-age=3600"


@pytest.fixture
def place(s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    forget_credentials(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.keys.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.keys.secret_key)
    monkeypatch.setenv("AWS_REGION", s3.region)
    return Place(s3.endpoint, bucket, boto3.client("s3", endpoint_url=s3.endpoint))


def sync_by_hand(place: Place, folder: Path) -> None:
    """Upload files as they are, with no header but a type that was guessed."""
    for key, data in files(folder).items():
        place.client.put_object(Bucket=place.bucket, Key=f"p/{key}", Body=data, ContentType="binary/octet-stream")


def verify(place: Place, folder: Path, names: tuple[str, ...] = ("em", "plain", "labels")) -> None:
    wanted = {key: data for key, data in files(folder).items() if key.split("/")[0] in names}
    there = {one["Key"] for one in place.client.list_objects_v2(Bucket=place.bucket, Prefix="p/")["Contents"]}
    assert there == {f"p/{key.removesuffix('.gz')}" for key in wanted}
    for key, data in wanted.items():
        bare = key.removesuffix(".gz")
        head = place.head(f"p/{bare}")
        assert head.get("ContentEncoding", "") == ("gzip" if bare != key else ""), key
        assert {name: head[name] for name in ("ContentType", "CacheControl")} == headers(bare), key
        assert place.bytes(f"p/{bare}") == data


def test_a_sync_of_the_files(place: Place, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sync_by_hand(place, folder)
    before = {one["Key"]: one["ETag"] for one in place.client.list_objects_v2(Bucket=place.bucket)["Contents"]}
    reached = ["--endpoint", place.endpoint]
    assert run(["publish", "--fix-headers", place.url("p"), "--dry-run", *reached]) == 0
    told = capsys.readouterr().out
    assert "the name ends in .gz" in told
    assert "Content-Type: binary/octet-stream" in told
    after = {one["Key"]: one["ETag"] for one in place.client.list_objects_v2(Bucket=place.bucket)["Contents"]}
    assert after == before
    assert run(["publish", "--fix-headers", place.url("p"), *reached]) == 0
    assert "repaired and verified" in capsys.readouterr().err
    verify(place, folder)
    assert run(["check", place.url("p"), *reached]) == 0
    capsys.readouterr()
    assert run(["publish", "--fix-headers", place.url("p"), "--json", *reached]) == 0
    assert json.loads(capsys.readouterr().out)["result"]["repaired"] == 0


def put(place: Place, key: str, data: bytes, **headers: str) -> None:
    place.client.put_object(Bucket=place.bucket, Key=f"p/{key}", Body=data, **headers)


def gzip_without_label(place: Place, data: dict[str, bytes]) -> None:
    for key in [key for key in data if key.endswith(".gz")]:
        put(place, key.removesuffix(".gz"), data[key], ContentType=OCTETS)


def label_without_gzip(place: Place, data: dict[str, bytes]) -> None:
    for key in [key for key in data if not key.endswith(".gz")]:
        put(place, key, data[key], ContentEncoding="gzip")


def packed_with_label(place: Place, data: dict[str, bytes]) -> None:
    for key in [key for key in data if not key.endswith(".gz")]:
        put(place, key, gzip.compress(data[key]), ContentEncoding="gzip")


def packed_without_label(place: Place, data: dict[str, bytes]) -> None:
    for key in [key for key in data if key.endswith(".shard")]:
        put(place, key, gzip.compress(data[key]))


def kept_for_long(place: Place, data: dict[str, bytes]) -> None:
    for key in [key for key in data if key.endswith("info")]:
        put(place, key, data[key], ContentType="application/json", CacheControl="public, max-age=86400")


def brotli(place: Place, data: dict[str, bytes]) -> None:
    for key in [key for key in data if "em/8_8_8/" in key]:
        place.client.delete_object(Bucket=place.bucket, Key=f"p/{key}")
        put(place, f"{key.removesuffix('.gz')}.br", bytes(brotli_encode(gzip.decompress(data[key]))))


FAULTS = [gzip_without_label, label_without_gzip, packed_with_label, packed_without_label, kept_for_long, brotli]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.__name__))
def test_every_fault(place: Place, folder: Path, fault: Callable[[Place, dict[str, bytes]], None]) -> None:
    sync_by_hand(place, folder)
    data = files(folder)
    fault(place, data)
    if fault is gzip_without_label:
        for key in [key for key in data if key.endswith(".gz")]:
            place.client.delete_object(Bucket=place.bucket, Key=f"p/{key}")
    store = place.store("p")
    assert fix_headers(store).repaired
    for name in ("em", "plain", "labels"):
        here, there = precast.open(folder / name), precast.open(place.store(f"p/{name}"))
        for a, b in zip(here.scales, there.scales, strict=True):
            assert np.array_equal(a[:], b[:])
    report = precast.check(store)
    assert [finding for finding in report.findings if finding.severity != "info"] == []
    for key in {key.removesuffix(".gz") for key in data}:
        head = place.head(f"p/{key}")
        whole = not key.endswith((".shard", ".npy")) and not (key.startswith("labels/mesh/") and key[-1].isdigit())
        assert head.get("ContentEncoding", "") in (("", "gzip", "br") if whole else ("",)), key
        assert {name: head[name] for name in ("ContentType", "CacheControl")} == headers(key), key
    assert fix_headers(store).repaired == 0


def test_both_names(place: Place, folder: Path) -> None:
    sync_by_hand(place, folder)
    fix_headers(place.store("p"))
    data = files(folder)
    same, other = [key for key in data if key.startswith("em/8_8_8/")][:2]
    put(place, same, data[same])
    put(place, other, gzip.compress(b"something else"))
    done = fix_headers(place.store("p"))
    assert (done.repaired, done.copies) == (0, 1)
    assert [finding.code for finding in done.findings] == ["PU121"]
    with pytest.raises(place.client.exceptions.ClientError):
        place.head(f"p/{same}")
    assert gzip.decompress(place.bytes(f"p/{other}")) == b"something else"


def test_other_objects_are_left_alone(place: Place, folder: Path) -> None:
    sync_by_hand(place, folder)
    put(place, "notes/readme.gz", gzip.compress(b"hello"), ContentType="text/plain")
    put(place, "em/notes.txt", b"hello", ContentType="text/plain")
    done = fix_headers(place.store("p"))
    assert [finding.code for finding in done.findings] == ["PU120"]
    assert gzip.decompress(place.bytes("p/notes/readme.gz")) == b"hello"
    assert place.head("p/em/notes.txt")["ContentType"] == "text/plain"


def test_large_objects_in_pieces(place: Place, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("precast.workflows.fix_headers.PIECE_BYTES", 1000)
    sync_by_hand(place, folder)
    packed_with_label(place, files(folder))
    fix_headers(place.store("p"))
    for key, data in files(folder).items():
        if key.endswith(".shard"):
            assert place.bytes(f"p/{key}") == data


def test_killed_at_every_operation(folder: Path) -> None:
    start = Watched()
    for key, data in files(folder / "em").items():
        start.write(key, data, Attributes(content_type=""))
    start.write("16_16_8/odd", b"", Attributes())
    start.delete("16_16_8/odd")
    start = start.again()
    undisturbed = start.again()
    fix_headers(undisturbed, threads=1)
    count = len(undisturbed.operations)
    for number in itertools.chain(range(6), range(6, count, 7)):
        store = start.again()
        store.end_at, store.after = number, number % 2 == 0
        with pytest.raises(Killed):
            fix_headers(store, threads=1)
        readable = MemoryStore()
        readable._objects = dict(store._objects)
        store.end_at = None
        fix_headers(store)
        assert store.contents() == undisturbed.contents()
    assert np.array_equal(precast.open(undisturbed).scales[0][:], precast.open(folder / "em").scales[0][:])


def test_refusals(
    place: Place, folder: Path, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    with pytest.raises(UsageError, match="no headers that are kept with them"):
        fix_headers(LocalStore(folder / "em"))
    with pytest.raises(ObjectNotFoundError, match="it has no info"):
        fix_headers(place.store("nothing"))
    sync_by_hand(place, folder)
    keys = s3.new_user()
    s3.allow(
        place.bucket,
        {
            "Effect": "Allow",
            "Principal": {"AWS": keys.access_key},
            "Action": ["s3:GetObject", "s3:ListBucket"],
            "Resource": [f"arn:aws:s3:::{place.bucket}", f"arn:aws:s3:::{place.bucket}/*"],
        },
    )
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key)
    store = CloudStore(place.url("p"), place.store("p").options)
    with pytest.raises(AccessDeniedError) as caught:
        fix_headers(store)
    assert "s3:PutObject" in str(caught.value.hint)
    assert fix_headers(store, dry_run=True).repaired
    for arguments in (["a", "b"], ["a", "--public"], ["a", "--delete"], ["a", "--from-profile", "x"]):
        assert run(["publish", "--fix-headers", *arguments]) == 2
        assert "--fix-headers" in capsys.readouterr().err
