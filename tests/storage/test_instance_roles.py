"""Credentials that machines and containers of Amazon's are given: asked for, sent, and renewed before they end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import botocore.credentials
import pytest

from buckets import forget_credentials
from precast.storage import CloudStore, StoreOptions, cloud_clients
from precast.storage.s3_api import S3Bucket
from scripted_server import Script, scripted

ROLE = "/latest/meta-data/iam/security-credentials/"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_credentials(monkeypatch, tmp_path)


@pytest.fixture
def servers() -> Iterator[tuple[Script, Script]]:
    """That of the machine, which gives out credentials, and the store."""
    with scripted() as machine, scripted() as store:
        headers = {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        store.answers[None] = (200, headers, b"{}")
        yield machine, store


def giving(life: timedelta) -> Any:
    numbers = count(1)

    def answer(_: Any) -> tuple[int, dict[str, str], bytes]:
        number = next(numbers)
        value = {"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z"}
        value |= {"AccessKeyId": f"ASIA{number}", "SecretAccessKey": "s", "Token": f"token-{number}"}
        value["Expiration"] = (datetime.now(UTC) + life).strftime("%Y-%m-%dT%H:%M:%SZ")
        return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()

    return answer


def given(machine: Script, kind: str, life: timedelta, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "container":
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{machine.url}/credentials")
        machine.answers["/credentials"] = giving(life)
        return
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", machine.url)

    def only_with_a_token(request: Any, then: Any) -> Any:
        return then if request.headers.get("x-aws-ec2-metadata-token") == "opened" else (401, {}, b"")

    credentials = giving(life)
    machine.answers["/latest/api/token"] = (200, {}, b"opened")
    machine.answers[ROLE] = lambda request: only_with_a_token(request, (200, {}, b"lab"))
    machine.answers[f"{ROLE}lab"] = lambda request: only_with_a_token(request, credentials(request))


def used(server: Script) -> list[str]:
    """Return the token of each request to the store, which has to be of one set with the key."""
    told = [headers["x-amz-security-token"] for _, _, headers in server.seen]
    keys = [headers["Authorization"].partition("Credential=")[2].partition("/")[0] for _, _, headers in server.seen]
    assert keys == [f"ASIA{token.removeprefix('token-')}" for token in told]
    return told


@pytest.mark.parametrize("kind", ["machine", "container"])
def test_credentials_that_are_given(servers: tuple[Script, Script], kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine, server = servers
    given(machine, kind, timedelta(hours=6), monkeypatch)
    store = CloudStore("s3://bucket/em", StoreOptions(endpoint=server.url, region="eu-west-1"))
    for _ in range(3):
        assert store.read("info") == b"{}"
    S3Bucket(store).policy()
    told = used(server)
    assert len(told) == 4
    assert len(set(told[:3])) == 1


def test_they_are_renewed_before_they_end(servers: tuple[Script, Script], monkeypatch: pytest.MonkeyPatch) -> None:
    """By boto3, each time that it is asked within their last ten minutes; which it has to be, again and again."""
    machine, server = servers
    given(machine, "container", timedelta(minutes=4), monkeypatch)
    window = botocore.credentials.RefreshableCredentials._mandatory_refresh_timeout
    assert timedelta(0) < cloud_clients.ASKED_AGAIN < timedelta(seconds=window)
    monkeypatch.setattr(cloud_clients, "ASKED_AGAIN", timedelta(0))
    store = CloudStore("s3://bucket/em", StoreOptions(endpoint=server.url, region="eu-west-1"))
    for _ in range(3):
        assert store.read("info") == b"{}"
    told = used(server)
    assert len(set(told)) == len(told) == 3


def test_anonymous_asks_for_none(servers: tuple[Script, Script], monkeypatch: pytest.MonkeyPatch) -> None:
    machine, server = servers
    given(machine, "machine", timedelta(hours=6), monkeypatch)
    store = CloudStore("s3://bucket/em", StoreOptions(endpoint=server.url, anonymous=True))
    assert store.read("info") == b"{}"
    assert "Authorization" not in server.seen[0][2]
    assert not machine.seen
