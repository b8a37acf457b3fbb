"""What the store guarantees about jobs that end before their last call, over each database."""

from __future__ import annotations

import dataclasses
from typing import Any
from uuid import uuid4

import pytest

from fanfold_server.model.apply import OnError
from fanfold_server.model.job import Job, JobState
from fanfold_server.model.outcome import FailureKind
from fanfold_server.model.stopping import StopWhen
from fanfold_server.store.port import (
    BatchRecord,
    BatchState,
    Content,
    Cut,
    Ending,
    Planned,
    Quota,
)
from fanfold_server.store.sql import Store
from tests.contract.jobs import SPEC, START, at, claim, failed_call, result, submit

STOP = StopWhen(se=0.5, min_calls=7, member="x")


async def _submitted(store: Store, times: int = 10, **changes: Any) -> Job:
    return await submit(store.jobs, times=times, size=2, stop_when=STOP, **changes)


async def _job(store: Store, job: Job) -> Job:
    found = await store.ledger.job(job.id, owner=None)
    assert found is not None
    return found


async def _batches(store: Store, job: Job) -> list[tuple[int, int, BatchState, bytes | None]]:
    records: list[BatchRecord] = await store.ledger.batches(job.id, content=True)
    return [
        (r.batch.start, r.batch.count, r.state, r.content.values if r.content else None)
        for r in records
    ]


async def test_such_a_job_keeps_its_condition(store: Store) -> None:
    job = await _submitted(store)
    (claimed, *_) = await claim(store.jobs)
    assert claimed.spec.stop_when == job.spec.stop_when == STOP


async def test_it_does_not_end_with_its_last_batch_but_when_it_is_settled(store: Store) -> None:
    job = await _submitted(store, times=4)
    claimed = await claim(store.jobs)
    assert await store.settling.unsettled() == []
    kept = await store.jobs.finish(
        "one", [result(claimed[0]), result(claimed[1], fails=(3,))], now=at(1)
    )
    assert kept == [True, True]
    running = await _job(store, job)
    assert (running.state, running.returned, running.failed) == (JobState.RUNNING, 3, 1)
    assert await store.settling.unsettled() == [job.id]
    assert await claim(store.jobs) == []
    assert await store.settling.settle(job.id, None, now=at(2))
    assert not await store.settling.settle(job.id, None, now=at(3))
    ended = await _job(store, job)
    assert (ended.state, ended.finished) == (JobState.PARTLY_FAILED, at(2))
    assert (ended.spec.times, ended.spec.asked) == (4, None)
    assert await store.settling.unsettled() == []


async def test_a_job_that_ends_early_has_only_the_calls_up_to_its_end(store: Store) -> None:
    job = await _submitted(store, times=10, callback_url="https://x.example/")
    claimed = await claim(store.jobs)
    results = [
        result(claimed[0], fails=(1,)),
        result(claimed[1]),
        result(claimed[3], fails=(7,)),  # beyond the end
    ]
    await store.jobs.finish("one", results, now=at(1))
    kept = Planned(start=3, count=1, taken=Content(values=b"3\n"))
    ending = Ending(at=3, cut=Cut(number=1, failed=0, kept=kept))
    assert await store.settling.settle(job.id, ending, now=at(2))
    ended = await _job(store, job)
    assert (ended.state, ended.returned, ended.failed, ended.waiting) == (
        JobState.PARTLY_FAILED, 2, 1, 0,
    )  # fmt: skip
    assert (ended.spec.times, ended.spec.asked) == (3, 10)
    finished = BatchState.FINISHED
    assert await _batches(store, job) == [
        (1, 2, finished, b"null\n2\n"), (3, 1, finished, b"3\n"),
    ]  # fmt: skip
    assert [f.index for f in await store.ledger.failures(job.id)] == [1]
    usage = await store.ledger.usage("ADA", now=at(2))
    assert usage.stored_bytes == len(b"null\n2\n3\n")
    # Whoever still runs a part of it is told, and records nothing.
    late = claimed[2]
    assert await store.jobs.finish("one", [result(late)], now=at(3)) == [False]
    renewal = await store.jobs.renew("one", [late.batch], lease_s=15, now=at(3))
    assert renewal.lost == {late.batch}
    assert renewal.ended == {job.id}
    assert await claim(store.jobs, after_s=100) == []
    assert await store.callbacks.delivery(job.id) is not None


async def test_an_end_between_batches_cuts_nothing(store: Store) -> None:
    job = await _submitted(store)
    claimed = await claim(store.jobs)
    await store.jobs.finish("one", [result(c) for c in claimed[:3]], now=at(1))
    assert await store.settling.settle(job.id, Ending(at=4), now=at(2))
    ended = await _job(store, job)
    assert (ended.state, ended.returned, ended.spec.times) == (JobState.SUCCEEDED, 4, 4)
    assert [b[:2] for b in await _batches(store, job)] == [(1, 2), (3, 2)]


@pytest.mark.parametrize(
    ("on_error", "most"), [(OnError.FAIL, None), (OnError.CONTINUE, 0), (OnError.CONTINUE, None)]
)
async def test_a_failed_call_does_not_end_it_by_itself(
    store: Store, on_error: OnError, most: int | None
) -> None:
    """It may be beyond the end."""
    job = await _submitted(store, on_error=on_error, max_failures=most)
    claimed = await claim(store.jobs)
    await store.jobs.finish("one", [result(claimed[1], fails=(3,))], now=at(1))
    assert (await _job(store, job)).state is JobState.RUNNING
    error = {"errorMessage": "no 3"}
    assert await store.settling.settle(job.id, Ending(at=3, error=error), now=at(2))
    ended = await _job(store, job)
    assert (ended.state, ended.error, ended.spec.times) == (JobState.FAILED, error, 10)
    assert await claim(store.jobs, after_s=100) == []


async def test_a_canary_and_what_fails_every_call_end_it_at_once(store: Store) -> None:
    canary = await _submitted(store, canary=True)
    (first,) = await claim(store.jobs)
    await store.jobs.finish("one", [result(first, fails=(1, 2))], now=at(1))
    assert (await _job(store, canary)).state is JobState.FAILED
    lacking = await _submitted(store)
    (first, *_) = await claim(store.jobs)
    failure = failed_call(1, FailureKind.NO_ENVIRONMENT)
    failed = dataclasses.replace(result(first), returned=0, failures=[failure])
    await store.jobs.finish("one", [failed], now=at(1))
    assert (await _job(store, lacking)).state is JobState.FAILED


async def test_what_has_ended_otherwise_is_not_settled(store: Store) -> None:
    job = await _submitted(store)
    await store.jobs.cancel(job.id, None, now=at(1))
    assert not await store.settling.settle(job.id, Ending(at=2), now=at(2))
    assert (await _job(store, job)).state is JobState.CANCELLED
    assert not await store.settling.settle(str(uuid4()), None, now=at(2))


async def test_a_job_that_takes_all_from_another_is_weighed_too(store: Store) -> None:
    """The other may have been cancelled when all was there and nobody had weighed it."""
    spec = dataclasses.replace(SPEC, times=4, stop_when=STOP)
    plan = [
        Planned(start=1, count=2, taken=Content(values=b"1\n2\n")),
        Planned(start=3, count=2, taken=Content(values=b"3\n4\n")),
    ]
    job, _ = await store.jobs.submit(str(uuid4()), spec, plan, now=START, quota=Quota())
    assert job.state is JobState.RUNNING
    assert await store.settling.unsettled() == [job.id]
    kept = Planned(start=3, count=1, taken=Content(values=b"3\n"))
    ending = Ending(at=3, cut=Cut(number=1, failed=0, kept=kept))
    assert await store.settling.settle(job.id, ending, now=at(1))
    ended = await _job(store, job)
    assert (ended.state, ended.returned, ended.taken) == (JobState.SUCCEEDED, 3, 3)
    # One that has been settled is what it is.
    copied = dataclasses.replace(spec, times=2, asked=4)
    job, _ = await store.jobs.submit(str(uuid4()), copied, plan[:1], now=START, quota=Quota())
    assert job.state is JobState.SUCCEEDED


async def test_one_that_nobody_settles_times_out(store: Store) -> None:
    job = await _submitted(store, times=2)
    (claimed,) = await claim(store.jobs)
    await store.jobs.finish("one", [result(claimed)], now=at(1))
    assert await store.jobs.expire(now=at(1801)) == [job.id]
    assert await store.settling.unsettled() == []
