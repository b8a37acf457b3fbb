"""A job that may end early: the same end whatever ran first, and whoever died."""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import AsyncIterator, Callable
from functools import cache
from math import sqrt
from pathlib import Path
from typing import Any

import orjson
import pytest
from typing_extensions import override

from fanfold_server.engine.port import Recorder, Work
from fanfold_server.model.apply import OnError
from fanfold_server.model.job import Job, JobState
from fanfold_server.model.outcome import Image, Returned
from fanfold_server.model.stopping import StopWhen
from fanfold_server.model.submission import Idempotency
from fanfold_server.service.stopping import Stopping
from tests.fakes.engine import PlainEngine, PlainRunning
from tests.fakes.house import ALICE, LIMIT_S, House, opened

TIMES = 1000
STOP = StopWhen(se=0.05)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with opened(tmp_path) as house:
        yield house


@cache
def _value(index: int) -> float:
    return random.Random(index).gauss(10, 1)


def _end(se: float, value: Callable[[int], float] = _value, least: int = 30) -> int:
    """Find the end as a person would define it."""
    return next(
        n
        for n in range(least, TIMES + 1)
        if statistics.stdev(map(value, range(1, n + 1))) / sqrt(n) <= se
    )


class ShuffledEngine(PlainEngine):
    """Begins with whichever batch it likes, and ends in any order."""

    def __init__(self, function: Callable[[int], Any], seed: int) -> None:
        super().__init__(function)
        self._random = random.Random(seed)

    @override
    def start(self, work: Work, recorder: Recorder) -> PlainRunning:
        engine = PlainEngine(self.function)
        engine.calls = self.calls
        engine.open.clear()
        running = PlainRunning(engine, work, recorder)
        delay_s = self._random.choice([0, 0, 0.002, 0.01, 0.03])
        asyncio.get_running_loop().call_later(delay_s, engine.open.set)
        return running


async def _check(house: House, job: Job, end: int, value: Callable[[int], float] = _value) -> None:
    """A job that ended at `end` looks as if it had never had more calls."""
    assert (job.state, job.returned, job.failed, job.waiting) == (JobState.SUCCEEDED, end, 0, 0)
    assert (job.spec.times, job.spec.asked) == (end, TIMES)
    expected = [value(i) for i in range(1, end + 1)]
    assert await house.answer(job) == {"result": expected}
    found = b"".join([s.ndjson async for s in house.jobs.values(ALICE, job.id)])
    assert [orjson.loads(line) for line in found.splitlines()] == expected
    listed = await house.jobs.outcomes(ALICE, job.id, state=None, start=0, limit=TIMES)
    assert [entry.index for entry in listed] == list(range(1, end + 1))
    assert {entry.state for entry in listed} == {"returned"}


@pytest.mark.parametrize("degree", [1, 2, 7, 64])
@pytest.mark.parametrize("seed", range(3))
async def test_the_end_does_not_depend_on_what_runs_first(
    house: House, degree: int, seed: int
) -> None:
    engine = ShuffledEngine(_value, seed)
    async with house.working(engine, slots=1 + 3 * seed):
        job = await house.ended(await house.submit(TIMES, degree=degree, stop_when=STOP))
    end = _end(0.05)
    assert 30 < end < TIMES
    await _check(house, job, end)


async def test_a_precision_that_is_not_reached_ends_nothing(house: House) -> None:
    async with house.working(PlainEngine(_value)):
        job = await house.ended(await house.submit(100, stop_when=StopWhen(se=1e-6)))
    assert (job.state, job.returned, job.spec.times, job.spec.asked) == (
        JobState.SUCCEEDED, 100, 100, None,
    )  # fmt: skip


async def test_large_values_and_figures_are_cut_as_well(house: House) -> None:
    """They are in blobs, which are not changed: the job has others."""
    stop = StopWhen(relative_se=0.5, min_calls=8, member="x")
    png = b"\x89PNG" + b"x" * 100

    def drawn(index: int) -> Returned:
        json = orjson.dumps({"x": index, "text": "y" * 9000})
        image = Image(png=png + b"%d" % index, title=f"no {index}")
        return Returned(index=index, json=json, images=(image,), log=f"log {index}")

    async with house.working(PlainEngine(drawn)):
        job = await house.ended(await house.submit(TIMES, stop_when=stop))
    assert (job.state, job.spec.times) == (JobState.SUCCEEDED, 8)
    answer = await house.answer(job)
    assert [value["x"] for value in answer["result"]] == list(range(1, 9))
    images = await house.jobs.images(ALICE, job.id)
    assert [entry.index for entry in images] == list(range(1, 9))
    assert await house.jobs.image(ALICE, job.id, 8, 1) == png + b"8"
    entries = await house.jobs.outcomes(ALICE, job.id, state=None, start=0, limit=100)
    assert [entry.log for entry in entries] == [f"log {i}" for i in range(1, 9)]


def _fails_at(*indexes: int) -> Callable[[int], Any]:
    def function(index: int) -> Any:
        if index in indexes:
            raise ValueError(f"no {index}")
        return _value(index)

    return function


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("most", [None, 1])
async def test_a_failed_call_counts_only_before_the_end(
    house: House, seed: int, most: int | None
) -> None:
    """Beyond it, it may have been run, or not."""
    end = _end(0.05)
    on_error = OnError.FAIL if most is None else OnError.CONTINUE
    more: dict[str, Any] = {
        "on_error": on_error, "max_failures": most, "stop_when": STOP, "degree": 64,
    }  # fmt: skip
    beyond = ShuffledEngine(_fails_at(end + 1, end + 2, end + 30), seed)
    async with house.working(beyond, "a", slots=16):
        job = await house.ended(await house.submit(TIMES, **more))
    await _check(house, job, end)
    before = ShuffledEngine(_fails_at(end - 9, end - 5, end + 1), seed)
    async with house.working(before, "b", slots=16):
        job = await house.ended(await house.submit(TIMES, **more))
    ends = end - 9 if most is None else end - 5
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error["index"] == ends
    answer = await house.answer(job)
    assert f"no {ends}" in answer["errorMessage"]


async def test_failed_calls_are_no_numbers_and_resume_looks_for_the_end_anew(house: House) -> None:
    missing = {3, 40, 41}
    numbers = [i for i in range(1, TIMES) if i not in missing]
    count = next(
        n for n in range(30, TIMES) if statistics.stdev(map(_value, numbers[:n])) / sqrt(n) <= 0.05
    )
    async with house.working(PlainEngine(_fails_at(*missing))):
        job = await house.ended(
            await house.submit(TIMES, on_error=OnError.CONTINUE, stop_when=STOP)
        )
    assert (job.state, job.failed) == (JobState.PARTLY_FAILED, 3)
    assert (job.spec.times, job.spec.asked) == (numbers[count - 1], TIMES)
    mended = PlainEngine(_value)
    async with house.working(mended, "b"):
        again = await house.ended(await house.submitting.resume(ALICE, job.id))
    await _check(house, again, _end(0.05))
    assert missing <= set(mended.calls)
    assert not set(mended.calls) & set(range(1, job.spec.times)) - missing


async def test_resume_of_one_that_ended_well_is_a_copy(house: House) -> None:
    async with house.working(PlainEngine(_value)):
        job = await house.ended(await house.submit(TIMES, stop_when=STOP))
    again = await house.submitting.resume(ALICE, job.id)
    assert again.id != job.id
    assert again.taken == again.returned
    await _check(house, again, _end(0.05))


async def test_extend_runs_the_calls_that_were_left_out(house: House) -> None:
    async with house.working(PlainEngine(_value)):
        job = await house.ended(await house.submit(TIMES, stop_when=STOP))
    end = job.spec.times
    more = PlainEngine(_value)
    async with house.working(more, "b"):
        longer = await house.ended(await house.submitting.extend(ALICE, job.id, end + 50))
        assert (longer.returned, longer.spec.stop_when, longer.spec.asked) == (end + 50, None, None)
        assert sorted(more.calls) == list(range(end + 1, end + 51))
        # To a better precision: what a new job of that would have.
        finer = await house.ended(
            await house.submitting.extend(ALICE, job.id, TIMES, stop_when=StopWhen(se=0.04))
        )
    await _check(house, finer, _end(0.04))
    # And to a worse one: the end is in what it has taken.
    async with house.working(PlainEngine(_value), "c"):
        coarser = await house.ended(
            await house.submitting.extend(ALICE, job.id, TIMES, stop_when=StopWhen(se=0.1))
        )
    await _check(house, coarser, _end(0.1))
    assert coarser.taken == coarser.returned


async def test_an_agent_that_dies_before_it_has_weighed_changes_nothing(house: House) -> None:
    """All is recorded; it is killed before it can tell where the end is."""
    engine = PlainEngine(_value)
    agent = house.agent(engine)
    for stopping in house.opened:
        await stopping.close()  # the one of this agent sees nothing any more
    agent.open()
    job = await house.submit(200, stop_when=StopWhen(se=0.1))
    async with asyncio.timeout(LIMIT_S):
        # what it asks has no event
        while await house.store.settling.unsettled() != [job.id]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await agent.close(0)
    assert len(engine.calls) == 200
    running = await house.jobs.get(ALICE, job.id)
    assert (running.state, running.returned) == (JobState.RUNNING, 200)
    house.stopping()  # another's
    job = await house.ended(job)
    assert (job.spec.times, job.spec.asked) == (_end(0.1), 200)


async def test_two_that_weigh_at_once_come_to_the_same(house: House) -> None:
    async with house.working(PlainEngine(_value)):
        submitted = await house.submit(TIMES, stop_when=STOP)
        others = [
            Stopping(store=house.store.settling, ledger=house.store.ledger, blobs=house.blobs)
            for _ in range(3)
        ]
        async with asyncio.timeout(LIMIT_S):
            while not (await house.jobs.get(ALICE, submitted.id)).state.is_final:
                await asyncio.gather(*(other.look(submitted.id) for other in others))
    await _check(house, await house.jobs.get(ALICE, submitted.id), _end(0.05))


async def test_a_reader_who_follows_sees_nothing_beyond_the_end(house: House) -> None:
    """What has finished beyond it was recorded before anybody knew."""
    engine = ShuffledEngine(_value, 1)
    job = await house.submit(TIMES, degree=64, stop_when=STOP)
    seen: list[float] = []

    async def follow(start: int) -> None:
        async for stretch in house.jobs.values(ALICE, job.id, start=start, follow=True):
            seen.extend(map(orjson.loads, stretch.ndjson.splitlines()))

    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as tasks:
        tasks.create_task(follow(5))
        async with house.working(engine, slots=16):
            await house.ended(job)
    assert seen == [_value(i) for i in range(5, _end(0.05) + 1)]


async def test_a_key_stands_for_what_was_asked_not_for_what_came_of_it(house: House) -> None:
    more: dict[str, Any] = {
        "stop_when": STOP,
        "idempotency": Idempotency(key="k", request=b"r" * 32),
    }
    async with house.working(PlainEngine(_value)):
        job = await house.ended(await house.submit(TIMES, **more))
    again = await house.submit(TIMES, **more)
    assert (again.id, again.spec.asked) == (job.id, TIMES)
