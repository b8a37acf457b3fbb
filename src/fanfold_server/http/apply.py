"""The hot route: a run that its caller waits for, from bytes to finished bytes.

A plain ASGI callable behind the front door (`front.py`), so that a call costs no framework.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

import orjson

from fanfold_server.http.headers import JSON_TYPE, SECURITY_HEADERS, V1_HEADERS, Headers
from fanfold_server.http.run_schemas import RunRequest, read_run
from fanfold_server.http.surface import bearer_token
from fanfold_server.model.apply import Apply, Index, Once
from fanfold_server.model.errors import JobsUnavailable, Unauthenticated
from fanfold_server.model.outcome import Failed
from fanfold_server.service.applying import Applying, CallerLeft, Caps
from fanfold_server.service.folding import failure_members

if TYPE_CHECKING:
    from fanfold_server.environments.port import Environments
    from fanfold_server.http.front import Receive, RunPath, Scope, Send
    from fanfold_server.model.actor import Actor
    from fanfold_server.model.script import Script
    from fanfold_server.service.access import Access
    from fanfold_server.service.library import Library

CHUNKED_FROM_BYTES = 1 << 20
"""Longer answers, and those with images, are sent in chunks, as the compatible service does."""

PIECE_BYTES = 256 << 10
"""What is handed to the transport at once."""

_SEED_BITS = 53
"""Drawn seeds are exact in every client's numbers, JavaScript's included."""


class RunRoute:
    """Answers `POST …/do-eval/…` and `POST …/index-apply/…`, v1 and v2.

    Args:
        caps: the degree that each service level allows.
        strict: refuse what is otherwise put right with a warning header.
    """

    def __init__(
        self,
        *,
        access: Access,
        library: Library,
        environments: Environments,
        applying: Applying,
        caps: Caps,
        strict: bool,
    ) -> None:
        self._access = access
        self._library = library
        self._environments = environments
        self._applying = applying
        self._caps = caps
        self._strict = strict

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one run. Raises errors of the model; the front door renders them."""
        actor = await self._authenticate(scope)
        path: RunPath = scope["fanfold.run"]
        request = read_run(path.verb, path.version, await _body(receive), strict=self._strict)
        if request.is_async:
            raise JobsUnavailable
        script = await self._script(actor, path, request)
        apply = self._apply(actor, script, request)

        async def leaving() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        try:
            answer = await self._applying.run(apply, leaving)
        except CallerLeft:
            return
        headers = V1_HEADERS if path.version == "v1" else SECURITY_HEADERS
        ours = [
            JSON_TYPE,
            (b"fanfold-seed", b"%d" % apply.seed),
            (b"fanfold-script-version", b"%d" % script.version),
            *headers,
        ]
        if request.warnings:
            ours += [(b"warning", f'299 fanfold "{w}"'.encode()) for w in request.warnings]
        if isinstance(answer, Failed):
            members = failure_members(answer, indexed=request.times is not None)
            await _send(send, 400, ours, [orjson.dumps(members)], chunked=False)
        else:
            await _send(send, 200, ours, answer, chunked=apply.graphics)

    async def _authenticate(self, scope: Scope) -> Actor:
        authorization = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
        token = bearer_token(authorization.decode("latin-1") if authorization else None)
        if token is None:
            raise Unauthenticated
        raw = token.encode("latin-1")
        actor = self._access.known(raw, time.monotonic()) or await self._access.authenticate(raw)
        scope["fanfold.user"] = actor.name
        return actor

    async def _script(self, actor: Actor, path: RunPath, request: RunRequest) -> Script:
        version = request.script_version
        if version is None:
            known = self._library.known(actor.name, path.script, path.owner, time.monotonic())
            if known is not None:
                return known
        return await self._library.resolve(actor, path.script, path.owner, version)

    def _apply(self, actor: Actor, script: Script, request: RunRequest) -> Apply:
        seed = request.seed
        return Apply(
            script=script,
            environment=self._environments.find(request.environment),
            caller=actor.name,
            split=Once() if request.times is None else Index(times=request.times),
            parameters=request.parameters,
            degree=self._caps.degree(
                request.service, parallel_flag=request.parallel_flag, parallel=request.parallel
            ),
            seed=secrets.randbits(_SEED_BITS) if seed is None else seed,
            graphics=request.graphics,
            service=request.service,
            on_error=request.on_error,
        )


async def _body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    parts = [body]
    while message.get("more_body"):
        message = await receive()
        parts.append(message.get("body", b""))
    return b"".join(parts)


async def _send(
    send: Send, status: int, headers: Headers, pieces: list[bytes], *, chunked: bool
) -> None:
    size = sum(map(len, pieces))
    chunked = chunked or size > CHUNKED_FROM_BYTES
    if not chunked:
        headers.append((b"content-length", b"%d" % size))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if size <= PIECE_BYTES:
        await send({"type": "http.response.body", "body": b"".join(pieces)})
        return
    batch: list[bytes] = []
    waiting = 0
    for piece in pieces:
        batch.append(piece)
        waiting += len(piece)
        if waiting >= PIECE_BYTES:
            await send({"type": "http.response.body", "body": b"".join(batch), "more_body": True})
            batch, waiting = [], 0
    await send({"type": "http.response.body", "body": b"".join(batch)})
