"""``precast serve``."""

from __future__ import annotations

import signal
import socket
import sys
import time
import urllib.parse
from collections.abc import Callable, Sequence

import click

from precast.cli.render import print_findings
from precast.hosting.server import DEFAULT_PORT, DataServer

__all__ = ["command", "until_ended"]

EXIT_INTERRUPTED = 130
FILES_WANTED = 65536


@click.command("serve")
@click.argument("paths", nargs=-1, required=True, type=click.Path(), metavar="PATH...")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True, help="0: any that is free."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind; 0.0.0.0 is every one.")
@click.option(
    "--allow-host", "allow_hosts", multiple=True, metavar="NAME", help="Answer to this host name too; repeatable."
)
@click.option("--private", is_flag=True, help="Put a path that nobody can guess in front of everything.")
@click.option("--no-cache", is_flag=True, help="Browsers ask each time whether data changed; else after an hour.")
@click.option("--browser/--no-browser", default=False, show_default=True, help="Open the list of datasets.")
@click.option("--verbose", "-v", is_flag=True, help="Print every request on stderr.")
@click.option("--quiet", "-q", is_flag=True, help="Print the address alone.")
def command(  # noqa: PLR0913  # one per option
    paths: Sequence[str],
    *,
    port: int,
    host: str,
    allow_hosts: Sequence[str],
    private: bool,
    no_cache: bool,
    browser: bool,
    verbose: bool,
    quiet: bool,
) -> int:
    """Serve datasets to viewers until Ctrl-C.

    Each PATH is a dataset, a collection, or a directory of datasets. The first line of output is the address, printed
    when the server answers.
    """
    more_files()

    def announce(server: DataServer) -> None:
        click.echo(server.url)
        sys.stdout.flush()
        if not quiet:
            click.echo(text(server), err=True)
            print_findings(server.findings)
        if browser:
            import webbrowser

            webbrowser.open(server.url)

    return until_ended(
        lambda: DataServer(
            paths, port=port, host=host, private=private, allow_hosts=allow_hosts, cache=not no_cache, verbose=verbose
        ),
        announce,
    )


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


class _EndError(Exception):
    """Somebody asked this process to end."""


def _end(*_: object) -> None:
    raise _EndError


def until_ended(start: Callable[[], DataServer], announce: Callable[[DataServer], None]) -> int:
    """Start a server, say so, let it work until Ctrl-C or SIGTERM, close it and return the exit code."""
    signal.signal(signal.SIGTERM, _end)
    try:
        with start() as server:
            announce(server)
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except _EndError:
        return 0


def more_files() -> None:
    """Raise the number of files that this process may have open: a connection is one, and what it is sent another."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(FILES_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
