"""Put the HTTP surface together: the routes behind one front door. `compose.py` calls this.

server → Front (id, limits, headers, log) ─┬─ runs: do-eval, index-apply (a plain ASGI callable)
                                           └─ everything else: FastAPI
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version as distribution_version
from typing import Any

from fastapi import FastAPI

from fanfold_server.http import (
    audit,
    auth,
    jobs,
    jobs_oml,
    metrics,
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
from fanfold_server.http.counting import Requests
from fanfold_server.http.documents import Documents
from fanfold_server.http.front import Front, RunApp
from fanfold_server.http.handlers import add_handlers
from fanfold_server.http.openapi import describe
from fanfold_server.http.surface import Surface

_ROUTERS = (
    auth.router,
    token_routes.router,
    audit.router,
    secret_routes.router,
    network_routes.router,
    metrics.router,
    scripts.router,
    oml.router,
    pages.router,
)
_JOB_ROUTERS = (jobs.router, callback_routes.router, jobs_oml.router)


def build_app(
    surface: Surface,
    *,
    runs: RunApp,
    max_body_bytes: int,
    max_table_bytes: int = 0,
    run_paths: Callable[[], Mapping[str, Any]] = dict,
    trust_forwarded: bool = False,
    record: Callable[[Served], None] | None = None,
) -> Front:
    """Build the ASGI application.

    Args:
        surface: everything behind the routes.
        runs: answers `POST /oml/api/py-scripts/v1|v2/do-eval|index-apply/…` by itself; what it
            finds in the scope is described in `front.py`.
        max_body_bytes: a longer request body is refused, > 0.
        max_table_bytes: the longest body that goes to a file as it comes, a table or an
            environment, if more than another's.
        run_paths: writes the OpenAPI path items of what `runs` answers.
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
    routers = _ROUTERS if surface.jobs is None else (*_ROUTERS, *_JOB_ROUTERS)
    if surface.tables is not None:
        routers = (*routers, table_routes.router)
    if surface.provisioning is not None:
        routers = (*routers, environment_routes.router, parcels.router)
    if surface.preloading is not None:
        routers = (*routers, oml_preload.router)
    if surface.sources is not None:
        routers = (*routers, source_routes.router)
    if surface.datastores is not None:
        routers = (*routers, datastore_routes.router)
    for router in routers:
        app.include_router(router)
    add_handlers(app, [route for router in routers for route in router.routes])
    version = distribution_version("fanfold")
    app.state.surface = surface
    requests = Requests()
    app.state.requests = requests
    app.state.documents = Documents(
        lambda: describe(app, version=version, run_paths=run_paths(), public_url=surface.public_url)
    )
    return Front(
        runs=runs,
        pages=app,
        has_accounts=surface.access.has_accounts,
        max_body_bytes=max_body_bytes,
        max_table_bytes=max_table_bytes,
        trust_forwarded=trust_forwarded,
        record=record,
        count=requests.count,
        note=surface.auditing.note,
    )
