"""How object stores are reached: what a user may say beyond the address of a bucket."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass, field

from precast.errors import UsageError

__all__ = ["StoreOptions", "check_endpoint"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreOptions:
    """How ``s3://``, ``gs://`` and ``az://`` addresses are reached. Credentials are never part of it.

    Raises
    ------
    UsageError
        If a value is not allowed; the text says what is.
    """

    endpoint: str | None = field(
        default=None,
        metadata={"help": "Address of an S3-compatible server, or of another object store's.", "metavar": "URL"},
    )
    profile: str | None = field(
        default=None, metadata={"help": "Profile of ~/.aws/config and ~/.aws/credentials.", "metavar": "NAME"}
    )
    region: str | None = field(
        default=None, metadata={"help": "Region of the bucket; default: found out.", "metavar": "NAME"}
    )
    anonymous: bool = field(
        default=False, metadata={"help": "Use no credentials, although there are some: for public buckets."}
    )

    def __post_init__(self) -> None:
        if self.endpoint is not None:
            object.__setattr__(self, "endpoint", check_endpoint(self.endpoint, "--endpoint"))
        for name in ("profile", "region"):
            value = getattr(self, name)
            if value is not None and not re.fullmatch(r"[^\s/]+", value):
                raise UsageError(f"--{name} must be a name, got {value!r}")
        if self.anonymous and self.profile is not None:
            raise UsageError("--anonymous uses no credentials, --profile names some", hint="give one of them")


def check_endpoint(url: str, source: str) -> str:
    """Return an address of a server without a slash at its end.

    Raises
    ------
    UsageError
        If it is none, or holds a password; that is not repeated.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urllib.parse.SplitResult("", "", "", "", "")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(
            f"{source} must be an address without a user, a password or a query",
            hint="credentials belong in the environment or in a profile",
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{source} must be an http or https address, got {url!r}", hint="http://127.0.0.1:9000")
    return url.rstrip("/")
