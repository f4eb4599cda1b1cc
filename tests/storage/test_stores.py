"""One contract for every store; a new backend subclasses ``StoreContract``."""

from __future__ import annotations

import gzip
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import pytest
from imagecodecs import brotli_encode

from precast.dataset.objects import attributes
from precast.errors import AccessDeniedError, FormatError, ObjectNotFoundError, StorageError, UsageError
from precast.precomputed.objects import ObjectKind
from precast.storage import Attributes, LocalStore, MemoryStore, ObjectStat
from precast.storage.encodings import unpack

PLAIN = Attributes()
GZIPPED = Attributes(encoding="gzip")


class StoreContract:
    """What every store promises."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        raise NotImplementedError

    def test_what_was_written_is_read(self, store) -> None:
        store.write("8_8_8/0-64_0-64_0-64", b"voxels", PLAIN)
        assert store.read("8_8_8/0-64_0-64_0-64") == b"voxels"
        store.write("8_8_8/0-64_0-64_0-64", b"", PLAIN)
        assert store.read("8_8_8/0-64_0-64_0-64") == b""

    def test_ranges(self, store) -> None:
        store.write("a.shard", bytes(range(100)), PLAIN)
        assert store.read("a.shard", 10, 20) == bytes(range(10, 20))
        assert store.read("a.shard", 90) == bytes(range(90, 100))
        assert store.read("a.shard", 95, 200) == bytes(range(95, 100))

    def test_gzipped_objects_are_received_inflated_and_never_by_range(self, store) -> None:
        store.write("chunk", gzip.compress(b"voxels" * 100), GZIPPED)
        assert store.read("chunk") == b"voxels" * 100
        with pytest.raises(StorageError, match="range"):
            store.read("chunk", 0, 10)
        assert store.stat("chunk").encoding == "gzip"
        assert store.stat("chunk").size == len(gzip.compress(b"voxels" * 100))
        assert [stat.key for stat in store.list()] == ["chunk"]

    def test_stored_bytes_are_as_they_were_written(self, store) -> None:
        packed = gzip.compress(b"voxels" * 100)
        store.write("chunk", packed, GZIPPED)
        store.write("a.shard", bytes(range(100)), PLAIN)
        found = store.read_stored("chunk")
        assert (found.data, found.encoding, found.etag) == (packed, "gzip", store.stat("chunk").etag)
        found = store.read_stored("chunk", 3, 9)
        assert (found.data, found.encoding) == (packed[3:9], "gzip")
        found = store.read_stored("a.shard", 95, 200)
        assert (found.data, found.encoding) == (bytes(range(95, 100)), "")
        assert store.read_stored("a.shard", 100, 200).data == b""
        with pytest.raises(ObjectNotFoundError):
            store.read_stored("nothing")

    def test_writing_leaves_no_other_form_behind(self, store, tmp_path) -> None:
        for data, how in ((gzip.compress(b"one"), GZIPPED), (b"two", PLAIN), (gzip.compress(b"three"), GZIPPED)):
            store.write("chunk", data, how)
            inside = gzip.decompress(data) if how is GZIPPED else data
            assert store.read("chunk") == inside
            assert [(stat.key, stat.size) for stat in store.list()] == [("chunk", len(data))]
        file = tmp_path / "part"
        file.write_bytes(b"four")
        store.write_file("chunk", file, PLAIN)
        assert store.read("chunk") == b"four"
        assert [(stat.key, store.stat(stat.key).encoding) for stat in store.list()] == [("chunk", "")]

    def test_missing_objects_are_errors_not_empty_data(self, store) -> None:
        for read in (store.read, store.stat):
            with pytest.raises(ObjectNotFoundError):
                read("nothing")

    def test_listing_is_sorted_and_by_prefix(self, store) -> None:
        for key in ("b/2", "b/10", "a/1", "info"):
            store.write(key, b"x", PLAIN)
        assert [stat.key for stat in store.list()] == ["a/1", "b/10", "b/2", "info"]
        assert [stat.key for stat in store.list("b/")] == ["b/10", "b/2"]
        assert [stat.key for stat in store.list("b/1")] == ["b/10"]
        assert list(store.list("none/")) == []

    def test_ranges_end_with_the_object(self, store) -> None:
        store.write("x", b"12345", PLAIN)
        assert store.read("x", 3, 2**50) == b"45"
        assert store.read("x", 9, 2**50) == b""

    def test_files_are_moved_in(self, store, tmp_path) -> None:
        source = tmp_path / "part"
        source.write_bytes(b"shard")
        store.write_file("s/0.shard", source, PLAIN)
        assert store.read("s/0.shard") == b"shard"
        assert not source.exists()

    def test_gzipped_files_are_moved_in_as_such(self, store, tmp_path) -> None:
        source = tmp_path / "part"
        source.write_bytes(gzip.compress(b"voxels"))
        store.write_file("s/chunk", source, GZIPPED)
        assert store.read("s/chunk") == b"voxels"
        assert store.stat("s/chunk").encoding == "gzip"
        assert [stat.key for stat in store.list()] == ["s/chunk"]

    def test_an_etag_changes_with_every_write(self, store) -> None:
        """Where a store has none, it is empty, also in listings."""
        found = []
        for data in (b"one", b"two"):
            store.write("x", data, PLAIN)
            (listed,) = store.list()
            assert listed.etag == store.stat("x").etag
            found.append(listed.etag)
        assert found == ["", ""] or found[0] != found[1]

    def test_deleting(self, store) -> None:
        store.write("x", b"1", PLAIN)
        store.delete("x")
        store.delete("x")
        with pytest.raises(ObjectNotFoundError):
            store.read("x")

    @pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a"])
    def test_keys_stay_inside(self, store, key) -> None:
        with pytest.raises(StorageError):
            store.write(key, b"", PLAIN)
        with pytest.raises(StorageError):
            store.read(key)

    def test_colons_are_kept(self, store) -> None:
        store.write("mesh/5:0", b"{}", PLAIN)
        assert [stat.key for stat in store.list("mesh/")] == ["mesh/5:0"]
        assert store.read("mesh/5:0") == b"{}"

    def test_it_pickles(self, store) -> None:
        store.write("x", b"1", PLAIN)
        assert pickle.loads(pickle.dumps(store)).read("x") == b"1"


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("br", brotli_encode)])
def test_nothing_unpacks_to_more_than_is_allowed(encoding: str, pack: Any) -> None:
    packed = pack(bytes(1 << 20))
    assert unpack(packed, encoding, 1 << 20) == bytes(1 << 20)
    with pytest.raises(FormatError, match=f"more than the {(1 << 20) - 1} bytes"):
        unpack(packed, encoding, (1 << 20) - 1)


def test_more_than_there_is_usually_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("precast.storage.encodings.USUAL_BYTES", 1000)
    assert unpack(bytes(brotli_encode(bytes(5000))), "br") == bytes(5000)


def test_an_imagecodecs_without_brotli_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        available = False

    monkeypatch.setattr(imagecodecs, "BROTLI", Missing)
    with pytest.raises(StorageError, match="imagecodecs cannot decode br") as caught:
        unpack(bytes(brotli_encode(b"x")), "br")
    assert "pip install" in caught.value.hint


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> MemoryStore:
        return MemoryStore()


class TestLocalStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalStore:
        return LocalStore(tmp_path / "root")

    def test_what_others_packed_with_brotli_is_received_unpacked(self, store) -> None:
        data = b"voxels" * 100
        packed = bytes(brotli_encode(data))
        store.root.mkdir()
        (store.root / "chunk.br").write_bytes(packed)
        assert store.read("chunk") == data
        assert replace(store.stat("chunk"), etag="") == ObjectStat(key="chunk", size=len(packed), encoding="br")
        assert list(store.list()) == [store.stat("chunk")]
        with pytest.raises(StorageError, match=r"chunk\.br.* cannot be read by ranges"):
            store.read("chunk", 0, 10)
        for spoiled in (packed[:-3], b"", b"\xff" + packed):
            (store.root / "chunk.br").write_bytes(spoiled)
            with pytest.raises(FormatError, match="not br data"):
                store.read("chunk")
        store.write("chunk", gzip.compress(b"new"), GZIPPED)
        assert [file.name for file in store.root.iterdir()] == ["chunk.gz"]
        for name in ("chunk", "chunk.br"):
            (store.root / name).write_bytes(packed)
        store.delete("chunk")
        assert list(store.root.iterdir()) == []

    def test_nothing_half_written_is_ever_visible(self, store, monkeypatch) -> None:
        store.write("x", b"old", PLAIN)

        def fail(*_: Any) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(Path, "replace", fail)
        with pytest.raises(StorageError, match="Input/output error"):
            store.write("x", b"new", PLAIN)
        assert store.read("x") == b"old"
        assert [file.name for file in store.root.iterdir()] == ["x"]

    def test_names_that_start_with_a_dot_are_not_objects(self, store) -> None:
        store.write("x", b"1", PLAIN)
        (store.root / ".x.part").write_bytes(b"half")
        assert [stat.key for stat in store.list()] == ["x"]

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may write everywhere")
    def test_permissions(self, store) -> None:
        store.root.mkdir()
        store.root.chmod(0o500)
        with pytest.raises(AccessDeniedError, match="permissions"):
            store.write("x", b"", PLAIN)


def test_what_is_read_by_ranges_is_never_stored_gzipped() -> None:
    assert attributes(ObjectKind.CHUNK, encoding="gzip").encoding == "gzip"
    with pytest.raises(UsageError, match="ranges"):
        attributes(ObjectKind.SHARD, encoding="gzip")


def test_links_that_lead_nowhere_are_listed(tmp_path: Path) -> None:
    """They are there, and cannot be read: not the same as absent."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "loop").symlink_to("loop")
    (tmp_path / "a" / "gone").symlink_to("nothing")
    (tmp_path / "a" / "real").write_bytes(b"12345")
    (tmp_path / "a" / "good").symlink_to("real")
    store = LocalStore(tmp_path)
    assert [stat.key for stat in store.list("a/")] == ["a/gone", "a/good", "a/loop", "a/real"]
    assert {stat.key: stat.size for stat in store.list("a/")}["a/good"] == 5
    with pytest.raises(StorageError):
        store.read("a/loop")
    with pytest.raises(ObjectNotFoundError):
        store.read("a/gone")
