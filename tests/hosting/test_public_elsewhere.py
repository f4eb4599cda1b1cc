"""Rules and policies of Google and Azure merged with ours, judged by how those stores evaluate them."""

from __future__ import annotations

import copy
import fnmatch
import itertools
from typing import Any

import pytest

from precast.errors import UsageError
from precast.hosting.public_azure import merge_azure_cors
from precast.hosting.public_google import folders_above, is_open, merge_google_cors, open_policy

PAGE = "https://viewer.example.org"
NEEDED = {"content-range", "content-encoding", "accept-ranges", "etag"}

GOOGLE_LAB: dict[str, Any] = {"origin": ["https://lab.example.org"], "method": ["PUT", "GET"], "maxAgeSeconds": 5}
GOOGLE_BARE: dict[str, Any] = {"origin": ["*"], "method": ["GET"], "responseHeader": ["Content-Type", "x-goog-lab"]}
GOOGLE_ALL: dict[str, Any] = {"origin": ["*"], "method": ["*"], "responseHeader": ["*"]}
GOOGLE_PUT: dict[str, Any] = {"origin": ["*"], "method": ["PUT"], "responseHeader": ["x-up"]}

AZURE_NAMES = ("allowed_origins", "allowed_methods", "allowed_headers", "exposed_headers", "max_age_in_seconds")


def azure(*values: Any) -> dict[str, Any]:
    return dict(zip(AZURE_NAMES, values, strict=True))


AZURE_LAB = azure("https://lab.example.org,https://b.example.org", "PUT,GET", "x-ms-*", "x-ms-meta-a", 5)
AZURE_BARE = azure("*", "GET,HEAD", "", "", 0)
AZURE_ALL = azure("*", "GET,HEAD,OPTIONS", "Range,x-ms-*", "Content-Range,Content-Encoding,ETag,Accept-Ranges", 60)


def google_rule(rules: list[dict[str, Any]], origin: str, method: str) -> dict[str, Any]:
    """Return the first rule by origin and method."""
    fits = (one for one in rules if {"*", origin} & set(one["origin"]) and {"*", method} & set(one["method"]))
    return next(fits, {})


def azure_rule(rules: list[dict[str, Any]], origin: str, method: str, *asked: str) -> dict[str, Any]:
    """Return the first rule by origin, method and the headers that a preflight asks for."""
    for rule in rules:
        headers = rule["allowed_headers"].lower().split(",")
        if (
            {"*", origin} & set(rule["allowed_origins"].split(","))
            and method in rule["allowed_methods"].split(",")
            and all(any(fnmatch.fnmatchcase(name, one) for one in headers) for name in asked)
        ):
            return rule
    return {}


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_google_whatever_rules_there_are(count: int) -> None:
    for given in itertools.permutations([GOOGLE_LAB, GOOGLE_BARE, GOOGLE_ALL, GOOGLE_PUT], count):
        there = copy.deepcopy(list(given))
        merged = merge_google_cors(there)
        assert there == list(given), "the argument is not changed"
        rules = there if merged is None else merged
        for method in ("GET", "HEAD"):
            names = {name.lower() for name in google_rule(rules, PAGE, method)["responseHeader"]}
            assert "*" in names or names >= {"range", *NEEDED}, (there, method)
            before = google_rule(there, PAGE, method).get("responseHeader", [])
            assert "*" in names or {name.lower() for name in before if name != "*"} <= names
        assert google_rule(rules, PAGE, "PUT") == google_rule(there, PAGE, "PUT")
        assert google_rule(rules, "https://lab.example.org", "PUT") == google_rule(
            there, "https://lab.example.org", "PUT"
        )
        if merged is not None:
            assert any(rules[:number] + rules[number + 1 :] == there for number in range(len(rules)))
        assert merge_google_cors(rules) is None


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_azure_whatever_rules_there_are(count: int) -> None:
    for there in itertools.permutations([AZURE_LAB, AZURE_BARE, AZURE_ALL], count):
        merged = merge_azure_cors(there, "lab")
        rules = list(there) if merged is None else merged
        for method in ("GET", "HEAD"):
            assert azure_rule(rules, PAGE, method, "range"), (there, method)
            shown = azure_rule(rules, PAGE, method)["exposed_headers"].lower().split(",")
            assert "*" in shown or set(shown) >= NEEDED
        assert azure_rule(rules, "https://b.example.org", "PUT") == azure_rule(
            list(there), "https://b.example.org", "PUT"
        )
        if merged is not None:
            assert any(rules[:number] + rules[number + 1 :] == list(there) for number in range(len(rules)))
        assert merge_azure_cors(rules, "lab") is None


def test_azure_takes_five_rules() -> None:
    with pytest.raises(UsageError, match="has 5 CORS rules") as caught:
        merge_azure_cors([AZURE_LAB] * 5, "lab")
    assert "az storage cors list --account-name lab" in caught.value.hint
    assert merge_azure_cors([AZURE_LAB] * 4, "lab") is not None
    assert merge_azure_cors([*[AZURE_LAB] * 4, AZURE_ALL], "lab") is None


@pytest.mark.parametrize(
    ("binding", "expected"),
    [
        ({"role": "roles/storage.objectViewer", "members": ["user:a@b.c", "allUsers"]}, True),
        ({"role": "roles/storage.legacyObjectReader", "members": ["allUsers"]}, True),
        ({"role": "roles/storage.objectViewer", "members": ["allAuthenticatedUsers"]}, False),
        ({"role": "roles/storage.objectCreator", "members": ["allUsers"]}, False),
        ({"role": "roles/storage.objectViewer", "members": ["allUsers"], "condition": {"expression": "x"}}, False),
    ],
)
def test_google_policies(binding: dict[str, Any], expected: bool) -> None:
    policy = {"version": 3, "etag": "a", "bindings": [binding]}
    before = copy.deepcopy(policy)
    assert is_open(policy) == expected
    opened = open_policy(policy)
    assert policy == before, "the argument is not changed"
    assert is_open(opened)
    assert (opened["version"], opened["etag"]) == (3, "a")
    members = [
        (one["role"], member, str(one.get("condition"))) for one in opened["bindings"] for member in one["members"]
    ]
    assert {(binding["role"], name, str(binding.get("condition"))) for name in binding["members"]} <= set(members)


def test_folders_whose_policies_hold() -> None:
    assert folders_above("") == []
    assert folders_above("a/b c/d") == ["a/", "a/b c/", "a/b c/d/"]
