"""Scripts that make a bucket readable for viewers and bring datasets there.

Objects go up in an order in which nothing shows before it is complete, each kind with its own headers: what lies on
the disk as ``X.gz`` becomes ``X`` with ``Content-Encoding: gzip``; nothing else has an encoding.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from precast import __version__
from precast.hosting.addresses import join_url
from precast.hosting.configurations import Configuration, Site
from precast.precomputed.objects import (
    COLLECTION_KEY,
    INFO_KEY,
    JSON,
    KINDS_BY_NAME,
    KINDS_BY_SUFFIX,
    ObjectKind,
    ObjectRule,
)
from precast.precomputed.server_lines import GCS_CORS, S3_CORS, names_of

__all__ = ["TEXTS", "gcs", "s3"]

VISIBLE = (INFO_KEY, COLLECTION_KEY)
"""Files that make a dataset or a part of it visible."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Objects that go up together: how their names end, as patterns of a shell and as a regular expression."""

    patterns: tuple[str, ...]
    expression: str
    rule: ObjectRule


def _groups(site: Site) -> list[_Group]:
    """Return the groups in their order; the first one, without patterns, is what belongs to no other."""
    suffixes = [suffix for suffix, kind in KINDS_BY_SUFFIX.items() if kind == ObjectKind.LEGACY_MANIFEST]
    groups = [_Group((), "", ObjectKind.OTHER.rule)]
    if site.manifests:
        patterns = tuple(f"*{suffix}" for suffix in suffixes)
        groups.append(_Group(patterns, names_of([ObjectKind.LEGACY_MANIFEST]), ObjectKind.LEGACY_MANIFEST.rule))
    for visible in (False, True):
        names = [
            name
            for name, kind in KINDS_BY_NAME.items()
            if kind.rule.content_type == JSON and (name in VISIBLE) == visible
        ]
        rules = {KINDS_BY_NAME[name].rule.cache_control() for name in names}
        assert len(rules) == 1, "one command has one set of headers"
        patterns = tuple(pattern for name in names for pattern in (name, f"*/{name}"))
        groups.append(_Group(patterns, "|".join(map(re.escape, names)), KINDS_BY_NAME[names[0]].rule))
    return groups


def _bucket(site: Site, text: str) -> tuple[str, str]:
    """Return the bucket and the prefix that the datasets get."""
    name, _, prefix = text.strip("/").partition("/")
    return name, "/".join(part for part in (prefix, site.source.name) if part)


def _document(value: Any) -> str:
    return json.dumps(value, indent=2)


def _script(site: Site, server: str, url: str, steps: list[str]) -> str:
    head = [
        "#!/usr/bin/env bash",
        f"# {server}: precomputed datasets at {url} (written by precast {__version__})",
        "set -euo pipefail",
        "work=$(mktemp -d)",
        "trap 'rm -rf \"$work\"' EXIT",
        f"data={shlex.quote(str(site.source))}",
    ]
    tail = ["", "# See whether it is right:", f"#   precast check {url}"]
    return "\n".join([*head, *steps, *tail]) + "\n"


def _unpacked(site: Site) -> list[str]:
    """Return the step that lays out the files ``X.gz`` under the name ``X``, as links."""
    if not site.packed:
        return []
    return [
        "",
        "# X.gz becomes X with Content-Encoding: gzip",
        "(cd \"$data\" && find . -name '*.gz' -not -path '*/.*' -print0) | while IFS= read -r -d '' file; do",
        '    mkdir -p "$work/packed/$(dirname "$file")"',
        '    ln -s "$data/$file" "$work/packed/${file%.gz}"',
        "done",
    ]


# ---- S3


def s3(site: Site, text: str) -> Configuration:
    """Return a script for Amazon S3, which needs its command line client."""
    bucket, prefix = _bucket(site, text)
    path = f"{bucket}/{prefix}"
    url = join_url(f"https://{bucket}.s3.amazonaws.com" if "." not in bucket else f"https://s3.amazonaws.com/{bucket}")
    url = join_url(url, prefix)
    statement = {
        "Sid": "PrecastPublicRead",
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{path}/*",
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    block = (
        f"aws s3api put-public-access-block --bucket {bucket} --public-access-block-configuration \\\n"
        "    BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=false,RestrictPublicBuckets=false"
    )
    steps = [
        *_s3_setting(
            bucket,
            "cors",
            "pages of other origins may read, and the headers that viewers need are shown to them",
            S3_CORS,
            "--cors-configuration",
        ),
        "",
        "# policies may make objects public",
        block,
        *_s3_setting(bucket, "policy", f"everybody may read below {path}, nothing else", policy, "--policy"),
        *_unpacked(site),
        "",
        "# data first, what makes them visible last",
        *_s3_copies(site, path),
    ]
    return Configuration(server="s3", text=_script(site, "Amazon S3", url, steps), url=url)


def _s3_setting(bucket: str, name: str, comment: str, value: Any, flag: str) -> list[str]:
    """Return the step that gives a bucket a setting that it does not have yet."""
    return [
        "",
        f"# {comment}",
        f"cat > \"$work/{name}.json\" <<'END'",
        _document(value),
        "END",
        f"if aws s3api get-bucket-{name} --bucket {bucket} > /dev/null 2>&1; then",
        f'    echo "{bucket} has a {name} setting already, which is left as it is; it must contain this:" >&2',
        f'    cat "$work/{name}.json" >&2',
        "else",
        f'    aws s3api put-bucket-{name} --bucket {bucket} {flag} "file://$work/{name}.json"',
        "fi",
    ]


def _s3_copies(site: Site, path: str) -> list[str]:
    groups = _groups(site)
    others = [pattern for group in groups for pattern in group.patterns]
    commands = []
    for group in groups:
        if group.patterns:
            chosen = ["--exclude '*'", *(f"--include '{pattern}'" for pattern in group.patterns)]
        else:
            chosen = [f"--exclude '{pattern}'" for pattern in others]
        headers = " ".join(
            [
                f"--no-guess-mime-type --content-type {group.rule.content_type}",
                f"--cache-control '{group.rule.cache_control()}'",
            ]
        )
        plain = [*chosen, "--exclude '*.gz'", "--exclude '.*'", "--exclude '*/.*'"]
        commands.append(_command(f'aws s3 cp --recursive --only-show-errors "$data" s3://{path}/', plain, headers))
        if site.packed:
            start = f'aws s3 cp --recursive --only-show-errors "$work/packed" s3://{path}/'
            commands.append(_command(start, chosen, f"{headers} --content-encoding gzip"))
    return commands


def _command(start: str, filters: list[str], headers: str) -> str:
    return " \\\n    ".join([start, *([" ".join(filters)] if filters else []), headers])


# ---- Google Cloud Storage


def gcs(site: Site, text: str) -> Configuration:
    """Return a script for Google Cloud Storage, which needs its command line client."""
    bucket, prefix = _bucket(site, text)
    path = f"{bucket}/{prefix}"
    url = join_url("https://storage.googleapis.com", path)
    role = "--member=allUsers --role=roles/storage.objectViewer"
    public = [
        f"# everybody may read below {path}, nothing else; folders need uniform access to the bucket",
        f"gcloud storage buckets update gs://{bucket} --uniform-bucket-level-access --no-public-access-prevention",
        f"gcloud storage managed-folders describe gs://{path}/ > /dev/null 2>&1 ||",
        f"    gcloud storage managed-folders create gs://{path}/",
        f"gcloud storage managed-folders add-iam-policy-binding gs://{path}/ {role}",
    ]
    steps = [
        "",
        "# pages of other origins may read, and headers that viewers need are shown to them",
        "cat > \"$work/cors.json\" <<'END'",
        _document(GCS_CORS),
        "END",
        f'gcloud storage buckets update gs://{bucket} --cors-file="$work/cors.json"',
        "",
        *public,
        *_unpacked(site),
        "",
        "# data first, what makes them visible last",
        *_gcs_copies(site, path),
    ]
    return Configuration(server="gcs", text=_script(site, "Google Cloud Storage", url, steps), url=url)


def _gcs_copies(site: Site, path: str) -> list[str]:
    groups = _groups(site)
    others = "|".join(group.expression for group in groups if group.expression)
    commands = []
    for group in groups:
        # what is excluded; the client splits the value at commas, of which there is none
        rest = f"^(?!(.*/)?({group.expression})$).*$" if group.expression else f"^(.*/)?({others})$"
        headers = f"--content-type={group.rule.content_type} --cache-control='{group.rule.cache_control()}'"
        start = f'gcloud storage rsync --recursive "$data" gs://{path}'
        commands.append(_command(start, [f"--exclude='{rest}|^(.*/)?\\..*$|^.*\\.gz$'"], headers))
        if site.packed:
            # links are followed only when told so
            start = f'gcloud storage rsync --recursive --no-ignore-symlinks "$work/packed" gs://{path}'
            commands.append(_command(start, [f"--exclude='{rest}'"], f"{headers} --content-encoding=gzip"))
    return commands


TEXTS: dict[str, Callable[[Site, str], Configuration]] = {"s3": s3, "gcs": gcs}
