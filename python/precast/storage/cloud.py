"""Buckets of object stores: Amazon S3 and what speaks its language, Google Cloud Storage, Azure Blob Storage.

The client is obstore. What it leaves to its callers is done here: bodies are inflated as their ``Content-Encoding``
says, ranges beyond the end are empty, headers are asked for by ``HEAD`` (listings have none), and its errors become
ones that say what to do. An object ``X`` that is gzipped is stored as ``X`` with ``Content-Encoding: gzip``.
"""

from __future__ import annotations

import threading
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from precast.errors import AccessDeniedError, ObjectNotFoundError, PrecastError, StorageError, UsageError
from precast.storage.base import Attributes, ObjectStat, StoredBytes, check_key, translate_os_error
from precast.storage.cloud_clients import SCHEMES, CloudClient, Connection, bucket_region, library, open_client
from precast.storage.cloud_errors import NO_OBJECT, NO_UPLOAD, Request, is_wrong_region, translate, understand
from precast.storage.encodings import content_encoding, decode
from precast.storage.http import quote_key
from precast.storage.options import StoreOptions

__all__ = ["CloudStore", "is_cloud_url"]

T = TypeVar("T")

PART_BYTES = 8 << 20
MOST_PARTS = 9000
"""Of one object; stores take 10,000 (Azure more)."""

PARTS_AT_ONCE = 4
"""With :data:`PART_BYTES`, what an upload keeps in memory."""

BEYOND = "but object was only"
"""Of the client's words for a range that begins after the end."""

LIST_PAGE = 1000
MOST_BYTES = (1 << 63) - 1


def is_cloud_url(url: str) -> bool:
    """Whether an address is that of a bucket."""
    return url.partition("://")[0].lower() in SCHEMES and "://" in url


class CloudStore:
    """A dataset in a bucket, or below a prefix of one.

    The connection is made at the first request, once in each process, and shared by the stores that :meth:`child`
    gives. Safe to share between threads.

    Parameters
    ----------
    url
        ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``.
    options
        How it is reached, beyond what the environment says.
    connection
        How often requests are sent again, and how long a server may be silent.

    Raises
    ------
    UsageError
        If it is no such address.
    """

    def __init__(self, url: str, options: StoreOptions | None = None, connection: Connection | None = None) -> None:
        parts = urllib.parse.urlsplit(url)
        scheme, bucket, prefix = parts.scheme.lower(), parts.netloc, parts.path.strip("/")
        if "@" in bucket or ":" in bucket:
            raise UsageError(
                f"the address of a bucket is {scheme}://BUCKET/PATH, without a user, a password or a port",
                hint="credentials belong in the environment or in a profile, a server's address in --endpoint",
            )
        if scheme not in SCHEMES or not bucket or parts.query or parts.fragment:
            raise UsageError(f"not the address of a dataset in a bucket: {url!r}", hint="s3://bucket/path", where=url)
        if prefix:
            check_key(prefix)
        self.prefix = prefix
        self.url = f"{scheme}://{bucket}/{prefix}".rstrip("/")
        self._bucket = _Bucket(scheme, bucket, options or StoreOptions(), connection or Connection())

    def __repr__(self) -> str:
        return f"CloudStore({self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return CloudStore, (self.url, self._bucket.options, self._bucket.connection)

    @property
    def options(self) -> StoreOptions:
        """How it is reached."""
        return self._bucket.options

    @property
    def endpoint(self) -> str:
        """The server that it is on, if that is not the usual one; else empty."""
        return self._bucket.client().endpoint or ""

    @property
    def scheme(self) -> str:
        """``s3``, ``gs`` or ``az``."""
        return self._bucket.scheme

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self._bucket.name

    def connected(self) -> CloudClient:
        """Return the connection to the bucket."""
        return self._bucket.client()

    def child(self, name: str) -> CloudStore:
        """Return a directory below as a store of its own, with the same connection."""
        store = CloudStore(f"{self._bucket.url}/{self._path(name)}", self.options)
        store._bucket = self._bucket
        return store

    def viewer_url(self) -> str:
        """Return the address by which viewers read it: its own where they know the store, else one of the web."""
        bucket, endpoint = self._bucket, self._bucket.client().endpoint
        if not endpoint:
            return self.url
        return f"{endpoint}/{bucket.name}/{quote_key(self.prefix)}".rstrip("/")

    def public_url(self) -> str:
        """Return the address by which everybody reads it who may."""
        name, path = self._bucket.name, quote_key(self.prefix)
        client = self._bucket.client()
        if client.endpoint:
            root = f"{client.endpoint}/{name}"
        elif self.scheme == "gs":
            root = f"https://storage.googleapis.com/{name}"
        else:
            host = f"s3.{client.region}.amazonaws.com{'.cn' if client.region.startswith('cn-') else ''}"
            # a dot in the name does not fit the certificate of the other form
            root = f"https://{host}/{name}" if "." in name else f"https://{name}.{host}"
        return f"{root}/{path}".rstrip("/")

    def _path(self, key: str) -> str:
        check_key(key)
        return f"{self.prefix}/{key}" if self.prefix else key

    def _where(self, key: str) -> str:
        return f"{self.url}/{key}"

    def read(self, key: str, start: int | None = None, stop: int | None = None) -> bytes:
        """Return an object, decoded, or the bytes ``[start, stop)`` of one that is not encoded.

        Raises
        ------
        ObjectNotFoundError
            If there is no such object.
        AccessDeniedError
            If it may not be read.
        StorageError
            If there is no such bucket, or the store does not answer, or with anything but what was asked for.
        """
        path = self._path(key)
        if start is not None or stop is not None:
            return self._range(key, path, start or 0, stop)

        stored = self._whole(key, path)
        return decode(stored.data, stored.encoding, self._where(key), key)

    def read_stored(self, key: str, start: int | None = None, stop: int | None = None) -> StoredBytes:
        """Return an object as it is stored, or the bytes ``[start, stop)`` of it; errors are those of :meth:`read`."""
        path = self._path(key)
        if start is None and stop is None:
            return self._whole(key, path)
        return self._piece(key, path, start or 0, stop)

    def _whole(self, key: str, path: str) -> StoredBytes:
        obstore = library(self.url)
        return self._bucket.run("read", self._where(key), lambda handle: _stored(obstore.get(handle, path)))

    def _range(self, key: str, path: str, start: int, stop: int | None) -> bytes:
        stored = self._piece(key, path, start, stop)
        if stored.encoding:
            raise StorageError(
                f"{self._where(key)} is stored as {stored.encoding} and cannot be read by ranges", where=key
            )
        return stored.data

    def _piece(self, key: str, path: str, start: int, stop: int | None) -> StoredBytes:
        obstore = library(self.url)
        if stop is not None and stop <= start:
            self.stat(key)
            return StoredBytes(b"", "")
        wanted: Any = {"offset": start} if stop is None else (start, min(stop, MOST_BYTES))

        def piece(handle: Any) -> StoredBytes:
            try:
                result = obstore.get(handle, path, options={"range": wanted})
            except obstore.exceptions.BaseError as error:
                # it begins where the object ends, or after that; some servers send the end of the object then
                if understand(error).status == 416 or BEYOND in str(error):
                    return StoredBytes(b"", "")
                raise
            return _stored(result)

        return self._bucket.run("read", self._where(key), piece)

    def stat(self, key: str) -> ObjectStat:
        """Describe one object."""
        obstore = library(self.url)
        path = self._path(key)

        def head(handle: Any) -> ObjectStat:
            result = obstore.get(handle, path, options={"head": True})
            encoding = content_encoding(result.attributes.get("Content-Encoding"))
            return ObjectStat(key=key, size=int(result.meta["size"]), encoding=encoding, etag=_etag(result.meta))

        return self._head(key, head)

    def attributes(self, key: str) -> Attributes:
        """Return the headers of an object."""
        obstore = library(self.url)
        path = self._path(key)

        def head(handle: Any) -> Attributes:
            told = obstore.get(handle, path, options={"head": True}).attributes
            return Attributes(
                content_type=told.get("Content-Type", ""),
                encoding=content_encoding(told.get("Content-Encoding")),
                cache_control=told.get("Cache-Control", ""),
            )

        return self._head(key, head)

    def _head(self, key: str, ask: Callable[[Any], T]) -> T:
        """Ask for headers alone; where that fails, once more in a way that says why."""
        try:
            return self._bucket.run("read", self._where(key), ask)
        except (ObjectNotFoundError, AccessDeniedError, StorageError) as error:
            if isinstance(error, ObjectNotFoundError) and self._bucket.exists:
                raise
        # answers to HEAD have no body, and so do not say why
        self._range(key, self._path(key), 0, 1)
        return self._bucket.run("read", self._where(key), ask)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Yield all objects whose key starts with ``prefix``, sorted by key; how they are encoded is not known.

        Raises
        ------
        AccessDeniedError
            If the bucket may not be listed.
        StorageError
            If there is no such bucket, or it cannot be listed, or is not in order.
        """
        obstore = library(self.url)
        full = f"{self.prefix}/{prefix}" if self.prefix else prefix
        folder = full.rpartition("/")[0]
        where = self._where(prefix) if prefix else self.url
        cut = len(self.prefix) + 1 if self.prefix else 0

        def begin(handle: Any) -> tuple[Any, Any]:
            pages = iter(obstore.list(handle, folder or None, chunk_size=LIST_PAGE))
            return pages, next(pages, None)

        pages, page = self._bucket.run("list", where, begin)
        last = ""
        while page is not None:
            for meta in page:
                key = meta["path"][cut:]
                if not key.startswith(prefix):
                    if key > prefix:
                        return
                    continue
                if not meta["size"] and self._is_folder(key):
                    continue
                if key < last:
                    raise StorageError(f"{where} is not listed in the order of keys: {key!r} after {last!r}")
                last = key
                yield ObjectStat(key=key, size=int(meta["size"]), encoding=None, etag=_etag(meta))
            page = self._bucket.run("list", where, lambda _: next(pages, None))

    def _is_folder(self, key: str) -> bool:
        """Tell whether a listed key without bytes is a mark for a folder, ``key/``, as web consoles make them."""
        try:
            self.stat(key)
        except ObjectNotFoundError:
            return True
        return False

    def folders(self) -> tuple[str, ...]:
        """Return the names of the directories directly in it, sorted."""
        return self.entries()[1]

    def entries(self) -> tuple[tuple[ObjectStat, ...], tuple[str, ...]]:
        """Return the objects directly in it and the names of the directories, sorted."""
        obstore = library(self.url)
        found = self._bucket.run(
            "list", self.url, lambda handle: obstore.list_with_delimiter(handle, self.prefix or None)
        )
        cut = len(self.prefix) + 1 if self.prefix else 0
        objects = sorted((meta["path"][cut:], meta) for meta in found["objects"] if meta["path"] != self.prefix)
        return (
            tuple(
                ObjectStat(key=key, size=int(meta["size"]), encoding=None, etag=_etag(meta))
                for key, meta in objects
                if meta["size"] or not self._is_folder(key)
            ),
            tuple(sorted(path.rstrip("/").rpartition("/")[2] for path in found["common_prefixes"])),
        )

    def write(self, key: str, data: bytes, attributes: Attributes) -> None:
        """Write an object with its headers; one of many bytes in parts, and visible when all are there."""
        obstore = library(self.url)
        path, headers = self._path(key), _headers(attributes)
        self._bucket.run(
            "write",
            self._where(key),
            lambda handle: obstore.put(
                handle,
                path,
                data,
                attributes=headers,
                chunk_size=_part_bytes(len(data)),
                max_concurrency=PARTS_AT_ONCE,
            ),
        )

    def write_file(self, key: str, path: Path, attributes: Attributes) -> None:
        """Send a file in parts of which a few are in memory, then remove it."""
        obstore = library(self.url)
        target, headers = self._path(key), _headers(attributes)
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
        except OSError as error:
            raise translate_os_error(error, "reading", path) from None
        self._bucket.run(
            "write",
            self._where(key),
            lambda handle: obstore.put(
                handle,
                target,
                path,
                attributes=headers,
                chunk_size=_part_bytes(size),
                max_concurrency=PARTS_AT_ONCE,
            ),
        )
        try:
            path.unlink()
        except OSError as error:
            raise translate_os_error(error, "removing", path) from None

    def delete(self, key: str) -> None:
        """Remove an object; absent is fine, a bucket that is not there is not."""
        obstore = library(self.url)
        path = self._path(key)

        def remove(handle: Any) -> None:
            try:
                obstore.delete(handle, path)
            except (FileNotFoundError, obstore.exceptions.BaseError) as error:
                failure = understand(error)
                gone = isinstance(error, FileNotFoundError) or failure.status == 404
                if not gone or failure.foreign or failure.code not in ("", *NO_OBJECT):
                    raise

        self._bucket.run("delete", self._where(key), remove)


def _headers(attributes: Attributes) -> dict[str, str]:
    headers = {"Content-Type": attributes.content_type}
    if attributes.encoding:
        headers["Content-Encoding"] = attributes.encoding
    if attributes.cache_control:
        headers["Cache-Control"] = attributes.cache_control
    return headers


def _stored(result: Any) -> StoredBytes:
    encoding = content_encoding(result.attributes.get("Content-Encoding"))
    return StoredBytes(bytes(result.bytes()), encoding, _etag(result.meta), int(result.meta["size"]))


def _etag(meta: Any) -> str:
    return (meta.get("e_tag") or "").strip('"')


def _part_bytes(size: int) -> int:
    return max(PART_BYTES, -(-size // MOST_PARTS))


class _Bucket:
    """A bucket and the connection to it, which is made when it is needed."""

    def __init__(self, scheme: str, name: str, options: StoreOptions, connection: Connection) -> None:
        self.scheme = scheme
        self.name = name
        self.options = options
        self.connection = connection
        self.exists = False  # whether it is known to
        self._client: CloudClient | None = None
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.name}"

    def client(self) -> CloudClient:
        with self._lock:
            if self._client is None:
                self._client = open_client(self.scheme, self.name, self.options, self.connection)
            return self._client

    def run(self, action: str, where: str, work: Callable[[Any], T]) -> T:
        """Do something with the client; its errors become ours, without what it keeps in their text."""
        client = self.client()
        failed = self._try(client, work)
        if not isinstance(failed, _Failed):
            return failed
        failure = understand(failed.error)
        if failure.code in NO_UPLOAD:  # done, but nobody heard of it; or somebody cleans up
            failed = self._try(client, work)
            if not isinstance(failed, _Failed):
                return failed
            failure = understand(failed.error)
        region = ""
        if is_wrong_region(self.scheme, failure):
            region = bucket_region(self.name, client.endpoint)
            if region and region != client.region and self.options.region is None:
                client = self._move(region)
                failed = self._try(client, work)
                if not isinstance(failed, _Failed):
                    return failed
        request = Request(
            scheme=self.scheme,
            bucket=self.name,
            action=action,
            where=where,
            signed=client.signed,
            anonymous=self.options.anonymous,
            endpoint=client.endpoint,
        )
        raise self._translated(failed.error, request, region)

    def _translated(self, error: BaseException, request: Request, region: str) -> PrecastError:
        if isinstance(error, ValueError):
            return StorageError(f"not a key of a store: {request.where!r}", where=request.where)
        self.exists = self.exists or understand(error).code in NO_OBJECT
        return translate(error, request, region=region)

    def _try(self, client: CloudClient, work: Callable[[Any], T]) -> T | _Failed:
        obstore = library(self.url)
        try:
            done = work(client.handle)
        except PrecastError:
            raise
        except (obstore.exceptions.BaseError, OSError, ValueError) as error:
            return _Failed(error)
        self.exists = True
        return done

    def _move(self, region: str) -> CloudClient:
        """Connect again, to the region that the bucket is in."""
        moved = open_client(self.scheme, self.name, self.options, self.connection, region=region)
        with self._lock:
            self._client = moved
        return moved


class _Failed:
    """An error of the client, apart from the answers that it could be mistaken for."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
