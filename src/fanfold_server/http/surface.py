"""What the framework's routes work with, and how a route learns who asks.

`app.py` puts one `Surface` into the application; routes receive it, and the authenticated caller,
as parameters of the types `SurfaceOf` and `Caller`.
"""

import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from typing_extensions import override

from fanfold_server.http.columnar import Columnar
from fanfold_server.http.links import origin
from fanfold_server.http.queries import OWN, check_query, declared
from fanfold_server.http.scopes import check, check_script, needed
from fanfold_server.http.strict import StrictRequest
from fanfold_server.model.actor import Actor
from fanfold_server.model.errors import Unauthenticated
from fanfold_server.model.metric import Family
from fanfold_server.rows.port import Probe
from fanfold_server.service.access import Access
from fanfold_server.service.auditing import Auditing
from fanfold_server.service.callbacks import Callbacks
from fanfold_server.service.carrying import Carrying
from fanfold_server.service.data_sources import DataSources
from fanfold_server.service.datastores import Datastores
from fanfold_server.service.jobs import Jobs
from fanfold_server.service.library import Library
from fanfold_server.service.network import ScriptNetworks
from fanfold_server.service.preloading import Preloading
from fanfold_server.service.provisioning import Provisioning
from fanfold_server.service.secrets import Secrets
from fanfold_server.service.submitting import Submitting
from fanfold_server.service.tables import Tables

_SCHEME = "bearer"


class Environments(Protocol):
    """What the surface asks of the environments."""

    async def listing(self, actor: Actor) -> list[dict[str, object]]:
        """List what `actor` may run in, each as the compatible wire's `envs` has it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Registered databases, and what tries whether one lets us in."""

    registered: DataSources
    probe: Probe


async def _no_figures() -> list[Family]:
    return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """Everything behind the routes. What is None has no routes.

    Attributes:
        access: accounts and tokens.
        auditing: remembers who did what.
        secrets: what functions need and nobody else may see.
        networks: what scripts may reach.
        library: the script repository.
        environments: what `…/envs` lists.
        health: what `GET /health` says; called for each such request, so it has to be quick.
        figures: what `GET /metrics` says beside the requests.
        public_url: scheme, host and port for links, without a slash at the end; None: the
            request's own.
        jobs: what runs while nobody waits.
        submitting: makes jobs; there if `jobs` is.
        callbacks: what is told of jobs' ends; there if `jobs` is.
        tables: users' tables.
        sources: databases of others.
        datastores: what functions keep.
        columnar: makes Arrow and Parquet files of jobs' values.
        provisioning: makes environments.
        carrying: brings them from one server to another; there if `provisioning` is.
        preloading: keeps environments started.
    """

    access: Access
    auditing: Auditing
    secrets: Secrets
    networks: ScriptNetworks
    library: Library
    environments: Environments
    health: Callable[[], Mapping[str, object]]
    figures: Callable[[], Awaitable[list[Family]]] = _no_figures
    public_url: str | None = None
    jobs: Jobs | None = None
    submitting: Submitting | None = None
    callbacks: Callbacks | None = None
    tables: Tables | None = None
    sources: Sources | None = None
    datastores: Datastores | None = None
    columnar: Columnar = field(default_factory=Columnar)
    provisioning: Provisioning | None = None
    carrying: Carrying | None = None
    preloading: Preloading | None = None

    def base_url(self, request: Request) -> str:
        """Say under which scheme, host and port the client reaches this server."""
        return origin(request.scope, self.public_url)


def bearer_token(authorization: str | None) -> str | None:
    """Take the token out of an Authorization header; None when it holds none."""
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    return token if scheme.lower() == _SCHEME and token else None


async def authenticate(request: Request, access: Access) -> Actor:
    """Find out who asks, and note it for the access log.

    Raises:
        Unauthenticated: without a valid token; TokenExpired when its time is over.
    """
    token = bearer_token(request.headers.get("authorization"))
    if token is None:
        raise Unauthenticated
    text = token.encode("latin-1")
    actor = access.known(text, time.monotonic()) or await access.authenticate(text)
    request.scope["fanfold.user"] = actor.name
    request.scope["fanfold.token"] = actor.token
    request.scope["fanfold.actor"] = actor
    return actor


class CallerRoute(APIRoute):
    """A route for authenticated callers; nothing of the body is read before the token is known.

    An access token must have what `scopes.py` says that the route needs.

    What is read then is strict JSON. Below `/api` a query parameter that the route does not take is
    refused.
    """

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Put the check in front of the framework's own handler."""
        handler = super().get_route_handler()
        (what,) = {needed(self.path, method) for method in self.methods or ()}
        known = declared(self.dependant) if self.path.startswith(OWN) else None

        async def authenticated(request: Request) -> Response:
            surface = surface_of(request)
            actor = await authenticate(request, surface.access)
            if actor.scopes is not None:
                check(actor, what)
                if actor.script is not None:
                    await check_script(actor, self.path, request.path_params, surface)
            if known is not None:
                check_query(request, known)
            return await handler(StrictRequest(request.scope, request.receive))

        return authenticated


def surface_of(request: Request) -> Surface:
    """Find the application's surface."""
    surface: Surface = request.app.state.surface
    return surface


async def _surface(request: Request) -> Surface:
    return surface_of(request)


async def _caller(request: Request) -> Actor:
    actor: Actor = request.scope["fanfold.actor"]
    return actor


def _part(name: str) -> Callable[[Request], Coroutine[Any, Any, object]]:
    """Make what finds the attribute `name` of the surface for a route."""

    async def part(request: Request) -> object:
        found: object = getattr(surface_of(request), name)
        assert found is not None, "else the app has no routes that ask"
        return found

    return part


SurfaceOf = Annotated[Surface, Depends(_surface)]
NetworksOf = Annotated[ScriptNetworks, Depends(_part("networks"))]
SecretsOf = Annotated[Secrets, Depends(_part("secrets"))]
JobsOf = Annotated[Jobs, Depends(_part("jobs"))]
SubmittingOf = Annotated[Submitting, Depends(_part("submitting"))]
CallbacksOf = Annotated[Callbacks, Depends(_part("callbacks"))]
ProvisioningOf = Annotated[Provisioning, Depends(_part("provisioning"))]
CarryingOf = Annotated[Carrying, Depends(_part("carrying"))]
PreloadingOf = Annotated[Preloading, Depends(_part("preloading"))]
TablesOf = Annotated[Tables, Depends(_part("tables"))]
SourcesOf = Annotated[Sources, Depends(_part("sources"))]
DatastoresOf = Annotated[Datastores, Depends(_part("datastores"))]
Caller = Annotated[Actor, Depends(_caller)]
"""Only on a `CallerRoute`."""
