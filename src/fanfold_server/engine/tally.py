"""What an engine counts, and what it says of itself to operators."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from fanfold_server.engine.worker import State
from fanfold_server.model.metric import Family, Sample, counter, gauge
from fanfold_server.model.outcome import FailureKind

if TYPE_CHECKING:
    from fanfold_server.engine.pools import Pools
    from fanfold_server.engine.worker import Worker

_HITS: Final = {
    FailureKind.OUT_OF_CPU_TIME: "cpu_time",
    FailureKind.TOO_MUCH_OUTPUT: "output",
    FailureKind.OUT_OF_SPACE: "temporary_space",
}
_REASONS: Final = ("memory", "call_time", *_HITS.values(), "crash")
_STATES: Final = (State.STARTING, State.IDLE, State.BUSY)


class Tally:
    """Plain numbers, since the start.

    Attributes:
        runs: that were begun; a part of a job counts as one.
        refused: that found the queue full.
        retried: calls that were given again, since the worker that held them was gone.
        died: workers that died with calls in hand, by reason.
    """

    __slots__ = ("died", "refused", "retried", "runs")

    def __init__(self) -> None:
        self.runs = 0
        self.refused = 0
        self.retried = 0
        self.died = dict.fromkeys(_REASONS, 0)

    def note_death(self, worker: Worker, *, retried: int) -> None:
        """Count a worker that died while it held calls of a run."""
        self.retried += retried
        self.died[_reason(worker)] += 1


def _reason(worker: Worker) -> str:
    if worker.overdue:
        return "call_time"
    if worker.hit is not None:
        return _HITS.get(worker.hit.kind, "crash")
    return "memory" if worker.taken_kib else "crash"


def figures(pools: Pools, tally: Tally, *, runs: int, queued: int) -> list[Family]:
    """Say how an engine does: by environments, of which there are only so many."""
    now = time.monotonic()
    workers: Counter[tuple[str, State]] = Counter()
    zygotes: Counter[str] = Counter()
    waits_s = [0.0]
    for pool in pools:
        name = pool.zygote.environment.name
        zygotes[name] += 1
        workers.update((name, worker.state) for worker in pool.workers.values())
        waits_s += [now - run.queued_at for run in pool.waiting if run.wants_worker]
    return [
        counter(
            "fanfold_runs_total",
            "Runs that were begun; a part of a job is one.",
            Sample(value=tally.runs),
        ),
        counter(
            "fanfold_runs_refused_total",
            "Runs that were refused since too many were waiting.",
            Sample(value=tally.refused),
        ),
        gauge("fanfold_runs", "Runs in hand, waiting ones included.", Sample(value=runs)),
        gauge("fanfold_runs_waiting", "Runs that wait for a worker.", Sample(value=queued)),
        gauge(
            "fanfold_run_oldest_wait_seconds",
            "How long the run has waited that has waited longest.",
            Sample(value=round(max(waits_s), 3)),
        ),
        gauge(
            "fanfold_workers",
            "Workers by environment and state.",
            *(
                Sample(
                    value=workers[name, state],
                    labels=(("environment", name), ("state", state.name.lower())),
                )
                for name in zygotes
                for state in _STATES
            ),
        ),
        gauge(
            "fanfold_zygotes",
            "Interpreters from which workers are forked, by environment.",
            *(Sample(value=n, labels=(("environment", name),)) for name, n in zygotes.items()),
        ),
        counter(
            "fanfold_calls_retried_total",
            "Calls that were given again since the worker that held them was gone.",
            Sample(value=tally.retried),
        ),
        counter(
            "fanfold_workers_died_total",
            "Workers that died with calls in hand, by the reason.",
            *(Sample(value=n, labels=(("reason", why),)) for why, n in tally.died.items()),
        ),
    ]
