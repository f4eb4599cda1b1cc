"""Each rule about web servers: one fault is planted, and exactly that rule finds it."""

from __future__ import annotations

import gzip
import json
import shutil
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import neuroglancer
import numpy as np
import pytest
from imagecodecs import brotli_encode
from neuroglancer.write_annotations import AnnotationWriter

import precast
from faulty_site import (
    Fault,
    Reply,
    Request,
    Site,
    gzipped,
    header,
    make_certificate,
    on,
    replaced,
    running,
    with_status,
)
from precast.checks import CheckOptions, catalogue, check
from precast.checks.hosting_fixes import recognise, with_fix
from precast.checks.hosting_walk import spread
from precast.errors import ObjectNotFoundError, StorageError, UsageError
from precast.findings import Finding, Severity
from precast.geometry import Vec3
from precast.precomputed.collection import Collection, CollectionLayer
from volume_files import SHARDING, shard

SKELETONS: dict[str, Any] = {
    "@type": "neuroglancer_skeletons",
    "transform": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0],
    "vertex_attributes": [],
}
SKELETON = struct.pack("<2I6f2I", 2, 1, 100, 100, 100, 200, 200, 200, 0, 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a collection with every sort of part, in files and in shards."""
    out = tmp_path_factory.mktemp("site") / "data"
    labels = np.zeros((70, 70, 70), np.uint32)
    labels[5:60, 5:60, 5:65] = 7
    for name, unsharded in (("files", True), ("shards", False), ("old", True)):
        options = precast.ConvertOptions(resolution=8, kind="segmentation", unsharded=unsharded, chunk_size=32)
        precast.convert(labels, out / name, options)
    precast.mesh(out / "files", precast.MeshOptions(unsharded=True))
    precast.mesh(out / "shards", precast.MeshOptions())
    precast.mesh(out / "old", precast.MeshOptions(format="legacy"))
    for name, sharding in (("files", None), ("shards", SHARDING)):
        folder = out / name / "skeletons"
        folder.mkdir()
        folder.joinpath("info").write_text(json.dumps(SKELETONS | ({"sharding": sharding} if sharding else {})))
        if sharding is None:
            folder.joinpath("7").write_bytes(SKELETON)
        else:  # 7 >> 1 is minishard 1 of shard 1
            folder.joinpath("1.shard").write_bytes(shard([[], [(7, SKELETON)]]))
        info = out / name / "info"
        info.write_text(json.dumps(json.loads(info.read_text()) | {"skeletons": "skeletons"}))
    space = neuroglancer.CoordinateSpace(names=["x", "y", "z"], units="nm", scales=[8, 8, 8])
    writer = AnnotationWriter(space, annotation_type="point", relationships=["cell"])
    for number in range(5):
        writer.add_point([number, 20, 30], id=number, cell=[7])
    writer.write(out / "points")
    kinds = {"files": "segmentation", "shards": "segmentation", "old": "segmentation", "points": "annotation"}
    layers = tuple(CollectionLayer(name=name, kind=kind) for name, kind in kinds.items())
    (out / "precast.json").write_bytes(Collection(layers=layers).to_bytes())
    (out / ".precast").mkdir()
    (out / ".precast" / "build.json").write_text("{}")
    return out


@pytest.fixture
def site(data: Path) -> Iterator[Site]:
    with running(data.parent) as found:
        yield found


def codes(site: Site, name: str = "", fault: Fault | None = None) -> set[str]:
    site.fault = fault
    return {finding.code for finding in check(f"{site.url}/data/{name}").findings}


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


# ---- one fault, one code


def soft_page(reply: Reply) -> None:
    replaced(200, b"<!doctype html>" + b"<p>not here</p>" * 500, Content_Type="text/html", Cache_Control="no-cache")(
        reply
    )


def half(reply: Reply) -> None:
    reply.body = reply.body[: len(reply.body) // 2]


def shifted(request: Request, reply: Reply) -> None:
    if request.headers.get("range") == "bytes=16-31":
        reply.body = bytes(len(reply.body))


def eager(request: Request, reply: Reply) -> None:
    if request.ranged and "gzip" in request.headers["accept-encoding"]:
        reply.status, reply.body = 200, gzip.compress(reply.body)
        reply.headers["Content-Encoding"] = "gzip"


def ignored(request: Request, reply: Reply) -> None:
    if reply.status == 206:
        replaced(200, bytes(100_000))(reply)


def encoded_range(reply: Reply) -> None:
    reply.headers["Content-Encoding"] = "gzip"


def packed_files(end: str) -> Fault:
    """Some files were gzipped before they were uploaded."""

    def fault(request: Request, reply: Reply) -> None:
        if request.path.endswith(end) and reply.status == 206:
            packed = gzip.compress(HERE[0].reply(Request("GET", request.path, {})).body, mtime=0)
            first, last = map(int, request.headers["range"].removeprefix("bytes=").split("-"))
            reply.body = packed[first : last + 1]
            reply.headers["Content-Range"] = f"bytes {first}-{first + len(reply.body) - 1}/{len(packed)}"

    return fault


def without_suffix(request: Request, reply: Reply) -> None:
    """Files X.gz are only there as X.gz."""
    if reply.headers.get("Content-Encoding") == "gzip" and "8_8_8" in request.path:
        replaced(404)(reply)
    elif request.path.endswith("-32_0-32_0-32.gz"):
        replaced(200, gzip.compress(b"chunk"))(reply)


def only_brotli(request: Request, reply: Reply) -> None:
    """Chunks are there as X.br alone."""
    if request.path.endswith(("-32_0-32_0-32", "-32_0-32_0-32.gz")) or reply.headers.get("Content-Encoding") == "gzip":
        replaced(404)(reply)
    elif request.path.endswith("-32_0-32_0-32.br"):
        replaced(200, bytes(brotli_encode(b"chunk")))(reply)


def redirected(request: Request, reply: Reply) -> None:
    if request.path.startswith("/data/") and request.method == "GET" and reply.status == 200:
        replaced(302, Location=f"/other{request.path}")(reply)
        del reply.headers["Access-Control-Allow-Origin"]
    elif request.path.startswith("/other"):
        reply.__dict__.update(HERE[0].reply(Request(request.method, request.path[6:], request.headers)).__dict__)


HERE: list[Site] = []


def twice(reply: Reply) -> None:
    reply.again = [("Access-Control-Allow-Origin", "*")]


def options(name: str, value: str | None) -> Fault:
    return lambda request, reply: header(name, value)(reply) if request.method == "OPTIONS" else None


def options_moved(request: Request, reply: Reply) -> None:
    if request.method == "OPTIONS" and not request.path.startswith("/other"):
        replaced(302, Location=f"/other{request.path}")(reply)


def head(change: Any) -> Fault:
    return lambda request, reply: change(reply) if request.method == "HEAD" else None


def to_directory(request: Request, reply: Reply) -> None:
    if request.path == "/data/shards":
        replaced(301, Location="/data/shards/")(reply)


def colon_escaped(other: str) -> Fault:
    def fault(request: Request, reply: Reply) -> None:
        if request.name == "7:0":
            replaced(404)(reply)
        elif request.name == f"7{other}0":
            replaced(200, b'{"fragments": []}')(reply)

    return fault


def no_length(reply: Reply) -> None:
    reply.headers["Content-Length"] = ""
    reply.headers["Transfer-Encoding"] = "chunked"


ORIGIN = "Access-Control-Allow-Origin"
CASES: list[tuple[str, str, str, Fault]] = [
    ("PC900", "the info is forbidden", "shards", on("/info", replaced(403))),
    ("PC900", "the server fails", "shards", on("/shards/info", replaced(500))),
    ("PC901", "a password is wanted", "shards", on("/shards/info", replaced(401))),
    ("PC901", "a password is wanted for chunks", "files", on("/8_8_8/32-64", replaced(401))),
    ("PC902", "the info is a page", "shards", on("/shards/info", soft_page)),
    ("PC902", "the info of properties is a page", "shards", on("/segment_properties/info", soft_page)),
    ("PC905", "a connection is lost", "files", on("/8_8_8/32-64", replaced(0))),
    ("PC910", "chunks are closed", "files", on("/16_16_16/0", header(ORIGIN, None))),
    ("PC910", "only for another page", "files", with_status(200, header(ORIGIN, "https://viewer.example.org"))),
    ("PC911", "ranges are closed", "shards", with_status(206, header(ORIGIN, None))),
    ("PC912", "errors are closed", "shards", with_status(404, header(ORIGIN, None))),
    ("PC913", "said twice", "shards", on("/shards/info", twice)),
    ("PC913", "said twice in one", "shards", on("/shards/info", header(ORIGIN, "*, *"))),
    ("PC914", "headers are not shown", "shards", with_status(206, header("Access-Control-Expose-Headers", "ETag"))),
    ("PC905", "a redirection to nowhere", "files", on("/8_8_8/32-64", replaced(302, Location="file:///etc/passwd"))),
    ("PC915", "redirections are closed", "files", redirected),
    (
        "PC916",
        "caches are not told",
        "shards",
        with_status(206, header(ORIGIN, "https://neuroglancer-demo.appspot.com")),
    ),
    ("PC920", "OPTIONS is not known", "shards", lambda q, r: replaced(405)(r) if q.method == "OPTIONS" else None),
    ("PC925", "OPTIONS is closed", "shards", options(ORIGIN, None)),
    ("PC920", "OPTIONS is redirected", "shards", options_moved),
    ("PC921", "Range is not allowed", "shards", options("Access-Control-Allow-Headers", "Accept")),
    ("PC922", "methods are not named", "shards", options("Access-Control-Allow-Methods", None)),
    ("PC923", "HEAD is not known", "shards", head(replaced(405))),
    ("PC923", "HEAD finds nothing", "shards", head(replaced(404))),
    ("PC924", "HEAD says no length", "shards", head(no_length)),
    ("PC930", "gzip without a label", "files", on("/8_8_8/", header("Content-Encoding", None))),
    ("PC930", "JSON too", "files", on("/files/info", gzipped)),
    ("PC930", "a fragment too", "old", on(".part0", gzipped)),
    ("PC931", "a label without gzip", "files", on("/files/info", header("Content-Encoding", "gzip"))),
    ("PC931", "a label of something else", "files", on("/8_8_8/32-64", header("Content-Encoding", "br"))),
    ("PC932", "gzip of gzip", "files", on("/8_8_8/32-64", gzipped)),
    ("PC933", "an encoding that browsers do not know", "files", on("/8_8_8/32-64", header("Content-Encoding", "x-lz"))),
    (
        "PC934",
        "half a chunk",
        "files",
        on("/8_8_8/32-64", replaced(200, b"\1\2", Cache_Control="max-age=9")),
    ),
    ("PC934", "half a skeleton", "files", on("/skeletons/7", half)),
    (
        "PC934",
        "half a manifest",
        "files",
        on("/mesh/7.index", replaced(200, b"x", Cache_Control="max-age=9")),
    ),
    ("PC934", "half a list of annotations", "points", on("/by_id/", half)),
    ("PC935", "no properties", "files", on("/segment_properties/info", replaced(404))),
    ("PC935", "a redirection to no address", "files", on("/8_8_8/32-64", replaced(302, Location="http://[::"))),
    ("PC935", "chunks fail", "files", on("/8_8_8/32-64", replaced(500))),
    ("PC936", "X.gz is not X", "files", without_suffix),
    ("PC936", "X.br is not X", "files", only_brotli),
    ("PC940", "no ranges", "shards", ignored),
    ("PC940", "no ranges of fragments", "files", ignored),
    ("PC941", "ranges are cut", "shards", with_status(206, half)),
    ("PC942", "ranges are encoded", "shards", with_status(206, encoded_range)),
    (
        "PC943",
        "Content-Range is of another place",
        "shards",
        with_status(206, header("Content-Range", "bytes 1-16/99")),
    ),
    ("PC944", "no Content-Range", "shards", with_status(206, header("Content-Range", None))),
    ("PC945", "bytes of another place", "shards", shifted),
    ("PC946", "gzip if it is taken", "shards", eager),
    ("PC947", "416", "shards", with_status(206, replaced(416))),
    ("PC948", "shards are gzipped", "shards", packed_files(".shard")),
    ("PC948", "fragments are gzipped", "files", packed_files("/mesh/7")),
    ("PC950", "a page for everything", "files", with_status(404, soft_page)),
    ("PC950", "a page for everything", "old", with_status(404, soft_page)),
    ("PC950", "a page for everything", "shards", with_status(404, soft_page)),
    ("PC951", "S3", "files", with_status(404, replaced(403))),
    ("PC952", "failures", "files", with_status(404, replaced(503))),
    ("PC953", "x is redirected to x/", "shards", to_directory),
    ("PC954", "nothing is there", "files", on("/8_8_8/", replaced(404))),
    ("PC954", "no shard is there", "shards", on("/8_8_8/", replaced(404))),
    ("PC955", "colons are escaped", "old", colon_escaped("%3A")),
    ("PC955", "colons are escaped on the disk", "old", colon_escaped("%253A")),
    ("PC960", "an info that is kept", "shards", on("/shards/info", header("Cache-Control", "max-age=86400"))),
    ("PC961", "data are not kept", "files", on("/8_8_8/", header("Cache-Control", "no-store"))),
    ("PC961", "nothing is said", "shards", with_status(206, header("Cache-Control", None))),
    ("PC962", "what is missing is remembered", "files", with_status(404, header("Cache-Control", "max-age=86400"))),
]


@pytest.mark.parametrize(
    ("code", "name", "fault"), [(c, n, f) for c, _, n, f in CASES], ids=[f"{c} {t}" for c, t, *_ in CASES]
)
def test_each_fault_is_found(site: Site, code: str, name: str, fault: Fault) -> None:
    HERE[:] = [site]
    assert codes(site, name, fault) == {code}


def test_hidden_files(site: Site) -> None:
    def shown(request: Request, reply: Reply) -> None:
        if request.path == "/data/.precast/build.json":
            replaced(200, b"{}")(reply)

    assert codes(site, "", shown) == {"PC906"}


def test_a_certificate_that_is_not_valid(data: Path, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    with running(data.parent, make_certificate(tmp_path)) as found:
        report = check(f"{found.url}/data/shards")
    assert [finding.code for finding in report.findings] == ["PC903"]
    assert "self-signed certificate" in report.findings[0].message
    assert not report.ok


def test_an_address_without_s(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    report = check(f"{site.url.replace('127.0.0.1', '0.0.0.0')}/data/shards")
    assert [(finding.code, finding.severity) for finding in report.findings] == [("PC904", Severity.WARNING)]
    # br is for https and the own machine
    assert {one.headers["accept-encoding"] for one in site.seen if one.method == "HEAD"} == {"gzip, deflate"}
    packed = on("/shards/info", lambda reply: reply.__dict__.update(body=imagecodecs.brotli_encode(reply.body)))

    def brotli(request: Request, reply: Reply) -> None:
        if request.path == "/data/shards/info" and request.method == "GET":
            packed(request, reply)
            reply.headers["Content-Encoding"] = "br"

    site.fault = brotli
    report = check(f"{site.url.replace('127.0.0.1', '0.0.0.0')}/data/shards")
    assert {finding.code for finding in report.findings} == {"PC904", "PC933"}
    assert codes(site, "shards", brotli) == set()


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


def test_the_fix_is_in_the_words_of_the_server(site: Site) -> None:
    def nginx(request: Request, reply: Reply) -> None:
        reply.headers["Server"] = "nginx/1.24.0 (Ubuntu)"
        if reply.status == 206:
            header(ORIGIN, None)(reply)

    site.fault = nginx
    report = check(f"{site.url}/data/shards")
    assert {dataset.server for dataset in report.datasets} == {"nginx"}
    lines = report.findings[0].hint.splitlines()
    assert lines[1].startswith("nginx, in the server block")
    assert lines[2].strip() == 'add_header Access-Control-Allow-Origin "*" always;'
    assert lines[-1] == "all of it: precast hosting nginx DIR"


SERVERS = [
    ("nginx", {"server": "nginx/1.24.0"}, "add_header Access-Control-Allow-Origin"),
    ("apache", {"server": "Apache/2.4.58 (Debian)"}, "Header always set Access-Control-Allow-Origin"),
    ("caddy", {"server": "Caddy"}, "header Access-Control-Allow-Origin"),
    ("s3", {"server": "AmazonS3", "x-amz-request-id": "1"}, "aws s3api put-bucket-cors --bucket lab --cors"),
    ("gcs", {"server": "UploadServer", "x-goog-hash": "1"}, "gs://lab --cors-file"),
    ("azure", {"server": "Windows-Azure-Blob/1.0", "x-ms-version": "1"}, "az storage cors add"),
    ("github", {"server": "GitHub.com"}, "GitHub Pages cannot"),
    ("cloudflare", {"server": "cloudflare", "cf-ray": "1"}, "Response headers"),
    ("python", {"server": "SimpleHTTP/0.6 Python/3.11.7"}, "precast serve DIR"),
]
ADDRESSES = {
    "s3": "https://lab.s3.amazonaws.com/em/info",
    "gcs": "https://storage.googleapis.com/lab/em/info",
    "azure": "https://lab.blob.core.windows.net/em/info",
}


@pytest.mark.parametrize(("server", "headers", "text"), SERVERS)
def test_servers_are_recognised(server: str, headers: dict[str, str], text: str) -> None:
    assert recognise(headers) == server
    where = ADDRESSES.get(server, "https://host/em/info")
    fixed = with_fix(Finding(code="PC910", severity=Severity.ERROR, where=where, message="m", hint="h"), server)
    assert text in fixed.hint
    assert fixed.hint.startswith("h\n")
    bare = Finding(code="PC934", severity=Severity.ERROR, where=where, message="m", hint="h")
    assert with_fix(bare, server) == bare, "no line of a configuration mends that"


def test_servers_that_are_not_recognised() -> None:
    assert recognise({"server": "thttpd"}) == ""
    finding = Finding(code="PC910", severity=Severity.ERROR, where="https://host", message="m", hint="h")
    assert with_fix(finding, "") == finding


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


def test_every_rule_about_servers_is_here() -> None:
    text = Path(__file__).read_text()
    assert [rule.code for rule in catalogue() if "PC900" <= rule.code < "PC980" and f'"{rule.code}"' not in text] == []


def scramble(random: np.random.Generator) -> Fault:
    """Return a fault of many answers: other statuses, headers and bytes, in any combination."""
    statuses = [200, 204, 206, 301, 304, 400, 401, 403, 404, 416, 500]
    names = ["Content-Range", "Content-Encoding", "Cache-Control", ORIGIN, "Access-Control-Allow-Headers", "Location"]
    values = ["", "gzip", "br", "bytes 0-15/*", "bytes 16-3/2", "max-age=x", "*, *", "/", "http://[::", "http://", "é"]
    bodies = [
        b"",
        b"{}",
        b'{"fragments": ["a"], "@type": "neuroglancer_skeletons"}',
        b"\x1f\x8b\x08",
        bytes(100),
        b"[1]",
    ]
    share = random.random() / 3

    def fault(_: Request, reply: Reply) -> None:
        if random.random() < share:
            reply.status = int(random.choice(statuses))
        if random.random() < share:
            reply.headers[str(random.choice(names))] = str(random.choice(values))
        if random.random() < share:
            body = bodies[int(random.integers(len(bodies)))]
            reply.body = body or reply.body[: len(reply.body) // 3]
        if reply.status in (204, 304):
            reply.body = b""
        reply.headers["Content-Length"] = "" if reply.status == 204 else str(len(reply.body))

    return fault


@pytest.mark.parametrize("seed", range(25))
def test_any_answers_become_findings(site: Site, seed: int) -> None:
    """Whatever a server says, the check comes to an end, and what it reports can be written as JSON."""
    site.fault = scramble(np.random.default_rng(seed))
    for name in ("", "files", "shards", "old", "points"):
        try:
            report = check(f"{site.url}/data/{name}", CheckOptions(threads=1))
        except (ObjectNotFoundError, StorageError):
            continue
        json.dumps([report.to_json(), [finding.to_json() for finding in report.findings]])
