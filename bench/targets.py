"""The targets: ratios, so that they hold on any machine. Data, and one verdict about each."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from bench.results import OURS, Results, is_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Ours over another is at most `bound`; for rates, at least.

    Attributes:
        other_metric: where ours is held against another number of its own.
    """

    workload: str
    metric: str
    other: str
    bound: float
    other_metric: str | None = None

    @property
    def is_floor(self) -> bool:
        return is_rate(self.metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of a target; `ratio` is None when one side was not measured.

    Attributes:
        lowest: the smallest ratio of a round.
        highest: the largest.
    """

    target: Target
    ratio: float | None
    lowest: float = 0.0
    highest: float = 0.0

    @property
    def word(self) -> str:
        if self.ratio is None:
            return "not measured"
        bound = self.target.bound
        is_met = self.ratio >= bound if self.target.is_floor else self.ratio <= bound
        return "met" if is_met else "**missed**"


def _targets(workload: str, metric: str, **bounds: float) -> list[Target]:
    names = {
        "echo": "limit:uvicorn-echo",
        "loop": "limit:loop",
        "fork_split": "limit:fork-split",
        "sqlite_full": "limit:sqlite-full",
    }
    return [
        Target(
            workload=workload,
            metric=metric,
            other=names.get(other, other.replace("_", "-")),
            bound=bound,
        )
        for other, bound in bounds.items()
    ]


TARGETS = [
    *_targets("W1", "c1_p50_ms", tabpy=0.8, echo=2.5, afternoon_tuned=0.45),
    *_targets("W1", "c16_rps", tabpy=4.0, echo=0.4),
    *_targets("W1", "c16_p99_ms", tabpy=0.3),
    *_targets("W2", "n100_p2_ms", tabpy=0.7),
    *_targets("W2", "n10000_p2_ms", mp_pool=0.6, tabpy=0.25, loop=2.5),
    *_targets("W2", "n100000_p2_ms", loop=1.3, mp_pool=0.5, tabpy=0.15),
    *_targets("W3", "n64_p1_ms", loop=1.03),
    *_targets("W3", "n64_p2_ms", mp_pool=1.0),
    Target(workload="W3", metric="n64_p2_ms", other=OURS, bound=0.55, other_metric="n64_p1_ms"),
    *_targets("W4", "n10_p2_ms", mp_pool=0.95, tabpy=0.6),
    *_targets("W4", "n1000_p2_ms", fork_split=1.05, tabpy=0.5, afternoon_tuned=0.8),
    *_targets("W5", "n16_p2_ms", mp_pool=1.1, tabpy=0.5),
    *_targets("W6", "by_k_ms", loop=1.0, mp_pool=0.75),
    *_targets("W6", "by_10000_ms", loop=2.0, mp_pool=0.45),
    *_targets("W7", "jobs_rps", huey_sqlite_fsync=1.25, saq_redis_always=2.0),
    *_targets("W7", "jobs_rps", celery_redis_always=2.0, sqlite_full=0.45),
    *_targets("W7", "submit_p50_ms", sqlite_full=3.0, saq_redis_always=0.4),
    *_targets("W7", "submit_p50_ms", celery_redis_always=0.4),
    *(
        Target(workload="W8", metric=metric, other=OURS, bound=0.05, other_metric="cold_first_ms")
        for metric in ("default_first_ms", "preloaded_first_ms")
    ),
    *_targets("W9", "ms", afternoon_tuned=0.6, tabpy=0.05),
]
"""Of the yardstick's key table, for the workloads that are measured here."""


def judge(results: Results, targets: list[Target] = TARGETS) -> list[Verdict]:
    """Return a verdict about each target, in order."""
    return [_judge(results, target) for target in targets]


def _judge(results: Results, target: Target) -> Verdict:
    ratios = results.ratios(target.workload, target.metric, OURS, target.other, target.other_metric)
    if not ratios:
        return Verdict(target=target, ratio=None)
    ratio = statistics.median(ratios)
    return Verdict(target=target, ratio=ratio, lowest=ratios[0], highest=ratios[-1])
