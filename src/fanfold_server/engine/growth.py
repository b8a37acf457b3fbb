"""When more processes are started for runs that wait: at once, a little later, or ahead of them.

On the event loop's thread, like all of the engine; `local.py` calls in.
"""

from __future__ import annotations

import asyncio
import time

from fanfold_server.engine.options import EngineOptions
from fanfold_server.engine.pool import Pool
from fanfold_server.engine.pools import Pools

GROWTH_DELAY_S = 0.005
"""How long work waits for a busy worker before more processes than cores are started."""

SPARE_DELAY_S = 0.003
"""How long after a process for one run was taken the next is forked ahead: the run goes first."""


class Growth:
    """Starts processes in pools: as many as cores at once, more only for who has waited."""

    def __init__(self, pools: Pools, options: EngineOptions) -> None:
        self._pools = pools
        self._options = options
        self._later: asyncio.TimerHandle | None = None
        self._stopped = False
        self._loop = asyncio.get_running_loop()

    def stop(self) -> None:
        """Start nothing more."""
        self._stopped = True
        if self._later is not None:
            self._later.cancel()

    def replace(self, pool: Pool) -> None:
        """Have the next process for one run ready, now that one has been given away."""
        if pool.is_hurried:
            self._fork_ahead(pool)
        else:
            self._loop.call_later(SPARE_DELAY_S, self._fork_ahead, pool)

    def _fork_ahead(self, pool: Pool) -> None:
        wanted = pool.untouched < pool.spares_wanted and pool.zygote.is_alive
        if wanted and self._pools.busy < self._options.workers and not self._stopped:
            pool.grow(once=True)

    def grow(self, pool: Pool, *, queued: int) -> None:
        """Start more processes for the runs that wait there: now, a little later, or not.

        Args:
            pool: with a run that waits.
            queued: runs that wait in all pools together.
        """
        head = pool.waiting[0]
        wanted = len(pool.waiting) - 1 + head.leases.degree - len(head.workers)
        busy = self._pools.busy
        while pool.starting < wanted and busy < self._options.cores:
            pool.grow(once=head.single_use)
            busy += 1
        if pool.starting >= wanted or busy >= self._options.workers:
            return
        if not pool.starting and queued > len(pool.waiting):
            # Whoever waits elsewhere would have the place that is free before the delay is over,
            # and the next one, too.
            pool.grow_late()
        elif self._later is None:
            self._later = self._loop.call_later(GROWTH_DELAY_S, self._grow_late)

    def _grow_late(self) -> None:
        """Start one more process for whoever has waited for a while."""
        self._later = None
        now = time.monotonic()
        for pool in self._pools:
            if not pool.waiting or self._pools.busy >= self._options.workers:
                continue
            if not pool.starting and now - pool.waiting[0].queued_at >= GROWTH_DELAY_S:
                pool.grow_late()
            if self._later is None:
                self._later = self._loop.call_later(GROWTH_DELAY_S, self._grow_late)
