"""An agent: claims batches of jobs, has the engine run them, and records what came of them.

    claim ──▶ engine ──▶ blobs ──▶ finish
      ▲         │ lease lost, job ended: stop, drop the outcomes
      └─────────┘ agent stops: release

Every process that can run code has one `Dispatcher`. Each batch is a task of its own; one more
renews the leases of all of them. A batch whose agent dies is claimed again, whole, by another when
its lease has run out; what a stale agent still brings, its fence gives away.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import structlog

from fanfold_server.engine.port import Engine, Running, Work
from fanfold_server.environments.port import Environments
from fanfold_server.model.environment import Environment
from fanfold_server.model.errors import (
    EngineUnavailable,
    FanfoldError,
    Overloaded,
    RunTimedOut,
    ShuttingDown,
    UnknownEnvironment,
)
from fanfold_server.model.job import Batch, JobSpec
from fanfold_server.model.rows import Rowset
from fanfold_server.service.joining import Costs
from fanfold_server.service.planning import DATA_VERBS, is_indexed, work_of
from fanfold_server.service.recording import (
    BatchRecorder,
    Recorded,
    without_environment,
    without_rows,
)
from fanfold_server.service.rowkeeping import KeptRows, RowKeeping
from fanfold_server.service.stopping import Stopping
from fanfold_server.store.port import (
    BatchResult,
    BlobMissing,
    Blobs,
    Claimed,
    JobStore,
    Signal,
    Signals,
)

T = TypeVar("T")

LEASE_S = 15.0
"""How long a batch stays with an agent that says nothing."""

POLL_S = 1.0
"""How often an agent looks for work, and for jobs whose time is up, if nothing wakes it."""

MAX_STARTS = 5
"""So often a batch is begun whose environment does not start."""

MAX_LEASES = 20
"""So often a batch is begun whose agents die with it."""

BRIEF_S = 0.05
"""While batches take less than this, some are claimed ahead: a claim takes as long as they do."""

AHEAD = 4
"""So many times its slots an agent then has in hand."""

MIN_PAUSE_S, MAX_PAUSE_S = 0.1, 2.0
"""Between attempts at what the database or the disk refuses for now."""


@dataclass(eq=False, slots=True)
class Held:
    """A batch in hand, or several that run as one.

    Attributes:
        claimed: what was claimed, one after the other.
        lost: those whose lease is another's.
        running: what the engine does for it, while it does.
        dropped: nobody wants its outcomes any more.
        releasing: it is to be given back.
        finishing: its calls are over; what is left is to write down what came of them.
    """

    claimed: Sequence[Claimed]
    lost: set[Batch] = field(default_factory=set)
    running: Running | None = None
    dropped: bool = False
    releasing: bool = False
    finishing: bool = False

    @property
    def spec(self) -> JobSpec:
        return self.claimed[0].spec

    @property
    def batches(self) -> list[Batch]:
        return [claimed.batch for claimed in self.claimed]

    @property
    def whole(self) -> Batch:
        """The batches as one."""
        first = self.claimed[0].batch
        return replace(first, count=sum(batch.count for batch in self.batches))

    def stop(self) -> None:
        if self.running is not None:
            self.running.cancel()


class Dispatcher:
    """Runs batches of jobs until it is told to stop.

    Args:
        agent: a name that no other process has or had.
        slots: batches in hand at once.
        per_owner: batches that one account may have in hand, on all agents together.
        lease_s: seconds after which another agent may take a batch over, > 0.
        stopping: is told what is recorded of jobs that may end early.
        scratch: directory with room for the rows of jobs; None: the system's own.
    """

    def __init__(
        self,
        *,
        agent: str,
        store: JobStore,
        blobs: Blobs,
        signals: Signals,
        engine: Engine,
        environments: Environments,
        slots: int,
        per_owner: int,
        stopping: Stopping,
        lease_s: float = LEASE_S,
        scratch: Path | None = None,
    ) -> None:
        self._agent = agent
        self._store = store
        self._blobs = blobs
        self._signals = signals
        self._engine = engine
        self._environments = environments
        self._slots = slots
        self._per_owner = per_owner
        self._stopping = stopping
        self._lease_s = lease_s
        self._held: dict[Batch, Held] = {}
        self._works: set[Held] = set()
        self._costs = Costs()
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._overdue = asyncio.Event()
        self._results: list[tuple[BatchResult, asyncio.Future[bool]]] = []
        self._has_results = asyncio.Event()
        self._rows = RowKeeping(blobs=blobs, scratch=scratch)
        self._draining = False
        self._pace_s = 1.0  # what a batch takes, of late
        self._loops: list[asyncio.Task[None]] = []
        self._unsubscribe: Callable[[], None] = lambda: None
        self._log = structlog.get_logger("fanfold_server.agent").bind(agent=agent)

    # ------------------------------------------------------------------ life

    def open(self) -> None:
        """Begin to claim batches."""
        self._unsubscribe = self._signals.subscribe(self._signalled)
        self._loops = [
            asyncio.create_task(self._claiming(), name="claims batches"),
            asyncio.create_task(self._finishing(), name="finishes batches"),
            asyncio.create_task(self._renewing(), name="renews leases"),
            asyncio.create_task(self._expiring(), name="ends jobs whose time is up"),
        ]

    async def close(self, grace_s: float) -> None:
        """Claim nothing more; let what runs end within the grace, and give the rest back."""
        self._draining = True
        self._wake.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        for held in self._works:
            held.releasing = True
            held.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._lease_s)
        self._unsubscribe()
        for task in (*self._loops, *self._tasks):
            task.cancel()
        await asyncio.gather(*self._loops, *self._tasks, return_exceptions=True)
        self._rows.close()

    @property
    def _room(self) -> int:
        """How many batches may be claimed: those that only wait for the disk take no worker."""
        finishing = sum(held.finishing for held in self._works)
        slots = self._slots * AHEAD if self._pace_s < BRIEF_S else self._slots
        return slots - len(self._works) + min(finishing, self._slots)

    @property
    def in_hand(self) -> int:
        """How many batches it has."""
        return len(self._held)

    def _signalled(self, signal: Signal, job: str) -> None:
        if signal is Signal.ENDED:
            self._drop_job(job)

    def _drop_job(self, job: str) -> None:
        for held in self._works:
            if held.claimed[0].batch.job == job:
                self._drop(held)

    @staticmethod
    def _drop(held: Held) -> None:
        held.dropped = True
        held.stop()

    # ------------------------------------------------------------------ loops

    async def _claiming(self) -> None:
        while not self._draining:
            self._wake.clear()
            room = self._room
            if room > 0:
                found = await self._insist(partial(self._claim, room))
                if self._draining:
                    await self._give_back([claimed.batch for claimed in found])
                    return
                for _, work in groupby(found, key=_work_of):
                    self._begin(list(work))
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._wake.wait()

    async def _claim(self, wanted: int) -> list[Claimed]:
        return await self._store.claim(
            self._agent,
            wanted=wanted,
            lease_s=self._lease_s,
            now=_now(),
            per_owner=self._per_owner,
            calls_at_once=self._costs.calls_at_once,
            wait_s=POLL_S,
        )

    async def _give_back(self, batches: Sequence[Batch]) -> None:
        await self._insist(lambda: self._store.release(self._agent, batches))

    async def _finishing(self) -> None:
        while True:
            await self._has_results.wait()
            self._has_results.clear()
            group, self._results = self._results, []
            results = [result for result, _ in group]
            recording = asyncio.ensure_future(self._insist(partial(self._record, results)))
            try:
                # Once it is on its way: the claim that this wakes goes into the same commit behind.
                await asyncio.sleep(0)
                self._wake.set()
                for (_, kept), is_kept in zip(group, await recording, strict=True):
                    kept.set_result(is_kept)
            finally:
                recording.cancel()

    async def _record(self, results: list[BatchResult]) -> list[bool]:
        return await self._store.finish(self._agent, results, now=_now())

    async def _renewing(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 3)
            if self._held:
                await self._insist(self._renew)

    async def _renew(self) -> None:
        renewal = await self._store.renew(
            self._agent, list(self._held), lease_s=self._lease_s, now=_now()
        )
        for batch in renewal.lost:
            held = self._held.get(batch)
            if held is not None:
                self._log.info("lease lost", job=batch.job, batch=batch.number)
                held.lost.add(batch)
                if len(held.lost) == len(held.claimed):
                    self._drop(held)
        for job in renewal.ended:
            self._drop_job(job)

    async def _expiring(self) -> None:
        while True:
            for job in await self._insist(lambda: self._store.expire(now=_now())):
                self._drop_job(job)
            self._overdue.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._overdue.wait()

    async def _insist(self, act: Callable[[], Awaitable[T]]) -> T:
        """Do something until the database is there for it."""
        pause_s = MIN_PAUSE_S
        while True:
            try:
                return await act()
            except Exception as exc:  # noqa: BLE001  # whatever it is: the agent outlives it
                self._log.warning("will try again", error=repr(exc), pause_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, MAX_PAUSE_S)

    # ------------------------------------------------------------------ a batch

    def _begin(self, claimed: Sequence[Claimed]) -> None:
        held = Held(claimed)
        self._works.add(held)
        self._held |= dict.fromkeys(held.batches, held)
        task = asyncio.create_task(self._carry(held))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, held: Held) -> None:
        whole = held.whole
        try:
            done = await self._run(held)
            if held.dropped:
                return
            held.finishing = bool(done)
            if held.releasing:
                ended = {recorded.result.batch for recorded in done}
                rest = [batch for batch in held.batches if batch not in ended]
                await self._give_back(rest)
            for recorded in done:
                if not await self._stored(held, recorded):
                    return
            await self._finish([recorded.result for recorded in done])
            if done and held.spec.stop_when is not None:
                self._stopping.note(whole.job)
        except Exception:  # noqa: BLE001  # its lease runs out, and the batch is claimed again
            self._log.exception("batch failed", job=whole.job, batch=whole.number)
        finally:
            self._works.discard(held)
            for batch in held.batches:
                self._held.pop(batch, None)
            self._wake.set()

    async def _run(self, held: Held) -> list[Recorded]:
        """Run batches; give what is to be recorded: nothing of those dropped or given back."""
        spec, batch = held.spec, held.whole
        if spec.verb not in DATA_VERBS:
            return await self._run_with(held, None)
        try:
            async with self._rows.lend(batch.job) as lent:
                return await self._run_with(held, lent)
        except BlobMissing:
            return [_ending(without_rows(held.batches[0], indexed=is_indexed(spec)))]

    async def _run_with(self, held: Held, lent: tuple[KeptRows, Rowset] | None) -> list[Recorded]:
        spec, batch = held.spec, held.whole
        indexed = is_indexed(spec)
        recorder = BatchRecorder(batch, indexed=indexed, keys=lent[0].keys if lent else None)
        left_s = (held.claimed[0].deadline - _now()).total_seconds()
        if left_s <= 0:
            return []
        try:
            if batch.fence > MAX_LEASES:
                raise EngineUnavailable(f"its agent was lost {batch.fence - 1} times")
            environment = self._environments.find(spec.environment, spec.environment_version)
            work = _work(held, environment, left_s, lent)
            held.running = self._engine.start(work, recorder)
            before = time.monotonic()
            await held.running.done
            self._pace_s += (time.monotonic() - before - self._pace_s) / self._slots
        except (Overloaded, ShuttingDown):
            await asyncio.sleep(MIN_PAUSE_S)
            held.releasing = True
        except RunTimedOut:
            held.dropped = True  # the job's time: `expire` ends it
            self._overdue.set()
        except UnknownEnvironment as exc:
            return [_ending(without_environment(held.batches[0], exc.message, indexed=indexed))]
        except EngineUnavailable as exc:
            if batch.fence >= MAX_STARTS:
                its = held.batches[0]
                return [_ending(without_environment(its, exc.message, indexed=indexed))]
            self._log.warning("engine unavailable", job=batch.job, error=exc.message)
            await asyncio.sleep(MIN_PAUSE_S * batch.fence)
            held.releasing = True
        except FanfoldError as exc:
            self._log.warning("batch given back", job=batch.job, error=exc.message)
            held.releasing = True
        finally:
            held.running = None
        if held.dropped:
            return []
        if recorder.is_complete:
            self._costs.note(spec, recorder.elapsed)
        parts = [recorder] if len(held.claimed) == 1 else recorder.split(held.batches)
        is_over = recorder.has_failed and not held.releasing
        done = [part for part in parts if part.is_complete or (is_over and part.has_failed)]
        held.releasing = len(done) < len(parts) and not is_over
        return [part.recorded() for part in done]

    async def _stored(self, held: Held, done: Recorded) -> bool:
        """Write a batch's blobs; wait while there is no room. False: nobody wants them any more."""
        if not done.blobs:
            return True
        pause_s = MIN_PAUSE_S
        while not held.dropped:
            try:
                await self._blobs.write(done.blobs)
            except Exception as exc:  # noqa: BLE001  # a full disk, an object store that is away
                self._log.warning("results cannot be stored", error=repr(exc), pause_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, MAX_PAUSE_S)
            else:
                return True
        return False

    async def _finish(self, results: Sequence[BatchResult]) -> None:
        """Have batches recorded, together with those that end in the meantime."""
        if not results:
            return
        loop = asyncio.get_running_loop()
        waiting = [(result, loop.create_future()) for result in results]
        self._results += waiting
        self._has_results.set()
        for result, kept in waiting:
            if not await kept:
                # Blobs that were written go with the job's: their keys have this fence.
                one = result.batch
                self._log.info("outcomes dropped", job=one.job, batch=one.number, fence=one.fence)


def _work_of(claimed: Claimed) -> tuple[str, int]:
    return claimed.batch.job, claimed.work


def _work(
    held: Held, environment: Environment, left_s: float, lent: tuple[KeptRows, Rowset] | None
) -> Work:
    spec, batch, network = held.spec, held.whole, held.claimed[0].network
    if lent is None:
        return work_of(spec, batch, environment, timeout_s=left_s, network=network)
    kept, rows = lent
    return work_of(
        spec,
        batch,
        environment,
        timeout_s=left_s,
        network=network,
        rows=rows,
        input_type=kept.input_type,
        na_omit=kept.na_omit,
        column_frames=kept.column_frames,
    )


def _ending(result: BatchResult) -> Recorded:
    return Recorded(result=result, blobs={})


def _now() -> datetime:
    return datetime.now(UTC)
