"""What the store guarantees about jobs, over each database."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from sqlalchemy import URL

from fanfold_server.model.apply import OnError, ServiceLevel
from fanfold_server.model.errors import TooLate
from fanfold_server.model.job import JobState
from fanfold_server.model.outcome import FailureKind
from fanfold_server.store.port import (
    BatchResult,
    BatchState,
    Content,
    JobFilter,
    Planned,
    Quota,
    Renewal,
)
from fanfold_server.store.sql import Store, open_store
from tests.contract.jobs import SPEC, START, at, claim, failed_call, plan_of, result, submit


async def test_a_job_goes_from_its_submission_to_its_values(store: Store) -> None:
    submitted = await submit(store.jobs, times=5, size=2)
    assert submitted == await store.ledger.job(submitted.id, owner="ADA")
    claimed = await claim(store.jobs)
    assert [(c.batch.start, c.batch.count, c.batch.fence) for c in claimed] == [
        (1, 2, 1), (3, 2, 1), (5, 1, 1),
    ]  # fmt: skip
    assert {c.spec for c in claimed} == {submitted.spec}
    assert {c.deadline for c in claimed} == {at(1800)}
    running = await store.ledger.job(submitted.id, owner=None)
    assert running is not None
    assert (running.state, running.started) == (JobState.RUNNING, START)
    kept = await store.jobs.finish("one", [result(c) for c in claimed], now=at(2))
    assert kept == [True, True, True]
    ended = await store.ledger.job(submitted.id, owner="ADA")
    assert ended is not None
    assert (ended.state, ended.returned, ended.failed, ended.finished) == (
        JobState.SUCCEEDED, 5, 0, at(2),
    )  # fmt: skip
    batches = await store.ledger.batches(submitted.id, content=True)
    assert b"".join(b.content.values for b in batches if b.content) == b"1\n2\n3\n4\n5\n"
    assert {b.state for b in batches} == {BatchState.FINISHED}
    assert await claim(store.jobs) == []


async def test_another_owners_job_is_not_seen(store: Store) -> None:
    job = await submit(store.jobs)
    assert await store.ledger.job(job.id, owner="BOB") is None
    assert await store.jobs.cancel(job.id, "BOB", now=START) is None
    assert await store.jobs.delete([job.id], "BOB", now=START) == []


async def test_a_hundred_submissions_with_one_key_make_one_job(store: Store) -> None:
    jobs = await asyncio.gather(*(submit(store.jobs, key="k") for _ in range(100)))
    assert len({job.id for job in jobs}) == 1
    assert len(await store.ledger.jobs(JobFilter(owner="ADA"))) == 1
    assert await store.ledger.submitted("ADA", "k") == jobs[0]
    assert await store.ledger.submitted("BOB", "k") is None
    other = await submit(store.jobs, key="k", owner="BOB")
    assert other.id != jobs[0].id
    assert await store.ledger.submitted("BOB", "k") == other


async def test_a_job_of_no_calls_has_succeeded_when_it_is_submitted(store: Store) -> None:
    """A row-apply over no rows: there is nothing that an agent could do."""
    submitted = await submit(store.jobs, times=0, plan=[])
    job = await store.ledger.job(submitted.id, owner="ADA")
    assert job == submitted
    assert (job.state, job.returned, job.failed, job.waiting) == (JobState.SUCCEEDED, 0, 0, 0)
    assert (job.started, job.finished) == (START, START)
    assert await store.ledger.batches(job.id) == []
    assert await claim(store.jobs) == []
    assert (await store.ledger.usage("ADA", now=START)).queued_jobs == 0


async def test_a_submission_may_be_repeated(store: Store) -> None:
    """When the connection breaks at the commit, nobody knows whether it happened."""
    job_id = str(uuid4())
    for _ in range(2):
        job, new = await store.jobs.submit(
            job_id, SPEC, plan_of(1, 1), now=START, quota=Quota(), idempotency_key="k"
        )
        assert (job.id, new) == (job_id, True)
    assert len(await claim(store.jobs)) == 1


async def test_a_lease_that_ran_out_is_given_to_another_and_fences_the_first(store: Store) -> None:
    job = await submit(store.jobs)
    (first,) = await claim(store.jobs, "one", lease_s=15)
    assert await claim(store.jobs, "two", after_s=14) == []
    (second,) = await claim(store.jobs, "two", after_s=16)
    assert (first.batch.fence, second.batch.fence) == (1, 2)
    stale = result(first, content=Content(values=b'"stale"\n'))
    assert await store.jobs.finish("one", [stale], now=at(17)) == [False]
    renewal = await store.jobs.renew("one", [first.batch], lease_s=15, now=at(17))
    assert renewal == Renewal(lost=frozenset({first.batch}), ended=frozenset())
    await store.jobs.release("one", [first.batch])
    assert await claim(store.jobs, "three", after_s=17) == []
    assert await store.jobs.finish("two", [result(second)], now=at(18)) == [True]
    assert await store.jobs.finish("one", [stale], now=at(19)) == [False]
    (batch,) = await store.ledger.batches(job.id, content=True)
    assert batch.content == Content(values=b"1\n")
    assert batch.batch == second.batch


async def test_a_lease_that_ran_out_is_still_good_while_nobody_took_it(store: Store) -> None:
    job = await submit(store.jobs, times=2, degree=1)
    (claimed,) = await claim(store.jobs)
    assert await claim(store.jobs, "two", after_s=20, wanted=0) == []
    renewal = await store.jobs.renew("one", [claimed.batch], lease_s=15, now=at(21))
    assert renewal.lost == frozenset()
    assert await claim(store.jobs, "two", after_s=22) == []
    assert await claim(store.jobs, "two", after_s=60, wanted=0) == []
    assert await store.jobs.finish("one", [result(claimed)], now=at(60)) == [True]
    (last,) = await claim(store.jobs, "two", after_s=61)
    assert last.batch.number == 1
    assert await store.jobs.finish("two", [result(last)], now=at(62)) == [True]
    ended = await store.ledger.job(job.id, owner=None)
    assert ended is not None
    assert ended.state is JobState.SUCCEEDED


async def test_an_agent_is_fenced_from_its_own_earlier_lease(store: Store) -> None:
    """An agent that was stopped and took the batch again runs it twice at once."""
    await submit(store.jobs)
    (first,) = await claim(store.jobs, "one")
    (second,) = await claim(store.jobs, "one", after_s=16)
    renewal = await store.jobs.renew("one", [first.batch], lease_s=15, now=at(17))
    assert renewal.lost == {first.batch}
    assert await store.jobs.finish("one", [result(first)], now=at(17)) == [False]
    assert await store.jobs.finish("one", [result(second)], now=at(18)) == [True]


async def test_a_heartbeat_keeps_a_lease(store: Store) -> None:
    await submit(store.jobs)
    (claimed,) = await claim(store.jobs)
    for seconds in (10, 20, 30):
        renewal = await store.jobs.renew("one", [claimed.batch], lease_s=15, now=at(seconds))
        assert not renewal.lost
        assert await claim(store.jobs, "two", after_s=seconds + 14) == []


async def test_what_is_released_is_claimed_at_once(store: Store) -> None:
    await submit(store.jobs, times=2)
    claimed = await claim(store.jobs)
    await store.jobs.release("one", [c.batch for c in claimed])
    again = await claim(store.jobs, "two")
    assert [c.batch.fence for c in again] == [2, 2]
    assert await store.jobs.finish("one", [result(claimed[0])], now=at(1)) == [False]


async def test_a_finish_may_be_repeated(store: Store) -> None:
    job = await submit(store.jobs, times=4, size=2)
    claimed = await claim(store.jobs)
    results = [result(c, fails=(c.batch.start,)) for c in claimed]
    for _ in range(3):
        assert await store.jobs.finish("one", results, now=at(1)) == [True, True]
    ended = await store.ledger.job(job.id, owner=None)
    assert ended is not None
    assert (ended.state, ended.returned, ended.failed) == (JobState.PARTLY_FAILED, 2, 2)
    assert [f.index for f in await store.ledger.failures(job.id)] == [1, 3]


async def test_failed_calls_are_rows_and_come_back_as_they_were(store: Store) -> None:
    job = await submit(store.jobs, times=30, size=10)
    claimed = await claim(store.jobs)
    planted = (3, 17, 21, 22)
    results = [
        result(c, fails=tuple(i for i in planted if 0 <= i - c.batch.start < 10)) for c in claimed
    ]
    await store.jobs.finish("one", results, now=at(1))
    assert await store.ledger.failures(job.id) == [failed_call(i) for i in planted]
    assert [f.index for f in await store.ledger.failures(job.id, start=4, limit=2)] == [17, 21]
    (group,) = await store.ledger.failure_groups(job.id, samples=3)
    assert (group.pattern, group.place, group.count) == ("no #", "line 3, in f", 4)
    assert group.indexes == (3, 17, 21)


@pytest.mark.parametrize(
    ("text", "stored"), [("a\0b", "a\ufffdb"), ("\ud800", "?"), ("{%s}\\'\"", "{%s}\\'\"")]
)
async def test_any_text_of_a_worker_can_be_stored(store: Store, text: str, stored: str) -> None:
    job = await submit(store.jobs, on_error=OnError.FAIL)
    (claimed,) = await claim(store.jobs)
    bad = result(claimed, fails=(1,))
    failure = failed_call(1).failure
    odd = [
        type(failed_call(1))(
            index=1,
            failure=type(failure)(kind=failure.kind, type=text, message=text, traceback=text),
            log=text,
        )
    ]
    bad = BatchResult(batch=bad.batch, returned=0, failures=odd, error={"errorMessage": text})
    assert await store.jobs.finish("one", [bad], now=at(1)) == [True]
    (row,) = await store.ledger.failures(job.id)
    assert row.failure.message == row.log == stored
    ended = await store.ledger.job(job.id, owner=None)
    assert ended is not None
    assert ended.error == {"errorMessage": stored}


async def test_under_fail_the_first_failure_ends_the_job_and_drops_the_rest(store: Store) -> None:
    job = await submit(store.jobs, times=10, degree=3, on_error=OnError.FAIL)
    one, two, three = await claim(store.jobs)
    kept = await store.jobs.finish(
        "one", [result(one), result(two, fails=(2,)), result(three)], now=at(1)
    )
    assert kept == [True, True, False]
    ended = await store.ledger.job(job.id, owner=None)
    assert ended is not None
    assert (ended.state, ended.returned, ended.failed) == (JobState.FAILED, 1, 1)
    assert ended.error is not None
    assert ended.error["errorCode"] == int(FailureKind.RAISED)
    assert await claim(store.jobs, after_s=100) == []
    renewal = await store.jobs.renew("one", [three.batch], lease_s=15, now=at(2))
    assert renewal == Renewal(lost=frozenset({three.batch}), ended=frozenset({job.id}))


async def test_under_continue_a_threshold_ends_the_job(store: Store) -> None:
    job = await submit(store.jobs, times=4, max_failures=1)
    claimed = await claim(store.jobs)
    kept = await store.jobs.finish(
        "one", [result(c, fails=(c.batch.start,)) for c in claimed], now=at(1)
    )
    assert kept == [True, True, False, False]
    ended = await store.ledger.job(job.id, owner=None)
    assert ended is not None
    assert (ended.state, ended.failed) == (JobState.FAILED, 2)


async def test_a_job_of_which_all_calls_failed_has_failed(store: Store) -> None:
    job = await submit(store.jobs, times=2)
    claimed = await claim(store.jobs)
    await store.jobs.finish("one", [result(c, fails=(c.batch.start,)) for c in claimed], now=at(1))
    ended = await store.ledger.job(job.id, owner=None)
    assert ended is not None
    assert ended.state is JobState.FAILED
    assert ended.error is not None


async def test_a_script_that_cannot_be_loaded_ends_the_job_with_the_first_call(
    store: Store,
) -> None:
    job = await submit(store.jobs, times=9)
    claimed = await claim(store.jobs, wanted=1)
    bad = result(claimed[0], fails=(1,), failures=[failed_call(1, FailureKind.LOAD)])
    await store.jobs.finish("one", [bad], now=at(1))
    ended = await store.ledger.job(job.id, owner=None)
    assert ended is not None
    assert (ended.state, ended.failed) == (JobState.FAILED, 1)


async def test_a_canary_goes_alone(store: Store) -> None:
    good = await submit(store.jobs, times=3, canary=True)
    (canary,) = await claim(store.jobs)
    assert canary.batch.number == 0
    assert await claim(store.jobs) == []
    (again,) = await claim(store.jobs, "two", after_s=20)  # its agent was lost
    assert await store.jobs.finish("two", [result(again)], now=at(21)) == [True]
    assert [c.batch.number for c in await claim(store.jobs, after_s=21)] == [1, 2]
    bad = await submit(store.jobs, times=1000, canary=True)
    (canary,) = await claim(store.jobs, after_s=21)
    await store.jobs.finish("one", [result(canary, fails=(1,))], now=at(22))
    ended = await store.ledger.job(bad.id, owner=None)
    assert ended is not None
    assert (ended.state, ended.failed) == (JobState.FAILED, 1)
    assert good.id != bad.id


async def test_what_another_job_has_is_taken_as_it_is(store: Store) -> None:
    taken = Content(values=b"1\n2\n", meters=b"m")
    plan = [
        Planned(start=1, count=2, taken=taken),
        Planned(start=3, count=1),
        Planned(start=4, count=7, taken=Content(values=b""), size_bytes=99),
    ]
    spec = type(SPEC)(**{name: getattr(SPEC, name) for name in SPEC.__slots__} | {"times": 10})
    job, _ = await store.jobs.submit(str(uuid4()), spec, plan, now=START, quota=Quota())
    assert (job.state, job.returned) == (JobState.QUEUED, 9)
    batches = await store.ledger.batches(job.id, content=True)
    assert [(b.content, b.size_bytes, b.batch.fence) for b in batches] == [
        (taken, 5, 0), (None, 0, 0), (None, 99, 0),
    ]  # fmt: skip
    (only,) = await claim(store.jobs)
    assert only.batch.start == 3
    await store.jobs.finish("one", [result(only)], now=at(1))
    ended = await store.ledger.job(job.id, owner=None)
    assert ended is not None
    assert (ended.state, ended.returned) == (JobState.SUCCEEDED, 10)
    whole, _ = await store.jobs.submit(
        str(uuid4()), SPEC, [Planned(start=1, count=1, taken=taken)], now=START, quota=Quota()
    )
    assert whole.state is JobState.SUCCEEDED
    assert whole == await store.ledger.job(whole.id, owner=None)


async def test_cancelling_ends_a_job_and_keeps_what_it_has(store: Store) -> None:
    job = await submit(store.jobs, times=3, comments="mine")
    one, two, _ = await claim(store.jobs)
    await store.jobs.finish("one", [result(one)], now=at(1))
    cancelled = await store.jobs.cancel(job.id, "ADA", now=at(2))
    assert cancelled is not None
    as_it_is, ended = cancelled
    assert ended
    assert (as_it_is.state, as_it_is.returned, as_it_is.spec.comments) == (
        JobState.CANCELLED, 1, "mine",
    )  # fmt: skip
    assert await store.jobs.finish("one", [result(two)], now=at(3)) == [False]
    again = await store.jobs.cancel(job.id, None, now=at(4))
    assert again == (as_it_is, False)
    assert await claim(store.jobs, after_s=100) == []
    states = [b.state for b in await store.ledger.batches(job.id)]
    assert states == [BatchState.FINISHED, BatchState.DROPPED, BatchState.DROPPED]


async def test_a_job_whose_time_is_up_is_not_claimed_and_ends(store: Store) -> None:
    job = await submit(store.jobs, times=2, timeout_s=1800)
    queued = await submit(store.jobs, degree=1)
    (first, *_) = await claim(store.jobs, wanted=1)
    assert first.spec.times == 2
    assert await store.jobs.expire(now=at(1800)) == []
    late = await claim(store.jobs, after_s=1801)
    assert [c.batch.job for c in late] == [queued.id]
    assert await store.jobs.expire(now=at(1801)) == [job.id]
    ended = await store.ledger.job(job.id, owner=None)
    assert ended is not None
    assert (ended.state, ended.finished) == (JobState.TIMED_OUT, at(1801))
    assert await store.jobs.finish("one", [result(first)], now=at(1802)) == [False]


async def test_a_deleted_job_is_gone_for_its_agent_too(store: Store) -> None:
    job = await submit(store.jobs, times=2, key="k")
    claimed = await claim(store.jobs)
    assert await store.jobs.delete([job.id, "none"], "ADA", now=at(1)) == [job.id]
    assert await store.ledger.job(job.id, owner=None) is None
    assert await store.jobs.finish("one", [result(c) for c in claimed], now=at(2)) == [False] * 2
    renewal = await store.jobs.renew("one", [claimed[0].batch], lease_s=15, now=at(2))
    assert renewal.ended == {job.id}
    again = await submit(store.jobs, key="k")
    assert again.id != job.id


async def test_blobs_of_deleted_jobs_are_kept_in_mind(store: Store) -> None:
    """A stale agent may still be writing some when they are removed."""
    job = await submit(store.jobs)
    await store.jobs.delete([job.id], None, now=at(10))
    assert await store.jobs.prune(before=START, now=at(11)) == [job.id]
    await store.jobs.forget([job.id], deleted_before=at(5))
    assert await store.jobs.prune(before=START, now=at(11)) == [job.id]
    await store.jobs.forget([job.id], deleted_before=at(20))
    assert await store.jobs.prune(before=START, now=at(11)) == []


async def test_pruning_takes_jobs_that_ended_long_ago(store: Store) -> None:
    old = await submit(store.jobs)
    await store.jobs.finish("one", [result(c) for c in await claim(store.jobs)], now=at(5))
    new = await submit(store.jobs, digest="1" * 64, source="other")
    await store.jobs.finish("one", [result(c) for c in await claim(store.jobs)], now=at(15))
    queued = await submit(store.jobs)
    assert await store.jobs.prune(before=at(10), now=at(20)) == [old.id]
    left = {job.id for job in await store.ledger.jobs(JobFilter())}
    assert left == {new.id, queued.id}
    found = await store.ledger.job(new.id, owner=None)
    assert found is not None
    assert found.spec.source == "other"


async def test_a_source_that_another_process_pruned_is_stored_again(store: Store, url: URL) -> None:
    """A submission does not look every time whether its source is there."""
    await submit(store.jobs)
    await store.jobs.finish("one", [result(c) for c in await claim(store.jobs)], now=at(1))
    async with open_store(url) as other:
        await other.jobs.prune(before=at(10), now=at(20))
    again = await asyncio.gather(*(submit(store.jobs) for _ in range(3)))
    found = await store.ledger.job(again[0].id, owner=None)
    assert found is not None
    assert found.spec.source == SPEC.source


async def test_one_operation_that_fails_does_not_harm_those_beside_it(store: Store) -> None:
    """They share a commit; the one to blame is found, and fails alone."""
    bad = submit(store.jobs, plan=[(1, 1)], comments=None, service=ServiceLevel.LOW, verb=None)
    done = await asyncio.gather(submit(store.jobs), bad, submit(store.jobs), return_exceptions=True)
    assert isinstance(done[1], Exception)
    assert {job.id for job in await store.ledger.jobs(JobFilter())} == {
        job.id for job in (done[0], done[2]) if not isinstance(job, BaseException)
    }


async def test_blobs_of_a_job_that_never_came_are_told(store: Store) -> None:
    """They are stored before the job is, and whoever was about to submit it may have died."""
    never, came = str(uuid4()), str(uuid4())
    for job_id in (never, came):
        for _ in range(2):  # as after a broken connection
            await store.jobs.announce(job_id, until=at(1000))
    for _ in range(2):
        _, new = await store.jobs.submit(
            came, SPEC, plan_of(1, 1), now=at(5), quota=Quota(), announced=True
        )
        assert new
    assert await store.jobs.prune(before=START, now=at(999)) == []
    assert await store.jobs.prune(before=START, now=at(1001)) == [never]
    await store.jobs.forget([never], deleted_before=at(2000))
    assert await store.jobs.prune(before=START, now=at(1001)) == []


async def test_a_job_that_comes_too_late_for_its_blobs_is_refused(store: Store) -> None:
    job_id = str(uuid4())
    await store.jobs.announce(job_id, until=at(1000))
    with pytest.raises(TooLate):
        await store.jobs.submit(
            job_id, SPEC, plan_of(1, 1), now=at(1000), quota=Quota(), announced=True
        )
    with pytest.raises(TooLate):  # forgotten altogether
        await store.jobs.submit(
            str(uuid4()), SPEC, plan_of(1, 1), now=START, quota=Quota(), announced=True
        )
    assert await store.ledger.jobs(JobFilter()) == []


async def test_an_announced_job_that_is_an_earlier_one_stays_announced(store: Store) -> None:
    """Its blobs are nobody's, whether or not whoever stored them still removes them."""
    first = await submit(store.jobs, key="k")
    job_id = str(uuid4())
    await store.jobs.announce(job_id, until=at(1000))
    job, new = await store.jobs.submit(
        job_id, SPEC, plan_of(1, 1), now=START, quota=Quota(), idempotency_key="k", announced=True
    )
    assert (job.id, new) == (first.id, False)
    assert await store.jobs.prune(before=START, now=at(1001)) == [job_id]
