"""Chromium as the judge of the rules about web servers: what is an error it refuses, what is not it reads."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest

import precast
import viewer_page
from faulty_site import Fault, Reply, Request, Site, gzipped, header, on, replaced, running, with_status
from precast.checks import check

ORIGIN = "Access-Control-Allow-Origin"
CHUNK = "files/8_8_8/0-40_0-40_0-40"
SHARD = "shards/8_8_8/0.shard"
READ = """async ({url, range}) => {
    try {
        const answer = await fetch(url, range ? {headers: {Range: range}} : {});
        return [answer.status, Array.from(new Uint8Array(await answer.arrayBuffer()))];
    } catch (error) {
        return [0, []];
    }
}"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("judged")
    labels = np.arange(40**3, dtype=np.uint32).reshape(40, 40, 40) // 999
    for name, unsharded in (("files", True), ("shards", False)):
        options = precast.ConvertOptions(resolution=8, kind="segmentation", unsharded=unsharded)
        precast.convert(labels, out / name, options)
    (out / "page.html").write_text("<!doctype html><title>elsewhere</title>")
    return out


@pytest.fixture(scope="module")
def page(data: Path) -> Iterator[Any]:
    """Return an empty page of another origin."""
    path = viewer_page.need_browser()
    from playwright.sync_api import sync_playwright

    with running(data) as elsewhere, sync_playwright() as playwright:
        elsewhere.fault = on("page.html", header("Content-Type", "text/html"))
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        found = browser.new_page()
        found.goto(f"{elsewhere.url}/page.html")
        yield found
        browser.close()


def brotli(request: Request, reply: Reply) -> None:
    if request.path.endswith(CHUNK):
        reply.body = bytes(imagecodecs.brotli_encode(gzip.decompress(reply.body)))
        reply.headers["Content-Encoding"] = "br"


def ignored(request: Request, reply: Reply) -> None:
    if reply.status == 206:
        replaced(200, bytes(5000))(reply)


def moved(*, open_to_all: bool) -> Fault:
    def fault(request: Request, reply: Reply) -> None:
        if request.path == f"/{CHUNK}":
            replaced(302, Location=f"/moved/{CHUNK}")(reply)
            if not open_to_all:
                del reply.headers[ORIGIN]
        elif request.path.startswith("/moved/"):
            right = SERVED[0].reply(Request(request.method, f"/{CHUNK}", request.headers))
            reply.__dict__.update(right.__dict__)

    return fault


SERVED: list[Site] = []
chunk = f"/{CHUNK}"
FAULTS: dict[str, Fault | None] = {
    "nothing": None,
    "whole objects are closed": with_status(200, header(ORIGIN, None)),
    "open to another page": with_status(200, header(ORIGIN, "https://viewer.example.org")),
    "said twice": on(chunk, header(ORIGIN, "*, *")),
    "ranges are closed": with_status(206, header(ORIGIN, None)),
    "errors are closed": with_status(404, header(ORIGIN, None)),
    "headers are not shown": with_status(206, header("Access-Control-Expose-Headers", None)),
    "OPTIONS is not known": lambda q, r: replaced(405)(r) if q.method == "OPTIONS" else None,
    "gzip without a label": on(chunk, header("Content-Encoding", None)),
    "a label of something else": on(chunk, header("Content-Encoding", "br")),
    "gzip of gzip": on(chunk, gzipped),
    "br, from the own machine": brotli,
    "an unknown encoding": on(chunk, header("Content-Encoding", "x-lz")),
    "a closed redirection": moved(open_to_all=False),
    "an open redirection": moved(open_to_all=True),
    "encoded ranges": with_status(206, header("Content-Encoding", "gzip")),
    "ignored ranges": ignored,
    "no Content-Range": with_status(206, header("Content-Range", None)),
    "not to be kept": on(chunk, header("Cache-Control", "no-store")),
    "connections are lost": on(chunk, replaced(0)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_browser_agrees(data: Path, page: Any, name: str) -> None:
    shard = (data / SHARD).read_bytes()
    right = [
        [200, list(gzip.decompress((data / f"{CHUNK}.gz").read_bytes()))],
        [206, list(shard[:16])],
        [206, list(shard[16:32])],
    ]
    with running(data) as site:
        SERVED[:] = [site]
        site.fault = FAULTS[name]
        requests = [(CHUNK, None), (SHARD, "bytes=0-15"), (SHARD, "bytes=16-31")]
        # the number makes each address a new one for the browser's cache
        read = [page.evaluate(READ, {"url": f"{site.url}/{path}?{name}", "range": part}) for path, part in requests]
        found = [finding for part in ("files", "shards") for finding in check(f"{site.url}/{part}").findings]
    errors = [finding for finding in found if finding.severity == "error"]
    assert (read == right) == (not errors), [finding.message for finding in errors]
