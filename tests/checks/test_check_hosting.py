"""Data on web servers: what is right is found right, and what is looked at; options, addresses, threads."""

from __future__ import annotations

import gzip
import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import precast
from faulty_site import (
    Reply,
    Request,
    Site,
    header,
    on,
    replaced,
    running,
    with_status,
)
from hosting_site import ORIGIN, codes, make_data, soft_page
from precast.checks import CheckOptions, check
from precast.checks.hosting_walk import spread
from precast.errors import ObjectNotFoundError, StorageError, UsageError
from precast.geometry import Vec3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("site") / "data")


@pytest.fixture
def site(data: Path) -> Iterator[Site]:
    with running(data.parent) as found:
        yield found


def test_a_clean_collection(site: Site, data: Path) -> None:
    report = check(f"{site.url}/data/")
    assert report.findings == ()
    assert report.ok
    assert [dataset.name for dataset in report.datasets] == ["", "files", "shards", "old", "points"]
    kinds = [dataset.kind for dataset in report.datasets]
    assert kinds == ["collection", "segmentation", "segmentation", "segmentation", "annotations"]
    looked = {
        (dataset.name, place.path): place.objects
        for dataset in report.datasets
        for place in dataset.places
        if place.objects
    }
    scales = ("8_8_8", "16_16_16", "32_32_32")
    parts = ("", *scales, "segment_properties", "mesh")
    wanted = {(name, part) for name in ("files", "shards", "old") for part in parts}
    wanted |= {(name, "skeletons") for name in ("files", "shards")} | {("", "")}
    wanted |= {("points", part) for part in ("", "by_id", "rel_cell", "spatial0")}
    assert set(looked) == wanted
    assert looked["files", "mesh"] == 3, "info, manifest, fragments"
    assert looked["old", "mesh"] == 3, "info, manifest, fragment"
    origins = {request.headers.get("origin") for request in site.seen if "range" not in request.headers}
    assert origins == {"https://neuroglancer-demo.appspot.com"}
    assert {request.headers["accept-encoding"] for request in site.seen if request.ranged} == {
        "identity",
        "gzip, deflate",
    }


def test_no_shard_is_read_as_a_whole(site: Site, data: Path) -> None:
    check(f"{site.url}/data/shards")
    assert [
        one.path for one in site.seen if one.name.endswith(".shard") and one.method == "GET" and not one.ranged
    ] == []
    # the server does not know ranges: what comes is left after its beginning
    big = data.parent / "big"
    shutil.copytree(data / "shards", big)
    try:
        file = next((big / "8_8_8").glob("*.shard"))
        file.write_bytes(file.read_bytes() + bytes(40 << 20))
        site.sent_bytes = 0
        site.fault = lambda request, reply: (
            replaced(200, file.read_bytes())(reply) if request.name == file.name else None
        )
        assert "PC940" in {finding.code for finding in check(f"{site.url}/big").findings}
        assert site.sent_bytes < 40 << 20, "the connection was closed before the end"
    finally:
        shutil.rmtree(big)


def test_precast_serves_as_it_should(data: Path) -> None:
    with precast.serve(data, precast.ServeOptions(port=0)) as served:
        report = check(f"{served.url}data")
        assert report.findings == ()
        assert len(report.datasets) == 5


# ---- what is unusual, and infos that are


def test_what_is_unusual_but_legal(site: Site) -> None:
    def unusual(request: Request, reply: Reply) -> None:
        reply.headers.pop("Access-Control-Expose-Headers", None)
        reply.headers["Access-Control-Expose-Headers"] = "*"
        if request.method == "OPTIONS":
            reply.status = 200
            reply.headers["Access-Control-Allow-Headers"] = "*"
        elif reply.status == 404:
            reply.status = 410
        elif reply.status == 200 and request.method == "GET" and "Content-Encoding" not in reply.headers:
            reply.body = gzip.compress(reply.body)
            reply.headers["Content-Encoding"] = "gzip"
        reply.headers[ORIGIN] = "https://neuroglancer-demo.appspot.com"
        reply.headers["Vary"] = "Accept-Encoding, Origin"
        reply.headers["Content-Type"] = "text/plain"

    assert codes(site, "", unusual) == set()


def test_an_open_redirection_is_followed(site: Site) -> None:
    def moved(request: Request, reply: Reply) -> None:
        if request.path.startswith("/old/") and request.method != "OPTIONS":
            replaced(308, Location=f"{site.url}/data/{request.path[5:]}")(reply)

    site.fault = moved
    assert check(f"{site.url}/old/shards").findings == ()


def test_an_info_that_leads_elsewhere(site: Site) -> None:
    def leads(request: Request, reply: Reply) -> None:
        if request.method == "OPTIONS":
            return
        if request.path == "/data/alias/info":
            text = json.dumps(
                {"@type": "neuroglancer_multiscale_volume", "redirect": f"precomputed://{site.url}/data/files"}
            )
            replaced(200, text.encode(), Cache_Control="no-cache")(reply)
        elif request.path.startswith("/data/files/8_8_8/"):
            header(ORIGIN, None)(reply)

    assert codes(site, "alias", leads) == {"PC109", "PC910", "PC912"}


@pytest.mark.parametrize("target", ["http://[::", "zarr://x", "file:///etc", "http://user:secret@host/x", "#"])
def test_an_info_that_leads_nowhere(site: Site, target: str) -> None:
    text = json.dumps({"@type": "neuroglancer_multiscale_volume", "redirect": target})
    fault = on("/shards/info", replaced(200, text.encode(), Cache_Control="no-cache"))
    assert codes(site, "shards", fault) == {"PC109"}


def test_an_info_that_leads_to_a_dead_host(site: Site) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        target = f"http://127.0.0.1:{free.getsockname()[1]}/x"
    text = json.dumps({"@type": "neuroglancer_multiscale_volume", "redirect": target})
    fault = on("/shards/info", replaced(200, text.encode(), Cache_Control="no-cache"))
    assert codes(site, "shards", fault) == {"PC109", "PC905"}


def test_an_info_with_numbers_of_any_size(site: Site, data: Path) -> None:
    value = json.loads((data / "shards" / "info").read_text())
    value["scales"][0]["size"] = [10**30, 1, 1]
    fault = on("/shards/info", replaced(200, json.dumps(value).encode(), Cache_Control="no-cache"))
    assert codes(site, "shards", fault) >= {"PC111"}


def test_a_scale_outside_the_dataset(site: Site, data: Path) -> None:
    value = json.loads((data / "shards" / "info").read_text())
    for path, there in (("../shards/8_8_8", True), ("../../../../data/shards/8_8_8", True), ("..", False)):
        value["scales"][0]["key"] = path
        fault = on("/shards/info", replaced(200, json.dumps(value).encode(), Cache_Control="no-cache"))
        assert codes(site, "shards", fault) == (set() if there else {"PC954"})


def test_an_info_that_is_no_volume(site: Site) -> None:
    text = json.dumps({"@type": "neuroglancer_multiscale_volume", "type": "image", "data_type": "uint8"})
    fault = on("/shards/info", replaced(200, text.encode(), Cache_Control="no-cache"))
    assert codes(site, "shards", fault) == {"PC105", "PC106"}


def test_a_collection_with_mistakes(site: Site) -> None:
    assert codes(site, "", on("precast.json", replaced(200, b'{"layers": 3}', Cache_Control="no-cache"))) == {"PC730"}
    assert codes(site, "", on("/old/info", replaced(404))) == {"PC900"}
    assert codes(site, "", on("precast.json", soft_page)) == {"PC902"}


def test_meshes_with_properties_of_their_own(site: Site, data: Path) -> None:
    value = json.loads((data / "files" / "mesh" / "info").read_text())
    text = json.dumps(value | {"segment_properties": "../segment_properties"}).encode()
    fault = on("/files/mesh/info", replaced(200, text, Cache_Control="no-cache"))
    site.fault = fault
    report = check(f"{site.url}/data/files/mesh")
    assert report.findings == ()
    assert [(place.path, place.objects) for place in report.datasets[0].places] == [
        ("", 3),
        ("../segment_properties", 1),
    ]
    assert codes(site, "files", fault) == set()


def test_parts_of_their_own(site: Site) -> None:
    for name in ("files/mesh", "shards/skeletons", "old/segment_properties"):
        assert codes(site, name) == set()


# ---- asking


def test_what_is_not_there_or_does_not_answer(site: Site) -> None:
    with pytest.raises(ObjectNotFoundError, match="there is no dataset at"):
        check(f"{site.url}/nothing")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(StorageError, match=f"nothing answers at 127.0.0.1:{port}") as caught:
        check(f"http://127.0.0.1:{port}/data")
    assert "check the address" in caught.value.hint
    assert not isinstance(caught.value, ObjectNotFoundError)
    with pytest.raises(StorageError, match=r"there is no host no-such-host\.invalid"):
        check("https://no-such-host.invalid/data")


@pytest.mark.parametrize("values", [{"sample": 0.5}, {"seed": 3}, {"against": "x"}, {"memory": "1 GiB"}])
def test_options_that_do_not_go_with_an_address(site: Site, values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"--{next(iter(values))} does not go with an address"):
        check(f"{site.url}/data/shards", CheckOptions(**values))
    assert site.seen == []


def test_warnings_count_when_it_is_strict(site: Site) -> None:
    site.fault = with_status(404, header(ORIGIN, None))
    assert check(f"{site.url}/data/shards").ok
    assert not check(f"{site.url}/data/shards", CheckOptions(strict=True)).ok


def test_no_more_requests_at_the_same_time_than_threads(site: Site) -> None:
    lock, flying, most = threading.Lock(), [0], [0]

    def slow(request: Request, reply: Reply) -> None:
        with lock:
            flying[0] += 1
            most[0] = max(most[0], flying[0])
        time.sleep(0.002)
        with lock:
            flying[0] -= 1
        if "_8_8/" in request.path:
            replaced(404)(reply)

    site.fault = slow
    check(f"{site.url}/data/files", CheckOptions(threads=3))
    assert 1 < most[0] <= 3


def test_addresses_as_viewers_write_them(site: Site) -> None:
    for form in ("precomputed://{}", "{}/|neuroglancer-precomputed:"):
        assert check(form.format(f"{site.url}/data/shards")).findings == ()
    assert check(f"{site.url}/data/shards/?token=t").findings == ()
    with pytest.raises(UsageError):
        check("zarr://host/data")


def test_threads_change_nothing_but_the_time(site: Site) -> None:
    site.fault = on("/8_8_8/", replaced(404))
    found = [check(f"{site.url}/data/files", CheckOptions(threads=n)).to_json() for n in (1, 8)]
    assert found[0] == found[1]


def test_cells_are_spread_over_the_grid() -> None:
    assert spread(Vec3(1, 1, 1)) == [Vec3(0, 0, 0)]
    assert len(set(spread(Vec3(3, 3, 3)))) == 27
    for grid in (Vec3(1000, 2000, 300), Vec3(1, 1, 100_000), Vec3(200, 1, 7)):
        cells = spread(grid)
        assert len(set(cells)) == len(cells) == 64
        assert all(0 <= at < n for cell in cells for at, n in zip(cell, grid, strict=True))
        for axis, n in enumerate(grid):
            if n > 8:  # every eighth of an axis has some
                assert {cell[axis] * 8 // n for cell in cells} == set(range(8))
