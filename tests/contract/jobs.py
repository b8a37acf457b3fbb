"""Short ways to write down jobs, for the tests of the store."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from fanfold_server.model.apply import OnError, ServiceLevel
from fanfold_server.model.job import Job, JobSpec
from fanfold_server.model.outcome import Failure, FailureKind
from fanfold_server.store.port import (
    BatchResult,
    CallFailure,
    Claimed,
    Content,
    JobStore,
    Planned,
    Quota,
)

START = datetime(2026, 1, 5, 12, tzinfo=UTC)
"""When every test begins."""

SPEC = JobSpec(
    owner="ADA",
    api_version="v1",
    verb="index-apply",
    script_name="f",
    script_owner="ADA",
    script_version=3,
    digest="0" * 64,
    source="def f(i): return i",
    entry="f",
    environment="default",
    times=1,
    parameters=b"{}",
    degree=4,
    seed=2**64 - 1,
    graphics=False,
    service=ServiceLevel.LOW,
    on_error=OnError.CONTINUE,
    timeout_s=1800,
)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def plan_of(times: int, size: int) -> list[Planned]:
    return [
        Planned(start=start, count=min(size, times + 1 - start))
        for start in range(1, times + 1, size)
    ]


async def submit(
    jobs: JobStore,
    *,
    size: int = 1,
    after_s: float = 0,
    key: str | None = None,
    quota: Quota | None = None,
    plan: list[tuple[int, int]] | None = None,
    **changes: Any,
) -> Job:
    spec = dataclasses.replace(SPEC, **changes)
    stored, _ = await jobs.submit(
        str(uuid4()),
        spec,
        plan_of(spec.times, size)
        if plan is None
        else [Planned(start=start, count=count) for start, count in plan],
        now=at(after_s),
        quota=quota or Quota(),
        idempotency_key=key,
    )
    return stored


async def claim(
    jobs: JobStore,
    agent: str = "one",
    *,
    wanted: int = 100,
    after_s: float = 0,
    per_owner: int = 100,
    lease_s: float = 15,
    at_once: int = 1,
) -> list[Claimed]:
    return await jobs.claim(
        agent,
        wanted=wanted,
        lease_s=lease_s,
        now=at(after_s),
        per_owner=per_owner,
        calls_at_once=lambda _: at_once,
    )


def failed_call(index: int, kind: FailureKind = FailureKind.RAISED) -> CallFailure:
    return CallFailure(
        index=index,
        failure=Failure(
            kind=kind,
            type="ValueError",
            message=f"no {index}",
            traceback=f'Traceback:\n  File "f", line 3, in f\nValueError: no {index}',
        ),
        log="hello\n",
        elapsed_us=12,
        peak_kib=34,
    )


def result(claimed: Claimed, *, fails: tuple[int, ...] = (), **changes: Any) -> BatchResult:
    """All calls return their index, but those that are to fail."""
    its = claimed.batch
    lines = (
        b"null\n" if index in fails else b"%d\n" % index
        for index in range(its.start, its.start + its.count)
    )
    made = BatchResult(
        batch=its,
        returned=its.count - len(fails),
        failures=[failed_call(index) for index in fails],
        content=Content(values=b"".join(lines)),
    )
    return dataclasses.replace(made, **changes)
