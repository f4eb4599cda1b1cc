"""From what a user types to a store: a directory, or the address of one."""

from __future__ import annotations

import importlib.util
import os
import re
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path

from precast.errors import MissingExtraError, UsageError
from precast.storage.base import ObjectStat, Store
from precast.storage.cloud import CloudStore, is_cloud_url
from precast.storage.cloud_clients import missing_extra, wanted_endpoint
from precast.storage.http import HttpStore
from precast.storage.local import LocalStore
from precast.storage.options import StoreOptions

__all__ = [
    "PublicBucket",
    "child_store",
    "has_cloud_client",
    "is_bucket",
    "is_url",
    "local_directory",
    "open_places",
    "open_store",
    "plain_url",
]

FORMAT_PREFIX = "precomputed://"
FORMAT_SUFFIX = "neuroglancer-precomputed:"


def is_url(place: object) -> bool:
    """Whether a place is an address rather than a path."""
    return isinstance(place, str) and re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", place) is not None


def is_bucket(place: object) -> bool:
    """Whether a place is the address of a bucket, or of something in one."""
    return isinstance(place, str) and is_url(place) and is_cloud_url(plain_url(place))


def plain_url(url: str) -> str:
    """Return the address of a dataset without the parts by which viewers tell its format.

    Raises
    ------
    UsageError
        If it names another format, or data inside an archive.

    Examples
    --------
    >>> plain_url("https://host/em/|neuroglancer-precomputed:")
    'https://host/em/'
    >>> plain_url("precomputed://gs://bucket/em")
    'gs://bucket/em'
    """
    plain = url.removeprefix(FORMAT_PREFIX).rstrip("|")
    base, _, rest = plain.partition("|")
    if rest not in ("", FORMAT_SUFFIX):
        raise UsageError(f"{url!r} is not a precomputed dataset in a directory of its own", where=url)
    return base


def open_store(place: str | os.PathLike[str] | Store, options: StoreOptions | None = None) -> Store:
    """Return the store at a place.

    Parameters
    ----------
    place
        A directory; an address (``http``, ``https``; ``s3``, ``gs`` and ``az`` of buckets), also in the forms in which
        viewers write it; or a store, which is returned. Without the extra ``cloud``, public buckets of Amazon and
        Google can be read, by their web addresses.
    options
        How buckets are reached, beyond what the environment says.

    Raises
    ------
    UsageError
        If it is an address that precast cannot read, or options are given for what is no bucket.
    MissingExtraError
        If it is a bucket that cannot be reached without the extra ``cloud``.
    """
    options = options or StoreOptions()
    url = plain_url(place) if isinstance(place, str) and is_url(place) else None
    if url is not None and is_cloud_url(url):
        if has_cloud_client():
            return CloudStore(url, options)
        return PublicBucket(url, options)
    if options != StoreOptions():
        raise UsageError(
            f"{os.fspath(place) if isinstance(place, str | os.PathLike) else place.url} is in no bucket, "
            "for which alone --endpoint, --profile, --region and --anonymous are",
            hint="an address such as s3://bucket/path is one of a bucket",
        )
    if url is not None:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise UsageError(f"precast reads http, https, s3, gs and az addresses, not {url!r}", where=url)
        return HttpStore(url)
    return LocalStore(place) if isinstance(place, str | os.PathLike) else place


def open_places(places: Sequence[str | os.PathLike[str] | Store], options: StoreOptions | None = None) -> list[Store]:
    """Return the stores at several places; the options are for those in buckets.

    Raises
    ------
    UsageError
        If there are options, and none of the places is in a bucket; and as :func:`open_store` does.
    MissingExtraError
        As :func:`open_store` does.
    """
    buckets = [is_bucket(place) for place in places]
    return [
        open_store(place, options if bucket or not any(buckets) else None)
        for place, bucket in zip(places, buckets, strict=True)
    ]


def has_cloud_client() -> bool:
    """Whether the extra ``cloud`` is installed."""
    return importlib.util.find_spec("obstore") is not None


class PublicBucket(HttpStore):
    """A public bucket, read by its web address where the client of object stores is not installed."""

    def __init__(self, url: str, options: StoreOptions) -> None:
        parts = urllib.parse.urlsplit(url)
        scheme, bucket, path = parts.scheme.lower(), parts.netloc, parts.path
        if not bucket or parts.query or parts.fragment:
            raise UsageError(f"not the address of a dataset: {url!r}", where=url)
        if scheme == "az" or options.profile or options.region or wanted_endpoint(scheme, options):
            raise missing_extra(url)
        # a dot in the name does not fit the certificate of the other form
        host = f"s3.amazonaws.com/{bucket}" if "." in bucket else f"{bucket}.s3.amazonaws.com"
        host = host if scheme == "s3" else f"storage.googleapis.com/{bucket}"
        super().__init__(f"https://{host}{path}")

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Refuse: that needs the client."""
        raise missing_extra(f"listing {self.url}")

    def _read_only(self) -> MissingExtraError:
        return missing_extra(f"writing to {self.url}")


def local_directory(place: str | os.PathLike[str], hint: str) -> Path:
    """Return a directory of this machine.

    Raises
    ------
    UsageError
        If it is an address, which would be made as directories of strange names.
    """
    if is_url(place):
        raise UsageError(f"{place} is an address, and a directory on this machine is needed", hint=hint)
    return Path(place)


def child_store(store: Store, name: str) -> Store:
    """Return a directory below a store, of the same sort, as a store of its own.

    Raises
    ------
    UsageError
        If stores of this sort have no directories.
    """
    if isinstance(store, HttpStore | CloudStore):
        return store.child(name)
    if isinstance(store, LocalStore):
        return LocalStore(Path(store.root) / name)
    raise UsageError(f"{store.url} has no directories", where=store.url)
