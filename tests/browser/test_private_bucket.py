"""Neuroglancer shows what is in a bucket that it may not read itself: through this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

import precast
import viewer_page
from buckets import forget_credentials, upload
from fault_proxy import Plan, Request
from fault_proxy import running as proxy
from precast.cli.main import run
from precast.hosting.frame import WINDOW
from precast.storage import CloudStore
from s3_server import S3Server
from viewer_truth import grid, hash_colour, some_labels, write, wrong_share

SIZE = "640x480"


@pytest.fixture(scope="module", autouse=True)
def _browser() -> None:
    viewer_page.need_browser()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An image in single chunks, gzipped, and labels in shards with meshes and properties."""
    x, y, z = grid()
    em = (20 + 12 * (x // 8) + 8 * (y // 8) + 20 * (z // 8)).astype(np.uint8)
    write(tmp_path / "out" / "em", em, "image", unsharded=True, chunk_size="32")
    write(tmp_path / "out" / "labels", some_labels(), "segmentation")
    precast.mesh(tmp_path / "out" / "labels")
    return tmp_path / "out"


@pytest.fixture
def place(s3: S3Server, bucket: str, out: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The address of both in a bucket without a policy and without CORS rules."""
    forget_credentials(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    monkeypatch.setenv("AWS_REGION", s3.region)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    upload(out, CloudStore(f"s3://{bucket}/p"))
    assert s3.anonymously("GET", f"/{bucket}/p/em/info").status == 403
    yield f"s3://{bucket}/p"
    assert s3.anonymously("GET", f"/{bucket}/p/em/info").status == 403


def pixels(path: Path) -> np.ndarray:
    return np.asarray(imagecodecs.png_decode(path.read_bytes()))


def test_the_picture_is_that_of_the_data_on_a_disk(
    place: str, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = Path(os.environ.get("PRECAST_SCREENSHOTS", tmp_path))
    here, there = (pictures / f"private-{name}.png" for name in ("disk", "bucket"))
    assert run(["snapshot", str(out), "-o", str(here), "--size", SIZE]) == 0
    capsys.readouterr()
    assert run(["snapshot", place, "-o", str(there), "--size", SIZE]) == 0
    told = capsys.readouterr()
    assert told.err.startswith(f"info: read with your credentials through this machine ({place})\n")
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in told.out + told.err
    assert (pixels(there) == pixels(here)).all()
    assert len(np.unique(pixels(there).reshape(-1, 3), axis=0)) > 100  # grey levels, and three colours over them


def test_the_viewer_asks_this_machine_alone(place: str, tmp_path: Path) -> None:
    with precast.view(place) as view, viewer_page.open_page(WINDOW) as page:
        page.open(view.url)
        panels = page.panels(tmp_path / "view.png")
        assert page.problems == []
        data = [request.path for request in page.requests if "/p/" in request.path]
        assert all(path.startswith(view.server.url) for path in data)
        assert any(path.endswith(".shard") for path in data)
        assert any("/em/16_16_20/" in path for path in data)
        assert any("/labels/mesh/" in path for path in data)
    x, y, z = grid()
    em = 20.0 + 12 * (x // 8) + 8 * (y // 8) + 20 * (z // 8)
    labels = some_labels()
    seen = np.repeat(em[..., None], 3, axis=-1)
    for one in (7, 2**63 + 5, 99):
        seen[labels == one] = 0.5 * seen[labels == one] + 0.5 * hash_colour(one)
    assert wrong_share(panels, view.state, seen) == 0
    assert wrong_share(panels, view.state, np.roll(seen, 1, axis=2)) > 0.02


def test_rights_that_end_half_way_give_no_picture_and_the_reason(
    s3: S3Server, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def is_data(request: Request) -> bool:
        return "/8" in request.path or request.path.endswith(".shard")

    with proxy(s3.port, Plan(deny_from=1, only=is_data)) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
        assert run(["snapshot", f"{place}/labels", "-o", str(tmp_path / "x.png"), "--size", SIZE]) == 3
        assert between.counts["denied"] > 0
    told = capsys.readouterr()
    (line,) = [line for line in told.err.splitlines() if line.startswith("error: ")]
    assert "reading is refused (AccessDenied)" in line
    assert "\nhint: the credentials need s3:GetObject" in told.err
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in told.err
    assert "Traceback" not in told.err
    assert not (tmp_path / "x.png").exists()
