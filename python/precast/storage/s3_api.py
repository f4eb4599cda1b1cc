"""What the client of object stores does not have of S3: settings of buckets, copies with other headers; by boto3."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any, TypeVar

from precast.errors import PrecastError
from precast.storage.base import Attributes
from precast.storage.cloud import CloudStore
from precast.storage.cloud_clients import plain_reason, s3_session
from precast.storage.cloud_errors import Failure, NotOfferedError, Request, explain

__all__ = ["S3Bucket"]

T = TypeVar("T")

NOT_OFFERED = ("NotImplemented", "MethodNotAllowed", "UnknownOperationException", "UnsupportedOperation")
NO_SETTING = ("NoSuchCORSConfiguration", "NoSuchBucketPolicy", "NoSuchPublicAccessBlockConfiguration")
BLOCKED = "BlockPublicPolicy"
KEPT = ("Metadata", "StorageClass", "ContentDisposition", "ContentLanguage")
COPY_PART_BYTES = 1 << 30
"""Larger objects are copied in parts; in one piece a store copies 5 GiB at most."""


class S3Bucket:
    """The bucket of a store, by S3's own interface; credentials, server and region are those of the store.

    Parameters
    ----------
    store
        A store at an ``s3://`` address.

    Raises
    ------
    MissingExtraError, UsageError, AccessDeniedError
        If there is no client, no such profile, or the credentials cannot be used.
    """

    def __init__(self, store: CloudStore) -> None:
        session, self._signed = s3_session(store.bucket, store.options)
        import botocore
        from botocore.config import Config

        client = store.connected()
        self.store = store
        self.name = store.bucket
        self.url = f"s3://{self.name}"
        self._endpoint = client.endpoint
        addressing = {"addressing_style": "path" if client.endpoint else "auto"}
        config: dict[str, Any] = {
            "s3": addressing,
            "retries": {"mode": "standard", "total_max_attempts": 5},
            "connect_timeout": 10,
            "read_timeout": 120,
            "max_pool_connections": 64,
        }
        if not self._signed:
            config["signature_version"] = botocore.UNSIGNED
        self._client = session.client(
            "s3", endpoint_url=client.endpoint or None, region_name=client.region, config=Config(**config)
        )
        self._client.meta.events.register("before-sign.s3.PutBucketCors", _with_md5)
        self.partition = self._client.meta.partition

    def _run(self, action: str, where: str, work: Callable[[], T]) -> T:
        from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

        try:
            return work()
        except ClientError as error:
            answer = error.response.get("Error", {})
            code, status = str(answer.get("Code", "")), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            message = " ".join(str(answer.get("Message", "")).split())[:300]
            if code in NOT_OFFERED or status in (405, 501):
                raise NotOfferedError(f"{self.url} cannot {action}: the server does not offer it ({code})") from None
            failure = _failure(status or 0, "" if code.isdigit() else code, message)
        except BotoCoreError as error:
            debug = "kind: Connect" if isinstance(error, EndpointConnectionError) else ""
            failure = _failure(0, reason=plain_reason(str(error)), debug=debug)
        raise self._error(failure, action, where)

    def _error(self, failure: Failure, action: str, where: str) -> PrecastError:
        request = Request(
            scheme="s3",
            bucket=self.name,
            action=action,
            where=where,
            signed=self._signed,
            anonymous=self.store.options.anonymous,
            endpoint=self._endpoint,
        )
        error = explain(failure, request)
        if failure.status == 403 and BLOCKED in failure.message:
            error.hint = (
                "S3 Block Public Access of the bucket or of the account forbids it: aws s3control "
                "get-public-access-block --account-id ACCOUNT shows the account's"
            )
        return error

    def _setting(self, action: str, work: Callable[[], T]) -> T | None:
        """Ask for a setting; None if there is none."""
        from botocore.exceptions import ClientError

        def ask() -> T | None:
            try:
                return work()
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in NO_SETTING:
                    return None
                raise

        return self._run(action, self.url, ask)

    # ---- settings

    def cors(self) -> list[dict[str, Any]]:
        """Return the CORS rules.

        Raises
        ------
        NotOfferedError
            If the server has none.
        AccessDeniedError, StorageError
            If they may not be read, or there is no such bucket.
        """
        found = self._setting("read the CORS rules", lambda: self._client.get_bucket_cors(Bucket=self.name))
        if found is None:
            return []
        if "CORSRules" not in found:
            raise NotOfferedError(f"{self.url} answers something else when it is asked for CORS rules")
        return [dict(rule) for rule in found["CORSRules"]]

    def set_cors(self, rules: list[dict[str, Any]]) -> None:
        """Replace the CORS rules."""
        rule = {"CORSRules": rules}
        self._run(
            "change the CORS rules",
            self.url,
            lambda: self._client.put_bucket_cors(Bucket=self.name, CORSConfiguration=rule),
        )

    def policy(self) -> dict[str, Any] | None:
        """Return the policy; None if there is none. Errors are those of :meth:`cors`."""
        found = self._setting("read the policy", lambda: self._client.get_bucket_policy(Bucket=self.name))
        if found is None:
            return None
        try:
            value = json.loads(found.get("Policy", ""))
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise NotOfferedError(f"{self.url} answers something else when it is asked for its policy")
        return value

    def set_policy(self, policy: dict[str, Any]) -> None:
        """Replace the policy."""
        text = json.dumps(policy)
        self._run("change the policy", self.url, lambda: self._client.put_bucket_policy(Bucket=self.name, Policy=text))

    def public_access_block(self) -> dict[str, bool]:
        """Return what of public access is blocked for this bucket; nothing if nothing was ever said about it."""
        found = self._setting(
            "read the public-access block", lambda: self._client.get_public_access_block(Bucket=self.name)
        )
        block = {} if found is None else found.get("PublicAccessBlockConfiguration", {})
        return {name: value is True for name, value in block.items()}

    # ---- objects

    def copy(self, source: str, target: str, attributes: Attributes) -> None:
        """Give the bytes of an object to another one, or to itself, with these headers; they stay in the store.

        Metadata of others and the storage class are kept; access control lists are not, which new buckets do not have.
        """
        from boto3.s3.transfer import TransferConfig

        told: dict[str, Any] = {"ContentType": attributes.content_type, "MetadataDirective": "REPLACE"}
        if attributes.encoding:
            told["ContentEncoding"] = attributes.encoding
        if attributes.cache_control:
            told["CacheControl"] = attributes.cache_control
        prefix = f"{self.store.prefix}/" if self.store.prefix else ""
        where = f"{self.store.url}/{source}"
        kept = self._run("copy", where, lambda: self._client.head_object(Bucket=self.name, Key=prefix + source))
        told |= {name: kept[name] for name in KEPT if kept.get(name)}
        config = TransferConfig(
            multipart_threshold=5 * COPY_PART_BYTES, multipart_chunksize=COPY_PART_BYTES, use_threads=False
        )
        self._run(
            "copy",
            where,
            lambda: self._client.copy(
                {"Bucket": self.name, "Key": prefix + source}, self.name, prefix + target, ExtraArgs=told, Config=config
            ),
        )


def _failure(status: int, code: str = "", message: str = "", *, reason: str = "", debug: str = "") -> Failure:
    return Failure(status=status, code=code, message=message, foreign=False, reason=reason, debug=debug)


def _with_md5(request: Any, **_: Any) -> None:
    """Add the sum of the body that older servers ask for."""
    body = request.data if isinstance(request.data, bytes) else str(request.data or "").encode()
    request.headers["Content-MD5"] = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
