"""Copies inside a bucket with other headers, also of objects that a store copies in parts only."""

from __future__ import annotations

from pathlib import Path

import boto3
import numpy as np
import pytest

from buckets import Place, forget_credentials
from precast.dataset.objects import attributes
from precast.precomputed.objects import ObjectKind
from precast.storage import s3_api
from precast.storage.s3_api import S3Bucket
from s3_server import REGION, S3Server

LEAST_PART = 5 << 20
"""Of all parts but the last."""


@pytest.fixture(params=["s3", "mock_s3"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    server: S3Server = request.getfixturevalue(request.param)
    forget_credentials(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    monkeypatch.setenv("AWS_REGION", REGION)
    client = boto3.client("s3", endpoint_url=server.endpoint, region_name=REGION)
    return Place(server.endpoint, server.new_bucket(), client)


@pytest.mark.parametrize(("size", "parts"), [(1000, 0), (5 * LEAST_PART + 1, 6)])
def test_bytes_and_metadata_stay_and_headers_are_new(
    place: Place, size: int, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_api, "COPY_PART_BYTES", LEAST_PART)
    data = np.random.default_rng(0).bytes(size)
    place.client.put_object(
        Bucket=place.bucket, Key="data/em/0.shard", Body=data, ContentType="text/plain", Metadata={"lab": "theirs"}
    )
    bucket = S3Bucket(place.store())
    for target in ("8_8_8/0.shard", "0.shard"):  # another object, and in place
        bucket.copy("0.shard", target, attributes(ObjectKind.SHARD))
        head = place.head(f"data/em/{target}")
        assert (head["ContentType"], head["CacheControl"]) == ("application/octet-stream", "public, max-age=3600")
        assert head["Metadata"] == {"lab": "theirs"}
        assert head["ETag"].strip('"').partition("-")[2] == (str(parts) if parts else "")
        assert place.bytes(f"data/em/{target}") == data
    uploads = place.client.list_multipart_uploads(Bucket=place.bucket)
    assert not uploads.get("Uploads")
