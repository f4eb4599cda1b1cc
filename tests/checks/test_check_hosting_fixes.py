"""What to change on which server: each is recognised, and the fix is in its words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from faulty_site import (
    Reply,
    Request,
    Site,
    header,
    running,
)
from hosting_site import ORIGIN, make_data
from precast.checks import check
from precast.checks.hosting_fixes import recognise, with_fix
from precast.findings import Finding, Severity


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("site") / "data")


@pytest.fixture
def site(data: Path) -> Iterator[Site]:
    with running(data.parent) as found:
        yield found


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
