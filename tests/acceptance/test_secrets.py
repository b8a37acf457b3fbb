"""Secrets: given to the runs of scripts that they are granted to, and to nobody else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.acceptance.conftest import Caller, Server
from tests.acceptance.job_calls import ended, id_of, submit

URL = "/api/v1/secrets"
VALUE = 'sesame "open"\n\u00fcber'
KEYED = """
def keyed(how="length"):
    import os
    import oml
    key = oml.secret("KEY")
    if how == "prints":
        print("the key is", key, repr(key))
    if how == "raises":
        raise ValueError("wrong key: " + key)
    return [len(key), os.getpid(), "KEY" in os.environ]
"""
PEEK = """
def peek():
    import gc, os
    import oml
    held = [o for o in gc.get_objects() if isinstance(o, (dict, list))]
    texts = [v for o in held for v in (o.values() if isinstance(o, dict) else o)]
    try:
        asked = oml.secret("KEY")
    except oml.Refused as exc:
        asked = exc.code
    return [os.getpid(), sum(isinstance(v, str) and "ses" "ame" in v for v in texts), asked]
"""


@pytest.fixture(scope="module")
def keyed(alice: Caller, bob: Caller) -> Caller:
    alice.store("keyed", KEYED)
    alice.store("peek", PEEK)
    assert alice.put(f"{URL}/KEY", json={"value": VALUE}).status_code == 201
    assert alice.put(f"{URL}/KEY", json={"value": VALUE}).status_code == 204
    assert alice.put(f"{URL}/KEY/grants/keyed").status_code == 204
    assert alice.put("/api/v1/scripts/keyed/grants/bob").is_success
    bob.store("keyed", KEYED)
    return alice


def value(answer: httpx2.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def test_a_script_has_what_is_granted_to_it_whoever_runs_it(keyed: Caller, bob: Caller) -> None:
    assert value(keyed.do_eval("keyed"))[0] == len(VALUE)
    assert value(bob.do_eval("keyed/alice"))[0] == len(VALUE)
    refused = bob.do_eval("keyed")  # bob's own script of that name, and he has no such secret
    assert refused.status_code == 400
    assert "has no secret" in refused.json()["errorMessage"]


def test_jobs_have_it_too(keyed: Caller) -> None:
    job = submit(keyed, "index-apply", "keyed", times=2)
    assert ended(keyed, job)["state"] == "succeeded"


def test_no_later_call_finds_it(keyed: Caller) -> None:
    """The process that has had a secret ends with its run, warm as it may be."""
    for _ in range(3):
        with_key = value(keyed.do_eval("keyed"))[1]
        without_key, held, asked = value(keyed.do_eval("peek"))
        assert with_key != without_key
        assert (held, asked) == (0, 2080)


def test_neither_environment_nor_process_list_has_it(keyed: Caller, server: Server) -> None:
    assert value(keyed.do_eval("keyed"))[2] is False
    for path in Path("/proc").glob("[0-9]*"):
        for name in ("environ", "cmdline"):
            try:
                content = (path / name).read_bytes()
            except OSError:
                continue
            assert b"sesame" not in content or int(path.name) == os.getpid()
    assert "sesame" not in server.log.read_text()


def test_logs_and_errors_are_without_it(keyed: Caller, bob: Caller) -> None:
    failed = bob.do_eval("keyed/alice", {"parameters": {"how": "raises"}})
    assert failed.status_code == 400
    assert "sesame" not in failed.text
    assert "wrong key: ***" in failed.json()["errorMessage"]
    job = submit(keyed, "do-eval", "keyed", parameters={"how": "prints"})
    ended(keyed, job)
    outcomes = keyed.get(f"/api/v1/jobs/{id_of(job)}/outcomes").text
    assert "the key is ***" in outcomes
    assert "sesame" not in outcomes
    job = submit(keyed, "do-eval", "keyed", parameters={"how": "raises"})
    ended(keyed, job)
    for part in ("outcomes", "errors", "results"):
        assert "sesame" not in keyed.get(f"/api/v1/jobs/{id_of(job)}/{part}").text


def test_no_route_tells_it(keyed: Caller, admin: Caller) -> None:
    listed = keyed.get(URL)
    assert {"name": "KEY", "scripts": ["keyed"]}.items() <= listed.json()["secrets"][0].items()
    assert "sesame" not in listed.text
    assert keyed.get(f"{URL}/KEY").status_code == 405
    assert "sesame" not in admin.get("/api/v1/audit?limit=100000").text


def test_the_database_alone_is_of_no_use(keyed: Caller, server: Server) -> None:
    assert value(keyed.do_eval("keyed"))
    for path in server.data.glob("fanfold.db*"):
        assert b"sesame" not in path.read_bytes()
    assert (server.data / "secrets.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("wrong", ["short", "x" * 20_000, None, 5, ["short"], {"short": "xxxx"}])
def test_a_value_that_is_refused_is_not_told(alice: Caller, wrong: object) -> None:
    answer = alice.put(f"{URL}/WRONG", json={"value": wrong})
    assert answer.status_code == 400
    assert "value" in answer.json()["errorMessage"]
    assert "xxxx" not in answer.text
    assert "short" not in answer.text


def test_what_is_taken_back_is_given_no_more(alice: Caller) -> None:
    alice.store("lasting", 'def lasting():\n    import oml\n    return len(oml.secret("LAST"))\n')
    alice.put(f"{URL}/LAST", json={"value": "for a while"})
    unknown = alice.put(f"{URL}/LAST/grants/no_such_script")
    assert (unknown.status_code, unknown.json()["errorCode"]) == (404, 2010)
    assert alice.do_eval("lasting").status_code == 400
    alice.put(f"{URL}/LAST/grants/lasting")
    assert value(alice.do_eval("lasting")) == 11
    assert alice.delete(f"{URL}/LAST/grants/lasting").status_code == 204
    assert alice.do_eval("lasting").status_code == 400
    alice.put(f"{URL}/LAST/grants/lasting")
    assert alice.delete(f"{URL}/LAST").status_code == 204
    assert alice.do_eval("lasting").status_code == 400
    assert alice.delete(f"{URL}/LAST").status_code == 404
