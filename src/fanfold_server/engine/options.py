"""How much of this machine the engine may use."""

from __future__ import annotations

import os
from dataclasses import dataclass

from fanfold_server.engine.running import RunLimits


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
    """

    workers: int
    pools: int
    max_queued_runs: int
    reuse: str
    preload: tuple[str, ...]
    limits: RunLimits
    warm_memory_mib: int = 8192
    cores: int = len(os.sched_getaffinity(0))
