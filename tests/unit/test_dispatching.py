"""What an agent does with batches, over a real database and an engine of plain functions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import orjson
import pytest
from typing_extensions import override

from fanfold_server.engine.port import Recorder, Work
from fanfold_server.model.apply import OnError
from fanfold_server.model.errors import (
    EngineUnavailable,
    JobNotRunning,
    JobRunning,
    Overloaded,
    UnknownImage,
    UnknownJob,
)
from fanfold_server.model.job import JobState
from fanfold_server.model.outcome import Image, Returned
from fanfold_server.service.dispatching import MAX_STARTS
from tests.fakes.engine import PlainEngine, PlainRunning
from tests.fakes.house import ALICE, BOB, LIMIT_S, House, opened

LEASE_S = 0.6


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with opened(tmp_path) as house:
        yield house


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110  # what it asks has no event
            await asyncio.sleep(0.01)


def _fails_at(*indexes: int) -> Callable[[int], int]:
    def function(index: int) -> int:
        if index in indexes:
            raise ValueError(f"no {index}")
        return index * 10

    return function


async def test_the_answer_is_in_index_order(house: House) -> None:
    engine = PlainEngine(_fails_at())
    async with house.working(engine):
        job = await house.ended(await house.submit(1000))
    assert job.state is JobState.SUCCEEDED
    assert await house.answer(job) == {"result": [10 * i for i in range(1, 1001)]}
    assert sorted(engine.calls) == list(range(1, 1001))


class Counting(PlainEngine):
    """Counts works, and says that each call takes as many microseconds as asked for."""

    def __init__(self, function: Callable[[int], int], us: int) -> None:
        super().__init__(lambda i: Returned(index=i, json=b"%d" % function(i), elapsed_us=us))
        self.works: list[int] = []

    @override
    def start(self, work: Work, recorder: Recorder) -> PlainRunning:
        self.works.append(work.count)
        return super().start(work, recorder)


@pytest.mark.parametrize(("us", "most", "least"), [(3, 60, 0), (60_000, 200, 200)])
async def test_short_batches_run_together_and_long_ones_do_not(
    house: House, us: int, most: int, least: int
) -> None:
    """Two hundred batches cost two hundred times what handing one to a worker costs."""
    engine = Counting(lambda i: i, us)
    async with house.working(engine):
        job = await house.ended(await house.submit(1000))
    assert least <= len(engine.works) <= most
    assert sorted(engine.calls) == list(range(1, 1001))
    assert await house.answer(job) == {"result": list(range(1, 1001))}


@pytest.mark.parametrize("on_error", list(OnError))
async def test_failures_among_batches_that_run_together_are_their_own(
    house: House, on_error: OnError
) -> None:
    engine = Counting(_fails_at(333, 777), 3)
    async with house.working(engine):
        job = await house.ended(await house.submit(1000, on_error=on_error))
    assert len(engine.works) < 60
    if on_error is OnError.FAIL:
        assert job.state is JobState.FAILED
        assert (await house.answer(job))["index"] in {333, 777}
        return
    assert (job.state, job.returned, job.failed) == (JobState.PARTLY_FAILED, 998, 2)
    answer = await house.answer(job)
    assert [i for i, value in enumerate(answer["result"], 1) if value is None] == [333, 777]
    assert [error["index"] for error in answer["errors"]] == [333, 777]


async def test_what_ran_together_and_stopped_half_way_is_given_back(house: House) -> None:
    """The batches that are whole are kept; of the others, nothing, and another agent has them."""
    engine = Counting(lambda i: i, 3)
    job = await house.submit(1000)
    async with house.working(engine):
        await _until(lambda: len(engine.calls) > 300)
        engine.open.clear()
    other = Counting(lambda i: i, 3)
    async with house.working(other, "b"):
        job = await house.ended(job)
    assert job.state is JobState.SUCCEEDED
    assert await house.answer(job) == {"result": list(range(1, 1001))}
    assert len(engine.calls) + len(other.calls) < 1000 + 5 * 4 + 4


async def test_resume_runs_the_failed_calls_and_no_other(house: House) -> None:
    planted = sorted({(i * 263) % 10_000 + 1 for i in range(37)})
    async with house.working(PlainEngine(_fails_at(*planted))):
        job = await house.ended(await house.submit(10_000, on_error=OnError.CONTINUE))
    assert (job.state, job.returned, job.failed) == (JobState.PARTLY_FAILED, 9963, 37)
    failed = await house.jobs.outcomes(ALICE, job.id, state="failed", start=0, limit=1000)
    assert [entry.index for entry in failed] == planted
    groups = await house.jobs.errors(ALICE, job.id)
    assert [(group.count, group.pattern) for group in groups] == [(37, "no #")]
    mended = PlainEngine(_fails_at())
    async with house.working(mended, "b"):
        again = await house.ended(await house.submitting.resume(ALICE, job.id))
    assert sorted(mended.calls) == planted
    assert again.state is JobState.SUCCEEDED
    assert await house.answer(again) == {"result": [10 * i for i in range(1, 10_001)]}


async def test_extend_keeps_the_old_values(house: House) -> None:
    async with house.working(PlainEngine(lambda i: ["old", i])):
        job = await house.ended(await house.submit(500))
    longer = PlainEngine(lambda i: ["new", i])
    async with house.working(longer, "b"):
        more = await house.ended(await house.submitting.extend(ALICE, job.id, 700))
    assert sorted(longer.calls) == list(range(501, 701))
    assert await house.answer(more) == {
        "result": [["old" if i <= 500 else "new", i] for i in range(1, 701)]
    }


async def test_what_is_taken_over_keeps_its_images_logs_and_meters(house: House) -> None:
    def draw(index: int) -> Returned:
        if index in {7, 30}:
            raise ValueError
        drawn = (Image(png=b"png %d" % index, title=f"t{index}"),)
        value = b'"%s"' % (b"x" * 20_000) if index > 200 else b"%d" % index
        return Returned(
            index=index, json=value, images=drawn, log=f"{index}\n", elapsed_us=index, peak_kib=9
        )

    async with house.working(PlainEngine(draw)):
        job = await house.ended(await house.submit(300, on_error=OnError.CONTINUE))
    async with house.working(PlainEngine(lambda _: 0), "b"):
        again = await house.ended(await house.submitting.resume(ALICE, job.id))
    await house.jobs.delete(ALICE, job.id)
    entries = await house.jobs.outcomes(ALICE, again.id, state=None, start=1, limit=1000)
    assert [e.index for e in entries] == list(range(1, 301))
    for entry in entries:
        if entry.index not in {7, 30}:
            assert (entry.log, entry.elapsed_us, entry.peak_kib) == (
                f"{entry.index}\n",
                entry.index,
                9,
            )
            png = await house.jobs.image(ALICE, again.id, entry.index, 1)
            assert png == b"png %d" % entry.index
    images = await house.jobs.images(ALICE, again.id, start=5, limit=4)
    assert [(e.index, e.title) for e in images] == [(5, "t5"), (6, "t6"), (8, "t8"), (9, "t9")]
    with pytest.raises(UnknownImage):
        await house.jobs.image(ALICE, again.id, 7, 1)
    answer = (await house.answer(again))["result"]
    assert answer[:8] == [1, 2, 3, 4, 5, 6, 0, 8]
    assert answer[200] == "x" * 20_000


async def test_a_job_that_failed_early_is_resumed_where_it_stopped(house: House) -> None:
    async with house.working(PlainEngine(_fails_at(300))):
        job = await house.ended(await house.submit(1000))
    assert job.state is JobState.FAILED
    assert (await house.answer(job))["errorMessage"] == "ValueError: no 300"
    mended = PlainEngine(_fails_at())
    async with house.working(mended, "b"):
        again = await house.ended(await house.submitting.resume(ALICE, job.id))
    assert await house.answer(again) == {"result": [10 * i for i in range(1, 1001)]}
    assert 300 in mended.calls
    assert len(mended.calls) == 1000 - job.returned


async def test_a_canary_costs_one_call(house: House) -> None:
    engine = PlainEngine(_fails_at(*range(1, 10_001)))
    async with house.working(engine):
        job = await house.ended(await house.submit(10_000, on_error=OnError.CONTINUE, canary=True))
    assert job.state is JobState.FAILED
    assert engine.calls == [1]


async def test_more_failures_than_allowed_end_the_job(house: House) -> None:
    engine = PlainEngine(_fails_at(*range(1, 10_001, 2)))
    async with house.working(engine):
        job = await house.ended(
            await house.submit(10_000, on_error=OnError.CONTINUE, max_failures=20)
        )
    assert job.state is JobState.FAILED
    assert len(engine.calls) < 5_000


async def test_cancel_stops_what_runs_and_keeps_what_has_finished(house: House) -> None:
    engine = PlainEngine(_fails_at())
    async with house.working(engine) as agent:
        engine.open.clear()
        job = await house.submit(1000)
        await _until(lambda: engine.running)
        await house.jobs.cancel(ALICE, job.id)
        await _until(lambda: not engine.running and not agent.in_hand)
    job = await house.jobs.get(ALICE, job.id)
    assert job.state is JobState.CANCELLED
    assert (await house.answer(job))["errorCode"] == 3008
    with pytest.raises(JobNotRunning):
        await house.jobs.cancel(ALICE, job.id)


async def test_deleting_a_running_job_stops_it(house: House) -> None:
    engine = PlainEngine(_fails_at())
    engine.open.clear()
    async with house.working(engine) as agent:
        job = await house.submit(100)
        await _until(lambda: engine.running)
        await house.jobs.delete(ALICE, job.id)
        await _until(lambda: not engine.running and not agent.in_hand)
    with pytest.raises(UnknownJob):
        await house.jobs.get(ALICE, job.id)
    assert house.blobs.blobs == {}


async def test_what_does_not_end_within_the_grace_is_given_back(house: House) -> None:
    """Another agent has it at once, long before the lease runs out."""
    slow = PlainEngine(_fails_at())
    slow.open.clear()
    agent = house.agent(slow)
    agent.open()
    job = await house.submit(10)
    await _until(lambda: slow.running == 4)
    await agent.close(0.05)
    assert slow.running == 0
    async with house.working(PlainEngine(_fails_at()), "b"):
        job = await house.ended(job)
    assert await house.answer(job) == {"result": [10 * i for i in range(1, 11)]}


async def test_a_lost_lease_is_taken_over_and_its_outcomes_are_dropped(house: House) -> None:
    stale = PlainEngine(lambda _: "stale")
    stale.open.clear()
    agent = house.agent(stale, "stale", lease_s=LEASE_S)
    agent.open()
    job = await house.submit(2)
    await _until(lambda: stale.running == 2)
    for loop in agent._loops:
        loop.cancel()  # as if it was stopped: it neither renews nor claims
    async with house.working(PlainEngine(lambda _: "fresh"), "b"):
        job = await house.ended(job)
    stale.open.set()
    await _until(lambda: not agent.in_hand)
    await agent.close(0)
    assert await house.answer(job) == {"result": ["fresh", "fresh"]}


async def test_an_agent_that_lives_keeps_what_takes_longer_than_a_lease(house: House) -> None:
    engine = PlainEngine(_fails_at())
    engine.open.clear()
    agent = house.agent(engine, lease_s=LEASE_S)
    agent.open()
    async with house.working(other := PlainEngine(_fails_at()), "b"):
        job = await house.submit(1)
        await _until(lambda: engine.running + other.running == 1)
        if other.running:
            job = await house.ended(job)
        else:
            await asyncio.sleep(2 * LEASE_S)
            assert other.calls == []
            engine.open.set()
            job = await house.ended(job)
    await agent.close(0)
    assert job.state is JobState.SUCCEEDED


async def test_a_busy_engine_is_asked_again(house: House) -> None:
    engine = PlainEngine(_fails_at())
    engine.refusals = [Overloaded()] * 3
    async with house.working(engine):
        job = await house.ended(await house.submit(3))
    assert job.state is JobState.SUCCEEDED


async def test_an_environment_that_does_not_start_ends_the_job(house: House) -> None:
    engine = PlainEngine(_fails_at())
    engine.refusals = [EngineUnavailable("it is broken")] * MAX_STARTS
    async with house.working(engine):
        job = await house.ended(await house.submit(1, on_error=OnError.CONTINUE))
    assert job.state is JobState.FAILED
    assert (await house.answer(job))["errorMessage"] == "it is broken"


async def test_an_environment_that_is_gone_ends_the_job(house: House) -> None:
    job = await house.submit(100, on_error=OnError.CONTINUE)
    house.environments.here = False
    async with house.working(PlainEngine(_fails_at())):
        job = await house.ended(job)
    assert job.state is JobState.FAILED
    assert (await house.answer(job))["errorCode"] == 3011


async def test_jobs_of_others_are_unknown(house: House) -> None:
    job = await house.submit(1)
    for act in (house.jobs.get, house.jobs.cancel, house.jobs.delete, house.submitting.resume):
        with pytest.raises(UnknownJob):
            await act(BOB, job.id)
    with pytest.raises(JobRunning):
        await house.submitting.resume(ALICE, job.id)


async def test_values_are_followed_while_they_come(house: House) -> None:
    engine = PlainEngine(_fails_at(5))
    engine.open.clear()
    async with house.working(engine):
        job = await house.submit(400, on_error=OnError.CONTINUE)
        await _until(lambda: engine.running)
        asyncio.get_running_loop().call_later(0.1, engine.open.set)
        lines = b""
        async with asyncio.timeout(LIMIT_S):
            async for stretch in house.jobs.values(ALICE, job.id, start=3, follow=True):
                lines += stretch.ndjson
    want = [None if i == 5 else 10 * i for i in range(3, 401)]
    assert [orjson.loads(line) for line in lines.splitlines()] == want
