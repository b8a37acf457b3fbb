"""Jobs over a real database, with agents that a test starts and stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from fanfold_server.engine.port import Engine
from fanfold_server.model.actor import Actor, Role
from fanfold_server.model.apply import Index, OnError
from fanfold_server.model.callback import Hosts
from fanfold_server.model.environment import Environment
from fanfold_server.model.errors import UnknownEnvironment
from fanfold_server.model.job import Job
from fanfold_server.model.script import Script
from fanfold_server.model.submission import Submission
from fanfold_server.service.dispatching import Dispatcher
from fanfold_server.service.jobs import Jobs
from fanfold_server.service.stopping import Stopping
from fanfold_server.service.submitting import Submitting
from fanfold_server.store.port import Quota
from fanfold_server.store.sql import Store, open_store, sqlite_url
from tests.fakes.blobs import MemoryBlobs
from tests.fakes.words import apply_of, script_of

ALICE = Actor(user_id=1, name="ALICE", role=Role.DEVELOPER)
BOB = Actor(user_id=2, name="BOB", role=Role.DEVELOPER)
LIMIT_S = 100.0


class OneEnvironment:
    """The default environment, until it is taken away."""

    def __init__(self, prefix: Path = Path("/nowhere")) -> None:
        self.here = True
        self.prefix = prefix

    def find(self, name: str | None, version: int | None = None) -> Environment:
        _ = version  # there is but one
        if not self.here:
            raise UnknownEnvironment(f"There is no environment {name!r}.")
        return Environment(name="default", prefix=self.prefix, kind="venv")

    async def listing(self, actor: Actor) -> list[dict[str, object]]:
        return [{"name": "default", "of": actor.name}]


class OneScript:
    """A library of one script: whatever the test has put there last."""

    def __init__(self, source: str) -> None:
        self.source = source

    async def resolve(self, *_which: object) -> Script:
        return script_of(self.source)


@dataclass
class House:
    """Jobs, and the means to have agents."""

    store: Store
    jobs: Jobs
    submitting: Submitting
    blobs: MemoryBlobs
    source: str
    environments: OneEnvironment = field(default_factory=OneEnvironment)
    opened: list[Stopping] = field(default_factory=list)

    def stopping(self) -> Stopping:
        """Open what ends jobs early; it is closed with the house."""
        made = Stopping(store=self.store.settling, ledger=self.store.ledger, blobs=self.blobs)
        made.open()
        self.opened.append(made)
        return made

    def agent(
        self, engine: Engine, name: str = "a", lease_s: float = 15.0, slots: int = 4
    ) -> Dispatcher:
        return Dispatcher(
            agent=name,
            store=self.store.jobs,
            blobs=self.blobs,
            signals=self.store.signals,
            engine=engine,
            environments=self.environments,
            stopping=self.stopping(),
            slots=slots,
            per_owner=100,
            lease_s=lease_s,
        )

    @asynccontextmanager
    async def working(
        self, engine: Engine, name: str = "a", slots: int = 4
    ) -> AsyncIterator[Dispatcher]:
        agent = self.agent(engine, name, slots=slots)
        agent.open()
        try:
            yield agent
        finally:
            await agent.close(0)

    async def submit(
        self, times: int, *, on_error: OnError = OnError.FAIL, degree: int = 4, **more: Any
    ) -> Job:
        apply = apply_of(
            script_of(self.source),
            Index(times=times),
            environment=self.environments.find(None),
            degree=degree,
            on_error=on_error,
        )
        return await self.submitting.submit(ALICE, apply, Submission(**more))

    async def ended(self, job: Job) -> Job:
        async with asyncio.timeout(LIMIT_S):
            async for now in self.jobs.watch(ALICE, job.id):
                job = now
        return job

    async def answer(self, job: Job) -> Any:
        result = await self.jobs.result(ALICE, job.id)
        assert result is not None
        if result.error is not None:
            return result.error
        return orjson.loads(b"".join([piece async for piece in result.pieces]))


@asynccontextmanager
async def opened(
    folder: Path, source: str = "def f(i): ...", hosts: Hosts | None = None
) -> AsyncIterator[House]:
    """Open a house whose jobs run the function `f` of a source text."""
    async with open_store(sqlite_url(folder / "test.db")) as store:
        blobs = MemoryBlobs()
        jobs = Jobs(store=store.jobs, ledger=store.ledger, blobs=blobs, signals=store.signals)
        submitting = Submitting(
            jobs=jobs,
            store=store.jobs,
            upkeep=store.jobs,
            ledger=store.ledger,
            blobs=blobs,
            library=OneScript(source),  # type: ignore[arg-type]  # what `resume` needs of it
            quota=Quota(),
            hosts=hosts,
        )
        house = House(store=store, jobs=jobs, submitting=submitting, blobs=blobs, source=source)
        try:
            yield house
        finally:
            for stopping in house.opened:
                await stopping.close()
