"""Command-line options made from an options dataclass, which stays the only home of defaults and help."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

import click

from precast.errors import UsageError
from precast.storage import Store, StoreOptions, open_store
from precast.workflows.per_source import PerSource

__all__ = [
    "OF_SOURCE",
    "from_dataclass",
    "given",
    "open_source",
    "output_options",
    "source_options",
    "store_options",
    "take_store_options",
    "typed",
]

F = TypeVar("F", bound=Callable[..., Any])

OF_SOURCE = "from_"


def from_dataclass(cls: Any) -> Callable[[F], F]:
    """Return a decorator that adds one click option per field of a dataclass.

    A field's metadata has ``help``; ``choices``, ``bounds`` and ``metavar`` are optional. With ``per_source`` the
    option may be repeated, with the names of sources. Values are passed on as they were typed: the dataclass checks
    them, so Python and the command line give the same errors. Options that were not given are not passed.
    """

    def decorate(function: F) -> F:
        for spec in reversed(fields(cls)):
            default = None if spec.default is MISSING else spec.default
            function = _option(spec.name, default, spec.metadata)(function)
        return function

    return decorate


def _option(name: str, default: Any, metadata: Mapping[str, Any]) -> Callable[[F], F]:
    flag = f"--{name.replace('_', '-')}"
    text = metadata["help"]
    if isinstance(default, bool):
        return click.option(flag, name, is_flag=True, default=None, help=text)
    if metadata.get("per_source"):
        return click.option(
            flag,
            name,
            multiple=True,
            callback=lambda _context, _option, texts: PerSource.typed(flag, texts) if texts else None,
            metavar=f"[NAME=]{metadata['metavar']}",
            help=text,
        )
    if default is not None and default != "auto":
        text = f"{text} [default: {default}]"
    if "choices" in metadata:
        kind: Any = click.Choice([choice for choice in metadata["choices"] if choice is not None])
    elif "bounds" in metadata:
        low, high = metadata["bounds"]
        kind = click.IntRange(low, high)
    else:
        kind = str
    return click.option(flag, name, type=kind, default=None, metavar=metadata.get("metavar"), help=text)


def given(values: dict[str, Any]) -> dict[str, Any]:
    """Return only the options that were given."""
    return {name: value for name, value in values.items() if value is not None}


def store_options(function: F) -> F:
    """Add the options of how buckets are reached."""
    return from_dataclass(StoreOptions)(function)


def take_store_options(values: dict[str, Any]) -> StoreOptions:
    """Take the values of :func:`store_options` out of those that were given."""
    taken = {spec.name: values.pop(spec.name) for spec in fields(StoreOptions)}
    return StoreOptions(**given(taken))


def typed(options: StoreOptions) -> list[str]:
    """Return options as they are typed, to be shown in another command; those that were not given are left out."""
    words = []
    for spec in fields(StoreOptions):
        value = getattr(options, spec.name)
        if value != spec.default:
            words.append(f"--{spec.name}" if value is True else f"--{spec.name} {shlex.quote(value)}")
    return words


def source_options(function: F) -> F:
    """Add the options of how the bucket of a source is reached, where that of a destination has its own."""
    for spec in reversed(fields(StoreOptions)):
        text = spec.metadata["help"]
        metadata = {**spec.metadata, "help": f"Of the source: {text[0].lower()}{text[1:]}"}
        function = _option(f"{OF_SOURCE}{spec.name}", spec.default, metadata)(function)
    return function


def open_source(place: str, values: dict[str, Any]) -> Store:
    """Take the values of :func:`source_options` out of those that were given, and open a source with them."""
    taken = given({spec.name: values.pop(f"{OF_SOURCE}{spec.name}") for spec in fields(StoreOptions)})
    try:
        return open_store(place, StoreOptions(**taken))
    except UsageError as error:
        if not taken:
            raise
        raise UsageError(error.message.replace("--", "--from-"), hint=error.hint, where=error.where) from None


def output_options(function: F) -> F:
    """Add ``--json`` and ``--quiet``."""
    function = click.option("--quiet", "-q", is_flag=True, help="No progress, no summary; errors only.")(function)
    return click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout instead of text.")(
        function
    )
