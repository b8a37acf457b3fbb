"""Rows that a function asks for while it runs: `oml.sync`, with its caller's rights."""

from __future__ import annotations

import venv
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.conftest import Caller, Server, run_fanfold
from tests.acceptance.job_calls import RUNS, ended, submit
from tests.acceptance.processes import until
from tests.acceptance.test_data_runs import load
from tests.folders import reachable_folder

ASKS = """\
import oml
def asks(code):
    return eval(code)
"""
SELECT = "oml.sync(query={!r}).pull().to_dict('records')"
OTHERS = """\
def theirs():
    import oml
    return oml.sync(query="select max(N) as n from MINE").pull()["n"].tolist()
"""


@pytest.fixture(scope="module")
def ada(alice: Caller, bob: Caller) -> Caller:
    """Alice with a table of her own; Bob has a secret, and a table that he shares."""
    load(alice, "MINE", ["N,T,D", "1,a,2024-02-29", "2,,2024-03-01", "3,ü,"])
    load(bob, "SECRET", ["X", "42"])
    load(bob, "MINE", ["N", "77"])
    load(bob, "SHARED", ["X", "7", "8"])
    assert bob.put("/api/v1/tables/SHARED/grants/alice").status_code == 204
    for caller in (alice, bob):
        caller.store("oml_asks", ASKS)
    return alice


def asks(caller: Caller, code: str) -> Any:
    answer = caller.do_eval("oml_asks", {"parameters": {"code": code}})
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def refusal(caller: Caller, code: str) -> dict[str, Any]:
    answer = caller.do_eval("oml_asks", {"parameters": {"code": code}})
    assert answer.status_code == 400, answer.text
    told: dict[str, Any] = answer.json()
    return told


@pytest.mark.parametrize("table", ["MINE", "mine"])
def test_a_table_is_pulled_with_its_types(ada: Caller, table: str) -> None:
    told = "(lambda d: [list(d.columns), [str(t) for t in d.dtypes], d['T'].tolist()])"
    columns, types, texts = asks(ada, f"{told}(oml.sync(table={table!r}).pull())")
    assert columns == ["N", "T", "D"]
    assert types[0] == "int64"
    assert types[2].startswith("datetime64")
    assert texts == ["a", None, "ü"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("oml.sync(table='MINE').shape", [3, 3]),
        ("oml.sync(table='MINE').head(2).shape", [2, 3]),
        ("oml.sync(table='MINE').head(2).pull()['N'].tolist()", [1, 2]),
        ("oml.sync(table='MINE').head().head(1).pull()['N'].tolist()", [1]),
        ("oml.sync(table='MINE').columns", ["N", "T", "D"]),
        ("len(oml.sync(view='MINE'))", 3),
        ("oml.sync(table='MINE', schema='alice').shape", [3, 3]),
        ("oml.sync(table='SHARED', schema='BOB').pull()['X'].tolist()", [7, 8]),
        ("oml.sync(query='select N from MINE where N > 1 -- why').shape", [2, 1]),
        ("oml.sync(query='select N*2 as m from MINE;').columns", ["m"]),
        ("oml.sync(query='select N from MINE order by N desc').head(1).pull()['N'].tolist()", [3]),
        ("sorted(oml.sync(table='M.*|X', regex_match=True))", ["MINE"]),
        ("sorted(oml.sync(table='.*', schema='bob', regex_match=True))", ["SHARED"]),
        ("oml.sync(query='select N from MINE where N > 9').pull().shape", [0, 1]),
    ],
)
def test_what_stands_for_rows_tells_of_them(ada: Caller, code: str, expected: object) -> None:
    assert asks(ada, code) == expected


@pytest.mark.parametrize(
    "code",
    [
        "oml.sync(table='SECRET', schema='BOB').pull()",
        "oml.sync(table='SECRET', schema='bob').shape",
        "oml.sync(table='SECRET').pull()",
        "oml.sync(table='BOB.SECRET').pull()",
        'oml.sync(table=\'SECRET" UNION SELECT * FROM "BOB"."SECRET\').pull()',
        "oml.sync(table='x', schema='BOB\".\"SECRET').pull()",
        SELECT.format("select * from BOB.SECRET"),
        SELECT.format('select * from "bob"."secret"'),
        SELECT.format("with t as (select * from bob.secret) select * from t"),
        SELECT.format("select (select max(x) from bob.secret) as x"),
        "oml.sync(query='select 1) t, BOB.SECRET, (select 2').shape",
        "oml.sync(query='select 1) t, BOB.SECRET, (select 2').head(1).pull()",
        "oml.sync(query='BOB.SECRET').head(1).pull()",
        "oml.sync(query='select 1; select * from BOB.SECRET').pull()",
        "oml.sync(table=\"read_csv('/etc/passwd')\").pull()",
        SELECT.format("select * from read_csv('/etc/passwd')"),
        SELECT.format("drop table MINE"),
        "__import__('fanfold_runtime.asking').asking.ask('rows', query='select 1', reader='BOB')",
        "__import__('fanfold_runtime.asking').asking.ask('rows', table='MINE', limit='1')",
        "__import__('fanfold_runtime.asking').asking.ask('rows', table='MINE', limit=-1)",
        "__import__('fanfold_runtime.asking').asking.ask('rows', table='MI\\0NE')",
        "__import__('fanfold_runtime.asking').asking.ask('rows', table='MINE', query='select 1')",
        "__import__('fanfold_runtime.asking').asking.ask('rows')",
        "__import__('fanfold_runtime.asking').asking.ask('raws')",
    ],
)
def test_what_the_caller_may_not_have_is_refused(ada: Caller, code: str) -> None:
    told = refusal(ada, code)
    assert told["errorType"] == "oml.Refused", told
    assert "42" not in told["errorMessage"]


def test_the_refusal_says_what_there_is_not(ada: Caller) -> None:
    told = refusal(ada, "oml.sync(table='NONE').pull()")
    assert told["errorMessage"].startswith('oml.Refused: There is no table "NONE"')


def test_another_accounts_script_asks_as_who_calls_it(ada: Caller, bob: Caller) -> None:
    """As for the member `input`: the rights are those of the caller, not of the author."""
    bob.store("oml_theirs", OTHERS)
    assert bob.put("/api/v1/scripts/oml_theirs/grants/alice").status_code == 204
    assert bob.do_eval("oml_theirs").json()["result"] == [77]
    answer = ada.post(f"{RUNS}/v1/do-eval/oml_theirs/bob", json={})
    assert answer.json()["result"] == [3], answer.text


def test_a_job_asks_as_a_run_that_is_waited_for(ada: Caller) -> None:
    ada.store(
        "oml_counts", "def counts(i):\n    import oml\n    return len(oml.sync(table='MINE'))\n"
    )
    location = submit(ada, "index-apply", "oml_counts", times=20, parallelFlag=True)
    assert ended(ada, location)["state"] == "succeeded"
    assert ada.get(f"{location}/result").json() == {"result": [3] * 20}


def test_rows_are_those_of_the_moment_of_asking(ada: Caller) -> None:
    load(ada, "NOW", ["A", "1"])
    assert asks(ada, "oml.sync(table='NOW').shape") == [1, 1]
    load(ada, "NOW", ["A", "1", "2"])
    assert asks(ada, "oml.sync(table='NOW').shape") == [2, 1]


@pytest.fixture
def bare(server: Server) -> Iterator[str]:
    """The name of an environment with Python and nothing else; workers may enter its folder."""
    with reachable_folder() as folder:
        venv.create(folder / "prefix", symlinks=True)
        where = ("--data", str(server.data))
        run_fanfold("env", "register", "oml-bare", str(folder / "prefix"), *where)
        yield "oml-bare"
        (server.data / "environments" / "oml-bare").unlink()


def test_an_environment_without_pyarrow_says_what_is_missing_and_what_would_help(
    ada: Caller, bare: str
) -> None:
    """What needs none of it goes on: the table's shape, and its columns."""

    def run(code: str) -> dict[str, Any]:
        body = {"parameters": {"code": code}, "envName": bare}
        told: dict[str, Any] = ada.do_eval("oml_asks", body).json()
        return told

    until(lambda: "result" in run("1"), 100, "the environment is known")
    assert run("[*oml.sync(table='MINE').shape]") == {"result": [3, 3]}
    said = run("oml.sync(table='MINE').pull()")
    assert said["errorType"] == "oml.NotAvailable"
    assert "need the package pyarrow" in said["errorMessage"]
    assert "add it there, or run in another environment" in said["errorMessage"]
