"""A server that keeps what it is told as Google Cloud Storage documents it: objects, CORS, policies, managed folders.

It answers the JSON API for settings and the XML API for objects, and lets read without credentials what the policies
say, with the CORS headers that the rules say. It is written from Google's reference, not from what precast sends.
"""

from __future__ import annotations

import hashlib
import json
import re
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape, unescape

from scripted_server import scripted

BUCKET = "lab"
QUOTES = {"&quot;": '"'}
KEPT = ("Content-Type", "Content-Encoding", "Cache-Control")
LEAST_PART_BYTES = 5 << 20
"""Of all parts of an upload but the last."""

READERS = ("roles/storage.objectViewer", "roles/storage.legacyObjectReader")

Answer = tuple[int, dict[str, Any], bytes]


@dataclass
class Google:
    """A bucket."""

    url: str = ""
    cors: list[dict[str, Any]] | None = None
    uniform: bool = True
    prevention: str = "inherited"
    organisation: bool = False
    metageneration: int = 1
    policy: dict[str, Any] = field(default_factory=lambda: {"version": 1, "etag": "CAE=", "bindings": []})
    folders: dict[str, dict[str, Any]] = field(default_factory=dict)
    objects: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)
    uploads: dict[str, tuple[str, dict[str, str], dict[int, bytes]]] = field(default_factory=dict)
    """Begun in parts: key, headers and what has come."""
    page: int = 1000
    """Most names in one answer to a listing."""
    missing: set[str] = field(default_factory=set)
    """Permissions that the caller does not have."""
    meanwhile: list[Any] = field(default_factory=list)
    """What others do just before the next requests that write settings."""
    seen: list[tuple[str, str, Any, str | None]] = field(default_factory=list)
    """Requests about settings: method, path, content, credentials."""

    @property
    def writes(self) -> list[tuple[str, str, Any, str | None]]:
        return [one for one in self.seen if one[0] != "GET"]

    def answer(self, request: Any) -> Answer:
        body: bytes = request.body
        path, _, query = request.path.partition("?")
        asked = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        if path.startswith("/storage/v1/b/"):
            content = json.loads(body) if body else None
            self.seen.append((request.command, request.path, content, request.headers.get("Authorization")))
            if request.command != "GET" and self.meanwhile:
                self.meanwhile.pop(0)(self)
            return self._settings(request.command, path.removeprefix("/storage/v1/b/"), asked, content)
        return self._objects(request, urllib.parse.unquote(path), asked, body)

    # ---- settings

    def _settings(  # noqa: PLR0911
        self, method: str, path: str, asked: dict[str, str], content: Any
    ) -> Answer:
        bucket, *rest = (urllib.parse.unquote(part) for part in path.split("/"))
        if bucket != BUCKET:
            return _error(404, "notFound", "The specified bucket does not exist.")
        match [method, *rest]:
            case ["GET"]:
                return self._may("storage.buckets.get") or _json(self._bucket())
            case ["PATCH"]:
                return self._may("storage.buckets.update") or self._patch(asked, content)
            case ["GET", "iam"]:
                return self._may("storage.buckets.getIamPolicy") or _json(self._shown(self.policy, asked))
            case ["PUT", "iam"]:
                return self._may("storage.buckets.setIamPolicy") or self._bind(self.policy, content)
            case ["POST", "managedFolders"]:
                return self._may("storage.managedFolders.create") or self._make(content["name"])
            case ["GET", "managedFolders", folder, "iam"]:
                if folder not in self.folders:
                    return _error(404, "notFound", "The specified managed folder does not exist.")
                refused = self._may("storage.managedFolders.getIamPolicy")
                return refused or _json(self._shown(self.folders[folder], asked))
            case ["PUT", "managedFolders", folder, "iam"]:
                refused = self._may("storage.managedFolders.setIamPolicy")
                return refused or self._bind(self.folders[folder], content)
        return _error(404, "notFound", "Not Found")

    def _may(self, permission: str) -> Answer | None:
        text = f"somebody does not have {permission} access to the Google Cloud Storage bucket."
        return _error(403, "forbidden", text) if permission in self.missing else None

    def _bucket(self) -> dict[str, Any]:
        access = {"uniformBucketLevelAccess": {"enabled": self.uniform}, "publicAccessPrevention": self.prevention}
        found: dict[str, Any] = {"metageneration": str(self.metageneration), "iamConfiguration": access}
        return found if self.cors is None else found | {"cors": self.cors}

    def _patch(self, asked: dict[str, str], content: Any) -> Answer:
        if asked["ifMetagenerationMatch"] != str(self.metageneration):
            return _error(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
        assert set(content) == {"cors"}
        self.cors = content["cors"]
        self.metageneration += 1
        return _json({"metageneration": str(self.metageneration)})

    def _shown(self, policy: dict[str, Any], asked: dict[str, str]) -> dict[str, Any]:
        if asked.get("optionsRequestedPolicyVersion") == "3":
            return policy
        return policy | {"bindings": [one for one in policy["bindings"] if "condition" not in one]}

    def _bind(self, policy: dict[str, Any], content: Any) -> Answer:
        if content["etag"] != policy["etag"]:
            return _error(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
        for one in content["bindings"]:
            if "allUsers" in one["members"]:
                if self.prevention == "enforced" or self.organisation:
                    text = "The member bindings allUsers and allAuthenticatedUsers are not allowed since "
                    return _error(412, "conditionNotMet", text + "public access prevention is enforced.")
                if "condition" in one:
                    return _error(400, "invalid", "Public members cannot have conditions.")
        policy |= {"bindings": content["bindings"], "version": content.get("version", 1)}
        policy["etag"] = f"CAE{len(self.seen)}="
        return _json(policy)

    def _make(self, name: str) -> Answer:
        if not self.uniform:
            text = "Cannot create managed folders in a bucket without uniform bucket-level access."
            return _error(412, "conditionNotMet", text)
        assert name.endswith("/")
        if name in self.folders:
            return _error(409, "conflict", "The managed folder you tried to create already exists.")
        self.folders[name] = {"version": 1, "etag": "CAE=", "bindings": []}
        return _json({"kind": "storage#managedFolder", "name": name, "bucket": BUCKET})

    # ---- objects

    def _is_public(self, key: str) -> bool:
        if self.prevention == "enforced":
            return False
        folders = [policy for name, policy in self.folders.items() if key.startswith(name) and self.uniform]
        return any(
            one["role"] in READERS and "allUsers" in one["members"]
            for policy in (self.policy, *folders)
            for one in policy["bindings"]
        )

    def _shared(self, request: Any) -> dict[str, str]:
        origin, method = request.headers.get("Origin"), request.command
        method = request.headers.get("Access-Control-Request-Method", method)
        for rule in self.cors or ():
            if origin and method in rule["method"] and ("*" in rule["origin"] or origin in rule["origin"]):
                names = ", ".join(rule.get("responseHeader", ()))
                shared = {"Access-Control-Allow-Origin": "*" if "*" in rule["origin"] else origin}
                if request.command == "OPTIONS":
                    methods = {"Access-Control-Allow-Methods": ",".join(rule["method"])}
                    return shared | methods | {"Access-Control-Allow-Headers": names}
                return shared | {"Access-Control-Expose-Headers": names}
        return {}

    def _objects(  # noqa: PLR0911
        self, request: Any, path: str, asked: dict[str, str], body: bytes
    ) -> Answer:
        _, bucket, key = [*path.split("/", 2), ""][:3]
        if bucket != BUCKET:
            return _refused(404, "NoSuchBucket")
        shared, method = self._shared(request), request.command
        if method == "OPTIONS":
            return 200, shared, b""
        known = request.headers.get("Authorization") == "Bearer none"  # what our client says to emulators
        if not known and (method not in ("GET", "HEAD") or not key or not self._is_public(key)):
            return _refused(403, "AccessDenied", shared)
        if not key:
            return self._list(asked)
        kept = {name: request.headers[name] for name in KEPT if request.headers[name]}
        if "uploads" in asked or "uploadId" in asked:
            return self._in_parts(method, key, asked, kept, body)
        if method == "PUT":
            self.objects[key] = (body, kept)
            return 200, self._meta(key), b""
        if key not in self.objects:
            return _refused(404, "NoSuchKey", shared)
        if method == "DELETE":
            del self.objects[key]
            return 204, {"Content-Length": None}, b""
        data = self.objects[key][0]
        headers = {**self._meta(key), **self.objects[key][1], **shared, "Accept-Ranges": "bytes"}
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range") or "")
        if span is None:
            return 200, headers, data
        start, stop = int(span[1]), min(int(span[2] or len(data)) + 1, len(data))
        if start >= len(data):
            return 416, {**shared, "Content-Range": f"bytes */{len(data)}"}, b""
        return 206, {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"}, data[start:stop]

    def _in_parts(self, method: str, key: str, asked: dict[str, str], kept: dict[str, str], body: bytes) -> Answer:
        if "uploads" in asked:
            name = f"upload-{len(self.uploads)}"
            self.uploads[name] = (key, kept, {})
            inside = f"<Bucket>{BUCKET}</Bucket><Key>{escape(key)}</Key><UploadId>{name}</UploadId>"
            return 200, {}, f"<InitiateMultipartUploadResult>{inside}</InitiateMultipartUploadResult>".encode()
        name = asked["uploadId"]
        if name not in self.uploads or self.uploads[name][0] != key:
            return _refused(404, "NoSuchUpload")
        if method == "PUT":
            self.uploads[name][2][int(asked["partNumber"])] = body
            return 200, {"ETag": _etag(body)}, b""
        if method == "DELETE":
            del self.uploads[name]
            return 204, {"Content-Length": None}, b""
        return self._completed(name, body)

    def _completed(self, name: str, body: bytes) -> Answer:
        key, headers, parts = self.uploads[name]
        told = re.findall(r"<ETag>(.*?)</ETag><PartNumber>(\d+)</PartNumber>", body.decode())
        numbers = [int(number) for _, number in told]
        if numbers != sorted(set(numbers)):
            return _refused(400, "InvalidPartOrder")
        if not told or any(_etag(parts[int(number)]) != unescape(etag, QUOTES) for etag, number in told):
            return _refused(400, "InvalidPart")
        if any(len(parts[number]) < LEAST_PART_BYTES for number in numbers[:-1]):
            return _refused(400, "EntityTooSmall")
        self.objects[key] = (b"".join(parts[number] for number in numbers), headers)
        del self.uploads[name]
        inside = f"<Key>{escape(key)}</Key><ETag>{self._meta(key)['ETag']}</ETag>"
        return 200, {}, f"<CompleteMultipartUploadResult>{inside}</CompleteMultipartUploadResult>".encode()

    def _meta(self, key: str) -> dict[str, str]:
        return {
            "ETag": _etag(self.objects[key][0]),
            "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
            "x-goog-generation": "1",
        }

    def _list(self, asked: dict[str, str]) -> Answer:
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
        after = asked.get("continuation-token", asked.get("start-after", ""))
        keys: list[str] = []
        folders: set[str] = set()
        last, more = "", False
        for key in sorted(self.objects):
            if not key.startswith(prefix):
                continue
            head, mark, _ = key.removeprefix(prefix).partition(delimiter) if delimiter else (key, "", "")
            name = prefix + head + mark if mark else key
            if name <= after or name in folders:
                continue
            if len(keys) + len(folders) == min(self.page, int(asked.get("max-keys", "1000"))):
                more = True
                break
            last = name
            if mark:
                folders.add(name)
            else:
                keys.append(key)
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[key][0])}</Size>"
            f"<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>{self._meta(key)['ETag']}</ETag></Contents>"
            for key in keys
        )
        entries += "".join(f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in folders)
        entries += f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        entries += f"<NextContinuationToken>{escape(last)}</NextContinuationToken>" if more else ""
        text = f"<ListBucketResult>{entries}</ListBucketResult>"
        return 200, {"Content-Type": "application/xml"}, text.encode()


def _json(value: Any) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _error(status: int, reason: str, message: str) -> Answer:
    one = {"message": message, "domain": "global", "reason": reason}
    value = {"error": {"code": status, "message": message, "errors": [one]}}
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _refused(status: int, code: str, headers: dict[str, str] | None = None) -> Answer:
    return status, headers or {}, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


@contextmanager
def google_server() -> Iterator[Google]:
    """Run it until the block ends."""
    google = Google()
    with scripted() as script:
        google.url = script.url
        script.answers[None] = google.answer
        yield google
