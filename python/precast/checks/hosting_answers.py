"""What a web server is asked, and what comes back: requests, objects, ranges, directories."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from precast.precomputed.objects import ObjectKind
from precast.storage.http import HttpAnswer

__all__ = ["MISSING", "MOVED", "REFUSED", "Asked", "Content", "Place", "Range", "Site", "Whole", "joined"]

MISSING = (404, 410)
REFUSED = (401, 407)
MOVED = (301, 302, 303, 307, 308)


def joined(base: str, target: str) -> str:
    """Return the address that a redirection leads to, empty if it is none."""
    try:
        return urllib.parse.urljoin(base, target)
    except ValueError:
        return ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and what came back.

    Attributes
    ----------
    method, url
        The request.
    answer
        The last answer, after redirections; None if there is none.
    problem
        Why there is none.
    hops
        The redirections on the way.
    """

    method: str
    url: str
    answer: HttpAnswer | None
    problem: str = ""
    hops: tuple[HttpAnswer, ...] = ()

    @property
    def status(self) -> int:
        """The status, 0 if there is no answer."""
        return 0 if self.answer is None else self.answer.status

    @property
    def to_directory(self) -> bool:
        """Whether ``x`` is redirected to ``x/``."""
        if self.answer is None or self.status not in MOVED:
            return False
        target = joined(self.answer.url, self.answer.headers.get("location", ""))
        return urllib.parse.urlsplit(target).path == urllib.parse.urlsplit(self.answer.url).path + "/"

    @property
    def absent(self) -> bool:
        """Whether viewers take it for "there is none"."""
        return self.status in (*MISSING, 403) or self.to_directory

    def header(self, name: str) -> str:
        """Return a header, empty if it is not there."""
        return "" if self.answer is None else self.answer.headers.get(name, "").strip()


class Content(Enum):
    """What the bytes of an answer turned out to be."""

    FINE = "what they should be"
    UNLABELLED = "gzip, and the header does not say so"
    MISLABELLED = "not what Content-Encoding says"
    TWICE = "gzip within what Content-Encoding says"
    FOREIGN = "packed in a way that browsers did not ask for"
    WRONG = "something else"


@dataclass(frozen=True, slots=True)
class Whole:
    """An object that is read as a whole.

    Attributes
    ----------
    asked
        The request and its answer.
    kind
        What it is.
    content, text
        What its bytes turned out to be, if the status is 200, and what is wrong with them.
    root
        Whether it is what makes the dataset visible.
    """

    asked: Asked
    kind: ObjectKind
    content: Content = Content.FINE
    text: str = ""
    root: bool = False


@dataclass(frozen=True, slots=True)
class Range:
    """A range of an object."""

    asked: Asked
    first: int
    last: int

    @property
    def told(self) -> tuple[int, int, int | None] | None:
        """First and last byte and the length of the object, as ``Content-Range`` says, if it can be read."""
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", self.asked.header("content-range"))
        return (int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3])) if match else None

    @property
    def end(self) -> int:
        """The last byte that there is to send."""
        told = self.told
        return min(self.last, told[2] - 1) if told is not None and told[2] is not None else self.last

    @property
    def encoded(self) -> bool:
        """Whether it has a content encoding."""
        return self.asked.header("content-encoding").lower() not in ("", "identity")

    @property
    def exact(self) -> bool:
        """Whether it is what was asked for, as far as can be seen."""
        answer = self.asked.answer
        return (
            answer is not None
            and answer.status == 206
            and not self.encoded
            and len(answer.body) == self.end + 1 - self.first
        )


@dataclass(slots=True)
class Place:
    """A directory on the server, and all that was asked about it.

    Attributes
    ----------
    url
        Its address.
    path, what
        Where it lies in the dataset, and what it holds.
    asked
        Every request.
    wholes, ranges
        Objects that are read as a whole and by ranges, that are there or ought to be.
    missing
        Requests for what cannot be there.
    preflight, head, bare
        ``OPTIONS`` of an object, ``HEAD`` of the info, and the directory without a slash.
    eager
        A range of which a client said that it takes gzip.
    mixed
        What shows that ranges hold other bytes than they should.
    packed
        Whether what is read by ranges is gzipped.
    unmapped
        Objects that are there as ``X.gz`` or ``X.br`` only.
    misnamed
        Objects whose names have to be written in another way than viewers do.
    tried, found
        Objects that may be absent: how many were asked for, and how many were there.
    sparse
        Whether it is nothing unusual if none is.
    """

    url: str
    path: str
    what: str
    asked: list[Asked] = field(default_factory=list)
    wholes: list[Whole] = field(default_factory=list)
    ranges: list[Range] = field(default_factory=list)
    missing: list[Asked] = field(default_factory=list)
    preflight: Asked | None = None
    head: Asked | None = None
    bare: Asked | None = None
    eager: Range | None = None
    mixed: str = ""
    packed: bool = False
    unmapped: list[str] = field(default_factory=list)
    misnamed: list[tuple[str, str]] = field(default_factory=list)
    tried: int = 0
    found: int = 0
    sparse: bool = False

    def sent(self, *statuses: int) -> Iterator[Asked]:
        """Yield what was read and answered with one of some statuses."""
        yield from (one for one in self.asked if one.method in ("GET", "HEAD") and one.status in statuses)

    def contents(self, content: Content) -> Iterator[Whole]:
        """Yield the objects with contents of one sort."""
        yield from (one for one in self.wholes if one.content == content)


@dataclass(frozen=True, slots=True)
class Site:
    """The server as such.

    Attributes
    ----------
    url
        What was asked for.
    local
        Whether it is this machine.
    certificate
        What is wrong with its certificate.
    hidden
        Requests for files that should not be seen.
    """

    url: str
    local: bool = False
    certificate: str = ""
    hidden: tuple[Asked, ...] = ()
