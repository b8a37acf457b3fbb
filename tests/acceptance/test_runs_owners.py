"""Between owners: a process that has served one account's run never serves another's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.acceptance.conftest import Caller

MARKS = """
def marks(i=0, who=""):
    import builtins, os, sys

    seen = [getattr(builtins, "fanfold_mark", None), getattr(sys, "fanfold_mark", None),
            os.environ.get("FANFOLD_MARK"), *os.listdir(".")]
    builtins.fanfold_mark = sys.fanfold_mark = os.environ["FANFOLD_MARK"] = who
    open(who, "w").close()
    space = os.readlink("/proc/self/ns/pid")  # two may have a process of the same number
    return {"pid": [space, os.getpid()], "parent": [space, os.getppid()], "uid": os.getuid(),
            "home": os.getcwd(),
            "seen": sorted({mark for mark in seen if mark})}
"""


@pytest.fixture(scope="module")
def marks(alice: Caller, admin: Caller) -> str:
    alice.store("marks", MARKS)
    assert alice.put("/api/v1/scripts/marks/grants/bob").is_success
    assert alice.put("/api/v1/scripts/marks/grants/admin").is_success
    admin.store("global_marks", MARKS, **{"global": True})
    return "marks"


def _mark(caller: Caller, script: str, times: int = 1, **members: object) -> list[dict[str, Any]]:
    body = {"times": times, "parameters": json.dumps({"who": caller.name}), **members}
    answer = caller.index_apply(script, body)
    assert answer.status_code == 200, answer.text
    result: list[dict[str, Any]] = answer.json()["result"]
    return [{**v, "pid": tuple(v["pid"]), "parent": tuple(v["parent"])} for v in result]


def test_anothers_script_runs_in_processes_that_never_served_a_run(
    alice: Caller, bob: Caller, admin: Caller, marks: str
) -> None:
    """Whatever the owner's or another caller's runs left in a process is not to be seen."""
    pids: dict[str, set[tuple[str, int]]] = {"alice": set(), "bob": set(), "admin": set()}
    for _ in range(6):
        pids["alice"] |= {v["pid"] for v in _mark(alice, marks)}
        for name, caller in (("bob", bob), ("admin", admin)):
            (value,) = _mark(caller, f"{marks}/alice")
            assert value["seen"] == [], name
            assert value["pid"] not in pids["alice"] | pids["bob"] | pids["admin"]
            pids[name].add(value["pid"])
    assert not pids["alice"] & (pids["bob"] | pids["admin"])


def test_the_owner_sees_nothing_of_what_others_runs_left(
    alice: Caller, bob: Caller, marks: str
) -> None:
    for _ in range(4):
        _mark(bob, f"{marks}/alice", 3)
        assert set(_mark(alice, marks)[0]["seen"]) <= {"alice"}


def test_a_run_of_anothers_script_has_its_processes_to_itself(bob: Caller, marks: str) -> None:
    """Within the one run calls may share a process, and so see what the call before left."""
    runs = [_mark(bob, f"{marks}/alice", 8, parallel=2) for _ in range(3)]
    pids = [{value["pid"] for value in run} for run in runs]
    assert not pids[0] & pids[1]
    assert not pids[1] & pids[2]
    for run in runs:
        first_of_each = {value["pid"]: value for value in reversed(run)}
        assert all(v["seen"] == [] for v in first_of_each.values())


def test_two_owners_have_neither_process_nor_parent_nor_user_in_common(
    alice: Caller, bob: Caller, marks: str
) -> None:
    bob.store("marks", MARKS)
    ours, theirs = _mark(alice, marks, 6, parallel=2), _mark(bob, "marks", 6, parallel=2)
    for name in ("pid", "parent", "home"):
        assert not {v[name] for v in ours} & {v[name] for v in theirs}
    if 0 not in {v["uid"] for v in ours + theirs}:
        uids = [{v["uid"] for v in values} for values in (ours, theirs)]
        assert not uids[0] & uids[1]


def test_global_scripts_run_in_fresh_processes_for_everyone(
    alice: Caller, bob: Caller, marks: str
) -> None:
    """Nobody's own: not even the account that stored it has warm processes of it."""
    assert marks
    pids = []
    for caller in (alice, bob, alice):
        (value,) = _mark(caller, "global_marks")
        assert value["seen"] == []
        pids.append(value["pid"])
    assert len(set(pids)) == 3


def test_ones_own_scripts_run_warm_and_start_as_if_fresh(alice: Caller) -> None:
    """The reuse that makes calls quick: the same process, with everything put back."""
    source = """
def starts_fresh():
    import os, random, sys, warnings
    before = [os.environ.get("LEFT"), os.getcwd() == os.environ["HOME"], "left" in globals(),
              warnings.filters[0][0] == "error", sys.getrecursionlimit() == 77777]
    os.environ["LEFT"] = "1"; os.chdir("/"); globals()["left"] = 1
    warnings.simplefilter("error"); sys.setrecursionlimit(77777)
    return [os.getpid(), before]
"""
    alice.store("starts_fresh", source)
    results = [alice.do_eval("starts_fresh").json()["result"] for _ in range(5)]
    assert [before for _, before in results] == [[None, True, False, False, False]] * 5
    assert len({pid for pid, _ in results}) < 5


def test_a_dropped_grant_ends_the_access_at_once(alice: Caller, bob: Caller) -> None:
    alice.store("lent", "def lent():\n    return 1\n")
    assert alice.put("/api/v1/scripts/lent/grants/bob").is_success
    assert bob.do_eval("lent/alice").json() == {"result": 1}
    assert alice.delete("/api/v1/scripts/lent/grants/bob").is_success
    answer = bob.do_eval("lent/alice")
    assert (answer.status_code, answer.json()["errorCode"]) == (404, 2010)


def test_a_new_version_is_what_the_next_run_runs(alice: Caller, bob: Caller) -> None:
    alice.store("moving", "def moving():\n    return 0\n")
    assert alice.put("/api/v1/scripts/moving/grants/*").is_success
    for number in range(1, 6):
        alice.store("moving", f"def moving():\n    return {number}\n")
        for caller, path in ((alice, "moving"), (bob, "moving/alice")):
            answer = caller.do_eval(path)
            assert json.loads(answer.content) == {"result": number}
            assert answer.headers["fanfold-script-version"] == str(number + 1)
