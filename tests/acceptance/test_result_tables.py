"""A job's result, written as a table of its owner: over real HTTP, exactly once, whoever dies."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Caller, Server, StartServer
from tests.acceptance.job_calls import JOBS, RUNS, ended, id_of, submit
from tests.acceptance.test_data_runs import FRAME, load

LIMIT_S = 150
TABLES = "/api/v1/tables"
SCRIPTS = {
    "rt_pair": "def f(i):\n    return {'A': i, 'B': f'n{i}', 'C': None if i == 2 else i / 2}\n",
    "rt_square": "def f(i):\n    return i * i\n",
    "rt_many": "def f(i):\n    return [{'X': i, 'Y': True}] * i\n",
    "rt_some": "def f(i):\n    return {'A': 1 / (i - 2)}\n",
    "rt_nested": "def f(i):\n    return {'A': 1, 'B': [1] if i == 3 else 1}\n",
    "rt_mixed": "def f(i):\n    return {'A': 'text' if i == 4 else i}\n",
    "rt_empty": "def f(i):\n    return []\n",
    "rt_fails": "def f(i):\n    raise ValueError\n",
    "rt_frame": "def f(dat):\n    dat['D'] = dat['N'] * 2\n    return dat\n",
    "rt_once": "def f():\n    return [{'A': 1}, {'A': 2, 'B': 'x'}]\n",
}


@pytest.fixture(scope="module")
def ada(alice: Caller) -> Caller:
    for name, source in SCRIPTS.items():
        alice.store(name, source)
    load(alice, "RT_ROWS", ["N,K", *(f"{n},{'ab'[n % 2]}" for n in range(10))])
    return alice


def settled(caller: Caller, location: str) -> dict[str, Any]:
    """Wait until a job has ended and its table is written or refused, as the wire tells it."""
    until = time.monotonic() + LIMIT_S
    while caller.get(location).status_code == 202:
        assert time.monotonic() < until, "the job does not settle"
        time.sleep(0.02)
    told: dict[str, Any] = caller.get(f"{JOBS}/{id_of(location)}").json()
    return told


def rows(caller: Caller, name: str) -> Any:
    answer = caller.get(f"{TABLES}/{name}/preview", params={"rows": 1000})
    assert answer.status_code == 200, answer.text
    return answer.json()


def drop(caller: Caller, name: str) -> None:
    assert caller.delete(f"{TABLES}/{name}").status_code in {204, 404}


@pytest.mark.parametrize(
    ("verb", "script", "body", "expected"),
    [
        (
            "index-apply",
            "rt_pair",
            {"times": 3},
            [
                {"INDEX": 1, "A": 1, "B": "n1", "C": 0.5},
                {"INDEX": 2, "A": 2, "B": "n2", "C": None},
                {"INDEX": 3, "A": 3, "B": "n3", "C": 1.5},
            ],
        ),
        ("index-apply", "rt_square", {"times": 2}, [{"INDEX": 1, "VALUE": 1},
                                                    {"INDEX": 2, "VALUE": 4}]),
        ("index-apply", "rt_many", {"times": 2}, [{"INDEX": 1, "X": 1, "Y": True}]
         + [{"INDEX": 2, "X": 2, "Y": True}] * 2),
        (
            "index-apply",
            "rt_some",
            {"times": 3, "onError": "continue"},
            [{"INDEX": 1, "A": -1}, {"INDEX": 3, "A": 1}],
        ),
        ("do-eval", "rt_once", {}, [{"A": 1, "B": None}, {"A": 2, "B": "x"}]),
        (
            "row-apply",
            "rt_frame",
            {"input": "select N from RT_ROWS order by N", "rows": 3, "parameters": FRAME},
            [{"N": n, "D": 2 * n} for n in range(10)],
        ),
        (
            "group-apply",
            "rt_frame",
            {"input": "select N, K from RT_ROWS where N < 3", "groupBy": "K", "parameters": FRAME},
            [{"NAME": "a", "N": 0, "K": "a", "D": 0}, {"NAME": "a", "N": 2, "K": "a", "D": 4},
             {"NAME": "b", "N": 1, "K": "b", "D": 2}],
        ),
    ],
)  # fmt: skip
def test_a_result_becomes_a_table(
    ada: Caller, verb: str, script: str, body: dict[str, Any], expected: list[dict[str, Any]]
) -> None:
    drop(ada, "RT_MADE")
    location = submit(ada, verb, script, resultTable="RT_MADE", **body)
    told = settled(ada, location)
    assert told["resultTable"] == {"name": "RT_MADE", "state": "written", "error": None}
    made = rows(ada, "RT_MADE")
    assert sorted(made, key=str) == sorted(expected, key=str)
    assert ada.get(f"{location}/result").status_code == 200


def test_a_table_can_be_queried_as_soon_as_the_job_has_ended(ada: Caller) -> None:
    """A client that polls as documented never meets a table that is not there yet."""
    for number in range(5):
        drop(ada, "RT_SOON")
        location = submit(ada, "index-apply", "rt_square", times=3, resultTable="RT_SOON")
        settled(ada, location)
        assert len(rows(ada, "RT_SOON")) == 3, number


def test_a_name_that_is_taken_is_refused_at_once(ada: Caller) -> None:
    load(ada, "RT_TAKEN", ["A", "7"])
    body = {"times": 2, "asyncFlag": True, "resultTable": "rt_taken"}
    answer = ada.index_apply("rt_square", body)
    assert answer.status_code == 409
    assert answer.json()["errorCode"] == 2064
    assert rows(ada, "RT_TAKEN") == [{"A": 7}]
    table = {"name": "RT_TAKEN", "overwrite": True}
    settled(ada, submit(ada, "index-apply", "rt_square", times=1, resultTable=table))
    assert rows(ada, "RT_TAKEN") == [{"INDEX": 1, "VALUE": 1}]


def test_a_name_that_is_taken_meanwhile_is_an_error_of_the_job(ada: Caller, server: Server) -> None:
    drop(ada, "RT_RACE")
    gate = server.shared / "rt_race"
    waits = f"while not os.path.exists({str(gate)!r}):\n        time.sleep(0.01)"
    ada.store("rt_slow", f"import os, time\ndef f(i):\n    {waits}\n    return i\n")
    location = submit(ada, "index-apply", "rt_slow", times=1, resultTable="RT_RACE")
    load(ada, "RT_RACE", ["A", "7"])
    gate.touch()
    told = settled(ada, location)
    assert told["resultTable"]["state"] == "failed"
    assert rows(ada, "RT_RACE") == [{"A": 7}]
    answer = ada.get(f"{location}/result")
    assert answer.status_code == 400
    assert answer.json()["errorCode"] == 2064


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("rt_nested", 'index 3 has a list in the column "B"'),
        ("rt_mixed", 'in the column "A", index 4 has text and index 1 has a number'),
        ("rt_empty", "it has no rows"),
    ],
)
def test_what_is_no_table_names_the_call_and_the_column(
    ada: Caller, script: str, said: str
) -> None:
    drop(ada, "RT_NONE")
    location = submit(ada, "index-apply", script, times=5, resultTable="RT_NONE")
    told = settled(ada, location)
    assert told["state"] == "succeeded"
    assert told["resultTable"]["state"] == "failed"
    assert said in told["resultTable"]["error"]["errorMessage"]
    answer = ada.get(f"{location}/result")
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 2065)
    assert ada.get(f"{JOBS}/{id_of(location)}/results").status_code == 200
    assert ada.get(f"{TABLES}/RT_NONE").status_code == 404


def test_a_job_without_a_result_makes_no_table(ada: Caller) -> None:
    drop(ada, "RT_NONE")
    location = submit(ada, "index-apply", "rt_fails", times=2, resultTable="RT_NONE")
    told = settled(ada, location)
    assert told["resultTable"] == {"name": "RT_NONE", "state": None, "error": None}
    assert ada.get(f"{TABLES}/RT_NONE").status_code == 404


@pytest.mark.parametrize(
    "member",
    ["", "a b", "1a", {"overwrite": True}, {"name": "A", "also": 1}, {"name": 1}, 7,
     {"name": "A", "overwrite": "yes"}, "x" * 129],
)  # fmt: skip
def test_a_name_that_cannot_be_is_refused(ada: Caller, member: object) -> None:
    body = {"times": 1, "asyncFlag": True, "resultTable": member}
    answer = ada.index_apply("rt_square", body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["errorCode"] == 2002


def test_it_goes_with_jobs_alone(ada: Caller) -> None:
    for body in (
        {"resultTable": "A"},
        {"resultTable": "A", "asyncFlag": True, "graphicsFlag": True},
    ):
        answer = ada.index_apply("rt_square", {"times": 1, **body})
        assert answer.status_code == 400
        assert '"resultTable" goes with "asyncFlag"' in answer.json()["errorMessage"]


def test_without_it_nothing_is_told_of_it_on_the_compatible_wire(ada: Caller) -> None:
    location = submit(ada, "index-apply", "rt_square", times=1)
    ended(ada, location)
    listed = ada.get(f"{RUNS}/v2/jobs").json()["result"][0]
    assert set(listed) == {"createdDate", "job_id", "status", "elapsedTime", "comments"}


def test_a_table_is_written_once_whoever_is_killed(start_server: StartServer) -> None:
    """The server, again and again, while results wait to become tables."""
    server = start_server("--lease-s", "1", users={"ann": "developer"})
    data = server.data
    with server.caller("ann") as ann:
        for name in ("rt_square", "rt_pair"):
            ann.store(name, SCRIPTS[name])
        locations = [
            submit(ann, "index-apply", "rt_pair", times=200, resultTable=f"T{n}") for n in range(12)
        ]
    for _ in range(3):
        os.kill(server.pid, signal.SIGKILL)
        server.process.wait(120)
        server = again(start_server, data)
        time.sleep(0.3)
    with server.caller("ann") as ann:
        for number, location in enumerate(locations):
            path = f"{RUNS}/v1/jobs/{id_of(location)}"
            told = settled(ann, path)
            assert told["resultTable"]["state"] == "written", told
            assert len(rows(ann, f"T{number}")) == 200
        tables = ann.get(TABLES).json()["tables"]
        assert len(tables) == 12


def again(start_server: StartServer, data: Path) -> Server:
    """Start a server over the data of one that was killed."""
    return start_server("--lease-s", "1", "--data", str(data))


@pytest.mark.parametrize("verb", ["do-eval", "index-apply"])
def test_comments_of_a_function_are_the_jobs(ada: Caller, verb: str) -> None:
    source = (
        "def f(*_):\n    import oml\n    oml.output_comments('half done', 'a\\nb')\n    return 1\n"
    )
    ada.store("rt_comments", source)
    body = {"times": 3} if verb == "index-apply" else {}
    location = submit(ada, verb, "rt_comments", version="v2", comments="nightly", **body)
    ended(ada, location)
    listed = ada.get(f"{RUNS}/v2/jobs", params={"comments": "%half%"}).json()["result"][0]
    assert listed["job_id"] == id_of(location)
    assert listed["comments"] == "nightly\nhalf done\na\nb"
    waited = ada.post(f"{RUNS}/v1/{verb}/rt_comments", json=body)
    assert waited.status_code == 200, waited.text


def test_comments_are_bounded(ada: Caller) -> None:
    source = """\
def f(n, length):
    import oml
    oml.output_comments(*(str(i) * length for i in range(n)))
"""
    ada.store("rt_bounded", source)
    for n, length in ((101, 1), (3, 2000)):
        location = submit(ada, "do-eval", "rt_bounded", parameters={"n": n, "length": length})
        told = ended(ada, location)
        assert told["state"] == "failed"
        assert "they may have 100 and 4000" in told["error"]["errorMessage"]
        assert told["comments"] is None
