"""``publish`` from buckets, from what was published before, and from odd files."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from imagecodecs import brotli_encode

import precast
from buckets import Place, place_on, sign_in, upload
from oracles import read_tensorstore
from precast.cli.main import run as main
from precast.errors import FormatError, ObjectNotFoundError, SourceError, UsageError
from precast.execution.published import transfer
from precast.precomputed.collection import Collection, CollectionLayer
from precast.storage import CloudStore, LocalStore, MemoryStore, StoreOptions
from precast.storage.base import StoredBytes
from precast.workflows.publish import publish
from published_data import Changing, contents, into, make
from s3_server import REGION, S3Server
from volume_files import labels, pyramid, sharded_info, volume_info, write_volume

# ---- buckets


@pytest.fixture
def place(s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    sign_in(monkeypatch, tmp_path, s3)
    return place_on(s3)


def objects(place: Place, prefix: str) -> dict[str, tuple[bytes, str]]:
    """Return the stored bytes and encodings below a prefix, as Amazon's client tells them."""
    found = {}
    pages = place.client.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=prefix)
    for key in [one["Key"] for page in pages for one in page.get("Contents", [])]:
        name = key.removeprefix(prefix)
        if not name.startswith("."):
            found[name] = (place.bytes(key), place.head(key).get("ContentEncoding", ""))
    return found


def test_from_bucket_to_bucket_the_stored_bytes_are_the_same(place: Place, tmp_path: Path) -> None:
    source = make(tmp_path / "labels", unsharded=True)
    upload(source, place.store("a/labels"))
    name = place.client.create_bucket(
        Bucket=f"{place.bucket}-2", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    other = Place(place.endpoint, name["Location"].strip("/"), place.client)
    publish(place.store("a/labels"), other.store("b/labels"))
    before, after = objects(place, "a/labels/"), objects(other, "b/labels/")
    assert after == before
    assert {encoding for _, encoding in after.values()} == {"", "gzip"}
    files = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    assert {name.removesuffix(".gz") for name in files} == set(after)


def test_a_collection_from_a_bucket_to_a_directory_by_the_command_line(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    make(root / "one")
    make(root / "two", unsharded=True)
    layers = (CollectionLayer(name="two", kind="segmentation"),)
    (root / "precast.json").write_bytes(Collection(layers=layers).to_bytes())
    upload(root, place.store("p"))
    target = tmp_path / "copy"
    assert main(["publish", place.url("p"), str(target), "--from-endpoint", place.endpoint]) == 0
    assert contents(LocalStore(target / "two")) == contents(LocalStore(root / "two"))
    assert (target / "precast.json").read_bytes() == (root / "precast.json").read_bytes()
    assert not (target / "one").exists()
    assert "one/" in capsys.readouterr().err  # left out, and told
    assert main(["publish", str(root), str(tmp_path / "x"), "--from-endpoint", place.endpoint]) == 2
    assert "--from-endpoint" in capsys.readouterr().err
    assert main(["publish", "--rollback", str(target), "--from-anonymous"]) == 2


class Counting(CloudStore):
    """A bucket that tells what is read."""

    def start(self) -> Counting:
        self.seen: list[str] = []
        return self

    def read_stored(self, key: str, start: int | None = None, stop: int | None = None) -> StoredBytes:
        self.seen.append(key)
        return super().read_stored(key, start, stop)


def test_what_a_publication_wrote_down_is_not_read_again(place: Place, tmp_path: Path) -> None:
    source = make(tmp_path / "labels", unsharded=True)
    publish(source, place.store("a"))
    store = Counting(place.url("a"), StoreOptions(endpoint=place.endpoint)).start()
    target = MemoryStore()
    publish(store, target)
    assert contents(target) == contents(LocalStore(source))
    # each once: to be sent
    assert sorted(key for key in store.seen if "/" in key) == sorted(key for key in contents(target) if "/" in key)
    store.seen.clear()
    assert publish(store, target).datasets[0].state == "unchanged"
    assert [key for key in store.seen if "/" in key] == []
    # what somebody has written since is read
    key = next(key for key in contents(target) if "_" in key.partition("/")[2])
    changed = gzip.compress(contents(target)[key][::-1])
    place.client.put_object(Bucket=place.bucket, Key=f"a/{key}", Body=changed, ContentEncoding="gzip")
    store.seen.clear()
    assert publish(store, target).datasets[0].changed == 1
    chunks = [one for one in store.seen if "/" in one]
    assert chunks.count(key) == 2
    assert all(chunks.count(one) == 1 for one in chunks if one != key)  # to be sent to another directory
    info = json.loads(target.read("info"))
    path = next(scale["key"] for scale in info["scales"] if key.partition("/")[0] in scale["key"])
    assert target.read(f"{path}/{key.partition('/')[2]}") == gzip.decompress(changed)


@pytest.mark.parametrize("piece", [1 << 20, 300])
@pytest.mark.parametrize("local", [True, False])
def test_an_object_that_is_written_meanwhile_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int, *, local: bool
) -> None:
    monkeypatch.setattr(transfer, "PIECE_BYTES", piece)
    source = into(Changing(), write_volume(tmp_path / "v", sharded_info()))
    source.key = next(stat.key for stat in source.list() if stat.key.endswith(".shard") and stat.size > 1000)
    target: Any = LocalStore(tmp_path / "www") if local else MemoryStore()
    with pytest.raises(SourceError, match="was changed while it was being published"):
        publish(source, target)
    with pytest.raises(ObjectNotFoundError):
        target.read("info")
    with pytest.raises(ObjectNotFoundError):
        target.read(source.key)
    source.key = ""
    publish(source, target)
    assert contents(target) == contents(source)


def test_a_bucket_that_is_written_while_it_is_listed_is_an_error(place: Place, tmp_path: Path) -> None:
    upload(write_volume(tmp_path / "v"), place.store("a"))

    class Late(Counting):
        def list(self, prefix: str = "") -> Iterator[Any]:
            found = list(super().list(prefix))
            if not prefix:
                place.client.put_object(Bucket=place.bucket, Key=f"a/{found[0].key}", Body=b"0" * found[0].size)
            return iter(found)

    store = Late(place.url("a"), StoreOptions(endpoint=place.endpoint)).start()
    with pytest.raises(SourceError, match="was changed while it was being published"):
        publish(store, MemoryStore())


@pytest.mark.parametrize("local", [True, False])
def test_large_objects_are_read_in_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, local: bool) -> None:
    monkeypatch.setattr(transfer, "PIECE_BYTES", 500)
    asked: list[tuple[str, int | None]] = []

    class Asked(MemoryStore):
        def read_stored(self, key: str, start: int | None = None, stop: int | None = None) -> StoredBytes:
            asked.append((key, None if start is None or stop is None else stop - start))
            return super().read_stored(key, start, stop)

    source = into(Asked(), write_volume(tmp_path / "v", sharded_info()))
    sizes = {stat.key: stat.size for stat in source.list()}
    target: Any = LocalStore(tmp_path / "www") if local else MemoryStore()
    publish(source, target)
    assert contents(target) == contents(source)
    large = [(key, length) for key, length in asked if sizes[key] > 500]
    assert {key for key, _ in large} == {key for key in sizes if sizes[key] > 500 and key.endswith(".shard")}
    assert all(length is not None and length <= 500 for _, length in large)
    assert sum(length or 0 for _, length in large) == 2 * sum(sizes[key] for key in {key for key, _ in large})


def test_a_shard_that_is_stored_packed_is_refused(place: Place, tmp_path: Path) -> None:
    upload(write_volume(tmp_path / "v", sharded_info()), place.store("a"))
    key = "a/10_10_20/1.shard"
    place.client.put_object(Bucket=place.bucket, Key=key, Body=gzip.compress(place.bytes(key)), ContentEncoding="gzip")
    with pytest.raises(FormatError, match=r"1\.shard is packed as gzip"):
        publish(place.store("a"), MemoryStore())


def test_places_in_one_another_are_refused(place: Place, tmp_path: Path) -> None:
    upload(write_volume(tmp_path / "v"), place.store("a/v"))
    web = f"{place.endpoint}/{place.bucket}"
    for source, target in (("a/v", "a/v"), ("a/v", "a/v/w"), ("a/v", "a")):
        with pytest.raises(UsageError, match="in one another"):
            publish(place.store(source), place.store(target))
        with pytest.raises(UsageError, match="in one another"):
            publish(f"{web}/{source}", place.store(target))
    publish(place.store("a/v"), place.store("a/v2"))
    same = MemoryStore()
    with pytest.raises(UsageError, match="in one another"):
        publish(same, same)


# ---- generations, and odd files


def test_a_copy_of_a_later_generation_has_plain_paths(tmp_path: Path) -> None:
    first = make(tmp_path / "first")
    second = tmp_path / "second"
    shutil.copytree(first, second)
    path = second / "segment_properties" / "info"
    path.write_text(path.read_text().replace('"voxels"', '"count"'))
    published, copied, straight = MemoryStore(), MemoryStore(), MemoryStore()
    publish(first, published)
    publish(second, published)
    assert json.loads(published.read("info"))["segment_properties"].startswith("gen-")
    done = publish(published, copied)
    assert contents(copied) == contents(LocalStore(second))
    assert done.datasets[0].generation == publish(second, straight).datasets[0].generation
    assert not [one for one in done.findings if one.code == "PU102"]  # the former generation is known


def test_generations_that_would_fall_together_stay(tmp_path: Path) -> None:
    info = volume_info()
    info["scales"][1]["key"] = f"gen-0123456789ab/{info['scales'][0]['key']}"
    (tmp_path / "gen-0123456789ab").mkdir()
    source = tmp_path / "v"
    write_volume(source, {**info, "scales": info["scales"][:1]}, pyramid(labels())[:1])
    other = write_volume(
        tmp_path / "w", {**volume_info(), "scales": volume_info()["scales"][1:]}, pyramid(labels())[1:]
    )
    shutil.move(other / "20_20_40", source / "gen-0123456789ab" / "10_10_20")
    (source / "info").write_text(json.dumps(info))
    target = tmp_path / "www"
    publish(source, target)
    assert contents(LocalStore(target)) == contents(LocalStore(source))


def test_chunks_in_folders_are_published_flat(tmp_path: Path) -> None:
    source = write_volume(tmp_path / "v")
    for file in sorted(source.glob("*_*/*")):
        name = file.parent / file.name.replace("_", "/")
        name.parent.mkdir(parents=True, exist_ok=True)
        file.rename(name)
    target = tmp_path / "www"
    publish(source, target)
    assert not [
        path
        for path in target.rglob("*")
        if path.is_dir() and path.parent.parent == target and path.parent.name != ".published"
    ]
    flat = LocalStore(target)
    plain = MemoryStore()
    publish(flat, plain)
    for stat in [stat for stat in flat.list() if "/" in stat.key and not stat.key.startswith(".")]:
        for part in target.glob(f"{stat.key}.gz"):  # the oracle reads files as they are
            part.with_suffix("").write_bytes(gzip.decompress(part.read_bytes()))
    for scale, data in enumerate(pyramid(labels())):
        assert (read_tensorstore(target, scale)[0] == data).all()
        assert (precast.open(source).scales[scale][:] == data).all()


def test_brotli_stays_and_is_told(tmp_path: Path) -> None:
    source = write_volume(tmp_path / "v", packed=False)
    for file in sorted(source.glob("*_*/*")):
        file.with_name(f"{file.name}.br").write_bytes(brotli_encode(file.read_bytes()))
        file.unlink()
    target = MemoryStore()
    found = publish(source, target).findings
    assert contents(target) == contents(LocalStore(source))
    assert {target.attributes(key).encoding for key in contents(target)} == {"", "br"}
    assert [one.code for one in found] == ["PU112"]


@pytest.mark.parametrize("sharded", [True, False])
def test_a_hole_is_an_error(tmp_path: Path, *, sharded: bool) -> None:
    source = make(tmp_path / "v", unsharded=not sharded)
    lost = sorted(source.glob("10_10_20/*"))[0]
    data = lost.read_bytes()
    if not sharded:
        lost.unlink()
        with pytest.raises(FormatError, match="5 of the 6 chunks that were stored are there"):
            publish(source, MemoryStore())
        lost.write_bytes(data)
    else:
        for file in source.glob("10_10_20/*"):
            file.unlink()
        with pytest.raises(FormatError, match="holds none of the shards"):
            publish(source, MemoryStore())
        lost.write_bytes(data)
    publish(source, MemoryStore())


def test_a_lost_shard_is_an_error(tmp_path: Path) -> None:
    source = write_volume(tmp_path / "v", sharded_info())
    step: dict[str, Any] = {
        "tool": "precast",
        "scales": [{"key": "10_10_20", "stored_chunks": 12, "background_chunks": 0}],
    }
    (source / "provenance").write_text(json.dumps({"processing": [step]}))
    shards = sorted((source / "10_10_20").iterdir())
    data = shards[0].read_bytes()
    shards[0].unlink()
    with pytest.raises(FormatError, match=r"the shards 0\.shard are missing"):
        publish(source, MemoryStore())
    # some are said to be background: then the indices tell
    step["scales"][0].update(stored_chunks=9, background_chunks=3)
    (source / "provenance").write_text(json.dumps({"processing": [step]}))
    with pytest.raises(FormatError, match="of the 9 chunks that were stored are there"):
        publish(source, MemoryStore())
    shards[0].write_bytes(data)
    publish(source, MemoryStore())
