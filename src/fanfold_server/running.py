"""Open what runs functions: jobs, engine, dispatcher, and what keeps house for them.

A part of `compose`. A server has all of it; an agent, what claims parts of jobs and runs them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog

from fanfold_server.environments.folders import Folders
from fanfold_server.environments.shelf import BuiltShelf
from fanfold_server.http.apply import RunRoute
from fanfold_server.http.front import RunApp
from fanfold_server.http.run_document import openapi_paths
from fanfold_server.http.surface import Environments
from fanfold_server.model.apply import ServiceLevel
from fanfold_server.model.callback import Hosts
from fanfold_server.model.metric import Family
from fanfold_server.rows.opening import Rows
from fanfold_server.service.access import Access
from fanfold_server.service.applying import Caps
from fanfold_server.service.carrying import Carrying
from fanfold_server.service.datastores import DatastoreLimits, Datastores
from fanfold_server.service.delivering import AT_ONCE, Deliverer
from fanfold_server.service.housekeeping import Housekeeping
from fanfold_server.service.jobs import Jobs
from fanfold_server.service.library import Library
from fanfold_server.service.preloading import Preloading
from fanfold_server.service.provisioning import Provisioning
from fanfold_server.service.submitting import Submitting
from fanfold_server.service.tables import Tables
from fanfold_server.service.tabling import ResultTables
from fanfold_server.settings import MIB, Settings, SettingsError
from fanfold_server.store.blobs import FolderBlobs
from fanfold_server.store.port import Blobs, Quota
from fanfold_server.store.sql import Store
from fanfold_server.working import open_answering, open_local
from fanfold_server.workshop import (
    level_timeouts,
    make_carrying,
    make_folders,
    make_shelf,
    open_provisioning,
    opened_once,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Everything that has to do with running functions, as the surface needs it.

    Attributes:
        environments: lists the environments.
        provisioning: makes and removes them.
        carrying: brings them from one server to another.
        preloading: keeps them started.
        jobs: what runs while nobody waits.
        submitting: makes jobs.
        datastores: what functions keep.
        tables: what can be queried.
        runs: answers the run routes.
        run_paths: writes the OpenAPI path items of what `runs` answers.
        health: the members that `GET /health` adds to those of every server, "ready" among them.
        figures: what operators watch of the engine; none without one.
    """

    environments: Environments
    provisioning: Provisioning
    carrying: Carrying
    preloading: Preloading
    jobs: Jobs
    submitting: Submitting
    datastores: Datastores
    tables: Tables
    runs: RunApp
    run_paths: Callable[[], Mapping[str, Any]]
    health: Callable[[], Mapping[str, object]]
    figures: Callable[[], list[Family]]


@asynccontextmanager
async def open_running(
    settings: Settings, store: Store, access: Access, library: Library, rows: Rows
) -> AsyncIterator[Running]:
    """Open jobs, engine, environments and applying; close them in the reverse order."""
    sandbox = opened_once(settings)
    shelf = make_shelf(settings, sandbox)
    environments = _environments(settings, shelf)
    blobs = _blobs(settings)
    tables = Tables(store.tables, rows.files, store.accounts)
    jobs = Jobs(store=store.jobs, ledger=store.ledger, blobs=blobs, signals=store.signals)
    submitting = Submitting(
        jobs=jobs,
        store=store.jobs,
        upkeep=store.jobs,
        ledger=store.ledger,
        blobs=blobs,
        library=library,
        quota=Quota(
            queued_jobs=settings.max_user_jobs,
            stored_bytes=settings.max_user_stored_mib * MIB,
        ),
        hosts=Hosts(settings.callback_hosts),
        level_timeout_s=level_timeouts(settings),
        rows=rows.source,
        tables=tables,
    )
    datastores = _datastores(settings, store, blobs)
    async with (
        open_answering(
            settings,
            store,
            rows,
            blobs=blobs,
            datastores=datastores,
            sandbox=sandbox,
            environments=environments,
        ) as answering,
        _open_deliverer(settings, store),
        _open_upkeep(settings, store, rows, blobs, datastores),
        open_provisioning(settings, shelf, store.environments, answering.warm) as provisioning,
    ):
        preloading = Preloading(
            environments,
            answering.warmer,
            per_user=settings.max_user_preloads,
            lifetime_s=settings.preload_lifetime_s,
        )
        with closing(preloading):
            yield Running(
                environments=environments,
                provisioning=provisioning,
                carrying=make_carrying(settings, provisioning, shelf),
                preloading=preloading,
                jobs=jobs,
                submitting=submitting,
                datastores=datastores,
                tables=tables,
                runs=RunRoute(
                    access=access,
                    library=library,
                    environments=environments,
                    applying=answering.applying,
                    caps=_caps(settings),
                    strict=settings.strict,
                    submitting=submitting,
                    public_url=settings.public_url,
                    has_data=True,
                    column_frames=settings.group_frames == "columns",
                ),
                run_paths=openapi_paths,
                health=answering.health,
                figures=answering.figures,
            )


@asynccontextmanager
async def _open_upkeep(
    settings: Settings, store: Store, rows: Rows, blobs: Blobs, datastores: Datastores
) -> AsyncIterator[None]:
    """Forget what is old, and write results of jobs as tables."""
    keeper = Housekeeping(
        store=store.jobs,
        upkeep=store.jobs,
        blobs=blobs,
        retention_days=settings.retention_days,
        further=[datastores.tidy],
    )
    results = ResultTables(
        notes=store.notes,
        ledger=store.ledger,
        blobs=blobs,
        signals=store.signals,
        files=rows.files,
    )
    keeper.open()
    try:
        results.open()
        try:
            yield
        finally:
            await results.close()
    finally:
        await keeper.close()


@asynccontextmanager
async def open_claiming(settings: Settings, store: Store, rows: Rows) -> AsyncIterator[None]:
    """Open what claims and runs parts of jobs, and nothing else."""
    sandbox = opened_once(settings)
    blobs = _blobs(settings)
    async with open_local(
        settings,
        store,
        rows,
        blobs=blobs,
        datastores=_datastores(settings, store, blobs),
        sandbox=sandbox,
        environments=_environments(settings, make_shelf(settings, sandbox)),
    ):
        yield


def _environments(settings: Settings, shelf: BuiltShelf) -> Folders:
    environments = make_folders(settings, shelf)
    for folder in settings.environment_dirs:
        if not folder.is_dir():
            structlog.get_logger("fanfold_server").warning(
                "no such folder of environments",
                folder=str(folder),
                hint='the setting "environment_dirs" names it: no run finds an environment there',
            )
    if environments.uses_own_interpreter:
        structlog.get_logger("fanfold_server").warning(
            "no environment of its own",
            hint='runs take place beside the server\'s packages: set "default_environment", or '
            'register an environment named "default"',
        )
    return environments


def _blobs(settings: Settings) -> Blobs:
    if settings.blobs is None:
        return FolderBlobs(settings.data / "blobs")
    if "://" not in settings.blobs:
        return FolderBlobs(Path(settings.blobs))
    try:
        from fanfold_server.store.object_blobs import open_object_blobs
    except ModuleNotFoundError as exc:
        raise SettingsError(f'blobs: {exc.name} is not installed: it is in "fanfold[s3]"') from exc
    try:
        return open_object_blobs(settings.blobs)
    except ValueError as exc:
        raise SettingsError(f"blobs: {exc}") from exc


def _caps(settings: Settings) -> Caps:
    return Caps(
        by_level={
            ServiceLevel.LOW: settings.cap_low,
            ServiceLevel.MEDIUM: settings.cap_medium,
            ServiceLevel.HIGH: settings.cap_high,
            ServiceLevel.TP: settings.cap_tp,
            ServiceLevel.TPURGENT: settings.cap_tpurgent,
        }
    )


def _datastores(settings: Settings, store: Store, blobs: Blobs) -> Datastores:
    return Datastores(
        store.datastores,
        blobs,
        store.accounts,
        DatastoreLimits(
            object_bytes=settings.max_object_mib * MIB,
            account_bytes=settings.max_user_datastore_mib * MIB,
        ),
        scratch=settings.data,
    )


@asynccontextmanager
async def _open_deliverer(settings: Settings, store: Store) -> AsyncIterator[None]:
    """Tell of jobs' ends, if there is anybody who may be told."""
    hosts = Hosts(settings.callback_hosts)
    if not hosts:
        yield
        return
    from fanfold_server.callbacks.sending import open_post

    async with open_post(AT_ONCE) as post:
        deliverer = Deliverer(
            store=store.callbacks,
            signals=store.signals,
            post=post,
            hosts=hosts,
            retry_s=settings.callback_retry_s,
            agent=f"fanfold/{version('fanfold')}",
        )
        deliverer.open()
        try:
            yield
        finally:
            await deliverer.close()
