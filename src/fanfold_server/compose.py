"""Put a server together, or an agent: with the modules below it alone that name concrete classes.

`running` opens what runs functions, `workshop` what makes their environments, `vouching` what knows
the tokens of others, `state` what is remembered.

Everything is opened in order on one stack, and closed in the reverse order, also when opening fails
half-way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version

from fanfold_server.http.access_log import AccessLog
from fanfold_server.http.app import build_app
from fanfold_server.http.front import ASGIApp
from fanfold_server.http.surface import Sources, Surface
from fanfold_server.logs import write_log
from fanfold_server.rows.opening import Rows, RowsOptions, open_rows
from fanfold_server.running import Running, open_claiming, open_running
from fanfold_server.service.access import Access
from fanfold_server.service.auditing import Auditing
from fanfold_server.service.callbacks import Callbacks
from fanfold_server.service.data_sources import DataSources
from fanfold_server.service.figures import Figures, Lag
from fanfold_server.service.library import Library
from fanfold_server.service.network import ScriptNetworks
from fanfold_server.settings import MIB, Settings, SettingsError
from fanfold_server.state import make_access, make_library, make_secrets, make_sources, open_state
from fanfold_server.store.sql import Store
from fanfold_server.vouching import open_verifiers
from fanfold_server.workshop import make_networks


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """An open server; `app` answers requests for as long as it is open."""

    app: ASGIApp
    settings: Settings
    access: Access
    library: Library
    running: Running


@asynccontextmanager
async def open_server(settings: Settings) -> AsyncIterator[Server]:
    """Open everything that a server is made of.

    Raises:
        SettingsError: the data directory cannot be used.
        StoreUnusable: the database cannot be used.
    """
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_state(settings))
        verifiers = await stack.enter_async_context(open_verifiers(settings, store))
        access = make_access(store, settings, verifiers=verifiers)
        library = make_library(store, settings)
        sources = make_sources(store, settings)
        rows = await stack.enter_async_context(_open_rows(settings, store, sources))
        running = await stack.enter_async_context(
            open_running(settings, store, access, library, rows)
        )
        log = None
        if settings.access_log and settings.log_level in {"debug", "info"}:
            log = AccessLog(write_log, as_json=settings.log_format == "json")
            stack.callback(log.flush)
        auditing = Auditing(store.audit, days=settings.audit_days)
        stack.push_async_callback(auditing.close)
        lag = Lag()
        lag.open()
        stack.callback(lag.close)
        figures = Figures(
            version=version("fanfold"), engine=running.figures, ledger=store.ledger, lag=lag
        )
        surface = Surface(
            access=access,
            auditing=auditing,
            secrets=make_secrets(store, settings),
            networks=ScriptNetworks(
                store.networks, store.scripts, library, make_networks(settings)
            ),
            library=library,
            environments=running.environments,
            health=_health(running),
            figures=figures.collect,
            public_url=settings.public_url.rstrip("/") if settings.public_url else None,
            jobs=running.jobs,
            submitting=running.submitting,
            callbacks=Callbacks(store=store.callbacks, ledger=store.ledger),
            tables=running.tables,
            sources=Sources(registered=sources, probe=rows.probe),
            datastores=running.datastores,
            provisioning=running.provisioning,
            carrying=running.carrying,
            preloading=running.preloading,
        )
        yield Server(
            app=build_app(
                surface,
                runs=running.runs,
                max_body_bytes=settings.max_body_mib * MIB,
                max_table_bytes=settings.max_table_mib * MIB,
                run_paths=running.run_paths,
                trust_forwarded=settings.trust_forwarded,
                record=None if log is None else log.record,
            ),
            settings=settings,
            access=access,
            library=library,
            running=running,
        )


@asynccontextmanager
async def open_agent(settings: Settings) -> AsyncIterator[None]:
    """Open what claims and runs parts of jobs, and nothing that listens.

    Raises:
        SettingsError: the data directory cannot be used.
        StoreUnusable: the database cannot be used.
    """
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_state(settings))
        sources = make_sources(store, settings)
        rows = await stack.enter_async_context(_open_rows(settings, store, sources))
        await stack.enter_async_context(open_claiming(settings, store, rows))
        yield


@asynccontextmanager
async def _open_rows(settings: Settings, store: Store, sources: DataSources) -> AsyncIterator[Rows]:
    """Open what gives rows; processes start when they are first asked."""
    options = RowsOptions(
        folder=settings.data / "tables",
        memory_mib=settings.data_memory_mib,
        queries=settings.data_queries,
        threads=settings.data_threads,
        spill_mib=settings.data_spill_mib,
        rowset_mib=settings.max_rows_mib,
        timeout_s=settings.query_timeout_s,
    )
    async with AsyncExitStack() as stack:
        try:
            rows = await stack.enter_async_context(open_rows(options, store.tables, sources))
        except OSError as exc:
            raise SettingsError(f"data: {exc.filename} cannot be used: {exc.strerror}") from exc
        yield rows


def _health(running: Running) -> Callable[[], Mapping[str, object]]:
    fixed = {"version": version("fanfold")}

    def health() -> Mapping[str, object]:
        now = running.health()
        return {"status": "ok" if now.get("ready") else "starting", **fixed, **now}

    return health
