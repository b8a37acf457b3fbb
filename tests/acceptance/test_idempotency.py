"""A key makes one job of a request and its repetitions, whatever has gone in between."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.acceptance.conftest import Caller
from tests.acceptance.job_calls import JOBS, RUNS, ended, id_of
from tests.acceptance.processes import until
from tests.acceptance.test_data_runs import load

COUNT = "def {}(dat):\n    return len(dat)\n"
VERBS: list[tuple[str, dict[str, Any]]] = [
    ("table-apply", {}),
    ("row-apply", {"rows": 1}),
    ("row-apply", {"rows": 1, "input": "select * from IK_ROWS where 1 = 0"}),
    ("group-apply", {"groupBy": "A"}),
]


def ask(caller: Caller, verb: str, script: str, key: str, **body: Any) -> httpx2.Response:
    return caller.post(
        f"{RUNS}/v1/{verb}/{script}",
        json={"asyncFlag": True, **body},
        headers={"Idempotency-Key": key},
    )


@pytest.mark.parametrize(("verb", "body"), VERBS, ids=str)
@pytest.mark.parametrize("gone", ["table", "script", "both"])
def test_a_repetition_is_the_job_though_its_sources_are_gone(
    alice: Caller, verb: str, body: dict[str, Any], gone: str
) -> None:
    load(alice, "IK_ROWS", ["A,B", "x,1", "y,2"])
    alice.store("ik_count", COUNT.format("ik_count"))
    key = f"{gone} {verb} {body}"
    body = {"input": "select * from IK_ROWS", "seed": 7, **body}
    first = ask(alice, verb, "ik_count", key, **body)
    assert first.status_code == 201, first.text
    if gone != "script":
        assert alice.delete("/api/v1/tables/IK_ROWS").status_code == 204
    if gone != "table":
        assert alice.delete("/api/v1/scripts/ik_count").status_code == 204
    for _ in range(2):
        again = ask(alice, verb, "ik_count", key, **body)
        assert again.status_code == 201, again.text
        names = ("location", "fanfold-seed", "fanfold-script-version")
        assert [again.headers[n] for n in names] == [first.headers[n] for n in names]
        ended(alice, first.headers["location"])
    for other in ({"seed": 8}, {"input": "select * from IK_NONE"}):
        refused = ask(alice, verb, "ik_count", key, **{**body, **other})
        assert (refused.status_code, refused.json()["errorCode"]) == (409, 2028)
        assert id_of(first.headers["location"]) in refused.json()["errorMessage"]
    assert ask(alice, verb, "ik_count", f"new {key}", **body).status_code in {400, 404}


def test_a_key_is_its_accounts_own(alice: Caller, bob: Caller) -> None:
    for caller in (alice, bob):
        caller.store("ik_one", "def ik_one():\n    return 1\n")
    mine = ask(alice, "do-eval", "ik_one", "shared")
    assert ask(bob, "do-eval", "ik_one", "shared").headers["location"] != mine.headers["location"]
    assert ask(bob, "do-eval", "ik_one", "shared", seed=1).status_code == 409


def test_a_repetition_is_the_job_though_its_own_table_is_there(alice: Caller) -> None:
    """The name was free, and it is the job that took it."""
    alice.delete("/api/v1/tables/IK_MADE")
    alice.store("ik_row", "def ik_row(i):\n    return {'A': i}\n")
    body = {"times": 2, "resultTable": "IK_MADE"}
    first = ask(alice, "index-apply", "ik_row", "table", **body)
    job = f"{JOBS}/{id_of(first.headers['location'])}"
    until(lambda: alice.get(job).json()["resultTable"]["state"] == "written", 30, "it is written")
    again = ask(alice, "index-apply", "ik_row", "table", **body)
    assert (again.status_code, again.headers["location"]) == (201, first.headers["location"])
    assert ask(alice, "index-apply", "ik_row", "another", **body).json()["errorCode"] == 2064


@pytest.mark.parametrize(("act", "body"), [("resume", None), ("extend", {"times": 4})])
def test_a_repeated_continuation_is_the_job_though_the_old_one_is_gone(
    alice: Caller, act: str, body: dict[str, Any] | None
) -> None:
    alice.store("ik_row", "def ik_row(i):\n    return {'A': i}\n")
    first = ask(alice, "index-apply", "ik_row", f"old of {act}", times=2)
    ended(alice, first.headers["location"])
    old = f"{JOBS}/{id_of(first.headers['location'])}"
    headers = {"Idempotency-Key": f"new of {act}"}
    made = alice.post(f"{old}/{act}", json=body, headers=headers)
    assert made.status_code == 201, made.text
    assert alice.delete(old).status_code == 204
    again = alice.post(f"{old}/{act}", json=body, headers=headers)
    assert (again.status_code, again.json()["id"]) == (201, made.json()["id"])
    assert alice.post(f"{old}/{act}", json=body).status_code == 404


def test_a_token_for_one_script_learns_nothing_of_another_s_job(alice: Caller, server: Any) -> None:
    """A key of the account may stand for a job of a script of the same name, of another owner."""
    alice.store("ik_bound", "def ik_bound():\n    return 1\n")
    alice.store("ik_free", "def ik_free():\n    return 1\n")
    members = {"name": "ik", "scopes": ["run"], "script": "ik_bound"}
    token = alice.post("/api/v1/tokens", json=members)
    assert token.status_code == 201, token.text
    assert ask(alice, "do-eval", "ik_free", "of free").status_code == 201
    with Caller(server.url, "alice", token.json()["token"]) as bound:
        assert ask(bound, "do-eval", "ik_free", "of free").status_code == 403
        refused = ask(bound, "do-eval", "ik_bound", "of free")
        assert (refused.status_code, refused.json()["errorCode"]) == (409, 2028)
        made = ask(bound, "do-eval", "ik_bound", "of bound")
        again = ask(bound, "do-eval", "ik_bound", "of bound")
        assert made.headers["location"] == again.headers["location"]
    assert alice.delete("/api/v1/tokens/ik").status_code == 204
