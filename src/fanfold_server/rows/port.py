"""The ports between the use cases and the users' rows.

Services import this module and nothing else of `rows`. Rows themselves never pass through here:
they leave as files (`Rowset.path`) that the engine hands to the workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fanfold_server.model.data_source import SourceAccess
from fanfold_server.model.rows import ColumnType, DataFormat, Query, Rowset, TableInfo


class RowSource(Protocol):
    """Answers queries with rowsets.

    Guarantees: a query reads the tables of `reader` and what was granted to `reader`, and nothing
    else; it writes nothing; it ends at its time limit, and when the awaiting task is cancelled.
    A rowset's file is private to this process's user until it is released.

    `reader` is an account's name in upper case.

    Every method raises:
        InvalidQuery: not exactly one SELECT, or it cannot be bound; says what is wrong.
        UnknownTable: names a table that is not there or not granted (the same answer for both).
        UnknownColumn: names a column and what columns there are.
        UnknownSource: there is no database of this name, or it is not granted (the same answer).
        SourceUnavailable: the database cannot be reached, or went away.
        UnsupportedColumn: names a column whose type cannot be carried.
        QueryTimedOut, QueryTooLarge: a limit was hit; names it.
        DataUnavailable: the data process is away; the request may be sent again.
    """

    async def whole(self, query: Query, *, reader: str) -> Rowset:
        """Give all rows to one call, in the query's order."""
        ...

    async def chunks(self, query: Query, *, reader: str, rows: int) -> Rowset:
        """Cut the rows, in the query's order, into calls of `rows` ≥ 1; the last may have fewer."""
        ...

    async def groups(
        self,
        query: Query,
        *,
        reader: str,
        by: Sequence[str],
        order: Sequence[str] = (),
        order_within: bool = False,
    ) -> Rowset:
        """Give each group of equal values in the columns `by` to a call of its own.

        Nulls are equal to one another. Names are matched without regard to case. Without `order`
        groups come in ascending order of their values, nulls last, and rows within a group as the
        query gives them. With `order` the input is sorted by it first, and every run of equal
        values becomes a group: if a value has several runs, all keys are numbered, the runs of each
        value from 1 (`versicolor_8`). With `order_within`, groups stay whole and the rows of each
        are sorted.
        """
        ...

    async def release(self, rowset: Rowset) -> None:
        """Delete the files of a rowset; harmless when they are gone."""
        ...


class Catalog(Protocol):
    """Knows which tables an account may read; the store keeps it."""

    async def readable(
        self, reader: str, names: Sequence[tuple[str | None, str]]
    ) -> Sequence[TableInfo]:
        """Find tables by (owner or None, name), without regard to case.

        Without an owner it is the reader's own, else a global one. What is not there, or not
        granted, is left out.
        """
        ...


class Directory(Protocol):
    """Knows the databases of others, and who may use which; the use cases keep it."""

    async def default(self, reader: str) -> str | None:
        """Name the database that a query of `reader` is for if it says none; None: our own."""
        ...

    async def access(self, reader: str, name: str) -> SourceAccess:
        """Give what it takes to read a database.

        Raises:
            UnknownSource: there is none of this name (in upper case), or it is not granted.
            SourceUnavailable: its password cannot be had.
        """
        ...


class Probe(Protocol):
    """Tries whether a database lets us in."""

    async def probe(self, access: SourceAccess) -> None:
        """Connect, begin as for a query, and hang up. Raises SourceUnavailable."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A new file of a table, which nothing names yet."""

    file: str
    rows: int
    columns: tuple[ColumnType, ...]
    size_bytes: int


class TableFiles(Protocol):
    """Makes and reads the files of tables. A file never changes; a query that has it open goes on.

    Every method raises DataUnavailable when the data process is away.
    """

    def incoming(self) -> Path:
        """Name a file that is not there yet, on the disk of the tables and for us alone."""
        ...

    async def build(self, data: Path, form: DataFormat, *, charset: str | None = None) -> Built:
        """Make a table's file of what was sent; it is on the disk when this returns.

        Args:
            data: the file that was sent.
            form: what is in it.
            charset: of text, a key of `CHARSETS`; None: what a byte order mark says, else UTF-8.

        Raises:
            InvalidTable: the data is not in that form; says where.
            QueryTooLarge, QueryTimedOut: a limit was hit.
        """
        ...

    async def preview(self, file: str, *, rows: int) -> bytes:
        """Give the first rows as a JSON array of objects."""
        ...

    async def discard(self, file: str) -> None:
        """Delete a file; harmless when it is gone."""
        ...
