"""What must be remembered of who did what; `port.py` says what every method guarantees."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from fanfold_server.model.audit import AuditEntry, AuditFilter


class AuditStore(Protocol):
    """Entries, in the order in which they came. None is ever changed."""

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Add entries after all that there are."""
        ...

    async def entries(
        self, which: AuditFilter, *, limit: int, below: int | None = None
    ) -> list[tuple[int, AuditEntry]]:
        """Give the newest entries that match, with their numbers, newest first.

        Args:
            which: all of it has to match.
            limit: at most so many.
            below: only those with smaller numbers.
        """
        ...

    async def forget_before(self, moment: datetime) -> None:
        """Delete what is older."""
        ...
