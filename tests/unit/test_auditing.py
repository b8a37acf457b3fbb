from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

import pytest

from fanfold_server.model.actor import Actor, Role
from fanfold_server.model.audit import AuditEntry, AuditFilter
from fanfold_server.service.auditing import SLICE, Auditing, Event, described


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("PUT", "/api/v1/scripts/mean", ("script.publish", "mean")),
        ("DELETE", "/api/v1/scripts/mean", ("script.delete", "mean")),
        ("POST", "/api/v1/scripts/mean/rollback", ("script.rollback", "mean")),
        ("PUT", "/api/v1/scripts/mean/grants/BOB", ("script.grant", "mean BOB")),
        ("DELETE", "/api/v1/tables/IRIS/grants/*", ("table.revoke", "IRIS *")),
        ("POST", "/api/v1/tokens", ("token.create", "")),
        ("DELETE", "/api/v1/tokens/nightly", ("token.delete", "nightly")),
        ("POST", "/api/v1/jobs/1-2/resume", ("job.resume", "1-2")),
        ("DELETE", "/oml/api/py-scripts/v2/jobs/1-2", ("job.delete", "1-2")),
        ("DELETE", "/oml/api/py-scripts/v2/jobs", ("job.delete", "")),
        ("POST", "/oml/api/py-scripts/v1/do-eval/mean", ("run.do-eval", "mean")),
        ("POST", "/oml/api/py-scripts/v2/row-apply/mean/BOB", ("run.row-apply", "mean BOB")),
        ("POST", "/omlusers/api/oauth2/v1/token", ("login", "")),
        ("POST", "/omlusers/api/oauth2/v1/revoke", ("logout", "")),
        ("GET", "/api/v1/audit", ("audit.read", "")),
        ("PATCH", "/else/where", ("patch", "/else/where")),
    ],
)
def test_a_request_has_an_action_and_a_target(
    method: str, path: str, expected: tuple[str, str]
) -> None:
    assert described(method, path) == expected


class Slow:
    """Keeps entries when it is let."""

    def __init__(self) -> None:
        self.kept: list[AuditEntry] = []
        self.is_asked = asyncio.Event()
        self.gate = asyncio.Event()

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        self.is_asked.set()
        await self.gate.wait()
        self.kept += entries

    async def entries(
        self, which: AuditFilter, *, limit: int, below: int | None = None
    ) -> list[tuple[int, AuditEntry]]:
        assert which == AuditFilter()
        assert below is None
        return list(enumerate(self.kept))[:limit]

    async def forget_before(self, moment: datetime) -> None:
        assert moment.tzinfo is not None


def noted(count: int) -> list[Event]:
    return [
        Event(1.0, "ANN", None, None, "PUT", f"/api/v1/scripts/s{i}", 201, str(i))
        for i in range(count)
    ]


async def under_way(monkeypatch: pytest.MonkeyPatch, count: int) -> tuple[Slow, Auditing]:
    """Note requests, and wait until the store is asked to keep the first."""
    monkeypatch.setattr("fanfold_server.service.auditing.EVERY_S", 0.0)
    store = Slow()
    auditing = Auditing(store, days=1)
    for event in noted(count):
        auditing.note(event)
    await store.is_asked.wait()
    return store, auditing


async def test_who_reads_sees_what_is_just_being_written(monkeypatch: pytest.MonkeyPatch) -> None:
    store, auditing = await under_way(monkeypatch, 3)
    actor = Actor(user_id=1, name="ROOT", role=Role.ADMIN)
    reading = asyncio.create_task(auditing.read(actor, AuditFilter(), limit=10))
    await asyncio.sleep(0)
    store.gate.set()
    found = [entry.request async for _, entry in await reading]
    assert found == ["0", "1", "2"]
    await auditing.close()


async def test_the_end_waits_for_what_is_just_being_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After it there is no store any more."""
    store, auditing = await under_way(monkeypatch, 2 * SLICE + 1)
    closing = asyncio.create_task(auditing.close())
    await asyncio.sleep(0)
    store.gate.set()
    await closing
    assert [entry.request for entry in store.kept] == [str(i) for i in range(2 * SLICE + 1)]
