"""The printed configurations, pasted into real servers.

``precast check`` finds nothing there, and without any line it finds just what is missing then. What cannot become a
finding, because viewers do not care, is asked for by hand.
"""

from __future__ import annotations

import gzip
import re
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

import precast
import web_server
import written_by_others as others
from precast.checks import check
from precast.errors import UsageError
from precast.hosting.configurations import HostingOptions, configure_hosting
from precast.precomputed.collection import Collection, CollectionLayer
from web_server import Client, Files, failures, free_port, running


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a collection with every sort of file, and files beside them that must not be seen."""
    root = tmp_path_factory.mktemp("srv")
    out = root / "lab" / "mouse"
    labels = np.zeros((40, 40, 40), np.uint32)
    labels[5:30, 5:30, 5:35] = 7
    for name, unsharded in (("cells", True), ("shards", False)):
        options = precast.ConvertOptions(resolution=8, kind="segmentation", unsharded=unsharded)
        precast.convert(labels, out / name, options)
    precast.mesh(out / "cells", precast.MeshOptions(unsharded=True))
    precast.mesh(out / "shards", precast.MeshOptions(format="legacy"))
    layers = tuple(CollectionLayer(name=name, kind="segmentation") for name in ("cells", "shards"))
    (out / "precast.json").write_bytes(Collection(layers=layers).to_bytes())
    (out / ".precast").mkdir()
    (out / ".precast" / "build.json").write_text("{}")
    for name in ("shards/8_8_8/0.shard", "cells/mesh/7"):
        (out / f"{name}.gz").write_bytes(gzip.compress((out / name).read_bytes()))
    return root


def files_of(root: Path) -> Files:
    here = "/lab/mouse"
    return Files(
        root=root,
        info=f"{here}/precast.json",
        chunk=f"{here}/cells/8_8_8/0-40_0-40_0-40",
        shard=f"{here}/shards/8_8_8/0.shard",
        fragments=f"{here}/cells/mesh/7",
        manifest=f"{here}/shards/mesh/7:0",
        hidden=f"{here}/.precast/build.json",
        directory=f"{here}/cells/",
    )


def text_for(server: str, root: Path, port: int) -> str:
    options = HostingOptions(url=f"http://localhost:{port}/lab/", root=root)
    return configure_hosting(server, root / "lab" / "mouse", options).text


SERVERS = ["nginx", "apache", "caddy"]
CANNOT = {"nginx": set(), "apache": set(), "caddy": {"inflated"}}
"""What the printed configuration says that it cannot do."""


@pytest.mark.parametrize("server", SERVERS)
def test_the_configuration_holds_what_it_promises(server: str, served: Path, tmp_path: Path) -> None:
    web_server.need_server(server)
    port = free_port()
    text = text_for(server, served, port)
    assert "rsync" not in text, "the data lie where they are served"
    with running(server, tmp_path / "run", text, port):
        assert failures(Client(port), files_of(served)) == CANNOT[server]
        report = check(f"http://localhost:{port}/lab/mouse")
        assert report.findings == ()
        assert [dataset.name for dataset in report.datasets] == ["", "cells", "shards"]


NEEDED = {
    "nginx": [
        ('default "public', "PC961"),
        ('precast\\.json)$" "no-cache"', "PC960"),
        ("Allow-Origin", "PC910 PC911 PC912 PC925"),
        ("Allow-Methods", "PC922"),
        ("Allow-Headers", "PC921"),
        ("Expose-Headers", "PC914"),
        ("add_header Cache-Control", "PC961"),
        ("OPTIONS)", "PC920"),
        ("gzip off", "PC924 PC946"),
        ("gzip_static always", "PC936"),
        ("location ~ /\\.", "PC906"),
        ("if (-d", "PC953"),
        ("location ~ /(label_table", "PC940"),
        ("/mesh/[0-9]+$", "PC940"),
    ],
    "apache": [
        ("Require all granted", "PC900"),
        ("Allow-Origin", "PC910 PC911 PC912 PC925"),
        ("Allow-Methods", "PC922"),
        ("Allow-Headers", "PC921"),
        ("Expose-Headers", "PC914"),
        ('set Cache-Control "public', "PC961"),
        ('set Cache-Control "no-cache"', "PC960"),
        ("RewriteEngine On", "PC906 PC936 PC953"),
        ("RewriteRule /\\. ", "PC906"),
        ("RewriteRule ^ - [R=404", "PC936 PC953"),
        ("SetEnv no-gzip", "PC946"),
        ("AddEncoding gzip", "PC930"),
        ("!(/(label_table", "PC946"),
        ("$1.gz", "PC936"),
    ],
    "caddy": [
        ("Allow-Origin", "PC910 PC911 PC912 PC925"),
        ("Allow-Methods", "PC922"),
        ("Allow-Headers", "PC921"),
        ("Expose-Headers", "PC914"),
        ('        header Cache-Control "no-cache"', "PC962"),
        ("error @hidden", "PC906"),
        ('Cache-Control "public', "PC961"),
        ("header @rewritten", "PC960"),
        ("not path_regexp", "PC942"),
        ("header @packed", "PC930"),
        ("rewrite @packed", "PC920 PC936"),
    ],
}
"""Parts of lines, and the findings without that line."""
ASKED_BY_HAND = {
    # viewers take gzip; programs such as curl and TensorStore do not always
    "nginx": [
        ("gunzip on", "inflated"),
        # viewers do not look at types of content; people in a browser, proxies and caches do
        ("    default_type application/octet-stream", "binary"),
        ("default_type application/json", "json"),
    ],
    "apache": [
        ("SetOutputFilter INFLATE", "inflated"),
        ("ForceType application/octet-stream", "binary"),
        ("ForceType application/json", "json"),
    ],
    "caddy": [
        ('Content-Type "application/octet', "binary"),
        ("header @json", "json"),
    ],
}
"""Parts of lines without which nothing is found, and what does not hold without them."""
FRAME = {
    "nginx": r"\s*(map .*\{|server \{|listen .*|server_name .*|root .*)",
    "apache": r"\s*(Listen .*|</?(VirtualHost|Directory|If|LocationMatch).*|ServerName.*|DocumentRoot.*|Options.*"
    r"|AllowOverride.*|RewriteCond.*)",
    "caddy": r"\s*(http.*\{|root .*|header \{|@.*|route \{|handle_errors \{|file_server|file .*|respond \"\{err.*)",
}
"""Lines without which a server does not start or serves nothing at all, and conditions of the line after them."""


def line_with(part: str, lines: list[str]) -> str:
    found = [line for line in lines if part in line and not line.lstrip().startswith("#")]
    assert len(found) == 1, (part, found)
    return found[0]


@pytest.mark.parametrize("server", SERVERS)
def test_every_line_is_needed(server: str, served: Path, tmp_path: Path) -> None:
    web_server.need_server(server)
    port = free_port()
    lines = text_for(server, served, port).splitlines()

    def without(line: str) -> AbstractContextManager[None]:
        text = "\n".join(other for other in lines if other != line) + "\n"
        return running(server, tmp_path / "run", text, port)

    for part, codes in NEEDED[server]:
        line = line_with(part, lines)
        with without(line):
            report = check(f"http://localhost:{port}/lab/mouse")
        assert {finding.code for finding in report.findings} == set(codes.split()), line
    for part, probe in ASKED_BY_HAND[server]:
        with without(line_with(part, lines)):
            assert probe in failures(Client(port), files_of(served)), part
    tried = {line_with(part, lines) for part, _ in [*NEEDED[server], *ASKED_BY_HAND[server]]}
    rest = [line for line in lines if line.strip() not in ("", "}") and not line.lstrip().startswith("#")]
    assert [line for line in rest if line not in tried and not re.fullmatch(FRAME[server], line)] == []


@pytest.mark.parametrize("server", SERVERS)
def test_the_fix_of_a_finding_is_the_line_that_is_missing(server: str, served: Path, tmp_path: Path) -> None:
    web_server.need_server(server)
    port = free_port()
    lines = text_for(server, served, port).splitlines()
    for part in {
        "nginx": ["Expose-Headers", "gzip_static always", "if (-d"],
        "apache": ["Expose-Headers", "$1.gz"],
    }.get(server, ["Expose-Headers", "rewrite @packed"]):
        line = line_with(part, lines)
        text = "\n".join(other for other in lines if other != line) + "\n"
        with running(server, tmp_path / "run", text, port):
            findings = check(f"http://localhost:{port}/lab/mouse").findings
        assert any(line.strip() in finding.hint for finding in findings), line


def test_where_the_data_go(served: Path) -> None:
    place = served / "lab" / "mouse"
    text = configure_hosting("nginx", place, HostingOptions(url="https://data.example.org/m")).text
    assert f"rsync -a --exclude='.*' {place}/ HOST:/srv/precast/m/mouse/\n" in text
    assert "listen 443 ssl;" in text
    assert "certbot certonly --nginx -d data.example.org" in text
    one = configure_hosting("caddy", place / "cells", HostingOptions(root="/data")).text
    assert f"rsync -a --exclude='.*' {place}/cells/ HOST:/data/cells/\n" in one
    assert "http://localhost:8080 {" in one
    assert "precast check http://localhost:8080/cells" in one


@pytest.mark.parametrize(
    "options",
    [
        {"url": "localhost:8080"},
        {"url": "http://host;evil/"},
        {"url": "http://host/a b"},
        {"url": "http://host/$x"},
        {"url": "http://host/?x"},
        {"url": "http://host:port"},
        {"url": "http://[::1]:8080"},
        {"url": "http://host/.hidden"},
        {"root": "relative"},
        {"root": "/a;b"},
        {"root": '/a"b'},
        {"bucket": "Upper"},
        {"bucket": "a/b c"},
        {"bucket": "a/$(x)"},
    ],
)
def test_nothing_odd_gets_into_a_configuration(options: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        HostingOptions(**options)


def test_what_is_served_lies_in_a_directory(served: Path, serve: str, tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to(served / "lab" / "mouse" / "cells")
    odd = tmp_path / "our data" / "x"
    odd.parent.mkdir()
    precast.convert(np.zeros((8, 8, 8), np.uint8), odd, precast.ConvertOptions(resolution=8))
    assert f" '{odd}/' HOST:/srv/precast/x/\n" in configure_hosting("caddy", odd).text
    for name in ("two\nlines", "a b", "a;b", "a$b"):
        odd = odd.rename(tmp_path / name)
        with pytest.raises(UsageError, match="cannot stand in an address"):
            configure_hosting("nginx", odd)
    with pytest.raises(UsageError, match="is an address"):
        configure_hosting("nginx", f"{serve}/x")


@pytest.mark.parametrize("server", ["nginx", "apache", "caddy", "s3", "gcs"])
def test_what_these_servers_do_not_send_is_refused(server: str) -> None:
    options = HostingOptions(bucket="lab") if server in ("s3", "gcs") else HostingOptions()
    with pytest.raises(UsageError, match=r"\.br is packed with brotli"):
        configure_hosting(server, others.FOLDER / "igneous" / "grey_brotli", options)
    with pytest.raises(UsageError, match="in a folder per axis"):
        configure_hosting(server, others.FOLDER / "neuroglancer_scripts" / "cells_in_folders", options)


def test_options_go_with_the_server(served: Path) -> None:
    place = served / "lab" / "mouse"
    for server, options in (
        ("nginx", HostingOptions(bucket="lab")),
        ("s3", HostingOptions(bucket="lab", url="http://host")),
        ("gcs", HostingOptions()),
        ("iis", HostingOptions()),
    ):
        with pytest.raises(UsageError):
            configure_hosting(server, place, options)
