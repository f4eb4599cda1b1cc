"""Ranges, ``HEAD`` and preconditions against RFC 9110, by property tests with an oracle of their own."""

from __future__ import annotations

import email.parser
import email.policy
import re
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import precast
from raw_http import Answer, Connection

LENGTHS = {"empty": 0, "one": 1, "some": 1000, "more": 700_001}
DATA = np.random.default_rng(2).integers(0, 256, 700_001, np.uint8).tobytes()
MOST_PARTS = 64

connections: list[Connection] = []


@pytest.fixture(scope="module", autouse=True)
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    root = tmp_path_factory.mktemp("ranges") / "d"
    root.mkdir()
    (root / "info").write_bytes(b"{}")
    for name, length in LENGTHS.items():
        (root / f"{name}.shard").write_bytes(DATA[:length])
    # what lies behind a link is read in another way
    (root / "linked").symlink_to(".")
    with precast.serve(root, precast.ServeOptions(port=0)) as server:
        connections.append(Connection(server.port))
        yield
        connections.pop().socket.close()


def ask(method: str, name: str, **headers: str) -> Answer:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return connections[0].ask(method, f"/d/{name}.shard", named)


class InvalidError(Exception):
    pass


def oracle(value: str, length: int) -> list[tuple[int, int]] | None:
    """Return the half-open ranges that a value asks for, None if it is to be ignored.

    Section 14.1.1: ``ranges-specifier = range-unit "=" range-set``, the unit a token without regard to case;
    ``range-set = 1#range-spec``, in which empty elements are passed over (5.6.1.2).
    """
    found = re.fullmatch(r"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=(.*)", value)
    if not found:
        raise InvalidError
    if found[1].lower() != "bytes":
        return None
    elements = [element.strip(" \t") for element in found[2].split(",")]
    elements = [element for element in elements if element]
    if not elements:
        raise InvalidError
    ranges = []
    satisfiable_suffix = False
    for element in elements:
        if suffix := re.fullmatch(r"-([0-9]+)", element):
            count = int(suffix[1])
            satisfiable_suffix |= count > 0
            if count and length:
                ranges.append((max(0, length - count), length))
        elif both := re.fullmatch(r"([0-9]+)-([0-9]*)", element):
            first = int(both[1])
            last = int(both[2]) if both[2] else None
            if last is not None and last < first:
                raise InvalidError
            if first < length:
                ranges.append((first, length if last is None else min(last + 1, length)))
        else:
            raise InvalidError
    crowded = any(sum(a <= start < b for a, b in ranges) > 2 for start, _ in ranges)
    if len(elements) > MOST_PARTS or crowded:
        raise InvalidError  # "many small ranges, or more than two overlapping ones": may be refused (14.2)
    if not ranges and length == 0 and satisfiable_suffix:
        return None
    return ranges


def parts(answer: Answer) -> list[tuple[str, bytes]]:
    """Return the Content-Range and bytes of each part of a multipart answer, read by the standard library."""
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + b"")
    boundary = message.get_boundary()
    assert boundary
    opened, *pieces, closing = (b"\r\n" + answer.body).split(b"\r\n--" + boundary.encode())
    assert opened.strip() == b""
    assert closing == b"--\r\n"
    found = []
    for piece in pieces:
        lines, _, body = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        named = dict(line.split(": ", 1) for line in lines.decode().split("\r\n"))
        assert named["Content-Type"] == "application/octet-stream"
        found.append((named["Content-Range"], body))
    return found


def check(name: str, value: str) -> None:
    for folder in ("", "linked/"):
        check_one(folder, name, value)


def check_one(folder: str, name: str, value: str) -> None:
    length = LENGTHS[name]
    answer = ask("GET", folder + name, Range=value)
    assert answer.origins == "*"
    try:
        wanted = oracle(value, length)
    except InvalidError:
        wanted = []
    if wanted is None:
        assert (answer.status, answer.body) == (200, DATA[:length])
        assert "content-range" not in answer.headers
    elif not wanted:
        assert answer.status == 416
        assert answer.headers["content-range"] == f"bytes */{length}"
    else:
        assert answer.status == 206
        assert answer.headers["content-length"] == str(len(answer.body))
        assert "content-encoding" not in answer.headers
        expected = [(f"bytes {a}-{b - 1}/{length}", DATA[a:b]) for a, b in wanted]
        if len(wanted) == 1:
            assert [(answer.headers["content-range"], answer.body)] == expected
            assert answer.headers["content-type"] == "application/octet-stream"
        else:
            assert "content-range" not in answer.headers
            assert parts(answer) == expected
    head = ask("HEAD", folder + name, Range=value)  # for other methods than GET a range means nothing (14.2)
    assert (head.status, head.headers["content-length"]) == (200, str(length))


NAMES = st.sampled_from(list(LENGTHS))
NUMBERS = st.one_of(
    st.integers(0, 12),
    st.sampled_from(
        [
            999,
            1000,
            1001,
            131_071,
            131_072,
            262_143,
            262_144,
            524_288,
            700_000,
            700_001,
            2**63,
            2**64 - 1,
            2**64,
            10**30,
        ]
    ),
).map(str)
SPECS = st.one_of(
    st.builds("{}-{}".format, NUMBERS, NUMBERS),
    st.builds("{}-".format, NUMBERS),
    st.builds("-{}".format, NUMBERS),
)
BLANKS = st.sampled_from(["", "", " ", "\t", "  "])
SETS = st.lists(st.builds("{}{}{}".format, BLANKS, st.one_of(SPECS, st.just("")), BLANKS), min_size=1, max_size=5).map(
    ",".join
)
UNITS = st.sampled_from(["bytes", "bytes", "bytes", "Bytes", "BYTES", "lines", "byte"])


@given(NAMES, SPECS)
def test_one_range(name: str, spec: str) -> None:
    check(name, f"bytes={spec}")


@given(NAMES, UNITS, SETS)
def test_sets_of_ranges(name: str, unit: str, ranges: str) -> None:
    check(name, f"{unit}={ranges}")


@given(NAMES, st.text(st.sampled_from("bytes=-,;0123456789 \t+.xé"), max_size=20))
def test_anything(name: str, text: str) -> None:
    value = text.strip(" \t")  # what a header's value may not begin or end with
    if value:
        check(name, value)
    check(name, f"bytes={value}x".strip())


def test_more_ranges_than_anybody_needs() -> None:
    check("more", "bytes=" + ",".join(f"{k * 10}-{k * 10 + 4}" for k in range(MOST_PARTS)))
    check("more", "bytes=" + ",".join(f"{k * 10}-{k * 10 + 4}" for k in range(MOST_PARTS + 1)))
    check("more", "bytes=0-99,50-149")
    check("more", "bytes=0-,0-,0-")


def test_several_lines_of_range_are_refused() -> None:
    connection = connections[0]
    connection.socket.sendall(
        b"GET /d/some.shard HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-1\r\nRange: bytes=4-5\r\n\r\n"
    )
    assert connection.receive().status == 416


@given(NAMES, st.sampled_from(['"x"', "W/", "same", "*", "Sat, 29 Oct 1994 19:43:31 GMT", "", '"x", same']))
def test_if_range(name: str, tag: str) -> None:
    etag = ask("HEAD", name).headers["etag"]
    answer = ask("GET", name, Range="bytes=0-0", If_Range=tag.replace("same", etag).replace("W/", "W/" + etag))
    if tag == "same":
        assert answer.status == (206 if LENGTHS[name] else 416)
    else:
        assert (answer.status, answer.body) == (200, DATA[: LENGTHS[name]])


def test_preconditions_come_before_ranges() -> None:
    etag = ask("HEAD", "some").headers["etag"]
    assert re.fullmatch('"[!#-~]+"', etag)
    same = ask("GET", "some", Range="bytes=0-0", If_None_Match=etag)
    assert (same.status, same.body, same.headers["etag"]) == (304, b"", etag)
    assert {"cache-control", "access-control-allow-origin"} <= set(same.headers)
    assert "content-length" not in same.headers
    assert ask("GET", "some", Range="bytes=5000-", If_Match='"other"').status == 412
    assert ask("GET", "some", Range="bytes=0-0", If_Match=etag, If_None_Match='"other"').status == 206
