"""`Signals` within a process, and between those that share a PostgreSQL."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from fanfold_server.store.port import Signal

Take = Callable[[Signal, str], None]

CHANNEL = "fanfold_jobs"
"""PostgreSQL's channel; a payload is `signal:job`."""

RECONNECT_S = 0.5
"""How long a listener waits before it tries again. Signals of that time are lost."""

_log = logging.getLogger("fanfold_server.store")


class Hub:
    """`Signals`: whoever subscribes is told what is told to the hub."""

    def __init__(self) -> None:
        self._takers: dict[object, Take] = {}

    def subscribe(self, take: Take) -> Callable[[], None]:
        key = object()
        self._takers[key] = take
        return lambda: self._takers.pop(key, None) and None

    def tell(self, signals: Sequence[tuple[Signal, str]]) -> None:
        """Pass signals on; in the event loop."""
        for take in list(self._takers.values()):
            for signal, job in signals:
                take(signal, job)


def payload(signal: Signal, job: str) -> str:
    """Write a signal as a payload."""
    return f"{signal}:{job}"


class Listener:
    """Hears what other processes notify, for as long as it runs.

    Args:
        engine: gives a connection of its own; disposed of by `close`.
        tell: called with the signals.
    """

    def __init__(
        self, engine: AsyncEngine, tell: Callable[[Sequence[tuple[Signal, str]]], None]
    ) -> None:
        self._engine = engine
        self._tell = tell
        self._heard = asyncio.Event()
        self._complained = False
        self._task = asyncio.create_task(self._run(), name="fanfold-listener")

    async def ready(self) -> None:
        """Wait until signals are heard."""
        await self._heard.wait()

    async def close(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self._engine.dispose()

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except (SQLAlchemyError, OSError) as exc:
                self._complain(exc)
            except Exception as exc:
                # The driver's own errors, without importing the driver: it is an extra.
                if not hasattr(exc, "sqlstate"):
                    raise
                self._complain(exc)
            await asyncio.sleep(RECONNECT_S)

    async def _listen(self) -> None:
        async with self._engine.connect() as connection:
            raw = await connection.get_raw_connection()
            driver: Any = raw.driver_connection
            await driver.set_autocommit(True)
            await driver.execute(f"LISTEN {CHANNEL}")
            self._heard.set()
            self._complained = False
            try:
                async for notification in driver.notifies():
                    signal, _, job = notification.payload.partition(":")
                    self._tell([(Signal(signal), job)])
            finally:
                self._heard.clear()
                # It is not given back in order: it has died, or is closed within a wait.
                await connection.invalidate()

    def _complain(self, exc: Exception) -> None:
        """Tell of an outage once, not at every attempt."""
        if not self._complained:
            _log.warning("cannot hear other processes, trying again: %s", exc)
        self._complained = True
