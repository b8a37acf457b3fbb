"""The values of a job as NDJSON and as CSV, made while they are sent."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec
import orjson
from msgspec import Raw

from fanfold_server.model.actor import Actor
from fanfold_server.service.jobs import Jobs
from fanfold_server.service.reading import Stretch
from fanfold_server.service.summing import Summary, number_in, value_of

NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"

LINES_AT_ONCE: Final = 500

VALUE_COLUMN: Final = "value"
INDEX_COLUMN: Final = "index"
_NULL: Final = b"null"
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_records = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_text = msgspec.json.Decoder(str).decode
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


async def ndjson(
    jobs: Jobs, actor: Actor, job_id: str, *, start: int, follow: bool
) -> AsyncIterator[bytes]:
    """Yield `{"index":1,"value":…}` for each call that returned, with `error` for one that failed.

    Each line is whole in itself and names its index, so that a reader who was cut off goes on from
    the last line that he has.
    """
    async for stretch in jobs.values(actor, job_id, start=start, follow=follow):
        errors = await errors_of(jobs, actor, job_id, stretch)
        async for lines in _slices(stretch):
            yield b"".join(_lines(lines, errors))


async def _slices(stretch: Stretch) -> AsyncIterator[list[tuple[int, bytes]]]:
    """Yield the indexes and lines of a stretch, a few at a time: others have their turn between."""
    lines = stretch.ndjson.splitlines()
    for at in range(0, len(lines), LINES_AT_ONCE):
        yield list(enumerate(lines[at : at + LINES_AT_ONCE], stretch.start + at))
        await asyncio.sleep(0)


def _lines(lines: Iterable[tuple[int, bytes]], errors: Mapping[int, object]) -> Iterator[bytes]:
    for index, text in lines:
        if text == _NULL and index in errors:
            yield b'{"index":%d,"error":%b}\n' % (index, orjson.dumps(errors[index]))
        else:
            yield b'{"index":%d,"value":%b}\n' % (index, text)


async def errors_of(
    jobs: Jobs, actor: Actor, job_id: str, stretch: Stretch
) -> dict[int, dict[str, object] | None]:
    """Look up which of a stretch's nulls are failures; without a null nothing is asked."""
    if not (stretch.ndjson.startswith(b"null\n") or b"\nnull\n" in stretch.ndjson):
        return {}
    found: dict[int, dict[str, object] | None] = {}
    start, end = stretch.start, stretch.start + stretch.count
    while start < end:
        limit = min(end - start, 1000)
        page = await jobs.outcomes(actor, job_id, state="failed", start=start, limit=limit)
        found |= {entry.index: entry.error for entry in page if entry.index < end}
        if len(page) < limit or page[-1].index >= end:
            break
        start = page[-1].index + 1
    return found


async def summarized(
    jobs: Jobs, actor: Actor, job_id: str, *, member: str | None
) -> tuple[Summary, int]:
    """Sum up the numbers of what has returned; give also how many values had none."""
    summary, without = Summary(), 0
    async for stretch in jobs.values(actor, job_id, start=0):
        errors = await errors_of(jobs, actor, job_id, stretch)
        async for lines in _slices(stretch):
            for index, text in lines:
                number = number_in(value_of(text), member)
                if number is not None:
                    summary.add(number)
                elif index not in errors:
                    without += 1
    return summary, without


# --------------------------------------------------------------------------------------------- CSV


async def csv_table(
    jobs: Jobs, actor: Actor, job_id: str, *, start: int, escape: bool = False
) -> AsyncIterator[bytes]:
    """Yield the values as a table, with the call's index in the first column.

    An object is a row and a list of objects several; anything else stands in the column `value`.
    The columns are those of all rows, in the order of their first appearance: the values are read
    twice, once for the columns. A failed call is a row with nothing but its index. A cell holds
    text as it is, nothing for null, and for everything else the JSON that the function gave, with
    all digits of numbers.

    Cells are made in a thread, a stretch at a time: nobody else waits for a large table.

    Args:
        jobs: the use cases.
        actor: who reads.
        job_id: of the actor's.
        start: index of the first call.
        escape: put an apostrophe before texts that spreadsheets would take for formulas.
    """
    columns: dict[str, None] = {}
    async for stretch in jobs.values(actor, job_id, start=start):
        columns |= await asyncio.to_thread(_columns, stretch)
    index_column = INDEX_COLUMN
    while index_column in columns:
        index_column += "_"
    cell = _harmless if escape else _cell
    buffer = io.StringIO()
    csv.writer(buffer).writerow([index_column, *map(cell, map(_quoted, columns))])
    yield buffer.getvalue().encode()
    async for stretch in jobs.values(actor, job_id, start=start):
        yield await asyncio.to_thread(_table, stretch, tuple(columns), cell)


def _columns(stretch: Stretch) -> dict[str, None]:
    found: dict[str, object] = {}
    for _, row in _rows(_numbered(stretch)):
        found.update(row)
    return dict.fromkeys(found)


def _quoted(name: str) -> Raw:
    return Raw(orjson.dumps(name))


def _table(stretch: Stretch, columns: Sequence[str], cell: Callable[[Raw | None], object]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(
        [index, *[cell(row.get(column)) for column in columns]]
        for index, row in _rows(_numbered(stretch))
    )
    return buffer.getvalue().encode()


def _numbered(stretch: Stretch) -> Iterable[tuple[int, bytes]]:
    return enumerate(stretch.ndjson.splitlines(), stretch.start)


def _rows(lines: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, dict[str, Raw]]]:
    """Cut values apart, but for what is in their cells: no number goes through a float."""
    for index, line in lines:
        text = line.strip()
        try:
            rows = _cut(text)
        except (msgspec.DecodeError, RecursionError):  # e.g. half of a surrogate pair in a name
            rows = None
        if rows is None:
            yield index, {VALUE_COLUMN: Raw(text)}
        else:
            for row in rows:
                yield index, row


def _cut(text: bytes) -> list[dict[str, Raw]] | None:
    """Return the rows of a value; None if it is neither an object, a list of these, nor null."""
    match text[:1]:
        case b"{":
            return [_members(text)]
        case b"[":
            try:
                return _records(text) or None
            except msgspec.ValidationError:  # there is something else in it
                return None
        case b"n":
            return [{}]
        case _:
            return None


def _cell(value: Raw | None) -> str | None:
    """Write a cell: text as it is, nothing for null, and JSON as the function gave it."""
    if value is None:
        return None
    text = bytes(value)
    match text[:1]:
        case b'"':
            try:
                return _text(text)
            except (
                msgspec.DecodeError
            ):  # half of a surrogate pair, which has no UTF-8 form: as JSON
                return text.decode()
        case b"n":
            return None
        case _:
            return text.decode()


def _harmless(value: Raw | None) -> str | None:
    """Make a cell of which no spreadsheet takes a text for a formula.

    Source: OWASP, "CSV Injection" (the characters; the apostrophe makes the rest text).
    """
    cell = _cell(value)
    is_text = value is not None and bytes(value).startswith(b'"')
    return f"'{cell}" if is_text and cell is not None and cell.startswith(_FORMULA) else cell
