"""Neuroglancer in a headless Chromium: one server for its client and a dataset, and the page it draws.

The client is the one in the ``neuroglancer`` wheel. It is built for Python programs: it wants its files under
``/v/<token>/``, a stream of events at ``/events/<token>`` and takes changes of its state at ``/state/<token>``; what
it shows comes from the address all the same.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm"}
TOKEN = "test"
WIDTH, HEIGHT = 900, 700
PANEL_HEIGHT = 654
"""What the bars above leave."""
BORDER = 2
"""The frame of a panel."""
SETTLE_S = 120
OVERLAYS = """
.neuroglancer-display-dimensions-widget, .neuroglancer-data-panel-layout-controls, .perspective-panel-show-slice-views {
    display: none !important;
}
"""


def need_browser() -> str:
    """Return Chromium's path, or skip the test and say what is missing."""
    pytest.importorskip("playwright.sync_api", reason="needs Playwright to drive a browser")
    if importlib.util.find_spec("neuroglancer") is None:
        pytest.skip("needs the viewer's client, which is in the neuroglancer wheel")
    for name in CHROMIUM:
        if path := shutil.which(name):
            return path
    return pytest.skip("needs Chromium: apt-get install chromium")


@dataclass(frozen=True)
class Request:
    """What the page asked the dataset for."""

    path: str
    start: int
    stop: int
    """The bytes that were sent; of the whole file if no range was named."""


@dataclass
class Viewer:
    """A page that shows a dataset."""

    page: Any
    address: str
    folder: Path
    """What is served at ``/data/``."""
    requests: list[Request] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def show(self, state: dict[str, Any]) -> None:
        """Load a state afresh and wait until all that it calls for is drawn."""
        self.open(f"{self.client}#!{urllib.parse.quote(json.dumps(state))}")

    @property
    def client(self) -> str:
        """The address of the viewer itself."""
        return f"{self.address}/v/{TOKEN}/"

    def open(self, url: str) -> None:
        """Load the viewer with a state in its address and wait until all that it calls for is drawn."""
        self.page.goto("about:blank")
        self.page.goto(url)
        self.settle()

    def zoom(self, scale: float) -> None:
        """Change how much of space is in view, as the mouse wheel does, and wait until it is drawn."""
        self.page.evaluate("scale => { window.viewer.projectionScale.value = scale; }", scale)
        self.settle()

    def settle(self) -> None:
        """Wait until nothing more has been asked for in a while, and the viewer says that it is ready.

        Raises
        ------
        TimeoutError
            If that does not happen.
        """
        deadline = time.monotonic() + SETTLE_S
        quiet, seen = 0, -1
        while quiet < 5:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the viewer is not ready after {SETTLE_S} s; {self.problems or 'no problems told'}")
            self.page.wait_for_timeout(100)
            ready = self.page.evaluate("() => window.viewer !== undefined && window.viewer.isReady()")
            quiet = quiet + 1 if ready and len(self.requests) == seen else 0
            seen = len(self.requests)
        said = self.page.evaluate("() => document.getElementById('neuroglancer-status-container')?.innerText ?? ''")
        if said:
            self.problems.append(f"status line: {said}")

    def picture(self, path: Path) -> npt.NDArray[np.uint8]:
        """Save what the panel shows as a PNG; return its pixels (rows, columns, RGB)."""
        # What is drawn over the panel: the letters of the axes have pure colours too.
        self.page.add_style_tag(content=".neuroglancer-display-dimensions-widget { display: none; }")
        box = self.page.locator(".neuroglancer-rendered-data-panel").bounding_box()
        assert (box["width"], box["height"]) == (WIDTH, PANEL_HEIGHT)
        path.write_bytes(self.page.screenshot(clip=box))
        return np.asarray(imagecodecs.png_decode(path.read_bytes())[..., :3])

    def panels(self, path: Path) -> list[npt.NDArray[np.uint8]]:
        """Save the page as a PNG; return the pixels of its panels, row by row, without what is drawn over the data."""
        self.page.add_style_tag(content=OVERLAYS)
        self.page.evaluate(
            """() => {
                for (const name of ["showAxisLines", "showScaleBar", "showDefaultAnnotations"]) {
                    window.viewer[name].value = false;
                }
            }"""
        )
        self.settle()
        boxes = [panel.bounding_box() for panel in self.page.locator(".neuroglancer-rendered-data-panel").all()]
        path.write_bytes(self.page.screenshot())
        page = np.asarray(imagecodecs.png_decode(path.read_bytes())[..., :3])
        return [
            page[round(box["y"]) : round(box["y"] + box["height"]), round(box["x"]) : round(box["x"] + box["width"])]
            for box in sorted(boxes, key=lambda box: (box["y"], box["x"]))
        ]

    def outline(self, path: Path) -> npt.NDArray[np.uint8]:
        """Show meshes alone, along z and without perspective; save the page and return the pixels of the panel."""
        self.page.evaluate(
            """() => {
                window.viewer.layout.restoreState({ type: "3d", orthographicProjection: true });
                window.viewer.showPerspectiveSliceViews.value = false;
            }"""
        )
        (panel,) = self.panels(path)
        return panel[BORDER:-BORDER, BORDER:-BORDER]


def _client() -> Path:
    spec = importlib.util.find_spec("neuroglancer")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "static" / "client"


def _handler(data: Path, client: Path, log: list[Request], over: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
            if path == f"/events/{TOKEN}":
                self._events()
            elif path.startswith(f"/v/{TOKEN}/"):
                self._file(client, path.removeprefix(f"/v/{TOKEN}/") or "index.html")
            elif path.startswith("/data/"):
                self._file(data, path.removeprefix("/data/"), logged=True)
            else:
                self._answer(HTTPStatus.NO_CONTENT if path == "/favicon.ico" else HTTPStatus.NOT_FOUND)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_OPTIONS(self) -> None:
            self._answer(HTTPStatus.NO_CONTENT, headers={"Access-Control-Allow-Headers": "Range"})

        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(HTTPStatus.OK, json.dumps({"g": f"{sent.get('c')}/{sent.get('g')}"}).encode())

        def _events(self) -> None:
            # Nothing ever happens on this side, but the page wants the stream to stay open.
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            over.wait()

        def _file(self, folder: Path, name: str, *, logged: bool = False) -> None:
            path = (folder / name).resolve()
            if not path.is_relative_to(folder.resolve()) or not path.is_file():
                self._answer(HTTPStatus.NOT_FOUND)
                return
            body = path.read_bytes()
            headers = {"Content-Type": TYPES.get(path.suffix, "application/octet-stream")}
            headers["Cache-Control"] = "no-store" if logged else "max-age=600"
            wanted, status, start, size = self.headers.get("Range"), HTTPStatus.OK, 0, len(body)
            if wanted:
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                # The last so many bytes, where no first one is named.
                start = int(first) if first else max(size - int(last), 0)
                body = body[start : int(last) + 1 if first and last else size]
                status = HTTPStatus.PARTIAL_CONTENT
                headers["Content-Range"] = f"bytes {start}-{start + len(body) - 1}/{size}"
            if logged:
                log.append(Request(name, start, start + len(body)))
            self._answer(status, body, headers)

        def _answer(self, status: HTTPStatus, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
            common = {
                "Access-Control-Allow-Origin": "*",
                "Access-Control-Expose-Headers": "Content-Range, Content-Length, Accept-Ranges",
                "Accept-Ranges": "bytes",
            }
            self.send_response(status)
            for key, value in {**common, **(headers or {})}.items():
                self.send_header(key, value)
            if status != HTTPStatus.NO_CONTENT:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@contextmanager
def _page(chromium: str, size: tuple[int, int]) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield browser.new_page(viewport={"width": size[0], "height": size[1]})
        browser.close()


@contextmanager
def open_page(size: tuple[int, int] = (WIDTH, HEIGHT)) -> Iterator[Viewer]:
    """Give a page for a viewer that somebody else serves; its requests are whole addresses."""
    with _page(need_browser(), size) as page:
        viewer = Viewer(page, "", Path())
        page.on("request", lambda request: viewer.requests.append(Request(request.url, 0, 0)))
        _listen(page, viewer.problems)
        yield viewer


@contextmanager
def open_viewer(data: Path) -> Iterator[Viewer]:
    """Serve a folder at ``/data/`` and give a page of the viewer that can read it."""
    chromium = need_browser()
    log: list[Request] = []
    over = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(data, _client(), log, over))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with _page(chromium, (WIDTH, HEIGHT)) as page:
            viewer = Viewer(page, f"http://127.0.0.1:{server.server_address[1]}", data, log)
            _listen(page, viewer.problems)
            yield viewer
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _listen(page: Any, problems: list[str]) -> None:
    """Note everything that goes wrong in a page."""

    def failed(request: Any) -> None:
        # The page itself gives up what it no longer wants: fragments out of view, the stream of events when it is left.
        if request.failure != "net::ERR_ABORTED":
            problems.append(f"failed: {request.url}: {request.failure}")

    def answered(answer: Any) -> None:
        if not answer.ok:
            problems.append(f"{answer.status} for {answer.url}")

    def said(line: Any) -> None:
        if line.type == "error":
            problems.append(f"console: {line.text}")

    page.on("requestfailed", failed)
    page.on("response", answered)
    page.on("console", said)
    page.on("pageerror", lambda error: problems.append(f"exception: {error}"))
    page.on("crash", lambda _: problems.append("the page crashed"))
