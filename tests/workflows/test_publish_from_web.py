"""``publish`` from web servers, which list nothing."""

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

import precast
import web_server
from precast.errors import AccessDeniedError, FormatError, ObjectNotFoundError, UsageError
from precast.execution.published import transfer
from precast.hosting.configurations import HostingOptions, configure_hosting
from precast.precomputed.collection import Collection, CollectionLayer
from precast.storage import LocalStore, MemoryStore
from precast.workflows.publish import publish, scales, unlisted
from published_data import contents, make
from scripted_server import Script, scripted
from volume_files import SHARDING, sharded_info, write_volume


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
    source = make(tmp_path / "v", unsharded=not sharded)
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
    make(root / "lab" / "single", unsharded=True)
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
    make(root / "one")
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
