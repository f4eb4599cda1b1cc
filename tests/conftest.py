"""What all tests share: the real data, oracles, and small volumes."""

from __future__ import annotations

import gzip
import signal
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import numpy.typing as npt
import pytest

pytest_plugins = ["s3_server", "cloud_calls", "command_line"]

hypothesis.settings.register_profile("precast", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("precast")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # in the background of a shell; what the tests start has to heed Ctrl-C nevertheless
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared_data(name: str) -> Path:
    """Return a folder of real data, or skip the test with the reason."""
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"real data are not here: {folder}")
    return folder


@pytest.fixture(scope="session")
def connectomics() -> Path:
    return shared_data("connectomics-256")


@pytest.fixture(scope="session")
def drosophila() -> Path:
    return shared_data("drosophila-em")


def blobs(shape: tuple[int, int, int], seed: int = 0, count: int = 12, dtype: Any = np.uint32) -> npt.NDArray[Any]:
    """Return labels ``(z, y, x)`` of touching, irregular regions with 0 between some of them."""
    rng = np.random.default_rng(seed)
    points = rng.random((count, 3)) * np.array(shape)
    sizes = 1 + rng.random(count)
    nearest, least = np.zeros(shape, np.intp), np.full(shape, np.inf)
    for number, (point, size) in enumerate(zip(points, sizes, strict=True)):
        z, y, x = (((np.arange(n) - at) / size) ** 2 for n, at in zip(shape, point, strict=True))
        distance = z[:, None, None] + y[:, None] + x
        closer = distance < least
        nearest[closer], least[closer] = number, distance[closer]
    ids = rng.integers(1, 2**31, count).astype(dtype)
    ids[0] = 0
    return np.asarray(ids[nearest])


@pytest.fixture(scope="session")
def make_blobs() -> Any:
    return blobs


class _GzipHandler(SimpleHTTPRequestHandler):
    """Serves a folder; ``X.gz`` as ``X`` with its encoding, as any web server is set up to do."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        packed = path.with_name(path.name + ".gz")
        source, headers = (packed, [("Content-Encoding", "gzip")]) if packed.exists() else (path, [])
        try:
            data = source.read_bytes()
        except OSError:
            self.send_error(404)
            return
        if headers:
            gzip.decompress(data)
        wanted = self.headers.get("Range")
        if wanted and not headers:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last) + 1 if last else len(data), len(data))
            self.send_response(206)
            headers.append(("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}"))
            data = data[start:stop]
        else:
            self.send_response(200)
        for name, value in [*headers, ("Content-Length", str(len(data)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[str]:
    """Serve the test's folder over HTTP and give its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_GzipHandler, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()
