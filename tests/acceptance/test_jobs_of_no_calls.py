"""Jobs over no rows: every view of them tells what the synchronous answer does, no calls at all."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fanfold import Client
from fanfold.errors import NotTabular
from tests.acceptance.conftest import FANFOLD, PASSWORD, Caller, Server, StartServer
from tests.acceptance.job_calls import JOBS, ended, events, id_of, submit
from tests.acceptance.processes import until
from tests.acceptance.test_data_runs import load
from tests.acceptance.test_progress import terminal
from tests.fakes.receiver import receiving

SIZE = "def n_size(dat):\n    print('called')\n    return len(dat)\n"
DRAW = """\
def n_draw(dat):
    import matplotlib.pyplot as plt
    plt.plot([1, 2])
    return 1
"""
NOTHING = "select * from N_ROWS where 1 = 0"
VERBS: list[tuple[str, dict[str, Any]]] = [
    ("row-apply", {"rows": 2}),
    ("row-apply", {"rows": 2, "parallelFlag": True, "onError": "continue", "maxFailures": 1}),
    ("group-apply", {"groupBy": "K"}),
    ("group-apply", {"groupBy": "K", "canary": True, "seed": 7}),
]


@pytest.fixture(scope="module")
def ada(alice: Caller) -> Caller:
    load(alice, "N_ROWS", ["K,V", "a,1", "b,2"])
    alice.store("n_size", SIZE)
    alice.store("n_draw", DRAW)
    return alice


@pytest.fixture(params=VERBS, ids=str)
def job(ada: Caller, request: pytest.FixtureRequest) -> str:
    """A job over no rows; gives its address."""
    verb, body = request.param
    location = submit(ada, verb, "n_size", input=NOTHING, **body)
    assert ada.get(f"{JOBS}/{id_of(location)}").json()["state"] == "succeeded", "at once"
    return f"{JOBS}/{id_of(location)}"


def test_its_status_counts_nothing(ada: Caller, job: str) -> None:
    told = ada.get(job).json()
    counts = {name: told[name] for name in ("times", "returned", "failed", "taken", "waiting")}
    assert counts == dict.fromkeys(counts, 0)
    assert told["started"] is not None
    assert told["finished"] is not None
    assert (told["eta"], told["ratePerS"], told["error"], told["degree"]) == (None, None, None, 1)


def test_its_events_are_one_end(ada: Caller, job: str) -> None:
    ((last, name, told),) = events(ada, id_of(job))
    assert (name, told["times"], told["returned"], told["state"]) == ("end", 0, 0, "succeeded")
    seen = ada.get(f"{job}/events", headers={"Last-Event-ID": last})
    assert seen.status_code == 204


@pytest.mark.parametrize("state", [None, "waiting", "returned", "failed"])
def test_it_has_no_outcomes(ada: Caller, job: str, state: str | None) -> None:
    asked = {} if state is None else {"state": state}
    assert ada.get(f"{job}/outcomes", params=asked).json() == {"outcomes": [], "next": None}
    assert ada.get(f"{job}/errors").json() == {"errors": []}
    assert ada.get(f"{job}/images").json() == {"images": [], "next": None}


@pytest.mark.parametrize("follow", [False, True])
def test_its_results_hold_no_call_in_any_format(ada: Caller, job: str, follow: bool) -> None:
    def results(form: str) -> bytes:
        asked = {"follow": follow}
        answer = ada.get(f"{job}/results", headers={"Accept": form}, params=asked)
        assert answer.status_code == 200, answer.text
        return answer.content

    assert results("application/x-ndjson") == b""
    assert results("text/csv") == b"index\r\n"
    arrow = pa.ipc.open_stream(results("application/vnd.apache.arrow.stream")).read_all()
    parquet = pq.read_table(io.BytesIO(results("application/vnd.apache.parquet")))
    group = ["group"] if ada.get(job).json()["verb"] == "group-apply" else []
    for table in (arrow, parquet):
        assert (table.num_rows, table.column_names) == (0, ["index", *group])
    assert json.loads(results("application/json")) == {"result": {} if group else []}
    assert ada.get(f"{job}/summary").json()["count"] == 0


def test_it_is_resumed_to_the_same(ada: Caller, job: str) -> None:
    answer = ada.post(f"{job}/resume")
    assert answer.status_code == 201, answer.text
    resumed = answer.json()
    assert (resumed["state"], resumed["times"], resumed["returned"]) == ("succeeded", 0, 0)
    both = [
        ada.get(f"/oml/api/py-scripts/v1/jobs/{its}/result") for its in (id_of(job), resumed["id"])
    ]
    assert both[0].json() == both[1].json()


@pytest.mark.parametrize(
    ("verb", "body"), [("row-apply", {"rows": 1}), ("group-apply", {"groupBy": "K"})]
)
def test_what_draws_has_no_figures(ada: Caller, verb: str, body: dict[str, Any]) -> None:
    location = submit(ada, verb, "n_draw", input=NOTHING, graphicsFlag=True, **body)
    ended(ada, location)
    job = f"{JOBS}/{id_of(location)}"
    assert ada.get(f"{job}/images").json()["images"] == []
    assert ada.get(f"{job}/outcomes").json()["outcomes"] == []
    assert ada.get(f"{location}/result").json() == {"result": {}}


def test_it_becomes_no_table(ada: Caller) -> None:
    location = submit(ada, "row-apply", "n_size", input=NOTHING, rows=2, resultTable="N_NONE")
    job = f"{JOBS}/{id_of(location)}"
    until(lambda: ada.get(job).json()["resultTable"]["state"] != "waiting", 30, "it is settled")
    said = ada.get(job).json()["resultTable"]
    assert said["state"] == "failed"
    assert "no rows" in said["error"]["errorMessage"]


def test_the_client_gives_nothing(ada: Caller, server: Server) -> None:
    with Client(server.url, username=ada.name, password=PASSWORD) as client:
        jobs = client.background
        for job, result in (
            (jobs.row_apply(NOTHING, "n_size", rows=2), []),
            (jobs.group_apply(NOTHING, "K", "n_size"), {}),
        ):
            info = job.wait(120)
            assert (info.times, info.returned, info.failed) == (0, 0, 0)
            for calls in (job.results(), job.as_completed(), job.outcomes(), job.ended()):
                assert list(calls) == []
            assert job.result() == result
        job = jobs.using(result_table="N_NONE").row_apply(NOTHING, "n_size", rows=2)
        with pytest.raises(NotTabular, match="no rows"):
            job.result(30)


def test_the_command_line_writes_nothing(ada: Caller, server: Server, tmp_path: Path) -> None:
    """Also where it shows a bar, which has nothing to measure."""
    data = ("run", "n_size", "--data", NOTHING, "--rows", "2")
    with terminal(server, tmp_path, FANFOLD, *data, "--follow") as shell:
        assert shell.end() == 0
        found = re.search(r"job ([0-9a-f-]{36})", shell.text)
        assert found is not None
    for command, shown in (
        (("job", "watch"), "0 of 0 calls"),
        (("job", "show"), "0 of 0 calls"),
        (("job", "logs"), ""),
        (("job", "result"), ""),
    ):
        with terminal(server, tmp_path, FANFOLD, *command, found[1]) as shell:
            assert shell.end() == 0
            assert shown in shell.text
            assert "called" not in shell.text
    assert ada.get(f"{JOBS}/{found[1]}").json()["times"] == 0


def test_its_end_is_told_at_once(start_server: StartServer) -> None:
    with receiving() as receiver:
        server = start_server("--callback-hosts", receiver.host, users={"eve": "developer"})
        with server.caller("eve") as eve:
            load(eve, "N_ROWS", ["K,V", "a,1"])
            eve.store("n_size", SIZE)
            submit(eve, "row-apply", "n_size", input=NOTHING, rows=1, callbackUrl=receiver.url)
            until(lambda: receiver.received, 30, "its end is told")
    data = json.loads(receiver.received[0].body)["data"]
    assert (data["state"], data["times"], data["returned"], data["failed"]) == (
        "succeeded", 0, 0, 0,
    )  # fmt: skip
