"""Workers that still compute what nobody wants: for a moment, then they are killed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from fanfold_server.engine.worker import State, Worker

DRAIN_S = 0.1
"""How long a worker may still compute what nobody wants before it is killed."""


class Draining:
    """The workers whose run has ended early; one that returns in time is used again."""

    def __init__(self) -> None:
        self._workers: set[Worker] = set()
        self._loop = asyncio.get_running_loop()

    def begin(self, workers: Iterable[Worker]) -> None:
        """Give the busy ones among the workers a moment from now on."""
        until = time.monotonic() + DRAIN_S
        for worker in workers:
            if worker.state is State.BUSY:
                worker.state = State.DRAINING
                worker.drain_until = until
                self._workers.add(worker)
        if self._workers:
            self._loop.call_later(DRAIN_S, self._kill)

    def forget(self, worker: Worker) -> None:
        """It has returned, or has ended."""
        self._workers.discard(worker)

    def _kill(self) -> None:
        now = time.monotonic()
        for worker in list(self._workers):
            if now >= worker.drain_until - 0.001:
                self._workers.discard(worker)
                worker.pool.end(worker)
