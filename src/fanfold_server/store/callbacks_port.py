"""What must be remembered to tell of jobs' ends; `store.port` exports it.

For every method the guarantees of `JobStore` hold. The store itself writes a delivery, in the
transaction that ends a job with a `callback_url`: no end is without one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from fanfold_server.model.callback import Delivery, DeliveryState, Due, Secrets


class CallbackStore(Protocol):
    """Deliveries and what signs them."""

    async def next_due(self) -> datetime | None:
        """Tell when the next delivery that waits is due; None: none waits. Cheap."""
        ...

    async def take(self, *, limit: int, now: datetime, lease_s: float) -> list[Due]:
        """Take deliveries that are due, those that were never tried first.

        Each is due again after `lease_s`, unless `record` says otherwise before: so one whose
        taker dies is taken by another.
        """
        ...

    async def record(
        self,
        due: Due,
        state: DeliveryState,
        *,
        now: datetime,
        again: datetime,
        status: int | None = None,
        error: str | None = None,
    ) -> bool:
        """Record what came of an attempt; `again`: when it is tried again, if it waits.

        Returns:
            False, and nothing is recorded: another has taken it since, or the job is gone.
        """
        ...

    async def delivery(self, job: str) -> Delivery | None:
        """Give a job's delivery; None before its end, and of a job that calls nobody."""
        ...

    async def secrets(self, owner: str, *, new: bytes, now: datetime) -> Secrets:
        """Give an account's secrets; `new` is the first, if there is none yet."""
        ...

    async def rotate(self, owner: str, *, new: bytes, now: datetime) -> Secrets:
        """Give an account a new secret, beside which the one before stays valid for a while."""
        ...
