"""Telling of jobs' ends: by real messages to a real server, from a real database."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from sqlalchemy import update
from standardwebhooks import Webhook

from fanfold_server.callbacks.sending import open_post
from fanfold_server.model.callback import Delivery, DeliveryState, Hosts
from fanfold_server.model.errors import InvalidField
from fanfold_server.model.job import Job, JobState
from fanfold_server.service.callbacks import Callbacks, headers_of, message_of, written
from fanfold_server.service.delivering import MAX_ATTEMPTS, MAX_PAUSE_S, Deliverer, pause_s
from fanfold_server.store.schema import delivery as deliveries
from tests.contract.jobs import SPEC, START
from tests.fakes.engine import PlainEngine
from tests.fakes.house import ALICE, LIMIT_S, House, opened
from tests.fakes.ports import reserved_port
from tests.fakes.receiver import Receiver, receiving

RETRY_S = 0.05


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with opened(tmp_path, hosts=Hosts(["127.0.0.1:1", "hooks.example.org"])) as house:
        yield house


@asynccontextmanager
async def _delivering(house: House, host: str) -> AsyncIterator[Deliverer]:
    async with open_post(8) as post:
        deliverer = Deliverer(
            store=house.store.callbacks,
            signals=house.store.signals,
            post=post,
            hosts=Hosts([host]),
            retry_s=RETRY_S,
            agent="fanfold/test",
            lease_s=40,
        )
        deliverer.open()
        try:
            yield deliverer
        finally:
            await deliverer.close()


async def _ended(house: House, receiver: Receiver, times: int = 3) -> Job:
    house.submitting._hosts = Hosts([receiver.host])
    origin = "https://fanfold.example"
    async with house.working(PlainEngine(lambda i: {"secret": i})):
        return await house.ended(
            await house.submit(times, callback_url=receiver.url, callback_origin=origin)
        )


async def _delivery(
    house: House, job: Job, is_there: Callable[[Delivery], bool] | None = None
) -> Delivery:
    """Give a job's delivery, when it is as wanted; by default, over."""
    callbacks = Callbacks(store=house.store.callbacks, ledger=house.store.ledger)
    async with asyncio.timeout(LIMIT_S):
        while True:
            (found,) = await callbacks.deliveries(ALICE, job.id)
            if is_there(found) if is_there else found.state is not DeliveryState.WAITING:
                return found
            await asyncio.sleep(0.01)


async def test_the_end_of_a_job_is_told_signed_and_without_its_results(house: House) -> None:
    with receiving() as receiver:
        async with _delivering(house, receiver.host):
            job = await _ended(house, receiver)
            delivery = await _delivery(house, job)
    assert (delivery.state, delivery.attempts, delivery.status) == (
        DeliveryState.DELIVERED, 1, 204,
    )  # fmt: skip
    (received,) = receiver.received
    secrets = await house.store.callbacks.secrets("ALICE", new=b"", now=datetime.now(UTC))
    # An implementation that is not ours takes it for genuine.
    message = Webhook(written(secrets.keys[0])).verify(received.body, received.headers)
    assert message["type"] == "job.ended"
    data = message["data"]
    assert (data["id"], data["state"]) == (job.id, "succeeded")
    assert (data["times"], data["returned"], data["failed"]) == (3, 3, 0)
    assert data["links"]["job"] == f"https://fanfold.example/api/v1/jobs/{job.id}"
    assert received.headers["webhook-id"] == delivery.id
    assert received.headers["user-agent"] == "fanfold/test"
    assert b"secret" not in received.body


async def test_a_bad_answer_is_tried_again_with_the_same_id_and_body(house: House) -> None:
    with receiving(answers=(500, 302, 204)) as receiver:
        async with _delivering(house, receiver.host):
            delivery = await _delivery(house, await _ended(house, receiver))
    assert (delivery.state, delivery.attempts) == (DeliveryState.DELIVERED, 3)
    assert len(receiver.received) == 3
    assert len({(r.body, r.headers["webhook-id"]) for r in receiver.received}) == 1


async def test_who_is_away_is_told_when_he_is_back(house: House) -> None:
    with reserved_port() as port:
        await _away_and_back(house, port)


async def _away_and_back(house: House, port: int) -> None:
    away = Receiver(port=port)
    async with _delivering(house, away.host):
        job = await _ended(house, away)
        waiting = await _delivery(house, job, lambda found: found.error is not None)
        assert (waiting.state, waiting.status) == (DeliveryState.WAITING, None)
        assert waiting.error == "it could not be connected to"
        with receiving(port=port) as receiver:
            delivery = await _delivery(house, job)
    assert delivery.state is DeliveryState.DELIVERED
    assert delivery.attempts > 1
    assert len(receiver.received) == 1


async def test_an_address_that_is_gone_is_given_up(house: House) -> None:
    with receiving(answers=(410,)) as receiver:
        async with _delivering(house, receiver.host):
            delivery = await _delivery(house, await _ended(house, receiver))
    assert (delivery.state, delivery.attempts, delivery.status) == (
        DeliveryState.GIVEN_UP, 1, 410,
    )  # fmt: skip


async def test_what_a_server_died_over_is_delivered_by_another(house: House) -> None:
    """It was sent, maybe, and its answer never seen: sent again, under the same id."""
    with receiving(answers=(0, 204)) as receiver:
        async with _delivering(house, receiver.host) as dying:
            job = await _ended(house, receiver)
            async with asyncio.timeout(LIMIT_S):
                while not receiver.received:  # noqa: ASYNC110  # a thread receives
                    await asyncio.sleep(0.01)
            assert dying._loop is not None
            for task in (dying._loop, *dying._tasks):  # as if it were killed: nothing is recorded
                task.cancel()
        # Its lease runs out: only now, as it would else send again itself where all is slow.
        async with house.store.callbacks._database.write() as connection:
            await connection.execute(update(deliveries).values(due=START))
        async with _delivering(house, receiver.host):
            delivery = await _delivery(house, job)
    assert (delivery.state, delivery.attempts) == (DeliveryState.DELIVERED, 2)
    assert len({r.headers["webhook-id"] for r in receiver.received}) == 1


async def test_many_are_told_a_few_at_a_time(house: House) -> None:
    with receiving() as receiver:
        async with _delivering(house, receiver.host):
            jobs = [await _ended(house, receiver, 1) for _ in range(20)]
            for job in jobs:
                assert (await _delivery(house, job)).attempts == 1
    assert {r.headers["webhook-id"] for r in receiver.received} == {f"msg_{j.id}" for j in jobs}


async def test_a_host_that_is_listed_no_more_is_not_called(house: House) -> None:
    with receiving() as receiver:
        async with _delivering(house, "hooks.example.org"):
            job = await _ended(house, receiver)
            delivery = await _delivery(house, job, lambda found: found.error is not None)
    assert delivery.error == "this server does not call its host any more"
    assert receiver.received == []


async def test_a_host_that_is_not_listed_is_refused_at_once(house: House) -> None:
    with pytest.raises(InvalidField, match="callback_hosts"):
        await house.submit(1, callback_url="https://other.example.org/")


async def test_a_continued_job_tells_of_its_own_end(house: House) -> None:
    with receiving() as receiver:
        async with _delivering(house, receiver.host):
            job = await _ended(house, receiver)
            again = await house.submitting.resume(ALICE, job.id)
            assert (await _delivery(house, again)).state is DeliveryState.DELIVERED
    assert len({r.headers["webhook-id"] for r in receiver.received}) == 2


def test_a_signature_is_the_one_of_the_specification() -> None:
    """The last value was made with the reference library."""
    key = bytes(range(32))
    at = datetime.fromtimestamp(1767614400, UTC)
    body = b'{"type":"job.ended"}'
    job = "1c0ffee0-0000-4000-8000-000000000001"
    headers = headers_of(job, body, [key, b"x"], at)
    assert headers["webhook-timestamp"] == "1767614400"
    first, second = headers["webhook-signature"].split(" ")
    assert first == "v1,yWVAFxISteNahhh8YWbIwetqUdwTKatG+yRjJauFml4="
    assert second != first
    assert written(key) == "whsec_" + base64.b64encode(key).decode()


def test_a_message_holds_nothing_that_a_function_or_its_caller_has_said() -> None:
    spec = dataclasses.replace(SPEC, parameters=b'{"x":"hidden"}', comments="hidden", times=9)
    job = Job(
        id="1c0ffee0-0000-4000-8000-000000000001", spec=spec, state=JobState.FAILED,
        created=START, started=None, finished=START, returned=1, failed=8,
        error={"errorMessage": "hidden"},
    )  # fmt: skip
    body = message_of(job)
    assert b"hidden" not in body
    assert orjson.loads(body)["timestamp"] == "2026-01-05T12:00:00.000Z"


def test_pauses_grow_to_hours() -> None:
    pauses = [pause_s(n, 5) for n in range(1, MAX_ATTEMPTS)]
    assert pauses[:4] == [5, 20, 80, 320]
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_PAUSE_S
    assert 12 * 3600 < sum(pauses) < 48 * 3600
