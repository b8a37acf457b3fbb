"""Access tokens: made by a login, good for what they say, gone when they are revoked."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from fanfold_server.http.scopes import ANY, LOGIN, RULES
from fanfold_server.model.actor import Scope
from tests.acceptance.conftest import Caller, Server, run_fanfold
from tests.acceptance.job_calls import ended, id_of, submit
from tests.acceptance.test_surface import OPEN, PATHS, TOKENS

URL = "/api/v1/tokens"
FORBIDDEN = (403, 2105)
OPERATIONS = [
    (method, path)
    for path, methods in PATHS.items()
    for method in sorted(methods)
    if path not in OPEN | TOKENS
]


def make(caller: Caller, *scopes: str, **members: Any) -> str:
    body = {"name": f"t-{uuid.uuid4().hex[:12]}", "scopes": list(scopes), **members}
    answer = caller.post(URL, json=body)
    assert answer.status_code == 201, answer.text
    text: str = answer.json()["token"]
    return text


@contextmanager
def holding(server: Server, token: str) -> Iterator[Caller]:
    with Caller(server.url, "holder", token) as caller:
        yield caller


def outcome(answer: httpx2.Response) -> tuple[int, int | None]:
    is_json = answer.headers.get("content-type") == "application/json"
    members = answer.json() if is_json else {}
    return answer.status_code, members.get("errorCode") if isinstance(members, dict) else None


def test_a_token_is_told_once_and_listed_without_its_text(alice: Caller) -> None:
    body = {"name": "nightly", "scopes": ["run", "publish"], "days": 2}
    made = alice.post(URL, json=body).json()
    assert made["token"].startswith("fft_")
    listed = {one["name"]: one for one in alice.get(URL).json()["tokens"]}["nightly"]
    assert listed == {name: value for name, value in made.items() if name != "token"}
    assert listed["scopes"] == ["publish", "run"]
    assert made["token"] not in alice.get(URL).text
    again = alice.post(URL, json=body)
    assert outcome(again) == (409, 2108)
    assert alice.delete(f"{URL}/nightly").status_code == 204
    assert outcome(alice.delete(f"{URL}/nightly")) == (404, 2107)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"name": "a b"}, "name"),
        ({"name": ""}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes"),
        ({"days": 0}, "days"),
        ({"days": 400}, "366"),
        ({"script": "no_such_script"}, "no_such_script"),
    ],
)
def test_what_no_token_can_be_is_told(alice: Caller, wrong: dict[str, Any], named: str) -> None:
    answer = alice.post(URL, json={"name": "wrong", "scopes": ["run"], **wrong})
    assert answer.status_code in {400, 404}
    assert named in answer.json()["errorMessage"]


def test_every_route_is_decided_about(nobody: httpx2.Client) -> None:
    """A route that no rule fits needs a login, which is safe; but it has to be meant."""
    paths = nobody.get("/openapi.json").json()["paths"]
    for method, path in OPERATIONS:
        assert any(path == root or path.startswith(root + "/") for root, _, _ in RULES), path
        assert paths[path][method]["x-fanfold-scope"] in {ANY, LOGIN, *Scope}


@pytest.mark.parametrize("scope", ["run", "publish"])
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_a_token_does_what_its_scope_says_and_nothing_else(
    *,
    server: Server,
    held: dict[str, str],
    nobody: httpx2.Client,
    scope: str,
    method: str,
    path: str,
) -> None:
    needed = nobody.get("/openapi.json").json()["paths"][path][method]["x-fanfold-scope"]
    with holding(server, held[scope]) as holder:
        answer = holder.request(method, re.sub(r"\{\w+\}", "no_such_thing", path), json={})
    may = needed in {ANY, scope}
    # A route may have more to say: databases are an administrator's whatever the token.
    words = ("The token", "This is for administrators")
    refused = outcome(answer) == FORBIDDEN and answer.json()["errorMessage"].startswith(words)
    assert refused is not may, answer.text


@pytest.fixture(scope="module")
def held(alice: Caller) -> dict[str, str]:
    return {scope: make(alice, scope) for scope in ("run", "publish")}


def test_a_run_token_runs_and_a_publish_token_publishes(
    server: Server, alice: Caller, held: dict[str, str]
) -> None:
    alice.store("scoped", "def scoped():\n    return 7\n")
    with holding(server, held["run"]) as runner, holding(server, held["publish"]) as publisher:
        assert runner.do_eval("scoped").json() == {"result": 7}
        job = submit(runner, "do-eval", "scoped")
        assert ended(runner, job)["state"] == "succeeded"
        source = {"source": "def scoped():\n    return 8\n", "overwrite": True}
        assert outcome(runner.put("/api/v1/scripts/scoped", json=source)) == FORBIDDEN
        assert publisher.put("/api/v1/scripts/scoped", json=source).is_success
        refused = publisher.do_eval("scoped")
        assert outcome(refused) == FORBIDDEN
        assert "run" in refused.json()["errorMessage"]
        assert outcome(publisher.get(f"/api/v1/jobs/{id_of(job)}")) == FORBIDDEN
    assert alice.do_eval("scoped").json() == {"result": 8}


def test_an_admin_is_none_with_a_token_that_does_not_say_so(server: Server, admin: Caller) -> None:
    source = {"source": "def boss():\n    return 1\n"}
    for scopes, may in ((["publish"], False), (["publish", "admin"], True)):
        with holding(server, make(admin, *scopes)) as holder:
            answer = holder.put(
                "/api/v1/tables/BOSS?global=true",
                content=b"a\n1\n",
                headers={"Content-Type": "text/csv"},
            )
            assert answer.is_success is may, answer.text
            assert holder.put("/api/v1/scripts/boss", json={**source, "overwrite": True}).is_success


def test_a_token_bound_to_a_script_reaches_this_script_and_its_jobs_alone(
    server: Server, alice: Caller, bob: Caller
) -> None:
    for name in ("bound", "unbound"):
        alice.store(name, f"def {name}():\n    return 1\n")
    bob.store("bound", "def bound():\n    return 2\n")
    assert bob.put("/api/v1/scripts/bound/grants/alice").is_success
    others_job = submit(alice, "do-eval", "unbound")
    ended(alice, others_job)
    with holding(server, make(alice, "run", "publish", script="bound")) as holder:
        assert holder.do_eval("bound").json() == {"result": 1}
        assert holder.do_eval("bound/alice").json() == {"result": 1}
        job = submit(holder, "do-eval", "bound")
        ended(holder, job)
        assert holder.get(f"/api/v1/jobs/{id_of(job)}").is_success
        mend = {"source": "def bound():\n    return 3\n", "overwrite": True}
        assert holder.put("/api/v1/scripts/bound", json=mend).is_success
        for answer in (
            holder.do_eval("unbound"),
            holder.do_eval("bound/bob"),
            holder.get("/api/v1/scripts"),
            holder.get("/api/v1/scripts/unbound"),
            holder.put("/api/v1/scripts/unbound", json=mend),
            holder.put("/api/v1/scripts/bound", json={**mend, "global": True}),
            holder.get("/api/v1/jobs"),
            holder.get("/api/v1/tables"),
            holder.get("/oml/api/py-scripts/v1/scripts"),
        ):
            assert outcome(answer) == FORBIDDEN, answer.url
        for name in (id_of(others_job), str(uuid.uuid4())):
            assert outcome(holder.get(f"/api/v1/jobs/{name}")) == (404, 2021)
            assert outcome(holder.delete(f"/api/v1/jobs/{name}")) == (404, 2021)


@pytest.mark.parametrize("by", ["name", "presented", "password", "command"])
def test_a_revoked_token_is_of_no_use(server: Server, by: str) -> None:
    name = f"leaver_{by}"
    server.add_user(name)
    with server.caller(name) as caller:
        made = caller.post(URL, json={"name": "mine", "scopes": ["run"]}).json()["token"]
        with holding(server, made) as holder:
            assert holder.get("/api/v1/scripts").is_success
            place = ("--data", str(server.data))
            match by:
                case "name":
                    assert caller.delete(f"{URL}/mine").status_code == 204
                case "presented":
                    revoke = "/omlusers/api/oauth2/v1/revoke"
                    assert holder.post(revoke, json={"token": made}).is_success
                case "password":
                    run_fanfold("user", "disable", name, *place)
                case _:
                    run_fanfold("access-token", "revoke", "mine", "--user", name, *place)
            deadline = time.monotonic() + 30  # another process is heard of within 5 s
            while holder.get("/api/v1/scripts").is_success and time.monotonic() < deadline:
                assert by in {"password", "command"}, "this process knows at once"
                time.sleep(0.2)
            assert outcome(holder.get("/api/v1/scripts")) == (401, 2101)


def test_the_operator_makes_lists_and_revokes(server: Server, alice: Caller) -> None:
    alice.store("for_ops", "def for_ops():\n    return 1\n")
    place = ("--user", "alice", "--data", str(server.data))
    made = run_fanfold(
        *("access-token", "create", "ops", "--scope", "run", "--script", "for_ops", "--days", "3"),
        *place,
    )
    text = made.stdout.strip()
    with holding(server, text) as holder:
        assert holder.do_eval("for_ops").json() == {"result": 1}
    listed = run_fanfold("access-token", "list", *place).stdout
    assert "ops\trun\tfor_ops/ALICE\t" in listed
    assert text not in listed
    lines = run_fanfold("access-token", "list", "--json", *place).stdout.splitlines()
    told = next(told for told in map(json.loads, lines) if told["name"] == "ops")
    assert (told["scopes"], told["script"]) == ("run", "for_ops/ALICE")
    run_fanfold("access-token", "revoke", "ops", *place)
    assert "ops" not in run_fanfold("access-token", "list", *place).stdout
    failed = run_fanfold("access-token", "revoke", "ops", *place, is_expected_to_fail=True)
    assert "ops" in failed.stderr


def test_no_text_of_a_token_is_stored(server: Server, alice: Caller) -> None:
    made = make(alice, "run")
    for path in server.data.rglob("fanfold.db*"):
        assert made.encode() not in path.read_bytes()
    assert made not in server.log.read_text()
