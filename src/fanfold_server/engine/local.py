"""The engine on this machine: pools of workers, and the leases that keep them busy.

Everything here runs on the event loop's thread and never waits: workers, zygotes and the clock call
in, `_pump` gives work to whoever is free.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanfold_server.engine.bundle import write_bundle
from fanfold_server.engine.leases import Lease
from fanfold_server.engine.pool import Pool
from fanfold_server.engine.port import Recorder, Work
from fanfold_server.engine.running import LocalRun, RunLimits
from fanfold_server.engine.sandbox import Sandbox
from fanfold_server.engine.worker import Forged, Held, Owner, State, Worker, end_frame, lease_frame
from fanfold_server.engine.zygote import Zygote
from fanfold_server.model.environment import Environment
from fanfold_server.model.errors import EngineUnavailable, Overloaded, RunTimedOut, ShuttingDown
from fanfold_server.model.outcome import Failed, Failure, FailureKind, Outcome

LEASE_US = 10_000
"""Time limit of a lease, microseconds."""

GROWTH_DELAY_S = 0.005
"""How long work waits for a busy worker before more processes than cores are started."""

DRAIN_S = 0.1
"""How long a worker may still compute what nobody wants before it is killed."""

TICK_S = 0.25
"""How often deadlines are looked at."""

IDLE_WORKER_S = 60.0
IDLE_POOL_S = 900.0

MAX_LOST_IN_A_ROW = 20
"""Workers that one run may lose without a single call coming through before it is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How much the engine may use.

    Attributes:
        workers: busy processes at most, all owners together.
        pools: zygotes at most; the least recently used is ended for a new one.
        max_queued_runs: runs that may wait for a worker.
        reuse: "auto" (warm for one's own scripts, single-use for another's), "warm" or "fork".
        preload: modules that a zygote imports.
        cores: processors; up to so many processes start without a delay.
    """

    workers: int
    pools: int
    max_queued_runs: int
    reuse: str
    preload: tuple[str, ...]
    limits: RunLimits
    cores: int = len(os.sched_getaffinity(0))


class LocalEngine:
    """Runs works in worker processes of this machine; the `Engine` of the port.

    Args:
        cache: directory for what speeds up the start of environments.
        spare: the environment for which an unowned zygote is kept ready; None for no spare.
    """

    def __init__(
        self,
        *,
        options: EngineOptions,
        sandbox: Sandbox,
        cache: Path,
        spare: Environment | None,
    ) -> None:
        self._options = options
        self._sandbox = sandbox
        self._scratch = Path(tempfile.mkdtemp(prefix="fanfold-"))
        self._scratch.chmod(0o711)  # others may pass through, to directories of their own
        self._bundle = write_bundle(self._scratch)
        self._cache = cache
        self._spare_environment = spare
        self._spare: Zygote | None = None
        self._pools: dict[tuple[str, str], Pool] = {}
        self._runs: dict[int, LocalRun] = {}
        self._draining: set[Worker] = set()
        self._call_us: dict[tuple[str, str], float] = {}
        self._zygote_numbers = itertools.count(1)
        self._worker_numbers = itertools.count(1)
        self._run_numbers = itertools.count(1)
        self._queued = 0
        self._closing = False
        self._growth: asyncio.TimerHandle | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    @property
    def owner(self) -> Owner:
        return self

    def next_worker_number(self) -> int:
        return next(self._worker_numbers)

    # ------------------------------------------------------------------ the port

    def open(self) -> None:
        """Start the spare zygote and the clock."""
        self._refill_spare()
        self._ticking = self._loop.call_later(TICK_S, self._tick)

    def start(self, work: Work, recorder: Recorder) -> LocalRun:
        if self._closing:
            raise ShuttingDown
        if self._queued >= self._options.max_queued_runs:
            raise Overloaded(
                f"{self._queued} runs are waiting, which is this server's limit; try again later"
            )
        reuse = self._options.reuse
        run = LocalRun(
            number=next(self._run_numbers) & 0xFFFFFFFF,
            work=work,
            recorder=recorder,
            call_us=self._call_us.get((work.script.digest, work.environment.name)),
            single_use=reuse == "fork" or (reuse == "auto" and work.caller != work.script.owner),
            limits=self._options.limits,
            stop=self._stop,
        )
        self._runs[run.number] = run
        pool = self._pool(work)
        if pool is not None:
            self._enqueue(pool, run)
            self._serve(pool)
        else:
            run.fail(
                EngineUnavailable(f"the environment {work.environment.name!r} could not be started")
            )
            self._forget(run)
        return run

    def describe(self) -> dict[str, Any]:
        spare = self._spare
        ready = any(p.zygote.ready.done() for p in self._pools.values())
        ready = ready or spare is None or (spare.is_alive and spare.ready.done())
        facts = next(
            (p.zygote.facts for p in self._pools.values() if p.zygote.facts),
            spare.facts if spare else {},
        )
        return {
            "ready": ready and not self._closing,
            "isolation": self._sandbox.describe() | {"confined": facts.get("confined", {})},
            "pools": len(self._pools),
            "workers": sum(len(p.workers) for p in self._pools.values()),
            "busy": self._busy(),
            "runs": len(self._runs),
        }

    async def close(self) -> None:
        """End every run with ShuttingDown and every process that was started."""
        self._closing = True
        for handle in (self._ticking, self._growth):
            if handle is not None:
                handle.cancel()
        for run in list(self._runs.values()):
            run.fail(ShuttingDown())
            self._forget(run)
        zygotes = [self._spare.close()] if self._spare else []
        await asyncio.gather(*(pool.close() for pool in self._pools.values()), *zygotes)
        await asyncio.gather(*self._background, return_exceptions=True)
        self._pools.clear()
        await asyncio.to_thread(shutil.rmtree, self._scratch, ignore_errors=True)

    # ------------------------------------------------------------------ pools

    def _pool(self, work: Work) -> Pool | None:
        key = (work.script.owner, work.environment.name)
        pool = self._pools.get(key)
        if pool is not None and pool.zygote.environment == work.environment:
            return pool
        if pool is not None:  # the name stands for another prefix now
            self._retire_pool(key)
        if len(self._pools) >= self._options.pools:
            idle = [k for k, p in self._pools.items() if not p.waiting and not p.busy]
            if idle:
                self._retire_pool(min(idle, key=lambda k: self._pools[k].last_used))
        try:
            zygote = self._take_spare(work.environment) or self._new_zygote(work.environment)
        except OSError:
            return None
        pool = Pool(owner=work.script.owner, zygote=zygote, host=self)
        self._pools[key] = pool
        return pool

    def _new_zygote(self, environment: Environment) -> Zygote:
        return Zygote(
            number=next(self._zygote_numbers),
            environment=environment,
            sandbox=self._sandbox,
            bundle=self._bundle,
            scratch=self._scratch,
            cache=self._cache / environment.name,
            preload=self._options.preload,
        )

    def _take_spare(self, environment: Environment) -> Zygote | None:
        spare = self._spare
        if spare is None or spare.environment != environment or not spare.is_alive:
            return None
        self._spare = None
        self._loop.call_later(1.0, self._refill_spare)
        return spare

    def _refill_spare(self) -> None:
        if self._closing or self._spare_environment is None or self._spare is not None:
            return
        try:
            self._spare = self._new_zygote(self._spare_environment)
        except OSError:  # the first run will say why
            self._spare = None

    def _retire_pool(self, key: tuple[str, str]) -> None:
        self._later(self._pools.pop(key).close())

    def _later(self, coroutine: Any) -> None:
        task = self._loop.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def pool_failed(self, pool: Pool, reason: str) -> None:
        """A zygote ended by itself: its pool is gone, and the runs that waited for it fail."""
        self._pools = {k: p for k, p in self._pools.items() if p is not pool}
        name = pool.zygote.environment.name
        while pool.waiting:
            run = pool.waiting.popleft()
            run.queued = False
            self._queued -= 1
            run.fail(EngineUnavailable(f"the environment {name!r} could not be started: {reason}"))
            self._forget(run)
        self._later(pool.zygote.close())

    # ------------------------------------------------------------------ giving work

    def _enqueue(self, pool: Pool, run: LocalRun) -> None:
        if not run.queued:
            run.queued = True
            self._queued += 1
            pool.waiting.append(run)

    def _busy(self) -> int:
        return sum(p.busy for p in self._pools.values())

    def _serve(self, pool: Pool) -> None:
        """Give idle workers of the pool to the runs that wait; start more if none is idle."""
        waiting = pool.waiting
        while waiting:
            run = waiting[0]
            if not run.wants_worker:
                waiting.popleft()
                run.queued = False
                self._queued -= 1
                continue
            worker = pool.take(untouched=run.single_use)
            if worker is None:
                self._grow(pool)
                return
            self._attach(run, worker)
            if (
                run.single_use
                and pool.untouched < pool.spares_wanted
                and self._busy() < self._options.workers
            ):
                pool.grow()  # the next one is forked ahead

    def _grow(self, pool: Pool) -> None:
        """Start one more process now, a little later, or not: as many as cores at once."""
        head = pool.waiting[0]
        wanted = len(pool.waiting) - 1 + head.leases.degree - len(head.workers)
        busy = self._busy()
        while pool.starting < wanted and busy < self._options.cores:
            pool.grow()
            busy += 1
        if pool.starting < wanted and busy < self._options.workers and self._growth is None:
            self._growth = self._loop.call_later(GROWTH_DELAY_S, self._grow_late)

    def _grow_late(self) -> None:
        self._growth = None
        for pool in list(self._pools.values()):
            if pool.waiting and not pool.starting and self._busy() < self._options.workers:
                self._make_room(pool)
                pool.grow()

    def _make_room(self, pool: Pool) -> None:
        """For a run that wants an untouched worker: idle warm ones need not stay."""
        if pool.waiting[0].single_use:
            pool.trim(time.monotonic(), 0, 0.0)

    def _attach(self, run: LocalRun, worker: Worker) -> None:
        lease = run.leases.take()
        assert lease is not None, "a run that wants a worker has calls that wait"
        worker.state = State.BUSY
        worker.run = run
        run.workers.add(worker)
        work = run.work
        only = work.count == 1 and not run.single_use
        worker.begin(
            work.script,
            run.header,
            work.parameters,
            lease,
            lease_frame(run.number, lease, LEASE_US),
            end_frame(run.number) if only and not lease.careful else b"",
        )
        if work.count > 1:
            self._feed(run, worker)

    def _feed(self, run: LocalRun, worker: Worker) -> None:
        """Fill a worker's hands."""
        leases = run.leases
        while leases.left and len(worker.held) < leases.depth:
            lease = leases.take()
            assert lease is not None
            worker.lease(lease, lease_frame(run.number, lease, LEASE_US))

    def _release(self, worker: Worker, run: LocalRun) -> None:
        """A worker whose hands are empty, of a run that has nothing more for it."""
        run.workers.discard(worker)
        worker.run = None
        if run.single_use:
            worker.pool.end(worker)
        else:
            if run.work.count > 1 or worker.state is State.DRAINING:
                worker.end(run.number)
            worker.pool.give_back(worker)

    # ------------------------------------------------------------------ what workers say

    def worker_ready(self, worker: Worker) -> None:
        worker.pool.started(worker)
        self._serve(worker.pool)

    def worker_values(self, worker: Worker, run: int, start: int, count: int, json: bytes) -> None:
        current = worker.run
        if current is not None and current.number == run and not current.over:
            current.record_values(start, count, json)

    def worker_outcome(self, worker: Worker, run: int, outcome: Outcome) -> None:
        current = worker.run
        if current is None or current.number != run or current.over:
            return
        current.lost_in_a_row = 0
        current.record(outcome)
        if isinstance(outcome, Failed) and (
            current.work.stop_on_failure or outcome.failure.kind.is_fatal
        ):
            self._end_run(current)

    def worker_returned(self, worker: Worker, run: int, start: int, count: int, us: int) -> None:
        held = worker.take_back(start, count)
        current: LocalRun | None = worker.run
        if current is None or current.number != run:
            raise Forged
        if current.over:
            if not worker.held:
                self._draining.discard(worker)
                self._release(worker, current)
                self._serve(worker.pool)
            return
        leases = current.leases
        leases.returned(held.lease, count)
        if count:
            leases.learn(us / count)
        if leases.is_over:
            self._remember_cost(current, us, count)
            self._release(worker, current)
            current.finish()
            self._forget(current)
        elif leases.left:
            self._feed(current, worker)
            if current.wants_worker:
                self._enqueue(worker.pool, current)
        elif not worker.held:
            self._release(worker, current)
        if worker.pool.waiting:
            self._serve(worker.pool)

    def _remember_cost(self, run: LocalRun, us: int, count: int) -> None:
        if count:
            key = (run.work.script.digest, run.work.environment.name)
            if len(self._call_us) > 10_000:
                self._call_us.clear()
            self._call_us[key] = us / count

    def worker_retires(self, worker: Worker, reason: str) -> None:
        """Not fit for another run: what it holds of the next has not been begun."""
        pool, run = worker.pool, worker.run
        held, worker.held = worker.held, []
        pool.end(worker)
        if run is not None:
            worker.run = None
            run.workers.discard(worker)
            if not run.over:
                run.leases.unstarted([h.lease for h in held])
                self._enqueue(pool, run)
        self._draining.discard(worker)
        self._serve(pool)

    def worker_silent(self, worker: Worker) -> None:
        """The channel ended: the process has, or must."""
        if worker.exit_status is not None or not worker.pool.zygote.is_alive:
            worker.pool.bury(worker)
        else:
            worker.pool.zygote.kill(worker.number)

    def worker_exited(self, worker: Worker) -> None:
        """A process ended with all that it started; its calls are retried or convicted."""
        pool, run = worker.pool, worker.run
        self._draining.discard(worker)
        if run is not None:
            worker.run = None
            run.workers.discard(worker)
            if not run.over:
                self._retry(run, worker)
        if not self._closing and pool.zygote.is_alive:
            if run is not None and not run.over:
                self._enqueue(pool, run)
            self._serve(pool)

    def _retry(self, run: LocalRun, worker: Worker) -> None:
        held: list[tuple[Lease, int]] = [(h.lease, h.done) for h in worker.held]
        convicted = run.leases.lost(held)
        run.lost_in_a_row += 1
        if convicted is not None:
            run.record(_lost(convicted, worker))
            if run.work.stop_on_failure:
                self._end_run(run)
                return
        if run.lost_in_a_row >= MAX_LOST_IN_A_ROW:
            self._give_up(run, worker)
        if run.leases.is_over:
            run.finish()
            self._forget(run)
        elif not worker.pool.zygote.is_alive:
            run.fail(EngineUnavailable("the process that starts workers ended"))
            self._end_run(run)

    def _give_up(self, run: LocalRun, worker: Worker) -> None:
        """Convict every call that still waits: nothing of this run comes through."""
        while run.leases.left:
            lease = run.leases.take()
            assert lease is not None
            for index in range(lease.start, lease.end):
                run.record(_lost(index, worker, never_begun=True))
            run.leases.returned(lease, lease.count)

    # ------------------------------------------------------------------ the end of a run

    def _stop(self, run: LocalRun) -> None:
        self._end_run(run)

    def _end_run(self, run: LocalRun) -> None:
        """End a run early: nothing more is begun, what is in hand may finish for a moment."""
        run.leases.stop()
        run.finish()
        self._forget(run)
        until = time.monotonic() + DRAIN_S
        for worker in run.workers:
            if worker.state is State.BUSY:
                worker.state = State.DRAINING
                worker.drain_until = until
                self._draining.add(worker)
        if self._draining:
            self._loop.call_later(DRAIN_S, self._kill_drained)

    def _kill_drained(self) -> None:
        now = time.monotonic()
        for worker in list(self._draining):
            if now >= worker.drain_until - 0.001:
                self._draining.discard(worker)
                worker.pool.end(worker)

    def _forget(self, run: LocalRun) -> None:
        self._runs.pop(run.number, None)

    def _tick(self) -> None:
        """Deadlines, idle workers, idle pools."""
        self._ticking = self._loop.call_later(TICK_S, self._tick)
        now = time.monotonic()
        for run in list(self._runs.values()):
            if now >= run.deadline:
                run.fail(
                    RunTimedOut(
                        f"the run was stopped after {run.work.timeout_s:g} s, the limit of this call"
                    )
                )
                self._end_run(run)
        for key, pool in list(self._pools.items()):
            pool.trim(now, self._options.cores, IDLE_WORKER_S)
            if not pool.waiting and not pool.busy and now - pool.last_used > IDLE_POOL_S:
                self._retire_pool(key)


def _lost(index: int, worker: Worker, *, never_begun: bool = False) -> Failed:
    how = _ending(worker.exit_status)
    where = f"index {index}" if index else "the call"
    if never_begun:
        message = f"{where} was not begun: {MAX_LOST_IN_A_ROW} workers in a row {how}"
    else:
        message = f"the worker process {how} while it ran {where}, twice"
    tail = worker.output_tail(4_000).strip()
    if tail:
        message += f"; its last words: {tail[-500:]}"
    failure = Failure(kind=FailureKind.LOST, type="WorkerLost", message=message)
    return Failed(index=index, failure=failure, log=tail)


def _ending(status: int | None) -> str:
    if status is None:
        return "ended"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"was killed by signal {number} ({signal.Signals(number).name})"
    return f"ended with exit status {os.waitstatus_to_exitcode(status)}"
