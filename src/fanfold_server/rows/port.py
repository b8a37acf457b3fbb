"""The ports between the use cases and the users' rows.

Services import this module and nothing else of `rows`. Rows themselves never pass through here:
they leave as files (`Rowset.path`) that the engine hands to the workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from fanfold_server.model.rows import DataFormat, Query, Rowset, TableInfo


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
        UnknownSource: there is no database of this name.
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
        values becomes a group: if a value has several runs, all keys get the running number of
        their group from 1 (`versicolor_8`). With `order_within`, groups stay whole and the rows of
        each are sorted.
        """
        ...

    async def release(self, rowset: Rowset) -> None:
        """Delete the files of a rowset; harmless when they are gone."""
        ...


class Tables(Protocol):
    """Keeps the tables of the embedded database. Names are matched without regard to case."""

    async def load(
        self, owner: str, name: str, data: Path, form: DataFormat, *, append: bool = False
    ) -> TableInfo:
        """Make a table of a file, in place of one of that name, whole or not at all.

        Raises:
            InvalidTable: the file is not in that form; says where.
        """
        ...

    async def listing(self, readable: Sequence[tuple[str, str | None]]) -> list[TableInfo]:
        """List tables by owner and name; a name of None means all of that owner's."""
        ...

    async def preview(self, owner: str, name: str, *, rows: int) -> bytes:
        """Give the first rows as a JSON array of objects."""
        ...

    async def drop(self, owner: str, name: str) -> None:
        """Delete a table. Raises UnknownTable."""
        ...
