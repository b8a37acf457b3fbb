"""Rows on their way to the server: files, and DataFrames for the time of a run."""

from __future__ import annotations

import importlib
import importlib.util
import io
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanfold import errors
from fanfold.faults import NotSendable
from fanfold.messages import RUN_LIMIT_S, Request, Steps, Upload, path

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanfold.session import Session

TABLES = "/api/v1/tables"
FORMS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".arrow": "arrow",
    ".feather": "arrow",
}
TEXT_FORMS = ("csv", "ndjson")
"""Those that have a charset."""


def request_for(
    name: str,
    data: Any,
    *,
    form: str | None = None,
    charset: str | None = None,
    is_global: bool = False,
    tell: Callable[[int], None] = lambda _: None,
) -> Request:
    """Write the request that loads a table.

    Args:
        data: a file's path, or a DataFrame (pandas, or an Arrow table).
        form: csv, parquet, ndjson or arrow; by default what the file's ending says.
        charset: of a file of text; by default UTF-8, or what its byte order mark says.

    Raises:
        NotSendable: the ending says nothing, or it is neither.
    """
    body: bytes | Upload
    if isinstance(data, (str, Path)):
        file = Path(data)
        form = form or FORMS.get(file.suffix.lower())
        if form is None:
            raise NotSendable(
                f"The ending of {file.name!r} does not tell its form: say csv, parquet, ndjson or "
                "arrow."
            )
        body = Upload(file, tell)
        size = file.stat().st_size
    else:
        body, form = _written(data)
        size = len(body)
    content_type = "application/octet-stream" + (f"; charset={charset}" if charset else "")
    return Request(
        "PUT",
        path(TABLES, name),
        query={"format": form, **({"global": "true"} if is_global else {})},
        body=body,
        headers={"content-type": content_type, "content-length": str(size)},
        limit_s=RUN_LIMIT_S,
        may_repeat=True,
    )


def keep(session: Session, data: Any, charset: str | None) -> Steps[str]:
    """Load a DataFrame or a file as a table that is there for one run; give the table's name."""
    name = f"adhoc_{uuid.uuid4().hex}"
    yield from session.send(request_for(name, data, charset=charset))
    return name


def forget(session: Session, name: str) -> Steps[None]:
    """Drop such a table."""
    try:
        yield from session.send(Request("DELETE", path(TABLES, name), may_repeat=True))
    except errors.UnknownTable:
        return


def _written(data: Any) -> tuple[bytes, str]:
    """Write a DataFrame in a form that the server reads: Parquet, else CSV."""
    buffer = io.BytesIO()
    if importlib.util.find_spec("pyarrow") is not None:
        arrow = importlib.import_module("pyarrow")
        parquet = importlib.import_module("pyarrow.parquet")
        if isinstance(data, arrow.Table):
            parquet.write_table(data, buffer)
            return buffer.getvalue(), "parquet"
        if hasattr(data, "to_parquet"):
            try:
                table = arrow.Table.from_pandas(data, preserve_index=False)
            except (arrow.ArrowException, OverflowError) as exc:
                raise NotSendable(
                    f"The DataFrame has a column of values that Parquet has no one type for: {exc}."
                ) from exc
            parquet.write_table(table, buffer)
            return buffer.getvalue(), "parquet"
    if hasattr(data, "to_csv"):
        return data.to_csv(index=False).encode(), "csv"
    raise NotSendable(
        f"The data is of type {type(data).__name__}: give a query, a table's name, a file's "
        "Path, or a DataFrame."
    )
