"""The printed configurations, pasted into real servers: everything holds, and without any line something does not."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest

import precast
import web_server
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
    (out / ".precast" / "info").write_text("{}")
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
        hidden=f"{here}/.precast/info",
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


NEEDED = {
    "nginx": [
        ('default "public', "kept"),
        ('precast\\.json)$" "no-cache"', "rewritten"),
        ("Allow-Origin", "readable"),
        ("Allow-Origin", "range readable"),
        ("Allow-Origin", "error readable"),
        ("Allow-Methods", "methods"),
        ("Allow-Headers", "headers"),
        ("Expose-Headers", "exposed"),
        ("add_header Cache-Control", "kept"),
        ("OPTIONS)", "preflight"),
        ("gzip off", "shard"),
        ("gzip_static always", "packed"),
        ("gunzip on", "inflated"),
        ("location ~ /\\.", "hidden"),
        ("if (-d", "directory"),
        ("if (-d", "no redirection"),
        ("location ~ /(label_table", "shard"),
        ("/mesh/[0-9]+$", "fragments"),
        ("    default_type application/octet-stream", "binary"),
        ("default_type application/json", "json"),
    ],
    "apache": [
        ("Require all granted", "shard"),
        ("Allow-Origin", "error readable"),
        ("Allow-Methods", "methods"),
        ("Allow-Headers", "headers"),
        ("Expose-Headers", "exposed"),
        ('set Cache-Control "public', "kept"),
        ('set Cache-Control "no-cache"', "rewritten"),
        ("RewriteEngine On", "preflight"),
        ("R=204", "preflight"),
        ("RewriteRule /\\. ", "hidden"),
        ("RewriteRule ^ - [R=404", "directory"),
        ("SetEnv no-gzip", "shard"),
        ("AddEncoding gzip", "packed"),
        ("!(/(label_table", "shard"),
        ("!(/(label_table", "fragments"),
        ("$1.gz", "packed"),
        ("SetOutputFilter INFLATE", "inflated"),
        ("ForceType application/octet-stream", "binary"),
        ("ForceType application/json", "json"),
    ],
    "caddy": [
        ("Allow-Origin", "error readable"),
        ("Allow-Methods", "methods"),
        ("Allow-Headers", "headers"),
        ("Expose-Headers", "exposed"),
        ('Cache-Control "public', "kept"),
        ("header @rewritten", "rewritten"),
        ("header @json", "json"),
        ('Content-Type "application/octet', "binary"),
        ("respond @options", "preflight"),
        ("error @hidden", "hidden"),
        ("not path_regexp", "shard"),
        ("header @packed", "packed"),
        ("rewrite @packed", "packed"),
        ('        header Cache-Control "no-cache"', "missing not kept"),
    ],
}
FRAME = {
    "nginx": r"\s*(map .*\{|server \{|listen .*|server_name .*|root .*)",
    "apache": r"\s*(Listen .*|</?(VirtualHost|Directory|If|LocationMatch).*|ServerName.*|DocumentRoot.*|Options.*"
    r"|AllowOverride.*|RewriteCond.*)",
    "caddy": r"\s*(http.*\{|root .*|header \{|@.*|route \{|handle_errors \{|file_server|file .*|respond \"\{err.*)",
}
"""Lines without which a server does not start or serves nothing at all, and conditions of the line after them."""


@pytest.mark.parametrize("server", SERVERS)
def test_every_line_is_needed(server: str, served: Path, tmp_path: Path) -> None:
    web_server.need_server(server)
    port = free_port()
    lines = text_for(server, served, port).splitlines()
    rest = [line for line in lines if line.strip() not in ("", "}") and not line.lstrip().startswith("#")]
    untried = [line for line in rest if not re.fullmatch(FRAME[server], line)]
    for part, probe in NEEDED[server]:
        found = [line for line in lines if part in line and not line.lstrip().startswith("#")]
        assert len(found) == 1, (part, found)
        untried = [line for line in untried if line != found[0]]
        text = "\n".join(line for line in lines if line != found[0]) + "\n"
        with running(server, tmp_path / "run", text, port):
            assert probe in failures(Client(port), files_of(served)), found[0]
    assert untried == []


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
