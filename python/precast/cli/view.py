"""``precast view``."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from typing import Any

import click

from precast.cli.fields import from_dataclass, given, store_options, take_store_options
from precast.cli.render import print_findings
from precast.cli.serve import more_files, until_ended
from precast.hosting.server import ServeOptions
from precast.hosting.state import ViewOptions
from precast.hosting.view import View

__all__ = ["command"]

SSH_PORT = "22"


@click.command("view")
@click.argument("places", nargs=-1, required=True, metavar="PATH|URL...")
@from_dataclass(ViewOptions)
@from_dataclass(ServeOptions)
@store_options
@click.option("--browser/--no-browser", default=True, show_default=True, help="Open the viewer in your browser.")
@click.option("--quiet", "-q", is_flag=True, help="Print the address alone.")
def command(places: tuple[str, ...], *, browser: bool, quiet: bool, **values: Any) -> int:
    """Show datasets in Neuroglancer, from this machine, without internet, until Ctrl-C.

    A PATH or URL is a dataset, a collection or a directory of datasets. The first line of output is the address of
    the viewer, printed when it answers. Over SSH no browser is opened; how to forward the port is printed instead.
    """
    more_files()
    store = take_store_options(values)
    shown = {name: values.pop(name) for name in list(values) if name in ViewOptions.__dataclass_fields__}
    options, serving = ViewOptions(**given(shown)), ServeOptions(**given(values))

    def announce(view: View) -> None:
        click.echo(view.url)
        sys.stdout.flush()
        remote = over_ssh(view.server.port)
        opened = browser and remote is None and _open(view.url)
        if quiet:
            return
        print_findings(view.findings)
        if remote is not None:
            click.echo(remote, err=True)
        elif browser and not opened:
            click.echo("No browser could be started here; open the address above in one.", err=True)
        if view.server.open_to_others:
            click.echo(f"From other machines, which can read all of it: {view.url_from(socket.getfqdn())}", err=True)
        click.echo("Ctrl-C ends it.", err=True)

    return until_ended(lambda: View(places, options, serving, store), announce)


def over_ssh(port: int) -> str | None:
    """Return what to do to see a port of this machine on that from which somebody came by SSH, or None."""
    came = os.environ.get("SSH_CONNECTION", "").split()
    if not came:
        return None
    # client's address and port, ours and its port: the address by which it reached us
    host, ssh_port = (came[2], came[3]) if len(came) == 4 else (socket.getfqdn(), SSH_PORT)
    other = f"-p {ssh_port} " if ssh_port != SSH_PORT else ""
    return (
        f"On your own machine run\n  ssh {other}-N -L {port}:127.0.0.1:{port} {getpass.getuser()}@{host}\n"
        "and open the address above there."
    )


def _open(url: str) -> bool:
    """Open a browser with windows; one in this terminal could not show anything, and would take it."""
    windows = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not windows and not os.environ.get("BROWSER"):
        return False
    import webbrowser

    return webbrowser.open(url)
