"""What is added to a job while it runs or after it: comments, and its result as a table.

`port.py` says what every method guarantees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fanfold_server.model.rows import TableInfo


class JobNotes(Protocol):
    """Adds to jobs what their functions say, and what becomes of their results."""

    async def comment(
        self, job_id: str, lines: Sequence[str], *, max_lines: int, max_length: int
    ) -> None:
        """Add lines to a job's comments; one that is there already is not added again.

        Nothing happens when the job is gone.

        Raises:
            QuotaExceeded: there would be more lines or characters than these; nothing is added.
        """
        ...

    async def tables_wanted(self, *, limit: int) -> list[str]:
        """List jobs that have ended with a result that is yet to be written as a table."""
        ...

    async def write_table(
        self, job_id: str, table: TableInfo, *, overwrite: bool
    ) -> tuple[bool, str | None]:
        """Name a job's table and note that it is written, both or neither; once for each job.

        Returns:
            Whether this call has done it, and the file of a table that it replaces.

        Raises:
            TableExists: there is one of that name, and it may not be overwritten.
        """
        ...

    async def refuse_table(self, job_id: str, error: str) -> None:
        """Note why a job's result is no table, if that is still open. Args: error: JSON."""
        ...
