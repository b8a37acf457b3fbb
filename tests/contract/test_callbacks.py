"""What the store guarantees about telling of jobs' ends, over each database."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any
from uuid import uuid4

from fanfold_server.model.apply import OnError
from fanfold_server.model.callback import DeliveryState
from fanfold_server.model.job import Job
from fanfold_server.store.port import Content, Planned, Quota, Signal
from fanfold_server.store.sql import Store
from tests.contract.jobs import SPEC, START, at, claim, result, submit

URL = "https://hooks.example.org/x"
CALLED: dict[str, Any] = {"callback_url": URL, "callback_origin": "https://fanfold.example"}


async def _ended(store: Store, *, after_s: float = 1, **changes: Any) -> Job:
    job = await submit(store.jobs, **{**CALLED, **changes})
    claimed = await claim(store.jobs)
    assert await store.jobs.finish("one", [result(c) for c in claimed], now=at(after_s)) == [True]
    return job


async def test_every_end_of_a_job_leaves_a_delivery(store: Store) -> None:
    """It is written with the end itself, whoever writes that."""
    done = await submit(store.jobs, **CALLED)
    failed = await submit(store.jobs, on_error=OnError.FAIL, **CALLED)
    silent = await submit(store.jobs)
    claimed = {c.batch.job: c for c in await claim(store.jobs)}
    for job in (done, failed, silent):
        assert await store.callbacks.delivery(job.id) is None
    assert await store.callbacks.next_due() is None
    heard: list[Signal] = []
    leave = store.signals.subscribe(lambda signal, _: heard.append(signal))
    results = [
        result(claimed[done.id]),
        result(claimed[failed.id], fails=(1,)),
        result(claimed[silent.id]),
    ]
    assert await store.jobs.finish("one", results, now=at(1)) == [True] * 3
    leave()
    assert Signal.DUE in heard
    cancelled = await submit(store.jobs, **CALLED)
    await store.jobs.cancel(cancelled.id, None, now=at(2))
    overdue = await submit(store.jobs, **CALLED)
    await claim(store.jobs, after_s=3)
    assert await store.jobs.expire(now=at(1804)) == [overdue.id]
    called = dataclasses.replace(SPEC, callback_url=URL)
    planned = Planned(start=1, count=1, taken=Content(values=b"1\n"))
    taken, _ = await store.jobs.submit(str(uuid4()), called, [planned], now=at(5), quota=Quota())
    for job, ended in ((done, 1), (failed, 1), (cancelled, 2), (overdue, 1804), (taken, 5)):
        delivery = await store.callbacks.delivery(job.id)
        assert delivery is not None
        assert (delivery.url, delivery.state, delivery.attempts) == (
            URL, DeliveryState.WAITING, 0,
        )  # fmt: skip
        assert delivery.created == delivery.due == at(ended)
    assert await store.callbacks.delivery(silent.id) is None
    assert await store.callbacks.next_due() == at(1)


async def test_a_delivery_is_taken_by_one_at_a_time(store: Store) -> None:
    jobs = [await _ended(store) for _ in range(6)]
    taken = await asyncio.gather(
        *(store.callbacks.take(limit=2, now=at(2), lease_s=10) for _ in range(5))
    )
    found = [due.job.id for some in taken for due in some]
    assert sorted(found) == sorted(job.id for job in jobs)
    assert await store.callbacks.take(limit=9, now=at(11), lease_s=10) == []
    again = await store.callbacks.take(limit=9, now=at(12), lease_s=10)
    assert {due.fence for due in again} == {2}
    assert len(again) == 6
    assert again[0].job.spec.callback_origin == "https://fanfold.example"
    assert (again[0].job.returned, again[0].job.finished) == (1, at(1))


async def test_what_was_never_tried_goes_first(store: Store) -> None:
    old = await _ended(store)
    await store.callbacks.take(limit=1, now=at(2), lease_s=1)
    new = await _ended(store, after_s=4)
    (first,) = await store.callbacks.take(limit=1, now=at(5), lease_s=1)
    (second,) = await store.callbacks.take(limit=1, now=at(5), lease_s=1)
    assert (first.job.id, second.job.id) == (new.id, old.id)


async def test_an_attempt_is_recorded_and_tried_again_when_it_is_due(store: Store) -> None:
    job = await _ended(store)
    (due,) = await store.callbacks.take(limit=9, now=at(2), lease_s=10)
    kept = await store.callbacks.record(
        due, DeliveryState.WAITING, now=at(3), again=at(8), status=500, error="it\0answered 500"
    )
    assert kept
    delivery = await store.callbacks.delivery(job.id)
    assert delivery is not None
    assert (delivery.attempts, delivery.last, delivery.due) == (1, at(3), at(8))
    assert (delivery.status, delivery.error) == (500, "it\ufffdanswered 500")
    assert await store.callbacks.take(limit=9, now=at(7), lease_s=10) == []
    (due,) = await store.callbacks.take(limit=9, now=at(8), lease_s=10)
    for kept in (True, False):  # once it is told, it stays told
        told = await store.callbacks.record(
            due, DeliveryState.DELIVERED, now=at(9), again=at(9), status=204
        )
        assert told is kept
    delivery = await store.callbacks.delivery(job.id)
    assert delivery is not None
    assert (delivery.state, delivery.attempts, delivery.status, delivery.error) == (
        DeliveryState.DELIVERED, 2, 204, None,
    )  # fmt: skip
    assert await store.callbacks.next_due() is None


async def test_a_stale_attempt_records_nothing(store: Store) -> None:
    await _ended(store)
    (stale,) = await store.callbacks.take(limit=9, now=at(2), lease_s=1)
    (due,) = await store.callbacks.take(limit=9, now=at(4), lease_s=1)
    given_up = DeliveryState.GIVEN_UP
    assert not await store.callbacks.record(stale, given_up, now=at(5), again=at(5), error="x")
    assert await store.callbacks.record(due, given_up, now=at(5), again=at(5), error="x")
    assert await store.callbacks.next_due() is None


async def test_a_delivery_goes_with_its_job(store: Store) -> None:
    job = await _ended(store)
    (due,) = await store.callbacks.take(limit=9, now=at(2), lease_s=1)
    await store.jobs.delete([job.id], None, now=at(3))
    assert await store.callbacks.delivery(job.id) is None
    assert not await store.callbacks.record(due, DeliveryState.DELIVERED, now=at(4), again=at(4))


async def test_a_secret_is_made_once_and_overlaps_when_it_is_replaced(store: Store) -> None:
    drawn = [bytes([n]) * 32 for n in range(10)]
    found = await asyncio.gather(
        *(store.callbacks.secrets("ADA", new=new, now=START) for new in drawn)
    )
    (keys,) = {tuple(secrets.keys) for secrets in found}
    assert len(keys) == 1
    assert keys[0] in drawn
    new = b"n" * 32
    for _ in range(2):  # as after a broken connection
        rotated = await store.callbacks.rotate("ADA", new=new, now=at(10))
        assert (tuple(rotated.keys), rotated.rotated) == ((new, *keys), at(10))
    day_s = 24 * 3600
    for after_s, valid in ((9 + day_s, (new, *keys)), (10 + day_s, (new,))):
        secrets = await store.callbacks.secrets("ADA", new=b"x" * 32, now=at(after_s))
        assert tuple(secrets.keys) == valid
    first = await store.callbacks.rotate("BOB", new=new, now=START)
    assert tuple(first.keys) == (new,)


async def test_a_job_keeps_whom_it_tells(store: Store) -> None:
    job = await submit(store.jobs, plan=[(1, 1)], **CALLED)
    (claimed,) = await claim(store.jobs)
    assert claimed.spec == job.spec
    assert claimed.spec.callback_url == URL
