"""Addresses of viewers: exact characters, where local data are served, files of states, what browsers refuse."""

from __future__ import annotations

import doctest
import importlib
import json
import urllib.parse
from pathlib import Path
from typing import Any

import neuroglancer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import precast
from precast.errors import ObjectNotFoundError, UsageError
from precast.hosting.addresses import blocked_as_insecure, encode_state, join_url, source_url, viewer_url
from precast.precomputed.collection import Collection, CollectionLayer

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
STATES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a directory of two datasets; the name of one needs care."""
    for name in ("em", "my labels|#1"):
        precast.convert(np.full((8, 8, 8), 5, np.uint8), tmp_path / "out" / name, precast.ConvertOptions(resolution=8))
    return tmp_path / "out"


def sources(*places: Any, **options: Any) -> list[str]:
    return [layer.source for layer in precast.link(*places, options=precast.LinkOptions(**options)).layers]


# ---- characters


def test_the_viewers_own_encoding() -> None:
    vector = {"a": "x|y:#'(é)", "b": [1, 2]}
    assert encode_state(vector) == "%7B%22a%22:%22x%7Cy:#%27%28%C3%A9%29%22%2C%22b%22:%5B1%2C2%5D%7D"
    everything = "".join(map(chr, range(32, 127)))
    kept = "".join(char for char in everything if char in urllib.parse.unquote(encode_state({"": char}))[4:-2])
    assert kept.replace('"', "").replace("\\", "") == everything.replace('"', "").replace("\\", "")


@given(st.dictionaries(TEXT, STATES, max_size=4))
def test_addresses_are_read_back(state: dict[str, Any]) -> None:
    fragment = encode_state(state)
    assert json.loads(urllib.parse.unquote(fragment)) == state
    assert not set(fragment) & set(" \"'()*;,!<>[]{}|\\^`\n")
    assert fragment.isascii()


def test_sources() -> None:
    assert source_url("gs://bucket/em/") == "gs://bucket/em/|neuroglancer-precomputed:"
    assert source_url("https://host/em?token=a&b=c") == "https://host/em/?token=a&b=c|neuroglancer-precomputed:"
    with pytest.raises(UsageError):
        source_url("https://host/em#x")
    assert join_url("https://host/", "a b#?|%@é", "c") == "https://host/a%20b%23%3F%7C%25%40%C3%A9/c"
    assert join_url("https://host", "", "") == "https://host"


def test_viewers() -> None:
    assert viewer_url("https://host", "x") == "https://host/#!x"
    assert viewer_url("https://host/ng/index.html?a=1#!old", "x") == "https://host/ng/index.html?a=1#!x"
    for wrong in ("host/ng", "ftp://host", "https://", ""):
        with pytest.raises(UsageError, match="--viewer"):
            viewer_url(wrong, "x")


@pytest.mark.parametrize(
    ("viewer", "data", "blocked"),
    [
        ("https://v/", "http://host/em", True),
        ("https://v/", "http://192.168.0.5:9000/em", True),
        ("https://v/", "http://127.0.0.1.example.org/em", True),
        ("https://v/", "http://127.0.0.1:9000/em", False),
        ("https://v/", "http://localhost/em", False),
        ("https://v/", "http://[::1]:9000/em", False),
        ("https://v/", "https://host/em", False),
        ("https://v/", "gs://bucket/em", False),
        ("http://v/", "http://host/em", False),
    ],
)
def test_what_browsers_refuse(viewer: str, data: str, blocked: bool) -> None:
    assert blocked_as_insecure(viewer, data) is blocked


# ---- where data are


def test_local_data_are_found_where_they_are_served(data: Path) -> None:
    end = "|neuroglancer-precomputed:"
    odd = "my%20labels%7C%231"
    assert sources(data, base_url="https://h/d/") == [f"https://h/d/out/em/{end}", f"https://h/d/out/{odd}/{end}"]
    assert sources(data / "em", base_url="https://h") == [f"https://h/em/{end}"]
    assert sources(data / "em", data, base_url="https://h") == [
        f"https://h/em/{end}",
        f"https://h/out/em/{end}",
        f"https://h/out/{odd}/{end}",
    ]
    layers = (CollectionLayer(name="em", kind="image"),)
    (data / "precast.json").write_bytes(Collection(layers=layers).to_bytes())
    assert sources(data, base_url="https://h") == [f"https://h/out/em/{end}"]
    # of the same name, as the server of precast has it
    (data / "two").mkdir()
    (data / "em").rename(data / "two" / "em")
    precast.convert(np.full((8, 8, 8), 5, np.uint8), data / "em", precast.ConvertOptions(resolution=8))
    assert sources(data / "two" / "em", data / "em", data / "two" / "em", base_url="https://h") == [
        f"https://h/em/{end}",
        f"https://h/em-2/{end}",
        f"https://h/em/{end}",
    ]


def test_local_data_need_an_address(data: Path) -> None:
    with pytest.raises(UsageError, match="is a local path, and a viewer needs an address") as caught:
        precast.link(data / "em")
    assert "--base-url" in caught.value.hint
    assert "serve" in caught.value.hint
    with pytest.raises(ObjectNotFoundError, match="there is no dataset"):
        precast.link(data / "nothing")
    with pytest.raises(UsageError, match="nothing to show"):
        precast.link()


def test_local_and_remote_data_together(data: Path, serve: str) -> None:
    made = precast.link(
        f"precomputed://{serve}/out/em", data / "em", options=precast.LinkOptions(base_url="https://host")
    )
    assert [layer.source for layer in made.layers] == [
        f"{serve}/out/em/|neuroglancer-precomputed:",
        "https://host/em/|neuroglancer-precomputed:",
    ]
    assert [layer.name for layer in made.layers] == ["em", "em-2"]
    assert made.url == str(made)
    assert neuroglancer.parse_url(made.url).to_json() == neuroglancer.ViewerState(made.state).to_json()
    assert made.findings == ()
    (named,) = precast.link(f"{serve}/out/{urllib.parse.quote('my labels|#1')}/").layers
    assert named.name == "my labels|#1"
    assert named.source == f"{serve}/out/my%20labels%7C%231/|neuroglancer-precomputed:"


def test_plain_http_data_for_a_viewer_on_https(data: Path) -> None:
    (finding,) = precast.link(data / "em", options=precast.LinkOptions(base_url="http://data.example.org")).findings
    assert finding.code == "PV111"
    assert "https" in finding.hint
    options = precast.LinkOptions(base_url="http://data.example.org", viewer="http://viewer.example.org")
    assert precast.link(data / "em", options=options).findings == ()


# ---- states in files


def test_a_state_in_a_file(data: Path, tmp_path: Path) -> None:
    file = data / "views" / "first view.json"
    file.parent.mkdir()
    options = {"base_url": "https://host/d", "viewer": "https://viewer"}
    made = precast.link(data, options=precast.LinkOptions(state_file=file, **options))
    assert made.url == "https://viewer/#!https://host/d/out/views/first%20view.json"
    assert json.loads(file.read_bytes()) == made.state
    assert made.state_file == str(file)
    one = precast.link(data / "em", options=precast.LinkOptions(state_file=data / "em" / "s.json", **options))
    assert one.url == "https://viewer/#!https://host/d/em/s.json"
    outside = tmp_path / "s.json"
    with pytest.raises(UsageError, match="is not known: it lies in none"):
        precast.link(data, options=precast.LinkOptions(state_file=outside, **options))
    assert not outside.exists()
    named = precast.LinkOptions(state_file=outside, state_url="http://host/s.json", **options)
    made = precast.link(data, options=named)
    assert made.url == "https://viewer/#!http://host/s.json"
    assert [finding.code for finding in made.findings] == ["PV111"]


def test_long_addresses_are_told(data: Path) -> None:
    labels = np.full((8, 8, 8), 5, np.uint32)
    precast.convert(labels, data / "labels", precast.ConvertOptions(resolution=8, kind="segmentation"))
    many = [2**63 + k for k in range(400)]
    options: dict[str, Any] = {"base_url": "https://host", "segments": many}
    made = precast.link(data / "labels", options=precast.LinkOptions(**options))
    (finding,) = made.findings
    assert finding.code == "PV110"
    assert str(len(made.url)) in finding.message
    in_file = precast.LinkOptions(state_file=data / "labels" / "s.json", **options)
    assert precast.link(data / "labels", options=in_file).findings == ()


@pytest.mark.parametrize(
    "options",
    [
        {"viewer": "neuroglancer"},
        {"base_url": "host:9000"},
        {"base_url": "gs://bucket"},
        {"base_url": "https://host/#x"},
        {"base_url": "https://host/|x:"},
        {"state_url": "https://host/s.json"},
        {"state_file": "s.json", "state_url": "s.json"},
        {"layout": "6panel"},
    ],
)
def test_options_of_links_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        precast.LinkOptions(**options)


@pytest.mark.parametrize(
    "name",
    [
        "hosting.addresses",
        "hosting.frame",
        "hosting.link",
        "hosting.segments",
        "precomputed.collection",
        "storage.opening",
    ],
)
def test_examples_in_docstrings(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"precast.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
