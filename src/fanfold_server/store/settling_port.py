"""How a job ends that may end before its last call; `store.port` exports it.

Such a job does not end with its last batch, nor with a failed call (but for a canary and what fails
every call alike): somebody weighs what has finished, in index order, and settles where its end is.
For every method the guarantees of `JobStore` hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from fanfold_server.store.jobs_port import Planned


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What stays of a finished batch.

    Attributes:
        number: of the batch.
        failed: how many of the calls that stay failed.
        kept: the calls, and their outcomes under the batch's fence + 1.
    """

    number: int
    failed: int
    kept: Planned


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Where a job ends.

    Attributes:
        at: index of the last call that counts; all up to it have their outcomes.
        error: the error object with which the job fails; None: it ends well.
        cut: the batch with that call, if it does not end with it; of a job that ends well.
    """

    at: int
    error: Mapping[str, object] | None = None
    cut: Cut | None = None


class Settling(Protocol):
    """Ends jobs where somebody has found that they end."""

    async def settle(self, job_id: str, ending: Ending | None, *, now: datetime) -> bool:
        """End a job.

        A job that ends well has from then on only the calls up to its end: `times` is their number,
        `asked` what it was, and all else of it is gone, finished or not.

        Args:
            job_id: its id.
            ending: where; None: it has all its outcomes, and none of them ends it before.
            now: when it ends.

        Returns:
            False, and nothing is changed: it has ended already, or is gone.
        """
        ...

    async def unsettled(self) -> list[str]:
        """List jobs that have all their outcomes and have not ended: whoever weighed them died."""
        ...
