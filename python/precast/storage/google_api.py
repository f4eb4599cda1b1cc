"""What the client of object stores does not have of Google's: settings of buckets, managed folders; by the JSON API."""

from __future__ import annotations

import json
import os
import urllib.parse
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from precast.errors import AccessDeniedError, MissingExtraError, StorageError
from precast.storage.cloud import CloudStore
from precast.storage.cloud_clients import plain_reason
from precast.storage.cloud_errors import SIGN_IN, Failure, NotOfferedError, Request, explain
from precast.storage.http import HttpAnswer, HttpClient

__all__ = ["ChangedMeanwhileError", "GoogleBucket"]

HOST = "https://storage.googleapis.com"
SCOPE = "https://www.googleapis.com/auth/devstorage.full_control"
POLICY_VERSION = 3
"""The first that has conditions; asked for another, Google leaves them out, and what is written back lacks them."""

PREVENTED = "public access prevention"
FOREIGNERS = "permitted customer"
"""Words of refusals that come from rules of the organisation; both have the status of a failed precondition."""


class ChangedMeanwhileError(StorageError):
    """Somebody has changed the setting since it was read."""


class GoogleBucket:
    """The bucket of a store, by Google's own interface; credentials and server are those of the store.

    Parameters
    ----------
    store
        A store at a ``gs://`` address.

    Raises
    ------
    MissingExtraError
        If there are credentials to use, and google-auth is not installed.
    AccessDeniedError
        If there are credentials that cannot be used.
    """

    def __init__(self, store: CloudStore) -> None:
        client = store.connected()
        self.store = store
        self.name = store.bucket
        self.url = f"gs://{self.name}"
        self._endpoint = client.endpoint
        self._credentials = _credentials(self.url) if client.signed else None
        self._root = f"{client.endpoint or HOST}/storage/v1/b/{urllib.parse.quote(self.name, safe='')}"
        self._http = HttpClient(follow=False)

    # ---- settings

    def settings(self) -> dict[str, Any]:
        """Return ``cors``, ``iamConfiguration`` and ``metageneration`` of the bucket.

        Raises
        ------
        NotOfferedError
            If the server has no such settings.
        AccessDeniedError, StorageError
            If they may not be read, or there is no such bucket.
        """
        query = {"projection": "noAcl", "fields": "cors,iamConfiguration,metageneration"}
        return self._ask("GET", "", query, action="read the settings")

    def set_cors(self, rules: list[dict[str, Any]], metageneration: str) -> None:
        """Replace the CORS rules.

        Raises
        ------
        ChangedMeanwhileError
            If the bucket is not as it was at this metageneration.
        """
        query = {"ifMetagenerationMatch": metageneration, "fields": "metageneration"}
        self._ask("PATCH", "", query, {"cors": rules}, action="change the CORS rules")

    def policy(self, folder: str = "") -> dict[str, Any] | None:
        """Return the policy of the bucket, or of a managed folder; None if there is no such folder."""
        query = {"optionsRequestedPolicyVersion": str(POLICY_VERSION)}
        action = "read the policy of the managed folder" if folder else "read the policy"
        answer = self._answer("GET", f"{_folder(folder)}/iam", query)
        if folder and answer.status == 404 and _said(answer) is not None:
            return None
        return self._read(answer, action, folder)

    def set_policy(self, policy: Mapping[str, Any], folder: str = "") -> None:
        """Replace the policy of the bucket, or of a managed folder.

        Raises
        ------
        ChangedMeanwhileError
            If it is not the one whose etag is in the policy any more.
        """
        action = "change the policy of the managed folder" if folder else "change the policy"
        self._ask("PUT", f"{_folder(folder)}/iam", {}, policy, action=action, folder=folder)

    def make_folder(self, folder: str) -> None:
        """Make a managed folder if there is none of the name, which ends in ``/``."""
        answer = self._answer("POST", "/managedFolders", {}, {"name": folder})
        if answer.status != 409:
            self._read(answer, "make the managed folder", folder)

    # ---- requests

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        content: Mapping[str, Any] | None = None,
        *,
        action: str,
        folder: str = "",
    ) -> dict[str, Any]:
        return self._read(self._answer(method, path, query, content), action, folder)

    def _answer(
        self, method: str, path: str, query: Mapping[str, str], content: Mapping[str, Any] | None = None
    ) -> HttpAnswer:
        url = f"{self._root}{path}"
        if query:
            url += f"?{urllib.parse.urlencode(query)}"
        headers: dict[str, str] = {}
        body = None
        if content is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(content).encode()
        if self._credentials is not None:
            self._sign(self._credentials, method, url, headers)
        return self._http.request(method, url, headers, body=body)

    def _sign(self, credentials: Any, method: str, url: str, headers: dict[str, str]) -> None:
        from google.auth.exceptions import GoogleAuthError

        try:
            credentials.before_request(_Transport(self._http), method, url, headers)
        except GoogleAuthError as error:
            raise _unusable(self.url, error) from None

    def _read(self, answer: HttpAnswer, action: str, folder: str) -> dict[str, Any]:
        said = _said(answer)
        if answer.status == 200 and said is not None:
            return said
        where = f"{self.url}/{folder}" if folder else self.url
        error = (said or {}).get("error")
        if answer.status in (405, 501) or not isinstance(error, Mapping):
            raise NotOfferedError(f"{self.url} cannot {action}: the server does not offer it ({answer.status})")
        message = " ".join(str(error.get("message", "")).split())[:300]
        first = next(iter(error.get("errors") or ()), None)
        code = str(first.get("reason", "")) if isinstance(first, Mapping) else ""
        rule = next((name for sign, name in ORGANISATION if sign in message), "")
        if rule:
            text = f"{where} is not made public: {message} ({answer.status})"
            hint = f"a rule of the project or its organisation forbids it ({rule}), which its administrators may change"
            raise AccessDeniedError(text, hint=hint, where=where)
        if answer.status == 412:
            raise ChangedMeanwhileError(
                f"{where}: somebody changes its settings at the same time", hint="run the same command again"
            )
        if answer.status == 404:
            code = "NoSuchBucket"
        failure = Failure(
            status=answer.status, code=code, message=message, foreign=False, reason=plain_reason(message), debug=""
        )
        request = Request(
            scheme="gs",
            bucket=self.name,
            action=action,
            where=where,
            signed=self._credentials is not None or self._endpoint != "",
            anonymous=self.store.options.anonymous,
            endpoint=self._endpoint,
        )
        raise explain(failure, request)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    data: bytes


class _Transport:
    """How google-auth asks for tokens: as everything else is asked for, through proxies too."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    def __call__(self, url: str, method: str = "GET", body: Any = None, headers: Any = None, **_: Any) -> _Answer:
        sent = body.encode() if isinstance(body, str) else body
        answer = self._client.request(method, url, headers, body=sent)
        return _Answer(answer.status, answer.headers, answer.body)


ORGANISATION = (
    (PREVENTED, "constraints/storage.publicAccessPrevention"),
    (FOREIGNERS, "constraints/iam.allowedPolicyMemberDomains"),
)


def _folder(name: str) -> str:
    return f"/managedFolders/{urllib.parse.quote(name, safe='')}" if name else ""


def _said(answer: HttpAnswer) -> dict[str, Any] | None:
    """Return what an answer says; None if it is not of this interface."""
    try:
        value = json.loads(answer.body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _credentials(url: str) -> Any:
    """Return the credentials that the client of object stores uses too."""
    try:
        import google.auth
        import google.oauth2.credentials
        from google.oauth2 import service_account
    except ImportError:
        raise MissingExtraError(
            f"changing settings of {url} needs google-auth", hint="pip install 'precast[cloud]'"
        ) from None
    path = os.environ.get("GOOGLE_SERVICE_ACCOUNT") or os.environ.get("GOOGLE_SERVICE_ACCOUNT_PATH")
    key, token = os.environ.get("GOOGLE_SERVICE_ACCOUNT_KEY"), os.environ.get("GOOGLE_BEARER_TOKEN")
    scopes = [SCOPE]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about quotas of people's own credentials
            if token:
                return google.oauth2.credentials.Credentials(token)
            if path:
                return google.auth.load_credentials_from_file(path, scopes=scopes)[0]
            if key:
                return service_account.Credentials.from_service_account_info(json.loads(key), scopes=scopes)
            return google.auth.default(scopes=scopes)[0]
    except (google.auth.exceptions.GoogleAuthError, ValueError, OSError) as error:
        raise _unusable(url, error) from None


def _unusable(url: str, error: Exception) -> AccessDeniedError:
    kind = type(error).__name__
    return AccessDeniedError(f"{url}: the credentials cannot be used ({kind})", hint=SIGN_IN["gs"], where=url)
