"""Each rule about web servers: one fault is planted, and exactly that rule finds it."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from imagecodecs import brotli_encode

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
from hosting_site import ORIGIN, codes, half, make_data, soft_page
from precast.checks import CheckOptions, catalogue, check
from precast.errors import ObjectNotFoundError, StorageError
from precast.findings import Severity


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("site") / "data")


@pytest.fixture
def site(data: Path) -> Iterator[Site]:
    with running(data.parent) as found:
        yield found


# ---- faults


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


def test_every_rule_about_servers_is_here() -> None:
    text = Path(__file__).read_text()
    assert [rule.code for rule in catalogue() if "PC900" <= rule.code < "PC980" and f'"{rule.code}"' not in text] == []


# ---- any faults


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
