"""Jobs that end when their mean is known well enough, on a real server."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from tests.acceptance.chaos import FAULTS, Cluster, Tally, disturbed
from tests.acceptance.conftest import Caller
from tests.acceptance.job_calls import JOBS, RUNS, ended, submit

NOISE = "def noise(i, rng):\n    return float(rng.normal())\n"
STOP = {"se": 0.1, "minCalls": 40}
TIMES = 2000


@pytest.fixture(scope="module")
def noise(alice: Caller) -> str:
    alice.store("stop_noise", NOISE.replace("noise", "stop_noise"))
    return "stop_noise"


def _stopped(alice: Caller, script: str, **members: Any) -> tuple[dict[str, Any], bytes]:
    """Run a job to its end; gives it, and its result on the compatible surface."""
    body = {"times": TIMES, "seed": 7, "stopWhen": STOP, **members}
    location = submit(alice, "index-apply", script, "v2", **body)
    job = ended(alice, location)
    result = alice.get(f"{location}/result")
    assert result.status_code == 200
    return job, result.content


def test_the_number_of_results_does_not_depend_on_the_degree(alice: Caller, noise: str) -> None:
    plain = {"parallelFlag": False, "service": "LOW"}
    job, result = _stopped(alice, noise, **plain)
    end = job["times"]
    assert 40 < end < TIMES
    assert job["state"] == "succeeded"
    assert job["stopped"] == {"at": end, "asked": TIMES}
    assert job["stopWhen"] == {**STOP, "relativeSe": None, "member": None}
    assert (job["returned"], job["failed"], job["waiting"]) == (end, 0, 0)
    for parallel, service in ((2, "LOW"), (4, "MEDIUM"), (8, "HIGH"), (8, "TPURGENT")):
        members = {"parallelFlag": True, "parallel": parallel, "service": service}
        again, same = _stopped(alice, noise, **members)
        assert (again["times"], same) == (end, result)
    # They are the first of what a job without the condition has.
    body = {"times": end, "seed": 7}
    whole = alice.index_apply(noise, body)
    assert whole.content == result
    summary = alice.get(f"{JOBS}/{job['id']}/summary").json()
    assert summary["count"] == end
    assert summary["standardError"] <= STOP["se"]
    lines = alice.get(f"{JOBS}/{job['id']}/results").text.splitlines()
    assert [orjson.loads(line)["index"] for line in lines] == list(range(1, end + 1))
    assert orjson.loads(result)["result"] == [orjson.loads(line)["value"] for line in lines]


def test_it_can_be_extended_and_resumed(alice: Caller, noise: str) -> None:
    job, result = _stopped(alice, noise)
    base = f"{JOBS}/{job['id']}"
    again = alice.post(f"{base}/resume")
    assert again.status_code == 201
    assert again.json()["stopped"] == job["stopped"]
    path = f"{RUNS}/v2/jobs/{again.json()['id']}"
    assert alice.get(f"{path}/result").content == result
    body = {"times": TIMES, "stopWhen": {"se": 0.05}}
    longer = alice.post(f"{base}/extend", json=body)
    assert longer.status_code == 201
    finer = ended(alice, f"{RUNS}/v2/jobs/{longer.json()['id']}")
    fresh, _ = _stopped(alice, noise, stopWhen={"se": 0.05})
    assert finer["stopped"] == fresh["stopped"]
    assert finer["taken"] == job["times"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, '"se" or "relativeSe"'),
        ({"se": 0}, "greater than 0"),
        ({"se": "0.1"}, "valid number"),
        ({"relativeSe": -1}, "greater than 0"),
        ({"se": 0.1, "minCalls": 1}, "greater than or equal to 2"),
        ({"se": 0.1, "stddev": 1}, "does not exist"),
        (0.1, "object"),
    ],
)
def test_a_condition_that_says_nothing_is_refused(
    alice: Caller, noise: str, given: object, words: str
) -> None:
    body = {"times": 10, "asyncFlag": True, "stopWhen": given}
    answer = alice.post(f"{RUNS}/v1/index-apply/{noise}", json=body)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 2002), answer.text
    assert "stopWhen" in answer.json()["errorMessage"]
    assert words in answer.json()["errorMessage"]


def test_a_run_that_is_waited_for_does_not_end_early(alice: Caller, noise: str) -> None:
    answer = alice.index_apply(noise, {"times": 60, "stopWhen": {"se": 10}})
    assert len(answer.json()["result"]) == 60


@pytest.mark.timeout(600)
def test_whatever_is_killed_the_end_is_the_same(tmp_path: Path) -> None:
    source = (
        "import random, time\ndef slow(i):\n    time.sleep(0.004)\n    return random.random()\n"
    )
    body = {
        "times": 4000, "seed": 3, "stopWhen": {"se": 0.011}, "parallelFlag": True,
        "service": "MEDIUM",
    }  # fmt: skip
    pick, tally = Random(5), Tally()
    with Cluster(tmp_path) as cluster:
        cluster.request("PUT", "/api/v1/scripts/slow", json={"source": source})
        calm = cluster.result(cluster.submit("slow", body))
        assert 30 < len(orjson.loads(calm)["result"]) < 4000
        jobs = []
        with disturbed(cluster, pick, tally, FAULTS):
            jobs = [cluster.submit("slow", body) for _ in range(3)]
        for job in jobs:
            assert cluster.result(job) == calm
            assert cluster.job(job)["state"] == "succeeded"
