"""The shapes of bodies about tables."""

from typing import Annotated, Self

from pydantic import Field

from fanfold_server.http.answers import AnswerBody
from fanfold_server.http.schemas import iso_ms
from fanfold_server.model.rows import TableInfo


class ColumnOut(AnswerBody):
    """A column of a table."""

    name: str
    type: Annotated[str, Field(description="SQL's name of it, such as DOUBLE.")]


class TableOut(AnswerBody):
    """A table."""

    name: Annotated[str, Field(description="Matched without regard to case.")]
    owner: Annotated[
        str, Field(description="An account in upper case; PYQSYS for a table for everyone.")
    ]
    rows: int
    columns: list[ColumnOut]
    size_bytes: Annotated[int, Field(description="What it takes on the server's disk.")]
    created: Annotated[
        str, Field(description="When these rows were loaded: UTC, ISO 8601 with milliseconds.")
    ]

    @classmethod
    def of(cls, table: TableInfo) -> Self:
        """Describe a table."""
        return cls(
            name=table.name,
            owner=table.owner,
            rows=table.rows,
            columns=[ColumnOut(name=column.name, type=column.type) for column in table.columns],
            size_bytes=table.size_bytes,
            created=iso_ms(table.created),
        )


class TableList(AnswerBody):
    """Tables that the caller may read, the caller's own first."""

    tables: list[TableOut]
