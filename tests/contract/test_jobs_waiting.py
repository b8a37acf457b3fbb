"""Claims that wait for something to claim; over each database."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from fanfold_server.model.job import JobState
from fanfold_server.store.port import Claimed, Signal
from fanfold_server.store.sql import Store
from tests.contract.jobs import at, claim, result, submit

LONG_S = 30.0


def _waiting(store: Store, *, wait_s: float = LONG_S) -> asyncio.Task[list[Claimed]]:
    return asyncio.ensure_future(
        store.jobs.claim("one", wanted=4, lease_s=15, now=at(0), per_owner=100, wait_s=wait_s)
    )


async def _stands(store: Store) -> None:
    """Wait until what was asked for before has been tried."""
    await asyncio.sleep(0)
    await store.jobs.expire(now=at(0))


async def test_what_is_submitted_goes_to_the_claim_that_waits(store: Store) -> None:
    heard: list[tuple[Signal, str]] = []
    ended = asyncio.Event()

    def take(signal: Signal, job: str) -> None:
        heard.append((signal, job))
        if signal is Signal.ENDED:
            ended.set()

    store.signals.subscribe(take)
    waiting = _waiting(store)
    await _stands(store)
    job = await submit(store.jobs)
    async with asyncio.timeout(LONG_S / 2):
        (claimed,) = await waiting
    assert claimed.batch.job == job.id
    found = await store.ledger.job(job.id, owner=None)
    assert found is not None
    assert found.state is JobState.RUNNING
    assert found.started is not None
    assert at(0) <= found.started <= at(LONG_S)
    assert await store.jobs.finish("one", [result(claimed)], now=at(1)) == [True]
    async with asyncio.timeout(LONG_S):
        await ended.wait()
    assert (Signal.READY, job.id) not in heard  # nobody else needs to look


async def test_what_the_claim_does_not_take_is_told_as_ready(store: Store) -> None:
    heard: asyncio.Queue[tuple[Signal, str]] = asyncio.Queue()
    store.signals.subscribe(lambda signal, job: heard.put_nowait((signal, job)))
    waiting = _waiting(store)
    await _stands(store)
    job = await submit(store.jobs, times=2, degree=1)
    async with asyncio.timeout(LONG_S):
        while await heard.get() != (Signal.READY, job.id):
            pass
        assert [one.batch.number for one in await waiting] == [0]


async def test_what_a_job_may_have_no_more_of_is_claimed_when_one_has_ended(store: Store) -> None:
    await submit(store.jobs, times=2, degree=1)
    (first,) = await claim(store.jobs)
    waiting = _waiting(store)
    await _stands(store)
    assert not waiting.done()
    await store.jobs.finish("one", [result(first)], now=at(1))
    async with asyncio.timeout(LONG_S / 2):
        assert [one.batch.number for one in await waiting] == [1]


async def test_what_was_there_before_is_claimed_at_once(store: Store) -> None:
    assert await claim(store.jobs) == []
    job = await submit(store.jobs)
    async with asyncio.timeout(LONG_S / 2):
        assert [one.batch.job for one in await _waiting(store)] == [job.id]


async def test_a_claim_that_waits_in_vain_brings_nothing(store: Store) -> None:
    async with asyncio.timeout(LONG_S):
        assert await _waiting(store, wait_s=0.05) == []


async def test_a_claim_that_nobody_waits_for_takes_nothing(store: Store) -> None:
    waiting = _waiting(store)
    await _stands(store)
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    job = await submit(store.jobs)
    assert [one.batch.job for one in await claim(store.jobs, "two")] == [job.id]


async def test_a_submission_that_fails_takes_no_claim_with_it(store: Store) -> None:
    waiting = _waiting(store)
    await _stands(store)
    with suppress(Exception):
        await submit(store.jobs, times="many")
    job = await submit(store.jobs)
    async with asyncio.timeout(LONG_S / 2):
        assert [one.batch.job for one in await waiting] == [job.id]
