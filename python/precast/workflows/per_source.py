"""Options with a value for each source: ``--resolution labels=32,32,40 --resolution em=4,4,40``.

A value without a name is that of all sources that have none of their own. In Python the same is a mapping from names
to values, in which None stands for all others; a string is read as on the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from precast.errors import UsageError

__all__ = ["PerSource"]

SHOWN = 20


@dataclass(frozen=True)
class PerSource:
    """The values of one option, as they were given.

    Attributes
    ----------
    others
        The value of all sources that are not named.
    named
        Values by the name of the source.

    Examples
    --------
    >>> resolution = PerSource.typed("--resolution", ["8", "em=4,4,40"])
    >>> resolution["em"], resolution["labels"]
    ('4,4,40', '8')
    """

    others: Any = None
    named: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, source: str) -> Any:
        return self.named.get(source, self.others)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Yield names and values; the name of the value for all others is empty."""
        yield "", self.others
        yield from self.named.items()

    def map(self, function: Callable[[Any], Any]) -> PerSource:
        """Return what a function makes of every value."""
        return PerSource(function(self.others), {name: function(value) for name, value in self.named.items()})

    @classmethod
    def of(cls, flag: str, value: Any, default: Any) -> PerSource:
        """Take what was given in Python: one value, a string with a name, or a mapping; None is the default.

        Raises
        ------
        UsageError
            If a name is none.
        """
        if isinstance(value, str):
            value = cls.typed(flag, [value])
        if isinstance(value, PerSource):
            value = {None: value.others, **value.named}
        if not isinstance(value, Mapping):
            value = {None: value}
        for name in value:
            if name is not None and (not isinstance(name, str) or not name):
                raise UsageError(
                    f"{flag}: {name!r} is no name of a source", hint="names are strings; None stands for all others"
                )
        whole = {name: default if one is None else one for name, one in value.items()}
        return cls(whole.pop(None, default), whole)

    @classmethod
    def typed(cls, flag: str, texts: Sequence[str]) -> PerSource:
        """Read what was typed, each ``value`` or ``name=value``.

        What stands before the first ``=`` is a name unless it has a ``/`` in it, which paths may have.

        Raises
        ------
        UsageError
            If a name or a value is missing, or one is given twice.
        """
        given: dict[str, str] = {}
        for text in texts:
            name, equals, value = text.partition("=")
            if not equals or "/" in name or "\\" in name:
                name, value = "", text
            elif not name or not value:
                raise UsageError(
                    f"{flag} {text}: {'the value' if name else 'the name'} is missing",
                    hint=f"give {flag} NAME=VALUE for one source, or {flag} VALUE for all",
                )
            if name in given:
                raise UsageError(
                    f"{flag} is given twice for {name or 'all sources'}: {given[name]} and {value}",
                    hint=f"give {flag} once for all sources, and once for each that differs, as NAME=VALUE",
                )
            given[name] = value
        return cls(given.pop("", None), given)

    def check_names(self, flag: str, sources: Sequence[str]) -> None:
        """See that all that are named are sources.

        Raises
        ------
        UsageError
            If one is not; says which there are.
        """
        for name, value in self.named.items():
            if name not in sources:
                more = f" and {len(sources) - SHOWN} more" if len(sources) > SHOWN else ""
                raise UsageError(
                    f"{flag} {name}={_text(value)}: no source is called {name}",
                    hint=f"they are called {', '.join(sources[:SHOWN])}{more}",
                )

    def check_values(self, flag: str, check: Callable[[Any], object]) -> None:
        """Let a function look at every value.

        Raises
        ------
        UsageError
            What it raises, with the name of the source.
        """
        for name, value in self.items():
            try:
                check(value)
            except UsageError as error:
                if not name:
                    raise
                raise UsageError(f"{flag} {name}={_text(value)}: {error.message}", hint=error.hint) from None


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
