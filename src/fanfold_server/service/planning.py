"""From a request to run a script to the work that the engine is given. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import assert_never

from fanfold_server.engine.port import Work
from fanfold_server.model.apply import Apply, Chunks, Groups, Index, Once, OnError, Split, Whole
from fanfold_server.model.environment import Environment
from fanfold_server.model.job import Batch, JobSpec
from fanfold_server.model.network import ScriptNetwork
from fanfold_server.model.rows import InputType, Rowset
from fanfold_server.model.script import Script
from fanfold_server.model.submission import Submission
from fanfold_server.store.port import Planned

DO_EVAL = "do-eval"
INDEX_APPLY = "index-apply"
TABLE_APPLY = "table-apply"
ROW_APPLY = "row-apply"
GROUP_APPLY = "group-apply"
DATA_VERBS = frozenset((TABLE_APPLY, ROW_APPLY, GROUP_APPLY))
"""Verbs whose calls are given rows."""

BATCHES = 200
"""So many batches a job is cut into, if that gives none of more than `MAX_BATCH` calls: few enough
that what a batch costs does not count, enough that a lost one is a small part."""

MAX_BATCH = 10_000
"""Calls of a batch, at most: what one process holds of a job at once."""

MAX_DRAWN_BATCH = 100
"""The same for calls with figures, which are far larger than values."""

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def plan(apply: Apply, *, timeout_s: float, keep_logs: bool, rows: Rowset | None = None) -> Work:
    """Return the calls of a run: the whole run as one work.

    Args:
        timeout_s: seconds that the run may take, > 0.
        keep_logs: whether what successful calls print is wanted.
        rows: what came of the query; with at least one call.
    """
    given = apply.input
    assert (given is None) == (rows is None), "a run with an input has its rows"
    match apply.split:
        case Once() | Whole():
            start, count = 0, 1
        case Index(times=times):
            start, count = 1, times
        case Chunks() | Groups():
            assert rows is not None, "these splits have an input"
            start, count = 1, rows.calls
        case _:
            assert_never(apply.split)
    return Work(
        script=apply.script,
        environment=apply.environment,
        caller=apply.caller,
        start=start,
        count=count,
        indexed=isinstance(apply.split, Index),
        parameters=apply.parameters,
        degree=min(apply.degree, count),
        seed=apply.seed,
        graphics=apply.graphics,
        # text inside DATA keeps 6.0 as it is; the answer's own numbers do not (wire reference, W08)
        keep_point_zero=apply.graphics,
        keep_logs=keep_logs,
        stop_on_failure=apply.on_error is OnError.FAIL,
        timeout_s=timeout_s,
        level=apply.service,
        rows=rows,
        input_type=InputType.DEFAULT if given is None else given.type,
        na_omit=given is not None and given.na_omit,
        # text inside DATA is the value as it is
        splice=isinstance(apply.split, Chunks) and not apply.graphics,
        column_frames=isinstance(apply.split, Groups)
        and apply.split.column_frames
        and not apply.graphics,
    )


def batches_of(
    start: int, times: int, *, canary: bool = False, graphics: bool = False
) -> Iterator[tuple[int, int]]:
    """Cut calls into contiguous batches; yield the first index and the count of each, in order.

    Args:
        start: index of the first call.
        times: how many calls, ≥ 0; with `canary`, ≥ 1.
        canary: the first batch holds one call.
        graphics: whether the calls draw.
    """
    end = start + times
    if canary:
        yield start, 1
        start += 1
    size = min(max(-(-(end - start) // BATCHES), 1), MAX_DRAWN_BATCH if graphics else MAX_BATCH)
    for first in range(start, end, size):
        yield first, min(size, end - first)


def planned_of(spec: JobSpec) -> list[Planned]:
    """Cut a new job into the batches that it begins with."""
    cut = batches_of(first_index(spec), spec.times, canary=spec.canary, graphics=spec.graphics)
    return [Planned(start=start, count=count) for start, count in cut]


def spec_of(apply: Apply, submission: Submission, *, calls: int | None = None) -> JobSpec:
    """Return what a job needs to run this without its caller.

    Args:
        calls: into how many its rows are cut, ≥ 0; None if it has none.
    """
    script = apply.script
    match apply.split:
        case Once() | Whole():
            times = 1
        case Index():
            times = apply.split.times
        case Chunks() | Groups():
            assert calls is not None, "the rows of a job are there before it is"
            times = calls
        case _:
            assert_never(apply.split)
    return JobSpec(
        owner=apply.caller,
        api_version=submission.api_version,
        verb=verb_of(apply.split),
        script_name=script.name,
        script_owner=script.owner,
        script_version=script.version,
        digest=script.digest,
        source=script.source,
        entry=script.entry,
        environment=apply.environment.name,
        environment_version=apply.environment.version,
        times=times,
        parameters=apply.parameters,
        degree=max(1, min(apply.degree, times)),
        seed=apply.seed,
        graphics=apply.graphics,
        service=apply.service,
        on_error=apply.on_error,
        timeout_s=submission.timeout_s,
        call_timeout_s=submission.call_timeout_s,
        max_failures=submission.max_failures,
        canary=submission.canary and times > 1,
        comments=submission.comments,
        stop_when=submission.stop_when,
        result_table=submission.result_table,
        table_overwrite=submission.table_overwrite,
        callback_url=submission.callback_url,
        callback_origin=submission.callback_origin,
        request=None if submission.idempotency is None else submission.idempotency.request,
    )


def verb_of(split: Split) -> str:
    """Return the wire's word for a split."""
    match split:
        case Once():
            return DO_EVAL
        case Index():
            return INDEX_APPLY
        case Whole():
            return TABLE_APPLY
        case Chunks():
            return ROW_APPLY
        case Groups():
            return GROUP_APPLY
        case _:
            assert_never(split)


def split_of(spec: JobSpec) -> Split:
    """Return the kind of split that a job has; what was asked of its rows is not known any more."""
    match spec.verb:
        case "do-eval":
            return Once()
        case "table-apply":
            return Whole()
        case "row-apply":
            return Chunks(rows=1)
        case "group-apply":
            return Groups(by=())
        case _:
            return Index(times=spec.times)


def is_indexed(spec: JobSpec) -> bool:
    """Say whether the calls of a job are counted from 1; else there is one, of index 0."""
    return spec.verb not in {DO_EVAL, TABLE_APPLY}


def first_index(spec: JobSpec) -> int:
    """Return the index of a job's first call."""
    return 1 if is_indexed(spec) else 0


def work_of(
    spec: JobSpec,
    batch: Batch,
    environment: Environment,
    *,
    timeout_s: float,
    rows: Rowset | None = None,
    input_type: InputType = InputType.DEFAULT,
    na_omit: bool = False,
    column_frames: bool = False,
    network: ScriptNetwork | None = None,
) -> Work:
    """Return a batch of a job as work for one worker.

    Args:
        rows, input_type, na_omit, column_frames: of a job over rows, as it was submitted.
        network: what is decided of the script.
        timeout_s: what is left of the job's time, seconds, > 0.
    """
    return Work(
        script=Script(
            name=spec.script_name,
            owner=spec.script_owner,
            version=spec.script_version,
            digest=spec.digest,
            source=spec.source,
            entry=spec.entry,
            description=None,
            created=_LONG_AGO,
            network=network,
        ),
        environment=environment,
        caller=spec.owner,
        start=batch.start,
        count=batch.count,
        indexed=spec.verb == INDEX_APPLY,
        parameters=spec.parameters,
        degree=1,
        seed=spec.seed,
        graphics=spec.graphics,
        keep_point_zero=spec.graphics,
        keep_logs=True,
        stop_on_failure=spec.on_error is OnError.FAIL,
        timeout_s=timeout_s,
        call_timeout_s=spec.call_timeout_s,
        keep_meters=True,
        rows=rows,
        input_type=input_type,
        na_omit=na_omit,
        splice=spec.verb == ROW_APPLY and not spec.graphics,
        column_frames=column_frames and not spec.graphics,
        job=batch.job,
        level=spec.service,
        beside=spec.degree,
    )
