"""Requests as a viewer on another origin sends them, and what the bytes of the answers are."""

from __future__ import annotations

import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from precast.checks.hosting_answers import MOVED, REFUSED, Asked, Content, Place, Range, Whole, joined
from precast.checks.hosting_rules import ORIGIN
from precast.checks.work import in_threads
from precast.errors import FormatError, StorageError, UsageError
from precast.kernels import gzip_decompress
from precast.precomputed.objects import ObjectKind
from precast.storage.encodings import SUFFIXES
from precast.storage.http import LOOPBACK, HttpAnswer, HttpClient, HttpStore, decode_body

__all__ = ["MOST_BYTES", "Prober", "ShardFiles", "begins_as_gzip", "is_local", "is_page"]

Parse = Callable[[bytes], Any]

MOST_BYTES = 1 << 28
"""What is read of one object."""
RANGE_BYTES = 16
PAGE_BYTES = 4096
"""What is read of an answer that should be short."""
MOST_HOPS = 5
AT_ONCE = 8
TIMEOUT_S = 30.0
GZIP = b"\x1f\x8b\x08"


def is_local(url: str) -> bool:
    """Whether an address is of this machine, which browsers trust without https."""
    return (urllib.parse.urlsplit(url).hostname or "") in LOOPBACK


class ShardFiles(HttpStore):
    """The files of one directory, by the last part of their keys; read by ranges that are not too long."""

    def read(self, key: str, start: int | None = None, stop: int | None = None) -> bytes:
        """Return a range.

        Raises
        ------
        FormatError
            If it is longer than anything that belongs into a shard.
        """
        if start is None or stop is None or stop - start > MOST_BYTES:
            raise FormatError(f"{key}: {MOST_BYTES} bytes are the most that are read at once", where=key)
        name = key.rpartition("/")[2]
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        answer = self.client.request("GET", self.address(name), headers, limit=stop - start, cut=True)
        # as viewers do, whatever Content-Range says: rules of their own tell that
        return answer.body if answer.status == 206 else super().read(name, start, stop)


class _FewAtOnce(HttpClient):
    """A client that sends few requests at the same time, whatever asks for them."""

    def __init__(self, gate: threading.Semaphore, *, follow: bool) -> None:
        super().__init__(retries=1, timeout_s=TIMEOUT_S, follow=follow)
        self._gate = gate

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        body: bytes | None = None,
        limit: int = MOST_BYTES,
        cut: bool = False,
    ) -> HttpAnswer:
        """Send a request when there is room for it."""
        with self._gate:
            return super().request(method, url, headers, body=body, limit=limit, cut=cut)


class Prober:
    """Asks a server, and writes down in places what came back.

    Parameters
    ----------
    url
        Where the dataset is.
    threads
        Requests at the same time.
    """

    def __init__(self, url: str, threads: int) -> None:
        gate = threading.BoundedSemaphore(threads)
        self.client = _FewAtOnce(gate, follow=False)
        self.reader = _FewAtOnce(gate, follow=True)
        self.threads = threads
        secure = url.startswith("https:") or is_local(url)
        self.encodings = ("gzip", "deflate", "br") if secure else ("gzip", "deflate")
        self.headers = {"Origin": ORIGIN, "Accept": "*/*", "Accept-Encoding": ", ".join(self.encodings)}

    def ask(
        self, url: str, method: str = "GET", headers: dict[str, str] | None = None, *, limit: int = MOST_BYTES
    ) -> Asked:
        """Send a request as a browser does, and follow redirections.

        One from ``x`` to ``x/`` is not followed, because viewers take it for missing, and none of ``OPTIONS``.
        """
        sent = {**self.headers, **(headers or {})}
        hops: list[HttpAnswer] = []
        target = url
        while True:
            try:
                answer = self.client.request(method, target, sent, limit=limit, cut=True)
            except (StorageError, UsageError) as error:  # the latter if it is sent to what is no address
                return Asked(method, url, None, error.message, tuple(hops))
            asked = Asked(method, url, answer, hops=tuple(hops))
            following = joined(target, answer.headers.get("location", ""))
            if answer.status not in MOVED or following in ("", target) or asked.to_directory:
                return asked
            if method == "OPTIONS" or len(hops) == MOST_HOPS:  # as browsers do
                return asked
            hops.append(answer)
            target = following

    def get(self, place: Place, url: str, headers: dict[str, str] | None = None, *, limit: int = MOST_BYTES) -> Asked:
        """Read from a place, and write it down."""
        asked = self.ask(url, headers=headers, limit=limit)
        place.asked.append(asked)
        return asked

    # ---- whole objects

    def judge(self, asked: Asked, parse: Parse | None) -> tuple[Content, str, bytes]:
        """Return what the bytes of an answer with status 200 are, what is wrong with them, and the bytes unpacked."""
        answer = asked.answer
        assert answer is not None
        encoding = asked.header("content-encoding").lower()
        if encoding not in ("", "identity", "x-gzip", "zstd", *self.encodings):
            return Content.FOREIGN, f"Content-Encoding is {encoding!r:.40}", b""
        if not answer.whole:
            return Content.WRONG, f"has more than {len(answer.body)} bytes, which is too much", b""
        try:
            data = decode_body(answer, asked.url, MOST_BYTES)
        except StorageError:
            return Content.MISLABELLED, f"Content-Encoding is {encoding!r}, and the bytes are not packed so", b""
        problem = _problem(parse, data)
        if data.startswith(GZIP) and (problem or parse is None):
            try:
                if not _problem(parse, gzip_decompress(data, MOST_BYTES)):
                    return (Content.TWICE if encoding not in ("", "identity") else Content.UNLABELLED), "", b""
            except FormatError:
                pass
        return (Content.WRONG, problem, b"") if problem else (Content.FINE, "", data)

    def whole(self, place: Place, asked: Asked, kind: ObjectKind, parse: Parse | None, *, root: bool = False) -> bytes:
        """Write down an object that is read as a whole; return its bytes, none if they are not what they should be."""
        content, text, data = Content.FINE, "", b""
        if asked.status == 200:
            content, text, data = self.judge(asked, parse)
        place.wholes.append(Whole(asked, kind, content, text, root))
        return data

    def first(
        self, place: Place, names: Sequence[str], store: HttpStore, limit: int = MOST_BYTES
    ) -> tuple[int, Asked] | None:
        """Return the first object that is there, with its place in the list; a failure counts as being there.

        If there is none, ask whether they are there as ``X.gz`` or ``X.br``.
        """
        place.tried += len(names)
        for number, asked in self._answers([store.address(name) for name in names], {}, limit):
            place.asked.append(asked)
            if not asked.absent and not is_page(place, asked):
                place.found += 1
                return number, asked
        self.unmapped(place, names, store)
        return None

    def unmapped(self, place: Place, names: Sequence[str], store: HttpStore) -> None:
        """Look whether objects are there under another name than theirs."""
        for encoding, suffix in SUFFIXES.items():
            urls = [store.address(f"{name}{suffix}") for name in names[:AT_ONCE]]
            for _, asked in self._answers(urls, {}, PAGE_BYTES):
                # nothing tells brotli from other bytes
                packed = asked.answer is not None and (encoding == "br" or asked.answer.body.startswith(GZIP))
                if asked.status == 200 and (packed or asked.header("content-encoding")) and not is_page(place, asked):
                    place.unmapped.append(asked.url)

    def _answers(self, urls: Sequence[str], headers: dict[str, str], limit: int) -> Iterator[tuple[int, Asked]]:
        """Ask for the first one alone, because mostly it is there, then for several at once."""
        number = 0
        for group in [urls[:1], *(urls[i : i + AT_ONCE] for i in range(1, len(urls), AT_ONCE))]:
            threads = min(self.threads, len(group))
            for asked in in_threads(lambda url: self.ask(url, headers=headers, limit=limit), group, threads):
                yield number, asked
                number += 1

    # ---- ranges

    def piece(self, place: Place, url: str, first: int, last: int) -> Range:
        """Ask for a range as browsers do."""
        headers = {"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"}
        return Range(self.get(place, url, headers, limit=last + 1 - first + PAGE_BYTES), first, last)

    def ranged(self, place: Place, url: str) -> bool:
        """Ask for ranges at the beginning of an object; return whether they are all right."""
        first = self.piece(place, url, 0, RANGE_BYTES - 1)
        place.ranges.append(first)
        if not first.exact:
            return False
        second = self.piece(place, url, RANGE_BYTES, 2 * RANGE_BYTES - 1)
        both = self.piece(place, url, 0, 2 * RANGE_BYTES - 1)
        place.ranges += [second, both]
        if second.exact and both.exact and _bytes(first) + _bytes(second) != _bytes(both):
            place.mixed = f"bytes 0 to {RANGE_BYTES - 1} and the next ones are others than in one range of both"
        headers = {"Range": f"bytes=0-{RANGE_BYTES - 1}", "Accept-Encoding": "gzip, deflate"}
        place.eager = Range(self.get(place, url, headers, limit=PAGE_BYTES), 0, RANGE_BYTES - 1)
        return second.exact and both.exact and not place.mixed

    def first_ranged(self, place: Place, names: Sequence[str], store: HttpStore) -> int | None:
        """Look for an object that is read by ranges; return its place in the list if ranges of it are all right."""
        place.tried += len(names)
        headers = {"Range": f"bytes=0-{RANGE_BYTES - 1}", "Accept-Encoding": "identity"}
        for number, asked in self._answers([store.address(name) for name in names], headers, PAGE_BYTES):
            if asked.absent or is_page(place, asked):
                place.asked.append(asked)
                continue
            place.found += 1
            return number if self.ranged(place, asked.url) else None
        self.unmapped(place, names, store)
        return None

    # ---- what belongs to every directory

    def without(self, place: Place, url: str, *, ranged: bool = False) -> None:
        """Ask for what cannot be there; comes before what may be absent, so that pages for that are known."""
        headers = {"Range": f"bytes=0-{RANGE_BYTES - 1}", "Accept-Encoding": "identity"} if ranged else None
        place.missing.append(self.get(place, url, headers, limit=PAGE_BYTES))

    def preflight(self, place: Place, url: str) -> None:
        """Ask with ``OPTIONS`` whether a range may be read."""
        headers = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "range"}
        place.preflight = self.ask(url, "OPTIONS", headers, limit=PAGE_BYTES)
        place.asked.append(place.preflight)


def _bytes(one: Range) -> bytes:
    assert one.asked.answer is not None
    return one.asked.answer.body


def begins_as_gzip(place: Place) -> bool:
    """Whether the first range is the beginning of a gzip member."""
    return bool(place.ranges) and place.ranges[0].exact and _bytes(place.ranges[0]).startswith(GZIP)


def _problem(parse: Parse | None, data: bytes) -> str:
    if parse is None:
        return ""
    try:
        parse(data)
    except FormatError as error:
        return " ".join(error.message.split())
    return ""


def is_page(place: Place, asked: Asked) -> bool:
    """Whether this is what the server sends for everything that is not there: a page, or a failure."""
    return asked.answer is not None and any(
        one.answer is not None
        and one.status == asked.status
        and (one.status >= 400 or one.answer.body[:PAGE_BYTES] == asked.answer.body[:PAGE_BYTES])
        for one in place.missing
        if one.status not in REFUSED
    )
