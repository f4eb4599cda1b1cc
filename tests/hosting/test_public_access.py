"""Rules and policies of buckets merged with ours, judged by how S3 evaluates them."""

from __future__ import annotations

import fnmatch
import itertools
from typing import Any

import pytest

from precast.errors import UsageError
from precast.hosting.public_access import RULE_ID, SettingChange, merge_cors, merge_policy
from precast.precomputed.objects import EXPOSED_HEADERS

PAGE = "https://viewer.example.org"
LAB: dict[str, Any] = {
    "AllowedOrigins": ["https://lab.example.org"],
    "AllowedMethods": ["PUT"],
    "AllowedHeaders": ["*"],
}
BARE: dict[str, Any] = {
    "AllowedOrigins": ["*"],
    "AllowedMethods": ["GET"],
    "ExposeHeaders": ["x-amz-meta-lab"],
    "MaxAgeSeconds": 5,
}
ENOUGH: dict[str, Any] = {
    "AllowedOrigins": ["*"],
    "AllowedMethods": ["HEAD", "GET"],
    "AllowedHeaders": ["range"],
    "ExposeHeaders": [name.lower() for name in EXPOSED_HEADERS],
}


def first_rule(rules: list[dict[str, Any]], origin: str, method: str, *asked: str) -> dict[str, Any] | None:
    """Evaluate rules as S3 documents it: the first by origin, method, and all headers that a preflight asks for."""
    for rule in rules:
        if (
            any(fnmatch.fnmatchcase(origin, one) for one in rule["AllowedOrigins"])
            and method in rule["AllowedMethods"]
            and all(
                any(fnmatch.fnmatchcase(name.lower(), one.lower()) for one in rule.get("AllowedHeaders", ()))
                for name in asked
            )
        ):
            return rule
    return None


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_any_page_can_read_whatever_rules_there_are(count: int) -> None:
    for there in itertools.permutations([LAB, BARE, ENOUGH], count):
        merged = merge_cors(there)
        rules = list(there) if merged is None else merged
        for method in ("GET", "HEAD"):
            for asked in ((), ("Range",)):
                rule = first_rule(rules, PAGE, method, *asked)
                assert rule is not None, (there, method, asked)
            simple = first_rule(rules, PAGE, method)
            assert simple is not None
            shown = {name.lower() for name in simple["ExposeHeaders"]}
            assert {"content-range", "content-encoding", "etag", "accept-ranges"} <= shown
        # what others set is there, in its order
        assert [rule for rule in rules if rule.get("ID") != RULE_ID] == list(there)
        assert first_rule(rules, "https://lab.example.org", "PUT", "x") == first_rule(
            list(there), "https://lab.example.org", "PUT", "x"
        )
        assert merge_cors(rules) is None


def test_headers_that_others_show_are_shown_still() -> None:
    merged = merge_cors([LAB, BARE])
    assert merged is not None
    rule = first_rule(merged, PAGE, "GET")
    assert rule is not None
    assert rule["ID"] == RULE_ID
    assert "x-amz-meta-lab" in rule["ExposeHeaders"]
    assert "*" not in rule["ExposeHeaders"], "S3 takes no such thing"


def test_enough_is_left_alone() -> None:
    assert merge_cors([LAB, ENOUGH]) is None
    assert merge_cors([{**ENOUGH, "ExposeHeaders": ["Content-Range"]}]) is not None
    assert merge_cors([{**ENOUGH, "AllowedOrigins": [PAGE]}]) is not None
    assert merge_cors([{**ENOUGH, "AllowedHeaders": []}]) is not None
    # an older one of ours is replaced, not doubled
    merged = merge_cors([LAB, {"ID": RULE_ID, "AllowedOrigins": ["*"], "AllowedMethods": ["GET"]}])
    assert merged is not None
    assert [rule.get("ID") for rule in merged] == [None, RULE_ID]


DENY = {
    "Sid": "TLS",
    "Effect": "Deny",
    "Principal": "*",
    "Action": "s3:*",
    "Resource": "arn:aws:s3:::lab/*",
    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
}


def allow(resource: Any, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": resource, **more}


def test_policy_of_others_stays() -> None:
    policy = {"Version": "2008-10-17", "Id": "theirs", "Statement": [DENY]}
    merged = merge_policy(policy, "lab", "p/q")
    assert merged is not None
    assert merged["Statement"][0] == DENY
    assert merged["Statement"][1]["Resource"] == "arn:aws:s3:::lab/p/q/*"
    assert {key: merged[key] for key in ("Version", "Id")} == {"Version": "2008-10-17", "Id": "theirs"}
    assert policy["Statement"] == [DENY], "the argument is not changed"
    assert merge_policy(merged, "lab", "p/q") is None
    again = merge_policy(merged, "lab", "p/r")
    assert again is not None
    assert again["Statement"][0] == DENY
    assert len({one["Sid"] for one in again["Statement"]}) == 3
    # one statement need not be in a list
    assert merge_policy({"Statement": DENY}, "lab", "p") is not None
    china = merge_policy(None, "lab", "p", "aws-cn")
    assert china is not None
    assert china["Statement"][0]["Resource"].startswith("arn:aws-cn:s3:::")


@pytest.mark.parametrize(
    ("statement", "enough"),
    [
        (allow("arn:aws:s3:::lab/*"), True),
        (allow(["arn:aws:s3:::other/*", "arn:aws:s3:::lab/p/*"]), True),
        (allow("arn:aws:s3:::lab/p*", Action=["s3:Get*"], Principal={"AWS": "*"}), True),
        (allow("*", Action="*", Principal={"AWS": ["*"]}), True),
        (allow("arn:aws:s3:::lab/p/?"), False),
        (allow("arn:aws:s3:::lab/p/q/*"), False),
        (allow("arn:aws:s3:::lab/p/*.shard"), False),
        (allow("arn:aws:s3:::lab2/*"), False),
        (allow("arn:aws:s3:::lab/*", Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}), False),
        (allow("arn:aws:s3:::lab/*", Principal={"AWS": "arn:aws:iam::1:root"}), False),
        (allow("arn:aws:s3:::lab/*", Action="s3:GetObjectVersion"), False),
        (allow("arn:aws:s3:::lab/*", Effect="Deny"), False),
        ({"Effect": "Allow", "NotPrincipal": "*", "Action": "s3:GetObject", "Resource": "*"}, False),
    ],
)
def test_what_is_enough_of_a_policy(statement: dict[str, Any], enough: bool) -> None:
    merged = merge_policy({"Version": "2012-10-17", "Statement": [statement]}, "lab", "p")
    assert (merged is None) == enough


def test_a_statement_of_ours_that_somebody_changed() -> None:
    merged = merge_policy(None, "lab", "p")
    assert merged is not None
    merged["Statement"][0]["Condition"] = {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}
    with pytest.raises(UsageError, match="that somebody has changed"):
        merge_policy(merged, "lab", "p")


@pytest.mark.parametrize("prefix", ["a*b", "what?", "${aws:username}"])
def test_prefixes_that_a_policy_takes_for_patterns(prefix: str) -> None:
    with pytest.raises(UsageError, match="cannot be limited"):
        merge_policy(None, "lab", prefix)


def test_shown_as_lines() -> None:
    lines = str(SettingChange(name="policy", before={"a": [1]}, after={"a": [1, 2]})).splitlines()
    assert [line for line in lines if line.startswith("+")] == ["+    1,", "+    2"]
    assert [line for line in lines if line.startswith("-")] == ["-    1"]
