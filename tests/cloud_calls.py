"""What tests of buckets ask for, a server that answers as they say, and secrets that nobody may see."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from buckets import forget_credentials
from precast.errors import PrecastError
from precast.storage import Attributes, CloudStore, StoreOptions
from precast.storage.cloud_clients import Connection
from scripted_server import Script, scripted

PLAIN = Attributes()
DATA = bytes(range(100))
SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
TOKEN = "FwoGZXIvYXdzEXAMPLETOKEN"


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_credentials(monkeypatch, tmp_path)


@pytest.fixture
def signed(monkeypatch: pytest.MonkeyPatch, no_credentials: None) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)


def refusal(status: int, code: str, message: str = "words") -> tuple[int, dict[str, str], bytes]:
    """Return an answer word for word as stores give it."""
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return status, {"Content-Type": "application/xml"}, text.encode()


@pytest.fixture
def server() -> Iterator[Script]:
    with scripted() as script:
        yield script


def at(server: Script, url: str = "s3://bucket/em", retries: int = 0, **options: Any) -> CloudStore:
    return CloudStore(url, StoreOptions(endpoint=server.url, **options), Connection(retries=retries, timeout_s=5))


def calls_of(store: CloudStore) -> dict[str, Callable[[], Any]]:
    return {
        "read": lambda: store.read("x"),
        "range": lambda: store.read("x", 0, 5),
        "stat": lambda: store.stat("x"),
        "write": lambda: store.write("x", b"1", PLAIN),
        "list": lambda: list(store.list()),
        "folders": store.folders,
        "delete": lambda: store.delete("x"),
    }


def everything_said(error: BaseException) -> str:
    shown = "".join(traceback.format_exception(error))
    extra = pickle.dumps(error).decode("latin-1") if isinstance(error, PrecastError) else ""
    return shown + repr(error) + repr(getattr(error, "to_json", dict)()) + extra
