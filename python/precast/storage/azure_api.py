"""What the client of object stores does not have of Azure's: CORS of accounts, access levels; by azure-storage-blob."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from precast.errors import AccessDeniedError, MissingExtraError, PrecastError, StorageError
from precast.storage.cloud import CloudStore
from precast.storage.cloud_clients import AzureAccess, azure_access, plain_reason
from precast.storage.cloud_errors import SIGN_IN, Failure, Request, explain
from precast.storage.http import HttpClient

__all__ = ["CORS_FIELDS", "FORBIDDEN", "AzureContainer"]

T = TypeVar("T")

CORS_FIELDS = ("allowed_origins", "allowed_methods", "allowed_headers", "exposed_headers", "max_age_in_seconds")
FORBIDDEN = "PublicAccessNotPermitted"
SCOPE = "https://storage.azure.com/.default"
NEVER_S = 1 << 31


class AzureContainer:
    """The container of a store, by Azure's own library; credentials and server are those of the store.

    Parameters
    ----------
    store
        A store at an ``az://`` address.

    Raises
    ------
    MissingExtraError
        If the library is not installed, or that for credentials of its kind.
    """

    def __init__(self, store: CloudStore) -> None:
        access = azure_access(store.options)
        try:
            from azure.storage.blob import BlobServiceClient
        except ImportError:
            raise _missing(store.url) from None
        self.store = store
        self.name = store.bucket
        self.account = access.account
        self.url = f"az://{self.name}"
        self._access = access
        self._client = BlobServiceClient(
            access.served,
            credential=_credential(access, store.url),
            retry_total=3,
            initial_backoff=1,  # not 15 s
            increment_base=2,
            connection_timeout=10,
            read_timeout=60,
        )

    def _run(self, action: str, where: str, work: Callable[[], T]) -> T:
        from azure.core.exceptions import AzureError, HttpResponseError, ServiceRequestError

        try:
            return work()
        except HttpResponseError as error:
            code = getattr(error, "error_code", "") or ""
            code = str(getattr(code, "value", code))
            message = (str(error.message).splitlines() or [""])[0][:300]
            if not error.status_code:  # signing in failed
                raise _unusable(where, message) from None
            failure = Failure(
                status=error.status_code, code=code, message=message, foreign=False, reason=message, debug=""
            )
        except AzureError as error:
            debug = "kind: Connect" if isinstance(error, ServiceRequestError) else ""
            reason = plain_reason(str(error))
            failure = Failure(status=0, code="", message="", foreign=False, reason=reason, debug=debug)
        raise self._error(failure, action, where)

    def _error(self, failure: Failure, action: str, where: str) -> PrecastError:
        if failure.code == FORBIDDEN:
            return AccessDeniedError(
                f"the account {self.account} does not allow public access to its containers ({FORBIDDEN})",
                hint=f"if it may hold public data: {self.lift}\nthen run the same command again",
                where=where,
            )
        if failure.status == 412:
            return StorageError(
                f"{where}: somebody changes its settings at the same time", hint="run the same command again"
            )
        request = Request(
            scheme="az",
            bucket=self.name,
            action=action,
            where=where,
            signed=self._access.signed,
            anonymous=self.store.options.anonymous,
            endpoint=self._access.endpoint,
        )
        return explain(failure, request)

    @property
    def lift(self) -> str:
        """The command by which the account's owner allows public containers."""
        return f"az storage account update --name {self.account} --allow-blob-public-access true"

    # ---- settings

    def cors(self) -> list[dict[str, Any]]:
        """Return the CORS rules of the account, with the fields :data:`CORS_FIELDS`; lists are joined by commas.

        Raises
        ------
        AccessDeniedError, StorageError
            If they may not be read.
        """
        found = self._run("read the CORS rules", self._access.served, self._client.get_service_properties)
        return [{name: getattr(rule, name) for name in CORS_FIELDS} for rule in found.get("cors") or ()]

    def set_cors(self, rules: list[dict[str, Any]]) -> None:
        """Replace the CORS rules of the account; its other settings stay."""
        from azure.storage.blob import CorsRule

        wanted = [
            CorsRule(
                _items(rule["allowed_origins"]),
                _items(rule["allowed_methods"]),
                allowed_headers=_items(rule["allowed_headers"]),
                exposed_headers=_items(rule["exposed_headers"]),
                max_age_in_seconds=rule["max_age_in_seconds"],
            )
            for rule in rules
        ]
        self._run(
            "change the CORS rules", self._access.served, lambda: self._client.set_service_properties(cors=wanted)
        )

    def access_level(self) -> str:
        """Return what everybody may do: ``""`` nothing, ``blob`` read, ``container`` read and list.

        Raises
        ------
        AccessDeniedError, StorageError
            If it may not be read, or there is no such container.
        """
        container = self._client.get_container_client(self.name)
        found = self._run("read the access level", self.url, container.get_container_access_policy)
        level = found["public_access"]
        return str(getattr(level, "value", level) or "")

    def set_access_level(self, level: str) -> None:
        """Change what everybody may do. The stored policies of signatures stay.

        Raises
        ------
        AccessDeniedError
            If the account allows no public containers, or the level may not be changed.
        StorageError
            If somebody else changes it at the same time.
        """
        container = self._client.get_container_client(self.name)

        def change() -> None:
            seen = container.get_container_properties().last_modified
            stored = container.get_container_access_policy()["signed_identifiers"]
            container.set_container_access_policy(
                {one.id: one.access_policy for one in stored}, public_access=level, if_unmodified_since=seen
            )

        self._run("change the access level", self.url, change)

    def forbids_public_access(self) -> bool:
        """Tell whether the account says of requests without credentials that it allows none."""
        url = f"{self._access.served}/{self.name}?restype=container&comp=list&maxresults=1"
        try:
            answer = HttpClient(retries=1, timeout_s=10, follow=False).request("GET", url)
        except StorageError:
            return False  # if it does, it says so when the level is changed
        return answer.status == 409 and answer.headers.get("x-ms-error-code") == FORBIDDEN


def _items(text: str | None) -> list[str]:
    return [part for part in (text or "").split(",") if part]


def _missing(url: str, library: str = "azure-storage-blob") -> MissingExtraError:
    return MissingExtraError(f"changing settings of {url} needs {library}", hint="pip install 'precast[azure]'")


class _Token:
    """A token that was given as it is."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *_: str, **__: Any) -> Any:
        from azure.core.credentials import AccessToken

        return AccessToken(self._token, NEVER_S)


def _credential(access: AzureAccess, url: str) -> Any:
    """Return the credentials that the client of object stores uses too, as the library takes them."""
    from azure.core.credentials import AzureSasCredential

    if not access.signed:
        return None
    if access.account_key:
        return {"account_name": access.account, "account_key": access.account_key}
    if access.sas_key:
        return AzureSasCredential(access.sas_key.lstrip("?"))
    token = os.environ.get("AZURE_STORAGE_TOKEN")
    if token:
        return _Token(token)
    try:
        from azure.identity import AzureCliCredential, DefaultAzureCredential
    except ImportError:
        raise _missing(url, "azure-identity") from None
    from azure.core.exceptions import ClientAuthenticationError

    found = AzureCliCredential() if access.by_cli else DefaultAzureCredential()
    try:
        found.get_token(SCOPE)  # what has to be signed in for fails here, and not again and again
    except ClientAuthenticationError as error:
        raise _unusable(url, str(error.message)) from None
    return found


def _unusable(where: str, message: str) -> AccessDeniedError:
    first = (message.splitlines() or [""])[0]
    text = f"{where}: the credentials cannot be used: {plain_reason(first)}"
    return AccessDeniedError(text, hint=SIGN_IN["az"], where=where)
