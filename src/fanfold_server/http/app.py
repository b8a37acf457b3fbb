"""Put the HTTP surface together: the routes behind one front door. `compose.py` calls this.

server → Front (ids, limits, headers, log) ─┬─ runs: do-eval, index-apply (a plain ASGI callable)
                                            └─ everything else: FastAPI
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from fanfold_server.http.front import ASGIApp, Front
from fanfold_server.model.actor import Actor
from fanfold_server.service.access import Access
from fanfold_server.service.library import Library


class Environments(Protocol):
    """What the surface asks of the environments."""

    async def listing(self, actor: Actor) -> list[dict[str, object]]:
        """List what `actor` may run in, each as the compatible wire's `envs` has it."""
        ...


def build_app(
    *,
    access: Access,
    library: Library,
    environments: Environments,
    runs: ASGIApp,
    health: Callable[[], Mapping[str, object]],
    max_body_bytes: int,
    public_url: str | None = None,
    access_log: object = None,
) -> Front:
    """Build the ASGI application.

    Args:
        runs: answers `POST /oml/api/py-scripts/v1|v2/do-eval|index-apply/…` by itself.
        health: what `GET /health` says; called for each such request, so it has to be quick.
        max_body_bytes: a longer request body is refused, > 0.
        public_url: scheme, host and port under which clients reach the server; without it,
            links are made from the request's own Host header.
        access_log: where a record of each request goes; None for nowhere.
    """
    raise NotImplementedError
