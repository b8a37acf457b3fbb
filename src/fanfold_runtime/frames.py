"""`oml.DataFrame`: rows that are still with the server, or that are here already.

A frame that stands for a table or a query asks for nothing until it is looked into; what it then
gives is read anew each time, with the rights of the run's caller.
"""

from __future__ import annotations

from typing import Any

from fanfold_runtime import protocol as p
from fanfold_runtime.asking import NotAvailable, ask
from fanfold_runtime.rows import NoArrow, Rows

_HEAD = 5


class DataFrame:
    """Rows of a table, of a query, or of an object that was pushed; see `oml.sync`, `oml.push`."""

    __module__ = "oml"

    def __init__(self, data: Any = None, **asked: Any) -> None:
        self._asked = asked
        self._local: Any = None
        if isinstance(data, DataFrame):
            self._asked, self._local = dict(data._asked), data._local  # noqa: SLF001  # its own kind
        elif data is not None:
            self._local = _frame_of(data)
        elif not asked:
            raise TypeError("oml.DataFrame needs data: a DataFrame of pandas, a list or a dict")

    def pull(self, **_: Any) -> Any:
        """Return the rows as a DataFrame of pandas, the caller's own."""
        if self._local is not None:
            return self._local.copy()
        _, file = ask("rows", **self._asked)
        assert file is not None, "rows come as a file"
        try:
            rows = Rows([file], p.AS_FRAME)
        except NoArrow as exc:
            raise NotAvailable(str(exc)) from None
        try:
            return rows.of(0)
        finally:
            rows.close()

    def head(self, n: int = _HEAD) -> DataFrame:
        """Return the first `n` rows."""
        if self._local is not None:
            return DataFrame(self._local.head(n))
        limit = self._asked.get("limit")
        n = max(0, int(n))
        return DataFrame(**dict(self._asked, limit=n if limit is None else min(n, limit)))

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        if self._local is not None:
            return list(self._local.columns)
        names: list[str] = self._told()["columns"]
        return names

    @property
    def shape(self) -> tuple[int, int]:
        """How many rows and columns there are."""
        if self._local is not None:
            rows, columns = self._local.shape
            return rows, columns
        told = self._told(count=True)
        return told["rows"], len(told["columns"])

    def __len__(self) -> int:
        return self.shape[0]

    def _told(self, **more: Any) -> dict[str, Any]:
        told, _ = ask("shape", **dict(self._asked, **more))
        found: dict[str, Any] = told
        return found

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise NotAvailable(
            "oml.DataFrame.%s is not available: pull() gives a DataFrame of pandas, which has it"
            % name
        )

    def __getitem__(self, _: Any) -> Any:
        raise NotAvailable(
            "oml.DataFrame[...] is not available: pull() gives a DataFrame of pandas, which has it"
        )

    def __iter__(self) -> Any:
        raise NotAvailable("an oml.DataFrame cannot be walked through: pull() its rows")

    def __repr__(self) -> str:
        if self._local is not None:
            return "<oml.DataFrame of %d rows>" % len(self._local)
        return "<oml.DataFrame, %s>" % (self._asked.get("query") or self._asked.get("table"))


def _frame_of(data: Any) -> Any:
    try:
        import pandas
    except ImportError as exc:
        raise NotAvailable("oml.DataFrame needs pandas, which this environment lacks") from exc
    return pandas.DataFrame(data).copy()


def sync(
    schema: str | None = None,
    regex_match: bool = False,
    table: str | None = None,
    view: str | None = None,
    query: str | None = None,
) -> Any:
    """Return a frame that stands for a table or a query; with `regex_match` a dict of them.

    Args:
        schema: the owner of the table; None: one's own, else the one for everyone.
        regex_match: `table` is a regular expression for whole names.
    """
    given = [text for text in (table, view, query) if text is not None]
    if len(given) != 1 or not isinstance(given[0], str):
        raise ValueError("oml.sync needs one of table, view and query, a text")
    if query is not None:
        if schema is not None or regex_match:
            raise ValueError("oml.sync(query=…) goes without schema and regex_match")
        return DataFrame(query=query)
    if not regex_match:
        return DataFrame(table=given[0], schema=schema)
    import re

    told, _ = ask("tables")
    mine = [each for each in told["tables"] if _is_of(each, schema, told["me"])]
    return {
        each["name"]: DataFrame(table=each["name"], schema=each["owner"])
        for each in mine
        if re.fullmatch(given[0], each["name"])
    }


def _is_of(table: dict[str, str], schema: str | None, me: str) -> bool:
    return table["owner"] == (me if schema is None else schema.upper())


def push(x: Any, oranumber: bool = True, dbtypes: Any = None) -> DataFrame:
    """Return a frame of an object's rows, which stay here: nothing is stored anywhere."""
    _ = oranumber, dbtypes  # types of a database that is not there
    return DataFrame(x)
