"""Waiting for what is recorded of one job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

from fanfold_server.store.port import Signal, Signals

LOOK_S = 1.0
"""How often a waiting reader looks for himself: a signal may be lost."""


class Bell:
    """Rings when something is recorded of one job; a wait for it is never longer than LOOK_S."""

    def __init__(self, signals: Signals, job: str) -> None:
        self._signals = signals
        self._job = job
        self._rung = asyncio.Event()
        self._unsubscribe: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        self._unsubscribe = self._signals.subscribe(self._take)
        return self

    def __exit__(self, *_: object) -> None:
        self._unsubscribe()

    def _take(self, signal: Signal, job: str) -> None:
        if job == self._job and signal is not Signal.READY:
            self._rung.set()

    async def wait(self) -> None:
        """Wait for the next ring since the last wait."""
        try:
            async with asyncio.timeout(LOOK_S):
                await self._rung.wait()
        except TimeoutError:
            return
        finally:
            self._rung.clear()
