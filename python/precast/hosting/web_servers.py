"""Configurations of web servers. What they promise is the same for all of them, and comes from the table of objects.

Every answer, errors too, lets pages of other origins read it; ranges are exact; a file ``X.gz`` is sent as ``X`` with
its encoding, unless ``X`` is read by ranges; what is rewritten in place is not kept by browsers; nothing whose name
begins with a dot is there, and no directory.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable

from precast import __version__
from precast.hosting.configurations import Site, names_of
from precast.precomputed.objects import (
    ALLOWED_HEADERS,
    ALLOWED_METHODS,
    BINARY,
    EXPOSED_HEADERS,
    JSON,
    ObjectKind,
)

__all__ = ["TEXTS", "apache", "caddy", "nginx"]

METHODS = ", ".join(ALLOWED_METHODS)
REQUEST_HEADERS = ", ".join(ALLOWED_HEADERS)
EXPOSED = ", ".join(EXPOSED_HEADERS)
CACHE_DATA = ObjectKind.CHUNK.rule.cache_control()
CACHE_REWRITTEN = ObjectKind.INFO.rule.cache_control()
REWRITTEN = names_of([kind for kind in ObjectKind if not kind.rule.immutable])
JSON_NAMES = names_of([kind for kind in ObjectKind if kind.rule.content_type == JSON])
RANGED = names_of([kind for kind in ObjectKind if not kind.rule.whole])


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
    fragments = [f"    location ~ ^{path}/[0-9]+$ {{ gzip_static off; }}" for path in site.fragment_paths()]
    lines = [
        "map $uri $precast_cache {",
        f'    default "{CACHE_DATA}";',
        f'    "~/({REWRITTEN})$" "{CACHE_REWRITTEN}";',
        "}",
        "server {",
        *listen,
        f"    server_name {site.host};",
        f"    root {site.root};",
        "",
        "    # pages of other origins may read all answers, errors too",
        '    add_header Access-Control-Allow-Origin "*" always;',
        f'    add_header Access-Control-Allow-Methods "{METHODS}" always;',
        f'    add_header Access-Control-Allow-Headers "{REQUEST_HEADERS}" always;',
        f'    add_header Access-Control-Expose-Headers "{EXPOSED}" always;',
        "    add_header Cache-Control $precast_cache;",
        "    if ($request_method = OPTIONS) { return 204; }",
        "",
        "    # X.gz is sent as X with its encoding, inflated for clients without gzip; nothing is packed on the way",
        "    gzip off;",
        "    gzip_static always;",
        "    gunzip on;",
        "",
        "    # no hidden files, no directories",
        r"    location ~ /\. { return 404; }",
        "    if (-d $request_filename) { return 404; }",
        "",
        "    # what is read by ranges is sent as it is",
        f"    location ~ /({RANGED})$ {{ gzip_static off; }}",
        *fragments,
        f"    default_type {BINARY};",
        f'    location ~ "/({JSON_NAMES})$" {{ default_type {JSON}; }}',
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
    fragments = "".join(f"|^{path}/[0-9]+" for path in site.fragment_paths())
    lines = [
        *listen,
        f"<VirtualHost *:{site.port}>",
        f"    ServerName {site.host}",
        f"    DocumentRoot {site.root}",
        *secure,
        f"    <Directory {site.root}>",
        "        Require all granted",
        "        Options FollowSymLinks",
        "        AllowOverride None",
        "    </Directory>",
        "",
        "    # pages of other origins may read all answers, errors too",
        '    Header always set Access-Control-Allow-Origin "*"',
        f'    Header always set Access-Control-Allow-Methods "{METHODS}"',
        f'    Header always set Access-Control-Allow-Headers "{REQUEST_HEADERS}"',
        f'    Header always set Access-Control-Expose-Headers "{EXPOSED}"',
        f'    Header set Cache-Control "{CACHE_DATA}"',
        f'    Header set Cache-Control "{CACHE_REWRITTEN}" "expr=%{{REQUEST_URI}} =~ m#/({REWRITTEN})(\\.gz)?$#"',
        "    RewriteEngine On",
        "    RewriteCond %{REQUEST_METHOD} =OPTIONS",
        "    RewriteRule ^ - [R=204,L]",
        "",
        "    # no hidden files, no directories",
        r"    RewriteRule /\. - [R=404,L]",
        "    RewriteCond %{DOCUMENT_ROOT}%{REQUEST_URI} -d",
        "    RewriteRule ^ - [R=404,L]",
        "",
        "    # X.gz is sent as X with its encoding, inflated for clients without gzip; what is read by ranges is sent",
        "    # as it is; nothing is packed on the way",
        "    SetEnv no-gzip 1",
        "    AddEncoding gzip .gz",
        f"    RewriteCond %{{REQUEST_URI}} !(/({RANGED}){fragments})$",
        "    RewriteCond %{DOCUMENT_ROOT}%{REQUEST_URI}.gz -f",
        "    RewriteRule ^(.+)$ $1.gz [L]",
        '    <If "%{HTTP:Accept-Encoding} !~ /gzip/">',
        "        SetOutputFilter INFLATE",
        "    </If>",
        f"    ForceType {BINARY}",
        f'    <LocationMatch "/({JSON_NAMES})(\\.gz)?$">',
        f"        ForceType {JSON}",
        "    </LocationMatch>",
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
    fragments = "".join(f"|^{path}/[0-9]+" for path in site.fragment_paths())
    lines = [
        f"{address} {{",
        f"    root * {site.root}",
        "",
        "    # pages of other origins may read all answers, errors too",
        "    header {",
        '        Access-Control-Allow-Origin "*"',
        f'        Access-Control-Allow-Methods "{METHODS}"',
        f'        Access-Control-Allow-Headers "{REQUEST_HEADERS}"',
        f'        Access-Control-Expose-Headers "{EXPOSED}"',
        "    }",
        "    handle_errors {",
        f'        header Cache-Control "{CACHE_REWRITTEN}"',
        '        respond "{err.status_code}"',
        "    }",
        f"    @rewritten path_regexp /({REWRITTEN})$",
        f"    @json path_regexp /({JSON_NAMES})$",
        "    @options method OPTIONS",
        r"    @hidden path_regexp /\.",
        "    @packed {",
        f"        not path_regexp (/({RANGED}){fragments})$",
        "        file {path}.gz",
        "    }",
        "",
        "    # in this order",
        "    route {",
        "        respond @options 204",
        "        error @hidden 404",
        f'        header Cache-Control "{CACHE_DATA}"',
        f'        header @rewritten Cache-Control "{CACHE_REWRITTEN}"',
        f'        header Content-Type "{BINARY}"',
        f'        header @json Content-Type "{JSON}"',
        "        # X.gz is sent as X with its encoding; what is read by ranges is sent as it is",
        "        header @packed Content-Encoding gzip",
        "        rewrite @packed {path}.gz",
        "        file_server",
        "    }",
        "}",
    ]
    return _head(site, "Caddy", steps) + "\n".join(lines) + "\n"


TEXTS: dict[str, Callable[[Site], str]] = {"nginx": nginx, "apache": apache, "caddy": caddy}
