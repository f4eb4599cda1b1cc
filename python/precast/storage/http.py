"""Datasets on web servers, read only.

An object is the answer to ``GET <address>/<key>``. Content encodings are undone; ranges are asked for as
``bytes=a-b`` and must be answered with exactly those bytes. Nothing but the object itself counts as data: a
refusal, a server that does not answer and an answer cut short are errors.
"""

from __future__ import annotations

import re
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from precast import __version__
from precast.errors import (
    AccessDeniedError,
    CertificateError,
    MissingExtraError,
    ObjectNotFoundError,
    StorageError,
    UsageError,
)
from precast.storage.base import Attributes, ObjectStat, StoredBytes, check_key
from precast.storage.encodings import MAX_INFLATED_BYTES, decode

if TYPE_CHECKING:
    import urllib3

__all__ = ["LOOPBACK", "HttpAnswer", "HttpClient", "HttpStore", "decode_body", "quote_key"]

MAX_BODY_BYTES = 1 << 32
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
RETRIED = (429, 500, 502, 503, 504)
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def quote_key(key: str) -> str:
    """Return a key as it stands in an address: ``:`` and what else a path may hold stays, ``? # @ | %`` do not."""
    return urllib.parse.quote(key, safe="/:!$&'()*+,;=-._~")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """What a server said.

    Attributes
    ----------
    url
        Where the answer came from, after redirections.
    status
        The status code.
    headers
        Names in lower case; the values of one that is there several times are joined by commas.
    body
        The bytes as they were sent, still encoded as ``content-encoding`` says.
    whole
        Whether that is all of them.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool = True


class HttpClient:
    """Sends requests over connections that are kept open. Safe to share between threads; pickles without them.

    Parameters
    ----------
    retries
        How often a request is sent again after a lost connection or a status that stands for "later"; pauses grow from
        0.3 s on.
    timeout_s
        How long a server may be silent.
    follow
        Whether redirections are followed; otherwise they are answers like any other.
    """

    def __init__(self, *, retries: int = 4, timeout_s: float = READ_TIMEOUT_S, follow: bool = True) -> None:
        self.retries = retries
        self.timeout_s = timeout_s
        self.follow = follow
        self._pools: dict[str, urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return _client, (self.retries, self.timeout_s, self.follow)

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        body: bytes | None = None,
        limit: int = MAX_BODY_BYTES,
        cut: bool = False,
    ) -> HttpAnswer:
        """Send a request and return the answer, whatever its status.

        Parameters
        ----------
        method, url, headers, body
            The request.
        limit
            Bytes that the body may have.
        cut
            Return the first ``limit`` bytes of a longer body, and do not wait for the rest.

        Raises
        ------
        CertificateError
            If the server's certificate is not valid for its host.
        StorageError
            If there is no answer, or it ends before its end, or is longer than it may be.
        UsageError
            If the address is none.
        """
        import urllib3  # here, because work on local files should not wait for it

        sent = {"User-Agent": f"precast/{__version__}", "Accept-Encoding": "identity", **(headers or {})}
        for left in range(self.retries, -1, -1):
            try:
                answer = self._pool(url).request(
                    method,
                    url,
                    body=body,
                    headers=sent,
                    preload_content=False,
                    decode_content=False,
                    redirect=self.follow,
                )
            except (urllib3.exceptions.LocationValueError, urllib3.exceptions.URLSchemeUnknown) as error:
                raise UsageError(f"{url} is not an address: {error}", where=url) from None
            except urllib3.exceptions.HTTPError as error:
                raise _no_answer(url, error, self.timeout_s) from None
            try:
                content, whole = _body(answer, url, limit, cut=cut)
                break
            except urllib3.exceptions.HTTPError as error:  # a connection that was lost half-way
                if not left:
                    raise _no_answer(url, error, self.timeout_s) from None
        landed = urllib.parse.urljoin(url, answer.geturl() or url)
        lower = {name.lower(): value for name, value in answer.headers.itermerged()}
        return HttpAnswer(url=landed, status=int(answer.status), headers=lower, body=content, whole=whole)

    def _pool(self, url: str) -> urllib3.PoolManager:
        import urllib3

        parts = urllib.parse.urlsplit(url)
        proxy = _proxy(parts.scheme, parts.hostname or "")
        with self._lock:
            if proxy not in self._pools:
                # a status that is left over after all retries is an answer like any other
                retry = urllib3.Retry(
                    total=self.retries,
                    connect=min(self.retries, 1),
                    redirect=5,
                    status_forcelist=RETRIED,
                    backoff_factor=0.3,
                    allowed_methods=None,
                    raise_on_status=False,
                    respect_retry_after_header=False,  # it may ask for hours
                )
                settings: dict[str, Any] = {
                    "maxsize": 16,
                    "retries": retry,
                    "timeout": urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=self.timeout_s),
                }
                pool = urllib3.ProxyManager(proxy, **settings) if proxy else urllib3.PoolManager(**settings)
                self._pools[proxy] = pool
            return self._pools[proxy]


def _body(answer: urllib3.BaseHTTPResponse, url: str, limit: int, *, cut: bool) -> tuple[bytes, bool]:
    """Read an answer to its end and tell whether it was; one that ends too early raises an error of the library."""
    pieces, size = [], 0
    for piece in answer.stream(min(1 << 20, limit + 1), decode_content=False):
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            answer.close()
            if cut:
                return b"".join(pieces)[:limit], False
            raise StorageError(f"{url} sends more than {limit} bytes", where=url)
    answer.release_conn()
    return b"".join(pieces), True


def _client(retries: int, timeout_s: float, follow: bool) -> HttpClient:
    return HttpClient(retries=retries, timeout_s=timeout_s, follow=follow)


def _proxy(scheme: str, host: str) -> str:
    """Return the proxy that the environment names for a host, or nothing."""
    import urllib.request

    if host in LOOPBACK or urllib.request.proxy_bypass(host):
        return ""
    return urllib.request.getproxies().get(scheme, "")


def _no_answer(url: str, error: Exception, timeout_s: float) -> StorageError:
    import urllib3

    cause: Any = error.reason if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason else error
    host = urllib.parse.urlsplit(url).netloc
    if isinstance(cause, urllib3.exceptions.NameResolutionError):
        return StorageError(f"there is no host {host}", hint="check the address and the network", where=url)
    if isinstance(cause, urllib3.exceptions.NewConnectionError):
        text = f"nothing answers at {host}"
        return StorageError(text, hint="check the address and that the server runs", where=url)
    if isinstance(cause, urllib3.exceptions.ConnectTimeoutError):
        text = f"{host} did not answer within {CONNECT_TIMEOUT_S:g} s"
        return StorageError(text, hint="check the address, the network and any proxy", where=url)
    if isinstance(cause, urllib3.exceptions.TimeoutError):
        return StorageError(f"{url}: nothing came for {timeout_s:g} s", hint="try again later", where=url)
    if isinstance(cause, urllib3.exceptions.SSLError):
        return _not_secure(url, host, cause)
    return StorageError(f"{url} could not be read: {cause}", where=url)


def _not_secure(url: str, host: str, error: Exception) -> StorageError:
    import ssl

    reason = error.args[0] if error.args else None
    if isinstance(reason, ssl.SSLCertVerificationError):
        text = f"{host}: the certificate is not valid: {reason.verify_message}"
        return CertificateError(text, hint="renew it, with its whole chain; certbot does", where=url)
    return StorageError(f"{host}: {error}", hint="check that the server speaks https at this port", where=url)


class HttpStore:
    """A dataset at an address. It cannot be listed or written.

    Parameters
    ----------
    url
        Address of the directory, ``http`` or ``https``; a query (``?token=…``) is sent with every request.
    client
        Shared by several stores; a new one by default.
    """

    def __init__(self, url: str, client: HttpClient | None = None) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"not an address of a web server: {url!r}", hint="for example https://host/data/labels")
        if parts.fragment or parts.username or parts.password:
            raise UsageError(f"an address with # or a password cannot be read by viewers: {url!r}", where=url)
        self.url = urllib.parse.urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
        self.query = parts.query
        self.client = client or HttpClient()

    def __repr__(self) -> str:
        return f"HttpStore({self.address('')!r})"

    def address(self, key: str) -> str:
        """Return the address of an object."""
        path = f"{self.url}/{quote_key(key)}"
        return f"{path}?{self.query}" if self.query else path

    def child(self, name: str) -> HttpStore:
        """Return a directory below as a store of its own."""
        url = f"{self.url}/{quote_key(check_key(name))}"
        return HttpStore(f"{url}?{self.query}" if self.query else url, self.client)

    def read(self, key: str, start: int | None = None, stop: int | None = None) -> bytes:
        """Return an object, decoded, or the bytes ``[start, stop)`` of one that is not encoded.

        Raises
        ------
        ObjectNotFoundError
            If the server says that there is none (404, 410).
        AccessDeniedError
            If it refuses (401, 403).
        StorageError
            If it does not answer, answers with anything else, or does not send exactly the range.
        """
        check_key(key)
        if start is None and stop is None:
            return self._whole(key)
        return self._range(key, start or 0, stop)

    def _whole(self, key: str) -> bytes:
        url = self.address(key)
        answer = self.client.request("GET", url, {"Accept-Encoding": "gzip"})
        if answer.status != 200:
            raise _refusal(answer, url, key)
        return decode_body(answer, key)

    def read_stored(self, key: str, start: int | None = None, stop: int | None = None) -> StoredBytes:
        """Return an object as it is stored, or the bytes ``[start, stop)`` of it; errors are those of :meth:`read`.

        What a server packs on the way, which it shows by not knowing its length, is asked for as it is.
        """
        check_key(key)
        packed = {"Accept-Encoding": "gzip"}
        if start is not None or stop is not None:
            answer = self._ranged(key, start or 0, stop, packed)
            return StoredBytes(b"", "") if answer is None else _stored(answer)
        url = self.address(key)
        answer = self.client.request("GET", url, packed)
        if answer.status == 200 and _encoding(answer) and "content-length" not in answer.headers:
            answer = self.client.request("GET", url)
        if answer.status != 200:
            raise _refusal(answer, url, key)
        return _stored(answer)

    def _range(self, key: str, start: int, stop: int | None) -> bytes:
        answer = self._ranged(key, start, stop, {})
        if answer is None:
            return b""
        encoding = _encoding(answer)
        if encoding:
            raise StorageError(f"{answer.url} is stored as {encoding} and cannot be read by ranges", where=key)
        return answer.body

    def _ranged(self, key: str, start: int, stop: int | None, headers: Mapping[str, str]) -> HttpAnswer | None:
        """Return the answer to a range; None if nothing is there that it could hold."""
        if stop is not None and stop <= start:
            self.stat(key)
            return None
        url = self.address(key)
        wanted = {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}
        answer = self.client.request("GET", url, {**headers, **wanted})
        if answer.status == 416:
            return None
        if answer.status == 200:
            raise StorageError(
                f"{url}: the server ignores Range and sends the whole object",
                hint="viewers need byte ranges; precast hosting prints a configuration that has them",
                where=key,
            )
        if answer.status != 206:
            raise _refusal(answer, url, key)
        _check_range(answer, start, stop, key)
        return answer

    def stat(self, key: str) -> ObjectStat:
        """Describe one object; a server that does not know ``HEAD`` is asked for its first byte."""
        check_key(key)
        url = self.address(key)
        answer = self.client.request("HEAD", url, {"Accept-Encoding": "gzip"})
        if answer.status == 200:
            size = answer.headers.get("content-length", "")
            if size.isdigit():
                return ObjectStat(key=key, size=int(size), encoding=_encoding(answer), etag=_etag(answer))
        elif answer.status not in (405, 501):
            raise _refusal(answer, url, key)
        return self._stat_by_get(key, url)

    def _stat_by_get(self, key: str, url: str) -> ObjectStat:
        answer = self.client.request("GET", url, {"Range": "bytes=0-0"})
        if answer.status == 206:
            total = answer.headers.get("content-range", "").rpartition("/")[2]
            if total.isdigit():
                return ObjectStat(key=key, size=int(total), encoding=_encoding(answer), etag=_etag(answer))
        if answer.status == 416:
            return ObjectStat(key=key, size=0)
        if answer.status not in (200, 206):
            raise _refusal(answer, url, key)
        if answer.status == 206:
            raise StorageError(f"{url}: the server does not tell the size of the object", where=key)
        return ObjectStat(key=key, size=len(answer.body), encoding=_encoding(answer), etag=_etag(answer))

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Refuse: web servers do not list directories."""
        raise StorageError(
            f"{self.url} cannot be listed: web servers only send what is asked for by name",
            hint="work on the local copy of the dataset",
            where=self.url,
        )

    def write(self, key: str, data: bytes, attributes: Attributes) -> None:
        """Refuse."""
        raise self._read_only()

    def write_file(self, key: str, path: Path, attributes: Attributes) -> None:
        """Refuse."""
        raise self._read_only()

    def delete(self, key: str) -> None:
        """Refuse."""
        raise self._read_only()

    def _read_only(self) -> AccessDeniedError | MissingExtraError:
        return AccessDeniedError(
            f"{self.url} can be read only", hint="change the local copy and upload it again", where=self.url
        )


def _encoding(answer: HttpAnswer) -> str:
    """Return the content encoding of an answer; empty if it has none."""
    encoding = answer.headers.get("content-encoding", "").strip().lower()
    return {"identity": "", "x-gzip": "gzip"}.get(encoding, encoding)


def _stored(answer: HttpAnswer) -> StoredBytes:
    return StoredBytes(answer.body, _encoding(answer), _etag(answer))


def _etag(answer: HttpAnswer) -> str:
    """Return what changes with an object, in one form for all its encodings; empty if the server does not tell."""
    etag = answer.headers.get("etag", "").removeprefix("W/").strip('"')
    return re.sub(r"[-;](gzip|br)$", "", etag) or answer.headers.get("last-modified", "")


def _refusal(answer: HttpAnswer, url: str, key: str) -> AccessDeniedError | ObjectNotFoundError | StorageError:
    if answer.status in (404, 410):
        return ObjectNotFoundError(f"{url} does not exist ({answer.status})", hint="check the address", where=key)
    if answer.status in (401, 403):
        return AccessDeniedError(
            f"{url}: the server refuses access ({answer.status})",
            hint="make the objects public; some stores also say so of objects that do not exist",
            where=key,
        )
    return StorageError(f"{url}: the server answers with status {answer.status}", where=key)


def decode_body(answer: HttpAnswer, key: str, limit: int = MAX_INFLATED_BYTES) -> bytes:
    """Return the body without its content encoding.

    Raises
    ------
    StorageError
        If it is not what the header says, or becomes longer than ``limit`` bytes.
    """
    return decode(answer.body, answer.headers.get("content-encoding"), answer.url, key, limit)


def _check_range(answer: HttpAnswer, start: int, stop: int | None, key: str) -> None:
    """Require that exactly the wanted bytes came, as far as the object has them."""
    told = answer.headers.get("content-range", "")
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", told)
    if match is None:
        raise StorageError(f"{answer.url}: the answer to a range has Content-Range {told!r}", where=key)
    first, last, total = int(match[1]), int(match[2]), match[3]
    end = stop if total == "*" else min(int(total), stop if stop is not None else int(total))
    if first != start or last + 1 - first != len(answer.body) or (end is not None and last + 1 != end):
        wanted = f"{start}-{'' if stop is None else stop - 1}"
        raise StorageError(
            f"{answer.url}: bytes {wanted} were asked for, the answer is {told!r} with {len(answer.body)} bytes",
            where=key,
        )
