"""Whose turn it is, what is refused, how jobs are listed and told; over each database."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fanfold_server.model.apply import ServiceLevel
from fanfold_server.model.errors import DiskFull, QuotaExceeded
from fanfold_server.model.job import JobLine, JobState
from fanfold_server.store.port import (
    JobFilter,
    Queue,
    Quota,
    Signal,
)
from fanfold_server.store.sql import Store, open_store, sqlite_url
from tests.contract.jobs import START, at, claim, result, submit


async def test_levels_go_before_age(store: Store) -> None:
    levels = [
        ServiceLevel.LOW, ServiceLevel.TP, ServiceLevel.HIGH, ServiceLevel.TPURGENT,
        ServiceLevel.MEDIUM,
    ]  # fmt: skip
    for level in levels:
        await submit(store.jobs, service=level)
    order = [c.spec.service for c in await claim(store.jobs, wanted=3)]
    order += [c.spec.service for c in await claim(store.jobs)]
    assert order == ["TPURGENT", "TP", "HIGH", "MEDIUM", "LOW"]


async def test_owners_take_turns(store: Store) -> None:
    for _ in range(5):
        await submit(store.jobs, times=3, owner="ADA")
    await submit(store.jobs, times=2, owner="BOB")
    await submit(store.jobs, times=9, owner="CEM", degree=2)
    turns = [c.spec.owner for c in await claim(store.jobs, wanted=6)]
    assert sorted(turns) == ["ADA", "ADA", "BOB", "BOB", "CEM", "CEM"]
    rest = await claim(store.jobs, wanted=3)
    assert [c.spec.owner for c in rest] == ["ADA"] * 3


async def test_a_job_has_no_more_leases_than_its_degree(store: Store) -> None:
    job = await submit(store.jobs, times=9, degree=2)
    later = await submit(store.jobs, degree=1)
    first = await claim(store.jobs)
    assert [c.batch.job for c in first] == [job.id, job.id, later.id]
    assert await claim(store.jobs) == []
    await store.jobs.finish("one", [result(first[0])], now=at(1))
    assert [c.batch.number for c in await claim(store.jobs, after_s=1)] == [2]


async def test_an_owner_has_no_more_leases_than_allowed(store: Store) -> None:
    await submit(store.jobs, times=9, degree=9)
    await submit(store.jobs, times=9, degree=9, service=ServiceLevel.HIGH)
    await submit(store.jobs, times=1, owner="BOB")
    owners = [c.spec.owner for c in await claim(store.jobs, per_owner=3)]
    assert sorted(owners) == ["ADA", "ADA", "ADA", "BOB"]
    assert await claim(store.jobs, "two", per_owner=3) == []


async def test_short_batches_that_follow_one_another_are_one_work(store: Store) -> None:
    """A work counts once against degree and account, and holds no more calls than asked for."""
    job = await submit(store.jobs, times=20, size=2, degree=1)
    first = await claim(store.jobs, at_once=9)
    assert [(c.batch.number, c.work) for c in first] == [(0, 0), (1, 0), (2, 0), (3, 0)]
    assert await claim(store.jobs, "two", at_once=9) == []
    assert await store.jobs.finish("two", [result(first[0])], now=at(1)) == [False]
    kept = await store.jobs.finish("one", [result(c) for c in first[:3]], now=at(1))
    assert kept == [True] * 3
    assert await claim(store.jobs, at_once=9) == [], "the fourth is still in work"
    assert await store.jobs.finish("one", [result(first[3])], now=at(1)) == [True]
    rest = await claim(store.jobs, at_once=99)
    assert [(c.batch.number, c.work) for c in rest] == [(n, 4) for n in range(4, 10)]
    await store.jobs.finish("one", [result(c) for c in rest], now=at(2))
    ended = await store.ledger.job(job.id, owner=None)
    assert ended is not None
    assert (ended.state, ended.returned) == (JobState.SUCCEEDED, 20)


async def test_works_leave_their_share_to_others(store: Store) -> None:
    """What waits is divided, so that the last work is not the one that all others wait for."""
    await submit(store.jobs, times=40, degree=2)
    works = await claim(store.jobs, wanted=1, at_once=99)
    assert {c.work for c in works} == {0}
    assert len(works) == 10
    more = await claim(store.jobs, "two", at_once=99)
    assert {c.work for c in more} == {10}
    assert len(more) == 8
    assert await claim(store.jobs, "three", at_once=99) == []


async def test_an_account_has_as_many_works_as_allowed(store: Store) -> None:
    await submit(store.jobs, times=40, degree=9)
    works = await claim(store.jobs, at_once=2, per_owner=3)
    assert len(works) == 6
    assert len({c.work for c in works}) == 3
    assert await claim(store.jobs, "two", at_once=2, per_owner=3) == []


async def test_what_was_begun_before_runs_by_itself(store: Store) -> None:
    """A batch that its agents die with takes no others along."""
    await submit(store.jobs, times=6, degree=1)
    lost = await claim(store.jobs, at_once=3)
    assert len(lost) == 3
    again = await claim(store.jobs, "two", after_s=20, at_once=99)
    assert [(c.batch.number, c.batch.fence, c.work) for c in again] == [(0, 2, 0)]
    kept = await store.jobs.renew("one", [c.batch for c in lost], lease_s=15, now=at(21))
    assert kept.lost == {lost[0].batch}
    assert await store.jobs.finish("one", [result(c) for c in lost], now=at(22)) == [
        False, True, True,
    ]  # fmt: skip


async def test_a_canary_runs_by_itself(store: Store) -> None:
    plan = [(1, 1), *((i, 1) for i in range(2, 10))]
    await submit(store.jobs, times=9, degree=1, canary=True, plan=plan)
    (first,) = await claim(store.jobs, at_once=99)
    await store.jobs.finish("one", [result(first)], now=at(1))
    assert len(await claim(store.jobs, at_once=99)) == 8


async def test_many_agents_never_get_the_same_batch(store: Store) -> None:
    await asyncio.gather(*(submit(store.jobs, times=5, degree=99) for _ in range(8)))
    shares = await asyncio.gather(*(claim(store.jobs, f"agent {n}", wanted=5) for n in range(12)))
    got = [(c.batch.job, c.batch.number) for share in shares for c in share]
    assert len(got) == len(set(got)) == 40


async def test_over_its_quota_an_account_is_refused(store: Store) -> None:
    quota = Quota(queued_jobs=2)
    await submit(store.jobs, quota=quota)
    kept = await submit(store.jobs, quota=quota, key="k")
    with pytest.raises(QuotaExceeded) as refused:
        await submit(store.jobs, quota=quota)
    assert refused.value.details["quota"] == 2
    assert (await submit(store.jobs, quota=quota, key="k")).id == kept.id
    await submit(store.jobs, quota=quota, owner="BOB")
    await store.jobs.cancel(kept.id, None, now=START)
    await submit(store.jobs, quota=quota)


async def test_stored_bytes_are_bounded(store: Store) -> None:
    job = await submit(store.jobs, owner="BOB")
    (claimed,) = await claim(store.jobs)
    await store.jobs.finish("one", [result(claimed, content=None, size_bytes=1000)], now=at(1))
    usage = await store.ledger.usage("BOB", now=at(1))
    assert (usage.stored_bytes, usage.queued_jobs, usage.leases) == (1000, 0, 0)
    with pytest.raises(QuotaExceeded):
        await submit(store.jobs, owner="BOB", quota=Quota(stored_bytes=1000))
    await store.jobs.delete([job.id], None, now=at(2))
    await submit(store.jobs, owner="BOB", quota=Quota(stored_bytes=1000))


async def test_without_room_no_job_is_accepted_and_those_that_were_go_on(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "fanfold.db")
    async with open_store(url) as store:
        accepted = await submit(store.jobs)
    async with open_store(url, min_free_bytes=1 << 62) as store:
        with pytest.raises(DiskFull, match=r"MiB are free .* 4,398,046,511,104 MiB .*min_free_mib"):
            await submit(store.jobs)
        (claimed,) = await claim(store.jobs)
        assert claimed.batch.job == accepted.id
        assert await store.jobs.finish("one", [result(claimed)], now=at(1)) == [True]


async def test_listings_are_filtered_and_paged(store: Store) -> None:
    made = [
        await submit(store.jobs, after_s=n, comments=f"run {n}" if n % 2 else None, times=1)
        for n in range(6)
    ]
    ids = [job.id for job in reversed(made)]
    await store.jobs.cancel(ids[0], None, now=at(9))

    async def listed(
        limit: int | None = None, after: str | None = None, **which: object
    ) -> list[str]:
        wanted = JobFilter(**which)  # type: ignore[arg-type]
        found = await store.ledger.jobs(wanted, limit=limit, after=after)
        assert await store.ledger.lines(wanted, limit=limit or 100, after=after) == [
            JobLine(
                id=job.id,
                state=job.state,
                created=job.created,
                finished=job.finished,
                comments=job.spec.comments,
            )
            for job in found
        ]
        return [job.id for job in found]

    assert await listed(owner="ADA") == ids
    assert await listed(owner="BOB") == []
    assert await listed(limit=2) == ids[:2]
    assert await listed(limit=9, after=ids[1]) == ids[2:]
    anothers = await submit(store.jobs, owner="BOB", after_s=8)
    assert await listed(owner="ADA", after=anothers.id) == []
    assert await listed(states=frozenset({JobState.CANCELLED})) == ids[:1]
    assert await listed(comments="RUN %") == ids[::2]
    assert await listed(comments="run _") == ids[::2]
    assert await listed(comments="run") == []
    assert await listed(created_from=at(2), created_before=at(4)) == ids[2:4]
    assert await listed(ids=frozenset(ids[3:])) == ids[3:]
    assert await listed(script="g") == []


async def test_a_queued_job_knows_how_many_calls_are_before_it(store: Store) -> None:
    await submit(store.jobs, times=5)
    job = await submit(store.jobs, owner="BOB", times=2)
    await submit(store.jobs, times=3, service=ServiceLevel.HIGH)
    await submit(store.jobs, times=9)
    found = await store.ledger.job(job.id, owner=None)
    assert found is not None
    assert found.ahead == 8


async def test_the_queue_is_summed_up_for_all_owners(store: Store) -> None:
    nothing = await store.ledger.queue(now=at(0))
    assert nothing == Queue(queued=0, running=0, oldest=None, leases=0)
    await submit(store.jobs, times=2, degree=2)
    await claim(store.jobs, wanted=2)
    await submit(store.jobs, owner="BOB", after_s=3)
    await submit(store.jobs, after_s=5)
    gone = await submit(store.jobs, after_s=1)
    await store.jobs.cancel(gone.id, None, now=at(6))
    summed = await store.ledger.queue(now=at(1))
    assert summed == Queue(queued=2, running=1, oldest=at(3), leases=2)
    later = await store.ledger.queue(now=at(100))
    assert later.leases == 0


async def test_signals_follow_what_happens(store: Store) -> None:
    heard: asyncio.Queue[tuple[Signal, str]] = asyncio.Queue()
    leave = store.signals.subscribe(lambda signal, job: heard.put_nowait((signal, job)))

    async def hear(signal: Signal, job_id: str) -> None:
        async with asyncio.timeout(60):
            while await heard.get() != (signal, job_id):
                pass

    job = await submit(store.jobs, times=3)
    await hear(Signal.READY, job.id)
    one, two, _ = await claim(store.jobs)
    await store.jobs.finish("one", [result(one)], now=at(1))
    await hear(Signal.RECORDED, job.id)
    await store.jobs.release("one", [two.batch])
    await hear(Signal.READY, job.id)
    await store.jobs.cancel(job.id, None, now=at(2))
    await hear(Signal.ENDED, job.id)
    leave()
    later = await submit(store.jobs)
    assert all(heard.get_nowait()[1] != later.id for _ in range(heard.qsize()))
