"""What keeps a store from growing with what nobody needs; `store.port` exports it.

For every method the guarantees of `JobStore` hold.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Protocol


class Upkeep(Protocol):
    """Old jobs, and blobs whose job is gone or never came to be."""

    async def announce(self, job_id: str, *, until: datetime) -> None:
        """Note, before blobs are stored under it, that a job of this id is about to be submitted.

        Args:
            job_id: a new UUID.
            until: if it has not been submitted by then (with `announced`), its blobs are nobody's.
        """
        ...

    async def prune(self, *, before: datetime, now: datetime) -> list[str]:
        """Remove jobs that ended before `before`, and sources that no job needs.

        Returns:
            Ids of jobs that are gone, or were announced until before `now` and never came, and
            whose blobs may still be there; each again at every call, until it is forgotten.
        """
        ...

    async def forget(self, jobs: Collection[str], *, deleted_before: datetime) -> None:
        """Note that no blob of these jobs is left.

        Args:
            jobs: their ids.
            deleted_before: one that was deleted later is kept in mind: a stale agent may still be
                writing blobs of it.
        """
        ...
