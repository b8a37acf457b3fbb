"""Looks at the calls in hand a few times a second: what they print, and what they compute.

Limits that the kernel does not enforce by itself, or of which it does not tell. Calls that end
between two looks are never asked about, and cost nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from fanfold_server.engine.hits import Hit, cpu_hit, output_hit
from fanfold_server.engine.limits import Limits
from fanfold_server.engine.pool import Pool
from fanfold_server.engine.worker import Worker


class Watch:
    """What is remembered of calls from one look to the next."""

    def __init__(self) -> None:
        self._asked: dict[Worker, float] = {}  # → when the call was begun that it was asked about
        self._before: dict[Worker, tuple[float, int]] = {}  # → the same, and its worker's time then

    def look(self, pools: Iterable[Pool]) -> None:
        """End the workers of calls that have printed too much; ask what others have computed."""
        busy = set()
        for pool in pools:
            limits = pool.zygote.limits
            for worker in list(pool.workers.values()):
                if not worker.held or worker.hit is not None:
                    continue
                busy.add(worker)
                hit = _too_much(worker, limits)
                if hit is not None:
                    end(worker, hit)
                elif worker.group is not None and worker.group.is_hurt():
                    pool.end(worker)  # what its exit says is that memory was short
                elif limits.cpu_s is not None:
                    self._asked[worker] = worker.heard_at
                    pool.zygote.measure(worker.number)
        for known in (self._asked, self._before):
            for worker in [worker for worker in known if worker not in busy]:
                del known[worker]

    def measured(self, worker: Worker, cpu_ms: int) -> None:
        """Take what a worker has computed since it was started; end it if one call has too much."""
        began = self._asked.pop(worker, None)
        if began is None or began != worker.heard_at or not worker.held:
            return  # it is another call by now
        before, first_ms = self._before.get(worker, (0.0, 0))
        if before != began:
            self._before[worker] = (began, cpu_ms)
            return
        limit_s = worker.pool.zygote.limits.cpu_s
        taken_s = (cpu_ms - first_ms) / 1000
        if limit_s is not None and taken_s > limit_s:
            end(worker, cpu_hit(taken_s, limit_s))


def end(worker: Worker, hit: Hit) -> None:
    """Kill a worker for a limit."""
    worker.hit = hit
    worker.pool.end(worker)


def _too_much(worker: Worker, limits: Limits) -> Hit | None:
    size = os.fstat(worker.log).st_size
    return output_hit(size, limits.output_mib) if size > limits.output_mib << 20 else None
