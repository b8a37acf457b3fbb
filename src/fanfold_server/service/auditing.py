"""The audit log: who ran, published, granted, deleted what, who came in, and who was refused.

Every request that would change something is noted when it ends, and every one that is refused for
who asks; a run costs an append to a list. Entries are written a batch at a time, within `EVERY_S`
of the answer. Neither bodies, query strings nor tokens come here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

import structlog

from fanfold_server.model.actor import Actor, Scope
from fanfold_server.model.audit import AuditEntry, AuditFilter
from fanfold_server.service.tokens import require
from fanfold_server.store.port import AuditStore

EVERY_S: Final = 0.5
MOST_WAITING: Final = 50_000
"""So many entries are kept while the database is away; more are lost, and the log says so."""

SLICE: Final = 200
"""So many entries are made and written at a time: about a millisecond."""

PAGE: Final = 500
_PRUNE_EVERY_S: Final = 3600.0
_LONGEST: Final = 300

_GRANTS: Final = {"PUT": "grant", "DELETE": "revoke"}
_ACTIONS: Final = {"PUT": "publish", "DELETE": "delete", "POST": "create"}


class Event(NamedTuple):
    """A request that is over, as the front door knows it; `at` is `time.time()`."""

    at: float
    actor: str | None
    token: str | None
    address: str | None
    method: str
    path: str
    status: int
    request: str


class Auditing:
    """Notes what is done, and lets administrators read it.

    Args:
        store: where entries are kept.
        days: for how long; 0: for ever.
        now: gives the time of day.
    """

    def __init__(
        self,
        store: AuditStore,
        *,
        days: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._days = days
        self._now = now
        self._waiting: list[Event] = []
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()  # what one has taken and not written yet, others would miss
        self._pruned = float("-inf")
        self._log = structlog.get_logger("fanfold_server.audit")

    def note(self, event: Event) -> None:
        """Note a request; called on the event loop."""
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(event)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._begin)

    async def close(self) -> None:
        """Write what waits."""
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(*self._tasks)
        await self._flush()

    async def read(
        self, actor: Actor, which: AuditFilter, *, limit: int, below: int | None = None
    ) -> AsyncIterator[tuple[int, AuditEntry]]:
        """Give entries with their numbers, the newest first.

        Args:
            actor: an administrator.
            which: all of it has to match.
            limit: at most so many.
            below: only those with smaller numbers.

        Raises:
            Forbidden: the actor is none.
        """
        require(actor, Scope.ADMIN)
        await self._flush()
        return self._pages(which, limit, below)

    async def _pages(
        self, which: AuditFilter, limit: int, below: int | None
    ) -> AsyncIterator[tuple[int, AuditEntry]]:
        while limit > 0:
            page = await self._store.entries(which, limit=min(limit, PAGE), below=below)
            for number, entry in page:
                yield number, entry
                below = number
            limit -= len(page)
            if len(page) < PAGE:
                return

    def _begin(self) -> None:
        self._timer = None
        task = asyncio.get_running_loop().create_task(self._write(), name="audit")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self) -> None:
        try:
            await self._flush()
            if self._days and time.monotonic() - self._pruned > _PRUNE_EVERY_S:
                self._pruned = time.monotonic()
                await self._store.forget_before(self._now() - timedelta(days=self._days))
        except Exception as exc:  # noqa: BLE001  # a database that is away comes back
            self._log.error("audit entries wait", waiting=len(self._waiting), error=repr(exc))

    async def _flush(self) -> None:
        """Write what waits, a slice at a time, so that requests go on between them."""
        async with self._turn:
            events, self._waiting = self._waiting, []
            written = 0
            try:
                while written < len(events):
                    part = events[written : written + SLICE]
                    await self._store.append([_entry(event) for event in part])
                    written += len(part)
            except BaseException:
                self._waiting = [*events[written:], *self._waiting][:MOST_WAITING]
                raise


def _entry(event: Event) -> AuditEntry:
    action, target = described(event.method, event.path)
    return AuditEntry(
        at=datetime.fromtimestamp(event.at, UTC),
        actor=event.actor,
        token=event.token,
        address=event.address,
        action=action,
        target=_storable(target),
        status=event.status,
        request=event.request,
    )


@lru_cache(maxsize=1024)
def described(method: str, path: str) -> tuple[str, str]:
    """Say what a request does, and to what.

    >>> described("PUT", "/api/v1/scripts/mean/grants/BOB")
    ('script.grant', 'mean BOB')
    """
    match [step for step in path.split("/") if step]:
        case ["oml", "api", "py-scripts", _, "jobs", *rest]:
            return _on("job", method, rest)
        case ["oml", "api", "py-scripts", _, verb, script, *owner] if method == "POST":
            return f"run.{verb}", " ".join([script, *owner])
        case ["omlusers", "api", "oauth2", "v1", what] if method == "POST":
            return ("login" if what == "token" else "logout"), ""
        case ["api", "v1", "network-grants", *rest] if method in _GRANTS:
            return f"network.{_GRANTS[method]}", " ".join(rest)
        case ["api", "v1", kind, *rest]:
            return _on(kind.removesuffix("s"), method, rest)
        case _:
            return method.lower(), path


def _on(kind: str, method: str, rest: list[str]) -> tuple[str, str]:
    match rest:
        case [name, "grants", *grantee] if method in _GRANTS:
            return f"{kind}.{_GRANTS[method]}", " ".join([name, *grantee])
        case [name, "network"] if method == "PUT":
            return f"{kind}.network", name
        case [name, *further, verb] if method == "POST":
            return f"{kind}.{verb}", " ".join([name, *further])
        case _:
            return f"{kind}.{_ACTIONS.get(method, 'read')}", " ".join(rest)


def _storable(text: str) -> str:
    """Keep what every database takes and every terminal bears."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else "?" for c in text)
    return text[:_LONGEST]
