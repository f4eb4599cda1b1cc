"""``publish`` from everything that can be read: buckets, web servers, what was published before, odd files."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imagecodecs import brotli_encode

import precast
import web_server
from buckets import Place, forget_credentials, new_place, upload
from oracles import read_tensorstore
from precast.cli.main import run as main
from precast.errors import AccessDeniedError, FormatError, ObjectNotFoundError, SourceError, UsageError
from precast.execution.published import transfer
from precast.hosting.configurations import HostingOptions, configure_hosting
from precast.precomputed.collection import Collection, CollectionLayer
from precast.storage import Attributes, CloudStore, LocalStore, MemoryStore, StoreOptions
from precast.storage.base import StoredBytes
from precast.workflows.publish import publish, scales, unlisted
from s3_server import REGION, S3Server
from scripted_server import Script, scripted
from volume_files import SHARDING, labels, pyramid, sharded_info, volume_info, write_volume


def contents(store: Any) -> dict[str, bytes]:
    """Return all that is at a place, unpacked, but what the publication itself keeps."""
    return {stat.key: store.read(stat.key) for stat in store.list() if not stat.key.startswith(".")}


def with_properties(root: Path, **options: Any) -> Path:
    values = {"resolution": "10,10,20", "chunk_size": "16", **options}
    precast.convert(labels(1), root, precast.ConvertOptions(**values))
    precast.properties(root, options=precast.PropertiesOptions())
    return root


# ---- buckets


@pytest.fixture
def place(s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    forget_credentials(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    monkeypatch.setenv("AWS_REGION", s3.region)
    return new_place(s3.endpoint, s3.access_key, s3.secret_key, s3.region)


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
    source = with_properties(tmp_path / "labels", unsharded=True)
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
    with_properties(root / "one")
    with_properties(root / "two", unsharded=True)
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
    source = with_properties(tmp_path / "labels", unsharded=True)
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


class Changing(MemoryStore):
    """Writes another object when one was read ``times`` times."""

    key = ""
    times = 1

    def read_stored(self, key: str, start: int | None = None, stop: int | None = None) -> StoredBytes:
        found = super().read_stored(key, start, stop)
        if key == self.key:
            self.times -= 1
            if self.times == 0:
                data, how = self._objects[key]
                self._objects[key] = (bytes(reversed(data)), how)
        return found


def into(store: Any, folder: Path) -> Any:
    """Copy a dataset into a store in memory, file by file."""
    for stat in LocalStore(folder).list():
        found = LocalStore(folder).read_stored(stat.key)
        store.write(stat.key, found.data, Attributes(encoding=found.encoding))
    return store


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
    first = with_properties(tmp_path / "first")
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
    source = with_properties(tmp_path / "v", unsharded=not sharded)
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


# ---- web servers


@pytest.fixture
def site() -> Iterator[Script]:
    with scripted() as script:
        yield script


def send(folder: Path, request: Any, *, head: int = 200, dynamic: bool = False, absent: int = 404) -> Any:
    """Answer as a server of files does, with ranges; packed files are packed objects."""
    path = folder / request.path.lstrip("/").partition("?")[0]
    packed = path.with_name(f"{path.name}.gz")
    if request.command == "HEAD" and head != 200:
        return head, {}, b""
    if packed.is_file():
        data, headers = packed.read_bytes(), {"Content-Encoding": "gzip"}
    elif path.is_file():
        data, headers = path.read_bytes(), {}
    else:
        return absent, {}, b"no"
    wanted = request.headers.get("Range")
    if wanted:
        start, stop = (int(number) for number in wanted.removeprefix("bytes=").split("-"))
        total, data = len(data), data[start : stop + 1]
        return 206, {**headers, "Content-Range": f"bytes {start}-{start + len(data) - 1}/{total}"}, data
    if dynamic and not headers and "gzip" in request.headers["Accept-Encoding"]:
        # packed on the way, of unknown length: the connection ends it
        return 200, {"Content-Encoding": "gzip", "Content-Length": None, "Connection": "close"}, gzip.compress(data)
    return 200, headers, data


@pytest.mark.parametrize("how", [{}, {"head": 405}, {"dynamic": True}])
@pytest.mark.parametrize("sharded", [True, False])
def test_from_a_web_server(tmp_path: Path, site: Script, how: dict[str, Any], *, sharded: bool) -> None:
    source = with_properties(tmp_path / "v", unsharded=not sharded)
    site.answers[None] = partial(send, source, **how)
    target = MemoryStore()
    publish(site.url, target)
    assert contents(target) == contents(LocalStore(source))
    encodings = {key: target.attributes(key).encoding for key in contents(target)}
    assert encodings == {stat.key: stat.encoding for stat in LocalStore(source).list()}
    # again: nothing has changed
    assert publish(site.url, target).datasets[0].state == "unchanged"


@pytest.mark.parametrize("server", ["nginx", "apache", "caddy"])
def test_from_a_real_web_server(server: str, tmp_path: Path) -> None:
    """One that packs whatever it can, and sends ``X.gz`` for ``X``."""
    web_server.need_server(server)
    root = tmp_path / "srv"
    with_properties(root / "lab" / "single", unsharded=True)
    meshed(root / "lab" / "shards", unsharded=True)
    layers = tuple(CollectionLayer(name=name, kind="segmentation") for name in ("single", "shards"))
    (root / "lab" / "precast.json").write_bytes(Collection(layers=layers).to_bytes())
    port = web_server.free_port()
    options = HostingOptions(url=f"http://localhost:{port}/lab/", root=root)
    text = configure_hosting(server, root / "lab", options).text
    target = MemoryStore()
    with web_server.running(server, tmp_path / "run", text, port):
        publish(f"http://localhost:{port}/lab", target)
        assert publish(f"http://localhost:{port}/lab", target).datasets[0].state == "unchanged"
    found = {key: value for key, value in contents(target).items() if "/." not in key}
    assert found == contents(LocalStore(root / "lab"))
    encodings = {key: target.attributes(key).encoding for key in found}
    assert encodings == {stat.key: stat.encoding for stat in LocalStore(root / "lab").list()}


def test_large_objects_of_a_web_server_are_read_in_ranges(
    tmp_path: Path, site: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "PIECE_BYTES", 500)
    source = write_volume(tmp_path / "v", sharded_info())
    packed = source / "10_10_20" / "0.shard"
    assert packed.stat().st_size > 500
    site.answers[None] = partial(send, source)
    target = MemoryStore()
    publish(site.url, target)
    assert contents(target) == contents(LocalStore(source))
    ranges = [
        headers.get("Range") for verb, path, headers in site.seen if path == "/10_10_20/0.shard" and verb == "GET"
    ]
    assert None not in ranges
    # packed chunks too
    unpacked = write_volume(tmp_path / "u")
    site.answers[None] = partial(send, unpacked)
    monkeypatch.setattr(transfer, "PIECE_BYTES", 50)
    other = MemoryStore()
    publish(site.url, other)
    assert contents(other) == contents(LocalStore(unpacked))
    assert all(other.read_stored(key).data == LocalStore(unpacked).read_stored(key).data for key in contents(other))


def test_what_a_web_server_does_not_have(tmp_path: Path, site: Script) -> None:
    source = write_volume(tmp_path / "v")
    lost = sorted((source / "10_10_20").iterdir())[0]
    kept = lost.read_bytes()
    lost.unlink()
    site.answers[None] = partial(send, source)
    target = MemoryStore()
    publish(site.url, target)  # nothing says that it should be there: background, as readers take it
    assert contents(target) == contents(LocalStore(source))
    step: dict[str, Any] = {
        "tool": "precast",
        "scales": [{"key": "10_10_20", "stored_chunks": 12, "background_chunks": 0}],
    }
    (source / "provenance").write_text(json.dumps({"processing": [step]}))
    with pytest.raises(FormatError, match="11 of the 12 chunks that were stored are there"):
        publish(site.url, MemoryStore())
    lost.write_bytes(kept)
    publish(site.url, MemoryStore())
    # a refusal is never taken for absence
    lost.unlink()
    site.answers[None] = partial(send, source, absent=403)
    with pytest.raises(AccessDeniedError, match="refuses access"):
        publish(site.url, MemoryStore())
    site.answers[None] = partial(send, source)
    shutil.rmtree(source / "20_20_40")
    lost.write_bytes(kept)
    with pytest.raises(FormatError, match="20_20_40: the server sends not one chunk"):
        publish(site.url, MemoryStore())


def test_shards_with_hashed_keys_are_asked_for(tmp_path: Path, site: Script) -> None:
    info = sharded_info()
    for scale in info["scales"]:
        scale["sharding"] = SHARDING | {"shard_bits": 1, "preshift_bits": 0}  # more keys than bits: they wrap
    source = write_volume(tmp_path / "v", info)
    site.answers[None] = partial(send, source)
    names = {path.name for path in source.rglob("*.shard")}
    target = MemoryStore()
    publish(site.url, target)
    assert {key for key in contents(target) if key.endswith(".shard")} <= {
        f"{scale['key']}/{n}.shard" for scale in info["scales"] for n in range(2)
    }
    assert names >= {"0.shard", "1.shard"}


def meshed(root: Path, **options: Any) -> Path:
    data = np.zeros((20, 20, 20), np.uint32)
    data[2:9, 2:9, 2:9], data[11:18, 3:9, 3:9] = 5, 12
    precast.convert(data, root, precast.ConvertOptions(resolution=8, kind="segmentation"))
    precast.mesh(root, precast.MeshOptions(**options))
    return root


@pytest.mark.parametrize("options", [{}, {"unsharded": True}, {"format": "legacy"}])
def test_meshes_of_a_web_server(tmp_path: Path, site: Script, options: dict[str, Any]) -> None:
    source = meshed(tmp_path / "v", **options)
    site.answers[None] = partial(send, source)
    target = MemoryStore()
    publish(site.url, target)
    assert contents(target) == contents(LocalStore(source))
    (source / "label_table.npy").unlink()
    again = MemoryStore()
    found = publish(site.url, again)
    assert contents(again) == contents(LocalStore(source))
    told = [one for one in found.findings if one.code == "PU111"]
    if not options:
        assert not told
        return
    assert "2 objects" in told[0].message
    # nothing names the objects: refused, not copied without its meshes
    info = json.loads((source / "info").read_text())
    del info["segment_properties"]
    (source / "info").write_text(json.dumps(info))
    mesh = source / info["mesh"] / "info"
    value = json.loads(mesh.read_text())
    value.pop("segment_properties", None)
    mesh.write_text(json.dumps(value))
    with pytest.raises(FormatError, match="which objects there are cannot be known") as error:
        publish(site.url, MemoryStore())
    assert "s3://" in (error.value.hint or "")


@pytest.mark.parametrize("options", [{"unsharded": True}, {"format": "legacy"}])
def test_half_a_mesh_is_an_error(tmp_path: Path, site: Script, options: dict[str, Any]) -> None:
    source = meshed(tmp_path / "v", **options)
    mesh = source / json.loads((source / "info").read_text())["mesh"]
    lost = next(path for path in mesh.iterdir() if path.name in ("5", "5.gz", "5.part0", "5.part0.gz"))
    lost.unlink()
    site.answers[None] = partial(send, source)
    with pytest.raises(FormatError, match="is missing, which belongs to a mesh"):
        publish(site.url, MemoryStore())


def test_too_much_to_ask_for_is_refused(tmp_path: Path, site: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    source = meshed(tmp_path / "v")
    site.answers[None] = partial(send, source)
    monkeypatch.setattr(scales, "MOST_NAMES", 0)
    with pytest.raises(UsageError, match=r"may have .* objects"):
        publish(site.url, MemoryStore())
    monkeypatch.undo()
    monkeypatch.setattr(unlisted, "MOST_SHARDS", 1)
    mesh = source / json.loads((source / "info").read_text())["mesh"] / "info"
    value = json.loads(mesh.read_text())
    value["sharding"]["shard_bits"] = 30
    mesh.write_text(json.dumps(value))
    with pytest.raises(UsageError, match=r"may have 2\^30 shards"):
        publish(site.url, MemoryStore())


def test_a_collection_on_a_web_server(tmp_path: Path, site: Script) -> None:
    root = tmp_path / "data"
    with_properties(root / "one")
    site.answers[None] = partial(send, root)
    with pytest.raises(ObjectNotFoundError, match="has no info file") as error:
        publish(site.url, MemoryStore())
    assert "precast.json" in (error.value.hint or "")
    layers = (CollectionLayer(name="one", kind="segmentation"),)
    (root / "precast.json").write_bytes(Collection(layers=layers).to_bytes())
    target = MemoryStore()
    publish(site.url, target)
    found = {key: value for key, value in contents(target).items() if not key.startswith("one/.")}
    assert found == contents(LocalStore(root))


def collection_of_points(root: Path, *, cells: bool) -> Path:
    """Write an annotation collection by hand: one spatial level, and annotations by id."""
    info: dict[str, Any] = {
        "@type": "neuroglancer_annotations_v1",
        "dimensions": {"x": [1e-9, "m"], "y": [1e-9, "m"], "z": [1e-9, "m"]},
        "lower_bound": [0, 0, 0],
        "upper_bound": [10, 10, 10],
        "annotation_type": "POINT",
        "properties": [],
        "relationships": [],
        "by_id": {"key": "by_id"},
        "spatial": [{"key": "spatial0", "grid_shape": [2, 1, 1], "chunk_size": [5, 10, 10], "limit": 1}],
    }
    if cells:
        info["by_id"]["sharding"] = SHARDING
    (root / "by_id").mkdir(parents=True)
    (root / "spatial0").mkdir()
    (root / "by_id" / ("3.shard" if cells else "7")).write_bytes(bytes(64))
    (root / "spatial0" / "1_0_0").write_bytes(bytes(range(28)))
    (root / "info").write_text(json.dumps(info))
    return root


def test_annotations_of_a_web_server(tmp_path: Path, site: Script) -> None:
    source = collection_of_points(tmp_path / "a", cells=True)
    site.answers[None] = partial(send, source)
    target = MemoryStore()
    publish(site.url, target)
    assert contents(target) == contents(LocalStore(source))
    site.answers[None] = partial(send, collection_of_points(tmp_path / "b", cells=False))
    with pytest.raises(FormatError, match="do not list annotations with an object each"):
        publish(site.url, MemoryStore())
