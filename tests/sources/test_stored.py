"""Slices and stacks in buckets and on web servers: the same voxels as from a disk."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import imagecodecs
import numpy as np
import pytest
import tifffile

from buckets import Place, forget_credentials
from precast.cli.main import run
from precast.errors import ObjectNotFoundError, SourceError
from precast.geometry import Box, Vec3
from precast.sources import open_source
from precast.sources import stored as stored_module
from precast.storage import StoreOptions
from s3_server import S3Server

VOXELS = np.random.default_rng(3).integers(0, 250, (9, 40, 70)).astype(np.uint16)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    root = tmp_path / "files"
    for name in ("slices", "pngs"):
        (root / name).mkdir(parents=True)
    for z, image in enumerate(VOXELS):
        tifffile.imwrite(root / "slices" / f"em_{z:03d}.tif", image, rowsperstrip=8, compression="zlib")
        (root / "pngs" / f"{z}.png").write_bytes(imagecodecs.png_encode(image))
    (root / "slices" / "notes.txt").write_text("kept, and told")
    tifffile.imwrite(root / "stack.tif", VOXELS, photometric="minisblack")
    np.save(root / "stack.npy", VOXELS)
    np.save(root / "turned.npy", np.asfortranarray(VOXELS))
    return root


@pytest.fixture
def place(s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: Path) -> Place:
    forget_credentials(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.keys.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.keys.secret_key)
    monkeypatch.setenv("AWS_REGION", s3.region)
    monkeypatch.setenv("PRECAST_CACHE", str(tmp_path / "cache"))
    client = boto3.client("s3", endpoint_url=s3.endpoint, region_name=s3.region)
    for path in files.rglob("*"):
        if path.is_file():
            client.put_object(Bucket=bucket, Key=f"in/{path.relative_to(files).as_posix()}", Body=path.read_bytes())
    return Place(s3.endpoint, bucket, client)


def read(source: Any) -> np.ndarray[Any, Any]:
    out: np.ndarray[Any, Any] = np.empty(source.info.shape, source.info.dtype)
    source.read(source.info.bounds, out)
    found: np.ndarray[Any, Any] = out[0]
    return found


@pytest.mark.parametrize("name", ["slices", "slices/", "pngs", "stack.tif", "stack.npy", "turned.npy"])
@pytest.mark.parametrize("large", [False, True])
def test_the_same_voxels_and_facts(
    place: Place, files: Path, name: str, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:  # as with files that are too large to be read at once
        monkeypatch.setattr(stored_module, "WHOLE_BYTES", 512)
        monkeypatch.setattr(stored_module, "BLOCK_BYTES", 512)
        monkeypatch.setattr(stored_module, "BLOCKS", 3)
    local = open_source(files / name.rstrip("/"))
    far = open_source(place.url(f"in/{name}"), None, StoreOptions(endpoint=place.endpoint))
    assert far.info.shape == local.info.shape
    assert far.info.name == local.info.name
    assert [f.code for f in far.info.findings] == [f.code for f in local.info.findings]
    assert far.fingerprint().content == local.fingerprint().content
    far = pickle.loads(pickle.dumps(far))
    assert np.array_equal(read(far), VOXELS)
    box = Box(Vec3(3, 5, 2), Vec3(40, 33, 8))
    out = np.empty((1, *box.size.zyx), far.info.dtype)
    far.read(box, out)
    assert np.array_equal(out[0], VOXELS[2:8, 5:33, 3:40])


def test_the_stamp_changes_with_the_content(place: Place) -> None:
    options = StoreOptions(endpoint=place.endpoint)
    before = open_source(place.url("in/slices"), None, options).fingerprint()
    again = open_source(place.url("in/slices"), None, options).fingerprint()
    assert before == again
    data = place.bytes("in/slices/em_004.tif")
    place.client.put_object(Bucket=place.bucket, Key="in/slices/em_004.tif", Body=data[:-1] + b"x")
    after = open_source(place.url("in/slices"), None, options).fingerprint()
    assert after.stamp != before.stamp
    assert after.content == before.content


def test_what_is_wrong_is_told_by_address(place: Place) -> None:
    options = StoreOptions(endpoint=place.endpoint)
    with pytest.raises(ObjectNotFoundError, match="there is nothing at s3://"):
        open_source(place.url("nowhere"), None, options)
    with pytest.raises(SourceError, match="of unknown format beside 1 slices"):
        open_source(place.url("in"), None, options)
    source = open_source(place.url("in/slices"), None, options)
    place.client.put_object(Bucket=place.bucket, Key="in/slices/em_004.tif", Body=b"short")
    with pytest.raises(SourceError) as caught:
        read(source)
    assert "em_004.tif" in str(caught.value)
    place.client.delete_object(Bucket=place.bucket, Key="in/slices/em_004.tif")
    with pytest.raises(ObjectNotFoundError, match=r"em_004\.tif does not exist"):
        read(source)
    with pytest.raises(SourceError, match=r"numbers? .*4"):
        open_source(place.url("in/slices"), None, options)


def test_from_bucket_to_bucket(place: Place, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--resolution", "4,4,40", "--chunk-size", "32", "--kind", "image"]
    reached = ["--endpoint", place.endpoint]
    assert run(["convert", place.url("in/slices"), place.url("out/em"), *options, *reached]) == 0
    assert run(["convert", str(files / "slices"), str(tmp_path / "em"), *options]) == 0
    assert place.bytes("out/em/info") == (tmp_path / "em" / "info").read_bytes()
    shards = [path.relative_to(tmp_path / "em").as_posix() for path in (tmp_path / "em").rglob("*.shard")]
    assert shards
    assert all(place.bytes(f"out/em/{key}") == (tmp_path / "em" / key).read_bytes() for key in shards)
    assert run(["check", place.url("out/em"), "--against", place.url("in/slices"), *reached]) == 0
    capsys.readouterr()
    # an option for a bucket where there is none is no option
    assert run(["convert", str(files / "slices"), str(tmp_path / "other"), *options, *reached]) == 2
    assert "is in no bucket" in capsys.readouterr().err


@pytest.fixture
def site(files: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

        def send_head(self) -> Any:
            wanted = self.headers.get("Range")
            path = Path(self.translate_path(self.path))
            if not wanted or not path.is_file():
                return super().send_head()
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            data = path.read_bytes()
            piece = data[int(first) : int(last) + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(piece) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(piece)))
            self.end_headers()
            self.wfile.write(piece)
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(files)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_files_on_web_servers(site: str) -> None:
    for name in ("stack.tif", "stack.npy"):
        assert np.array_equal(read(open_source(f"{site}/{name}")), VOXELS)
    with pytest.raises(SourceError, match="a web server does not tell what is in a folder"):
        open_source(f"{site}/slices/")
    with pytest.raises(ObjectNotFoundError):
        open_source(f"{site}/nothing.tif")
