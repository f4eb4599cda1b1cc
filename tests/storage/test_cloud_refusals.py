"""Buckets: refusals, word for word as the stores send them, and faults on the way: each error says what to do."""

from __future__ import annotations

import re
import socket
from typing import Any

import pytest

from cloud_calls import DATA, at, calls_of, refusal
from precast.errors import AccessDeniedError, PrecastError, StorageError
from precast.storage import CloudStore, StoreOptions
from precast.storage.cloud_clients import Connection
from precast.storage.cloud_errors import NotNowError
from scripted_server import Script

pytestmark = pytest.mark.usefixtures("no_credentials")


@pytest.mark.parametrize(
    ("action", "permission"),
    [
        ("read", "s3:GetObject"),
        ("range", "s3:GetObject"),
        ("stat", "s3:GetObject"),
        ("write", "s3:PutObject"),
        ("list", "s3:ListBucket"),
        ("folders", "s3:ListBucket"),
        ("delete", "s3:DeleteObject"),
    ],
)
def test_what_is_denied_names_the_permission(server: Script, signed: None, action: str, permission: str) -> None:
    server.answers[None] = refusal(403, "AccessDenied", "Access Denied")
    with pytest.raises(AccessDeniedError, match=r"s3://bucket/em.* is refused \(AccessDenied\)") as caught:
        calls_of(at(server))[action]()
    assert permission in caught.value.hint
    assert "Authorization" in server.seen[0][2]


@pytest.mark.parametrize(
    ("answer", "error", "text", "hint"),
    [
        (refusal(403, "InvalidAccessKeyId"), AccessDeniedError, "does not know the access key", "AWS_PROFILE"),
        (refusal(403, "SignatureDoesNotMatch"), AccessDeniedError, "secret key does not belong", "AWS_PROFILE"),
        (refusal(400, "ExpiredToken"), AccessDeniedError, "credentials have expired", "AWS_PROFILE"),
        (refusal(403, "RequestTimeTooSkewed"), AccessDeniedError, "clock", "set it"),
        (refusal(404, "NoSuchBucket"), StorageError, "there is no bucket s3://bucket", "check its name"),
        ((404, {}, b"<html>Not Found</html>"), StorageError, "is not that of an object store (404)", "--endpoint"),
        (refusal(301, "PermanentRedirect"), StorageError, "another region", "--region"),
        (refusal(400, "AuthorizationHeaderMalformed"), StorageError, "another region", "--region"),
        (refusal(503, "SlowDown", "Reduce your rate"), NotNowError, "503, SlowDown: Reduce your rate", "try again"),
        (refusal(500, "InternalError"), NotNowError, "status 500", "try again"),
        (refusal(507, "InsufficientStorage", "full"), NotNowError, "507, InsufficientStorage: full", ""),
        ((418, {}, b""), StorageError, "status 418", ""),
    ],
)
@pytest.mark.parametrize("action", ["read", "range", "stat", "write", "list", "delete"])
def test_what_goes_wrong_says_what_to_do(
    server: Script, signed: None, answer: Any, error: type[PrecastError], text: str, hint: str, action: str
) -> None:
    server.answers[None] = answer
    with pytest.raises(error, match=re.escape(text)) as caught:
        calls_of(at(server))[action]()
    assert type(caught.value) is error
    assert hint in caught.value.hint
    assert "s3://bucket" in caught.value.message
    assert "\n" not in caught.value.message


# ---- faults


def test_a_store_that_is_busy_is_asked_again(server: Script, signed: None) -> None:
    good = (200, {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"}, DATA)
    for action in ("read", "write"):
        answers = [refusal(503, "SlowDown"), (429, {}, b""), refusal(500, "InternalError"), good]
        server.seen.clear()
        server.answers["/bucket/em/x"] = lambda _, answers=answers: answers.pop(0)
        calls_of(at(server, retries=5))[action]()
        assert len(server.seen) == 4


def test_a_body_that_is_cut_is_never_taken_for_the_object(server: Script, signed: None) -> None:
    asked = []

    def cut(handler: Any) -> tuple[int, dict[str, str], bytes]:
        handler.close_connection = True
        asked.append(handler.headers.get("Range"))
        headers = {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT", "Content-Length": "100"}
        if handler.headers.get("Range") == "bytes=40-99":
            return 206, {**headers, "Content-Range": "bytes 40-99/100", "Content-Length": "60"}, DATA[40:]
        return 200, headers, DATA[:40]

    server.answers["/bucket/em/x"] = cut
    assert at(server, retries=2).read("x") == DATA
    assert asked == [None, "bytes=40-99"]
    with pytest.raises(StorageError):
        at(server).read("x")


def test_a_server_that_ignores_ranges(server: Script, signed: None) -> None:
    server.answers[None] = (200, {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"}, DATA)
    with pytest.raises(StorageError, match="ignores Range and sends the whole object"):
        at(server).read("x", 10, 20)


def test_nothing_answers(signed: None) -> None:
    store = CloudStore("s3://b/em", StoreOptions(endpoint="http://127.0.0.1:1"), Connection(retries=0))
    for call in calls_of(store).values():
        with pytest.raises(StorageError, match=r"nothing answers at http://127\.0\.0\.1:1") as caught:
            call()
        assert "--endpoint" in caught.value.hint
    named = CloudStore("s3://b/em", StoreOptions(endpoint="http://no-such-host.invalid"), Connection(retries=0))
    with pytest.raises(StorageError, match="no host") as caught:
        named.read("x")


def test_a_server_that_is_silent(signed: None) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        options = StoreOptions(endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}")
        store = CloudStore("s3://b/em", options, Connection(retries=0, timeout_s=0.2))
        with pytest.raises(StorageError, match="did not answer in time"):
            store.read("x")
