"""What the client of object stores leaves to its callers; a change of any of it should be noticed here."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import obstore
import pytest
from obstore.store import LocalStore as ObstoreLocalStore
from obstore.store import S3Store

from scripted_server import Script, scripted

HEADERS = {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT", "Content-Encoding": "gzip"}
PACKED = gzip.compress(b"voxels" * 50)


@pytest.fixture
def server() -> Iterator[Script]:
    with scripted() as script:
        yield script


@pytest.fixture
def handle(server: Script) -> Any:
    server.answers["/bucket/x"] = (200, HEADERS, PACKED)
    return S3Store(
        "bucket",
        config={"endpoint": server.url, "skip_signature": True, "region": "us-east-1"},
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )


def test_bodies_are_not_inflated(handle: Any) -> None:
    result = obstore.get(handle, "x")
    assert result.attributes["Content-Encoding"] == "gzip"
    assert bytes(result.bytes()) == PACKED


def test_head_tells_no_headers_but_get_does_without_a_body(handle: Any, server: Script) -> None:
    told = obstore.head(handle, "x")
    assert set(told) == {"path", "last_modified", "size", "e_tag", "version"}
    result = obstore.get(handle, "x", options={"head": True})
    assert result.attributes["Content-Encoding"] == "gzip"
    assert result.meta["size"] == len(PACKED)
    assert [method for method, _, _ in server.seen] == ["HEAD", "HEAD"]


def test_listings_tell_no_headers(handle: Any, server: Script) -> None:
    entry = (
        "<Contents><Key>x</Key><LastModified>2024-01-01T00:00:00Z</LastModified><ETag>1</ETag><Size>5</Size></Contents>"
    )
    server.answers["/bucket"] = (200, {}, f"<ListBucketResult>{entry}</ListBucketResult>".encode())
    (page,) = list(obstore.list(handle))
    assert set(page[0]) == {"path", "last_modified", "size", "e_tag", "version"}


def test_prefixes_are_whole_directories(handle: Any, server: Script) -> None:
    server.answers["/bucket"] = (200, {}, b"<ListBucketResult></ListBucketResult>")
    list(obstore.list(handle, "em/8"))
    assert "prefix=em%2F8%2F" in server.seen[0][1]


def test_ranges_beyond_the_end_are_errors(handle: Any, server: Script) -> None:
    server.answers["/bucket/x"] = (416, {}, b"<Error><Code>InvalidRange</Code></Error>")
    with pytest.raises(obstore.exceptions.BaseError, match="status code: 416"):
        obstore.get(handle, "x", options={"range": (1000, 2000)})


def test_its_local_store_takes_no_headers(tmp_path: Any) -> None:
    local = ObstoreLocalStore(tmp_path)
    with pytest.raises(NotImplementedError, match="attributes"):
        obstore.put(local, "x", b"1", attributes={"Content-Type": "application/json"})
    obstore.put(local, "x", b"1")
    assert not obstore.get(local, "x").attributes


def test_its_errors_hold_whole_answers(handle: Any, server: Script) -> None:
    """Which may say more than a user should read in a log: so they are read, and not passed on."""
    server.answers["/bucket/x"] = (
        403,
        {},
        b"<Error><Code>SignatureDoesNotMatch</Code><StringToSign>S</StringToSign></Error>",
    )
    with pytest.raises(obstore.exceptions.PermissionDeniedError, match="StringToSign"):
        obstore.get(handle, "x")
