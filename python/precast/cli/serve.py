"""``precast serve``."""

from __future__ import annotations

import signal
import socket
import sys
import time
import urllib.parse
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import click

from precast.cli.fields import from_dataclass, given, store_options, take_store_options
from precast.cli.render import print_findings
from precast.hosting.server import DataServer, ServeOptions

__all__ = ["command", "until_ended"]

EXIT_INTERRUPTED = 130
LOOK_S = 1.0
FILES_WANTED = 65536


@click.command("serve")
@click.argument("paths", nargs=-1, required=True, metavar="PATH|URL...")
@from_dataclass(ServeOptions)
@store_options
@click.option("--browser/--no-browser", default=False, show_default=True, help="Open the list of datasets.")
@click.option("--quiet", "-q", is_flag=True, help="Print the address alone.")
def command(paths: Sequence[str], *, browser: bool, quiet: bool, **values: Any) -> int:
    """Serve datasets to viewers until Ctrl-C.

    Each PATH, or URL of a place in a bucket (s3, gs, az), is a dataset, a collection, or a directory of datasets.
    Buckets are read with your credentials. The first line of output is the address, printed when the server answers.
    """
    more_files()

    def announce(server: DataServer) -> None:
        click.echo(server.url)
        sys.stdout.flush()
        if not quiet:
            print_findings(server.findings)
            click.echo(text(server), err=True)
        if browser:
            import webbrowser

            webbrowser.open(server.url)

    store = take_store_options(values)
    options = ServeOptions(**given(values))
    return until_ended(lambda: DataServer(paths, options, store), announce)


def text(server: DataServer) -> str:
    """Return what is served, and who can see it."""
    lines = [f"  {one.url}|neuroglancer-precomputed:" for one in server.datasets]
    if server.open_to_others:
        path = urllib.parse.urlsplit(server.url).path
        lines.append(
            f"Other machines reach it at http://{socket.getfqdn()}:{server.port}{path} and can read all of it."
        )
    lines.append("Ctrl-C ends it.")
    return "\n".join(lines)


class Served(Protocol):
    """What works from when it is made until it is closed."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None, /
    ) -> None: ...


S = TypeVar("S", bound=Served)


class _EndError(BaseException):
    """Somebody asked this process to end; nothing on the way out takes it for an error."""


def until_ended(start: Callable[[], S], announce: Callable[[S], None]) -> int:
    """Start a server, say so, let it work until Ctrl-C or SIGTERM, close it and return the exit code."""
    asked: list[int] = []

    def end(number: int, _: object) -> None:
        asked.append(number)
        raise _EndError

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number, handler in before.items():
        # a shell lets its jobs in the background ignore Ctrl-C, which is for that in front
        if not (number == signal.SIGINT and handler == signal.SIG_IGN):
            signal.signal(number, end)
    try:
        with start() as server:
            announce(server)
            # an exception that comes while Python cleans something up is lost; what was asked for is not
            while not asked:
                time.sleep(LOOK_S)
    except _EndError:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
    return EXIT_INTERRUPTED if asked[0] == signal.SIGINT else 0


def more_files() -> None:
    """Raise the number of files that this process may have open: a connection is one, and what it is sent another."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(FILES_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
