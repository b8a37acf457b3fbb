"""What functions ask while they run: rows, here; and whatever else has its own answers.

A function asks as the caller of its run, and is given what that account could have by a request of
its own. What it says comes from a hostile process: the members of each verb are read strictly.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import msgspec
import orjson

from fanfold_server.engine.port import Ask, Reply, Work
from fanfold_server.model.errors import AskRefused, DataUnavailable, InvalidField, UnknownTable
from fanfold_server.model.rows import Query, Rowset, TableInfo
from fanfold_server.rows.port import RowSource
from fanfold_server.store.port import JobNotes, TableStore

T = TypeVar("T")

Verb = Callable[[Work, Ask], Awaitable[Reply]]
"""Answers one kind of ask; raises what `Answerer.answer` does."""

MAX_COMMENT_LINES = 100
MAX_COMMENT_LENGTH = 4_000
"""Of a job's comments; as many characters as a submission may bring."""

_BARE_NAME = re.compile(r'\s*(?:[\w$#]+|"[^"]+")(?:\.(?:[\w$#]+|"[^"]+"))?\s*')


class RowsAsked(msgspec.Struct, forbid_unknown_fields=True):
    """Members of the asks for rows: a table (and its owner) or a query.

    What becomes of the texts is checked where every query is: by the gate, as a whole.

    Attributes:
        limit: that many rows at most; None: all.
        count: also how many rows there are.
    """

    table: str | None = None
    schema: str | None = None
    query: str | None = None
    limit: int | None = None
    count: bool = False

    @property
    def text(self) -> str:
        """The SELECT statement."""
        if self.query is None:
            owner = "" if self.schema is None else f"{_quoted(self.schema)}."
            text = f"SELECT * FROM {owner}{_quoted(self.table or '')}"  # noqa: S608  # gated
        else:
            text = self.query
        return text if self.limit is None else self.around("*") + f" LIMIT {self.limit:d}"

    def around(self, columns: str) -> str:
        """Write a SELECT from this one, without its limit."""
        whole = msgspec.structs.replace(self, limit=None).text.strip().rstrip(";")
        source = whole if _BARE_NAME.fullmatch(whole) else f"(\n{whole}\n)"
        return f"SELECT {columns} FROM {source} AS asked"  # noqa: S608  # gated


class CommentAsked(msgspec.Struct, forbid_unknown_fields=True):
    """Members of the ask to add to a job's comments."""

    lines: list[str]


class Asking:
    """Answers what functions ask; the `Answerer` of the engine.

    Args:
        rows: answers queries; None: there is nothing to query.
        tables: knows which tables an account may read.
        notes: takes the comments of jobs.
        further: more verbs, by name.
    """

    def __init__(
        self,
        *,
        rows: RowSource | None,
        tables: TableStore,
        notes: JobNotes,
        further: Mapping[str, Verb],
    ) -> None:
        self._rows = rows
        self._tables = tables
        self._notes = notes
        self._verbs: dict[str, Verb] = {
            "rows": self._give_rows,
            "shape": self._tell_shape,
            "tables": self._list_tables,
            "comment": self._comment,
            **further,
        }

    async def answer(self, work: Work, ask: Ask) -> Reply:
        """Answer an ask with the rights of the run's caller.

        Raises:
            AskRefused, InvalidField: it is none of ours.
            FanfoldError: as the verb says.
        """
        verb = self._verbs.get(ask.verb)
        if verb is None:
            raise AskRefused(f"There is nothing that answers to {ask.verb[:40]!a}.")
        return await verb(work, ask)

    async def _give_rows(self, work: Work, ask: Ask) -> Reply:
        asked = _rows_asked(ask)
        return Reply(file=await self._rowset(asked.text, work.caller, _open))

    async def _tell_shape(self, work: Work, ask: Ask) -> Reply:
        """Tell the columns, and how many rows there are if that is asked."""
        asked = _rows_asked(ask)
        if asked.table is not None:
            table = await self._table(asked, work.caller)
            told: dict[str, object] = {"columns": [column.name for column in table.columns]}
            rows = table.rows
        else:
            names = await self._rowset(asked.around("*") + " LIMIT 0", work.caller, _columns)
            told = {"columns": names}
            rows = 0
            if asked.count:
                # Nothing here reads rows; but how many there are is known of all that were given.
                rows = await self._rowset(asked.around("1 AS one"), work.caller, _count)
        if asked.count:
            told["rows"] = rows if asked.limit is None else min(rows, asked.limit)
        return Reply(json=orjson.dumps(told))

    async def _list_tables(self, work: Work, ask: Ask) -> Reply:
        _ = ask
        listing = await self._tables.listing(work.caller)
        tables = [{"owner": table.owner, "name": table.name} for table in listing]
        return Reply(json=orjson.dumps({"me": work.caller, "tables": tables}))

    async def _comment(self, work: Work, ask: Ask) -> Reply:
        """Add to the comments of the job that runs; without a job nobody keeps them."""
        asked = read_members(ask, CommentAsked)
        if work.job is not None:
            await self._notes.comment(
                work.job,
                [line for text in asked.lines for line in text.split("\n")],
                max_lines=MAX_COMMENT_LINES,
                max_length=MAX_COMMENT_LENGTH,
            )
        return Reply()

    async def _table(self, asked: RowsAsked, reader: str) -> TableInfo:
        owner = None if asked.schema is None else asked.schema.upper()
        found = await self._tables.find(asked.table or "", reader=reader, owner=owner)
        if found is None:
            raise UnknownTable(
                f'There is no table "{asked.table}" that you may use.', table=asked.table
            )
        return found

    async def _rowset(self, text: str, reader: str, take: Callable[[Rowset], T]) -> T:
        if self._rows is None:
            raise DataUnavailable("There is no data to query here.")
        rows = await self._rows.whole(Query(text=text), reader=reader)
        try:
            return take(rows)
        finally:
            await self._rows.release(rows)


def read_members(ask: Ask, kind: type[T]) -> T:
    """Read what comes with an ask. Raises InvalidField."""
    try:
        return msgspec.convert(ask.members, kind)
    except msgspec.ValidationError as exc:
        raise InvalidField(f"What is asked for is not right: {exc}.") from exc


def _rows_asked(ask: Ask) -> RowsAsked:
    asked = read_members(ask, RowsAsked)
    if (asked.table is None) == (asked.query is None):
        raise InvalidField('Rows are asked for with one of "table" and "query".')
    if asked.limit is not None and not 0 <= asked.limit < 1 << 63:
        raise InvalidField('"limit" has to be 0 or more.', field="limit")
    texts = (asked.table, asked.schema, asked.query)
    if any("\0" in text for text in texts if text is not None):
        raise InvalidField("A name or a query holds a NUL.")
    return asked


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _open(rows: Rowset) -> int:
    return os.open(rows.path, os.O_RDONLY | os.O_CLOEXEC)


def _columns(rows: Rowset) -> list[str]:
    return list(rows.columns)


def _count(rows: Rowset) -> int:
    return rows.rows
