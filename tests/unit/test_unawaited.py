"""What is begun may fail when nobody waits for it any more: that is no fault of the event loop's.

It would be reported when the garbage collector comes by, which is why it is called here.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import create_engine

from fanfold_server.environments.places import Places
from fanfold_server.environments.shelf import BuiltShelf
from fanfold_server.http import jobs_events
from fanfold_server.model.actor import Actor, Role
from fanfold_server.model.errors import DataUnavailable
from fanfold_server.model.job import Job
from fanfold_server.model.rows import Rowset
from fanfold_server.service.applying import CallerLeft, waited
from fanfold_server.service.jobs import Jobs
from fanfold_server.service.provisioning import Provisioning
from fanfold_server.service.recipes import recipe_of
from fanfold_server.store.writing import Writer
from tests.unit.test_provisioning import NoJobs

ADMIN = Actor(user_id=1, name="ROOT", role=Role.ADMIN)
LIMIT_S = 100.0


@pytest.fixture
async def faults() -> AsyncIterator[list[dict[str, Any]]]:
    """What the event loop has reported; nothing, at the end."""
    found: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context))
    yield found
    gc.collect()
    assert not found


async def over(task: asyncio.Future[Any]) -> None:
    async with asyncio.timeout(LIMIT_S):
        await asyncio.wait({task})


@pytest.mark.usefixtures("faults")
async def test_rows_that_cannot_be_had_once_their_caller_has_left() -> None:
    begun: list[asyncio.Task[Any] | None] = []

    async def rows() -> Rowset:
        begun.append(asyncio.current_task())
        try:
            await asyncio.sleep(LIMIT_S)
        except asyncio.CancelledError:
            raise DataUnavailable from None
        raise AssertionError("it is cancelled")

    async def leaving() -> None:
        """He has gone already."""

    with pytest.raises(CallerLeft):
        await waited(rows(), leaving)
    task = begun.pop()
    assert task is not None
    await over(task)


@pytest.mark.usefixtures("faults")
async def test_news_of_a_job_that_fail_once_their_reader_has_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jobs_events, "ALIVE_S", 0.01)
    begun: list[asyncio.Task[Any] | None] = []

    class Away:
        async def watch(self, _actor: Actor, _job: str) -> AsyncIterator[Job]:
            begun.append(asyncio.current_task())
            try:
                await asyncio.sleep(LIMIT_S)
            except asyncio.CancelledError:
                raise DataUnavailable from None
            nothing: list[Job] = []
            for job in nothing:
                yield job

    events = jobs_events.events(cast("Jobs", Away()), ADMIN, "x", last_seen=None)
    assert (await anext(events)).startswith(b"retry")
    assert await anext(events) == b": alive\n\n"
    await cast("Any", events).aclose()
    task = begun.pop()
    assert task is not None
    await over(task)


@pytest.mark.usefixtures("faults")
async def test_a_build_that_fails_is_known_by_its_state(tmp_path: Path) -> None:
    places = Places(tmp_path / "environments")
    places.prepare()

    async def nothing(*_: object) -> Any:
        raise AssertionError("nothing is started here")

    decisions = Provisioning(
        BuiltShelf(places, {}, nothing, nothing), NoJobs(), users_may=False, per_user=2
    )
    build, task = decisions.start(decisions.order(ADMIN, "lab", recipe_of(["six"])))
    await over(task)
    assert decisions.build(ADMIN, build.id).error


@pytest.mark.usefixtures("faults")
async def test_a_look_at_a_database_that_is_away(tmp_path: Path) -> None:
    writer = Writer(create_engine(f"sqlite:///{tmp_path}/nowhere/x.db"), lambda _: None)
    writer.look()
    await writer.close()
