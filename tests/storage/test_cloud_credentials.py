"""Buckets: credentials, profiles, endpoints and regions, from where they are found; secrets are never shown."""

from __future__ import annotations

import pickle
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloud_calls import SECRET, TOKEN, at, calls_of, everything_said, refusal
from precast.errors import AccessDeniedError, PrecastError, StorageError, UsageError
from precast.storage import CloudStore, StoreOptions, cloud, cloud_clients
from precast.storage.cloud_clients import Connection
from scripted_server import Script

pytestmark = pytest.mark.usefixtures("no_credentials")


def test_no_credentials(server: Script) -> None:
    server.answers[None] = refusal(403, "AccessDenied")
    for call in calls_of(at(server)).values():
        with pytest.raises(AccessDeniedError, match="no credentials were found") as caught:
            call()
        assert "AWS_ACCESS_KEY_ID" in caught.value.hint
    assert not any("Authorization" in headers for _, _, headers in server.seen)


def test_public_buckets_are_read_without_credentials(server: Script, signed: None) -> None:
    server.answers["/bucket/em/info"] = (200, {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"}, b"{}")
    assert at(server, anonymous=True).read("info") == b"{}"
    assert "Authorization" not in server.seen[0][2]
    assert at(server).read("info") == b"{}"
    assert "Authorization" in server.seen[1][2]
    server.answers[None] = refusal(403, "AccessDenied")
    with pytest.raises(AccessDeniedError, match="without credentials is refused") as caught:
        at(server, anonymous=True).read("x")
    assert caught.value.hint == "leave out --anonymous"


def test_profiles(server: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers[None] = (200, {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"}, b"{}")
    config = f"[profile lab]\nregion = eu-north-1\nendpoint_url = {server.url}\n"
    config += f"[profile other]\nservices = mine\n[services mine]\ns3 =\n  endpoint_url = {server.url}/sub\n"
    (tmp_path / "config").write_text(config)
    (tmp_path / "credentials").write_text(
        f"[lab]\naws_access_key_id = OFLAB\naws_secret_access_key = {SECRET}\n"
        f"[other]\naws_access_key_id = OFOTHER\naws_secret_access_key = {SECRET}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    assert CloudStore("s3://bucket/em", StoreOptions(profile="lab")).read("info") == b"{}"
    assert re.search(r"Credential=OFLAB/\d+/eu-north-1/s3/", server.seen[0][2]["Authorization"])
    monkeypatch.setenv("AWS_PROFILE", "other")
    assert CloudStore("s3://bucket/em").read("info") == b"{}"
    assert server.seen[1][1] == "/sub/bucket/em/info"
    assert "Credential=OFOTHER/" in server.seen[1][2]["Authorization"]
    monkeypatch.setenv("AWS_PROFILE", "gone")
    for options in (StoreOptions(), StoreOptions(profile="gone")):
        with pytest.raises(UsageError, match="gone") as caught:
            CloudStore("s3://bucket/em", options).read("info")
        assert caught.value.hint == "profiles that there are: lab, other"


@pytest.mark.parametrize(
    ("profile", "text"),
    [
        (
            "sso_session = s\nsso_account_id = 1\nsso_role_name = r\n"
            "[sso-session s]\nsso_region = us-east-1\nsso_start_url = https://example.org/start\n",
            "SSO",
        ),
        (f"credential_process = {sys.executable} -c exit(3)\n", "custom-process"),
    ],
)
def test_credentials_that_cannot_be_used(
    server: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str, text: str
) -> None:
    (tmp_path / "config").write_text(f"[profile lab]\n{profile}")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with pytest.raises(AccessDeniedError, match=f"s3://bucket: the credentials cannot be used: .*{text}") as caught:
        at(server, profile="lab").read("x")
    assert "aws sso login" in caught.value.hint
    assert server.seen == []


def test_endpoints_of_the_environment(server: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers[None] = (200, {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"}, b"{}")
    nowhere = "http://127.0.0.1:1"

    def path_of(**options: Any) -> str:
        CloudStore("s3://bucket/em", StoreOptions(**options), Connection(retries=0)).read("info")
        return server.seen[-1][1]

    monkeypatch.setenv("AWS_ENDPOINT_URL", f"{server.url}/general/")
    assert path_of() == "/general/bucket/em/info"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"{server.url}/of-s3")
    assert path_of() == "/of-s3/bucket/em/info"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", nowhere)
    monkeypatch.setenv("AWS_ENDPOINT_URL", nowhere)
    assert path_of(endpoint=f"{server.url}/given") == "/given/bucket/em/info"


def test_regions(server: Script, signed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers[None] = (200, {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"}, b"{}")

    def region_of(**options: Any) -> str:
        at(server, **options).read("info")
        return server.seen[-1][2]["Authorization"].split("/")[2]

    assert region_of() == "us-east-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    assert region_of() == "eu-west-3"
    monkeypatch.setenv("AWS_REGION", "eu-west-2")
    assert region_of() == "eu-west-2"
    assert region_of(region="eu-west-1") == "eu-west-1"


def test_a_bucket_in_another_region_is_found(server: Script, signed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Amazon's own addresses stand for this server, which knows what Amazon answers."""

    def by_region(handler: Any) -> tuple[int, dict[str, str], bytes]:
        if "/eu-west-1/" in handler.headers["Authorization"]:
            return 200, {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"}, b"{}"
        return refusal(301, "PermanentRedirect")

    open_client = cloud_clients.open_client

    def opened(scheme: str, bucket: str, options: StoreOptions, *more: Any, **named: Any) -> Any:
        client = open_client(scheme, bucket, replace(options, endpoint=server.url), *more, **named)
        return replace(client, endpoint="")

    monkeypatch.setattr(cloud, "open_client", opened)
    monkeypatch.setattr("precast.storage.cloud_clients.AMAZON", server.url)
    monkeypatch.setenv("AWS_REGION", "us-east-2")
    server.answers["/bucket/em/info"] = by_region
    server.answers["/bucket"] = (301, {"x-amz-bucket-region": "eu-west-1"}, b"")
    assert CloudStore("s3://bucket/em").read("info") == b"{}"
    assert CloudStore("s3://bucket/em").stat("info").size == 2
    with pytest.raises(StorageError, match="is in the region eu-west-1") as caught:
        CloudStore("s3://bucket/em", StoreOptions(region="us-west-1")).read("info")
    assert caught.value.hint == "give --region eu-west-1"


# ---- secrets


def test_credentials_are_never_said_or_kept(server: Script, signed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "account")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", f"?sv=2024&sig={SECRET}")
    said = ""
    for answer in (
        refusal(403, "AccessDenied"),
        refusal(403, "SignatureDoesNotMatch", "The request signature we calculated does not match"),
        refusal(404, "NoSuchKey"),
        refusal(500, "InternalError"),
        (200, {}, b"no headers at all"),
        (301, {}, b""),
        (200, {"Content-Length": "100", "Connection": "close", "ETag": "1"}, b"short"),
    ):
        server.answers[None] = answer
        for url in ("s3://bucket/em", "az://bucket/em"):
            store = at(server, url)
            for call in calls_of(store).values():
                try:
                    call()
                except PrecastError as error:
                    said += everything_said(error)
            said += repr(store) + store.url + pickle.dumps(store).decode("latin-1") + repr(store.options)
    for url in ("s3://bucket/em", "az://bucket/em"):
        try:
            CloudStore(url, StoreOptions(endpoint="http://127.0.0.1:1"), Connection(retries=0)).read("x")
        except StorageError as error:
            said += everything_said(error)
    assert "refused" in said
    assert "nothing answers" in said
    assert SECRET not in said
    assert TOKEN not in said
    # the secrets were in use all the time
    assert any("Authorization" in headers for _, _, headers in server.seen)
    assert any(SECRET in path for _, path, _ in server.seen)


@pytest.mark.parametrize("url", [f"s3://me:{SECRET}@bucket/em", f"s3://{SECRET}@bucket/em"])
def test_credentials_in_addresses_are_refused(url: str) -> None:
    with pytest.raises(UsageError, match="without a user") as caught:
        CloudStore(url)
    assert SECRET not in everything_said(caught.value)
    with pytest.raises(UsageError, match="without a user") as caught:
        StoreOptions(endpoint=f"http://me:{SECRET}@host")
    assert SECRET not in everything_said(caught.value)
