"""The store as a state machine, held against a simple model of what it promises."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import URL

from fanfold_server.model.apply import OnError, ServiceLevel
from fanfold_server.model.job import PRIORITY, Batch, JobSpec, JobState, final_state
from fanfold_server.store.port import BatchState, JobFilter
from fanfold_server.store.sql import Store, open_store
from tests.contract import jobs as write
from tests.contract.jobs import at

T = TypeVar("T")

LEASE_S = 15
PER_OWNER = 4
AGENTS = ("one", "two")


@dataclass
class ModelBatch:
    start: int
    count: int
    state: str = "waiting"
    agent: str | None = None
    fence: int = 0
    until: float = 0
    values: bytes | None = None
    failed: tuple[int, ...] = ()


@dataclass
class ModelJob:
    spec: JobSpec
    serial: int
    batches: list[ModelBatch]
    state: JobState = JobState.QUEUED
    deadline: float | None = None

    def end(self, state: JobState) -> None:
        self.state = state
        for batch in self.batches:
            if batch.state in {"waiting", "leased"}:
                batch.state = "dropped"

    @property
    def failed(self) -> list[int]:
        return [index for batch in self.batches for index in batch.failed]

    @property
    def returned(self) -> int:
        done = [batch for batch in self.batches if batch.state == "finished"]
        return sum(batch.count - len(batch.failed) for batch in done)

    def live(self, now: float) -> int:
        return sum(batch.state == "leased" and batch.until >= now for batch in self.batches)

    def ready(self, now: float) -> list[int]:
        if self.state.is_final or (self.deadline is not None and self.deadline <= now):
            return []
        gated = self.spec.canary and self.batches[0].state != "finished"
        return [
            number
            for number, batch in enumerate(self.batches)
            if (batch.state == "waiting" or (batch.state == "leased" and batch.until < now))
            and (number == 0 or not gated)
        ]


class JobsMachine(RuleBasedStateMachine):
    """Agents that stall, come back and answer late; owners who cancel and delete."""

    url: URL

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.store: Store = self.run(self.stack.enter_async_context(open_store(self.url)))
        self.now = 0.0
        self.submitted = 0
        self.jobs: dict[str, ModelJob] = {}
        self.held: list[tuple[str, Any]] = []  # every lease that ever was, with its agent

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def teardown(self) -> None:
        everything = [job.id for job in self.run(self.store.ledger.jobs(JobFilter()))]
        self.run(self.store.jobs.delete(everything, None, now=at(self.now)))
        self.run(self.store.jobs.forget(everything, deleted_before=at(self.now + 1)))
        self.run(self.stack.aclose())
        self.runner.close()

    # ------------------------------------------------------------------ what can happen

    @rule(
        owner=st.sampled_from(["ADA", "BOB"]),
        sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3),
        degree=st.integers(1, 3),
        service=st.sampled_from([ServiceLevel.LOW, ServiceLevel.HIGH]),
        on_error=st.sampled_from(OnError),
        max_failures=st.none() | st.integers(0, 2),
        canary=st.booleans(),
    )
    def submit(
        self, *, owner: str, sizes: list[int], degree: int, service: ServiceLevel,
        on_error: OnError, max_failures: int | None, canary: bool,
    ) -> None:  # fmt: skip
        if canary:
            sizes = [1, *sizes]
        self.submitted += 1
        starts = [1 + sum(sizes[:n]) for n in range(len(sizes))]
        job = self.run(self._submit(
            list(zip(starts, sizes, strict=True)),
            owner=owner, times=sum(sizes), degree=degree, service=service, on_error=on_error,
            max_failures=max_failures, canary=canary,
        ))  # fmt: skip
        self.jobs[job.id] = ModelJob(
            spec=job.spec,
            serial=self.submitted,
            batches=[ModelBatch(start, count) for start, count in zip(starts, sizes, strict=True)],
        )

    async def _submit(self, plan: list[tuple[int, int]], **changes: Any) -> Any:
        return await write.submit(self.store.jobs, after_s=self.now, plan=plan, **changes)

    @rule(agent=st.sampled_from(AGENTS), wanted=st.integers(1, 6))
    def claim(self, agent: str, wanted: int) -> None:
        claimed = self.run(
            write.claim(
                self.store.jobs, agent, wanted=wanted, after_s=self.now, per_owner=PER_OWNER,
                lease_s=LEASE_S,
            )
        )  # fmt: skip
        expected = self._expected(wanted)
        assert Counter(one.batch.job for one in claimed) == expected
        for one in claimed:
            job = self.jobs[one.batch.job]
            batch = job.batches[one.batch.number]
            assert one.batch.number == job.ready(self.now)[0]
            assert (one.batch.start, one.batch.count) == (batch.start, batch.count)
            assert one.batch.fence == batch.fence + 1
            batch.state, batch.agent, batch.fence = "leased", agent, one.batch.fence
            batch.until = self.now + LEASE_S
            if job.deadline is None:
                job.state, job.deadline = JobState.RUNNING, self.now + job.spec.timeout_s
            assert one.deadline == at(job.deadline)
            self.held.append((agent, one))

    def _expected(self, wanted: int) -> Counter[str]:
        """Share out one batch at a time, looking at everything each time."""
        live = Counter[str]()
        ready = {job_id: len(job.ready(self.now)) for job_id, job in self.jobs.items()}
        of_job = {job_id: job.live(self.now) for job_id, job in self.jobs.items()}
        for job_id, job in self.jobs.items():
            live[job.spec.owner] += of_job[job_id]
        expected = Counter[str]()
        for _ in range(wanted):
            able = [
                (PRIORITY.index(job.spec.service), live[job.spec.owner], job.serial, job_id)
                for job_id, job in self.jobs.items()
                if ready[job_id] and of_job[job_id] < job.spec.degree
                and live[job.spec.owner] < PER_OWNER
            ]  # fmt: skip
            if not able:
                break
            # Of an owner the oldest comes first, whoever's turn it is.
            *_, job_id = min(able)
            ready[job_id] -= 1
            of_job[job_id] += 1
            live[self.jobs[job_id].spec.owner] += 1
            expected[job_id] += 1
        return expected

    def _is_held(self, agent: str, batch: Batch) -> ModelBatch | None:
        job = self.jobs.get(batch.job)
        if job is None or job.state.is_final:
            return None
        kept = job.batches[batch.number]
        mine = kept.agent == agent and kept.fence == batch.fence
        return kept if mine and kept.state in {"leased", "waiting"} else None

    @precondition(lambda self: self.held)
    @rule(pick=st.data())
    def renew(self, pick: st.DataObject) -> None:
        agent, one = pick.draw(st.sampled_from(self.held))
        renewal = self.run(
            self.store.jobs.renew(agent, [one.batch], lease_s=LEASE_S, now=at(self.now))
        )
        kept = self._is_held(agent, one.batch)
        assert renewal.lost == (frozenset() if kept else frozenset({one.batch}))
        if kept:
            kept.state, kept.until = "leased", self.now + LEASE_S

    @precondition(lambda self: self.held)
    @rule(pick=st.data())
    def release(self, pick: st.DataObject) -> None:
        agent, one = pick.draw(st.sampled_from(self.held))
        self.run(self.store.jobs.release(agent, [one.batch]))
        kept = self._is_held(agent, one.batch)
        if kept:
            kept.state, kept.agent = "waiting", None

    @precondition(lambda self: self.held)
    @rule(pick=st.data(), fail=st.booleans())
    def finish(self, pick: st.DataObject, *, fail: bool) -> None:
        """Any lease that ever was may be finished: late, twice, or after its job is gone."""
        agent, one = pick.draw(st.sampled_from(self.held))
        fails = (one.batch.start,) if fail else ()
        result = write.result(one, fails=fails)
        (recorded,) = self.run(self.store.jobs.finish(agent, [result], now=at(self.now)))
        job = self.jobs.get(one.batch.job)
        before = job.batches[one.batch.number] if job is not None else None
        if before is not None and before.state == "finished":
            assert recorded == (before.agent == agent and before.fence == one.batch.fence)
            return
        kept = self._is_held(agent, one.batch)
        assert recorded == (kept is not None)
        if kept is None:
            return
        assert job is not None
        assert result.content is not None
        kept.state, kept.failed, kept.values = "finished", fails, result.content.values
        spec = job.spec
        over = fails and (
            spec.on_error is OnError.FAIL
            or (spec.max_failures is not None and len(job.failed) > spec.max_failures)
            or (spec.canary and one.batch.number == 0)
        )
        if over:
            job.end(JobState.FAILED)
        elif all(batch.state == "finished" for batch in job.batches):
            job.end(final_state(total=spec.times, failed=len(job.failed), on_error=spec.on_error))

    @precondition(lambda self: self.jobs)
    @rule(pick=st.data())
    def cancel(self, pick: st.DataObject) -> None:
        job_id = pick.draw(st.sampled_from(sorted(self.jobs, key=self._serial)))
        job = self.jobs[job_id]
        answer = self.run(self.store.jobs.cancel(job_id, job.spec.owner, now=at(self.now)))
        assert answer is not None
        assert answer[1] is not job.state.is_final
        if answer[1]:
            job.end(JobState.CANCELLED)

    @precondition(lambda self: self.jobs)
    @rule(pick=st.data())
    def delete(self, pick: st.DataObject) -> None:
        job_id = pick.draw(st.sampled_from(sorted(self.jobs, key=self._serial)))
        assert self.run(self.store.jobs.delete([job_id], None, now=at(self.now))) == [job_id]
        del self.jobs[job_id]

    def _serial(self, job_id: str) -> int:
        return self.jobs[job_id].serial

    @rule(agent=st.sampled_from(AGENTS))
    def stall(self, agent: str) -> None:
        """All leases run out, and one agent takes what there is: perhaps what it had."""
        self.now += LEASE_S + 1
        self.claim(agent, 6)

    @rule(seconds=st.sampled_from([1, 16, 16, 16, 900]))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def expire(self) -> None:
        overdue = {
            job_id
            for job_id, job in self.jobs.items()
            if job.deadline is not None and job.deadline < self.now and not job.state.is_final
        }
        assert set(self.run(self.store.jobs.expire(now=at(self.now)))) == overdue
        for job_id in overdue:
            self.jobs[job_id].end(JobState.TIMED_OUT)

    # ------------------------------------------------------------------ what always holds

    @invariant()
    def everything_is_as_in_the_model(self) -> None:
        stored = {job.id: job for job in self.run(self.store.ledger.jobs(JobFilter()))}
        assert stored.keys() == self.jobs.keys()
        for job_id, model in self.jobs.items():
            job = stored[job_id]
            assert (job.state, job.returned, job.failed) == (
                model.state, model.returned, len(model.failed),
            )  # fmt: skip
            assert job.state.is_final == (job.finished is not None)
            batches = self.run(self.store.ledger.batches(job_id, content=True))
            failures = self.run(self.store.ledger.failures(job_id))
            assert sorted(model.failed) == [failed.index for failed in failures]
            assert sum(b.returned + b.failed for b in batches) == job.returned + job.failed
            for batch, expected in zip(batches, model.batches, strict=True):
                finished = expected.state == "finished"
                assert (batch.state is BatchState.FINISHED) == finished
                assert (batch.state is BatchState.DROPPED) == (expected.state == "dropped")
                assert batch.batch.fence == expected.fence
                values = batch.content.values if batch.content else None
                assert values == expected.values


def test_the_store_is_as_its_model(url: URL) -> None:
    play(url, games=8)


@pytest.mark.soak
def test_the_store_is_as_its_model_for_long(url: URL) -> None:
    play(url, games=400)


def play(url: URL, *, games: int) -> None:
    class Machine(JobsMachine):
        pass

    Machine.url = url
    Machine.TestCase.settings = settings(
        max_examples=games,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    Machine.TestCase("runTest").runTest()
