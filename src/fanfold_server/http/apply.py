"""The hot route: a run that its caller waits for, from bytes to finished bytes; or leaves to us.

A plain ASGI callable behind the front door (`front.py`), so that a call costs no framework.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import orjson

from fanfold_server.http.headers import (
    JSON_TYPE,
    SECURITY_HEADERS,
    SECURITY_LINES,
    V1_HEADERS,
    V1_LINES,
    Headers,
)
from fanfold_server.http.idempotency import idempotency
from fanfold_server.http.links import job_url, origin
from fanfold_server.http.run_schemas import DATA_VERBS, RunRequest, read_run
from fanfold_server.http.scopes import RUN
from fanfold_server.http.surface import bearer_token
from fanfold_server.model.apply import Apply, Groups, Once, Whole
from fanfold_server.model.errors import (
    InvalidBody,
    JobsUnavailable,
    Unauthenticated,
    UnknownPath,
)
from fanfold_server.model.outcome import Failed
from fanfold_server.model.submission import Submission
from fanfold_server.service.applying import Answering, CallerLeft, Caps
from fanfold_server.service.drawing import Stock
from fanfold_server.service.folding import failure_members
from fanfold_server.service.signatures import Signatures
from fanfold_server.service.tokens import beyond, require, require_script

if TYPE_CHECKING:
    from fanfold_server.environments.port import Environments
    from fanfold_server.http.front import Answer, RunPath, Scope
    from fanfold_server.http.heads import Receive
    from fanfold_server.model.actor import Actor
    from fanfold_server.model.job import Job
    from fanfold_server.model.script import Script
    from fanfold_server.model.submission import Idempotency
    from fanfold_server.service.access import Access
    from fanfold_server.service.library import Library
    from fanfold_server.service.submitting import Submitting

CHUNKED_FROM_BYTES = 1 << 20
"""Longer answers, and those with images, are sent in chunks, as the compatible service does."""

PIECE_BYTES = 256 << 10
"""What is handed to the transport at once."""

_OK = 200
_COMMON: Final = {"v1": (V1_HEADERS, V1_LINES), "v2": (SECURITY_HEADERS, SECURITY_LINES)}
_SEED_BITS = 53
"""Drawn seeds are exact in every client's numbers, JavaScript's included."""


class RunRoute:
    """Answers `POST …/do-eval/…` and the like, v1 and v2.

    Args:
        caps: the degree that each service level allows.
        strict: refuse what is otherwise put right with a warning header.
        submitting: takes runs over for which nobody waits; None: this server has no jobs.
        public_url: see `links.origin`.
        has_data: whether there is something to query; else the verbs about rows are unknown.
        column_frames: write the DataFrames of groups by columns, as older releases did.
    """

    def __init__(
        self,
        *,
        access: Access,
        library: Library,
        environments: Environments,
        applying: Answering,
        caps: Caps,
        strict: bool,
        submitting: Submitting | None = None,
        public_url: str | None = None,
        has_data: bool = False,
        column_frames: bool = False,
    ) -> None:
        self._access = access
        self._library = library
        self._environments = environments
        self._applying = applying
        self._caps = caps
        self._strict = strict
        self._submitting = submitting
        self._has_data = has_data
        self._column_frames = column_frames
        self._signatures = Signatures()
        self._stock = Stock()
        self._public_url = public_url.rstrip("/") if public_url else None

    async def __call__(self, scope: Scope, receive: Receive, send: Answer) -> None:
        """Answer one run. Raises errors of the model; the front door renders them."""
        actor = await self._authenticate(scope)
        path: RunPath = scope["fanfold.run"]
        if actor.scopes is not None:
            require(actor, RUN)
            if actor.script is not None and actor.script[1] != path.script:
                raise beyond(actor)
        if path.verb in DATA_VERBS and not self._has_data:
            raise UnknownPath("This server has no data, and so no runs over rows.")
        body = await _body(receive)
        request = read_run(path.verb, path.version, body, strict=self._strict)
        key = _key(scope, path, body) if request.is_async else None
        if key is not None and await self._repeat(actor, request, scope, send, key):
            return
        script = await self._script(actor, path, request)
        if actor.script is not None:
            require_script(actor, script.owner, script.name)
        self._signatures.check(
            script,
            0 if path.verb == "do-eval" else 1,
            request.parameters,
            types=request.check_arguments,
        )
        apply = self._apply(actor, script, request)
        if request.is_async:
            await self._submit(actor, apply, request, scope, send, key=key)
            return

        async def leaving() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        try:
            answer = await self._applying.run(apply, leaving)
        except CallerLeft:
            return
        status = 200
        if isinstance(answer, Failed):
            status = 400
            indexed = not isinstance(apply.split, Once | Whole)
            answer = [orjson.dumps(failure_members(answer, indexed=indexed))]
        own = _headers(
            request,
            seed=apply.seed,
            script_version=script.version,
            environment_version=apply.environment.version,
        )
        own.append(JSON_TYPE)
        common, lines = _COMMON[path.version]
        size = sum(map(len, answer))
        if size > CHUNKED_FROM_BYTES or (apply.graphics and status == _OK):
            await _send_chunked(send, status, [*own, *common], answer)
        else:
            await send.whole(status, own, common, lines, b"".join(answer))

    async def _repeat(
        self, actor: Actor, request: RunRequest, scope: Scope, send: Answer, key: Idempotency
    ) -> bool:
        """Answer with the job that the key stands for already; False: there is none.

        Before anything else is looked at: the script, the rows and the table that the job was
        made of may have gone or changed since.
        """
        if self._submitting is None:
            raise JobsUnavailable
        job = await self._submitting.submitted(actor, key)
        if job is None:
            return False
        if actor.script is not None:
            require_script(actor, job.spec.script_owner, job.spec.script_name)
        await self._accepted(job, request, scope, send)
        return True

    async def _submit(
        self,
        actor: Actor,
        apply: Apply,
        request: RunRequest,
        scope: Scope,
        send: Answer,
        *,
        key: Idempotency | None,
    ) -> None:
        """Make a job."""
        if self._submitting is None:
            raise JobsUnavailable
        path: RunPath = scope["fanfold.run"]
        submission = Submission(
            api_version=path.version,
            timeout_s=request.timeout_s,
            comments=request.comments,
            result_table=request.result_table,
            table_overwrite=request.table_overwrite,
            idempotency=key,
            call_timeout_s=request.call_timeout_s,
            max_failures=request.max_failures,
            canary=request.canary,
            stop_when=request.stop_when,
            callback_url=request.callback_url,
            callback_origin=request.callback_url and origin(scope, self._public_url),
        )
        job = await self._submitting.submit(actor, apply, submission)
        await self._accepted(job, request, scope, send)

    async def _accepted(self, job: Job, request: RunRequest, scope: Scope, send: Answer) -> None:
        """Say where a job is: 201 with an empty body."""
        version = scope["fanfold.run"].version
        url = job_url(scope, self._public_url, version=version, job=job.id)
        spec = job.spec
        headers = [
            (b"location", url.encode("latin-1")),
            *_headers(
                request,
                seed=spec.seed,
                script_version=spec.script_version,
                environment_version=spec.environment_version,
            ),
        ]
        common, lines = _COMMON[version]
        await send.whole(201, headers, common, lines, b"")

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
        scope["fanfold.token"] = actor.token
        return actor

    async def _script(self, actor: Actor, path: RunPath, request: RunRequest) -> Script:
        version = request.script_version
        if version is None:
            known = self._library.known(actor.name, path.script, path.owner, time.monotonic())
            if known is not None:
                return known
        return await self._library.resolve(actor, path.script, path.owner, version)

    def _apply(self, actor: Actor, script: Script, request: RunRequest) -> Apply:
        seed, split = request.seed, request.split
        if isinstance(split, Groups) and self._column_frames:
            split = replace(split, column_frames=True)
        return Apply(
            script=script,
            environment=self._environments.find(request.environment),
            caller=actor.name,
            split=split,
            input=request.input,
            parameters=request.parameters,
            degree=self._caps.degree(
                request.service, parallel_flag=request.parallel_flag, parallel=request.parallel
            ),
            seed=self._stock.bits(_SEED_BITS) if seed is None else seed,
            graphics=request.graphics,
            service=request.service,
            on_error=request.on_error,
        )


def _headers(
    request: RunRequest, *, seed: int, script_version: int, environment_version: int | None
) -> Headers:
    """List what every answer to a run that was begun carries of its own."""
    headers = [
        (b"fanfold-seed", b"%d" % seed),
        (b"fanfold-script-version", b"%d" % script_version),
    ]
    if environment_version is not None:
        headers.append((b"fanfold-environment-version", b"%d" % environment_version))
    if request.warnings:
        headers += [(b"warning", f'299 fanfold "{w}"'.encode()) for w in request.warnings]
    return headers


def _key(scope: Scope, path: RunPath, body: bytes) -> Idempotency | None:
    return idempotency(scope["headers"], path.verb, path.script, path.owner, body=body)


async def _body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if message["type"] == "http.disconnect":
            raise _cut()
        return body
    parts = [body]
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _cut()
        parts.append(message.get("body", b""))
    return b"".join(parts)


def _cut() -> InvalidBody:
    """Refuse half a body: it might be whole JSON, and yet not what was meant."""
    return InvalidBody("The connection ended before the body did.")


async def _send_chunked(send: Answer, status: int, headers: Headers, pieces: list[bytes]) -> None:
    """Send a large answer, or one with images, in chunks."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    batch: list[bytes] = []
    waiting = 0
    for piece in pieces:
        batch.append(piece)
        waiting += len(piece)
        if waiting >= PIECE_BYTES:
            await send({"type": "http.response.body", "body": b"".join(batch), "more_body": True})
            batch, waiting = [], 0
    await send({"type": "http.response.body", "body": b"".join(batch)})
