"""Configurations of web servers. What they promise is the same for all of them, and comes from the table of objects.

Every answer, errors too, lets pages of other origins read it; ranges are exact; a file ``X.gz`` is sent as ``X`` with
its encoding, unless ``X`` is read by ranges; what is rewritten in place is not kept by browsers; nothing whose name
begins with a dot is there, and no directory.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

from precast import __version__
from precast.hosting.configurations import Site
from precast.precomputed.server_lines import Need, server_lines

__all__ = ["TEXTS", "apache", "caddy", "nginx"]


def _indented(lines: Sequence[str], depth: int = 1) -> list[str]:
    return [f"{'    ' * depth}{line}" for line in lines]


def _head(site: Site, server: str, steps: list[str]) -> str:
    lines = [f"{server} serves precomputed data at {site.address} (written by precast {__version__})", ""]
    if not site.in_place:
        source = shlex.quote(f"{site.source}/")
        lines += [
            "Copy the data, what makes them visible last:",
            f"  rsync -a --exclude='.*' --exclude=info --exclude=precast.json {source} HOST:{site.target}/",
            f"  rsync -a --exclude='.*' {source} HOST:{site.target}/",
        ]
    lines += steps
    lines += ["See whether it is right:", f"  precast check {site.address}"]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def nginx(site: Site) -> str:
    """Return a file for ``/etc/nginx/conf.d``."""
    steps = ["Keep this as /etc/nginx/conf.d/precast.conf, then:", "  nginx -t && nginx -s reload"]
    listen = [f"    listen {site.port};"]
    if site.scheme == "https":
        folder = f"/etc/letsencrypt/live/{site.host}"
        steps = ["A certificate:", f"  certbot certonly --nginx -d {site.host}", *steps]
        listen = [
            f"    listen {site.port} ssl;",
            f"    ssl_certificate {folder}/fullchain.pem;",
            f"    ssl_certificate_key {folder}/privkey.pem;",
        ]
    told = server_lines("nginx", site.fragment_paths())
    lines = [
        *told[Need.CACHE_REWRITTEN],
        "server {",
        *listen,
        f"    server_name {site.host};",
        f"    root {site.root};",
        "",
        "    # pages of other origins may read all answers, errors too",
        *_indented(told[Need.ORIGIN]),
        *_indented(told[Need.METHODS]),
        *_indented(told[Need.REQUEST_HEADERS]),
        *_indented(told[Need.EXPOSED]),
        *_indented(told[Need.CACHE_DATA]),
        *_indented(told[Need.PREFLIGHT]),
        "",
        "    # X.gz is sent as X with its encoding, inflated for clients without gzip; nothing is packed on the way",
        *_indented(told[Need.UNPACKED]),
        *_indented(told[Need.PACKED]),
        *_indented(told[Need.INFLATED]),
        "",
        "    # no hidden files, no directories",
        *_indented(told[Need.HIDDEN]),
        *_indented(told[Need.DIRECTORIES]),
        "",
        "    # what is read by ranges is sent as it is",
        *_indented(told[Need.AS_IT_IS]),
        *_indented(told[Need.TYPES]),
        "}",
    ]
    return _head(site, "nginx", steps) + "\n".join(lines) + "\n"


def apache(site: Site) -> str:
    """Return a virtual host for Apache's httpd 2.4."""
    steps = [
        "Keep this as /etc/apache2/sites-available/precast.conf, then:",
        "  a2enmod headers rewrite deflate && a2ensite precast && systemctl reload apache2",
    ]
    listen = [] if site.port in (80, 443) else [f"Listen {site.port}"]
    secure = []
    if site.scheme == "https":
        folder = f"/etc/letsencrypt/live/{site.host}"
        steps = ["A certificate:", f"  certbot certonly --apache -d {site.host} && a2enmod ssl", *steps]
        secure = [
            "    SSLEngine on",
            f"    SSLCertificateFile {folder}/fullchain.pem",
            f"    SSLCertificateKeyFile {folder}/privkey.pem",
        ]
    told = server_lines("apache", site.fragment_paths())
    lines = [
        *listen,
        f"<VirtualHost *:{site.port}>",
        f"    ServerName {site.host}",
        f"    DocumentRoot {site.root}",
        *secure,
        f"    <Directory {site.root}>",
        *_indented(told[Need.PUBLIC], 2),
        "        Options FollowSymLinks",
        "        AllowOverride None",
        "    </Directory>",
        "",
        "    # pages of other origins may read all answers, errors too",
        *_indented(told[Need.ORIGIN]),
        *_indented(told[Need.METHODS]),
        *_indented(told[Need.REQUEST_HEADERS]),
        *_indented(told[Need.EXPOSED]),
        *_indented(told[Need.CACHE_DATA]),
        *_indented(told[Need.CACHE_REWRITTEN]),
        "",
        "    # no hidden files, no directories",
        *_indented(told[Need.HIDDEN]),
        *_indented(told[Need.DIRECTORIES]),
        "",
        "    # X.gz is sent as X with its encoding, inflated for clients without gzip; what is read by ranges is sent",
        "    # as it is; nothing is packed on the way",
        *_indented(told[Need.UNPACKED]),
        *_indented(told[Need.PACKED]),
        *_indented(told[Need.INFLATED]),
        *_indented(told[Need.TYPES]),
        "</VirtualHost>",
    ]
    return _head(site, "Apache", steps) + "\n".join(lines) + "\n"


def caddy(site: Site) -> str:
    """Return a Caddyfile; certificates are Caddy's own work."""
    steps = [
        "Keep this as /etc/caddy/Caddyfile, then:",
        "  systemctl reload caddy",
        "Caddy cannot inflate X.gz for clients that do not take gzip; browsers do.",
    ]
    address = f"{site.scheme}://{site.host}" + (f":{site.port}" if site.port not in (80, 443) else "")
    told = server_lines("caddy", site.fragment_paths())
    hidden, refuse_hidden = told[Need.HIDDEN]
    rewritten, cache_rewritten = told[Need.CACHE_REWRITTEN]
    json_names, binary, json_type = told[Need.TYPES]
    *packed, packed_header, packed_path = told[Need.PACKED]
    lines = [
        f"{address} {{",
        f"    root * {site.root}",
        "",
        "    # pages of other origins may read all answers, errors too",
        "    header {",
        *_indented(told[Need.ORIGIN], 2),
        *_indented(told[Need.METHODS], 2),
        *_indented(told[Need.REQUEST_HEADERS], 2),
        *_indented(told[Need.EXPOSED], 2),
        "    }",
        *_indented(told[Need.CACHE_ERRORS]),
        *_indented([rewritten, json_names, hidden, *packed]),
        "",
        "    # in this order",
        "    route {",
        *_indented([refuse_hidden, *told[Need.CACHE_DATA], cache_rewritten, binary, json_type], 2),
        "        # X.gz is sent as X with its encoding; what is read by ranges is sent as it is",
        *_indented([packed_header, packed_path], 2),
        "        file_server",
        "    }",
        "}",
    ]
    return _head(site, "Caddy", steps) + "\n".join(lines) + "\n"


TEXTS: dict[str, Callable[[Site], str]] = {"nginx": nginx, "apache": apache, "caddy": caddy}
