"""Jobs over rows: the same answers as synchronous runs, byte for byte, with the rows kept."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from fanfold import Client
from tests.acceptance.conftest import Caller
from tests.acceptance.job_calls import JOBS, RUNS, ended, id_of, submit, submitted
from tests.acceptance.test_data_runs import (
    DRAW,
    FRAME,
    GROUP_COUNT,
    KIND,
    MY_PREDICT,
    iris,
    load,
)

PICKY = """\
def picky(dat):
    return [dat["SPECIES"][0], 1 / (dat["SPECIES"][0] != "versicolor")]
"""


@pytest.fixture(scope="module")
def ada(alice: Caller) -> Caller:
    """Alice, with DF and scripts of this file's own."""
    lines = ["SEPAL_LENGTH,SEPAL_WIDTH,PETAL_LENGTH,PETAL_WIDTH,SPECIES"]
    load(alice, "DF", lines + [",".join(map(str, row)) for row in iris()])
    for name, source in {
        "j_predict": MY_PREDICT,
        "j_count": GROUP_COUNT,
        "j_kind": KIND,
        "j_draw": DRAW,
        "j_picky": PICKY,
    }.items():
        alice.store(name, source)
    return alice


def both(caller: Caller, verb: str, script: str, **body: Any) -> tuple[httpx2.Response, Any]:
    """Run synchronously and as a job; gives both answers."""
    sync = caller.post(f"{RUNS}/v1/{verb}/{script}", json=body)
    location = submit(caller, verb, script, **body)
    ended(caller, location)
    return sync, caller.get(f"{location}/result")


ASKED: list[tuple[str, str, dict[str, Any]]] = [
    ("table-apply", "j_predict", {}),
    ("row-apply", "j_predict", {"rows": 4, "parallelFlag": True}),
    ("row-apply", "j_kind", {"rows": 7}),
    ("group-apply", "j_count", {"groupBy": "Species", "parallelFlag": True}),
    ("group-apply", "j_count", {"groupBy": "SPECIES", "orderBy": "SEPAL_LENGTH"}),
    ("group-apply", "j_count", {"groupBy": "SPECIES", "seed": 3, "canary": True}),
    ("table-apply", "j_draw", {"graphicsFlag": True}),
    ("row-apply", "j_draw", {"graphicsFlag": True, "rows": 50}),
    ("group-apply", "j_draw", {"graphicsFlag": True, "groupBy": "SPECIES"}),
    ("group-apply", "j_picky", {"groupBy": "SPECIES"}),
    ("group-apply", "j_picky", {"groupBy": "SPECIES", "onError": "continue"}),
    ("row-apply", "j_picky", {"rows": 50, "onError": "continue"}),
    ("group-apply", "j_picky", {"graphicsFlag": True, "groupBy": "SPECIES", "onError": "continue"}),
]


@pytest.mark.parametrize(("verb", "script", "body"), ASKED, ids=lambda v: str(v)[:40])
def test_a_job_answers_as_a_synchronous_run(
    ada: Caller, verb: str, script: str, body: dict[str, Any]
) -> None:
    sync, job = both(ada, verb, script, input="select * from DF", parameters=FRAME, **body)
    assert job.status_code == sync.status_code
    assert job.json() == sync.json()


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("table-apply", {}),
        ("row-apply", {"rows": 5}),
        ("group-apply", {"groupBy": "SPECIES"}),
        ("row-apply", {"rows": 5, "graphicsFlag": True}),
        ("group-apply", {"groupBy": "SPECIES", "graphicsFlag": True}),
    ],
)
def test_a_job_over_no_rows_has_an_answer(ada: Caller, verb: str, body: dict[str, Any]) -> None:
    nothing = "select * from DF where 1 = 0"
    sync, job = both(ada, verb, "j_kind", input=nothing, parameters=FRAME, **body)
    assert (sync.status_code, job.status_code) == (200, 200)
    assert job.json() == sync.json()


def test_w17_the_slip_of_the_printed_example_is_accepted(ada: Caller) -> None:
    location = submit(
        ada,
        "group-apply",
        "j_count",
        input="select * from DF",
        parameter=FRAME,
        groupBy="Species",
        orderBy="Sepal_Length",
        parallelFlag=True,
    )
    assert ended(ada, location)["state"] == "succeeded"


def test_a_wrong_query_is_refused_when_it_is_submitted(ada: Caller) -> None:
    """Not by a job that fails later."""
    body = {"input": "select * from NOWHERE", "asyncFlag": True}
    answer = ada.post(f"{RUNS}/v1/table-apply/j_kind", json=body)
    assert answer.json()["errorCode"] == 2041


def test_a_job_has_the_rows_of_its_submission(ada: Caller) -> None:
    """The table may change or go before the last part runs."""
    load(ada, "SHORT", ["a", "1", "2"])
    ada.store("waits", "def waits(dat):\n    import time\n    time.sleep(1)\n    return len(dat)\n")
    location = submit(ada, "row-apply", "waits", input="SHORT", rows=1)
    load(ada, "SHORT", ["a", "1"])
    ended(ada, location)
    assert ada.get(f"{location}/result").json() == {"result": [1, 1]}


def test_a_resumed_job_runs_what_failed_on_the_same_rows(ada: Caller) -> None:
    ada.store("j_mended", PICKY)
    location = submit(
        ada, "group-apply", "j_mended", input="DF", groupBy="SPECIES", onError="continue"
    )
    assert ended(ada, location)["state"] == "partly_failed"
    ada.store("j_mended", 'def mended(dat):\n    return [dat["SPECIES"][0], 2]\n')
    refused = ada.post(f"{JOBS}/{id_of(location)}/resume", json={"scriptVersion": 1})
    assert refused.status_code == 400, "what would be asked for in vain is refused"
    answer = ada.post(f"{JOBS}/{id_of(location)}/resume", json={})
    assert answer.status_code == 201, answer.text
    resumed = answer.headers["location"]
    ended(ada, resumed)
    again = ada.get(f"{RUNS}/v1/jobs/{id_of(resumed)}/result")
    assert again.json() == {
        "result": {"setosa": ["setosa", 1], "versicolor": ["versicolor", 2],
                   "virginica": ["virginica", 1]}
    }  # fmt: skip


def test_a_key_makes_one_job_of_two_requests(ada: Caller) -> None:
    headers = {"Idempotency-Key": "rows-1"}
    body: dict[str, Any] = {"input": "DF", "rows": 50}
    first = submitted(ada, "row-apply", "j_kind", headers=headers, **body)
    second = submitted(ada, "row-apply", "j_kind", headers=headers, **body)
    assert first.headers["location"] == second.headers["location"]
    ended(ada, first.headers["location"])
    assert len(ada.get(f"{first.headers['location']}/result").json()["result"]) == 3
    for other in ({**body, "rows": 40}, {**body, "input": "select * from DF"}):
        answer = ada.post(
            "/oml/api/py-scripts/v1/row-apply/j_kind",
            json={"asyncFlag": True, **other},
            headers=headers,
        )
        assert (answer.status_code, answer.json()["errorCode"]) == (409, 2028)


def test_figures_of_groups_say_whose_they_are(ada: Caller) -> None:
    """A job's figures are looked at by themselves: "2-1" would tell nobody which species it is."""
    body: dict[str, Any] = {"input": "DF", "groupBy": "SPECIES", "graphicsFlag": True}
    location = submit(ada, "group-apply", "j_draw", **body)
    ended(ada, location)
    images = ada.get(f"{JOBS}/{id_of(location)}/images").json()["images"]
    assert {image["group"] for image in images} == {"setosa", "versicolor", "virginica"}
    page = ada.get(f"{JOBS}/{id_of(location)}/images", headers={"Accept": "text/html"}).text
    assert "<figcaption>1-1 setosa" in page
    with Client(str(ada.base_url), token=ada.token) as client:
        drawn = client.job(id_of(location)).images()
        assert next(iter(drawn)).filename == "setosa-1.png"
