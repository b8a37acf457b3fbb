"""How fast a job goes, and when it will be done. Pure.

The band treats what ends, which is whole batches, as events of a Poisson process: of k events, the
logarithm of the rate has a standard error of about 1/√k. So the band is wide at first and narrows
as batches end; it knows nothing of calls that are slower towards the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from math import exp, sqrt

from fanfold_server.model.job import Job
from fanfold_server.service.planning import BATCHES, MAX_BATCH, MAX_DRAWN_BATCH

Z_95 = 1.96
"""Standard errors to each side of a band that holds in 95 of 100 cases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a job stands in time.

    Attributes:
        elapsed_s: since its start, to its end or until now; None before it has started.
        rate_per_s: calls that got an outcome in that time; None before the first.
        eta_s: seconds until the rest is done: low end, best guess, high end; None without a rate,
            or when there is no rest.
    """

    elapsed_s: float | None
    rate_per_s: float | None
    eta_s: tuple[float, float, float] | None


def progress_of(job: Job, now: datetime) -> Progress:
    """Estimate from what has passed."""
    if job.started is None:
        return Progress(elapsed_s=None, rate_per_s=None, eta_s=None)
    elapsed_s = max(((job.finished or now) - job.started).total_seconds(), 0.0)
    done = job.returned + job.failed - job.taken
    if not done or not elapsed_s:
        return Progress(elapsed_s=round(elapsed_s, 3), rate_per_s=None, eta_s=None)
    rate = done / elapsed_s
    eta_s = None
    if not job.state.is_final and job.waiting:
        factor = exp(Z_95 / sqrt(max(done / _batch_size(job), 1)))
        guess = job.waiting / rate
        eta_s = (round(guess / factor, 3), round(guess, 3), round(guess * factor, 3))
    return Progress(elapsed_s=round(elapsed_s, 3), rate_per_s=round(rate, 3), eta_s=eta_s)


def _batch_size(job: Job) -> int:
    """Return how many calls end together, as planning cut them."""
    most = MAX_DRAWN_BATCH if job.spec.graphics else MAX_BATCH
    return min(max(-(-job.spec.times // BATCHES), 1), most)
