"""What the S3 servers of the tests really do; other tests rely on it.

Truth is S3's documentation (API reference, "Troubleshoot CORS", "Bucket policies"). Where the server differs from S3,
a test says so, because nothing can be tried there.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import fault_proxy
from fault_proxy import Plan
from raw_http import Answer
from s3_server import REGION, Keys, S3Server, error_of

DENIED = (403, "AccessDenied")
PAGE = "https://viewer.example.org"
MIB = 1 << 20


def md5_of(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body).digest()).decode()


# ---- who asks


def test_a_signature_by_another_secret_is_refused(s3: S3Server, bucket: str) -> None:
    s3.put(bucket, "key", b"abc")
    assert s3.ask("GET", f"/{bucket}/key").body == b"abc"
    answer = s3.ask("GET", f"/{bucket}/key", keys=Keys(s3.access_key, "guess"))
    assert error_of(answer) == (403, "SignatureDoesNotMatch")
    answer = s3.ask("GET", f"/{bucket}/key", keys=Keys("nobody", s3.secret_key))
    assert error_of(answer) == (403, "InvalidAccessKeyId")


def test_what_was_signed_cannot_be_changed(s3: S3Server, bucket: str) -> None:
    target = f"/{bucket}/key"
    headers = s3.signed("PUT", target, {"Cache-Control": "no-cache"}, b"abc")
    assert error_of(s3.anonymously("PUT", target, headers, b"abd")) == (400, "XAmzContentSHA256Mismatch")
    refused = (403, "SignatureDoesNotMatch")
    assert error_of(s3.anonymously("PUT", target, {**headers, "Cache-Control": "max-age=1"}, b"abc")) == refused
    assert error_of(s3.anonymously("PUT", target + "2", headers, b"abc")) == refused
    assert error_of(s3.anonymously("PUT", target + "?acl", headers, b"abc")) == refused
    assert error_of(s3.anonymously("PUT", target, {**headers, "Host": "localhost"}, b"abc")) == refused
    assert error_of(s3.ask("GET", target)) == (404, "NoSuchKey")
    assert s3.anonymously("PUT", target, headers, b"abc").status == 200


def test_a_signature_is_for_one_region_and_for_minutes(s3: S3Server, bucket: str) -> None:
    elsewhere = S3Server(s3.port, s3.keys, region="us-east-1")
    answer = elsewhere.ask("GET", f"/{bucket}?list-type=2")
    assert error_of(answer) == (400, "AuthorizationHeaderMalformed")
    assert REGION.encode() in answer.body  # the client is told where to ask
    headers = s3.signed("GET", f"/{bucket}?list-type=2")
    stamp = headers["X-Amz-Date"]
    earlier = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y%m%dT%H%M%SZ")
    old = {name: value.replace(stamp, earlier) for name, value in headers.items()}
    assert error_of(s3.anonymously("GET", f"/{bucket}?list-type=2", old)) == (403, "RequestTimeTooSkewed")


def test_nobody_may_do_anything_without_a_policy(s3: S3Server, bucket: str) -> None:
    s3.put(bucket, "key", b"abc")
    stranger = s3.new_user()
    asked = [("GET", "/key"), ("GET", "/nothing"), ("PUT", "/new"), ("DELETE", "/key"), ("GET", "?list-type=2")]
    for method, target in [*asked, ("GET", "?cors"), ("PUT", "?policy")]:
        for answer in (
            s3.anonymously(method, f"/{bucket}{target}"),
            s3.ask(method, f"/{bucket}{target}", keys=stranger),
        ):
            assert error_of(answer) == DENIED, (method, target)
    assert s3.ask("GET", f"/{bucket}/key").body == b"abc"


def test_buckets_and_objects_that_are_not_there(s3: S3Server, bucket: str) -> None:
    assert error_of(s3.ask("GET", f"/{bucket}/nothing")) == (404, "NoSuchKey")
    assert s3.ask("HEAD", f"/{bucket}/nothing").status == 404
    assert error_of(s3.ask("GET", "/no-such-bucket/key")) == (404, "NoSuchBucket")
    assert error_of(s3.ask("PUT", "/no-such-bucket/key", body=b"abc")) == (404, "NoSuchBucket")
    assert error_of(s3.ask("GET", "/no-such-bucket?list-type=2")) == (404, "NoSuchBucket")
    assert s3.ask("HEAD", "/no-such-bucket").status == 404
    assert s3.ask("HEAD", f"/{bucket}").headers["x-amz-bucket-region"] == REGION
    assert s3.ask("DELETE", f"/{bucket}/nothing").status == 204


# ---- policies


def may_read(bucket: str, prefix: str, who: Any = "*") -> dict[str, Any]:
    resource = f"arn:aws:s3:::{bucket}/{prefix}*"
    return {"Effect": "Allow", "Principal": who, "Action": ["s3:GetObject"], "Resource": [resource]}


def may_list(bucket: str, prefix: str, who: Any = "*") -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Principal": who,
        "Action": ["s3:ListBucket"],
        "Resource": [f"arn:aws:s3:::{bucket}"],
        "Condition": {"StringLike": {"s3:prefix": f"{prefix}*"}},
    }


def test_a_policy_opens_one_prefix_for_reading(s3: S3Server, bucket: str) -> None:
    for key in ("open/key", "open/deep/er", "opener", "shut/key"):
        s3.put(bucket, key, key.encode())
    s3.allow(bucket, may_read(bucket, "open/"))
    assert s3.anonymously("GET", f"/{bucket}/open/key").body == b"open/key"
    assert s3.anonymously("GET", f"/{bucket}/open/deep/er", {"Range": "bytes=5-8"}).body == b"deep"
    assert s3.anonymously("HEAD", f"/{bucket}/open/key").status == 200
    assert error_of(s3.anonymously("GET", f"/{bucket}/opener")) == DENIED
    assert error_of(s3.anonymously("GET", f"/{bucket}/shut/key")) == DENIED
    assert error_of(s3.anonymously("GET", f"/{bucket}/open/../shut/key")) == DENIED
    assert s3.anonymously("HEAD", f"/{bucket}/shut/key").status == 403
    for method, target in [("PUT", "/open/new"), ("DELETE", "/open/key"), ("GET", "?list-type=2&prefix=open/")]:
        assert error_of(s3.anonymously(method, f"/{bucket}{target}")) == DENIED
    s3.allow(bucket)
    assert error_of(s3.anonymously("GET", f"/{bucket}/open/key")) == DENIED


def test_listing_can_be_allowed_below_a_prefix(s3: S3Server, bucket: str) -> None:
    s3.put(bucket, "open/key", b"abc")
    s3.allow(bucket, may_list(bucket, "open/"))
    assert b"<Key>open/key</Key>" in s3.anonymously("GET", f"/{bucket}?list-type=2&prefix=open/").body
    for target in ("?list-type=2", "?list-type=2&prefix=ope", "/open/key"):
        assert error_of(s3.anonymously("GET", f"/{bucket}{target}")) == DENIED


def test_permissions_of_a_user_are_given_and_taken(s3: S3Server, bucket: str) -> None:
    user, other = s3.new_user(), s3.new_user()
    own = {"AWS": [user.access_key]}
    writes = {**may_read(bucket, "own/", own), "Action": ["s3:PutObject"]}
    s3.allow(bucket, writes)
    assert s3.ask("PUT", f"/{bucket}/own/key", body=b"abc", keys=user).status == 200
    assert error_of(s3.ask("PUT", f"/{bucket}/own/key", body=b"abc", keys=other)) == DENIED
    assert error_of(s3.ask("PUT", f"/{bucket}/key", body=b"abc", keys=user)) == DENIED
    assert error_of(s3.ask("GET", f"/{bucket}/own/key", keys=user)) == DENIED
    assert error_of(s3.ask("DELETE", f"/{bucket}/own/key", keys=user)) == DENIED
    s3.allow(bucket, may_read(bucket, "own/", own))
    assert error_of(s3.ask("PUT", f"/{bucket}/own/key", body=b"abc", keys=user)) == DENIED
    assert s3.ask("GET", f"/{bucket}/own/key", keys=user).body == b"abc"


def test_a_denial_outweighs(s3: S3Server, bucket: str) -> None:
    s3.put(bucket, "open/key", b"abc")
    s3.put(bucket, "open/secret/key", b"abc")
    s3.allow(bucket, may_read(bucket, "open/"), {**may_read(bucket, "open/secret/"), "Effect": "Deny"})
    assert s3.anonymously("GET", f"/{bucket}/open/key").status == 200
    assert error_of(s3.anonymously("GET", f"/{bucket}/open/secret/key")) == DENIED


@pytest.mark.parametrize(
    "text", ["{", '{"Version": "2012-10-17"}', '{"Version": "2012-10-17", "Statement": [{"Effect": "Perhaps"}]}']
)
def test_a_policy_that_is_none_is_refused(s3: S3Server, bucket: str, text: str) -> None:
    assert error_of(s3.ask("GET", f"/{bucket}?policy")) == (404, "NoSuchBucketPolicy")
    assert error_of(s3.ask("PUT", f"/{bucket}?policy", body=text.encode())) == (400, "MalformedPolicy")
    elsewhere = b'{"Version": "2012-10-17", "Statement": [%s]}' % str(may_read("other", "")).replace("'", '"').encode()
    assert error_of(s3.ask("PUT", f"/{bucket}?policy", body=elsewhere)) == (400, "MalformedPolicy")
    assert error_of(s3.ask("GET", f"/{bucket}?policy")) == (404, "NoSuchBucketPolicy")


# ---- CORS


def rules(*each: str) -> bytes:
    inside = "".join(f"<CORSRule>{rule}</CORSRule>" for rule in each)
    return f'<CORSConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inside}</CORSConfiguration>'.encode()


EVERYBODY = (
    "<AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod><AllowedMethod>HEAD</AllowedMethod>"
    "<AllowedHeader>Range</AllowedHeader><ExposeHeader>Content-Range</ExposeHeader>"
    "<ExposeHeader>Content-Encoding</ExposeHeader><MaxAgeSeconds>600</MaxAgeSeconds>"
)


def set_rules(s3: S3Server, bucket: str, *each: str) -> Answer:
    body = rules(*each)
    return s3.ask("PUT", f"/{bucket}?cors", {"Content-MD5": md5_of(body)}, body)


def preflight(s3: S3Server, target: str, origin: str = PAGE, method: str = "GET", headers: str = "range") -> Answer:
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return s3.anonymously("OPTIONS", target, {"Origin": origin, **asked})


def test_without_rules_no_page_may_read(s3: S3Server, bucket: str) -> None:
    s3.put(bucket, "key", b"abc")
    s3.allow(bucket, may_read(bucket, ""))
    answer = s3.anonymously("GET", f"/{bucket}/key", {"Origin": PAGE})
    assert (answer.status, answer.origins) == (200, None)
    answer = preflight(s3, f"/{bucket}/key")
    assert (answer.status, answer.origins) == (403, None)
    assert error_of(s3.ask("GET", f"/{bucket}?cors")) == (404, "NoSuchCORSConfiguration")


def test_a_rule_opens_the_bucket_to_pages(s3: S3Server, bucket: str) -> None:
    s3.put(bucket, "open/key", b"abc", content_encoding="gzip")
    s3.allow(bucket, may_read(bucket, "open/"), may_list(bucket, "open/"))
    assert set_rules(s3, bucket, EVERYBODY).status == 200
    for target, headers, status in (
        ("/open/key", {}, 200),
        ("/open/key", {"Range": "bytes=0-1"}, 206),
        ("/open/nothing", {}, 404),
    ):
        answer = s3.anonymously("GET", f"/{bucket}{target}", {"Origin": PAGE, **headers})
        assert (answer.status, answer.origins) == (status, "*"), target
        exposed = answer.headers["access-control-expose-headers"].lower().replace(" ", "").split(",")
        assert {"content-range", "content-encoding"} <= set(exposed)
    assert s3.anonymously("GET", f"/{bucket}/open/key").origins is None  # it is for who says where it comes from
    answer = preflight(s3, f"/{bucket}/open/key")
    assert (answer.status, answer.origins) == (200, "*")
    assert answer.headers["access-control-allow-headers"].lower() == "range"
    assert "GET" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-max-age"] == "600"


def test_a_rule_is_for_its_origins_methods_and_headers(s3: S3Server, bucket: str) -> None:
    s3.put(bucket, "key", b"abc")
    s3.allow(bucket, may_read(bucket, ""))
    rule = EVERYBODY.replace("<AllowedOrigin>*<", f"<AllowedOrigin>{PAGE}<")
    assert set_rules(s3, bucket, rule).status == 200
    assert s3.anonymously("GET", f"/{bucket}/key", {"Origin": PAGE}).origins == PAGE
    other = s3.anonymously("GET", f"/{bucket}/key", {"Origin": "https://other.example.org"})
    assert (other.status, other.origins) == (200, None)
    assert preflight(s3, f"/{bucket}/key").status == 200
    for change in ({"origin": "https://other.example.org"}, {"method": "PUT"}, {"headers": "range, x-other"}):
        answer = preflight(s3, f"/{bucket}/key", **change)
        assert (answer.status, answer.origins) == (403, None), change


def test_rules_are_kept_and_replaced_as_a_whole(s3: S3Server, bucket: str) -> None:
    theirs = EVERYBODY.replace("<AllowedOrigin>*<", "<AllowedOrigin>https://theirs.example.org<")
    assert set_rules(s3, bucket, theirs, EVERYBODY).status == 200
    kept = s3.ask("GET", f"/{bucket}?cors").body
    assert re.findall(rb"<AllowedOrigin>(.*?)</AllowedOrigin>", kept) == [b"https://theirs.example.org", b"*"]
    assert set_rules(s3, bucket, theirs).status == 200
    assert s3.ask("GET", f"/{bucket}?cors").body.count(b"<AllowedOrigin>") == 1
    assert error_of(set_rules(s3, bucket)) == (400, "MalformedXML")
    assert error_of(set_rules(s3, bucket, EVERYBODY.replace(">GET<", ">OPTIONS<"))) == (400, "InvalidRequest")
    unsure = s3.ask("PUT", f"/{bucket}?cors", body=rules(EVERYBODY))
    assert error_of(unsure) == (400, "InvalidRequest")  # as on S3, a checksum has to be there
    assert s3.ask("GET", f"/{bucket}?cors").body.count(b"<AllowedOrigin>") == 1
    assert s3.ask("DELETE", f"/{bucket}?cors").status == 204
    assert error_of(s3.ask("GET", f"/{bucket}?cors")) == (404, "NoSuchCORSConfiguration")


# ---- objects


HEADERS = {
    "content-type": "application/octet-stream",
    "content-encoding": "gzip",
    "cache-control": "public, max-age=3600",
    "content-disposition": "inline",
    "content-language": "en",
    "x-amz-meta-crc32c": "AAAAAA==",
}


def headers_of(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name in HEADERS}


def test_headers_come_back_as_stored(s3: S3Server, bucket: str) -> None:
    s3.put(bucket, "key", b"abc", **HEADERS)
    for answer in (
        s3.ask("GET", f"/{bucket}/key"),
        s3.ask("HEAD", f"/{bucket}/key"),
        s3.ask("GET", f"/{bucket}/key", {"Range": "bytes=1-1", "Accept-Encoding": "identity"}),
    ):
        assert headers_of(answer) == HEADERS
    s3.put(bucket, "key", b"abc")
    answer = s3.ask("GET", f"/{bucket}/key", {"Accept-Encoding": "gzip"})
    assert headers_of(answer) == {"content-type": "binary/octet-stream"}  # nothing is left of the former object


def test_headers_are_replaced_by_a_copy_onto_itself(s3: S3Server, bucket: str) -> None:
    s3.put(bucket, "key", b"abc", cache_control="no-cache", content_type="text/plain")
    copy = {"x-amz-copy-source": f"/{bucket}/key"}
    assert error_of(s3.ask("PUT", f"/{bucket}/key", copy)) == (400, "InvalidRequest")  # it would change nothing
    replacing = {**copy, "x-amz-metadata-directive": "REPLACE", **HEADERS}
    assert s3.ask("PUT", f"/{bucket}/key", replacing).status == 200
    answer = s3.ask("GET", f"/{bucket}/key")
    assert (headers_of(answer), answer.body) == (HEADERS, b"abc")


def test_ranges_are_exact(s3: S3Server, bucket: str) -> None:
    body = bytes(range(100))
    s3.put(bucket, "key", body)
    for text, first, last in (
        ("bytes=10-19", 10, 19),
        ("bytes=90-500", 90, 99),
        ("bytes=95-", 95, 99),
        ("bytes=-3", 97, 99),
    ):
        answer = s3.ask("GET", f"/{bucket}/key", {"Range": text})
        assert (answer.status, answer.body) == (206, body[first : last + 1])
        assert answer.headers["content-range"] == f"bytes {first}-{last}/100"
    assert error_of(s3.ask("GET", f"/{bucket}/key", {"Range": "bytes=100-"})) == (416, "InvalidRange")


def test_conditions_of_reading(s3: S3Server, bucket: str) -> None:
    tag = s3.put(bucket, "key", b"abc").headers["etag"]
    assert tag == f'"{hashlib.md5(b"abc").hexdigest()}"'
    assert s3.ask("GET", f"/{bucket}/key", {"If-None-Match": tag}).status == 304
    assert s3.ask("GET", f"/{bucket}/key", {"If-None-Match": '"other"'}).body == b"abc"
    assert s3.ask("GET", f"/{bucket}/key", {"If-Match": tag}).body == b"abc"
    assert error_of(s3.ask("GET", f"/{bucket}/key", {"If-Match": '"other"'})) == (412, "PreconditionFailed")


def test_conditions_of_writing(s3: S3Server, bucket: str) -> None:
    new = {"If-None-Match": "*"}
    assert s3.ask("PUT", f"/{bucket}/key", new, b"abc").status == 200
    assert error_of(s3.ask("PUT", f"/{bucket}/key", new, b"abd")) == (412, "PreconditionFailed")
    tag = s3.ask("HEAD", f"/{bucket}/key").headers["etag"]
    assert s3.ask("PUT", f"/{bucket}/key", {"If-Match": tag}, b"abd").status == 200
    assert error_of(s3.ask("PUT", f"/{bucket}/key", {"If-Match": tag}, b"abe")) == (412, "PreconditionFailed")
    assert s3.ask("GET", f"/{bucket}/key").body == b"abd"


def crc32c(data: bytes) -> int:
    """By the polynomial, bit by bit."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def test_checksums_are_compared_and_told(s3: S3Server, bucket: str) -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720
    right, wrong = (base64.b64encode(crc32c(data).to_bytes(4)).decode() for data in (b"abc", b"abd"))
    assert error_of(s3.ask("PUT", f"/{bucket}/key", {"x-amz-checksum-crc32c": wrong}, b"abc")) == (400, "BadDigest")
    assert s3.ask("PUT", f"/{bucket}/key", {"x-amz-checksum-crc32c": right}, b"abc").status == 200
    answer = s3.ask("HEAD", f"/{bucket}/key", {"x-amz-checksum-mode": "ENABLED"})
    assert answer.headers["x-amz-checksum-crc32c"] == right
    assert error_of(s3.ask("PUT", f"/{bucket}/key", {"Content-MD5": md5_of(b"abd")}, b"abc")) == (400, "BadDigest")


def test_lists_are_complete_in_pages(s3: S3Server, bucket: str) -> None:
    keys = sorted(
        [*(f"a/{n:02}" for n in range(7)), "a/0-64_0-64_0-64", "a/1:0", "a/sp ace", "a/%41", "a/ü", "a/&", "b/x"]
    )
    for key in keys:
        s3.put(bucket, key, key.encode())
        assert s3.ask("GET", f"/{bucket}/{urllib.parse.quote(key)}").body == key.encode()
    seen: list[str] = []
    token, pages = "", 0
    while True:
        answer = s3.ask("GET", f"/{bucket}?list-type=2&max-keys=4&prefix=a%2F{token}")
        text = answer.body.decode()
        seen += [html.unescape(key) for key in re.findall(r"<Key>(.*?)</Key>", text)]
        pages += 1
        assert len(re.findall("<ETag>.*?[0-9a-f]{32}.*?</ETag>", text)) == len(re.findall("<Size>[0-9]+</Size>", text))
        following = re.search("<NextContinuationToken>(.*?)</NextContinuationToken>", text)
        assert ("<IsTruncated>true</IsTruncated>" in text) == bool(following)
        if not following:
            break
        token = f"&continuation-token={urllib.parse.quote(following[1], safe='')}"
    assert seen == [key for key in keys if key.startswith("a/")]
    assert pages == 4
    top = s3.ask("GET", f"/{bucket}?list-type=2&delimiter=%2F").body.decode()
    assert re.findall("<CommonPrefixes><Prefix>(.*?)</Prefix></CommonPrefixes>", top) == ["a/", "b/"]
    assert "<Contents>" not in top


def begin(s3: S3Server, target: str, **headers: str) -> str:
    answer = s3.ask("POST", f"{target}?uploads", {name.replace("_", "-"): value for name, value in headers.items()})
    assert answer.status == 200, answer
    found = re.search(rb"<UploadId>(.*?)</UploadId>", answer.body)
    assert found
    return found[1].decode()


def complete(s3: S3Server, target: str, upload: str, tags: list[str], headers: dict[str, str] | None = None) -> Answer:
    parts = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{tag}</ETag></Part>" for n, tag in enumerate(tags, 1))
    body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    return s3.ask("POST", f"{target}?uploadId={upload}", headers, body)


def test_an_upload_in_parts(s3: S3Server, bucket: str) -> None:
    target = f"/{bucket}/big"
    parts = [bytes(5 * MIB), b"the end"]
    upload = begin(s3, target, **HEADERS)
    tags = []
    for number, part in enumerate(parts, 1):
        answer = s3.ask("PUT", f"{target}?partNumber={number}&uploadId={upload}", body=part)
        tags.append(answer.headers["etag"])
    assert error_of(s3.ask("GET", target)) == (404, "NoSuchKey")
    assert upload.encode() in s3.ask("GET", f"/{bucket}?uploads").body
    assert error_of(complete(s3, target, upload, [tags[0], tags[0]])) == (400, "InvalidPart")
    assert complete(s3, target, upload, tags).status == 200
    answer = s3.ask("GET", target)
    assert answer.body == b"".join(parts)
    assert headers_of(answer) == HEADERS
    md5s = b"".join(hashlib.md5(part).digest() for part in parts)
    assert answer.headers["etag"] == f'"{hashlib.md5(md5s).hexdigest()}-2"'
    assert s3.ask("GET", f"/{bucket}?uploads").body.count(b"<Upload>") == 0


def test_parts_that_are_too_small_and_uploads_that_are_given_up(s3: S3Server, bucket: str) -> None:
    target = f"/{bucket}/big"
    upload = begin(s3, target)
    tags = [s3.ask("PUT", f"{target}?partNumber={n}&uploadId={upload}", body=b"small").headers["etag"] for n in (1, 2)]
    assert error_of(complete(s3, target, upload, tags)) == (400, "EntityTooSmall")
    assert s3.ask("DELETE", f"{target}?uploadId={upload}").status == 204
    assert error_of(s3.ask("PUT", f"{target}?partNumber=1&uploadId={upload}", body=b"small")) == (404, "NoSuchUpload")
    assert error_of(complete(s3, target, upload, tags)) == (404, "NoSuchUpload")


def test_many_objects_are_removed_at_once(s3: S3Server, bucket: str) -> None:
    for key in ("a", "b", "c"):
        s3.put(bucket, key, b"abc")
    body = b"<Delete><Object><Key>a</Key></Object><Object><Key>b</Key></Object></Delete>"
    answer = s3.ask("POST", f"/{bucket}?delete", {"Content-MD5": md5_of(body)}, body)
    assert (answer.status, answer.body.count(b"<Deleted>")) == (200, 2)
    assert re.findall(rb"<Key>(.*?)</Key>", s3.ask("GET", f"/{bucket}?list-type=2").body) == [b"c"]


def test_an_upload_that_breaks_off_leaves_nothing(s3: S3Server, bucket: str) -> None:
    with fault_proxy.running(s3.port, Plan(cut_upload=1)) as proxy, pytest.raises((EOFError, ConnectionError)):
        s3.ask("PUT", f"/{bucket}/key", body=bytes(MIB), port=proxy.port)
    assert proxy.counts == {"cut_upload": 1}
    assert error_of(s3.ask("GET", f"/{bucket}/key")) == (404, "NoSuchKey")


def test_signatures_hold_through_the_proxy(s3: S3Server, bucket: str) -> None:
    with fault_proxy.running(s3.port) as proxy:
        assert s3.ask("PUT", f"/{bucket}/key", dict(HEADERS), b"abc", port=proxy.port).status == 200
        answer = s3.ask("GET", f"/{bucket}/key", port=proxy.port)
        assert (answer.body, headers_of(answer)) == (b"abc", HEADERS)
        refused = s3.ask("GET", f"/{bucket}/key", keys=Keys(s3.access_key, "guess"), port=proxy.port)
        assert error_of(refused) == (403, "SignatureDoesNotMatch")


# ---- where it is not S3


def test_no_object_has_a_key_below_another_s(s3: S3Server, bucket: str) -> None:
    """Objects are files, so ``a`` and ``a/b`` cannot both be there; on S3 they can."""
    s3.put(bucket, "a", b"abc")
    assert error_of(s3.ask("PUT", f"/{bucket}/a/b", body=b"abc")) == (409, "ObjectParentIsFile")


def test_what_is_missing_is_told_to_those_who_may_not_list(s3: S3Server, bucket: str) -> None:
    """S3 answers 403 to those who may read but not list."""
    s3.allow(bucket, may_read(bucket, ""))
    assert error_of(s3.anonymously("GET", f"/{bucket}/nothing")) == (404, "NoSuchKey")


def test_refusals_are_not_open_to_pages(s3: S3Server, bucket: str) -> None:
    """A browser learns that they failed, not that it was a 403; what S3 does here is not documented."""
    assert set_rules(s3, bucket, EVERYBODY).status == 200
    answer = s3.anonymously("GET", f"/{bucket}/key", {"Origin": PAGE})
    assert (error_of(answer), answer.origins) == (DENIED, None)


def test_lists_are_not_percent_encoded(s3: S3Server, bucket: str) -> None:
    """S3 does that when asked to, and says so in ``EncodingType``, which is empty here."""
    s3.put(bucket, "a%41", b"abc")
    text = s3.ask("GET", f"/{bucket}?list-type=2&encoding-type=url").body
    assert b"<Key>a%41</Key>" in text
    assert b"<EncodingType>url" not in text


def test_a_public_access_block_is_not_known(s3: S3Server, bucket: str) -> None:
    """What a program does about one is tried with the mock, or not at all."""
    assert error_of(s3.ask("GET", f"/{bucket}?publicAccessBlock")) == (501, "NotImplemented")


# ---- the mock


def test_the_mock_keeps_a_public_access_block(mock_s3: S3Server) -> None:
    bucket = mock_s3.new_bucket()
    assert error_of(mock_s3.ask("GET", f"/{bucket}?publicAccessBlock")) == (404, "NoSuchPublicAccessBlockConfiguration")
    block = (
        b"<PublicAccessBlockConfiguration><BlockPublicPolicy>true</BlockPublicPolicy></PublicAccessBlockConfiguration>"
    )
    assert mock_s3.ask("PUT", f"/{bucket}?publicAccessBlock", body=block).status == 200
    assert b"<BlockPublicPolicy>true</BlockPublicPolicy>" in mock_s3.ask("GET", f"/{bucket}?publicAccessBlock").body


def test_the_mock_believes_everything(mock_s3: S3Server) -> None:
    """Why nothing about signatures or permissions is tried with it."""
    bucket = mock_s3.new_bucket()
    mock_s3.put(bucket, "key", b"abc", **HEADERS)
    assert mock_s3.ask("GET", f"/{bucket}/key", keys=Keys("nobody", "guess")).body == b"abc"
    assert headers_of(mock_s3.ask("GET", f"/{bucket}/key")) == HEADERS


# ---- the end


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv: apt-get install util-linux")
def test_the_server_ends_with_who_started_it(tmp_path: Path) -> None:
    """However that ends; a server left behind would keep its port and its files."""
    program = (
        "import pathlib, sys, time; sys.path.insert(0, sys.argv[1]); import s3_server\n"
        "with s3_server.versitygw(pathlib.Path(sys.argv[2])) as s3: print(s3.port, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parent), str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    server = S3Server(int(process.stdout.readline()), Keys("owner", "unknown"))
    assert error_of(server.ask("GET", "/")) == (403, "SignatureDoesNotMatch")
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    for _ in range(500):
        try:
            server.ask("GET", "/")
        except (OSError, EOFError):
            return
        time.sleep(0.02)
    pytest.fail("it is still there")
