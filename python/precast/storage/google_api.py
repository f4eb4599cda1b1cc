"""Settings of buckets of Google Cloud Storage, by its JSON interface: CORS, and who may read."""

from __future__ import annotations

import json
import os
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import urllib3

from precast.errors import AccessDeniedError, MissingExtraError, StorageError
from precast.storage.cloud import CloudStore

__all__ = ["GoogleBucket"]

SERVER = "https://storage.googleapis.com"
SCOPE = "https://www.googleapis.com/auth/devstorage.full_control"
VERSION = 3
"""Of policies; older ones hide conditions, and would lose them when they are written."""

CHANGED = 412
EXISTS = 409
MISSING = 404


class GoogleBucket:
    """The bucket of a store; credentials and server are those of the store.

    Parameters
    ----------
    store
        A store at a ``gs://`` address.

    Raises
    ------
    MissingExtraError
        If google-auth is not installed.
    AccessDeniedError
        If there are no credentials.
    """

    def __init__(self, store: CloudStore) -> None:
        endpoint = store.endpoint
        self.store = store
        self.url = f"gs://{store.bucket}"
        self._base = f"{endpoint or SERVER}/storage/v1/b/{urllib.parse.quote(store.bucket, safe='')}"
        # servers that stand in for Google take no credentials, and those for Google are no business of theirs
        self._http: Any = urllib3.PoolManager() if endpoint else _authorized(self.url)

    def settings(self) -> dict[str, Any]:
        """Return ``cors``, ``iamConfiguration`` and ``metageneration``.

        Raises
        ------
        AccessDeniedError, StorageError
            If they may not be read, or there is no such bucket.
        """
        query = {"fields": "cors,iamConfiguration,metageneration"}
        found: dict[str, Any] = self._ask("GET", "", "storage.buckets.get", query=query)
        return found

    def set_cors(self, rules: Sequence[Mapping[str, Any]], metageneration: str) -> None:
        """Replace the CORS rules, unless somebody has changed the bucket since its settings were read."""
        query = {"ifMetagenerationMatch": metageneration, "fields": "metageneration"}
        self._ask("PATCH", "", "storage.buckets.update", {"cors": list(rules)}, query)

    def policy(self, prefix: str) -> dict[str, Any] | None:
        """Return who may do what in the managed folder of a prefix, or in the bucket; None if it has no folder."""
        place, get = self._place(prefix), f"storage.{'managedFolders' if prefix else 'buckets'}.getIamPolicy"
        query = {"optionsRequestedPolicyVersion": str(VERSION)}
        found: dict[str, Any] | None = self._ask("GET", place, get, query=query, allowed=MISSING if prefix else 0)
        return found

    def set_policy(self, prefix: str, policy: Mapping[str, Any]) -> None:
        """Replace the policy, with the ``etag`` that it had; a managed folder is made if there is none."""
        kind = "managedFolders" if prefix else "buckets"
        if prefix:
            body = {"name": f"{prefix}/"}
            made = self._ask("POST", "/managedFolders", "storage.managedFolders.create", body, allowed=EXISTS)
            if made is None and "etag" not in policy:  # made by somebody since, with members that are not known here
                raise self._error(EXISTS, b"", "storage.managedFolders.create")
        value = {**policy, "version": VERSION}
        self._ask("PUT", self._place(prefix), f"storage.{kind}.setIamPolicy", value)

    @staticmethod
    def _place(prefix: str) -> str:
        return f"/managedFolders/{urllib.parse.quote(f'{prefix}/', safe='')}/iam" if prefix else "/iam"

    def _ask(
        self,
        method: str,
        path: str,
        permission: str,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        allowed: int = 0,
    ) -> Any:
        """Ask; None if the answer is the status that is allowed beside success."""
        url = f"{self._base}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        headers = {"Content-Type": "application/json"} if body is not None else {}
        data = None if body is None else json.dumps(body).encode()
        try:
            answer = self._http.request(method, url, body=data, headers=headers)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise StorageError(
                f"{self.url}: no answer from the store ({type(error).__name__})", where=self.url
            ) from None
        except Exception as error:
            if type(error).__module__.startswith("google."):
                raise _no_credentials(self.url, error) from None
            raise
        if answer.status == allowed:
            return None
        if answer.status >= 300:
            raise self._error(answer.status, answer.data, permission)
        try:
            return json.loads(answer.data or b"{}")
        except ValueError:
            raise StorageError(f"{self.url}: the store answers something else than JSON", where=self.url) from None

    def _error(self, status: int, data: bytes, permission: str) -> AccessDeniedError | StorageError:
        try:
            said = " ".join(str(json.loads(data)["error"]["message"]).split())[:300]
        except (ValueError, KeyError, TypeError):
            said = ""
        text = f"status {status}" + (f": {said}" if said else "")
        if status in (401, 403):
            return AccessDeniedError(
                f"{self.url}: {permission} is refused ({text})",
                hint=f"the credentials need {permission}",
                where=self.url,
            )
        if status == MISSING:
            return StorageError(f"there is no bucket {self.url} ({text})", hint="check its name", where=self.url)
        if status in (CHANGED, EXISTS):
            return StorageError(
                f"{self.url}: its settings were not taken ({text})",
                hint="if somebody else has changed them meanwhile, run the same command again; if the organisation "
                "forbids public access, only its owner can allow it",
                where=self.url,
            )
        return StorageError(f"{self.url}: its settings were not taken ({text})", where=self.url)


def _authorized(url: str) -> Any:
    """Return a client that signs in, with the credentials that objects are read with."""
    try:
        import google.auth
        import google.auth.exceptions
        from google.auth.transport import urllib3 as transport
        from google.oauth2 import credentials, service_account
    except ImportError:
        raise MissingExtraError(f"settings of {url} need google-auth", hint="pip install 'precast[cloud]'") from None
    path = os.environ.get("GOOGLE_SERVICE_ACCOUNT") or os.environ.get("GOOGLE_SERVICE_ACCOUNT_PATH")
    key, token = os.environ.get("GOOGLE_SERVICE_ACCOUNT_KEY"), os.environ.get("GOOGLE_BEARER_TOKEN")
    accounts: Any = service_account.Credentials
    tokens: Any = credentials.Credentials
    client: Any = transport.AuthorizedHttp
    try:
        if path:
            found = accounts.from_service_account_file(path, scopes=[SCOPE])
        elif key:
            found = accounts.from_service_account_info(json.loads(key), scopes=[SCOPE])
        elif token:
            found = tokens(token)
        else:
            found, _ = google.auth.default(scopes=[SCOPE])
    except (google.auth.exceptions.GoogleAuthError, OSError, ValueError) as error:
        raise _no_credentials(url, error) from None
    return client(found, urllib3.PoolManager())


def _no_credentials(url: str, error: BaseException) -> AccessDeniedError:
    # what the error says may hold what it could not read
    return AccessDeniedError(
        f"{url}: no credentials could be used ({type(error).__name__})",
        hint="gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS",
        where=url,
    )
