"""Put the HTTP surface together: the routes behind one front door. `compose.py` calls this.

server → Front (id, limits, headers, log) ─┬─ runs: do-eval, index-apply (a plain ASGI callable)
                                           └─ everything else: FastAPI
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version as distribution_version
from typing import Any

import orjson
from fastapi import FastAPI

from fanfold_server.http import (
    audit,
    auth,
    jobs,
    jobs_oml,
    oml,
    oml_preload,
    pages,
    parcels,
    scripts,
)
from fanfold_server.http import (
    callbacks as callback_routes,
)
from fanfold_server.http import datastores as datastore_routes
from fanfold_server.http import environments as environment_routes
from fanfold_server.http import network as network_routes
from fanfold_server.http import secrets as secret_routes
from fanfold_server.http import sources as source_routes
from fanfold_server.http import tables as table_routes
from fanfold_server.http import tokens as token_routes
from fanfold_server.http.access_log import Served
from fanfold_server.http.front import Front, RunApp
from fanfold_server.http.handlers import add_handlers
from fanfold_server.http.openapi import describe
from fanfold_server.http.reference import write_reference
from fanfold_server.http.surface import Environments, Sources, Surface
from fanfold_server.service.access import Access
from fanfold_server.service.auditing import Auditing
from fanfold_server.service.callbacks import Callbacks
from fanfold_server.service.carrying import Carrying
from fanfold_server.service.datastores import Datastores
from fanfold_server.service.jobs import Jobs
from fanfold_server.service.library import Library
from fanfold_server.service.network import ScriptNetworks
from fanfold_server.service.preloading import Preloading
from fanfold_server.service.provisioning import Provisioning
from fanfold_server.service.secrets import Secrets
from fanfold_server.service.submitting import Submitting
from fanfold_server.service.tables import Tables

_ROUTERS = (
    auth.router,
    token_routes.router,
    audit.router,
    secret_routes.router,
    network_routes.router,
    scripts.router,
    oml.router,
    pages.router,
)
_JOB_ROUTERS = (jobs.router, callback_routes.router, jobs_oml.router)


def build_app(
    *,
    access: Access,
    auditing: Auditing,
    secrets: Secrets,
    networks: ScriptNetworks,
    library: Library,
    environments: Environments,
    runs: RunApp,
    health: Callable[[], Mapping[str, object]],
    max_body_bytes: int,
    jobs: Jobs | None = None,
    submitting: Submitting | None = None,
    callbacks: Callbacks | None = None,
    tables: Tables | None = None,
    sources: Sources | None = None,
    datastores: Datastores | None = None,
    max_table_bytes: int = 0,
    provisioning: Provisioning | None = None,
    carrying: Carrying | None = None,
    preloading: Preloading | None = None,
    run_paths: Mapping[str, Any] | None = None,
    public_url: str | None = None,
    trust_forwarded: bool = False,
    record: Callable[[Served], None] | None = None,
) -> Front:
    """Build the ASGI application.

    Args:
        access: accounts and tokens.
        auditing: remembers who did what.
        secrets: what functions need and nobody else may see.
        networks: what scripts may reach.
        library: the script repository.
        environments: what `…/envs` lists.
        runs: answers `POST /oml/api/py-scripts/v1|v2/do-eval|index-apply/…` by itself; what it
            finds in the scope is described in `front.py`.
        health: what `GET /health` says; called for each such request, so it has to be quick.
        max_body_bytes: a longer request body is refused, > 0.
        jobs: what runs while nobody waits; None: this server has no jobs, and no routes of them.
        submitting: makes them; there if jobs are.
        callbacks: what is told of jobs' ends; there if jobs are.
        tables: users' tables; None: this server keeps none, and has no routes of them.
        sources: databases of others; None: this server reads none, and has no routes of them.
        datastores: users' datastores; None: this server keeps none, and has no routes of them.
        max_table_bytes: the longest body that goes to a file as it comes, a table or an
            environment, if more than another's.
        provisioning: makes environments; None: this server makes none, and has no routes of it.
        carrying: brings them from one server to another; there if provisioning is.
        preloading: keeps environments started; None: nothing can be preloaded.
        run_paths: the OpenAPI path items of what `runs` answers.
        public_url: scheme, host and port under which clients reach the server; without it,
            links are made from the request's own Host header.
        trust_forwarded: a proxy in front says scheme and host in `X-Forwarded-Proto` and
            `X-Forwarded-Host`.
        record: notes a request that is over (`AccessLog.record`); None for no access log.
    """
    # The framework's own documentation pages load scripts from another host.
    app = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        strict_content_type=False,
    )
    routers = _ROUTERS if jobs is None else (*_ROUTERS, *_JOB_ROUTERS)
    if tables is not None:
        routers = (*routers, table_routes.router)
    if provisioning is not None:
        routers = (*routers, environment_routes.router, parcels.router)
    if preloading is not None:
        routers = (*routers, oml_preload.router)
    if sources is not None:
        routers = (*routers, source_routes.router)
    if datastores is not None:
        routers = (*routers, datastore_routes.router)
    for router in routers:
        app.include_router(router)
    add_handlers(app, [route for router in routers for route in router.routes])
    version = distribution_version("fanfold")
    public_url = public_url.rstrip("/") if public_url else None
    app.state.surface = Surface(
        access=access,
        auditing=auditing,
        secrets=secrets,
        networks=networks,
        library=library,
        environments=environments,
        health=health,
        public_url=public_url,
        version=version,
        jobs=jobs,
        submitting=submitting,
        callbacks=callbacks,
        tables=tables,
        provisioning=provisioning,
        carrying=carrying,
        preloading=preloading,
        sources=sources,
        datastores=datastores,
    )
    document = describe(app, version=version, run_paths=run_paths or {}, public_url=public_url)
    app.state.openapi_json = orjson.dumps(document)
    app.state.reference = write_reference(document)
    return Front(
        runs=runs,
        pages=app,
        has_accounts=access.has_accounts,
        max_body_bytes=max_body_bytes,
        max_table_bytes=max_table_bytes,
        trust_forwarded=trust_forwarded,
        record=record,
        note=auditing.note,
    )
