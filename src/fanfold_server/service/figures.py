"""How the server does, for operators: its engine, its jobs, its process and its event loop."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from fanfold_server.model.metric import Durations, Family, MetricKind, Sample, counter, gauge
from fanfold_server.store.port import Ledger

EVERY_S: Final = 0.5
"""How often the event loop is asked how late it is."""


class Lag:
    """Times how late the event loop does what was to be done at a moment."""

    def __init__(self) -> None:
        self.durations = Durations()
        self._timer: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Begin; on the event loop."""
        self._await(asyncio.get_running_loop())

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _await(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(EVERY_S, self._note, loop, loop.time() + EVERY_S)

    def _note(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self.durations.note(max(loop.time() - due, 0.0))
        self._await(loop)


class Figures:
    """Collects what is said of a server.

    Args:
        version: of fanfold.
        engine: what its engine says; empty if it has none.
        ledger: what is asked for jobs.
        lag: of the event loop.
    """

    def __init__(
        self, *, version: str, engine: Callable[[], list[Family]], ledger: Ledger, lag: Lag
    ) -> None:
        self._version = version
        self._engine = engine
        self._ledger = ledger
        self._lag = lag
        self._started = time.time()

    async def collect(self) -> list[Family]:
        """Ask everybody; what is counted costs nothing until then."""
        now = datetime.now(UTC)
        queue = await self._ledger.queue(now=now)
        oldest_s = 0.0 if queue.oldest is None else (now - queue.oldest).total_seconds()
        return [
            *self._engine(),
            gauge(
                "fanfold_jobs",
                "Jobs that have not ended, of all users, by state.",
                Sample(value=queue.queued, labels=(("state", "queued"),)),
                Sample(value=queue.running, labels=(("state", "running"),)),
            ),
            gauge(
                "fanfold_job_oldest_wait_seconds",
                "Since when the oldest of the queued jobs has been there.",
                Sample(value=max(oldest_s, 0.0)),
            ),
            gauge(
                "fanfold_leases",
                "Parts of jobs that some agent runs now.",
                Sample(value=queue.leases),
            ),
            Family(
                name="fanfold_event_loop_lag_seconds",
                kind=MetricKind.HISTOGRAM,
                meaning=f"How late the event loop is, asked every {EVERY_S} s.",
                samples=tuple(self._lag.durations.samples()),
            ),
            *self._process(),
            gauge(
                "fanfold_build_info",
                "1; which fanfold runs on which Python.",
                Sample(
                    value=1,
                    labels=(
                        ("version", self._version),
                        ("python", ".".join(map(str, sys.version_info[:3]))),
                    ),
                ),
            ),
        ]

    def _process(self) -> list[Family]:
        """Describe the server's own process, without workers, under the names that all use."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return [
            counter(
                "process_cpu_seconds_total",
                "Processor time of the server's process, without its workers.",
                Sample(value=used.ru_utime + used.ru_stime),
            ),
            gauge(
                "process_resident_memory_bytes",
                "Memory of the server's process, without its workers.",
                Sample(value=pages * os.sysconf("SC_PAGE_SIZE")),
            ),
            gauge(
                "process_start_time_seconds",
                "When the server was started, since 1970.",
                Sample(value=round(self._started, 3)),
            ),
        ]
