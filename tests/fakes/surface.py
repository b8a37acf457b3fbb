"""The HTTP surface in this process: the real one over a real store, with a fake for the runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import orjson
from argon2 import PasswordHasher

from fanfold_server.http.access_log import Served
from fanfold_server.http.app import build_app
from fanfold_server.http.front import ASGIApp, Front, Scope, Send
from fanfold_server.http.headers import JSON_TYPE, SECURITY_HEADERS, V1_HEADERS
from fanfold_server.http.heads import Receive
from fanfold_server.http.surface import Surface
from fanfold_server.model.actor import Actor, Role
from fanfold_server.model.network import Networks
from fanfold_server.service.access import Access
from fanfold_server.service.auditing import Auditing
from fanfold_server.service.library import Library
from fanfold_server.service.network import ScriptNetworks
from fanfold_server.service.passwords import Passwords
from fanfold_server.service.secrets import Secrets
from fanfold_server.service.tokens import AccessTokens
from fanfold_server.store.migrating import migrate
from fanfold_server.store.sealing import FileSealer
from fanfold_server.store.sql import Store, open_store, sqlite_url

PASSWORD = "correct horse"
URL = "http://fanfold.test"
MAX_BODY_BYTES = 256 * 1024


class Environments:
    """One environment, for everybody."""

    async def listing(self, _: Actor) -> list[dict[str, object]]:
        return [
            {
                "size": "1.7 GiB",
                "name": "seaborn",
                "description": "Python package for seaborn",
                "number_of_installed_packages": 78,
                "tags": {"python": "3.11", "application": "OML4PY"},
            }
        ]


async def echo_run(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what the front door says, and how long the body is."""
    received = 0
    while True:
        message = await receive()
        received += len(message.get("body", b""))
        if not message.get("more_body", False):
            break
    scope["fanfold.user"] = "RUNNER"
    body = orjson.dumps({"result": [*scope["fanfold.run"], received]})
    headers = V1_HEADERS if scope["fanfold.run"].version == "v1" else SECURITY_HEADERS
    length = (b"content-length", b"%d" % len(body))
    await send(
        {"type": "http.response.start", "status": 200, "headers": [JSON_TYPE, length, *headers]}
    )
    await send({"type": "http.response.body", "body": body})


def healthy() -> dict[str, object]:
    return {"status": "ok", "ready": True}


def access_of(store: Store) -> Access:
    """Build the accounts with a password hash that costs nothing."""
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    passwords = Passwords(concurrency=2, hasher=hasher)
    return Access(store.accounts, store.sessions, passwords, AccessTokens(store.tokens))


@asynccontextmanager
async def open_front(
    folder: Path,
    *,
    users: Mapping[str, Role],
    runs: ASGIApp = echo_run,
    record: Callable[[Served], None] | None = None,
    health: Callable[[], Mapping[str, object]] = healthy,
) -> AsyncIterator[Front]:
    """Open the surface with these accounts, over a database in `folder`."""
    url = sqlite_url(folder / "fanfold.db")
    migrate(url)
    async with open_store(url) as store:
        access = access_of(store)
        library = Library(store.scripts, store.accounts)
        for name, role in users.items():
            await access.add_user(name, PASSWORD, role)
        yield build_app(
            Surface(
                access=access,
                auditing=Auditing(store.audit, days=0),
                secrets=Secrets(store.secrets, FileSealer(folder / "secrets.key"), library),
                networks=ScriptNetworks(store.networks, store.scripts, library, Networks()),
                library=library,
                environments=Environments(),
                health=health,
            ),
            runs=runs,
            max_body_bytes=MAX_BODY_BYTES,
            record=record,
        )


def client_of(front: Front, token: str | None = None) -> httpx2.AsyncClient:
    """Give a client that speaks to the surface without a socket."""
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    transport = httpx2.ASGITransport(front)
    return httpx2.AsyncClient(transport=transport, base_url=URL, headers=headers)


async def token_of(front: Front, name: str) -> str:
    """Log an account in."""
    async with client_of(front) as client:
        body = {"grant_type": "password", "username": name, "password": PASSWORD}
        answer = await client.post("/omlusers/api/oauth2/v1/token", json=body)
    token: str = answer.json()["accessToken"]
    return token
