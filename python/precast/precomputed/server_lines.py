"""What servers and buckets must be told so that viewers can read from them: need by need, in the words of each.

Configurations are made of these lines, and what a check says about a server that does something else quotes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from precast.precomputed.objects import (
    ALLOWED_HEADERS,
    ALLOWED_METHODS,
    BINARY,
    EXPOSED_HEADERS,
    JSON,
    KINDS_BY_NAME,
    KINDS_BY_SUFFIX,
    ObjectKind,
)

__all__ = ["AZURE_CORS", "GCS_CORS", "READ_METHODS", "S3_CORS", "SECONDS", "Lines", "Need", "names_of", "server_lines"]

SECONDS = 3600
READ_METHODS = ["GET", "HEAD"]

S3_CORS: dict[str, Any] = {
    "CORSRules": [
        {
            "AllowedOrigins": ["*"],
            "AllowedMethods": READ_METHODS,
            "AllowedHeaders": ["*"],
            "ExposeHeaders": list(EXPOSED_HEADERS),
            "MaxAgeSeconds": SECONDS,
        }
    ]
}
GCS_CORS: list[dict[str, Any]] = [
    {
        "origin": ["*"],
        "method": READ_METHODS,
        "responseHeader": [*EXPOSED_HEADERS, "Range"],
        "maxAgeSeconds": SECONDS,
    }
]
AZURE_CORS = (
    f"--origins '*' --methods {' '.join(ALLOWED_METHODS)} --allowed-headers '*' --exposed-headers '*' "
    f"--max-age {SECONDS}"
)
"""As options of ``az storage cors add``."""


class Need(Enum):
    """What a server has to do."""

    PUBLIC = "anybody may read"
    ORIGIN = "pages of other origins may read all answers, errors too"
    METHODS = "they may use the methods of reading"
    REQUEST_HEADERS = "they may ask for ranges"
    EXPOSED = "they see the headers that viewers need"
    PREFLIGHT = "OPTIONS is answered"
    CACHE_DATA = "data may be kept for a while"
    CACHE_REWRITTEN = "what is rewritten in place is asked for again"
    CACHE_ERRORS = "errors are not kept"
    UNPACKED = "nothing is packed on the way"
    PACKED = "X.gz is sent as X with its encoding"
    INFLATED = "clients without gzip get it inflated"
    AS_IT_IS = "what is read by ranges is sent as it is"
    HIDDEN = "no hidden files"
    DIRECTORIES = "no directories"
    TYPES = "types of content"


Lines = Mapping[Need, tuple[str, ...]]


def names_of(kinds: Sequence[ObjectKind]) -> str:
    """Return a regular expression of the names of kinds of objects, as far as names tell the kind."""
    names = [re.escape(name) for name, kind in KINDS_BY_NAME.items() if kind in kinds]
    return "|".join([*names, *(f".*{re.escape(suffix)}" for suffix, kind in KINDS_BY_SUFFIX.items() if kind in kinds)])


METHODS = ", ".join(ALLOWED_METHODS)
REQUEST_HEADERS = ", ".join(ALLOWED_HEADERS)
EXPOSED = ", ".join(EXPOSED_HEADERS)
CACHE_DATA = ObjectKind.CHUNK.rule.cache_control()
CACHE_REWRITTEN = ObjectKind.INFO.rule.cache_control()
REWRITTEN = names_of([kind for kind in ObjectKind if not kind.rule.immutable])
JSON_NAMES = names_of([kind for kind in ObjectKind if kind.rule.content_type == JSON])
RANGED = names_of([kind for kind in ObjectKind if not kind.rule.whole])


def server_lines(server: str, fragments: Sequence[str] = ()) -> Lines:
    """Return the lines of a web server's configuration; what it does without being told has none.

    Parameters
    ----------
    server
        ``nginx``, ``apache`` or ``caddy``.
    fragments
        Paths, below the host, of directories of meshes whose files ``<id>`` are read by ranges.
    """
    return {"nginx": _nginx, "apache": _apache, "caddy": _caddy}[server]([re.escape(path) for path in fragments])


def _nginx(fragments: Sequence[str]) -> Lines:
    return {
        Need.ORIGIN: ('add_header Access-Control-Allow-Origin "*" always;',),
        Need.METHODS: (f'add_header Access-Control-Allow-Methods "{METHODS}" always;',),
        Need.REQUEST_HEADERS: (f'add_header Access-Control-Allow-Headers "{REQUEST_HEADERS}" always;',),
        Need.EXPOSED: (f'add_header Access-Control-Expose-Headers "{EXPOSED}" always;',),
        Need.CACHE_REWRITTEN: (
            "map $uri $precast_cache {",
            f'    default "{CACHE_DATA}";',
            f'    "~/({REWRITTEN})$" "{CACHE_REWRITTEN}";',
            "}",
        ),
        Need.CACHE_DATA: ("add_header Cache-Control $precast_cache;",),
        Need.PREFLIGHT: ("if ($request_method = OPTIONS) { return 204; }",),
        Need.UNPACKED: ("gzip off;",),
        Need.PACKED: ("gzip_static always;",),
        Need.INFLATED: ("gunzip on;",),
        Need.HIDDEN: (r"location ~ /\. { return 404; }",),
        Need.DIRECTORIES: ("if (-d $request_filename) { return 404; }",),
        Need.AS_IT_IS: (
            f"location ~ /({RANGED})$ {{ gzip_static off; }}",
            *(f"location ~ ^{path}/[0-9]+$ {{ gzip_static off; }}" for path in fragments),
        ),
        Need.TYPES: (
            f"default_type {BINARY};",
            f'location ~ "/({JSON_NAMES})$" {{ default_type {JSON}; }}',
        ),
    }


def _apache(fragments: Sequence[str]) -> Lines:
    ranged = "".join(f"|^{path}/[0-9]+" for path in fragments)
    return {
        Need.PUBLIC: ("Require all granted",),
        Need.ORIGIN: ('Header always set Access-Control-Allow-Origin "*"',),
        Need.METHODS: (f'Header always set Access-Control-Allow-Methods "{METHODS}"',),
        Need.REQUEST_HEADERS: (f'Header always set Access-Control-Allow-Headers "{REQUEST_HEADERS}"',),
        Need.EXPOSED: (f'Header always set Access-Control-Expose-Headers "{EXPOSED}"',),
        Need.CACHE_DATA: (f'Header set Cache-Control "{CACHE_DATA}"',),
        Need.CACHE_REWRITTEN: (
            f'Header set Cache-Control "{CACHE_REWRITTEN}" "expr=%{{REQUEST_URI}} =~ m#/({REWRITTEN})(\\.gz)?$#"',
        ),
        Need.HIDDEN: ("RewriteEngine On", r"RewriteRule /\. - [R=404,L]"),
        Need.DIRECTORIES: ("RewriteCond %{DOCUMENT_ROOT}%{REQUEST_URI} -d", "RewriteRule ^ - [R=404,L]"),
        Need.UNPACKED: ("SetEnv no-gzip 1",),
        Need.PACKED: (
            "AddEncoding gzip .gz",
            f"RewriteCond %{{REQUEST_URI}} !(/({RANGED}){ranged})$",
            "RewriteCond %{DOCUMENT_ROOT}%{REQUEST_URI}.gz -f",
            "RewriteRule ^(.+)$ $1.gz [L]",
        ),
        Need.INFLATED: (
            '<If "%{HTTP:Accept-Encoding} !~ /gzip/">',
            "    SetOutputFilter INFLATE",
            "</If>",
        ),
        Need.TYPES: (
            f"ForceType {BINARY}",
            f'<LocationMatch "/({JSON_NAMES})(\\.gz)?$">',
            f"    ForceType {JSON}",
            "</LocationMatch>",
        ),
    }


def _caddy(fragments: Sequence[str]) -> Lines:
    ranged = "".join(f"|^{path}/[0-9]+" for path in fragments)
    return {
        Need.ORIGIN: ('Access-Control-Allow-Origin "*"',),
        Need.METHODS: (f'Access-Control-Allow-Methods "{METHODS}"',),
        Need.REQUEST_HEADERS: (f'Access-Control-Allow-Headers "{REQUEST_HEADERS}"',),
        Need.EXPOSED: (f'Access-Control-Expose-Headers "{EXPOSED}"',),
        Need.CACHE_ERRORS: (
            "handle_errors {",
            f'    header Cache-Control "{CACHE_REWRITTEN}"',
            '    respond "{err.status_code}"',
            "}",
        ),
        Need.HIDDEN: (r"@hidden path_regexp /\.", "error @hidden 404"),
        Need.CACHE_DATA: (f'header Cache-Control "{CACHE_DATA}"',),
        Need.CACHE_REWRITTEN: (
            f"@rewritten path_regexp /({REWRITTEN})$",
            f'header @rewritten Cache-Control "{CACHE_REWRITTEN}"',
        ),
        Need.TYPES: (
            f"@json path_regexp /({JSON_NAMES})$",
            f'header Content-Type "{BINARY}"',
            f'header @json Content-Type "{JSON}"',
        ),
        Need.PACKED: (
            "@packed {",
            f"    not path_regexp (/({RANGED}){ranged})$",
            "    file {path}.gz",
            "}",
            "header @packed Content-Encoding gzip",
            "rewrite @packed {path}.gz",
        ),
    }
