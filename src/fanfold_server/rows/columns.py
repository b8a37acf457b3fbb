"""Names of columns: what a query gives, and what a request means by them."""

from __future__ import annotations

from collections.abc import Sequence

from fanfold_server.model.errors import InvalidQuery, UnknownColumn


def check_columns(columns: Sequence[str]) -> None:
    """Refuse names that occur twice: a function could not tell them apart.

    Raises:
        InvalidQuery: names one of them.
    """
    seen: set[str] = set()
    for column in columns:
        if column in seen:
            raise InvalidQuery(
                f'The query gives two columns named "{column}"; name one of them anew with AS.'
            )
        seen.add(column)


def resolve(columns: Sequence[str], wanted: Sequence[str], member: str) -> list[str]:
    """Find columns by name, without regard to case unless that is needed to tell them apart.

    Raises:
        UnknownColumn: names it, and what there is.
    """
    found = []
    for name in wanted:
        same = [column for column in columns if column == name]
        alike = same or [column for column in columns if column.lower() == name.lower()]
        if not alike:
            shown = ", ".join(columns[:100]) or "none"
            raise UnknownColumn(
                f'"{member}" names the column "{name}", which the query does not give; '
                f"it gives: {shown}.",
                column=name,
            )
        found.append(alike[0])
    return found
