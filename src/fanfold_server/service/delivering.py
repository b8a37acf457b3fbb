"""Telling of jobs' ends: takes deliveries that are due, sends them, records what came of it.

    due ──▶ take (a lease) ──▶ send ──▶ delivered
     ▲                          │ no answer, or a bad one
     └──── later, and later ────┘──▶ given up

Every server that may call anybody has one `Deliverer`. A delivery whose server dies in the middle
is taken again when its lease has run out: whoever is told, is told at least once, under one id.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import structlog

from fanfold_server.callbacks.port import NotDelivered, Post
from fanfold_server.model.callback import DeliveryState, Due, Hosts
from fanfold_server.model.errors import InvalidField
from fanfold_server.service.callbacks import headers_of, message_of, new_secret
from fanfold_server.store.port import CallbackStore, Signal, Signals

AT_ONCE = 8
"""Messages under way at once, in one server."""

SEND_S = 20.0
"""How long one attempt may take, the look-up of the name and all connections included."""

LEASE_S = 2 * SEND_S
POLL_S = 5.0
CLOSE_S = 2.0
MAX_ATTEMPTS = 10
FACTOR = 4
MAX_PAUSE_S = 6 * 3600.0


class Deliverer:
    """Sends deliveries until it is told to stop.

    Args:
        hosts: whom it may call, whatever was allowed when a job was submitted.
        retry_s: the first pause, seconds, > 0; each is four times the one before.
        lease_s: seconds after which another server may take a delivery over, > 0.
        agent: what it calls itself.
    """

    def __init__(
        self,
        *,
        store: CallbackStore,
        signals: Signals,
        post: Post,
        hosts: Hosts,
        retry_s: float,
        agent: str,
        lease_s: float = LEASE_S,
    ) -> None:
        self._store = store
        self._signals = signals
        self._post = post
        self._hosts = hosts
        self._retry_s = retry_s
        self._agent = agent
        self._lease_s = lease_s
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._log = structlog.get_logger("fanfold_server.callbacks")

    def open(self) -> None:
        """Begin."""
        self._unsubscribe = self._signals.subscribe(self._signalled)
        self._loop = asyncio.create_task(self._run(), name="tells of jobs' ends")

    async def close(self) -> None:
        """Take nothing more; what is under way may end, for a moment."""
        self._unsubscribe()
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _signalled(self, signal: Signal, _job: str) -> None:
        if signal is Signal.DUE:
            self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            pause_s = POLL_S
            if len(self._tasks) < AT_ONCE:
                try:
                    pause_s = await self._take()
                except Exception as exc:  # noqa: BLE001  # a database that is away comes back
                    self._log.warning("cannot see what is due", error=repr(exc))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()

    async def _take(self) -> float:
        """Begin what is due; return how long there is nothing to do, seconds."""
        due = await self._store.next_due()
        now = datetime.now(UTC)
        if due is None:
            return POLL_S
        if due > now:
            return min((due - now).total_seconds(), POLL_S)
        taken = await self._store.take(
            limit=AT_ONCE - len(self._tasks), now=now, lease_s=self._lease_s
        )
        for one in taken:
            task = asyncio.create_task(self._deliver(one))
            self._tasks.add(task)
            task.add_done_callback(self._done)
        return 0 if taken and len(self._tasks) < AT_ONCE else POLL_S

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake.set()

    async def _deliver(self, due: Due) -> None:
        try:
            status, error = await self._attempt(due)
            await self._record(due, status, error)
        except Exception as exc:  # noqa: BLE001  # its lease runs out, and it is tried again
            self._log.warning("a delivery was lost sight of", job=due.job.id, error=repr(exc))

    async def _attempt(self, due: Due) -> tuple[int | None, str | None]:
        """Send a message; return the answer's status, and what is wrong."""
        spec, now = due.job.spec, datetime.now(UTC)
        assert spec.callback_url is not None, "else there is no delivery"
        try:
            target = self._hosts.target(spec.callback_url)
        except InvalidField:
            return None, "this server does not call its host any more"
        secrets = await self._store.secrets(spec.owner, new=new_secret(), now=now)
        body = message_of(due.job)
        headers = headers_of(due.job.id, body, secrets.keys, now)
        headers["user-agent"] = self._agent
        try:
            async with asyncio.timeout(SEND_S):
                status = await self._post.send(target, headers, body)
        except TimeoutError:
            return None, f"it was not done within {SEND_S:g} s"
        except NotDelivered as exc:
            return None, str(exc)
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return status, None
        if status < HTTPStatus.BAD_REQUEST:
            return status, f"it answered {status}; redirects are not followed"
        return status, f"it answered {status}"

    async def _record(self, due: Due, status: int | None, error: str | None) -> None:
        now = datetime.now(UTC)
        state = DeliveryState.WAITING
        if error is None:
            state = DeliveryState.DELIVERED
        elif due.fence >= MAX_ATTEMPTS or status == HTTPStatus.GONE:
            state = DeliveryState.GIVEN_UP
        again = now + timedelta(seconds=pause_s(due.fence, self._retry_s) * random.uniform(0.9, 1))
        kept = await self._store.record(
            due, state, now=now, again=again, status=status, error=error
        )
        self._log.info(
            "told of a job's end" if error is None else "could not tell of a job's end",
            job=due.job.id, attempt=due.fence, state=state.value, error=error, recorded=kept,
        )  # fmt: skip


def pause_s(attempts: int, first_s: float) -> float:
    """Return how long to wait after so many attempts that failed, seconds."""
    return float(min(first_s * FACTOR ** (attempts - 1), MAX_PAUSE_S))
