"""The engine on this machine: pools of workers, and the leases that keep them busy.

Everything here runs on the event loop's thread and never waits: workers, zygotes and the clock call
in, `_pump` gives work to whoever is free.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path
from typing import Any

import structlog

from fanfold_server.engine.asks import Asks
from fanfold_server.engine.costs import Costs
from fanfold_server.engine.draining import Draining
from fanfold_server.engine.growth import Growth
from fanfold_server.engine.leases import Lease
from fanfold_server.engine.options import EngineOptions
from fanfold_server.engine.pool import Pool
from fanfold_server.engine.pools import Pools
from fanfold_server.engine.port import Answerer, Ask, Recorder, Work
from fanfold_server.engine.running import LocalRun
from fanfold_server.engine.sandbox import Sandbox
from fanfold_server.engine.tally import Tally, figures
from fanfold_server.engine.texts import Forged
from fanfold_server.engine.verdicts import lost, named, never_begun, timed_out
from fanfold_server.engine.worker import Owner, State, Worker, end_frame, lease_frame
from fanfold_server.model.environment import Environment
from fanfold_server.model.errors import EngineUnavailable, Overloaded, RunTimedOut, ShuttingDown
from fanfold_server.model.metric import Family
from fanfold_server.model.outcome import Failed, Outcome, Values

LEASE_US = 10_000
"""Time limit of a lease, microseconds."""

TICK_S = 0.25
"""How often deadlines are looked at."""

CALL_TICK = 0.1
"""The same for the limit of one call, as a part of that limit if this is more often."""

IDLE_WORKER_S = 60.0
IDLE_POOL_S = 900.0

MAX_LOST_IN_A_ROW = 20
"""Workers that one run may lose without a single call coming through before it is given up."""


class LocalEngine:
    """Runs works in worker processes of this machine; the `Engine` of the port.

    Args:
        cache: directory for what speeds up the start of environments.
        spare: the environment for which an unowned zygote is kept ready; None for no spare.
        answerer: answers what calls ask; None: nobody does.
    """

    def __init__(
        self,
        *,
        options: EngineOptions,
        sandbox: Sandbox,
        cache: Path,
        spare: Environment | None,
        answerer: Answerer | None = None,
    ) -> None:
        self._options = options
        self._sandbox = sandbox
        self._pools = Pools(
            host=self,
            sandbox=sandbox,
            limit=options.pools,
            preload=options.preload,
            cache=cache,
            spare=spare,
            warm_memory_mib=options.warm_memory_mib,
            max_frame_bytes=options.limits.max_frame_bytes,
        )
        self._asks = Asks(answerer)
        self._runs: dict[int, LocalRun] = {}
        self._draining = Draining()
        self._costs = Costs()
        self._tally = Tally()
        self._worker_numbers = itertools.count(1)
        self._run_numbers = itertools.count(1)
        self._queued = 0
        self._closing = False
        self._growth = Growth(self._pools, options)
        self._ticking: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._log = structlog.get_logger("fanfold_server.engine")

    @property
    def owner(self) -> Owner:
        return self

    def next_worker_number(self) -> int:
        return next(self._worker_numbers)

    # ------------------------------------------------------------------ the port

    def open(self) -> None:
        """Start the spare zygote and the clock."""
        self._pools.refill()
        self._ticking = self._loop.call_later(TICK_S, self._tick)

    def start(self, work: Work, recorder: Recorder) -> LocalRun:
        if self._closing:
            raise ShuttingDown
        if self._queued >= self._options.max_queued_runs:
            self._tally.refused += 1
            raise Overloaded(
                f"{self._queued} runs are waiting, which is this server's limit; try again later"
            )
        reuse = self._options.reuse
        limits = self._sandbox.tiers.of(work.level)
        run = LocalRun(
            number=next(self._run_numbers) & 0xFFFFFFFF,
            work=work,
            recorder=recorder,
            call_us=self._costs.of(work),
            single_use=reuse == "fork" or (reuse == "auto" and work.caller != work.script.owner),
            limits=self._options.limits,
            call_s=limits.call_s,
            threads=self._options.threads_of(work, limits),
            stop=self._end_run,
        )
        self._runs[run.number] = run
        self._tally.runs += 1
        pool = self._pools.of(work)
        if pool is not None:
            self._enqueue(pool, run)
            self._serve(pool)
            if run.call_timeout_s is not None:
                self._watch_calls(run, run.call_timeout_s)
        else:
            run.fail(
                EngineUnavailable(
                    f"the environment {work.environment.name!r} could not be started: "
                    f"{self._pools.refusal}"
                )
            )
            self._forget(run)
        return run

    def describe(self) -> dict[str, Any]:
        return {
            "ready": self._pools.is_ready and not self._closing,
            "isolation": self._sandbox.describe()
            | {"confined": self._pools.facts.get("confined", {})},
            "pools": len(self._pools),
            "workers": sum(len(pool.workers) for pool in self._pools),
            "busy": self._pools.busy,
            "runs": len(self._runs),
        }

    def figures(self) -> list[Family]:
        """Return what operators watch."""
        return figures(self._pools, self._tally, runs=len(self._runs), queued=self._queued)

    @property
    def pools(self) -> Pools:
        """Who has interpreters started, and keeps them."""
        return self._pools

    async def close(self) -> None:
        """End every run with ShuttingDown and every process that was started."""
        self._closing = True
        if self._ticking is not None:
            self._ticking.cancel()
        self._growth.stop()
        for run in list(self._runs.values()):
            run.fail(ShuttingDown())
            self._forget(run)
        await self._pools.close()

    def pool_failed(self, pool: Pool, reason: str) -> None:
        """A zygote ended: what ran there goes on with a new one, if this one has ever worked."""
        self._pools.drop(pool)
        name = pool.zygote.environment.name
        for run in pool.waiting:
            run.queued = False
            self._queued -= 1
            again = self._pools.of(run.work) if pool.has_worked and not self._closing else None
            if again is not None:
                self._enqueue(again, run)
            elif not run.over:
                run.fail(EngineUnavailable(f"environment {name!r} could not be started: {reason}"))
                self._forget(run)
        self._serve_waiting()

    # ------------------------------------------------------------------ giving work

    def _enqueue(self, pool: Pool, run: LocalRun) -> None:
        if not run.queued:
            run.queued = True
            run.queued_at = time.monotonic()
            self._queued += 1
            pool.waiting.append(run)

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
            if self._pools.busy >= self._options.workers:
                return  # the first that becomes free serves those that have waited longest
            worker = pool.take(untouched=run.single_use)
            if worker is None:
                self._growth.grow(pool, queued=self._queued)
                return
            self._attach(run, worker)
            if run.single_use:
                self._growth.replace(pool)

    def _serve_waiting(self) -> None:
        """Serve all pools, those whose runs have waited longest first: a worker has become free."""
        if not self._queued:
            return
        waiting = [p for p in self._pools if p.waiting and p.zygote.is_alive]
        for pool in sorted(waiting, key=lambda pool: pool.waiting[0].queued_at):
            self._serve(pool)

    def _attach(self, run: LocalRun, worker: Worker) -> None:
        lease = run.leases.take()
        assert lease is not None, "a run that wants a worker has calls that wait"
        worker.state = State.BUSY
        worker.run = run
        run.workers.add(worker)
        work = run.work
        only = work.count == 1 and not run.single_use
        worker.begin(
            script=work.script,
            header=run.header,
            parameters=work.parameters,
            lease=lease,
            lease_frame=_lease_frame(run, lease),
            end=end_frame(run.number) if only and not lease.careful else b"",
            files=run.files,
        )
        if work.count > 1:
            self._feed(run, worker)

    def _feed(self, run: LocalRun, worker: Worker) -> None:
        """Fill a worker's hands.

        One that works carefully gets nothing more meanwhile: should it die of a call, writing to it
        would fail before what it has reported is read, and convict a call that had come back.
        """
        leases = run.leases
        while leases.left and len(worker.held) < leases.depth:
            if worker.held and worker.held[0].lease.careful:
                return
            lease = leases.take()
            assert lease is not None
            worker.lease(lease, _lease_frame(run, lease))

    def _release(self, worker: Worker, run: LocalRun) -> None:
        """A worker whose hands are empty, of a run that has nothing more for it."""
        run.workers.discard(worker)
        worker.run = None
        if run.single_use or run.secrets:
            worker.pool.end(worker)
        else:
            worker.end(run.number)
            worker.pool.give_back(worker)

    # ------------------------------------------------------------------ what workers say

    def worker_ready(self, worker: Worker) -> None:
        worker.pool.started(worker)
        self._serve_waiting()

    def worker_values(self, worker: Worker, run: int, values: Values) -> None:
        current = worker.run
        if current is not None and current.number == run and not current.over:
            current.record_values(values)

    def worker_outcome(self, worker: Worker, run: int, outcome: Outcome) -> None:
        current = worker.run
        if current is None or current.number != run or current.over:
            return
        current.lost_in_a_row = 0
        if isinstance(outcome, Failed):
            current.record(named(outcome, worker, current.work.environment.name))
            if current.work.stop_on_failure or outcome.failure.kind.is_fatal:
                self._end_run(current)
        else:
            current.record(outcome)

    def worker_returned(self, worker: Worker, run: int, start: int, count: int, us: int) -> None:
        held = worker.take_back(start, count)
        current: LocalRun | None = worker.run
        if current is None or current.number != run:
            raise Forged
        if current.over:
            if not worker.held:
                self._draining.forget(worker)
                self._release(worker, current)
                self._serve_waiting()
            return
        leases = current.leases
        leases.returned(held.lease, count)
        if count:
            leases.learn(us / count)
        if leases.is_over:
            self._costs.remember(current.work, us, count)
            self._release(worker, current)
            current.finish()
            self._forget(current)
        elif leases.left and self._others_wait(current):
            if not worker.held:  # else it returns its other lease first
                self._release(worker, current)
            self._enqueue(worker.pool, current)
        elif leases.left:
            self._feed(current, worker)
            if current.wants_worker:
                self._enqueue(worker.pool, current)
        elif not worker.held:
            self._release(worker, current)
        self._serve_waiting()

    def _others_wait(self, run: LocalRun) -> bool:
        """Tell whether the run should make room: a lease at a time, everyone gets a turn.

        A run in single-use workers keeps its last one: it would have to begin in a new process.
        """
        if self._queued <= run.queued or self._pools.busy < self._options.workers:
            return False
        return not run.single_use or len(run.workers) > 1

    def worker_retires(self, worker: Worker, reason: str) -> None:
        """Not fit for another run: what it holds of the next has not been begun."""
        self._log.debug("worker retires", worker=worker.number, owner=worker.pool.owner, why=reason)
        pool, run = worker.pool, worker.run
        held, worker.held = worker.held, []
        pool.end(worker)
        if run is not None:
            worker.run = None
            run.workers.discard(worker)
            if not run.over:
                run.leases.unstarted([h.lease for h in held])
                self._enqueue(pool, run)
        self._draining.forget(worker)
        self._serve_waiting()

    def worker_silent(self, worker: Worker) -> None:
        """The channel ended: the process has, or must."""
        if worker.exit_status is not None or not worker.pool.zygote.is_alive:
            worker.pool.bury(worker)
        else:
            worker.pool.end(worker)

    def worker_asked(self, worker: Worker, ask: Ask) -> None:
        self._asks.take(worker, ask)

    def worker_exited(self, worker: Worker) -> None:
        """A process ended with all that it started; its calls are retried or convicted."""
        pool, run = worker.pool, worker.run
        self._draining.forget(worker)
        if run is not None:
            worker.run = None
            run.workers.discard(worker)
            if not run.over:
                self._retry(run, worker)
        if self._closing:
            return
        if run is not None and not run.over:
            self._enqueue(pool, run)
        self._serve_waiting()

    def _retry(self, run: LocalRun, worker: Worker) -> None:
        held: list[tuple[Lease, int]] = [(h.lease, h.done) for h in worker.held]
        before = run.leases.left
        convicted = run.leases.lost(held, convict=worker.is_guilty)
        if held:
            self._tally.note_death(worker, retried=run.leases.left - before)
        run.lost_in_a_row += not worker.is_guilty
        if convicted is not None:
            limit_s = run.call_timeout_s
            if worker.overdue and limit_s is not None:
                run.record(timed_out(convicted, worker, limit_s))
            else:
                run.record(lost(convicted, worker))
            if run.work.stop_on_failure:
                self._end_run(run)
                return
        if run.lost_in_a_row >= MAX_LOST_IN_A_ROW:
            self._give_up(run, worker)
        if run.leases.is_over:
            run.finish()
            self._forget(run)
        elif not worker.pool.zygote.is_alive:
            run.leases.be_alone()

    def _give_up(self, run: LocalRun, worker: Worker) -> None:
        """Convict every call that still waits: nothing of this run comes through."""
        while run.leases.left:
            lease = run.leases.take()
            assert lease is not None
            for index in range(lease.start, lease.end):
                run.record(never_begun(index, worker, MAX_LOST_IN_A_ROW))
            run.leases.returned(lease, lease.count)

    # ------------------------------------------------------------------ the end of a run

    def _end_run(self, run: LocalRun) -> None:
        """End a run early: nothing more is begun, what is in hand may finish for a moment."""
        run.leases.stop()
        run.finish()
        self._forget(run)
        self._draining.begin(run.workers)

    def _watch_calls(self, run: LocalRun, limit_s: float) -> None:
        """Kill the workers of a run that are in one call for too long."""
        if run.over:
            return
        now = time.monotonic()
        for worker in run.workers:
            if worker.held and not worker.overdue and now - worker.heard_at > limit_s:
                worker.overdue = True
                worker.pool.end(worker)
        pause_s = min(limit_s * CALL_TICK, TICK_S)
        self._loop.call_later(pause_s, self._watch_calls, run, limit_s)

    def _forget(self, run: LocalRun) -> None:
        self._runs.pop(run.number, None)
        run.close_files()

    def _tick(self) -> None:
        """Deadlines, idle workers, idle pools."""
        self._ticking = self._loop.call_later(TICK_S, self._tick)
        now = time.monotonic()
        for run in list(self._runs.values()):
            if now >= run.deadline:
                limit = f"{run.work.timeout_s:g} s"
                run.fail(RunTimedOut(f"the run was stopped after {limit}, the limit of this call"))
                self._end_run(run)
        for pool in self._pools:
            pool.check(now)
            pool.trim(now, self._options.cores, IDLE_WORKER_S)
        self._pools.tend(now, IDLE_POOL_S)


def _lease_frame(run: LocalRun, lease: Lease) -> bytes:
    """With a limit of one call, each is reported by itself: so the one in hand is known."""
    careful = run.call_timeout_s is not None
    return lease_frame(run.number, lease, LEASE_US, careful=careful)
