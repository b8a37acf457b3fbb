"""Open what works: the engine of this machine, what claims parts of jobs for it, who answers calls.

A part of `compose`, below `running.py`.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fanfold_server.engine.local import LocalEngine
from fanfold_server.engine.port import Answerer, Warmer
from fanfold_server.engine.sandbox import Sandbox
from fanfold_server.environments.folders import Folders
from fanfold_server.model.environment import Warm
from fanfold_server.model.metric import Family
from fanfold_server.rows.opening import Rows
from fanfold_server.service.applying import Applying
from fanfold_server.service.asking import Asking
from fanfold_server.service.datastore_asks import DatastoreAsks
from fanfold_server.service.datastores import Datastores
from fanfold_server.service.dispatching import Dispatcher
from fanfold_server.service.relaying import Relaying
from fanfold_server.service.stopping import Stopping
from fanfold_server.settings import MIB, Settings
from fanfold_server.state import make_secrets
from fanfold_server.store.port import Blobs
from fanfold_server.store.sql import Store
from fanfold_server.workshop import engine_options, level_timeouts


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """Who runs what a caller waits for: this server's engine, or agents elsewhere.

    Attributes:
        health, figures: as in `Running`.
        warmer: keeps interpreters started; None: there are none here.
        warm: lists the environments that are started.
    """

    applying: Applying | Relaying
    health: Callable[[], Mapping[str, object]]
    figures: Callable[[], list[Family]] = list
    warmer: Warmer | None = None
    warm: Callable[[], list[Warm]] = list


@asynccontextmanager
async def open_answering(
    settings: Settings,
    store: Store,
    rows: Rows,
    *,
    blobs: Blobs,
    datastores: Datastores,
    sandbox: Callable[[], Awaitable[Sandbox]],
    environments: Folders,
) -> AsyncIterator[Answering]:
    """Open the engine of this machine, unless agents elsewhere are to do all work."""
    max_answer_bytes = settings.max_answer_mib * MIB
    if not settings.agent:
        relaying = Relaying(
            store=store.jobs,
            upkeep=store.jobs,
            ledger=store.ledger,
            blobs=blobs,
            signals=store.signals,
            timeout_s=settings.sync_timeout_s,
            level_timeout_s=level_timeouts(settings),
            max_answer_bytes=max_answer_bytes,
            rows=rows.source,
        )
        yield Answering(applying=relaying, health=_without_engine)
        return
    async with open_local(
        settings,
        store,
        rows,
        blobs=blobs,
        datastores=datastores,
        sandbox=sandbox,
        environments=environments,
    ) as engine:
        applying = Applying(
            engine=engine,
            rows=rows.source,
            timeout_s=settings.sync_timeout_s,
            level_timeout_s=level_timeouts(settings),
            max_answer_bytes=max_answer_bytes,
        )
        yield Answering(
            applying=applying,
            health=engine.describe,
            figures=engine.figures,
            warmer=engine.pools,
            warm=engine.pools.warm,
        )


@asynccontextmanager
async def open_local(
    settings: Settings,
    store: Store,
    rows: Rows,
    *,
    blobs: Blobs,
    datastores: Datastores,
    sandbox: Callable[[], Awaitable[Sandbox]],
    environments: Folders,
) -> AsyncIterator[LocalEngine]:
    """Open the engine of this machine, and what claims parts of jobs for it."""
    asking = _asking(settings, store, rows, datastores)
    async with (
        _open_engine(settings, sandbox, environments, asking) as engine,
        _open_dispatcher(settings, store, blobs, engine, environments),
    ):
        yield engine


@asynccontextmanager
async def _open_dispatcher(
    settings: Settings,
    store: Store,
    blobs: Blobs,
    engine: LocalEngine,
    environments: Folders,
) -> AsyncIterator[Dispatcher]:
    """Claim parts of jobs, until the time has come to give them back."""
    stopping = Stopping(store=store.settling, ledger=store.ledger, blobs=blobs)
    dispatcher = Dispatcher(
        agent=f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}",
        store=store.jobs,
        blobs=blobs,
        signals=store.signals,
        engine=engine,
        environments=environments,
        stopping=stopping,
        slots=settings.workers,
        per_owner=settings.max_user_running,
        lease_s=settings.lease_s,
        scratch=settings.data,
    )
    stopping.open()
    dispatcher.open()
    try:
        yield dispatcher
    finally:
        await dispatcher.close(settings.drain_s)
        await stopping.close()


@asynccontextmanager
async def _open_engine(
    settings: Settings,
    sandbox: Callable[[], Awaitable[Sandbox]],
    environments: Folders,
    answerer: Answerer,
) -> AsyncIterator[LocalEngine]:
    """Start the engine of this machine."""
    engine = LocalEngine(
        options=engine_options(settings),
        sandbox=await sandbox(),
        cache=settings.data / "cache",
        spare=environments.find(None),
        answerer=answerer,
    )
    engine.open()
    try:
        yield engine
    finally:
        await engine.close()


def _asking(settings: Settings, store: Store, rows: Rows, datastores: Datastores) -> Asking:
    """Put together who answers what functions ask."""
    secrets = make_secrets(store, settings)
    return Asking(
        rows=rows.embedded,
        tables=store.tables,
        notes=store.notes,
        further={"secret": secrets.give, **DatastoreAsks(datastores).verbs},
    )


def _without_engine() -> Mapping[str, object]:
    return {"ready": True, "agent": False}
