"""Which scope of an access token a route needs, by its path; what is not here needs a login.

A test holds this table against the OpenAPI document, so that a new route is decided about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fanfold_server.model.actor import Scope
from fanfold_server.model.errors import UnknownJob
from fanfold_server.service.tokens import beyond, require, require_login

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fanfold_server.http.surface import Surface
    from fanfold_server.model.actor import Actor

ANY: Final = "any"
"""A token of whatever scope will do."""

LOGIN: Final = "login"
"""No access token will do: one obtained by the password is needed."""

RUN: Final = Scope.RUN
"""Under a name that is none of the server interface's."""

Needed = Scope | str
_READS: Final = frozenset({"GET", "HEAD"})
_JOBS: Final = ("/api/v1/jobs", "/oml/api/py-scripts/v1/jobs", "/oml/api/py-scripts/v2/jobs")
_SCRIPTS: Final = "/api/v1/scripts"

RULES: Final[tuple[tuple[str, Needed, Needed], ...]] = (
    ("/api/v1/scripts", ANY, Scope.PUBLISH),
    ("/api/v1/tables", ANY, Scope.PUBLISH),
    ("/api/v1/sources", ANY, Scope.ADMIN),
    ("/api/v1/callback-secret", LOGIN, LOGIN),
    ("/api/v1/environments/{name}/archive", Scope.PUBLISH, Scope.ADMIN),
    ("/api/v1/environments", ANY, Scope.PUBLISH),
    ("/api/v1/environment-builds", ANY, Scope.PUBLISH),
    ("/api/v1/datastores", ANY, Scope.PUBLISH),
    ("/api/v1/tokens", LOGIN, LOGIN),
    ("/api/v1/secrets", Scope.PUBLISH, Scope.PUBLISH),
    ("/api/v1/audit", Scope.ADMIN, Scope.ADMIN),
    ("/metrics", Scope.METRICS, LOGIN),
    ("/api/v1/network-grants", Scope.ADMIN, Scope.ADMIN),
    *((path, Scope.RUN, Scope.RUN) for path in _JOBS),
    ("/oml/api/py-scripts", ANY, Scope.RUN),
)
"""By the beginning of the path: what reading needs, and what everything else does."""


def needed(path: str, method: str) -> Needed:
    """Say what a route needs; the first rule that fits counts.

    Args:
        path: as the route has it.
        method: in capitals.
    """
    for root, reading, writing in RULES:
        if path == root or path.startswith(root + "/"):
            return reading if method in _READS else writing
    return LOGIN


def check(actor: Actor, what: Needed) -> None:
    """Refuse an actor whose token has not what is needed.

    Raises:
        Forbidden: see `require`.
    """
    if isinstance(what, Scope):
        require(actor, what)
    elif what == LOGIN:
        require_login(actor)


async def check_script(
    actor: Actor, path: str, members: Mapping[str, str], surface: Surface
) -> None:
    """Keep a token that is bound to a script to this script and its jobs.

    Args:
        actor: whose token is bound.
        path: as the route has it.
        members: of the path, as sent.
        surface: what to ask for jobs.

    Raises:
        Forbidden: the route has nothing to do with the script.
        UnknownJob: the job is not one of the script's.
    """
    if path.startswith(_JOBS) and "jobId" in members and surface.jobs is not None:
        job_id = members["jobId"]
        job = await surface.jobs.get(actor, job_id)
        if (job.spec.script_owner, job.spec.script_name) != actor.script:
            raise UnknownJob(f"There is no job {job_id} of yours.")
    elif not (path.startswith(_SCRIPTS) and (actor.name, members.get("name")) == actor.script):
        raise beyond(actor)
