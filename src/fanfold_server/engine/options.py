"""How much of this machine the engine may use."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import ceil

from fanfold_server.engine.limits import Limits
from fanfold_server.engine.port import Work
from fanfold_server.engine.running import RunLimits
from fanfold_server.engine.sandbox import THREAD_LIMITS

THREADS_SHARE = 16
"""Numerical libraries get one out of so many processes and threads; they hang where one fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How much the engine may use.

    Attributes:
        workers: busy processes at most, all owners together.
        pools: zygotes at most; the least recently used is ended for a new one.
        max_queued_runs: runs that may wait for a worker.
        reuse: "auto" (warm for one's own scripts, single-use for another's), "warm" or "fork".
        preload: modules that a zygote imports.
        warm_memory_mib: what interpreters that are idle may take, all together; the least recently
            used are ended first.
        cores: processors; up to so many processes start without a delay.
        threads: of numerical libraries in a worker. None: one where a run has many calls, so that
            no value depends on how many workers there are, and one a processor where it has one.
            0: the processors divided by the run's workers.
    """

    workers: int
    pools: int
    max_queued_runs: int
    reuse: str
    preload: tuple[str, ...]
    limits: RunLimits
    warm_memory_mib: int = 8192
    cores: int = len(os.sched_getaffinity(0))
    threads: int | None = None

    def threads_of(self, work: Work, limits: Limits) -> int:
        """Return how many threads each worker of a run has for numerical libraries.

        0 if the environment says so itself. Never more than its share of the processors, nor so
        many that the limit of processes is near.
        """
        variables = work.environment.variables
        if variables and not variables.keys().isdisjoint(THREAD_LIMITS):
            return 0
        if self.threads:
            return self.threads
        if self.threads is None:
            wanted = self.cores if work.is_once else 1
        else:
            wanted = self.cores // (work.beside or work.degree)
        if limits.cpus is not None:
            wanted = min(wanted, ceil(limits.cpus))
        return max(1, min(wanted, limits.processes // THREADS_SHARE))
