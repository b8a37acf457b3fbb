"""Running a script while its caller waits: plan, engine, fold."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Protocol, assert_never

from fanfold_server.engine.port import Engine, Running
from fanfold_server.model.apply import (
    Apply,
    Chunks,
    Groups,
    Index,
    Once,
    OnError,
    ServiceLevel,
    Whole,
)
from fanfold_server.model.errors import AnswerTooLarge, DataUnavailable, RunTimedOut
from fanfold_server.model.outcome import Failed
from fanfold_server.model.rows import Rowset
from fanfold_server.rows.port import RowSource
from fanfold_server.service.folding import Gathered, first_failure, fold, named
from fanfold_server.service.planning import plan
from fanfold_server.service.unawaited import seen

WATCH_AFTER_S = 0.05
"""A run that takes longer than this is watched for its caller's leaving; most are over by then."""

WATCH_PERIOD_S = 0.025
"""How often it is looked which have."""


AS_A_JOB = '; as a job ("asyncFlag": true) it may take longer'


class CallerLeft(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """How many workers a run may have at each service level, ≥ 1."""

    by_level: Mapping[ServiceLevel, int]

    def degree(self, level: ServiceLevel, *, parallel_flag: bool, parallel: int | None) -> int:
        """Return how many workers a request gets; more than the level has is lowered in silence.

        `parallel` above 1 implies the flag; the flag alone means as many as the level has.
        """
        cap = self.by_level[level]
        if parallel is not None and (parallel > 1 or parallel_flag):
            return max(1, min(parallel, cap))
        return cap if parallel_flag else 1


class Answering(Protocol):
    """Runs scripts for callers who wait: `Applying` here, `Relaying` wherever there is an agent."""

    async def run(
        self, apply: Apply, leaving: Callable[[], Awaitable[None]]
    ) -> list[bytes] | Failed:
        """Run a script and return the answer's body in pieces, or the call that failed it.

        Args:
            apply: what to run.
            leaving: waits until the caller goes away.

        Raises:
            CallerLeft: the caller went away; everything that was begun is stopped.
        """
        ...


async def query(source: RowSource, apply: Apply) -> Rowset:
    """Fetch the rows of a run and cut them into its calls. Raises what `RowSource` does."""
    given, split, reader = apply.input, apply.split, apply.caller
    assert given is not None, "a run without an input has no rows"
    match split:
        case Whole():
            return await source.whole(given.query, reader=reader)
        case Chunks(rows=rows):
            return await source.chunks(given.query, reader=reader, rows=rows)
        case Groups():
            return await source.groups(
                given.query,
                reader=reader,
                by=split.by,
                order=split.order,
                order_within=split.order_within,
            )
        case Once() | Index():
            raise AssertionError("a run without rows has no input")
        case _:
            assert_never(split)


async def waited(
    work: Coroutine[None, None, Rowset], leaving: Callable[[], Awaitable[None]]
) -> Rowset:
    """Wait for rows, or give them up when the caller goes away. Raises CallerLeft."""
    task = asyncio.create_task(work)
    task.add_done_callback(seen)
    left: asyncio.Future[None] | None = None
    try:
        await asyncio.wait({task}, timeout=WATCH_AFTER_S)
        if not task.done():
            left = asyncio.ensure_future(leaving())
            await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise CallerLeft
        return task.result()
    finally:
        task.cancel()
        if left is not None:
            left.cancel()


class Applying:
    """Runs scripts for callers who wait, in the engine of this process.

    Args:
        timeout_s: how long a run may take, seconds, > 0.
        level_timeout_s: the same at the service levels that have a limit of their own.
        max_answer_bytes: a larger answer is refused, whole.
        rows: answers queries; None: there is nothing to query.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        timeout_s: float,
        max_answer_bytes: int,
        rows: RowSource | None = None,
        level_timeout_s: Mapping[ServiceLevel, float] | None = None,
    ) -> None:
        self._engine = engine
        self._level_timeout_s = level_timeout_s or {}
        self._rows = rows
        self._timeout_s = timeout_s
        self._max_answer_bytes = max_answer_bytes
        self._watches = _Watches()

    async def run(
        self, apply: Apply, leaving: Callable[[], Awaitable[None]]
    ) -> list[bytes] | Failed:
        """Run a script and return the answer's body in pieces, or the call that failed it.

        Args:
            leaving: waits until the caller goes away; used only by runs that take a while.

        Raises:
            CallerLeft: the caller went away; everything that was begun is stopped.
            AnswerTooLarge, RunTimedOut, EngineUnavailable, Overloaded, ShuttingDown: as they say.
            CallerError, DataUnavailable: of the query; see `rows.port.RowSource`.
        """
        if apply.input is None:
            return await self._run(apply, None, leaving)
        if self._rows is None:
            raise DataUnavailable("This server has no data to query.")
        rows = await waited(query(self._rows, apply), leaving)
        try:
            return await self._run(apply, rows, leaving)
        finally:
            # also when this task is cancelled: what nobody reads is not kept
            await asyncio.shield(self._rows.release(rows))

    async def _run(
        self, apply: Apply, rows: Rowset | None, leaving: Callable[[], Awaitable[None]]
    ) -> list[bytes] | Failed:
        gathered = Gathered()
        keys = None if rows is None else rows.keys
        if rows is not None and not rows.calls:
            return fold(apply, gathered, keys)
        timeout_s = self._level_timeout_s.get(apply.service, self._timeout_s)
        work = plan(apply, timeout_s=timeout_s, keep_logs=False, rows=rows)
        running = self._engine.start(work, gathered)
        done = running.done
        try:
            if not done.done():
                await self._wait(running, gathered, leaving)
            done.result()
        except RunTimedOut as exc:
            if apply.service in self._level_timeout_s:
                raise  # which holds for jobs, too
            raise RunTimedOut(exc.message + AS_A_JOB) from exc
        if gathered.size_bytes > self._max_answer_bytes:
            limit = self._max_answer_bytes
            raise AnswerTooLarge(
                f"The values take more than {limit} bytes, the limit of one answer; return less "
                "per call, or ask for fewer calls.",
                limit_bytes=limit,
            )
        if apply.on_error is OnError.FAIL and gathered.failed:
            failed = first_failure(gathered)
            assert failed is not None
            return named(failed, keys)
        fatal = next((f for f in gathered.failed if f.failure.kind.is_fatal), None)
        if fatal is not None:
            return named(fatal, keys)
        return fold(apply, gathered, keys)

    async def _wait(
        self, running: Running, gathered: Gathered, leaving: Callable[[], Awaitable[None]]
    ) -> None:
        """Wait for the run, its caller's leaving, or too large an answer."""
        watch = _Watch(running, gathered, self._max_answer_bytes, leaving)
        self._watches.begin(watch)
        try:
            await running.done
        except asyncio.CancelledError:
            running.cancel()
            raise
        finally:
            watch.end()
        if watch.left:
            raise CallerLeft


class _Watches:
    """Has an eye on the runs that go on for a while: one timer for all of them.

    Most are over before it first comes to them, and have cost no timer of their own.
    """

    def __init__(self) -> None:
        self._coming: deque[tuple[float, _Watch]] = deque()  # the next to be looked at first
        self._is_awake = False

    def begin(self, watch: _Watch) -> None:
        """Look at a run every now and then from now on, until it is over."""
        loop = asyncio.get_running_loop()
        self._coming.append((loop.time() + WATCH_AFTER_S, watch))
        if not self._is_awake:
            self._is_awake = True
            loop.call_later(WATCH_AFTER_S, self._look)

    def _look(self) -> None:
        loop, coming = asyncio.get_running_loop(), self._coming
        now = loop.time()
        while coming and coming[0][0] <= now:
            _, watch = coming.popleft()
            if watch.look():
                coming.append((now + WATCH_AFTER_S, watch))
        self._is_awake = bool(coming)
        if coming:
            loop.call_later(WATCH_PERIOD_S, self._look)


class _Watch:
    """Stops a run that nobody waits for or whose answer has become too large."""

    __slots__ = ("_gathered", "_is_over", "_leaving", "_max_bytes", "_running", "_task", "left")

    def __init__(
        self,
        running: Running,
        gathered: Gathered,
        max_bytes: int,
        leaving: Callable[[], Awaitable[None]],
    ) -> None:
        self._running = running
        self._gathered = gathered
        self._max_bytes = max_bytes
        self._leaving = leaving
        self._task: asyncio.Task[None] | None = None
        self._is_over = False
        self.left = False

    def look(self) -> bool:
        """Look at the run; return whether it has to be looked at again."""
        if self._is_over:
            return False
        if self._task is None:
            self._task = asyncio.ensure_future(self._wait_for_leaving())
        if self._gathered.size_bytes > self._max_bytes:
            self._running.cancel()
            return False
        return True

    async def _wait_for_leaving(self) -> None:
        await self._leaving()
        if not self._running.done.done():
            self.left = True
            self._running.cancel()

    def end(self) -> None:
        """The run is over."""
        self._is_over = True
        if self._task is not None:
            self._task.cancel()
