"""Command-line options made from an options dataclass, which stays the only home of defaults and help."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar

import click

from precast.storage import StoreOptions
from precast.workflows.per_source import PerSource

__all__ = ["from_dataclass", "given", "output_options", "store_options", "take_store_options"]

F = TypeVar("F", bound=Callable[..., Any])


def from_dataclass(cls: Any) -> Callable[[F], F]:
    """Return a decorator that adds one click option per field of a dataclass.

    A field's metadata has ``help``; ``choices``, ``bounds`` and ``metavar`` are optional. With ``per_source`` the
    option may be repeated, with the names of sources. Values are passed on as they were typed: the dataclass checks
    them, so Python and the command line give the same errors. Options that were not given are not passed.
    """

    def decorate(function: F) -> F:
        for spec in reversed(fields(cls)):
            function = _option(spec)(function)
        return function

    return decorate


def _option(spec: Field[Any]) -> Callable[[F], F]:
    flag = f"--{spec.name.replace('_', '-')}"
    default = None if spec.default is MISSING else spec.default
    text = spec.metadata["help"]
    if isinstance(default, bool):
        return click.option(flag, spec.name, is_flag=True, default=None, help=text)
    if spec.metadata.get("per_source"):
        return click.option(
            flag,
            spec.name,
            multiple=True,
            callback=lambda _context, _option, texts: PerSource.typed(flag, texts) if texts else None,
            metavar=f"[NAME=]{spec.metadata['metavar']}",
            help=text,
        )
    if default is not None and default != "auto":
        text = f"{text} [default: {default}]"
    if "choices" in spec.metadata:
        kind: Any = click.Choice([choice for choice in spec.metadata["choices"] if choice is not None])
    elif "bounds" in spec.metadata:
        low, high = spec.metadata["bounds"]
        kind = click.IntRange(low, high)
    else:
        kind = str
    return click.option(flag, spec.name, type=kind, default=None, metavar=spec.metadata.get("metavar"), help=text)


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


def output_options(function: F) -> F:
    """Add ``--json`` and ``--quiet``."""
    function = click.option("--quiet", "-q", is_flag=True, help="No progress, no summary; errors only.")(function)
    return click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout instead of text.")(
        function
    )
