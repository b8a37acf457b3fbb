"""Waking those who wait for a job; `store.port` exports it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol


class Signal(StrEnum):
    """What happened to a job.

    READY: batches may be claimed, and were not by the same commit. RECORDED: a batch is finished.
    ENDED: it has reached a final state or is gone. TABLE: it has, with a result that is to become a
    table. DUE: somebody is to be told of its end; comes without the job.
    """

    READY = "ready"
    RECORDED = "recorded"
    ENDED = "ended"
    TABLE = "table"
    DUE = "due"


class Signals(Protocol):
    """Wakes those who wait, in this process and in others over the same database.

    A signal comes after the change can be seen. It may come twice, or late, or be lost with a
    connection: whoever waits looks for himself now and then.
    """

    def subscribe(self, take: Callable[[Signal, str], None]) -> Callable[[], None]:
        """Call `take(signal, job)` in the event loop, until the returned function is called."""
        ...
