"""Read the names of columns in `groupBy` and `orderBy`."""

from __future__ import annotations

import json
import re
from typing import Final

from fanfold_server.model.errors import InvalidField

_COLUMN: Final = re.compile(r'(?:\s*"((?:[^"]|"")*)"\s*|([^,]*))(,|\Z)')
"""A name in quotes, which may hold commas; or what there is up to the next comma."""


def column_names(member: str, text: str) -> tuple[str, ...]:
    """Read names of columns, separated by commas; quotes of SQL around a name are taken off.

    Raises:
        InvalidField: a name is empty.
    """
    if not text.strip():
        return ()
    names = []
    at, is_last = 0, False
    while not is_last:
        found = _COLUMN.match(text, at)
        assert found is not None  # the last alternative takes anything
        quoted, plain, end = found.groups()
        name = plain.strip() if quoted is None else quoted.replace('""', '"')
        if not name:
            raise InvalidField(
                f'The member "{member}" should be names of columns, separated by commas; it is '
                f"{json.dumps(text)[:80]}.",
                field=member,
            )
        names.append(name)
        at, is_last = found.end(), not end
    return tuple(names)
