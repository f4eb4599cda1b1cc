"""Azurite, Microsoft's own server for tests, and what is asked of it without our client."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import hmac
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from programs import need_program
from web_server import free_port

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Known to everybody."""

NUMBERS = count()
START_S = 30

REQUIRED = "PRECAST_TESTS_NEED_AZURITE"
"""Set where the server has to be there; else tests that need it are skipped without it."""

INSTALLED = Path(__file__).parents[1] / "tools" / "azurite" / "node_modules" / ".bin"


def ask(
    endpoint: str,
    method: str,
    path: str,
    query: str = "",
    headers: dict[str, str] | None = None,
    body: bytes = b"",
) -> Any:
    """Send a request that is signed here, by the documentation of the store."""
    sent = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": "2021-08-06", **(headers or {})}
    named = "".join(f"{name}:{sent[name]}\n" for name in sorted(sent))
    resource = f"/{ACCOUNT}/{ACCOUNT}{path}" + "".join(
        f"\n{part.replace('=', ':')}" for part in query.split("&") if part
    )
    length = str(len(body)) if body else ""
    if body:
        sent["Content-Type"] = "application/xml"
    text = f"{method}\n\n\n{length}\n\n{sent.get('Content-Type', '')}{chr(10) * 7}{named}{resource}"
    signature = base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()
    sent["Authorization"] = f"SharedKey {ACCOUNT}:{signature}"
    url = f"{endpoint}{path}?{query}" if query else f"{endpoint}{path}"
    return urllib.request.urlopen(
        urllib.request.Request(url, data=body or None, method=method, headers=sent), timeout=10
    )


@contextmanager
def azurite(folder: Path) -> Iterator[str]:
    """Run it until the block ends, or skip the test; gives the address of the account."""
    program = need_program("azurite-blob", [INSTALLED], how="tools/install-azurite.sh", required=REQUIRED)
    port, log = free_port(), folder / "log"
    command = [program, "--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--blobPort", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=log.parent)
    try:
        deadline = time.monotonic() + START_S
        address = f"http://127.0.0.1:{port}/{ACCOUNT}"
        while True:
            try:
                ask(address, "GET", "/", "comp=list")
                break
            except urllib.error.HTTPError as error:
                pytest.fail(f"azurite does not take the signature: {error}")
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    pytest.fail(f"azurite does not answer: {log.read_text()}")
                time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait(10)


def new_container(endpoint: str) -> str:
    """Make a container that no other test has."""
    name = f"of-{os.getpid()}-{next(NUMBERS)}"
    ask(endpoint, "PUT", f"/{name}", "restype=container")
    return name
