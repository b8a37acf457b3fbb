"""From a request to run a script to the work that the engine is given. Pure."""

from __future__ import annotations

from typing import assert_never

from fanfold_server.engine.port import Work
from fanfold_server.model.apply import Apply, Index, Once, OnError


def plan(apply: Apply, *, timeout_s: float, keep_logs: bool) -> Work:
    """Return the calls of a run: the whole run as one work.

    Args:
        timeout_s: seconds that the run may take, > 0.
        keep_logs: whether what successful calls print is wanted.
    """
    match apply.split:
        case Once():
            start, count, indexed = 0, 1, False
        case Index(times=times):
            start, count, indexed = 1, times, True
        case _:
            assert_never(apply.split)
    return Work(
        script=apply.script,
        environment=apply.environment,
        caller=apply.caller,
        start=start,
        count=count,
        indexed=indexed,
        parameters=apply.parameters,
        degree=min(apply.degree, count),
        seed=apply.seed,
        graphics=apply.graphics,
        # text inside DATA keeps 6.0 as it is; the answer's own numbers do not (wire reference, W08)
        keep_point_zero=apply.graphics,
        keep_logs=keep_logs,
        stop_on_failure=apply.on_error is OnError.FAIL,
        timeout_s=timeout_s,
    )
