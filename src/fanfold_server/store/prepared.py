"""Statements whose text is made once: what runs for every job goes to the driver without a detour.

Used in the writer's thread. SQLAlchemy writes the text for either database and knows how values are
kept; but to run even the smallest statement it takes about 80 µs, ten times what SQLite takes for
it, and a job needs a dozen of them. Here the text, the order of its parameters and the conversions
are kept, and the driver's own connection is used, within the transaction that is under way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Delete, Insert, Select, Update
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

Convert = Callable[[Any], Any]
Parameters = Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class _Text:
    """A statement for one database and for lists of certain lengths.

    Attributes:
        names: of the parameters, in the order of the text.
        keeping: places of those whose value is kept otherwise than it is given, and how.
        is_positional: whether the driver takes them in this order, or by name.
        constants: parameters that the statement itself has values for.
        lists: names of the elements of those parameters that are lists; of pairs, a list each.
        row: makes a row with named columns.
        types: of the columns.
        conversions: places of columns that are kept otherwise than they are given, once known.
    """

    sql: str
    names: Sequence[str]
    keeping: Sequence[tuple[int, Convert]]
    is_positional: bool
    constants: Parameters
    lists: Mapping[str, Sequence[str]]
    row: Callable[[Sequence[Any]], Any]
    dialect: Dialect
    types: Sequence[TypeEngine[Any]]
    conversions: Sequence[tuple[int, Convert]] | None = None

    def bound(self, parameters: Parameters) -> Any:
        """Return what the driver is given."""
        if self.constants or self.lists:
            parameters = self._whole(parameters)
        values = [parameters[name] for name in self.names]
        for place, convert in self.keeping:
            values[place] = convert(values[place])
        return values if self.is_positional else dict(zip(self.names, values, strict=True))

    def _whole(self, parameters: Parameters) -> Parameters:
        """Add what the statement has itself, and the elements of lists one by one."""
        values = {**self.constants, **parameters}
        for name, elements in self.lists.items():
            given = list(parameters[name])
            flat = [part for one in given for part in one] if _is_pairs(given) else given
            # The text may be for a few more: the last one again changes nothing.
            step = len(flat) // len(given)
            flat += flat[-step:] * ((len(elements) - len(flat)) // step)
            values.update(zip(elements, flat, strict=True))
        return values

    def rows(self, cursor: Any) -> list[Any]:
        """Fetch rows, and give names to their columns."""
        found = cursor.fetchall()
        if not found:
            return []
        if self.conversions is None:
            # The driver's word for a column's type is known from its first answer on.
            self.conversions = [
                (place, convert)
                for place, (type_, told) in enumerate(
                    zip(self.types, cursor.description, strict=True)
                )
                if (
                    convert := type_.dialect_impl(self.dialect).result_processor(
                        self.dialect, told[1]
                    )
                )
            ]
        if self.conversions:
            found = [self._converted(row, self.conversions) for row in found]
        return list(map(self.row, found))

    @staticmethod
    def _converted(row: Sequence[Any], conversions: Sequence[tuple[int, Convert]]) -> list[Any]:
        values = list(row)
        for place, convert in conversions:
            values[place] = convert(values[place])
        return values


class Prepared:
    """A statement that runs often.

    Args:
        statement: its parameters are named, or lists (`expanding`), which are never empty.
        columns: those that an INSERT gives values for.
    """

    def __init__(
        self, statement: Select[Any] | Insert | Update | Delete, columns: Sequence[str] = ()
    ) -> None:
        self._statement = statement
        self._columns = list(columns)
        self._texts: dict[tuple[str, tuple[int, ...]], _Text] = {}
        self._lists: tuple[str, ...] | None = None

    def run(self, connection: Connection, parameters: Parameters) -> None:
        """Run it once."""
        text = self._text(connection, parameters)
        driver = driver_of(connection)
        try:
            driver.execute(text.sql, text.bound(parameters))
        except driver_error(connection) as exc:
            raise translated(connection, text.sql, exc) from exc

    def run_each(self, connection: Connection, parameters: Sequence[Parameters]) -> None:
        """Run it for each of several parameters; not for lists."""
        if len(parameters) == 1:
            self.run(connection, parameters[0])
            return
        text = self._text(connection, parameters[0])
        cursor = driver_of(connection).cursor()
        try:
            cursor.executemany(text.sql, list(map(text.bound, parameters)))
        except driver_error(connection) as exc:
            raise translated(connection, text.sql, exc) from exc
        finally:
            cursor.close()

    def rows(self, connection: Connection, parameters: Parameters) -> list[Any]:
        """Run it once and return its rows, each with its columns as attributes."""
        text = self._text(connection, parameters)
        driver = driver_of(connection)
        try:
            return text.rows(driver.execute(text.sql, text.bound(parameters)))
        except driver_error(connection) as exc:
            raise translated(connection, text.sql, exc) from exc

    def _text(self, connection: Connection, parameters: Parameters) -> _Text:
        dialect = connection.dialect
        if self._lists == ():
            text = self._texts.get((dialect.name, ()))
            if text is not None:
                return text
        if self._lists is None:
            binds = self._compiled(dialect).binds
            self._lists = tuple(name for name, bind in binds.items() if bind.expanding)
        lengths = tuple(_length(parameters[name]) for name in self._lists)
        text = self._texts.get((dialect.name, lengths))
        if text is None:
            text = self._made(dialect, dict(zip(self._lists, lengths, strict=True)), parameters)
            self._texts[dialect.name, lengths] = text
        return text

    def _compiled(self, dialect: Dialect) -> SQLCompiler:
        compiled = self._statement.compile(dialect=dialect, column_keys=self._columns or None)
        assert isinstance(compiled, SQLCompiler)
        return compiled

    def _made(self, dialect: Dialect, lengths: Mapping[str, int], parameters: Parameters) -> _Text:
        compiled = self._compiled(dialect)
        samples = {name: [next(iter(parameters[name]))] * n for name, n in lengths.items()}
        needed = {name: None for name, bind in compiled.binds.items() if bind.required}
        state = compiled.construct_expanded_state({**needed, **samples})
        kept = {
            name: _keeping(bind.type, dialect)
            for name, bind in compiled.binds.items()
            if not bind.expanding
        }
        convert = {**kept, **state.processors}
        names = state.positiontup if compiled.positional else list(state.parameters)
        assert names is not None
        columns = _columns(self._statement)
        return _Text(
            sql=state.statement,
            names=names,
            keeping=[
                (place, keep)
                for place, name in enumerate(names)
                if (keep := convert.get(name)) is not None
            ],
            is_positional=compiled.positional,
            constants={
                name: bind.effective_value
                for name, bind in compiled.binds.items()
                if not bind.required and not bind.expanding
            },
            lists=state.parameter_expansion,
            row=_row_type([name for name, _ in columns]),
            dialect=dialect,
            types=[type_ for _, type_ in columns],
        )


def driver_of(connection: Connection) -> Any:
    """Return the driver's own connection."""
    return connection.connection.driver_connection


def driver_error(connection: Connection) -> type[Exception]:
    """Return the class of all of the driver's errors."""
    error: type[Exception] = connection.dialect.loaded_dbapi.Error
    return error


def translated(connection: Connection, sql: str, exc: Exception) -> Exception:
    """Write an error of the driver's as SQLAlchemy does."""
    dialect = connection.dialect
    is_lost = dialect.is_disconnect(exc, driver_of(connection), None)  # type: ignore[arg-type]
    return DBAPIError.instance(
        sql, None, exc, driver_error(connection), connection_invalidated=is_lost, dialect=dialect
    )


def _length(values: Sequence[Any]) -> int:
    """Round up, so that there are few texts."""
    assert values, "a list of a statement is never empty"
    return 1 << (len(values) - 1).bit_length()


def _is_pairs(values: Sequence[Any]) -> bool:
    return isinstance(values[0], tuple)


def _keeping(type_: TypeEngine[Any], dialect: Dialect) -> Convert | None:
    return type_.dialect_impl(dialect).bind_processor(dialect)


def _row_type(names: Sequence[str]) -> Callable[[Sequence[Any]], Any]:
    """Make the type of a statement's rows; its `_make` is the quickest way to one."""
    type_: Any = NamedTuple("Row", [(name, Any) for name in names])  # type: ignore[misc]
    make: Callable[[Sequence[Any]], Any] = type_._make
    return make


def _columns(
    statement: Select[Any] | Insert | Update | Delete,
) -> list[tuple[str, TypeEngine[Any]]]:
    """Name what a statement gives back."""
    return [(column.name, column.type) for column in statement.exported_columns]
