"""``precast``: the group of verbs, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import os
import sys
import traceback

# NumPy's linear algebra starts a thread per processor when it is loaded, which takes as long as all the rest of NumPy;
# nothing here calls it. Set before NumPy is imported, and only in this program.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import click

from precast import __version__
from precast.cli.interrupts import safe_interrupts
from precast.errors import PrecastError, UsageError

__all__ = ["cli", "main"]

EXIT_USAGE = 2
EXIT_COULD_NOT_RUN = 3
EXIT_INTERRUPTED = 130

VERBS = {
    "build": "precast.cli.build",
    "convert": "precast.cli.convert",
    "mesh": "precast.cli.mesh",
    "inspect": "precast.cli.inspect",
    "properties": "precast.cli.properties",
    "view": "precast.cli.view",
    "snapshot": "precast.cli.snapshot",
    "serve": "precast.cli.serve",
    "export": "precast.cli.export",
    "check": "precast.cli.check",
    "diff": "precast.cli.diff",
    "link": "precast.cli.link",
    "hosting": "precast.cli.hosting",
    "publish": "precast.cli.publish",
    "rm": "precast.cli.rm",
    "sample": "precast.cli.sample",
}


class LazyGroup(click.Group):
    """Loads a verb's module when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of a user's work."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one verb."""
        if cmd_name not in VERBS:
            return None
        import importlib

        command: click.Command = importlib.import_module(VERBS[cmd_name]).command
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="precast")
def cli() -> None:
    """From a folder of slices to Neuroglancer: exact precomputed volumes in one pass."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 good, 1 findings or failed tasks, 2 usage, 3 could not run, 130 Ctrl-C."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:  # noqa: PLR0911  # one return per kind of ending
    """Run the command line and return the exit code."""
    try:
        with safe_interrupts():
            result = cli.main(args=arguments, prog_name="precast", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Abort:
        return _interrupted()
    except KeyboardInterrupt:
        return _interrupted()
    except click.ClickException as error:
        return _report(UsageError(error.format_message(), hint=_usage_hint(error)), arguments)
    except PrecastError as error:
        return _report(error, arguments)
    except BrokenPipeError:
        # the reader of our output went away; keep Python from complaining about it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_COULD_NOT_RUN
    except Exception as error:  # the last resort: a fault of ours, told as such
        if os.environ.get("PRECAST_DEBUG"):
            traceback.print_exc()
        text = f"internal error: {type(error).__name__}: {error}"
        return _report(PrecastError(text, hint="this is a fault in precast; PRECAST_DEBUG=1 shows where"), arguments)


def _usage_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f"see {context.command_path} --help" if context is not None else "see precast --help"


def _interrupted() -> int:
    click.echo("\ninterrupted: nothing is lost; run the same command again to go on", err=True)
    return EXIT_INTERRUPTED


def _report(error: PrecastError, arguments: list[str]) -> int:
    from precast.cli.render import document, print_error

    if "--json" in arguments:
        verb = next((word for word in arguments if not word.startswith("-")), "")
        click.echo(document(verb, None, errors=[error]))
    print_error(error)
    return EXIT_USAGE if isinstance(error, UsageError) else EXIT_COULD_NOT_RUN


if __name__ == "__main__":
    main()
