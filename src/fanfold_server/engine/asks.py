"""What calls ask of the server: who may ask, how much at once, and who answers."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import structlog

from fanfold_server.engine.port import Answerer, Ask
from fanfold_server.model.errors import AskRefused, FanfoldError, Unexpected

if TYPE_CHECKING:
    from fanfold_server.engine.running import LocalRun
    from fanfold_server.engine.worker import Worker

ASKS_AT_ONCE = 4
"""Asks of one caller that are worked for at once; further ones wait."""

ASKS_A_SECOND = 500.0
"""How fast one caller's asks are taken in the long run; faster ones wait."""

BURST = 500.0
"""So many are taken at once after a pause."""

ASKS_A_CALL = 100
"""Asks that a run may make for each of its calls, and ten times that at least."""


class Asks:
    """Has asks answered, as the caller of the run in hand.

    Args:
        answerer: who answers; None: nobody does here.
    """

    def __init__(self, answerer: Answerer | None) -> None:
        self._answerer = answerer
        self._lanes: dict[str, _Lane] = {}
        self._log = structlog.get_logger("fanfold_server.engine")

    def take(self, worker: Worker, ask: Ask) -> None:
        """Take an ask of a worker; its side is answered now or later."""
        run: LocalRun | None = worker.run
        try:
            self._check(run, ask)
        except FanfoldError as exc:
            _close(ask)
            worker.side.refuse(exc)
            return
        assert run is not None, "it was checked"
        run.asks += 1
        worker.side.task = asyncio.ensure_future(self._answer(worker, run, ask))
        # Not by the task itself: it may be cancelled before it has begun.
        worker.side.task.add_done_callback(lambda _: _close(ask))

    def _check(self, run: LocalRun | None, ask: Ask) -> None:
        if run is None or run.over or run.number != ask.run:
            raise AskRefused("The run has ended: nothing can be asked of the server any more.")
        if self._answerer is None:
            raise AskRefused("This server answers nothing that functions ask.")
        if run.work.caller != run.work.script.owner and not run.single_use:
            # What another account's script has left in this process could ask as this caller.
            raise AskRefused(
                "A script of another account can ask nothing of the server that lets processes "
                'serve several runs (its setting "reuse" is "warm").'
            )
        most = ASKS_A_CALL * max(run.work.count, 10)
        if run.asks >= most:
            raise AskRefused(
                f"The run has asked {most} times, its limit: {ASKS_A_CALL} a call, and "
                f"{10 * ASKS_A_CALL} at least."
            )

    async def _answer(self, worker: Worker, run: LocalRun, ask: Ask) -> None:
        assert self._answerer is not None
        lane = self._lane(run.work.caller)
        lane.users += 1
        try:
            async with lane.turn:
                await lane.pace()
                reply = await self._answerer.answer(run.work, ask)
            if reply.secret is not None:
                run.holds(reply.secret)
            worker.side.answer(reply)
        except FanfoldError as exc:
            worker.side.refuse(exc)
        except Exception:  # noqa: BLE001  # whatever it is, the call waits
            self._log.exception("ask failed", verb=ask.verb[:40])
            worker.side.refuse(Unexpected())
        finally:
            lane.users -= 1
            if not lane.users and lane.is_rested:
                self._lanes.pop(run.work.caller, None)

    def _lane(self, caller: str) -> _Lane:
        lane = self._lanes.get(caller)
        if lane is None:
            lane = self._lanes[caller] = _Lane()
        return lane


class _Lane:
    """One caller's asks: a few at once, and no faster than the pace."""

    def __init__(self) -> None:
        self.turn = asyncio.Semaphore(ASKS_AT_ONCE)
        self.users = 0
        self._free_at = time.monotonic() - BURST / ASKS_A_SECOND

    @property
    def is_rested(self) -> bool:
        """Whether a new one would be no different."""
        return time.monotonic() - self._free_at >= BURST / ASKS_A_SECOND

    async def pace(self) -> None:
        """Wait until it is time for one more."""
        now = time.monotonic()
        self._free_at = max(self._free_at, now - BURST / ASKS_A_SECOND) + 1 / ASKS_A_SECOND
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)


def _close(ask: Ask) -> None:
    if ask.payload is not None:
        os.close(ask.payload)
