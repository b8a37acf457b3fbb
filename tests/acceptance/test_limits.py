"""Limits as an operator sets them and a client meets them: by service level, also in jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.conftest import Caller, Server, run_fanfold, serving
from tests.acceptance.job_calls import JOBS, ended, id_of, submit

LEVELS = """
worker_memory_mib = 1024
[levels.LOW]
memory_mib = 192
cpu_s = 1
files = 64
call_timeout_s = 20
[levels.HIGH]
run_timeout_s = 3
"""
GREEDY = {
    "hold": "def hold():\n    return len(bytearray(400 << 20))\n",
    "spin": "def spin(i):\n    while i == 2:\n        pass\n    return i\n",
    "open_all": "def open_all():\n    held = [open('/dev/null') for _ in range(100)]\n",
    "wait": "def wait(i=0):\n    import time\n    time.sleep(5)\n    return i\n",
}


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("tight")
    (folder / "levels.toml").write_text(LEVELS)
    options = ("--config", str(folder / "levels.toml"))
    with serving(folder, *options, users={"alice": "developer"}) as server:
        yield server


@pytest.fixture(scope="module")
def caller(tight: Server) -> Iterator[Caller]:
    with tight.caller("alice") as caller:
        for name, source in GREEDY.items():
            caller.store(name, source)
        yield caller


def failed(caller: Caller, script: str, **members: object) -> dict[str, Any]:
    answer = caller.do_eval(script, members)
    assert answer.status_code == 400, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_a_run_has_the_limits_of_its_level_and_low_if_it_names_none(caller: Caller) -> None:
    for members in ({}, {"service": "LOW"}):
        body = failed(caller, "hold", **members)
        assert body["errorCode"] == 3006
        assert body["errorMessage"].startswith("out of memory: peak ")
        assert body["errorMessage"].endswith("MiB of 192 MiB at the call")
        assert failed(caller, "open_all", **members)["errorCode"] == 3017
    assert caller.do_eval("hold", {"service": "MEDIUM"}).json() == {"result": 400 << 20}
    assert caller.do_eval("open_all", {"service": "MEDIUM"}).json() == {"result": None}


def test_the_other_calls_of_a_run_have_their_values(caller: Caller) -> None:
    body = {"times": 3, "service": "LOW", "onError": "continue"}
    said = caller.index_apply("spin", body).json()
    assert said["result"] == [1, None, 3]
    (error,) = said["errors"]
    assert (error["index"], error["code"]) == (2, 3015)
    assert error["message"].startswith("out of processor time: ")


def test_the_limits_hold_in_jobs(caller: Caller) -> None:
    url = submit(caller, "index-apply", "spin", times=3, service="LOW", onError="continue")
    job = ended(caller, url)
    assert job["state"] == "partly_failed"
    (group,) = caller.get(f"{JOBS}/{id_of(url)}/errors").json()["errors"]
    assert group["code"] == 3015


def test_a_run_may_take_as_long_as_its_level_says(caller: Caller) -> None:
    answer = caller.do_eval("wait", {"service": "HIGH"})
    assert answer.status_code == 504
    assert answer.json()["errorCode"] == 5003
    assert answer.json()["errorMessage"].endswith("after 3 s, the limit of this call")
    job = ended(caller, submit(caller, "do-eval", "wait", service="HIGH", timeout=1800))
    assert job["state"] == "timed_out"
    assert caller.do_eval("wait", {"service": "MEDIUM"}).json() == {"result": 0}


def test_it_is_said_what_holds(tight: Server) -> None:
    with tight.client() as client:
        isolation = client.get("/health").json()["isolation"]
    limits = isolation["limits"]
    assert {name: level["memory_mib"] for name, level in limits.items()} == {
        "LOW": 192, "MEDIUM": 1024, "HIGH": 1024, "TP": 1024, "TPURGENT": 1024,
    }  # fmt: skip
    doctor = json.loads(run_fanfold("doctor", "--json", "--data", str(tight.data)).stdout)
    groups = doctor["cgroup"]
    assert groups["controllers"] == isolation["cgroup"]
    assert groups["works"] == ("memory" in isolation["cgroup"])
    if not groups["works"]:
        assert any(groups["why_not"] in text for text in isolation["missing"])


def test_groups_that_are_required_and_missing_are_told_before_the_start(tight: Server) -> None:
    variables = {"FANFOLD_CGROUP": "required"}
    done = run_fanfold("doctor", "--json", "--data", str(tight.data), variables={})
    if json.loads(done.stdout)["cgroup"]["works"]:
        said = run_fanfold("doctor", "--data", str(tight.data), variables=variables).stdout
        assert "cgroup    works: " in said
    else:
        options = ("doctor", "--data", str(tight.data))
        refused = run_fanfold(*options, variables=variables, is_expected_to_fail=True)
        assert "no control group can be made" in refused.stdout
