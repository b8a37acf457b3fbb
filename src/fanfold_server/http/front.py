"""The front door: one plain ASGI callable that every request passes.

It gives the request an id, strips the legacy prefixes, refuses bodies that are too large or
compressed and whatever comes before there is an account, hands runs straight to their route and the
rest to the framework, completes the headers, turns what is raised into the one error shape, and
notes the request in the access log. It decides nothing else. A run pays a few microseconds here,
so there is no stack of middleware and no regular expression.

What the apps behind it find in the scope, and leave there:

    scope["fanfold.request_id"]  str, set here; also sent back as `X-Request-Id`
    scope["fanfold.run"]         `RunPath`, set here for runs
    scope["fanfold.head"]        True, set here for HEAD, which is answered as GET is
    scope["fanfold.root"]        str, set here for legacy paths: what the client wrote for `/oml`
    scope["fanfold.token"]       str, set with the user: the name of the access token, if it is one
    scope["fanfold.user"]        str, set by whoever has authenticated the request; for the log
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, NamedTuple

import structlog
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from fanfold_server.http.access_log import Served
from fanfold_server.http.counting import ELSEWHERE
from fanfold_server.http.errors import error_body, error_headers, status_of
from fanfold_server.http.headers import JSON_TYPE, SECURITY_HEADERS, V1_HEADERS, Headers
from fanfold_server.http.heads import Message, Receive, check_head, read_head, within
from fanfold_server.http.links import as_forwarded
from fanfold_server.http.wire import CYCLE, can_write_whole, write_whole
from fanfold_server.model.errors import (
    FanfoldError,
    MethodNotAllowed,
    NoAccounts,
    ShuttingDown,
    Unexpected,
)
from fanfold_server.service.auditing import Event

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
RunApp = Callable[[Scope, Receive, "Answer"], Awaitable[None]]
RUN_VERBS: Final = frozenset({"do-eval", "index-apply", "table-apply", "row-apply", "group-apply"})
_VERSIONS: Final = "/oml/api/py-scripts/v"
_VERSIONS_LENGTH: Final = len(_VERSIONS)
_RUN_ROUTES: Final = {
    (version, verb): f"/oml/api/py-scripts/{version}/{verb}/{{scriptName}}"
    for version in ("v1", "v2")
    for verb in RUN_VERBS
}
_V1: Final = "/oml/api/py-scripts/v1"
_TABLES: Final = "/api/v1/tables/"
_ENVIRONMENTS: Final = "/api/v1/environments/"
_PARCEL: Final = "/archive"
_TABLE_DEPTH: Final = _TABLES.count("/")
_LEGACY: Final = ("/oml/tenants/", "/omlusers/tenants/")
_LEGACY_PARTS: Final = 7
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_REFUSED: Final = frozenset({401, 403})


class RunPath(NamedTuple):
    """What the path of a run says: `v1` or `v2`, the verb, the script, and whose it is."""

    version: str
    verb: str
    script: str
    owner: str | None


def _uncounted(route: str, method: str, status: int, elapsed_s: float) -> None:
    pass


class Front:
    """Lets requests in; see the module's docstring.

    Args:
        runs: the ASGI callable that answers runs.
        pages: the ASGI callable that answers everything else.
        has_accounts: whether there is an account; asked until it says yes.
        max_body_bytes: the longest request body, > 0.
        max_table_bytes: that of a table that is loaded, or an environment, if it is longer.
        trust_forwarded: take scheme and host from the headers of a proxy.
        record: notes a request that is over; None for no access log.
        count: counts it, by its route, method, status and time in seconds.
        note: notes who changed what, or was refused, for the audit log.
    """

    def __init__(
        self,
        *,
        runs: RunApp,
        pages: ASGIApp,
        has_accounts: Callable[[], Awaitable[bool]],
        max_body_bytes: int,
        max_table_bytes: int = 0,
        trust_forwarded: bool = False,
        record: Callable[[Served], None] | None = None,
        count: Callable[[str, str, int, float], None] = _uncounted,
        note: Callable[[Event], None] | None = None,
    ) -> None:
        self._runs = runs
        self._pages = pages
        self._has_accounts = has_accounts
        self._is_open = False
        self._max_body_bytes = max_body_bytes
        self._max_table_bytes = max(max_table_bytes, max_body_bytes)
        self._trust_forwarded = trust_forwarded
        self._record = record
        self._count = count
        self._note = note
        self._log = structlog.get_logger("fanfold_server.http")
        self._new_id = itertools.count(1).__next__
        self._id_prefix = os.urandom(4).hex() + "-"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (or the server's lifespan events)."""
        if scope["type"] != "http":
            await _answer_other(scope, receive, send)
            return
        started = time.perf_counter()
        request_id, body_bytes, hosts = read_head(scope["headers"])
        if not request_id:
            request_id = f"{self._id_prefix}{self._new_id():x}"
        scope["fanfold.request_id"] = request_id
        # Taken out: it holds the scope, and what holds itself waits for the garbage collector.
        cycle = scope.pop(CYCLE, None)
        sent_path = scope["path"]
        method = scope["method"]
        scope = self._as_meant(scope)
        path = scope["path"]
        run: RunPath | None = None
        answer = Answer(send, (b"x-request-id", request_id.encode()), cycle)
        try:
            check_head(scope, hosts)
            if body_bytes:
                receive = within(self._longest_body(method, path), body_bytes, receive)
            if not self._is_open:
                await self._open(path)
            run = _run_path(path) if path.startswith(_VERSIONS) else None
            if run is not None and method == "POST":
                scope["fanfold.run"] = run
                await self._runs(scope, receive, answer)
            else:
                answer.complete(path, is_head=method == "HEAD")
                if run is not None:
                    message = f"A run is asked for by POST, not {method}."
                    raise MethodNotAllowed(message, allow=["POST"])
                if method == "HEAD":
                    scope = {**scope, "method": "GET", "fanfold.head": True}
                await self._pages(scope, receive, answer)
        except asyncio.CancelledError:
            # The server is told to stop and has waited long enough. This is where the task ends
            # anyway; to let the error out would answer 500, in words that are not ours.
            answer.complete(path, is_head=method == "HEAD")
            await self._refuse(ShuttingDown(), answer, request_id, path)
        except Exception as exc:  # noqa: BLE001 the last resort: logged, and answered as ours
            answer.complete(path, is_head=method == "HEAD")
            await self._refuse(exc, answer, request_id, path)
        finally:
            elapsed_s = time.perf_counter() - started
            self._count(_route(scope, run), method, answer.status, elapsed_s)
            if self._record is not None:
                user = scope.get("fanfold.user")
                self._record(Served(request_id, method, sent_path, answer.status, elapsed_s, user))
            if self._note is not None and (method not in _READS or answer.status in _REFUSED):
                self._note(_event(scope, method, answer.status, request_id))

    def _longest_body(self, method: str, path: str) -> int:
        """Say how long a body may be; a table or an environment goes to a file as it comes."""
        if method != "PUT":
            return self._max_body_bytes
        is_table = path.startswith(_TABLES) and path.count("/") == _TABLE_DEPTH
        is_parcel = path.startswith(_ENVIRONMENTS) and path.endswith(_PARCEL)
        return self._max_table_bytes if is_table or is_parcel else self._max_body_bytes

    def _as_meant(self, scope: Scope) -> Scope:
        """Take away what a proxy and the legacy prefixes put between."""
        if self._trust_forwarded:
            scope = as_forwarded(scope)
        return _without_tenant(scope) if scope["path"].startswith(_LEGACY) else scope

    async def _open(self, path: str) -> None:
        """Let nothing but `/health` in as long as there is no account."""
        if path != "/health":
            self._is_open = await self._has_accounts()
            if not self._is_open:
                raise NoAccounts

    async def _refuse(self, exc: Exception, answer: Answer, request_id: str, path: str) -> None:
        """Answer with the error, unless an answer has begun already."""
        if isinstance(exc, FanfoldError):
            error = exc
        else:
            # As text: a renderer of exceptions may show local variables, and so tokens.
            trace = "".join(traceback.format_exception(exc))
            self._log.error("unexpected", request_id=request_id, path=path, exception=trace)
            error = Unexpected()
        if answer.status:
            return
        body = error_body(error)
        await answer(
            {
                "type": "http.response.start",
                "status": status_of(error),
                "headers": [
                    JSON_TYPE,
                    (b"content-length", b"%d" % len(body)),
                    *error_headers(error),
                ],
            }
        )
        await answer({"type": "http.response.body", "body": body})


class Answer:
    """Sends on what an app sends, and the request's id with it.

    `status` is 0 until the answer has begun.
    """

    __slots__ = ("_completion", "_cycle", "_id_header", "_is_head", "_send", "status")

    def __init__(
        self, send: Send, id_header: tuple[bytes, bytes], cycle: RequestResponseCycle | None
    ) -> None:
        self._send = send
        self._cycle = cycle
        self._id_header = id_header
        self._completion: Headers | None = None
        self._is_head = False
        self.status = 0

    def complete(self, path: str, *, is_head: bool) -> None:
        """From now on add the headers that every answer has, where the app does not set them."""
        self._completion = V1_HEADERS if _is_v1(path) else SECURITY_HEADERS
        self._is_head = is_head

    async def whole(
        self, status: int, headers: Headers, common: Headers, lines: bytes, body: bytes
    ) -> None:
        """Send an answer of one piece, in one write where the server can.

        Args:
            status: HTTP status.
            headers: of this answer, without its length.
            common: headers that other answers have, too.
            lines: the same, as they are sent.
            body: the whole body.
        """
        if can_write_whole(self._cycle):
            assert self._cycle is not None
            self.status = status
            write_whole(self._cycle, status, [*headers, self._id_header], lines, body)
            return
        length = (b"content-length", b"%d" % len(body))
        everything = [*headers, *common, length]
        await self({"type": "http.response.start", "status": status, "headers": everything})
        await self({"type": "http.response.body", "body": body})

    async def __call__(self, message: Message) -> None:
        """Send a message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message["headers"], self._id_header]
            if self._completion is not None:
                present = {name for name, _ in headers}
                headers += [pair for pair in self._completion if pair[0] not in present]
            message["headers"] = headers
        elif self._is_head:
            message = {**message, "body": b""}
        await self._send(message)


def _route(scope: Scope, run: RunPath | None) -> str:
    """Say which route it was, as the OpenAPI document has it."""
    if run is not None:
        return _RUN_ROUTES[run.version, run.verb]
    route = scope.get("route")
    return ELSEWHERE if route is None else str(route.path)


def _event(scope: Scope, method: str, status: int, request_id: str) -> Event:
    client = scope.get("client")
    return Event(
        time.time(),
        scope.get("fanfold.user"),
        scope.get("fanfold.token"),
        None if client is None else client[0],
        method,
        scope["path"],
        status,
        request_id,
    )


def _run_path(path: str) -> RunPath | None:
    """Read the path of a run; None when it is another path. `path` begins with `_VERSIONS`."""
    parts = path[_VERSIONS_LENGTH:].split("/")
    match parts:
        case ["1" | "2" as version, verb, script] if verb in RUN_VERBS and script:
            return RunPath("v" + version, verb, script, None)
        case ["1" | "2" as version, verb, script, owner] if verb in RUN_VERBS and script and owner:
            return RunPath("v" + version, verb, script, owner)
        case _:
            return None


def _is_v1(path: str) -> bool:
    return path == _V1 or path.startswith(_V1 + "/")


def _without_tenant(scope: Scope) -> Scope:
    """Turn `/oml/tenants/T/databases/D/rest` into `/oml/rest`; another path stays as it is."""
    parts = scope["path"].split("/", _LEGACY_PARTS - 1)
    if len(parts) == _LEGACY_PARTS and parts[4] == "databases" and parts[3] and parts[5]:
        path = f"/{parts[1]}/{parts[6]}"
        root = "/".join(parts[:6])
        return {**scope, "path": path, "raw_path": path.encode(), "fanfold.root": root}
    return scope


async def _answer_other(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer lifespan events (nothing to do: compose opens and closes) and refuse websockets."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close"})
        return
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
