"""Servers that only answer, and agents that only run."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.acceptance.chaos import Cluster
from tests.acceptance.conftest import ENGINE, run_fanfold
from tests.acceptance.processes import until

SLOW = "import time\ndef slow(i):\n    time.sleep(8 if i == 1 else 0)\n    return i\n"
LONG_LEASE_S = 60


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("agents")
    with Cluster(folder, agents=1, lease_s=LONG_LEASE_S) as cluster:
        cluster.store_scripts()
        yield cluster


def test_a_call_that_is_waited_for_is_run_by_an_agent(cluster: Cluster) -> None:
    path = "/oml/api/py-scripts/v1/index-apply/squares"
    answer = cluster.request("POST", path, json={"times": 4})
    assert answer.status_code == 200
    assert answer.content == b'{"result":[1,4,9,16]}'


def test_it_fails_as_it_does_beside_an_engine(cluster: Cluster) -> None:
    body = {"times": 10}
    answer = cluster.request("POST", "/oml/api/py-scripts/v1/index-apply/thirds", json=body)
    assert answer.status_code == 400
    assert answer.json()["errorMessage"] == "ValueError: no 7"
    assert answer.json()["index"] == 7


def test_no_job_stays_of_a_call_that_was_waited_for(cluster: Cluster) -> None:
    cluster.request("POST", "/oml/api/py-scripts/v1/do-eval/once", json={})
    assert cluster.request("GET", "/api/v1/jobs").json()["jobs"] == []


def test_an_agent_that_is_told_to_stop_gives_its_work_to_the_next(cluster: Cluster) -> None:
    """At once, long before its lease would run out."""
    cluster.request("PUT", "/api/v1/scripts/slow", json={"source": SLOW})
    job = cluster.submit("slow", {"times": 2})
    until(lambda: cluster.job(job)["state"] == "running", 120, "the job runs")
    cluster.agents.append(cluster._start_agent())
    began = time.monotonic()
    cluster.agents.pop(0).stop()
    assert cluster.result(job) == b'{"result":[1,2]}'
    assert time.monotonic() - began < LONG_LEASE_S / 2


def test_health_says_that_the_server_itself_runs_nothing(cluster: Cluster) -> None:
    health = cluster.request("GET", "/health").json()
    assert health["ready"] is True
    assert health["agent"] is False


@pytest.fixture(scope="module")
def tables(cluster: Cluster) -> str:
    """An environment with pyarrow; gives its name."""
    run_fanfold("env", "register", "tables", str(ENGINE), "--data", str(cluster.data))
    return "tables"


@pytest.mark.parametrize(
    ("verb", "members", "result"),
    [
        ("table-apply", {}, 5),
        ("row-apply", {"rows": 2}, [2, 2, 1]),
        ("group-apply", {"groupBy": "k"}, {"x": 3, "y": 2}),
    ],
)
def test_an_agent_is_given_the_rows_of_a_call(
    cluster: Cluster, tables: str, verb: str, members: dict[str, object], result: object
) -> None:
    """The server has the data process and no engine, the agent an engine and no data process."""
    rows = b"k,v\nx,1\nx,2\nx,3\ny,4\ny,5\n"
    cluster.request("PUT", "/api/v1/tables/t?format=csv", content=rows)
    cluster.request("PUT", "/api/v1/scripts/many", json={"source": "def many(d): return len(d)"})
    body = {"input": "t", "envName": tables, **members}
    answer = cluster.request("POST", f"/oml/api/py-scripts/v1/{verb}/many", json=body)
    assert answer.json() == {"result": result}


def test_a_function_on_an_agent_asks_for_rows_where_they_are(cluster: Cluster, tables: str) -> None:
    """The agent has the data directory in which the table is, and a data process of its own."""
    cluster.request("PUT", "/api/v1/tables/asked?format=csv", content=b"k\n1\n2\n")
    source = (
        "def asks():\n    import oml\n    return oml.sync(table='ASKED').pull()['k'].tolist()\n"
    )
    cluster.request("PUT", "/api/v1/scripts/asks", json={"source": source})
    path = "/oml/api/py-scripts/v1/do-eval/asks"
    answer = cluster.request("POST", path, json={"envName": tables})
    assert answer.json() == {"result": [1, 2]}


def test_a_function_where_a_table_is_not_is_told_so(cluster: Cluster, tables: str) -> None:
    """As on another machine, which has the database and not the rows."""
    cluster.request("PUT", "/api/v1/tables/far?format=csv", content=b"k\n1\n")
    before = set((cluster.data / "tables").glob("*.duckdb"))
    cluster.request("PUT", "/api/v1/tables/far?format=csv", content=b"k\n1\n2\n")
    (kept,) = set((cluster.data / "tables").glob("*.duckdb")) - before
    kept.rename(kept.with_suffix(".elsewhere"))
    source = "def far():\n    import oml\n    return oml.sync(table='FAR').pull()['k'].tolist()\n"
    cluster.request("PUT", "/api/v1/scripts/far", json={"source": source})
    path = "/oml/api/py-scripts/v1/do-eval/far"
    answer = cluster.request("POST", path, json={"envName": tables})
    assert answer.status_code == 400
    assert '"ALICE.far" are not on this machine' in answer.json()["errorMessage"]
    assert answer.json()["errorType"] == "oml.Unavailable"
