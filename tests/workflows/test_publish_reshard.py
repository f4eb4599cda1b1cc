"""``publish --reshard``: the same voxels and meshes, in shards; judged by other readers and by what convert writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cloudvolume import CloudVolume

import precast
from buckets import place_on, sign_in, upload
from oracles import read_tensorstore
from precast.checks import check
from precast.cli.main import run as main
from precast.errors import FormatError, ObjectNotFoundError, SourceError, StorageError
from precast.execution.published import transfer
from precast.precomputed import sharding
from precast.storage import Attributes, LocalStore, MemoryStore
from precast.workflows.publish import PublishOptions, publish, reshard, shard_spool
from published_data import Changing, contents, into
from s3_server import S3Server
from volume_files import labels, pyramid, volume_info, write_volume

RESHARD = PublishOptions(reshard=True)


@pytest.fixture(autouse=True)
def caches(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep what is remembered, and scratch files, out of the user's directories."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    scratch = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    return scratch


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let two chunks of the volumes by hand fill a shard."""
    monkeypatch.setattr(sharding, "MAX_SHARD_RAW_BYTES", 2 * 16 * 16 * 8 * 4)


def with_holes() -> Any:
    """Return labels of which some chunks are zeros."""
    data = labels(1).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    data[:, :40, :40] = 0
    return data


CASES = [("segmentation", "auto"), ("image", "raw"), ("image", "jpeg"), ("image", "png")]


@pytest.mark.parametrize(("kind", "encoding"), CASES)
def test_the_shards_are_those_that_convert_writes(tmp_path: Path, kind: str, encoding: str) -> None:
    data = with_holes() if kind == "segmentation" else (with_holes() % 251).astype(np.uint8)
    options: dict[str, Any] = {"resolution": "4.60,10,20", "chunk_size": "16", "kind": kind, "encoding": encoding}
    single, meant, target = tmp_path / "single", tmp_path / "meant", tmp_path / "target"
    precast.convert(data, single, precast.ConvertOptions(unsharded=True, **options))
    precast.convert(data, meant, precast.ConvertOptions(**options))
    publish(single, target, RESHARD)
    after, wanted = contents(LocalStore(target)), contents(LocalStore(meant))
    assert after.keys() == wanted.keys()
    assert [key for key in after if after[key] != wanted[key]] == ["info", "provenance"]
    assert json.loads(after["info"]) == json.loads(wanted["info"])
    volume = precast.open(single)
    for number, scale in enumerate(volume.scales):
        voxels = scale[:]
        assert (read_tensorstore(target, number)[0] == voxels).all()
        if encoding != "png":  # for which cloud-volume needs a package that is not everywhere
            other = CloudVolume(f"file://{target}", mip=number, progress=False)[:]
            assert (np.asarray(other)[..., 0].transpose(2, 1, 0) == voxels).all()
        assert precast.open(target).scales[number].stored_chunks() == scale.info.grid.volume
    assert check(target).findings == ()
    assert main(["diff", str(single), str(target)]) == 0
    assert publish(single, target, RESHARD).datasets[0].state == "unchanged"


@pytest.mark.parametrize("packed", [True, False])
def test_volumes_by_others(tmp_path: Path, small_shards: None, *, packed: bool) -> None:
    source = write_volume(tmp_path / "v", packed=packed)
    lost = min((source / "10_10_20").iterdir())
    lost.unlink()
    x, y, z = (slice(*(int(n) for n in part.split("-"))) for part in lost.name.removesuffix(".gz").split("_"))
    data = pyramid(labels())
    data[0] = data[0].copy()
    data[0][z.start - 4 : z.stop - 4, y, x.start - 8 : x.stop - 8] = 0
    target = tmp_path / "www"
    publish(source, target, RESHARD)
    assert len(list((target / "10_10_20").iterdir())) > 1
    assert not [path for path in target.glob("*_*/*") if path.suffix != ".shard"]
    for scale, voxels in enumerate(data):
        assert (read_tensorstore(target, scale)[0] == voxels).all()
        opened = precast.open(target).scales[scale]
        assert opened.stored_chunks() == opened.info.grid.volume  # background is stored, so that absent means lost
    assert [one.code for one in check(target).findings if one.severity.name == "ERROR"] == []


def test_the_text_of_the_info_stays(tmp_path: Path) -> None:
    source = write_volume(tmp_path / "v")
    text = (source / "info").read_text().replace('"resolution": [10, 10, 20]', '"resolution": [10.00, 10, 2e1]')
    (source / "info").write_text(text)
    target = MemoryStore()
    publish(source, target, RESHARD)
    after = target.read("info").decode()
    assert '"resolution": [10.00, 10, 2e1]' in after
    value = json.loads(after)
    kept = [{key: item for key, item in scale.items() if key != "sharding"} for scale in value["scales"]]
    assert {**value, "scales": kept} == json.loads(text)


def meshed(root: Path, **options: Any) -> Path:
    data = np.zeros((20, 20, 20), np.uint32)
    data[2:9, 2:9, 2:9], data[11:18, 3:9, 3:9] = 5, 12
    precast.convert(data, root, precast.ConvertOptions(resolution=8, kind="segmentation"))
    precast.mesh(root, precast.MeshOptions(**options))
    return root


def test_meshes_are_those_that_mesh_writes(tmp_path: Path) -> None:
    source, meant = meshed(tmp_path / "v", unsharded=True), meshed(tmp_path / "w")
    target = tmp_path / "www"
    publish(source, target, RESHARD)
    after, wanted = contents(LocalStore(target)), contents(LocalStore(meant))
    shards = {key: value for key, value in after.items() if key.startswith("mesh/") and key.endswith(".shard")}
    assert shards
    assert shards == {key: wanted[key] for key in wanted if key.startswith("mesh/") and key.endswith(".shard")}
    assert json.loads(after["mesh/info"]) == json.loads(wanted["mesh/info"])
    found = CloudVolume(f"file://{target}", progress=False).mesh.get([5, 12])
    other = CloudVolume(f"file://{source}", progress=False).mesh.get([5, 12])
    for segment in (5, 12):
        assert (found[segment].vertices == other[segment].vertices).all()
        assert (found[segment].faces == other[segment].faces).all()
    assert check(target).findings == ()
    # null, as others write it, is no sharding
    info = {**json.loads((source / "mesh" / "info").read_text()), "sharding": None}
    (source / "mesh" / "info").write_text(json.dumps(info))
    publish(source, again := MemoryStore(), RESHARD)
    assert json.loads(again.read("mesh/info")) == json.loads(wanted["mesh/info"])
    (source / "mesh" / "5").unlink()
    with pytest.raises(FormatError, match=r"mesh/5 is missing, which belongs to the mesh 5\.index"):
        publish(source, MemoryStore(), RESHARD)


def test_what_is_not_put_into_shards_is_told(tmp_path: Path) -> None:
    source = meshed(tmp_path / "v", format="legacy")
    target = MemoryStore()
    found = publish(source, target, RESHARD).findings
    assert [(one.code, one.where.rpartition("/")[2]) for one in found] == [("PU114", "mesh")]
    assert contents(target) == contents(LocalStore(source))  # the scale is sharded already: nothing changes
    info = volume_info()
    info["scales"][0]["chunk_sizes"].append([8, 8, 8])
    several = write_volume(tmp_path / "w", info)
    found = publish(several, other := MemoryStore(), RESHARD).findings
    assert [(one.code, one.where.rpartition("/")[2]) for one in found] == [("PU114", "10_10_20")]
    scales = json.loads(other.read("info"))["scales"]
    assert ["sharding" in scale for scale in scales] == [False, True]


# ---- interruptions, changes, bounds


class Killed(BaseException):
    """The end of a process."""


class Ending(MemoryStore):
    """Ends after some shards."""

    left = 10**9

    def write_file(self, key: str, path: Path, attributes: Attributes) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1
        super().write_file(key, path, attributes)


@pytest.fixture
def makes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keep which shards are made."""
    made: list[str] = []
    make = reshard._Scale.make

    def kept(self: Any, number: int, path: Path) -> None:
        made.append(f"{self.path}/{self.spec.shard_name(number)}")
        make(self, number, path)

    monkeypatch.setattr(reshard._Scale, "make", kept)
    return made


def test_after_an_end_in_the_middle_only_the_rest_is_made(
    tmp_path: Path, small_shards: None, makes: list[str], caches: Path
) -> None:
    source = write_volume(tmp_path / "v")
    whole = MemoryStore()
    publish(source, whole, RESHARD)
    shards = sorted(key for key in contents(whole) if key.endswith(".shard"))
    assert sorted(makes) == sorted(shards * 2)  # for the checksum, and to be sent
    makes.clear()
    target = Ending()
    target.left = 2
    with pytest.raises(Killed):
        publish(source, target, PublishOptions(reshard=True, threads=1))
    with pytest.raises(ObjectNotFoundError):
        target.read("info")
    sent = [key for key in shards if key in {stat.key for stat in target.list()}]
    assert len(sent) == 2
    assert len(makes) in (3, 4)  # the checksums are known from before; a thread may have begun another
    makes.clear()
    target.left = 10**9
    publish(source, target, RESHARD)
    assert sorted(makes) == [key for key in shards if key not in sent]
    assert contents(target) == contents(whole)
    makes.clear()
    assert publish(source, target, RESHARD).datasets[0].state == "unchanged"
    assert makes == []
    assert list(caches.iterdir()) == []


def test_an_end_while_checksums_are_made(
    tmp_path: Path, small_shards: None, makes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_volume(tmp_path / "v")
    finish = shard_spool.ShardSpool.finish
    calls = []

    def ending(self: Any) -> None:
        calls.append(1)
        if len(calls) in (4, 5):
            raise Killed
        finish(self)

    monkeypatch.setattr(shard_spool.ShardSpool, "finish", ending)
    with pytest.raises(Killed):
        publish(source, MemoryStore(), RESHARD)
    first = makes[:3]
    makes.clear()
    publish(source, target := MemoryStore(), RESHARD)
    assert all(makes.count(key) == (1 if key in first else 2) for key in contents(target) if key.endswith(".shard"))


def test_a_chunk_that_is_written_meanwhile_is_an_error(tmp_path: Path, small_shards: None) -> None:
    source = into(Changing(), write_volume(tmp_path / "v", packed=False))
    source.key = min(stat.key for stat in source.list() if stat.key.startswith("10_10_20/"))
    target = MemoryStore()
    with pytest.raises(SourceError, match=r"\.shard was changed while it was being published"):
        publish(source, target, RESHARD)
    with pytest.raises(ObjectNotFoundError):
        target.read("info")
    source.key, key = "", source.key
    publish(source, target, RESHARD)
    assert target.read("info")
    # another chunk, another shard: what was remembered of the old one does not count
    path = tmp_path / "v" / key
    publish(tmp_path / "v", first := MemoryStore(), RESHARD)
    path.write_bytes(bytes(path.stat().st_size))
    publish(tmp_path / "v", second := MemoryStore(), RESHARD)
    assert contents(first) != contents(second)
    assert contents(second) == {**contents(target), "provenance": contents(second)["provenance"]}


def test_a_chunk_that_is_broken_is_an_error(tmp_path: Path) -> None:
    source = write_volume(tmp_path / "v")
    path = min((source / "10_10_20").iterdir())
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StorageError, match="is not the gzip that its header says") as error:
        publish(source, MemoryStore(), RESHARD)
    assert path.name.removesuffix(".gz") in error.value.message


def test_few_shards_and_values_are_kept_at_once(
    tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_volume(tmp_path / "v")
    monkeypatch.setattr(transfer, "PIECE_BYTES", 1000)
    on_disk: list[int] = []
    spools: set[int] = set()
    enter, leave = shard_spool.ShardSpool.__enter__, shard_spool.ShardSpool.__exit__

    def entered(self: Any) -> Any:
        spools.add(id(self))
        on_disk.append(len(spools))
        return enter(self)

    def left(self: Any, *error: object) -> None:
        leave(self, *error)
        spools.discard(id(self))

    monkeypatch.setattr(shard_spool.ShardSpool, "__enter__", entered)
    monkeypatch.setattr(shard_spool.ShardSpool, "__exit__", left)
    publish(source, MemoryStore(), PublishOptions(reshard=True, threads=16))
    assert len(on_disk) > 8
    assert max(on_disk) <= 2


def test_from_bucket_to_bucket(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_in(monkeypatch, tmp_path, s3)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    place = place_on(s3)
    source = write_volume(tmp_path / "v")
    upload(source, place.store("a/v"))
    assert main(["publish", place.url("a/v"), place.url("b/v"), "--from-endpoint", s3.endpoint, "--reshard"]) == 0
    publish(source, tmp_path / "local", RESHARD)
    local = contents(LocalStore(tmp_path / "local"))
    assert {key: place.bytes(f"b/v/{key}") for key in local} == local
    head: Callable[[str], dict[str, Any]] = place.head
    shards = [key for key in local if key.endswith(".shard")]
    assert {head(f"b/v/{key}").get("ContentEncoding", "") for key in shards} == {""}
    for scale, data in enumerate(pyramid(labels())):
        assert (read_tensorstore(tmp_path / "local", scale)[0] == data).all()
