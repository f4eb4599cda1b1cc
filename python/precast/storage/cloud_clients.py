"""Clients of object stores, with the credentials that are to be found where each store's own tools look.

Amazon: environment, profiles (single sign-on and roles too), containers and instances, by boto3. Google:
``GOOGLE_APPLICATION_CREDENTIALS``, ``gcloud auth application-default login``, the machine's service account. Azure: the
environment, a connection string, ``az login``, the machine's identity. Where there are none, requests are not signed,
which is enough for public buckets. Credentials stay inside the clients: nothing here keeps, prints or pickles them.
"""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from precast import __version__
from precast.errors import AccessDeniedError, MissingExtraError, StorageError, UsageError
from precast.storage.http import HttpClient
from precast.storage.options import StoreOptions, check_endpoint

__all__ = [
    "SCHEMES",
    "AzureAccess",
    "CloudClient",
    "Connection",
    "azure_access",
    "bucket_region",
    "library",
    "missing_extra",
    "open_client",
    "plain_reason",
    "s3_session",
    "wanted_endpoint",
]

SCHEMES = ("s3", "gs", "az")
DEFAULT_REGION = "us-east-1"
AMAZON = "https://s3.amazonaws.com"
"""Answers for buckets of every region."""

ENDPOINT_VARIABLES = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),  # the last one the client knows too
    "gs": ("STORAGE_EMULATOR_HOST",),
    "az": ("AZURE_STORAGE_ENDPOINT",),
}
CONNECT_TIMEOUT_S = 10
REQUEST_TIMEOUT_S = 1800
"""A request that goes on is not ended before; one that stands still is, see :class:`Connection`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How patient a client is.

    Attributes
    ----------
    retries
        How often a request is sent again after a lost connection, a timeout or a status that stands for "later" (429,
        5xx); pauses grow from 0.2 to 10 s, by chance.
    timeout_s
        How long a server may be silent.
    """

    retries: int = 6
    timeout_s: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudClient:
    """A client that is connected to one bucket.

    Attributes
    ----------
    handle
        What obstore's functions take.
    signed
        Whether it has credentials.
    endpoint
        The server, if it is not the store's own; else empty.
    region
        The region that it signs for; empty where there are none.
    """

    handle: Any
    signed: bool
    endpoint: str = ""
    region: str = ""


def wanted_endpoint(scheme: str, options: StoreOptions) -> str:
    """Return the server that the options or the environment name, or nothing: the store's own."""
    if options.endpoint is not None:
        return options.endpoint
    if scheme == "s3" and os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return ""
    for name in ENDPOINT_VARIABLES[scheme]:
        value = os.environ.get(name)
        if value:
            value = value if "://" in value or scheme != "gs" else f"http://{value}"
            return check_endpoint(value, name)
    return ""


def bucket_region(bucket: str, endpoint: str = "") -> str:
    """Ask Amazon, or another server, for the region of a bucket; empty if there is no telling."""
    try:
        answer = HttpClient(retries=2, timeout_s=10, follow=False).request("HEAD", f"{endpoint or AMAZON}/{bucket}")
    except StorageError:
        return ""
    return answer.headers.get("x-amz-bucket-region", "")


def open_client(
    scheme: str, bucket: str, options: StoreOptions, connection: Connection, *, region: str = ""
) -> CloudClient:
    """Connect to a bucket. Nothing is sent but what finding credentials needs.

    Parameters
    ----------
    scheme, bucket
        The bucket.
    options, connection
        How it is reached.
    region
        Its region where that is known better than by the options and the environment.

    Raises
    ------
    MissingExtraError
        If the client is not installed.
    UsageError
        If a profile, an endpoint or an account does not exist.
    AccessDeniedError
        If there are credentials that cannot be used.
    """
    obstore = library(f"{scheme}://{bucket}")
    open_one = {"s3": _open_s3, "gs": _open_google, "az": _open_azure}[scheme]
    if scheme != "s3" and (options.profile or options.region):
        raise UsageError(f"--profile and --region are of Amazon's store, not of {scheme}:// addresses")
    try:
        return open_one(obstore.store, bucket, options, connection, region)
    except obstore.exceptions.BaseError as error:
        reason = plain_reason(str(error))
        text = f"{scheme}://{bucket}: the credentials or the configuration cannot be used: {reason}"
        raise AccessDeniedError(text, hint="docs/object-stores.md says where they are looked for") from None


def library(what: str) -> Any:
    """Return obstore, which is loaded only where there is a bucket.

    Raises
    ------
    MissingExtraError
        If it is not installed; ``what`` is what needs it.
    """
    try:
        import obstore.auth
        import obstore.exceptions
        import obstore.store
    except ImportError:
        raise missing_extra(what) from None
    return obstore


def missing_extra(what: str) -> MissingExtraError:
    """Return the error of a client that is not installed."""
    return MissingExtraError(f"{what} needs the client of object stores", hint="pip install 'precast[cloud]'")


def plain_reason(text: str) -> str:
    """Return the first line of an error of the client, without queries of addresses, which may hold secrets."""
    line = " ".join(text.partition("\n\nDebug source:")[0].split())
    return re.sub(r"\?[^\s\"'<>)]*", "?...", line)[:300]


def _common(endpoint: str, connection: Connection) -> dict[str, Any]:
    client: dict[str, Any] = {
        "user_agent": f"precast/{__version__}",
        "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
        "read_timeout": timedelta(seconds=connection.timeout_s),
        "timeout": timedelta(seconds=REQUEST_TIMEOUT_S),
    }
    if endpoint.startswith("http:"):
        client["allow_http"] = True
    backoff = {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=10), "base": 2.0}
    retry = {"max_retries": connection.retries, "backoff": backoff, "retry_timeout": timedelta(minutes=4)}
    return {"client_options": client, "retry_config": retry}


# ---- Amazon, and what speaks its language

ASKED_AGAIN = timedelta(minutes=1)
"""How long the client uses credentials before it asks boto3 again, which renews those that end within ten minutes."""


def _open_s3(store: Any, bucket: str, options: StoreOptions, connection: Connection, region: str) -> CloudClient:
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        raise missing_extra(f"s3://{bucket}") from None
    session, signed = s3_session(bucket, options)
    endpoint = wanted_endpoint("s3", options) or _configured_endpoint(session)
    region = region or options.region or os.environ.get("AWS_REGION") or session.region_name or ""
    provider = Boto3CredentialProvider(session, ttl=ASKED_AGAIN) if signed else None
    if not region:
        region = DEFAULT_REGION if endpoint else bucket_region(bucket) or DEFAULT_REGION
    config: dict[str, Any] = {
        "region": region,
        "skip_signature": not signed,
        "virtual_hosted_style_request": False,
        "disable_bulk_delete": True,  # not every server knows it, and some want sums of another kind with it
        "unsigned_payload": _is_protected(endpoint),
    }
    if endpoint:
        config |= {"endpoint": endpoint, "aws_endpoint_url_s3": endpoint}
    handle = store.S3Store(bucket, config=config, credential_provider=provider, **_common(endpoint, connection))
    return CloudClient(handle=handle, signed=signed, endpoint=endpoint, region=region)


def s3_session(bucket: str, options: StoreOptions) -> tuple[Any, bool]:
    """Return the session of boto3 that the options and the environment make, and whether it has credentials to use.

    Raises
    ------
    MissingExtraError
        If boto3 is not installed.
    UsageError
        If the profile does not exist.
    AccessDeniedError
        If there are credentials that cannot be used.
    """
    try:
        import boto3
        import botocore.exceptions
        import botocore.session
    except ImportError:
        raise missing_extra(f"s3://{bucket}") from None
    try:
        session = boto3.Session(profile_name=options.profile)
        found = None if options.anonymous else session.get_credentials()
        if found is not None:
            found.get_frozen_credentials()  # what has to be signed in for, or asked for, fails here
    except botocore.exceptions.ProfileNotFound as error:
        known = ", ".join(botocore.session.Session().available_profiles) or "none"
        raise UsageError(f"{error}", hint=f"profiles that there are: {known}") from None
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        raise AccessDeniedError(
            f"s3://{bucket}: the credentials cannot be used: {error}",
            hint="aws sso login, if they are of that kind; --profile chooses others; --anonymous reads public buckets",
        ) from None
    return session, found is not None


def _is_protected(endpoint: str) -> bool:
    """Whether bodies arrive as they were sent without a signature of each: by TLS, or because there is no line."""
    parts = urllib.parse.urlsplit(endpoint or AMAZON)
    return parts.scheme == "https" or parts.hostname in ("127.0.0.1", "localhost", "::1")


def _configured_endpoint(session: Any) -> str:
    """Return the server that a profile names: ``endpoint_url``, for S3 alone in a section ``services`` of its own."""
    if os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return ""
    inner = session._session
    profile = inner.get_scoped_config()
    services = inner.full_config.get("services", {}).get(profile.get("services"), {})
    for section in (services.get("s3"), profile):
        if isinstance(section, Mapping) and section.get("endpoint_url"):
            return check_endpoint(section["endpoint_url"], "endpoint_url of the profile")
    return ""


# ---- Google

GOOGLE_KEYS = (
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_BEARER_TOKEN",
)


def _open_google(store: Any, bucket: str, options: StoreOptions, connection: Connection, _: str) -> CloudClient:
    endpoint = wanted_endpoint("gs", options)
    # emulators take no credentials, and those for Google are no business of theirs
    signed = not options.anonymous and not endpoint and _has_google_credentials()
    config: dict[str, Any] = {"skip_signature": not signed}
    if endpoint:
        config["base_url"] = endpoint
        if not options.anonymous:  # the client writes nothing without
            config["bearer_token"] = "none"
            config["skip_signature"] = False
    common = _common(endpoint, connection)
    # without it the store inflates what is gzipped while it sends it, and then ignores ranges and tells no size
    common["client_options"]["default_headers"] = {"Accept-Encoding": "gzip"}
    return CloudClient(handle=store.GCSStore(bucket, config=config, **common), signed=signed, endpoint=endpoint)


def _has_google_credentials() -> bool:
    if _first(GOOGLE_KEYS):
        return True
    home = Path(os.environ["APPDATA"]) if os.environ.get("APPDATA") else Path.home() / ".config"
    return (home / "gcloud" / "application_default_credentials.json").is_file() or _machine_is("product_name", "Google")


def _machine_is(name: str, start: str) -> bool:
    """Tell from what the machine says of itself whether it is one of a cloud, which then has credentials."""
    try:
        return Path("/sys/class/dmi/id", name).read_text().startswith(start)
    except OSError:
        return False


# ---- Azure

AZURE_KEYS = {
    "account_key": ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_KEY"),
    "sas_key": ("AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY"),
}
AZURE_OTHERS = ("AZURE_STORAGE_TOKEN", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE", "IDENTITY_ENDPOINT")
AZURE_MACHINE = "7783-7084-3265-9085-8269-3286-77"


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureAccess:
    """How an account of Azure is reached.

    Attributes
    ----------
    account
        Its name.
    endpoint
        The server, if it is not the account's own; else empty.
    account_key, sas_key
        Secrets, if there are some.
    signed
        Whether there are credentials of any kind.
    by_cli
        Whether they are those of ``az login``.
    """

    account: str
    endpoint: str
    account_key: str = field(default="", repr=False)
    sas_key: str = field(default="", repr=False)
    signed: bool = False
    by_cli: bool = False

    @property
    def served(self) -> str:
        """The address of the account."""
        return self.endpoint or f"https://{self.account}.blob.core.windows.net"


def azure_access(options: StoreOptions) -> AzureAccess:
    """Return how the account that the options and the environment name is reached."""
    told = _connection_string()
    endpoint = wanted_endpoint("az", options) or told.get("blobendpoint", "").rstrip("/")
    access = AzureAccess(account=_azure_account(endpoint, told), endpoint=endpoint)
    if options.anonymous:
        return access
    key = told.get("accountkey") or _first(AZURE_KEYS["account_key"])
    sas = told.get("sharedaccesssignature") or _first(AZURE_KEYS["sas_key"])
    signed = bool(key or sas or _first(AZURE_OTHERS)) or _machine_is("chassis_asset_tag", AZURE_MACHINE)
    by_cli = not signed and (Path.home() / ".azure" / "azureProfile.json").is_file()
    return replace(access, account_key=key, sas_key=sas, signed=signed or by_cli, by_cli=by_cli)


def _open_azure(store: Any, bucket: str, options: StoreOptions, connection: Connection, _: str) -> CloudClient:
    access = azure_access(options)
    config: dict[str, Any] = {"account_name": access.account, "skip_signature": not access.signed}
    told = {"endpoint": access.endpoint, "account_key": access.account_key, "sas_key": access.sas_key}
    config |= {name: value for name, value in told.items() if value}
    if access.by_cli:
        config["use_azure_cli"] = True
    handle = store.AzureStore(bucket, config=config, **_common(access.endpoint, connection))
    return CloudClient(handle=handle, signed=access.signed, endpoint=access.served)


def _first(names: tuple[str, ...]) -> str:
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def _connection_string() -> dict[str, str]:
    text = os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "")
    pairs = (part.partition("=") for part in text.split(";") if "=" in part)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _azure_account(endpoint: str, told: Mapping[str, str]) -> str:
    account = _first(("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME")) or told.get("accountname", "")
    if account:
        return account
    parts = urllib.parse.urlsplit(endpoint)
    host, path = parts.hostname or "", parts.path.strip("/")
    if host.endswith(".blob.core.windows.net"):
        return host.partition(".")[0]
    if path and "/" not in path:  # as emulators have it
        return path
    raise UsageError(
        "an az:// address names a container, but not the storage account that it is in",
        hint="set AZURE_STORAGE_ACCOUNT, or give --endpoint https://ACCOUNT.blob.core.windows.net",
    )
