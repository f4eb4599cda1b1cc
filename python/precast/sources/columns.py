"""A user's table about segments, a CSV or TSV file, as columns of segment properties.

Read with the standard library's csv module, which knows quotes and line breaks inside cells; the types of cells
are decided here, because every general reader of tables would turn 64-bit ids beside blanks into floats.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from precast.errors import SourceError, UsageError
from precast.findings import Finding, notice
from precast.precomputed.segment_columns import ColumnTable
from precast.sources.base import os_error
from precast.sources.column_types import Header, make_columns, read_header
from precast.sources.listing import require_exists

__all__ = ["read_columns"]

ID_NAMES = ("id", "ID", "segment", "segment_id", "label_id", "root_id", "pt_root_id")
"""Names of the id column, in the order in which they are looked for."""

LARGEST_ID = 2**64 - 1
MOST_DIGITS = 20
LARGEST_CELL = 1 << 24

_FLOAT = re.compile(r"[+-]?([0-9]+[.,][0-9]*|[.,]?[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class _Rows:
    """The stripped cells of a file: names, columns, the line on which each row ends; and the delimiter."""

    names: list[str]
    columns: list[list[str]]
    lines: list[int]
    delimiter: str


def read_columns(path: str | os.PathLike[str], id_column: str | None = None) -> tuple[ColumnTable, tuple[Finding, ...]]:
    """Read a table with a header row and one row per segment.

    Parameters
    ----------
    path
        A CSV file (comma, semicolon or tab, found out from the header row) or a TSV file, UTF-8.
    id_column
        Name of the column with the ids; by default the first of :data:`ID_NAMES` that is there.

    Returns
    -------
    ColumnTable
        By ascending id.
    tuple of Finding
        Columns that could not become what they look like.

    Raises
    ------
    ObjectNotFoundError, AccessDeniedError, StorageError
        If the file cannot be read.
    UsageError
        If the id column is not there or a header asks for what its cells do not allow.
    SourceError
        If it is not such a table, or an id is damaged or there twice; names the line.
    """
    file = Path(path)
    where = str(file)
    rows = _read(file)
    at = _find_id_column(rows, id_column, where)
    ids = _ids(rows, at, where)
    order = np.argsort(ids, kind="stable")
    _check_once(ids, order, rows, where)
    findings: list[Finding] = []
    headers: list[tuple[Header, list[str]]] = []
    unnamed = 0
    sequence = order.tolist()
    for number, name in enumerate(rows.names):
        if number == at:
            continue
        if not name:
            unnamed += 1
            continue
        cells = rows.columns[number]
        headers.append((read_header(name), [cells[n] for n in sequence]))
    if unnamed:
        text = f"{unnamed} column{'s' if unnamed > 1 else ''} without a name left out"
        findings.append(notice("PP104", where, text, "give it a name in the header row"))
    columns, more = make_columns(headers, decimal_comma=rows.delimiter == ";", where=where)
    findings += [notice("PP103", where, text) for text in more]
    return ColumnTable(ids=ids[order], columns=columns, name=file.name), tuple(findings)


# ---- cells


def _read(file: Path) -> _Rows:
    require_exists(file)
    where = str(file)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise os_error(error, file) from None
    text = _decode(data, where)
    delimiter = _delimiter(file, text)
    before = csv.field_size_limit(LARGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    cells: list[str] = []  # of all rows, one after the other: a million lists would keep the garbage collector busy
    lines: list[int] = []
    names: list[str] = []
    try:
        for row in reader:
            text = "".join(row)
            if not text or text.isspace():
                continue
            if not names:
                names = [cell.strip() for cell in row]
                continue
            if len(row) != len(names):
                raise SourceError(
                    f"{file.name}, line {reader.line_num}: {len(row)} cells, the header row has {len(names)}",
                    hint="quote cells that hold the delimiter, and write a delimiter for every blank cell",
                    where=where,
                )
            cells += row
            lines.append(reader.line_num)
    except csv.Error as error:
        raise SourceError(
            f"{file.name}, line {reader.line_num}: not a table: {error}",
            hint='quotes inside a quoted cell are doubled: "the ""big"" one"',
            where=where,
        ) from None
    finally:
        csv.field_size_limit(before)
    if not names:
        raise SourceError(f"{file.name} is empty", hint="the first row names the columns", where=where)
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise SourceError(f"{file.name}: two columns are named {twice[0]!r}", hint="rename one of them", where=where)
    columns = [list(map(str.strip, cells[at :: len(names)])) for at in range(len(names))]
    return _Rows(names, columns, lines, delimiter)


def _decode(data: bytes, where: str) -> str:
    name = Path(where).name
    if data.startswith(b"PK\x03\x04"):
        raise SourceError(
            f"{name} is a spreadsheet or an archive, not text", hint="export the sheet as CSV (UTF-8)", where=where
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        kind = "UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "another encoding"
        raise SourceError(
            f"{name}, line {line}: not UTF-8 but {kind}", hint="save the table as CSV with UTF-8", where=where
        ) from None


def _delimiter(file: Path, text: str) -> str:
    if file.suffix.lower() in (".tsv", ".tab"):
        return "\t"
    head = next((line for line in text.splitlines() if line.strip()), "")
    unquoted = re.sub(r'"[^"]*"', "", head)
    counts = {mark: unquoted.count(mark) for mark in (",", ";", "\t")}
    return max(counts, key=lambda mark: counts[mark])  # of equals the first


# ---- ids


def _find_id_column(rows: _Rows, wanted: str | None, where: str) -> int:
    listing = ", ".join(repr(name) for name in rows.names[:12]) + (", ..." if len(rows.names) > 12 else "")
    name = Path(where).name
    if wanted is not None:
        if wanted in rows.names:
            return rows.names.index(wanted)
        raise UsageError(f"{name} has no column {wanted!r}", hint=f"its columns are {listing}", where=where)
    for known in ID_NAMES:
        if known in rows.names:
            return rows.names.index(known)
    if any(_FLOAT.fullmatch(cell) for cell in rows.names):
        raise SourceError(
            f"{name} has no header row: its first row is {listing}",
            hint="name the columns in a first row, for example id,label",
            where=where,
        )
    raise UsageError(
        f"{name} has no id column; looked for {', '.join(ID_NAMES)}",
        hint=f"give --id-column NAME; the columns are {listing}",
        where=where,
    )


def _ids(rows: _Rows, at: int, where: str) -> npt.NDArray[np.uint64]:
    cells = rows.columns[at]
    if all(map(str.isdecimal, cells)) and "".join(cells).isascii() and max(map(len, cells), default=0) <= MOST_DIGITS:
        numbers = list(map(int, cells))
        if max(numbers, default=0) <= LARGEST_ID:
            return np.array(numbers, np.uint64)
    number = next(
        n
        for n, cell in enumerate(cells)
        if not re.fullmatch("[0-9]+", cell) or len(cell) > MOST_DIGITS or int(cell) > LARGEST_ID
    )
    place = f"{Path(where).name}, line {rows.lines[number]}"
    cell = cells[number]
    hint = "ids are whole numbers from 0 to 18446744073709551615, written in digits alone"
    if not cell:
        raise SourceError(f"{place}: the id is missing", hint="give every row an id, or remove it", where=where)
    if _FLOAT.fullmatch(cell) and not cell.lstrip("+-").isdecimal():
        raise SourceError(
            f"{place}: the id {cell!r} is a floating point number: a spreadsheet or a table program has converted the "
            "ids, and those of more than 15 digits are no longer right",
            hint="export the table anew from where it was made, with ids as whole numbers: in a spreadsheet import the "
            'column as text; in pandas read it with dtype={"id": "uint64"} (or "UInt64" where ids may be missing)',
            where=where,
        )
    raise SourceError(f"{place}: {cell[:60]!r} is no id", hint=hint, where=where)


def _check_once(ids: npt.NDArray[np.uint64], order: npt.NDArray[np.intp], rows: _Rows, where: str) -> None:
    ordered = ids[order]
    twice = np.flatnonzero(ordered[1:] == ordered[:-1])
    if not len(twice):
        return
    at = int(twice[0])
    first, second = rows.lines[int(order[at])], rows.lines[int(order[at + 1])]
    more = f"; {len(twice)} rows repeat an id" if len(twice) > 1 else ""
    raise SourceError(
        f"{Path(where).name}: the id {ordered[at]} is on line {first} and on line {second}{more}",
        hint="keep one row per segment",
        where=where,
    )
