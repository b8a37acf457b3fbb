"""The audit log: what is done and what is refused is in it; secrets are not."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from tests.acceptance.conftest import PASSWORD, Caller, Server, run_fanfold

URL = "/api/v1/audit"
LOGIN = "/omlusers/api/oauth2/v1/token"


def entries(admin: Caller, **which: Any) -> list[dict[str, Any]]:
    answer = admin.get(URL, params=which)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.fixture(scope="module")
def done(server: Server, alice: Caller, nobody: httpx2.Client) -> str:
    """Do a little of everything; gives the text of a token."""
    alice.store("watched", "def watched(secret=None):\n    return 1\n")
    alice.put("/api/v1/scripts/watched/grants/bob", headers={"X-Request-Id": "the-grant"})
    alice.do_eval("watched", {"parameters": {"secret": "hush-hush"}})
    made = alice.post("/api/v1/tokens", json={"name": "robot", "scopes": ["run"]}).json()["token"]
    with Caller(server.url, "robot", made) as robot:
        robot.do_eval("watched")
        robot.delete("/api/v1/scripts/watched")
    nobody.post(LOGIN, json={"grant_type": "password", "username": "alice", "password": "hush-1"})
    nobody.get("/api/v1/scripts", headers={"Authorization": "Bearer hush-token"})
    alice.delete("/api/v1/tokens/robot")
    alice.delete("/api/v1/scripts/watched?hush=hush")
    alice.delete("/api/v1/scripts/watched?global=false")
    run_fanfold(
        *("user", "add", "audited", "--password-stdin", "--data", str(server.data)),
        stdin=PASSWORD + "\n",
    )
    token: str = made
    return token


@pytest.mark.parametrize(
    ("which", "status", "token"),
    [
        ({"action": "script.publish", "target": "watched"}, 201, None),
        ({"action": "script.grant", "target": "watched bob"}, 204, None),
        ({"action": "run.do-eval", "target": "watched"}, 200, "robot"),
        ({"action": "token.create"}, 201, None),
        ({"action": "token.delete", "target": "robot"}, 204, None),
        ({"action": "script.delete", "target": "watched"}, 204, None),
    ],
)
def test_what_was_done_is_told(
    admin: Caller, done: str, which: dict[str, Any], status: int, token: str | None
) -> None:
    assert done
    newest, *_ = entries(admin, actor="alice", **which)
    assert (newest["status"], newest["actor"], newest["token"]) == (status, "ALICE", token)
    assert newest["address"] == "127.0.0.1"


def test_what_was_refused_is_told(admin: Caller, done: str) -> None:
    assert done
    refused = entries(admin, actor="ALICE", action="script.delete")
    assert [403, "robot"] in [[one["status"], one["token"]] for one in refused]
    assert 401 in {one["status"] for one in entries(admin, action="login")}
    assert 401 in {one["status"] for one in entries(admin, action="script.read")}


def test_what_the_operator_did_is_told(admin: Caller, done: str) -> None:
    assert done
    (added,) = entries(admin, action="user.add", target="AUDITED")
    assert (added["actor"], added["address"]) == ("(operator)", None)


def test_what_the_operator_did_to_databases_of_others_is_told(
    server: Server, admin: Caller
) -> None:
    at = ("--data", str(server.data))
    url = "postgresql://reader@db.invalid/shop"
    run_fanfold(*("source", "add", "audited", url, "--password-stdin"), *at, stdin="hush-2\n")
    for words in (
        ("grant", "audited", "alice"),
        ("default", "alice", "audited"),
        ("default", "alice"),
        ("grant", "audited", "alice", "--revoke"),
        ("list",),
        ("drop", "audited"),
    ):
        run_fanfold("source", *words, *at)
    run_fanfold("source", "drop", "audited", *at, is_expected_to_fail=True)
    told = entries(admin, actor="(operator)", limit=100)
    mine = [(one["action"], one["target"]) for one in told if one["action"].startswith("source.")]
    assert mine[::-1] == [
        ("source.publish", "AUDITED"),
        ("source.grant", "AUDITED ALICE"),
        ("source.default", "AUDITED ALICE"),
        ("source.default", "EMBEDDED ALICE"),
        ("source.revoke", "AUDITED ALICE"),
        ("source.delete", "AUDITED"),
    ]


def test_an_entry_leads_to_the_log_of_requests(admin: Caller, done: str) -> None:
    assert done
    assert "the-grant" in {one["request"] for one in entries(admin, action="script.grant")}


def test_no_secret_is_in_it(server: Server, admin: Caller, done: str) -> None:
    text = admin.get(URL, params={"limit": 100_000}).text
    command = run_fanfold("audit", "--data", str(server.data), "--limit", "100000").stdout
    for secret in ("hush", PASSWORD, done, admin.token):
        assert secret not in text
        assert secret not in command
    assert '"action":"script.grant"' in command


def test_others_may_not_read_it(alice: Caller, nobody: httpx2.Client) -> None:
    refused = alice.get(URL)
    assert (refused.status_code, refused.json()["errorCode"]) == (403, 2105)
    assert nobody.get(URL).status_code == 401


def test_it_is_read_in_pages(admin: Caller, done: str) -> None:
    assert done
    whole = entries(admin, actor="ALICE")
    numbers = [one["number"] for one in whole]
    assert numbers == sorted(numbers, reverse=True)
    page = entries(admin, actor="ALICE", limit=2, below=numbers[0])
    assert [one["number"] for one in page] == numbers[1:3]


def test_nothing_changes_an_entry(admin: Caller) -> None:
    for method in ("PUT", "POST", "DELETE", "PATCH"):
        assert admin.request(method, URL).status_code == 405
