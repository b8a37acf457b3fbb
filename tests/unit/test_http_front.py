from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from fanfold_server.http.access_log import EVERY_S, AccessLog, Served
from fanfold_server.http.front import ASGIApp, Front, Scope, Send
from fanfold_server.http.headers import DEPRECATION_HEADERS, SECURITY_HEADERS, Headers
from fanfold_server.http.heads import Receive
from fanfold_server.model.actor import Role
from fanfold_server.model.errors import UnknownScript
from tests.fakes.surface import MAX_BODY_BYTES, client_of, echo_run, open_front, token_of

RUN = "/oml/api/py-scripts/v1/index-apply/mean"
BARE: dict[str, Any] = {"http_version": "1.0", "headers": []}
"""The least that a request may have."""


@pytest.fixture
async def served() -> list[Served]:
    return []


@pytest.fixture
async def front(tmp_path: Path, served: list[Served]) -> AsyncIterator[Front]:
    async with open_front(
        tmp_path, users={"alice": Role.DEVELOPER}, record=served.append
    ) as opened:
        yield opened


def _front(runs: ASGIApp, **settings: Any) -> Front:
    async def has_accounts() -> bool:
        return True

    return Front(runs=runs, pages=runs, has_accounts=has_accounts, max_body_bytes=10, **settings)


def _pairs(headers: Headers) -> set[tuple[str, str]]:
    return {(name.decode(), value.decode()) for name, value in headers}


@pytest.mark.parametrize(
    ("path", "run"),
    [
        (RUN, ["v1", "index-apply", "mean", None]),
        ("/oml/api/py-scripts/v2/do-eval/a%20b/pyqsys", ["v2", "do-eval", "a b", "pyqsys"]),
        (
            "/oml/tenants/T/databases/D/api/py-scripts/v2/do-eval/mean",
            ["v2", "do-eval", "mean", None],
        ),
    ],
)
async def test_a_run_goes_straight_to_its_route(front: Front, path: str, run: list[str]) -> None:
    async with client_of(front) as client:
        answer = await client.post(path, content=b"{}")
    assert answer.json() == {"result": [*run, 2]}


@pytest.mark.parametrize(
    "path",
    [
        "/oml/api/py-scripts/v1/do-eval",
        "/oml/api/py-scripts/v1/do-eval/",
        "/oml/api/py-scripts/v1/do-eval/a/",
        "/oml/api/py-scripts/v1/do-eval/a/b/c",
        "/oml/api/py-scripts/v3/do-eval/a",
        "/oml/api/py-scripts/v1/undo-eval/a",
        "/oml/tenants/T/databases//api/py-scripts/v1/do-eval/a",
        "/oml/tenants/T/schemas/D/api/py-scripts/v1/do-eval/a",
        "/api/v1/scripts/",
        "//health",
    ],
)
async def test_a_path_that_is_nearly_one_of_ours_is_unknown(front: Front, path: str) -> None:
    async with client_of(front) as client:
        answer = await client.post(path, content=b"{}")
    assert (answer.status_code, answer.json()["errorCode"]) == (404, 2016)


async def test_a_plain_request_id_is_kept_and_any_other_replaced(front: Front) -> None:
    async with client_of(front) as client:
        for sent, is_kept in [
            ("a-1_2.3:4", True),
            ("x" * 64, True),
            ("x" * 65, False),
            ('a"b', False),
            ("", False),
        ]:
            answer = await client.get("/health", headers={"X-Request-Id": sent})
            assert (answer.headers["x-request-id"] == sent) is is_kept
            assert answer.headers["x-request-id"]


async def test_two_requests_have_two_ids(front: Front) -> None:
    async with client_of(front) as client:
        ids = {(await client.get("/health")).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize("path", [RUN, "/omlusers/api/oauth2/v1/token", "/api/v1/scripts/mean"])
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_body_that_is_too_large_is_refused(
    front: Front, path: str, is_chunked: bool
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * (MAX_BODY_BYTES // 4)

    token = await token_of(front, "alice")
    content = chunks() if is_chunked else b" " * (MAX_BODY_BYTES + 1)
    async with client_of(front, token) as client:
        method = "PUT" if path.startswith("/api") else "POST"
        answer = await client.request(method, path, content=content)
    assert (answer.status_code, answer.json()["errorCode"]) == (413, 2006)
    assert answer.json()["limitBytes"] <= MAX_BODY_BYTES


async def test_nothing_but_health_answers_without_an_account(tmp_path: Path) -> None:
    async with open_front(tmp_path, users={}) as front, client_of(front) as client:
        assert (await client.get("/health")).status_code == 200
        for path in ("/docs", "/openapi.json", "/nope", "/oml/api/py-scripts", "/health/"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["errorCode"]) == (503, 2106), path
        assert (await client.post(RUN)).status_code == 503


async def test_a_run_that_fails_in_us_shows_nothing_of_it_but_is_logged() -> None:
    async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise RuntimeError("the secret")

    with capture_logs() as logs:
        async with client_of(_front(broken), "the-token") as client:
            answer = await client.post(RUN, headers={"X-Request-Id": "me"})
    assert (answer.status_code, answer.json()["errorCode"]) == (500, 5001)
    assert "secret" not in answer.text
    assert _pairs([*SECURITY_HEADERS, *DEPRECATION_HEADERS]) <= set(answer.headers.items())
    assert [(log["event"], log["request_id"]) for log in logs] == [("unexpected", "me")]
    assert "RuntimeError: the secret" in logs[0]["exception"]
    assert "the-token" not in str(logs)


async def test_what_a_run_raises_on_purpose_is_answered_and_not_logged() -> None:
    async def refusing(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise UnknownScript("No such script.")

    with capture_logs() as logs:
        async with client_of(_front(refusing)) as client:
            answer = await client.post(RUN)
    assert (answer.status_code, answer.json()["errorMessage"]) == (404, "No such script.")
    assert logs == []


async def test_a_page_that_fails_in_us_is_answered_once_and_logged(tmp_path: Path) -> None:
    def unwell() -> dict[str, object]:
        raise RuntimeError("the secret")

    with capture_logs() as logs:
        async with (
            open_front(tmp_path, users={}, health=unwell) as front,
            client_of(front) as client,
        ):
            answer = await client.get("/health")
    assert (answer.status_code, answer.json()["errorCode"]) == (500, 5001)
    assert "secret" not in answer.text
    assert [log["event"] for log in logs] == ["unexpected"]


async def test_an_answer_that_has_begun_is_not_begun_again() -> None:
    async def half(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError

    sent: list[str] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    scope = {"type": "http", "path": RUN, "method": "POST", **BARE}
    with capture_logs():
        await _front(half)(scope, receive, send)
    assert sent == ["http.response.start"]


@pytest.mark.parametrize("path", ["/omlusers/api/oauth2/v1/token", "/api/v1/scripts/mean"])
async def test_a_client_that_goes_away_amid_its_body_is_no_failure_of_ours(
    front: Front, served: list[Served], path: str
) -> None:
    token = await token_of(front, "alice")
    begun: dict[str, Any] = {"type": "http.request", "body": b"{", "more_body": True}
    messages = iter([begun, {"type": "http.disconnect"}])

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(_: Any) -> None:
        pass

    method = "PUT" if path.startswith("/api") else "POST"
    headers = [
        (b"authorization", b"Bearer " + token.encode()),
        (b"content-type", b"application/json"),
    ]
    scope = {"type": "http", "path": path, "method": method, **BARE, "headers": headers}
    with capture_logs() as logs:
        await front({**scope, "query_string": b""}, receive, send)
    assert logs == []
    assert served[-1].status == 400


async def test_a_run_sends_its_own_headers_and_gets_only_the_id(front: Front) -> None:
    """The hot route's list is shared between requests, so it may not grow."""
    async with client_of(front) as client:
        first, second = [await client.post(RUN) for _ in range(2)]
    names = [name for name, _ in second.headers.multi_items()]
    assert len(names) == len(set(names))
    assert set(first.headers) == set(second.headers)


async def test_a_request_that_is_cut_off_is_told_that_the_server_ends() -> None:
    """A server that is told to stop cancels what takes too long; silence would be a riddle."""
    begun = asyncio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        _ = scope, receive, send
        begun.set()
        await asyncio.Event().wait()

    async with client_of(_front(endless)) as client:
        request = asyncio.create_task(client.post(RUN))
        await begun.wait()
        request.cancel()
        answer = await request
    assert (answer.status_code, answer.json()["errorCode"]) == (503, 5004)
    assert "retry-after" in answer.headers


async def test_lifespan_is_answered_and_a_websocket_is_refused() -> None:
    sent: list[str] = []
    events = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> dict[str, Any]:
        return {"type": next(events)}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    front = _front(echo_run)
    await front({"type": "lifespan"}, receive, send)
    await front({"type": "websocket"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]


# -------------------------------------------------------------------------------- the access log


async def test_every_request_is_noted_with_its_user(front: Front, served: list[Served]) -> None:
    token = await token_of(front, "alice")
    served.clear()
    legacy = "/oml/tenants/T/databases/D/api/py-scripts/v2/envs"
    async with client_of(front, token) as client:
        await client.get(legacy, params={"secret": "1"})
        await client.post(RUN)
        await client.head("/nope")
    assert [(note.method, note.path, note.status, note.user) for note in served] == [
        ("GET", legacy, 200, "ALICE"),
        ("POST", RUN, 200, "RUNNER"),
        ("HEAD", "/nope", 404, None),
    ]


async def test_records_are_written_in_batches_and_what_is_left_at_the_end() -> None:
    batches: list[str] = []
    written = asyncio.Event()

    def write(lines: str) -> None:
        batches.append(lines)
        written.set()

    log = AccessLog(write, as_json=True)
    note = Served("id", "GET", "/a", 200, 0.0123, "ALICE")
    for _ in range(3):
        log.record(note)
    assert batches == []
    await asyncio.wait_for(written.wait(), EVERY_S * 20)
    assert len(batches) == 1
    line = orjson.loads(batches[0].splitlines()[0])
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "request",
        "level": "info",
        "request_id": "id",
        "method": "GET",
        "path": "/a",
        "status": 200,
        "ms": 12.3,
        "user": "ALICE",
    }
    log.record(note)
    log.flush()
    log.flush()
    assert [batch.count("\n") for batch in batches] == [3, 1]


async def test_a_line_for_people_is_one_line_whatever_the_path() -> None:
    lines: list[str] = []
    log = AccessLog(lines.append, as_json=False)
    log.record(Served("id", "GET", "/a\nb\x1b", 404, 0.5, None))
    log.flush()
    assert lines[0].count("\n") == 1
    assert "\x1b" not in lines[0]
    assert "500.00 ms  GET" in lines[0]


async def test_front_hands_the_framework_get_for_head(front: Front) -> None:
    async with client_of(front) as client:
        got, head = await client.get("/openapi.json"), await client.head("/openapi.json")
        refused = await client.head(RUN)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(got.content))
    assert (refused.status_code, refused.content) == (405, b"")
    assert refused.headers["allow"] == "POST"
