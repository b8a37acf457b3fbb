"""Rowsets written by pyarrow itself, as a `RowSource` leaves them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa

from fanfold_server.model.rows import Rowset


def write_rowset(
    folder: Path,
    table: Any,
    *,
    offsets: Sequence[int] | None = None,
    keys: Sequence[str] | None = None,
    batch_rows: int = 7,
) -> Rowset:
    """Write a rowset of an Arrow table.

    Args:
        offsets: where the calls begin, and the last one's end; None: one call with all rows.
        batch_rows: rows of a record batch, few, so that calls cross its edges.
    """
    stem = uuid4().hex
    path = folder / f"{stem}.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=batch_rows)
    path.chmod(0o400)
    cut = None
    if offsets is not None:
        cut = folder / f"{stem}.offsets"
        cut.write_bytes(array("Q", offsets).tobytes())
        cut.chmod(0o400)
    return Rowset(
        path=path,
        rows=table.num_rows,
        columns=tuple(table.column_names),
        size_bytes=path.stat().st_size,
        offsets=cut,
        keys=None if keys is None else tuple(keys),
        calls=1 if offsets is None else len(offsets) - 1,
    )
