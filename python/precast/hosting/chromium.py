"""A Chromium without a window, for one page, and everything that goes wrong in it.

It is driven by its own protocol (DevTools) over a pair of pipes: other programs on the machine cannot reach those, as
they could a port, and nothing needs to be installed for them.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from precast.errors import MissingExtraError, PrecastError, StorageError, UsageError

__all__ = ["Chromium", "find_chromium"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
APPLICATIONS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)
FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    # drawn by the processor: every machine has one, and pictures do not depend on graphics cards
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--mute-audio",
    # nothing is looked up, reported or updated
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
)
PIPES = 'exec 3<&0 4>&1 0</dev/null 1>&2; exec "$@"'
"""The browser reads commands at 3 and writes answers at 4."""

RETRIED = (429, 503, 504)
"""Answers after which the viewer asks again."""

NOT_FOUND = 404
LOGGED = ("security", "worker")
"""What the browser says by itself; requests and scripts that fail are told in other ways, and more of them."""

FAILED_AT = 400
END_S = 5.0
LAST_WORDS = 300


def find_chromium(given: str | os.PathLike[str] | None = None) -> str:
    """Return the path of a Chromium, or of a browser made from it.

    Raises
    ------
    UsageError
        If the one that was given is no program.
    MissingExtraError
        If there is none; the hint says how to get one.
    """
    if given is not None:
        found = shutil.which(os.fspath(given))
        if found is None:
            raise UsageError(f"--browser {os.fspath(given)} is not a program", hint="give the path of a Chromium")
        return found
    for name in (*NAMES, *APPLICATIONS):
        if found := shutil.which(name):
            return found
    raise MissingExtraError(
        "pictures are drawn by Chromium, which is not here",
        hint="apt-get install chromium (Debian), dnf install chromium (Fedora), brew install --cask chromium (macOS); "
        "or --browser PATH for Chrome, Edge or another browser made from it",
    )


class Chromium:
    """A browser with one page; leaves nothing behind.

    Parameters
    ----------
    path
        The program.
    size
        Of the page in pixels.
    seconds
        After which everything fails that is not done.

    Raises
    ------
    StorageError
        If it cannot be started, and from all methods: if it ends, time is up, or a request or script of the page fails.
    """

    def __init__(self, path: str, size: tuple[int, int], seconds: float) -> None:
        if sys.platform == "win32":
            raise UsageError("pictures can be made on Linux and macOS only", hint="use precast in WSL")
        self._path = path
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._number = 0
        self._waiting: dict[str, str] = {}
        self._messages: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._folder = tempfile.TemporaryDirectory(prefix="precast-", ignore_cleanup_errors=True)
        self._start()
        try:
            self._open(size)
        except BaseException:
            self.close()
            raise

    # ---- the program

    def _start(self) -> None:
        flags = [*FLAGS, f"--user-data-dir={self._folder.name}/profile"]
        if os.geteuid() == 0:  # it refuses otherwise
            flags.append("--no-sandbox")
        with (Path(self._folder.name) / "said").open("wb") as said:
            try:
                self._process = subprocess.Popen(
                    ["/bin/sh", "-c", PIPES, "sh", self._path, *flags, "about:blank"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    start_new_session=True,
                )
            except OSError as error:
                self._folder.cleanup()
                raise StorageError(f"{self._path} cannot be started: {error.strerror or error}") from None
        threading.Thread(target=self._read, name="precast-chromium", daemon=True).start()

    def _read(self) -> None:
        out = self._process.stdout
        assert out is not None
        unread = bytearray()
        with contextlib.suppress(OSError, ValueError):
            while piece := os.read(out.fileno(), 1 << 20):
                unread += piece
                if b"\0" in piece:
                    *messages, unread = unread.split(b"\0")
                    for message in messages:
                        self._messages.put(json.loads(message))
        self._messages.put(None)

    def close(self) -> None:
        """End it; again is fine."""
        if self._process.stdin is None or self._process.stdin.closed:
            return
        with contextlib.suppress(OSError):
            self._send("Browser.close", {}, None)
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # the group is this browser's own
        self._process.wait()
        self._folder.cleanup()

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # ---- the protocol

    def _send(self, method: str, parameters: Mapping[str, Any], session: str | None) -> int:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\0")
        self._process.stdin.flush()
        return self._number

    def _call(self, method: str, parameters: Mapping[str, Any] | None = None, session: str | None = None) -> Any:
        try:
            number = self._send(method, parameters or {}, session)
        except OSError:
            raise self._ended() from None
        while True:
            message = self._next()
            if message.get("id") == number:
                if "result" not in message:
                    reason = message.get("error", {}).get("message", "without a reason")
                    raise StorageError(f"the browser refused {method}: {reason}", hint="is it a Chromium?")
                return message["result"]

    def _next(self) -> dict[str, Any]:
        """Return the next message, after looking at what it tells."""
        try:
            message = self._messages.get(timeout=max(self._deadline - time.monotonic(), 0))
        except queue.Empty:
            raise self._late() from None
        if message is None:
            raise self._ended()
        self._look(message)
        return message

    def _late(self) -> PrecastError:
        waiting = sorted(set(self._waiting.values()))
        on = f"; {len(waiting)} answers have not come, such as that of {waiting[0]}" if waiting else ""
        return StorageError(f"the picture is not ready after {self._seconds:g} s{on}", hint="give a longer --timeout")

    def _ended(self) -> PrecastError:
        lines = (Path(self._folder.name) / "said").read_text(errors="replace").strip().splitlines()
        said = next((line for line in reversed(lines) if re.search("FATAL|ERROR|sandbox", line)), "".join(lines[-1:]))
        sandbox = any("sandbox" in line for line in lines)
        return StorageError(
            f"the browser {self._path} ended{': ' if said else ''}{said[:LAST_WORDS]}",
            hint="its sandbox is not allowed here, perhaps by a container" if sandbox else "is it a Chromium?",
        )

    # ---- the page

    def _open(self, size: tuple[int, int]) -> None:
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        attach = {"targetId": target, "flatten": True}
        self._page: str = self._call("Target.attachToTarget", attach)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable", session=self._page)
        # workers of the page are stopped until they are listened to
        workers = {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True}
        self._call("Target.setAutoAttach", workers, self._page)
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", metrics, self._page)

    def load(self, url: str) -> None:
        """Load a page and all of its scripts."""
        failed = self._call("Page.navigate", {"url": url}, self._page).get("errorText")
        if failed:
            raise StorageError(f"{url} cannot be opened: {failed}")
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def run(self, script: str) -> Any:
        """Run a script in the page, wait for what it promises, and return that."""
        parameters = {"expression": script, "awaitPromise": True, "returnByValue": True}
        answer = self._call("Runtime.evaluate", parameters, self._page)
        if "exceptionDetails" in answer:
            raise _failed(_exception(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def _look(self, message: Mapping[str, Any]) -> None:
        """Fail if a message tells of something that went wrong in the page or its workers."""
        told = message.get("params", {})
        match message.get("method"):
            case "Target.attachedToTarget" if told["sessionId"] != getattr(self, "_page", None):
                worker = told["sessionId"]
                if told["targetInfo"]["type"] == "worker":
                    for method in ("Runtime.enable", "Network.enable"):
                        self._send(method, {}, worker)
                    self._send("Runtime.runIfWaitingForDebugger", {}, worker)
            case "Runtime.exceptionThrown":
                raise _failed(_exception(told["exceptionDetails"]))
            case "Runtime.consoleAPICalled":
                text = " ".join(str(one.get("value", one.get("description", ""))) for one in told["args"])
                if told["type"] == "error" or text.startswith("Error retrieving chunk"):
                    raise _failed(text)
            case "Log.entryAdded" if told["entry"]["level"] == "error" and told["entry"]["source"] in LOGGED:
                raise _failed(told["entry"]["text"])
            case "Inspector.targetCrashed":
                raise _failed("the page crashed, perhaps for want of memory")
            case method if str(method).startswith("Network."):
                self._look_at_request(str(method), told)

    def _look_at_request(self, method: str, told: Mapping[str, Any]) -> None:
        match method:
            case "Network.requestWillBeSent":
                self._waiting[told["requestId"]] = told["request"]["url"]
            case "Network.loadingFinished":
                self._waiting.pop(told["requestId"], None)
            case "Network.loadingFailed":
                url = self._waiting.pop(told["requestId"], "")
                if not told.get("canceled"):  # by the viewer itself, which no longer needs it
                    raise _failed(f"{url}: {_why(told)}")
            case "Network.responseReceived":
                _check(told["response"])


def _check(response: Mapping[str, Any]) -> None:
    """Fail if an answer is an error. A part of a volume may be absent, which means that it is empty."""
    status, url = int(response["status"]), str(response["url"])
    absent = status == NOT_FOUND and not url.partition("?")[0].endswith("/info")
    if status >= FAILED_AT and status not in RETRIED and not absent:
        raise _failed(f"{url}: status {status} {response.get('statusText', '')}".rstrip())


def _why(told: Mapping[str, Any]) -> str:
    reason = told.get("corsErrorStatus", {}).get("corsError") or told.get("blockedReason")
    return f"{told['errorText']} ({reason})" if reason else str(told["errorText"])


def _exception(details: Mapping[str, Any]) -> str:
    return str(details.get("exception", {}).get("description") or details["text"]).partition("\n")[0]


def _failed(what: str) -> PrecastError:
    return StorageError(f"the viewer could not draw everything: {what[:LAST_WORDS]}", where=what[:LAST_WORDS])
