"""A server that keeps CORS rules and access levels as Azure documents it, and says no as an account of Azure does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from scripted_server import scripted

ACCOUNT = "lab"
CONTAINER = "box"
MODIFIED = "Thu, 01 Jan 2026 00:00:00 GMT"
LATER = "Fri, 02 Jan 2026 00:00:00 GMT"

Answer = tuple[int, dict[str, Any], bytes]


@dataclass
class Azure:
    """An account with one container."""

    url: str = ""
    cors: str = "<Cors />"
    level: str = ""
    stored: str = "<SignedIdentifiers />"
    modified: str = MODIFIED
    public_allowed: bool = True
    refused: dict[tuple[str, str], str] = field(default_factory=dict)
    """Codes of refusals, by method and ``comp``."""
    meanwhile: list[Any] = field(default_factory=list)
    """What others do just before the next requests that write settings."""
    seen: list[tuple[str, str, str, dict[str, str]]] = field(default_factory=list)

    @property
    def writes(self) -> list[tuple[str, str, str]]:
        return [one[:3] for one in self.seen if one[0] == "PUT"]

    def answer(self, request: Any) -> Answer:
        body = request.body.decode()
        path, _, query = request.path.partition("?")
        self.seen.append((request.command, request.path, body, {k.lower(): v for k, v in request.headers.items()}))
        if "Authorization" not in request.headers and "sig=" not in query:
            if not self.public_allowed:
                return _error(
                    409, "PublicAccessNotPermitted", "Public access is not permitted on this storage account."
                )
            return _error(404, "ResourceNotFound", "no")
        if request.command == "PUT" and self.meanwhile:
            self.meanwhile.pop(0)(self)
        comp = (re.findall(r"comp=(\w+)", query) or [""])[0]
        code = self.refused.get((request.command, comp))
        if code:
            return _error(403, code, f"no\nRequestId:1\nTime:{self.modified}")
        if path.strip("/") == ACCOUNT and comp == "properties":
            return self._properties(request.command, body)
        if path.strip("/") != f"{ACCOUNT}/{CONTAINER}":
            return _error(404, "ContainerNotFound", "The specified container does not exist.")
        return self._container(request, comp, body)

    def _properties(self, method: str, body: str) -> Answer:
        if method == "GET":
            rest = "<Logging><Version>1.0</Version><Delete>true</Delete><Read>false</Read><Write>false</Write>"
            rest += "<RetentionPolicy><Enabled>false</Enabled></RetentionPolicy></Logging>"
            return _xml(f"<StorageServiceProperties>{rest}{self.cors}</StorageServiceProperties>")
        self.cors = re.findall(r"<Cors>.*</Cors>", body, re.DOTALL)[0]
        return 202, {}, b""

    def _container(self, request: Any, comp: str, body: str) -> Answer:
        level = {"x-ms-blob-public-access": self.level} if self.level else {}
        if request.command in ("GET", "HEAD"):
            headers = {"Last-Modified": self.modified, "ETag": '"1"', **level}
            return _xml(self.stored, headers) if comp == "acl" else (200, headers, b"")
        if not self.public_allowed:
            return _error(409, "PublicAccessNotPermitted", "Public access is not permitted on this storage account.")
        if request.headers.get("If-Unmodified-Since", self.modified) != self.modified:
            return _error(412, "ConditionNotMet", "The condition specified was not met.")
        self.level = request.headers["x-ms-blob-public-access"]
        self.stored = re.sub(r"<\?.*?\?>", "", body).strip()
        return 200, {"Last-Modified": self.modified, "ETag": '"2"'}, b""


def _xml(text: str, headers: dict[str, str] | None = None) -> Answer:
    return 200, {"Content-Type": "application/xml", **(headers or {})}, f'<?xml version="1.0"?>{text}'.encode()


def _error(status: int, code: str, message: str) -> Answer:
    text = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return status, {"Content-Type": "application/xml", "x-ms-error-code": code}, text.encode()


@contextmanager
def azure_server() -> Iterator[Azure]:
    """Run it until the block ends."""
    azure = Azure()
    with scripted() as script:
        azure.url = f"{script.url}/{ACCOUNT}"
        script.answers[None] = azure.answer
        yield azure
