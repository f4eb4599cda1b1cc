"""What to do about a finding, in the words of the server that gave the answers."""

from __future__ import annotations

import ipaddress
import json
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from precast.findings import Finding
from precast.precomputed.server_lines import (
    AZURE_CORS,
    CACHE_DATA,
    CACHE_REWRITTEN,
    GCS_CORS,
    S3_CORS,
    Need,
    server_lines,
)

__all__ = ["SERVERS", "recognise", "with_fix"]

SERVERS = {
    "nginx": "nginx",
    "apache": "Apache",
    "caddy": "Caddy",
    "s3": "Amazon S3",
    "gcs": "Google Cloud Storage",
    "azure": "Azure Blob Storage",
    "github": "GitHub Pages",
    "cloudflare": "Cloudflare",
    "python": "Python's http.server",
}
"""The servers that are recognised, and what they are called."""

NEEDS: dict[str, tuple[Need, ...]] = {
    "PC900": (Need.PUBLIC,),
    "PC901": (Need.PUBLIC,),
    "PC906": (Need.HIDDEN,),
    "PC910": (Need.ORIGIN,),
    "PC911": (Need.ORIGIN,),
    "PC912": (Need.ORIGIN,),
    "PC914": (Need.EXPOSED,),
    "PC915": (Need.ORIGIN,),
    "PC916": (Need.ORIGIN,),
    "PC920": (Need.PREFLIGHT,),
    "PC921": (Need.REQUEST_HEADERS,),
    "PC922": (Need.METHODS,),
    "PC924": (Need.UNPACKED,),
    "PC925": (Need.ORIGIN,),
    "PC930": (Need.PACKED,),
    "PC932": (Need.UNPACKED, Need.PACKED),
    "PC935": (Need.PUBLIC,),
    "PC936": (Need.PACKED,),
    "PC940": (Need.UNPACKED, Need.AS_IT_IS),
    "PC942": (Need.AS_IT_IS,),
    "PC946": (Need.UNPACKED, Need.AS_IT_IS),
    "PC948": (Need.AS_IT_IS,),
    "PC953": (Need.DIRECTORIES,),
    "PC960": (Need.CACHE_REWRITTEN,),
    "PC961": (Need.CACHE_DATA,),
    "PC962": (Need.CACHE_ERRORS,),
}
"""What the server lacks, by the code of a finding."""

CORS = (Need.ORIGIN, Need.EXPOSED, Need.PREFLIGHT, Need.REQUEST_HEADERS, Need.METHODS)
PLACES = {
    "nginx": "nginx, in the server block",
    "apache": "Apache, in the virtual host",
    "caddy": "Caddy, in the block of the site",
}
CONFIGURED = {"nginx": "nginx DIR", "apache": "apache DIR", "caddy": "caddy DIR", "s3": "s3 DIR", "gcs": "gcs DIR"}


def recognise(headers: Mapping[str, str]) -> str:
    """Return which of :data:`SERVERS` sends such headers, or nothing. Names are in lower case."""
    server = headers.get("server", "").lower()
    marks: list[tuple[str, Callable[[], bool]]] = [
        ("gcs", lambda: "uploadserver" in server or _has(headers, "x-goog-")),
        ("s3", lambda: "amazons3" in server or _has(headers, "x-amz-")),
        ("azure", lambda: "windows-azure" in server or _has(headers, "x-ms-")),
        ("github", lambda: "github" in server or "x-github-request-id" in headers),
        ("nginx", lambda: server.startswith(("nginx", "openresty"))),
        ("apache", lambda: server.startswith("apache")),
        ("caddy", lambda: "caddy" in server),
        ("python", lambda: server.startswith("simplehttp")),
        ("cloudflare", lambda: "cloudflare" in server or "cf-ray" in headers),
    ]
    return next((name for name, holds in marks if holds()), "")


def _has(headers: Mapping[str, str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in headers)


def with_fix(finding: Finding, server: str, fragments: Sequence[str] = ()) -> Finding:
    """Return a finding whose hint says what to change on a server.

    Parameters
    ----------
    finding
        A finding of the rules about servers.
    server
        One of :data:`SERVERS`, or empty.
    fragments
        Paths, below the host, of directories of meshes whose files ``<id>`` are read by ranges.
    """
    needs = NEEDS.get(finding.code, ())
    if Need.PUBLIC in needs and not re.search(r"status 40[13]", finding.message):
        return finding
    words: dict[str, Callable[[Sequence[Need], str], list[str]]] = {
        "nginx": partial(_web_server, "nginx", fragments),
        "apache": partial(_web_server, "apache", fragments),
        "caddy": partial(_web_server, "caddy", fragments),
        "s3": _s3,
        "gcs": _gcs,
        "azure": _azure,
        "github": _github,
        "cloudflare": _cloudflare,
        "python": _python,
    }
    lines = words[server](needs, finding.where) if server and needs else []
    if not lines:
        return finding
    if server in CONFIGURED:
        lines.append(f"all of it: precast hosting {CONFIGURED[server]}")
    return replace(finding, hint="\n".join([finding.hint, *lines]))


def _web_server(server: str, fragments: Sequence[str], needs: Sequence[Need], _: str) -> list[str]:
    told = server_lines(server, fragments)
    lines: list[str] = []
    for need in needs:
        # Caddy's route leaves out of the packed names what is read by ranges; Apache's rules too
        lines += told.get(need) or (told[Need.PACKED] if need == Need.AS_IT_IS and server != "nginx" else ())
    if server == "caddy" and set(needs) & set(CORS):
        lines = [line if line.startswith(("@", "respond")) else f"header {line}" for line in lines]
    if server == "apache" and any(line.startswith("Rewrite") for line in lines):
        lines = list(dict.fromkeys([told[Need.HIDDEN][0], *lines]))
    if server == "nginx" and Need.CACHE_DATA in needs:
        lines = [*told[Need.CACHE_REWRITTEN], *lines]
    if server == "nginx" and Need.CACHE_REWRITTEN in needs:
        lines += told[Need.CACHE_DATA]
    more = ""
    if server == "nginx" and set(needs) & set(CORS):
        more = " (a location with an add_header of its own inherits none)"
    elif any(line.startswith("map") for line in lines):
        more = ", the map before it"
    return [f"{PLACES[server]}{more}:", *(f"    {line}" for line in lines)] if lines else []


# ---- buckets


def _bucket(url: str) -> tuple[str, str]:
    """Return the bucket and the key of an address, as far as the address shows them."""
    parts = urllib.parse.urlsplit(url)
    host, path = parts.hostname or "", urllib.parse.unquote(parts.path).strip("/")
    first, _, rest = path.partition("/")
    for mark in (".s3.", ".s3-", ".storage.googleapis.com"):
        if mark in host:
            return host.partition(mark)[0], path
    if host == "storage.googleapis.com" or host.startswith(("s3.", "s3-")) or _is_bare(host):
        return first, rest
    return "BUCKET", path


def _is_bare(host: str) -> bool:
    """Whether a host is an address or this machine, so that the name of a bucket can only be in the path."""
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return True
    return host == "localhost"


def _s3(needs: Sequence[Need], url: str) -> list[str]:
    bucket, key = _bucket(url)
    if set(needs) & set(CORS):
        text = json.dumps(S3_CORS)
        return [f"aws s3api put-bucket-cors --bucket {bucket} --cors-configuration '{text}'"]
    changes = {
        Need.PACKED: "--content-encoding gzip",
        Need.CACHE_REWRITTEN: f"--cache-control {CACHE_REWRITTEN} --content-type application/json",
        Need.CACHE_DATA: f"--cache-control '{CACHE_DATA}'",
        Need.AS_IT_IS: "--content-encoding ''",
    }
    change = next((changes[need] for need in needs if need in changes), "")
    copy = f"aws s3 cp 's3://{bucket}/{key}' 's3://{bucket}/{key}' --metadata-directive REPLACE"
    return [f"for this object, and others of its sort: {copy} {change}"] if change else []


def _gcs(needs: Sequence[Need], url: str) -> list[str]:
    bucket, key = _bucket(url)
    if set(needs) & set(CORS):
        return [
            f"keep this as cors.json, then: gcloud storage buckets update gs://{bucket} --cors-file=cors.json",
            f"    {json.dumps(GCS_CORS)}",
        ]
    changes = {
        Need.PACKED: "--content-encoding=gzip",
        Need.CACHE_REWRITTEN: f"--cache-control={CACHE_REWRITTEN}",
        Need.CACHE_DATA: f"--cache-control='{CACHE_DATA}'",
        Need.AS_IT_IS: "--clear-content-encoding",
    }
    change = next((changes[need] for need in needs if need in changes), "")
    update = f"gcloud storage objects update 'gs://{bucket}/{key}'"
    return [f"for this object, and others of its sort: {update} {change}"] if change else []


def _azure(needs: Sequence[Need], url: str) -> list[str]:
    if not set(needs) & set(CORS):
        return []
    parts = urllib.parse.urlsplit(url)
    host, mark, _ = (parts.hostname or "").partition(".blob.")
    account = host if mark else parts.path.strip("/").partition("/")[0]  # servers for tests have it in the path
    return [f"az storage cors add --account-name {account} --services b {AZURE_CORS}"]


# ---- what can be told little


def _github(_: Sequence[Need], __: str) -> list[str]:
    return ["GitHub Pages cannot be told so: put the data into a bucket, see precast hosting"]


def _cloudflare(needs: Sequence[Need], _: str) -> list[str]:
    if Need.CACHE_REWRITTEN in needs or Need.CACHE_DATA in needs:
        return [
            "Cloudflare: Caching > Cache Rules, Browser TTL: respect the server; then what the server behind it says"
        ]
    return ["Cloudflare passes on what the server behind it says, or: Rules > Transform Rules > Response headers"]


def _python(_: Sequence[Need], __: str) -> list[str]:
    return ["Python's http.server knows neither other origins nor ranges: precast serve DIR"]
