"""Servers of object stores that the tests start themselves: one that is strict, and a mock beside it."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from programs import missing, need_program
from raw_http import Answer, Connection
from web_server import free_port

START_S = 30
REGION = "eu-central-1"
"""Not the one that clients fall back to."""

REQUIRED = "PRECAST_TESTS_NEED_S3"
"""Set where the servers have to be there; else tests that need one are skipped without it."""


@dataclass(frozen=True)
class Keys:
    access_key: str
    secret_key: str = field(repr=False)


@dataclass
class S3Server:
    """A running server, and requests to it that nothing but the signature is added to."""

    port: int
    keys: Keys
    region: str = REGION
    repeats: tuple[str, ...] = ("x-amz-request-id", "x-amz-id-2")
    """Headers that it sends twice."""
    _number: Iterator[int] = field(default_factory=itertools.count)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def access_key(self) -> str:
        return self.keys.access_key

    @property
    def secret_key(self) -> str:
        return self.keys.secret_key

    def signed(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        keys: Keys | None = None,
        port: int | None = None,
    ) -> dict[str, str]:
        """Return the headers of a request to ``/bucket/key?query``, quoted, signed for the port that it goes to.

        In a query ``/`` has to be quoted too, or the signature is for another.
        """
        # here, because every run of tests loads this file, and most need nothing of it
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        url = f"http://127.0.0.1:{port or self.port}{target}"
        request = AWSRequest(method, url, data=body, headers={**(headers or {})})
        keys = keys or self.keys
        S3SigV4Auth(Credentials(keys.access_key, keys.secret_key), "s3", self.region).add_auth(request)
        return {name: str(value) for name, value in request.headers.items()}

    def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        keys: Keys | None = None,
        port: int | None = None,
    ) -> Answer:
        """Send a request, signed with the owner's keys or those of somebody else."""
        return self._send(method, target, self.signed(method, target, headers, body, keys, port), body, port)

    def anonymously(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Send a request as a browser would, without a signature."""
        return self._send(method, target, dict(headers or {}), body, None)

    def _send(self, method: str, target: str, headers: dict[str, str], body: bytes, port: int | None) -> Answer:
        if method in ("PUT", "POST", "PATCH") and not body:
            headers["Content-Length"] = "0"
        with Connection(port or self.port, repeated=self.repeats) as connection:
            return connection.ask(method, target, headers, body)

    def new_bucket(self) -> str:
        """Make a bucket that no other test has."""
        name = f"bucket-{next(self._number)}"
        body = (
            '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<LocationConstraint>{self.region}</LocationConstraint></CreateBucketConfiguration>"
        ).encode()
        answer = self.ask("PUT", f"/{name}", body=body)
        assert answer.status == 200, answer
        return name

    def put(self, bucket: str, key: str, body: bytes, **headers: str) -> Answer:
        """Store an object, with headers named as in Python (``cache_control``)."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.ask("PUT", f"/{bucket}/{urllib.parse.quote(key)}", named, body)
        assert answer.status == 200, answer
        return answer

    def allow(self, bucket: str, *statements: Mapping[str, Any]) -> None:
        """Replace the bucket's policy; nothing said takes it away."""
        if not statements:
            answer = self.ask("DELETE", f"/{bucket}?policy")
        else:
            text = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
            answer = self.ask("PUT", f"/{bucket}?policy", body=text.encode())
        assert answer.status in (200, 204), answer

    def new_user(self) -> Keys:
        """Make a user who may do nothing until a policy allows it (by ``Principal: {"AWS": [access_key]}``)."""
        keys = Keys(f"user-{next(self._number)}", secrets.token_hex(16))
        body = (
            f"<Account><Access>{keys.access_key}</Access><Secret>{keys.secret_key}</Secret><Role>user</Role></Account>"
        )
        answer = self.ask("PATCH", "/create-user", body=body.encode())
        assert answer.status == 201, answer
        return keys


def error_of(answer: Answer) -> tuple[int, str]:
    """Return the status, and S3's name of the error in the body."""
    found = re.search(rb"<Code>(\w+)</Code>", answer.body)
    return answer.status, found[1].decode() if found else ""


def need_versitygw() -> str:
    """Return the path of the server's program, or skip the test and say what is missing."""
    own = (os.environ.get("GOBIN") or "", str(Path(os.environ.get("GOPATH") or Path.home() / "go") / "bin"))
    return need_program(
        "versitygw", [place for place in own if place], how="tools/install-s3-server.sh", required=REQUIRED
    )


def with_us(command: list[str]) -> list[str]:
    """Have a program end with the process that started it, however that ends, where the system can."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", *command] if setpriv else command


@contextmanager
def _started(command: list[str], environment: Mapping[str, str], log: Path, server: S3Server) -> Iterator[bool]:
    """Run a server until the block ends; False if it ended before it answered (another had its port)."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            with_us(command), stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **environment}
        )
    try:
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError, EOFError):
                # by the keys that only this one knows
                if server.ask("GET", "/").status == 200 and process.poll() is None:
                    break
            if process.poll() is not None:
                yield False
                return
            if time.monotonic() > deadline:
                pytest.fail(f"{command[0]} does not answer: {log.read_text()[-2000:]}")
            time.sleep(0.02)
        yield True
    finally:
        process.kill()  # asked to end, it waits for connections that clients keep
        process.wait()


def keeps_attributes(folder: Path) -> bool:
    """Return whether files of the folder can have attributes, where the server keeps the headers of objects."""
    try:
        os.setxattr(folder, "user.probe", b"1")
        os.removexattr(folder, "user.probe")
    except (OSError, AttributeError):
        return False
    return True


@contextmanager
def versitygw(folder: Path) -> Iterator[S3Server]:
    """Run Versity's S3 gateway over a folder: signatures, policies, CORS rules and conditions are enforced."""
    program = need_versitygw()
    data, users, headers = folder / "data", folder / "users", folder / "headers"
    for path in (data, users, headers):
        path.mkdir()
    sidecar = [] if keeps_attributes(data) else ["--sidecar", str(headers)]
    for _ in range(5):
        server = S3Server(free_port(), Keys("owner", secrets.token_hex(16)))
        command = [program, "--port", f"127.0.0.1:{server.port}", "--region", server.region, "--iam-dir", str(users)]
        command += ["--keep-alive", "--quiet", "posix", *sidecar, str(data)]
        environment = {"ROOT_ACCESS_KEY": server.access_key, "ROOT_SECRET_KEY": server.secret_key}
        with _started(command, environment, folder / "output.log", server) as runs:
            if runs:
                yield server
                return
    pytest.fail(f"versitygw does not start: {(folder / 'output.log').read_text()[-2000:]}")


@contextmanager
def moto(folder: Path) -> Iterator[S3Server]:
    """Run moto's server: it knows many more calls of AWS than others, but believes whatever it is told."""
    if importlib.util.find_spec("moto") is None:
        missing("needs moto: pip install 'moto[s3]' flask flask-cors", REQUIRED)
    for _ in range(5):
        server = S3Server(free_port(), Keys("owner", secrets.token_hex(16)), repeats=("server", "date"))
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(server.port)]
        with _started(command, {}, folder / "output.log", server) as runs:
            if runs:
                yield server
                return
    pytest.fail(f"moto does not start: {(folder / 'output.log').read_text()[-2000:]}")


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The strict server; one for each process of tests."""
    with versitygw(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def mock_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The mock, for calls that the strict one does not have."""
    with moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """A new bucket of the strict server."""
    return s3.new_bucket()
