"""Buckets for tests: on a server that speaks S3, with another client beside ours."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pytest

from precast.precomputed.objects import kind_of
from precast.storage import Attributes, CloudStore, LocalStore, StoreOptions
from s3_server import S3Server

NUMBERS = count()


def forget_credentials(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Keep what this machine has out of a test: variables, profiles, sign-ins, what instances give."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_")) or name in ("STORAGE_EMULATOR_HOST", "APPDATA"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(home))


def sign_in(monkeypatch: pytest.MonkeyPatch, home: Path, server: S3Server) -> None:
    """Be the owner of a server, and nobody else."""
    forget_credentials(monkeypatch, home)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    monkeypatch.setenv("AWS_REGION", server.region)


@contextmanager
def moto_server() -> Iterator[str]:
    """Run moto's server, which believes whatever it is told."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@dataclass(frozen=True)
class Place:
    """A bucket on a server, and Amazon's own client of it."""

    endpoint: str
    bucket: str
    client: Any

    def url(self, prefix: str) -> str:
        return f"s3://{self.bucket}/{prefix}"

    def store(self, prefix: str = "data/em") -> CloudStore:
        return CloudStore(self.url(prefix), StoreOptions(endpoint=self.endpoint))

    def head(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.head_object(Bucket=self.bucket, Key=key)
        return found

    def bytes(self, key: str) -> bytes:
        found: bytes = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return found

    def open_to_browsers(self, prefix: str) -> None:
        """Let everybody read below a prefix, from pages of any origin."""
        read = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject"]}
        read["Resource"] = [f"arn:aws:s3:::{self.bucket}/{prefix}/*"]
        policy = json.dumps({"Version": "2012-10-17", "Statement": [read]})
        self.client.put_bucket_policy(Bucket=self.bucket, Policy=policy)
        rule = {
            "AllowedOrigins": ["*"],
            "AllowedMethods": ["GET", "HEAD"],
            "AllowedHeaders": ["*"],
            "ExposeHeaders": ["Content-Range", "Content-Encoding", "Content-Length", "ETag", "Accept-Ranges"],
            "MaxAgeSeconds": 3600,
        }
        self.client.put_bucket_cors(Bucket=self.bucket, CORSConfiguration={"CORSRules": [rule]})

    def tags(self) -> dict[str, str]:
        """Return the objects, with their tags, as Amazon's client lists them."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return {one["Key"]: one["ETag"] for page in pages for one in page.get("Contents", ())}


def place_on(server: S3Server) -> Place:
    """Make a bucket on a server."""
    return new_place(server.endpoint, server.access_key, server.secret_key, server.region)


def new_place(endpoint: str, access_key: str, secret: str, region: str = "us-east-1") -> Place:
    """Make a bucket that no other test has."""
    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id=access_key, aws_secret_access_key=secret, region_name=region
    )
    bucket = f"of-{os.getpid()}-{next(NUMBERS)}"
    where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    client.create_bucket(Bucket=bucket, **where)
    return Place(endpoint, bucket, client)


def upload(folder: Path, store: CloudStore) -> None:
    """Copy a dataset, or a directory of them, as it is."""
    local = LocalStore(folder)
    for stat in local.list():
        data = (folder / f"{stat.key}.gz" if stat.encoding else folder / stat.key).read_bytes()
        rule = kind_of(stat.key).rule
        store.write(
            stat.key,
            data,
            Attributes(
                content_type=rule.content_type, encoding=stat.encoding or "", cache_control=rule.cache_control()
            ),
        )
